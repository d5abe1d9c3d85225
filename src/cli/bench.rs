//! `cosec-ls bench`: how fast this machine is, with and without hardening, on real files.
//!
//! The ways of decoding take turns within one run, because machines drift: it is the ratios that say something.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;

use crate::config::{DraftTokens, Mode, Settings};
use crate::decode::draft_length::DraftLength;
use crate::decode::generate::{Guide, Limits, PREFILL_CHUNK, generate};
use crate::decode::rng::Draws;
use crate::decode::{CoDecoder, Role, Sequence, Step};
use crate::engine::decoding::new_sequence;
use crate::engine::pair::{self, Choice, Pair};
use crate::eval::sample::law;
use crate::model::{Decoder, LanguageModel, LanguageModelCache, LogitRows, device};
use crate::registry::Registry;

use super::progress::Terminal;

/// `cosec-ls bench …`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Files whose beginnings are the prompts; without one, a file of this program
    files: Vec<PathBuf>,
    /// Tokens of each prompt, left to right
    #[arg(long, default_value_t = 512)]
    prompt: usize,
    /// Tokens to decode after it
    #[arg(long, default_value_t = 64)]
    tokens: usize,
    /// Rounds over all ways of decoding
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Temperatures of both roles, separated by commas; 0 takes the most likely token
    #[arg(long, value_delimiter = ',', default_values_t = [0.0, 0.4])]
    temperature: Vec<f32>,
    /// Also time one token after so many tokens of context, up to this many
    #[arg(long)]
    context: Option<usize>,
}

/// What is decoded when no file is given.
const SAMPLE: &str = include_str!("../complete.rs");

/// A way of decoding.
#[derive(Clone, Copy, Debug)]
struct Way {
    name: &'static str,
    mode: Mode,
    draft_tokens: DraftTokens,
}

const WAYS: [Way; 3] = [
    Way { name: "off", mode: Mode::Off, draft_tokens: DraftTokens::Fixed(1) },
    Way { name: "cosec, plain steps", mode: Mode::Cosec, draft_tokens: DraftTokens::Fixed(1) },
    Way { name: "cosec, speculative", mode: Mode::Cosec, draft_tokens: DraftTokens::Auto },
];

/// Prints the figures.
///
/// # Errors
/// If the profile cannot be loaded, a file cannot be read, or a model fails.
pub fn run(args: &BenchArgs, registry: &Registry, settings: &Settings) -> Result<ExitCode> {
    let choice = Choice {
        threads: settings.threads,
        profile: &settings.profile,
        adapter: settings.adapter.as_deref(),
    };
    let pair = pair::load(registry, choice, &Terminal::new())?;
    println!(
        "loaded in {:.1} s with {} threads, at most {} MB in memory so far",
        pair.profile.load_seconds,
        device::choose_threads(settings.threads),
        peak_memory().map_or("?".to_owned(), |bytes| (bytes / 1_000_000).to_string())
    );
    let mut bench = Bench { pair: &pair, args, lengths: [const { None }; WAYS.len()] };
    for (name, text) in prompts(args)? {
        let tokens = pair.tokenizer.encode(&text)?;
        bench.file(&name, &tokens)?;
    }
    if let Some(most) = args.context {
        bench.context(most)?;
    }
    if let Some(bytes) = peak_memory() {
        println!("at most {} MB in memory", bytes / 1_000_000);
    }
    Ok(ExitCode::SUCCESS)
}

/// Names and texts of the prompts.
fn prompts(args: &BenchArgs) -> Result<Vec<(String, String)>> {
    if args.files.is_empty() {
        return Ok(vec![("src/complete.rs of this program".to_owned(), SAMPLE.to_owned())]);
    }
    let read = |path: &PathBuf| {
        let name = path.display().to_string();
        Ok((name.clone(), std::fs::read_to_string(path).context(name)?))
    };
    args.files.iter().map(read).collect()
}

/// A loaded pair under the stopwatch.
struct Bench<'a> {
    pair: &'a Pair,
    args: &'a BenchArgs,
    /// What each way learned of draft lengths; as in the engine, it outlives a request.
    lengths: [Option<DraftLength>; WAYS.len()],
}

/// What one decoding gave.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    seconds: f64,
    tokens: usize,
    rounds: usize,
    proposed: usize,
    accepted: usize,
}

impl<'a> Bench<'a> {
    fn file(&mut self, name: &str, tokens: &[u32]) -> Result<()> {
        let prompt = &tokens[..tokens.len().min(self.args.prompt)];
        println!("\n{name}, {} tokens of it as prompt", prompt.len());
        let mut sequence = self.prefill(prompt)?;
        self.rows(&mut sequence)?;
        for &temperature in &self.args.temperature {
            self.ways(temperature, &mut sequence, prompt)?;
        }
        Ok(())
    }

    /// Both caches with the prompt, and what that took.
    fn prefill(&self, prompt: &[u32]) -> Result<Sequence<LanguageModelCache>> {
        let mut sequence = new_sequence(self.pair);
        sequence.retarget(prompt.to_vec());
        let decoder = self.decoder(WAYS[1], 0.0, 0);
        for role in [Role::Base, Role::Security] {
            let started = Instant::now();
            while decoder.prefill(&mut sequence, role, PREFILL_CHUNK)? > 0 {}
            let rate = prompt.len() as f64 / started.elapsed().as_secs_f64();
            println!("prefill, {role:?}: {rate:.0} tokens per second");
        }
        Ok(sequence)
    }

