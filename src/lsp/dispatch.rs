//! Around tower-lsp's router: what it cannot say or survive.
//!
//! The router knows typed parameters and runs handlers; the rim is here. Which calls there are and what they need is
//! `params.rs`'s table, so nothing reaches the router that it would refuse. Requests have ids of our own behind this
//! point, so that a client's may be anything, twice in flight too. The initialize request is read for what lsp-types 0.94
//! has no field for, and its answer gets `inlineCompletionProvider`, which is newer too. A panic in a handler is logged
//! and answered; the server goes on.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use dashmap::DashMap;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tower_lsp::LspService;
use tower_lsp::jsonrpc::{Error, ErrorCode, Request, Result};
use tower_lsp::lsp_types::Url;
use tower_service::Service;

use super::client::Client;
use super::frames::BadMessage;
use super::json::{Fidelity, Lost};
use super::message::{Call, Reply, key};
use super::params::{self, Effect, Kind, Method};
use super::server::Server;
use super::{capabilities, ext, uri};

const CANCEL: &str = "$/cancelRequest";

/// LSP's `ServerNotInitialized`.
const NOT_INITIALIZED: i64 = -32002;

/// Complaints that are remembered; a client with more of them gets them repeated.
const MAX_COMPLAINTS: usize = 256;

/// The name of a method may be as long as a client likes.
const MAX_COMPLAINT_CHARS: usize = 120;

/// A running handler; none for a notification.
pub(super) type Answer = BoxFuture<'static, Option<Reply>>;

/// Where messages go in.
pub(super) struct Dispatch {
    service: LspService<Server>,
    client: Client,
    phase: Phase,
    next_id: i64,
    in_flight: InFlight,
    complaints: HashSet<String>,
}

/// What has been said so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing.
    New,
    /// `initialize`.
    Met,
    /// `initialized`.
    Running,
    /// `shutdown`.
    ShutDown,
}

/// Our ids of the requests that are being answered, each with the client's.
type InFlight = Arc<DashMap<i64, String>>;

/// Takes a request out of [`InFlight`] when its handler ends or is dropped.
struct Flight {
    id: i64,
    in_flight: InFlight,
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.in_flight.remove(&self.id);
    }
}

impl Dispatch {
    /// Around `service`.
    pub(super) fn new(service: LspService<Server>, client: Client) -> Self {
        Self {
            service,
            client,
            phase: Phase::New,
            next_id: 0,
            in_flight: InFlight::default(),
            complaints: HashSet::new(),
        }
    }

    /// The editor.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Answers what cannot be read. The text that it may have changed is nobody's any more.
    pub(super) fn refuse(&mut self, bad: &BadMessage) {
        match bad {
            BadMessage::Json { .. } => self.complain("a message is not JSON"),
            other => self.complain(&other.to_string()),
        }
        match bad.lost() {
            Lost::Nothing => {}
            Lost::Documents { method, uris } => {
                uris.iter().for_each(|uri| self.lose(method.as_deref(), Some(uri)));
            }
            Lost::Everything => self.lose(None, None),
        }
        self.client.respond(&bad.reply());
    }

    /// The handler of `call`, not yet polled; none where nothing is left to do. Requests are answered exactly once.
    pub(super) fn call(&mut self, call: Call) -> Option<Answer> {
        let method = params::method(&call.method);
        let is_notification =
            method.is_some_and(|method| method.kind == Kind::Notification) || call.method == CANCEL;
        // Some clients write out the id that a notification does not have.
        let waits = call.id.clone().filter(|id| !(is_notification && id.is_null()));
        if let Some(error) = self.refusal(&call.method) {
            return self.answer(waits, Err(error));
        }
        let Some(method) = method else {
            if call.method == CANCEL {
                self.cancel(call.params.as_ref());
                return self.answer(waits, Ok(Value::Null));
            }
            self.complain(&format!("there is no method `{}`", call.method));
            let data = Some(Value::String(call.method));
            return self.answer(waits, Err(Error { data, ..Error::method_not_found() }));
        };
        if is_notification {
            // Somebody waits for an answer that LSP does not know.
            self.answer(waits, Ok(Value::Null));
            return self.notified(method, call);
        }
        if waits.is_none() && method.effect == Effect::Answer {
            self.complain(&format!("`{}` came without an id", call.method));
            return None;
        }
        self.requested(method, call, waits)
    }

    /// Why a call cannot come at this time.
    fn refusal(&self, method: &str) -> Option<Error> {
        match (self.phase, method) {
            (Phase::New, "initialize") => None,
            (Phase::New, _) => Some(Error {
                code: ErrorCode::ServerError(NOT_INITIALIZED),
                message: "Server not initialized".into(),
                data: None,
            }),
            (Phase::ShutDown, _) | (_, "initialize") | (Phase::Running, "initialized") => {
                Some(Error::invalid_request())
            }
            (Phase::Met | Phase::Running, _) => None,
        }
    }

