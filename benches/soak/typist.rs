//! An impatient user of one server: types in many documents, asks and cancels, changes settings, and keeps the books.

use std::collections::HashMap;
use std::fmt;
use std::process::{ChildStdin, Command};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::Chance;
use crate::json_rpc::{self, ServerProcess};

/// Documents that are open at the same time.
const MOST_DOCUMENTS: usize = 12;

/// A text that is longer is opened anew, so that the work per act stays the same.
const MOST_LINES: usize = 60;

/// Between two acts: a fast typist's keys, and now and then a thought.
const KEYS_MS: usize = 40;

/// An answer that takes longer does not come.
const MOST_TO_ANSWER: Duration = Duration::from_secs(120);

const LANGUAGES: [(&str, &str); 6] = [
    (
        "python",
        "def total(items):\n    sum = 0\n    for item in items:\n        sum += item.price\n",
    ),
    ("rust", "fn main() {\n    let args: Vec<String> = std::env::args().collect();\n}\n"),
    ("c", "#include <stdio.h>\n\nint main(void) {\n\tputs(\"\u{fc}ber\");\n}\n"),
    ("javascript", "const http = require('http');\nhttp.createServer((req, res) => {\n});\n"),
    ("go", "package main\n\nfunc main() {\n\tx := `a: 1`\n}\n"),
    ("makefile", "all:\n\tcc -o a a.c\r\n\n"),
];

const KEYS: [&str; 14] = [
    "a",
    "e",
    "x",
    "(",
    ")",
    " ",
    "= ",
    "return ",
    "if x:",
    "\n",
    "\n    ",
    "\t",
    "\u{1f980}",
    "\"",
];

/// One server and its user.
pub(crate) struct Typist {
    server: ServerProcess,
    input: ChildStdin,
    messages: Receiver<Value>,
    profiles: Vec<String>,
    documents: Vec<OpenDocument>,
    next_id: u64,
    /// Requests that wait for an answer.
    waiting: HashMap<u64, (&'static str, Instant)>,
    counts: Counts,
}

struct OpenDocument {
    uri: String,
    version: i32,
    /// Where the cursor is: last line, in UTF-16 units.
    line: usize,
    column: usize,
}

/// What was done and what came of it.
#[derive(Default)]
pub(crate) struct Counts {
    keys: u64,
    completions: u64,
    items: u64,
    partial: u64,
    cancels: u64,
    settings: u64,
    documents: u64,
    requests: u64,
    answers: u64,
    errors: u64,
    pauses: u64,
    longest: Duration,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} keys in {} documents, {} completions ({} with an item, {} partial ones), {} cancels, {} settings, {} \
             pauses\n{} requests, {} answers ({} of them errors), the slowest after {:.1} s",
            self.keys,
            self.documents,
            self.completions,
            self.items,
            self.partial,
            self.cancels,
            self.settings,
            self.pauses,
            self.requests,
            self.answers,
            self.errors,
            self.longest.as_secs_f64()
        )
    }
}

