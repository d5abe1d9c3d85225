//! Both models of a profile in memory, with the tokenizer that they share.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crate::config::{Decoding, Settings};
use crate::decode::CoDecoder;
use crate::decode::rng::Draws;
use crate::kernel::threads::Threads;
use crate::model::family::FILE_TOKENS;
use crate::model::gguf::Gguf;
use crate::model::lora::Adapter;
use crate::model::lora::peft::{self, PeftFiles};
use crate::model::{self, Decoder as _, LanguageModel, Tokenizer, Transformer, device, pair};
use crate::prompt::fim::{FileTokens, FimTokens, PromptBudget};
use crate::registry::manifest::{FimOrder, Model, Profile};
use crate::registry::{self, AdapterFiles, Missing, Progress, Registry};

use super::{LoadedProfile, ProfileSummary, panic};

/// A loaded profile.
#[derive(Debug)]
pub struct Pair {
    /// The model that is hardened.
    pub base: LanguageModel,
    /// The model that hardens it, with the adapter beside its weights if there is one; shares the weights with `base`
    /// where both are the same file.
    pub security: LanguageModel,
    /// What both speak.
    pub tokenizer: Tokenizer,
    /// Absent for models without fill-in-the-middle.
    pub fim: Option<FimTokens>,
    /// Tokens that end a completion, besides all special ones.
    pub stop_tokens: Vec<u32>,
    /// For status.
    pub profile: LoadedProfile,
}

impl Pair {
    /// Both models under a law.
    pub fn decoder(&self, law: Decoding, draws: Draws) -> CoDecoder<'_, LanguageModel> {
        CoDecoder { base: &self.base, security: &self.security, law, draws }
    }

    /// What of `budget` leaves room in the models' context for `max_tokens` decoded tokens, or for as many as fill half
    /// of it: it is the text that is decoded for.
    pub fn budget(&self, budget: PromptBudget, max_tokens: usize) -> PromptBudget {
        let context = self.base.context().min(self.security.context());
        budget.within(context.saturating_sub(max_tokens).max(context / 2))
    }
}

/// What to load.
#[derive(Clone, Copy, Debug)]
pub struct Choice<'a> {
    /// Compute threads; 0 takes one per physical core.
    pub threads: usize,
    /// Name of the profile.
    pub profile: &'a str,
    /// Name or directory of an adapter that takes the place of the profile's.
    pub adapter: Option<&'a str>,
    /// What the adapter's updates are multiplied by, beside its own strength in `models.toml`.
    pub adapter_strength: f32,
}

impl<'a> From<&'a Settings> for Choice<'a> {
    fn from(settings: &'a Settings) -> Self {
        let Settings { threads, profile, adapter, adapter_strength, .. } = settings;
        let (threads, adapter_strength) = (*threads, *adapter_strength);
        Self { threads, profile, adapter: adapter.as_deref(), adapter_strength }
    }
}

/// Where the engine's pair comes from: the [`Registry`], or what a test puts in its place.
///
/// What is on this machine and what is not are apart, since only the user may know whether the rest is to be fetched.
pub trait Load: Send + Sync + 'static {
    /// What would have to be fetched before a profile can be loaded. Asked before every try to load, so it must be quick.
    /// By default, nothing.
    ///
    /// # Errors
    /// If there is no such profile.
    fn missing(&self, _choice: Choice<'_>) -> Result<Missing, LoadError> {
        Ok(Missing::default())
    }

    /// Fetches what is missing. By default, does nothing.
    ///
    /// # Errors
    /// If something cannot be had, or `progress` says that nobody wants it any more.
    fn fetch(&self, _choice: Choice<'_>, _progress: &dyn Progress) -> Result<(), LoadError> {
        Ok(())
    }

    /// Both models of a profile; fetches nothing.
    ///
    /// # Errors
    /// If they are not here or cannot be used.
    fn load(&self, choice: Choice<'_>, progress: &dyn Progress) -> Result<Pair, LoadError>;

    /// The profiles that there are.
    fn profiles(&self) -> Vec<ProfileSummary> {
        Vec::new()
    }
}

