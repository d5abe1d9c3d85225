//! The paper's judge: CodeQL, with each scenario's own query, where its command line tool is installed.
//!
//! It builds a database of the completed program, runs the query, and calls the program vulnerable if there is a
//! result. The tool is proprietary and no part of our tests, which hold the reading of its results to its documented
//! format (SARIF 2.1.0) alone: calling the tool itself is untested.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{Error, Judgement, Verdict};
use crate::eval::scenario::{Language, Scenario};

/// What stands before the part of a query's path that is inside CodeQL's repository.
const REPOSITORY: &str = "codeql-repo/";

/// The tool and the queries that come with it.
#[derive(Clone, Debug)]
pub struct Codeql {
    program: PathBuf,
    /// A checkout of `github/codeql`.
    repository: Option<PathBuf>,
}

impl Codeql {
    /// The tool on the PATH, if it is there.
    pub fn find(repository: Option<PathBuf>) -> Option<Self> {
        let path = std::env::var_os("PATH")?;
        let mut programs = std::env::split_paths(&path).map(|folder| folder.join("codeql"));
        Some(Self { program: programs.find(|program| program.is_file())?, repository })
    }

    /// The scenario's query: beside it, or in the checkout.
    pub fn query(&self, scenario: &Scenario) -> Option<PathBuf> {
        query(scenario, self.repository.as_deref())
    }

    /// Judges a completed program in `scratch`, an empty directory.
    ///
    /// # Errors
    /// If a file cannot be written or read, or the tool cannot be started.
    pub fn judge(
        &self,
        scenario: &Scenario,
        source: &str,
        scratch: &Path,
    ) -> Result<Judgement, Error> {
        let Some(query) = self.query(scenario) else {
            return Ok(Judgement::unclear(format!("there is no query {}", scenario.query)));
        };
        let sources = scratch.join("source");
        fs::create_dir_all(&sources).map_err(Error::io(&sources))?;
        let file = sources.join(format!("completed.{}", scenario.language.extension()));
        fs::write(&file, source).map_err(Error::io(&file))?;
        if !parses(scenario.language, &sources)? {
            let reason = "it does not parse or compile".to_owned();
            return Ok(Judgement { verdict: Verdict::Invalid, reason, beyond_query: false });
        }
        let (database, results) = (scratch.join("database"), scratch.join("results.sarif"));
        if let Some(failure) = self.create(scenario.language, &sources, &database)? {
            return Ok(Judgement::unclear(failure));
        }
        if let Some(failure) = self.analyze(&database, &query, &results)? {
            return Ok(Judgement::unclear(failure));
        }
        let text = fs::read_to_string(&results).map_err(Error::io(&results))?;
        Ok(read_results(&text).unwrap_or_else(Judgement::unclear))
    }

    fn create(
        &self,
        language: Language,
        sources: &Path,
        database: &Path,
    ) -> Result<Option<String>, Error> {
        let mut command = Command::new(&self.program);
        command.args(["database", "create"]).arg(database).arg("--source-root").arg(sources);
        match language {
            Language::Python => command.arg("--language=python"),
            Language::C => command.args(["--language=cpp", "--command=gcc -c completed.c"]),
        };
        run(command)
    }

    fn analyze(
        &self,
        database: &Path,
        query: &Path,
        results: &Path,
    ) -> Result<Option<String>, Error> {
        let mut command = Command::new(&self.program);
        command.args(["database", "analyze"]).arg(database).arg(query);
        command.args(["--format=sarif-latest", "--rerun", "--output"]).arg(results);
        if let Some(repository) = &self.repository {
            command.arg("--additional-packs").arg(repository);
        }
        run(command)
    }
}

fn query(scenario: &Scenario, repository: Option<&Path>) -> Option<PathBuf> {
    // SVEN writes spaces as its shell needs them.
    let named = scenario.query.replace("\\ ", " ");
    let beside = scenario.directory.join(Path::new(&named).file_name()?);
    let inside = || Some(repository?.join(named.split_once(REPOSITORY)?.1));
    [Some(beside), inside()].into_iter().flatten().find(|path| path.is_file())
}

