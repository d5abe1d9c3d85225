//! Decoding under the stopwatch: a given number of tokens, whatever they are, in every way of decoding.

use std::ops::ControlFlow;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::Error;
use super::sample::law;
use crate::config::{DraftTokens, Mode};
use crate::decode::draft_length::DraftLength;
use crate::decode::generate::{Guide, Limits, generate};
use crate::decode::rng::Draws;
use crate::decode::{CoDecoder, Sequence, Step};
use crate::engine::pair::Pair;
use crate::model::{LanguageModel, LanguageModelCache};

/// A way of decoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// The base alone.
    Off,
    /// Hardened, with one proposal per forward of the base: the paper's method.
    Plain,
    /// Hardened, with as many drafts per forward of the base as pay for themselves.
    Speculative,
}

impl Way {
    /// All of them, in the order in which they take turns.
    pub const ALL: [Self; 3] = [Self::Off, Self::Plain, Self::Speculative];

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Plain => "cosec, plain steps",
            Self::Speculative => "cosec, speculative",
        }
    }

    fn mode(self) -> Mode {
        match self {
            Self::Off => Mode::Off,
            Self::Plain | Self::Speculative => Mode::Cosec,
        }
    }

    fn draft_tokens(self) -> DraftTokens {
        match self {
            Self::Off | Self::Plain => DraftTokens::Fixed(1),
            Self::Speculative => DraftTokens::Auto,
        }
    }
}

/// What one decoding gave.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Run {
    /// From the evaluation of what the caches lack to the last token.
    pub seconds: f64,
    /// Decoded tokens.
    pub n_tokens: usize,
    /// Forwards of the base that verified proposals.
    pub n_rounds: usize,
    /// Proposals of the security model.
    pub n_proposed: usize,
    /// Accepted proposals.
    pub n_accepted: usize,
}

/// How one decoding is drawn.
#[derive(Clone, Copy, Debug)]
pub struct Drawing {
    /// The way.
    pub way: Way,
    /// Temperature of both roles.
    pub temperature: f32,
    /// Equal seeds give equal tokens.
    pub seed: u64,
    /// Tokens to decode; fewer only where the models' context ends.
    pub n_tokens: usize,
}

/// A loaded pair under the stopwatch.
#[derive(Debug)]
pub struct Stopwatch<'a> {
    pair: &'a Pair,
    /// What each way learned of draft lengths; as in the engine, it outlives a request.
    lengths: [DraftLength; Way::ALL.len()],
}

impl<'a> Stopwatch<'a> {
    /// A stopwatch that has measured nothing.
    pub fn new(pair: &'a Pair) -> Self {
        Self { pair, lengths: Way::ALL.map(|way| DraftLength::new(way.draft_tokens())) }
    }

    /// The pair.
    pub fn pair(&self) -> &'a Pair {
        self.pair
    }

    /// What decodes so.
    pub fn decoder(&self, drawing: Drawing) -> CoDecoder<'a, LanguageModel> {
        let Drawing { way, temperature, seed, .. } = drawing;
        let law = law(self.pair.profile.decoding, way.mode(), temperature, temperature);
        self.pair.decoder(law, Draws { seed, sample: 0 })
    }

    /// Decodes after `sequence`, past an end of the text as well.
    ///
    /// # Errors
    /// If a model fails.
    pub fn decode(
        &mut self,
        drawing: Drawing,
        sequence: &mut Sequence<LanguageModelCache>,
    ) -> Result<Run, Error> {
        let limits = Limits { max_tokens: drawing.n_tokens, deadline: None };
        let decoder = self.decoder(drawing);
        let length = &mut self.lengths[drawing.way as usize];
        let mut run = Run::default();
        let started = Instant::now();
        generate(&decoder, sequence, limits, length, &mut Counter { run: &mut run })?;
        run.seconds = started.elapsed().as_secs_f64();
        sequence.settle();
        Ok(run)
    }
}

/// Counts, and never ends a decoding.
struct Counter<'a> {
    run: &'a mut Run,
}

impl Guide for Counter<'_> {
    fn cancelled(&self) -> bool {
        false
    }

    fn allowed(&self, _drafted: &[u32]) -> Option<Vec<u32>> {
        None
    }

    fn verified(&mut self, _n_drafts: usize) {
        self.run.n_rounds += 1;
    }

    fn observe(&mut self, step: &Step) -> ControlFlow<()> {
        self.run.n_tokens += 1;
        self.run.n_proposed += usize::from(step.proposed());
        self.run.n_accepted += usize::from(step.accepted());
        ControlFlow::Continue(())
    }

    fn prefilled(&mut self, _base: usize, _security: usize) {}
}
