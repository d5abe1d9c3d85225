//! `cosec-ls bench`: how fast this machine is, with and without hardening, on real files.
//!
//! The ways of decoding take turns within one run, because machines drift: it is the ratios that say something.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;

use crate::config::{Settings, ranges};
use crate::decode::generate::PREFILL_CHUNK;
use crate::decode::{Role, Sequence};
use crate::engine::decoding::new_sequence;
use crate::engine::pair;
use crate::eval::statistics::median;
use crate::eval::timing::{Drawing, Run, Stopwatch, Way};
use crate::model::{Decoder, LanguageModel, LanguageModelCache, LogitRows, device};
use crate::registry::Registry;

use super::eval::keystrokes::{self, KeystrokesArgs};
use super::output::out;
use super::progress::Terminal;

/// `cosec-ls bench …`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Files whose beginnings are the prompts; without one, a file of this program
    files: Vec<PathBuf>,
    /// Tokens of each prompt, left to right
    #[arg(long, default_value_t = 512, value_parser = ranges::PROMPT_TOKENS.parser::<usize>())]
    prompt: usize,
    /// Tokens to decode after it
    #[arg(long, default_value_t = 64, value_parser = ranges::MAX_TOKENS.parser::<usize>())]
    tokens: usize,
    /// Rounds over all ways of decoding
    #[arg(long, default_value_t = 3, value_parser = ranges::TIMES.parser::<usize>())]
    rounds: usize,
    /// Temperatures of both roles, separated by commas; 0 takes the most likely token
    #[arg(long, value_delimiter = ',', default_values_t = [0.0, 0.4], value_parser = ranges::TEMPERATURE.parser::<f32>())]
    temperature: Vec<f32>,
    /// Also time one token after so many tokens of context, up to this many
    #[arg(long, value_parser = ranges::PROMPT_TOKENS.parser::<usize>())]
    context: Option<usize>,
    /// Also type this line of the first file again, from 1, and time every keystroke, as `cosec-ls eval keystrokes` does
    #[arg(long, value_name = "LINE", requires = "files")]
    keystrokes: Option<usize>,
}

/// What is decoded when no file is given.
const SAMPLE: &str = include_str!("../complete.rs");

/// Prints the figures.
///
/// # Errors
/// If the profile cannot be loaded, a file cannot be read, or a model fails.
pub fn run(args: &BenchArgs, registry: Registry, settings: Settings) -> Result<ExitCode> {
    decoding(args, &registry, &settings)?;
    if let (Some(line), Some(file)) = (args.keystrokes, args.files.first()) {
        writeln!(out(), "\nkeystrokes in line {line} of {}", file.display())?;
        return keystrokes::run(&KeystrokesArgs::new(file.clone(), line), registry, settings);
    }
    Ok(ExitCode::SUCCESS)
}

/// Everything but the keystrokes; the models leave memory again.
fn decoding(args: &BenchArgs, registry: &Registry, settings: &Settings) -> Result<()> {
    let pair = pair::load(registry, settings.into(), &Terminal::new())?;
    writeln!(
        out(),
        "loaded in {:.1} s with {} threads, at most {} MB in memory so far",
        pair.profile.load_seconds,
        device::choose_threads(settings.threads),
        peak_memory().map_or("?".to_owned(), |bytes| (bytes / 1_000_000).to_string())
    )?;
    let mut bench = Bench { stopwatch: Stopwatch::new(&pair), args };
    for (name, text) in prompts(args)? {
        let tokens = pair.tokenizer.encode(&text)?;
        bench.file(&name, &tokens)?;
    }
    if let Some(most) = args.context {
        bench.context(most)?;
    }
    if let Some(bytes) = peak_memory() {
        writeln!(out(), "at most {} MB in memory", bytes / 1_000_000)?;
    }
    Ok(())
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
    stopwatch: Stopwatch<'a>,
    args: &'a BenchArgs,
}