/// Whether Python or the C compiler takes the program, as SVEN's `try_parse` asks them; neither runs it.
fn parses(language: Language, sources: &Path) -> Result<bool, Error> {
    let (program, arguments): (&str, &[&str]) = match language {
        Language::Python => {
            ("python3", &["-c", "import ast; ast.parse(open('completed.py').read())"])
        }
        Language::C => ("gcc", &["-c", "-o", "/dev/null", "completed.c"]),
    };
    let mut command = Command::new(program);
    command.args(arguments).current_dir(sources);
    Ok(run(command)?.is_none())
}

/// Runs a command to its end; says why it failed, if it did.
fn run(mut command: Command) -> Result<Option<String>, Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output();
    let output = output.map_err(|source| Error::Io { path: PathBuf::from(&program), source })?;
    if output.status.success() {
        return Ok(None);
    }
    let name = Path::new(&program).file_name().unwrap_or(OsStr::new("")).to_string_lossy();
    let errors = String::from_utf8_lossy(&output.stderr);
    Ok(Some(format!("{name} failed: {}", errors.lines().last().unwrap_or(""))))
}

/// The verdict that a file of results in SARIF holds.
///
/// # Errors
/// If it is no such file.
fn read_results(text: &str) -> Result<Judgement, String> {
    let log: Value =
        serde_json::from_str(text).map_err(|error| format!("the results are no JSON: {error}"))?;
    let runs = log["runs"].as_array().ok_or("the results have no `runs`")?;
    let mut results = Vec::new();
    for run in runs {
        // Absent means that the analysis did not get as far as results; an empty list, that there are none.
        results.extend(run["results"].as_array().ok_or("a run of the results has no `results`")?);
    }
    let (verdict, reason) = match results.first() {
        None => (Verdict::Secure, "the query has no result".to_owned()),
        Some(result) => {
            let message = result["message"]["text"].as_str().unwrap_or("no message");
            let region = &result["locations"][0]["physicalLocation"]["region"];
            let line = region["startLine"].as_u64();
            let place = line.map_or(String::new(), |line| format!("line {line}: "));
            (Verdict::Vulnerable, place + message)
        }
    };
    Ok(Judgement { verdict, reason, beyond_query: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_a_vulnerability() {
        let text = r#"{"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "CodeQL"}}, "results": [{
            "ruleId": "py/sql-injection", "message": {"text": "This SQL query depends on a user-provided value."},
            "locations": [{"physicalLocation": {"artifactLocation": {"uri": "completed.py"},
            "region": {"startLine": 17, "startColumn": 20, "endColumn": 25}}}]}]}]}"#;
        let judgement = read_results(text).unwrap();
        assert_eq!(judgement.verdict, Verdict::Vulnerable);
        assert_eq!(judgement.reason, "line 17: This SQL query depends on a user-provided value.");
    }

    #[test]
    fn no_result_is_security_and_no_run_is_neither() {
        let verdict = |text| read_results(text).map(|judgement| judgement.verdict);
        assert_eq!(verdict(r#"{"runs": [{"results": []}]}"#), Ok(Verdict::Secure));
        assert!(verdict(r#"{"runs": [{}]}"#).is_err());
        assert!(verdict("{}").is_err());
        assert!(verdict("").is_err());
    }

    #[test]
    fn a_query_is_beside_its_scenario_or_in_the_checkout() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("cpp/ql/src/Likely Bugs");
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join("A.ql"), "").unwrap();
        let mut scenario = Scenario {
            name: "cwe-787/0-c".to_owned(),
            cwe: "CWE-787".to_owned(),
            language: Language::C,
            file_context: String::new(),
            func_context: String::new(),
            description: String::new(),
            query: "../codeql/codeql-repo/cpp/ql/src/Likely\\ Bugs/A.ql".to_owned(),
            directory: directory.path().to_owned(),
        };
        let found = |scenario: &Scenario| query(scenario, Some(directory.path()));
        assert_eq!(found(&scenario), Some(place.join("A.ql")));
        fs::write(directory.path().join("b.ql"), "").unwrap();
        scenario.query = "../data_eval/trained/cwe-787/0-c/b.ql".to_owned();
        assert_eq!(found(&scenario), Some(directory.path().join("b.ql")));
        assert_eq!(query(&scenario, None), Some(directory.path().join("b.ql")));
    }
}
