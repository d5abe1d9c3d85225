//! Adapters: where their two files are, and whether they are the ones that `models.toml` pins.
//!
//! An adapter has a few megabytes, so its sha256 is checked whenever it is read, and no marker remembers it. Those that
//! come with the program are inside it, so that an installed binary needs no file beside it.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use sha2::{Digest, Sha256};

use super::manifest::Adapter;
use super::{Attempt, Error, Presence};

/// PEFT's names for the two files of an adapter.
const CONFIG_FILE: &str = "adapter_config.json";
const TENSORS_FILE: &str = "adapter_model.safetensors";

/// Files of directories that hold a model instead.
const WHOLE_MODEL: [&str; 4] =
    ["config.json", "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"];

/// Rank 256 on all attention projections of a model of 7 billion weights has a fifth of this.
const LONGEST_FILE: u64 = 4 << 30;

/// Both files of an adapter in memory.
#[derive(Clone)]
pub struct AdapterFiles {
    /// Name in `models.toml`, or the directory as it was asked for.
    pub name: String,
    /// Where they come from.
    pub place: AdapterPlace,
    /// `adapter_config.json`.
    pub config: Cow<'static, [u8]>,
    /// `adapter_model.safetensors`.
    pub tensors: Cow<'static, [u8]>,
    /// What `models.toml` says that it was trained on; absent for a directory that is not in it.
    pub trained_on: Option<TrainedOn>,
    /// What `models.toml` says that its updates are multiplied by; 1 for a directory that is not in it.
    pub strength: f32,
}

/// The model that an adapter was trained on, as `models.toml` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainedOn {
    /// Name of the model.
    pub model: String,
    /// sha256 of its file, in 64 lower-case hexadecimal digits.
    pub model_sha256: String,
}

/// Where an adapter is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdapterPlace {
    /// Inside the program.
    BuiltIn,
    /// A directory on this machine.
    Directory(PathBuf),
}

/// One place that an adapter can come from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdapterSource {
    /// A directory on this machine, used where it is.
    Path(PathBuf),
    /// The program itself.
    BuiltIn(BuiltIn),
}

/// An adapter that is inside the program.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BuiltIn {
    name: &'static str,
    config: &'static [u8],
    tensors: &'static [u8],
}

/// `"NAME" = "DIRECTORY"`, where the directory is one of the repository and is read when the program is compiled.
macro_rules! built_in {
    ($($name:literal = $directory:literal),* $(,)?) => {
        &[$(BuiltIn {
            name: $name,
            config: include_bytes!(concat!("../../", $directory, "/adapter_config.json")),
            tensors: include_bytes!(concat!("../../", $directory, "/adapter_model.safetensors")),
        }),*]
    };
}

/// The adapters that come with the program, one a line: `"NAME" = "adapters/NAME",`. Each has an entry in `models.toml`
/// with the source `{ built-in = "NAME" }`.
#[cfg(not(test))]
const BUILT_IN: &[BuiltIn] =
    built_in!["qwen2.5-coder-0.5b-sven" = "adapters/qwen2.5-coder-0.5b-sven",];

#[cfg(test)]
const BUILT_IN: &[BuiltIn] = built_in![
    "tiny" = "tests/fixtures/peft/qwen2",
    "qwen2.5-coder-0.5b-sven" = "adapters/qwen2.5-coder-0.5b-sven",
];

impl<'de> Deserialize<'de> for BuiltIn {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let name = String::deserialize(from)?;
        let found = BUILT_IN.iter().find(|built_in| built_in.name == name);
        found.copied().ok_or_else(|| {
            let names: Vec<&str> = BUILT_IN.iter().map(|built_in| built_in.name).collect();
            let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            D::Error::custom(format!(
                "no adapter `{name}` is built into this program; built in: {known}"
            ))
        })
    }
}

impl fmt::Debug for BuiltIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BuiltIn").field(&self.name).finish()
    }
}

impl fmt::Debug for AdapterFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, place, trained_on, .. } = self;
        let mut shown = f.debug_struct("AdapterFiles");
        shown.field("name", name).field("place", place).field("trained_on", trained_on);
        shown.finish_non_exhaustive()
    }
}