    fn notified(&mut self, method: &Method, call: Call) -> Option<Answer> {
        let uri = written_uri(call.params.as_ref());
        let is_text = method.effect == Effect::Text;
        if is_text && !self.is_in_step(call.fidelity) {
            self.complain(&format!("`{}` has text that is no Unicode", call.method));
            self.lose(Some(&call.method), uri.as_ref());
            return None;
        }
        if call.method == "initialized" {
            self.phase = Phase::Running;
        }
        match method.read(call.params) {
            Ok(params) => Some(self.route(call.method, params, None)),
            Err(field) => {
                self.complain(&format!("`{}`: cannot read `{field}`", call.method));
                if is_text {
                    self.lose(Some(&call.method), uri.as_ref());
                }
                None
            }
        }
    }

    /// Half pairs are as wide as what stands for them where columns are UTF-16 units. Where they are not, two halves that
    /// come one by one make one character with another width.
    fn is_in_step(&self, fidelity: Fidelity) -> bool {
        match fidelity {
            Fidelity::Exact => true,
            Fidelity::HalfPairs => self.service.inner().counts_utf16(),
            Fidelity::BadBytes => false,
        }
    }

    fn requested(&mut self, method: &Method, call: Call, waits: Option<Value>) -> Option<Answer> {
        match call.method.as_str() {
            "initialize" => {
                self.service.inner().meet(call.params.as_ref());
                self.phase = Phase::Met;
            }
            "shutdown" => self.phase = Phase::ShutDown,
            _ => {}
        }
        let params = match method.read(call.params) {
            Ok(params) => params,
            Err(field) => {
                self.complain(&format!("`{}`: cannot read `{field}`", call.method));
                let message = format!("`{field}` is missing or is not what it should be");
                return self.answer(waits, Err(Error::invalid_params(message)));
            }
        };
        let key = waits.as_ref().map(key).unwrap_or_default();
        let answer = self.route(call.method, params, Some(key));
        Some(
            async move {
                let result = answer.await.map(|reply| reply.result)?;
                Some(Reply::new(waits?, result))
            }
            .boxed(),
        )
    }

    /// The router's handler. A request has the client's id with it, and is answered with an id of ours.
    fn route(&mut self, method: String, params: Option<Value>, request: Option<String>) -> Answer {
        let id = self.next_id;
        self.next_id += 1;
        let message = params
            .into_iter()
            .fold(Request::build(method.clone()), |message, params| message.params(params));
        let flight = request.map(|key| {
            self.in_flight.insert(id, key);
            Flight { id, in_flight: self.in_flight.clone() }
        });
        let message = if flight.is_some() { message.id(id) } else { message };
        // `poll_ready` is skipped: the router is always ready, and `exit` never comes here.
        let answer = AssertUnwindSafe(self.service.call(message.finish())).catch_unwind();
        async move {
            let result = match answer.await {
                Ok(response) => response.ok().flatten().map(|response| response.into_parts().1),
                Err(_panic) => {
                    tracing::error!(method, "a handler panicked");
                    flight.is_some().then(|| after_panic(&method))
                }
            };
            drop(flight);
            let result = match result? {
                Ok(result) if method == "initialize" => {
                    Ok(capabilities::with_inline_completion(result))
                }
                result => result,
            };
            Some(Reply::new(id.into(), result))
        }
        .boxed()
    }

    /// Cancels what the client means; all of it, if it used an id twice.
    fn cancel(&mut self, params: Option<&Value>) {
        let Some(named) = params.and_then(|params| params.get("id")).map(key) else { return };
        let flights = self.in_flight.iter().filter(|flight| *flight.value() == named);
        let ids: Vec<i64> = flights.map(|flight| *flight.key()).collect();
        for id in ids {
            let cancel = Request::build(CANCEL).params(json!({ "id": id })).finish();
            // The router's handler of it waits for nothing.
            drop(self.service.call(cancel).now_or_never());
        }
    }

    fn lose(&self, method: Option<&str>, uri: Option<&Url>) {
        self.service.inner().lose(method, uri);
    }

    fn answer(&self, waits: Option<Value>, result: Result<Value>) -> Option<Answer> {
        if let Some(id) = waits {
            self.client.respond(&Reply::new(id, result));
        }
        None
    }

    /// Says once what cannot be understood; never what the user has written.
    fn complain(&mut self, complaint: &str) {
        let complaint: String = complaint.chars().take(MAX_COMPLAINT_CHARS).collect();
        if self.complaints.contains(&complaint) {
            return;
        }
        tracing::warn!("{complaint}");
        if self.complaints.len() < MAX_COMPLAINTS {
            self.complaints.insert(complaint);
        }
    }
}

/// The document that a notification is about, whatever else is wrong with it.
fn written_uri(params: Option<&Value>) -> Option<Url> {
    let params = params.map(|params| params.get(0).unwrap_or(params));
    let written = params.and_then(|params| params.pointer("/textDocument/uri"));
    written.and_then(Value::as_str).map(uri::canonical)
}

/// A user who types is not bothered with errors: completions are just empty.
fn after_panic(method: &str) -> Result<Value> {
    match method {
        ext::INLINE_COMPLETION => Ok(json!({ "items": [] })),
        "textDocument/completion" => Ok(json!({ "isIncomplete": false, "items": [] })),
        _ => Err(Error::internal_error()),
    }
}
