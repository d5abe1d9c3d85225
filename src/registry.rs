//! `models.toml` → verified local files.
//!
//! [`Registry`] knows what there is ([`manifest`]) and what of it is on this machine (`store`), and fetches the rest from
//! the sources that an entry names, in order (`download`: `hub`, `pip`, or a local path). A path that it returns has had
//! its sha256 checked, and so have the bytes of an adapter ([`adapters`]). Everything blocks: servers call it from a
//! thread of their own.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

pub mod adapters;
pub mod manifest;
pub mod split;

mod download;
mod environment;
mod http;
mod hub;
mod pip;
mod store;

pub use adapters::{AdapterFiles, AdapterPlace};
pub use environment::Environment;
pub use manifest::{Adapter, Family, Fim, FimOrder, Model, Profile};

use download::{Job, Means, Reach};
use manifest::{Manifest, Source, known};
use store::Store;

/// Where the registry looks. The default is what a user without special wishes gets.
#[derive(Clone, Debug, Default)]
pub struct RegistryOptions {
    /// The user's `models.toml`. By default, the one in the configuration directory, if there is one.
    pub user_manifest: Option<PathBuf>,
    /// Where the files live. By default, `COSEC_MODELS_DIR`, or `cosec-ls/models` in the platform's cache directory.
    pub store: Option<PathBuf>,
    /// Whether sources beyond this machine may be asked. By default, they may, unless `HF_HUB_OFFLINE` says no.
    pub offline: Offline,
    /// The Python whose pip fetches wheels. By default, `COSEC_PYTHON`, or the first of `python3` and `python`.
    pub python: Option<PathBuf>,
    /// Address of the hub. By default, `HF_ENDPOINT`, or Hugging Face.
    pub hub_endpoint: Option<String>,
    /// The hub cache that other programs share. By default, `HF_HUB_CACHE`, `HF_HOME/hub`, or the one in the home
    /// directory.
    pub hub_cache: Option<PathBuf>,
    /// Variables about networks: proxies, certificates, tokens, `HF_HUB_OFFLINE`. By default, those of this process.
    pub environment: Option<Environment>,
}

/// Whether sources beyond this machine may be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Offline {
    /// They may.
    #[default]
    No,
    /// No socket is opened and pip is not started.
    Yes,
}

/// What there is, and where it is on this machine.
#[derive(Debug)]
pub struct Registry {
    manifest: Manifest,
    store: Store,
    means: Means,
}

/// Told how a pull goes, and asked whether it shall go on.
pub trait Progress: Sync {
    /// So many bytes of a file are here. May fall back when a source is given up.
    fn advance(&self, model: &str, done_bytes: u64, total_bytes: u64);

    /// Something that a person may want to know.
    fn note(&self, message: &str);

    /// Asked several times a second, from the pulling thread.
    fn is_cancelled(&self) -> bool;
}

/// Says nothing and never cancels.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn advance(&self, _model: &str, _done_bytes: u64, _total_bytes: u64) {}

    fn note(&self, _message: &str) {}

    fn is_cancelled(&self) -> bool {
        false
    }
}

/// A model or an adapter, and what of it is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Name in `models.toml`.
    pub name: String,
    /// Length of the complete file.
    pub size_bytes: u64,
    /// SPDX identifier.
    pub licence: String,
    /// Profiles that need it.
    pub profiles: Vec<String>,
    /// What of it is here.
    pub presence: Presence,
}

/// What of a file is on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Nothing.
    Absent,
    /// A pull was interrupted; the next one goes on from here.
    Partial {
        /// Bytes that need not be fetched again.
        bytes: u64,
    },
    /// There is a file, but it was not checked since it changed.
    Unverified(PathBuf),
    /// Complete, and its sha256 was right. The directory of an adapter.
    Ready(PathBuf),
    /// Inside the program.
    BuiltIn,
}

/// What of a profile's files is not on this machine and would have to be fetched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// The files, in the order in which they are fetched.
    pub models: Vec<MissingModel>,
    /// What forbids to fetch them: `--offline`, or a variable of the environment.
    pub forbidden_by: Option<String>,
}

/// A file that is not complete on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingModel {
    /// Name in `models.toml`.
    pub name: String,
    /// Length of the complete file.
    pub size_bytes: u64,
    /// What of it an interrupted pull left.
    pub here_bytes: u64,
}

