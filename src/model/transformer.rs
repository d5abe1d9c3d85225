//! The transformer: embeddings, blocks, norm, head; one for all families.
//!
//! Differs from candle-transformers' models (our oracle in tests) where an editor needs it to: weights are `&self`, the
//! KV cache is an argument and can be truncated, logits come for the rows that are asked for, and the embedding table
//! stays quantized, which saves most of the load time and a gigabyte.

use std::sync::Arc;

use candle_core::quantized::QTensor;
use candle_core::{DType, Device, Tensor};
use candle_nn::ops::softmax_last_dim;
use rayon::prelude::*;

use super::config::Config;
use super::dropout::Dropout;
use super::family::Rope;
use super::gguf::Gguf;
use super::gradient::{causal_mask, rms_norm, rope, self_attention, swiglu};
use super::kv_cache::{CacheShape, KvCache};
use super::linear::{Linear, Precision};
use super::lora::{Adapter, Dropped, Projection};
use super::{Cache, Decoder, Error, LogitRows, Logits};

/// A model with, perhaps, an adapter. Clones share the weights.
#[derive(Clone, Debug)]
pub struct Transformer {
    weights: Arc<Weights>,
    adapter: Option<Arc<Adapter>>,
}

/// The frozen part, read once and never changed.
#[derive(Debug)]
struct Weights {
    config: Config,
    device: Device,
    /// `[V, E]`.
    embeddings: Arc<QTensor>,
    blocks: Vec<Block>,
    /// `[E]`.
    norm: Tensor,
    /// `E → V`.
    head: Linear,
    vocab: usize,
    rotary: Rotary,
}

#[derive(Debug)]
struct Block {
    /// `[E]`.
    attention_norm: Tensor,
    /// `E → H·D`.
    query: Linear,
    /// `E → K·D`.
    key: Linear,
    /// `E → K·D`.
    value: Linear,
    /// `H·D → E`.
    output: Linear,
    /// `[E]`.
    feed_forward_norm: Tensor,
    /// `E → hidden`.
    gate: Linear,
    /// `E → hidden`.
    up: Linear,
    /// `hidden → E`.
    down: Linear,
}

/// Cosines and sines of all positions, `[context, D/2]` each.
#[derive(Debug)]
struct Rotary {
    cos: Tensor,
    sin: Tensor,
    pairing: Rope,
}

impl Transformer {
    /// Reads the model of `gguf` to `device`.
    ///
    /// # Errors
    /// If a tensor is missing, cut off, or of another shape than the hyperparameters say.
    pub fn load(gguf: &Gguf, device: &Device) -> Result<Self, Error> {
        Self::load_as(gguf, device, Format::AsStored)
    }

    /// Reads the model of `gguf` and dequantizes its matrices, so that gradients flow through it.
    ///
    /// # Errors
    /// As [`Transformer::load`].
    pub fn load_dense(gguf: &Gguf, device: &Device, precision: Precision) -> Result<Self, Error> {
        Self::load_as(gguf, device, Format::Dense(precision))
    }

    fn load_as(gguf: &Gguf, device: &Device, format: Format) -> Result<Self, Error> {
        let config = Config::read(gguf)?;
        let weights = Weights::load(&BlockReader { gguf, config: &config, device, format })?;
        Ok(Self { weights: Arc::new(weights), adapter: None })
    }

    /// The same weights, with `adapter` beside them.
    pub fn with_adapter(&self, adapter: Arc<Adapter>) -> Self {
        Self { weights: self.weights.clone(), adapter: Some(adapter) }
    }

    /// Whether an adapter is beside the weights.
    pub fn has_adapter(&self) -> bool {
        self.adapter.is_some()
    }

    /// The hyperparameters.
    pub fn config(&self) -> &Config {
        &self.weights.config
    }

    /// The device that computes.
    pub fn device(&self) -> &Device {
        &self.weights.device
    }

    /// The product with the vocabulary, `E → V`.
    pub fn head(&self) -> &Linear {
        &self.weights.head
    }

