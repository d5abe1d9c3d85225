//! The loop: prefill, then one step after another, until something ends it.
//!
//! Between any two forwards the caller is asked whether to go on, so a cancelled request stops within one forward.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use crate::model::Decoder;

use super::{CoDecoder, Error, Role, Sequence, Step};

/// Most tokens in one forward of the prefill: short enough that a cancellation is soon noticed, long enough that the
/// weights are read for many rows at once. From 32 rows on, candle keeps a further copy of the weights for AMX, which
/// was no faster where it was measured.
pub const PREFILL_CHUNK: usize = 24;

/// When decoding ends at the latest.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most tokens to decode.
    pub max_tokens: usize,
    /// Time to decode, counted from the end of the prefill.
    pub time_budget: Duration,
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
    /// [`Limits::time_budget`].
    TimeBudget,
}

/// What a caller of [`generate`] decides while it runs.
pub trait Guide {
    /// Asked between any two forwards.
    fn cancelled(&self) -> bool;

    /// The tokens that may come next; `None` for all.
    fn allowed(&self) -> Option<Vec<u32>>;

    /// Told of every token, in order; `Break` ends decoding after it.
    fn observe(&mut self, step: &Step) -> ControlFlow<()>;

    /// Told how many tokens each role evaluates before the first step.
    fn prefilled(&mut self, base: usize, security: usize);
}

/// Decodes after `sequence` until something ends it.
///
/// # Errors
/// If a model fails. What was decoded before stays in the sequence and was observed.
pub fn generate<D: Decoder>(
    decoder: &CoDecoder<'_, D>,
    sequence: &mut Sequence<D::Cache>,
    limits: Limits,
    guide: &mut dyn Guide,
) -> Result<End, Error> {
    guide.prefilled(
        pending(decoder, sequence, Role::Base),
        pending(decoder, sequence, Role::Security),
    );
    if prefill(decoder, sequence, &|| guide.cancelled())?.is_break() {
        return Ok(End::Cancelled);
    }
    let started = Instant::now();
    for n_decoded in 0.. {
        if n_decoded >= limits.max_tokens || sequence.len() >= decoder.context() {
            return Ok(End::TokenLimit);
        }
        if n_decoded > 0 && started.elapsed() >= limits.time_budget {
            return Ok(End::TimeBudget);
        }
        if guide.cancelled() {
            return Ok(End::Cancelled);
        }
        let allowed = guide.allowed();
        let cancelled = || guide.cancelled();
        let Some(step) = decoder.step_unless(sequence, allowed.as_deref(), &cancelled)? else {
            return Ok(End::Cancelled);
        };
        if guide.observe(&step).is_break() {
            break;
        }
    }
    Ok(End::Observer)
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

/// Feeds all but the last chunk of what is pending, chunk by chunk; what is left, a step feeds.
fn prefill<D: Decoder>(
    decoder: &CoDecoder<'_, D>,
    sequence: &mut Sequence<D::Cache>,
    cancelled: &dyn Fn() -> bool,
) -> Result<ControlFlow<()>, Error> {
    for &role in decoder.roles() {
        while sequence.pending(role).len() > PREFILL_CHUNK {
            if cancelled() {
                return Ok(ControlFlow::Break(()));
            }
            decoder.prefill(sequence, role, PREFILL_CHUNK)?;
        }
    }
    Ok(ControlFlow::Continue(()))
}
