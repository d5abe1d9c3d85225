//! A backend that says what the test tells it to, and an editor that asks.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use cosec_ls::complete::{Answer, Completer, Links, Query, Suggestion, Trigger, Unfinished};
use cosec_ls::config::{Decoding, Settings};
use cosec_ls::engine::{
    Backend, Chunk, Decode, DecodeSink, DocumentId, Done, Finish, LoadedProfile, Request,
    RequestStats, Role, State, TextChunk, TokenTrace, Totals,
};
use cosec_ls::text::{ByteIdx, Document};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// Hands every request to the test.
struct Script {
    runs: mpsc::UnboundedSender<Run>,
    state: watch::Sender<State>,
}

impl Backend for Script {
    fn submit(&self, request: Request) -> Decode {
        let (decode, sink) = Decode::channel();
        let n_resumed = request.resume.len() as u32;
        self.runs.send(Run { request, sink, next_token: n_resumed }).expect("the test listens");
        decode
    }

    fn forget(&self, _document: &DocumentId) {}

    fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    fn totals(&self) -> Totals {
        Totals::default()
    }

    fn configure(&self, _settings: &Settings) {}
}

/// One request, as the backend sees it.
pub struct Run {
    pub request: Request,
    sink: DecodeSink,
    next_token: u32,
}

impl Run {
    /// Sends text that no token has come with.
    pub fn release(&self, text: &str) {
        let chunk = TextChunk { text: text.to_owned(), tokens: Vec::new() };
        let _gone = self.sink.chunks.send(Chunk::Text(chunk));
    }

    /// Decodes one token.
    pub fn say(&mut self, text: &str) {
        let trace = TokenTrace {
            token: self.next_token,
            text: text.to_owned(),
            role: Role::Security,
            p: None,
            q: None,
            ratio: None,
            rejected: None,
            base_choice: None,
            intervened: false,
        };
        self.next_token += 1;
        let chunk = TextChunk { text: text.to_owned(), tokens: vec![trace] };
        let _gone = self.sink.chunks.send(Chunk::Text(chunk));
    }

    /// Decodes the next token of `text`, of which the prompt and the tokens so far are the beginning;
    /// false where that is not so, or all is said.
    pub fn say_next(&mut self, text: &str) -> bool {
        let prompt = format!("{}{}", self.request.prompt.above, self.request.prompt.left);
        let typed = prompt.split_once('\n').map_or("", |(_, typed)| typed);
        let rest = text.strip_prefix(typed).unwrap_or_default();
        let token = rest.chars().skip(3 * self.next_token as usize).take(3).collect::<String>();
        self.say(&token);
        !token.is_empty()
    }

    pub fn end(&self, finish: Finish) {
        let stats = RequestStats { decoded_tokens: 7, ..RequestStats::default() };
        let _gone = self.sink.chunks.send(Chunk::Done(Done { finish, stats }));
    }

    /// Says all of it and ends.
    pub fn answer(mut self, text: &str) {
        self.say(text);
        self.end(Finish::EndOfText);
    }

    pub fn is_cancelled(&self) -> bool {
        self.sink.cancelled.is_cancelled()
    }

    /// Resolves when nobody wants it any more.
    pub async fn cancelled(&self) {
        in_time(self.sink.cancelled.cancelled()).await;
    }
}

/// The test's side: what the backend was asked, and questions to ask.
pub struct Bench {
    pub completer: Completer,
    pub settings: Settings,
    runs: mpsc::UnboundedReceiver<Run>,
}

/// A question that is being answered.
pub struct Pending {
    task: JoinHandle<Answer>,
    partials: Arc<Mutex<Vec<Suggestion>>>,
}

pub fn bench() -> Bench {
    let (runs, requests) = mpsc::unbounded_channel();
    let loaded = LoadedProfile {
        profile: "default".to_owned(),
        base: "base".to_owned(),
        security: "security".to_owned(),
        adapter: None,
        adapter_strength: 1.0,
        device: "cpu".to_owned(),
        decoding: Decoding::default(),
        fill_in_middle: true,
        load_seconds: 0.0,
    };
    let state = watch::channel(State::Ready(Box::new(loaded))).0;
    let completer = Completer::new(Arc::new(Script { runs, state }));
    Bench { completer, settings: Settings::default(), runs: requests }
}

/// A question about `text`, which has the cursor as `$0`.
pub fn query(text: &str) -> Query {
    let cursor = text.find("$0").expect("the text has a cursor");
    Query {
        document: DocumentId("file:///w/a.c".into()),
        path: Some("/w/a.c".into()),
        links: Links::none(),
        name: Some("a.c".to_owned()),
        snapshot: Document::new(&text.replacen("$0", "", 1), 1, "c"),
        cursor: ByteIdx(cursor),
        trigger: Trigger::Automatic,
        selected: None,
        early_after: None,
        sample: 0,
        unfinished: Unfinished::Cut,
    }
}

impl Bench {
    /// Asks, and returns once the completer has seen the question.
    pub async fn ask(&self, query: Query) -> Pending {
        let partials = Arc::new(Mutex::new(Vec::new()));
        let (completer, settings) = (self.completer.clone(), self.settings.clone());
        let heard = Arc::clone(&partials);
        let task = tokio::spawn(async move {
            let mut hear = |partial: &Suggestion| heard.lock().unwrap().push(partial.clone());
            completer.complete(query, &settings, &mut hear).await
        });
        settle().await;
        Pending { task, partials }
    }

    pub async fn ask_at(&self, text: &str) -> Pending {
        self.ask(query(text)).await
    }

    /// The next request that reaches the backend. Idle time passes at once, so a debounce is over.
    pub async fn run(&mut self) -> Run {
        in_time(self.runs.recv()).await.expect("the completer lives")
    }

    /// A request that has reached the backend already.
    pub fn next_run(&mut self) -> Option<Run> {
        self.runs.try_recv().ok()
    }

    /// No request has reached the backend.
    pub fn no_run(&mut self) {
        assert!(self.runs.try_recv().is_err(), "the backend was asked");
    }

    /// Asks, lets the backend say `decoded`, and returns the answer.
    pub async fn suggest(&mut self, text: &str, decoded: &str) -> Answer {
        let pending = self.ask_at(text).await;
        self.run().await.answer(decoded);
        pending.answer().await
    }
}

impl Pending {
    pub async fn answer(self) -> Answer {
        in_time(self.task).await.expect("the question does not panic")
    }

    /// The text to insert.
    pub async fn insert(self) -> String {
        insert_of(&self.answer().await)
    }

    pub fn partials(&self) -> Vec<String> {
        self.partials.lock().unwrap().iter().map(|partial| partial.insert.clone()).collect()
    }

    pub fn is_answered(&self) -> bool {
        self.task.is_finished()
    }

    /// As an editor does with `$/cancelRequest`.
    pub async fn cancel(self) {
        self.task.abort();
        let _aborted = self.task.await;
    }
}

pub fn insert_of(answer: &Answer) -> String {
    match answer {
        Answer::Suggestion(suggestion) => suggestion.insert.clone(),
        other => panic!("no suggestion but {other:?}"),
    }
}

/// Waits, but not forever: on the paused clock the limit is reached once nothing else can happen.
async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(3600), what).await.expect("nothing more happens")
}

/// Lets all tasks do what they can without time passing.
pub async fn settle() {
    for _ in 0..16 {
        tokio::task::yield_now().await;
    }
}