    /// The hidden states of a whole sequence after the last norm, `[T, E]`: what [`Transformer::head`] takes. Gradients
    /// flow to the tensors of the adapter, if they are variables and the weights are dense.
    ///
    /// # Errors
    /// If the sequence is longer than the context, or the device fails.
    pub fn hidden_states(&self, tokens: &[u32], dropout: Option<Dropout>) -> Result<Tensor, Error> {
        let Config { context, norm_eps, .. } = self.weights.config;
        if tokens.len() > context {
            return Err(Error::ContextFull { needed: tokens.len(), context });
        }
        let hidden = self.blocks(tokens, &mut Pass { dropout, seen: Seen::Nothing })?;
        Ok(rms_norm(&hidden, &self.weights.norm, norm_eps)?)
    }

    /// The hidden states after the last block, `[T, E]`; a cache is filled but its length is not advanced.
    fn blocks(&self, tokens: &[u32], pass: &mut Pass<'_>) -> Result<Tensor, Error> {
        let weights = &*self.weights;
        let ids = Tensor::new(tokens, &weights.device)?;
        let mut x = weights.embeddings.embedding(&ids)?;
        for (layer_idx, block) in weights.blocks.iter().enumerate() {
            let adapter = self.adapter.as_deref();
            let layer = Layer { block, layer_idx, adapter, dropout: pass.dropout };
            x = (&x + self.attend(&layer, &x, &mut pass.seen)?)?;
            x = (&x + block.feed_forward(&x, weights.config.norm_eps)?)?;
        }
        Ok(x)
    }

    /// One attention block on `x: [T, E]`, as `[T, E]`.
    fn attend(&self, layer: &Layer<'_>, x: &Tensor, seen: &mut Seen<'_>) -> Result<Tensor, Error> {
        let Weights { config, rotary, .. } = &*self.weights;
        let block = layer.block;
        let x = rms_norm(x, &block.attention_norm, config.norm_eps)?;
        let heads = |y: Tensor, n: usize| split_heads(&y, n, config.head_dim);
        let query = heads(layer.project(&block.query, Projection::Query, &x)?, config.n_heads)?;
        let key = heads(layer.project(&block.key, Projection::Key, &x)?, config.n_kv_heads)?;
        let value = heads(layer.project(&block.value, Projection::Value, &x)?, config.n_kv_heads)?;
        let (query, key) = (rotary.apply(&query, seen.pos())?, rotary.apply(&key, seen.pos())?);
        let mixed = match seen {
            Seen::Nothing => self_attention(&query, &key, &value)?,
            Seen::Cached { cache, mask } => {
                let (keys, values) = cache.append(layer.layer_idx, &key, &value)?;
                grouped_attention(&query, &keys, &values, mask.as_ref())?
            }
        };
        let mixed = mixed.transpose(0, 1)?.flatten_from(1)?;
        layer.project(&block.output, Projection::Output, &mixed)
    }
}

impl Decoder for Transformer {
    type Cache = KvCache;

    fn new_cache(&self) -> KvCache {
        KvCache::new(CacheShape::of(self.config()), self.device())
    }

    fn vocab(&self) -> usize {
        self.weights.vocab
    }

    fn context(&self) -> usize {
        self.weights.config.context
    }

    fn forward(
        &self,
        tokens: &[u32],
        cache: &mut KvCache,
        rows: LogitRows,
    ) -> Result<Logits, Error> {
        let weights = &*self.weights;
        let needed = cache.len() + tokens.len();
        if needed > weights.config.context {
            return Err(Error::ContextFull { needed, context: weights.config.context });
        }
        cache.reserve(tokens.len())?;
        let seen = Seen::cached(tokens.len(), cache, &weights.device)?;
        let hidden = self.blocks(tokens, &mut Pass { dropout: None, seen })?;
        let n_rows = rows.count().min(tokens.len());
        let data = if n_rows == 0 {
            Vec::new()
        } else {
            let wanted = hidden.narrow(0, tokens.len() - n_rows, n_rows)?.contiguous()?;
            let wanted = rms_norm(&wanted, &weights.norm, weights.config.norm_eps)?;
            weights.head.forward(&wanted, None)?.flatten_all()?.to_vec1::<f32>()?
        };
        cache.advance(tokens.len());
        Ok(Logits { vocab: weights.vocab, data })
    }
}

