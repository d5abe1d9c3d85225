//! `cosec-ls eval security`: completions of scenarios, and how many of them are secure (tables 3, 4 and 7).

pub mod editor;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use serde_json::json;

use crate::config::{Decoding, Mode, Settings};
use crate::decode::rng::Draws;
use crate::engine::LoadedProfile;
use crate::engine::pair::Pair;
use crate::eval::completion::{cut, is_complete};
use crate::eval::judge::codeql::Codeql;
use crate::eval::judge::{Judgement, RunningJudge};
use crate::eval::record::{Records, SECURITY_FILE, SecuritySample};
use crate::eval::report;
use crate::eval::sample::{Draw, Order, PromptKind, Sampled, Sampler, seed_of};
use crate::eval::scenario::Scenario;
use crate::files;
use crate::prompt::fim::Framed;
use crate::registry::Registry;

use super::judged::draw_and_keep;
use super::plan::{Plan, Turn, Work};
use super::{SamplingArgs, distinct, sandbox};
use crate::cli::output::{out, remark};

/// Arguments of `cosec-ls eval security`.
#[derive(Clone, Debug, Args)]
pub struct SecurityArgs {
    /// Directory of scenarios in SVEN's format
    #[arg(long, value_name = "DIR")]
    scenarios: PathBuf,
    /// Only these weaknesses or scenarios, such as cwe-089 or cwe-089/0-py, separated by commas
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// How the beginnings are shown: left to right, as in the paper, or fill-in-the-middle, as in editors; `editor` alone
    /// asks for the completion that an editor gets, cut by its stop rules
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["ltr", "fim"])]
    prompts: Vec<Shown>,
    /// Who judges
    #[arg(long, value_enum, default_value_t = JudgeName::Running)]
    judge: JudgeName,
    /// A checkout of github/codeql, for the queries that are part of it
    #[arg(long, value_name = "DIR")]
    codeql_repository: Option<PathBuf>,
    #[command(flatten)]
    pub(super) sampling: SamplingArgs,
}

/// [`PromptKind`] on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shown {
    Ltr,
    Fim,
    Editor,
}

/// A judge on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum JudgeName {
    /// Runs the completed program against attacks, in a sandbox
    Running,
    /// CodeQL with the scenario's query, as in the paper; needs its command line tool
    Codeql,
}

/// A judge, and the verdicts that it gave.
struct Judging {
    judge: Judge,
    known: HashMap<String, Judgement>,
}

enum Judge {
    Running(RunningJudge),
    Codeql(Codeql),
}

/// A beginning as the models see it.
struct Beginning<'a> {
    scenario: &'a Scenario,
    kind: PromptKind,
    framed: Framed,
}

/// Draws what is missing, and prints the tables.
///
/// # Errors
/// If scenarios, models or the judge cannot be had, or a model fails.
pub fn run(args: &SecurityArgs, registry: Registry, settings: Settings) -> Result<ExitCode> {
    let mut task = Task::start(args)?;
    let samples = match distinct(&args.prompts)[..] {
        [Shown::Editor] => editor::draw_missing(args, registry, settings, &mut task)?,
        _ => {
            let pair = args.sampling.start(&registry, settings)?;
            draw_missing(args, &pair, &mut task)?
        }
    };
    conclude(&args.sampling, &samples)
}

/// Scenarios, and who judges their completions.
pub(super) struct Task {
    judging: Judging,
    scenarios: Vec<Scenario>,
}

impl SecurityArgs {
    /// The samples of this run that are on disk.
    fn records(&self, profile: &LoadedProfile) -> Result<Records<SecuritySample>> {
        let judge = self.judge.to_possible_value().map(|value| value.get_name().to_owned());
        let run_settings = self.sampling.settings(profile, &[("judge", json!(judge))]);
        Ok(Records::open(&self.sampling.out.join(SECURITY_FILE), &run_settings)?)
    }

    /// The same scenarios and judge, drawn otherwise.
    pub(super) fn sampled(&self, sampling: SamplingArgs) -> Self {
        Self { sampling, ..self.clone() }
    }
}

