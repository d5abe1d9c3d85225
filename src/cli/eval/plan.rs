//! What a run will cost, how many samples fit into its time, and how far it is.

use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

use crate::config::Decoding;
use crate::decode::rng::Draws;
use crate::eval::sample::{Draw, Order, Sampled, Sampler};
use crate::prompt::fim::Framed;

use super::SamplingArgs;
use crate::cli::output::{remark, remarks_are_seen};

/// Tokens that are decoded to measure the speed of a mode.
pub(super) const MEASURED_TOKENS: usize = 24;

/// Tokens of a completion before any was drawn: what functions of the paper's scenarios take.
pub(super) const USUAL_TOKENS: f64 = 100.0;

/// Samples of a prompt that are drawn in one go: its evaluation is shared among them, and a run that is stopped has
/// about as many samples of every prompt.
const ROUND: u32 = 5;

/// Without a terminal, lines come at every twentieth of a run.
const PLAIN_STEPS: u64 = 20;

/// The work of a run.
#[derive(Debug)]
pub struct Work {
    /// Prompts.
    pub n_prompts: usize,
    /// Modes.
    pub n_modes: usize,
    /// Samples that are on disk.
    pub n_done: usize,
    /// Their mean number of tokens; none if there are none.
    pub mean_tokens: Option<f64>,
}

impl Work {
    /// The work on so many prompts in so many modes; `n_tokens` are those of the samples of it that are on disk.
    pub fn new(n_prompts: usize, n_modes: usize, n_tokens: impl Iterator<Item = usize>) -> Self {
        let (n_done, mean_tokens) = count_and_mean(n_tokens);
        Self { n_prompts, n_modes, n_done, mean_tokens }
    }

    /// Whether samples are missing; a run that has all of them only shows them again.
    pub fn is_left(&self, args: &SamplingArgs) -> bool {
        self.n_done < self.n_prompts * self.n_modes * args.samples as usize
    }
}

/// How many numbers of tokens there are, and their mean; none if there are none.
pub(super) fn count_and_mean(n_tokens: impl Iterator<Item = usize>) -> (usize, Option<f64>) {
    let (n, sum) = n_tokens.fold((0, 0), |(n, sum), n_tokens| (n + 1, sum + n_tokens));
    (n, (n > 0).then(|| sum as f64 / n as f64))
}

/// How many samples to draw, and until when.
#[derive(Debug)]
pub struct Plan {
    n_samples: u32,
    deadline: Option<Instant>,
    bar: Bar,
}

/// One sample of a run: which prompt, which of its samples, which mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Index of the prompt.
    pub prompt: usize,
    /// Index of the sample, from 0 on.
    pub sample: u32,
    /// Index of the mode.
    pub mode: usize,
}

impl Plan {
    /// Measures the speed of every law on `example`, and says what the run costs.
    ///
    /// # Errors
    /// If a model fails.
    pub fn make(
        args: &SamplingArgs,
        work: &Work,
        laws: &[Decoding],
        sampler: &mut Sampler<'_>,
        example: &Framed,
    ) -> Result<Self> {
        let mut per_token = 0.0;
        if work.is_left(args) {
            for &law in laws {
                per_token += seconds_per_token(sampler, law, example, args.batch)?;
            }
        }
        Ok(Self::new(args, work, per_token))
    }

    /// Says what the run costs, where a token takes so many seconds in all modes together.
    pub fn new(args: &SamplingArgs, work: &Work, per_token: f64) -> Self {
        let tokens = work.mean_tokens.unwrap_or(USUAL_TOKENS).clamp(1.0, args.max_tokens as f64);
        // One more sample of every prompt in every mode.
        let step = work.n_prompts as f64 * per_token * tokens;
        let n_steps_done = work.n_done / (work.n_prompts * work.n_modes).max(1);
        let n_samples = match args.budget {
            Some(budget) => fitting(n_steps_done as u32, budget.as_secs_f64() / step, args.samples),
            None => args.samples,
        };
        let n_all = work.n_prompts * work.n_modes * n_samples as usize;
        let n_left = n_all.saturating_sub(work.n_done);
        let seconds = n_left as f64 / work.n_modes.max(1) as f64 * per_token * tokens;
        remark(format_args!(
            "{n_left} samples to draw ({n_samples} for each of {} prompts in {} modes, {} are there): about {} at {tokens:.0} \
             tokens each, at most {} at {}; judging comes on top",
            work.n_prompts,
            work.n_modes,
            work.n_done,
            HumanDuration(Duration::from_secs_f64(seconds)),
            HumanDuration(Duration::from_secs_f64(seconds / tokens * args.max_tokens as f64)),
            args.max_tokens,
        ));
        let deadline = args.budget.map(|budget| Instant::now() + budget);
        Self { n_samples, deadline, bar: Bar::new(n_left as u64) }
    }

