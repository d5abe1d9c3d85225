//! The training loop of the security model (§2.1): examples in, an adapter out.
//!
//! One copy of the weights serves both sides of the loss: with the adapter it is the security model, without it the
//! frozen reference. All threads share one pool: the examples of a step and both forwards of each run side by side, and
//! whoever is done helps with the products of the longest. Gradients are added in the order of the examples, so a run is
//! a function of its settings and seed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use candle_core::{Tensor, Var};
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use serde::{Deserialize, Serialize};

use super::Error;
use super::examples::{Example, Kind};
use super::loss::{Losses, Objective, losses};
use super::optimizer::{AdamW, Moments, StepRate};
use super::schedule::Schedule;
use crate::kernel::losses::Divergence;
use crate::model::dropout::Dropout;
use crate::model::lora::{Adapter, Lora, LoraSettings, Projection};
use crate::model::{self, Transformer};

/// What a run is a function of, besides the model and the data.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Equal seeds give equal runs. By default, 1.
    pub seed: u64,
    /// Width of the updates. By default, 8 (table 2).
    pub rank: usize,
    /// Updates are scaled by alpha / rank. By default, 16 (table 2).
    pub alpha: f64,
    /// Share of what an update sees that is dropped. By default, 0.05 (table 2).
    pub dropout: f64,
    /// Examples whose gradients are averaged for one step. By default, 2 (table 2).
    pub accumulation: usize,
    /// The learning rate. By default, 5e-5 after 50 steps (table 2).
    pub schedule: Schedule,
    /// The optimizer. By default, table 2's.
    pub optimizer: AdamW,
    /// Which way the divergence is taken. By default, KL(S ‖ B), as the paper writes it.
    pub divergence: Divergence,
    /// What the examples are a function of, in any form: a run is continued with the same only.
    pub data: String,
    /// Threads that compute; nothing but time depends on it. By default, as many as the machine has.
    pub threads: usize,
}

/// Most tokens of examples that are worked on at once, unless one is longer: what the backward keeps of each token takes
/// some 3 MB in a model of half a billion parameters.
const TOKENS_AT_ONCE: usize = 1280;

/// What changes during a run.
#[derive(Debug)]
pub struct Trainer {
    frozen: Transformer,
    security: Transformer,
    adapter: Adapter,
    settings: Settings,
    /// `down` and `up` of every update, in the adapter's order.
    variables: Vec<Var>,
    /// One per variable.
    moments: Vec<Moments>,
    pool: ThreadPool,
    /// Where the run stands.
    pub progress: Progress,
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Optimizer steps done.
    pub steps: usize,
    /// The epoch that is running, from 0.
    pub epoch: usize,
    /// Examples of it that are done.
    pub examples: usize,
    /// The lowest validation loss so far.
    pub best: Option<f64>,
}

/// One step, as reported.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// Steps done, this one included.
    pub step: usize,
    /// The epoch, from 0.
    pub epoch: usize,
    /// Mean over the step's examples of the mean cross-entropy on the fix, in nats.
    pub cross_entropy: f64,
    /// Mean over the step's examples of the mean divergence elsewhere, in nats.
    pub divergence: f64,
    /// Norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// The rate of this step.
    pub learning_rate: f64,
    /// Tokens of the step's examples.
    pub tokens: usize,
    /// Time of the step.
    pub seconds: f64,
}

/// Losses on the validation set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Validation {
    /// By kind of prompt and weakness.
    pub parts: BTreeMap<(Kind, String), Part>,
}

/// Losses of some examples.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Part {
    /// How many examples.
    pub n_examples: usize,
    /// Sums over their tokens.
    pub losses: Losses,
    /// Σ over examples of the mean cross-entropy.
    pub cross_entropy: f64,
    /// Σ over examples of the mean divergence.
    pub divergence: f64,
}

impl Part {
    fn add(&mut self, losses: &Losses) {
        self.n_examples += 1;
        self.losses.add(losses);
        self.cross_entropy += losses.mean_cross_entropy();
        self.divergence += losses.mean_divergence();
    }

    fn merge(&mut self, other: &Self) {
        self.n_examples += other.n_examples;
        self.losses.add(&other.losses);
        self.cross_entropy += other.cross_entropy;
        self.divergence += other.divergence;
    }

    /// Mean over examples of their cross-entropy, in nats.
    pub fn mean_cross_entropy(&self) -> f64 {
        self.cross_entropy / self.n_examples.max(1) as f64
    }

    /// Mean over examples of their divergence, in nats.
    pub fn mean_divergence(&self) -> f64 {
        self.divergence / self.n_examples.max(1) as f64
    }
}

impl Validation {
    /// All examples of one kind of prompt.
    pub fn of_kind(&self, kind: Kind) -> Part {
        let mut sum = Part::default();
        self.parts.iter().filter(|((k, _), _)| *k == kind).for_each(|(_, part)| sum.merge(part));
        sum
    }

