//! Rounds against plain steps: whatever is drafted, broken off, cancelled and continued, the tokens are those of one step
//! after the other, and so is what they remember.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::time::Instant;

use proptest::prelude::*;

use cosec_ls::config::{Decoding, DraftTokens, MAX_DRAFT_TOKENS, Mode, Ratio, Sampling};
use cosec_ls::decode::draft_length::DraftLength;
use cosec_ls::decode::generate::{End, Guide, Limits, PREFILL_CHUNK, generate};
use cosec_ls::decode::rng::Draws;
use cosec_ls::decode::{CoDecoder, Role, Sequence, Signal, Step};
use cosec_ls::model::{Cache, Decoder};

use crate::support::toy_decoder::{Law, ToyCache, ToyDecoder};

const VOCAB: usize = 24;
const PROMPT: [u32; 4] = [3, 1, 4, 1];
const UNLIMITED: Limits = Limits { max_tokens: 10_000, deadline: None };

/// Two models that agree as much as models of one family do, and a law.
struct Toys {
    base: ToyDecoder,
    security: ToyDecoder,
    law: Decoding,
    seed: u64,
}

impl Toys {
    fn new(law: Decoding, seed: u64) -> Self {
        let toy = |own, part| ToyDecoder::new(VOCAB, Law::Mixed { shared: 9, own, part });
        Self { base: toy(1, 0.3), security: toy(2, 0.5), law, seed }
    }

    fn decoder(&self) -> CoDecoder<'_, ToyDecoder> {
        let draws = Draws { seed: self.seed, sample: 0 };
        CoDecoder { base: &self.base, security: &self.security, law: self.law, draws }
    }

    fn sequence(&self, prompt: &[u32]) -> Sequence<ToyCache> {
        let mut sequence = Sequence::new(self.base.new_cache(), self.security.new_cache());
        sequence.retarget(prompt.to_vec());
        sequence
    }

    fn n_forwards(&self) -> usize {
        self.base.n_forwards() + self.security.n_forwards()
    }

    /// So many plain steps, and the sequence after them.
    fn plain(&self, n: usize) -> (Vec<Step>, Sequence<ToyCache>) {
        let mut sequence = self.sequence(&PROMPT);
        let step = |_| self.decoder().step(&mut sequence, None).unwrap();
        ((0..n).map(step).collect(), sequence)
    }

    fn generate(
        &self,
        sequence: &mut Sequence<ToyCache>,
        limits: Limits,
        draft: DraftTokens,
        script: &mut Script,
    ) -> End {
        let mut draft_length = DraftLength::new(draft);
        let end = generate(&self.decoder(), sequence, limits, &mut draft_length, script).unwrap();
        assert_invariant(sequence);
        end
    }
}

/// What a caller of `generate` does, and what it is told.
#[derive(Default)]
struct Script {
    /// Which question whether to go on is answered with no.
    cancel_at: Option<usize>,
    /// After which token to end.
    break_at: Option<usize>,
    /// How many tokens are restricted, to ids that depend on the token before.
    n_restricted: usize,
    n_questions: Cell<usize>,
    steps: Vec<Step>,
    drafted: Vec<usize>,
}

impl Guide for Script {
    fn cancelled(&self) -> bool {
        let question = self.n_questions.replace(self.n_questions.get() + 1);
        self.cancel_at.is_some_and(|cancel_at| question >= cancel_at)
    }

    fn allowed(&self, drafted: &[u32]) -> Option<Vec<u32>> {
        let observed = self.steps.last().map_or(0, |step| step.token);
        let last = drafted.last().copied().unwrap_or(observed);
        let near = || (1..6).map(|i| (last + i * i) % VOCAB as u32).collect();
        (self.steps.len() + drafted.len() < self.n_restricted).then(near)
    }

    fn verified(&mut self, n_drafts: usize) {
        self.drafted.push(n_drafts);
    }

    fn observe(&mut self, step: &Step) -> ControlFlow<()> {
        self.steps.push(*step);
        match self.break_at == Some(self.steps.len()) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }

    fn prefilled(&mut self, _base: usize, _security: usize) {}
}

fn break_at(n: usize) -> Script {
    Script { break_at: Some(n), ..Script::default() }
}

fn assert_invariant(sequence: &Sequence<ToyCache>) {
    for role in [Role::Base, Role::Security] {
        let cache = sequence.cache(role);
        assert!(cache.len() < sequence.len(), "a cache holds less than all tokens");
        assert_eq!(cache.0, sequence.tokens()[..cache.len()], "a cache holds a prefix of them");
    }
}

