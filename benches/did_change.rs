//! What does a keystroke in a large document cost the server, before anybody asks for a completion?
//!
//! `cargo bench --bench did_change -- [--bytes 1000000] [--edits 2000]`: starts `cosec-ls`, opens a document of that size,
//! inserts characters at changing places, and asks for `cosec/status` after each, whose answer comes when the change has
//! been taken in. Prints the time of both together, and of the question alone, in milliseconds.

mod json_rpc;

use std::io::BufReader;
use std::process::{ChildStdin, ChildStdout};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;
use json_rpc::ServerProcess;
use serde_json::{Value, json};

#[derive(Parser)]
struct Args {
    /// Size of the document
    #[arg(long, default_value_t = 1_000_000)]
    bytes: usize,
    /// Characters to type
    #[arg(long, default_value_t = 2_000)]
    edits: usize,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

const URI: &str = "file:///bench/document.rs";

const LINE: &str =
    "    let total = items.iter().map(|item| item.price * item.amount).sum::<u64>();\n";

fn main() -> Result<()> {
    let args = Args::parse();
    let n_lines = args.bytes / LINE.len();
    let mut editor = Editor::start()?;
    editor.request("initialize", json!({ "capabilities": {} }))?;
    editor.notify("initialized", json!({}))?;
    let text = LINE.repeat(n_lines);
    let document = json!({ "uri": URI, "languageId": "rust", "version": 1, "text": text });
    editor.notify("textDocument/didOpen", json!({ "textDocument": document }))?;
    editor.request("cosec/status", json!({}))?;
    let (mut with_change, mut alone) = (Vec::new(), Vec::new());
    for edit in 0..args.edits {
        // All over the document, without a pattern (Knuth's multiplicative hash).
        let line = edit.wrapping_mul(2_654_435_761) % n_lines;
        let at = json!({ "line": line, "character": 4 });
        let change = json!({ "range": { "start": at, "end": at }, "text": "x" });
        let document = json!({ "uri": URI, "version": edit + 2 });
        let params = json!({ "textDocument": document, "contentChanges": [change] });
        let started = Instant::now();
        editor.notify("textDocument/didChange", params)?;
        editor.request("cosec/status", json!({}))?;
        with_change.push(started.elapsed().as_secs_f64() * 1e3);
        let started = Instant::now();
        editor.request("cosec/status", json!({}))?;
        alone.push(started.elapsed().as_secs_f64() * 1e3);
    }
    println!("{} bytes, {} edits", text.len(), args.edits);
    println!("didChange and status: {}", summary(with_change));
    println!("status alone: {}", summary(alone));
    Ok(())
}

fn summary(mut ms: Vec<f64>) -> String {
    ms.sort_by(f64::total_cmp);
    let at = |share: f64| ms[((ms.len() - 1) as f64 * share) as usize];
    format!("median {:.3} ms, p99 {:.3} ms, most {:.3} ms", at(0.5), at(0.99), at(1.0))
}

/// The server's other end.
struct Editor {
    _server: ServerProcess,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    next_id: u64,
}

impl Editor {
    fn start() -> Result<Self> {
        let (server, input, output) =
            ServerProcess::start(json_rpc::program().args(["serve", "--offline"]))?;
        Ok(Self { _server: server, input, output, next_id: 0 })
    }

    fn request(&mut self, method: &str, params: Value) -> Result<Value> {
        self.next_id += 1;
        let id = self.next_id;
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        json_rpc::write(&mut self.input, &request)?;
        loop {
            let message = json_rpc::read(&mut self.output)?.context("the server has ended")?;
            if message["id"] == id && message.get("method").is_none() {
                return Ok(message["result"].clone());
            }
        }
    }

    fn notify(&mut self, method: &str, params: Value) -> Result<()> {
        let message = json!({ "jsonrpc": "2.0", "method": method, "params": params });
        json_rpc::write(&mut self.input, &message)
    }
}
