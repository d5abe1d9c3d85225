//! Adapters in PEFT's format: a directory with `adapter_model.safetensors` and `adapter_config.json`.
//!
//! What is read here can be trained with PEFT, and what is written here PEFT loads. PEFT's numbers are for Hugging Face's
//! layout of a model. GGUF's Llama files have the rows of query and key permuted for interleaved rotary embeddings, so
//! the same rows of an update are permuted when it is read, and back when it is written.

mod config;
mod modules;
mod stored;
mod tensor_name;
mod write;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use sha2::{Digest, Sha256};

use super::{Adapter, Lora, Projection};
use crate::model::config::Config;
use crate::model::family::Rope;
use crate::registry::adapters::read_directory;

pub use write::{Description, Precision, Written, write};

use config::AdapterConfig;
use stored::Stored;
use tensor_name::TensorName;

/// The file of the numbers.
pub const TENSORS_FILE: &str = "adapter_model.safetensors";

/// The file of everything else.
pub const CONFIG_FILE: &str = "adapter_config.json";

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
    /// A number that no update can have.
    #[error("tensor `{0}` holds NaN or infinity: its training diverged, or the file is damaged")]
    NotFinite(String),
    /// A tensor of another method than LoRA, or of a variant of it.
    #[error("tensor `{tensor}` belongs to {method}, which is not supported")]
    Method {
        /// The tensor's name.
        tensor: String,
        /// What it is a part of.
        method: &'static str,
    },
    /// A tensor that PEFT would ignore.
    #[error("tensor `{tensor}` is there, but {CONFIG_FILE} leaves its layer out: `{field}`")]
    LeftOut {
        /// The tensor's name.
        tensor: String,
        /// The field that does not name it.
        field: &'static str,
    },
    /// Two tensors for one place.
    #[error("tensors `{0}` and `{1}` are the same matrix of the same update")]
    Twice(String, String),
    /// Several adapters in one file.
    #[error("the file holds several adapters, {}: save one alone", .0.join(" and "))]
    Several(Vec<String>),
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
        let read = read_directory(directory);
        let [config, tensors] = read.map_err(|(path, source)| Error::Io { path, source })?;
        Ok(Self::new(config, tensors))
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
        let stored = Stored::read(&self.tensors)?;
        let note = |key| stored.notes.get(key).cloned();
        let noted = note(NOTE_MODEL).zip(note(NOTE_MODEL_SHA256));
        Ok(noted.map(|(model, model_sha256)| TrainedOn { model, model_sha256 }))
    }

    /// The adapter for a model of these hyperparameters, in 32-bit floats on `device`.
    ///
    /// # Errors
    /// If the files are no adapter that can stand beside this model, or the device fails.
    pub fn read(&self, model: &Config, device: &Device) -> Result<Adapter, Error> {
        let config = AdapterConfig::parse(&self.config)?;
        for field in &config.unknown {
            tracing::warn!("{CONFIG_FILE}: `{field}` is not known here, and ignored");
        }
        let stored = Stored::read(&self.tensors)?;
        let updates = updates(&stored, model)?;
        if updates.is_empty() {
            return Err(Error::Empty);
        }
        let mut adapter = Adapter::default();
        for ((layer_idx, projection), halves) in updates {
            let [down_name, up_name] = halves.both()?;
            let name = TensorName { layer_idx, projection, half: Half::Down };
            let (rank, scale) = config.update_of(&name.module(), down_name)?;
            let matrix = |name: &str, half: Half| {
                stored.matrix(name, half.shape(projection.shape(model), rank), device)
            };
            let (down, up) = (matrix(down_name, Half::Down)?, matrix(up_name, Half::Up)?);
            let up = Rows::of(projection, model).to_gguf(&up)?;
            // The product with one row reads `upᵀ` row by row: three times as fast where those rows are contiguous.
            let up = up.t()?.contiguous()?.t()?;
            adapter.insert(layer_idx, projection, Lora { down, up, scale });
        }
        Ok(adapter)
    }
}

/// The names of all tensors, by the update that they are a part of.
fn updates<'a>(
    stored: &'a Stored<'_>,
    model: &Config,
) -> Result<BTreeMap<(usize, Projection), Halves<'a>>, Error> {
    let mut updates = BTreeMap::new();
    let mut adapters = BTreeSet::new();
    for tensor in stored.names() {
        let (TensorName { layer_idx, projection, half }, adapter) = TensorName::parse(tensor)?;
        if layer_idx >= model.n_layers {
            return Err(Error::Layer { tensor: tensor.to_owned(), n_layers: model.n_layers });
        }
        adapters.extend(adapter);
        let halves: &mut Halves<'_> = updates.entry((layer_idx, projection)).or_default();
        if let Some(other) = halves.place(half).replace(tensor)
            && adapters.len() <= 1
        {
            return Err(Error::Twice(other.to_owned(), tensor.to_owned()));
        }
    }
    match adapters.len() {
        0 | 1 => Ok(updates),
        _ => Err(Error::Several(adapters.iter().map(|name| format!("`{name}`")).collect())),
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
    /// PEFT's name.
    fn name(self) -> &'static str {
        match self {
            Self::Down => "lora_A",
            Self::Up => "lora_B",
        }
    }

    fn shape(self, [outputs, inputs]: [usize; 2], rank: usize) -> [usize; 2] {
        match self {
            Self::Down => [rank, inputs],
            Self::Up => [outputs, rank],
        }
    }
}

/// The names of what was found of an update.
#[derive(Default)]
struct Halves<'a> {
    down: Option<&'a str>,
    up: Option<&'a str>,
}

impl<'a> Halves<'a> {
    fn place(&mut self, half: Half) -> &mut Option<&'a str> {
        match half {
            Half::Down => &mut self.down,
            Half::Up => &mut self.up,
        }
    }

    fn both(&self) -> Result<[&'a str; 2], Error> {
        let [a, b] = [Half::Down, Half::Up].map(Half::name);
        match (self.down, self.up) {
            (Some(down), Some(up)) => Ok([down, up]),
            (Some(found), None) => Err(Error::Half(found.replace(a, b))),
            (None, found) => Err(Error::Half(found.unwrap_or_default().replace(b, a))),
        }
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
