//! Speculative co-decoding: several proposals checked by one forward of the base.
//!
//! While proposals are accepted, what is emitted *is* the security model's own sample, so that it drafts at no cost of
//! its own. A round *drafts* `t₁ … t_k`, *verifies* them with one forward of the base, *accepts* them up to the first
//! rejection, where the base's token is taken, and *commits* what came of it to the sequence.
//!
//! A round chooses the very tokens that as many calls of [`CoDecoder::step`] choose, and remembers the same of them:
//! every position is decided by [`co_decode_step`], with the draws of that position, on the rows of the same tokens
//! (`docs/CO-DECODING.md`, "The fast path"). That needs models whose row does not depend on how many rows are computed
//! beside it.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use crate::model::{Decoder, LogitRows};

use super::co_decode::{co_decode_step, restricted};
use super::draft_length::{Outcome, Times};
use super::lookup::guesses;
use super::sampler::Distribution;
use super::{CoDecoder, Error, Role, Sequence, Step};

/// What a caller says between two forwards of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Go on.
    Continue,
    /// Draft no more: verify what is there.
    Hurry,
    /// Drop what is drafted.
    Cancel,
}

/// Which tokens may come behind drafts of a round; `None` for all.
pub type Allowed<'a> = &'a dyn Fn(&[u32]) -> Option<Vec<u32>>;

/// What came of one round.
#[derive(Clone, Debug, PartialEq)]
pub struct Round {
    /// The tokens that it chose, oldest first; at least one, at most as many as were drafted.
    pub steps: Vec<Step>,
    /// Tokens that were drafted.
    pub n_drafts: usize,
    /// What its forwards took; absent where one of them fed more than the round's own tokens.
    pub times: Option<Times>,
}

impl Round {
    /// What the next choice of a draft length can learn from this.
    pub fn outcome(&self) -> Outcome {
        let decided = |step: &Step| Some((step.provenance.q?, step.accepted()));
        let decided = self.steps.iter().filter_map(decided).collect();
        Outcome { n_drafts: self.n_drafts, decided, times: self.times }
    }
}

/// Drafts of one round, and when the last of them was there.
struct Drafts {
    /// `q₁ … q_k`.
    rows: Vec<Distribution<'static>>,
    took: Duration,
}

