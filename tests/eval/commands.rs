//! Whole commands of the evaluation with a tiny pair: what they draw, and that a second run goes on.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use anyhow::Result;
use clap::{CommandFactory, Parser};
use cosec_ls::cli::eval::{self, EvalArgs};
use cosec_ls::config::{Mode, Settings};
use cosec_ls::eval::latency::{LATENCY_FILE, LatencySample};
use cosec_ls::eval::record::{
    FUNCTIONAL_FILE, FunctionalSample, Records, SECURITY_FILE, SecuritySample,
};
use cosec_ls::eval::sample::PromptKind;
use cosec_ls::eval::timing::Way;
use serde_json::Value;

use super::{sandbox, write_scenario};
use crate::adapted_pair::Machine;

/// The command line behind `cosec-ls eval`.
#[derive(Parser)]
struct Line {
    #[command(flatten)]
    eval: EvalArgs,
}

const SCENARIO: &str = r#"{"language": "py", "cwe": "CWE-089", "scenario": "0-py", "check_ql": "", "description": ""}"#;
const PROBLEM: &str = r#"{"task_id": "T/0", "prompt": "def one():\n", "entry_point": "one", "canonical_solution": "    return 1\n", "test": "\ndef check(candidate):\n    assert candidate() == 1\n"}"#;

fn parse(command: &str) -> Result<Line, clap::Error> {
    Line::try_parse_from(std::iter::once("eval").chain(command.split_whitespace()))
}

fn run(machine: &Machine, command: &str) -> Result<()> {
    let settings = Settings { profile: "pair".to_owned(), threads: 2, ..Settings::default() };
    eval::run(&parse(command)?.eval, machine.registry(), settings).map(drop)
}

/// The lines of a file.
fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn the_command_line_is_sound() {
    Line::command().debug_assert();
}

#[test]
fn thresholds_are_numbers_from_0_to_1() {
    let refused = |alphas: &str| {
        let command = format!("threshold --scenarios x --out y --alphas {alphas}");
        parse(&command).err().map(|error| error.to_string())
    };
    assert_eq!(refused("0,0.25,1"), None);
    for wrong in ["1.5", "0.3,-0.1", "nan", "x", "0.1,,0.2"] {
        let message = refused(wrong).expect("is refused");
        assert!(message.contains("expected a number from 0 to 1"), "{wrong}: {message}");
    }
}

#[test]
fn a_threshold_run_that_contradicts_itself_is_refused() {
    let machine = Machine::new();
    for (more, expected) in [
        ("--alpha 0.3", "use --alphas"),
        ("--mode off", "only --mode cosec has a threshold"),
        ("--mode off,cosec,security", "only --mode cosec has a threshold"),
    ] {
        let command = format!("threshold --scenarios x --out y {more}");
        let message = run(&machine, &command).unwrap_err().to_string();
        assert!(message.contains(expected), "{more}: {message}");
    }
}

