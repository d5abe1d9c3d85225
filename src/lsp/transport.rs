//! The loop of one connection: read a message, start its handler, write what comes of it.
//!
//! tower-lsp routes and parses, but its own `Server` loop is not used, for what version 0.20 does in
//! it: the first malformed message ends it, `exit` does not (its reader returns without closing the
//! task queue), a client that stops reading makes it panic (`unreachable!`), a closed stdin waits
//! for running handlers, and an answer may overtake the progress notification sent before it.
//! Here each handler is polled once on arrival and then runs beside the others, as many as there
//! are: completions supersede each other per document, so their number is bounded by open documents.

use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::codec::FramedRead;

use super::End;
use super::client::Outgoing;
use super::dispatch::{Answer, Dispatch};
use super::frames::Frames;
use super::message::{Call, Message, Reply};
use super::parent::Parent;

/// Time for a client to take the last messages before we go.
const FLUSH: Duration = Duration::from_secs(1);

/// Runs the connection to its end.
pub(super) async fn run(
    input: impl AsyncRead + Unpin,
    output: impl AsyncWrite + Unpin,
    dispatch: Dispatch,
    outgoing: Outgoing,
) -> End {
    let mut connection = Connection::new(dispatch);
    let mut writing = pin!(outgoing.write_to(output));
    let end = tokio::select! {
        end = connection.listen(input) => end,
        _ = &mut writing => return End::HangUp,
    };
    // Drops the running handlers, which cancels their decodes, and closes the queue of messages.
    drop(connection);
    drop(tokio::time::timeout(FLUSH, writing).await);
    end
}

struct Connection {
    dispatch: Dispatch,
    running: FuturesUnordered<Answer>,
    parent: Parent,
    /// What `exit` means at this time.
    end: End,
}

impl Connection {
    fn new(dispatch: Dispatch) -> Self {
        Self {
            dispatch,
            running: FuturesUnordered::new(),
            parent: Parent::default(),
            end: End::ExitWithoutShutdown,
        }
    }

    /// Reads and runs handlers until the client is done.
    async fn listen(&mut self, input: impl AsyncRead + Unpin) -> End {
        let mut frames = FramedRead::new(input, Frames::default());
        loop {
            let message = tokio::select! {
                // Handlers first: what an answer of the client brought about (its configuration) is
                // in effect before its next message is looked at.
                biased;
                Some(reply) = self.running.next() => {
                    reply.iter().for_each(|reply| self.dispatch.client().respond(reply));
                    continue;
                }
                () = self.parent.gone() => return End::HangUp,
                message = frames.next() => message,
            };
            let Some(Ok(message)) = message else {
                return End::HangUp;
            };
            match message {
                Err(bad) => self.dispatch.refuse(&bad),
                Ok(body) => {
                    for message in Message::read(body) {
                        if let Some(end) = self.take(message).await {
                            return end;
                        }
                    }
                }
            }
        }
    }

    /// Starts what a message asks for; how the connection ends, if it does.
    async fn take(&mut self, message: Message) -> Option<End> {
        match message {
            Message::Nonsense(id) => self.dispatch.client().respond(&Reply::to_nonsense(id)),
            Message::Answer(answered) => self.dispatch.client().answered(answered),
            Message::Call(call) if call.method == "exit" => {
                if let Some(id) = call.id.filter(|id| !id.is_null()) {
                    self.dispatch.client().respond(&Reply::new(id, Ok(Value::Null)));
                }
                return Some(self.end);
            }
            Message::Call(call) => self.start(call).await,
        }
        None
    }

    /// Starts a handler: what it does before its first await is done when this returns.
    async fn start(&mut self, call: Call) {
        match call.method.as_str() {
            // The first one counts.
            "initialize" if !self.parent.is_named() => {
                self.parent = Parent::named_by(call.params.as_ref());
            }
            "shutdown" => self.end = End::Exit,
            _ => {}
        }
        let Some(mut answer) = self.dispatch.call(call) else { return };
        match futures::poll!(&mut answer) {
            Poll::Ready(Some(reply)) => self.dispatch.client().respond(&reply),
            Poll::Ready(None) => {}
            Poll::Pending => self.running.push(answer),
        }
    }
}
