//! The local engine: a handle for everyone, and one thread that owns models and sequences.
//!
//! What crosses between them are plain values: requests in, chunks out. A panic while a request is served is caught,
//! answered, and costs that document's sequence, nothing else.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::config::Settings;
use crate::decode::draft_length::DraftLength;
use crate::model::{LanguageModelCache, device};
use crate::registry::{Progress, Registry};

use super::pair::{self, Pair};
use super::queue::{Event, Job, Prefill, Queue, finish};
use super::sequences::Sequences;
use super::{
    Backend, Decode, DocumentId, Finish, Hint, Request, RequestStats, State, Totals, ahead,
    decoding,
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

/// After a failed load, requests do not try again before this time has passed.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// Requests whose figures are kept in [`Totals::recent`].
const RECENT: usize = 64;

/// The engine's handle. Dropping it ends the worker after its current forward.
#[derive(Debug)]
pub struct LocalEngine {
    shared: Arc<Shared>,
    worker: Option<JoinHandle<()>>,
}

/// What the handle and the worker share.
#[derive(Debug)]
struct Shared {
    queue: Queue,
    state: watch::Sender<State>,
    totals: Mutex<Totals>,
    settings: Mutex<Settings>,
}

impl LocalEngine {
    /// Starts the worker. Models are loaded with the first request, or by [`LocalEngine::warm`].
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(registry: Registry, settings: Settings, reuse: Reuse) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Queue::default(),
            state: watch::Sender::new(State::Unloaded),
            totals: Mutex::default(),
            settings: Mutex::new(settings),
        });
        let worker = Worker {
            registry,
            shared: shared.clone(),
            reuse,
            loaded: None,
            failed: None,
            quiet_since: Instant::now(),
        };
        let worker =
            std::thread::Builder::new().name("engine".to_owned()).spawn(move || worker.run())?;
        Ok(Self { shared, worker: Some(worker) })
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
            State::Fetching { model, done_bytes, total_bytes } => Some(format!(
                "downloading {model}: {} of {} MB",
                done_bytes / 1_000_000,
                total_bytes / 1_000_000
            )),
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

    fn totals(&self) -> Totals {
        self.shared.totals().clone()
    }

    fn configure(&self, settings: &Settings) {
        *self.shared.settings.lock().unwrap_or_else(PoisonError::into_inner) = settings.clone();
        self.shared.queue.configure();
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
    fn totals(&self) -> MutexGuard<'_, Totals> {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settings(&self) -> Settings {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The thread that owns models and sequences.
struct Worker {
    registry: Registry,
    shared: Arc<Shared>,
    reuse: Reuse,
    loaded: Option<Loaded>,
    /// When loading failed last, and why.
    failed: Option<(Instant, String)>,
    /// When the last event ended that was no hint.
    quiet_since: Instant,
}

/// What is in memory.
struct Loaded {
    pair: Pair,
    /// The setting `adapter` that it was loaded with.
    adapter: Option<String>,
    /// The setting `adapterStrength` that it was loaded with.
    adapter_strength: f32,
    sequences: Sequences<LanguageModelCache>,
    /// What the rounds of this pair were measured to give and to take.
    draft_length: DraftLength,
    /// One thread: what candle does not compute in its own pool is too short to share.
    pool: rayon::ThreadPool,
}

impl Worker {
    fn run(mut self) {
        loop {
            match self.shared.queue.next(self.unload_at()) {
                Event::Job(job) => self.serve(&job),
                Event::Prefill(job) => {
                    self.prefill(&job);
                    // A hint is no reason to keep the models.
                    continue;
                }
                Event::Forget(document) => self.forget(&document),
                Event::Configure => self.configure(),
                Event::Idle => self.unload(),
                Event::Shutdown => return,
            }
            self.quiet_since = Instant::now();
        }
    }

    /// When the models leave memory if no request comes; none while they are not there.
    fn unload_at(&self) -> Option<Instant> {
        let minutes = self.shared.settings().idle_unload_minutes;
        (self.loaded.is_some() && minutes > 0)
            .then(|| self.quiet_since + Duration::from_secs(minutes * 60))
    }

    fn serve(&mut self, job: &Job) {
        if let Err(reason) = self.ensure_loaded() {
            return finish(&job.sink, Finish::NotReady(reason), RequestStats::default());
        }
        let Some(loaded) = &mut self.loaded else { return };
        let document = &job.request.document;
        let mut sequence = match self.reuse {
            Reuse::Keep => loaded.sequences.take(document),
            Reuse::Discard => None,
        }
        .unwrap_or_else(|| decoding::new_sequence(&loaded.pair));
        let (pair, pool) = (&loaded.pair, &loaded.pool);
        let draft_length = &mut loaded.draft_length;
        let served = compute(pool, || {
            let (finish, stats) = decoding::serve(pair, job, &mut sequence, draft_length);
            (finish, stats, sequence)
        });
        match served {
            Some((how, stats, sequence)) => {
                loaded.sequences.put(document.clone(), sequence, Some(Instant::now()));
                self.count(|totals| totals.add(&stats));
                finish(&job.sink, how, stats);
            }
            None => {
                let reason = "the engine failed on this request".to_owned();
                finish(&job.sink, Finish::Failed(reason), RequestStats::default());
            }
        }
    }

    /// Evaluates a hint, if there are models and caches live on.
    fn prefill(&mut self, job: &Prefill) {
        let Some(loaded) = self.loaded.as_mut().filter(|_| self.reuse == Reuse::Keep) else {
            return;
        };
        let Loaded { pair, sequences, pool, .. } = loaded;
        let n_tokens = match compute(pool, || ahead::prefill(pair, job, sequences)) {
            Some(Ok(n_tokens)) => n_tokens,
            Some(Err(error)) => return tracing::debug!(%error, "a hint cannot be evaluated"),
            None => return,
        };
        self.count(|totals| totals.ahead_tokens += n_tokens as u64);
    }

    fn count(&self, add: impl FnOnce(&mut Totals)) {
        let footprint = self.loaded.as_ref().map(|loaded| loaded.sequences.footprint());
        let mut totals = self.shared.totals();
        add(&mut totals);
        (totals.kv_bytes, totals.sequences) =
            footprint.map_or((0, 0), |(bytes, count)| (bytes as u64, count));
    }

    fn forget(&mut self, document: &DocumentId) {
        if let Some(loaded) = &mut self.loaded {
            loaded.sequences.forget(document);
        }
    }

    /// Applies changed settings: another profile, adapter or strength is loaded, and a failed load is tried again.
    fn configure(&mut self) {
        self.failed = None;
        let settings = self.shared.settings();
        if let Some(loaded) = &mut self.loaded {
            loaded.sequences.set_limit(kv_limit(&settings));
            let same_profile = loaded.pair.profile.profile == settings.profile;
            let same_strength = loaded.adapter_strength == settings.adapter_strength;
            if same_profile && loaded.adapter == settings.adapter && same_strength {
                return;
            }
        }
        self.loaded = None;
        let _reported = self.ensure_loaded();
    }

    fn unload(&mut self) {
        tracing::info!("no request for a while: the models leave memory");
        self.loaded = None;
        self.shared.state.send_replace(State::Unloaded);
    }

    /// Loads the profile of the settings unless it is there. The reason of a failure is for people.
    fn ensure_loaded(&mut self) -> Result<(), String> {
        if self.loaded.is_some() {
            return Ok(());
        }
        if let Some((when, reason)) = &self.failed
            && when.elapsed() < RETRY_AFTER
        {
            return Err(reason.clone());
        }
        let settings = self.shared.settings();
        match self.load(&settings) {
            Ok(loaded) => {
                self.shared.state.send_replace(State::Ready(Box::new(loaded.pair.profile.clone())));
                self.loaded = Some(loaded);
                Ok(())
            }
            Err(reason) => {
                tracing::info!(%reason, "cannot load the models");
                self.shared.state.send_replace(State::Failed { reason: reason.clone() });
                self.failed = Some((Instant::now(), reason.clone()));
                Err(reason)
            }
        }
    }

    fn load(&self, settings: &Settings) -> Result<Loaded, String> {
        let profile = settings.profile.clone();
        self.shared.state.send_replace(State::Loading { profile: profile.clone() });
        let n_threads = device::choose_threads(settings.threads);
        if ![0, n_threads].contains(&settings.threads) {
            tracing::warn!(
                "`threads` takes effect at the next start; it is {n_threads} until then"
            );
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
        let pool = pool.map_err(|e| format!("cannot start the compute threads: {e}"))?;
        let progress = ReportState { shared: &self.shared, profile: &profile };
        let pair =
            pair::load(&self.registry, settings.into(), &progress).map_err(|e| e.to_string())?;
        let sequences = Sequences::new(kv_limit(settings));
        Ok(Loaded {
            pair,
            adapter: settings.adapter.clone(),
            adapter_strength: settings.adapter_strength,
            sequences,
            draft_length: DraftLength::default(),
            pool,
        })
    }
}

/// Runs `work` in the pool; `None` if it panics. The sequence that it has taken is dropped then, and nothing else.
fn compute<T: Send>(pool: &rayon::ThreadPool, work: impl FnOnce() -> T + Send) -> Option<T> {
    let done = catch_unwind(AssertUnwindSafe(|| pool.install(work)));
    if done.is_err() {
        tracing::error!("the engine panicked on a document; its cache is dropped");
    }
    done.ok()
}

fn kv_limit(settings: &Settings) -> usize {
    (settings.kv_memory_mib as usize).saturating_mul(1 << 20)
}

/// Turns a download's progress into [`State`].
struct ReportState<'a> {
    shared: &'a Shared,
    profile: &'a str,
}

impl Progress for ReportState<'_> {
    fn advance(&self, model: &str, done_bytes: u64, total_bytes: u64) {
        let model = model.to_owned();
        let state = match done_bytes < total_bytes {
            true => State::Fetching { model, done_bytes, total_bytes },
            false => State::Loading { profile: self.profile.to_owned() },
        };
        self.shared.state.send_replace(state);
    }

    fn note(&self, message: &str) {
        tracing::info!("{message}");
    }

    fn is_cancelled(&self) -> bool {
        self.shared.queue.is_closed()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Mode;
    use crate::engine::{PromptBudget, Reach};
    use crate::prompt::Prompt;
    use crate::registry::{Offline, RegistryOptions};

    #[test]
    fn a_hint_loads_no_model() {
        let options = RegistryOptions {
            store: Some("nowhere".into()),
            offline: Offline::Yes,
            ..RegistryOptions::default()
        };
        let registry = Registry::open(options).expect("nothing is read yet");
        let shared = Arc::new(Shared {
            queue: Queue::default(),
            state: watch::Sender::new(State::Unloaded),
            totals: Mutex::default(),
            settings: Mutex::default(),
        });
        let state = shared.state.subscribe();
        shared.queue.prefill(Hint {
            document: DocumentId("a".into()),
            prompt: Prompt { above: "a\n".to_owned(), ..Prompt::default() },
            budget: PromptBudget { prefix_tokens: 8, suffix_tokens: 8 },
            reach: Reach::Above,
            mode: Mode::Cosec,
        });
        let Event::Prefill(job) = shared.queue.next(None) else { panic!("no hint") };
        let quiet_since = Instant::now();
        let reuse = Reuse::Keep;
        let mut worker =
            Worker { registry, shared, reuse, loaded: None, failed: None, quiet_since };
        worker.prefill(&job);
        assert!(worker.loaded.is_none() && worker.failed.is_none());
        assert!(!state.has_changed().expect("the worker lives"), "not even tried");
    }
}
