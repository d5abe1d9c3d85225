//! The loop: prefill, then one step or round after another, until something ends it.
//!
//! Between any two forwards the caller is asked whether to go on, so a cancelled request stops within one forward.

use std::ops::ControlFlow;
use std::time::Instant;

use crate::config::Mode;
use crate::model::{Cache, Decoder};

use super::draft_length::DraftLength;
use super::{CoDecoder, Error, Role, Sequence, Signal, Step};

/// Most tokens in one forward of the prefill: short enough that a cancellation is soon noticed, long enough that the
/// weights are read for many rows at once.
pub const PREFILL_CHUNK: usize = 48;

/// When decoding ends at the latest.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most tokens to decode.
    pub max_tokens: usize,
    /// When the time is up, prefill included; `None` for no such time. Looked at between any two forwards, the first of
    /// which runs in any case: however short the time, a prompt that is asked again gets further.
    pub deadline: Option<Instant>,
}

impl Limits {
    fn is_late(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }
}

/// Why decoding ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The caller's `observe` said so.
    Observer,
    /// The caller's `cancelled` said so.
    Cancelled,
    /// [`Limits::max_tokens`], or the context is full.
    TokenLimit,
    /// [`Limits::deadline`].
    TimeBudget,
}

/// What a caller of [`generate`] decides while it runs.
pub trait Guide {
    /// Asked between any two forwards.
    fn cancelled(&self) -> bool;

    /// The tokens that may come next, behind those that are `drafted` and were not yet observed; `None` for all, as it
    /// then is to the end.
    fn allowed(&self, drafted: &[u32]) -> Option<Vec<u32>>;

    /// Told of every round of co-decoding, before its tokens: how many were drafted for one forward of the base.
    fn verified(&mut self, n_drafts: usize);

    /// Told of every token, in order; `Break` ends decoding after it.
    fn observe(&mut self, step: &Step) -> ControlFlow<()>;

    /// Told how many tokens each role evaluates before the first step.
    fn prefilled(&mut self, base: usize, security: usize);
}

/// Decodes after `sequence` until something ends it, in rounds of as many drafts as `draft_length` says, which learns
/// from them. What is decoded does not depend on it.
///
/// # Errors
/// If a model fails. What was decoded before stays in the sequence and was observed.
pub fn generate<D: Decoder>(
    decoder: &CoDecoder<'_, D>,
    sequence: &mut Sequence<D::Cache>,
    limits: Limits,
    draft_length: &mut DraftLength,
    guide: &mut dyn Guide,
) -> Result<End, Error> {
    guide.prefilled(
        pending(decoder, sequence, Role::Base),
        pending(decoder, sequence, Role::Security),
    );
    let mut is_idle = match prefill(decoder, sequence, limits, guide)? {
        ControlFlow::Break(end) => return Ok(end),
        ControlFlow::Continue(n_fed) => n_fed == 0,
    };
    let mut n_decoded = 0;
    loop {
        if n_decoded >= limits.max_tokens || sequence.len() >= decoder.context() {
            return Ok(End::TokenLimit);
        }
        if !is_idle && limits.is_late() {
            return Ok(End::TimeBudget);
        }
        if guide.cancelled() {
            return Ok(End::Cancelled);
        }
        let start = sequence.len();
        let room = (limits.max_tokens - n_decoded).min(decoder.context() - start);
        let mut turn = Turn { decoder, draft_length: &mut *draft_length, room };
        let Some(steps) = turn.take(sequence, guide, &|| limits.is_late())? else {
            return Ok(End::Cancelled);
        };
        is_idle = false;
        for (i, step) in steps.iter().enumerate() {
            if guide.observe(step).is_break() {
                sequence.truncate(start + i + 1);
                sequence.settle();
                return Ok(End::Observer);
            }
        }
        n_decoded += steps.len();
    }
}

/// The next tokens of a sequence: those of a round where the law and the setting allow one, else a single one.
struct Turn<'a, 'm, D> {
    decoder: &'a CoDecoder<'m, D>,
    draft_length: &'a mut DraftLength,
    /// Most tokens to choose.
    room: usize,
}

