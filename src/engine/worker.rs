//! The thread that owns models and sequences: what it does about each event, and about a panic.
//!
//! Whatever panics, the thread goes on and whoever waits is answered. A panic while one document is decoded costs its
//! sequence; where it may be the models' fault, and wherever else something panics, all that is in memory goes and the
//! next request loads it again.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::Settings;
use crate::decode::draft_length::DraftLength;
use crate::model::{LanguageModelCache, device};
use crate::registry::{Missing, Progress};

use super::fetch::{Fetched, Fetches, Wish};
use super::local::{Reuse, Shared};
use super::pair::{Load, LoadError, Pair};
use super::queue::{Event, Job, Prefill, finish};
use super::sequences::Sequences;
use super::{
    DecodeSink, DocumentId, Finish, MissingModels, RequestStats, State, Totals, ahead, decoding,
    panic,
};

/// After a failed load, requests do not try again before this time has passed.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// Panics in a row without an event between them, after which the thread gives up.
const MOST_FRUITLESS: usize = 3;

/// Why there are no models while a download has not told yet how far it is.
const DOWNLOADING: &str = "the models are being downloaded";

/// What a request says whose decoding panicked. Not what the panic said, which may quote the user's code.
const PANICKED: &str = "the models failed on this text; the server's log says where";

/// The thread's own state.
pub(super) struct Worker<L> {
    loader: Arc<L>,
    shared: Arc<Shared>,
    reuse: Reuse,
    loaded: Option<Loaded>,
    fetches: Fetches,
    /// The last failure; none once a request was served.
    failed: Option<Failure>,
    /// When the last event ended that was no hint.
    quiet_since: Instant,
    /// Who waits for the request that is being served.
    in_hand: Option<DecodeSink>,
    /// Panics since the last event.
    n_fruitless: usize,
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
    standing: Standing,
}

/// What is known of whether the models work.
enum Standing {
    /// They have served no request.
    Unproven,
    /// They served the last request.
    Proven,
    /// They have served requests, but panicked on the last one, of this document.
    Suspect(DocumentId),
}

/// Why there are no models.
struct Failure {
    when: Instant,
    reason: String,
    retry: Retry,
}

/// When a load is tried again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Retry {
    /// With the next request: a first panic may have been bad luck.
    AtOnce,
    /// With the first request after [`RETRY_AFTER`].
    Later,
}

/// Answers all that come after a thread that ended unasked.
struct Farewell(Arc<Shared>);

impl Drop for Farewell {
    fn drop(&mut self) {
        let reason = "the engine has stopped; restart the server";
        self.0.queue.break_off(reason);
        if !self.0.queue.is_closed() {
            self.0.state.send_replace(State::Failed { reason: reason.to_owned() });
        }
    }
}

impl<L: Load> Worker<L> {
    /// A worker with nothing in memory.
    pub(super) fn new(loader: L, shared: Arc<Shared>, reuse: Reuse) -> Self {
        Self {
            loader: Arc::new(loader),
            shared,
            reuse,
            loaded: None,
            fetches: Fetches::default(),
            failed: None,
            quiet_since: Instant::now(),
            in_hand: None,
            n_fruitless: 0,
        }
    }

    /// Serves until the last handle is gone.
    pub(super) fn run(self) {
        let _farewell = Farewell(Arc::clone(&self.shared));
        // Goes first, and its downloads with it, so that the farewell has the last word about the state.
        let mut worker = self;
        while worker.n_fruitless < MOST_FRUITLESS {
            match panic::catch(|| worker.turn()) {
                Ok(ControlFlow::Break(())) => return,
                Ok(ControlFlow::Continue(())) => {}
                Err(message) => {
                    if let Err(message) = panic::catch(|| worker.recover(&message)) {
                        tracing::error!(message, "the engine's thread panicked once more");
                    }
                }
            }
        }
    }

    /// Waits for an event and does what it asks for; breaks at the last.
    fn turn(&mut self) -> ControlFlow<()> {
        let event = self.shared.queue.next(self.unload_at());
        self.n_fruitless = 0;
        match event {
            Event::Job(job) => self.serve(&job),
            Event::Prefill(job) => {
                self.prefill(&job);
                // A hint is no reason to keep the models.
                return ControlFlow::Continue(());
            }
            Event::Forget(document) => self.forget(&document),
            Event::Configure => self.configure(),
            Event::Fetch(profile) => self.fetch(&profile),
            Event::CancelFetch => self.cancel_fetch(),
            Event::Fetched(fetched) => self.fetched(fetched),
            Event::Idle => self.unload(),
            Event::Shutdown => return ControlFlow::Break(()),
        }
        self.quiet_since = Instant::now();
        ControlFlow::Continue(())
    }