impl fmt::Display for AdapterPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built into the program"),
            Self::Directory(directory) => write!(f, "{}", directory.display()),
        }
    }
}

impl AdapterSource {
    pub(super) fn resolve(&mut self, directory: &Path) {
        if let Self::Path(path) = self {
            *path = directory.join(&*path);
        }
    }

    fn place(&self) -> AdapterPlace {
        match self {
            Self::Path(directory) => AdapterPlace::Directory(directory.clone()),
            Self::BuiltIn(_) => AdapterPlace::BuiltIn,
        }
    }

    /// Configuration and numbers.
    fn read(&self) -> Result<[Cow<'static, [u8]>; 2], Error> {
        match self {
            Self::Path(directory) => read_path(directory),
            Self::BuiltIn(BuiltIn { config, tensors, .. }) => {
                Ok([(*config).into(), (*tensors).into()])
            }
        }
    }
}

/// The files of an entry of `models.toml`: the first source whose numbers have the pinned sha256.
pub(super) fn read(adapter: &Adapter) -> Result<AdapterFiles, Error> {
    let mut attempts = Vec::new();
    for source in &adapter.sources {
        match source.read().and_then(|files| pinned(files, adapter)) {
            Ok([config, tensors]) => {
                return Ok(AdapterFiles {
                    name: adapter.name.clone(),
                    place: source.place(),
                    config,
                    tensors,
                    trained_on: Some(TrainedOn {
                        model: adapter.trained_on.clone(),
                        model_sha256: adapter.model_sha256.to_string(),
                    }),
                    strength: adapter.strength,
                });
            }
            Err(error) => attempts.push(Attempt { source: source.place().to_string(), error }),
        }
    }
    Err(Error::Unavailable { name: adapter.name.clone(), attempts })
}

/// The files of a directory that is not in `models.toml`; nothing pins them.
pub(super) fn open(name: &str) -> Result<AdapterFiles, Error> {
    let directory = PathBuf::from(name);
    let [config, tensors] = read_path(&directory)?;
    let place = AdapterPlace::Directory(directory);
    let name = name.to_owned();
    Ok(AdapterFiles { name, place, config, tensors, trained_on: None, strength: 1.0 })
}

/// What of an adapter is on this machine.
pub(super) fn presence(adapter: &Adapter) -> Presence {
    match read(adapter).map(|files| files.place) {
        Ok(AdapterPlace::BuiltIn) => Presence::BuiltIn,
        Ok(AdapterPlace::Directory(directory)) => Presence::Ready(directory),
        Err(_) => {
            let directories = adapter.sources.iter().filter_map(|source| match source {
                AdapterSource::Path(directory) => Some(directory),
                AdapterSource::BuiltIn(_) => None,
            });
            let mut here = directories.filter(|path| path.join(TENSORS_FILE).is_file());
            here.next().map_or(Presence::Absent, |path| Presence::Unverified(path.clone()))
        }
    }
}

fn pinned(
    files: [Cow<'static, [u8]>; 2],
    adapter: &Adapter,
) -> Result<[Cow<'static, [u8]>; 2], Error> {
    let (got, expected) = (format!("{:x}", Sha256::digest(&files[1])), &adapter.sha256);
    match got == expected.as_str() {
        true => Ok(files),
        false => Err(Error::Source(format!(
            "{TENSORS_FILE} has sha256 {got}, but models.toml pins {expected}"
        ))),
    }
}

fn read_path(directory: &Path) -> Result<[Cow<'static, [u8]>; 2], Error> {
    let read = read_directory(directory).map_err(|(path, cause)| Error::Io { path, cause })?;
    Ok(read.map(Cow::Owned))
}

/// Configuration and numbers of the adapter in a directory.
///
/// # Errors
/// If one of the files cannot be read, which one and why; where something else lies there, what that is and what to do.
pub fn read_directory(directory: &Path) -> Result<[Vec<u8>; 2], (PathBuf, io::Error)> {
    let read = |name: &str| {
        let path = directory.join(name);
        match read_file(&path) {
            Ok(content) => Ok(content),
            Err(cause) => Err((path, explain(directory, name, cause))),
        }
    };
    Ok([read(CONFIG_FILE)?, read(TENSORS_FILE)?])
}

/// Reads a file of a length that an adapter can have. A pipe is not even opened: that waits for whoever writes into it.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    if metadata.len() > LONGEST_FILE {
        let len = metadata.len();
        return Err(io::Error::other(format!("it has {len} bytes, which no adapter needs")));
    }
    std::fs::read(path)
}

