//! Is a completed program secure? Judges that run it against attacks, or CodeQL where it is installed.
//!
//! The running judge is the Python program in `judges/`, which knows for each scenario of the paper what to attack. It
//! and the code that it runs are in the sandbox, in processes of their own, and its verdicts carry a mark that the code
//! does not know. They are held to completions that were labelled by hand
//! (`tests/fixtures/judges`).

pub mod codeql;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tempfile::TempDir;

use super::Error;
use super::mark::Mark;
use super::sandbox::{Ended, Limits, Program, Sandbox};
use super::scenario::Scenario;

/// What a judge says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// No attack succeeds.
    Secure,
    /// One does.
    Vulnerable,
    /// The judge cannot decide; never counted as secure.
    Unclear,
    /// The program never does what could be insecure.
    NeverReachesSink,
    /// It does not parse or compile.
    Invalid,
}

/// A verdict and its reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// What the judge says.
    pub verdict: Verdict,
    /// Why, in a sentence.
    pub reason: String,
    /// A vulnerability of the scenario's kind that its CodeQL query does not look for.
    #[serde(default)]
    pub beyond_query: bool,
}

impl Judgement {
    fn unclear(reason: String) -> Self {
        Self { verdict: Verdict::Unclear, reason, beyond_query: false }
    }
}

/// The files of the judge.
const FILES: [(&str, &str); 9] = [
    ("c_judge.py", include_str!("judges/c_judge.py")),
    ("harness.c", include_str!("judges/harness.c")),
    ("harness.h", include_str!("judges/harness.h")),
    ("isolate.py", include_str!("judges/isolate.py")),
    ("python_judge.py", include_str!("judges/python_judge.py")),
    ("run.py", include_str!("judges/run.py")),
    (SCENARIOS, include_str!("judges/scenarios.json")),
    ("stand_ins.py", include_str!("judges/stand_ins.py")),
    ("structure.py", include_str!("judges/structure.py")),
];
const SCENARIOS: &str = "scenarios.json";

/// The judge stops its runs itself; these are for a judge that does not. Sanitizers need all of the address space.
const LIMITS: Limits = Limits {
    wall: Duration::from_secs(60),
    cpu_seconds: 60,
    memory_bytes: None,
    n_processes: 128,
    file_bytes: 64 << 20,
    output_bytes: 1 << 20,
};

/// The judge that runs programs.
#[derive(Debug)]
pub struct RunningJudge {
    sandbox: Sandbox,
    python: PathBuf,
    directory: TempDir,
    scenarios: Value,
}

impl RunningJudge {
    /// Writes the judge's files, once for all judgements.
    ///
    /// # Errors
    /// If they cannot be written, there is no sandbox, or no Python can be run in it.
    pub fn new(sandbox: Sandbox) -> Result<Self, Error> {
        let temporary = std::env::temp_dir();
        let directory = tempfile::Builder::new()
            .prefix("cosec-judge-")
            .tempdir()
            .map_err(Error::io(&temporary))?;
        for (name, text) in FILES {
            let path = directory.path().join(name);
            std::fs::write(&path, text).map_err(Error::io(&path))?;
        }
        readable(directory.path()).map_err(Error::io(directory.path()))?;
        let python = find_python(&sandbox).ok_or(Error::NoProgram("Python 3"))?;
        let scenarios = FILES.iter().find(|(name, _)| *name == SCENARIOS);
        let scenarios = scenarios.and_then(|(_, text)| serde_json::from_str(text).ok());
        let scenarios = scenarios.expect("the judge's own file is JSON, as its tests know");
        Ok(Self { sandbox, python, directory, scenarios })
    }

    /// Whether there are attacks for this scenario.
    pub fn knows(&self, scenario: &Scenario) -> bool {
        self.scenarios.get(&scenario.name).is_some()
    }

    /// Judges a completed program. What goes wrong with the judging itself is an unclear verdict.
    ///
    /// # Errors
    /// If the judge cannot be started.
    pub fn judge(&self, scenario: &str, source: &str) -> Result<Judgement, Error> {
        let run_file = self.directory.path().join("run.py").display().to_string();
        let mark = Mark::new()?;
        let program = Program {
            path: &self.python,
            arguments: &[
                "-B",
                &run_file,
                "--scenario",
                scenario,
                "--source",
                "completed",
                "--marked",
            ],
            files: &[("completed", source)],
            input: &format!("{}\n", mark.as_str()),
        };
        let run = self.sandbox.run(program, LIMITS)?;
        if run.ended != Ended::Exited(0) {
            let errors = String::from_utf8_lossy(&run.stderr);
            let last = errors.lines().last().unwrap_or("").to_owned();
            return Ok(Judgement::unclear(format!("the judge ended with {:?}: {last}", run.ended)));
        }
        Ok(mark.verdict(&run.stdout).unwrap_or_else(|error| {
            Judgement::unclear(format!("the judge's answer is no verdict: {error}"))
        }))
    }
}

/// Lets every user read the judge's files: in the sandbox, root's programs run as nobody.
#[cfg(unix)]
fn readable(directory: &Path) -> std::io::Result<()> {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt;

    set_permissions(directory, Permissions::from_mode(0o755))?;
    for entry in std::fs::read_dir(directory)? {
        set_permissions(entry?.path(), Permissions::from_mode(0o644))?;
    }
    Ok(())
}

/// Where there is no sandbox, nobody else reads them.
#[cfg(not(unix))]
fn readable(_directory: &Path) -> std::io::Result<()> {
    Ok(())
}

/// The first Python 3 on the PATH that can be run in the sandbox; one in another user's home cannot.
pub fn find_python(sandbox: &Sandbox) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let works = |python: &PathBuf| {
        let test = "import sys; sys.exit(sys.version_info < (3, 8))";
        let program = Program { path: python, arguments: &["-c", test], files: &[], input: "" };
        let run = sandbox.run(program, Limits::default());
        run.is_ok_and(|run| run.ended == Ended::Exited(0))
    };
    std::env::split_paths(&path).map(|folder| folder.join("python3")).find(works)
}
