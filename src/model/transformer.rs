//! The transformer: embeddings, blocks, norm, head; one for all families.
//!
//! Differs from candle-transformers' models (our oracle in tests) where an editor needs it to: weights are `&self`, the
//! KV cache is an argument and can be truncated, logits come for the rows that are asked for, and the embedding table
//! stays quantized, which saves most of the load time and a gigabyte.

use std::sync::Arc;

use candle_core::quantized::QTensor;
use candle_core::{DType, Device, Tensor};
use candle_nn::ops::{rms_norm, silu, softmax_last_dim};
use candle_nn::rotary_emb::{rope, rope_i};
use rayon::prelude::*;

use super::config::Config;
use super::family::Rope;
use super::gguf::Gguf;
use super::kv_cache::{CacheShape, KvCache};
use super::linear::Linear;
use super::lora::{Adapter, Lora, Projection};
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
        let weights = Weights::load(gguf, Config::read(gguf)?, device)?;
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

    /// Does now what candle does with a layer's first product: packing its weights for the CPU's instructions. Without
    /// it the first request would wait for that. All cores work on it.
    ///
    /// # Errors
    /// If the device fails.
    pub fn warm_up(&self) -> Result<(), Error> {
        let Weights { blocks, head, .. } = &*self.weights;
        let touch = |linear: &Linear, rows: usize| {
            let x = Tensor::zeros((rows, linear.inputs()), DType::F32, &self.weights.device)?;
            linear.forward(&x, None).map(drop)
        };
        // candle packs some formats with the second row only, which the head never sees.
        touch(head, 1)?;
        let linears: Vec<&Linear> = blocks.iter().flat_map(Block::linears).collect();
        linears.into_par_iter().try_for_each(|linear| touch(linear, 2))
    }

    /// The hyperparameters.
    pub fn config(&self) -> &Config {
        &self.weights.config
    }

    /// The device that computes.
    pub fn device(&self) -> &Device {
        &self.weights.device
    }

    /// The hidden states after the last norm, `[T, E]`, for `tokens` fed after `cache`; the cache is filled but its
    /// length is not advanced.
    fn hidden(&self, tokens: &[u32], cache: &mut KvCache) -> Result<Tensor, Error> {
        let weights = &*self.weights;
        let ids = Tensor::new(tokens, &weights.device)?;
        let mut x = weights.embeddings.embedding(&ids)?;
        let mask = causal_mask(tokens.len(), cache.len(), &weights.device)?;
        for (layer_idx, block) in weights.blocks.iter().enumerate() {
            let layer =
                Layer { block, layer_idx, adapter: self.adapter.as_deref(), mask: mask.as_ref() };
            let attended = self.attend(&layer, &x, cache)?;
            x = (x + attended)?;
            let fed = block.feed_forward(&x, weights.config.norm_eps)?;
            x = (x + fed)?;
        }
        Ok(x)
    }

    /// One attention block on `x: [T, E]`, as `[T, E]`.
    fn attend(&self, layer: &Layer<'_>, x: &Tensor, cache: &mut KvCache) -> Result<Tensor, Error> {
        let Weights { config, rotary, .. } = &*self.weights;
        let block = layer.block;
        let pos = cache.len();
        let x = rms_norm(x, &block.attention_norm, config.norm_eps)?;
        let heads = |y: Tensor, n: usize| split_heads(&y, n, config.head_dim);
        let query =
            heads(block.query.forward(&x, layer.update(Projection::Query))?, config.n_heads)?;
        let key = heads(block.key.forward(&x, layer.update(Projection::Key))?, config.n_kv_heads)?;
        let value =
            heads(block.value.forward(&x, layer.update(Projection::Value))?, config.n_kv_heads)?;
        let query = rotary.apply(&query, pos)?;
        let key = rotary.apply(&key, pos)?;
        let (keys, values) = cache.append(layer.layer_idx, &key, &value)?;
        let mixed = grouped_attention(&query, &keys, &values, layer.mask)?;
        let mixed = mixed.transpose(0, 1)?.flatten_from(1)?;
        block.output.forward(&mixed, layer.update(Projection::Output))
    }
}

impl Decoder for Transformer {
    type Cache = KvCache;

    fn new_cache(&self) -> KvCache {
        let Config { n_layers, n_kv_heads, head_dim, .. } = self.weights.config;
        KvCache::new(CacheShape { n_layers, n_kv_heads, head_dim }, &self.weights.device)
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
        let hidden = self.hidden(tokens, cache)?;
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

/// One layer during one forward.
struct Layer<'a> {
    block: &'a Block,
    layer_idx: usize,
    adapter: Option<&'a Adapter>,
    /// `[1, T, S]`; absent where a single token sees everything.
    mask: Option<&'a Tensor>,
}

impl Layer<'_> {
    fn update(&self, projection: Projection) -> Option<&Lora> {
        self.adapter.and_then(|adapter| adapter.get(self.layer_idx, projection))
    }
}