/// The cause, and what is in the directory instead of a missing file.
fn explain(directory: &Path, name: &str, cause: io::Error) -> io::Error {
    let has = |name: &str| directory.join(name).exists();
    let instead = match cause.kind() {
        io::ErrorKind::NotADirectory => "an adapter is a directory, not a file",
        io::ErrorKind::NotFound if !directory.exists() => return cause,
        io::ErrorKind::NotFound if name == TENSORS_FILE && has("adapter_model.bin") => {
            "there is adapter_model.bin, a Python pickle, which is not read. To convert it: python -c \"import torch, \
             safetensors.torch as s; s.save_file({k: v.contiguous() for k, v in torch.load('adapter_model.bin', \
             weights_only=True).items()}, 'adapter_model.safetensors')\""
        }
        io::ErrorKind::NotFound if WHOLE_MODEL.iter().any(|name| has(name)) => {
            "there is a whole model, and not an adapter of one"
        }
        _ => return cause,
    };
    io::Error::new(cause.kind(), format!("{cause}; {instead}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{Registry, RegistryOptions};

    /// A registry over a `models.toml` with one adapter.
    fn registry(built_in: &str, sha256: &str) -> Result<Registry, Error> {
        let directory = tempfile::tempdir().unwrap();
        let user_manifest = directory.path().join("models.toml");
        let zeros = "0".repeat(64);
        let entry = format!(
            "[adapters.safe]\ntrained_on = \"qwen2.5-coder-0.5b-instruct-q4_k_m\"\n\
             model_sha256 = \"{zeros}\"\nsha256 = \"{sha256}\"\nsize_bytes = 1\nlicence = \"MIT\"\n\
             sources = [{{ built-in = \"{built_in}\" }}]\n"
        );
        std::fs::write(&user_manifest, entry).unwrap();
        Registry::open(RegistryOptions {
            user_manifest: Some(user_manifest),
            store: Some(directory.path().join("store")),
            ..RegistryOptions::default()
        })
    }

    fn tiny_sha256() -> String {
        format!("{:x}", Sha256::digest(BUILT_IN[0].tensors))
    }

    #[test]
    fn a_built_in_adapter_needs_no_file() {
        let registry = registry("tiny", &tiny_sha256()).unwrap();
        let files = registry.adapter_files("safe").unwrap();
        assert_eq!(files.place, AdapterPlace::BuiltIn);
        assert_eq!(&*files.tensors, BUILT_IN[0].tensors);
        assert!(files.config.starts_with(b"{"));
        assert_eq!(registry.list().last().unwrap().presence, Presence::BuiltIn);
    }

    #[test]
    fn a_built_in_adapter_must_have_the_pinned_bytes() {
        let zeros = "0".repeat(64);
        let registry = registry("tiny", &zeros).unwrap();
        let error = registry.adapter_files("safe").unwrap_err().to_string();
        let expected = format!("has sha256 {}, but models.toml pins {zeros}", tiny_sha256());
        assert!(error.contains("built into the program: ") && error.contains(&expected), "{error}");
        assert_eq!(registry.list().last().unwrap().presence, Presence::Absent);
    }

    #[test]
    fn an_unknown_built_in_name_is_a_mistake_in_its_line() {
        let error = registry("tony", &tiny_sha256()).unwrap_err().to_string();
        assert!(error.contains("models.toml:7: no adapter `tony` is built into"), "{error}");
        assert!(error.contains("built in: tiny, "), "{error}");
    }
}
