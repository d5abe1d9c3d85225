//! How long is the engine busy after its request was superseded?
//!
//! `cargo bench --bench cancellation -- FILE [--points 200]`: starts a request on the file, supersedes it after a random
//! time (in the prefill or while it decodes), and waits for its end. Prints the times in milliseconds and in units of
//! one forward of the phase that was interrupted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use cosec_ls::config::{Decoding, DraftTokens, Mode, Settings};
use cosec_ls::decode::generate::PREFILL_CHUNK;
use cosec_ls::engine::local::{LocalEngine, Reuse};
use cosec_ls::engine::{
    Backend, Chunk, Decode, DocumentId, Finish, PromptBudget, Request, RequestStats, State,
};
use cosec_ls::prompt::stop::StopRules;
use cosec_ls::prompt::{Layout, Prompt};
use cosec_ls::registry::{Registry, RegistryOptions};

#[derive(Parser)]
struct Args {
    /// A real file
    file: String,
    /// Requests to supersede
    #[arg(long, default_value_t = 200)]
    points: u64,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let text = std::fs::read_to_string(&args.file).context(args.file.clone())?;
    let registry = Registry::open(RegistryOptions::default())?;
    let engine = LocalEngine::start(registry, Settings::default(), Reuse::Keep)?;
    engine.warm();
    let runtime = tokio::runtime::Runtime::new()?;
    let mut state = engine.state();
    let settled = |s: &State| matches!(s, State::Ready(_) | State::Failed { .. });
    println!("{:?}", *runtime.block_on(state.wait_for(settled))?);
    let forward = Forwards::measure(&engine, &text);
    let mut random = Lcg(42);
    let (mut prefill, mut decode) = (Vec::new(), Vec::new());
    for point in 0..args.points {
        // In the prefill every prompt starts differently; while decoding it is in the cache but for its end.
        let in_prefill = point % 2 == 0;
        let (document, tag) = if in_prefill { ("prefill", point) } else { ("decode", MEASURED) };
        let mut running = engine.submit(request(&text, document, tag, 64));
        if !in_prefill {
            wait_for_text(&mut running);
        }
        std::thread::sleep(Duration::from_millis(random.below(1500)));
        let superseded = Instant::now();
        let _next = engine.submit(request(&text, document, tag, 1));
        if wait_for_end(&mut running) == Some(Finish::Superseded) {
            let ms = superseded.elapsed().as_secs_f64() * 1e3;
            if in_prefill { prefill.push(ms) } else { decode.push(ms) }
        }
    }
    report("in the prefill", prefill, forward.prefill_ms);
    report("while decoding", decode, forward.step_ms);
    Ok(())
}

/// The prompt whose forwards are measured, and that stays in the cache.
const MEASURED: u64 = 999_999;

/// What one forward takes here.
struct Forwards {
    /// The base, [`PREFILL_CHUNK`] tokens.
    prefill_ms: f64,
    /// One token of co-decoding: a forward of each model.
    step_ms: f64,
}

impl Forwards {
    fn measure(engine: &LocalEngine, text: &str) -> Self {
        let mut base_alone = request(text, "base", MEASURED, 1);
        base_alone.decoding.mode = Mode::Off;
        wait_for_end(&mut engine.submit(base_alone));
        let stats = last_stats(engine);
        let n_chunks = stats.base_prefill_tokens.div_ceil(PREFILL_CHUNK) as f64;
        let prefill_ms = stats.first_token_ms / n_chunks;
        wait_for_end(&mut engine.submit(request(text, "decode", MEASURED, 24)));
        let stats = last_stats(engine);
        let step_ms = (stats.total_ms - stats.first_token_ms) / (stats.decoded_tokens - 1) as f64;
        println!(
            "{} prompt tokens; the base takes {prefill_ms:.0} ms for {PREFILL_CHUNK} of them, a step of both models {step_ms:.0} ms",
            stats.prompt_tokens
        );
        Self { prefill_ms, step_ms }
    }
}

fn last_stats(engine: &LocalEngine) -> RequestStats {
    engine.totals().recent.back().copied().unwrap_or_default()
}

fn request(text: &str, document: &str, tag: u64, max_tokens: usize) -> Request {
    let end = text.len().min(4000);
    let above = format!("# {tag}\n{}\n", &text[..end]);
    Request {
        document: DocumentId(Arc::from(document)),
        prompt: Prompt {
            header: None,
            above,
            left: String::new(),
            suffix: String::new(),
            layout: Layout::FillInMiddle,
        },
        budget: PromptBudget { prefix_tokens: 1024, suffix_tokens: 256 },
        decoding: Decoding::default(),
        draft_tokens: DraftTokens::default(),
        seed: tag,
        sample: 0,
        stop: StopRules {
            max_lines: 1000,
            left: String::new(),
            lines_below: Vec::new(),
            tab_width: 4,
        },
        max_tokens,
        deadline: None,
        resume: Vec::new(),
    }
}

fn wait_for_text(decode: &mut Decode) {
    while let Some(Chunk::Text(chunk)) = decode.chunks.blocking_recv() {
        if !chunk.tokens.is_empty() {
            return;
        }
    }
}

fn wait_for_end(decode: &mut Decode) -> Option<Finish> {
    loop {
        match decode.chunks.blocking_recv()? {
            Chunk::Text(_) => {}
            Chunk::Done(done) => return Some(done.finish),
        }
    }
}

fn report(what: &str, mut times_ms: Vec<f64>, forward_ms: f64) {
    if times_ms.is_empty() {
        return;
    }
    times_ms.sort_by(f64::total_cmp);
    let at = |part: f64| times_ms[((times_ms.len() - 1) as f64 * part).round() as usize];
    println!(
        "{what}: {} points, median {:.0} ms, p99 {:.0} ms, largest {:.0} ms; in units of one forward ({forward_ms:.0} ms): median {:.2}, p99 {:.2}",
        times_ms.len(),
        at(0.5),
        at(0.99),
        at(1.0),
        at(0.5) / forward_ms,
        at(0.99) / forward_ms
    );
}

/// Knuth's MMIX generator.
struct Lcg(u64);

impl Lcg {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % n
    }
}
