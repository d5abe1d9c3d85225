//! An engine that something panics in: whoever waits is answered, the state says why, and the next request works.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use cosec_ls::config::{Mode, Settings};
use cosec_ls::engine::local::{LocalEngine, Reuse};
use cosec_ls::engine::pair::{self, Choice, Load, LoadError, Pair};
use cosec_ls::engine::{Backend, Chunk, Decode, Finish, PromptBudget, Request, State};
use cosec_ls::kernel::threads::Threads;
use cosec_ls::registry::{Progress, Registry, Silent};

use crate::support::tiny_gguf::with_alignment_0;
use crate::support::tiny_pair::{PROFILE, TinyPair, request};

/// Longer than anything here takes; a test that waits for what never comes fails by it.
const HANG: Duration = Duration::from_secs(60);

type Spoil = Box<dyn Fn(usize, Pair) -> Result<Pair, LoadError> + Send + Sync>;

/// Loads tiny pairs, and lets a test have its way with the n-th of them.
struct Spoiled {
    registry: Registry,
    n_loads: Arc<AtomicUsize>,
    spoil: Spoil,
}

impl Load for Spoiled {
    fn load(&self, choice: Choice<'_>, progress: &dyn Progress) -> Result<Pair, LoadError> {
        let n = self.n_loads.fetch_add(1, Ordering::SeqCst);
        (self.spoil)(n, pair::load(&self.registry, choice, progress)?)
    }
}

/// An engine on a tiny pair.
struct Bench {
    engine: LocalEngine,
    n_loads: Arc<AtomicUsize>,
    _files: TinyPair,
}

impl Bench {
    fn new(spoil: impl Fn(usize, Pair) -> Result<Pair, LoadError> + Send + Sync + 'static) -> Self {
        Self::with(settings(), spoil)
    }

    fn with(
        settings: Settings,
        spoil: impl Fn(usize, Pair) -> Result<Pair, LoadError> + Send + Sync + 'static,
    ) -> Self {
        let (files, n_loads) = (TinyPair::new(), Arc::new(AtomicUsize::new(0)));
        let (registry, counter) = (files.registry(), n_loads.clone());
        let loader = Spoiled { registry, n_loads: counter, spoil: Box::new(spoil) };
        let engine = LocalEngine::start(loader, settings, Reuse::Keep).unwrap();
        Self { engine, n_loads, _files: files }
    }

    async fn ask(&self, request: Request) -> Finish {
        end(self.engine.submit(request)).await
    }

    fn n_loads(&self) -> usize {
        self.n_loads.load(Ordering::SeqCst)
    }

    fn state(&self) -> State {
        self.engine.state().borrow().clone()
    }

    async fn wait_for(&self, wanted: fn(&State) -> bool) {
        let mut state = self.engine.state();
        tokio::time::timeout(HANG, state.wait_for(wanted)).await.expect("never so").unwrap();
    }
}

fn settings() -> Settings {
    Settings { profile: PROFILE.to_owned(), threads: 2, ..Settings::default() }
}

/// How a request ends; fails if it does not.
async fn end(mut decode: Decode) -> Finish {
    loop {
        let chunk = tokio::time::timeout(HANG, decode.chunks.recv()).await.expect("no answer");
        if let Chunk::Done(done) = chunk.expect("an answer ends in a word about its end") {
            return done.finish;
        }
    }
}

fn is_served(finish: &Finish) -> bool {
    !matches!(finish, Finish::Failed(_) | Finish::NotReady(_))
}

fn failed_with(state: &State, words: &str) -> bool {
    matches!(state, State::Failed { reason } if reason.contains(words))
}

fn failed(state: &State) -> &str {
    match state {
        State::Failed { reason } => reason,
        other => panic!("not failed but {other:?}"),
    }
}

/// A caller that panics when it is told that there is something new, on the thread that tells it.
struct Touchy;

impl Wake for Touchy {
    fn wake(self: Arc<Self>) {
        panic!("the code of the user")
    }
}