fn assert_same(got: &Sequence<ToyCache>, expected: &Sequence<ToyCache>, what: &str) {
    assert_eq!(got.tokens(), expected.tokens(), "{what}");
    for role in [Role::Base, Role::Security] {
        assert_eq!(got.cache(role).0, expected.cache(role).0, "{what}: {role:?}");
    }
}

fn law(alpha: f32, temperature: f32) -> Decoding {
    let sampling = Sampling { temperature, top_p: 0.95, min_prob: 0.0 };
    Decoding { alpha, base: sampling, security: sampling, ..Decoding::default() }
}

/// All lengths of a draft, and the adaptive one.
fn drafts() -> impl Iterator<Item = DraftTokens> {
    (1..=MAX_DRAFT_TOKENS).map(DraftTokens::Fixed).chain([DraftTokens::Auto])
}

const ALPHAS: [f32; 7] = [-1.0, 0.0, 0.1, 0.3, 0.7, 0.9, 1.0];
const TEMPERATURES: [f32; 3] = [0.0, 0.4, 1.0];

/// Laws of one α, with every other choice.
fn laws(alpha: f32) -> Vec<Decoding> {
    let mut laws = Vec::new();
    for (base, security) in TEMPERATURES.iter().flat_map(|&b| TEMPERATURES.map(|s| (b, s))) {
        for (ratio, top_p) in
            [Ratio::Warped, Ratio::RawBase, Ratio::Raw].iter().flat_map(|&r| [(r, 1.0), (r, 0.95)])
        {
            let sampling = |temperature| Sampling { temperature, top_p, min_prob: 0.0 };
            let (base, security) = (sampling(base), sampling(security));
            laws.push(Decoding { alpha, ratio, base, security, ..Decoding::default() });
        }
    }
    laws
}

#[test]
fn rounds_choose_and_remember_what_plain_steps_do() {
    const N: usize = 40;
    let mut longest = 0.0f64;
    for alpha in ALPHAS {
        for (i, law) in laws(alpha).into_iter().enumerate() {
            for seed in 0..3 {
                let toys = Toys::new(law, 10 * i as u64 + seed);
                let (expected, plain) = toys.plain(N);
                for draft in drafts() {
                    let what = format!("{draft:?}, seed {seed}, {law:?}");
                    let mut sequence = toys.sequence(&PROMPT);
                    let mut script = break_at(N);
                    let end = toys.generate(&mut sequence, UNLIMITED, draft, &mut script);
                    assert_eq!(end, End::Observer, "{what}");
                    assert_eq!(script.steps, expected, "{what}");
                    assert_same(&sequence, &plain, &what);
                    longest = longest.max(N as f64 / script.drafted.len() as f64);
                }
            }
        }
    }
    assert!(longest > 7.0, "at α < 0 every draft is accepted: {longest} tokens per round");
}

#[test]
fn a_round_of_eight_gives_several_tokens_where_the_models_agree() {
    let toys = Toys::new(law(0.3, 0.4), 1);
    let mut script = break_at(200);
    let mut sequence = toys.sequence(&PROMPT);
    toys.generate(&mut sequence, UNLIMITED, DraftTokens::Fixed(8), &mut script);
    let rejected = script.steps.iter().filter(|step| step.provenance.role == Role::Base).count();
    println!("{rejected} of 200 proposals rejected, {} rounds", script.drafted.len());
    assert!((5..100).contains(&rejected), "the toys agree, but not always: {rejected}");
    assert!(
        script.drafted.len() <= rejected + 200 / 8 + 1,
        "a round ends where a draft is rejected"
    );
    assert_eq!(toys.base.n_forwards(), script.drafted.len(), "one forward of the base per round");
    // A forward per draft, or fewer where a guess at drafts was right.
    assert!(toys.security.n_forwards() <= script.drafted.iter().sum::<usize>());
}

#[test]
fn text_that_repeats_is_drafted_several_tokens_per_forward() {
    let row = [0.0, 1.0, 0.5, 3.0];
    let fixed = || ToyDecoder::fixed(&row);
    let toys = Toys { base: fixed(), security: fixed(), law: law(0.3, 0.0), seed: 1 };
    let mut script = break_at(80);
    let mut sequence = toys.sequence(&[1, 2, 3]);
    toys.generate(&mut sequence, UNLIMITED, DraftTokens::Fixed(8), &mut script);
    assert!(script.steps.iter().all(|step| step.token == 3 && step.accepted()));
    assert_eq!(script.drafted.len(), 10, "every draft is accepted");
    let n_forwards = toys.security.n_forwards();
    assert!(n_forwards < 20, "{n_forwards} forwards for 80 drafts");
}

