//! `cosec-ls train`: a supported model and a data set of fixes → a security adapter.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use signal_hook::consts::SIGTERM;

use crate::engine::pair;
use crate::kernel::losses::Divergence;
use crate::kernel::{bf16, memory};
use crate::model::gguf::Gguf;
use crate::model::linear::Precision;
use crate::model::lora::peft::{self, Description, PeftFiles, TrainedOn};
use crate::model::{Tokenizer, Transformer, device};
use crate::registry::manifest::Model;
use crate::registry::{AdapterFiles, Registry};
use crate::train::checkpoint;
use crate::train::dataset::{Dataset, OnMalformed};
use crate::train::examples::{Examples, Framing, Kind, Options, Selection};
use crate::train::log::{Event, Log, ValidationReport};
use crate::train::optimizer::AdamW;
use crate::train::schedule::Schedule;
use crate::train::trainer::{Ended, Settings, StepReport, Trainer};

use super::output::{out, remark};
use super::progress::{Terminal, watch, watch_ctrl_c};

/// How long a run may go on without a checkpoint.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(300);

/// Arguments of `cosec-ls train`. Defaults are those of the paper's table 2.
#[derive(Debug, Args)]
pub struct TrainArgs {
    /// Model of models.toml whose adapter is trained
    #[arg(long)]
    model: String,
    /// Data set in SVEN's format: a directory with train/*.jsonl and val/*.jsonl
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Where the adapter, the checkpoint, the log and the curve go
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Begin with this adapter of models.toml, or in this directory, instead of with one that changes nothing; its width
    /// and scale are kept
    #[arg(long, value_name = "NAME|DIR")]
    adapter: Option<String>,
    /// Continue the run in --out from its last checkpoint
    #[arg(long)]
    resume: bool,
    /// Passes over the training set
    #[arg(long, default_value_t = 8)]
    epochs: usize,
    /// Optimizer steps of the whole run, instead of whole epochs; a run may be continued with another number
    #[arg(long)]
    steps: Option<usize>,
    /// Highest learning rate
    #[arg(long, default_value_t = 5e-5)]
    learning_rate: f64,
    /// Steps over which the rate rises to it
    #[arg(long, default_value_t = 50)]
    warmup: usize,
    /// Examples whose gradients are averaged for one step
    #[arg(long, default_value_t = 2)]
    accumulation: usize,
    /// Width of the updates
    #[arg(long, default_value_t = 8)]
    rank: usize,
    /// Updates are scaled by alpha / rank
    #[arg(long, default_value_t = 16.0)]
    alpha: f64,
    /// Share of what an update sees that is dropped in training
    #[arg(long, default_value_t = 0.05)]
    dropout: f64,
    /// Decoupled weight decay
    #[arg(long, default_value_t = 0.01)]
    weight_decay: f64,
    /// Largest norm of a step's gradient
    #[arg(long, default_value_t = 1.0)]
    clip: f64,
    /// Examples with more tokens are left out
    #[arg(long, default_value_t = 1024)]
    max_tokens: usize,
    /// Share of the examples that are fill-in-the-middle prompts, as editors send them [default: 0.5, or 0 for models
    /// without fill-in-the-middle]
    #[arg(long)]
    fim_share: Option<f64>,
    /// Direction of the divergence from the frozen model
    #[arg(long, value_enum, default_value_t = Direction::SecurityFromBase)]
    divergence: Direction,
    /// Numbers that the frozen weights are kept in
    #[arg(long, value_enum, default_value_t = Numbers::Auto)]
    precision: Numbers,
    /// Numbers that the adapter is written in; the checkpoint, from which a run goes on, loses nothing
    #[arg(long, value_enum, default_value_t = AdapterNumbers::F32)]
    adapter_precision: AdapterNumbers,
    /// Validate after so many steps, besides after every epoch
    #[arg(long)]
    validate_every: Option<usize>,
    /// Leave malformed lines of the data set out, instead of stopping at the first
    #[arg(long)]
    skip_malformed: bool,
    /// Equal seeds give equal runs
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// [`Divergence`] on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Direction {
    /// KL(S ‖ B), as the paper writes it
    SecurityFromBase,
    /// KL(B ‖ S), as the published code computes it
    BaseFromSecurity,
}

