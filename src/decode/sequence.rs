//! One document's tokens, and the two caches that follow them.
//!
//! **Tokens lead, caches follow.** `tokens` is everything decided so far. Between steps each cache holds the keys and
//! values of a *prefix* of `tokens`, and at least one token less than all of it. So prefill, catching up and reuse across
//! keystrokes are one call, `forward(tokens[cache.len()..])`, and there is always a fresh row of logits.

use crate::model::{Cache, Error};

use super::Role;

/// Tokens and the caches of both roles. Invariant: each cache holds a prefix of `tokens`, shorter than all of it.
#[derive(Debug)]
pub struct Sequence<C> {
    tokens: Vec<u32>,
    base: C,
    security: C,
}

impl<C: Cache> Sequence<C> {
    /// A sequence without tokens, over two empty caches.
    pub fn new(base: C, security: C) -> Self {
        debug_assert!(base.is_empty() && security.is_empty());
        Self { tokens: Vec::new(), base, security }
    }

    /// A sequence of its own that begins with all of this one.
    ///
    /// # Errors
    /// If a device has no memory.
    pub fn try_clone(&self) -> Result<Self, Error> {
        Ok(Self {
            tokens: self.tokens.clone(),
            base: self.base.try_clone()?,
            security: self.security.try_clone()?,
        })
    }

    /// Everything decided so far.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Number of tokens, which is also the position of the next one.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether nothing is decided.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// How many tokens this sequence and `tokens` begin with in common.
    pub fn common_prefix(&self, tokens: &[u32]) -> usize {
        self.tokens.iter().zip(tokens).take_while(|(a, b)| a == b).count()
    }

    /// Makes `tokens` the decided ones, and keeps of each cache what still holds.
    ///
    /// # Panics
    /// If `tokens` is empty: a model has nothing to start from.
    pub fn retarget(&mut self, tokens: Vec<u32>) {
        assert!(!tokens.is_empty(), "a sequence starts from at least one token");
        let kept = self.common_prefix(&tokens).min(tokens.len() - 1);
        self.base.truncate(kept);
        self.security.truncate(kept);
        self.tokens = tokens;
    }

    /// Appends a decided token.
    pub fn push(&mut self, token: u32) {
        self.tokens.push(token);
    }

    /// The tokens that a role's cache does not hold yet; at least one unless the sequence is empty.
    pub fn pending(&self, role: Role) -> &[u32] {
        &self.tokens[self.cache(role).len()..]
    }

    /// A role's cache and the tokens that it does not hold yet.
    pub fn feed(&mut self, role: Role) -> (&[u32], &mut C) {
        let cache = match role {
            Role::Base => &mut self.base,
            Role::Security => &mut self.security,
        };
        (&self.tokens[cache.len()..], cache)
    }

    /// Takes back every token from `len` on, and what the caches hold of them. The caches may then hold all that is
    /// left: a [`Sequence::push`] or [`Sequence::settle`] follows.
    pub fn truncate(&mut self, len: usize) {
        self.tokens.truncate(len);
        self.base.truncate(len);
        self.security.truncate(len);
    }

    /// Restores the invariant after a row was computed and no token pushed, for instance because of a cancellation.
    pub fn settle(&mut self) {
        let most = self.tokens.len().saturating_sub(1);
        self.base.truncate(most);
        self.security.truncate(most);
    }

    /// A role's cache.
    pub fn cache(&self, role: Role) -> &C {
        match role {
            Role::Base => &self.base,
            Role::Security => &self.security,
        }
    }

    /// Memory of both caches, in bytes.
    pub fn bytes(&self) -> usize {
        self.base.bytes() + self.security.bytes()
    }

    /// Memory of both caches once they hold `n_tokens` tokens, in bytes; at least what they take already.
    pub fn bytes_at(&self, n_tokens: usize) -> usize {
        self.base.bytes_at(n_tokens) + self.security.bytes_at(n_tokens)
    }
}
