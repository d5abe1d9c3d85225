//! The editor at the other end: what we say to it, in one ordered queue.
//!
//! Answers, notifications and our own requests share the queue, so the order of the calls is the
//! order on the wire: no progress notification comes after the answer that it belongs to. Nothing
//! here waits for the editor except [`Client::request`]; an editor that never answers holds up only
//! the one who asked.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use dashmap::DashMap;
use serde::Serialize;
use serde_json::json;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tower_lsp::lsp_types::notification::{LogMessage, Notification, Progress};
use tower_lsp::lsp_types::{LogMessageParams, MessageType, ProgressToken};

use super::frames::encode;
use super::message::{Answered, Reply};

/// Unread messages at which partial results are skipped; the next one holds them anyway.
const BACKLOG_LIMIT: usize = 8;

/// A cheap handle on the editor.
#[derive(Clone, Debug)]
pub(super) struct Client {
    frames: mpsc::UnboundedSender<Vec<u8>>,
    backlog: Arc<AtomicUsize>,
    asked: Arc<DashMap<i64, oneshot::Sender<Answered>>>,
    next_id: Arc<AtomicI64>,
}

/// The other end of the queue.
#[derive(Debug)]
pub(super) struct Outgoing {
    frames: mpsc::UnboundedReceiver<Vec<u8>>,
    backlog: Arc<AtomicUsize>,
}

impl Client {
    /// A handle, and the queue that it fills.
    pub(super) fn connect() -> (Self, Outgoing) {
        let (sender, frames) = mpsc::unbounded_channel();
        let backlog = Arc::new(AtomicUsize::new(0));
        let client = Self {
            frames: sender,
            backlog: backlog.clone(),
            asked: Arc::default(),
            next_id: Arc::default(),
        };
        (client, Outgoing { frames, backlog })
    }

    /// Answers a request.
    pub(super) fn respond(&self, reply: &Reply) {
        self.send(reply);
    }

    /// Tells something.
    pub(super) fn notify<N: Notification>(&self, params: N::Params) {
        self.tell(N::METHOD, &params);
    }

    /// Tells something that lsp-types has no name for.
    pub(super) fn tell(&self, method: &str, params: &impl Serialize) {
        self.send(&json!({ "jsonrpc": "2.0", "method": method, "params": params }));
    }

    /// Tells the state of a partial result or of some work: `$/progress`.
    pub(super) fn progress(&self, token: &ProgressToken, value: impl Serialize) {
        self.tell(Progress::METHOD, &json!({ "token": token, "value": value }));
    }

    /// Writes to the editor's log.
    pub(super) fn log(&self, typ: MessageType, message: String) {
        self.notify::<LogMessage>(LogMessageParams { typ, message });
    }

    /// Asks something; none if the editor answers with an error or something else than expected.
    /// Waits as long as the editor takes, so never call it where a user waits.
    pub(super) async fn request<R>(&self, params: R::Params) -> Option<R::Result>
    where
        R: tower_lsp::lsp_types::request::Request,
    {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.asked.insert(id, sender);
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": R::METHOD, "params": params }));
        serde_json::from_value(answer.await.ok()?.result?).ok()
    }

    /// Hands the editor's answer to the one who asked; he may have gone.
    pub(super) fn answered(&self, answered: Answered) {
        if let Some((_, asker)) = answered.id.and_then(|id| self.asked.remove(&id)) {
            drop(asker.send(answered));
        }
    }

    /// Whether the editor reads more slowly than we write.
    pub(super) fn is_behind(&self) -> bool {
        self.backlog.load(Ordering::Relaxed) > BACKLOG_LIMIT
    }

    fn send(&self, message: &impl Serialize) {
        self.backlog.fetch_add(1, Ordering::Relaxed);
        // The other end is gone only when the connection is ending.
        drop(self.frames.send(encode(message)));
    }
}

impl Outgoing {
    /// Writes until every [`Client`] is gone or the pipe breaks.
    pub(super) async fn write_to(mut self, mut output: impl AsyncWrite + Unpin) -> io::Result<()> {
        while let Some(frame) = self.frames.recv().await {
            output.write_all(&frame).await?;
            output.flush().await?;
            self.backlog.fetch_sub(1, Ordering::Relaxed);
        }
        Ok(())
    }
}
