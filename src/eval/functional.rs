//! Is a completed program correct? HumanEval's problems, whose tests are run on the generated code.
//!
//! The file is the one of Chen et al. 2021, a line of JSON per problem, packed or not. The program is the prompt, the
//! completion cut at the function's end, and the problem's own tests (`check_correctness` in their `execution.py`).

use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use serde::Deserialize;

use super::Error;
use super::completion::end_of_function;
use super::judge::find_python;
use super::sandbox::{Ended, Limits, Program, Sandbox};
use super::scenario::Language;

/// The first bytes of a packed file.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// What a program that passes ends with, since a program that leaves early ends well, too.
const PASSED: &str = "cosec-ls: all tests passed";

/// A problem.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Problem {
    /// `HumanEval/0`.
    pub task_id: String,
    /// Imports, the function's head, and what it shall do.
    pub prompt: String,
    /// A function `check` that raises where its argument is wrong.
    pub test: String,
    /// The function's name.
    pub entry_point: String,
    /// A right completion.
    pub canonical_solution: String,
}

impl Problem {
    /// Reads a file of problems.
    ///
    /// # Errors
    /// If it cannot be read, or a line is no problem.
    pub fn read_all(path: &Path) -> Result<Vec<Self>, Error> {
        let text = unpacked(path).map_err(Error::io(path))?;
        let read = |(line, number): (&str, usize)| {
            serde_json::from_str(line).map_err(|error| {
                Error::malformed(path, format!("line {number}: no problem: {error}"))
            })
        };
        let lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
        lines.map(read).collect()
    }

    /// The program that runs the tests on a completion.
    pub fn program(&self, completion: &str) -> String {
        let Self { prompt, test, entry_point, .. } = self;
        format!("{prompt}{completion}\n{test}\ncheck({entry_point})\nprint({PASSED:?})\n")
    }
}

fn unpacked(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let mut start = [0; 2];
    let n = file.read(&mut start)?;
    file.rewind()?;
    let mut text = String::new();
    match start[..n] == GZIP {
        true => GzDecoder::new(file).read_to_string(&mut text)?,
        false => file.read_to_string(&mut text)?,
    };
    Ok(text)
}

/// The completion up to the end of the function.
pub fn cut(completion: &str) -> &str {
    let end = end_of_function(completion, Language::Python);
    &completion[..end.unwrap_or(completion.len())]
}

/// Runs problems' tests.
#[derive(Debug)]
pub struct Tester {
    sandbox: Sandbox,
    python: PathBuf,
}

impl Tester {
    /// Looks for a Python that can be run in `sandbox`.
    ///
    /// # Errors
    /// If there is none.
    pub fn new(sandbox: Sandbox) -> Result<Self, Error> {
        let python = find_python(&sandbox).ok_or(Error::NoProgram("Python 3"))?;
        Ok(Self { sandbox, python })
    }

    /// Whether the completion passes the problem's tests within ten seconds.
    ///
    /// # Errors
    /// If Python cannot be started.
    pub fn passes(&self, problem: &Problem, completion: &str) -> Result<bool, Error> {
        let program = Program {
            path: &self.python,
            arguments: &["-B", "program.py"],
            files: &[("program.py", &problem.program(completion))],
        };
        let run = self.sandbox.run(program, Limits::default())?;
        let last = String::from_utf8_lossy(&run.stdout);
        Ok(run.ended == Ended::Exited(0) && last.trim_end().ends_with(PASSED))
    }
}
