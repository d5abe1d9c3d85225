//! Adapters in PEFT's format: a directory with `adapter_model.safetensors` and `adapter_config.json`.
//!
//! What is read here can be trained with PEFT, and what is written here PEFT loads. PEFT's numbers are for Hugging Face's
//! layout of a model. GGUF's Llama files have the rows of query and key permuted for interleaved rotary embeddings, so
//! the same rows of an update are permuted when it is read, and back when it is written.

mod config;
mod write;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{Adapter, Lora, Projection};
use crate::model::config::Config;
use crate::model::family::Rope;

pub use write::{Description, Precision, Written, write};

use config::AdapterConfig;

/// The file of the numbers.
pub const TENSORS_FILE: &str = "adapter_model.safetensors";

/// The file of everything else.
pub const CONFIG_FILE: &str = "adapter_config.json";

/// What stands before `layers` in PEFT's names of tensors.
const PREFIX: &str = "base_model.model.model.layers.";

/// Keys of our notes in the safetensors header. PEFT warns about unknown keys of its configuration, but nobody minds
/// this place.
const NOTE_MODEL: &str = "cosec_ls.model";
const NOTE_MODEL_SHA256: &str = "cosec_ls.model_sha256";

/// Both files of a PEFT adapter, as they are.
#[derive(Clone)]
pub struct PeftFiles {
    config: Cow<'static, [u8]>,
    tensors: Cow<'static, [u8]>,
}

impl std::fmt::Debug for PeftFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeftFiles").finish_non_exhaustive()
    }
}

/// The model that an adapter was trained on, as its trainer noted it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainedOn {
    /// Name in `models.toml`.
    pub model: String,
    /// sha256 of the model's file, in 64 lower-case hexadecimal digits.
    pub model_sha256: String,
}

/// Why an adapter cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that is missing or cannot be used.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The file of the numbers is no safetensors file, or is cut off.
    #[error("{TENSORS_FILE} is not a whole safetensors file: {0}")]
    Safetensors(String),
    /// The configuration is not what PEFT writes.
    #[error("{CONFIG_FILE}: {0}")]
    Config(String),
    /// Another method than LoRA.
    #[error("{CONFIG_FILE}: `peft_type` is `{0}`, supported is `LORA`")]
    PeftType(String),
    /// Updates of something else than attention.
    #[error(
        "the adapter changes {}, but only q_proj, k_proj, v_proj and o_proj of attention blocks are supported",
        .0.join(", ")
    )]
    TargetModules(Vec<String>),
    /// A variant of LoRA that would have to be computed differently.
    #[error("{CONFIG_FILE}: `{field}` is {value}, which is not supported")]
    Unsupported {
        /// The field.
        field: String,
        /// Its value.
        value: String,
    },
    /// A tensor of another shape than the model and the rank ask for.
    #[error("tensor `{tensor}` has shape {got:?}, model and rank ask for {expected:?}")]
    Shape {
        /// The tensor's name.
        tensor: String,
        /// By the model's hyperparameters and `r`.
        expected: [usize; 2],
        /// In the file.
        got: Vec<usize>,
    },
    /// Numbers of a type that no trainer of adapters writes.
    #[error("tensor `{tensor}` is {got}, supported are F32, F16 and BF16")]
    Type {
        /// The tensor's name.
        tensor: String,
        /// Its type.
        got: String,
    },
    /// One of the two matrices of an update is missing.
    #[error("tensor `{0}` is missing: an update needs both lora_A and lora_B")]
    Half(String),
    /// An update of a layer that the model does not have.
    #[error("tensor `{tensor}` is beyond the model, whose {n_layers} layers count from 0")]
    Layer {
        /// The tensor's name.
        tensor: String,
        /// L of the model.
        n_layers: usize,
    },
    /// No updates at all.
    #[error("the adapter is empty")]
    Empty,
    /// Updates that PEFT's format has no one word for.
    #[error("the updates have different ranks or scales")]
    Mixed,
    /// The device or a kernel failed.
    #[error(transparent)]
    Model(#[from] crate::model::Error),
}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        Self::Model(error.into())
    }
}

