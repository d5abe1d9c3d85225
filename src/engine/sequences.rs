//! Idle sequences, one per document; the least recently used go when they take too much memory.

use std::time::{Duration, Instant};

use crate::decode::Sequence;
use crate::model::Cache;

use super::DocumentId;

/// The sequences that no request is using at the moment.
#[derive(Debug)]
pub struct Sequences<C> {
    /// The one that was put back last is the last.
    idle: Vec<Idle<C>>,
    limit_bytes: usize,
}

#[derive(Debug)]
struct Idle<C> {
    document: DocumentId,
    sequence: Sequence<C>,
    /// When a request used it last; none, which is before all others, where only a hint did.
    used: Option<Instant>,
}

impl<C: Cache> Sequences<C> {
    /// An empty store that keeps at most `limit_bytes` of caches, but always the one that was put back last.
    pub fn new(limit_bytes: usize) -> Self {
        Self { idle: Vec::new(), limit_bytes }
    }

    /// A document's sequence, if there is one.
    pub fn get(&self, document: &DocumentId) -> Option<&Sequence<C>> {
        self.find(document).map(|at| &self.idle[at].sequence)
    }

    /// When a request used a document's sequence last.
    pub fn used(&self, document: &DocumentId) -> Option<Instant> {
        self.find(document).and_then(|at| self.idle[at].used)
    }

    /// Takes a document's sequence out, if there is one.
    pub fn take(&mut self, document: &DocumentId) -> Option<Sequence<C>> {
        self.find(document).map(|at| self.idle.remove(at).sequence)
    }

    /// Puts a document's sequence back. `used` is when a request used it last.
    pub fn put(&mut self, document: DocumentId, sequence: Sequence<C>, used: Option<Instant>) {
        self.forget(&document);
        self.idle.push(Idle { document, sequence, used });
        self.shrink();
    }

    /// Makes room for `bytes` of `document`, at the cost of those others alone that no request has used for as long as
    /// `recent`. False if that is not enough; then nothing is dropped.
    pub fn make_room(&mut self, document: &DocumentId, bytes: usize, recent: Duration) -> bool {
        let Some(mut excess) = self.excess_with(document, bytes) else { return true };
        let is_old = |idle: &&Idle<C>| idle.used.is_none_or(|used| used.elapsed() >= recent);
        let others = self.idle.iter().filter(|idle| idle.document != *document);
        let mut old: Vec<&Idle<C>> = others.filter(is_old).collect();
        old.sort_by_key(|idle| idle.used);
        let mut dropped = Vec::new();
        for idle in old {
            dropped.push(idle.document.clone());
            excess = excess.saturating_sub(idle.sequence.bytes());
            if excess == 0 {
                dropped.iter().for_each(|document| self.forget(document));
                return true;
            }
        }
        false
    }

    /// Drops a document's sequence.
    pub fn forget(&mut self, document: &DocumentId) {
        self.idle.retain(|idle| idle.document != *document);
    }

    /// Changes the limit.
    pub fn set_limit(&mut self, limit_bytes: usize) {
        self.limit_bytes = limit_bytes;
        self.shrink();
    }

    /// Bytes of all caches, and the number of sequences.
    pub fn footprint(&self) -> (usize, usize) {
        (self.idle.iter().map(|idle| idle.sequence.bytes()).sum(), self.idle.len())
    }

    /// What all caches would take beyond the limit, if those of `document` took `bytes`; `None` if they would fit.
    fn excess_with(&self, document: &DocumentId, bytes: usize) -> Option<usize> {
        let own = self.get(document).map_or(0, Sequence::bytes);
        (self.footprint().0 - own + bytes)
            .checked_sub(self.limit_bytes)
            .filter(|&excess| excess > 0)
    }

    fn find(&self, document: &DocumentId) -> Option<usize> {
        self.idle.iter().position(|idle| idle.document == *document)
    }

    fn shrink(&mut self) {
        while self.idle.len() > 1 && self.footprint().0 > self.limit_bytes {
            let others = 0..self.idle.len() - 1;
            let oldest = others.min_by_key(|&at| self.idle[at].used).expect("there are several");
            let dropped = self.idle.remove(oldest).sequence;
            tracing::debug!(bytes = dropped.bytes(), "drop the least recently used sequence");
        }
    }
}
