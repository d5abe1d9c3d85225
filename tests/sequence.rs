//! Sequences across keystrokes: whatever was decoded, cancelled and retargeted before, the next tokens are those of a
//! fresh start.

use std::ops::ControlFlow;
use std::time::Instant;

use cosec_ls::config::{Decoding, Mode};
use cosec_ls::decode::draft_length::DraftLength;
use cosec_ls::decode::generate::{End, Guide, Limits, PREFILL_CHUNK, generate};
use cosec_ls::decode::rng::Draws;
use cosec_ls::decode::{CoDecoder, Role, Sequence, Step};
use cosec_ls::model::{Cache, Decoder};

use crate::support::tiny_gguf::Random;
use crate::support::toy_decoder::{ToyCache, ToyDecoder};

/// Cancels after so many questions, and stops after so many tokens.
struct Script {
    questions_left: std::cell::Cell<usize>,
    tokens_left: usize,
    prefill: (usize, usize),
}

impl Guide for Script {
    fn cancelled(&self) -> bool {
        let left = self.questions_left.get();
        self.questions_left.set(left.saturating_sub(1));
        left == 0
    }

    fn allowed(&self, _drafted: &[u32]) -> Option<Vec<u32>> {
        None
    }

    fn verified(&mut self, _n_drafts: usize) {}

    fn observe(&mut self, _step: &Step) -> ControlFlow<()> {
        self.tokens_left -= 1;
        if self.tokens_left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn prefilled(&mut self, base: usize, security: usize) {
        self.prefill = (base, security);
    }
}

fn script(questions: usize, tokens: usize) -> Script {
    Script { questions_left: questions.into(), tokens_left: tokens, prefill: (0, 0) }
}

const LIMITS: Limits = Limits { max_tokens: 1000, deadline: None };

struct Toys {
    base: ToyDecoder,
    security: ToyDecoder,
}

impl Toys {
    fn new() -> Self {
        Self { base: ToyDecoder::hashed(30, 1), security: ToyDecoder::hashed(30, 2) }
    }

    fn decoder(&self, mode: Mode) -> CoDecoder<'_, ToyDecoder> {
        let law = Decoding { mode, ..Decoding::default() };
        let draws = Draws { seed: 3, sample: 0 };
        CoDecoder { base: &self.base, security: &self.security, law, draws }
    }

    fn generate(
        &self,
        mode: Mode,
        sequence: &mut Sequence<ToyCache>,
        limits: Limits,
        guide: &mut Script,
    ) -> End {
        let mut draft_length = DraftLength::default();
        generate(&self.decoder(mode), sequence, limits, &mut draft_length, guide).unwrap()
    }

    fn sequence(&self) -> Sequence<ToyCache> {
        Sequence::new(self.base.new_cache(), self.security.new_cache())
    }
}

fn assert_invariant(sequence: &Sequence<ToyCache>) {
    for role in [Role::Base, Role::Security] {
        let cache = sequence.cache(role);
        assert!(cache.len() < sequence.len(), "a cache holds less than all tokens");
        assert_eq!(cache.0, sequence.tokens()[..cache.len()], "a cache holds a prefix of them");
    }
}

#[test]
fn any_history_of_edits_and_cancellations_decodes_like_a_fresh_start() {
    let toys = Toys::new();
    let mut random = Random(11);
    let mut reused = toys.sequence();
    let mut prompt: Vec<u32> = (0..90).map(|_| random.below(30) as u32).collect();
    for round in 0..300 {
        // Type, delete, or edit somewhere before the end, as a user would.
        match random.below(4) {
            0 => prompt.truncate(prompt.len().saturating_sub(random.below(5)).max(1)),
            1 => {
                let at = random.below(prompt.len());
                prompt[at] = random.below(30) as u32;
            }
            _ => prompt.extend((0..random.below(50)).map(|_| 7)),
        }
        let mode = [Mode::Cosec, Mode::Off, Mode::Security][random.below(3)];
        reused.retarget(prompt.clone());
        let mut guide = script(random.below(12), 1 + random.below(8));
        let n_wanted = guide.tokens_left;
        let end = toys.generate(mode, &mut reused, LIMITS, &mut guide);
        let decoded = n_wanted - guide.tokens_left;
        assert_invariant(&reused);
        let mut fresh = toys.sequence();
        fresh.retarget(prompt.clone());
        if decoded > 0 {
            let mut guide = script(usize::MAX, decoded);
            toys.generate(mode, &mut fresh, LIMITS, &mut guide);
        }
        assert_eq!(reused.tokens(), fresh.tokens(), "round {round}, {mode:?}, {end:?}");
    }
}

#[test]
fn retargeting_evaluates_only_what_is_new() {
    let toys = Toys::new();
    let mut sequence = toys.sequence();
    let prompt: Vec<u32> = (0..200).map(|i| i % 30).collect();
    sequence.retarget(prompt.clone());
    let mut guide = script(usize::MAX, 10);
    toys.generate(Mode::Cosec, &mut sequence, LIMITS, &mut guide);
    assert_eq!(guide.prefill, (200, 200));
    let longer = [&prompt[..], &[1, 2]].concat();
    sequence.retarget(longer);
    let mut guide = script(usize::MAX, 1);
    toys.generate(Mode::Cosec, &mut sequence, LIMITS, &mut guide);
    assert!(guide.prefill.0 <= 2 && guide.prefill.1 <= 2, "{:?}", guide.prefill);
}

#[test]
fn a_cancelled_prefill_keeps_what_it_evaluated() {
    let toys = Toys::new();
    let mut sequence = toys.sequence();
    sequence.retarget((0..10 * PREFILL_CHUNK as u32).map(|i| i % 30).collect());
    let end = toys.generate(Mode::Off, &mut sequence, LIMITS, &mut script(4, 1));
    assert_eq!(end, End::Cancelled);
    assert_eq!(sequence.cache(Role::Base).len(), 4 * PREFILL_CHUNK, "one question, one chunk");
}

#[test]
fn decoding_ends_at_its_limits() {
    let toys = Toys::new();
    let mut sequence = toys.sequence();
    sequence.retarget(vec![1]);
    let limits = Limits { max_tokens: 5, ..LIMITS };
    let end = toys.generate(Mode::Cosec, &mut sequence, limits, &mut script(usize::MAX, 100));
    assert_eq!((end, sequence.len()), (End::TokenLimit, 6));
    let limits = Limits { deadline: Some(Instant::now()), ..LIMITS };
    let end = toys.generate(Mode::Cosec, &mut sequence, limits, &mut script(usize::MAX, 100));
    assert_eq!((end, sequence.len()), (End::TimeBudget, 7), "a spent budget still yields a token");
}
