//! The language server: JSON-RPC on a pair of pipes in, [`Completer`] calls out.
//!
//! The only layer that knows LSP. One task runs everything here: `transport` polls each handler
//! once when its message arrives, in order of arrival, so a handler without `.await` (every `did_*`)
//! is done before the next message is looked at, and a completion takes its snapshot before any later
//! edit. Model work happens on the engine's own thread. The way of one request: `transport` →
//! `dispatch` → `server` → `inline_completion` (or `completion`) → [`Completer`] → `to_proto`.
//! What clients do beyond the letter of the protocol is made good before `server`: `frames`, `json`
//! and `message` for what is no message, `params` and `uri` for what is in it.
//!
//! [`Completer`]: crate::complete::Completer

mod ahead;
mod capabilities;
mod client;
mod commands;
mod completion;
mod configuration;
mod dispatch;
mod documents;
mod download;
pub mod ext;
mod folders;
mod frames;
mod from_proto;
mod inline_completion;
mod json;
mod message;
mod options;
mod params;
mod parent;
mod progress;
mod question;
mod server;
mod session;
mod status;
mod status_updates;
mod switches;
mod to_proto;
mod transport;
mod uri;

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tower_lsp::LspService;
use tower_lsp::lsp_types::notification::{Notification, WorkDoneProgressCancel};

use crate::config::Settings;
use crate::engine::Backend;
use client::Client;
use dispatch::Dispatch;
use server::Server;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// `shutdown`, then `exit`: exit code 0.
    Exit,
    /// `exit` without `shutdown`: exit code 1, says LSP.
    ExitWithoutShutdown,
    /// The client is gone: it closed a pipe, or the process that `processId` names has ended.
    HangUp,
}

/// Serves one client until it exits, closes its end or dies, even in the middle of a decode.
///
/// A method that is registered here or in `server` needs a row in `params` as well.
///
/// `defaults` are the settings that the client's options are laid over.
pub async fn serve(
    input: impl AsyncRead + Unpin,
    output: impl AsyncWrite + Unpin,
    backend: Arc<dyn Backend>,
    defaults: Settings,
) -> End {
    let (client, outgoing) = Client::connect();
    // tower-lsp's own client socket stays unused: see `transport`.
    let (service, _socket) = LspService::build(|_| Server::new(client.clone(), backend, defaults))
        .custom_method(ext::INLINE_COMPLETION, Server::inline_completion)
        .custom_method(ext::EXPLAIN, Server::explain)
        .custom_method(ext::STATUS, Server::status)
        .custom_method(ext::DID_SHOW, Server::did_show_completion)
        .custom_method(ext::DID_PARTIALLY_ACCEPT, Server::did_partially_accept_completion)
        .custom_method(ext::DID_FOCUS, Server::did_focus)
        .custom_method(WorkDoneProgressCancel::METHOD, Server::did_cancel_progress)
        .finish();
    transport::run(input, output, Dispatch::new(service, client), outgoing).await
}
