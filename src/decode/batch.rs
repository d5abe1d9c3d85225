//! Plain steps of several sequences at once: as in Algorithm 1, which draws m completions of one prompt, the rows of
//! all of them are computed by one forward of each model.
//!
//! A row does not depend on the rows beside it, so each sequence gets the tokens that it would get alone.

use crate::config::Decoding;
use crate::model::{Decoder, Feed, LogitRows, Logits};

use super::co_decode::{Rows, roles};
use super::rng::Draws;
use super::{CoDecoder, Error, Role, Sequence, Step};

/// A sequence of a batch, and how its tokens are chosen; laws and draws may differ from member to member.
#[derive(Debug)]
pub struct Member<'a, C> {
    /// Where the next token goes.
    pub sequence: &'a mut Sequence<C>,
    /// The law that joins the models.
    pub law: Decoding,
    /// Where randomness comes from.
    pub draws: Draws,
    /// The tokens that may come next; `None` for all.
    pub allowed: Option<Vec<u32>>,
}

/// The next token of every member, each appended to its sequence: what [`CoDecoder::step`] gives for each.
///
/// # Errors
/// If a model fails or its logits are not finite; the sequences are then as before, but for their caches.
pub fn step_batch<D: Decoder>(
    [base, security]: [&D; 2],
    members: &mut [Member<'_, D::Cache>],
) -> Result<Vec<Step>, Error> {
    let chosen = choose([base, security], members);
    match &chosen {
        Ok(steps) => {
            for (member, step) in members.iter_mut().zip(steps) {
                member.sequence.push(step.token);
            }
        }
        Err(_) => members.iter_mut().for_each(|member| member.sequence.settle()),
    }
    chosen
}

impl<C> Member<'_, C> {
    fn asks(&self, role: Role) -> bool {
        roles(self.law.mode).contains(&role)
    }
}

fn choose<D: Decoder>(
    [base, security]: [&D; 2],
    members: &mut [Member<'_, D::Cache>],
) -> Result<Vec<Step>, Error> {
    let decoder = |member: &Member<'_, D::Cache>| CoDecoder {
        base,
        security,
        law: member.law,
        draws: member.draws,
    };
    let mut rows: Vec<Rows> = members.iter().map(|_| Rows::default()).collect();
    for (role, model) in [(Role::Security, security), (Role::Base, base)] {
        let logits = forward(model, role, members)?;
        let asked = members.iter().zip(&mut rows).filter(|(member, _)| member.asks(role));
        for ((member, rows), logits) in asked.zip(logits) {
            *rows.of(role) = decoder(member).comparable(logits, member.allowed.as_deref());
        }
    }
    let decided = members.iter().zip(&rows);
    decided.map(|(member, rows)| decoder(member).decide(member.sequence.len(), rows)).collect()
}

/// One forward over what the members whose law asks this role have pending.
fn forward<D: Decoder>(
    model: &D,
    role: Role,
    members: &mut [Member<'_, D::Cache>],
) -> Result<Vec<Logits>, Error> {
    let mut feeds = Vec::with_capacity(members.len());
    for member in members.iter_mut().filter(|member| member.asks(role)) {
        let (tokens, cache) = member.sequence.feed(role);
        feeds.push(Feed { tokens, cache, rows: LogitRows::Last(1) });
    }
    match feeds.is_empty() {
        true => Ok(Vec::new()),
        false => Ok(model.forward_batch(&mut feeds)?),
    }
}
