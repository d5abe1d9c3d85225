//! Samples that come as an editor's completions do: asked of the `Completer`, one after the other.
//!
//! Prompt, healing, drafts, stop rules and trimming are those of an editor's question at the end of the scenario's text.
//! Only the limits are the evaluation's: as many tokens as it allows, all lines of a block, and no limit on time. A stop
//! rule may end the text before the function's end; what is there is judged.

use std::collections::HashSet;

use anyhow::Result;

use crate::cli::complete::Place;
use crate::config::{MultiLine, Settings};
use crate::eval::record::SecuritySample;
use crate::eval::sample::{PromptKind, Sampled, seed_of};
use crate::eval::scenario::{Language, Scenario};
use crate::registry::Registry;

use super::super::SamplingArgs;
use super::super::editor::Asker;
use super::super::plan::{Plan, Turn};
use super::{SecurityArgs, Task, key, work};

/// Draws what the run in `--out` does not have; all of its samples.
///
/// # Errors
/// If the models or the run's file cannot be had, or a model or the judge fails.
pub(super) fn draw_missing(
    args: &SecurityArgs,
    registry: Registry,
    mut settings: Settings,
    task: &mut Task,
) -> Result<Vec<SecuritySample>> {
    settings.multi_line = MultiLine::Always;
    settings.max_lines = usize::MAX;
    let mut asker = Asker::start(&args.sampling, registry, settings)?;
    let laws = args.sampling.laws(&asker.profile);
    let mut records = args.records(&asker.profile)?;
    let Task { judging, scenarios } = task;
    let names = scenarios.iter().map(|scenario| (scenario.name.as_str(), PromptKind::Editor));
    let work = work(&records, &names.collect(), &laws);
    let per_token = match scenarios.first() {
        Some(scenario) if work.is_left(&args.sampling) => asker.speed(&place(scenario), &laws)?,
        _ => 0.0,
    };
    let mut plan = Plan::new(&args.sampling, &work, per_token);
    let done: HashSet<_> = records.samples().iter().map(key).collect();
    let is_done = |turn: Turn| {
        let name = scenarios[turn.prompt].name.clone();
        done.contains(&(name, PromptKind::Editor, laws[turn.mode].mode.name(), turn.sample))
    };
    for turn in plan.turns_left(&work, is_done) {
        let (scenario, law) = (&scenarios[turn.prompt], laws[turn.mode]);
        let number = args.sampling.number(scenario, turn);
        let completed = asker.ask(&place(scenario), law, number, args.sampling.max_tokens)?;
        let sampled = Sampled { text: completed.insert, cost: completed.cost };
        records.add(judging.sample((scenario, PromptKind::Editor), law, turn, sampled)?)?;
        plan.advance();
    }
    Ok(records.samples().to_vec())
}

/// The end of a scenario's text, in a file that has no name yet.
fn place(scenario: &Scenario) -> Place {
    let language = match scenario.language {
        Language::Python => "python",
        Language::C => "c",
    };
    Place::from_text(&scenario.context(), language)
}

impl SamplingArgs {
    /// Which of a place's suggestions a turn draws: other ones under another `--seed`.
    fn number(&self, scenario: &Scenario, turn: Turn) -> u32 {
        (seed_of(self.seed, &scenario.name, PromptKind::Editor) as u32).wrapping_add(turn.sample)
    }
}
