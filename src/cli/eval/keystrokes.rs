//! `cosec-ls eval keystrokes`: a typing replay through the language server. What does a keystroke cost?
//!
//! Takes a line's text out of a file, opens the file in a server with the real pair, types the text again character by
//! character, and asks for a completion after each. The server is the one that editors talk to, at the other end of two
//! pipes.

mod editor;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use indicatif::HumanDuration;
use serde_json::{Value, json};

use crate::cli::session::start_engine;
use crate::config::Settings;
use crate::engine::Backend;
use crate::engine::local::{LocalEngine, Reuse};
use crate::eval::keystrokes::{Keystroke, table};
use crate::lsp;
use crate::registry::Registry;
use crate::text::language::language_of;

use crate::cli::output::{Unwritable, out, remark};
use editor::{Editor, Timed};

/// Arguments of `cosec-ls eval keystrokes`.
#[derive(Debug, Args)]
pub struct KeystrokesArgs {
    /// A real file; of some 1,200 tokens or more, if reuse is to be seen
    file: PathBuf,
    /// The line to type, from 1
    line: usize,
    /// Characters to type
    #[arg(long, default_value_t = KEYS)]
    keys: usize,
    /// What to type instead of the line's own text, for instance something that no model expects
    #[arg(long)]
    text: Option<String>,
    /// Forget the caches after every request
    #[arg(long)]
    no_reuse: bool,
    /// Settings as an editor gives them, laid over `{"maxTokens": 16, "debounceMs": 0}`
    #[arg(long, value_name = "JSON", default_value = "{}")]
    options: String,
}

impl KeystrokesArgs {
    /// The defaults, for a line of a file.
    pub fn new(file: PathBuf, line: usize) -> Self {
        Self { file, line, keys: KEYS, text: None, no_reuse: false, options: "{}".to_owned() }
    }
}

/// Characters that are typed unless another number is asked for.
const KEYS: usize = 30;

/// The document's name, which no setting excludes.
const URI: &str = "file:///replay/document";

/// The bytes that a pipe holds.
const PIPE_BYTES: usize = 1 << 22;

/// A file without the text that is to be typed.
#[derive(Debug, PartialEq, Eq)]
struct Replay {
    text: String,
    /// From 0.
    line: usize,
    /// Characters before the first one that is typed.
    indent: usize,
    keys: Vec<char>,
}

/// Prints a row per keystroke, and the medians.
///
/// # Errors
/// If the file or the models cannot be had, there is nothing to type, or the server ends.
pub fn run(args: &KeystrokesArgs, registry: Registry, settings: Settings) -> Result<ExitCode> {
    let options = options(&args.options)?;
    let text =
        std::fs::read_to_string(&args.file).with_context(|| args.file.display().to_string())?;
    let replay = Replay::of(&text, args.line, args.keys, args.text.as_deref())?;
    let reuse = if args.no_reuse { Reuse::Discard } else { Reuse::Keep };
    let (runtime, engine) = start_engine(registry, &settings, reuse)?;
    let (client_out, server_in) = tokio::io::duplex(PIPE_BYTES);
    let (server_out, client_in) = tokio::io::duplex(PIPE_BYTES);
    let backend = engine.clone() as Arc<dyn Backend>;
    let server = lsp::serve(server_in, server_out, backend, settings);
    let editor = Editor::new(client_in, client_out);
    let mut typist = Typist { editor, engine: &engine, replay: &replay };
    let typing = typist.type_all(options, language_of(&args.file), reuse);
    let table = runtime.block_on(async {
        tokio::select! {
            _ = server => bail!("the server ended"),
            table = typing => Ok(table?),
        }
    })?;
    write!(out(), "\n{table}")?;
    Ok(ExitCode::SUCCESS)
}

/// The client's options: `more` over those of every replay.
fn options(more: &str) -> Result<Value> {
    let mut options = json!({ "maxTokens": 16, "debounceMs": 0 });
    let more: Value = serde_json::from_str(more).context("--options is no JSON")?;
    for (key, value) in more.as_object().context("--options is no object")? {
        options[key] = value.clone();
    }
    Ok(options)
}

impl Replay {
    /// Takes what stands behind a line's indentation out of `text`; its first `n_keys` characters are typed, or those
    /// of `other`.
    fn of(text: &str, line: usize, n_keys: usize, other: Option<&str>) -> Result<Self> {
        let mut lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
        let line = line.checked_sub(1).context("lines are counted from 1")?;
        let n_lines = lines.len();
        let target =
            lines.get_mut(line).with_context(|| format!("the file has {n_lines} lines"))?;
        let indent = target.chars().take_while(|c| c.is_whitespace()).count();
        let own: String = target.chars().skip(indent).collect();
        let keys: Vec<char> = other.unwrap_or(&own).chars().take(n_keys).collect();
        if keys.is_empty() {
            bail!("there is nothing to type in line {}", line + 1);
        }
        // What stands behind the typed characters goes too, or every keystroke would be in the middle of a line.
        *target = target.chars().take(indent).collect();
        Ok(Self { text: lines.join("\n"), line, indent, keys })
    }
}

