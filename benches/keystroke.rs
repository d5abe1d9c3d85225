//! A typing replay through the language server: what does a keystroke cost?
//!
//! `cargo bench --bench keystroke -- FILE LINE [--keys 30] [--text TEXT] [--no-reuse] [--options JSON]`: takes the characters of the
//! line out of the file, opens it in a server with the real pair, types them again one by one, and asks for a
//! completion after each. Prints a row per keystroke and the medians.

mod editor;

use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Parser;
use cosec_ls::config::Settings;
use cosec_ls::engine::local::{LocalEngine, Reuse};
use cosec_ls::engine::{Backend, State};
use cosec_ls::lsp;
use cosec_ls::registry::{Registry, RegistryOptions};
use serde_json::{Value, json};

use editor::Editor;

#[derive(Parser)]
struct Args {
    /// A real file of about 1,200 tokens or more
    file: String,
    /// The line to type, from 1
    line: usize,
    /// Characters to type
    #[arg(long, default_value_t = 30)]
    keys: usize,
    /// What to type instead of the line's own text, for instance something that no model expects
    #[arg(long)]
    text: Option<String>,
    /// Forget the caches after every request
    #[arg(long)]
    no_reuse: bool,
    /// Settings, laid over `{"maxTokens": 16, "debounceMs": 0}`
    #[arg(long, default_value = "{}")]
    options: String,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

const URI: &str = "file:///replay/document.py";

fn main() -> Result<()> {
    let args = Args::parse();
    tokio::runtime::Runtime::new()?.block_on(replay(&args))
}

async fn replay(args: &Args) -> Result<()> {
    let text = std::fs::read_to_string(&args.file).context(args.file.clone())?;
    let (text, mut typed, indent) = without_line(&text, args.line, args.keys)?;
    if let Some(other) = &args.text {
        typed = other.chars().take(args.keys).collect();
    }
    let reuse = if args.no_reuse { Reuse::Discard } else { Reuse::Keep };
    let engine = start_engine(reuse).await?;
    let (client_out, server_in) = tokio::io::duplex(1 << 22);
    let (server_out, client_in) = tokio::io::duplex(1 << 22);
    let backend = engine.clone() as Arc<dyn Backend>;
    let server = lsp::serve(server_in, server_out, backend, Settings::default());
    let mut editor = Editor::new(client_in, client_out);
    let typing = type_line(&mut editor, args, &engine, (&text, &typed, indent));
    tokio::select! {
        _ = server => anyhow::bail!("the server ended"),
        done = typing => done,
    }
}

async fn start_engine(reuse: Reuse) -> Result<Arc<LocalEngine>> {
    let registry = Registry::open(RegistryOptions::default())?;
    let engine = Arc::new(LocalEngine::start(registry, Settings::default(), reuse)?);
    engine.warm();
    let mut state = engine.state();
    let state = state.wait_for(|s| matches!(s, State::Ready(_) | State::Failed { .. })).await?;
    match &*state {
        State::Ready(profile) => println!("loaded in {:.2} s", profile.load_seconds),
        other => anyhow::bail!("{other:?}"),
    }
    drop(state);
    Ok(engine)
}

/// The text without the first `keys` characters of a line after its indentation, those characters, and the indentation.
fn without_line(text: &str, line: usize, keys: usize) -> Result<(String, Vec<char>, usize)> {
    let mut lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
    let target = lines.get_mut(line - 1).context("there is no such line")?;
    let indent = target.chars().take_while(|c| c.is_whitespace()).count();
    let typed: Vec<char> = target.chars().skip(indent).take(keys).collect();
    // What stands behind the typed characters goes too, or every keystroke would be in the middle of a line.
    *target = target.chars().take(indent).collect();
    Ok((lines.join("\n"), typed, indent))
}

async fn type_line(
    editor: &mut Editor,
    args: &Args,
    engine: &LocalEngine,
    (text, typed, indent): (&str, &[char], usize),
) -> Result<()> {
    let mut options: Value = json!({ "maxTokens": 16, "debounceMs": 0 });
    let extra: Value = serde_json::from_str(&args.options).context("--options is no JSON")?;
    for (key, value) in extra.as_object().context("--options is no object")? {
        options[key] = value.clone();
    }
    editor.open(options, URI, "python", text).await;
    let line = args.line - 1;
    let cold = editor.complete(URI, line, indent).await;
    let stats = engine.totals().recent.back().copied().unwrap_or_default();
    println!("cold: {} prompt tokens, first text {:.0} ms", stats.prompt_tokens, cold.first_ms);
    println!("key  base+security tokens  decoded  first text ms  answer ms");
    let mut rows = Vec::new();
    for (i, key) in typed.iter().enumerate() {
        let before = engine.totals().requests;
        editor.type_at(URI, line, indent + i, &key.to_string()).await;
        let timed = editor.complete(URI, line, indent + i + 1).await;
        let totals = engine.totals();
        let stats = totals.recent.back().copied().unwrap_or_default();
        let asked = totals.requests > before;
        let (base, security, decoded) = match asked {
            true => {
                (stats.base_prefill_tokens, stats.security_prefill_tokens, stats.decoded_tokens)
            }
            false => (0, 0, 0),
        };
        let memory = if asked { "" } else { "  from memory" };
        println!(
            "{key:?}  {base:>4} + {security:<4}  {decoded:>3}  {:>8.1}  {:>8.1}{memory}  {}",
            timed.first_ms, timed.answer_ms, timed.result["items"][0]["insertText"],
        );
        rows.push((asked, [base as f64, security as f64, timed.first_ms, timed.answer_ms]));
    }
    summarize("all keystrokes", rows.iter().map(|(_, row)| *row).collect());
    summarize("asked of the models", rows.iter().filter(|r| r.0).map(|r| r.1).collect());
    summarize("from memory", rows.iter().filter(|r| !r.0).map(|r| r.1).collect());
    Ok(())
}

fn summarize(what: &str, rows: Vec<[f64; 4]>) {
    if rows.is_empty() {
        return;
    }
    let [base, security, first, answer] = [0, 1, 2, 3].map(|column| {
        let mut values: Vec<f64> = rows.iter().map(|row| row[column]).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    });
    println!(
        "median, {what} ({}): base {base:.0} and security {security:.0} tokens evaluated, first text {first:.1} ms, answer {answer:.1} ms",
        rows.len()
    );
}
