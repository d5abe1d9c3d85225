//! What an untidy client says, in any order: every request is answered once, and what the models see is the text.

use std::collections::BTreeMap;

use cosec_ls::engine::Finish;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::edits::{Change, Naive, changes, naive_text};
use crate::harness::fuzz;
use crate::scripted_backend::{Run, Script};
use crate::wire::{Wire, frame, in_no_time, n_answers, settle};
use cosec_ls::text::{Encoding, Position};

/// One thing that a client or the models do.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Act {
    Open { document: u8, version: Option<i32>, text: String },
    Change { document: u8, version: Option<i32>, changes: Vec<Change> },
    Replace { document: u8, version: Option<i32>, text: String },
    Close { document: u8 },
    Ask { document: u8, way: Way, line: u32, character: u32, token: bool },
    Cancel { back: u8 },
    Say { text: String },
    Finish { how: u8 },
    Request { method: String, params: Value },
    Notify { method: String, params: Value },
    Raw { body: Vec<u8> },
}

/// Both methods, asked by hand and not.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Way {
    Typed,
    ByHand,
    Popup,
}

const URIS: [&str; 3] = ["file:///w/a.py", "file:///w/b%20c.rs", "untitled:Untitled-1"];

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let document = 0..URIS.len() as u8;
    let version = || prop::option::weighted(0.9, prop_oneof![5 => 0..40_i32, 1 => any::<i32>()]);
    let act = prop_oneof![
        3 => (document.clone(), version(), naive_text())
            .prop_map(|(document, version, text)| Act::Open { document, version, text }),
        6 => (document.clone(), version(), changes())
            .prop_map(|(document, version, changes)| Act::Change { document, version, changes }),
        1 => (document.clone(), version(), naive_text())
            .prop_map(|(document, version, text)| Act::Replace { document, version, text }),
        1 => document.clone().prop_map(|document| Act::Close { document }),
        8 => (document, any_way(), 0..7_u32, 0..12_u32, any::<bool>()).prop_map(
            |(document, way, line, character, token)| Act::Ask { document, way, line, character, token }
        ),
        2 => (0..4_u8).prop_map(|back| Act::Cancel { back }),
        5 => naive_text().prop_map(|text| Act::Say { text }),
        3 => (0..6_u8).prop_map(|how| Act::Finish { how }),
        2 => (prop::sample::select(&REQUESTS[..]), any_params())
            .prop_map(|(method, params)| Act::Request { method: method.to_owned(), params }),
        2 => (prop::sample::select(&NOTIFICATIONS[..]), any_params())
            .prop_map(|(method, params)| Act::Notify { method: method.to_owned(), params }),
        1 => prop::sample::select(&RAW[..]).prop_map(|body| Act::Raw { body: body.to_vec() }),
    ];
    prop::collection::vec(act, 1..50)
}

fn any_way() -> impl Strategy<Value = Way> {
    prop::sample::select(&[Way::Typed, Way::ByHand, Way::Popup][..])
}

const REQUESTS: [&str; 12] = [
    "cosec/status",
    "cosec/explain",
    "workspace/executeCommand",
    "textDocument/inlineCompletion",
    "textDocument/completion",
    "textDocument/hover",
    "completionItem/resolve",
    "initialize",
    "$/unknown",
    "$/cancelRequest",
    "textDocument/didOpen",
    "no such method",
];

const NOTIFICATIONS: [&str; 12] = [
    "workspace/didChangeConfiguration",
    "workspace/didChangeWorkspaceFolders",
    "textDocument/didSave",
    "textDocument/didShowCompletion",
    "textDocument/didPartiallyAcceptCompletion",
    "textDocument/didFocus",
    "textDocument/didClose",
    "$/setTrace",
    "$/cancelRequest",
    "initialized",
    "cosec/status",
    "no such method",
];

/// Bodies that are no JSON-RPC; none has the id of a request of ours.
const RAW: [&[u8]; 5] = [
    b"{",
    b"[]",
    b"{\"jsonrpc\":\"2.0\",\"method\":7}",
    b"{\"jsonrpc\":\"2.0\",\"id\":-5,\"result\":{}}",
    b"\xff\xfe{}",
];

