//! From samples to tokens, each with what its prediction counts for.
//!
//! A left-to-right example is the function as it is, which is how the paper trained. A fill-in-the-middle example is the
//! prompt that an editor would send from a place in the function, framed by [`crate::prompt`] as for a completion, and
//! what should be decoded there: so the adapter is trained on what it will see. Which kind a sample becomes in an epoch,
//! and where it is cut, depends on (seed, epoch, sample) alone.

use std::fmt;
use std::ops::Range;

use super::Error;
use super::dataset::{Dataset, Sample};
use super::draw::{Choice, Draw};
use super::middle;
use crate::model::Tokenizer;
use crate::prompt::Prompt;
use crate::prompt::fim::{FimTokens, Framed, PromptBudget, frame};
use crate::prompt::window::prompt_at;
use crate::text::{ByteIdx, Document};

/// How the prediction of a token counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It is part of the fix: to be learnt, by cross-entropy.
    Fix,
    /// It is other code: to be kept, by the divergence from the frozen model.
    Keep,
    /// Not at all: nothing predicts it, or it is prompt.
    Unscored,
}

/// Which text a model sees before a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// All before it.
    LeftToRight,
    /// The text around the middle, then the middle.
    FillInMiddle,
}

/// Tokens to train on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// T of them.
    pub tokens: Vec<u32>,
    /// One per token, `[T]`; at least one is [`Role::Fix`], and the first never is.
    pub roles: Vec<Role>,
    /// Which text a model sees before a token.
    pub kind: Kind,
    /// The weakness that was fixed (`cwe-089`).
    pub cwe: String,
    /// Where the sample was read (`train/cwe-089.jsonl:12`).
    pub source: String,
}

/// What makes examples of samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Equal seeds give equal examples. By default, 1.
    pub seed: u64,
    /// Share of the samples of an epoch that become fill-in-the-middle examples, in [0, 1]. By default, 0.5.
    pub fim_share: f64,
    /// Most tokens of an example; longer ones are left out. By default, 1,024, as in the paper's published code.
    pub max_tokens: usize,
    /// Most prompt tokens on either side of the middle. By default, 1,024 and 256, as in an editor.
    pub budget: PromptBudget,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 1,
            fim_share: 0.5,
            max_tokens: 1024,
            budget: PromptBudget { prefix_tokens: 1024, suffix_tokens: 256 },
        }
    }
}

/// The special tokens of a fill-in-the-middle example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framing {
    /// Around the prompt.
    pub fim: FimTokens,
    /// Behind the middle: the one of the model's stop tokens that ends a text (`<|endoftext|>`).
    pub end_of_text: u32,
}

/// All examples of a data set, made when they are asked for.
#[derive(Clone, Debug)]
pub struct Examples<'a> {
    dataset: &'a Dataset,
    tokenizer: &'a Tokenizer,
    framing: Option<Framing>,
    options: Options,
}

/// Some examples, and how many there are and are not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// At least one.
    pub examples: Vec<Example>,
    /// What was used and what was left out.
    pub counts: Counts,
}

/// How many examples there are, and how many were left out. Its display is one line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Left-to-right examples that are used.
    pub left_to_right: Amount,
    /// Fill-in-the-middle examples that are used.
    pub fill_in_middle: Amount,
    /// Left out, since they have more than [`Options::max_tokens`].
    pub n_too_long: usize,
    /// Left out, since no token of the fix is predicted.
    pub n_without_fix: usize,
}

/// An amount of examples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// How many.
    pub n_examples: usize,
    /// Their tokens.
    pub n_tokens: usize,
    /// Those of their tokens that are [`Role::Fix`].
    pub n_fix: usize,
    /// Those of their tokens that are [`Role::Keep`].
    pub n_keep: usize,
}

/// The seed of all validation cuts, whatever the seed of the run: losses of different runs can be compared.
const VALIDATION_SEED: u64 = 0;

