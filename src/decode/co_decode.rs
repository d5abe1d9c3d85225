//! The co-decoding step: CoSec's Algorithm 1, one token at a time.
//!
//! This is the specification in code. `p` is the base's distribution, `p′` the one that it draws from, `q` the security
//! model's, `alpha` the threshold:
//!
//! 1. `t ~ q`
//! 2. accept `t` iff `α < min(1, p(t) / q(t))`; the threshold is fixed, nothing random is drawn here
//! 3. otherwise `t ~ p′`, the rejected token not excluded
//!
//! Its output law is `P(t) = q(t)·A(t) + p′(t)·Σᵤ q(u)·(1 − A(u))` with `A(u) = [α < min(1, p(u)/q(u))]`, which
//! `tests/co_decoding.rs` checks. Where the paper and its published code (`sample_with_experts` in
//! `CustomizedGeneration.py`) differ, [`Ratio`] is the choice: [`Ratio::Warped`] is the paper's, [`Ratio::RawBase`] the
//! code's, and [`Ratio::Raw`], the default, takes the code's `p` and the paper's `p′`.

use std::borrow::Cow;

use crate::config::{Decoding, Mode, Ratio};
use crate::model::{Cache, Decoder, LogitRows, Logits};

use super::rng::Draws;
use super::sampler::Distribution;
use super::{Error, Role, Sequence};

/// How the next token is chosen: two models and the law that joins them.
#[derive(Debug)]
pub struct CoDecoder<'m, D> {
    /// The model that is hardened.
    pub base: &'m D,
    /// The small model that hardens it, over the same vocabulary.
    pub security: &'m D,
    /// Threshold, ratio rule, and each role's sampling.
    pub law: Decoding,
    /// Where randomness comes from.
    pub draws: Draws,
}

/// One chosen token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Its id.
    pub token: u32,
    /// Why it is what it is.
    pub provenance: Provenance,
}

/// What a token remembers of how it was chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Provenance {
    /// `Security` where its proposal was accepted, `Base` where the base drew.
    pub role: Role,
    /// The security model's proposal; absent in mode `off`.
    pub proposal: Option<u32>,
    /// `p(t)` of the proposal; of the token itself in mode `off`.
    pub p: Option<f64>,
    /// `q(t)` of the proposal.
    pub q: Option<f64>,
    /// `min(1, p / q)`, which α was compared with.
    pub ratio: Option<f64>,
    /// What the base would have drawn here with the same key; absent where it was not asked.
    pub base_choice: Option<u32>,
}

impl Step {
    /// The security model's proposal was held against the base here.
    pub fn proposed(&self) -> bool {
        self.provenance.ratio.is_some()
    }

    /// It was, and is the token.
    pub fn accepted(&self) -> bool {
        self.proposed() && self.provenance.role == Role::Security
    }

    /// Hardening changed something here: the token is not the base's own choice.
    pub fn intervened(&self) -> bool {
        self.provenance.base_choice.is_some_and(|choice| choice != self.token)
    }
}

/// The rows that a token is chosen from, `[V]` each; empty for a role that is not asked.
#[derive(Debug, Default)]
pub(super) struct Rows {
    base: Vec<f32>,
    security: Vec<f32>,
}

impl Rows {
    pub(super) fn of(&mut self, role: Role) -> &mut Vec<f32> {
        match role {
            Role::Base => &mut self.base,
            Role::Security => &mut self.security,
        }
    }
}

/// The paper's step on two distributions. `uniform(role)` is the keyed draw of that role at this position.
pub fn co_decode_step(
    p: &Distribution<'_>,
    q: &Distribution<'_>,
    alpha: f32,
    uniform: impl Fn(Role) -> f64,
) -> Step {
    let proposal = q.draw(uniform(Role::Security));
    let base_choice = p.draw(uniform(Role::Base));
    let (p, q) = (p.probability(proposal), q.probability(proposal));
    let ratio = (p / q).min(1.0);
    let (role, token) = if f64::from(alpha) < ratio {
        (Role::Security, proposal)
    } else {
        (Role::Base, base_choice)
    };
    let provenance = Provenance {
        role,
        proposal: Some(proposal),
        p: Some(p),
        q: Some(q),
        ratio: Some(ratio),
        base_choice: Some(base_choice),
    };
    Step { token, provenance }
}