fn any_params() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        Value::Null,
        json!({}),
        json!([]),
        json!(1),
        json!({ "id": 1 }),
        json!({ "settings": { "cosec-ls": { "maxLines": 2, "alpha": "x", "mode": "off" } } }),
        json!({ "settings": { "cosec-ls": { "multiLine": "always", "popup": "always" } } }),
        json!({ "settings": null }),
        json!({ "command": "cosec-ls.toggle", "arguments": [] }),
        json!({ "command": "cosec-ls.toggle", "arguments": [] }),
        json!({ "command": "cosec-ls.setMode", "arguments": ["security"] }),
        json!({ "command": "cosec-ls.didAccept", "arguments": [{ "id": 2 }] }),
        json!({ "command": "cosec-ls.explain", "arguments": [1, 2] }),
        json!({ "item": { "command": { "arguments": [{ "id": 1 }] } }, "acceptedLength": 99 }),
        json!({ "textDocument": { "uri": URIS[0] }, "position": { "line": 0, "character": 0 } }),
        json!({ "textDocument": { "uri": "not a uri" }, "position": null, "context": null }),
        json!({ "textDocument": {}, "contentChanges": null }),
        json!({ "event": { "added": [{ "uri": "file:///w", "name": "" }], "removed": [] } }),
    ])
}

/// What the client knows: the texts of its documents, and what it waits for.
struct Session {
    wire: Wire,
    script: Script,
    next_id: i64,
    /// None where the server may have missed something, and must then say nothing.
    texts: BTreeMap<u8, Option<Naive>>,
    /// Where a document was asked about last, and its text at that time. The models may see it only when they are let go
    /// of the question before, which may be that of another document.
    asked: BTreeMap<&'static str, (Position, Option<Naive>)>,
    run: Option<Run>,
}

impl Session {
    async fn start() -> Self {
        let (mut wire, script) = Wire::open();
        let general = json!({ "positionEncodings": ["utf-16"] });
        let options = json!({ "popup": "always", "excludedFiles": [] });
        let params =
            json!({ "capabilities": { "general": general }, "initializationOptions": options });
        wire.request(1, "initialize", params).await;
        wire.notify("initialized", json!({})).await;
        settle().await;
        Self { wire, script, next_id: 2, texts: BTreeMap::new(), asked: BTreeMap::new(), run: None }
    }

    async fn act(&mut self, act: &Act) {
        match act {
            Act::Open { document, version, text } => self.open(*document, *version, text).await,
            Act::Change { document, version, changes } => {
                self.change(*document, *version, changes).await;
            }
            Act::Replace { document, version, text } => {
                let params = json!({
                    "textDocument": named(*document, *version),
                    "contentChanges": [{ "text": text }],
                });
                self.tell("textDocument/didChange", params).await;
                if self.texts.contains_key(document) {
                    self.texts.insert(*document, Some(Naive(text.clone())));
                }
            }
            Act::Close { document } => {
                let params = json!({ "textDocument": named(*document, None) });
                self.wire.notify("textDocument/didClose", params).await;
                self.texts.remove(document);
            }
            Act::Ask { document, way, line, character, token } => {
                self.ask(*document, *way, Position { line: *line, character: *character }, *token)
                    .await;
            }
            Act::Cancel { back } => {
                let id = self.next_id - 1 - i64::from(*back);
                self.wire.notify("$/cancelRequest", json!({ "id": id })).await;
            }
            Act::Say { text } => self.run.iter().for_each(|run| run.text(text)),
            Act::Finish { how } => self.finish(*how),
            Act::Request { method, params } => {
                self.request(method, params.clone()).await;
                self.heed(method, params);
            }
            Act::Notify { method, params } => {
                self.wire.notify(method, params.clone()).await;
                self.heed(method, params);
            }
            Act::Raw { body } => self.wire.send(&frame(body)).await,
        }
        while let Some(run) = self.next_run().await {
            self.run = Some(run);
        }
    }

    /// Sends text as editors do that cut a surrogate pair in two: half of one for each `U+FFFD`, which is all that a
    /// text of ours can make of it.
    async fn tell(&mut self, method: &str, params: Value) {
        let message = json!({ "jsonrpc": "2.0", "method": method, "params": params });
        let body = message.to_string().replace('\u{fffd}', "\\ud83d");
        self.wire.send(&frame(body.as_bytes())).await;
    }

    /// What is said out of the tables may close the first document too, or open it without a text.
    fn heed(&mut self, method: &str, params: &Value) {
        if params.pointer("/textDocument/uri").is_none_or(|uri| uri != URIS[0]) {
            return;
        }
        match method {
            "textDocument/didClose" => drop(self.texts.remove(&0)),
            "textDocument/didOpen" => drop(self.texts.insert(0, None)),
            _ => {}
        }
    }

