//! HumanEval's format, and its tests run on completions.

use std::fs;
use std::io::Write as _;

use cosec_ls::eval::functional::{Problem, Tester, cut};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::sandbox;

const LINE: &str = r#"{"task_id": "T/0", "prompt": "def add(a, b):\n    \"\"\"The sum.\"\"\"\n", "entry_point": "add", "canonical_solution": "    return a + b\n", "test": "\ndef check(candidate):\n    assert candidate(2, 3) == 5\n"}"#;

fn problem() -> Problem {
    serde_json::from_str(LINE).unwrap()
}

#[test]
fn problems_are_read_packed_or_not() {
    let directory = tempfile::tempdir().unwrap();
    let (plain, packed) = (directory.path().join("a.jsonl"), directory.path().join("a.jsonl.gz"));
    fs::write(&plain, format!("{LINE}\n{LINE}\n")).unwrap();
    let mut encoder = GzEncoder::new(fs::File::create(&packed).unwrap(), Compression::fast());
    encoder.write_all(LINE.as_bytes()).unwrap();
    encoder.finish().unwrap();
    assert_eq!(Problem::read_all(&plain).unwrap(), [problem(), problem()]);
    assert_eq!(Problem::read_all(&packed).unwrap(), [problem()]);
    fs::write(&plain, format!("{LINE}\n{{}}\n")).unwrap();
    let message = Problem::read_all(&plain).unwrap_err().to_string();
    assert!(message.contains("line 2: no problem: missing field `task_id`"), "{message}");
}

#[test]
fn a_completion_passes_if_its_tests_do() {
    let Some(sandbox) = sandbox() else { return };
    let Ok(tester) = Tester::new(sandbox) else {
        eprintln!("skipped: no Python");
        return;
    };
    let problem = problem();
    let passes = |completion: &str| tester.passes(&problem, cut(completion)).unwrap();
    assert!(passes(&problem.canonical_solution));
    assert!(passes("    return a + b\n\nassert add(1, 1) == 3\n"), "cut behind the function");
    assert!(!passes("    return a - b\n"));
    assert!(!passes("    return (\n"));
    assert!(!passes("    import os\n    os._exit(0)\n"), "leaving early is not passing");
    assert!(!passes("    while True: pass\n"), "never ends");
}
