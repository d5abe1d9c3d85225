//! Hyperparameters, read from GGUF metadata.

use super::Error;
use super::family::Family;
use super::gguf::Gguf;

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
    /// Positions that the model was trained for.
    pub context: usize,
    /// ε of the RMS norms.
    pub norm_eps: f32,
    /// Base of the rotary frequencies.
    pub rope_base: f32,
    /// Positions are divided by this (linear scaling); 1 where there is none.
    pub rope_scale: f32,
}

impl Config {
    /// Reads the hyperparameters of `gguf`.
    ///
    /// # Errors
    /// An unknown family, a missing key, or numbers that do not fit together.
    pub fn read(gguf: &Gguf) -> Result<Self, Error> {
        let family = Family::from_name(gguf.string("general.architecture")?)?;
        let key = |name: &str| format!("{}.{name}", family.name());
        let size = |name: &str| gguf.number(&key(name)).map(|n| n as usize);
        let n_heads = size("attention.head_count")?;
        let model_dim = size("embedding_length")?;
        let config = Self {
            family,
            n_layers: size("block_count")?,
            n_heads,
            n_kv_heads: size("attention.head_count_kv").unwrap_or(n_heads),
            head_dim: size("attention.key_length").unwrap_or(model_dim / n_heads.max(1)),
            model_dim,
            hidden_dim: size("feed_forward_length")?,
            context: size("context_length")?,
            norm_eps: gguf.number(&key("attention.layer_norm_rms_epsilon"))? as f32,
            rope_base: gguf.number(&key("rope.freq_base")).unwrap_or(10_000.0) as f32,
            rope_scale: rope_scale(gguf, &family)?,
        };
        config.check()?;
        Ok(config)
    }

    /// Query heads that share one key head.
    pub fn group(&self) -> usize {
        self.n_heads / self.n_kv_heads
    }

    /// By how much the rotary angle of each pair of a head's numbers grows from one position to the next, before linear
    /// scaling, `[D/2]`.
    pub fn rope_frequencies(&self) -> Vec<f32> {
        let frequency = |i: usize| self.rope_base.powf(-(i as f32) / self.head_dim as f32);
        (0..self.head_dim).step_by(2).map(frequency).collect()
    }

    fn check(&self) -> Result<(), Error> {
        let sizes = [self.n_layers, self.n_heads, self.n_kv_heads, self.head_dim, self.context];
        if sizes.contains(&0) || !self.n_heads.is_multiple_of(self.n_kv_heads) {
            return Err(Error::Metadata {
                key: format!("{}.*", self.family.name()),
                reason: format!("hyperparameters do not fit together: {self:?}"),
            });
        }
        Ok(())
    }
}

/// The divisor of positions. DeepSeek-Coder's files have linear scaling; others are refused rather than ignored.
fn rope_scale(gguf: &Gguf, family: &Family) -> Result<f32, Error> {
    let key = format!("{}.rope.scaling.type", family.name());
    match gguf.string(&key) {
        Err(_) | Ok("none") => Ok(1.0),
        Ok("linear") => Ok(gguf.number(&format!("{}.rope.scaling.factor", family.name()))? as f32),
        Ok(other) => Err(Error::Unsupported(format!("rope scaling `{other}`"))),
    }
}