    /// After a panic: answers all that wait, and lets go of everything, which may be half-changed. No text of the user
    /// is handled where this panic comes from, so what it says is shown.
    fn recover(&mut self, message: &str) {
        self.n_fruitless += 1;
        let reason =
            format!("the engine failed and starts afresh with the next request: {message}");
        tracing::error!(message, "the engine's thread panicked");
        self.drop_models();
        // In this order, so that whoever is told and asks again is not failed with those that waited.
        self.shared.queue.fail_waiting(&reason);
        self.note_failure(&reason, self.retry());
        if let Some(sink) = self.in_hand.take() {
            finish(&sink, Finish::Failed(reason), RequestStats::default());
        }
    }

    /// When the models leave memory if no request comes; none while they are not there, or if that is beyond all time.
    fn unload_at(&self) -> Option<Instant> {
        self.loaded.as_ref()?;
        let idle = self.shared.settings().idle_unload()?;
        self.quiet_since.checked_add(idle)
    }

    fn serve(&mut self, job: &Job) {
        self.in_hand = Some(job.sink.clone());
        let (how, stats) = match self.ensure_loaded() {
            Ok(()) => self.decode(job),
            Err(reason) => (Finish::NotReady(reason), RequestStats::default()),
        };
        self.in_hand = None;
        finish(&job.sink, how, stats);
    }

    /// Serves a request with the models, which are there.
    fn decode(&mut self, job: &Job) -> (Finish, RequestStats) {
        let Some(loaded) = &mut self.loaded else {
            return (
                Finish::NotReady("the models are not loaded".to_owned()),
                RequestStats::default(),
            );
        };
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
        let Some((how, stats, sequence)) = served else {
            self.blame(document);
            return (Finish::Failed(PANICKED.to_owned()), RequestStats::default());
        };
        loaded.sequences.put(document.clone(), sequence, Some(Instant::now()));
        if stats.decoded_tokens > 0 {
            loaded.standing = Standing::Proven;
            self.failed = None;
        }
        self.count(|totals| totals.add(&stats));
        (how, stats)
    }

    /// A request of `document` panicked, and its sequence is gone. Weights never change, so models that have served
    /// stay, unless they fail on another document as well.
    fn blame(&mut self, document: &DocumentId) {
        let Some(loaded) = &mut self.loaded else { return };
        let is_innocent = match &loaded.standing {
            Standing::Unproven => false,
            Standing::Proven => true,
            Standing::Suspect(last) => last == document,
        };
        if is_innocent {
            loaded.standing = Standing::Suspect(document.clone());
            return;
        }
        self.drop_models();
        self.note_failure(
            "the models fail on what they are asked; the server's log says where",
            self.retry(),
        );
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
        let is_welcome = self.fetches.may_begin(&settings);
        if let Some(fetch) = self.fetches.running()
            && (fetch.profile != settings.profile || !is_welcome)
        {
            fetch.give_up();
        }
        let _reported = self.ensure_loaded();
    }

    /// The user wants the files of a profile.
    fn fetch(&mut self, profile: &str) {
        self.fetches.wish(profile, Wish::Fetch);
        if self.shared.settings().profile == profile && self.loaded.is_none() {
            self.failed = None;
            let _reported = self.ensure_loaded();
        }
    }

    /// The user does not want what is being fetched. The state changes when it has ended, and so says what is here.
    fn cancel_fetch(&mut self) {
        let Some(fetch) = self.fetches.running() else { return };
        fetch.give_up();
        let profile = fetch.profile.clone();
        self.fetches.wish(&profile, Wish::Leave);
    }

    /// A download has ended: what it was for is loaded, or the state says why not.
    fn fetched(&mut self, Fetched { id, result }: Fetched) {
        let Some(fetch) = self.fetches.ended(id) else { return };
        match result {
            Err(error) if !fetch.is_given_up() => {
                let _reported = self.cannot_load(&error);
                return;
            }
            Ok(()) => self.fetches.forget_wish(&fetch.profile),
            Err(_) => {}
        }
        let _reported = self.ensure_loaded();
    }

