//! Files from a Hugging Face hub, or a mirror of it.
//!
//! A download works in a thread of its own, watched from here, since a read that waits cannot be told to stop: silence ends
//! the attempt, and whoever drops the watch stops the thread at its next chunk. From then on it changes nothing: the part
//! is the next attempt's.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use directories::BaseDirs;

use super::Error;
use super::download::{Job, POLL};
use super::environment::Environment;
use super::http::Client;
use super::manifest::HubSource;
use super::store;

/// A firewall that swallows packets must not hold up the next source.
const PATIENCE: Patience =
    Patience { first_byte: Duration::from_secs(10), stall: Duration::from_secs(30) };

/// Tries in all; a further one only follows a try that brought bytes.
const TRIES: usize = 3;

/// Bytes per read, and what is lost when a download is abandoned.
const CHUNK_BYTES: usize = 1 << 16;

/// Hugging Face itself.
const HUGGING_FACE: &str = "https://huggingface.co";

/// Where the hub is and how to ask it.
#[derive(Debug)]
pub(super) struct Hub {
    /// Without a slash at its end, or what is wrong with the one that was given.
    endpoint: Result<String, String>,
    /// The cache that other programs fill; absent without a home directory.
    cache: Option<PathBuf>,
    environment: Environment,
    patience: Patience,
}

/// How long nothing may be heard.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// Before the download runs.
    first_byte: Duration,
    /// While it runs.
    stall: Duration,
}

/// What the thread reports.
enum Event {
    Bytes(u64),
    Ended(Result<(), Failure>),
}

/// Why a download ended early.
enum Failure {
    /// The hub, or the way to it.
    Source(Error),
    /// The part on this machine.
    Part(io::Error),
}

/// One try to fetch a file, for the thread.
struct Download {
    client: Client,
    url: String,
    token: Option<String>,
    part: PathBuf,
    size_bytes: u64,
}

/// The thread's end of the watch.
struct Meter {
    events: Sender<Event>,
    claim: Arc<Claim>,
}

/// Whether an attempt still has the part to itself. Locked while the part is changed, so that nothing is half-done when it
/// is given up.
#[derive(Default)]
struct Claim {
    is_given_up: Mutex<bool>,
}

/// Our end of the watch; dropping it stops the thread at its next chunk.
struct Watch {
    events: Receiver<Event>,
    claim: Arc<Claim>,
}

impl Hub {
    /// Fills in what the environment says.
    pub(super) fn new(
        endpoint: Option<String>,
        cache: Option<PathBuf>,
        environment: Environment,
    ) -> Self {
        let named = environment.first(&["HF_ENDPOINT"]);
        let endpoint = match (&endpoint, named) {
            (Some(given), _) => parse_endpoint("the hub's address", given),
            (None, Some(named)) => parse_endpoint("`HF_ENDPOINT`", named.value),
            (None, None) => Ok(HUGGING_FACE.to_owned()),
        };
        let home = || Some(BaseDirs::new()?.home_dir().to_owned());
        let cache = cache.or_else(|| environment.hub_cache(home()));
        Self { endpoint, cache, environment, patience: PATIENCE }
    }

    /// The file in the shared cache, if another program already fetched this very revision.
    pub(super) fn cached(&self, source: &HubSource) -> Option<PathBuf> {
        let repository = format!("models--{}", source.repository.replace('/', "--"));
        let snapshots = self.cache.as_ref()?.join(repository).join("snapshots");
        let file = snapshots.join(&source.revision).join(&source.file);
        file.is_file().then_some(file)
    }

    /// A try that goes on with `part`.
    fn download(
        &self,
        source: &HubSource,
        part: PathBuf,
        size_bytes: u64,
    ) -> Result<Download, Error> {
        let endpoint = self.endpoint.as_ref().map_err(|wrong| Error::Source(wrong.clone()))?;
        let HubSource { repository, revision, file } = source;
        let [repository, file] = [repository, file].map(|path| escape(path, b"/"));
        let url = format!("{endpoint}/{repository}/resolve/{}/{file}", escape(revision, b""));
        let scheme = endpoint.split(':').next().unwrap_or_default();
        let client = Client::new(&self.environment, scheme)?;
        Ok(Download { client, url, token: self.token()?, part, size_bytes })
    }

