//! Completions as an editor gets them, for the evaluations: asked of the `Completer`, one after the other.
//!
//! Prompt, healing, drafts, stop rules and trimming are those of an editor's question that its user asks by hand. Only the
//! limit on time is none.

use std::ops::Range;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::cli::complete::{Asked, Place};
use crate::cli::session::Session;
use crate::config::{Decoding, Settings};
use crate::engine::{Finish, LoadedProfile, RequestStats, State};
use crate::eval::record::Cost;
use crate::eval::sample::SampleEnd;
use crate::registry::Registry;

use super::SamplingArgs;
use super::plan::MEASURED_TOKENS;

/// An engine, a completer, and what they are asked with.
pub(super) struct Asker {
    session: Session,
    /// What is loaded.
    pub(super) profile: LoadedProfile,
}

/// What an editor would do to its text, and what it took.
pub(super) struct Completed {
    /// What to insert; empty where an editor would show nothing.
    pub(super) insert: String,
    /// The bytes of the text that it replaces.
    pub(super) replace: Range<usize>,
    /// What it took.
    pub(super) cost: Cost,
}

impl Asker {
    /// Loads the profile, and makes the directory of the run.
    ///
    /// # Errors
    /// If either cannot be had.
    pub(super) fn start(
        sampling: &SamplingArgs,
        registry: Registry,
        settings: Settings,
    ) -> Result<Self> {
        let settings = sampling.prepare(settings)?;
        let session = Session::start(registry, settings)?.keeping_unfinished();
        let State::Ready(profile) = session.state() else { bail!("the models are not there") };
        Ok(Self { session, profile: *profile })
    }

    /// Seconds per token, all laws together.
    ///
    /// # Errors
    /// If a model fails.
    pub(super) fn speed(&mut self, place: &Place, laws: &[Decoding]) -> Result<f64> {
        let mut per_token = 0.0;
        for &law in laws {
            let Cost { n_tokens, seconds, .. } = self.ask(place, law, 0, MEASURED_TOKENS)?.cost;
            per_token += seconds / n_tokens.max(1) as f64;
        }
        Ok(per_token)
    }

    /// The completion of that number at a place.
    ///
    /// # Errors
    /// If the law is none that an editor can ask for, or a model fails.
    pub(super) fn ask(
        &mut self,
        place: &Place,
        law: Decoding,
        number: u32,
        max_tokens: usize,
    ) -> Result<Completed> {
        let Decoding { mode, alpha, ratio, base, security } = law;
        if base.temperature != security.temperature {
            bail!("an editor's completions have one temperature; leave --security-temperature out");
        }
        let settings = self.session.settings_mut();
        (settings.mode, settings.alpha, settings.ratio) = (Some(mode), Some(alpha), Some(ratio));
        settings.temperature = Some(base.temperature);
        settings.max_tokens = max_tokens;
        let started = Instant::now();
        let asked = self.session.complete(place, number, |_| Ok(()))?;
        let seconds = started.elapsed().as_secs_f64();
        Ok(match asked {
            Asked::Suggested { suggestion, explanation } => Completed {
                insert: suggestion.insert,
                replace: suggestion.replace.start.0..suggestion.replace.end.0,
                cost: cost(&explanation.stats, explanation.finish.as_ref(), seconds),
            },
            Asked::Nothing(_) => Completed {
                insert: String::new(),
                replace: place.cursor..place.cursor,
                cost: cost(&RequestStats::default(), None, seconds),
            },
        })
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