    fn unload(&mut self) {
        tracing::info!("no request for a while: the models leave memory");
        self.loaded = None;
        self.shared.state.send_replace(State::Unloaded);
    }

    /// Lets go of the models, in whatever state they are.
    fn drop_models(&mut self) {
        let loaded = self.loaded.take();
        if let Err(message) = panic::catch(|| drop(loaded)) {
            tracing::error!(message, "the models cannot be let go of");
        }
    }

    /// When to try again after a panic: not over and over.
    fn retry(&self) -> Retry {
        if self.failed.is_none() { Retry::AtOnce } else { Retry::Later }
    }

    fn note_failure(&mut self, reason: &str, retry: Retry) {
        let (when, reason) = (Instant::now(), reason.to_owned());
        self.shared.state.send_replace(State::Failed { reason: reason.clone() });
        self.failed = Some(Failure { when, reason, retry });
    }

    /// Loads the profile of the settings unless it is there. The reason of a failure is for people.
    fn ensure_loaded(&mut self) -> Result<(), String> {
        if self.loaded.is_some() {
            return Ok(());
        }
        if let Some(Failure { when, reason, retry: Retry::Later }) = &self.failed
            && when.elapsed() < RETRY_AFTER
        {
            return Err(reason.clone());
        }
        if self.fetches.running().is_some() {
            let reason = self.shared.state.borrow().lacks_files();
            return Err(reason.unwrap_or_else(|| DOWNLOADING.to_owned()));
        }
        let settings = self.shared.settings();
        let missing = self.loader.missing((&settings).into());
        let missing = missing.map_err(|error| self.cannot_load(&error))?;
        if !missing.models.is_empty() {
            return Err(self.get(&settings, missing));
        }
        match self.load(&settings) {
            Ok(loaded) => {
                self.shared.state.send_replace(State::Ready(Box::new(loaded.pair.profile.clone())));
                self.loaded = Some(loaded);
                Ok(())
            }
            Err(error) if error.is_of_absence() && self.fetches.may_begin(&settings) => {
                Err(self.begin_fetch(&settings, &missing))
            }
            Err(error) => Err(self.cannot_load(&error)),
        }
    }

    /// Begins to fetch what is missing, if that is allowed. Returns why there are no models, in either case.
    fn get(&mut self, settings: &Settings, missing: Missing) -> String {
        if missing.forbidden_by.is_none() && self.fetches.may_begin(settings) {
            return self.begin_fetch(settings, &missing);
        }
        let missing = MissingModels {
            profile: settings.profile.clone(),
            download_bytes: missing.download_bytes(),
            models: missing.models.into_iter().map(|model| model.name).collect(),
            offline: missing.forbidden_by,
        };
        let (reason, state) = (missing.reason(), State::Missing(missing));
        // Every request comes by here.
        self.shared.state.send_if_modified(|old| {
            *old != state && {
                *old = state;
                true
            }
        });
        reason
    }

    fn begin_fetch(&mut self, settings: &Settings, missing: &Missing) -> String {
        let begun = self.fetches.begin(&self.loader, &self.shared, settings, missing);
        match begun.map_err(LoadError::Threads) {
            Ok(()) => {
                let reason = self.shared.state.borrow().lacks_files();
                reason.unwrap_or_else(|| DOWNLOADING.to_owned())
            }
            Err(error) => self.cannot_load(&error),
        }
    }

    /// Notes why there are no models, and says it.
    fn cannot_load(&mut self, error: &LoadError) -> String {
        let reason = error.to_string();
        let retry = match error {
            LoadError::Panicked { .. } => self.retry(),
            _ => Retry::Later,
        };
        tracing::info!(%reason, "cannot load the models");
        self.note_failure(&reason, retry);
        reason
    }

