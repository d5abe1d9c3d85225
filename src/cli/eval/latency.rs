//! `cosec-ls eval latency`: the time of 20 tokens and of the first one, with and without hardening (table 8).

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use indicatif::HumanDuration;
use serde_json::{Map, Value, json};

use crate::config::{Settings, ranges};
use crate::engine::pair::{self, Pair};
use crate::eval::latency::{LATENCY_FILE, LatencySample, Models, TimedPrompt, measure, table};
use crate::eval::record::Records;
use crate::eval::scenario::Scenario;
use crate::eval::timing::{Drawing, Stopwatch, Way};
use crate::model::device;
use crate::registry::Registry;

use super::number;
use super::plan::Bar;
use crate::cli::output::{out, remark};
use crate::cli::progress::Terminal;
use crate::files;

/// Arguments of `cosec-ls eval latency`.
#[derive(Debug, Args)]
pub struct LatencyArgs {
    /// Files whose beginnings are the prompts; without any, a file of this program
    #[arg(conflicts_with = "scenarios")]
    files: Vec<PathBuf>,
    /// Directory of scenarios in SVEN's format, whose beginnings are the prompts
    #[arg(long, value_name = "DIR")]
    scenarios: Option<PathBuf>,
    /// Where measurements and the table go; a run with the same settings goes on with what is there [default: nowhere]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Most tokens of a prompt, left to right
    #[arg(long, default_value_t = 256, value_parser = ranges::PROMPT_TOKENS.parser::<usize>())]
    prompt: usize,
    /// Tokens to decode; the table has the time of 20 of them
    #[arg(long, default_value_t = 20, value_parser = ranges::MAX_TOKENS.parser::<usize>())]
    tokens: usize,
    /// Rounds over all ways of decoding, on every prompt
    #[arg(long, default_value_t = 5, value_parser = ranges::TIMES.parser::<u32>())]
    rounds: u32,
    /// Temperature of both roles
    #[arg(long, default_value_t = 0.4, value_parser = ranges::TEMPERATURE.parser::<f32>())]
    temperature: f32,
    /// Equal seeds give equal tokens
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What is decoded when no file is given.
const SAMPLE: (&str, &str) = ("src/complete.rs of this program", include_str!("../../complete.rs"));

/// What tells a measurement from all others of a run.
type Key = (String, u32, Way);

/// Measures what is missing, and prints the table.
///
/// # Errors
/// If prompts or models cannot be had, or a model fails.
pub fn run(args: &LatencyArgs, registry: &Registry, settings: &Settings) -> Result<ExitCode> {
    if args.prompt == 0 || args.tokens == 0 || args.rounds == 0 {
        bail!("--prompt, --tokens and --rounds must be at least 1");
    }
    let texts = texts(args)?;
    let pair = pair::load(registry, settings.into(), &Terminal::new())?;
    let prompts = prompts(args, &texts, &pair)?;
    // Without a directory, the measurements are kept as long as the run.
    let scratch = tempfile::tempdir().context("cannot make a temporary directory")?;
    let out = args.out.as_deref().unwrap_or(scratch.path());
    std::fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    let of_run = run_settings(args, &pair, settings.threads);
    let mut records = Records::open(&out.join(LATENCY_FILE), &of_run)?;
    fill(args, &pair, &prompts, &mut records)?;
    conclude(out, &pair, records.samples())
}

/// Names and texts of the prompts.
fn texts(args: &LatencyArgs) -> Result<Vec<(String, String)>> {
    if let Some(directory) = &args.scenarios {
        let scenarios = Scenario::read_all(directory)?.into_iter();
        return Ok(scenarios.map(|scenario| (scenario.name.clone(), scenario.context())).collect());
    }
    if args.files.is_empty() {
        return Ok(vec![(SAMPLE.0.to_owned(), SAMPLE.1.to_owned())]);
    }
    let read = |path: &PathBuf| {
        let name = path.display().to_string();
        Ok((name.clone(), std::fs::read_to_string(path).context(name)?))
    };
    args.files.iter().map(read).collect()
}

fn prompts(
    args: &LatencyArgs,
    texts: &[(String, String)],
    pair: &Pair,
) -> Result<Vec<TimedPrompt>> {
    let mut prompts = Vec::new();
    for (name, text) in texts {
        let mut tokens = pair.tokenizer.encode(text)?;
        tokens.truncate(args.prompt);
        if tokens.is_empty() {
            bail!("{name} is empty");
        }
        prompts.push(TimedPrompt { name: name.clone(), tokens });
    }
    Ok(prompts)
}

/// What must be the same for measurements to be of one run.
fn run_settings(args: &LatencyArgs, pair: &Pair, threads: usize) -> Map<String, Value> {
    let profile = &pair.profile;
    let all = [
        ("base", json!(profile.base)),
        ("security", json!(profile.security)),
        ("adapter", json!(profile.adapter)),
        ("adapter_strength", number(profile.adapter_strength)),
        ("device", json!(profile.device)),
        ("threads", json!(device::choose_threads(threads))),
        ("temperature", number(args.temperature)),
        ("alpha", number(profile.decoding.alpha)),
        ("ratio", json!(profile.decoding.ratio)),
        ("prompt", json!(args.prompt)),
        ("tokens", json!(args.tokens)),
        ("seed", json!(args.seed)),
    ];
    all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Measures what the run does not have: round by round, on every prompt all ways in turn.
fn fill(
    args: &LatencyArgs,
    pair: &Pair,
    prompts: &[TimedPrompt],
    records: &mut Records<LatencySample>,
) -> Result<()> {
    let key = |sample: &LatencySample| (sample.prompt.clone(), sample.round, sample.way);
    let done: HashSet<Key> = records.samples().iter().map(key).collect();
    let turns = (0..args.rounds).flat_map(|round| {
        prompts.iter().flat_map(move |prompt| turn(round).map(|way| (prompt, round, way)))
    });
    let missing: Vec<_> = turns
        .filter(|(prompt, round, way)| !done.contains(&(prompt.name.clone(), *round, *way)))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut stopwatch = Stopwatch::new(pair);
    let seconds = warm_up(args, &mut stopwatch, &prompts[0])?;
    remark(format_args!(
        "{} measurements, {} are there: about {}",
        missing.len(),
        done.len(),
        HumanDuration(Duration::from_secs_f64(seconds * missing.len() as f64))
    ));
    let mut bar = Bar::new(missing.len() as u64);
    for (prompt, round, way) in missing {
        let drawing = args.drawing(way, round);
        records.add(measure(&mut stopwatch, prompt, round, drawing)?)?;
        bar.advance();
    }
    Ok(())
}

/// The ways in the order of one round: each is first in every third one.
fn turn(round: u32) -> [Way; Way::ALL.len()] {
    let mut ways = Way::ALL;
    ways.rotate_left(round as usize % Way::ALL.len());
    ways
}

/// Runs every way once, which is not kept: pages are read, and draft lengths are learned. The mean seconds of a way.
fn warm_up(args: &LatencyArgs, stopwatch: &mut Stopwatch<'_>, prompt: &TimedPrompt) -> Result<f64> {
    let mut seconds = 0.0;
    for way in Way::ALL {
        let sample = measure(stopwatch, prompt, 0, args.drawing(way, 0))?;
        seconds += sample.cold_seconds + sample.warm_seconds + sample.seconds;
    }
    Ok(seconds / Way::ALL.len() as f64)
}

/// Prints the table, and keeps it beside the measurements.
fn conclude(directory: &Path, pair: &Pair, samples: &[LatencySample]) -> Result<ExitCode> {
    let models = Models { base: &pair.profile.base, security: &pair.profile.security };
    let table = table(models, samples);
    let path = directory.join("latency.md");
    files::replace(&path, table.as_bytes()).with_context(|| path.display().to_string())?;
    write!(out(), "{table}")?;
    Ok(ExitCode::SUCCESS)
}

impl LatencyArgs {
    /// Each round has its own tokens, the same in all ways as far as the law lets them be.
    fn drawing(&self, way: Way, round: u32) -> Drawing {
        let seed = self.seed.wrapping_add(u64::from(round));
        Drawing { way, temperature: self.temperature, seed, n_tokens: self.tokens }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_is_first_in_turn() {
        let firsts: Vec<Way> = (0..4).map(|round| turn(round)[0]).collect();
        assert_eq!(firsts, [Way::Off, Way::Plain, Way::Speculative, Way::Off]);
        for round in 0..3 {
            let mut ways = turn(round);
            ways.sort();
            assert_eq!(ways, Way::ALL);
        }
    }
}