/// [`Precision`] on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Numbers {
    /// The fastest: bf16 on CPUs with AMX, quantized on others, f32 on GPUs
    Auto,
    /// bf16 with f32 sums
    Bf16,
    /// Forward with the quantized weights, as completions are decoded; backward in f32
    Quantized,
    /// f32
    F32,
}

/// [`peft::Precision`] on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum AdapterNumbers {
    /// 32-bit floats, as they are trained
    F32,
    /// 16-bit floats, for a file of half the size
    F16,
}

/// Trains, and prints the validation losses before and after.
///
/// # Errors
/// If the model or the data cannot be used, or the run diverges.
pub fn run(args: &TrainArgs, registry: &Registry, threads: usize) -> Result<ExitCode> {
    memory::keep_freed();
    std::fs::create_dir_all(&args.out).with_context(|| args.out.display().to_string())?;
    let model = registry.model(&args.model)?;
    let path = registry.ensure(&args.model, &Terminal::new())?;
    let gguf = Gguf::open(&path)?;
    let tokenizer = Tokenizer::from_gguf(&gguf)?;
    let framing = framing(model, &tokenizer)?;
    let fim_share = args.fim_share.unwrap_or(if framing.is_some() { 0.5 } else { 0.0 });
    let on_malformed = if args.skip_malformed { OnMalformed::Skip } else { OnMalformed::Stop };
    let dataset = Dataset::read(&args.data, on_malformed)?;
    let options =
        Options { seed: args.seed, fim_share, max_tokens: args.max_tokens, ..Options::default() };
    let examples = Examples::new(&dataset, &tokenizer, framing, options)?;
    let validation = examples.validation()?;
    let first = examples.epoch(0)?;
    remark(format_args!("training: {}", first.counts));
    remark(format_args!("validation: {}", validation.counts));
    let precision = args.precision()?;
    let weights = Transformer::load_dense(&gguf, &device::select()?, precision)?;
    drop(gguf);
    let data = format!("{options:?} {precision:?}{}", args.start(registry)?);
    let settings = args.settings(&first, device::choose_training_threads(threads), data);
    let mut run = Run {
        trained_on: TrainedOn { model: args.model.clone(), model_sha256: model.sha256.to_string() },
        // Whole: what a run that is continued has logged would else be gone.
        log: Log::open(&args.out, usize::MAX)?,
        trainer: args.trainer(registry, weights, settings)?,
        args,
        fim_share,
        validation,
        stop: stop_flag()?,
        bar: bar(),
        saved: Instant::now(),
    };
    run.begin()?;
    run.train(&examples)
}

impl TrainArgs {
    /// What a run that begins with an adapter is a function of, besides the rest.
    fn start(&self, registry: &Registry) -> Result<String> {
        let Some(name) = &self.adapter else { return Ok(String::new()) };
        let AdapterFiles { config, tensors, .. } = registry.adapter_files(name)?;
        Ok(format!(" from {}", PeftFiles::new(config, tensors).sha256()))
    }

    fn trainer(
        &self,
        registry: &Registry,
        weights: Transformer,
        settings: Settings,
    ) -> Result<Trainer> {
        let Some(name) = &self.adapter else { return Ok(Trainer::new(weights, settings)?) };
        let adapter = pair::adapter(registry, name, registry.model(&self.model)?, &weights)?;
        Ok(Trainer::with_adapter(weights, &adapter, settings)?)
    }

    fn precision(&self) -> Result<Precision> {
        let device = device::select()?;
        match self.precision {
            Numbers::Bf16 if !(bf16::available() && device.is_cpu()) => {
                bail!("--precision bf16: this is no CPU with AMX tiles; use f32")
            }
            Numbers::Quantized if !device.is_cpu() => {
                bail!("--precision quantized: only the CPU computes so; use f32")
            }
            Numbers::Auto => Ok(Precision::fastest(&device)),
            Numbers::Bf16 => Ok(Precision::Bf16),
            Numbers::Quantized => Ok(Precision::Quantized),
            Numbers::F32 => Ok(Precision::F32),
        }
    }