impl Bench<'_> {
    fn file(&mut self, name: &str, tokens: &[u32]) -> Result<()> {
        let prompt = &tokens[..tokens.len().min(self.args.prompt)];
        writeln!(out(), "\n{name}, {} tokens of it as prompt", prompt.len())?;
        let mut sequence = self.prefill(prompt)?;
        self.rows(&mut sequence)?;
        for &temperature in &self.args.temperature {
            self.ways(temperature, &mut sequence, prompt)?;
        }
        Ok(())
    }

    /// Both caches with the prompt, and what that took.
    fn prefill(&self, prompt: &[u32]) -> Result<Sequence<LanguageModelCache>> {
        let mut sequence = new_sequence(self.stopwatch.pair());
        sequence.retarget(prompt.to_vec());
        let decoder = self.stopwatch.decoder(self.drawing(Way::Plain, 0.0, 0));
        for role in [Role::Base, Role::Security] {
            let started = Instant::now();
            while decoder.prefill(&mut sequence, role, PREFILL_CHUNK)? > 0 {}
            let rate = prompt.len() as f64 / started.elapsed().as_secs_f64();
            writeln!(out(), "prefill, {role:?}: {rate:.0} tokens per second")?;
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
                figures.push(format!("{n_rows} in {:.1} ms", middle(&times)));
            }
            writeln!(out(), "rows of one forward, {role:?}: {}", figures.join(", "))?;
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
        let mut runs = [const { Vec::new() }; Way::ALL.len()];
        for seed in 0..self.args.rounds as u64 {
            for (way, runs) in Way::ALL.into_iter().zip(&mut runs) {
                sequence.retarget(prompt.to_vec());
                let drawing = self.drawing(way, temperature, seed);
                runs.push(self.stopwatch.decode(drawing, sequence)?);
            }
        }
        writeln!(
            out(),
            "temperature {temperature}, tokens per second (median of {}):",
            runs[0].len()
        )?;
        let rates = runs.each_ref().map(|runs| {
            let rates = runs.iter().map(|run: &Run| run.n_tokens as f64 / run.seconds);
            middle(&rates.collect::<Vec<_>>())
        });
        for ((way, runs), rate) in Way::ALL.iter().zip(&runs).zip(rates) {
            writeln!(
                out(),
                "  {:<20} {rate:>6.1}  ×{:.2} of off{}",
                way.name(),
                rate / rates[0],
                details(runs)
            )?;
        }
        Ok(())
    }

    /// The time of one token of the base after more and more context.
    fn context(&self, most: usize) -> Result<()> {
        writeln!(out(), "\none token of the base after so many")?;
        let model = &self.stopwatch.pair().base;
        let tokens = self.stopwatch.pair().tokenizer.encode(SAMPLE)?;
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
            writeln!(out(), "{wanted:>6} tokens: {:.1} ms", middle(&times))?;
            wanted *= 2;
        }
        Ok(())
    }

    fn model(&self, role: Role) -> &LanguageModel {
        match role {
            Role::Base => &self.stopwatch.pair().base,
            Role::Security => &self.stopwatch.pair().security,
        }
    }

    fn drawing(&self, way: Way, temperature: f32, seed: u64) -> Drawing {
        Drawing { way, temperature, seed, n_tokens: self.args.tokens }
    }
}

/// Acceptance and the lengths of rounds, where there were any.
fn details(runs: &[Run]) -> String {
    let sum = |part: fn(&Run) -> usize| runs.iter().map(part).sum::<usize>() as f64;
    let proposed = sum(|run| run.n_proposed);
    if proposed == 0.0 {
        return String::new();
    }
    let mut text = format!("; {:.0} % accepted", 100.0 * sum(|run| run.n_accepted) / proposed);
    let rounds = sum(|run| run.n_rounds);
    if rounds > 0.0 {
        text +=
            &format!(", {:.1} tokens per forward of the base", sum(|run| run.n_tokens) / rounds);
    }
    text
}

/// The median of measurements, of which there are some.
fn middle(values: &[f64]) -> f64 {
    median(values).unwrap_or(f64::NAN)
}

/// The largest resident set of this process, in bytes; known on Linux only.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}
