//! Both models of a profile in memory, with the tokenizer that they share.

use std::path::Path;
use std::time::Instant;

use crate::model::gguf::Gguf;
use crate::model::{self, Tokenizer, Transformer, device, pair};
use crate::prompt::fim::FimTokens;
use crate::registry::manifest::{Fim, FimOrder, Model, Profile};
use crate::registry::{Progress, Registry};

use super::LoadedProfile;

/// A loaded profile.
#[derive(Debug)]
pub struct Pair {
    /// The model that is hardened.
    pub base: Transformer,
    /// The model that hardens it; shares its weights with `base` where both are the same file.
    pub security: Transformer,
    /// What both speak.
    pub tokenizer: Tokenizer,
    /// Absent for models without fill-in-the-middle.
    pub fim: Option<FimTokens>,
    /// Tokens that end a completion, besides all special ones.
    pub stop_tokens: Vec<u32>,
    /// For status.
    pub profile: LoadedProfile,
}

/// Why a profile cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The registry does not know it, or cannot get its files.
    #[error(transparent)]
    Registry(#[from] crate::registry::Error),
    /// A file is no usable model.
    #[error("{name}: {source}")]
    Model {
        /// Model name of `models.toml`.
        name: String,
        /// The cause.
        source: model::Error,
    },
    /// `models.toml` and the file do not fit together.
    #[error("models.toml says that `{model}` {claim}, but {fact}")]
    Manifest {
        /// Model name.
        model: String,
        /// What is written.
        claim: String,
        /// What is so.
        fact: String,
    },
    /// `models.toml` asks for what this version cannot do.
    #[error("{0}")]
    Unsupported(String),
}

/// Fetches what is missing of a profile's files and loads it.
///
/// # Errors
/// If a file cannot be had, is no usable model, or the two models do not speak the same tokens.
pub fn load(
    registry: &Registry,
    profile: &str,
    progress: &dyn Progress,
) -> Result<Pair, LoadError> {
    let profile = registry.profile(profile)?;
    let base_path = registry.ensure(&profile.base, progress)?;
    let security_path = registry.ensure(&profile.security, progress)?;
    if let Some(adapter) = &profile.adapter {
        let message = format!("adapter `{adapter}`: adapters are not supported by this version");
        return Err(LoadError::Unsupported(message));
    }
    let started = Instant::now();
    let base_entry = registry.model(&profile.base)?;
    let files = open_both(profile, &base_path, &security_path)?;
    let loaded = load_files(profile, &files)?;
    // The mapped files count as memory until they are closed.
    drop(files);
    let fim = match &base_entry.fim {
        Some(fim) => Some(fim_tokens(base_entry, fim, &loaded.tokenizer)?),
        None => None,
    };
    let stop_tokens = stop_tokens(base_entry, &loaded.tokenizer)?;
    let mut pair = Pair {
        profile: describe(profile, &loaded.base, fim.is_some()),
        base: loaded.base,
        security: loaded.security,
        tokenizer: loaded.tokenizer,
        fim,
        stop_tokens,
    };
    pair.profile.load_seconds = started.elapsed().as_secs_f64();
    Ok(pair)
}

/// The files of a pair; `security` is absent where both roles read the same one.
struct Files {
    base: Gguf,
    security: Option<Gguf>,
}

struct Loaded {
    base: Transformer,
    security: Transformer,
    tokenizer: Tokenizer,
}

fn open_both(profile: &Profile, base: &Path, security: &Path) -> Result<Files, LoadError> {
    let open = |name: &str, path: &Path| {
        Gguf::open(path).map_err(|source| LoadError::Model { name: name.to_owned(), source })
    };
    if profile.base == profile.security {
        return Ok(Files { base: open(&profile.base, base)?, security: None });
    }
    let (base_file, security_file) =
        rayon::join(|| open(&profile.base, base), || open(&profile.security, security));
    let (base_file, security_file) = (base_file?, security_file?);
    let name = format!("{} + {}", profile.base, profile.security);
    pair::check(&base_file, &security_file).map_err(|source| LoadError::Model { name, source })?;
    Ok(Files { base: base_file, security: Some(security_file) })
}

/// Reads both models and the tokenizer at the same time, on the threads of the calling pool.
fn load_files(profile: &Profile, files: &Files) -> Result<Loaded, LoadError> {
    let named = |name: &str| {
        let name = name.to_owned();
        move |source| LoadError::Model { name: name.clone(), source }
    };
    let device = device::select().map_err(named(&profile.base))?;
    let read = |gguf: &Gguf| Transformer::load(gguf, &device);
    let ((base, security), tokenizer) = rayon::join(
        || rayon::join(|| read(&files.base), || files.security.as_ref().map(read)),
        || Tokenizer::from_gguf(&files.base),
    );
    let base = base.map_err(named(&profile.base))?;
    let security = match security {
        Some(security) => security.map_err(named(&profile.security))?,
        None => base.clone(),
    };
    Ok(Loaded { base, security, tokenizer: tokenizer.map_err(named(&profile.base))? })
}

fn fim_tokens(model: &Model, fim: &Fim, tokenizer: &Tokenizer) -> Result<FimTokens, LoadError> {
    if fim.order != FimOrder::PrefixSuffixMiddle {
        let message = format!("{}: only prefix-suffix-middle prompts are supported", model.name);
        return Err(LoadError::Unsupported(message));
    }
    Ok(FimTokens {
        prefix: special(model, &fim.prefix, tokenizer)?,
        suffix: special(model, &fim.suffix, tokenizer)?,
        middle: special(model, &fim.middle, tokenizer)?,
    })
}

fn stop_tokens(model: &Model, tokenizer: &Tokenizer) -> Result<Vec<u32>, LoadError> {
    model.stop_tokens.iter().map(|name| special(model, name, tokenizer)).collect()
}

fn special(model: &Model, name: &str, tokenizer: &Tokenizer) -> Result<u32, LoadError> {
    tokenizer.special(name).ok_or_else(|| LoadError::Manifest {
        model: model.name.clone(),
        claim: format!("has the special token `{name}`"),
        fact: "the file has no special token of that name".to_owned(),
    })
}

fn describe(profile: &Profile, base: &Transformer, fill_in_middle: bool) -> LoadedProfile {
    LoadedProfile {
        profile: profile.name.clone(),
        base: profile.base.clone(),
        security: profile.security.clone(),
        adapter: profile.adapter.clone(),
        device: device::name(base.device()),
        decoding: profile.decoding,
        fill_in_middle,
        load_seconds: 0.0,
    }
}