/// A request on which the engine panics with its next word, and how it has ended already, if it has.
fn submit_touchy(engine: &LocalEngine, request: Request) -> (Decode, Option<Finish>) {
    let mut decode = engine.submit(request);
    let waker = Waker::from(Arc::new(Touchy));
    let mut context = Context::from_waker(&waker);
    let ended = loop {
        match decode.chunks.poll_recv(&mut context) {
            Poll::Ready(Some(Chunk::Text(_))) => {}
            Poll::Ready(Some(Chunk::Done(done))) => break Some(done.finish),
            Poll::Ready(None) | Poll::Pending => break None,
        }
    };
    (decode, ended)
}

/// Waits until so many chunks are said, or no more will be. To wait for a chunk would put a caller that does not panic
/// in the place of the one that does.
async fn all_said(decode: &Decode, n_chunks: usize) {
    let said = async {
        while decode.chunks.len() < n_chunks && !decode.chunks.is_closed() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(HANG, said).await.expect("nothing more is said");
}

async fn ask_touchy(bench: &Bench, name: &str) -> Finish {
    let request = Request { max_tokens: 100, ..request(name, Mode::Cosec) };
    let (decode, ended) = submit_touchy(&bench.engine, request);
    if let Some(finish) = ended {
        return finish;
    }
    // The word that it panics with, and the end.
    all_said(&decode, 2).await;
    end(decode).await
}

#[tokio::test]
async fn a_panic_while_loading_is_answered_and_the_next_request_loads_again() {
    let bench = Bench::new(|n, pair| match n {
        0 => panic!("division by nothing"),
        _ => Ok(pair),
    });
    let Finish::Failed(reason) = bench.ask(request("a", Mode::Cosec)).await else { panic!() };
    assert!(reason.ends_with("with the next request: division by nothing"), "{reason}");
    assert_eq!(failed(&bench.state()), reason);
    assert!(is_served(&bench.ask(request("a", Mode::Cosec)).await));
    assert!(matches!(bench.state(), State::Ready(_)));
}

#[tokio::test]
async fn all_that_wait_are_answered_when_loading_panics() {
    let (open, gate) = std::sync::mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let bench = Bench::new(move |_, _| {
        let _opened = gate.lock().unwrap().recv();
        panic!("at last")
    });
    let names = ["a", "b", "c", "d"];
    let waiting = names.map(|name| bench.engine.submit(request(name, Mode::Cosec)));
    open.send(()).unwrap();
    drop(open);
    for decode in waiting {
        let finish = end(decode).await;
        assert!(!is_served(&finish), "{finish:?}");
    }
}

#[tokio::test]
async fn a_pair_that_always_panics_is_not_loaded_over_and_over() {
    let bench = Bench::new(|_, _| panic!("always"));
    for i in 0..20 {
        let finish = bench.ask(request(&i.to_string(), Mode::Cosec)).await;
        assert!(!is_served(&finish), "{finish:?}");
    }
    assert_eq!(bench.n_loads(), 2, "once more, and then not for a while");
    bench.engine.configure(&settings());
    bench.ask(request("a", Mode::Cosec)).await;
    assert!(bench.n_loads() > 2, "changed settings are a reason to try again");
}

#[tokio::test]
async fn a_panic_on_changed_settings_is_survived() {
    let bench = Bench::new(|n, pair| match n {
        1 => panic!("another strength"),
        _ => Ok(pair),
    });
    assert!(is_served(&bench.ask(request("a", Mode::Cosec)).await));
    bench.engine.configure(&Settings { adapter_strength: 2.0, ..settings() });
    bench.wait_for(|state| matches!(state, State::Failed { .. })).await;
    assert!(is_served(&bench.ask(request("a", Mode::Cosec)).await));
}

#[tokio::test]
async fn a_panic_of_another_thread_of_the_load_is_no_other() {
    let bench = Bench::new(|n, pair| match n {
        0 => std::thread::scope(|scope| {
            let there = scope.spawn(|| panic!("elsewhere"));
            std::panic::resume_unwind(there.join().unwrap_err())
        }),
        1 => {
            Threads::new(2).unwrap().for_each(8, |i| assert!(i != 5, "in the pool"));
            Ok(pair)
        }
        _ => Ok(pair),
    });
    for expected in ["elsewhere", "in the pool"] {
        let Finish::Failed(reason) = bench.ask(request("a", Mode::Cosec)).await else { panic!() };
        assert!(reason.ends_with(expected), "{reason}");
    }
    let finish = bench.ask(request("b", Mode::Cosec)).await;
    assert!(matches!(finish, Finish::NotReady(_)), "not over and over: {finish:?}");
    bench.engine.configure(&settings());
    assert!(is_served(&bench.ask(request("b", Mode::Cosec)).await));
}

#[tokio::test]
async fn models_that_panic_on_their_first_request_are_failed_models() {
    let bench = Bench::new(|_, pair| Ok(pair));
    let Finish::Failed(reason) = ask_touchy(&bench, "a").await else { panic!() };
    assert!(reason.starts_with("the models failed on this text"), "{reason}");
    assert!(failed(&bench.state()).starts_with("the models fail on what they are asked"));
    assert!(is_served(&bench.ask(request("a", Mode::Cosec)).await), "they are loaded afresh");
    assert_eq!(bench.n_loads(), 2);
}

#[tokio::test]
async fn models_that_have_served_lose_one_document_and_with_a_second_everything() {
    let bench = Bench::new(|_, pair| Ok(pair));
    assert!(is_served(&bench.ask(request("a", Mode::Cosec)).await));
    for _ in 0..3 {
        let finish = ask_touchy(&bench, "a").await;
        assert!(matches!(finish, Finish::Failed(_)), "{finish:?}");
        assert!(matches!(bench.state(), State::Ready(_)), "one document is no proof");
    }
    assert!(matches!(ask_touchy(&bench, "b").await, Finish::Failed(_)));
    assert!(failed(&bench.state()).starts_with("the models fail on what they are asked"));
    assert_eq!(bench.n_loads(), 1);
    assert!(is_served(&bench.ask(request("b", Mode::Cosec)).await));
}

#[tokio::test]
async fn models_that_panic_on_everything_are_not_loaded_over_and_over() {
    let bench = Bench::new(|_, pair| Ok(pair));
    for i in 0..10 {
        let finish = ask_touchy(&bench, &i.to_string()).await;
        assert!(!is_served(&finish), "{finish:?}");
    }
    assert_eq!(bench.n_loads(), 2);
}

#[tokio::test]
async fn what_a_panic_says_about_a_text_is_told_to_nobody() {
    let bench = Bench::new(|_, pair| Ok(pair));
    let Finish::Failed(reason) = ask_touchy(&bench, "a").await else { panic!() };
    assert!(!reason.contains("code of the user"), "{reason}");
    assert!(!failed(&bench.state()).contains("code of the user"));
}

#[tokio::test]
async fn a_panic_while_an_answer_is_given_is_survived() {
    let missing = || LoadError::Unsupported("there is no such pair".to_owned());
    let (open, gate) = std::sync::mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let bench = Bench::new(move |n, pair| {
        if n > 0 {
            return Ok(pair);
        }
        let _opened = gate.lock().unwrap().recv();
        Err(missing())
    });
    let (decode, _) = submit_touchy(&bench.engine, request("a", Mode::Cosec));
    open.send(()).unwrap();
    all_said(&decode, 1).await;
    bench.wait_for(|state| failed_with(state, "the code of the user")).await;
    assert_eq!(end(decode).await, Finish::NotReady("there is no such pair".to_owned()));
    bench.engine.configure(&settings());
    bench.wait_for(|state| matches!(state, State::Ready(_))).await;
    assert!(is_served(&bench.ask(request("a", Mode::Cosec)).await));
}

#[tokio::test]
async fn an_engine_that_has_failed_can_be_let_go_of() {
    let bench = Bench::new(|_, _| panic!("always"));
    bench.ask(request("a", Mode::Cosec)).await;
    let started = Instant::now();
    drop(bench);
    assert!(started.elapsed() < HANG);
}

#[tokio::test]
async fn the_ends_of_all_settings_do_no_harm_to_the_engine() {
    let least = Settings { kv_memory_mib: 0, idle_unload_minutes: 0, ..settings() };
    let most = Settings { kv_memory_mib: u64::MAX, idle_unload_minutes: u64::MAX, ..settings() };
    let bench = Bench::with(least.clone(), |_, pair| Ok(pair));
    for settings in [most.clone(), least, most] {
        bench.engine.configure(&settings);
        for n in [0, 1, usize::MAX] {
            let budget = PromptBudget { prefix_tokens: n, suffix_tokens: n };
            let mut request = Request { budget, ..request("a", Mode::Cosec) };
            request.stop.max_lines = n;
            request.stop.tab_width = n;
            let finish = bench.ask(request.clone()).await;
            assert!(is_served(&finish), "{n}: {finish:?}");
            request.decoding.base.temperature = f32::MAX;
            request.decoding.security.temperature = f32::MAX;
            request.decoding.alpha = f32::MAX;
            let finish = bench.ask(request.clone()).await;
            assert!(is_served(&finish), "{n}: {finish:?}");
            // A context of 512 tokens is the end of a request without one.
            let finish = bench.ask(Request { max_tokens: n, ..request }).await;
            assert!(is_served(&finish), "{n}: {finish:?}");
        }
    }
}

#[tokio::test]
async fn an_absurd_strength_of_an_adapter_is_an_answer() {
    let strong = Settings { adapter_strength: f32::INFINITY, ..settings() };
    let bench = Bench::with(strong, |_, pair| Ok(pair));
    bench.ask(request("a", Mode::Cosec)).await;
    bench.engine.configure(&Settings { adapter_strength: f32::NAN, ..settings() });
    bench.ask(request("a", Mode::Cosec)).await;
}

#[tokio::test]
async fn a_file_that_candle_divides_by_zero_on_is_a_reason() {
    let files = TinyPair::altered(with_alignment_0);
    let choice = Choice { threads: 2, profile: PROFILE, adapter: None, adapter_strength: 1.0 };
    let error = pair::load(&files.registry(), choice, &Silent).unwrap_err().to_string();
    assert!(error.contains("tiny-base") || error.contains("tiny-security"), "{error}");
    let engine = LocalEngine::start(files.registry(), settings(), Reuse::Keep).unwrap();
    for _ in 0..3 {
        let finish = end(engine.submit(request("a", Mode::Cosec))).await;
        assert!(matches!(finish, Finish::NotReady(_)), "{finish:?}");
    }
    assert!(matches!(&*engine.state().borrow(), State::Failed { .. }));
}

fn cosec(files: &TinyPair, directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cosec-ls"));
    command.args(["--offline", "--profile", PROFILE, "--models"]).arg(files.manifest());
    command.args(arguments).env("XDG_CACHE_HOME", directory).output().unwrap()
}

#[test]
fn the_command_line_ends_with_a_message_where_a_file_cannot_be_read() {
    let files = TinyPair::altered(with_alignment_0);
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("a.py");
    std::fs::write(&source, "import os\nx = \n").unwrap();
    let place = format!("{}:2", source.display());
    let source = source.display().to_string();
    for arguments in [
        &["complete", &place][..],
        &["doctor"],
        &["bench", &source],
        &["eval", "latency", &source],
        &["eval", "keystrokes", &source, "2"],
    ] {
        let output = cosec(&files, directory.path(), arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {errors}");
        assert!(errors.contains("error: "), "{arguments:?}: {errors}");
        assert!(!errors.contains("RUST_BACKTRACE"), "{arguments:?}: {errors}");
    }
}

#[test]
fn numbers_of_the_command_line_have_ranges() {
    let files = TinyPair::new();
    let directory = tempfile::tempdir().unwrap();
    for (flag, numbers) in [
        ("--threads", &["100000", "257", "-1", "1.5", "x", "1e400"][..]),
        ("--alpha", &["1.1", "nan", "inf", "1e400"]),
        ("--temperature", &["101", "nan"]),
        ("--max-tokens", &["0", "18446744073709551615", "8193"]),
        ("--max-lines", &["0", "18446744073709551616"]),
        ("--adapter-strength", &["101", "nan", "1e39"]),
    ] {
        for number in numbers {
            let argument = format!("{flag}={number}");
            let output = cosec(&files, directory.path(), &["complete", "a.py:1", &argument]);
            let errors = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{argument}: {errors}");
            assert!(errors.contains("expected a"), "{argument}: {errors}");
        }
    }
}