impl<'a> Examples<'a> {
    /// The examples of `dataset` for a model with `tokenizer`; `framing` is absent for models without
    /// fill-in-the-middle.
    ///
    /// # Errors
    /// If the share of fill-in-the-middle examples is none, or is not 0 for a model without them.
    pub fn new(
        dataset: &'a Dataset,
        tokenizer: &'a Tokenizer,
        framing: Option<Framing>,
        options: Options,
    ) -> Result<Self, Error> {
        let share = options.fim_share;
        if !(0.0..=1.0).contains(&share) {
            return Err(Error::FimShare(share));
        }
        if framing.is_none() && share > 0.0 {
            return Err(Error::NoFim(share));
        }
        Ok(Self { dataset, tokenizer, framing, options })
    }

    /// The training examples of an epoch, at most one per sample, shuffled.
    ///
    /// # Errors
    /// If none is left.
    pub fn epoch(&self, epoch: usize) -> Result<Selection, Error> {
        let samples = self.dataset.train.samples.iter().enumerate();
        let draw = |(idx, sample)| (Draw::new(self.options.seed, epoch, idx), sample);
        let mut drawn: Vec<(Draw, &Sample)> = samples.map(draw).collect();
        drawn.sort_by(|(a, _), (b, _)| {
            a.uniform(Choice::Order).total_cmp(&b.uniform(Choice::Order))
        });
        let mut selection = Collector::new(self.options.max_tokens);
        for (draw, sample) in drawn {
            selection.take(match self.framing {
                Some(framing) if draw.uniform(Choice::Kind) < self.options.fim_share => {
                    self.fill_in_middle(sample, framing, draw)?
                }
                _ => self.left_to_right(sample)?,
            });
        }
        selection.finish("training")
    }

    /// Every validation sample, left-to-right and, where the model can, fill-in-the-middle. Always the same.
    ///
    /// # Errors
    /// If none is left.
    pub fn validation(&self) -> Result<Selection, Error> {
        let mut selection = Collector::new(self.options.max_tokens);
        for (idx, sample) in self.dataset.validation.samples.iter().enumerate() {
            selection.take(self.left_to_right(sample)?);
            if let Some(framing) = self.framing {
                let draw = Draw::new(VALIDATION_SEED, 0, idx);
                selection.take(self.fill_in_middle(sample, framing, draw)?);
            }
        }
        selection.finish("validation")
    }

    fn left_to_right(&self, sample: &Sample) -> Result<Example, Error> {
        let encoded = self.tokenizer.encode_with_offsets(&sample.text)?;
        let mut example = Example::new(sample, Kind::LeftToRight);
        for &token in self.tokenizer.leading() {
            example.push(token, Role::Unscored);
        }
        for (token, bytes) in encoded {
            example.push(token, role(&bytes, &sample.fixed));
        }
        if let Some(first) = example.roles.first_mut() {
            *first = Role::Unscored;
        }
        Ok(example)
    }

    fn fill_in_middle(
        &self,
        sample: &Sample,
        framing: Framing,
        draw: Draw,
    ) -> Result<Example, Error> {
        let middle = middle::choose(&sample.text, &sample.fixed, draw);
        let budget = self.options.budget;
        let prompt = editor_prompt(&sample.text, &middle, budget);
        let framed = frame(&prompt, self.tokenizer, Some(framing.fim), budget)?;
        let mut example = Example::new(sample, Kind::FillInMiddle);
        let mut role_of_prompt = Role::Unscored;
        for &token in &framed.tokens {
            example.push(token, role_of_prompt);
            if token == framing.fim.middle {
                // What follows is the cursor's line, which stands where decoded text does.
                role_of_prompt = Role::Keep;
            }
        }
        let fixed = inside(&sample.fixed, &middle);
        for (token, bytes) in self.continuation(&framed, &prompt, &sample.text[middle])? {
            example.push(token, role(&bytes, &fixed));
        }
        example.push(framing.end_of_text, Role::Keep);
        Ok(example)
    }