    /// The loss that chooses the best checkpoint: both kinds of prompts, weighted by their share in training.
    pub fn loss(&self, fim_share: f64) -> f64 {
        let loss = |kind| {
            let part = self.of_kind(kind);
            part.mean_cross_entropy() + part.mean_divergence()
        };
        (1.0 - fim_share) * loss(Kind::LeftToRight) + fim_share * loss(Kind::FillInMiddle)
    }
}

/// How a call of [`Trainer::epoch`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The epoch is over.
    Epoch,
    /// All steps of the schedule are done.
    Schedule,
    /// The caller asked for it; the step that was running was finished.
    Stopped,
}

impl Trainer {
    /// A run that has not begun, on `model` without an adapter; its weights are dense.
    ///
    /// # Errors
    /// If the device has no memory, or threads cannot be started.
    pub fn new(model: Transformer, settings: Settings) -> Result<Self, Error> {
        let lora = LoraSettings {
            rank: settings.rank,
            alpha: settings.alpha,
            projections: Projection::ALL.to_vec(),
        };
        let initial = Adapter::initial(model.config(), &lora, settings.seed, model.device())?;
        Self::with_adapter(model, &initial, settings)
    }

    /// A run that begins with `initial`.
    ///
    /// # Errors
    /// As [`Trainer::new`].
    pub fn with_adapter(
        model: Transformer,
        initial: &Adapter,
        settings: Settings,
    ) -> Result<Self, Error> {
        let (mut adapter, mut variables) = (Adapter::default(), Vec::new());
        for (layer_idx, projection, lora) in initial.iter() {
            let [down, up] =
                [&lora.down, &lora.up].map(|half| Var::from_tensor(&half.contiguous()?));
            let (down, up) = (down?, up?);
            let update = Lora {
                down: down.as_tensor().clone(),
                up: up.as_tensor().clone(),
                scale: lora.scale,
            };
            adapter.insert(layer_idx, projection, update);
            variables.extend([down, up]);
        }
        let moments = variables.iter().map(Moments::zeros).collect::<Result<_, _>>()?;
        Ok(Self {
            security: model.with_adapter(Arc::new(adapter.clone())),
            frozen: model,
            adapter,
            variables,
            moments,
            pool: ThreadPoolBuilder::new()
                .num_threads(settings.threads.max(1))
                .build()
                .map_err(Error::Threads)?,
            settings,
            progress: Progress::default(),
        })
    }

    /// What the run is a function of.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The frozen model.
    pub fn model(&self) -> &Transformer {
        &self.frozen
    }

    /// The adapter as it is now; its tensors change with every step.
    pub fn adapter(&self) -> &Adapter {
        &self.adapter
    }

    /// The variables and their moments, in the adapter's order, for a checkpoint.
    pub(super) fn state(&self) -> impl Iterator<Item = (&Var, &Moments)> {
        self.variables.iter().zip(&self.moments)
    }

    /// Continues from a checkpoint.
    pub(super) fn restore(
        &mut self,
        state: Vec<(Tensor, Moments)>,
        progress: Progress,
    ) -> Result<(), Error> {
        for ((variable, moments), (tensor, restored)) in
            self.variables.iter().zip(&mut self.moments).zip(state)
        {
            variable.set(&tensor)?;
            *moments = restored;
        }
        self.progress = progress;
        Ok(())
    }

    /// Trains on the rest of the running epoch's `examples`, reporting every step, until it ends, the schedule ends, or
    /// `stop` is set.
    ///
    /// # Errors
    /// If a loss or gradient is not finite (nothing of that step is taken over), or the device fails.
    pub fn epoch(
        &mut self,
        examples: &[Example],
        stop: &AtomicBool,
        mut report: impl FnMut(&StepReport, &mut Self) -> Result<(), Error>,
    ) -> Result<Ended, Error> {
        while self.progress.examples < examples.len() {
            if stop.load(Ordering::Relaxed) {
                return Ok(Ended::Stopped);
            }
            if self.progress.steps >= self.settings.schedule.total {
                return Ok(Ended::Schedule);
            }
            let rest = &examples[self.progress.examples..];
            let step = self.step(&rest[..rest.len().min(self.settings.accumulation)])?;
            report(&step, self)?;
        }
        self.progress.epoch += 1;
        self.progress.examples = 0;
        Ok(Ended::Epoch)
    }