#[test]
fn a_break_inside_a_round_leaves_what_it_leaves_between_steps() {
    for (alpha, temperature) in [(-1.0, 1.0), (0.3, 0.4), (0.7, 1.0)] {
        let toys = Toys::new(law(alpha, temperature), 5);
        let (expected, _) = toys.plain(40);
        for draft in drafts() {
            for n in 1..20 {
                let what = format!("α = {alpha}, {draft:?}, {n} tokens");
                let mut sequence = toys.sequence(&PROMPT);
                let mut script = break_at(n);
                let end = toys.generate(&mut sequence, UNLIMITED, draft, &mut script);
                assert_eq!((end, &script.steps[..]), (End::Observer, &expected[..n]), "{what}");
                assert_same(&sequence, &toys.plain(n).1, &what);
                let mut script = break_at(20);
                toys.generate(&mut sequence, UNLIMITED, draft, &mut script);
                assert_eq!(script.steps, expected[n..n + 20], "{what}, continued");
            }
        }
    }
}

#[test]
fn a_cancellation_before_any_forward_stops_there_and_loses_nothing() {
    const N: usize = 17;
    let prompt: Vec<u32> = (0..2 * PREFILL_CHUNK as u32 + 3).map(|i| i % 7).collect();
    for draft in drafts() {
        let whole = Toys::new(law(0.3, 0.7), 2);
        let mut script = break_at(N);
        whole.generate(&mut whole.sequence(&prompt), UNLIMITED, draft, &mut script);
        let (expected, n_questions) = (script.steps, script.n_questions.get());
        match draft {
            DraftTokens::Fixed(1) => assert_eq!(n_questions, whole.n_forwards()),
            _ => assert!(n_questions >= whole.n_forwards(), "a question before every forward"),
        }
        for cancel_at in 0..n_questions {
            let what = format!("{draft:?}, cancelled at question {cancel_at}");
            let toys = Toys::new(law(0.3, 0.7), 2);
            let mut sequence = toys.sequence(&prompt);
            let mut script = Script { cancel_at: Some(cancel_at), ..break_at(N) };
            let end = toys.generate(&mut sequence, UNLIMITED, draft, &mut script);
            let n = script.steps.len();
            // The adaptive length goes by the clock, so that its forwards need not be those of the run before.
            assert!(end == End::Cancelled || draft == DraftTokens::Auto, "{what}");
            assert_eq!(toys.n_forwards().min(cancel_at), toys.n_forwards(), "{what}");
            assert_eq!(script.steps, expected[..n], "{what}");
            assert_eq!(sequence.len(), prompt.len() + n, "{what}");
            if n < N {
                let mut script = break_at(N - n);
                toys.generate(&mut sequence, UNLIMITED, draft, &mut script);
                assert_eq!(script.steps, expected[n..], "{what}, continued");
            }
        }
    }
}

#[test]
fn limits_that_are_no_multiple_of_a_round_are_kept() {
    let toys = Toys::new(law(0.3, 0.4), 3);
    let (expected, _) = toys.plain(20);
    for draft in drafts() {
        for max_tokens in 0..20 {
            let mut sequence = toys.sequence(&PROMPT);
            let mut script = Script::default();
            let limits = Limits { max_tokens, ..UNLIMITED };
            let end = toys.generate(&mut sequence, limits, draft, &mut script);
            assert_eq!((end, &script.steps[..]), (End::TokenLimit, &expected[..max_tokens]));
            assert!(script.drafted.iter().all(|&n| n <= max_tokens), "no draft is for nothing");
        }
    }
}

#[test]
fn the_context_ends_where_it_ends_for_plain_steps() {
    for context in 4..30 {
        for draft in drafts() {
            let mut toys = Toys::new(law(-1.0, 0.4), 3);
            (toys.base.context, toys.security.context) = (context, context + 1);
            let mut sequence = toys.sequence(&PROMPT);
            let end = toys.generate(&mut sequence, UNLIMITED, draft, &mut Script::default());
            assert_eq!((end, sequence.len()), (End::TokenLimit, context), "{draft:?}");
        }
    }
}

