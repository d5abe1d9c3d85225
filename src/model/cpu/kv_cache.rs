//! Keys and values of one sequence on the CPU, in the layouts that [`crate::kernel::attention`] reads.

use crate::kernel::attention::{CachedHead, KEY_BLOCK, VALUE_GROUP, write_key, write_value};
use crate::model::kv_cache::CacheShape;
use crate::model::{Cache, Error};

/// Positions by which the memory of a cache grows; whole blocks of keys.
const GROWTH: usize = 512;

/// The keys and values of one sequence in one model.
///
/// Of each layer the first `len` positions are valid. Appending writes in place; truncating only lowers `len`, so going
/// back costs nothing.
#[derive(Clone, Debug)]
pub struct CpuKvCache {
    layers: Vec<LayerCache>,
    len: usize,
    capacity: usize,
    shape: CacheShape,
}

#[derive(Clone, Debug)]
struct LayerCache {
    /// `[K][capacity / 16][D][16]`.
    keys: Vec<f32>,
    /// `[K][D / 32][capacity][32]`.
    values: Vec<f32>,
}

impl CpuKvCache {
    /// An empty cache; it takes memory with the first token.
    pub fn new(shape: CacheShape) -> Self {
        Self { layers: Vec::new(), len: 0, capacity: 0, shape }
    }

    /// Makes room for `extra` more positions, keeping what is valid.
    pub fn reserve(&mut self, extra: usize) {
        let needed = self.len + extra;
        if needed <= self.capacity {
            return;
        }
        let capacity = needed.next_multiple_of(GROWTH);
        let CacheShape { n_layers, n_kv_heads, head_dim } = self.shape;
        self.layers.resize_with(n_layers, || LayerCache { keys: Vec::new(), values: Vec::new() });
        for layer in &mut self.layers {
            let n_groups = n_kv_heads * head_dim / VALUE_GROUP;
            layer.keys = grown(&layer.keys, n_kv_heads, capacity * head_dim);
            layer.values = grown(&layer.values, n_groups, capacity * VALUE_GROUP);
        }
        self.capacity = capacity;
    }

    /// Writes one layer's new keys and values, `[T, K·D]` each, after the valid positions. The length grows only with
    /// [`CpuKvCache::advance`].
    ///
    /// # Panics
    /// If there is no room: call [`CpuKvCache::reserve`] first.
    pub fn append(&mut self, layer_idx: usize, keys: &[f32], values: &[f32]) {
        let CacheShape { n_kv_heads, head_dim, .. } = self.shape;
        let head_len = self.capacity * head_dim;
        let layer = &mut self.layers[layer_idx];
        let rows = keys.chunks_exact(n_kv_heads * head_dim);
        let rows = rows.zip(values.chunks_exact(n_kv_heads * head_dim));
        for (pos, (keys, values)) in (self.len..).zip(rows) {
            for (head_idx, key) in keys.chunks_exact(head_dim).enumerate() {
                write_key(&mut layer.keys[head_idx * head_len..][..head_len], pos, key);
            }
            for (head_idx, value) in values.chunks_exact(head_dim).enumerate() {
                write_value(&mut layer.values[head_idx * head_len..][..head_len], pos, value);
            }
        }
    }

    /// One head of one layer, with all positions that were appended.
    pub fn head(&self, layer_idx: usize, head_idx: usize) -> CachedHead<'_> {
        let head_dim = self.shape.head_dim;
        let head = head_idx * self.capacity * head_dim..(head_idx + 1) * self.capacity * head_dim;
        let layer = &self.layers[layer_idx];
        CachedHead { keys: &layer.keys[head.clone()], values: &layer.values[head], head_dim }
    }

    /// Declares `n_tokens` positions valid, once every layer has appended them.
    pub fn advance(&mut self, n_tokens: usize) {
        self.len += n_tokens;
    }
}

/// The same parts, each with room for `part_len` numbers.
fn grown(old: &[f32], n_parts: usize, part_len: usize) -> Vec<f32> {
    const { assert!(GROWTH.is_multiple_of(KEY_BLOCK)) };
    let mut new = vec![0.0; n_parts * part_len];
    let old_len = old.len() / n_parts;
    if old_len > 0 {
        for (new, old) in new.chunks_exact_mut(part_len).zip(old.chunks_exact(old_len)) {
            new[..old_len].copy_from_slice(old);
        }
    }
    new
}

impl Cache for CpuKvCache {
    fn len(&self) -> usize {
        self.len
    }

    fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    fn bytes(&self) -> usize {
        self.shape.bytes(self.capacity)
    }

    fn try_clone(&self) -> Result<Self, Error> {
        Ok(self.clone())
    }

    fn bytes_at(&self, len: usize) -> usize {
        self.shape.bytes(len.next_multiple_of(GROWTH).max(self.capacity))
    }
}