impl Missing {
    /// What is still to be fetched.
    pub fn download_bytes(&self) -> u64 {
        let left = |model: &MissingModel| model.size_bytes.saturating_sub(model.here_bytes);
        self.models.iter().map(left).sum()
    }
}

/// What can go wrong between a name and a verified file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A `models.toml` that says something wrong.
    #[error("{}:{line}: {message}\n  {line} | {text}", file.display())]
    Manifest {
        /// The file.
        file: PathBuf,
        /// Counted from 1.
        line: usize,
        /// Names the field.
        message: String,
        /// The line.
        text: String,
    },
    /// A name that is not in `models.toml`.
    #[error("there is no {kind} `{name}`; known: {}", known.join(", "))]
    Unknown {
        /// `profile`, `model`, …
        kind: &'static str,
        /// What was asked for.
        name: String,
        /// What could have been.
        known: Vec<String>,
    },
    /// Neither the name of an adapter nor a directory.
    #[error("`{name}` is no directory and no adapter of models.toml; known: {}", none_or(known))]
    UnknownAdapter {
        /// What was asked for.
        name: String,
        /// What could have been.
        known: Vec<String>,
    },
    /// The platform names no cache directory.
    #[error("this machine names no cache directory; set COSEC_MODELS_DIR")]
    NoDirectory,
    /// A file or directory that cannot be used.
    #[error("{}: {cause}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        cause: io::Error,
    },
    /// The disk is full.
    #[error(
        "no space left in {}: `{name}` needs {needed_bytes} bytes more; what is complete stays, the next pull goes on \
         from there", directory.display()
    )]
    DiskFull {
        /// The store.
        directory: PathBuf,
        /// The file that did not fit.
        name: String,
        /// What is missing of it.
        needed_bytes: u64,
    },
    /// Not the bytes that `models.toml` pins.
    #[error(
        "wrong checksum from {from}: expected sha256 {expected}, got {got}; the file was not installed"
    )]
    Checksum {
        /// The source.
        from: String,
        /// Pinned in `models.toml`.
        expected: String,
        /// What came.
        got: String,
    },
    /// A source that has nothing to give, in its own words.
    #[error("{0}")]
    Source(String),
    /// A source beyond this machine.
    #[error("not tried, since `{setting}` is set")]
    Offline {
        /// `--offline`, or a variable of the environment.
        setting: String,
    },
    /// A source beyond this machine, where only this machine was looked at.
    #[error("not tried, since nothing was to be fetched")]
    NotTried,
    /// What is here of the file is not right, and no source beyond this machine was asked.
    #[error(
        "`{name}` is not on this machine; `cosec-ls models pull {name}` fetches it:{}",
        list(attempts)
    )]
    NotHere {
        /// The file.
        name: String,
        /// What each source said, in the order of `models.toml`.
        attempts: Vec<Attempt>,
    },
    /// No source could give the file.
    #[error("could not get `{name}`{}:{}", remedy(name, attempts), list(attempts))]
    Unavailable {
        /// The file.
        name: String,
        /// What each source said, in the order of `models.toml`.
        attempts: Vec<Attempt>,
    },
    /// A file that should be here is not.
    #[error("`{name}` is not in {}; fetch it with `cosec-ls models pull {name}`", directory.display())]
    Absent {
        /// The file.
        name: String,
        /// The store.
        directory: PathBuf,
    },
    /// [`Progress::is_cancelled`] said so.
    #[error("stopped; what is complete of `{name}` stays in {}, the next pull goes on from there", directory.display())]
    Cancelled {
        /// The file that was being fetched.
        name: String,
        /// The store.
        directory: PathBuf,
    },
}

/// A source that was tried in vain.
#[derive(Debug)]
pub struct Attempt {
    /// The source.
    pub source: String,
    /// What it said.
    pub error: Error,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.source, self.error)
    }
}

fn list(attempts: &[Attempt]) -> String {
    attempts.iter().map(|attempt| format!("\n  {attempt}")).collect()
}

/// What helps where a source beyond this machine might have had the file.
fn remedy(name: &str, attempts: &[Attempt]) -> String {
    let is_beyond =
        |attempt: &Attempt| matches!(attempt.error, Error::Source(_) | Error::Offline { .. });
    match attempts.iter().any(is_beyond) {
        true => format!("; `cosec-ls models pull {name}` tries again"),
        false => String::new(),
    }
}

