//! Hyperparameters, read from GGUF metadata.

use candle_core::Device;

use super::Error;
use super::family::Family;
use super::gguf::{Gguf, metadata_error};

/// Most blocks, heads and the like: ten times what the largest models have, and few enough to be multiplied.
const MOST_BLOCKS: usize = 1 << 12;
const MOST_HEADS: usize = 1 << 12;
const WIDEST: usize = 1 << 20;

/// Some models claim ten million positions.
const LONGEST_CONTEXT: usize = 1 << 28;

/// Positions that are made use of: tables of rotations have a row for each, and no prompt of an editor comes near.
const MOST_POSITIONS: usize = 1 << 18;

/// The numbers that shape a transformer.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Which architecture.
    pub family: Family,
    /// Transformer blocks, L.
    pub n_layers: usize,
    /// Query heads, H.
    pub n_heads: usize,
    /// Key and value heads, K; divides H.
    pub n_kv_heads: usize,
    /// Width of one head, D.
    pub head_dim: usize,
    /// Width of the residual stream, E.
    pub model_dim: usize,
    /// Width inside the feed-forward part.
    pub hidden_dim: usize,
    /// Positions that the model was trained for, of which 262,144 are made use of.
    pub context: usize,
    /// ε of the RMS norms.
    pub norm_eps: f32,
    /// Base of the rotary frequencies.
    pub rope_base: f32,
    /// Positions are divided by this (linear scaling); 1 where there is none.
    pub rope_scale: f32,
    /// What the rotary frequencies are divided by, `[D/2]`; empty where it is 1 for all. Llama 3.1 and later have it, as
    /// a tensor.
    pub rope_factors: Vec<f32>,
}

impl Config {
    /// Reads the hyperparameters of `gguf`.
    ///
    /// # Errors
    /// An unknown family, or a key that is missing, out of its range, or contradicts another or the tensors.
    pub fn read(gguf: &Gguf) -> Result<Self, Error> {
        check_kind(gguf)?;
        let family = Family::from_name(gguf.string("general.architecture")?)?;
        let keys = Keys { gguf, family };
        let n_heads = keys.size("attention.head_count", MOST_HEADS)?;
        let model_dim = keys.size("embedding_length", WIDEST)?;
        let head_dim = keys.head_dim(model_dim, n_heads)?;
        Ok(Self {
            family,
            n_layers: keys.blocks()?,
            n_heads,
            n_kv_heads: keys.kv_heads(n_heads)?,
            head_dim,
            model_dim: keys.check_embeddings(model_dim)?,
            hidden_dim: keys.size("feed_forward_length", WIDEST)?,
            context: keys.size("context_length", LONGEST_CONTEXT)?.min(MOST_POSITIONS),
            norm_eps: keys.positive("attention.layer_norm_rms_epsilon", None)?,
            rope_base: keys.positive("rope.freq_base", Some(10_000.0))?,
            rope_scale: keys.rope_scale()?,
            rope_factors: keys.rope_factors(head_dim)?,
        })
    }

    /// Query heads that share one key head.
    pub fn group(&self) -> usize {
        self.n_heads / self.n_kv_heads
    }

    /// By how much the rotary angle of each pair of a head's numbers grows from one position to the next, before linear
    /// scaling, `[D/2]`.
    pub fn rope_frequencies(&self) -> Vec<f32> {
        let frequency = |i: usize| self.rope_base.powf(-(i as f32) / self.head_dim as f32);
        let factors = self.rope_factors.iter().copied().chain(std::iter::repeat(1.0));
        let frequencies = (0..self.head_dim).step_by(2).map(frequency);
        frequencies.zip(factors).map(|(frequency, factor)| frequency / factor).collect()
    }
}

/// Files of other things than models have an architecture too: adapters, projectors, importance matrices.
fn check_kind(gguf: &Gguf) -> Result<(), Error> {
    const KEY: &str = "general.type";
    if !gguf.has_key(KEY) {
        return Ok(());
    }
    match gguf.string(KEY)? {
        "model" => Ok(()),
        other => Err(metadata_error(KEY, format!("is `{other}`, but a `model` is asked for"))),
    }
}

/// A family's keys in a file.
struct Keys<'a> {
    gguf: &'a Gguf,
    family: Family,
}