/// Who types.
struct Typist<'a> {
    editor: Editor,
    engine: &'a LocalEngine,
    replay: &'a Replay,
}

impl Typist<'_> {
    /// Types everything; the table of it.
    async fn type_all(
        &mut self,
        options: Value,
        language: &str,
        reuse: Reuse,
    ) -> Result<String, Unwritable> {
        let replay = self.replay;
        self.editor.open(options, URI, language, &replay.text).await;
        let (cold, _) = self.ask(0).await;
        self.announce(&cold, reuse)?;
        writeln!(out(), "key  base + security tokens  decoded  first text ms  answer ms")?;
        let mut keystrokes = Vec::new();
        for (i, key) in replay.keys.iter().enumerate() {
            self.editor.type_at(URI, replay.line, replay.indent + i, &key.to_string()).await;
            let (keystroke, answer) = self.ask(i + 1).await;
            print_keystroke(*key, &keystroke, &answer)?;
            keystrokes.push(keystroke);
        }
        Ok(table(&cold, &keystrokes))
    }

    /// Asks for a completion after so many typed characters.
    async fn ask(&mut self, n_typed: usize) -> (Keystroke, Timed) {
        let n_before = self.engine.totals().requests;
        let column = self.replay.indent + n_typed;
        let answer = self.editor.complete(URI, self.replay.line, column).await;
        let totals = self.engine.totals();
        let asked = totals.requests > n_before;
        let stats = totals.recent.back().filter(|_| asked).copied().unwrap_or_default();
        let keystroke = Keystroke {
            asked,
            n_base_tokens: stats.base_prefill_tokens,
            n_security_tokens: stats.security_prefill_tokens,
            n_decoded_tokens: stats.decoded_tokens,
            first_ms: answer.first_ms,
            answer_ms: answer.answer_ms,
        };
        (keystroke, answer)
    }

    /// Says what the cold prompt took, and what all keystrokes may take.
    fn announce(&self, cold: &Keystroke, reuse: Reuse) -> Result<(), Unwritable> {
        let n_keys = self.replay.keys.len();
        writeln!(
            out(),
            "cold: {} + {} tokens evaluated, first text {:.0} ms",
            cold.n_base_tokens,
            cold.n_security_tokens,
            cold.first_ms
        )?;
        let all = Duration::from_secs_f64(cold.answer_ms / 1e3 * n_keys as f64);
        let how = match reuse {
            Reuse::Keep => "much less than",
            Reuse::Discard => "about",
        };
        remark(format_args!("{n_keys} keystrokes, {how} {}", HumanDuration(all)));
        Ok(())
    }
}

fn print_keystroke(key: char, keystroke: &Keystroke, answer: &Timed) -> Result<(), Unwritable> {
    let memory = if keystroke.asked { "" } else { "  from memory" };
    writeln!(
        out(),
        "{key:?}  {:>4} + {:<4}  {:>3}  {:>8.1}  {:>8.1}{memory}  {}",
        keystroke.n_base_tokens,
        keystroke.n_security_tokens,
        keystroke.n_decoded_tokens,
        keystroke.first_ms,
        keystroke.answer_ms,
        answer.result["items"][0]["insertText"],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "def f():\n    return 1 + é\n\nx = 2\n";

    #[test]
    fn a_line_loses_its_text_and_keeps_its_indentation() {
        let replay = Replay::of(FILE, 2, 3, None).unwrap();
        let text = "def f():\n    \n\nx = 2\n".to_owned();
        let keys = vec!['r', 'e', 't'];
        assert_eq!(replay, Replay { text: text.clone(), line: 1, indent: 4, keys });
        let other = Replay::of(FILE, 2, 30, Some("yé")).unwrap();
        assert_eq!(other, Replay { text, line: 1, indent: 4, keys: vec!['y', 'é'] });
    }

    #[test]
    fn what_cannot_be_typed_is_refused() {
        let refused = |line, text| Replay::of(FILE, line, 30, text).unwrap_err().to_string();
        assert_eq!(refused(0, None), "lines are counted from 1");
        assert_eq!(refused(9, None), "the file has 5 lines");
        assert_eq!(refused(3, None), "there is nothing to type in line 3");
        assert_eq!(refused(2, Some("")), "there is nothing to type in line 2");
    }

    #[test]
    fn options_are_laid_over_those_of_every_replay() {
        let all = options(r#"{"maxTokens": 4, "prefixTokens": 9}"#).unwrap();
        assert_eq!(all, json!({ "maxTokens": 4, "debounceMs": 0, "prefixTokens": 9 }));
        assert_eq!(options("[]").unwrap_err().to_string(), "--options is no object");
        assert_eq!(options("{").unwrap_err().to_string(), "--options is no JSON");
    }
}