fn none_or(names: &[String]) -> String {
    match names.is_empty() {
        true => "none".to_owned(),
        false => names.join(", "),
    }
}

impl Registry {
    /// Reads `models.toml`; touches no weights and creates nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Manifest`] or [`Error::Io`] for the user's file, [`Error::NoDirectory`] without a place for the store.
    pub fn open(options: RegistryOptions) -> Result<Self, Error> {
        let user_manifest = options.user_manifest.or_else(store::user_manifest);
        let environment = options.environment.unwrap_or_else(Environment::of_process);
        let offline = match options.offline {
            Offline::Yes => Some("--offline".to_owned()),
            Offline::No => environment.offline().map(|variable| variable.name.to_owned()),
        };
        Ok(Self {
            manifest: Manifest::load(user_manifest.as_deref())?,
            store: Store::new(options.store)?,
            means: Means {
                offline,
                python: pip::Python::new(options.python, &environment),
                hub: hub::Hub::new(options.hub_endpoint, options.hub_cache, environment),
            },
        })
    }

    /// A profile by its name.
    ///
    /// # Errors
    ///
    /// [`Error::Unknown`] lists the known ones.
    pub fn profile(&self, name: &str) -> Result<&Profile, Error> {
        let profiles = &self.manifest.profiles;
        profiles.get(name).ok_or_else(|| unknown("profile", name, known(profiles)))
    }

    /// A model by its name.
    ///
    /// # Errors
    ///
    /// [`Error::Unknown`] lists the known ones.
    pub fn model(&self, name: &str) -> Result<&Model, Error> {
        let models = &self.manifest.models;
        models.get(name).ok_or_else(|| unknown("model", name, known(models)))
    }

    /// An adapter by its name.
    ///
    /// # Errors
    ///
    /// [`Error::Unknown`] lists the known ones.
    pub fn adapter(&self, name: &str) -> Result<&Adapter, Error> {
        let adapters = &self.manifest.adapters;
        adapters.get(name).ok_or_else(|| unknown("adapter", name, known(adapters)))
    }

    /// The files of an adapter: of the entry of this name, checked against its sha256, or else of a directory that PEFT
    /// or our trainer wrote.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownAdapter`] if it is neither; [`Error::Unavailable`] says what is wrong with each source of an
    /// entry, [`Error::Io`] with the files of a directory.
    pub fn adapter_files(&self, name_or_directory: &str) -> Result<AdapterFiles, Error> {
        let known_adapters = &self.manifest.adapters;
        if let Some(adapter) = known_adapters.get(name_or_directory) {
            return adapters::read(adapter);
        }
        match Path::new(name_or_directory).is_dir() {
            true => adapters::open(name_or_directory),
            false => Err(Error::UnknownAdapter {
                name: name_or_directory.to_owned(),
                known: known(known_adapters),
            }),
        }
    }

    /// All profiles, by name.
    pub fn profiles(&self) -> impl Iterator<Item = &Profile> {
        self.manifest.profiles.values()
    }

    /// The files that a name stands for: a profile's files, or the model or adapter itself.
    ///
    /// # Errors
    ///
    /// [`Error::Unknown`] lists all names.
    pub fn files(&self, name: &str) -> Result<Vec<&str>, Error> {
        if let Some(profile) = self.manifest.profiles.get(name) {
            return Ok(profile.files());
        }
        let Manifest { models, adapters, profiles, .. } = &self.manifest;
        let model = models.get(name).map(|model| model.name.as_str());
        let adapter = || adapters.get(name).map(|adapter| adapter.name.as_str());
        if let Some(name) = model.or_else(adapter) {
            return Ok(vec![name]);
        }
        let names = [known(profiles), known(models), known(adapters)].concat();
        Err(unknown("profile or model", name, names))
    }

    /// The file of a model if it is complete and was verified; reads no more than its length and time.
    pub fn path_if_present(&self, name: &str) -> Option<PathBuf> {
        self.store.verified(&self.manifest.models.get(name)?.artifact())
    }

    /// The verified file of a model, fetched if need be.
    ///
    /// Several processes may ask at once: one fetches, the others wait and then find the file.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] says what each source said; [`Error::DiskFull`] and [`Error::Cancelled`] end the pull at
    /// once. In all three cases what is complete stays for the next pull.
    pub fn ensure(&self, name: &str, progress: &dyn Progress) -> Result<PathBuf, Error> {
        self.get(name, progress, Reach::Everywhere)
    }