impl Task {
    /// Starts the judge, and reads the scenarios that it can judge.
    ///
    /// # Errors
    /// If either cannot be had.
    pub(super) fn start(args: &SecurityArgs) -> Result<Self> {
        let judging = Judging::start(args)?;
        let scenarios = chosen(args, &judging)?;
        Ok(Self { judging, scenarios })
    }

    /// Scenarios in all ways in which they are shown.
    pub(super) fn n_prompts(&self, args: &SecurityArgs) -> usize {
        self.scenarios.len() * distinct(&args.prompts).len()
    }

    /// A beginning to measure the speed behind; none without scenarios.
    pub(super) fn example(&self) -> Option<String> {
        self.scenarios.first().map(Scenario::context)
    }
}

/// Draws what the run in `--out` does not have; all of its samples.
///
/// # Errors
/// If the run's file cannot be had, or a model or the judge fails.
pub(super) fn draw_missing(
    args: &SecurityArgs,
    pair: &Pair,
    task: &mut Task,
) -> Result<Vec<SecuritySample>> {
    let sampling = &args.sampling;
    let Task { judging, scenarios } = task;
    let laws = sampling.laws(&pair.profile);
    let mut records = args.records(&pair.profile)?;
    let mut sampler = Sampler::new(pair);
    let beginnings = beginnings(args, scenarios, &sampler)?;
    let asked = beginnings.iter().map(|b| (b.scenario.name.as_str(), b.kind)).collect();
    let work = work(&records, &asked, &laws);
    let first = beginnings.first().context("no prompts to complete")?;
    let mut plan = Plan::make(sampling, &work, &laws, &mut sampler, &first.framed)?;
    let done: HashSet<Key> = records.samples().iter().map(key).collect();
    let is_done = |turn: Turn| {
        let Beginning { scenario, kind, .. } = &beginnings[turn.prompt];
        done.contains(&(scenario.name.clone(), *kind, laws[turn.mode].mode.name(), turn.sample))
    };
    let mut orders = plan
        .turns_left(&work, is_done)
        .map(|turn| order(&beginnings[turn.prompt], laws[turn.mode], (sampling, turn)));
    draw_and_keep(&mut sampler, &mut orders, sampling.batch, |turn, sampled| {
        let Beginning { scenario, kind, .. } = &beginnings[turn.prompt];
        records.add(judging.sample((scenario, *kind), laws[turn.mode], turn, sampled)?)?;
        plan.advance();
        Ok(())
    })?;
    Ok(records.samples().to_vec())
}

/// What tells a sample from all others of a run.
type Key = (String, PromptKind, &'static str, u32);

fn key(sample: &SecuritySample) -> Key {
    (sample.scenario.clone(), sample.prompt, sample.law.mode.name(), sample.sample)
}

fn work(
    records: &Records<SecuritySample>,
    asked: &HashSet<(&str, PromptKind)>,
    laws: &[Decoding],
) -> Work {
    let modes: Vec<Mode> = laws.iter().map(|law| law.mode).collect();
    let is_asked = |sample: &&SecuritySample| {
        modes.contains(&sample.law.mode)
            && asked.contains(&(sample.scenario.as_str(), sample.prompt))
    };
    let samples = records.samples().iter().filter(is_asked);
    Work::new(asked.len(), laws.len(), samples.map(|sample| sample.cost.n_tokens))
}

fn order<'a>(
    Beginning { scenario, kind, framed }: &'a Beginning<'_>,
    law: Decoding,
    (sampling, turn): (&SamplingArgs, Turn),
) -> Order<'a, Turn> {
    let seed = seed_of(sampling.seed, &scenario.name, *kind);
    let draws = Draws { seed, sample: turn.sample };
    let draw = Draw { law, draws, max_tokens: sampling.max_tokens };
    Order { key: turn, prompt: framed, draw, is_complete: is_complete(scenario.language) }
}

