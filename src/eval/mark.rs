//! The mark of a run: what tells a judge's verdict from a text that the code under judgement printed.
//!
//! A judge gets it on its standard input, closes that before anything generated runs, and says it again with its verdict.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Error;

/// Random bits of a mark.
const BYTES: usize = 16;

/// Where they come from; there are sandboxes on Linux only.
const RANDOM: &str = "/dev/urandom";

/// A word that nobody guesses, for one run.
#[derive(Debug)]
pub(super) struct Mark(String);

/// What a judge says, with the mark.
#[derive(Deserialize)]
struct Marked<T> {
    mark: String,
    #[serde(flatten)]
    verdict: T,
}

impl Mark {
    /// Draws one.
    ///
    /// # Errors
    /// If the system has no randomness to give.
    pub(super) fn new() -> Result<Self, Error> {
        let mut bytes = [0; BYTES];
        let read = File::open(RANDOM).and_then(|mut file| file.read_exact(&mut bytes));
        read.map_err(Error::io(Path::new(RANDOM)))?;
        Ok(Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The verdict in a judge's output, which must be all of it, and marked.
    ///
    /// # Errors
    /// If it is no verdict, or another's.
    pub(super) fn verdict<T: DeserializeOwned>(&self, output: &[u8]) -> Result<T, io::Error> {
        let marked: Marked<T> = serde_json::from_slice(output)?;
        match marked.mark == self.0 {
            true => Ok(marked.verdict),
            false => Err(io::Error::other("it has not the mark of this run")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Verdict {
        passed: bool,
    }

    #[test]
    fn a_verdict_needs_the_mark_of_its_own_run() {
        let mark = Mark("a1".to_owned());
        let verdict = |output: &str| mark.verdict::<Verdict>(output.as_bytes()).ok();
        assert_eq!(verdict(r#"{"mark": "a1", "passed": true}"#), Some(Verdict { passed: true }));
        for wrong in [
            r#"{"passed": true}"#,
            r#"{"mark": "a2", "passed": true}"#,
            r#"{"mark": "", "passed": true}"#,
            r#"{"mark": "a1", "passed": true}{"mark": "a1", "passed": true}"#,
            r#"all tests passed {"mark": "a1", "passed": true}"#,
            "all tests passed",
            "",
        ] {
            assert_eq!(verdict(wrong), None, "{wrong}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn no_two_runs_share_a_mark() {
        let [a, b] = [Mark::new().unwrap(), Mark::new().unwrap()];
        assert_ne!(a.as_str(), b.as_str());
        assert_eq!(a.as_str().len(), 2 * BYTES);
    }
}
