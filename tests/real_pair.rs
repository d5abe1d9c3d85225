//! The real pair through the engine, where this machine has the files: a hardened completion, what a keystroke
//! evaluates, and what stays after a cancellation.

use std::sync::{Arc, MutexGuard, OnceLock};

use cosec_ls::config::{Decoding, DraftTokens, Mode, Sampling, Settings};
use cosec_ls::decode::rng::Draws;
use cosec_ls::engine::local::{LocalEngine, Reuse};
use cosec_ls::engine::pair::{self, Choice};
use cosec_ls::engine::{
    Backend, Chunk, Decode, DocumentId, Finish, PromptBudget, Request, RequestStats, TokenTrace,
};
use cosec_ls::eval::sample::{Draw, Order, PromptKind, Sampled, Sampler, law};
use cosec_ls::prompt::stop::StopRules;
use cosec_ls::prompt::{Layout, Prompt};
use cosec_ls::registry::{Offline, Registry, RegistryOptions, Silent};

use crate::support::real_models;

const ABOVE: &str = "import sqlite3\n\n\ndef find_user(db, name):\n    cursor = db.cursor()\n";
const BELOW: &str = "\n    row = cursor.fetchone()\n    return row\n";

/// One engine for all of these tests, and the turn to use it.
fn engine() -> Option<(MutexGuard<'static, ()>, &'static LocalEngine)> {
    static ENGINE: OnceLock<LocalEngine> = OnceLock::new();
    real_models::find(real_models::BASE)?;
    real_models::find(real_models::SECURITY)?;
    let turn = real_models::turn();
    let start = || {
        let options = RegistryOptions { offline: Offline::Yes, ..RegistryOptions::default() };
        let registry = Registry::open(options).unwrap();
        LocalEngine::start(registry, Settings::default(), Reuse::Keep).unwrap()
    };
    Some((turn, ENGINE.get_or_init(start)))
}

fn request(left: &str, mode: Mode, max_tokens: usize) -> Request {
    let greedy = Sampling { temperature: 0.0, ..Sampling::default() };
    Request {
        document: DocumentId(Arc::from("find_user.py")),
        prompt: Prompt {
            header: None,
            above: ABOVE.to_owned(),
            left: left.to_owned(),
            suffix: BELOW.to_owned(),
            layout: Layout::FillInMiddle,
        },
        budget: PromptBudget { prefix_tokens: 1024, suffix_tokens: 256 },
        decoding: Decoding { mode, base: greedy, security: greedy, ..Decoding::default() },
        draft_tokens: DraftTokens::default(),
        seed: 1,
        sample: 0,
        stop: StopRules {
            max_lines: 1,
            left: left.to_owned(),
            lines_below: vec!["row = cursor.fetchone()".to_owned()],
            tab_width: 4,
        },
        max_tokens,
        deadline: None,
        resume: Vec::new(),
    }
}

struct Run {
    text: String,
    tokens: Vec<TokenTrace>,
    finish: Finish,
    stats: RequestStats,
}

fn run(mut decode: Decode) -> Run {
    let (mut text, mut tokens) = (String::new(), Vec::new());
    loop {
        match decode.chunks.blocking_recv().expect("every request is answered") {
            Chunk::Text(chunk) => {
                text += &chunk.text;
                tokens.extend(chunk.tokens);
            }
            Chunk::Done(done) => {
                return Run { text, tokens, finish: done.finish, stats: done.stats };
            }
        }
    }
}

#[test]
fn the_real_pair_completes_a_query_with_a_parameter() {
    let Some((_turn, engine)) = engine() else { return };
    for mode in [Mode::Off, Mode::Cosec, Mode::Security] {
        let done = run(engine.submit(request("    cursor.execute(", mode, 24)));
        println!("{mode:?}: {:?} ({:?})", done.text, done.finish);
        assert!(done.text.contains("SELECT") && done.text.contains("name"), "{:?}", done.text);
        assert!(!done.text.contains("<|"), "no special token reaches the text");
        assert_eq!(done.tokens.len(), done.stats.decoded_tokens);
        for token in &done.tokens {
            assert_eq!(token.q.is_some(), mode != Mode::Off);
            assert_eq!(token.ratio.is_some(), mode == Mode::Cosec);
        }
    }
}

#[test]
fn a_cursor_inside_a_word_is_healed() {
    let Some((_turn, engine)) = engine() else { return };
    let done = run(engine.submit(request("    cursor.exec", Mode::Cosec, 8)));
    assert!(done.text.starts_with("ute("), "{:?}", done.text);
}

