//! Idle sequences, one per document; the least recently used go when they take too much memory.

use crate::decode::Sequence;
use crate::model::Cache;

use super::DocumentId;

/// The sequences that no request is using at the moment.
#[derive(Debug)]
pub struct Sequences<C> {
    /// Least recently used first.
    idle: Vec<(DocumentId, Sequence<C>)>,
    limit_bytes: usize,
}

impl<C: Cache> Sequences<C> {
    /// An empty store that keeps at most `limit_bytes` of caches, but always the most recent sequence.
    pub fn new(limit_bytes: usize) -> Self {
        Self { idle: Vec::new(), limit_bytes }
    }

    /// Takes a document's sequence out, if there is one.
    pub fn take(&mut self, document: &DocumentId) -> Option<Sequence<C>> {
        let at = self.idle.iter().position(|(owner, _)| owner == document)?;
        Some(self.idle.remove(at).1)
    }

    /// Puts a document's sequence back as the most recently used one.
    pub fn put(&mut self, document: DocumentId, sequence: Sequence<C>) {
        self.forget(&document);
        self.idle.push((document, sequence));
        self.shrink();
    }

    /// Drops a document's sequence.
    pub fn forget(&mut self, document: &DocumentId) {
        self.idle.retain(|(owner, _)| owner != document);
    }

    /// Changes the limit.
    pub fn set_limit(&mut self, limit_bytes: usize) {
        self.limit_bytes = limit_bytes;
        self.shrink();
    }

    /// Bytes of all caches, and the number of sequences.
    pub fn footprint(&self) -> (usize, usize) {
        (self.idle.iter().map(|(_, sequence)| sequence.bytes()).sum(), self.idle.len())
    }

    fn shrink(&mut self) {
        while self.idle.len() > 1 && self.footprint().0 > self.limit_bytes {
            let (_, dropped) = self.idle.remove(0);
            tracing::debug!(bytes = dropped.bytes(), "drop the least recently used sequence");
        }
    }
}