    /// The samples that are not `is_done`, in the order in which they are drawn: the modes take turns. Ends early when the
    /// time is over.
    pub fn turns_left<F: Fn(Turn) -> bool>(
        &self,
        work: &Work,
        is_done: F,
    ) -> impl Iterator<Item = Turn> + use<F> {
        let deadline = self.deadline;
        let left = turns(self.n_samples, work.n_prompts, work.n_modes);
        left.filter(move |turn| !is_done(*turn)).take_while(move |_| {
            let is_over = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if is_over {
                remark(format_args!("the time is over; the same command goes on"));
            }
            !is_over
        })
    }

    /// Shows that one more sample is there.
    pub fn advance(&mut self) {
        self.bar.advance();
    }
}

fn turns(n_samples: u32, n_prompts: usize, n_modes: usize) -> impl Iterator<Item = Turn> {
    (0..n_samples).step_by(ROUND as usize).flat_map(move |first| {
        (0..n_prompts).flat_map(move |prompt| {
            (first..n_samples.min(first + ROUND))
                .flat_map(move |sample| (0..n_modes).map(move |mode| Turn { prompt, sample, mode }))
        })
    })
}

/// How many samples of every prompt there can be when `more` fit beside those that are done; at least one.
fn fitting(n_done: u32, more: f64, most: u32) -> u32 {
    // A float that is too large becomes the largest number.
    n_done.saturating_add(more as u32).clamp(1, most)
}

/// The speed of a law, in seconds of the whole machine per token, behind a prompt that is evaluated already.
pub(super) fn seconds_per_token(
    sampler: &mut Sampler<'_>,
    law: Decoding,
    example: &Framed,
    batch: usize,
) -> Result<f64> {
    let mut sample = |width: usize, max_tokens| {
        let order = |sample| {
            let draw = Draw { law, draws: Draws { seed: 0, sample }, max_tokens };
            Order { key: (), prompt: example, draw, is_complete: &|_| false }
        };
        let mut orders = (0..width.max(1) as u32).map(order);
        let started = Instant::now();
        let mut n_tokens = 0;
        let mut count = |(), sampled: Sampled| {
            n_tokens += sampled.cost.n_tokens;
            anyhow::Ok(())
        };
        sampler.sample_batch(&mut orders, width, &mut count)?;
        anyhow::Ok(started.elapsed().as_secs_f64() / n_tokens.max(1) as f64)
    };
    sample(1, 1)?;
    sample(batch, MEASURED_TOKENS)
}

/// A bar on a terminal, lines elsewhere.
#[derive(Debug)]
pub(super) struct Bar {
    bar: ProgressBar,
    started: Instant,
    is_terminal: bool,
    told_steps: u64,
}

impl Bar {
    pub(super) fn new(n: u64) -> Self {
        let template = "{wide_bar} {pos}/{len} samples, {eta} left";
        let style =
            ProgressStyle::with_template(template).expect("the template is fixed and right");
        let is_terminal = remarks_are_seen();
        let bar = if is_terminal { ProgressBar::new(n) } else { ProgressBar::hidden() };
        bar.set_length(n);
        let bar = bar.with_style(style);
        Self { bar, started: Instant::now(), is_terminal, told_steps: 0 }
    }

    pub(super) fn advance(&mut self) {
        self.bar.inc(1);
        let (done, all) = (self.bar.position(), self.bar.length().unwrap_or(0).max(1));
        let steps = done * PLAIN_STEPS / all;
        if !self.is_terminal && steps > self.told_steps {
            self.told_steps = steps;
            let left =
                self.started.elapsed().mul_f64(all.saturating_sub(done) as f64 / done as f64);
            remark(format_args!("{done} of {all} samples, about {} left", HumanDuration(left)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_take_turns_and_prompts_have_rounds() {
        let all: Vec<Turn> = turns(7, 2, 2).collect();
        assert_eq!(all.len(), 28);
        let keys: Vec<_> = all.iter().map(|turn| (turn.prompt, turn.sample, turn.mode)).collect();
        assert_eq!(keys[..3], [(0, 0, 0), (0, 0, 1), (0, 1, 0)]);
        assert_eq!(keys[9..12], [(0, 4, 1), (1, 0, 0), (1, 0, 1)]);
        assert_eq!(keys[20..22], [(0, 5, 0), (0, 5, 1)]);
    }

    #[test]
    fn a_budget_gives_at_least_one_sample_and_at_most_what_was_asked_for() {
        assert_eq!(fitting(0, 0.2, 25), 1);
        assert_eq!(fitting(3, 4.9, 25), 7);
        assert_eq!(fitting(3, f64::INFINITY, 25), 25);
    }
}
