//! A model on whatever computes it: our kernels where they can, candle everywhere else.

use std::sync::Arc;

use candle_core::Device;

use super::config::Config;
use super::cpu::{CpuKvCache, CpuTransformer};
use super::gguf::Gguf;
use super::kv_cache::KvCache;
use super::lora::Adapter;
use super::transformer::Transformer;
use super::{Cache, Decoder, Error, Feed, LogitRows, Logits, one_by_one};
use crate::kernel::threads::Threads;

/// A model with, perhaps, an adapter. Clones share the weights.
#[derive(Clone, Debug)]
pub enum LanguageModel {
    /// On the CPU, by our own kernels.
    Cpu(CpuTransformer),
    /// On a GPU, or in a quantization that our kernels do not know.
    Candle(Transformer),
}

/// The keys and values of one sequence in a [`LanguageModel`].
#[derive(Debug)]
pub enum LanguageModelCache {
    /// Of a [`CpuTransformer`].
    Cpu(CpuKvCache),
    /// Of a [`Transformer`].
    Candle(KvCache),
}

impl LanguageModel {
    /// Reads the model of `gguf` to `device`; on the CPU, `threads` compute.
    ///
    /// # Errors
    /// If a tensor is missing, cut off, or of another shape than the hyperparameters say.
    pub fn load(gguf: &Gguf, device: &Device, threads: &Arc<Threads>) -> Result<Self, Error> {
        if device.is_cpu() && CpuTransformer::supports(gguf)? {
            return Ok(Self::Cpu(CpuTransformer::load(gguf, threads.clone())?));
        }
        Ok(Self::Candle(Transformer::load(gguf, device)?))
    }

    /// The same weights, with `adapter` beside them.
    ///
    /// # Errors
    /// If its numbers cannot be read.
    pub fn with_adapter(&self, adapter: Adapter) -> Result<Self, Error> {
        match self {
            Self::Cpu(model) => Ok(Self::Cpu(model.with_adapter(&adapter)?)),
            Self::Candle(model) => Ok(Self::Candle(model.with_adapter(Arc::new(adapter)))),
        }
    }

    /// The hyperparameters.
    pub fn config(&self) -> &Config {
        match self {
            Self::Cpu(model) => model.config(),
            Self::Candle(model) => model.config(),
        }
    }

    /// The device that computes.
    pub fn device(&self) -> &Device {
        match self {
            Self::Cpu(_) => &Device::Cpu,
            Self::Candle(model) => model.device(),
        }
    }
}

impl Decoder for LanguageModel {
    type Cache = LanguageModelCache;

    fn new_cache(&self) -> LanguageModelCache {
        match self {
            Self::Cpu(model) => LanguageModelCache::Cpu(model.new_cache()),
            Self::Candle(model) => LanguageModelCache::Candle(model.new_cache()),
        }
    }

    fn vocab(&self) -> usize {
        match self {
            Self::Cpu(model) => model.vocab(),
            Self::Candle(model) => model.vocab(),
        }
    }

    fn context(&self) -> usize {
        self.config().context
    }

    fn forward(
        &self,
        tokens: &[u32],
        cache: &mut LanguageModelCache,
        rows: LogitRows,
    ) -> Result<Logits, Error> {
        match (self, cache) {
            (Self::Cpu(model), LanguageModelCache::Cpu(cache)) => {
                model.forward(tokens, cache, rows)
            }
            (Self::Candle(model), LanguageModelCache::Candle(cache)) => {
                model.forward(tokens, cache, rows)
            }
            _ => Err(other_kind()),
        }
    }

    fn forward_batch(
        &self,
        feeds: &mut [Feed<'_, LanguageModelCache>],
    ) -> Result<Vec<Logits>, Error> {
        let Self::Cpu(model) = self else {
            return one_by_one(self, feeds);
        };
        let ours = feeds.iter_mut().map(|feed| match feed.cache {
            LanguageModelCache::Cpu(cache) => {
                Ok(Feed { tokens: feed.tokens, cache, rows: feed.rows })
            }
            LanguageModelCache::Candle(_) => Err(other_kind()),
        });
        model.forward_batch(&mut ours.collect::<Result<Vec<_>, _>>()?)
    }
}

fn other_kind() -> Error {
    Error::Unsupported("a cache of another kind of model".to_owned())
}

impl LanguageModelCache {
    fn inner(&self) -> &dyn Cache {
        match self {
            Self::Cpu(cache) => cache,
            Self::Candle(cache) => cache,
        }
    }
}

impl Cache for LanguageModelCache {
    fn len(&self) -> usize {
        self.inner().len()
    }

    fn truncate(&mut self, len: usize) {
        match self {
            Self::Cpu(cache) => cache.truncate(len),
            Self::Candle(cache) => cache.truncate(len),
        }
    }

    fn bytes(&self) -> usize {
        self.inner().bytes()
    }

    fn try_clone(&self) -> Result<Self, Error> {
        match self {
            Self::Cpu(cache) => Ok(Self::Cpu(cache.try_clone()?)),
            Self::Candle(cache) => Ok(Self::Candle(cache.try_clone()?)),
        }
    }

    fn bytes_at(&self, len: usize) -> usize {
        self.inner().bytes_at(len)
    }
}
