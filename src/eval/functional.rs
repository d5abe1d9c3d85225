//! Is a completed program correct? HumanEval's problems, whose tests are run on the generated code.
//!
//! The file is the one of Chen et al. 2021, a line of JSON per problem, packed or not. The program is the prompt and the
//! completion, cut at the function's end. Unlike in their `execution.py`, the problem's tests run in another process than
//! the program: the Python program `functional/tests.py` calls the completed function in `functional/function.py`, and
//! only values pass between them, so that generated code has nobody to talk to.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Error;
use super::completion::end_of_function;
use super::judge::find_python;
use super::mark::Mark;
use super::sandbox::{Ended, Limits, Program, Sandbox};
use super::scenario::Language;

/// The first bytes of a packed file.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Runs the tests.
const TESTS: &str =
    concat!(include_str!("functional/values.py"), include_str!("functional/tests.py"));

/// Runs the completed function.
const FUNCTION: &str =
    concat!(include_str!("functional/values.py"), include_str!("functional/function.py"));

/// A problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `HumanEval/0`.
    pub task_id: String,
    /// Imports, the function's head, and what it shall do; of a problem with a gap, all that stands before that.
    pub prompt: String,
    /// What stands after the gap; absent where nothing does.
    #[serde(default)]
    pub suffix: Option<String>,
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

    /// The program that a completion makes of the prompt.
    pub fn program(&self, completion: &str) -> String {
        format!("{}{completion}\n", self.prompt)
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

/// What `functional/tests.py` says.
#[derive(Deserialize)]
struct Verdict {
    passed: bool,
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
        let mark = Mark::new()?;
        let source = problem.program(completion);
        let program = Program {
            path: &self.python,
            arguments: &["-I", "-B", "-c", TESTS],
            files: &[],
            input: &format!("{}\n", json!([mark.as_str(), problem, source, FUNCTION])),
        };
        let run = self.sandbox.run(program, Limits::default())?;
        let verdict = mark.verdict(&run.stdout);
        Ok(run.ended == Ended::Exited(0) && verdict.is_ok_and(|Verdict { passed }| passed))
    }
}