impl Load for Registry {
    fn missing(&self, choice: Choice<'_>) -> Result<Missing, LoadError> {
        Ok(Self::missing(self, choice.profile)?)
    }

    fn fetch(&self, choice: Choice<'_>, progress: &dyn Progress) -> Result<(), LoadError> {
        let profile = self.profile(choice.profile)?;
        // Looked at before gigabytes are fetched for it.
        let _usable = adapter_of(self, profile, choice)?;
        for name in profile.models() {
            self.ensure(name, progress)?;
        }
        Ok(())
    }

    fn load(&self, choice: Choice<'_>, progress: &dyn Progress) -> Result<Pair, LoadError> {
        let find = |name: &str| self.find(name, progress);
        guarded(choice.profile, || get_and_load(self, choice, &find))
    }

    fn profiles(&self) -> Vec<ProfileSummary> {
        let summary = |profile: &Profile| ProfileSummary {
            name: profile.name.clone(),
            base: profile.base.clone(),
            security: profile.security.clone(),
        };
        self.profiles().map(summary).collect()
    }
}

impl LoadError {
    /// Whether a download would help.
    pub fn is_of_absence(&self) -> bool {
        matches!(self, Self::Registry(registry::Error::NotHere { .. }))
    }
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
    /// An adapter is none, or does not fit the security model.
    #[error("adapter `{name}`: {source}")]
    Adapter {
        /// Adapter name of `models.toml`, or its directory.
        name: String,
        /// The cause.
        source: peft::Error,
    },
    /// An adapter is for another model.
    #[error(transparent)]
    TrainedOn(#[from] Box<WrongModel>),
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
    /// The threads that load, or those that compute, cannot be started.
    #[error("cannot start threads: {0}")]
    Threads(io::Error),
    /// `models.toml` asks for what this version cannot do.
    #[error("{0}")]
    Unsupported(String),
    /// Reading panicked, as it does where a file says what nobody has thought of.
    #[error(
        "{name} cannot be read ({message}): the file may be damaged or of a kind that is not supported"
    )]
    Panicked {
        /// Name of the model or adapter; of the profile where neither is known.
        name: String,
        /// What the panic says.
        message: String,
    },
}

/// An adapter that was trained on another model than it is to stand beside.
#[derive(Debug, thiserror::Error)]
#[error(
    "adapter `{adapter}` was trained on `{trained_on}` with sha256 {trained_on_sha256}, but the security model \
     `{security}` has sha256 {security_sha256}"
)]
pub struct WrongModel {
    /// Adapter name of `models.toml`, or its directory.
    pub adapter: String,
    /// Name of the model that it was trained on.
    pub trained_on: String,
    /// That model's sha256.
    pub trained_on_sha256: String,
    /// Name of the profile's security model.
    pub security: String,
    /// This model's sha256.
    pub security_sha256: String,
}

/// Fetches what is missing of a profile's files and loads it. Never panics, whatever the files say.
///
/// # Errors
/// If a file cannot be had, is no usable model, or the two models do not speak the same tokens.
pub fn load(
    registry: &Registry,
    choice: Choice<'_>,
    progress: &dyn Progress,
) -> Result<Pair, LoadError> {
    let ensure = |name: &str| registry.ensure(name, progress);
    guarded(choice.profile, || get_and_load(registry, choice, &ensure))
}

/// Runs a step of loading; a panic becomes an error about `name`.
fn guarded<T>(name: &str, step: impl FnOnce() -> Result<T, LoadError>) -> Result<T, LoadError> {
    panic::catch(step).unwrap_or_else(|message| {
        tracing::error!(name, message, "a panic while files were read");
        Err(LoadError::Panicked { name: name.to_owned(), message })
    })
}

