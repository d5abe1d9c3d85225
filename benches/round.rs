//! What is a decoded token made of, and what was it made of before the kernels and the rounds?
//!
//! `cargo bench --bench round -- BASE.gguf SECURITY.gguf FILE [--way kernels|candle] [--drafts auto] [--tokens 64]`:
//! co-decodes after the beginning of a file, over our kernels or over candle's tensors with the same quantized weights,
//! and prints the time of a token. To be run under a profiler, once for each way; the models are read before, and the
//! prompt is short.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use candle_core::Device;
use clap::{Parser, ValueEnum};
use cosec_ls::config::{Decoding, DraftTokens};
use cosec_ls::decode::draft_length::DraftLength;
use cosec_ls::decode::generate::{Guide, Limits, generate, prefill_ahead};
use cosec_ls::decode::rng::Draws;
use cosec_ls::decode::{CoDecoder, Sequence, Step};
use cosec_ls::kernel::threads::Threads;
use cosec_ls::model::cpu::CpuTransformer;
use cosec_ls::model::gguf::Gguf;
use cosec_ls::model::{Decoder, Tokenizer, Transformer, device};

#[derive(Parser)]
struct Args {
    /// The base model
    base: PathBuf,
    /// The security model, without an adapter
    security: PathBuf,
    /// A file whose beginning is the prompt
    file: PathBuf,
    /// What computes
    #[arg(long, value_enum, default_value_t = Way::Kernels)]
    way: Way,
    /// Tokens drafted per forward of the base; 1 is the plain step
    #[arg(long, default_value = "auto")]
    drafts: DraftTokens,
    /// Tokens to decode
    #[arg(long, default_value_t = 64)]
    tokens: usize,
    /// Tokens of the prompt
    #[arg(long, default_value_t = 64)]
    prompt: usize,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Way {
    /// Our kernels
    Kernels,
    /// candle's tensors
    Candle,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let text =
        std::fs::read_to_string(&args.file).with_context(|| args.file.display().to_string())?;
    let mut tokens = Tokenizer::from_gguf(&Gguf::open(&args.base)?)?.encode(&text)?;
    tokens.truncate(args.prompt);
    if tokens.is_empty() {
        bail!("{} is empty", args.file.display());
    }
    match args.way {
        Way::Kernels => {
            let threads = Arc::new(Threads::new(device::choose_threads(0))?);
            let load = |path: &Path| {
                anyhow::Ok(CpuTransformer::load(&Gguf::open(path)?, Arc::clone(&threads))?)
            };
            decode(&load(&args.base)?, &load(&args.security)?, tokens, &args)
        }
        Way::Candle => {
            let load =
                |path: &Path| anyhow::Ok(Transformer::load(&Gguf::open(path)?, &Device::Cpu)?);
            decode(&load(&args.base)?, &load(&args.security)?, tokens, &args)
        }
    }
}

fn decode<D: Decoder>(base: &D, security: &D, prompt: Vec<u32>, args: &Args) -> Result<()> {
    let draws = Draws { seed: 1, sample: 0 };
    let decoder = CoDecoder { base, security, law: Decoding::default(), draws };
    let mut sequence = Sequence::new(base.new_cache(), security.new_cache());
    sequence.retarget(prompt);
    prefill_ahead(&decoder, &mut sequence, usize::MAX, &|| false)?;
    let limits = Limits { max_tokens: args.tokens, deadline: None };
    let mut counter = Counter::default();
    let started = Instant::now();
    generate(&decoder, &mut sequence, limits, &mut DraftLength::new(args.drafts), &mut counter)?;
    let ms = started.elapsed().as_secs_f64() * 1e3;
    println!(
        "{} tokens, {} forwards of the base, {} accepted: {:.1} ms per token",
        counter.n_tokens,
        counter.n_rounds,
        counter.n_accepted,
        ms / counter.n_tokens as f64
    );
    Ok(())
}

/// Counts what is decoded.
#[derive(Default)]
struct Counter {
    n_tokens: usize,
    n_accepted: usize,
    n_rounds: usize,
}

impl Guide for Counter {
    fn cancelled(&self) -> bool {
        false
    }

    fn allowed(&self, _drafted: &[u32]) -> Option<Vec<u32>> {
        None
    }

    fn verified(&mut self, _n_drafts: usize) {
        self.n_rounds += 1;
    }

    fn observe(&mut self, step: &Step) -> ControlFlow<()> {
        self.n_tokens += 1;
        self.n_accepted += usize::from(step.accepted());
        ControlFlow::Continue(())
    }

    fn prefilled(&mut self, _base: usize, _security: usize) {}
}
