//! A server on a pipe that is told everything at once or piece by piece, and all that it says, read strictly.

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cosec_ls::config::Settings;
use cosec_ls::engine::Backend;
use cosec_ls::lsp::{End, serve};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::scripted_backend::{Script, scripted};

/// On the paused clock this passes at once where nothing else can happen.
const HANG: Duration = Duration::from_secs(3600);

/// The shortest time that tokio's clock knows.
const MOMENT: Duration = Duration::from_millis(1);

/// Tiny models answer sooner, on any machine.
const MOST_TO_ANSWER: Duration = Duration::from_secs(12);

/// Bytes that fit the pipe: more than any input has, so that writing never waits.
const PIPE_BYTES: usize = 1 << 22;

/// The editor's side of one connection.
pub struct Wire {
    to_server: WriteHalf<DuplexStream>,
    from_server: JoinHandle<()>,
    said: Arc<Mutex<Vec<u8>>>,
    more: Arc<Notify>,
    server: JoinHandle<End>,
}

/// Runs `what` where time passes only when nothing else can happen.
pub fn in_no_time<T>(what: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().unwrap().block_on(what)
}

impl Wire {
    /// A server that nobody has spoken to.
    pub fn open() -> (Self, Script) {
        let (backend, script) = scripted();
        (Self::over(backend, Settings { debounce_ms: 0, ..Settings::default() }), script)
    }

    /// The same with these models and settings.
    pub fn over(backend: Arc<dyn Backend>, defaults: Settings) -> Self {
        let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
        let (input, output) = tokio::io::split(theirs);
        let server = tokio::spawn(serve(input, output, backend, defaults));
        let (read, to_server) = tokio::io::split(ours);
        let (said, more) = <(Arc<Mutex<Vec<u8>>>, Arc<Notify>)>::default();
        let from_server = tokio::spawn(listen(read, said.clone(), more.clone()));
        Self { to_server, from_server, said, more, server }
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        // A server that has ended reads no more.
        drop(self.to_server.write_all(bytes).await);
    }

    pub async fn message(&mut self, message: &Value) {
        self.send(&frame(message.to_string().as_bytes())).await;
    }

    pub async fn request(&mut self, id: i64, method: &str, params: Value) {
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        self.message(&request).await;
    }

    pub async fn notify(&mut self, method: &str, params: Value) {
        self.message(&json!({ "jsonrpc": "2.0", "method": method, "params": params })).await;
    }

    /// Waits for the answer of a request.
    pub async fn answered(&self, id: i64) {
        let is_there = || n_answers(&messages(&self.said.lock().unwrap()), id) > 0;
        let wait = async {
            while !is_there() {
                assert!(!self.server.is_finished(), "the server has ended");
                self.more.notified().await;
            }
        };
        let answered = tokio::time::timeout(MOST_TO_ANSWER, wait).await;
        answered.unwrap_or_else(|_| panic!("request {id} has no answer"));
    }

    /// Hangs up and returns how the server ended, and all that it said.
    pub async fn close(mut self) -> (End, Vec<Value>) {
        drop(self.to_server.shutdown().await);
        let end = tokio::time::timeout(HANG, self.server).await.expect("the server does not end");
        let end = end.expect("the server panicked");
        drop(self.to_server);
        let read = tokio::time::timeout(HANG, self.from_server).await.expect("the pipe stays open");
        read.expect("reading does not panic");
        let said = self.said.lock().unwrap();
        let messages = messages(&said);
        assert_eq!(said.len(), len(&said), "the last message is not whole");
        (end, messages)
    }
}

async fn listen(mut read: ReadHalf<DuplexStream>, said: Arc<Mutex<Vec<u8>>>, more: Arc<Notify>) {
    let mut bytes = vec![0; 1 << 14];
    loop {
        let n_bytes = read.read(&mut bytes).await.expect("a pipe in memory does not fail");
        said.lock().unwrap().extend_from_slice(&bytes[..n_bytes]);
        more.notify_one();
        if n_bytes == 0 {
            return;
        }
    }
}

/// Lets all tasks do what they can, while a moment passes on the paused clock. That stands still while the file system
/// is asked on another thread.
pub async fn settle() {
    for _ in 0..32 {
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(MOMENT).await;
}

pub fn frame(body: &[u8]) -> Vec<u8> {
    let mut frame = format!("Content-Length: {}\r\n\r\n", body.len()).into_bytes();
    frame.extend_from_slice(body);
    frame
}

/// The whole messages at the start of `said`, with nothing between them.
fn messages(said: &[u8]) -> Vec<Value> {
    let parse = |body: &[u8]| serde_json::from_slice(body).expect("bodies are JSON");
    bodies(said).into_iter().map(|body| parse(&said[body])).collect()
}

/// Length of the whole messages at the start of `said`.
fn len(said: &[u8]) -> usize {
    bodies(said).last().map_or(0, |body| body.end)
}

fn bodies(said: &[u8]) -> Vec<Range<usize>> {
    let (mut bodies, mut from) = (Vec::new(), 0);
    while let Some(end) = said[from..].windows(4).position(|end| end == b"\r\n\r\n") {
        let header = std::str::from_utf8(&said[from..from + end]).expect("headers are text");
        let length = header.strip_prefix("Content-Length: ").expect("nothing but a length");
        let body = from + end + 4..from + end + 4 + length.parse::<usize>().expect("a number");
        if body.end > said.len() {
            break;
        }
        from = body.end;
        bodies.push(body);
    }
    bodies
}

/// How often a request was answered.
pub fn n_answers(messages: &[Value], id: i64) -> usize {
    messages.iter().filter(|message| message["id"] == id && message.get("method").is_none()).count()
}