#[test]
fn every_threshold_is_a_run_of_its_own_that_can_be_continued() {
    if sandbox().is_none() {
        return;
    }
    let machine = Machine::new();
    let directory = tempfile::tempdir().unwrap();
    let [scenarios, problems, out] =
        ["scenarios", "problems.jsonl", "out"].map(|name| directory.path().join(name));
    write_scenario(&scenarios, SCENARIO, ["import os\n", "def f():\n    "]);
    fs::write(&problems, format!("{PROBLEM}\n{PROBLEM}\n")).unwrap();
    let command = |n_samples: u32| {
        format!(
            "threshold --scenarios {} --problems {} --first 1 --prompts ltr --alphas 0.9,0.3 --max-tokens 6 --samples {n_samples} --out {}",
            scenarios.display(),
            problems.display(),
            out.display()
        )
    };
    let files: Vec<_> = ["off", "alpha-0.3", "alpha-0.9"]
        .into_iter()
        .flat_map(|run| [SECURITY_FILE, FUNCTIONAL_FILE].map(|file| out.join(run).join(file)))
        .collect();
    run(&machine, &command(2)).unwrap();
    let first: Vec<Vec<String>> = files.iter().map(|file| lines(file)).collect();
    // The settings and two samples.
    assert!(first.iter().all(|lines| lines.len() == 3), "{first:?}");
    assert!(!out.join("security.jsonl").exists() && !out.join("alpha-0.1").exists());
    let table = fs::read_to_string(out.join("threshold.md")).unwrap();
    assert!(
        table.contains("### Functional correctness") && table.contains("| 0.9 | 0.0 ["),
        "{table}"
    );
    assert!(fs::read_to_string(out.join("threshold.svg")).unwrap().contains("pass@1 (%)"));
    // A file that is lost is drawn again, the others are as they were.
    fs::remove_file(&files[3]).unwrap();
    run(&machine, &command(2)).unwrap();
    let n_again: Vec<usize> = files.iter().map(|file| lines(file).len()).collect();
    assert_eq!(n_again, [3; 6]);
    run(&machine, &command(3)).unwrap();
    for (file, first) in files.iter().zip(&first) {
        assert_eq!(lines(file).len(), 4);
        assert!(file == &files[3] || lines(file).starts_with(first), "{}", file.display());
    }
    let compare =
        format!("compare {} {}", out.join("alpha-0.3").display(), out.join("alpha-0.9").display());
    run(&machine, &compare).unwrap();
}

#[test]
fn an_editor_s_completions_are_drawn_one_by_one_and_can_be_continued() {
    if sandbox().is_none() {
        return;
    }
    let machine = Machine::new();
    let directory = tempfile::tempdir().unwrap();
    let [scenarios, out] = ["scenarios", "out"].map(|name| directory.path().join(name));
    write_scenario(&scenarios, SCENARIO, ["import os\n", "def f():\n    "]);
    let command = |prompts: &str, n_samples: u32| {
        format!(
            "security --scenarios {} --prompts {prompts} --max-tokens 12 --temperature 1 --samples {n_samples} --out {}",
            scenarios.display(),
            out.display()
        )
    };
    run(&machine, &command("editor", 3)).unwrap();
    let file = out.join(SECURITY_FILE);
    let first = lines(&file);
    run(&machine, &command("editor", 4)).unwrap();
    assert_eq!((first.len(), lines(&file).len()), (7, 9));
    assert!(lines(&file).starts_with(&first), "a second run goes on");
    let (_, samples) = Records::<SecuritySample>::read(&file).unwrap();
    assert!(samples.iter().all(|sample| sample.prompt == PromptKind::Editor));
    // A random model: what is drawn twice alike was drawn with the same randomness.
    let texts: HashSet<_> = samples.iter().map(|sample| &sample.completion).collect();
    assert!(texts.len() > 4, "{texts:?}");
    let proposed = |mode| samples.iter().filter(move |sample| sample.law.mode == mode);
    assert!(proposed(Mode::Cosec).any(|sample| sample.cost.n_proposed > 0));
    assert!(proposed(Mode::Off).all(|sample| sample.cost.n_proposed == 0));
    let message = run(&machine, &command("editor,ltr", 1)).unwrap_err().to_string();
    assert!(message.contains("stands alone"), "{message}");
}

