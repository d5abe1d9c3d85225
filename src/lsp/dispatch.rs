//! Around tower-lsp's router: what it cannot say or survive.
//!
//! The initialize request is read for what lsp-types 0.94 has no field for, and its answer gets
//! `inlineCompletionProvider`, which is newer too. A panic in a handler is logged and answered; the
//! server goes on.

use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::json;
use tower_lsp::LspService;
use tower_lsp::jsonrpc::{Error, Id, Request, Response};
use tower_service::Service;

use super::client::Client;
use super::server::Server;
use super::{capabilities, ext};

/// A running handler; none for a notification.
pub(super) type Answer = BoxFuture<'static, Option<Response>>;

/// Where messages go in.
pub(super) struct Dispatch {
    service: LspService<Server>,
    client: Client,
}

impl Dispatch {
    /// Around `service`.
    pub(super) fn new(service: LspService<Server>, client: Client) -> Self {
        Self { service, client }
    }

    /// The editor.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// The handler of `request`, not yet polled. Requests are answered exactly once.
    pub(super) fn call(&mut self, request: Request) -> Answer {
        let method = request.method().to_owned();
        let id = request.id().cloned();
        if method == "initialize" {
            self.service.inner().meet(request.params());
        }
        let request = if method == ext::STATUS { without_params(request) } else { request };
        // `poll_ready` is skipped: the router is always ready, and `exit` never comes here.
        let answer = AssertUnwindSafe(self.service.call(request)).catch_unwind();
        async move {
            match answer.await {
                Ok(Ok(Some(response))) if method == "initialize" => {
                    Some(capabilities::with_inline_completion(response))
                }
                Ok(response) => response.ok().flatten(),
                Err(_panic) => {
                    tracing::error!(method, "a handler panicked");
                    id.map(|id| after_panic(&method, id))
                }
            }
        }
        .boxed()
    }
}

/// tower-lsp takes either no parameters or some; our status takes what comes.
fn without_params(request: Request) -> Request {
    let (method, id, _) = request.into_parts();
    let request = Request::build(method);
    id.into_iter().fold(request, |request, id| request.id(id)).finish()
}

/// A user who types is not bothered with errors: completions are just empty.
fn after_panic(method: &str, id: Id) -> Response {
    match method {
        ext::INLINE_COMPLETION => Response::from_ok(id, json!({ "items": [] })),
        "textDocument/completion" => {
            Response::from_ok(id, json!({ "isIncomplete": false, "items": [] }))
        }
        _ => Response::from_error(id, Error::internal_error()),
    }
}
