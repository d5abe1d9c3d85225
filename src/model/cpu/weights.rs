//! The frozen part of a model on the CPU, read from a GGUF file and repacked for [`crate::kernel::quant`].

use candle_core::Device;
use candle_core::quantized::QTensor;
use rayon::prelude::*;

use crate::kernel::attention::VALUE_GROUP;
use crate::kernel::quant::PackedMatrix;
use crate::model::Error;
use crate::model::config::Config;
use crate::model::gguf::Gguf;

/// All of a model's weights.
#[derive(Debug)]
pub(super) struct Weights {
    pub(super) config: Config,
    /// `[V, E]`, in the file's own blocks: a forward reads a row per token.
    pub(super) embeddings: QTensor,
    pub(super) blocks: Vec<Block>,
    /// `[E]`.
    pub(super) norm: Vec<f32>,
    /// `E → V`.
    pub(super) head: PackedMatrix,
    /// `[D/2]`.
    pub(super) rope_frequencies: Vec<f32>,
}

/// One block of the transformer.
#[derive(Debug)]
pub(super) struct Block {
    /// `[E]`.
    pub(super) attention_norm: Vec<f32>,
    /// `E → H·D`.
    pub(super) query: Projection,
    /// `E → K·D`.
    pub(super) key: Projection,
    /// `E → K·D`.
    pub(super) value: Projection,
    /// `H·D → E`.
    pub(super) output: PackedMatrix,
    /// `[E]`.
    pub(super) feed_forward_norm: Vec<f32>,
    /// `E → hidden`.
    pub(super) gate: PackedMatrix,
    /// `E → hidden`.
    pub(super) up: PackedMatrix,
    /// `hidden → E`.
    pub(super) down: PackedMatrix,
}

/// A query, key or value projection, with the bias that some families have.
#[derive(Debug)]
pub(super) struct Projection {
    pub(super) matrix: PackedMatrix,
    pub(super) bias: Option<Vec<f32>>,
}

/// Whether every matrix of the model is in a format that the kernels multiply, and its heads in the widths that they
/// expect. Other models are computed by candle.
pub(super) fn supported(gguf: &Gguf, config: &Config) -> bool {
    let matrix = |name: &str| gguf.is_packable(name);
    let parts = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"];
    let block = |i: usize| parts.iter().all(|part| matrix(&format!("blk.{i}.{part}.weight")));
    config.head_dim.is_multiple_of(VALUE_GROUP)
        && matrix(gguf.head_name())
        && (0..config.n_layers).all(block)
}

impl Weights {
    /// Reads and repacks a supported model, on the threads of the calling rayon pool.
    ///
    /// # Errors
    /// If a tensor is missing, cut off, or of another shape than the hyperparameters say.
    pub(super) fn load(gguf: &Gguf, config: Config) -> Result<Self, Error> {
        let reader = Reader { gguf, config: &config };
        let (embeddings, vocab) = gguf.embeddings(config.model_dim, &Device::Cpu)?;
        let layers = (0..config.n_layers).into_par_iter();
        let (head, blocks) = rayon::join(
            || reader.matrix(gguf.head_name(), [vocab, config.model_dim]),
            || layers.map(|i| reader.block(i)).collect::<Result<_, _>>(),
        );
        let norm = reader.vector("output_norm.weight", config.model_dim)?;
        let rope_frequencies = config.rope_frequencies();
        Ok(Self { embeddings, blocks: blocks?, norm, head: head?, rope_frequencies, config })
    }
}

struct Reader<'a> {
    gguf: &'a Gguf,
    config: &'a Config,
}

impl Reader<'_> {
    fn block(&self, layer_idx: usize) -> Result<Block, Error> {
        let Config { n_heads, n_kv_heads, head_dim, model_dim, hidden_dim, .. } = *self.config;
        let (q_dim, kv_dim) = (n_heads * head_dim, n_kv_heads * head_dim);
        let name = |part: &str| format!("blk.{layer_idx}.{part}");
        let matrix = |part: &str, shape| self.matrix(&format!("{}.weight", name(part)), shape);
        Ok(Block {
            attention_norm: self.vector(&name("attn_norm.weight"), model_dim)?,
            query: self.projection(&name("attn_q"), q_dim)?,
            key: self.projection(&name("attn_k"), kv_dim)?,
            value: self.projection(&name("attn_v"), kv_dim)?,
            output: matrix("attn_output", [model_dim, q_dim])?,
            feed_forward_norm: self.vector(&name("ffn_norm.weight"), model_dim)?,
            gate: matrix("ffn_gate", [hidden_dim, model_dim])?,
            up: matrix("ffn_up", [hidden_dim, model_dim])?,
            down: matrix("ffn_down", [model_dim, hidden_dim])?,
        })
    }

    fn projection(&self, name: &str, out: usize) -> Result<Projection, Error> {
        let bias = match self.config.family.qkv_bias() {
            true => Some(self.vector(&format!("{name}.bias"), out)?),
            false => None,
        };
        let matrix = self.matrix(&format!("{name}.weight"), [out, self.config.model_dim])?;
        Ok(Projection { matrix, bias })
    }

    /// A matrix `[out, in]`.
    fn matrix(&self, name: &str, shape: [usize; 2]) -> Result<PackedMatrix, Error> {
        self.gguf.packed_matrix(name, shape)
    }

    /// A dense vector `[len]`.
    fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>, Error> {
        Ok(self.gguf.vector(name, len, &Device::Cpu)?.to_vec1()?)
    }
}
