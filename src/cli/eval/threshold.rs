//! `cosec-ls eval threshold`: security and correctness over the acceptance threshold (figure 4).
//!
//! Each α has a directory in `--out` with the samples of a run, as `eval security` and `eval functional` leave them;
//! the base alone, which no α changes, is drawn once. The figure and the table are made of what is in these directories,
//! after every α, so that an interrupted run has them, too.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use indicatif::HumanDuration;

use crate::config::ranges::{self, OutOfRange};
use crate::config::{Mode, Settings};
use crate::engine::pair::Pair;
use crate::eval::figure;
use crate::eval::sample::{PromptKind, Sampler};
use crate::eval::threshold::{Setting, Sweep};
use crate::files;
use crate::registry::Registry;

use super::functional::{self, FunctionalArgs};
use super::plan::{USUAL_TOKENS, count_and_mean, seconds_per_token};
use super::security::{self, SecurityArgs};
use super::{SamplingArgs, distinct};
use crate::cli::output::{out, remark};

/// The figure in the directory of a run.
const FIGURE: &str = "threshold.svg";

/// The table in the directory of a run.
const TABLE: &str = "threshold.md";

/// Arguments of `cosec-ls eval threshold`.
#[derive(Debug, Args)]
pub struct ThresholdArgs {
    /// Thresholds to compare, from 0 to 1, separated by commas
    #[arg(
        long,
        value_name = "α",
        value_delimiter = ',',
        value_parser = parse_alpha,
        default_values = ["0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9"]
    )]
    alphas: Vec<f32>,
    /// HumanEval's file, packed or not; without it, only security is measured
    #[arg(long, value_name = "FILE")]
    problems: Option<PathBuf>,
    /// Only the first so many problems
    #[arg(long, requires = "problems")]
    first: Option<usize>,
    #[command(flatten)]
    security: SecurityArgs,
}

/// What is drawn under every setting.
struct Tasks {
    security: security::Task,
    functional: Option<functional::Task>,
}

/// Draws what is missing under every α, and writes the figure and the table.
///
/// # Errors
/// If the arguments contradict each other, scenarios, problems, models, judge or sandbox cannot be had, or a model
/// fails.
pub fn run(args: &ThresholdArgs, registry: &Registry, settings: Settings) -> Result<ExitCode> {
    let order = args.settings()?;
    let sampling = &args.security.sampling;
    let mut tasks = Tasks::start(args)?;
    let pair = sampling.start(registry, settings)?;
    args.announce(&order, &tasks, &pair)?;
    let mut budget = Budget::start(sampling.budget, order.len(), &tasks.n_prompts(args));
    let mut table = String::new();
    for (&setting, number) in order.iter().zip(1..) {
        remark(format_args!("{} ({number} of {}):", setting.directory(), order.len()));
        let security = args.security.sampled(args.sampling(setting, budget.share())?);
        security::draw_missing(&security, &pair, &mut tasks.security)?;
        budget.finish_one();
        if let (Some(task), Some(problems)) = (&tasks.functional, &args.problems) {
            let sampling = args.sampling(setting, budget.share())?;
            let functional = FunctionalArgs::for_first(problems, args.first, sampling);
            functional::draw_missing(&functional, &pair, task)?;
            budget.finish_one();
        }
        table = args.write(&order)?;
    }
    write!(out(), "{table}")?;
    Ok(ExitCode::SUCCESS)
}

impl ThresholdArgs {
    /// The settings in the order in which they are drawn.
    fn settings(&self) -> Result<Vec<Setting>> {
        let SamplingArgs { mode, alpha, .. } = &self.security.sampling;
        if alpha.is_some() {
            bail!("--alpha is for one threshold; use --alphas");
        }
        if mode.contains(&Mode::Security) || !mode.contains(&Mode::Cosec) {
            bail!("only --mode cosec has a threshold; beside it there can be off");
        }
        let mut alphas = distinct(&self.alphas);
        alphas.sort_by(f32::total_cmp);
        let off = mode.contains(&Mode::Off).then_some(Setting::Off);
        Ok(off.into_iter().chain(alphas.into_iter().map(Setting::Alpha)).collect())
    }

    /// How one setting is drawn: in its own directory, which is made, and within `budget`.
    fn sampling(&self, setting: Setting, budget: Option<Duration>) -> Result<SamplingArgs> {
        let all = &self.security.sampling;
        let out = all.out.join(setting.directory());
        std::fs::create_dir_all(&out).with_context(|| out.display().to_string())?;
        let (mode, alpha) = match setting {
            Setting::Off => (Mode::Off, None),
            Setting::Alpha(alpha) => (Mode::Cosec, Some(alpha)),
        };
        Ok(SamplingArgs { out, mode: vec![mode], alpha, budget, ..all.clone() })
    }