impl<D: Decoder> CoDecoder<'_, D> {
    /// The roles that this law asks.
    pub fn roles(&self) -> &'static [Role] {
        roles(self.law.mode)
    }

    /// The model of a role.
    pub fn model(&self, role: Role) -> &D {
        match role {
            Role::Base => self.base,
            Role::Security => self.security,
        }
    }

    /// Feeds what each role has pending, chooses the next token of `sequence`, and appends it. With `allowed`, only
    /// these tokens can be chosen, by either role (both distributions are restricted before they are warped).
    ///
    /// # Errors
    /// If a model fails or its logits are not finite; the sequence is then as before, but for its caches.
    pub fn step(
        &self,
        sequence: &mut Sequence<D::Cache>,
        allowed: Option<&[u32]>,
    ) -> Result<Step, Error> {
        let step = self.step_unless(sequence, allowed, &|| false)?;
        Ok(step.expect("a step that nobody interrupts chooses a token"))
    }

    /// As [`CoDecoder::step`], but asks between its two forwards whether to go on; `None` if not.
    ///
    /// # Errors
    /// As [`CoDecoder::step`].
    pub fn step_unless(
        &self,
        sequence: &mut Sequence<D::Cache>,
        allowed: Option<&[u32]>,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Option<Step>, Error> {
        let chosen = self.choose(sequence, allowed, cancelled);
        match &chosen {
            Ok(Some(step)) => sequence.push(step.token),
            Ok(None) | Err(_) => sequence.settle(),
        }
        chosen
    }

    fn choose(
        &self,
        sequence: &mut Sequence<D::Cache>,
        allowed: Option<&[u32]>,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Option<Step>, Error> {
        let position = sequence.len();
        let mut rows = Rows::default();
        // The last one first: the proposal comes before what it is held against.
        for (i, &role) in self.roles().iter().rev().enumerate() {
            if i > 0 && cancelled() {
                return Ok(None);
            }
            *rows.of(role) = self.row(sequence, role, allowed)?;
        }
        Ok(Some(self.decide(position, &rows)?))
    }

    /// The token at `position`, from the rows of the roles that this law asks.
    pub(super) fn decide(&self, position: usize, rows: &Rows) -> Result<Step, Error> {
        let uniform = |role| self.draws.uniform(position, role);
        let q = || Distribution::warped(&rows.security, &self.law.security);
        Ok(match self.law.mode {
            Mode::Off => alone(Role::Base, &self.base_distribution(&rows.base)?, uniform),
            Mode::Security => alone(Role::Security, &q()?, uniform),
            Mode::Cosec => {
                let p = self.base_distribution(&rows.base)?;
                co_decode_step(&p, &q()?, self.law.alpha, uniform)
            }
        })
    }

    /// Feeds what `role` has pending and returns the logits of the next token, `[V]`.
    pub(super) fn row(
        &self,
        sequence: &mut Sequence<D::Cache>,
        role: Role,
        allowed: Option<&[u32]>,
    ) -> Result<Vec<f32>, Error> {
        let (pending, cache) = sequence.feed(role);
        let logits = self.model(role).forward(pending, cache, LogitRows::Last(1))?;
        Ok(self.comparable(logits, allowed))
    }

    /// The row of a role as it is compared: of the width that both models know, and of `allowed` tokens only.
    pub(super) fn comparable(&self, logits: Logits, allowed: Option<&[u32]>) -> Vec<f32> {
        let mut row = logits.data;
        row.truncate(self.vocab());
        restricted(row.into(), allowed).into_owned()
    }

    /// Width of the rows that are compared: one of the two may be padded to a wider one, and ids that the other does not
    /// know cannot come.
    pub(super) fn vocab(&self) -> usize {
        self.base.vocab().min(self.security.vocab())
    }

    /// `p`: in mode `off` always warped, since nothing is compared there.
    pub(super) fn base_distribution<'l>(
        &self,
        logits: &'l [f32],
    ) -> Result<Distribution<'l>, Error> {
        match (self.law.ratio, self.law.mode) {
            (Ratio::RawBase, Mode::Cosec) => Distribution::raw(logits, self.law.base.temperature),
            (Ratio::Raw, Mode::Cosec) => Distribution::drawn_warped(logits, &self.law.base),
            _ => Distribution::warped(logits, &self.law.base),
        }
    }

    /// Most tokens that a sequence of this pair may have.
    pub fn context(&self) -> usize {
        self.base.context().min(self.security.context())
    }

    /// Feeds all but the last of what `role` has pending, at most `most` tokens, for the caches only. Returns how many
    /// tokens were fed; 0 when nothing is left to do before a step.
    ///
    /// # Errors
    /// If the model fails.
    pub fn prefill(
        &self,
        sequence: &mut Sequence<D::Cache>,
        role: Role,
        most: usize,
    ) -> Result<usize, Error> {
        let (pending, cache) = sequence.feed(role);
        let n_tokens = pending.len().saturating_sub(1).min(most);
        if n_tokens > 0 {
            let before = cache.len();
            self.model(role).forward(&pending[..n_tokens], cache, LogitRows::None)?;
            debug_assert_eq!(cache.len(), before + n_tokens);
        }
        Ok(n_tokens)
    }
}

/// The roles that a mode asks.
pub(super) fn roles(mode: Mode) -> &'static [Role] {
    match mode {
        Mode::Off => &[Role::Base],
        Mode::Cosec => &[Role::Base, Role::Security],
        Mode::Security => &[Role::Security],
    }
}

/// One role decodes alone.
fn alone(role: Role, distribution: &Distribution<'_>, uniform: impl Fn(Role) -> f64) -> Step {
    let token = distribution.draw(uniform(role));
    let probability = Some(distribution.probability(token));
    let provenance = match role {
        Role::Base => Provenance {
            role,
            proposal: None,
            p: probability,
            q: None,
            ratio: None,
            base_choice: Some(token),
        },
        Role::Security => Provenance {
            role,
            proposal: Some(token),
            p: None,
            q: probability,
            ratio: None,
            base_choice: None,
        },
    };
    Step { token, provenance }
}

/// Every logit but those of `allowed` is −∞.
pub(super) fn restricted<'l>(logits: Cow<'l, [f32]>, allowed: Option<&[u32]>) -> Cow<'l, [f32]> {
    let Some(allowed) = allowed else { return logits };
    let mut row = vec![f32::NEG_INFINITY; logits.len()];
    for &id in allowed {
        if let Some(&logit) = logits.get(id as usize) {
            row[id as usize] = logit;
        }
    }
    row.into()
}
