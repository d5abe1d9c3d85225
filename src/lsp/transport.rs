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
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::codec::FramedRead;
use tower_lsp::jsonrpc::Request;

use super::End;
use super::client::Outgoing;
use super::dispatch::{Answer, Dispatch};
use super::frames::{Frames, Incoming};

/// Time for a client to take the last messages before we go.
const FLUSH: Duration = Duration::from_secs(1);

/// Runs the connection to its end.
pub(super) async fn run(
    input: impl AsyncRead + Unpin,
    output: impl AsyncWrite + Unpin,
    dispatch: Dispatch,
    outgoing: Outgoing,
) -> End {
    let mut connection = Connection { dispatch, running: FuturesUnordered::new() };
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
}

impl Connection {
    /// Reads and runs handlers until the client is done.
    async fn listen(&mut self, input: impl AsyncRead + Unpin) -> End {
        let mut frames = FramedRead::new(input, Frames::default());
        let mut end = End::ExitWithoutShutdown;
        loop {
            let message = tokio::select! {
                // Handlers first: what an answer of the client brought about (its configuration) is
                // in effect before its next message is looked at.
                biased;
                Some(response) = self.running.next() => {
                    response.iter().for_each(|response| self.dispatch.client().respond(response));
                    continue;
                }
                message = frames.next() => message,
            };
            let Some(Ok(message)) = message else {
                return End::HangUp;
            };
            match message {
                Err(bad) => {
                    tracing::warn!("{bad}");
                    self.dispatch.client().respond(&bad.response());
                }
                Ok(Incoming::Response(response)) => self.dispatch.client().answered(response),
                Ok(Incoming::Request(request)) if request.method() == "exit" => return end,
                Ok(Incoming::Request(request)) => {
                    if request.method() == "shutdown" {
                        end = End::Exit;
                    }
                    self.start(request).await;
                }
            }
        }
    }

    /// Starts a handler: what it does before its first await is done when this returns.
    async fn start(&mut self, request: Request) {
        let mut answer = self.dispatch.call(request);
        match futures::poll!(&mut answer) {
            Poll::Ready(Some(response)) => self.dispatch.client().respond(&response),
            Poll::Ready(None) => {}
            Poll::Pending => self.running.push(answer),
        }
    }
}
