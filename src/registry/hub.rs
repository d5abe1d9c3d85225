//! Files from a Hugging Face hub, or a mirror of it, through `hf-hub`.
//!
//! `hf-hub` honours proxies and resumes by itself, but it has neither a timeout nor a way to stop. So it works in a thread
//! of its own, watched from here: silence ends the attempt, and whoever drops the watch stops the thread at its next chunk.

use std::env;
use std::fs;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use directories::BaseDirs;
use hf_hub::api::sync::{ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};

use super::Error;
use super::download::{Job, POLL};
use super::manifest::HubSource;
use super::store;

/// A firewall that swallows packets must not hold up the next source.
const PATIENCE: Patience =
    Patience { first_byte: Duration::from_secs(10), stall: Duration::from_secs(30) };

/// Tries in all; a further one only follows a try that brought bytes.
const TRIES: usize = 3;

/// Where the hub is and how to ask it.
#[derive(Debug)]
pub(super) struct Hub {
    /// Absent for Hugging Face itself.
    endpoint: Option<String>,
    /// The cache that other programs fill; absent without a home directory.
    cache: Option<Cache>,
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
    Ended(Result<PathBuf, ApiError>),
}

/// The thread's end of the watch.
struct Meter {
    events: Sender<Event>,
    abandoned: Arc<AtomicBool>,
    done_bytes: u64,
}

/// Our end of the watch; dropping it stops the thread at its next chunk.
struct Watch {
    events: Receiver<Event>,
    abandoned: Arc<AtomicBool>,
}

impl Hub {
    /// Fills in what the environment says.
    pub(super) fn new(endpoint: Option<String>, cache: Option<PathBuf>) -> Self {
        let named = |name| env::var(name).ok().filter(|value| !value.is_empty());
        let endpoint = endpoint.or_else(|| named("HF_ENDPOINT"));
        let cache = cache
            .or_else(|| named("HF_HUB_CACHE").map(PathBuf::from))
            .or_else(|| Some(PathBuf::from(named("HF_HOME")?).join("hub")))
            .or_else(|| Some(BaseDirs::new()?.home_dir().join(".cache/huggingface/hub")));
        Self {
            endpoint: endpoint.map(|address| address.trim_end_matches('/').to_owned()),
            cache: cache.map(Cache::new),
            patience: PATIENCE,
        }
    }

    /// The file in the shared cache, if another program already fetched this very revision.
    pub(super) fn cached(&self, source: &HubSource) -> Option<PathBuf> {
        let repo = self.cache.as_ref()?.repo(repo(source));
        let file = repo.pointer_path(&source.revision).join(&source.file);
        file.is_file().then_some(file)
    }

    /// Downloads go to a cache among the parts, so that what is interrupted is found again.
    fn open(&self, source: &HubSource, parts: &Path) -> Result<ApiRepo, Error> {
        let token = env::var("HF_TOKEN").ok().filter(|token| !token.is_empty());
        let mut builder = ApiBuilder::from_cache(Cache::new(parts.to_owned()))
            .with_token(token.or_else(|| self.cache.as_ref()?.token()))
            .with_user_agent("cosec-ls", env!("CARGO_PKG_VERSION"));
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint.clone());
        }
        let api = builder.build().map_err(|error| Error::Source(error.to_string()))?;
        Ok(api.repo(repo(source)))
    }
}

/// Fetches the file into `parts`.
pub(super) fn fetch(
    hub: &Hub,
    source: &HubSource,
    parts: &Path,
    job: &Job<'_>,
) -> Result<PathBuf, Error> {
    fs::create_dir_all(parts).map_err(|cause| job.io_error(parts, cause))?;
    drop_overlong_parts(parts, job.artifact.size_bytes);
    let mut tries = 1;
    loop {
        let before_bytes = store::size_of(parts);
        let watch = start(hub.open(source, parts)?, source.file.clone());
        let error = match watch.until_end(hub.patience, job) {
            Ok(path) => return fs::canonicalize(&path).map_err(|cause| job.io_error(&path, cause)),
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

fn repo(source: &HubSource) -> Repo {
    Repo::with_revision(source.repository.clone(), RepoType::Model, source.revision.clone())
}

fn start(repo: ApiRepo, file: String) -> Watch {
    let (sender, events) = mpsc::channel();
    let abandoned = Arc::new(AtomicBool::new(false));
    let meter = Meter { events: sender.clone(), abandoned: Arc::clone(&abandoned), done_bytes: 0 };
    thread::spawn(move || {
        let result = repo.download_with_progress(&file, meter);
        // Nobody listening means that the watch was dropped, which is how a try is given up.
        let _ = sender.send(Event::Ended(result));
    });
    Watch { events, abandoned }
}

impl Watch {
    /// One try, given up when it stands still or nobody wants it any more.
    fn until_end(&self, patience: Patience, job: &Job<'_>) -> Result<PathBuf, Error> {
        let mut silence = patience.first_byte;
        let mut heard = Instant::now();
        loop {
            job.check_cancelled()?;
            match self.events.recv_timeout(POLL) {
                Ok(Event::Bytes(done_bytes)) => {
                    job.advance(done_bytes);
                    (silence, heard) = (patience.stall, Instant::now());
                }
                Ok(Event::Ended(result)) => return result.map_err(|error| explain(error, job)),
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
        self.abandoned.store(true, Ordering::Relaxed);
    }
}

impl hf_hub::api::Progress for Meter {
    fn init(&mut self, _size: usize, _filename: &str) {
        self.done_bytes = 0;
    }

    fn update(&mut self, size: usize) {
        if self.abandoned.load(Ordering::Relaxed) {
            // `hf-hub` cannot be told to stop. Unwinding out of its callback closes its file and frees its lock by drop,
            // and, unlike a panic, prints nothing.
            resume_unwind(Box::new("abandoned"));
        }
        self.done_bytes += size as u64;
        // See `start`.
        let _ = self.events.send(Event::Bytes(self.done_bytes));
    }

    fn finish(&mut self) {}
}

fn explain(error: ApiError, job: &Job<'_>) -> Error {
    match error {
        ApiError::IoError(cause) => match job.io_error(&job.parts(), cause) {
            // `hf-hub` does not tell a broken connection from a broken disk; both end this source only.
            Error::Io { cause, .. } => Error::Source(cause.to_string()),
            full => full,
        },
        other => Error::Source(other.to_string()),
    }
}

/// A part that is as long as the whole file cannot be resumed: a server answers that range with 416, for ever.
fn drop_overlong_parts(parts: &Path, size_bytes: u64) {
    let Ok(repos) = fs::read_dir(parts) else {
        return;
    };
    let blobs = repos.flatten().flat_map(|repo| fs::read_dir(repo.path().join("blobs")));
    for blob in blobs.flatten().flatten() {
        let overlong = blob.metadata().is_ok_and(|metadata| metadata.len() >= size_bytes);
        if overlong && blob.path().extension().is_some_and(|extension| extension == "part") {
            // If it stays, the next lines report what the server says about it.
            let _ = fs::remove_file(blob.path());
        }
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
        let mut hub = Hub::new(Some(format!("http://{address}")), Some(directory.path().into()));
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
}
