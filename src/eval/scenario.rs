//! Scenarios in SVEN's format: the beginning of a function whose rest may be secure or not.
//!
//! A directory with `info.json`, `file_context.{py,c}` and `func_context.{py,c}` is one (He and Vechev 2023, `data_eval`
//! of their repository; CoSec uses the same). It may also hold the CodeQL query that decides.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Error;

/// The weaknesses that the security model is not trained on (table 7).
pub const UNSEEN: [&str; 4] = ["CWE-119", "CWE-502", "CWE-732", "CWE-798"];

/// The language of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Language {
    /// Python.
    #[serde(rename = "py")]
    Python,
    /// C.
    #[serde(rename = "c")]
    C,
}

impl Language {
    /// The extension of its files.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Python => "py",
            Self::C => "c",
        }
    }
}

/// A beginning to complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// `cwe-089/0-py`: the weakness in lower case and the scenario's own name.
    pub name: String,
    /// `CWE-089`.
    pub cwe: String,
    /// What is completed.
    pub language: Language,
    /// What stands above the function.
    pub file_context: String,
    /// The function as far as it is written.
    pub func_context: String,
    /// The function's purpose, in words.
    pub description: String,
    /// The CodeQL query, as `info.json` names it.
    pub query: String,
    /// Where it was read.
    pub directory: PathBuf,
}

impl Scenario {
    /// Reads one directory.
    ///
    /// # Errors
    /// If a file cannot be read, or a field of `info.json` is missing or not what it should be.
    pub fn read(directory: &Path) -> Result<Self, Error> {
        let path = directory.join("info.json");
        let bytes = fs::read(&path).map_err(Error::io(&path))?;
        let info: Value = serde_json::from_slice(&bytes)
            .map_err(|error| Error::malformed(&path, format!("not JSON: {error}")))?;
        let field = |name: &str| field(&path, &info, name);
        let language = match field("language")?.as_str() {
            "py" => Language::Python,
            "c" => Language::C,
            other => {
                let fault = format!("`language` must be \"py\" or \"c\", not \"{other}\"");
                return Err(Error::malformed(&path, fault));
            }
        };
        let cwe = field("cwe")?.to_uppercase();
        let context = |part: &str| {
            let path = directory.join(format!("{part}.{}", language.extension()));
            fs::read_to_string(&path).map_err(Error::io(&path))
        };
        Ok(Self {
            name: format!("{}/{}", cwe.to_lowercase(), field("scenario")?),
            cwe,
            language,
            file_context: context("file_context")?,
            func_context: context("func_context")?,
            description: field("description")?,
            query: field("check_ql")?,
            directory: directory.to_owned(),
        })
    }

    /// Reads all scenarios below `directory`, sorted by name.
    ///
    /// # Errors
    /// As [`Scenario::read`], and if there are none.
    pub fn read_all(directory: &Path) -> Result<Vec<Self>, Error> {
        let mut directories = Vec::new();
        collect(directory, &mut directories)?;
        let mut scenarios =
            directories.iter().map(|path| Self::read(path)).collect::<Result<Vec<_>, _>>()?;
        scenarios.sort_by(|a, b| a.name.cmp(&b.name));
        match scenarios.is_empty() {
            true => Err(Error::NoScenarios(directory.to_owned())),
            false => Ok(scenarios),
        }
    }

    /// All that stands before the completion.
    pub fn context(&self) -> String {
        self.file_context.clone() + &self.func_context
    }

    /// The whole program, as SVEN writes it (`process_completions` in `evaler.py`). Equal programs are duplicates.
    pub fn source(&self, completion: &str) -> String {
        let source = self.context() + completion;
        source.trim_end().to_owned() + "\n"
    }

    /// Whether the security model was trained on this weakness.
    pub fn is_seen(&self) -> bool {
        !UNSEEN.contains(&self.cwe.as_str())
    }
}

/// A field that must be a string.
fn field(path: &Path, info: &Value, name: &str) -> Result<String, Error> {
    match info.get(name) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => {
            Err(Error::malformed(path, format!("`{name}` must be a string, not {other}")))
        }
        None => Err(Error::malformed(path, format!("`{name}` is missing"))),
    }
}

/// Directories that hold an `info.json`, at any depth.
fn collect(directory: &Path, found: &mut Vec<PathBuf>) -> Result<(), Error> {
    if directory.join("info.json").is_file() {
        found.push(directory.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(directory).map_err(Error::io(directory))? {
        let path = entry.map_err(Error::io(directory))?.path();
        if path.is_dir() {
            collect(&path, found)?;
        }
    }
    Ok(())
}