impl<D: Decoder> CoDecoder<'_, D> {
    /// One round of up to `n_drafts` drafts, as mode `cosec` wants it: chooses one to `n_drafts` tokens and appends
    /// them. `allowed` is asked which tokens may come behind the round's drafts so far. `signal` is asked between any
    /// two forwards, with `q(t)` of the drafts that are there; `None` if it says [`Signal::Cancel`].
    ///
    /// # Errors
    /// If a model fails or its logits are not finite; the sequence is then as before, but for its caches. So it is
    /// after a cancellation.
    ///
    /// # Panics
    /// If `n_drafts` is 0.
    pub fn round(
        &self,
        sequence: &mut Sequence<D::Cache>,
        n_drafts: usize,
        allowed: Allowed<'_>,
        signal: &dyn Fn(&[f64]) -> Signal,
    ) -> Result<Option<Round>, Error> {
        assert!(n_drafts > 0, "a round drafts at least one token");
        let start = sequence.len();
        let round = self.draft_and_verify(sequence, n_drafts, allowed, signal);
        match &round {
            Ok(Some(Round { steps, .. })) => {
                // All but the last token are drafts that both caches hold. The last one, whoever chose it, none holds.
                sequence.truncate(start + steps.len() - 1);
                sequence.push(steps[steps.len() - 1].token);
            }
            Ok(None) | Err(_) => {
                sequence.truncate(start);
                sequence.settle();
            }
        }
        round
    }

    /// The round's tokens. Leaves all drafts but the last one in the sequence.
    fn draft_and_verify(
        &self,
        sequence: &mut Sequence<D::Cache>,
        n_drafts: usize,
        allowed: Allowed<'_>,
        signal: &dyn Fn(&[f64]) -> Signal,
    ) -> Result<Option<Round>, Error> {
        let start = sequence.len();
        let n_pending = |role| sequence.pending(role).len();
        let only_own = n_pending(Role::Base) == 1 && n_pending(Role::Security) == 1;
        let drafts = self.draft(sequence, n_drafts, allowed, signal)?;
        let Some(Drafts { rows, took: draft }) = drafts else { return Ok(None) };
        let began = Instant::now();
        let steps = self.verify(sequence, start, allowed, &rows)?;
        let times = only_own.then(|| Times { draft, verify: began.elapsed() });
        Ok(Some(Round { steps, n_drafts: rows.len(), times }))
    }

    /// The security model draws token after token, each as if those before it were accepted. Where the text repeats, one
    /// of its forwards gives the rows of several drafts.
    fn draft(
        &self,
        sequence: &mut Sequence<D::Cache>,
        n_drafts: usize,
        allowed: Allowed<'_>,
        signal: &dyn Fn(&[f64]) -> Signal,
    ) -> Result<Option<Drafts>, Error> {
        let (began, start) = (Instant::now(), sequence.len());
        let mut rows = Vec::with_capacity(n_drafts);
        let mut drafted = Vec::with_capacity(n_drafts);
        let mut ahead = Vec::new().into_iter();
        loop {
            let row = match ahead.next() {
                Some(row) => row,
                None => {
                    ahead = self.rows_ahead(sequence, n_drafts - rows.len())?.into_iter();
                    ahead.next().expect("a forward gives a row")
                }
            };
            // The sequence ends with guesses, a token for each row that is left.
            let place = sequence.len() - ahead.len();
            let row = restricted(row.into(), allowed(&sequence.tokens()[start..place]).as_deref());
            let q = Distribution::warped(row, &self.law.security)?;
            let draft = q.draw(self.draws.uniform(place, Role::Security));
            drafted.push(q.probability(draft));
            rows.push(q);
            let signal = signal(&drafted);
            if signal == Signal::Cancel {
                return Ok(None);
            }
            if signal == Signal::Hurry || rows.len() == n_drafts {
                sequence.truncate(place);
                return Ok(Some(Drafts { rows, took: began.elapsed() }));
            }
            if sequence.tokens().get(place) != Some(&draft) {
                sequence.truncate(place);
                sequence.push(draft);
                ahead = Vec::new().into_iter();
            }
        }
    }

    /// The rows of the next drafts, at least one and at most `most`; a guess at each draft but the last is appended to
    /// the sequence, and a row holds where the guesses before it do.
    fn rows_ahead(
        &self,
        sequence: &mut Sequence<D::Cache>,
        most: usize,
    ) -> Result<Vec<Vec<f32>>, Error> {
        let guesses = guesses(sequence.tokens(), most - 1);
        if guesses.is_empty() {
            return Ok(vec![self.row(sequence, Role::Security, None)?]);
        }
        guesses.iter().for_each(|guess| sequence.push(*guess));
        let (pending, cache) = sequence.feed(Role::Security);
        let logits = self.security.forward(pending, cache, LogitRows::Last(guesses.len() + 1))?;
        let row = |i| logits.row(i)[..self.vocab()].to_vec();
        Ok((0..=guesses.len()).map(row).collect())
    }

    /// The base reads what it has pending, drafts included, in one forward; then each position from `start` on is
    /// decided as in the plain step, up to the first rejection.
    fn verify(
        &self,
        sequence: &mut Sequence<D::Cache>,
        start: usize,
        allowed: Allowed<'_>,
        rows: &[Distribution<'_>],
    ) -> Result<Vec<Step>, Error> {
        let (pending, cache) = sequence.feed(Role::Base);
        let logits = self.base.forward(pending, cache, LogitRows::Last(rows.len()))?;
        let mut steps = Vec::with_capacity(rows.len());
        for (i, q) in rows.iter().enumerate() {
            let row = Cow::from(&logits.row(i)[..self.vocab()]);
            let row = restricted(row, allowed(&sequence.tokens()[start..start + i]).as_deref());
            let p = self.base_distribution(&row)?;
            let uniform = |role| self.draws.uniform(start + i, role);
            let step = co_decode_step(&p, q, self.law.alpha, uniform);
            steps.push(step);
            if step.provenance.role == Role::Base {
                break;
            }
        }
        Ok(steps)
    }
}