impl Keys<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.family.name())
    }

    fn has(&self, name: &str) -> bool {
        self.gguf.has_key(&self.key(name))
    }

    fn wrong<T>(&self, name: &str, reason: impl Into<String>) -> Result<T, Error> {
        Err(metadata_error(&self.key(name), reason))
    }

    fn size(&self, name: &str, most: usize) -> Result<usize, Error> {
        self.gguf.integer(&self.key(name), 1..=most)
    }

    /// A number above 0 that stays one in 32 bits.
    fn positive(&self, name: &str, default: Option<f32>) -> Result<f32, Error> {
        if let Some(default) = default.filter(|_| !self.has(name)) {
            return Ok(default);
        }
        let number = self.gguf.number(&self.key(name))?;
        match number as f32 {
            narrow if narrow.is_finite() && narrow > 0.0 => Ok(narrow),
            _ => self.wrong(name, format!("is {number}, which is no usable number above 0")),
        }
    }

    fn blocks(&self) -> Result<usize, Error> {
        let n_layers = self.size("block_count", MOST_BLOCKS)?;
        let last = format!("blk.{}.attn_norm.weight", n_layers - 1);
        match self.gguf.has_tensor(&last) {
            true => Ok(n_layers),
            false => {
                let reason = format!("is {n_layers}, but the file has no tensor `{last}`");
                self.wrong("block_count", reason)
            }
        }
    }

    fn kv_heads(&self, n_heads: usize) -> Result<usize, Error> {
        const NAME: &str = "attention.head_count_kv";
        if !self.has(NAME) {
            return Ok(n_heads);
        }
        let n_kv_heads = self.size(NAME, n_heads)?;
        match n_heads.is_multiple_of(n_kv_heads) {
            true => Ok(n_kv_heads),
            false => self
                .wrong(NAME, format!("is {n_kv_heads}, which does not divide the {n_heads} heads")),
        }
    }

    fn head_dim(&self, model_dim: usize, n_heads: usize) -> Result<usize, Error> {
        const NAME: &str = "attention.key_length";
        let head_dim = match self.has(NAME) {
            true => self.size(NAME, WIDEST / n_heads)?,
            false if model_dim.is_multiple_of(n_heads) => model_dim / n_heads,
            false => {
                let reason = format!("is {model_dim}, which {n_heads} heads do not divide");
                return self.wrong("embedding_length", reason);
            }
        };
        if !head_dim.is_multiple_of(2) {
            let reason = format!("heads are {head_dim} wide, but their numbers rotate in pairs");
            return self.wrong("attention.head_count", reason);
        }
        // Both are what they are for every model of these families; another value would be another computation.
        for name in ["attention.value_length", "rope.dimension_count"] {
            if self.has(name) && self.size(name, WIDEST)? != head_dim {
                let reason = format!("is not the {head_dim} of `{NAME}`, which is not supported");
                return self.wrong(name, reason);
            }
        }
        Ok(head_dim)
    }

    /// The embedding table and the product with the vocabulary must be as wide as the metadata says, and equally long.
    fn check_embeddings(&self, model_dim: usize) -> Result<usize, Error> {
        const NAME: &str = "vocab_size";
        let vocab = self.gguf.vocab(model_dim)?;
        self.gguf.expect_shape(self.gguf.head_name(), &[vocab, model_dim])?;
        if self.has(NAME) && self.size(NAME, usize::MAX)? != vocab {
            return self.wrong(NAME, format!("is not {vocab}, the rows of the embedding table"));
        }
        Ok(model_dim)
    }

    /// The divisor of positions. DeepSeek-Coder's files have linear scaling, which is what a factor without a type means
    /// in llama.cpp; others are refused rather than ignored.
    fn rope_scale(&self) -> Result<f32, Error> {
        const TYPE: &str = "rope.scaling.type";
        let kind = match self.has(TYPE) {
            true => self.gguf.string(&self.key(TYPE))?,
            false => "linear",
        };
        match kind {
            "none" => Ok(1.0),
            "linear" => self.positive("rope.scaling.factor", Some(1.0)),
            other => self.wrong(TYPE, format!("`{other}` is not supported")),
        }
    }

    fn rope_factors(&self, head_dim: usize) -> Result<Vec<f32>, Error> {
        const TENSOR: &str = "rope_freqs.weight";
        if !self.gguf.has_tensor(TENSOR) {
            return Ok(Vec::new());
        }
        let factors = self.gguf.vector(TENSOR, head_dim / 2, &Device::Cpu)?.to_vec1::<f32>()?;
        match factors.iter().all(|factor| *factor > 0.0) {
            true => Ok(factors),
            false => Err(Error::NotFinite(TENSOR.to_owned())),
        }
    }
}
