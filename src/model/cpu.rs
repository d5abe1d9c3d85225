//! The transformer on the CPU, without a tensor: slices that are used again, products over packed weights, and one small
//! pool of threads.
//!
//! Its hyperparameters, adapters and results are those of [`super::Transformer`], which computes with candle on any device
//! and is what the tests hold this one against. What it adds is that row `i` of a forward has the same bits whatever
//! other rows there are, so that drafted tokens can be verified several at a time, and that up to eight rows cost
//! little more than one.

mod adapter;
mod kv_cache;
mod scratch;
mod weights;

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Device, Tensor};

use self::adapter::{CpuAdapter, Update};
pub use self::kv_cache::CpuKvCache;
use self::scratch::{Place, Processor, Scratch, multiply};
use self::weights::{Block, Weights};
use super::config::Config;
use super::gguf::Gguf;
use super::kv_cache::CacheShape;
use super::lora::{Adapter, Projection};
use super::{Cache, Decoder, Error, Feed, LogitRows, Logits};
use crate::kernel::attention::attend;
use crate::kernel::low_rank::add;
use crate::kernel::norm::rms_norm;
use crate::kernel::quant::InstructionSet;
use crate::kernel::rope::{rotate_halves, rotate_neighbours};
use crate::kernel::swiglu::swiglu_in_place;
use crate::kernel::threads::Threads;
use crate::model::family::Rope;

/// Rows that one thread takes at a time where rows are independent.
const ROWS_PER_TASK: usize = 4;

/// Numbers that one thread takes at a time where all are.
const NUMBERS_PER_TASK: usize = 16_384;

/// A model with, perhaps, an adapter. Clones share the weights.
#[derive(Clone, Debug)]
pub struct CpuTransformer {
    weights: Arc<Weights>,
    adapter: Option<Arc<CpuAdapter>>,
    processor: Arc<Processor>,
    /// One forward at a time: all of them would compete for the same threads.
    scratch: Arc<Mutex<Scratch>>,
}

impl CpuTransformer {
    /// Whether the model of `gguf` is one that this computes: all matrices in `Q4_K`, `Q5_0`, `Q6_K` or `Q8_0`.
    ///
    /// # Errors
    /// If its hyperparameters cannot be read.
    pub fn supports(gguf: &Gguf) -> Result<bool, Error> {
        Ok(weights::supported(gguf, &Config::read(gguf)?))
    }

    /// Reads the model of `gguf` and repacks it, on the threads of the calling rayon pool; `threads` compute later.
    ///
    /// # Errors
    /// If a tensor is missing, cut off, or of another shape than the hyperparameters say.
    pub fn load(gguf: &Gguf, threads: Arc<Threads>) -> Result<Self, Error> {
        let (set, warning) = InstructionSet::from_environment();
        if let Some(warning) = warning {
            tracing::warn!("{warning}");
        }
        let weights = Arc::new(Weights::load(gguf, Config::read(gguf)?)?);
        let processor = Arc::new(Processor { threads, set });
        Ok(Self { weights, adapter: None, processor, scratch: Arc::default() })
    }

    /// The same weights, with `adapter` beside them.
    ///
    /// # Errors
    /// If its numbers cannot be read.
    pub fn with_adapter(&self, adapter: &Adapter) -> Result<Self, Error> {
        Ok(Self { adapter: Some(Arc::new(CpuAdapter::new(adapter)?)), ..self.clone() })
    }

    /// The hyperparameters.
    pub fn config(&self) -> &Config {
        &self.weights.config
    }
}

impl Decoder for CpuTransformer {
    type Cache = CpuKvCache;

    fn new_cache(&self) -> CpuKvCache {
        CpuKvCache::new(CacheShape::of(self.config()))
    }

    fn vocab(&self) -> usize {
        self.weights.head.n_out()
    }

    fn context(&self) -> usize {
        self.weights.config.context
    }

    fn forward(
        &self,
        tokens: &[u32],
        cache: &mut CpuKvCache,
        rows: LogitRows,
    ) -> Result<Logits, Error> {
        let mut logits = self.forward_batch(&mut [Feed { tokens, cache, rows }])?;
        Ok(logits.pop().expect("one feed gives one part of the logits"))
    }