/// How the matrices of a file are kept.
#[derive(Clone, Copy, Debug)]
enum Format {
    /// In the file's own blocks.
    AsStored,
    /// Dequantized.
    Dense(Precision),
}

/// One forward.
struct Pass<'a> {
    dropout: Option<Dropout>,
    seen: Seen<'a>,
}

/// What stands before the tokens of a forward.
enum Seen<'a> {
    /// Nothing, and nothing is kept of them.
    Nothing,
    /// What the cache holds.
    Cached {
        cache: &'a mut KvCache,
        /// `[1, T, S]`; absent where a single token sees everything.
        mask: Option<Tensor>,
    },
}

impl<'a> Seen<'a> {
    fn cached(n_tokens: usize, cache: &'a mut KvCache, device: &Device) -> Result<Self, Error> {
        let mask = match n_tokens {
            1 => None,
            _ => Some(causal_mask(n_tokens, cache.len(), device)?),
        };
        Ok(Self::Cached { cache, mask })
    }

    /// Position of the first token.
    fn pos(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Cached { cache, .. } => cache.len(),
        }
    }
}

/// One layer during one forward.
struct Layer<'a> {
    block: &'a Block,
    layer_idx: usize,
    adapter: Option<&'a Adapter>,
    dropout: Option<Dropout>,
}

impl Layer<'_> {
    fn project(&self, linear: &Linear, which: Projection, x: &Tensor) -> Result<Tensor, Error> {
        let update = self.adapter.and_then(|adapter| adapter.get(self.layer_idx, which));
        let dropout = self.dropout.map(|dropout| (dropout, self.layer_idx, which));
        linear.forward_dropped(x, update.map(|lora| Dropped { lora, dropout }))
    }
}

impl Weights {
    fn load(reader: &BlockReader<'_>) -> Result<Self, Error> {
        let BlockReader { gguf, config, device, .. } = *reader;
        let ends = || Ok::<_, Error>((gguf.embeddings(config.model_dim, device)?, reader.head()?));
        let layers = (0..config.n_layers).into_par_iter();
        let (ends, blocks) =
            rayon::join(ends, || layers.map(|i| reader.block(i)).collect::<Result<_, _>>());
        let (((embeddings, vocab), head), blocks) = (ends?, blocks?);
        let embeddings = Arc::new(embeddings);
        let norm = reader.vector("output_norm.weight", config.model_dim)?;
        let rotary = Rotary::new(config, device)?;
        let (device, config) = (device.clone(), config.clone());
        Ok(Self { device, embeddings, blocks, norm, head, vocab, rotary, config })
    }
}

/// Reads blocks, checking every shape against the hyperparameters.
struct BlockReader<'a> {
    gguf: &'a Gguf,
    config: &'a Config,
    device: &'a Device,
    format: Format,
}

