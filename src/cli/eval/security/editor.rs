//! Samples that come as an editor's completions do: asked of the `Completer`, one after the other.
//!
//! Prompt, healing, drafts, stop rules and trimming are those of an editor's question at the end of the scenario's text.
//! Only the limits are the evaluation's: as many tokens as it allows, all lines of a block, and no limit on time. A stop
//! rule may end the text before the function's end; what is there is judged.

use std::collections::HashSet;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::cli::complete::{Asked, Place};
use crate::cli::session::Session;
use crate::config::{Decoding, MultiLine, Settings};
use crate::engine::{Finish, LoadedProfile, RequestStats, State};
use crate::eval::record::{Cost, SecuritySample};
use crate::eval::sample::{PromptKind, SampleEnd, Sampled, seed_of};
use crate::eval::scenario::{Language, Scenario};
use crate::registry::Registry;

use super::super::SamplingArgs;
use super::super::plan::{MEASURED_TOKENS, Plan, Turn};
use super::{SecurityArgs, Task, key, work};

/// Draws what the run in `--out` does not have; all of its samples.
///
/// # Errors
/// If the models or the run's file cannot be had, or a model or the judge fails.
pub(super) fn draw_missing(
    args: &SecurityArgs,
    registry: Registry,
    settings: Settings,
    task: &mut Task,
) -> Result<Vec<SecuritySample>> {
    let mut asker = Asker::start(&args.sampling, registry, settings)?;
    let laws = args.sampling.laws(&asker.profile);
    let mut records = args.records(&asker.profile)?;
    let Task { judging, scenarios } = task;
    let names = scenarios.iter().map(|scenario| (scenario.name.as_str(), PromptKind::Editor));
    let work = work(&records, &names.collect(), &laws);
    let per_token = match scenarios.first() {
        Some(scenario) if work.is_left(&args.sampling) => asker.speed(scenario, &laws)?,
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
        let sampled = asker.ask(scenario, law, number, args.sampling.max_tokens)?;
        records.add(judging.sample((scenario, PromptKind::Editor), law, turn, sampled)?)?;
        plan.advance();
    }
    Ok(records.samples().to_vec())
}

impl SamplingArgs {
    /// Which of a place's suggestions a turn draws: other ones under another `--seed`.
    fn number(&self, scenario: &Scenario, turn: Turn) -> u32 {
        (seed_of(self.seed, &scenario.name, PromptKind::Editor) as u32).wrapping_add(turn.sample)
    }
}

/// An engine, a completer, and what they are asked with.
struct Asker {
    session: Session,
    profile: LoadedProfile,
}

impl Asker {
    fn start(sampling: &SamplingArgs, registry: Registry, settings: Settings) -> Result<Self> {
        let mut settings = sampling.prepare(settings)?;
        settings.multi_line = MultiLine::Always;
        settings.max_lines = usize::MAX;
        let session = Session::start(registry, settings)?.keeping_unfinished();
        let State::Ready(profile) = session.state() else { bail!("the models are not there") };
        Ok(Self { session, profile: *profile })
    }

    /// Seconds per token, all laws together.
    fn speed(&mut self, scenario: &Scenario, laws: &[Decoding]) -> Result<f64> {
        let mut per_token = 0.0;
        for &law in laws {
            let Cost { n_tokens, seconds, .. } = self.ask(scenario, law, 0, MEASURED_TOKENS)?.cost;
            per_token += seconds / n_tokens.max(1) as f64;
        }
        Ok(per_token)
    }

    /// The completion at the end of a scenario's text; none where an editor would show none.
    fn ask(
        &mut self,
        scenario: &Scenario,
        law: Decoding,
        number: u32,
        max_tokens: usize,
    ) -> Result<Sampled> {
        let Decoding { mode, alpha, ratio, base, security } = law;
        if base.temperature != security.temperature {
            bail!("an editor's completions have one temperature; leave --security-temperature out");
        }
        let settings = self.session.settings_mut();
        (settings.mode, settings.alpha, settings.ratio) = (Some(mode), Some(alpha), Some(ratio));
        settings.temperature = Some(base.temperature);
        settings.max_tokens = max_tokens;
        let language = match scenario.language {
            Language::Python => "python",
            Language::C => "c",
        };
        let place = Place::from_text(&scenario.context(), language);
        let started = Instant::now();
        let asked = self.session.complete(&place, number, |_| Ok(()))?;
        let seconds = started.elapsed().as_secs_f64();
        let (text, stats, finish) = match asked {
            Asked::Suggested { suggestion, explanation } => {
                (suggestion.insert, explanation.stats, explanation.finish)
            }
            Asked::Nothing(_) => (String::new(), RequestStats::default(), None),
        };
        Ok(Sampled { text, cost: cost(&stats, finish.as_ref(), seconds) })
    }
}

fn cost(stats: &RequestStats, finish: Option<&Finish>, seconds: f64) -> Cost {
    Cost {
        n_tokens: stats.decoded_tokens,
        n_proposed: stats.proposed,
        n_accepted: stats.accepted,
        n_interventions: stats.interventions,
        seconds,
        end: match finish {
            Some(Finish::TokenLimit) => SampleEnd::TokenLimit,
            Some(Finish::StopRule(_)) => SampleEnd::Function,
            _ => SampleEnd::EndOfText,
        },
    }
}
