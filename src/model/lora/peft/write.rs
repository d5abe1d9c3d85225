//! Writing an adapter so that PEFT loads it.
//!
//! Equal adapters give equal bytes, so that training twice gives one sha256.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use candle_core::{DType, Tensor};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::files;

use super::config::{self, WrittenConfig};
use super::{
    Adapter, CONFIG_FILE, Config, Error, Half, NOTE_MODEL, NOTE_MODEL_SHA256, Rows, TENSORS_FILE,
    TensorName, TrainedOn,
};

/// What is written beside the numbers.
#[derive(Clone, Debug)]
pub struct Description<'a> {
    /// Hyperparameters of the model that the adapter stands beside.
    pub model: &'a Config,
    /// The model's name on the Hugging Face hub, which PEFT shows.
    pub base_model: &'a str,
    /// What it was trained on, for [`super::PeftFiles::trained_on`].
    pub trained_on: Option<&'a TrainedOn>,
    /// Dropout of the training.
    pub dropout: f64,
    /// How the numbers are stored.
    pub precision: Precision,
}

/// How numbers are stored. By default, with 32 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floats: nothing is lost.
    #[default]
    F32,
    /// 16-bit floats, for files of half the size.
    F16,
}

/// A written adapter, as `models.toml` pins it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// sha256 of the file of the numbers.
    pub sha256: String,
    /// Length of the file of the numbers.
    pub size_bytes: u64,
}

/// Writes `adapter` to `directory`, which is created where it is missing. Each file appears whole or not at all, the
/// configuration last.
///
/// # Errors
/// If there are no updates, or a file cannot be written.
pub fn write(
    adapter: &Adapter,
    directory: &Path,
    description: &Description<'_>,
) -> Result<Written, Error> {
    let config = config_of(adapter, description)?;
    let config = serde_json::to_vec_pretty(&config).map_err(|e| Error::Config(e.to_string()))?;
    let tensors = safetensors(adapter, description)?;
    fs::create_dir_all(directory)
        .map_err(|source| Error::Io { path: directory.to_owned(), source })?;
    replace(directory, TENSORS_FILE, &tensors)?;
    replace(directory, CONFIG_FILE, &config)?;
    let sha256 = format!("{:x}", Sha256::digest(&tensors));
    Ok(Written { sha256, size_bytes: tensors.len() as u64 })
}

fn config_of<'a>(
    adapter: &Adapter,
    description: &Description<'a>,
) -> Result<WrittenConfig<'a>, Error> {
    let (_, _, first) = adapter.iter().next().ok_or(Error::Empty)?;
    let (rank, alpha) = (first.down.dim(0)?, first.scale * first.down.dim(0)? as f64);
    let (mut ranks, mut alphas) = (Map::new(), Map::new());
    for (layer_idx, projection, lora) in adapter.iter() {
        let module = TensorName { layer_idx, projection, half: Half::Down }.module();
        let (its_rank, its_alpha) = (lora.down.dim(0)?, lora.scale * lora.down.dim(0)? as f64);
        if its_rank != rank {
            ranks.insert(module.clone(), json!(its_rank));
        }
        if its_alpha != alpha {
            alphas.insert(module, plain_number(its_alpha));
        }
    }
    let layers: BTreeSet<usize> = adapter.iter().map(|(layer_idx, _, _)| layer_idx).collect();
    let all_layers = layers.len() == description.model.n_layers;
    let projections: BTreeSet<_> = adapter.iter().map(|(_, projection, _)| projection).collect();
    Ok(WrittenConfig {
        alpha_pattern: alphas,
        base_model_name_or_path: description.base_model,
        bias: "none",
        fan_in_fan_out: false,
        inference_mode: true,
        init_lora_weights: true,
        layers_to_transform: (!all_layers).then(|| layers.into_iter().collect()),
        lora_alpha: plain_number(alpha),
        lora_dropout: description.dropout,
        modules_to_save: None,
        peft_type: "LORA",
        r: rank,
        rank_pattern: ranks,
        target_modules: projections.into_iter().map(config::name).collect(),
        task_type: "CAUSAL_LM",
        use_dora: false,
        use_rslora: false,
    })
}

/// 16 rather than 16.0: PEFT declares α an integer.
fn plain_number(number: f64) -> Value {
    match number.fract() == 0.0 && number.abs() < 1e9 {
        true => json!(number as i64),
        false => json!(number),
    }
}

/// The file of the numbers: length of the header, header, tensors one after the other.
fn safetensors(adapter: &Adapter, description: &Description<'_>) -> Result<Vec<u8>, Error> {
    let mut header = Map::from_iter([("__metadata__".to_owned(), notes(description))]);
    let mut numbers = Vec::new();
    let (dtype, dtype_name) = match description.precision {
        Precision::F32 => (DType::F32, "F32"),
        Precision::F16 => (DType::F16, "F16"),
    };
    let mut add = |name: TensorName, tensor: &Tensor| -> Result<(), Error> {
        let start = numbers.len();
        tensor.to_dtype(dtype)?.write_bytes(&mut numbers)?;
        let entry = json!({
            "dtype": dtype_name, "shape": tensor.dims(), "data_offsets": [start, numbers.len()],
        });
        header.insert(name.to_string(), entry);
        Ok(())
    };
    for (layer_idx, projection, lora) in adapter.iter() {
        add(TensorName { layer_idx, projection, half: Half::Down }, &lora.down)?;
        let up = Rows::of(projection, description.model).to_hugging_face(&lora.up)?;
        add(TensorName { layer_idx, projection, half: Half::Up }, &up)?;
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    // Readers map the file, and want the numbers aligned.
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok([&(header.len() as u64).to_le_bytes()[..], &header, &numbers].concat())
}

/// `format` is what the Hugging Face libraries ask a file for.
fn notes(description: &Description<'_>) -> Value {
    match description.trained_on {
        Some(TrainedOn { model, model_sha256 }) => {
            json!({ "format": "pt", NOTE_MODEL: model, NOTE_MODEL_SHA256: model_sha256 })
        }
        None => json!({ "format": "pt" }),
    }
}

/// Writes a file in one step for everybody who looks.
fn replace(directory: &Path, name: &str, content: &[u8]) -> Result<(), Error> {
    let path = directory.join(name);
    files::replace(&path, content).map_err(|source| Error::Io { path, source })
}
