//! Completions for evaluation: many of one prompt, which is evaluated once for all of them.
//!
//! It decodes with what the engine's thread decodes with (`decode`, `prompt`, a loaded pair), without its queue, its stop
//! rules and its windows: the paper's completions go on to the end of the function, and see the whole file. As in
//! Algorithm 1, m samples are rows of one forward, and those of one prompt begin with a copy of its keys and values. As
//! no row depends on another, a sample is the same in whatever company it is drawn.

use std::ops::ControlFlow;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::config::{Decoding, DraftTokens, Mode};
use crate::decode::batch::{Member, step_batch};
use crate::decode::draft_length::DraftLength;
use crate::decode::generate::{End, Guide, Limits, generate, prefill_ahead};
use crate::decode::rng::Draws;
use crate::decode::{Sequence, Step};
use crate::engine::decoding::new_sequence;
use crate::engine::pair::Pair;
use crate::model::LanguageModelCache;
use crate::model::healing::Healing;
use crate::model::tokenizer::TextStream;
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
    /// A question to `complete`, as an editor asks it: with its windows, its stop rules, and what it trims.
    Editor,
}

impl PromptKind {
    /// All kinds, and what they are called.
    pub const NAMES: [(Self, &'static str); 3] = [
        (Self::Ltr, "Left-to-right"),
        (Self::Fim, "Fill-in-the-middle"),
        (Self::Editor, "Editors'"),
    ];
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

/// Whether a text needs nothing more.
pub type IsComplete<'a> = &'a dyn Fn(&str) -> bool;

/// A sample to draw.
pub struct Order<'a, K> {
    /// What its caller knows it by.
    pub key: K,
    /// The text to continue.
    pub prompt: &'a Framed,
    /// What it is drawn with.
    pub draw: Draw,
    /// Asked about the text after every token.
    pub is_complete: IsComplete<'a>,
}

/// A sample that is being drawn.
struct Running<'a, K> {
    key: K,
    draw: Draw,
    sequence: Sequence<LanguageModelCache>,
    guide: SampleGuide<'a>,
    started: Instant,
}

impl<K> Running<'_, K> {
    fn member(&mut self) -> Member<'_, LanguageModelCache> {
        let Self { sequence, guide, draw, .. } = self;
        Member { sequence, law: draw.law, draws: draw.draws, allowed: guide.allowed(&[]) }
    }
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

    /// The tokens of a text to continue; those of [`PromptKind::Editor`] are framed in `complete`, and not here.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn frame(&self, text: &str, kind: PromptKind) -> Result<Framed, Error> {
        if kind == PromptKind::Ltr {
            let tokenizer = &self.pair.tokenizer;
            let tokens = [tokenizer.leading(), &tokenizer.encode(text)?].concat();
            return Ok(Framed { tokens, healing: Healing::default() });
        }
        let line = text.rfind('\n').map_or(0, |at| at + 1);
        let prompt = Prompt {
            header: None,
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
        is_complete: IsComplete<'_>,
    ) -> Result<Sampled, Error> {
        let started = Instant::now();
        self.sequence.retarget(prompt.tokens.clone());
        let decoder = self.pair.decoder(draw.law, draw.draws);
        let limits = Limits { max_tokens: draw.max_tokens, deadline: None };
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

    /// Draws what `orders` asks for, up to `width` samples at a time, and hands each to `done` when it is there. Whoever
    /// ends makes room for the next order. One at a time they are drawn as the engine draws, with drafts.
    ///
    /// # Errors
    /// If a model or `done` fails.
    pub fn sample_batch<'o, K, E: From<Error>>(
        &mut self,
        orders: &mut dyn Iterator<Item = Order<'o, K>>,
        width: usize,
        done: &mut dyn FnMut(K, Sampled) -> Result<(), E>,
    ) -> Result<(), E>
    where
        'a: 'o,
    {
        if width <= 1 {
            for Order { key, prompt, draw, is_complete } in orders {
                done(key, self.sample(prompt, draw, is_complete)?)?;
            }
            return Ok(());
        }
        let mut running: Vec<Running<'o, K>> = Vec::with_capacity(width);
        loop {
            while running.len() < width
                && let Some(order) = orders.next()
            {
                running.push(self.begin(order)?);
            }
            if running.is_empty() {
                return Ok(());
            }
            let ended = self.step(&mut running)?;
            for running_idx in ended.into_iter().rev() {
                let Running { key, guide, started, .. } = running.remove(running_idx);
                let mut sampled = guide.sampled;
                sampled.cost.seconds = started.elapsed().as_secs_f64();
                done(key, sampled)?;
            }
        }
    }

    /// A sample that starts from the evaluated prompt, which is kept for the next one.
    fn begin<'o, K>(&mut self, order: Order<'o, K>) -> Result<Running<'o, K>, Error>
    where
        'a: 'o,
    {
        let started = Instant::now();
        let Order { key, prompt, draw, is_complete } = order;
        self.sequence.retarget(prompt.tokens.clone());
        let decoder = self.pair.decoder(draw.law, draw.draws);
        prefill_ahead(&decoder, &mut self.sequence, prompt.tokens.len(), &|| false)?;
        let guide = SampleGuide::new(self.pair, prompt.healing.clone(), is_complete);
        Ok(Running { key, draw, sequence: self.sequence.try_clone()?, guide, started })
    }

    /// One token more for each; who ended, in order.
    fn step<K>(&self, running: &mut [Running<'_, K>]) -> Result<Vec<usize>, Error> {
        let mut members: Vec<_> = running.iter_mut().map(Running::member).collect();
        let steps = step_batch([&self.pair.base, &self.pair.security], &mut members)?;
        drop(members);
        let mut ended = Vec::new();
        for (i, (running, step)) in running.iter_mut().zip(&steps).enumerate() {
            let Running { guide, draw, sequence, .. } = running;
            let is_over = guide.observe(step).is_break();
            let is_full = guide.sampled.cost.n_tokens >= draw.max_tokens
                || sequence.len() >= self.pair.decoder(draw.law, draw.draws).context();
            if is_full && !is_over {
                guide.sampled.cost.end = SampleEnd::TokenLimit;
            }
            if is_full || is_over {
                ended.push(i);
            }
        }
        Ok(ended)
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
    is_complete: IsComplete<'a>,
    sampled: Sampled,
}

impl<'a> SampleGuide<'a> {
    fn new(pair: &'a Pair, healing: Healing, is_complete: IsComplete<'a>) -> Self {
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

    fn allowed(&self, drafted: &[u32]) -> Option<Vec<u32>> {
        self.healing.allowed_after(drafted, &self.pair.tokenizer)
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