    /// The tokens to decode after a prompt, with the bytes of `middle` that each stands for: those that healing took
    /// back stand for none.
    fn continuation(
        &self,
        framed: &Framed,
        prompt: &Prompt,
        middle: &str,
    ) -> Result<Vec<(u32, Range<usize>)>, Error> {
        let Ok(healed) = std::str::from_utf8(framed.healing.pending()) else {
            // The token that was taken back begins inside a character: no text has it at its start, so it comes again
            // as it was.
            let taken_back = self.tokenizer.encode(&prompt.left)?.pop();
            let mut tokens: Vec<_> = taken_back.into_iter().map(|token| (token, 0..0)).collect();
            tokens.extend(self.tokenizer.encode_with_offsets(middle)?);
            return Ok(tokens);
        };
        let in_middle = |at: usize| at.saturating_sub(healed.len());
        let tokens = self.tokenizer.encode_with_offsets(&format!("{healed}{middle}"))?;
        let tokens = tokens.into_iter();
        Ok(tokens.map(|(token, at)| (token, in_middle(at.start)..in_middle(at.end))).collect())
    }
}

impl Kind {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::LeftToRight => "left-to-right",
            Self::FillInMiddle => "fill-in-the-middle",
        }
    }
}

impl Example {
    fn new(sample: &Sample, kind: Kind) -> Self {
        Self {
            tokens: Vec::new(),
            roles: Vec::new(),
            kind,
            cwe: sample.cwe.clone(),
            source: sample.source.clone(),
        }
    }

    fn push(&mut self, token: u32, role: Role) {
        self.tokens.push(token);
        self.roles.push(role);
    }

    /// Number of tokens with this role.
    pub fn count(&self, role: Role) -> usize {
        self.roles.iter().filter(|&&other| other == role).count()
    }
}

/// Sorts examples into those that are used and those that are left out.
struct Collector {
    max_tokens: usize,
    examples: Vec<Example>,
    counts: Counts,
}

impl Collector {
    fn new(max_tokens: usize) -> Self {
        Self { max_tokens, examples: Vec::new(), counts: Counts::default() }
    }

    fn take(&mut self, example: Example) {
        if example.tokens.len() > self.max_tokens {
            self.counts.n_too_long += 1;
        } else if example.count(Role::Fix) == 0 {
            self.counts.n_without_fix += 1;
        } else {
            self.counts.add(&example);
            self.examples.push(example);
        }
    }

    fn finish(self, part: &'static str) -> Result<Selection, Error> {
        match self.examples.is_empty() {
            true => Err(Error::NoExamples { part, counts: Box::new(self.counts) }),
            false => Ok(Selection { examples: self.examples, counts: self.counts }),
        }
    }
}

impl Counts {
    fn add(&mut self, example: &Example) {
        let amount = match example.kind {
            Kind::LeftToRight => &mut self.left_to_right,
            Kind::FillInMiddle => &mut self.fill_in_middle,
        };
        amount.n_examples += 1;
        amount.n_tokens += example.tokens.len();
        amount.n_fix += example.count(Role::Fix);
        amount.n_keep += example.count(Role::Keep);
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { left_to_right, fill_in_middle, n_too_long, n_without_fix } = self;
        write!(
            f,
            "left-to-right: {left_to_right}; fill-in-the-middle: {fill_in_middle}; left out: {n_too_long} too long, \
             {n_without_fix} without a token of the fix"
        )
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { n_examples, n_tokens, n_fix, n_keep } = self;
        write!(f, "{n_examples} examples of {n_tokens} tokens, {n_fix} fixed, {n_keep} kept")
    }
}

/// What an editor would send from `middle.start` if `middle` were not written yet.
fn editor_prompt(text: &str, middle: &Range<usize>, budget: PromptBudget) -> Prompt {
    let unwritten = [&text[..middle.start], &text[middle.end..]].concat();
    prompt_at(&Document::new(&unwritten, 0, ""), ByteIdx(middle.start), budget.into())
}

/// What of the ranges lies in `middle`, counted from its start.
fn inside(fixed: &[Range<usize>], middle: &Range<usize>) -> Vec<Range<usize>> {
    let cut = fixed.iter().map(|range| range.start.max(middle.start)..range.end.min(middle.end));
    let cut = cut.filter(|range| !range.is_empty());
    cut.map(|range| range.start - middle.start..range.end - middle.start).collect()
}

/// Whether a token that stands for `bytes` is part of the fix.
fn role(bytes: &Range<usize>, fixed: &[Range<usize>]) -> Role {
    let overlaps = |range: &Range<usize>| range.start < bytes.end && bytes.start < range.end;
    match fixed.iter().any(overlaps) {
        true => Role::Fix,
        false => Role::Keep,
    }
}
