//! HumanEval's format, and its tests run on completions.

use std::fs;
use std::io::Write as _;

use cosec_ls::eval::functional::{Problem, Tester, cut};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::sandbox;
use crate::support::skips::skipped;

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
        return skipped("no Python");
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

/// Bodies of `add` that do not add, and say otherwise. `REPORT` is what the tests' own process would say.
const LIARS: [(&str, &str); 18] = [
    (
        "print what passing once looked like",
        "print('cosec-ls: all tests passed')\nraise SystemExit(0)",
    ),
    ("print a verdict", "print('REPORT')\nimport os\nos._exit(0)"),
    (
        "write a verdict to every descriptor",
        "import os\nfor n in range(256):\n    try:\n        os.write(n, b'REPORT')\n    except OSError:\n        pass\nos._exit(0)",
    ),
    (
        "write a verdict to the parent's descriptors",
        "import os\nfor n in range(16):\n    try:\n        open(f'/proc/{os.getppid()}/fd/{n}', 'w').write('REPORT')\n    except OSError:\n        pass",
    ),
    (
        "look for the mark in the parent",
        "import os\nreturn open(f'/proc/{os.getppid()}/mem', 'rb').read(1)",
    ),
    ("equal everything", "class Yes(int):\n    __eq__ = lambda self, other: True\nreturn Yes(1)"),
    (
        "equal everything as an object",
        "class Yes:\n    __eq__ = lambda self, other: True\nreturn Yes()",
    ),
    (
        "replace the tests",
        "import sys\nframe = sys._getframe()\nwhile frame:\n    frame.f_globals['check'] = print\n    frame = frame.f_back",
    ),
    (
        "make failing harmless",
        "import builtins\nbuiltins.AssertionError = builtins.Exception\nreturn 0",
    ),
    (
        "leave well with a last word",
        "import atexit\natexit.register(print, 'REPORT')\nraise SystemExit",
    ),
    (
        "leave well by a signal",
        "import os, signal\nsignal.signal(signal.SIGTERM, lambda *a: os._exit(0))\nos.kill(0, signal.SIGTERM)",
    ),
    ("end the parent", "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)"),
    ("leave another process behind", "import os\nif os.fork():\n    os._exit(0)\nprint('REPORT')"),
    ("close all descriptors", "import os\nos.closerange(0, 256)"),
    ("raise what the tests might expect", "raise AssertionError('REPORT')"),
    ("return without an end", "x = []\nfor _ in range(100000):\n    x = [x]\nreturn x"),
    (
        "flood everything",
        "import os\nwhile True:\n    os.write(1, b'REPORT' * 999)\n    os.write(4, b'{}' * 999)",
    ),
    (
        "write over the files beside it",
        "import os\nfor name in os.listdir('.'):\n    open(name, 'w').write('REPORT')",
    ),
];

#[test]
fn a_completion_cannot_talk_its_tests_into_passing() {
    let Some(sandbox) = sandbox() else { return };
    let Ok(tester) = Tester::new(sandbox) else {
        eprintln!("skipped: no Python");
        return;
    };
    let report = r#"{"mark": "", "passed": true, "reason": null}"#;
    for (what, body) in LIARS {
        let body = body.replace("REPORT", report).replace('\n', "\n    ");
        let passed = tester.passes(&problem(), &format!("    {body}\n")).unwrap();
        assert!(!passed, "completions that {what}");
    }
}

#[test]
fn values_of_all_kinds_reach_the_tests_as_they_are() {
    let Some(sandbox) = sandbox() else { return };
    let Ok(tester) = Tester::new(sandbox) else {
        eprintln!("skipped: no Python");
        return;
    };
    let checked = |test: &str, body: &str| {
        let test = format!("\ndef check(candidate):\n    {}\n", test.replace('\n', "\n    "));
        let problem = Problem { test, ..problem() };
        tester.passes(&problem, &format!("    {}\n", body.replace('\n', "\n    "))).unwrap()
    };
    for value in [
        "[1, (2.5, 'é\\ud800'), {'a': {3, 4}}, None, True]",
        "10 ** 5000",
        "float('inf')",
        "b'\\x00'",
        "3 + 4j",
        "range(3)",
    ] {
        let test = format!(
            "value = candidate(0, 0)\nassert value == {value} and type(value) is type({value})"
        );
        assert!(checked(&test, &format!("return {value}")), "{value}");
    }
    assert!(checked("x = [3, 1]\ncandidate(x, 0)\nassert x == [1, 3]", "a.sort()"), "in place");
    let raises = "try:\n    candidate(1, 0)\n    assert False\nexcept ZeroDivisionError:\n    pass";
    assert!(checked(raises, "return a / b") && !checked(raises, "return 0"));
    assert!(checked("assert candidate(a=1, b=2) == 3", "return a + b"), "by name");
    assert!(checked("assert sorted(candidate([2, 1], 0)) == [1, 2]", "yield_ = a\nreturn yield_"));
    assert!(!checked("assert candidate(1, 2)", "return lambda: 1"), "a function is no value");
}