impl PeftFiles {
    /// Reads both files of `directory`; looks into neither.
    ///
    /// # Errors
    /// If one of them is missing or cannot be read.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        let read = |name: &str| {
            let path = directory.join(name);
            std::fs::read(&path).map_err(|source| Error::Io { path, source })
        };
        Ok(Self::new(read(CONFIG_FILE)?, read(TENSORS_FILE)?))
    }

    /// The files' bytes, wherever they come from.
    pub fn new(
        config: impl Into<Cow<'static, [u8]>>,
        tensors: impl Into<Cow<'static, [u8]>>,
    ) -> Self {
        Self { config: config.into(), tensors: tensors.into() }
    }

    /// sha256 of the file of the numbers, in 64 lower-case hexadecimal digits.
    pub fn sha256(&self) -> String {
        format!("{:x}", Sha256::digest(&self.tensors))
    }

    /// The model that the adapter was trained on; absent where the trainer was not ours.
    ///
    /// # Errors
    /// If the file of the numbers has no header.
    pub fn trained_on(&self) -> Result<Option<TrainedOn>, Error> {
        let header = self.header()?;
        let note = |key| Some(header.get("__metadata__")?.get(key)?.as_str()?.to_owned());
        let noted = note(NOTE_MODEL).zip(note(NOTE_MODEL_SHA256));
        Ok(noted.map(|(model, model_sha256)| TrainedOn { model, model_sha256 }))
    }

    /// The adapter for a model of these hyperparameters, in 32-bit floats on `device`.
    ///
    /// # Errors
    /// If the files are no adapter that can stand beside this model, or the device fails.
    pub fn read(&self, model: &Config, device: &Device) -> Result<Adapter, Error> {
        let config = AdapterConfig::parse(&self.config)?;
        let mut updates = BTreeMap::new();
        for (name, tensor) in self.tensors(device)? {
            let TensorName { layer_idx, projection, half } = TensorName::parse(&name)?;
            if layer_idx >= model.n_layers {
                return Err(Error::Layer { tensor: name, n_layers: model.n_layers });
            }
            let tensor = dense(tensor, &name, half.shape(projection.shape(model), config.r))?;
            let halves: &mut Halves = updates.entry((layer_idx, projection)).or_default();
            *halves.place(half) = Some(tensor);
        }
        if updates.is_empty() {
            return Err(Error::Empty);
        }
        let mut adapter = Adapter::default();
        for ((layer_idx, projection), halves) in updates {
            let (down, up) = halves.both(layer_idx, projection)?;
            let up = Rows::of(projection, model).to_gguf(&up)?;
            // The product with one row reads `upᵀ` row by row: three times as fast where those rows are contiguous.
            let up = up.t()?.contiguous()?.t()?;
            adapter.insert(layer_idx, projection, Lora { down, up, scale: config.scale() });
        }
        Ok(adapter)
    }

    /// All tensors, by name.
    fn tensors(&self, device: &Device) -> Result<BTreeMap<String, Tensor>, Error> {
        self.header()?;
        let tensors = candle_core::safetensors::load_buffer(&self.tensors, device);
        let tensors =
            tensors.map_err(|e| Error::Safetensors(crate::model::Error::from(e).to_string()))?;
        Ok(tensors.into_iter().collect())
    }

    /// The safetensors header: eight bytes of its length, then JSON.
    fn header(&self) -> Result<Map<String, Value>, Error> {
        let cut_off = || Error::Safetensors("it ends inside its header".to_owned());
        let (len, rest) = self.tensors.split_first_chunk::<8>().ok_or_else(cut_off)?;
        let len = usize::try_from(u64::from_le_bytes(*len)).unwrap_or(usize::MAX);
        let header = rest.get(..len).ok_or_else(cut_off)?;
        serde_json::from_slice(header).map_err(|e| Error::Safetensors(e.to_string()))
    }
}

/// `tensor` as a dense matrix of 32-bit floats of this shape.
fn dense(tensor: Tensor, name: &str, expected: [usize; 2]) -> Result<Tensor, Error> {
    if tensor.dims() != expected {
        let (tensor, got) = (name.to_owned(), tensor.dims().to_vec());
        return Err(Error::Shape { tensor, expected, got });
    }
    match tensor.dtype() {
        DType::F32 | DType::F16 | DType::BF16 => Ok(tensor.to_dtype(DType::F32)?),
        other => Err(Error::Type { tensor: name.to_owned(), got: format!("{other:?}") }),
    }
}

/// One of the two matrices of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Half {
    /// `lora_A`, `[r, in]`.
    Down,
    /// `lora_B`, `[out, r]`.
    Up,
}

impl Half {
    fn shape(self, [outputs, inputs]: [usize; 2], rank: usize) -> [usize; 2] {
        match self {
            Self::Down => [rank, inputs],
            Self::Up => [outputs, rank],
        }
    }
}

/// What was found of an update.
#[derive(Default)]
struct Halves {
    down: Option<Tensor>,
    up: Option<Tensor>,
}

impl Halves {
    fn place(&mut self, half: Half) -> &mut Option<Tensor> {
        match half {
            Half::Down => &mut self.down,
            Half::Up => &mut self.up,
        }
    }

