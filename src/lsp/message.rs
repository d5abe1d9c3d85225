//! JSON → what a client says to us: calls, answers to our own calls, and what is neither.
//!
//! `jsonrpc` is not looked at, and an id is whatever the client says it is: it is only given back. A batch, which LSP
//! does not have, is taken apart.

use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};
use tower_lsp::jsonrpc::{Error, Result};

use super::json::{Body, Fidelity};

/// What one message, or one of a batch, says.
#[derive(Debug)]
pub(super) enum Message {
    /// A request or a notification.
    Call(Call),
    /// The editor's answer to one of our requests.
    Answer(Answered),
    /// Not JSON-RPC; the id is null where there is none.
    Nonsense(Value),
}

/// A request or a notification.
#[derive(Debug)]
pub(super) struct Call {
    /// The client's name for it, in its own spelling. A request has one, a notification does not; null may be either.
    pub(super) id: Option<Value>,
    /// What to do.
    pub(super) method: String,
    /// With what.
    pub(super) params: Option<Value>,
    /// How faithful the strings in `params` are.
    pub(super) fidelity: Fidelity,
}

/// The editor's answer to one of our requests.
#[derive(Debug)]
pub(super) struct Answered {
    /// Our name for the request; none if it is not one of ours.
    pub(super) id: Option<i64>,
    /// None for an error.
    pub(super) result: Option<Value>,
}

/// Our answer to a request.
#[derive(Debug)]
pub(super) struct Reply {
    id: Value,
    /// What is answered.
    pub(super) result: Result<Value>,
}

impl Message {
    /// What `body` says, in order. What is no object in a batch makes one message in all.
    pub(super) fn read(body: Body) -> Vec<Self> {
        let Body { value, fidelity } = body;
        let batch = match value {
            Value::Array(batch) => batch,
            one => vec![one],
        };
        let n_sent = batch.len();
        let mut messages = Vec::new();
        for sent in batch {
            if let Value::Object(fields) = sent {
                messages.push(Self::of(fields, fidelity));
            }
        }
        if messages.len() < n_sent.max(1) {
            messages.push(Self::Nonsense(Value::Null));
        }
        messages
    }

    fn of(mut fields: Map<String, Value>, fidelity: Fidelity) -> Self {
        let id = fields.remove("id");
        match fields.remove("method") {
            Some(Value::String(method)) => {
                Self::Call(Call { id, method, params: fields.remove("params"), fidelity })
            }
            None if !fields.contains_key("params") => {
                let failed = fields.get("error").is_some_and(|error| !error.is_null());
                let result = (!failed).then(|| fields.remove("result").unwrap_or_default());
                match id {
                    Some(id) => Self::Answer(Answered { id: our_id(&id), result }),
                    None => Self::Nonsense(Value::Null),
                }
            }
            _ => Self::Nonsense(id.unwrap_or_default()),
        }
    }
}

/// Our ids are whole numbers, which some clients give back as `3.0` or `"3"`.
fn our_id(id: &Value) -> Option<i64> {
    match id {
        Value::String(id) => id.parse().ok(),
        id => key(id).parse().ok(),
    }
}

/// A client's id, so that equal ids are equal: `3` and `3.0` are, `3` and `"3"` are not.
pub(super) fn key(id: &Value) -> String {
    let is_whole = |number: &f64| number.fract() == 0.0 && number.abs() < 9e15;
    match id.as_f64().filter(is_whole) {
        Some(number) => format!("{number:.0}"),
        None => id.to_string(),
    }
}

impl Reply {
    /// An answer to the request of this id.
    pub(super) fn new(id: Value, result: Result<Value>) -> Self {
        Self { id, result }
    }

    /// The answer to what is not JSON-RPC.
    pub(super) fn to_nonsense(id: Value) -> Self {
        let error =
            Error { message: "the message is not JSON-RPC".into(), ..Error::invalid_request() };
        Self::new(id, Err(error))
    }
}

impl Serialize for Reply {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let Self { id, result } = self;
        match result {
            Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
            Err(error) => json!({ "jsonrpc": "2.0", "id": id, "error": error }),
        }
        .serialize(serializer)
    }
}