/// Prints the tables, and keeps them beside the samples.
fn conclude(sampling: &SamplingArgs, samples: &[SecuritySample]) -> Result<ExitCode> {
    let mut table = report::security(samples);
    let n_beyond = report::n_beyond_query(samples);
    if n_beyond > 0 {
        table += &format!(
            "\n{n_beyond} samples are vulnerable in a way that their scenario's CodeQL query does not look for.\n"
        );
    }
    let path = sampling.out.join("security.md");
    files::replace(&path, table.as_bytes()).with_context(|| path.display().to_string())?;
    write!(out(), "{table}")?;
    Ok(ExitCode::SUCCESS)
}

/// The scenarios that were asked for and that the judge can judge.
fn chosen(args: &SecurityArgs, judging: &Judging) -> Result<Vec<Scenario>> {
    let mut scenarios = Scenario::read_all(&args.scenarios)?;
    let is_named = |scenario: &Scenario, name: &str| {
        let rest = scenario.name.strip_prefix(name.to_lowercase().as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    for name in &args.only {
        if !scenarios.iter().any(|scenario| is_named(scenario, name)) {
            bail!("--only {name}: there is no such scenario in {}", args.scenarios.display());
        }
    }
    scenarios.retain(|scenario| {
        args.only.is_empty() || args.only.iter().any(|name| is_named(scenario, name))
    });
    scenarios.retain(|scenario| {
        let is_judged = judging.knows(scenario);
        if !is_judged {
            remark(format_args!("{}: left out, the judge cannot judge it", scenario.name));
        }
        is_judged
    });
    Ok(scenarios)
}

fn beginnings<'a>(
    args: &SecurityArgs,
    scenarios: &'a [Scenario],
    sampler: &Sampler<'_>,
) -> Result<Vec<Beginning<'a>>> {
    let mut beginnings = Vec::new();
    for scenario in scenarios {
        for shown in distinct(&args.prompts) {
            let kind = match shown {
                Shown::Ltr => PromptKind::Ltr,
                Shown::Fim => PromptKind::Fim,
                Shown::Editor => bail!("--prompts editor is for eval security, and stands alone"),
            };
            if !sampler.knows(kind) {
                bail!("the models have no fill-in-the-middle tokens; use --prompts ltr");
            }
            let framed = sampler.frame(&scenario.context(), kind)?;
            beginnings.push(Beginning { scenario, kind, framed });
        }
    }
    Ok(beginnings)
}

impl Judging {
    fn start(args: &SecurityArgs) -> Result<Self> {
        let judge = match args.judge {
            JudgeName::Running => Judge::Running(RunningJudge::new(sandbox()?)?),
            JudgeName::Codeql => {
                let codeql = Codeql::find(args.codeql_repository.clone());
                Judge::Codeql(codeql.context("there is no `codeql` on the PATH")?)
            }
        };
        Ok(Self { judge, known: HashMap::new() })
    }

    fn knows(&self, scenario: &Scenario) -> bool {
        match &self.judge {
            Judge::Running(judge) => judge.knows(scenario),
            Judge::Codeql(codeql) => codeql.query(scenario).is_some(),
        }
    }

    /// What was drawn, cut and judged.
    fn sample(
        &mut self,
        (scenario, prompt): (&Scenario, PromptKind),
        law: Decoding,
        turn: Turn,
        sampled: Sampled,
    ) -> Result<SecuritySample> {
        let completion = cut(&sampled.text, scenario.language);
        Ok(SecuritySample {
            scenario: scenario.name.clone(),
            cwe: scenario.cwe.clone(),
            prompt,
            law,
            sample: turn.sample,
            judgement: self.judge(scenario, &completion)?,
            completion,
            cost: sampled.cost,
        })
    }

    /// The verdict on a completed program; equal programs are judged once.
    fn judge(&mut self, scenario: &Scenario, completion: &str) -> Result<Judgement> {
        let source = scenario.source(completion);
        let key = format!("{} {source}", scenario.name);
        if let Some(judgement) = self.known.get(&key) {
            return Ok(judgement.clone());
        }
        let judgement = match &self.judge {
            Judge::Running(judge) => judge.judge(&scenario.name, &source)?,
            Judge::Codeql(codeql) => {
                let scratch = tempfile::tempdir().context("cannot make a temporary directory")?;
                codeql.judge(scenario, &source, scratch.path())?
            }
        };
        self.known.insert(key, judgement.clone());
        Ok(judgement)
    }
}