    /// What a forward of several rows costs.
    fn rows(&self, sequence: &mut Sequence<LanguageModelCache>) -> Result<()> {
        for role in [Role::Base, Role::Security] {
            let model = self.model(role);
            let mut figures = Vec::new();
            for n_rows in [1usize, 2, 4, 8, 16] {
                let mut times = Vec::new();
                for _ in 0..5 {
                    let (pending, cache) = sequence.feed(role);
                    let token = pending[0];
                    let started = Instant::now();
                    model.forward(&vec![token; n_rows], cache, LogitRows::Last(n_rows))?;
                    times.push(started.elapsed().as_secs_f64() * 1e3);
                    sequence.settle();
                }
                figures.push(format!("{n_rows} in {:.1} ms", median(&mut times)));
            }
            println!("rows of one forward, {role:?}: {}", figures.join(", "));
        }
        Ok(())
    }

    /// All ways of decoding in turn, several times; then their medians.
    fn ways(
        &mut self,
        temperature: f32,
        sequence: &mut Sequence<LanguageModelCache>,
        prompt: &[u32],
    ) -> Result<()> {
        let mut runs = [const { Vec::new() }; WAYS.len()];
        for seed in 0..self.args.rounds as u64 {
            for (idx, way) in WAYS.iter().enumerate() {
                sequence.retarget(prompt.to_vec());
                let decoder = self.decoder(*way, temperature, seed);
                let learned = self.lengths[idx].clone();
                let mut length = learned.unwrap_or_else(|| DraftLength::new(way.draft_tokens));
                runs[idx].push(decode(&decoder, sequence, self.args.tokens, &mut length)?);
                self.lengths[idx] = Some(length);
            }
        }
        println!("temperature {temperature}, tokens per second (median of {}):", runs[0].len());
        let rates = runs.each_ref().map(|runs| {
            median(&mut runs.iter().map(|run| run.tokens as f64 / run.seconds).collect::<Vec<_>>())
        });
        for ((way, runs), rate) in WAYS.iter().zip(&runs).zip(rates) {
            println!(
                "  {:<20} {rate:>6.1}  ×{:.2} of off{}",
                way.name,
                rate / rates[0],
                details(runs)
            );
        }
        Ok(())
    }

    /// The time of one token of the base after more and more context.
    fn context(&self, most: usize) -> Result<()> {
        println!("\none token of the base after so many");
        let model = &self.pair.base;
        let tokens = self.pair.tokenizer.encode(SAMPLE)?;
        let mut cache = model.new_cache();
        let mut done = 0;
        let mut wanted = 128;
        while wanted <= most {
            while done < wanted {
                let chunk: Vec<u32> =
                    (done..wanted.min(done + 64)).map(|i| tokens[i % tokens.len()]).collect();
                model.forward(&chunk, &mut cache, LogitRows::None)?;
                done += chunk.len();
            }
            let mut times = Vec::new();
            for _ in 0..7 {
                let started = Instant::now();
                model.forward(&tokens[..1], &mut cache, LogitRows::Last(1))?;
                times.push(started.elapsed().as_secs_f64() * 1e3);
                crate::model::Cache::truncate(&mut cache, done);
            }
            println!("{wanted:>6} tokens: {:.1} ms", median(&mut times));
            wanted *= 2;
        }
        Ok(())
    }

    fn model(&self, role: Role) -> &LanguageModel {
        match role {
            Role::Base => &self.pair.base,
            Role::Security => &self.pair.security,
        }
    }

    fn decoder(&self, way: Way, temperature: f32, seed: u64) -> CoDecoder<'a, LanguageModel> {
        let law = law(self.pair.profile.decoding, way.mode, temperature, temperature);
        let draws = Draws { seed, sample: 0 };
        CoDecoder { base: &self.pair.base, security: &self.pair.security, law, draws }
    }
}

/// Acceptance and the lengths of rounds, where there were any.
fn details(runs: &[Run]) -> String {
    let sum = |part: fn(&Run) -> usize| runs.iter().map(part).sum::<usize>() as f64;
    let proposed = sum(|run| run.proposed);
    if proposed == 0.0 {
        return String::new();
    }
    let mut text = format!("; {:.0} % accepted", 100.0 * sum(|run| run.accepted) / proposed);
    let rounds = sum(|run| run.rounds);
    if rounds > 0.0 {
        text += &format!(", {:.1} tokens per forward of the base", sum(|run| run.tokens) / rounds);
    }
    text
}

fn decode(
    decoder: &CoDecoder<'_, LanguageModel>,
    sequence: &mut Sequence<LanguageModelCache>,
    max_tokens: usize,
    length: &mut DraftLength,
) -> Result<Run> {
    let limits = Limits { max_tokens, time_budget: Duration::MAX };
    let mut run = Run::default();
    let started = Instant::now();
    generate(decoder, sequence, limits, length, &mut Counter { run: &mut run })?;
    run.seconds = started.elapsed().as_secs_f64();
    Ok(run)
}

/// Counts, and never ends a decoding.
struct Counter<'a> {
    run: &'a mut Run,
}

impl Guide for Counter<'_> {
    fn cancelled(&self) -> bool {
        false
    }

    fn allowed(&self) -> Option<Vec<u32>> {
        None
    }

    fn verified(&mut self, _n_drafts: usize) {
        self.run.rounds += 1;
    }

    fn observe(&mut self, step: &Step) -> ControlFlow<()> {
        self.run.tokens += 1;
        self.run.proposed += usize::from(step.proposed());
        self.run.accepted += usize::from(step.accepted());
        ControlFlow::Continue(())
    }

    fn prefilled(&mut self, _base: usize, _security: usize) {}
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The largest resident set of this process, in bytes; known on Linux only.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}