    /// The user's token for the hub; files written by `echo` end in a line end.
    fn token(&self) -> Result<Option<String>, Error> {
        let named = self.environment.first(&["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"]);
        let file = || {
            let beside_cache = || Some(self.cache.as_ref()?.parent()?.join("token"));
            let file = self.environment.token_file().or_else(beside_cache)?;
            fs::read_to_string(file).ok()
        };
        let token = named.map(|variable| variable.value.to_owned()).or_else(file);
        let token = token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty());
        match token {
            Some(token) if !token.bytes().all(|byte| byte.is_ascii_graphic()) => {
                let name = named.map_or("the token of the hub's cache", |variable| variable.name);
                Err(Error::Source(format!("{name} holds a character that no token has")))
            }
            token => Ok(token),
        }
    }
}

/// An address without a slash at its end. What is wrong with it is said without what may be a password.
fn parse_endpoint(name: &str, text: &str) -> Result<String, String> {
    const EXAMPLE: &str = "such as https://hub.example.com/mirror";
    let text = text.trim().trim_end_matches('/');
    let shown = if text.contains('@') { "with a user's name" } else { text };
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(format!("{name} ({shown}) has no scheme; write an address {EXAMPLE}"));
    };
    let scheme = scheme.to_ascii_lowercase();
    let is_known = ["http", "https"].contains(&scheme.as_str());
    let is_plain = |c: char| c.is_ascii_graphic() && !"?#\"<>\\^`{}|".contains(c);
    match is_known && !rest.is_empty() && !rest.starts_with('/') && rest.chars().all(is_plain) {
        true => Ok(format!("{scheme}://{rest}")),
        false => Err(format!("{name} ({shown}) is no address {EXAMPLE}")),
    }
}

/// A part of an address; `also` is left as it is.
fn escape(text: &str, also: &[u8]) -> String {
    let is_plain =
        |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || also.contains(&byte);
    let escaped = |byte: u8| match is_plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(escaped).collect()
}

/// Fetches the file into `parts`.
pub(super) fn fetch(
    hub: &Hub,
    source: &HubSource,
    parts: &Path,
    job: &Job<'_>,
) -> Result<PathBuf, Error> {
    fs::create_dir_all(parts).map_err(|cause| job.io_error(parts, cause))?;
    let name = [&*source.repository, &source.revision, &source.file].map(|part| escape(part, b""));
    let part = parts.join(format!("{}.part", name.join("@")));
    let mut tries = 1;
    loop {
        let before_bytes = store::size_of(parts);
        let download = hub.download(source, part.clone(), job.artifact.size_bytes)?;
        let error = match start(download).until_end(hub.patience, job) {
            Ok(()) => return fs::canonicalize(&part).map_err(|cause| job.io_error(&part, cause)),
            Err(error) => error,
        };
        let moved = store::size_of(parts) > before_bytes;
        if !moved || tries == TRIES || !matches!(error, Error::Source(_)) {
            return Err(error);
        }
        job.progress.note(&format!("{error}; going on from what is here"));
        tries += 1;
    }
}

fn start(download: Download) -> Watch {
    let (events, received) = mpsc::channel();
    let claim = Arc::new(Claim::default());
    let meter = Meter { events, claim: Arc::clone(&claim) };
    thread::spawn(move || {
        let result = download.run(&meter);
        // Nobody listening means that the watch was dropped, which is how a try is given up.
        let _ = meter.events.send(Event::Ended(result));
    });
    Watch { events: received, claim }
}