impl Weights {
    fn load(gguf: &Gguf, config: Config, device: &Device) -> Result<Self, Error> {
        let embeddings = Arc::new(gguf.tensor("token_embd.weight", device)?);
        let vocab = expect_rows(&embeddings, config.model_dim)?;
        // Small models tie the head to the embedding table and leave it out of the file.
        let head = match gguf.has_tensor("output.weight") {
            true => gguf.matrix("output.weight", device)?,
            false => gguf.matrix("token_embd.weight", device)?,
        };
        let head = Linear::quantized(head, config.model_dim, None)?;
        let reader = BlockReader { gguf, config: &config, device };
        let layers = (0..config.n_layers).into_par_iter();
        let blocks = layers.map(|i| reader.block(i)).collect::<Result<_, _>>()?;
        let norm = reader.vector("output_norm.weight", config.model_dim)?;
        let rotary = Rotary::new(&config, device)?;
        Ok(Self { device: device.clone(), embeddings, blocks, norm, head, vocab, rotary, config })
    }
}

/// The number of rows V of an embedding table `[V, E]`.
fn expect_rows(table: &QTensor, model_dim: usize) -> Result<usize, Error> {
    match *table.shape().dims() {
        [vocab, width] if width == model_dim => Ok(vocab),
        ref dims => Err(Error::Shape {
            tensor: "token_embd.weight".to_owned(),
            expected: vec![0, model_dim],
            got: dims.to_vec(),
        }),
    }
}

/// Reads blocks, checking every shape against the hyperparameters.
struct BlockReader<'a> {
    gguf: &'a Gguf,
    config: &'a Config,
    device: &'a Device,
}

impl BlockReader<'_> {
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
        let shape = [out, self.config.model_dim];
        Linear::quantized(self.matrix(name, shape)?, shape[1], bias)
    }

    fn linear(&self, name: &str, shape: [usize; 2]) -> Result<Linear, Error> {
        Linear::quantized(self.matrix(name, shape)?, shape[1], None)
    }

    /// `name.weight`, `[out, in]`.
    fn matrix(&self, name: &str, shape: [usize; 2]) -> Result<QTensor, Error> {
        let tensor = format!("{name}.weight");
        let got = self.gguf.dims(&tensor)?;
        if got != shape {
            let (expected, got) = (shape.to_vec(), got.to_vec());
            return Err(Error::Shape { tensor, expected, got });
        }
        self.gguf.matrix(&tensor, self.device)
    }

    /// A dense vector `[len]`.
    fn vector(&self, name: &str, len: usize) -> Result<Tensor, Error> {
        let vector = self.gguf.tensor(name, self.device)?;
        if vector.shape().dims() != [len] {
            let got = vector.shape().dims().to_vec();
            return Err(Error::Shape { tensor: name.to_owned(), expected: vec![len], got });
        }
        Ok(vector.dequantize(self.device)?)
    }
}

impl Block {
    fn linears(&self) -> [&Linear; 7] {
        let Self { query, key, value, output, gate, up, down, .. } = self;
        [query, key, value, output, gate, up, down]
    }

    /// The gated feed-forward part on `x: [T, E]`.
    fn feed_forward(&self, x: &Tensor, norm_eps: f32) -> Result<Tensor, Error> {
        let x = rms_norm(x, &self.feed_forward_norm, norm_eps)?;
        let gate = silu(&self.gate.forward(&x, None)?)?;
        let up = self.up.forward(&x, None)?;
        self.down.forward(&(gate * up)?, None)
    }
}

impl Rotary {
    fn new(config: &Config, device: &Device) -> Result<Self, Error> {
        let dim = config.head_dim;
        let frequency = |i: usize| config.rope_base.powf(-(i as f32) / dim as f32);
        let frequencies: Vec<f32> = (0..dim).step_by(2).map(frequency).collect();
        let frequencies = Tensor::new(frequencies, device)?.reshape((1, dim / 2))?;
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
        let x = x.unsqueeze(0)?;
        let rotated = match self.pairing {
            Rope::Halves => rope(&x, &cos, &sin)?,
            Rope::Interleaved => rope_i(&x, &cos, &sin)?,
        };
        Ok(rotated.squeeze(0)?)
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

/// 0 where token i (at `pos + i`) may see position s, −∞ elsewhere; `[1, T, pos + T]`. One token sees everything.
fn causal_mask(n_tokens: usize, pos: usize, device: &Device) -> Result<Option<Tensor>, Error> {
    if n_tokens == 1 {
        return Ok(None);
    }
    let total = pos + n_tokens;
    let entry = |s: usize, i: usize| if s > pos + i { f32::NEG_INFINITY } else { 0.0 };
    let mask: Vec<f32> = (0..n_tokens).flat_map(|i| (0..total).map(move |s| entry(s, i))).collect();
    Ok(Some(Tensor::from_vec(mask, (1, n_tokens, total), device)?))
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
        let got = grouped_attention(&query, &keys, &values, mask.as_ref()).unwrap();
        let got = got.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let expected = attention_by_loops(&query, &keys, &values, pos);
        for (got, expected) in got.iter().zip(&expected) {
            assert!((got - expected).abs() < 1e-5, "{got} is not {expected}");
        }
    }
}