    fn settings(&self, first: &Selection, threads: usize, data: String) -> Settings {
        let steps_per_epoch = first.examples.len().div_ceil(self.accumulation);
        let total = self.steps.unwrap_or(self.epochs * steps_per_epoch);
        Settings {
            seed: self.seed,
            rank: self.rank,
            alpha: self.alpha,
            dropout: self.dropout,
            accumulation: self.accumulation,
            schedule: Schedule { peak: self.learning_rate, warmup: self.warmup, total },
            optimizer: AdamW {
                weight_decay: self.weight_decay,
                clip: self.clip,
                ..AdamW::default()
            },
            divergence: match self.divergence {
                Direction::SecurityFromBase => Divergence::SecurityFromBase,
                Direction::BaseFromSecurity => Divergence::BaseFromSecurity,
            },
            data,
            threads,
        }
    }
}

/// A run and what it writes.
struct Run<'a> {
    args: &'a TrainArgs,
    trained_on: TrainedOn,
    fim_share: f64,
    validation: Selection,
    trainer: Trainer,
    log: Log,
    stop: Arc<AtomicBool>,
    bar: ProgressBar,
    saved: Instant,
}

impl Run<'_> {
    /// Continues from the checkpoint, or validates the frozen model: what the run will be compared with.
    fn begin(&mut self) -> Result<()> {
        let out = &self.args.out;
        let here = out.join(checkpoint::FILE).exists();
        if self.args.resume {
            checkpoint::resume(&mut self.trainer, out)?;
            self.log = Log::open(out, self.trainer.progress.steps)?;
            remark(format_args!("continuing after step {}", self.trainer.progress.steps));
        } else if here {
            bail!(
                "{} holds a run: continue it with --resume, or choose another --out",
                out.display()
            );
        } else {
            self.log = Log::open(out, 0)?;
            self.validate()?;
        }
        self.bar.set_length(self.trainer.settings().schedule.total as u64);
        self.bar.set_position(self.trainer.progress.steps as u64);
        Ok(())
    }

    fn train(mut self, examples: &Examples<'_>) -> Result<ExitCode> {
        loop {
            let epoch = examples.epoch(self.trainer.progress.epoch)?;
            match self.epoch(&epoch)? {
                Ended::Schedule => {
                    self.validate_if_new()?;
                    break;
                }
                Ended::Stopped => return self.leave(),
                // It came while the epoch's last step ran.
                Ended::Epoch if self.stop.load(Ordering::Relaxed) => return self.leave(),
                Ended::Epoch => self.validate()?,
            }
            if self.trainer.progress.steps >= self.trainer.settings().schedule.total {
                break;
            }
        }
        self.bar.finish();
        writeln!(out(), "{}", comparison(self.log.events()))?;
        Ok(ExitCode::SUCCESS)
    }

    /// Ends the program, to be continued.
    fn leave(&mut self) -> Result<ExitCode> {
        self.save()?;
        self.bar.abandon();
        remark(format_args!(
            "stopped after step {}; --resume continues",
            self.trainer.progress.steps
        ));
        Ok(ExitCode::from(130))
    }

    fn epoch(&mut self, epoch: &Selection) -> Result<Ended> {
        // Between two calls the trainer is ours again, to validate and to write checkpoints with it.
        loop {
            let steps = self.trainer.progress.steps;
            let pause = self.pause_after(steps);
            let (log, bar, stop) = (&mut self.log, &self.bar, &self.stop);
            let halt = AtomicBool::new(false);
            let ended = self.trainer.epoch(&epoch.examples, &halt, |report, trainer| {
                log.add(Event::Step(*report))?;
                show(bar, report);
                let due = trainer.progress.steps >= pause;
                if due || stop.load(Ordering::Relaxed) || self.saved.elapsed() > CHECKPOINT_EVERY {
                    halt.store(true, Ordering::Relaxed);
                }
                Ok(())
            })?;
            if ended != Ended::Stopped || self.stop.load(Ordering::Relaxed) {
                return Ok(ended);
            }
            if self.trainer.progress.steps >= pause {
                self.validate()?;
            }
            self.save()?;
        }
    }

    /// The step after which to validate next.
    fn pause_after(&self, steps: usize) -> usize {
        self.args.validate_every.map_or(usize::MAX, |every| (steps / every + 1) * every)
    }

    fn save(&mut self) -> Result<()> {
        checkpoint::save(&self.trainer, &self.args.out)?;
        self.log.draw()?;
        self.saved = Instant::now();
        Ok(())
    }

    fn validate_if_new(&mut self) -> Result<()> {
        let steps = self.trainer.progress.steps;
        let last = self.log.events().last();
        match last {
            Some(Event::Validation(report)) if report.step == steps => self.save(),
            _ => self.validate(),
        }
    }

    /// Validates, keeps the adapter if it is the best one so far, and writes a checkpoint.
    fn validate(&mut self) -> Result<()> {
        let validation = self.trainer.validate(&self.validation.examples)?;
        let steps = self.trainer.progress.steps;
        let report = ValidationReport::new(steps, &validation, self.fim_share);
        let is_best = self.trainer.progress.best.is_none_or(|best| report.loss < best);
        self.bar.suspend(|| remark(format_args!("{}", sentence(&report, is_best && steps > 0))));
        if is_best {
            self.trainer.progress.best = Some(report.loss);
            if steps > 0 {
                self.write_adapter()?;
            }
        }
        self.log.add(Event::Validation(report))?;
        self.save()
    }

    fn write_adapter(&self) -> Result<()> {
        let description = Description {
            model: self.trainer.model().config(),
            base_model: &self.trained_on.model,
            trained_on: Some(&self.trained_on),
            dropout: self.args.dropout,
            precision: match self.args.adapter_precision {
                AdapterNumbers::F32 => peft::Precision::F32,
                AdapterNumbers::F16 => peft::Precision::F16,
            },
        };
        peft::write(self.trainer.adapter(), &self.args.out, &description)?;
        Ok(())
    }
}