    fn both(self, layer_idx: usize, projection: Projection) -> Result<(Tensor, Tensor), Error> {
        let missing = |half| Error::Half(TensorName { layer_idx, projection, half }.to_string());
        match (self.down, self.up) {
            (Some(down), Some(up)) => Ok((down, up)),
            (None, _) => Err(missing(Half::Down)),
            (_, None) => Err(missing(Half::Up)),
        }
    }
}

/// Where a tensor of the file belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TensorName {
    layer_idx: usize,
    projection: Projection,
    half: Half,
}

impl TensorName {
    /// Reads `base_model.model.model.layers.3.self_attn.q_proj.lora_A.weight`.
    fn parse(name: &str) -> Result<Self, Error> {
        let parsed = || {
            let (layer_idx, rest) = name.strip_prefix(PREFIX)?.split_once('.')?;
            let (projection, rest) = rest.strip_prefix("self_attn.")?.split_once('.')?;
            let half = match rest {
                "lora_A.weight" => Half::Down,
                "lora_B.weight" => Half::Up,
                _ => return None,
            };
            let projection = config::projection(projection)?;
            Some(Self { layer_idx: layer_idx.parse().ok()?, projection, half })
        };
        parsed().ok_or_else(|| Error::TargetModules(vec![format!("`{name}`")]))
    }
}

impl std::fmt::Display for TensorName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { layer_idx, projection, half } = *self;
        let half = match half {
            Half::Down => "lora_A",
            Half::Up => "lora_B",
        };
        write!(f, "{PREFIX}{layer_idx}.self_attn.{}.{half}.weight", config::name(projection))
    }
}

/// How the output rows of a projection are ordered in GGUF files, compared with Hugging Face's.
enum Rows {
    Same,
    /// Within each head Hugging Face has `(0, 1, …)` where GGUF has `(0, D/2, 1, D/2 + 1, …)`, as in `permute` of
    /// llama.cpp's `conversion/llama.py`.
    Permuted {
        n_heads: usize,
    },
}

impl Rows {
    fn of(projection: Projection, model: &Config) -> Self {
        match (model.family.rope(), projection) {
            (Rope::Interleaved, Projection::Query) => Self::Permuted { n_heads: model.n_heads },
            (Rope::Interleaved, Projection::Key) => Self::Permuted { n_heads: model.n_kv_heads },
            _ => Self::Same,
        }
    }

    /// `up: [out, r]` from Hugging Face's order of rows to GGUF's.
    fn to_gguf(&self, up: &Tensor) -> Result<Tensor, Error> {
        let Self::Permuted { n_heads } = *self else { return Ok(up.clone()) };
        let (outputs, rank) = up.dims2()?;
        let halves = up.reshape((n_heads, 2, outputs / n_heads / 2, rank))?;
        Ok(halves.transpose(1, 2)?.reshape((outputs, rank))?)
    }

    /// `up: [out, r]` from GGUF's order of rows to Hugging Face's.
    fn to_hugging_face(&self, up: &Tensor) -> Result<Tensor, Error> {
        let Self::Permuted { n_heads } = *self else { return Ok(up.clone()) };
        let (outputs, rank) = up.dims2()?;
        let pairs = up.reshape((n_heads, outputs / n_heads / 2, 2, rank))?;
        Ok(pairs.transpose(1, 2)?.reshape((outputs, rank))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tensors_are_read_as_they_are_written() {
        let name = "base_model.model.model.layers.12.self_attn.o_proj.lora_B.weight";
        let parsed = TensorName::parse(name).unwrap();
        let expected = TensorName { layer_idx: 12, projection: Projection::Output, half: Half::Up };
        assert_eq!(parsed, expected);
        assert_eq!(parsed.to_string(), name);
        let error = TensorName::parse("lm_head.lora_A.weight").unwrap_err().to_string();
        assert!(error.starts_with("the adapter changes `lm_head.lora_A.weight`, but"), "{error}");
    }

    #[test]
    fn interleaved_rows_alternate_between_the_halves_of_a_head() {
        let up = Tensor::arange(0f32, 12.0, &Device::Cpu).unwrap().reshape((12, 1)).unwrap();
        let rows = Rows::Permuted { n_heads: 2 };
        let permuted = rows.to_gguf(&up).unwrap();
        let numbers = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let expected = [0., 3., 1., 4., 2., 5., 6., 9., 7., 10., 8., 11.];
        assert_eq!(numbers(&permuted), expected);
        assert_eq!(numbers(&rows.to_hugging_face(&permuted).unwrap()), numbers(&up));
        assert_eq!(numbers(&Rows::Same.to_gguf(&up).unwrap()), numbers(&up));
    }
}