    fn forward_batch(&self, feeds: &mut [Feed<'_, CpuKvCache>]) -> Result<Vec<Logits>, Error> {
        for Feed { tokens, cache, .. } in &*feeds {
            let needed = cache.len() + tokens.len();
            if needed > self.context() {
                return Err(Error::ContextFull { needed, context: self.context() });
            }
        }
        let mut scratch = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        self.begin(feeds, &mut scratch)?;
        for (layer_idx, block) in self.weights.blocks.iter().enumerate() {
            let n_tokens = scratch.places.len();
            let layer = Layer { model: self, block, layer_idx, n_tokens };
            layer.attend(feeds, &mut scratch);
            layer.feed_forward(&mut scratch);
        }
        let logits = self.logits(feeds, &mut scratch);
        for Feed { tokens, cache, .. } in feeds {
            cache.advance(tokens.len());
        }
        Ok(logits)
    }
}

impl CpuTransformer {
    /// Makes room for the tokens of all feeds, one after another, and looks up what they are and where they stand.
    fn begin(
        &self,
        feeds: &mut [Feed<'_, CpuKvCache>],
        scratch: &mut Scratch,
    ) -> Result<(), Error> {
        scratch.places.clear();
        for (feed_idx, Feed { tokens, cache, .. }) in feeds.iter().enumerate() {
            let first = cache.len();
            let places = (0..tokens.len()).map(|i| Place { feed_idx, pos: first + i });
            scratch.places.extend(places);
        }
        let Weights { config, rope_frequencies, .. } = &*self.weights;
        scratch.resize(config, scratch.places.len());
        let mut x = &mut scratch.x[..];
        for Feed { tokens, cache, .. } in feeds {
            cache.reserve(tokens.len());
            let (own, rest) = x.split_at_mut(tokens.len() * config.model_dim);
            self.embed(tokens, own)?;
            x = rest;
        }
        scratch.angles(rope_frequencies, config.rope_scale);
        Ok(())
    }

    /// The tokens' embeddings, `[T, E]`.
    fn embed(&self, tokens: &[u32], x: &mut [f32]) -> Result<(), Error> {
        let ids = Tensor::new(tokens, &Device::Cpu)?;
        let rows = self.weights.embeddings.embedding(&ids)?.flatten_all()?.to_vec1::<f32>()?;
        x.copy_from_slice(&rows);
        Ok(())
    }

    /// The logits that each feed wants, `[rows, V]`.
    fn logits(&self, feeds: &[Feed<'_, CpuKvCache>], scratch: &mut Scratch) -> Vec<Logits> {
        let Weights { config, norm, head, .. } = &*self.weights;
        let Scratch { x, normed, rounded, .. } = scratch;
        let width = config.model_dim;
        let (mut end, mut n_rows) = (0, 0);
        for Feed { tokens, rows, .. } in feeds {
            end += tokens.len();
            let wanted = rows.count().min(tokens.len());
            let (from, to) = ((end - wanted) * width..end * width, n_rows * width);
            let to = to..to + from.len();
            self.norm(&x[from], norm, &mut normed[to]);
            n_rows += wanted;
        }
        let mut logits = vec![0.0; n_rows * head.n_out()];
        if n_rows > 0 {
            multiply(&self.processor, rounded, &normed[..n_rows * width], [(head, &mut logits)]);
        }
        self.split(feeds, logits)
    }

    /// Each feed's own rows.
    fn split(&self, feeds: &[Feed<'_, CpuKvCache>], mut logits: Vec<f32>) -> Vec<Logits> {
        let vocab = self.vocab();
        let mut parts = Vec::with_capacity(feeds.len());
        for Feed { tokens, rows, .. } in feeds.iter().rev() {
            let wanted = rows.count().min(tokens.len());
            // From the end: what is left of a single feed is the whole, which is not copied.
            let rest = logits.len() - wanted * vocab;
            let data = if rest == 0 { std::mem::take(&mut logits) } else { logits.split_off(rest) };
            parts.push(Logits { vocab, data });
        }
        parts.reverse();
        parts
    }

    fn norm(&self, x: &[f32], weight: &[f32], out: &mut [f32]) {
        let (width, eps) = (weight.len(), self.weights.config.norm_eps);
        self.processor.threads.for_each_chunk(out, ROWS_PER_TASK * width, |idx, out| {
            let x = &x[idx * ROWS_PER_TASK * width..][..out.len()];
            for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
                rms_norm(x, weight, eps, out);
            }
        });
    }

    /// `x += y`.
    fn add(&self, x: &mut [f32], y: &[f32]) {
        self.processor.threads.for_each_chunk(x, NUMBERS_PER_TASK, |idx, x| {
            add(x, &y[idx * NUMBERS_PER_TASK..][..x.len()]);
        });
    }
}

/// One block during one forward.
struct Layer<'a> {
    model: &'a CpuTransformer,
    block: &'a Block,
    layer_idx: usize,
    n_tokens: usize,
}

impl Layer<'_> {
    fn attend(&self, feeds: &mut [Feed<'_, CpuKvCache>], scratch: &mut Scratch) {
        let Self { model, block, .. } = *self;
        let Scratch { x, normed, query, key, value, rounded, .. } = scratch;
        model.norm(x, &block.attention_norm, normed);
        let products = [
            (&block.query.matrix, &mut **query),
            (&block.key.matrix, &mut **key),
            (&block.value.matrix, &mut **value),
        ];
        multiply(&model.processor, rounded, normed, products);
        self.finish_projections(scratch);
        self.append(feeds, &scratch.key, &scratch.value);
        self.mix(feeds, scratch);
        let Scratch { x, out, mixed, rounded, .. } = scratch;
        multiply(&model.processor, rounded, mixed, [(&block.output, &mut **out)]);
        if let Some(update) = self.update(Projection::Output) {
            self.each_row(mixed, out, |_, mixed, out| update.add(mixed, out));
        }
        model.add(x, out);
    }

    /// Gives each cache the keys and values of its own tokens, `[T, K·D]` each.
    fn append(&self, feeds: &mut [Feed<'_, CpuKvCache>], key: &[f32], value: &[f32]) {
        let Config { n_kv_heads, head_dim, .. } = self.model.weights.config;
        let mut start = 0;
        for Feed { tokens, cache, .. } in feeds {
            let own = start..start + tokens.len() * n_kv_heads * head_dim;
            cache.append(self.layer_idx, &key[own.clone()], &value[own.clone()]);
            start = own.end;
        }
    }

    /// Bias, adapter and rotation of query, key and value.
    fn finish_projections(&self, scratch: &mut Scratch) {
        let Self { model, block, .. } = *self;
        let half = model.weights.config.head_dim / 2;
        let Scratch { normed, query, key, value, cos, sin, .. } = scratch;
        let rotate = match model.weights.config.family.rope() {
            Rope::Halves => rotate_halves,
            Rope::Interleaved => rotate_neighbours,
        };
        let rotate = |row: usize, heads: &mut [f32]| {
            let angles = row * half..(row + 1) * half;
            rotate(heads, &cos[angles.clone()], &sin[angles]);
        };
        let biased = |which, bias: &Option<Vec<f32>>, x: &[f32], y: &mut [f32]| {
            if let Some(bias) = bias {
                add(y, bias);
            }
            if let Some(update) = self.update(which) {
                update.add(x, y);
            }
        };
        self.each_row(normed, query, |row, x, query| {
            biased(Projection::Query, &block.query.bias, x, query);
            rotate(row, query);
        });
        self.each_row(normed, key, |row, x, key| {
            biased(Projection::Key, &block.key.bias, x, key);
            rotate(row, key);
        });
        self.each_row(normed, value, |_, x, value| {
            biased(Projection::Value, &block.value.bias, x, value);
        });
    }

    fn update(&self, projection: Projection) -> Option<&Update> {
        self.model.adapter.as_ref()?.get(self.layer_idx, projection)
    }

    /// Attention of the new tokens over all that were appended to their own caches.
    fn mix(&self, feeds: &[Feed<'_, CpuKvCache>], scratch: &mut Scratch) {
        let Config { n_kv_heads, head_dim, .. } = self.model.weights.config;
        let group = self.model.weights.config.group();
        let Scratch { query, mixed, places, .. } = scratch;
        let n_threads = self.model.processor.threads.count();
        let n_queries = queries_per_task(group, places.len() * n_kv_heads, n_threads);
        let tasks_per_token = n_kv_heads * group / n_queries;
        self.model.processor.threads.for_each_chunk(mixed, n_queries * head_dim, |idx, mixed| {
            let query = &query[idx * n_queries * head_dim..][..mixed.len()];
            let (token, first) = (idx / tasks_per_token, idx % tasks_per_token * n_queries);
            let Place { feed_idx, pos } = places[token];
            let head = feeds[feed_idx].cache.head(self.layer_idx, first / group);
            scratch::with_scores(|scores| attend(query, head, pos + 1, scores, mixed));
        });
    }

    fn feed_forward(&self, scratch: &mut Scratch) {
        let Self { model, block, .. } = *self;
        let Scratch { x, normed, gate, up, out, rounded, .. } = scratch;
        model.norm(x, &block.feed_forward_norm, normed);
        let products = [(&block.gate, &mut **gate), (&block.up, &mut **up)];
        multiply(&model.processor, rounded, normed, products);
        model.processor.threads.for_each_chunk(gate, NUMBERS_PER_TASK, |idx, gate| {
            swiglu_in_place(gate, &up[idx * NUMBERS_PER_TASK..][..gate.len()]);
        });
        multiply(&model.processor, rounded, gate, [(&block.down, &mut **out)]);
        model.add(x, out);
    }

    /// Calls `work` with the index of each row, the row of `x` and that of `y`; both have as many.
    fn each_row(&self, x: &[f32], y: &mut [f32], work: impl Fn(usize, &[f32], &mut [f32]) + Sync) {
        let n_rows = self.n_tokens;
        let (x_len, y_len) = (x.len() / n_rows, y.len() / n_rows);
        self.model.processor.threads.for_each_chunk(y, ROWS_PER_TASK * y_len, |idx, y| {
            let first = idx * ROWS_PER_TASK;
            let rows = x[first * x_len..].chunks_exact(x_len).zip(y.chunks_exact_mut(y_len));
            for (row, (x, y)) in (first..).zip(rows) {
                work(row, x, y);
            }
        });
    }
}

/// How many of the `group` query heads of a key head one task takes: all, so that the cache is read once, unless that
/// leaves threads without work.
fn queries_per_task(group: usize, n_groups: usize, n_threads: usize) -> usize {
    let enough = |n: &usize| group.is_multiple_of(*n) && n_groups * (group / n) >= n_threads;
    (1..=group).rev().find(enough).unwrap_or(1)
}
