//! Networks of companies: authorities of their own, proxies, mirrors, and hubs that send elsewhere.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use cosec_ls::registry::{Environment, Error, Progress, Registry, RegistryOptions, Silent};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::{HUB, Machine, PIP, toy, weights};
use crate::support::hub::{Hub, read_head};

/// Listens on this machine and has `serve` answer every connection on a thread of its own.
fn listen(serve: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = Arc::clone(&serve);
            // A client that goes away is none of the server's business.
            thread::spawn(move || drop(serve(stream)));
        }
    });
    address
}

/// Puts TLS before a hub, with a certificate for `localhost`; the authority that signed it, in PEM.
fn with_tls(hub: SocketAddr) -> (SocketAddr, String) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = authority.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(authority, key);
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = own.signed_by(&key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .unwrap();
    let config = Arc::new(config);
    let address = listen(move |stream| {
        let connection = ServerConnection::new(Arc::clone(&config)).map_err(io::Error::other)?;
        let mut client = StreamOwned::new(connection, stream);
        let head = read_head(&mut client)?.join("\r\n");
        let mut behind = TcpStream::connect(hub)?;
        write!(behind, "{head}\r\n\r\n")?;
        io::copy(&mut behind, &mut client)?;
        client.conn.send_close_notify();
        client.flush()
    });
    (address, pem)
}

/// A proxy that connects those who know `me:p@ss`, and what it was asked for.
fn proxy() -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    // `me:p@ss` in base64, and in lower case as all of a head.
    const LOGIN: &str = "proxy-authorization: basic bwu6cebzcw==";
    let asked = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&asked);
    let address = listen(move |mut client| {
        let head = read_head(&client)?;
        told.lock().unwrap().push(head[0].clone());
        if !head.iter().any(|line| line == LOGIN) {
            let refused = "HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n";
            return client.write_all(refused.as_bytes());
        }
        let target = head[0].split(' ').nth(1).unwrap().replace("localhost", "127.0.0.1");
        let mut behind = TcpStream::connect(target)?;
        client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
        let (mut from, mut to) = (client.try_clone()?, behind.try_clone()?);
        thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            to.shutdown(Shutdown::Write)
        });
        io::copy(&mut behind, &mut client)?;
        client.shutdown(Shutdown::Write)
    });
    (address, asked)
}

/// A registry whose hub and surroundings are these.
fn open(machine: &Machine, endpoint: &str, environment: Environment) -> Registry {
    let options = RegistryOptions {
        hub_endpoint: Some(endpoint.to_owned()),
        environment: Some(environment),
        ..machine.options()
    };
    Registry::open(options).unwrap()
}