#[test]
fn a_keystroke_evaluates_at_most_three_tokens_in_the_median() {
    let Some((_turn, engine)) = engine() else { return };
    let line = "    cursor.execute(\"SELECT id, mail FROM users WHERE ";
    let (mut base, mut security) = (Vec::new(), Vec::new());
    run(engine.submit(request("    ", Mode::Cosec, 1)));
    for end in 5..line.len() {
        let stats = run(engine.submit(request(&line[..end], Mode::Cosec, 2))).stats;
        base.push(stats.base_prefill_tokens);
        security.push(stats.security_prefill_tokens);
    }
    println!("tokens evaluated per keystroke: base {base:?}, security {security:?}");
    base.sort_unstable();
    security.sort_unstable();
    assert!(base[base.len() / 2] <= 3 && security[security.len() / 2] <= 3);
    assert!(*base.last().unwrap() <= 8, "no keystroke starts over");
}

#[test]
fn a_superseded_request_ends_and_its_successor_is_served() {
    let Some((_turn, engine)) = engine() else { return };
    let mut first = engine.submit(request("    cursor.execute(", Mode::Cosec, 400));
    // The first chunk shows that it runs.
    assert!(matches!(first.chunks.blocking_recv(), Some(Chunk::Text(_))));
    let second = engine.submit(request("    cursor.close(", Mode::Cosec, 2));
    assert_eq!(run(first).finish, Finish::Superseded);
    assert!(run(second).stats.decoded_tokens > 0);
}

#[test]
fn drafts_change_no_token_of_the_real_pair() {
    let Some((_turn, engine)) = engine() else { return };
    let file = include_str!("fixtures/find_user.py");
    let (before, suffix) = file.split_once("cursor.execute(").expect("the fixture asks a database");
    let (above, _) = before.rsplit_once('\n').expect("not in its first line");
    for temperature in [0.0, 0.4] {
        let tokens = |draft_tokens| {
            let sampling = Sampling { temperature, ..Sampling::default() };
            let name = format!("find_user.py at {temperature} with {draft_tokens:?}");
            let mut request = request("    cursor.execute(", Mode::Cosec, 24);
            request.document = DocumentId(Arc::from(name.as_str()));
            request.prompt.above = format!("{above}\n");
            request.prompt.suffix = suffix.to_owned();
            request.decoding =
                Decoding { base: sampling, security: sampling, ..Decoding::default() };
            request.stop.max_lines = 100;
            request.draft_tokens = draft_tokens;
            let done = run(engine.submit(request));
            let RequestStats { decoded_tokens, rounds, drafted, total_ms, first_token_ms, .. } =
                done.stats;
            let per_token = (total_ms - first_token_ms) / (decoded_tokens.max(2) - 1) as f64;
            println!(
                "{name}: {decoded_tokens} tokens, {rounds} rounds, {drafted} drafted, {per_token:.0} ms per token"
            );
            done.tokens
        };
        let plain = tokens(DraftTokens::Fixed(1));
        assert!(plain.len() > 8);
        for draft_tokens in [2, 4, 8].map(DraftTokens::Fixed).into_iter().chain([DraftTokens::Auto])
        {
            let ids = |tokens: &[TokenTrace]| tokens.iter().map(|t| t.token).collect::<Vec<_>>();
            assert_eq!(ids(&tokens(draft_tokens)), ids(&plain), "{draft_tokens:?}");
        }
    }
}

#[test]
fn samples_of_a_batch_are_those_that_are_drawn_alone() {
    if real_models::find(real_models::BASE).is_none()
        || real_models::find(real_models::SECURITY).is_none()
    {
        return;
    }
    let _turn = real_models::turn();
    let options = RegistryOptions { offline: Offline::Yes, ..RegistryOptions::default() };
    let registry = Registry::open(options).unwrap();
    let choice = Choice { threads: 0, profile: "default", adapter: None, adapter_strength: 1.0 };
    let pair = pair::load(&registry, choice, &Silent).unwrap();
    let mut sampler = Sampler::new(&pair);
    let text = "def mean(numbers):\n    \"\"\"The mean of a list.\"\"\"\n    ret";
    let prompts = [PromptKind::Ltr, PromptKind::Fim].map(|kind| sampler.frame(text, kind).unwrap());
    let order = |i: usize| {
        let mode = [Mode::Off, Mode::Cosec][i % 2];
        let law = law(pair.profile.decoding, mode, 0.8, 0.6);
        let draws = Draws { seed: 3, sample: i as u32 / 4 };
        // Some end earlier than others, which makes room for the next.
        let draw = Draw { law, draws, max_tokens: 6 + 3 * (i % 3) };
        Order { key: i, prompt: &prompts[i / 2 % 2], draw, is_complete: &|_| false }
    };
    let mut together = vec![String::new(); 10];
    let mut keep = |key: usize, sampled: Sampled| {
        together[key] = sampled.text;
        Ok::<(), cosec_ls::eval::Error>(())
    };
    sampler.sample_batch(&mut (0..10).map(order), 4, &mut keep).unwrap();
    for (i, text) in together.iter().enumerate() {
        let Order { prompt, draw, is_complete, .. } = order(i);
        let alone = sampler.sample(prompt, draw, is_complete).unwrap();
        assert_eq!(*text, alone.text, "sample {i}");
    }
}