    /// The verified file of a model, if it is on this machine, whose sources beyond it are not asked. A file that was not
    /// checked since it changed is read in full.
    ///
    /// # Errors
    ///
    /// [`Error::NotHere`] if it would have to be fetched; as [`Registry::ensure`] otherwise.
    pub fn find(&self, name: &str, progress: &dyn Progress) -> Result<PathBuf, Error> {
        self.get(name, progress, Reach::Here)
    }

    fn get(&self, name: &str, progress: &dyn Progress, reach: Reach) -> Result<PathBuf, Error> {
        let artifact = self.model(name)?.artifact();
        if let Some(path) = self.store.verified(&artifact) {
            return Ok(path);
        }
        let job = Job::new(artifact, &self.store, progress);
        let _lock = job.lock()?;
        if let Some(path) = self.store.verified(&artifact) {
            return Ok(path);
        }
        download::fetch(&job, &self.means, reach)
    }

    /// What of a profile's files would have to be fetched. Reads no more than names, lengths and times; a file that is
    /// here counts, whether it was checked or not.
    ///
    /// # Errors
    ///
    /// [`Error::Unknown`] lists the known profiles.
    pub fn missing(&self, profile: &str) -> Result<Missing, Error> {
        let mut models = Vec::new();
        for name in self.profile(profile)?.models() {
            let model = self.model(name)?;
            let artifact = model.artifact();
            let is_here = self.store.present(&artifact).is_some()
                || artifact.sources.iter().any(|source| self.means.has_here(source));
            // Without a source beyond this machine nothing can be fetched, and what is wrong is said when it is read.
            let is_remote = |source: &Source| !matches!(source, Source::Path(_));
            if is_here || !artifact.sources.iter().any(is_remote) {
                continue;
            }
            models.push(MissingModel {
                name: model.name.clone(),
                size_bytes: model.size_bytes,
                here_bytes: self.store.begun_bytes(&artifact),
            });
        }
        Ok(Missing { models, forbidden_by: self.means.offline.clone() })
    }

    /// Reads the whole file of a model again and checks its sha256.
    ///
    /// # Errors
    ///
    /// [`Error::Absent`] if there is no file, [`Error::Checksum`] if it is not the right one; it then counts as
    /// unverified.
    pub fn verify(&self, name: &str) -> Result<PathBuf, Error> {
        let artifact = self.model(name)?.artifact();
        let Some(path) = self.store.present(&artifact) else {
            return Err(Error::Absent {
                name: name.to_owned(),
                directory: self.store.directory().to_owned(),
            });
        };
        let job = Job::new(artifact, &self.store, &Silent);
        let _lock = job.lock()?;
        self.store.forget(&artifact)?;
        job.verify(&path, "the store")?;
        Ok(path)
    }

    /// Removes the file of a model and what an interrupted pull left; a file outside the store is only forgotten.
    /// Returns the bytes that became free.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if something cannot be removed.
    pub fn remove(&self, name: &str) -> Result<u64, Error> {
        let artifact = self.model(name)?.artifact();
        let job = Job::new(artifact, &self.store, &Silent);
        let _lock = job.lock()?;
        self.store.remove(&artifact)
    }

    /// All models and adapters, by name, models first.
    pub fn list(&self) -> Vec<Listed> {
        let model = |model: &Model| Listed {
            name: model.name.clone(),
            size_bytes: model.size_bytes,
            licence: model.licence.clone(),
            profiles: self.used_by(&model.name),
            presence: self.store.presence(&model.artifact()),
        };
        let adapter = |adapter: &Adapter| Listed {
            name: adapter.name.clone(),
            size_bytes: adapter.size_bytes,
            licence: adapter.licence.clone(),
            profiles: self.used_by(&adapter.name),
            presence: adapters::presence(adapter),
        };
        let models = self.manifest.models.values().map(model);
        models.chain(self.manifest.adapters.values().map(adapter)).collect()
    }

    /// Where the files live.
    pub fn directory(&self) -> &Path {
        self.store.directory()
    }

    fn used_by(&self, name: &str) -> Vec<String> {
        let using = self.profiles().filter(|profile| profile.files().contains(&name));
        using.map(|profile| profile.name.clone()).collect()
    }
}

fn unknown(kind: &'static str, name: &str, known: Vec<String>) -> Error {
    Error::Unknown { kind, name: name.to_owned(), known }
}
