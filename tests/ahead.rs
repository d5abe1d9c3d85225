//! Hints through the engine: what they save, what interrupts them, and what they never do.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cosec_ls::config::{Decoding, DraftTokens, Mode, Settings};
use cosec_ls::decode::draft_length::DraftLength;
use cosec_ls::decode::generate::{PREFILL_CHUNK, prefill_ahead};
use cosec_ls::decode::rng::Draws;
use cosec_ls::decode::{CoDecoder, Role, Sequence};
use cosec_ls::engine::local::{LocalEngine, Reuse};
use cosec_ls::engine::pair::Pair;
use cosec_ls::engine::queue::{Event, Job, Prefill, Queue};
use cosec_ls::engine::sequences::Sequences;
use cosec_ls::engine::{
    Backend, Chunk, Decode, DocumentId, Finish, Hint, PromptBudget, Reach, Request, RequestStats,
    State, TokenTrace, ahead, decoding,
};
use cosec_ls::model::{Cache, Decoder, LanguageModelCache};
use cosec_ls::prompt::stop::StopRules;
use cosec_ls::prompt::{Layout, Prompt};

use crate::support::tiny_pair::{PROFILE, TinyPair};
use crate::support::toy_decoder::{ToyCache, ToyDecoder};

const ABOVE: &str = "import sqlite3\n\n\ndef find_user(db, name):\n    cursor = db.cursor()\n";
const BUDGET: PromptBudget = PromptBudget { prefix_tokens: 200, suffix_tokens: 50 };

fn document(name: &str) -> DocumentId {
    DocumentId(Arc::from(name))
}

fn prompt(above: &str, left: &str) -> Prompt {
    let suffix = "\n    return row\n".to_owned();
    Prompt { above: above.to_owned(), left: left.to_owned(), suffix, ..Prompt::default() }
}

fn hint(name: &str, prompt: Prompt, reach: Reach) -> Hint {
    Hint {
        document: document(name),
        prompt,
        budget: BUDGET,
        reach,
        mode: Mode::Cosec,
        max_tokens: 8,
    }
}

fn request(name: &str, prompt: Prompt) -> Request {
    let stop = StopRules {
        max_lines: 100,
        left: prompt.left.clone(),
        lines_below: Vec::new(),
        tab_width: 4,
    };
    Request {
        document: document(name),
        prompt,
        budget: BUDGET,
        decoding: Decoding::default(),
        draft_tokens: DraftTokens::Fixed(2),
        seed: 1,
        sample: 0,
        stop,
        max_tokens: 8,
        deadline: None,
        resume: Vec::new(),
    }
}

/// The worker's part, on the test's own thread.
struct Worker {
    pair: Pair,
    queue: Queue,
    sequences: Sequences<LanguageModelCache>,
    _files: TinyPair,
}

impl Worker {
    fn new() -> Self {
        let files = TinyPair::new();
        let pair = files.load();
        let sequences = Sequences::new(1 << 30);
        Self { pair, queue: Queue::default(), sequences, _files: files }
    }

    /// Evaluates a hint and returns how many tokens that took.
    fn prefill(&mut self, hint: Hint) -> usize {
        self.queue.prefill(hint);
        let job = prefill_of(self.queue.next(None));
        ahead::prefill(&self.pair, &job, &mut self.sequences).unwrap()
    }

    /// Serves a request.
    fn serve(&mut self, request: Request) -> (Vec<TokenTrace>, RequestStats) {
        let (mut decode, sink) = Decode::channel();
        self.queue.submit(request, sink);
        let job = job_of(self.queue.next(None));
        let document = &job.request.document;
        let mut sequence =
            self.sequences.take(document).unwrap_or_else(|| decoding::new_sequence(&self.pair));
        let mut draft_length = DraftLength::default();
        let (finish, stats) = decoding::serve(&self.pair, &job, &mut sequence, &mut draft_length);
        assert!(!matches!(finish, Finish::Failed(_)), "{finish:?}");
        self.sequences.put(document.clone(), sequence, Some(Instant::now()));
        let mut tokens = Vec::new();
        while let Ok(chunk) = decode.chunks.try_recv() {
            let Chunk::Text(chunk) = chunk else { panic!("{chunk:?}") };
            tokens.extend(chunk.tokens);
        }
        (tokens, stats)
    }
}