/// The hub's file, fetched through these surroundings, or why it was not.
fn fetch(endpoint: &str, environment: Environment) -> Result<(), String> {
    let machine = Machine::new(&toy(&[HUB]));
    match open(&machine, endpoint, environment).ensure("toy", &Silent) {
        Ok(path) => {
            machine.assert_installed(&path);
            Ok(())
        }
        Err(error) => Err(error.to_string()),
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_company_s_authority_is_trusted_where_a_variable_names_it() {
    let hub = Hub::serving(weights());
    let (address, pem) = with_tls(hub.address());
    let endpoint = format!("https://localhost:{}", address.port());
    let directory = tempfile::tempdir().unwrap();
    let (file, hashed) = (directory.path().join("ca.pem"), directory.path().join("0a1b2c3d.0"));
    fs::write(&file, &pem).unwrap();
    fs::write(&hashed, &pem).unwrap();
    for (name, value) in [
        ("SSL_CERT_FILE", text(&file)),
        ("SSL_CERT_DIR", text(directory.path())),
        ("REQUESTS_CA_BUNDLE", text(&file)),
        ("CURL_CA_BUNDLE", text(&file)),
    ] {
        assert_eq!(fetch(&endpoint, [(name, value)].into()), Ok(()), "{name}");
    }
}

#[test]
fn an_authority_that_nobody_named_is_not_trusted_and_the_message_says_what_to_do() {
    let hub = Hub::serving(weights());
    let (address, _) = with_tls(hub.address());
    let endpoint = format!("https://localhost:{}", address.port());
    let message = fetch(&endpoint, Environment::default()).unwrap_err();
    assert!(message.contains("UnknownIssuer") && message.contains("SSL_CERT_FILE"), "{message}");
    let directory = tempfile::tempdir().unwrap();
    let other = directory.path().join("other.pem");
    fs::write(&other, with_tls(hub.address()).1).unwrap();
    let message = fetch(&endpoint, [("SSL_CERT_FILE", text(&other))].into()).unwrap_err();
    assert!(message.contains("the certificate's issuer is not trusted"), "{message}");
    fs::write(&other, "no certificate").unwrap();
    let message = fetch(&endpoint, [("SSL_CERT_FILE", text(&other))].into()).unwrap_err();
    let expected = format!("`SSL_CERT_FILE` names {}, which holds no certificate", text(&other));
    assert!(message.contains(&expected), "{message}");
    assert_eq!(hub.n_connections(), 0);
}

#[test]
fn a_proxy_with_credentials_is_gone_through() {
    let hub = Hub::serving(weights());
    let (tls, pem) = with_tls(hub.address());
    let (proxy, asked) = proxy();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.pem");
    fs::write(&file, pem).unwrap();
    let secure = format!("https://localhost:{}", tls.port());
    let plain = format!("http://localhost:{}", hub.address().port());
    for (endpoint, name) in [
        (&secure, "HTTPS_PROXY"),
        (&secure, "https_proxy"),
        (&secure, "ALL_PROXY"),
        (&plain, "http_proxy"),
        (&plain, "all_proxy"),
    ] {
        let before = asked.lock().unwrap().len();
        let value = format!("http://me:p%40ss@{proxy}");
        let environment = [(name, value.as_str()), ("SSL_CERT_FILE", text(&file))];
        assert_eq!(fetch(endpoint, environment.into()), Ok(()), "{name}");
        assert!(asked.lock().unwrap()[before].starts_with("connect localhost:"), "{name}");
    }
}

#[test]
fn a_proxy_that_refuses_is_named_without_the_password() {
    let hub = Hub::serving(weights());
    let (proxy, _) = proxy();
    for login in ["", "me:secret@", "me%40company:secret@"] {
        let value = format!("http://{login}{proxy}");
        let message = fetch(&hub.endpoint(), [("HTTP_PROXY", value.as_str())].into()).unwrap_err();
        assert!(message.contains("HTTP_PROXY") && message.contains("407"), "{message}");
        assert!(
            message.contains("user and a password") && !message.contains("secret"),
            "{message}"
        );
    }
    assert_eq!(hub.n_connections(), 0);
}

#[test]
fn hosts_of_no_proxy_are_asked_directly() {
    let hub = Hub::serving(weights());
    let (proxy, asked) = proxy();
    let value = format!("http://{proxy}");
    for hosts in ["127.0.0.1", "localhost, 127.0.0.1", "*", "127.0.0.1:1,example.com"] {
        let environment = [("HTTP_PROXY", value.as_str()), ("NO_PROXY", hosts)];
        assert_eq!(fetch(&hub.endpoint(), environment.into()), Ok(()), "{hosts}");
    }
    assert!(asked.lock().unwrap().is_empty());
}

#[test]
fn a_token_stays_with_the_hub_that_it_is_for() {
    let hub = Hub::serving(weights());
    let port = hub.address().port();
    let heads = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&heads);
    let redirecting = listen(move |mut client| {
        told.lock().unwrap().extend(read_head(&client)?);
        // The same machine by another name.
        let to = format!("http://localhost:{port}/elsewhere");
        write!(client, "HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
    });
    let environment = [("HF_TOKEN", "hf_secret\n")];
    assert_eq!(fetch(&format!("http://{redirecting}"), environment.into()), Ok(()));
    let bears = |head: &[String]| head.iter().any(|line| line == "authorization: bearer hf_secret");
    assert!(bears(&heads.lock().unwrap()));
    assert!(hub.heads().iter().all(|head| !bears(head)), "{:?}", hub.heads());
}

#[test]
fn a_mirror_may_be_below_a_path() {
    let hub = Hub::serving(weights());
    for end in ["/mirror", "/mirror/", "/mirror//"] {
        let endpoint = format!("http://{}{end}", hub.address());
        let machine = Machine::new(&toy(&[HUB]));
        let environment = Environment::from([("HF_ENDPOINT", endpoint.as_str())]);
        let options = RegistryOptions {
            hub_endpoint: None,
            environment: Some(environment),
            ..machine.options()
        };
        Registry::open(options).unwrap().ensure("toy", &Silent).unwrap();
    }
    for head in hub.heads() {
        assert_eq!(head[0], "get /mirror/toys/toy/resolve/abc/toy.gguf http/1.1");
    }
}

#[test]
fn what_is_no_address_of_a_hub_is_said() {
    for wrong in ["hub.example.com", "hub.example.com:443/x", "https://hub example.com"] {
        let machine = Machine::new(&toy(&[HUB]));
        let environment = Environment::from([("HF_ENDPOINT", wrong)]);
        let options = RegistryOptions {
            hub_endpoint: None,
            environment: Some(environment),
            ..machine.options()
        };
        let error =
            Registry::open(options).unwrap().ensure("toy", &Silent).unwrap_err().to_string();
        assert!(error.contains(&format!("`HF_ENDPOINT` ({wrong})")), "{error}");
        assert!(error.contains("such as https://hub.example.com"), "{error}");
    }
}

#[test]
fn what_the_hub_refuses_is_explained() {
    for (status, part) in [("401 Unauthorized", "HF_TOKEN"), ("404 Not Found", "no such file")] {
        let refusing = listen(move |mut client| {
            read_head(&client)?;
            write!(client, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n")
        });
        let message = fetch(&format!("http://{refusing}"), Environment::default()).unwrap_err();
        assert!(message.contains(part), "{message}");
    }
}

/// Cancels once it is told so.
#[derive(Default)]
struct Cancelled(AtomicBool);

impl Progress for Cancelled {
    fn advance(&self, _: &str, _: u64, _: u64) {}

    fn note(&self, _: &str) {}

    fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

#[test]
fn an_answer_that_comes_after_a_cancellation_leaves_the_next_pull_s_part_alone() {
    let machine = Machine::new(&toy(&[HUB]));
    let cancelled = Arc::new(Cancelled::default());
    let (second_runs, wait_second_runs) = mpsc::channel();
    let (first_ended, wait_first_ended) = mpsc::channel();
    let (second_runs, first_ended) = (Mutex::new(second_runs), Mutex::new(first_ended));
    let (wait_second_runs, wait_first_ended) =
        (Mutex::new(wait_second_runs), Mutex::new(wait_first_ended));
    let n_asked = AtomicUsize::new(0);
    let asked = Arc::clone(&cancelled);
    let hub = listen(move |mut client| {
        read_head(&client)?;
        let (bytes, is_first) = (weights(), n_asked.fetch_add(1, Ordering::SeqCst) == 0);
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", bytes.len());
        let half = bytes.len() / 2;
        if is_first {
            asked.0.store(true, Ordering::SeqCst);
            wait_second_runs.lock().unwrap().recv().unwrap();
            // It goes away at the first byte, or when it has done its harm.
            let _gone = client.write_all(head.as_bytes()).and_then(|()| client.write_all(&bytes));
            let _gone = client.read_to_end(&mut Vec::new());
            first_ended.lock().unwrap().send(()).unwrap();
            return Ok(());
        }
        client.write_all(head.as_bytes())?;
        client.write_all(&bytes[..half])?;
        second_runs.lock().unwrap().send(()).unwrap();
        wait_first_ended.lock().unwrap().recv().unwrap();
        client.write_all(&bytes[half..])
    });
    let registry = open(&machine, &format!("http://{hub}"), Environment::default());
    let error = registry.ensure("toy", &*cancelled).unwrap_err();
    assert!(matches!(error, Error::Cancelled { .. }), "{error}");
    machine.assert_installed(&registry.ensure("toy", &Silent).unwrap());
}

#[test]
fn a_hub_that_knows_no_ranges_sends_the_file_again() {
    let machine = Machine::new(&toy(&[HUB]));
    let whole = listen(|mut client| {
        let n_asked = read_head(&client)?.iter().filter(|line| line.starts_with("range:")).count();
        let bytes = weights();
        let sent = if n_asked == 0 { bytes.len() / 3 } else { bytes.len() };
        write!(client, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", bytes.len())?;
        client.write_all(&bytes[..sent])
    });
    let registry = open(&machine, &format!("http://{whole}"), Environment::default());
    machine.assert_installed(&registry.ensure("toy", &Silent).unwrap());
}

#[test]
fn the_hub_s_own_variable_forbids_the_network() {
    let hub = Hub::serving(weights());
    for (name, value) in
        [("HF_HUB_OFFLINE", "1"), ("HF_HUB_OFFLINE", "true"), ("TRANSFORMERS_OFFLINE", "ON")]
    {
        let machine = Machine::new(&toy(&[HUB, PIP]));
        let registry = open(&machine, &hub.endpoint(), [(name, value)].into());
        let error = registry.ensure("toy", &Silent).unwrap_err().to_string();
        let expected = format!("not tried, since `{name}` is set");
        assert_eq!(error.matches(&expected).count(), 2, "{error}");
        assert!(machine.pip_calls().is_empty());
    }
    assert_eq!(hub.n_connections(), 0);
    assert_eq!(fetch(&hub.endpoint(), [("HF_HUB_OFFLINE", "0")].into()), Ok(()));
}

#[test]
fn pip_is_told_of_the_authority() {
    let bundle = ("SSL_CERT_FILE", "/company/ca.pem");
    // What pip inherits from these tests where it is told nothing.
    let inherited = std::env::var("PIP_CERT").unwrap_or_default();
    for (environment, expected) in [
        (Environment::from([bundle]), "/company/ca.pem"),
        (Environment::from([bundle, ("PIP_CERT", "/own.pem")]), inherited.as_str()),
        (Environment::default(), &inherited),
    ] {
        let machine = Machine::new(&toy(&[PIP]));
        machine.add_wheels(&weights(), 4);
        open(&machine, "http://127.0.0.1:9", environment).ensure("toy", &Silent).unwrap();
        let told = fs::read_to_string(machine.path("certificates")).unwrap();
        assert!(told.lines().all(|line| line == expected), "{told}");
    }
}
