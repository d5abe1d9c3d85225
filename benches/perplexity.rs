//! What do activations of eight bits cost?
//!
//! `cargo bench --bench perplexity -- MODEL.gguf FILE … [--tokens 1024]`: how likely a model finds the next token of real
//! files, computed by the kernels that complete code, by candle with the same quantized weights, and by candle with
//! dequantized weights and f32 activations, where nothing is rounded but the weights.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use candle_core::Device;
use clap::Parser;
use cosec_ls::kernel::threads::Threads;
use cosec_ls::model::cpu::CpuTransformer;
use cosec_ls::model::gguf::Gguf;
use cosec_ls::model::linear::Precision;
use cosec_ls::model::{Decoder, LogitRows, Tokenizer, Transformer, device};

#[derive(Parser)]
struct Args {
    /// The model
    model: PathBuf,
    /// Files whose beginnings are read
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Tokens of each file
    #[arg(long, default_value_t = 1024)]
    tokens: usize,
    /// Compute threads; 0 takes all cores
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// Tokens of one forward.
const CHUNK: usize = 64;

fn main() -> Result<()> {
    let args = Args::parse();
    let gguf = Gguf::open(&args.model)?;
    let tokenizer = Tokenizer::from_gguf(&gguf)?;
    let mut texts = Vec::new();
    for path in &args.files {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let mut tokens = tokenizer.encode(&text)?;
        tokens.truncate(args.tokens);
        texts.push(tokens);
    }
    let threads = Arc::new(Threads::new(device::choose_threads(args.threads))?);
    let kernels = scores(&CpuTransformer::load(&gguf, threads)?, &texts)?;
    report("our kernels", &kernels, None);
    let candle = scores(&Transformer::load(&gguf, &Device::Cpu)?, &texts)?;
    report("candle, quantized", &candle, None);
    let dense = scores(&Transformer::load_dense(&gguf, &Device::Cpu, Precision::F32)?, &texts)?;
    report("candle, f32", &dense, None);
    report("our kernels against f32", &kernels, Some(&dense));
    report("candle, quantized, against f32", &candle, Some(&dense));
    report("our kernels against candle, quantized", &kernels, Some(&candle));
    Ok(())
}

/// ln p of every token but the first of each text.
fn scores<D: Decoder>(model: &D, texts: &[Vec<u32>]) -> Result<Vec<f64>> {
    let started = Instant::now();
    let mut scores = Vec::new();
    for tokens in texts {
        let mut cache = model.new_cache();
        let read = &tokens[..tokens.len() - 1];
        for (chunk, next) in read.chunks(CHUNK).zip(tokens[1..].chunks(CHUNK)) {
            let logits = model.forward(chunk, &mut cache, LogitRows::Last(chunk.len()))?;
            scores.extend(next.iter().enumerate().map(|(i, &token)| {
                let row = logits.row(i);
                let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let total: f64 = row.iter().map(|&x| f64::from(x - most).exp()).sum();
                f64::from(row[token as usize] - most) - total.ln()
            }));
        }
    }
    eprintln!("{} tokens in {:.0} s", scores.len(), started.elapsed().as_secs_f64());
    Ok(scores)
}

/// Perplexity, or what `scores` differ from `others` by.
fn report(what: &str, scores: &[f64], others: Option<&[f64]>) {
    let n = scores.len() as f64;
    let Some(others) = others else {
        let perplexity = (-scores.iter().sum::<f64>() / n).exp();
        println!("{what}: perplexity {perplexity:.4} over {n} tokens");
        return;
    };
    let differences = scores.iter().zip(others).map(|(a, b)| a - b);
    let mean = differences.clone().sum::<f64>() / n;
    let mean_absolute = differences.clone().map(f64::abs).sum::<f64>() / n;
    let largest = differences.map(f64::abs).fold(0.0, f64::max);
    println!(
        "{what}: ln p differs by {mean:+.5} on average, {mean_absolute:.4} in absolute value, {largest:.2} at most"
    );
}