impl Download {
    /// Brings the part to its full length.
    fn run(&self, meter: &Meter) -> Result<(), Failure> {
        let open = || OpenOptions::new().create(true).append(true).open(&self.part);
        let mut part = meter.claim.change(open)?;
        let mut done_bytes = part.metadata().map_err(Failure::Part)?.len();
        if done_bytes > self.size_bytes {
            meter.claim.change(|| part.set_len(0))?;
            done_bytes = 0;
        }
        if done_bytes == self.size_bytes {
            return Ok(());
        }
        let token = self.token.as_deref();
        let response = self.client.get(&self.url, token, done_bytes).map_err(Failure::Source)?;
        let start = match response.status().as_u16() {
            200 => Some(0),
            206 => first_byte(response.headers()),
            status => return Err(source(&refusal(status, token))),
        };
        if start == Some(0) {
            // Also a server that knows no ranges, which sends the whole file again.
            meter.claim.change(|| part.set_len(0))?;
            done_bytes = 0;
        }
        if start != Some(done_bytes) {
            return Err(source("the hub sent another part of the file than was asked for"));
        }
        self.copy(&mut response.into_body().into_reader(), &mut part, done_bytes, meter)
    }

    fn copy(
        &self,
        body: &mut dyn Read,
        part: &mut File,
        mut done_bytes: u64,
        meter: &Meter,
    ) -> Result<(), Failure> {
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let n_bytes = match body.read(&mut chunk) {
                Ok(0) if done_bytes == self.size_bytes => return Ok(()),
                Ok(0) => {
                    let all = self.size_bytes;
                    return Err(source(&format!("the hub sent {done_bytes} of {all} bytes")));
                }
                Ok(n_bytes) => n_bytes,
                Err(cause) => return Err(source(&format!("the connection broke: {cause}"))),
            };
            meter.claim.change(|| part.write_all(&chunk[..n_bytes]))?;
            done_bytes += n_bytes as u64;
            if done_bytes > self.size_bytes {
                return Err(source(&format!("the hub sent more than {} bytes", self.size_bytes)));
            }
            // See `start`.
            let _ = meter.events.send(Event::Bytes(done_bytes));
        }
    }
}

impl Claim {
    /// Changes the part, unless that is another attempt's by now.
    fn change<T>(&self, change: impl FnOnce() -> io::Result<T>) -> Result<T, Failure> {
        let is_given_up = self.is_given_up.lock().unwrap_or_else(PoisonError::into_inner);
        match *is_given_up {
            true => Err(source("abandoned")),
            false => change().map_err(Failure::Part),
        }
    }

    /// Waits for a change that is being made.
    fn give_up(&self) {
        *self.is_given_up.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }
}

fn source(reason: &str) -> Failure {
    Failure::Source(Error::Source(reason.to_owned()))
}

/// Where the bytes of an answer begin in the file: the 5 of `bytes 5-9/10`.
fn first_byte(headers: &ureq::http::HeaderMap) -> Option<u64> {
    let range = headers.get("Content-Range")?.to_str().ok()?.strip_prefix("bytes ")?;
    range.split('-').next()?.trim().parse().ok()
}

/// What a status without a file means.
fn refusal(status: u16, token: Option<&str>) -> String {
    let meaning = match (status, token) {
        (401 | 403, None) => "; a token that may read the file belongs into HF_TOKEN",
        (401 | 403, Some(_)) => "; the token may not read the file, or is wrong",
        (404, _) => "; there is no such file",
        (407, _) => "; the proxy asks for a user and a password",
        (429, _) => "; too many requests, try again later",
        _ => "",
    };
    format!("the hub answered with status {status}{meaning}")
}

