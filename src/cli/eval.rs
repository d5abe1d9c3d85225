//! `cosec-ls eval …`: how secure, how correct and how fast completions are, with and without hardening, measured here.

pub mod compare;
mod editor;
pub mod functional;
pub mod infilling;
pub mod judged;
pub mod keystrokes;
pub mod latency;
pub mod plan;
pub mod security;
pub mod threshold;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use crate::config::{Decoding, Mode, Ratio, Settings, ranges};
use crate::engine::LoadedProfile;
use crate::engine::pair::{self, Pair};
use crate::eval::sample::law;
use crate::eval::sandbox::Sandbox;
use crate::registry::Registry;

use super::complete::parse_mode;
use super::output::remark;
use super::progress::Terminal;

/// `cosec-ls eval …`.
#[derive(Debug, Args)]
pub struct EvalArgs {
    #[command(subcommand)]
    command: EvalCommand,
}

#[derive(Debug, Subcommand)]
enum EvalCommand {
    /// Complete scenarios and judge whether the results are secure
    Security(security::SecurityArgs),
    /// Complete HumanEval's problems and run their tests
    Functional(functional::FunctionalArgs),
    /// Fill gaps in HumanEval's solutions as an editor does, and run the problems' tests
    Infilling(infilling::InfillingArgs),
    /// Draw scenarios and problems under several thresholds, and plot them as in figure 4
    #[command(mut_arg("alpha", |arg| arg.hide(true)))]
    Threshold(threshold::ThresholdArgs),
    /// Show the paired difference between two runs
    Compare(compare::CompareArgs),
    /// Measure the time of 20 tokens and of the first one, with and without hardening, as in table 8
    Latency(latency::LatencyArgs),
    /// Type a line again, and measure what every keystroke costs
    Keystrokes(keystrokes::KeystrokesArgs),
}

/// How completions are drawn. Defaults are those of the paper's table 2.
#[derive(Clone, Debug, Args)]
pub struct SamplingArgs {
    /// Where samples and tables go; a run with the same settings goes on with what is there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Modes to compare, separated by commas; each sample is drawn in all of them
    #[arg(long, value_delimiter = ',', value_parser = parse_mode, default_values = ["off", "cosec"])]
    mode: Vec<Mode>,
    /// Samples per prompt and mode
    #[arg(long, default_value_t = 25, value_parser = ranges::TIMES.parser::<u32>())]
    samples: u32,
    /// Temperature of the base, and of the security model unless it has its own
    #[arg(long, default_value_t = 0.4, value_parser = ranges::TEMPERATURE.parser::<f32>())]
    temperature: f32,
    /// Temperature of the security model
    #[arg(long, value_parser = ranges::TEMPERATURE.parser::<f32>())]
    security_temperature: Option<f32>,
    /// Acceptance threshold [default: the profile's]
    #[arg(long, value_parser = ranges::ALPHA.parser::<f32>())]
    alpha: Option<f32>,
    /// Base distribution of the ratio [default: the profile's]
    #[arg(long, value_enum)]
    ratio: Option<RatioRule>,
    /// Most tokens of a completion
    #[arg(long, default_value_t = 256, value_parser = ranges::MAX_TOKENS.parser::<usize>())]
    max_tokens: usize,
    /// Samples that are drawn together, as rows of one forward, or 1 for one after another with drafts; it changes the
    /// time they take, not the samples
    #[arg(long, default_value_t = 8, value_parser = ranges::BATCH.parser::<usize>())]
    batch: usize,
    /// Equal seeds give equal completions
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Time to draw for, such as 90s, 30m or 1h30m: as many samples as fit, up to --samples
    #[arg(long, value_parser = parse_duration)]
    budget: Option<Duration>,
    /// Adapter of models.toml, or its directory, instead of the profile's
    #[arg(long)]
    adapter: Option<String>,
    /// What the adapter's updates are multiplied by: 0 is the plain model, 1 the adapter at its own strength
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = ranges::ADAPTER_STRENGTH.parser::<f32>())]
    adapter_strength: f32,
}

/// [`Ratio`] on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RatioRule {
    /// Both roles warped, as the paper's text says
    Warped,
    /// The base's plain softmax, as the published code does
    RawBase,
    /// The base's plain softmax in the ratio, and its warped one for its own draw
    Raw,
}

/// Runs the command.
///
/// # Errors
/// Whatever stopped it, in words for people.
pub fn run(args: &EvalArgs, registry: Registry, settings: Settings) -> Result<ExitCode> {
    match &args.command {
        EvalCommand::Security(args) => security::run(args, registry, settings),
        EvalCommand::Functional(args) => functional::run(args, &registry, settings),
        EvalCommand::Infilling(args) => infilling::run(args, registry, settings),
        EvalCommand::Compare(args) => compare::run(args),
        EvalCommand::Threshold(args) => threshold::run(args, &registry, settings),
        EvalCommand::Latency(args) => latency::run(args, &registry, &settings),
        EvalCommand::Keystrokes(args) => keystrokes::run(args, registry, settings),
    }
}

