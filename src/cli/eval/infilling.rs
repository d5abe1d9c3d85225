//! `cosec-ls eval infilling`: HumanEval-Infilling's gaps (Bavarian et al. 2022), filled as an editor fills them.
//!
//! The document is the text around a gap, with the cursor in it; the question is one that the user asks by hand. What the
//! editor would have then is judged by the problem's tests.

use std::collections::HashSet;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::cli::complete::Place;
use crate::cli::output::out;
use crate::config::{Decoding, MultiLine, Settings};
use crate::eval::functional::{Problem, Tester};
use crate::eval::infilling::Gap;
use crate::eval::record::{FUNCTIONAL_FILE, FunctionalSample, Records};
use crate::eval::report;
use crate::eval::sample::{PromptKind, seed_of};
use crate::files;
use crate::registry::Registry;

use super::editor::{Asker, Completed};
use super::functional::{Key, key};
use super::plan::{Plan, Turn, Work};
use super::{SamplingArgs, sandbox};

/// Arguments of `cosec-ls eval infilling`.
#[derive(Clone, Debug, Args)]
#[command(
    mut_arg("samples", |arg| arg.default_value("1")),
    mut_arg("temperature", |arg| arg.default_value("0")),
    mut_arg("max_tokens", |arg| arg.default_value("96")),
    mut_arg("batch", |arg| arg.hide(true)),
    mut_arg("security_temperature", |arg| arg.hide(true)),
)]
pub struct InfillingArgs {
    /// A file of HumanEval-Infilling, packed or not
    #[arg(long, value_name = "FILE")]
    problems: PathBuf,
    /// Only the first so many gaps
    #[arg(long, value_name = "N")]
    first: Option<usize>,
    /// Only so many gaps, evenly spaced from the first of the file to the last
    #[arg(long, value_name = "N", conflicts_with = "first")]
    evenly: Option<usize>,
    /// What the document is called
    #[arg(long, value_name = "PATH", default_value = "solution.py")]
    file_name: String,
    /// Whether the models are told that name, as the setting `pathInPrompt` says
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    path_in_prompt: bool,
    /// How far a completion may go, as the setting `multiLine` says
    #[arg(long, value_enum, default_value = "auto")]
    multi_line: Lines,
    #[command(flatten)]
    sampling: SamplingArgs,
}

/// [`MultiLine`] on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Lines {
    /// Several lines where the rest of the line is empty
    Auto,
    /// Several lines everywhere
    Always,
    /// One line everywhere
    Never,
}

impl From<Lines> for MultiLine {
    fn from(lines: Lines) -> Self {
        match lines {
            Lines::Auto => Self::Auto,
            Lines::Always => Self::Always,
            Lines::Never => Self::Never,
        }
    }
}

/// Draws what is missing, and prints the table.
///
/// # Errors
/// If gaps, models or the sandbox cannot be had, or a model fails.
pub fn run(args: &InfillingArgs, registry: Registry, settings: Settings) -> Result<ExitCode> {
    let tester = Tester::new(sandbox()?)?;
    let gaps = args.gaps()?;
    let samples = draw_missing(args, registry, settings, &tester, &gaps)?;
    let table = report::functional(&samples, &[1]);
    let path = args.sampling.out.join("infilling.md");
    files::replace(&path, table.as_bytes()).with_context(|| path.display().to_string())?;
    write!(out(), "{table}")?;
    Ok(ExitCode::SUCCESS)
}

impl InfillingArgs {
    fn gaps(&self) -> Result<Vec<Gap>> {
        let all: Vec<Gap> = Problem::read_all(&self.problems)?
            .into_iter()
            .map(Gap::new)
            .collect::<Result<_, _>>()?;
        let n = self.evenly.or(self.first).unwrap_or(all.len()).min(all.len());
        if n == 0 {
            bail!("no gaps in {}", self.problems.display());
        }
        let last = all.len() - 1;
        // From the first to the last, each rounded to the nearest.
        let spaced = |i: usize| (2 * i * last + (n - 1)) / (2 * (n - 1)).max(1);
        let index = |i| if self.evenly.is_some() { spaced(i) } else { i };
        Ok((0..n).map(|i| all[index(i)].clone()).collect())
    }

