//! Scenarios from disk, and mistakes in them.

use std::fs;

use cosec_ls::eval::scenario::{Language, Scenario};

use super::write_scenario;

const INFO: &str = r#"{"language": "py", "cwe": "CWE-089", "scenario": "0-py", "check_ql": "a.ql", "description": "d"}"#;

#[test]
fn a_scenario_is_what_its_files_say() {
    let directory = tempfile::tempdir().unwrap();
    write_scenario(&directory.path().join("a/b"), INFO, ["import x\n", "def f():"]);
    write_scenario(
        &directory.path().join("c"),
        &INFO.replace("\"py\"", "\"c\"").replace("089", "119").replace("0-py", "1-c"),
        ["#include <stdio.h>\n", "int f() {"],
    );
    let scenarios = Scenario::read_all(directory.path()).unwrap();
    let names: Vec<&str> = scenarios.iter().map(|scenario| scenario.name.as_str()).collect();
    assert_eq!(names, ["cwe-089/0-py", "cwe-119/1-c"]);
    assert_eq!(scenarios[0].source("\n    return 1\n\n"), "import x\ndef f():\n    return 1\n");
    assert_eq!(scenarios[1].language, Language::C);
    assert_eq!(scenarios.iter().map(Scenario::is_seen).collect::<Vec<_>>(), [true, false]);
}

/// What reading a scenario with this `info.json` says, without its directory.
#[track_caller]
fn check(info: &str, expected: &str) {
    let directory = tempfile::tempdir().unwrap();
    write_scenario(directory.path(), info, ["", ""]);
    let message = Scenario::read(directory.path()).unwrap_err().to_string();
    let place = directory.path().display().to_string() + "/";
    assert_eq!(message.replace(&place, ""), expected);
}

#[test]
fn mistakes_have_a_file_and_a_field() {
    check("{", "info.json: not JSON: EOF while parsing an object at line 1 column 1");
    check(
        &INFO.replace("\"py\"", "\"rb\""),
        "info.json: `language` must be \"py\" or \"c\", not \"rb\"",
    );
    check(&INFO.replace("\"cwe\"", "\"cve\""), "info.json: `cwe` is missing");
    check(&INFO.replace("\"0-py\"", "0"), "info.json: `scenario` must be a string, not 0");
}

#[test]
fn a_missing_context_is_named() {
    let directory = tempfile::tempdir().unwrap();
    write_scenario(directory.path(), INFO, ["", ""]);
    fs::remove_file(directory.path().join("func_context.py")).unwrap();
    let message = Scenario::read(directory.path()).unwrap_err().to_string();
    assert!(message.contains("func_context.py: "), "{message}");
}

#[test]
fn a_directory_without_scenarios_says_what_was_expected() {
    let directory = tempfile::tempdir().unwrap();
    let message = Scenario::read_all(directory.path()).unwrap_err().to_string();
    assert!(message.starts_with("no scenarios in "), "{message}");
    assert!(message.contains("info.json"), "{message}");
}
