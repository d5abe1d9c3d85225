//! `cosec-ls eval functional`: HumanEval's problems, and how many completions pass their tests (tables 5 and 6).

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::json;

use crate::config::{Decoding, Settings};
use crate::decode::rng::Draws;
use crate::engine::pair::Pair;
use crate::eval::completion::is_complete;
use crate::eval::functional::{Problem, Tester, cut};
use crate::eval::record::{FUNCTIONAL_FILE, FunctionalSample, Records};
use crate::eval::report;
use crate::eval::sample::{Draw, Order, PromptKind, Sampled, Sampler, seed_of};
use crate::eval::scenario::Language;
use crate::files;
use crate::prompt::fim::Framed;
use crate::registry::Registry;

use super::judged::draw_and_keep;
use super::plan::{Plan, Turn, Work};
use super::{SamplingArgs, sandbox};
use crate::cli::output::out;

/// Arguments of `cosec-ls eval functional`.
#[derive(Clone, Debug, Args)]
pub struct FunctionalArgs {
    /// HumanEval's file, packed or not
    #[arg(long, value_name = "FILE")]
    problems: PathBuf,
    /// Only the first so many problems
    #[arg(long)]
    first: Option<usize>,
    /// The k of pass@k, separated by commas; those of more than --samples have no figure
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10])]
    k: Vec<usize>,
    #[command(flatten)]
    sampling: SamplingArgs,
}

/// Draws what is missing, and prints the table.
///
/// # Errors
/// If problems, models or the sandbox cannot be had, or a model fails.
pub fn run(args: &FunctionalArgs, registry: &Registry, settings: Settings) -> Result<ExitCode> {
    let task = Task::start(args)?;
    let pair = args.sampling.start(registry, settings)?;
    let samples = draw_missing(args, &pair, &task)?;
    let table = report::functional(&samples, &args.k);
    let path = args.sampling.out.join("functional.md");
    files::replace(&path, table.as_bytes()).with_context(|| path.display().to_string())?;
    write!(out(), "{table}")?;
    Ok(ExitCode::SUCCESS)
}

/// Problems, and who runs their tests.
pub(super) struct Task {
    tester: Tester,
    problems: Vec<Problem>,
}

impl FunctionalArgs {
    /// The first problems of a file, for pass@1.
    pub(super) fn for_first(problems: &Path, first: Option<usize>, sampling: SamplingArgs) -> Self {
        Self { problems: problems.to_owned(), first, k: vec![1], sampling }
    }
}

impl Task {
    /// Looks for a Python, and reads the problems.
    ///
    /// # Errors
    /// If either cannot be had.
    pub(super) fn start(args: &FunctionalArgs) -> Result<Self> {
        let tester = Tester::new(sandbox()?)?;
        let mut problems = Problem::read_all(&args.problems)?;
        problems.truncate(args.first.unwrap_or(usize::MAX));
        if problems.is_empty() {
            bail!("no problems in {}", args.problems.display());
        }
        Ok(Self { tester, problems })
    }

    /// Problems.
    pub(super) fn n_prompts(&self) -> usize {
        self.problems.len()
    }
}

/// Draws what the run in `--out` does not have; all of its samples.
///
/// # Errors
/// If the run's file cannot be had, or a model or a test cannot be run.
pub(super) fn draw_missing(
    args: &FunctionalArgs,
    pair: &Pair,
    task: &Task,
) -> Result<Vec<FunctionalSample>> {
    let sampling = &args.sampling;
    let Task { tester, problems } = task;
    let laws = sampling.laws(&pair.profile);
    let path = sampling.out.join(FUNCTIONAL_FILE);
    let run_settings = sampling.settings(&pair.profile, &[("judge", json!("tests"))]);
    let mut records = Records::<FunctionalSample>::open(&path, &run_settings)?;
    let mut sampler = Sampler::new(pair);
    let frame = |problem: &Problem| sampler.frame(&problem.prompt, PromptKind::Ltr);
    let prompts = problems.iter().map(frame).collect::<Result<Vec<Framed>, _>>()?;
    let work = work(&records, problems, &laws);
    let mut plan = Plan::make(sampling, &work, &laws, &mut sampler, &prompts[0])?;
    let done: HashSet<Key> = records.samples().iter().map(key).collect();
    let is_done = |turn: Turn| {
        let task_id = problems[turn.prompt].task_id.clone();
        done.contains(&(task_id, laws[turn.mode].mode.name(), turn.sample))
    };
    let mut orders = plan.turns_left(&work, is_done).map(|turn| Order {
        key: turn,
        prompt: &prompts[turn.prompt],
        draw: draw(sampling, &problems[turn.prompt], laws[turn.mode], turn),
        is_complete: is_complete(Language::Python),
    });
    draw_and_keep(&mut sampler, &mut orders, sampling.batch, |turn, sampled| {
        records.add(tested(tester, &problems[turn.prompt], laws[turn.mode], turn, &sampled)?)?;
        plan.advance();
        Ok(())
    })?;
    Ok(records.samples().to_vec())
}

/// What tells a sample from all others of a run.
pub(super) type Key = (String, &'static str, u32);

pub(super) fn key(sample: &FunctionalSample) -> Key {
    (sample.task_id.clone(), sample.law.mode.name(), sample.sample)
}

fn work(records: &Records<FunctionalSample>, problems: &[Problem], laws: &[Decoding]) -> Work {
    let asked: HashSet<&str> = problems.iter().map(|problem| problem.task_id.as_str()).collect();
    let is_asked = |sample: &&FunctionalSample| {
        laws.iter().any(|law| law.mode == sample.law.mode)
            && asked.contains(sample.task_id.as_str())
    };
    let samples = records.samples().iter().filter(is_asked);
    Work::new(problems.len(), laws.len(), samples.map(|sample| sample.cost.n_tokens))
}

fn draw(sampling: &SamplingArgs, problem: &Problem, law: Decoding, turn: Turn) -> Draw {
    let seed = seed_of(sampling.seed, &problem.task_id, PromptKind::Ltr);
    let draws = Draws { seed, sample: turn.sample };
    Draw { law, draws, max_tokens: sampling.max_tokens }
}

/// A sample, once the problem's tests were run on it.
fn tested(
    tester: &Tester,
    problem: &Problem,
    law: Decoding,
    turn: Turn,
    sampled: &Sampled,
) -> Result<FunctionalSample> {
    let completion = cut(&sampled.text).to_owned();
    Ok(FunctionalSample {
        task_id: problem.task_id.clone(),
        law,
        sample: turn.sample,
        passed: tester.passes(problem, &completion)?,
        completion,
        cost: sampled.cost,
    })
}