    fn settings(&self, mut settings: Settings) -> Settings {
        settings.path_in_prompt = self.path_in_prompt;
        settings.multi_line = self.multi_line.into();
        settings
    }

    /// What must be the same for samples to be of one run.
    fn conditions(&self, settings: &Settings) -> [(&'static str, Value); 6] {
        [
            ("judge", json!("tests")),
            ("prompts", json!("editor")),
            ("file_name", json!(self.file_name)),
            ("path_in_prompt", json!(settings.path_in_prompt)),
            ("multi_line", json!(settings.multi_line)),
            ("max_lines", json!(settings.max_lines)),
        ]
    }

    /// The cursor in a gap.
    fn place(&self, gap: &Gap) -> Place {
        Place {
            shown: Some(self.file_name.clone()),
            cursor: gap.before.len(),
            ..Place::from_text(&gap.document(), "python")
        }
    }
}

fn draw_missing(
    args: &InfillingArgs,
    registry: Registry,
    settings: Settings,
    tester: &Tester,
    gaps: &[Gap],
) -> Result<Vec<FunctionalSample>> {
    let sampling = &args.sampling;
    let settings = args.settings(settings);
    let conditions = args.conditions(&settings);
    let mut asker = Asker::start(sampling, registry, settings)?;
    let laws = sampling.laws(&asker.profile);
    let path = sampling.out.join(FUNCTIONAL_FILE);
    let run_settings = sampling.settings(&asker.profile, &conditions);
    let mut records = Records::<FunctionalSample>::open(&path, &run_settings)?;
    let done: HashSet<Key> = records.samples().iter().map(key).collect();
    let is_done = |turn: Turn| {
        done.contains(&(
            gaps[turn.prompt].problem.task_id.clone(),
            laws[turn.mode].mode.name(),
            turn.sample,
        ))
    };
    let work = work(&records, gaps, &laws);
    let per_token = match work.is_left(sampling) {
        true => asker.speed(&args.place(&gaps[0]), &laws)?,
        false => 0.0,
    };
    let mut plan = Plan::new(sampling, &work, per_token);
    for turn in plan.turns_left(&work, is_done) {
        let (gap, law) = (&gaps[turn.prompt], laws[turn.mode]);
        let seed = seed_of(sampling.seed, &gap.problem.task_id, PromptKind::Editor) as u32;
        let number = seed.wrapping_add(turn.sample);
        let completed = asker.ask(&args.place(gap), law, number, sampling.max_tokens)?;
        records.add(tested(tester, gap, law, turn, completed)?)?;
        plan.advance();
    }
    Ok(records.samples().to_vec())
}

fn work(records: &Records<FunctionalSample>, gaps: &[Gap], laws: &[Decoding]) -> Work {
    let asked: HashSet<&str> = gaps.iter().map(|gap| gap.problem.task_id.as_str()).collect();
    let is_asked = |sample: &&FunctionalSample| {
        laws.iter().any(|law| law.mode == sample.law.mode)
            && asked.contains(sample.task_id.as_str())
    };
    let samples = records.samples().iter().filter(is_asked);
    Work::new(gaps.len(), laws.len(), samples.map(|sample| sample.cost.n_tokens))
}

/// A sample, once the problem's tests were run on what the editor has then.
fn tested(
    tester: &Tester,
    gap: &Gap,
    law: Decoding,
    turn: Turn,
    completed: Completed,
) -> Result<FunctionalSample> {
    let Completed { insert, replace, cost } = completed;
    let filled = gap.filled(replace, &insert);
    Ok(FunctionalSample {
        task_id: gap.problem.task_id.clone(),
        law,
        sample: turn.sample,
        passed: tester.passes(&gap.problem, &filled)?,
        completion: insert,
        cost,
    })
}
