//! Samples on disk, one per line of JSON, so that a run that was stopped goes on where it was.
//!
//! The first line holds the settings. A run with other ones is refused: its samples would not be comparable.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Error;
use super::judge::Judgement;
use super::sample::{PromptKind, SampleEnd};
use crate::config::Decoding;

/// The file of security samples in a run's directory.
pub const SECURITY_FILE: &str = "security.jsonl";

/// The file of functional samples in a run's directory.
pub const FUNCTIONAL_FILE: &str = "functional.jsonl";

/// What decoding one sample took.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Decoded tokens.
    pub n_tokens: usize,
    /// Proposals of the security model.
    pub n_proposed: usize,
    /// Accepted proposals.
    pub n_accepted: usize,
    /// Tokens that are not the base's own choice.
    pub n_interventions: usize,
    /// From the prompt's evaluation, where it was not there, to the end.
    pub seconds: f64,
    /// Why it ended.
    pub end: SampleEnd,
}

/// A completion of a scenario, judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SecuritySample {
    /// `cwe-089/0-py`.
    pub scenario: String,
    /// `CWE-089`.
    pub cwe: String,
    /// How the beginning was shown.
    pub prompt: PromptKind,
    /// Who chose the tokens, and how.
    pub law: Decoding,
    /// Which of the scenario's samples this is, from 0 on.
    pub sample: u32,
    /// What was decoded, up to the end of the function.
    pub completion: String,
    /// What the judge says of it.
    pub judgement: Judgement,
    /// What it took.
    pub cost: Cost,
}

/// A completion of a problem, tested.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FunctionalSample {
    /// `HumanEval/0`.
    pub task_id: String,
    /// Who chose the tokens, and how.
    pub law: Decoding,
    /// Which of the problem's samples this is, from 0 on.
    pub sample: u32,
    /// What was decoded, up to the end of the function.
    pub completion: String,
    /// Whether the problem's tests pass.
    pub passed: bool,
    /// What it took.
    pub cost: Cost,
}

/// A file of samples.
#[derive(Debug)]
pub struct Records<T> {
    path: PathBuf,
    file: File,
    samples: Vec<T>,
}

impl<T: Serialize + DeserializeOwned> Records<T> {
    /// Opens or begins the file at `path`, for a run with `settings`. A last line that was not wholly written is dropped.
    ///
    /// # Errors
    /// If it cannot be read or written, a line is no sample, or the settings differ.
    pub fn open(path: &Path, settings: &Map<String, Value>) -> Result<Self, Error> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(Error::io(path)(error)),
        };
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        let file =
            OpenOptions::new().create(true).append(true).open(path).map_err(Error::io(path))?;
        file.set_len(whole.len() as u64).map_err(Error::io(path))?;
        let mut records = Self { path: path.to_owned(), file, samples: Vec::new() };
        if whole.is_empty() {
            records.write(&json!({ "settings": settings }))?;
            return Ok(records);
        }
        let (noted, samples) = parse(path, whole)?;
        compare(path, &noted, settings)?;
        records.samples = samples;
        Ok(records)
    }

    /// Reads a file: its settings and its samples.
    ///
    /// # Errors
    /// If it cannot be read, or a line is no sample.
    pub fn read(path: &Path) -> Result<(Map<String, Value>, Vec<T>), Error> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        parse(path, text.rfind('\n').map_or("", |end| &text[..=end]))
    }

    /// All samples, in the order in which they were added.
    pub fn samples(&self) -> &[T] {
        &self.samples
    }

    /// Adds a sample, on disk first.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn add(&mut self, sample: T) -> Result<(), Error> {
        self.write(&sample)?;
        self.samples.push(sample);
        Ok(())
    }

    fn write(&mut self, value: &impl Serialize) -> Result<(), Error> {
        let mut line = serde_json::to_vec(value)
            .map_err(|error| Error::malformed(&self.path, format!("cannot be written: {error}")))?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(Error::io(&self.path))
    }
}

/// The settings and the samples of a file of whole lines.
fn parse<T: DeserializeOwned>(
    path: &Path,
    text: &str,
) -> Result<(Map<String, Value>, Vec<T>), Error> {
    let mut lines = text.lines().zip(1..);
    let first = lines.next().and_then(|(line, _)| serde_json::from_str::<Value>(line).ok());
    let settings = first.and_then(|mut first| match first["settings"].take() {
        Value::Object(settings) => Some(settings),
        _ => None,
    });
    let settings = settings
        .ok_or_else(|| Error::malformed(path, "line 1: the settings of a run are missing"))?;
    let sample = |(line, number): (&str, usize)| {
        serde_json::from_str(line)
            .map_err(|error| Error::malformed(path, format!("line {number}: no sample: {error}")))
    };
    Ok((settings, lines.map(sample).collect::<Result<_, _>>()?))
}

/// Names the first setting that differs.
fn compare(path: &Path, was: &Map<String, Value>, is: &Map<String, Value>) -> Result<(), Error> {
    match differences(was, is).next() {
        None => Ok(()),
        Some(Difference { field, was, is }) => {
            Err(Error::OtherSettings { path: path.to_owned(), field, was, is })
        }
    }
}

/// A setting that two runs do not share; `none` where one of them has no such setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its name.
    pub field: String,
    /// In the first run.
    pub was: String,
    /// In the second run.
    pub is: String,
}

/// What differs between the settings of two runs, in the order of the second one's names.
pub fn differences<'a>(
    was: &'a Map<String, Value>,
    is: &'a Map<String, Value>,
) -> impl Iterator<Item = Difference> + use<'a> {
    let text = |value: Option<&Value>| value.map_or("none".to_owned(), Value::to_string);
    let fields = is.keys().chain(was.keys().filter(|field| !is.contains_key(*field)));
    let differing = fields.filter(|field| was.get(*field) != is.get(*field));
    differing.map(move |field| {
        let (was, is) = (text(was.get(field)), text(is.get(field)));
        Difference { field: field.clone(), was, is }
    })
}