/// Loads a profile; `get` gives the file of a model.
fn get_and_load(
    registry: &Registry,
    choice: Choice<'_>,
    get: &dyn Fn(&str) -> Result<PathBuf, registry::Error>,
) -> Result<Pair, LoadError> {
    let profile = registry.profile(choice.profile)?;
    let adapter = adapter_of(registry, profile, choice)?;
    let adapter = adapter.map(|adapter| adapter.times(choice.adapter_strength));
    let (base_path, security_path) = (get(&profile.base)?, get(&profile.security)?);
    let started = Instant::now();
    let base_entry = registry.model(&profile.base)?;
    let files = open_both(profile, &base_path, &security_path)?;
    let n_threads = device::choose_threads(choice.threads);
    let threads = Arc::new(Threads::new(n_threads).map_err(LoadError::Threads)?);
    let loading = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build();
    let loading = loading.map_err(|error| LoadError::Threads(io::Error::other(error)))?;
    let loaded = loading.install(|| load_files(profile, &files, &threads))?;
    // The mapped files count as memory until they are closed.
    drop(files);
    let fim = fim_tokens(base_entry, &loaded.tokenizer)?;
    let stop_tokens = stop_tokens(base_entry, &loaded.tokenizer)?;
    let security = match &adapter {
        Some(adapter) => adapter.stand_beside(&loaded.security)?,
        None => loaded.security,
    };
    let mut pair = Pair {
        profile: describe(profile, &loaded.base, fim.is_some()),
        base: loaded.base,
        security,
        tokenizer: loaded.tokenizer,
        fim,
        stop_tokens,
    };
    if let Some(adapter) = adapter {
        pair.profile.adapter = Some(adapter.name);
        pair.profile.adapter_strength = adapter.strength;
    }
    pair.profile.load_seconds = started.elapsed().as_secs_f64();
    Ok(pair)
}

/// The adapter that is chosen, or the profile's own.
fn adapter_of(
    registry: &Registry,
    profile: &Profile,
    choice: Choice<'_>,
) -> Result<Option<Beside>, LoadError> {
    let adapter = choice.adapter.or(profile.adapter.as_deref());
    let open = |name| Beside::open(registry, name, registry.model(&profile.security)?);
    adapter.map(open).transpose()
}

/// An adapter that is to stand beside the security model.
struct Beside {
    name: String,
    files: PeftFiles,
    /// What its updates are multiplied by.
    strength: f32,
}

impl Beside {
    /// Reads the files, and compares the model that they are for with `security`.
    fn open(registry: &Registry, name: &str, security: &Model) -> Result<Self, LoadError> {
        let AdapterFiles { name, config, tensors, trained_on, strength, .. } =
            registry.adapter_files(name)?;
        let files = PeftFiles::new(config, tensors);
        let noted = files
            .trained_on()
            .map_err(|source| LoadError::Adapter { name: name.clone(), source })?;
        let listed = trained_on.map(|model| (model.model, model.model_sha256));
        let noted = noted.map(|model| (model.model, model.model_sha256));
        for (trained_on, trained_on_sha256) in listed.into_iter().chain(noted) {
            if trained_on_sha256 != security.sha256.as_str() {
                let wrong = WrongModel {
                    adapter: name,
                    trained_on,
                    trained_on_sha256,
                    security: security.name.clone(),
                    security_sha256: security.sha256.to_string(),
                };
                return Err(Box::new(wrong).into());
            }
        }
        Ok(Self { name, files, strength })
    }

    /// An error of the files, with the adapter's name.
    fn unusable(&self, source: peft::Error) -> LoadError {
        LoadError::Adapter { name: self.name.clone(), source }
    }

    /// As strong as `setting` times what it is by itself.
    fn times(self, setting: f32) -> Self {
        Self { strength: self.strength * setting, ..self }
    }

    /// The same weights, with the adapter beside them.
    fn stand_beside(&self, security: &LanguageModel) -> Result<LanguageModel, LoadError> {
        let read = || self.files.read(security.config(), security.device());
        let adapter = guarded(&self.name, || read().map_err(|source| self.unusable(source)))?;
        let beside = security.with_adapter(adapter.times(self.strength));
        beside.map_err(|source| LoadError::Model { name: self.name.clone(), source })
    }
}

/// The adapter of this name or in this directory, to be trained further on `weights`, which are those of `model`.
///
/// # Errors
/// If it cannot be had, is no usable adapter, or is for another model.
pub fn adapter(
    registry: &Registry,
    name: &str,
    model: &Model,
    weights: &Transformer,
) -> Result<Adapter, LoadError> {
    let beside = Beside::open(registry, name, model)?;
    let adapter = beside.files.read(weights.config(), weights.device());
    adapter.map_err(|source| beside.unusable(source))
}

