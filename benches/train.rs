//! How long does an optimizer step take?
//!
//! `cargo bench --bench train -- MODEL.gguf SVEN [--steps 8] [--write EXAMPLES.jsonl]`: steps of table 2's settings on the
//! first left-to-right examples of the data set. `--write` writes these examples for
//! `tests/fixtures/train/bench_torch.py`, which times PyTorch and PEFT on them.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use candle_core::Device;
use clap::Parser;
use cosec_ls::kernel::losses::Divergence;
use cosec_ls::kernel::memory;
use cosec_ls::model::gguf::Gguf;
use cosec_ls::model::linear::Precision;
use cosec_ls::model::{Tokenizer, Transformer, device};
use cosec_ls::train::dataset::{Dataset, OnMalformed};
use cosec_ls::train::examples::{Example, Examples, Options, Role};
use cosec_ls::train::optimizer::AdamW;
use cosec_ls::train::schedule::Schedule;
use cosec_ls::train::trainer::{Settings, Trainer};

#[derive(Parser)]
struct Args {
    /// The model that is trained
    model: PathBuf,
    /// Data set in SVEN's format
    data: PathBuf,
    /// Optimizer steps, of two examples each
    #[arg(long, default_value_t = 8)]
    steps: usize,
    /// Compute threads; 0 takes all cores
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Numbers that the frozen weights are kept in: f32, bf16 or quantized; by default, the fastest
    #[arg(long, value_parser = precision)]
    precision: Option<Precision>,
    /// Where the examples go
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    memory::keep_freed();
    let gguf = Gguf::open(&args.model)?;
    let tokenizer = Tokenizer::from_gguf(&gguf)?;
    let dataset = Dataset::read(&args.data, OnMalformed::Stop)?;
    let options = Options { fim_share: 0.0, ..Options::default() };
    let epoch = Examples::new(&dataset, &tokenizer, None, options)?.epoch(0)?;
    let settings = Settings {
        seed: 1,
        rank: 8,
        alpha: 16.0,
        dropout: 0.05,
        accumulation: 2,
        schedule: Schedule { peak: 5e-5, warmup: 50, total: 1000 },
        optimizer: AdamW::default(),
        divergence: Divergence::SecurityFromBase,
        data: String::new(),
        threads: device::choose_training_threads(args.threads),
    };
    let examples = &epoch.examples[..args.steps * settings.accumulation];
    if let Some(path) = &args.write {
        std::fs::write(path, lines(examples))?;
    }
    let precision = args.precision.unwrap_or(Precision::fastest(&Device::Cpu));
    let model = Transformer::load_dense(&gguf, &Device::Cpu, precision)?;
    drop(gguf);
    let mut trainer = Trainer::new(model, settings)?;
    let (mut n_tokens, mut started) = (0, Instant::now());
    for (i, examples) in examples.chunks(trainer.settings().accumulation).enumerate() {
        let step = trainer.step(examples)?;
        println!(
            "step {i}: {:.2} s, {} tokens, {:.0} tokens/s, CE {:.4}, KL {:.6}",
            step.seconds,
            step.tokens,
            step.tokens as f64 / step.seconds,
            step.cross_entropy,
            step.divergence
        );
        // The first step allocates.
        match i {
            0 => started = Instant::now(),
            _ => n_tokens += step.tokens,
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    let per_step = seconds / (args.steps - 1).max(1) as f64;
    println!(
        "without the first, in {precision:?}: {per_step:.2} s per step, {:.0} tokens/s",
        n_tokens as f64 / seconds
    );
    Ok(())
}

fn precision(name: &str) -> Result<Precision> {
    match name {
        "f32" => Ok(Precision::F32),
        "bf16" => Ok(Precision::Bf16),
        "quantized" => Ok(Precision::Quantized),
        _ => anyhow::bail!("there are f32, bf16 and quantized"),
    }
}

/// As `bench_torch.py` reads them.
fn lines(examples: &[Example]) -> String {
    let mut lines = String::new();
    for Example { tokens, roles, .. } in examples {
        let roles: Vec<u8> = roles
            .iter()
            .map(|role| match role {
                Role::Fix => 1,
                Role::Keep => 2,
                Role::Unscored => 0,
            })
            .collect();
        let line = serde_json::json!({ "tokens": tokens, "roles": roles });
        writeln!(lines, "{line}").expect("a string takes all");
    }
    lines
}