    async fn open(&mut self, document: u8, version: Option<i32>, text: &str) {
        let mut named = named(document, version);
        named["languageId"] = json!("python");
        named["text"] = json!(text);
        self.tell("textDocument/didOpen", json!({ "textDocument": named })).await;
        self.texts.insert(document, Some(Naive(text.to_owned())));
    }

    async fn change(&mut self, document: u8, version: Option<i32>, changes: &[Change]) {
        let edits: Vec<Value> = changes.iter().map(Change::to_json).collect();
        let params = json!({ "textDocument": named(document, version), "contentChanges": edits });
        self.tell("textDocument/didChange", params).await;
        if let Some(known) = self.texts.get_mut(&document) {
            let text = known.take();
            *known = text.and_then(|text| text.apply_all(changes, Encoding::Utf16));
        }
    }

    async fn request(&mut self, method: &str, params: Value) {
        let id = self.next_id;
        self.next_id += 1;
        self.wire.request(id, method, params).await;
    }

    async fn ask(&mut self, document: u8, way: Way, at: Position, token: bool) {
        let kind = if matches!(way, Way::ByHand) { 1 } else { 2 };
        let mut params = json!({
            "textDocument": named(document, None),
            "position": { "line": at.line, "character": at.character },
            "context": { "triggerKind": kind },
        });
        if token {
            params["partialResultToken"] = json!(self.next_id);
        }
        let method = match way {
            Way::Popup => "textDocument/completion",
            Way::Typed | Way::ByHand => "textDocument/inlineCompletion",
        };
        if let Some(text) = self.texts.get(&document) {
            self.asked.insert(URIS[usize::from(document)], (at, text.clone()));
        }
        self.request(method, params).await;
        settle().await;
        while let Some(run) = self.next_run().await {
            self.look_at(&run);
            self.run = Some(run);
        }
    }

    async fn next_run(&mut self) -> Option<Run> {
        // The debounce is none, but the question is a task of its own.
        settle().await;
        match self.script.is_idle() {
            true => None,
            false => Some(self.script.run().await),
        }
    }

    /// What the models see is the text that the client has.
    fn look_at(&self, run: &Run) {
        let asked = self.asked.get(&*run.request.document.0);
        let (at, text) = asked.unwrap_or_else(|| panic!("asked about no document"));
        let text = text.as_ref().unwrap_or_else(|| panic!("asked about a text that was lost"));
        let cursor = text.byte_of(*at, Encoding::Utf16);
        let (before, after) = text.0.split_at(cursor);
        let seen = with_newlines(&run.before_cursor());
        assert!(
            seen.ends_with(&with_newlines(before)),
            "{before:?} is not what stands left in {seen:?}"
        );
        let below = &run.request.prompt.suffix;
        assert!(
            with_newlines(after).starts_with(below.as_str()),
            "{after:?} does not begin with {below:?}"
        );
    }

    fn finish(&mut self, how: u8) {
        let Some(run) = self.run.take() else { return };
        match how {
            0 => run.done(Finish::EndOfText),
            1 => run.done(Finish::TokenLimit),
            2 => run.done(Finish::TimeBudget),
            3 => run.done(Finish::NotReady("loading".to_owned())),
            4 => run.done(Finish::Failed("no luck".to_owned())),
            // The models' thread dies.
            _ => drop(run),
        }
    }

    /// Nobody says any more, and everything has been answered once.
    async fn end(mut self) {
        self.run = None;
        while let Some(run) = self.next_run().await {
            drop(run);
        }
        let last = self.next_id;
        self.request("shutdown", Value::Null).await;
        settle().await;
        let (_, said) = self.wire.close().await;
        for id in 1..=last {
            let answers = n_answers(&said, id);
            assert_eq!(answers, 1, "request {id} has {answers} answers: {said:?}");
        }
    }
}

fn named(document: u8, version: Option<i32>) -> Value {
    let uri = URIS[usize::from(document) % URIS.len()];
    match version {
        Some(version) => json!({ "uri": uri, "version": version }),
        None => json!({ "uri": uri }),
    }
}

fn with_newlines(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

fn check(acts: &[Act]) {
    in_no_time(async {
        let mut session = Session::start().await;
        for act in acts {
            session.act(act).await;
        }
        session.end().await;
    });
}

#[test]
fn an_untidy_client_is_answered_once_and_about_its_own_text() {
    fuzz("sequences", acts(), |acts| check(acts));
}