    fn load(&self, settings: &Settings) -> Result<Loaded, LoadError> {
        self.shared.state.send_replace(State::Loading { profile: settings.profile.clone() });
        let n_threads = device::choose_threads(settings.threads);
        if ![0, n_threads].contains(&settings.threads) {
            tracing::warn!(
                "`threads` takes effect at the next start; it is {n_threads} until then"
            );
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
        let pool = pool.map_err(|error| LoadError::Threads(std::io::Error::other(error)))?;
        let pair = self.loader.load(settings.into(), &Loading(&self.shared))?;
        let sequences = Sequences::new(kv_limit(settings));
        Ok(Loaded {
            pair,
            adapter: settings.adapter.clone(),
            adapter_strength: settings.adapter_strength,
            sequences,
            draft_length: DraftLength::default(),
            pool,
            standing: Standing::Unproven,
        })
    }
}

/// Runs `work` in the pool; `None` if it panics. The sequence that it has taken is dropped then, and nothing else.
fn compute<T: Send>(pool: &rayon::ThreadPool, work: impl FnOnce() -> T + Send) -> Option<T> {
    let done = panic::catch(|| pool.install(work));
    done.inspect_err(|message| {
        tracing::error!("the engine panicked on a document; its cache is dropped");
        tracing::trace!(message, "the engine panicked on a document");
    })
    .ok()
}

fn kv_limit(settings: &Settings) -> usize {
    usize::try_from(settings.kv_memory_mib).unwrap_or(usize::MAX).saturating_mul(1 << 20)
}

/// Files that are here may have to be checked first, which ends with the engine.
struct Loading<'a>(&'a Shared);

impl Progress for Loading<'_> {
    /// Nothing is fetched.
    fn advance(&self, _model: &str, _done_bytes: u64, _total_bytes: u64) {}

    fn note(&self, message: &str) {
        tracing::info!("{message}");
    }

    fn is_cancelled(&self) -> bool {
        self.0.queue.is_closed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Decoding, DraftTokens, Mode};
    use crate::engine::pair::Choice;
    use crate::engine::{Chunk, Decode, Hint, PromptBudget, Reach, Request};
    use crate::prompt::Prompt;
    use crate::prompt::stop::StopRules;

    /// Nothing may be loaded.
    struct NoLoad;

    impl Load for NoLoad {
        fn load(&self, _: Choice<'_>, _: &dyn Progress) -> Result<Pair, LoadError> {
            panic!("nothing is to be loaded")
        }
    }

    fn request() -> Request {
        Request {
            document: DocumentId("a".into()),
            prompt: Prompt::default(),
            budget: PromptBudget { prefix_tokens: 8, suffix_tokens: 8 },
            decoding: Decoding::default(),
            draft_tokens: DraftTokens::Auto,
            seed: 0,
            sample: 0,
            stop: StopRules {
                max_lines: 1,
                left: String::new(),
                lines_below: Vec::new(),
                tab_width: 4,
            },
            max_tokens: 1,
            deadline: None,
            resume: Vec::new(),
        }
    }

    #[test]
    fn a_hint_loads_no_model() {
        let shared = Arc::new(Shared::new(Settings::default()));
        let state = shared.state.subscribe();
        shared.queue.prefill(Hint {
            document: DocumentId("a".into()),
            prompt: Prompt { above: "a\n".to_owned(), ..Prompt::default() },
            budget: PromptBudget { prefix_tokens: 8, suffix_tokens: 8 },
            reach: Reach::Above,
            mode: Mode::Cosec,
            max_tokens: 8,
        });
        let Event::Prefill(job) = shared.queue.next(None) else { panic!("no hint") };
        let mut worker = Worker::new(NoLoad, shared, Reuse::Keep);
        worker.prefill(&job);
        assert!(worker.loaded.is_none() && worker.failed.is_none());
        assert!(!state.has_changed().expect("the worker lives"), "not even tried");
    }

    #[test]
    fn a_thread_that_ends_unasked_leaves_nobody_waiting() {
        let shared = Arc::new(Shared::new(Settings::default()));
        drop(Farewell(Arc::clone(&shared)));
        assert!(matches!(&*shared.state.borrow(), State::Failed { .. }));
        let (mut decode, sink) = Decode::channel();
        shared.queue.submit(request(), sink);
        let Ok(Chunk::Done(done)) = decode.chunks.try_recv() else { panic!("no answer") };
        assert!(matches!(done.finish, Finish::Failed(_)));
    }

    #[test]
    fn a_thread_that_ends_as_asked_has_not_failed() {
        let shared = Arc::new(Shared::new(Settings::default()));
        shared.queue.close();
        drop(Farewell(Arc::clone(&shared)));
        assert!(matches!(&*shared.state.borrow(), State::Unloaded));
    }
}