impl SamplingArgs {
    /// Loads the profile, with the adapter that was asked for, and makes the directory of the run.
    fn start(&self, registry: &Registry, settings: Settings) -> Result<Pair> {
        let settings = self.prepare(settings)?;
        Ok(pair::load(registry, (&settings).into(), &Terminal::new())?)
    }

    /// Makes the directory of the run; the settings to load the profile with.
    fn prepare(&self, mut settings: Settings) -> Result<Settings> {
        std::fs::create_dir_all(&self.out).with_context(|| self.out.display().to_string())?;
        settings.adapter = self.adapter.clone().or(settings.adapter);
        settings.adapter_strength = self.adapter_strength;
        Ok(settings)
    }

    /// The laws to draw with, one per mode.
    fn laws(&self, LoadedProfile { decoding: profile, .. }: &LoadedProfile) -> Vec<Decoding> {
        let ratio = self.ratio.map(|ratio| match ratio {
            RatioRule::Warped => Ratio::Warped,
            RatioRule::RawBase => Ratio::RawBase,
            RatioRule::Raw => Ratio::Raw,
        });
        let decoding = Decoding {
            alpha: self.alpha.unwrap_or(profile.alpha),
            ratio: ratio.unwrap_or(profile.ratio),
            ..*profile
        };
        let security = self.security_temperature.unwrap_or(self.temperature);
        let modes = distinct(&self.mode).into_iter();
        modes.map(|mode| law(decoding, mode, self.temperature, security)).collect()
    }

    /// What must be the same for samples to be of one run; `more` is the command's own part.
    fn settings(&self, profile: &LoadedProfile, more: &[(&str, Value)]) -> Map<String, Value> {
        let law = self.laws(profile).first().copied().unwrap_or(profile.decoding);
        let ours = [
            ("base", json!(profile.base)),
            ("security", json!(profile.security)),
            ("adapter", json!(profile.adapter)),
            ("adapter_strength", number(profile.adapter_strength)),
            ("temperature", number(law.base.temperature)),
            ("security_temperature", number(law.security.temperature)),
            ("top_p", number(law.base.top_p)),
            ("alpha", number(law.alpha)),
            ("ratio", json!(law.ratio)),
            ("max_tokens", json!(self.max_tokens)),
            ("seed", json!(self.seed)),
        ];
        let all = ours.iter().chain(more);
        all.map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    }
}

/// A number as it was typed, not as the nearest double to a float.
fn number(x: f32) -> Value {
    json!(x.to_string().parse::<f64>().unwrap_or(f64::from(x)))
}

/// The sandbox, after saying what does not hold in it.
fn sandbox() -> Result<Sandbox> {
    let sandbox = Sandbox::new()?;
    if let Some(warning) = sandbox.warning() {
        remark(format_args!("warning: {warning}"));
    }
    Ok(sandbox)
}

/// Each item once, in order.
fn distinct<T: Copy + PartialEq>(items: &[T]) -> Vec<T> {
    let mut kept = Vec::new();
    for &item in items {
        if !kept.contains(&item) {
            kept.push(item);
        }
    }
    kept
}

/// Reads a duration such as `90s`, `30m` or `1h30m`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no duration such as 90s, 30m or 1h30m");
    let mut seconds = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let n_digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = rest[..n_digits].parse().map_err(|_| wrong())?;
        let unit = match rest.as_bytes()[n_digits] {
            b'h' => 3600,
            b'm' => 60,
            b's' => 1,
            _ => return Err(wrong()),
        };
        let more = number.checked_mul(unit).ok_or_else(wrong)?;
        seconds = more.checked_add(seconds).ok_or_else(wrong)?;
        rest = &rest[n_digits + 1..];
    }
    match seconds {
        0 => Err(wrong()),
        seconds => Ok(Duration::from_secs(seconds)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_twice_is_drawn_once() {
        assert_eq!(distinct(&[Mode::Cosec, Mode::Off, Mode::Cosec]), [Mode::Cosec, Mode::Off]);
    }

    #[test]
    fn durations_have_units() {
        let seconds = |text| parse_duration(text).map(|duration| duration.as_secs()).ok();
        assert_eq!(seconds("90s"), Some(90));
        assert_eq!(seconds("30m"), Some(1800));
        assert_eq!(seconds("1h30m"), Some(5400));
        for wrong in ["", "30", "m", "30x", "0s", "1.5h", "3é", "18446744073709551615h"] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }
}
