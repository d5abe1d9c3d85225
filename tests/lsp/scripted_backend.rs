//! Models that say what the test tells them to, when it tells them to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use cosec_ls::config::Settings;
use cosec_ls::engine::{
    Backend, Chunk, Decode, DecodeSink, DocumentId, Done, Finish, Hint, ProfileSummary, Request,
    RequestStats, Role, State, TextChunk, TokenTrace, Totals,
};
use tokio::sync::{mpsc, watch};

/// Longer than anything here takes; a test that waits for what never comes fails by it.
pub(crate) const HANG: Duration = Duration::from_secs(20);

/// The test's end.
pub(crate) struct Script {
    runs: mpsc::UnboundedReceiver<Run>,
    hints: mpsc::UnboundedReceiver<Hint>,
    n_dropped: Arc<AtomicUsize>,
    pub(crate) forgotten: mpsc::UnboundedReceiver<DocumentId>,
    pub(crate) configured: mpsc::UnboundedReceiver<Settings>,
    fetches: mpsc::UnboundedReceiver<Fetch>,
    pub(crate) state: watch::Sender<State>,
    panics: Arc<AtomicBool>,
}

/// The server's end.
struct ScriptedBackend {
    runs: mpsc::UnboundedSender<Run>,
    hints: mpsc::UnboundedSender<Hint>,
    n_dropped: Arc<AtomicUsize>,
    forgotten: mpsc::UnboundedSender<DocumentId>,
    configured: mpsc::UnboundedSender<Settings>,
    fetches: mpsc::UnboundedSender<Fetch>,
    state: watch::Receiver<State>,
    panics: Arc<AtomicBool>,
}

/// What the server wants to be done about files.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fetch {
    /// Those of this profile are wanted.
    Begin(String),
    /// They are not wanted any more.
    Cancel,
}

/// A request that the models got.
pub(crate) struct Run {
    pub(crate) request: Request,
    sink: DecodeSink,
}

pub(crate) fn scripted() -> (Arc<dyn Backend>, Script) {
    let (runs_in, runs) = mpsc::unbounded_channel();
    let (hints_in, hints) = mpsc::unbounded_channel();
    let (forgotten_in, forgotten) = mpsc::unbounded_channel();
    let (configured_in, configured) = mpsc::unbounded_channel();
    let (fetches_in, fetches) = mpsc::unbounded_channel();
    let (state_in, state) = watch::channel(State::Unloaded);
    let panics = Arc::new(AtomicBool::new(false));
    let n_dropped = Arc::new(AtomicUsize::new(0));
    let backend = ScriptedBackend {
        runs: runs_in,
        hints: hints_in,
        n_dropped: n_dropped.clone(),
        forgotten: forgotten_in,
        configured: configured_in,
        fetches: fetches_in,
        state,
        panics: panics.clone(),
    };
    (
        Arc::new(backend),
        Script { runs, hints, n_dropped, forgotten, configured, fetches, state: state_in, panics },
    )
}

impl Script {
    /// The next request.
    pub(crate) async fn run(&mut self) -> Run {
        tokio::time::timeout(HANG, self.runs.recv()).await.expect("no request came").unwrap()
    }

    /// Answers the next request with `text`.
    pub(crate) async fn say(&mut self, text: &str) -> Request {
        let run = self.run().await;
        run.text(text);
        run.done(Finish::EndOfText);
        run.request
    }

    /// The next hint.
    pub(crate) async fn hint(&mut self) -> Hint {
        tokio::time::timeout(HANG, self.hints.recv()).await.expect("no hint came").unwrap()
    }

    /// The next word about files.
    pub(crate) async fn fetch(&mut self) -> Fetch {
        tokio::time::timeout(HANG, self.fetches.recv()).await.expect("nothing is fetched").unwrap()
    }

    /// Whether nothing was fetched that no test looked at.
    pub(crate) fn fetches_nothing(&mut self) -> bool {
        self.fetches.is_empty()
    }

    /// How often all hints were dropped.
    pub(crate) fn n_dropped_hints(&self) -> usize {
        self.n_dropped.load(Ordering::SeqCst)
    }

    /// Whether hints came that no test looked at.
    pub(crate) fn has_no_hint(&mut self) -> bool {
        self.hints.is_empty()
    }

    /// Whether requests came that no test looked at.
    pub(crate) fn is_idle(&mut self) -> bool {
        self.runs.is_empty()
    }

    /// From now on every request panics.
    pub(crate) fn panic(&self) {
        self.panics.store(true, Ordering::SeqCst);
    }
}

impl Run {
    /// Decodes `text`, as one token.
    pub(crate) fn text(&self, text: &str) {
        let chunk = TextChunk { text: text.to_owned(), tokens: vec![token(text)] };
        // The server may have gone on to something newer.
        drop(self.sink.chunks.send(Chunk::Text(chunk)));
    }

    /// Ends the request.
    pub(crate) fn done(&self, finish: Finish) {
        let stats = RequestStats { decoded_tokens: 1, ..Default::default() };
        drop(self.sink.chunks.send(Chunk::Done(Done { finish, stats })));
    }

    /// Waits until nobody wants the rest.
    pub(crate) async fn cancelled(&self) {
        tokio::time::timeout(HANG, self.sink.cancelled.cancelled()).await.expect("not cancelled");
    }

    /// The text before the cursor.
    pub(crate) fn before_cursor(&self) -> String {
        self.request.prompt.above.clone() + &self.request.prompt.left
    }
}

fn token(text: &str) -> TokenTrace {
    TokenTrace {
        token: 7,
        text: text.to_owned(),
        role: Role::Security,
        p: Some(0.5),
        q: Some(0.25),
        ratio: Some(1.0),
        rejected: None,
        base_choice: Some("other".to_owned()),
        intervened: true,
    }
}

impl Backend for ScriptedBackend {
    fn profiles(&self) -> Vec<ProfileSummary> {
        let profile = |name: &str| ProfileSummary {
            name: name.to_owned(),
            base: format!("{name} base"),
            security: format!("{name} security"),
        };
        vec![profile("default"), profile("small")]
    }

    fn submit(&self, request: Request) -> Decode {
        assert!(!self.panics.load(Ordering::SeqCst), "the script says so");
        let (decode, sink) = Decode::channel();
        // A test that has ended wants no more runs.
        drop(self.runs.send(Run { request, sink }));
        decode
    }

    fn prefill(&self, hint: Hint) {
        drop(self.hints.send(hint));
    }

    fn drop_hints(&self) {
        self.n_dropped.fetch_add(1, Ordering::SeqCst);
    }

    fn forget(&self, document: &DocumentId) {
        drop(self.forgotten.send(document.clone()));
    }

    fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    fn totals(&self) -> Totals {
        Totals { prompt_tokens: 200, reused_tokens: 150, ..Default::default() }
    }

    fn configure(&self, settings: &Settings) {
        drop(self.configured.send(settings.clone()));
    }

    fn fetch(&self, profile: &str) {
        drop(self.fetches.send(Fetch::Begin(profile.to_owned())));
    }

    fn cancel_fetch(&self) {
        drop(self.fetches.send(Fetch::Cancel));
    }
}