    /// One optimizer step on `examples`.
    ///
    /// # Errors
    /// As [`Trainer::epoch`].
    pub fn step(&mut self, examples: &[Example]) -> Result<StepReport, Error> {
        let started = Instant::now();
        let done = self.progress.steps;
        let scale = 1.0 / examples.len() as f64;
        let scored = self.side_by_side(examples, |i, example| self.gradient(example, i, scale))?;
        let (mut cross_entropy, mut divergence) = (0.0, 0.0);
        let mut gradients: Option<Vec<Tensor>> = None;
        for (example, (losses, gradient)) in examples.iter().zip(scored) {
            if !losses.total().is_finite() {
                let example = example.source.clone();
                return Err(Error::Diverged { step: done + 1, what: "loss", example });
            }
            cross_entropy += losses.mean_cross_entropy() * scale;
            divergence += losses.mean_divergence() * scale;
            gradients = Some(match gradients {
                None => gradient,
                Some(sum) => add(&sum, &gradient)?,
            });
        }
        let gradients = gradients.unwrap_or_default();
        let learning_rate = self.settings.schedule.rate(done);
        let rate = StepRate { done, learning_rate };
        let optimizer = self.settings.optimizer;
        let gradient_norm = optimizer.step(&self.variables, &mut self.moments, &gradients, rate)?;
        if !gradient_norm.is_finite() {
            let sources: Vec<&str> = examples.iter().map(|e| e.source.as_str()).collect();
            let example = sources.join(", ");
            return Err(Error::Diverged { step: done + 1, what: "gradient", example });
        }
        self.progress.steps += 1;
        self.progress.examples += examples.len();
        let tokens = examples.iter().map(|example| example.tokens.len()).sum();
        Ok(StepReport {
            step: self.progress.steps,
            epoch: self.progress.epoch,
            cross_entropy,
            divergence,
            gradient_norm,
            learning_rate,
            tokens,
            seconds: started.elapsed().as_secs_f64(),
        })
    }

    /// The losses of one example and the gradient of `scale` times its loss, one tensor per variable.
    ///
    /// # Errors
    /// If the device fails.
    pub fn gradient(
        &self,
        example: &Example,
        place_in_step: usize,
        scale: f64,
    ) -> Result<(Losses, Vec<Tensor>), Error> {
        let key = [self.settings.seed, (self.progress.steps * 1024 + place_in_step) as u64];
        let dropout = Dropout { rate: self.settings.dropout, key };
        let (base, hidden) = rayon::join(
            || self.frozen.hidden_states(&example.tokens, None),
            || self.security.hidden_states(&example.tokens, Some(dropout)),
        );
        let (base, hidden) = (base?, hidden?);
        let objective = Objective { divergence: self.settings.divergence, scale };
        let (losses, upstream) =
            losses(&self.frozen, example, [&hidden.detach(), &base], objective)?;
        let graph = (hidden * upstream)?.sum_all()?.backward()?;
        let gradients = self.variables.iter().map(|variable| match graph.get(variable) {
            Some(gradient) => Ok(gradient.clone()),
            None => variable.zeros_like(),
        });
        Ok((losses, gradients.collect::<Result<_, _>>()?))
    }

    /// The losses on the validation set, with the adapter as it is; without dropout.
    ///
    /// # Errors
    /// If the device fails.
    pub fn validate(&self, examples: &[Example]) -> Result<Validation, Error> {
        let scored = self.side_by_side(examples, |_, example| {
            let hidden = |model: &Transformer| -> Result<Tensor, model::Error> {
                Ok(model.hidden_states(&example.tokens, None)?.detach())
            };
            let (base, security) = rayon::join(|| hidden(&self.frozen), || hidden(&self.security));
            let (base, security) = (base?, security?);
            let objective = Objective { divergence: self.settings.divergence, scale: 0.0 };
            Ok(losses(&self.frozen, example, [&security, &base], objective)?.0)
        })?;
        let mut validation = Validation::default();
        for (example, losses) in examples.iter().zip(&scored) {
            let part = validation.parts.entry((example.kind, example.cwe.clone())).or_default();
            part.add(losses);
        }
        Ok(validation)
    }

    /// `work` on every example, several at once, with results in the examples' order.
    fn side_by_side<R: Send>(
        &self,
        examples: &[Example],
        work: impl Fn(usize, &Example) -> Result<R, Error> + Sync,
    ) -> Result<Vec<R>, Error> {
        let mut results = Vec::with_capacity(examples.len());
        while results.len() < examples.len() {
            let first = results.len();
            let group = &examples[first..][..group_len(&examples[first..])];
            let each = group.par_iter().enumerate().with_max_len(1);
            let done: Result<Vec<R>, Error> =
                self.pool.install(|| each.map(|(i, example)| work(first + i, example)).collect());
            results.extend(done?);
        }
        Ok(results)
    }
}

/// How many of the first examples fit [`TOKENS_AT_ONCE`]; at least one.
fn group_len(examples: &[Example]) -> usize {
    let mut tokens = 0;
    let fitting = examples.iter().take_while(|example| {
        tokens += example.tokens.len();
        tokens <= TOKENS_AT_ONCE
    });
    fitting.count().max(1)
}

fn add(sum: &[Tensor], more: &[Tensor]) -> Result<Vec<Tensor>, candle_core::Error> {
    sum.iter().zip(more).map(|(sum, more)| sum + more).collect()
}