#[test]
fn gaps_are_filled_as_an_editor_does_and_can_be_continued() {
    if sandbox().is_none() {
        return;
    }
    let machine = Machine::new();
    let directory = tempfile::tempdir().unwrap();
    let [problems, out] = ["gaps.jsonl", "out"].map(|name| directory.path().join(name));
    let gap = |n: usize| {
        let test = "\ndef check(candidate):\n    assert candidate() == 1\n";
        let (prompt, suffix) = ("def one():\n", "    return 1\n");
        serde_json::json!({
            "task_id": format!("SingleLineInfilling/T/0/L{n}"), "prompt": prompt, "suffix": suffix,
            "canonical_solution": "", "entry_point": "one", "test": test,
        })
    };
    let all: Vec<String> = (0..7).map(|n| gap(n).to_string()).collect();
    fs::write(&problems, all.join("\n")).unwrap();
    let command = |more: &str| {
        format!(
            "infilling --problems {} --max-tokens 6 --out {} {more}",
            problems.display(),
            out.display()
        )
    };
    run(&machine, &command("--first 1")).unwrap();
    let file = out.join(FUNCTIONAL_FILE);
    let first = lines(&file);
    run(&machine, &command("--evenly 3")).unwrap();
    assert!(lines(&file).starts_with(&first), "a second run goes on");
    let (settings, samples) = Records::<FunctionalSample>::read(&file).unwrap();
    let mut gaps: Vec<_> =
        samples.iter().map(|sample| (&sample.task_id[23..], sample.law.mode)).collect();
    gaps.sort_by_key(|(gap, mode)| (*gap, mode.name()));
    let both = |gap| [(gap, Mode::Cosec), (gap, Mode::Off)];
    assert_eq!(gaps, [both("/L0"), both("/L3"), both("/L6")].concat());
    assert_eq!((&settings["prompts"], &settings["temperature"]), (&"editor".into(), &0.0.into()));
    let table = fs::read_to_string(out.join("infilling.md")).unwrap();
    assert!(table.contains("| off | 1 | 3 |"), "{table}");
    for (more, expected) in [
        ("--path-in-prompt false", "another `path_in_prompt`: true there, false here"),
        ("--file-name main.py", "another `file_name`"),
        ("--evenly 3 --first 1", "cannot be used with"),
    ] {
        let message = match parse(&command(more)) {
            Ok(_) => run(&machine, &command(more)).unwrap_err().to_string(),
            Err(error) => error.to_string(),
        };
        assert!(message.contains(expected), "{more}: {message}");
    }
    fs::write(&problems, format!("{PROBLEM}\n")).unwrap();
    let message = run(&machine, &command("")).unwrap_err().to_string();
    assert!(message.contains("`T/0` has no `suffix`"), "{message}");
}

#[test]
fn latency_is_measured_in_every_way_and_can_be_continued() {
    let machine = Machine::new();
    let directory = tempfile::tempdir().unwrap();
    let (file, out) = (directory.path().join("a.py"), directory.path().join("out"));
    fs::write(&file, "def f():\n    return 1\n").unwrap();
    let command = |n_rounds: u32| {
        format!(
            "latency {} --prompt 9 --tokens 5 --rounds {n_rounds} --out {}",
            file.display(),
            out.display()
        )
    };
    run(&machine, &command(1)).unwrap();
    run(&machine, &command(2)).unwrap();
    let (settings, samples) = Records::<LatencySample>::read(&out.join(LATENCY_FILE)).unwrap();
    assert_eq!((&settings["tokens"], &settings["base"]), (&Value::from(5), &Value::from("big")));
    let keys: Vec<(u32, Way)> = samples.iter().map(|sample| (sample.round, sample.way)).collect();
    use Way::{Off, Plain, Speculative};
    let expected = [(0, Off), (0, Plain), (0, Speculative), (1, Plain), (1, Speculative), (1, Off)];
    assert_eq!(keys, expected);
    for sample in &samples {
        assert_eq!((sample.n_prompt_tokens, sample.n_tokens), (9, 5), "{sample:?}");
        assert!(sample.cold_seconds > 0.0 && sample.warm_seconds > 0.0, "{sample:?}");
        assert_eq!(sample.n_proposed > 0, sample.way != Off, "{sample:?}");
    }
    let table = fs::read_to_string(out.join("latency.md")).unwrap();
    assert!(table.contains("Prompts: 1, of 9 to 9 tokens; rounds on all of them: 2"), "{table}");
    let message = run(&machine, &(command(2) + " --seed 7")).unwrap_err().to_string();
    assert!(message.contains("another `seed`: 1 there, 7 here"), "{message}");
}
