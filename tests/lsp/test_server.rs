//! A server on a pipe, and the editor's side of it.
//!
//! Messages are read in the order in which they come, and each must be read: a test ends with
//! [`TestServer::finish`], which fails if the server said more than the test knows of.

use std::sync::Arc;

use cosec_ls::config::Settings;
use cosec_ls::engine::Backend;
use cosec_ls::lsp::{End, serve};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream};
use tokio::io::{ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::scripted_backend::{HANG, Script, scripted};

/// A document that every test may use.
pub(crate) const URI: &str = "file:///project/main.py";

/// The editor's side.
pub(crate) struct TestServer {
    pipe: WriteHalf<DuplexStream>,
    messages: mpsc::UnboundedReceiver<Value>,
    reader: JoinHandle<()>,
    server: JoinHandle<End>,
    next_id: i64,
    finished: bool,
}

impl TestServer {
    /// A server that has not been spoken to.
    pub(crate) fn spawn() -> (Self, Script) {
        let (backend, script) = scripted();
        (Self::on(backend), script)
    }

    /// A server on other models.
    pub(crate) fn on(backend: Arc<dyn Backend>) -> Self {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let (input, output) = tokio::io::split(theirs);
        let defaults = Settings { debounce_ms: 0, ..Settings::default() };
        let server = tokio::spawn(serve(input, output, backend, defaults));
        let (read, pipe) = tokio::io::split(ours);
        let (sender, messages) = mpsc::unbounded_channel();
        let reader = tokio::spawn(read_messages(BufReader::new(read), sender));
        Self { pipe, messages, reader, server, next_id: 1, finished: false }
    }

    /// A server with an open document ([`URI`], Python), and a client of these parameters.
    pub(crate) async fn with(initialize: Value, text: &str) -> (Self, Script) {
        let (mut server, script) = Self::spawn();
        server.call("initialize", initialize).await;
        server.notify("initialized", json!({})).await;
        server.open(URI, text).await;
        (server, script)
    }

    /// The same with a client that can do nothing but UTF-8.
    pub(crate) async fn start(text: &str) -> (Self, Script) {
        let general = json!({ "positionEncodings": ["utf-8"] });
        Self::with(json!({ "capabilities": { "general": general } }), text).await
    }

    /// Sends bytes as they are.
    pub(crate) async fn send_raw(&mut self, bytes: &[u8]) {
        self.pipe.write_all(bytes).await.unwrap();
    }

    pub(crate) async fn send(&mut self, messages: &[Value]) {
        let frames: Vec<u8> = messages.iter().flat_map(frame).collect();
        self.send_raw(&frames).await;
    }

    pub(crate) async fn notify(&mut self, method: &str, params: Value) {
        self.send(&[json!({ "jsonrpc": "2.0", "method": method, "params": params })]).await;
    }

    /// Sends a request and returns its id.
    pub(crate) async fn request(&mut self, method: &str, params: Value) -> i64 {
        let id = self.next_id;
        self.next_id += 1;
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        self.send(&[request]).await;
        id
    }

    /// The next message, whatever it is.
    pub(crate) async fn next(&mut self) -> Value {
        timeout(HANG, self.messages.recv()).await.expect("no message came").expect("server ended")
    }

    /// The next message, which answers `id`.
    pub(crate) async fn response(&mut self, id: i64) -> Value {
        let message = self.next().await;
        assert_eq!(message["id"], id, "{message}");
        assert!(message.get("method").is_none(), "{message}");
        message
    }

    /// The result of `id`, which is the next message.
    pub(crate) async fn result(&mut self, id: i64) -> Value {
        let mut response = self.response(id).await;
        assert!(response.get("error").is_none(), "{response}");
        response["result"].take()
    }

    /// The error code of `id`, which is the next message.
    pub(crate) async fn error(&mut self, id: i64) -> i64 {
        let response = self.response(id).await;
        response["error"]["code"].as_i64().unwrap_or_else(|| panic!("{response}"))
    }

    /// Asks and waits.
    pub(crate) async fn call(&mut self, method: &str, params: Value) -> Value {
        let id = self.request(method, params).await;
        self.result(id).await
    }

    /// The next message, which is this notification; returns its parameters.
    pub(crate) async fn notification(&mut self, method: &str) -> Value {
        let mut message = self.next().await;
        assert_eq!(message["method"], method, "{message}");
        assert!(message.get("id").is_none(), "{message}");
        message["params"].take()
    }

    /// The next message, which is this request; returns its id and parameters.
    pub(crate) async fn asked(&mut self, method: &str) -> (Value, Value) {
        let mut message = self.next().await;
        assert_eq!(message["method"], method, "{message}");
        (message["id"].take(), message["params"].take())
    }

    pub(crate) async fn reply(&mut self, id: Value, result: Value) {
        self.send(&[json!({ "jsonrpc": "2.0", "id": id, "result": result })]).await;
    }

    pub(crate) async fn open(&mut self, uri: &str, text: &str) {
        let document = json!({ "uri": uri, "languageId": "python", "version": 1, "text": text });
        self.notify("textDocument/didOpen", json!({ "textDocument": document })).await;
    }

    /// Waits until everything that was sent has been handled, and returns the status.
    pub(crate) async fn status(&mut self) -> Value {
        self.call("cosec/status", json!({})).await
    }

    /// Says goodbye and fails if anything was left unread.
    pub(crate) async fn finish(mut self) {
        let id = self.request("shutdown", Value::Null).await;
        assert_eq!(self.result(id).await, Value::Null);
        self.notify("exit", Value::Null).await;
        assert_eq!(self.ended().await, End::Exit);
    }

    /// Closes our end without a word.
    pub(crate) async fn hang_up(&mut self) {
        self.pipe.shutdown().await.unwrap();
    }

    /// Stops reading.
    pub(crate) async fn stop_reading(&mut self) {
        self.reader.abort();
        assert!((&mut self.reader).await.unwrap_err().is_cancelled());
    }

    /// Waits for the server's end and fails if anything was left unread.
    pub(crate) async fn ended(&mut self) -> End {
        self.finished = true;
        let end = timeout(HANG, &mut self.server).await.expect("the server does not end").unwrap();
        if let Some(message) = self.messages.recv().await {
            panic!("unread message: {message}");
        }
        end
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        assert!(self.finished || std::thread::panicking(), "a test must end its server");
    }
}

/// A cursor in [`URI`].
pub(crate) fn at(line: u32, character: u32) -> Value {
    json!({
        "textDocument": { "uri": URI },
        "position": { "line": line, "character": character },
        "context": { "triggerKind": 2 },
    })
}

/// `value` with the fields of `more`.
pub(crate) fn with(mut value: Value, more: Value) -> Value {
    let fields = value.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
    value
}

/// An edit of [`URI`] on one line, as a notification.
pub(crate) fn edit(version: i32, line: u32, columns: std::ops::Range<u32>, text: &str) -> Value {
    let range = json!({
        "start": { "line": line, "character": columns.start },
        "end": { "line": line, "character": columns.end },
    });
    let params = json!({
        "textDocument": { "uri": URI, "version": version },
        "contentChanges": [{ "range": range, "text": text }],
    });
    json!({ "jsonrpc": "2.0", "method": "textDocument/didChange", "params": params })
}

fn frame(message: &Value) -> Vec<u8> {
    let body = message.to_string();
    format!("Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

async fn read_messages(
    mut input: BufReader<ReadHalf<DuplexStream>>,
    sender: mpsc::UnboundedSender<Value>,
) {
    let mut header = String::new();
    while input.read_line(&mut header).await.unwrap() > 0 {
        let length = header.trim().strip_prefix("Content-Length: ").unwrap().parse().unwrap();
        let mut body = vec![0; length];
        header.clear();
        input.read_line(&mut header).await.unwrap();
        assert_eq!(header, "\r\n");
        input.read_exact(&mut body).await.unwrap();
        header.clear();
        // A test that has failed reads no more.
        drop(sender.send(serde_json::from_slice(&body).unwrap()));
    }
}