    /// Says what all settings together cost.
    fn announce(&self, order: &[Setting], tasks: &Tasks, pair: &Pair) -> Result<()> {
        let sampling = &self.security.sampling;
        let sweep = Sweep::read(&sampling.out, order)?;
        let n_prompts: usize = tasks.n_prompts(self).iter().sum();
        let n_all = order.len() * n_prompts * sampling.samples as usize;
        let (n_done, tokens) = done(&sweep);
        let tokens = tokens.unwrap_or(USUAL_TOKENS).clamp(1.0, sampling.max_tokens as f64);
        let per_token = self.seconds_per_token(order, tasks, pair)?;
        let seconds = n_all.saturating_sub(n_done) as f64 * tokens * per_token;
        remark(format_args!(
            "{} settings of {n_prompts} prompts: {n_all} samples, of which {n_done} are there; all others take about {} \
             at {tokens:.0} tokens each; judging comes on top",
            order.len(),
            HumanDuration(Duration::from_secs_f64(seconds))
        ));
        if let Some(budget) = sampling.budget {
            remark(format_args!("there are {} for as many as fit", HumanDuration(budget)));
        }
        Ok(())
    }

    /// The mean over the base alone and the α in the middle, where both are drawn.
    fn seconds_per_token(&self, order: &[Setting], tasks: &Tasks, pair: &Pair) -> Result<f64> {
        let mut sampler = Sampler::new(pair);
        let text = tasks.security.example().context("no prompts to complete")?;
        let example = sampler.frame(&text, PromptKind::Ltr)?;
        let probes = distinct(&[order[0], order[order.len() / 2]]);
        let mut sum = 0.0;
        for &setting in &probes {
            for law in self.sampling(setting, None)?.laws(&pair.profile) {
                sum +=
                    seconds_per_token(&mut sampler, law, &example, self.security.sampling.batch)?;
            }
        }
        Ok(sum / probes.len() as f64)
    }

    /// Writes the figure and the table of what is there; the table.
    fn write(&self, order: &[Setting]) -> Result<String> {
        let out = &self.security.sampling.out;
        let sweep = Sweep::read(out, order)?;
        let table = sweep.table();
        let figure = figure::thresholds(&sweep.series())?;
        for (name, text) in [(TABLE, &table), (FIGURE, &figure)] {
            let path = out.join(name);
            files::replace(&path, text.as_bytes()).with_context(|| path.display().to_string())?;
        }
        Ok(table)
    }
}

impl Tasks {
    fn start(args: &ThresholdArgs) -> Result<Self> {
        let security = security::Task::start(&args.security)?;
        let problems = args.problems.as_ref().map(|problems| {
            let sampling = args.security.sampling.clone();
            functional::Task::start(&FunctionalArgs::for_first(problems, args.first, sampling))
        });
        Ok(Self { security, functional: problems.transpose()? })
    }

    /// Prompts of each run of one setting: scenarios, and problems if there are any.
    fn n_prompts(&self, args: &ThresholdArgs) -> Vec<usize> {
        let security = self.security.n_prompts(&args.security);
        let functional = self.functional.as_ref().map(functional::Task::n_prompts);
        [security].into_iter().chain(functional).collect()
    }
}

/// How many samples there are, and their mean number of tokens.
fn done(sweep: &Sweep) -> (usize, Option<f64>) {
    let tokens = sweep.runs.iter().flat_map(|run| {
        let security = run.security.iter().map(|sample| sample.cost.n_tokens);
        security.chain(run.functional.iter().map(|sample| sample.cost.n_tokens))
    });
    count_and_mean(tokens)
}

/// Time that is split over runs by their prompts; what a run leaves goes to those after it.
struct Budget {
    deadline: Option<Instant>,
    /// Prompts of the runs that are not done, the next one last.
    left: Vec<usize>,
}

impl Budget {
    /// `budget` for so many settings, each of which has a run over each of `n_prompts`.
    fn start(budget: Option<Duration>, n_settings: usize, n_prompts: &[usize]) -> Self {
        let left = (0..n_settings).flat_map(|_| n_prompts.iter().rev().copied()).collect();
        Self { deadline: budget.map(|budget| Instant::now() + budget), left }
    }

    /// The time of the next run.
    fn share(&self) -> Option<Duration> {
        let left = self.deadline?.saturating_duration_since(Instant::now());
        Some(left.mul_f64(part(&self.left)))
    }

    fn finish_one(&mut self) {
        self.left.pop();
    }
}

/// The last run's part of all.
fn part(n_prompts: &[usize]) -> f64 {
    let last = n_prompts.last().copied().unwrap_or(0);
    last as f64 / n_prompts.iter().sum::<usize>().max(1) as f64
}

/// Reads a threshold. −0 is 0, and has no directory of its own.
fn parse_alpha(text: &str) -> Result<f32, OutOfRange> {
    Ok(ranges::ALPHA.parse::<f32>(text.trim())?.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_split_by_prompts_and_what_is_left_goes_on() {
        let mut budget = Budget::start(Some(Duration::from_secs(80)), 2, &[10, 30]);
        let mut parts = Vec::new();
        while !budget.left.is_empty() {
            parts.push(part(&budget.left));
            budget.finish_one();
        }
        // Security and functional under the first setting, then under the second.
        assert_eq!(parts, [10.0 / 80.0, 30.0 / 70.0, 10.0 / 40.0, 1.0]);
        let share = Budget::start(Some(Duration::from_secs(80)), 2, &[10, 30]).share();
        assert!(share.is_some_and(|share| (9.0..=10.0).contains(&share.as_secs_f64())));
        assert_eq!(Budget::start(None, 2, &[10]).share(), None);
    }
}
