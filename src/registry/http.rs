//! Requests to a hub: who is trusted, through which proxy, and how long nothing may be heard.

use std::path::Path;
use std::time::Duration;

use rustls_native_certs::{CertificateResult, load_certs_from_paths, load_native_certs};
use ureq::config::RedirectAuthHeaders;
use ureq::http::Response;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body, Proxy};

use super::Error;
use super::environment::{Environment, Variable};

/// For a server that swallows packets. The watch over a download is more patient or less, and cannot end its thread.
const CONNECT: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(30);

/// Said wherever a certificate was not believed.
const UNKNOWN_ISSUER: &str = "the certificate's issuer is not trusted; where the network has a certificate authority of its own, \
     name its PEM file in SSL_CERT_FILE";

/// Said where a proxy asks who we are.
const PROXY_LOGIN: &str =
    "it asks for a user and a password, as in http://user:password@proxy:3128";

/// One hub's connections.
#[derive(Debug)]
pub(super) struct Client {
    agent: Agent,
    /// The variable that named the proxy.
    proxy: Option<String>,
}

impl Client {
    /// Fits the client to the environment; `scheme` is the hub's.
    ///
    /// # Errors
    /// If a variable names no proxy, or a bundle without certificates.
    pub(super) fn new(environment: &Environment, scheme: &str) -> Result<Self, Error> {
        let proxy = environment.proxy(scheme);
        let tls = TlsConfig::builder().root_certs(trusted(environment)?).build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .proxy(proxy.map(|proxy| parse_proxy(proxy, environment)).transpose()?)
            .http_status_as_error(false)
            // The hub sends its files from other hosts, which must not learn the token.
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .user_agent(concat!("cosec-ls/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .build();
        Ok(Self { agent: config.into(), proxy: proxy.map(|proxy| proxy.name.to_owned()) })
    }

    /// Asks for what `url` has from a byte on.
    ///
    /// # Errors
    /// If nobody answers; an answer of any status is none.
    pub(super) fn get(
        &self,
        url: &str,
        token: Option<&str>,
        from: u64,
    ) -> Result<Response<Body>, Error> {
        let mut request = self.agent.get(url);
        if from > 0 {
            request = request.header("Range", format!("bytes={from}-"));
        }
        if let Some(token) = token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        request.call().map_err(|error| Error::Source(self.explain(&error)))
    }

    /// Why nobody answered, and what to do about it.
    fn explain(&self, error: &ureq::Error) -> String {
        let proxy = self.proxy.as_deref().unwrap_or("the proxy");
        let text = error.to_string();
        match error {
            ureq::Error::Timeout(_) => format!("no answer: {text}"),
            ureq::Error::ConnectProxyFailed(reason) if reason.contains("407") => {
                format!("{proxy}: {reason}; {PROXY_LOGIN}")
            }
            ureq::Error::ConnectProxyFailed(reason) => format!("{proxy}: {reason}"),
            // The address may hold a password.
            ureq::Error::BadUri(_) => "the hub's address cannot be used".to_owned(),
            // A bad signature is another authority of the same name.
            _ if ["UnknownIssuer", "BadSignature"].iter().any(|kind| text.contains(kind)) => {
                format!("{text}: {UNKNOWN_ISSUER}")
            }
            ureq::Error::HostNotFound if self.proxy.is_none() => {
                format!("{text}; behind a proxy, HTTPS_PROXY must name it")
            }
            _ => match &self.proxy {
                Some(proxy) => format!("{text} (through the proxy of {proxy})"),
                None => text,
            },
        }
    }
}

/// The proxy that a variable names. Its value may hold a password, so no message repeats it.
fn parse_proxy(variable: Variable<'_>, environment: &Environment) -> Result<Proxy, Error> {
    let wrong = |_| {
        Error::Source(format!(
            "`{}` is no address of a proxy, such as http://proxy:3128 or http://user:password@proxy:3128 with special \
             characters as %40",
            variable.name
        ))
    };
    let named = Proxy::new(variable.value).map_err(wrong)?;
    let mut proxy = Proxy::builder(named.protocol()).host(named.host()).port(named.port());
    if let Some(user) = named.username() {
        proxy = proxy.username(user);
    }
    if let Some(password) = named.password() {
        proxy = proxy.password(password);
    }
    for host in environment.no_proxy() {
        proxy = proxy.no_proxy(&host);
    }
    proxy.build().map_err(wrong)
}

/// The certificate authorities that may vouch for a hub: those of the bundles that the environment names, or else the
/// system's, or Mozilla's where the system has none.
fn trusted(environment: &Environment) -> Result<RootCerts, Error> {
    let mut named = environment.bundles().peekable();
    if named.peek().is_none() {
        let system = certificates(&load_native_certs());
        return Ok(match system.is_empty() {
            true => RootCerts::WebPki,
            false => system.into(),
        });
    }
    let mut all = Vec::new();
    for bundle in named {
        all.extend(read_bundle(bundle)?);
    }
    Ok(all.into())
}

fn read_bundle(Variable { name, value }: Variable<'_>) -> Result<Vec<Certificate<'static>>, Error> {
    let wrong = |reason: &str| Error::Source(format!("`{name}` names {value}, {reason}"));
    let path = Path::new(value);
    let metadata =
        path.metadata().map_err(|cause| wrong(&format!("which cannot be read: {cause}")))?;
    let found = match metadata.is_dir() {
        true => load_certs_from_paths(None, Some(path)),
        false => load_certs_from_paths(Some(path), None),
    };
    match (certificates(&found), found.errors.first()) {
        (certificates, _) if !certificates.is_empty() => Ok(certificates),
        (_, Some(error)) => Err(wrong(&format!("which cannot be read: {error}"))),
        (_, None) => Err(wrong("which holds no certificate in PEM format")),
    }
}

fn certificates(found: &CertificateResult) -> Vec<Certificate<'static>> {
    found.certs.iter().map(|der| Certificate::from_der(der.as_ref()).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(value: &str, no_proxy: &str) -> Result<Proxy, String> {
        let environment = Environment::from([("HTTPS_PROXY", value), ("NO_PROXY", no_proxy)]);
        let variable = environment.proxy("https").expect("is set");
        parse_proxy(variable, &environment).map_err(|error| error.to_string())
    }

    #[test]
    fn credentials_of_a_proxy_are_decoded_once() {
        for (value, host, port, user, password) in [
            ("http://proxy:3128", "proxy", 3128, None, None),
            ("proxy:3128", "proxy", 3128, None, None),
            ("http://proxy", "proxy", 80, None, None),
            ("http://user:p%40ss@proxy:3128", "proxy", 3128, Some("user"), Some("p@ss")),
            ("http://user:p%2540@proxy:3128/", "proxy", 3128, Some("user"), Some("p%40")),
            ("http://a%5Cb:c@proxy", "proxy", 80, Some("a\\b"), Some("c")),
            ("socks5h://proxy:1080", "proxy", 1080, None, None),
        ] {
            let proxy = proxy(value, "").unwrap();
            assert_eq!((proxy.host(), proxy.port()), (host, port), "{value}");
            assert_eq!((proxy.username(), proxy.password()), (user, password), "{value}");
        }
    }

    #[test]
    fn what_is_no_proxy_is_named_without_its_password() {
        for value in
            ["http://", "http://user:se cret@proxy", "ftp://user:secret@proxy", "http:// x"]
        {
            let message = proxy(value, "").unwrap_err();
            assert!(message.starts_with("`HTTPS_PROXY` is no address of a proxy"), "{message}");
            assert!(!message.contains("cret"), "{message}");
        }
    }

    #[test]
    fn hosts_that_are_asked_directly_are_no_proxy_s() {
        let proxy = proxy("http://proxy", "corp.example, 127.0.0.1").unwrap();
        let is_direct = |url: &str| proxy.is_no_proxy(&url.parse().unwrap());
        assert!(is_direct("https://corp.example/x") && is_direct("https://hub.corp.example/x"));
        assert!(is_direct("http://127.0.0.1:8080/x"));
        assert!(!is_direct("https://huggingface.co/") && !is_direct("https://notcorp.example/"));
    }

    #[test]
    fn a_bundle_without_certificates_is_named_with_its_variable() {
        let directory = tempfile::tempdir().unwrap();
        let (empty, absent) = (directory.path().join("empty.pem"), directory.path().join("none"));
        std::fs::write(&empty, "-----BEGIN NONSENSE-----\n").unwrap();
        for name in ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_DIR"] {
            for path in [&empty, &absent] {
                let value = path.display().to_string();
                let environment = Environment::from([(name, value.as_str())]);
                let message = trusted(&environment).unwrap_err().to_string();
                assert!(
                    message.starts_with(&format!("`{name}` names {value}, which ")),
                    "{message}"
                );
            }
        }
    }
}