impl BlockReader<'_> {
    /// The product with the vocabulary, `E → V`.
    fn head(&self) -> Result<Linear, Error> {
        let name = self.gguf.head_name();
        let model_dim = self.config.model_dim;
        if let Format::Dense(precision) = self.format {
            return self.dense(name, None, precision);
        }
        let head = Linear::quantized(self.gguf.matrix(name, self.device)?, model_dim, None)?;
        head.warm_up(1, self.device)?;
        Ok(head)
    }

    fn block(&self, layer_idx: usize) -> Result<Block, Error> {
        let Config { n_heads, n_kv_heads, head_dim, model_dim, hidden_dim, .. } = *self.config;
        let (q_dim, kv_dim) = (n_heads * head_dim, n_kv_heads * head_dim);
        let name = |part: &str| format!("blk.{layer_idx}.{part}");
        Ok(Block {
            attention_norm: self.vector(&name("attn_norm.weight"), model_dim)?,
            query: self.projection(&name("attn_q"), q_dim)?,
            key: self.projection(&name("attn_k"), kv_dim)?,
            value: self.projection(&name("attn_v"), kv_dim)?,
            output: self.linear(&name("attn_output"), [model_dim, q_dim])?,
            feed_forward_norm: self.vector(&name("ffn_norm.weight"), model_dim)?,
            gate: self.linear(&name("ffn_gate"), [hidden_dim, model_dim])?,
            up: self.linear(&name("ffn_up"), [hidden_dim, model_dim])?,
            down: self.linear(&name("ffn_down"), [model_dim, hidden_dim])?,
        })
    }

    /// A query, key or value projection, `E → out`, with the bias that some families have.
    fn projection(&self, name: &str, out: usize) -> Result<Linear, Error> {
        let bias = match self.config.family.qkv_bias() {
            true => Some(self.vector(&format!("{name}.bias"), out)?),
            false => None,
        };
        self.layer(name, [out, self.config.model_dim], bias)
    }

    fn linear(&self, name: &str, shape: [usize; 2]) -> Result<Linear, Error> {
        self.layer(name, shape, None)
    }

    fn layer(&self, name: &str, shape: [usize; 2], bias: Option<Tensor>) -> Result<Linear, Error> {
        let tensor = format!("{name}.weight");
        self.gguf.expect_shape(&tensor, &shape)?;
        if let Format::Dense(precision) = self.format {
            return self.dense(&tensor, bias, precision);
        }
        let weights = self.gguf.matrix(&tensor, self.device)?;
        let layer = Linear::quantized(weights, shape[1], bias)?;
        // candle packs some formats with the second row only, which the head never sees.
        layer.warm_up(2, self.device)?;
        Ok(layer)
    }

    fn dense(
        &self,
        name: &str,
        bias: Option<Tensor>,
        precision: Precision,
    ) -> Result<Linear, Error> {
        let weights = self.gguf.tensor(name, self.device)?.dequantize(self.device)?;
        if precision == Precision::Quantized && self.gguf.is_packable(name) {
            let shape = weights.dims2()?.into();
            return Ok(Linear::packed(self.gguf.packed_matrix(name, shape)?, weights, bias));
        }
        Linear::frozen(&weights, bias, precision)
    }

    /// A dense vector `[len]`.
    fn vector(&self, name: &str, len: usize) -> Result<Tensor, Error> {
        self.gguf.vector(name, len, self.device)
    }
}

impl Block {
    /// The gated feed-forward part on `x: [T, E]`.
    fn feed_forward(&self, x: &Tensor, norm_eps: f32) -> Result<Tensor, Error> {
        let x = rms_norm(x, &self.feed_forward_norm, norm_eps)?;
        let gate = self.gate.forward(&x, None)?;
        let up = self.up.forward(&x, None)?;
        self.down.forward(&swiglu(&gate, &up)?, None)
    }
}

impl Rotary {
    fn new(config: &Config, device: &Device) -> Result<Self, Error> {
        let frequencies = Tensor::new(config.rope_frequencies(), device)?.unsqueeze(0)?;
        let positions = Tensor::arange(0, config.context as u32, device)?
            .to_dtype(DType::F32)?
            .affine(1.0 / f64::from(config.rope_scale), 0.0)?
            .reshape((config.context, 1))?;
        let angles = positions.matmul(&frequencies)?;
        Ok(Self { cos: angles.cos()?, sin: angles.sin()?, pairing: config.family.rope() })
    }