impl<D: Decoder> Turn<'_, '_, D> {
    /// The tokens, which are in the sequence; `None` if the guide cancelled.
    fn take(
        &mut self,
        sequence: &mut Sequence<D::Cache>,
        guide: &mut dyn Guide,
        is_late: &dyn Fn() -> bool,
    ) -> Result<Option<Vec<Step>>, Error> {
        let is_cosec = self.decoder.law.mode == Mode::Cosec;
        if !is_cosec || self.draft_length.is_plain() {
            let (allowed, cancelled) = (guide.allowed(&[]), || guide.cancelled());
            let step = self.decoder.step_unless(sequence, allowed.as_deref(), &cancelled)?;
            if is_cosec && step.is_some() {
                guide.verified(1);
            }
            return Ok(step.map(|step| vec![step]));
        }
        let draft_length = &*self.draft_length;
        let signal = |drafted: &[f64]| {
            if guide.cancelled() {
                Signal::Cancel
            } else if is_late() || !draft_length.is_worth_another(drafted) {
                Signal::Hurry
            } else {
                Signal::Continue
            }
        };
        let n_drafts = self.draft_length.most(self.room);
        let allowed = |drafted: &[u32]| guide.allowed(drafted);
        let Some(round) = self.decoder.round(sequence, n_drafts, &allowed, &signal)? else {
            return Ok(None);
        };
        self.draft_length.learn(&round.outcome());
        guide.verified(round.n_drafts);
        Ok(Some(round.steps))
    }
}

/// Tokens that a role has to evaluate before its first row; 0 for a role that is not asked.
fn pending<D: Decoder>(
    decoder: &CoDecoder<'_, D>,
    sequence: &Sequence<D::Cache>,
    role: Role,
) -> usize {
    match decoder.roles().contains(&role) {
        true => sequence.pending(role).len(),
        false => 0,
    }
}

/// Feeds all but the last chunk of what is pending, chunk by chunk; what is left, a step feeds. Returns how many tokens
/// were fed, or what ended it; what was evaluated before stays.
fn prefill<D: Decoder>(
    decoder: &CoDecoder<'_, D>,
    sequence: &mut Sequence<D::Cache>,
    limits: Limits,
    guide: &dyn Guide,
) -> Result<ControlFlow<End, usize>, Error> {
    let mut n_fed = 0;
    for &role in decoder.roles() {
        while sequence.pending(role).len() > PREFILL_CHUNK {
            if guide.cancelled() {
                return Ok(ControlFlow::Break(End::Cancelled));
            }
            if n_fed > 0 && limits.is_late() {
                return Ok(ControlFlow::Break(End::TimeBudget));
            }
            n_fed += decoder.prefill(sequence, role, PREFILL_CHUNK)?;
        }
    }
    Ok(ControlFlow::Continue(n_fed))
}

/// Fills the cache of each role that the law asks with the first `n_tokens` tokens of `sequence` (less the last of all,
/// which a step feeds), chunk by chunk, and computes no row of logits. Asks `cancelled` before every forward. Returns how
/// many tokens were fed, by both roles together.
///
/// # Errors
/// If a model fails. What was evaluated before stays.
pub fn prefill_ahead<D: Decoder>(
    decoder: &CoDecoder<'_, D>,
    sequence: &mut Sequence<D::Cache>,
    n_tokens: usize,
    cancelled: &dyn Fn() -> bool,
) -> Result<usize, Error> {
    let n_tokens = n_tokens.min(sequence.len().saturating_sub(1));
    let mut n_fed = 0;
    for &role in decoder.roles() {
        loop {
            let n_missing = n_tokens.saturating_sub(sequence.cache(role).len());
            if n_missing == 0 {
                break;
            }
            if cancelled() {
                return Ok(n_fed);
            }
            n_fed += decoder.prefill(sequence, role, n_missing.min(PREFILL_CHUNK))?;
        }
    }
    Ok(n_fed)
}