impl Watch {
    /// One try, given up when it stands still or nobody wants it any more.
    fn until_end(&self, patience: Patience, job: &Job<'_>) -> Result<(), Error> {
        let mut silence = patience.first_byte;
        let mut heard = Instant::now();
        loop {
            job.check_cancelled()?;
            match self.events.recv_timeout(POLL) {
                Ok(Event::Bytes(done_bytes)) => {
                    job.advance(done_bytes);
                    (silence, heard) = (patience.stall, Instant::now());
                }
                Ok(Event::Ended(result)) => return result.map_err(|failure| explain(failure, job)),
                Err(RecvTimeoutError::Timeout) if heard.elapsed() < silence => {}
                Err(RecvTimeoutError::Timeout) => {
                    return Err(Error::Source(format!("no answer for {silence:?}")));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::Source("the download ended without a word".to_owned()));
                }
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.claim.give_up();
    }
}

fn explain(failure: Failure, job: &Job<'_>) -> Error {
    match failure {
        Failure::Source(error) => error,
        Failure::Part(cause) => job.io_error(&job.parts(), cause),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::super::Silent;
    use super::super::manifest::Manifest;
    use super::super::store::Store;
    use super::*;

    #[test]
    fn silent_hub_is_given_up() {
        // Connections wait in its backlog for ever.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let mut hub = Hub::new(
            Some(format!("http://{address}")),
            Some(directory.path().into()),
            Environment::default(),
        );
        hub.patience.first_byte = Duration::from_millis(20);

        let manifest = Manifest::load(None).unwrap();
        let model = manifest.models.values().next().unwrap();
        let store = Store::new(Some(directory.path().join("store"))).unwrap();
        let job = Job::new(model.artifact(), &store, &Silent);
        let source =
            HubSource { repository: "toys/toy".into(), revision: "abc".into(), file: "toy".into() };
        let error = fetch(&hub, &source, &job.parts(), &job).unwrap_err().to_string();
        assert_eq!(error, "no answer for 20ms");
    }

    #[test]
    fn an_endpoint_is_an_address_or_what_is_wrong_with_it_is_said() {
        for (text, expected) in [
            ("https://hub.example.com", "https://hub.example.com"),
            ("https://hub.example.com/", "https://hub.example.com"),
            ("https://hub.example.com///", "https://hub.example.com"),
            (" https://hub.example.com/a/b/\n", "https://hub.example.com/a/b"),
            ("HTTP://localhost:8080", "http://localhost:8080"),
        ] {
            assert_eq!(parse_endpoint("it", text).as_deref(), Ok(expected), "{text:?}");
        }
        for (text, part) in [
            ("hub.example.com", "it (hub.example.com) has no scheme"),
            ("localhost:8080/", "it (localhost:8080) has no scheme"),
            ("ftp://hub.example.com", "it (ftp://hub.example.com) is no address"),
            ("https://", "has no scheme"),
            ("https:///x", "is no address"),
            ("https://hub example.com", "is no address"),
            ("https://hub.example.com/?a=b", "is no address"),
            ("https://me:secret@hub .example.com", "it (with a user's name) is no address"),
        ] {
            let message = parse_endpoint("it", text).unwrap_err();
            assert!(message.contains(part) && !message.contains("secret"), "{text:?}: {message}");
        }
    }

    #[test]
    fn a_token_is_taken_without_its_line_end_and_never_with_another_header_in_it() {
        let directory = tempfile::tempdir().unwrap();
        let cache = directory.path().join("hub");
        let token = |variables: &[(&str, &str)]| {
            let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            let environment = variables.iter().map(own).collect();
            let hub = Hub::new(None, Some(cache.clone()), environment);
            hub.token().map_err(|error| error.to_string())
        };
        assert_eq!(token(&[]), Ok(None));
        assert_eq!(token(&[("HF_TOKEN", "hf_a\n")]), Ok(Some("hf_a".to_owned())));
        assert_eq!(token(&[("HF_TOKEN", " \r\n")]), Ok(None));
        fs::write(directory.path().join("token"), "hf_file\r\n").unwrap();
        assert_eq!(token(&[]), Ok(Some("hf_file".to_owned())));
        assert_eq!(token(&[("HF_TOKEN", "hf_a")]), Ok(Some("hf_a".to_owned())));
        let wrong = token(&[("HF_TOKEN", "hf_a\nX-Other: b")]).unwrap_err();
        assert_eq!(wrong, "HF_TOKEN holds a character that no token has");
    }
}
