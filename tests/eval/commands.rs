//! Whole commands of the evaluation with a tiny pair: what they draw, and that a second run goes on.

use std::fs;

use anyhow::Result;
use clap::{CommandFactory, Parser};
use cosec_ls::cli::eval::{self, EvalArgs};
use cosec_ls::config::Settings;
use cosec_ls::eval::latency::{LATENCY_FILE, LatencySample};
use cosec_ls::eval::record::Records;
use cosec_ls::eval::timing::Way;
use serde_json::Value;

use crate::adapted_pair::Machine;

/// The command line behind `cosec-ls eval`.
#[derive(Parser)]
struct Line {
    #[command(flatten)]
    eval: EvalArgs,
}

fn parse(command: &str) -> Result<Line, clap::Error> {
    Line::try_parse_from(std::iter::once("eval").chain(command.split_whitespace()))
}

fn run(machine: &Machine, command: &str) -> Result<()> {
    let settings = Settings { profile: "pair".to_owned(), threads: 2, ..Settings::default() };
    eval::run(&parse(command)?.eval, machine.registry(), settings).map(drop)
}

#[test]
fn the_command_line_is_sound() {
    Line::command().debug_assert();
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
