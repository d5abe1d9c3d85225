//! The local engine: a handle for everyone, and one thread that owns models and sequences.
//!
//! What crosses between them are plain values: requests in, chunks out. The thread is `engine/worker.rs`'s.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::watch;

use crate::config::Settings;

use super::pair::Load;
use super::queue::{Queue, finish};
use super::worker::Worker;
use super::{
    Backend, Decode, DocumentId, Finish, Hint, ProfileSummary, Request, RequestStats, State, Totals,
};

/// Whether caches live from one request to the next. By default, they do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reuse {
    /// The sequence of a document is kept for its next request.
    #[default]
    Keep,
    /// Every request starts from nothing; only for measuring what reuse is worth.
    Discard,
}

/// Requests whose figures are kept in [`Totals::recent`].
const RECENT: usize = 64;

/// The engine's handle. Dropping it ends the worker after its current forward.
#[derive(Debug)]
pub struct LocalEngine {
    shared: Arc<Shared>,
    profiles: Vec<ProfileSummary>,
    worker: Option<JoinHandle<()>>,
}

/// What the handle and the worker share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) queue: Queue,
    pub(super) state: watch::Sender<State>,
    totals: Mutex<Totals>,
    settings: Mutex<Settings>,
}

impl LocalEngine {
    /// Starts the worker. Models are loaded with the first request, or by [`LocalEngine::warm`].
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(loader: impl Load, settings: Settings, reuse: Reuse) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::new(settings));
        let profiles = loader.profiles();
        let worker = Worker::new(loader, Arc::clone(&shared), reuse);
        let worker =
            std::thread::Builder::new().name("engine".to_owned()).spawn(move || worker.run())?;
        Ok(Self { shared, profiles, worker: Some(worker) })
    }

    /// Loads the models now rather than with the first request.
    pub fn warm(&self) {
        self.shared.queue.configure();
    }
}

impl Backend for LocalEngine {
    fn submit(&self, request: Request) -> Decode {
        let (decode, sink) = Decode::channel();
        let not_ready = match &*self.shared.state.borrow() {
            state @ State::Fetching { .. } => state.lacks_files(),
            // What is missing may be here by now, which the worker looks for.
            _ => None,
        };
        match not_ready {
            Some(reason) => finish(&sink, Finish::NotReady(reason), RequestStats::default()),
            None => self.shared.queue.submit(request, sink),
        }
        decode
    }

    /// Whether there are models is the worker's business: a hint that comes while they are loaded runs after that,
    /// unless a newer one or a request of its document comes first.
    fn prefill(&self, hint: Hint) {
        self.shared.queue.prefill(hint);
    }

    fn drop_hints(&self) {
        self.shared.queue.drop_hints();
    }

    fn forget(&self, document: &DocumentId) {
        self.shared.queue.forget(document);
    }

    fn state(&self) -> watch::Receiver<State> {
        self.shared.state.subscribe()
    }

    fn profiles(&self) -> Vec<ProfileSummary> {
        self.profiles.clone()
    }

    fn totals(&self) -> Totals {
        self.shared.totals().clone()
    }

    fn configure(&self, settings: &Settings) {
        *self.shared.settings.lock().unwrap_or_else(PoisonError::into_inner) = settings.clone();
        self.shared.queue.configure();
    }

    fn fetch(&self, profile: &str) {
        self.shared.queue.fetch(profile);
    }

    fn cancel_fetch(&self) {
        self.shared.queue.cancel_fetch();
    }
}

impl Drop for LocalEngine {
    fn drop(&mut self) {
        self.shared.queue.close();
        if let Some(worker) = self.worker.take() {
            let _panicked = worker.join();
        }
    }
}

impl Shared {
    /// Nothing is loaded, and nobody waits.
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            queue: Queue::default(),
            state: watch::Sender::new(State::Unloaded),
            totals: Mutex::default(),
            settings: Mutex::new(settings),
        }
    }

    pub(super) fn totals(&self) -> MutexGuard<'_, Totals> {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn settings(&self) -> Settings {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Totals {
    /// Adds the figures of one request.
    pub fn add(&mut self, stats: &RequestStats) {
        if stats.decoded_tokens == 0 {
            return;
        }
        self.requests += 1;
        self.prompt_tokens += stats.prompt_tokens as u64;
        self.reused_tokens += stats.reused_tokens as u64;
        self.decoded_tokens += stats.decoded_tokens as u64;
        self.proposed += stats.proposed as u64;
        self.accepted += stats.accepted as u64;
        self.rounds += stats.rounds as u64;
        self.drafted += stats.drafted as u64;
        self.interventions += stats.interventions as u64;
        self.recent.push_back(*stats);
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
    }
}
