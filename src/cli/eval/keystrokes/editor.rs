//! An editor at the other end of a pipe, for measurements: JSON-RPC frames in, answers and progress with times out.

use std::time::Instant;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream};

/// One connection.
pub(super) struct Editor {
    input: BufReader<DuplexStream>,
    output: DuplexStream,
    next_id: i64,
    version: i32,
}

/// An answered completion.
pub(super) struct Timed {
    /// The result.
    pub(super) result: Value,
    /// Milliseconds to the first progress notification with text; to the answer where there was none.
    pub(super) first_ms: f64,
    /// Milliseconds to the answer.
    pub(super) answer_ms: f64,
}

impl Editor {
    /// Over the client's ends of two pipes.
    pub(super) fn new(input: DuplexStream, output: DuplexStream) -> Self {
        Self { input: BufReader::new(input), output, next_id: 0, version: 1 }
    }

    /// Initializes with these options and opens a document.
    pub(super) async fn open(&mut self, options: Value, uri: &str, language: &str, text: &str) {
        let params = json!({
            "capabilities": { "general": { "positionEncodings": ["utf-32"] } },
            "initializationOptions": options,
        });
        self.request("initialize", params).await;
        self.notify("initialized", json!({})).await;
        let document = json!({ "uri": uri, "languageId": language, "version": 1, "text": text });
        self.notify("textDocument/didOpen", json!({ "textDocument": document })).await;
    }

    /// Types `text` at a position.
    pub(super) async fn type_at(&mut self, uri: &str, line: usize, character: usize, text: &str) {
        self.version += 1;
        let at = json!({ "line": line, "character": character });
        let change = json!({ "range": { "start": at, "end": at }, "text": text });
        let document = json!({ "uri": uri, "version": self.version });
        let params = json!({ "textDocument": document, "contentChanges": [change] });
        self.notify("textDocument/didChange", params).await;
    }

    /// Asks for an inline completion with partial results.
    pub(super) async fn complete(&mut self, uri: &str, line: usize, character: usize) -> Timed {
        let params = json!({
            "textDocument": { "uri": uri },
            "position": { "line": line, "character": character },
            "context": { "triggerKind": 2 },
            "partialResultToken": self.next_id,
        });
        let started = Instant::now();
        let id = self.send_request("textDocument/inlineCompletion", params).await;
        let mut first_ms = None;
        loop {
            let message = self.read().await;
            let elapsed = started.elapsed().as_secs_f64() * 1e3;
            if message["method"] == "$/progress" && message["params"]["token"].is_i64() {
                first_ms.get_or_insert(elapsed);
            }
            if message["id"] == id && message.get("method").is_none() {
                let result = message["result"].clone();
                return Timed { result, first_ms: first_ms.unwrap_or(elapsed), answer_ms: elapsed };
            }
        }
    }

    async fn request(&mut self, method: &str, params: Value) -> Value {
        let id = self.send_request(method, params).await;
        loop {
            let message = self.read().await;
            if message["id"] == id && message.get("method").is_none() {
                return message;
            }
        }
    }

    async fn send_request(&mut self, method: &str, params: Value) -> i64 {
        self.next_id += 1;
        let id = self.next_id;
        self.send(json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })).await;
        id
    }

    async fn notify(&mut self, method: &str, params: Value) {
        self.send(json!({ "jsonrpc": "2.0", "method": method, "params": params })).await;
    }

    async fn send(&mut self, message: Value) {
        let body = message.to_string();
        let frame = format!("Content-Length: {}\r\n\r\n{body}", body.len());
        self.output.write_all(frame.as_bytes()).await.expect("the server listens");
    }

    async fn read(&mut self) -> Value {
        let mut length = 0;
        loop {
            let mut line = String::new();
            self.input.read_line(&mut line).await.expect("the server speaks");
            let line = line.trim();
            if let Some(value) = line.strip_prefix("Content-Length: ") {
                length = value.parse().expect("a number");
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        self.input.read_exact(&mut body).await.expect("the server speaks");
        serde_json::from_slice(&body).expect("JSON")
    }
}