impl Typist {
    /// Starts the server and says hello.
    pub(crate) fn start(server: &mut Command, profiles: &[String]) -> Result<Self> {
        let (server, input, mut output) = ServerProcess::start(server)?;
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            while let Ok(Some(message)) = json_rpc::read(&mut output) {
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let mut typist = Self {
            server,
            input,
            messages,
            profiles: profiles.to_vec(),
            documents: Vec::new(),
            next_id: 0,
            waiting: HashMap::new(),
            counts: Counts::default(),
        };
        let options = json!({ "profile": profiles[0], "popup": "always", "kvMemoryMib": 256 });
        let capabilities = json!({ "window": { "workDoneProgress": true } });
        typist.request(
            "initialize",
            json!({ "capabilities": capabilities, "initializationOptions": options }),
        )?;
        typist.wait_for_all(MOST_TO_ANSWER)?;
        typist.notify("initialized", json!({}))?;
        Ok(typist)
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.server.0.id()
    }

    /// Does one thing, listens, and waits as long as a user does.
    pub(crate) fn act(&mut self, chance: &mut Chance) -> Result<()> {
        match chance.below(100) {
            0..50 => self.type_something(chance)?,
            50..75 => self.ask_something(chance)?,
            75..83 => self.cancel_something(chance)?,
            83..87 => self.close_something(chance)?,
            87..91 => self.change_settings(chance)?,
            91..93 => self.command(chance)?,
            _ => drop(self.request("cosec/status", json!({}))?),
        }
        std::thread::sleep(Duration::from_millis(chance.below(KEYS_MS) as u64));
        self.listen()
    }

    fn open_something(&mut self, chance: &mut Chance) -> Result<usize> {
        if self.documents.len() < MOST_DOCUMENTS
            && (self.documents.is_empty() || chance.below(20) == 0)
        {
            let (language, text) = chance.one(&LANGUAGES);
            self.counts.documents += 1;
            let uri = format!("file:///soak/{}.{language}", self.counts.documents);
            let document =
                json!({ "uri": uri, "languageId": language, "version": 1, "text": text });
            self.notify("textDocument/didOpen", json!({ "textDocument": document }))?;
            let line = text.matches('\n').count();
            self.documents.push(OpenDocument { uri, version: 1, line, column: 0 });
        }
        Ok(chance.below(self.documents.len()))
    }

    fn type_something(&mut self, chance: &mut Chance) -> Result<()> {
        let at = self.open_something(chance)?;
        let keys = *chance.one(&KEYS);
        let document = &mut self.documents[at];
        if document.line > MOST_LINES {
            return self.close(at);
        }
        let place = json!({ "line": document.line, "character": document.column });
        document.version += 1;
        match keys.rsplit_once('\n') {
            Some((_, last)) => (document.line, document.column) = (document.line + 1, last.len()),
            None => document.column += keys.encode_utf16().count(),
        }
        let change = json!({ "range": { "start": place, "end": place }, "text": keys });
        let named = json!({ "uri": document.uri, "version": document.version });
        self.counts.keys += 1;
        self.notify(
            "textDocument/didChange",
            json!({ "textDocument": named, "contentChanges": [change] }),
        )
    }

    /// A completion by either method, with partial results or without.
    pub(crate) fn ask_something(&mut self, chance: &mut Chance) -> Result<()> {
        let at = self.open_something(chance)?;
        let document = &self.documents[at];
        let method = *chance.one(&["textDocument/inlineCompletion", "textDocument/completion"]);
        let mut params = json!({
            "textDocument": { "uri": document.uri },
            "position": { "line": document.line, "character": document.column },
            "context": { "triggerKind": 1 + chance.below(2) },
        });
        if chance.below(2) == 0 {
            params["partialResultToken"] = json!(format!("t{}", self.next_id));
        }
        self.counts.completions += 1;
        self.request(method, params).map(drop)
    }

    fn cancel_something(&mut self, chance: &mut Chance) -> Result<()> {
        let ids: Vec<u64> = self.waiting.keys().copied().collect();
        let id = if ids.is_empty() { self.next_id } else { *chance.one(&ids) };
        self.counts.cancels += 1;
        self.notify("$/cancelRequest", json!({ "id": id }))
    }

    fn close_something(&mut self, chance: &mut Chance) -> Result<()> {
        match self.documents.len() {
            0 => Ok(()),
            n_documents => self.close(chance.below(n_documents)),
        }
    }

    fn close(&mut self, at: usize) -> Result<()> {
        let document = self.documents.swap_remove(at);
        self.notify("textDocument/didClose", json!({ "textDocument": { "uri": document.uri } }))
    }

    /// Good settings, bad ones, and now and then the other profile.
    fn change_settings(&mut self, chance: &mut Chance) -> Result<()> {
        let good =
            json!({ "maxLines": 1 + chance.below(12), "alpha": 0.1 * chance.below(10) as f64 });
        let bad = json!({ "maxLines": -1, "alpha": "x", "idleUnloadMinutes": u64::MAX, "excludedFiles": ["["] });
        let draft =
            json!({ "draftTokens": 1 + chance.below(8), "multiLine": "always", "debounceMs": 5 });
        let mut settings = chance.one(&[good, bad, draft, json!(7), Value::Null]).clone();
        let profile = &self.profiles[usize::from(chance.below(25) == 0) % self.profiles.len()];
        if let Some(fields) = settings.as_object_mut() {
            fields.insert("profile".to_owned(), json!(profile));
        }
        self.configure(settings)
    }

    fn configure(&mut self, settings: Value) -> Result<()> {
        self.counts.settings += 1;
        let params = json!({ "settings": { "cosec-ls": settings } });
        self.notify("workspace/didChangeConfiguration", params)
    }

    fn command(&mut self, chance: &mut Chance) -> Result<()> {
        let mode = *chance.one(&["cosec", "cosec", "off", "security", "no such mode"]);
        let params = json!({ "command": "cosec-ls.setMode", "arguments": [mode] });
        self.request("workspace/executeCommand", params).map(drop)
    }

    /// Asks nothing until the models have left memory.
    pub(crate) fn pause_until_unloaded(&mut self) -> Result<()> {
        self.configure(json!({ "idleUnloadMinutes": 1, "profile": self.profiles[0] }))?;
        self.wait_for_all(MOST_TO_ANSWER)?;
        let began = Instant::now();
        loop {
            std::thread::sleep(Duration::from_secs(1));
            let status = self.status()?;
            if status["models"]["state"] == "unloaded" {
                self.counts.pauses += 1;
                return Ok(());
            }
            ensure!(began.elapsed() < Duration::from_secs(120), "the models stay: {status}");
        }
    }

    /// Closes the pipes and returns how long the server takes to end.
    pub(crate) fn hang_up(self, most: Duration) -> Result<Duration> {
        let Self { server, input, messages, .. } = self;
        drop((input, messages));
        wait_for_end(server, most).map(|(took, _)| took)
    }

    /// Says goodbye: everything is answered, and the server ends well.
    pub(crate) fn finish(mut self, most: Duration) -> Result<Counts> {
        self.wait_for_all(MOST_TO_ANSWER)?;
        self.still_decodes()?;
        self.request("shutdown", Value::Null)?;
        self.wait_for_all(MOST_TO_ANSWER)?;
        self.notify("exit", Value::Null)?;
        let Self { server, input, counts, messages, .. } = self;
        let (_, success) = wait_for_end(server, most)?;
        drop((input, messages));
        ensure!(success, "the server ended with an error");
        ensure!(counts.requests == counts.answers, "not answered once: {counts}");
        Ok(counts)
    }

    /// After all that, the models decode: an answer may be empty for many reasons, and must not be for this one.
    fn still_decodes(&mut self) -> Result<()> {
        self.configure(json!({ "profile": self.profiles[0], "debounceMs": 0 }))?;
        let began = Instant::now();
        let before = self.status()?["totals"]["decodedTokens"].clone();
        for turn in 0.. {
            let uri = format!("file:///soak/last-{turn}.py");
            let text = "def add(a, b):\n    return ";
            let document =
                json!({ "uri": uri, "languageId": "python", "version": 1, "text": text });
            self.notify("textDocument/didOpen", json!({ "textDocument": document }))?;
            let params = json!({
                "textDocument": { "uri": uri },
                "position": { "line": 1, "character": 11 },
                "context": { "triggerKind": 1 },
            });
            self.request("textDocument/inlineCompletion", params)?;
            self.wait_for_all(MOST_TO_ANSWER)?;
            let status = self.status()?;
            if status["totals"]["decodedTokens"] != before {
                break;
            }
            ensure!(
                began.elapsed() < MOST_TO_ANSWER,
                "the models decode nothing any more: {status}"
            );
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    fn status(&mut self) -> Result<Value> {
        let id = self.request("cosec/status", json!({}))?;
        Ok(self.wait_for(id)?["result"].take())
    }

    fn request(&mut self, method: &'static str, params: Value) -> Result<u64> {
        self.next_id += 1;
        self.counts.requests += 1;
        self.waiting.insert(self.next_id, (method, Instant::now()));
        let id = self.next_id;
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        json_rpc::write(&mut self.input, &request)?;
        Ok(id)
    }

    fn notify(&mut self, method: &str, params: Value) -> Result<()> {
        let message = json!({ "jsonrpc": "2.0", "method": method, "params": params });
        json_rpc::write(&mut self.input, &message)
    }

    /// Takes in what has come.
    fn listen(&mut self) -> Result<()> {
        loop {
            match self.messages.try_recv() {
                Ok(message) => self.take(&message)?,
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => bail!("the server has ended"),
            }
        }
        let late = self.waiting.iter().find(|(_, (_, since))| since.elapsed() > MOST_TO_ANSWER);
        match late {
            Some((id, (method, _))) => bail!("request {id}, {method}, has no answer"),
            None => Ok(()),
        }
    }

    fn take(&mut self, message: &Value) -> Result<()> {
        if message.get("method").is_some() {
            self.counts.partial += u64::from(message["params"]["value"].get("items").is_some());
            let Some(id) = message.get("id") else { return Ok(()) };
            return json_rpc::write(
                &mut self.input,
                &json!({ "jsonrpc": "2.0", "id": id, "result": null }),
            );
        }
        let id =
            message["id"].as_u64().with_context(|| format!("an answer to nothing: {message}"))?;
        let asked = self.waiting.remove(&id);
        let (_, since) = asked.with_context(|| format!("a second answer: {message}"))?;
        self.counts.answers += 1;
        self.counts.longest = self.counts.longest.max(since.elapsed());
        self.counts.errors += u64::from(message.get("error").is_some());
        let items = message["result"]["items"].as_array();
        self.counts.items += u64::from(items.is_some_and(|items| !items.is_empty()));
        Ok(())
    }

    fn wait_for(&mut self, id: u64) -> Result<Value> {
        loop {
            let message = self.messages.recv_timeout(MOST_TO_ANSWER).context("no answer")?;
            self.take(&message)?;
            if message["id"] == id && message.get("method").is_none() {
                return Ok(message);
            }
        }
    }

    fn wait_for_all(&mut self, most: Duration) -> Result<()> {
        while !self.waiting.is_empty() {
            let message = self.messages.recv_timeout(most).with_context(|| {
                format!("no answer to {:?}", self.waiting.values().collect::<Vec<_>>())
            })?;
            self.take(&message)?;
        }
        Ok(())
    }
}

/// How long the server takes to end, and whether it ends well.
fn wait_for_end(mut server: ServerProcess, most: Duration) -> Result<(Duration, bool)> {
    let began = Instant::now();
    loop {
        if let Some(status) = server.0.try_wait()? {
            return Ok((began.elapsed(), status.success()));
        }
        ensure!(began.elapsed() < most, "the server does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
}
