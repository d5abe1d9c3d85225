//! A run in one file, so that it can be continued bit for bit: variables, moments, and where it stands.
//!
//! The file is written beside the old one and renamed over it, so a disk that fills leaves the old one whole.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView, serialize};

use crate::files;

use super::Error;
use super::optimizer::Moments;
use super::trainer::{Progress, Trainer};

/// The checkpoint in the run's directory.
pub const FILE: &str = "checkpoint.safetensors";

/// Keys of the file's own notes.
const PROGRESS: &str = "progress";
const SETTINGS: &str = "settings";

/// Writes the run's state to `directory`.
///
/// # Errors
/// If the file cannot be written; an older one is then untouched.
pub fn save(trainer: &Trainer, directory: &Path) -> Result<(), Error> {
    let mut tensors = Vec::new();
    for (i, (variable, moments)) in trainer.state().enumerate() {
        for (part, tensor) in [
            ("value", variable.as_tensor()),
            ("first", &moments.first),
            ("second", &moments.second),
        ] {
            let numbers = tensor.flatten_all()?.to_vec1::<f32>()?;
            let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
            tensors.push((format!("{i}.{part}"), tensor.dims().to_vec(), bytes));
        }
    }
    let mut views = Vec::with_capacity(tensors.len());
    for (name, shape, bytes) in &tensors {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
        views.push((name.clone(), view.map_err(|e| unreadable(directory, &e))?));
    }
    let progress = serde_json::to_string(&trainer.progress).expect("numbers have a JSON form");
    let notes = HashMap::from([
        (PROGRESS.to_owned(), progress),
        (SETTINGS.to_owned(), fingerprint(trainer)),
    ]);
    let bytes = serialize(views, Some(notes)).map_err(|e| unreadable(directory, &e))?;
    write_whole(&directory.join(FILE), &bytes)
}

/// Continues the run in `directory`, bit for bit if its schedule is the same.
///
/// # Errors
/// If there is no checkpoint, it is not whole, or it was made with other settings.
pub fn resume(trainer: &mut Trainer, directory: &Path) -> Result<(), Error> {
    let path = directory.join(FILE);
    let bytes = std::fs::read(&path).map_err(|source| Error::Io { path: path.clone(), source })?;
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| unreadable(&path, &e))?;
    let note = |key: &str| header.metadata().as_ref().and_then(|notes| notes.get(key)).cloned();
    let missing = |key: &str| Error::Checkpoint {
        path: path.clone(),
        reason: format!("it has no note `{key}`"),
    };
    let settings = note(SETTINGS).ok_or_else(|| missing(SETTINGS))?;
    if settings != fingerprint(trainer) {
        return Err(Error::OtherSettings { path, was: settings, is: fingerprint(trainer) });
    }
    let progress: Progress =
        serde_json::from_str(&note(PROGRESS).ok_or_else(|| missing(PROGRESS))?)
            .map_err(|e| unreadable(&path, &e))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|e| unreadable(&path, &e))?;
    let device = trainer.model().device().clone();
    let mut state = Vec::new();
    for i in 0..trainer.state().count() {
        let [value, first, second] = ["value", "first", "second"]
            .map(|part| tensor(&file, &format!("{i}.{part}"), &path, &device));
        state.push((value?, Moments { first: first?, second: second? }));
    }
    trainer.restore(state, progress)
}

/// Writes a file of a run.
///
/// # Errors
/// If the disk is full or the directory cannot be written; an older file is then untouched.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    files::replace(path, bytes).map_err(|source| Error::Io { path: path.to_owned(), source })
}

/// What must be the same for a run to be continued. The number of threads changes nothing, and a run may turn out longer
/// or shorter than it was begun: its rate follows the new schedule from there.
fn fingerprint(trainer: &Trainer) -> String {
    let mut settings = trainer.settings().clone();
    settings.threads = 0;
    settings.schedule.total = 0;
    format!("{settings:?}")
}

fn tensor(
    file: &SafeTensors<'_>,
    name: &str,
    path: &Path,
    device: &Device,
) -> Result<Tensor, Error> {
    let view = file.tensor(name).map_err(|e| unreadable(path, &e))?;
    let (numbers, _) = view.data().as_chunks::<4>();
    let numbers: Vec<f32> = numbers.iter().map(|n| f32::from_le_bytes(*n)).collect();
    Ok(Tensor::from_vec(numbers, view.shape(), device)?)
}

fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::Checkpoint { path: PathBuf::from(path), reason: error.to_string() }
}
