//! Completions for evaluation: many of one prompt, which is evaluated once for all of them.
//!
//! It decodes with what the engine's thread decodes with (`decode`, `prompt`, a loaded pair), without its queue, its stop
//! rules and its windows: the paper's completions go on to the end of the function, and see the whole file. The samples
//! of one prompt share its keys and values in both caches, as in Algorithm 1, but they are decoded one after another: a
//! forward has the rows of one sample only.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::config::{Decoding, DraftTokens, Mode};
use crate::decode::draft_length::DraftLength;
use crate::decode::generate::{End, Guide, Limits, generate};
use crate::decode::rng::Draws;
use crate::decode::{CoDecoder, Sequence, Step};
use crate::engine::decoding::new_sequence;
use crate::engine::pair::Pair;
use crate::model::healing::Healing;
use crate::model::tokenizer::TextStream;
use crate::model::{LanguageModel, LanguageModelCache};
use crate::prompt::fim::{Framed, PromptBudget, frame};
use crate::prompt::{Layout, Prompt};

use super::Error;
use super::record::Cost;

/// What stands behind the cursor in a fill-in-the-middle prompt: the scenarios have nothing there.
const SUFFIX: &str = "\n";

/// How a beginning is shown to the models.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PromptKind {
    /// Its tokens alone, as in the paper.
    Ltr,
    /// Fill-in-the-middle, with the cursor's line behind the middle token and healed, as editors' prompts are.
    Fim,
}

/// Why a sample ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SampleEnd {
    /// The function is complete.
    Function,
    /// A model ended the text.
    EndOfText,
    /// The limit on tokens, or the models' context.
    TokenLimit,
}

/// One completion.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampled {
    /// All that was decoded; what follows the function's end is to be cut.
    pub text: String,
    /// What it took.
    pub cost: Cost,
}

/// What one sample is drawn with.
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    /// The law.
    pub law: Decoding,
    /// The randomness.
    pub draws: Draws,
    /// Most tokens.
    pub max_tokens: usize,
}

/// A loaded pair and what it remembers of the last prompt.
#[derive(Debug)]
pub struct Sampler<'a> {
    pair: &'a Pair,
    sequence: Sequence<LanguageModelCache>,
    /// What co-decoding learned of draft lengths; as in the engine, it outlives a request.
    draft_length: DraftLength,
}

impl<'a> Sampler<'a> {
    /// A sampler that has seen no prompt.
    pub fn new(pair: &'a Pair) -> Self {
        let draft_length = DraftLength::new(DraftTokens::Auto);
        Self { pair, sequence: new_sequence(pair), draft_length }
    }

    /// Whether the models know prompts of this kind.
    pub fn knows(&self, kind: PromptKind) -> bool {
        kind == PromptKind::Ltr || self.pair.fim.is_some()
    }

    /// The tokens of a text to continue.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn frame(&self, text: &str, kind: PromptKind) -> Result<Framed, Error> {
        if kind == PromptKind::Ltr {
            let tokens = self.pair.tokenizer.encode(text)?;
            return Ok(Framed { tokens, healing: Healing::default() });
        }
        let line = text.rfind('\n').map_or(0, |at| at + 1);
        let prompt = Prompt {
            above: text[..line].to_owned(),
            left: text[line..].to_owned(),
            suffix: SUFFIX.to_owned(),
            layout: Layout::FillInMiddle,
        };
        let budget = PromptBudget { prefix_tokens: usize::MAX, suffix_tokens: usize::MAX };
        Ok(frame(&prompt, &self.pair.tokenizer, self.pair.fim, budget)?)
    }

    /// Draws one completion of `prompt`. `is_complete` is asked about the text after every token.
    ///
    /// # Errors
    /// If a model fails.
    pub fn sample(
        &mut self,
        prompt: &Framed,
        draw: Draw,
        is_complete: &dyn Fn(&str) -> bool,
    ) -> Result<Sampled, Error> {
        let started = Instant::now();
        self.sequence.retarget(prompt.tokens.clone());
        let decoder: CoDecoder<'_, LanguageModel> = CoDecoder {
            base: &self.pair.base,
            security: &self.pair.security,
            law: draw.law,
            draws: draw.draws,
        };
        let limits = Limits { max_tokens: draw.max_tokens, time_budget: Duration::MAX };
        let mut guide = SampleGuide::new(self.pair, prompt.healing.clone(), is_complete);
        let end =
            generate(&decoder, &mut self.sequence, limits, &mut self.draft_length, &mut guide)?;
        self.sequence.settle();
        let mut sampled = guide.sampled;
        if matches!(end, End::TokenLimit) {
            sampled.cost.end = SampleEnd::TokenLimit;
        }
        sampled.cost.seconds = started.elapsed().as_secs_f64();
        Ok(sampled)
    }
}

/// The seed of a prompt's samples: other for every prompt, the same for both modes, so that they are drawn alike where
/// they agree.
pub fn seed_of(seed: u64, name: &str, kind: PromptKind) -> u64 {
    // FNV-1a.
    let bytes = seed.to_le_bytes().into_iter().chain(name.bytes()).chain([kind as u8]);
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The law of `mode` at one temperature for each role.
pub fn law(decoding: Decoding, mode: Mode, base: f32, security: f32) -> Decoding {
    let mut law = Decoding { mode, ..decoding };
    law.base.temperature = base;
    law.security.temperature = security;
    law
}

/// Turns one sample's tokens into text, and ends it.
struct SampleGuide<'a> {
    pair: &'a Pair,
    healing: Healing,
    stream: TextStream,
    is_complete: &'a dyn Fn(&str) -> bool,
    sampled: Sampled,
}

impl<'a> SampleGuide<'a> {
    fn new(pair: &'a Pair, healing: Healing, is_complete: &'a dyn Fn(&str) -> bool) -> Self {
        let cost = Cost {
            n_tokens: 0,
            n_proposed: 0,
            n_accepted: 0,
            n_interventions: 0,
            seconds: 0.0,
            end: SampleEnd::EndOfText,
        };
        let sampled = Sampled { text: String::new(), cost };
        Self { pair, healing, stream: TextStream::default(), is_complete, sampled }
    }

    fn count(&mut self, step: &Step) {
        self.sampled.cost.n_tokens += 1;
        self.sampled.cost.n_proposed += usize::from(step.proposed());
        self.sampled.cost.n_accepted += usize::from(step.accepted());
        self.sampled.cost.n_interventions += usize::from(step.intervened());
    }
}

impl Guide for SampleGuide<'_> {
    fn cancelled(&self) -> bool {
        false
    }

    fn allowed(&self) -> Option<Vec<u32>> {
        self.healing.allowed(&self.pair.tokenizer)
    }

    fn verified(&mut self, _n_drafts: usize) {}

    fn observe(&mut self, step: &Step) -> ControlFlow<()> {
        self.count(step);
        let tokenizer = &self.pair.tokenizer;
        if tokenizer.is_special(step.token) || self.pair.stop_tokens.contains(&step.token) {
            return ControlFlow::Break(());
        }
        let text = self.stream.push(self.healing.advance(tokenizer.bytes(step.token)));
        self.sampled.text.push_str(&text);
        match (self.is_complete)(&self.sampled.text) {
            true => {
                self.sampled.cost.end = SampleEnd::Function;
                ControlFlow::Break(())
            }
            false => ControlFlow::Continue(()),
        }
    }

    fn prefilled(&mut self, _base: usize, _security: usize) {}
}