    /// Rotates `x: [heads, T, D]` whose first token stands at `pos`.
    fn apply(&self, x: &Tensor, pos: usize) -> Result<Tensor, Error> {
        let n_tokens = x.dim(1)?;
        let cos = self.cos.narrow(0, pos, n_tokens)?;
        let sin = self.sin.narrow(0, pos, n_tokens)?;
        Ok(rope(&x.unsqueeze(0)?, &cos, &sin, self.pairing)?.squeeze(0)?)
    }
}

/// `[T, heads·D]` → `[heads, T, D]`, contiguous.
fn split_heads(x: &Tensor, n_heads: usize, head_dim: usize) -> Result<Tensor, Error> {
    let n_tokens = x.dim(0)?;
    Ok(x.reshape((n_tokens, n_heads, head_dim))?.transpose(0, 1)?.contiguous()?)
}

/// Attention of `query: [H, T, D]` over `keys, values: [K, S, D]`, as `[H, T, D]`.
///
/// The H/K query heads that share a key head are stacked as rows of one product, so the cache is read in place and
/// never repeated.
fn grouped_attention(
    query: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    mask: Option<&Tensor>,
) -> Result<Tensor, Error> {
    let (n_heads, n_tokens, head_dim) = query.dims3()?;
    let (n_kv_heads, n_seen, _) = keys.dims3()?;
    let rows = n_heads / n_kv_heads * n_tokens;
    let scaled = (query.reshape((n_kv_heads, rows, head_dim))? / (head_dim as f64).sqrt())?;
    let scores = scaled.matmul(&keys.transpose(1, 2)?)?;
    let scores = scores.reshape((n_heads, n_tokens, n_seen))?;
    let scores = match mask {
        Some(mask) => scores.broadcast_add(mask)?,
        None => scores,
    };
    let weights = softmax_last_dim(&scores)?.reshape((n_kv_heads, rows, n_seen))?;
    Ok(weights.matmul(values)?.reshape((n_heads, n_tokens, head_dim))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attention in the obvious way: loops over heads, tokens and positions in f64.
    fn attention_by_loops(query: &Tensor, keys: &Tensor, values: &Tensor, pos: usize) -> Vec<f32> {
        let (q, k, v) = (query, keys, values);
        let [q, k, v] = [q, k, v].map(|t| t.to_vec3::<f32>().unwrap());
        let (group, dim) = (q.len() / k.len(), query.dim(2).unwrap());
        let mut out = Vec::new();
        for (head, rows) in q.iter().enumerate() {
            let (k, v) = (&k[head / group], &v[head / group]);
            for (i, row) in rows.iter().enumerate() {
                let dot = |s: usize| -> f64 {
                    (0..dim).map(|d| f64::from(row[d]) * f64::from(k[s][d])).sum()
                };
                let weights: Vec<f64> =
                    (0..=pos + i).map(|s| (dot(s) / (dim as f64).sqrt()).exp()).collect();
                let total: f64 = weights.iter().sum();
                out.extend((0..dim).map(|d| {
                    let sum: f64 =
                        weights.iter().enumerate().map(|(s, w)| w * f64::from(v[s][d])).sum();
                    (sum / total) as f32
                }));
            }
        }
        out
    }

    #[test]
    fn grouped_attention_equals_the_loops() {
        let device = Device::Cpu;
        let (n_heads, n_kv_heads, head_dim, pos, n_tokens) = (6, 2, 8, 5, 3);
        let random = |a, b, c| Tensor::randn(0f32, 1f32, (a, b, c), &device).unwrap();
        let query = random(n_heads, n_tokens, head_dim);
        let keys = random(n_kv_heads, pos + n_tokens, head_dim);
        let values = random(n_kv_heads, pos + n_tokens, head_dim);
        let mask = causal_mask(n_tokens, pos, &device).unwrap();
        let got = grouped_attention(&query, &keys, &values, Some(&mask)).unwrap();
        let got = got.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let expected = attention_by_loops(&query, &keys, &values, pos);
        for (got, expected) in got.iter().zip(&expected) {
            assert!((got - expected).abs() < 1e-5, "{got} is not {expected}");
        }
    }
}