#[test]
fn a_spent_time_budget_ends_the_drafting_and_yields_what_is_drafted() {
    for draft in drafts() {
        let toys = Toys::new(law(-1.0, 0.4), 3);
        let mut sequence = toys.sequence(&PROMPT);
        let limits = Limits { deadline: Some(Instant::now()), ..UNLIMITED };
        let mut script = Script::default();
        let end = toys.generate(&mut sequence, limits, draft, &mut script);
        assert_eq!((end, script.steps.len(), toys.n_forwards()), (End::TimeBudget, 1, 2));
    }
}

#[test]
fn restricted_tokens_are_those_of_plain_steps() {
    for alpha in ALPHAS {
        for n_restricted in 0..6 {
            let toys = Toys::new(law(alpha, 1.0), 4);
            let run = |draft| {
                let mut sequence = toys.sequence(&PROMPT);
                let mut script = Script { n_restricted, ..break_at(25) };
                toys.generate(&mut sequence, UNLIMITED, draft, &mut script);
                (script.steps, script.drafted)
            };
            let (expected, _) = run(DraftTokens::Fixed(1));
            for draft in drafts() {
                let (steps, drafted) = run(draft);
                assert_eq!(steps, expected, "α = {alpha}, {draft:?}, {n_restricted} restricted");
                if let DraftTokens::Fixed(n_drafts) = draft {
                    assert_eq!(drafted[0], n_drafts, "a round goes beyond restricted tokens");
                }
            }
        }
    }
}

#[test]
fn the_other_modes_stay_with_plain_steps() {
    for mode in [Mode::Off, Mode::Security] {
        let toys = Toys::new(Decoding { mode, ..law(0.3, 1.0) }, 6);
        let (expected, plain) = toys.plain(20);
        let mut sequence = toys.sequence(&PROMPT);
        let mut script = break_at(20);
        toys.generate(&mut sequence, UNLIMITED, DraftTokens::Fixed(8), &mut script);
        assert_eq!(script.steps, expected);
        assert_same(&sequence, &plain, "as after plain steps");
        assert!(script.drafted.is_empty(), "there are no rounds");
    }
}

#[test]
fn a_forward_that_fails_leaves_the_sequence_as_it_was() {
    let expected = Toys::new(law(-1.0, 0.4), 7).plain(12).0;
    for fails_at in 0..12 {
        for role in [Role::Base, Role::Security] {
            let mut toys = Toys::new(law(-1.0, 0.4), 7);
            match role {
                Role::Base => toys.base.fails_at = Some(fails_at),
                Role::Security => toys.security.fails_at = Some(fails_at),
            }
            let mut sequence = toys.sequence(&PROMPT);
            let mut steps = Vec::new();
            while steps.len() < 12 {
                match toys.decoder().round(&mut sequence, 5, &|_| None, &|_| Signal::Continue) {
                    Ok(round) => steps.extend(round.unwrap().steps),
                    Err(_) => assert_eq!(sequence.len(), PROMPT.len() + steps.len()),
                }
                assert_invariant(&sequence);
            }
            assert_eq!(steps[..12], expected);
        }
    }
}

proptest! {
    #[test]
    fn rounds_of_changing_lengths_with_any_signals_choose_the_same_tokens(
        rounds in prop::collection::vec((1..=MAX_DRAFT_TOKENS, 0..30usize), 1..25),
        (alpha, temperature) in (-0.1..1.1f32, 0.0..1.5f32),
        seed in any::<u64>(),
    ) {
        let toys = Toys::new(law(alpha, temperature), seed);
        let mut sequence = toys.sequence(&PROMPT);
        let mut steps = Vec::new();
        for (n_drafts, event) in rounds {
            let n_asked = Cell::new(0);
            let signal = |_: &[f64]| {
                n_asked.set(n_asked.get() + 1);
                match event {
                    // One in three rounds is cut short, at a question that it may or may not reach.
                    0..5 if n_asked.get() > event => Signal::Cancel,
                    5..10 if n_asked.get() > event - 5 => Signal::Hurry,
                    _ => Signal::Continue,
                }
            };
            let before = sequence.len();
            match toys.decoder().round(&mut sequence, n_drafts, &|_| None, &signal).unwrap() {
                Some(round) => {
                    prop_assert!(round.steps.len() <= round.n_drafts && round.n_drafts <= n_drafts);
                    steps.extend(round.steps);
                }
                None => prop_assert_eq!(sequence.len(), before),
            }
            assert_invariant(&sequence);
        }
        let (expected, plain) = toys.plain(steps.len());
        prop_assert_eq!(&steps, &expected);
        prop_assert_eq!(sequence.tokens(), plain.tokens());
    }
}
