//! Keys and values of the tokens seen so far: append, length, truncate, and nothing else.

use candle_core::{DType, Device, Tensor};

use super::config::Config;
use super::{Cache, Error};

/// Positions by which the memory of a cache grows.
const GROWTH: usize = 512;

/// The keys and values of one sequence in one model.
///
/// Per layer two tensors `[K, capacity, D]`, of which the first `len` positions are valid. Appending writes in place;
/// truncating only lowers `len`, so going back costs nothing.
#[derive(Debug)]
pub struct KvCache {
    layers: Vec<LayerCache>,
    len: usize,
    capacity: usize,
    shape: CacheShape,
    device: Device,
}

/// What fixes the size of one position.
#[derive(Clone, Copy, Debug)]
pub struct CacheShape {
    /// Transformer blocks, L.
    pub n_layers: usize,
    /// Key and value heads, K.
    pub n_kv_heads: usize,
    /// Width of one head, D.
    pub head_dim: usize,
}

impl CacheShape {
    /// The shape for a model.
    pub fn of(config: &Config) -> Self {
        let Config { n_layers, n_kv_heads, head_dim, .. } = *config;
        Self { n_layers, n_kv_heads, head_dim }
    }

    /// Memory that keys and values of so many positions take, as `f32`.
    pub fn bytes(self, positions: usize) -> usize {
        positions * self.n_layers * self.n_kv_heads * self.head_dim * 2 * size_of::<f32>()
    }
}

#[derive(Debug)]
struct LayerCache {
    /// `[K, capacity, D]`.
    keys: Tensor,
    /// `[K, capacity, D]`.
    values: Tensor,
}

impl KvCache {
    /// An empty cache; it takes memory with the first token.
    pub fn new(shape: CacheShape, device: &Device) -> Self {
        Self { layers: Vec::new(), len: 0, capacity: 0, shape, device: device.clone() }
    }

    /// Makes room for `extra` more positions, keeping what is valid.
    ///
    /// # Errors
    /// If the device has no memory.
    pub fn reserve(&mut self, extra: usize) -> Result<(), Error> {
        let needed = self.len + extra;
        if needed <= self.capacity {
            return Ok(());
        }
        let capacity = needed.next_multiple_of(GROWTH);
        let shape = (self.shape.n_kv_heads, capacity, self.shape.head_dim);
        let mut layers = Vec::with_capacity(self.shape.n_layers);
        for layer_idx in 0..self.shape.n_layers {
            let keys = Tensor::zeros(shape, DType::F32, &self.device)?;
            let values = Tensor::zeros(shape, DType::F32, &self.device)?;
            if self.len > 0 {
                let old = &self.layers[layer_idx];
                keys.slice_set(&old.keys.narrow(1, 0, self.len)?.contiguous()?, 1, 0)?;
                values.slice_set(&old.values.narrow(1, 0, self.len)?.contiguous()?, 1, 0)?;
            }
            layers.push(LayerCache { keys, values });
        }
        self.layers = layers;
        self.capacity = capacity;
        Ok(())
    }

    /// Writes one layer's new keys and values, `[K, T, D]` each and contiguous, after the valid positions, and returns
    /// views of all keys and values, `[K, len + T, D]`. The length grows only with [`KvCache::advance`].
    ///
    /// # Errors
    /// If the shapes do not fit, or there is no room: call [`KvCache::reserve`] first.
    pub fn append(
        &mut self,
        layer_idx: usize,
        keys: &Tensor,
        values: &Tensor,
    ) -> Result<(Tensor, Tensor), Error> {
        let n_tokens = keys.dim(1)?;
        let layer = &self.layers[layer_idx];
        layer.keys.slice_set(keys, 1, self.len)?;
        layer.values.slice_set(values, 1, self.len)?;
        let total = self.len + n_tokens;
        Ok((layer.keys.narrow(1, 0, total)?, layer.values.narrow(1, 0, total)?))
    }

    /// Declares `n_tokens` positions valid, once every layer has appended them.
    pub fn advance(&mut self, n_tokens: usize) {
        self.len += n_tokens;
    }
}

impl Cache for KvCache {
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
        let copy = |layer: &LayerCache| {
            Ok(LayerCache { keys: layer.keys.copy()?, values: layer.values.copy()? })
        };
        let layers = self.layers.iter().map(copy).collect::<Result<_, Error>>()?;
        let Self { len, capacity, shape, .. } = *self;
        Ok(Self { layers, len, capacity, shape, device: self.device.clone() })
    }

    fn bytes_at(&self, len: usize) -> usize {
        self.shape.bytes(len.next_multiple_of(GROWTH).max(self.capacity))
    }
}