#[track_caller]
fn prefill_of(event: Event) -> Prefill {
    match event {
        Event::Prefill(job) => *job,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn job_of(event: Event) -> Job {
    match event {
        Event::Job(job) => *job,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_request_evaluates_only_what_its_hint_did_not() {
    let mut worker = Worker::new();
    let place = || prompt(ABOVE, "    cursor.execute(");
    let evaluated = worker.prefill(hint("a", place(), Reach::Cursor));
    let (_, stats) = worker.serve(request("a", place()));
    assert_eq!((stats.base_prefill_tokens, stats.security_prefill_tokens), (1, 1));
    assert_eq!(stats.reused_tokens, stats.prompt_tokens - 1);
    assert_eq!(evaluated, 2 * stats.reused_tokens);
    // Typing on the line keeps it.
    let typed = prompt(ABOVE, "    cursor.execute(query");
    let (_, stats) = worker.serve(request("a", typed));
    assert!(stats.base_prefill_tokens <= 6, "{stats:?}");
}

#[test]
fn a_hint_about_the_head_helps_wherever_the_cursor_is() {
    let mut worker = Worker::new();
    worker.prefill(hint("a", prompt(ABOVE, ""), Reach::Head));
    let (first_lines, _) = ABOVE.split_once("    cursor").unwrap();
    let (_, stats) = worker.serve(request("a", prompt(first_lines, "    x")));
    assert_eq!(stats.reused_tokens, 1 + first_lines.len(), "a token of the tiny models is a byte");
}

#[test]
fn prompt_and_answer_fit_the_context() {
    let mut worker = Worker::new();
    let context = worker.pair.base.context();
    let lines = "x = 1\n".repeat(300);
    for (max_tokens, most_prompt) in [(8, context - 8), (100, context - 100), (9999, context / 2)] {
        for left in ["    cursor.execute(", &"y".repeat(2000)] {
            let mut prompt = prompt(&lines, left);
            prompt.suffix.clone_from(&lines);
            let budget = PromptBudget { prefix_tokens: 4000, suffix_tokens: 4000 };
            let ahead = Hint { budget, max_tokens, ..hint("a", prompt.clone(), Reach::Cursor) };
            assert!(worker.prefill(ahead) <= 2 * most_prompt);
            let request = Request { budget, max_tokens, ..request("a", prompt) };
            let (tokens, stats) = worker.serve(request);
            assert!(stats.prompt_tokens <= most_prompt, "{max_tokens}: {stats:?}");
            assert!(stats.prompt_tokens > most_prompt / 3, "{max_tokens}: {stats:?}");
            assert!(stats.prompt_tokens + tokens.len() <= context, "{stats:?}");
            assert!(
                stats.base_prefill_tokens <= 1,
                "the hint framed the very same prompt: {stats:?}"
            );
        }
    }
}

#[test]
fn a_head_is_cut_behind_and_lines_above_before() {
    let worker = Worker::new();
    let long = "abcdefghij\n".repeat(30);
    let frame = |reach| {
        let (pair, prompt) = (&worker.pair, prompt(&long, ""));
        cosec_ls::prompt::fim::frame_ahead(&prompt, reach, &pair.tokenizer, pair.fim, BUDGET)
            .unwrap()
    };
    let [head, above, cursor] = [Reach::Head, Reach::Above, Reach::Cursor].map(frame);
    assert_eq!(head.len(), 1 + BUDGET.prefix_tokens);
    assert!(above.len() < head.len() && cursor.starts_with(&above), "{above:?}");
}

#[test]
fn a_hint_changes_no_token() {
    let mut worker = Worker::new();
    let place = || prompt(ABOVE, "    cursor.execute(");
    let (plain, _) = worker.serve(request("plain", place()));
    assert!(!plain.is_empty());
    let elsewhere = prompt(&ABOVE[..20], "");
    for (name, before) in [
        ("cursor", hint("cursor", place(), Reach::Cursor)),
        ("above", hint("above", place(), Reach::Above)),
        ("head", hint("head", place(), Reach::Head)),
        ("elsewhere", hint("elsewhere", elsewhere, Reach::Cursor)),
    ] {
        assert!(worker.prefill(before) > 0);
        assert_eq!(worker.serve(request(name, place())).0, plain, "{name}");
    }
}

#[test]
fn what_is_cached_is_neither_evaluated_again_nor_lost() {
    let mut worker = Worker::new();
    let place = || prompt(ABOVE, "    cursor.execute(");
    worker.serve(request("a", place()));
    for reach in [Reach::Cursor, Reach::Above, Reach::Head] {
        assert_eq!(worker.prefill(hint("a", place(), reach)), 0, "{reach:?}");
    }
    let (_, stats) = worker.serve(request("a", place()));
    assert_eq!(stats.base_prefill_tokens, 1);
}

#[test]
fn only_the_roles_that_will_be_asked_are_prefilled() {
    let mut worker = Worker::new();
    let with = |mode| Hint { mode, ..hint("a", prompt(ABOVE, ""), Reach::Above) };
    let base = worker.prefill(with(Mode::Off));
    assert_eq!(base, ABOVE.len());
    assert_eq!(worker.prefill(with(Mode::Off)), 0);
    assert_eq!(worker.prefill(with(Mode::Cosec)), base, "the security model's turn");
}

#[test]
fn nothing_to_evaluate_is_no_mistake() {
    let mut worker = Worker::new();
    let nothing = Prompt { layout: Layout::LeftToRight, ..prompt("", "") };
    assert_eq!(worker.prefill(hint("a", nothing, Reach::Above)), 0);
    assert_eq!(worker.prefill(hint("a", prompt("", ""), Reach::Head)), 0);
    assert!(!worker.serve(request("a", prompt("", "x"))).0.is_empty());
}

/// What happens to a queue, with its name.
type Incident<'a> = (&'a str, &'a dyn Fn(&Queue));

#[test]
fn a_request_of_any_document_interrupts_within_one_forward() {
    for other in ["a", "b"] {
        let queue = Queue::default();
        queue.prefill(hint("a", prompt(ABOVE, ""), Reach::Above));
        let job = prefill_of(queue.next(None));
        let toys = [1, 2].map(|salt| ToyDecoder::hashed(30, salt));
        let decoder = decoder(&toys);
        let mut sequence = sequence(&toys);
        sequence.retarget((0..1000).map(|i| i % 30).collect());
        let n_questions = Cell::new(0);
        let cancelled = || {
            n_questions.set(n_questions.get() + 1);
            if n_questions.get() == 4 {
                let (_decode, sink) = Decode::channel();
                queue.submit(request(other, prompt("", "x")), sink);
            }
            job.is_stale()
        };
        let n_fed = prefill_ahead(&decoder, &mut sequence, 1000, &cancelled).unwrap();
        assert_eq!((n_fed, toys[0].n_forwards()), (3 * PREFILL_CHUNK, 3), "{other}");
        assert_eq!(sequence.cache(Role::Base).len(), n_fed, "what was evaluated stays");
        let (_decode, sink) = Decode::channel();
        queue.submit(request(other, prompt("", "x")), sink);
        assert!(matches!(queue.next(None), Event::Job(_)), "{other}");
        let past = Some(Instant::now());
        assert!(matches!(queue.next(past), Event::Idle), "the hint does not come back");
    }
}

#[test]
fn whatever_comes_in_goes_before_a_hint() {
    let queue = Queue::default();
    let past = Some(Instant::now());
    let (first, second) =
        (|| hint("a", prompt("a", ""), Reach::Above), || hint("b", prompt("b", ""), Reach::Above));
    queue.prefill(first());
    queue.prefill(second());
    let (_decode, sink) = Decode::channel();
    queue.submit(request("c", prompt("", "x")), sink);
    assert!(matches!(queue.next(None), Event::Job(_)), "a request first");
    let running = prefill_of(queue.next(past));
    assert_eq!(running.hint.document, document("b"), "the newest hint");
    assert!(matches!(queue.next(past), Event::Idle), "and no older one");

    let interrupts: [Incident<'_>; 5] = [
        ("a hint", &|queue| queue.prefill(first())),
        ("a closed document", &|queue| queue.forget(&document("b"))),
        ("settings", &|queue| queue.configure()),
        ("the end", &|queue| queue.close()),
        ("a switch", &|queue| queue.drop_hints()),
    ];
    for (name, interrupt) in interrupts {
        let queue = Queue::default();
        queue.prefill(second());
        let running = prefill_of(queue.next(past));
        assert!(!running.is_stale());
        interrupt(&queue);
        assert!(running.is_stale(), "{name}");
    }
}

#[test]
fn a_hint_that_waits_is_dropped_with_its_reason() {
    let past = Some(Instant::now());
    let drops: [Incident<'_>; 4] = [
        ("a request", &|queue| {
            let (_decode, sink) = Decode::channel();
            queue.submit(request("a", prompt("", "x")), sink);
        }),
        ("a closed document", &|queue| queue.forget(&document("a"))),
        ("settings", &|queue| queue.configure()),
        ("a switch", &|queue| queue.drop_hints()),
    ];
    for (name, drop_it) in drops {
        let queue = Queue::default();
        queue.prefill(hint("a", prompt("a", ""), Reach::Above));
        drop_it(&queue);
        let next = || Some(queue.next(past)).filter(|event| !matches!(event, Event::Idle));
        let mut events = std::iter::from_fn(next);
        assert!(!events.any(|event| matches!(event, Event::Prefill(_))), "{name}");
    }
}

#[test]
fn a_hint_takes_no_room_that_is_in_use() {
    const HOUR: Duration = Duration::from_secs(3600);
    let toys = [1, 2].map(|salt| ToyDecoder::hashed(30, salt));
    // 100 tokens, 4 bytes each in either cache.
    let full = || {
        let mut sequence = sequence(&toys);
        sequence.retarget((0..101).map(|i| i % 30).collect());
        prefill_ahead(&decoder(&toys), &mut sequence, 100, &|| false).unwrap();
        assert_eq!(sequence.bytes(), 800);
        sequence
    };
    let mut sequences = Sequences::new(2000);
    sequences.put(document("asked"), full(), Some(Instant::now()));
    sequences.put(document("hinted"), full(), None);
    assert!(sequences.make_room(&document("new"), 400, HOUR));
    assert_eq!(sequences.footprint(), (1600, 2), "there was room");
    assert!(!sequences.make_room(&document("new"), 1300, HOUR));
    assert_eq!(sequences.footprint(), (1600, 2), "in vain nothing is dropped");
    assert!(sequences.make_room(&document("hinted"), 1200, HOUR), "its own bytes make room");
    assert!(sequences.make_room(&document("new"), 800, HOUR));
    assert!(sequences.get(&document("asked")).is_some() && sequences.footprint().1 == 1);
    assert!(sequences.make_room(&document("new"), 1300, Duration::ZERO), "it is old by now");
    assert_eq!(sequences.footprint(), (0, 0));
}

#[test]
fn a_request_s_sequences_outlive_those_of_hints() {
    let toys = [1, 2].map(|salt| ToyDecoder::hashed(30, salt));
    let full = || {
        let mut sequence = sequence(&toys);
        sequence.retarget((0..101).map(|i| i % 30).collect());
        prefill_ahead(&decoder(&toys), &mut sequence, 100, &|| false).unwrap();
        sequence
    };
    let mut sequences = Sequences::new(1600);
    sequences.put(document("asked"), full(), Some(Instant::now()));
    sequences.put(document("hinted"), full(), None);
    sequences.put(document("new"), full(), Some(Instant::now()));
    assert!(sequences.get(&document("hinted")).is_none());
    assert!(sequences.get(&document("asked")).is_some());
}

fn decoder(toys: &[ToyDecoder; 2]) -> CoDecoder<'_, ToyDecoder> {
    let draws = Draws { seed: 3, sample: 0 };
    CoDecoder { base: &toys[0], security: &toys[1], law: Decoding::default(), draws }
}

fn sequence(toys: &[ToyDecoder; 2]) -> Sequence<ToyCache> {
    Sequence::new(toys[0].new_cache(), toys[1].new_cache())
}

/// From the handle to the worker's thread and back.
#[tokio::test]
async fn the_engine_evaluates_a_hint_and_counts_no_request() {
    let files = TinyPair::new();
    let settings = Settings { profile: PROFILE.to_owned(), threads: 2, ..Settings::default() };
    let engine = LocalEngine::start(files.registry(), settings, Reuse::Keep).unwrap();
    engine.warm();
    // Given while the models are loaded, it waits for them.
    let place = || prompt(ABOVE, "    cursor.execute(");
    engine.prefill(hint("a", place(), Reach::Cursor));
    let is_over = async {
        engine.state().wait_for(|state| matches!(state, State::Ready(_))).await.unwrap();
        while engine.totals().ahead_tokens == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), is_over).await.expect("the hint is evaluated");
    let totals = engine.totals();
    assert_eq!((totals.requests, totals.prompt_tokens, totals.sequences), (0, 0, 1));
    assert!(totals.recent.is_empty() && totals.kv_bytes > 0);
    let mut decode = engine.submit(request("a", place()));
    let stats = loop {
        match decode.chunks.recv().await.expect("every request is answered") {
            Chunk::Text(_) => {}
            Chunk::Done(done) => break done.stats,
        }
    };
    assert_eq!((stats.base_prefill_tokens, stats.security_prefill_tokens), (1, 1));
    let after = engine.totals();
    assert_eq!((after.requests, after.ahead_tokens), (1, totals.ahead_tokens));
}
