//! A prompt that may be asked next, evaluated while nothing else is to do.
//!
//! Runs on the worker thread. Fills the caches of the document's sequence and chooses no token, so that it changes when a
//! request is answered and not what the answer is. What was evaluated when it is interrupted stays in the caches.

use std::time::Duration;

use crate::config::Decoding;
use crate::decode::generate::prefill_ahead;
use crate::decode::rng::Draws;
use crate::decode::{self, Sequence};
use crate::model::{Cache, LanguageModelCache};
use crate::prompt::fim::frame_ahead;

use super::decoding::new_sequence;
use super::pair::Pair;
use super::queue::Prefill;
use super::sequences::Sequences;

/// A sequence that a request used so short a time ago makes no room for a hint: the user may well come back to it.
const RECENT_USE: Duration = Duration::from_secs(600);

/// Evaluates what is not in the caches yet, and returns how many tokens that were, of both models together. Does nothing
/// where there is no room within the memory limit.
///
/// # Errors
/// If the tokenizer or a model fails. What was evaluated before stays.
pub fn prefill(
    pair: &Pair,
    job: &Prefill,
    sequences: &mut Sequences<LanguageModelCache>,
) -> Result<usize, decode::Error> {
    let hint = &job.hint;
    let budget = pair.budget(hint.budget, hint.max_tokens);
    let tokens = frame_ahead(&hint.prompt, hint.reach, &pair.tokenizer, pair.fim, budget)?;
    let n_tokens = tokens.len();
    let document = &hint.document;
    let fresh = new_sequence(pair);
    let bytes = sequences.get(document).unwrap_or(&fresh).bytes_at(n_tokens);
    if !sequences.make_room(document, bytes, RECENT_USE) {
        return Ok(0);
    }
    let used = sequences.used(document);
    let mut sequence = sequences.take(document).unwrap_or(fresh);
    aim(&mut sequence, tokens);
    let evaluated = fill(pair, job, &mut sequence, n_tokens);
    sequences.put(document.clone(), sequence, used);
    evaluated
}

/// Makes `sequence` begin with `tokens`. One that does already keeps what follows them: going back to where the last
/// request was made must not cost what it has evaluated.
fn aim<C: Cache>(sequence: &mut Sequence<C>, tokens: Vec<u32>) {
    if sequence.common_prefix(&tokens) < tokens.len() {
        sequence.retarget(tokens);
    }
}

fn fill(
    pair: &Pair,
    job: &Prefill,
    sequence: &mut Sequence<LanguageModelCache>,
    n_tokens: usize,
) -> Result<usize, decode::Error> {
    let law = Decoding { mode: job.hint.mode, ..Decoding::default() };
    let decoder = pair.decoder(law, Draws { seed: 0, sample: 0 });
    let n_tokens = n_tokens.min(decoder.context());
    prefill_ahead(&decoder, sequence, n_tokens, &|| job.is_stale())
}