/// The files of a pair; `security` is absent where both roles read the same one.
struct Files {
    base: Gguf,
    security: Option<Gguf>,
}

struct Loaded {
    base: LanguageModel,
    security: LanguageModel,
    tokenizer: Tokenizer,
}

fn open_both(profile: &Profile, base: &Path, security: &Path) -> Result<Files, LoadError> {
    let open = |name: &str, path: &Path| {
        let failed = |source| LoadError::Model { name: name.to_owned(), source };
        guarded(name, || Gguf::open(path).map_err(failed))
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
fn load_files(
    profile: &Profile,
    files: &Files,
    threads: &Arc<Threads>,
) -> Result<Loaded, LoadError> {
    let named = |name: &str| {
        let name = name.to_owned();
        move |source| LoadError::Model { name: name.clone(), source }
    };
    let device = device::select().map_err(named(&profile.base))?;
    let read = |name: &str, gguf: &Gguf| {
        guarded(name, || LanguageModel::load(gguf, &device, threads).map_err(named(name)))
    };
    let read_security = || files.security.as_ref().map(|gguf| read(&profile.security, gguf));
    let read_tokenizer = || Tokenizer::from_gguf(&files.base).map_err(named(&profile.base));
    let ((base, security), tokenizer) = rayon::join(
        || rayon::join(|| read(&profile.base, &files.base), read_security),
        || guarded(&profile.base, read_tokenizer),
    );
    let base = base?;
    let security = security.unwrap_or_else(|| Ok(base.clone()))?;
    Ok(Loaded { base, security, tokenizer: tokenizer? })
}

/// The tokens that frame a fill-in-the-middle prompt of `model`; none for models without it.
///
/// # Errors
/// If the model wants an order that is not supported, or its file has no token of a name.
pub fn fim_tokens(model: &Model, tokenizer: &Tokenizer) -> Result<Option<FimTokens>, LoadError> {
    let Some(fim) = &model.fim else { return Ok(None) };
    if fim.order != FimOrder::PrefixSuffixMiddle {
        let message = format!("{}: only prefix-suffix-middle prompts are supported", model.name);
        return Err(LoadError::Unsupported(message));
    }
    Ok(Some(FimTokens {
        prefix: special(model, &fim.prefix, tokenizer)?,
        suffix: special(model, &fim.suffix, tokenizer)?,
        middle: special(model, &fim.middle, tokenizer)?,
        file: file_tokens(tokenizer),
    }))
}

/// The tokens that say which file a prompt is of; none for models without them.
pub fn file_tokens(tokenizer: &Tokenizer) -> Option<FileTokens> {
    FILE_TOKENS.iter().find_map(|(repository, file)| {
        Some(FileTokens {
            repository: tokenizer.special(repository)?,
            file: tokenizer.special(file)?,
        })
    })
}

/// The tokens that end a completion of `model`, in the order of `models.toml`.
///
/// # Errors
/// If its file has no token of a name.
pub fn stop_tokens(model: &Model, tokenizer: &Tokenizer) -> Result<Vec<u32>, LoadError> {
    model.stop_tokens.iter().map(|name| special(model, name, tokenizer)).collect()
}

fn special(model: &Model, name: &str, tokenizer: &Tokenizer) -> Result<u32, LoadError> {
    tokenizer.special(name).ok_or_else(|| LoadError::Manifest {
        model: model.name.clone(),
        claim: format!("has the special token `{name}`"),
        fact: "the file has no special token of that name".to_owned(),
    })
}

fn describe(profile: &Profile, base: &LanguageModel, fill_in_middle: bool) -> LoadedProfile {
    LoadedProfile {
        profile: profile.name.clone(),
        base: profile.base.clone(),
        security: profile.security.clone(),
        adapter: None,
        adapter_strength: 1.0,
        device: device::name(base.device()),
        decoding: profile.decoding,
        fill_in_middle,
        load_seconds: 0.0,
    }
}