/// Set by Ctrl-C: the running step is finished and a checkpoint written. A second one ends the program at once.
fn stop_flag() -> Result<Arc<AtomicBool>> {
    let flag = watch_ctrl_c();
    watch(SIGTERM, &flag)?;
    Ok(flag)
}

fn bar() -> ProgressBar {
    let style = "{bar:30} {pos}/{len} steps, {msg}, {eta} left";
    ProgressBar::new(0).with_style(ProgressStyle::with_template(style).expect("a fixed template"))
}

fn show(bar: &ProgressBar, report: &StepReport) {
    bar.set_message(format!(
        "loss {:.3}, KL {:.4}, {:.0} tokens/s",
        report.cross_entropy,
        report.divergence,
        report.tokens as f64 / report.seconds
    ));
    bar.set_position(report.step as u64);
}

/// The special tokens of `model`'s examples; none for models without fill-in-the-middle.
fn framing(model: &Model, tokenizer: &Tokenizer) -> Result<Option<Framing>> {
    let Some(fim) = pair::fim_tokens(model, tokenizer)? else { return Ok(None) };
    let stop_tokens = pair::stop_tokens(model, tokenizer)?;
    let end_of_text = *stop_tokens.first().context("the model has no stop token")?;
    Ok(Some(Framing { fim, end_of_text }))
}

fn sentence(report: &ValidationReport, is_best: bool) -> String {
    let mut text = format!("validation after step {}:", report.step);
    for kind in [Kind::LeftToRight, Kind::FillInMiddle] {
        if let Some(part) = report.all(kind) {
            let (ce, kl) = (part.cross_entropy, part.divergence);
            write!(text, " {} {ce:.3} + KL {kl:.4};", kind.name()).expect("strings take text");
        }
    }
    write!(text, " loss {:.4}{}", report.loss, if is_best { ", the best" } else { "" })
        .expect("strings take text");
    text
}

/// A Markdown table of the first and the best validation.
fn comparison(events: &[Event]) -> String {
    let reports = events.iter().filter_map(|event| match event {
        Event::Validation(report) => Some(report),
        Event::Step(_) => None,
    });
    let best = reports.clone().min_by(|a, b| a.loss.total_cmp(&b.loss));
    let (Some(first), Some(best)) = (reports.clone().next(), best) else { return String::new() };
    let mut table = format!(
        "validation before training and after step {} (the best), nats\n\n\
         | prompt | CWE | n | cross-entropy | after | per token | after | KL after |\n\
         |---|---|---|---|---|---|---|---|\n",
        best.step
    );
    for (before, after) in first.parts.iter().zip(&best.parts) {
        writeln!(
            table,
            "| {} | {} | {} | {:.3} | {:.3} | {:.3} | {:.3} | {:.4} |",
            after.kind,
            after.cwe,
            after.n,
            before.cross_entropy,
            after.cross_entropy,
            before.cross_entropy_per_token,
            after.cross_entropy_per_token,
            after.divergence
        )
        .expect("strings take text");
    }
    table
}
