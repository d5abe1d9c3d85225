//! What each method really needs of its parameters, and how everything else is made good.
//!
//! lsp-types refuses a whole message for one field that this server never looks at. So parameters are written anew
//! before they get there: each method has a row in [`METHODS`], and of what the client sent only the fields in that row
//! are taken. A field that is missing, null or of the wrong kind becomes its default; only one without a default can
//! fail a message. A method without a row does not exist.

use serde_json::{Map, Value, json};

use super::{ext, uri};

/// A row of the table.
#[derive(Debug)]
pub(super) struct Method {
    name: &'static str,
    /// Whether it is answered.
    pub(super) kind: Kind,
    /// What depends on it besides its answer.
    pub(super) effect: Effect,
    params: Option<&'static Shape>,
}

/// Whether a method is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// With a result.
    Request,
    /// Not at all.
    Notification,
}

/// What happens beside the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// None that matters where nobody waits for the answer.
    Answer,
    /// Something that is done even where nobody waits.
    Action,
    /// It carries text of a document, and must not be lost without a word.
    Text,
}

/// How a value is read.
#[derive(Debug)]
enum Shape {
    /// As it is.
    Anything,
    /// A string.
    Text,
    /// A document's URI: any string, in its one spelling.
    Uri,
    /// The URI of a folder: not empty.
    Folder,
    /// A whole number, also one written as `3.0`; clamped.
    Number(i64, i64),
    /// The same for a place in an edit, where a negative number names none.
    Place,
    /// One of these numbers.
    OneOf(&'static [i64]),
    /// A string or a whole number.
    Token,
    /// These fields, and no other. What is no object has no fields.
    Object(&'static [Field]),
    /// A list without the entries that cannot be read.
    List(&'static Shape),
    /// A list; one thing is a list of one.
    Arguments,
    /// `contentChanges`: each of them, or what has come after the last whole text.
    Changes,
    /// The id of a suggestion, in whatever it is wrapped; or none.
    SuggestionRef,
}

#[derive(Debug)]
struct Field {
    name: &'static str,
    shape: &'static Shape,
    otherwise: Otherwise,
}

/// What becomes of a field that cannot be read.
#[derive(Debug)]
enum Otherwise {
    /// The message cannot be understood.
    Fails,
    /// It is left out.
    Absent,
    /// An empty string.
    Empty,
    /// This number.
    Is(i64),
    /// An empty list.
    NoneOfThem,
    /// Null.
    Null,
}

/// The field that made a message unreadable.
pub(super) type Unreadable = &'static str;

use Otherwise::{Absent, Empty, Fails, Is, NoneOfThem, Null};

const fn field(name: &'static str, shape: &'static Shape, otherwise: Otherwise) -> Field {
    Field { name, shape, otherwise }
}

/// The numbers of LSP's `integer`; a version fits in them.
const INTEGER: Shape = Shape::Number(i32::MIN as i64, i32::MAX as i64);
const COLUMN: Shape = Shape::Number(0, u32::MAX as i64);

const DOCUMENT: Shape = Shape::Object(&[field("uri", &Shape::Uri, Fails)]);
const IN_DOCUMENT: Field = field("textDocument", &DOCUMENT, Fails);

const POSITION: Shape =
    Shape::Object(&[field("line", &COLUMN, Fails), field("character", &COLUMN, Fails)]);
const RANGE: Shape =
    Shape::Object(&[field("start", &POSITION, Fails), field("end", &POSITION, Fails)]);

const EDIT_POSITION: Shape =
    Shape::Object(&[field("line", &Shape::Place, Fails), field("character", &Shape::Place, Fails)]);
const EDIT_RANGE: Shape =
    Shape::Object(&[field("start", &EDIT_POSITION, Fails), field("end", &EDIT_POSITION, Fails)]);

const FOLDER: Shape =
    Shape::Object(&[field("uri", &Shape::Folder, Fails), field("name", &Shape::Text, Empty)]);
const FOLDERS: Shape = Shape::List(&FOLDER);

/// What of it has no type in lsp-types is read in `capabilities.rs`, `session.rs` and `parent.rs`, as it came.
const INITIALIZE: Shape = Shape::Object(&[
    field("capabilities", &Shape::Object(&[]), Fails),
    field("rootUri", &Shape::Folder, Absent),
    field("workspaceFolders", &FOLDERS, Absent),
]);

const DID_OPEN: Shape = Shape::Object(&[field(
    "textDocument",
    &Shape::Object(&[
        field("uri", &Shape::Uri, Fails),
        field("languageId", &Shape::Text, Empty),
        field("version", &INTEGER, Is(0)),
        field("text", &Shape::Text, Fails),
    ]),
    Fails,
)]);

const DID_CHANGE: Shape = Shape::Object(&[
    field(
        "textDocument",
        &Shape::Object(&[field("uri", &Shape::Uri, Fails), field("version", &INTEGER, Is(0))]),
        Fails,
    ),
    field("contentChanges", &Shape::Changes, Fails),
]);

const COMPLETION: Shape = Shape::Object(&[
    IN_DOCUMENT,
    field("position", &POSITION, Fails),
    field(
        "context",
        &Shape::Object(&[field("triggerKind", &Shape::OneOf(&[1, 2, 3]), Fails)]),
        Absent,
    ),
    field("partialResultToken", &Shape::Token, Absent),
]);

const INLINE_COMPLETION: Shape = Shape::Object(&[
    IN_DOCUMENT,
    field("position", &POSITION, Fails),
    field(
        "context",
        &Shape::Object(&[
            field("triggerKind", &Shape::OneOf(&[1, 2]), Is(2)),
            field(
                "selectedCompletionInfo",
                &Shape::Object(&[
                    field("range", &RANGE, Fails),
                    field("text", &Shape::Text, Fails),
                ]),
                Absent,
            ),
        ]),
        Fails,
    ),
    field("partialResultToken", &Shape::Token, Absent),
]);

const EXECUTE: Shape = Shape::Object(&[
    field("command", &Shape::Text, Fails),
    field("arguments", &Shape::Arguments, NoneOfThem),
]);

const FOLDERS_CHANGED: Shape = Shape::Object(&[field(
    "event",
    &Shape::Object(&[field("added", &FOLDERS, NoneOfThem), field("removed", &FOLDERS, NoneOfThem)]),
    Fails,
)]);

const SETTINGS: Shape = Shape::Object(&[field("settings", &Shape::Anything, Null)]);
const SAVED: Shape = Shape::Object(&[IN_DOCUMENT]);
const NOTHING: Shape = Shape::Object(&[]);
const WATCHED: Shape = Shape::Object(&[field(
    "changes",
    &Shape::List(&Shape::Object(&[
        field("uri", &Shape::Folder, Fails),
        field("type", &Shape::OneOf(&[1, 2, 3]), Fails),
    ])),
    NoneOfThem,
)]);
const STATUS: Shape = Shape::Object(&[field("textDocument", &DOCUMENT, Absent)]);
const FOCUS: Shape = Shape::Object(&[field("textDocument", &DOCUMENT, Absent)]);
const ITEM: Shape = Shape::Object(&[
    field("item", &Shape::Anything, Null),
    field("acceptedLength", &COLUMN, Is(0)),
]);

const CANCELLED_PROGRESS: Shape = Shape::Object(&[field("token", &Shape::Token, Fails)]);

/// Every method that there is, besides `exit` and `$/cancelRequest`, which the loop takes itself.
const METHODS: [Method; 19] = [
    request("initialize", Effect::Answer, Some(&INITIALIZE)),
    notification("initialized", Effect::Action, &NOTHING),
    request("shutdown", Effect::Action, None),
    notification("textDocument/didOpen", Effect::Text, &DID_OPEN),
    notification("textDocument/didChange", Effect::Text, &DID_CHANGE),
    notification("textDocument/didSave", Effect::Action, &SAVED),
    notification("textDocument/didClose", Effect::Action, &SAVED),
    request("textDocument/completion", Effect::Answer, Some(&COMPLETION)),
    request(ext::INLINE_COMPLETION, Effect::Answer, Some(&INLINE_COMPLETION)),
    request("workspace/executeCommand", Effect::Action, Some(&EXECUTE)),
    notification("workspace/didChangeConfiguration", Effect::Action, &SETTINGS),
    notification("workspace/didChangeWorkspaceFolders", Effect::Action, &FOLDERS_CHANGED),
    notification("workspace/didChangeWatchedFiles", Effect::Action, &WATCHED),
    request(ext::EXPLAIN, Effect::Answer, Some(&Shape::SuggestionRef)),
    request(ext::STATUS, Effect::Answer, Some(&STATUS)),
    notification(ext::DID_SHOW, Effect::Action, &ITEM),
    notification(ext::DID_PARTIALLY_ACCEPT, Effect::Action, &ITEM),
    notification(ext::DID_FOCUS, Effect::Action, &FOCUS),
    notification("window/workDoneProgress/cancel", Effect::Action, &CANCELLED_PROGRESS),
];

const fn request(name: &'static str, effect: Effect, params: Option<&'static Shape>) -> Method {
    Method { name, kind: Kind::Request, effect, params }
}

const fn notification(name: &'static str, effect: Effect, params: &'static Shape) -> Method {
    Method { name, kind: Kind::Notification, effect, params: Some(params) }
}

/// The row of a method; none if there is no such method.
pub(super) fn method(name: &str) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.name == name)
}

impl Method {
    /// What this method needs of what the client sent; none where it needs nothing.
    ///
    /// # Errors
    ///
    /// When a field is missing or unreadable that has no default.
    pub(super) fn read(&self, sent: Option<Value>) -> Result<Option<Value>, Unreadable> {
        let Some(shape) = self.params else { return Ok(None) };
        // JSON-RPC knows parameters by position, and all of ours have one.
        let sent = match sent {
            Some(Value::Array(list)) => list.into_iter().next(),
            other => other,
        };
        shape.read(sent.unwrap_or_default(), "params").map(Some)
    }
}

impl Shape {
    /// `sent` as this shape. An error is the name of the innermost field that cannot be read.
    fn read(&self, sent: Value, name: &'static str) -> Result<Value, Unreadable> {
        let read = match (self, sent) {
            (Self::Object(fields), sent) => return read_fields(fields, sent),
            (Self::Anything, sent) => Some(sent),
            (Self::Text, Value::String(text)) => Some(Value::String(text)),
            (Self::Uri, Value::String(uri)) => Some(json!(uri::canonical(&uri))),
            (Self::Folder, Value::String(uri)) if !uri.is_empty() => {
                Some(json!(uri::canonical(&uri)))
            }
            (Self::Number(least, most), sent) => {
                number(&sent).map(|number| json!((number.floor() as i64).clamp(*least, *most)))
            }
            (Self::Place, sent) => whole(&sent)
                .and_then(|number| u64::try_from(number).ok())
                .map(|number| json!(u32::try_from(number).unwrap_or(u32::MAX))),
            (Self::OneOf(known), sent) => {
                whole(&sent).filter(|number| known.contains(number)).map(Value::from)
            }
            (Self::Token, Value::String(token)) => Some(Value::String(token)),
            (Self::Token, sent) => {
                whole(&sent).and_then(|token| i32::try_from(token).ok()).map(Value::from)
            }
            (Self::List(entry), Value::Array(list)) => {
                Some(list.into_iter().filter_map(|sent| entry.read(sent, name).ok()).collect())
            }
            (Self::Arguments, Value::Null) => None,
            (Self::Arguments, Value::Array(list)) => Some(Value::Array(list)),
            (Self::Arguments, one) => Some(Value::Array(vec![one])),
            (Self::Changes, Value::Array(list)) => changes(list).map(Value::Array),
            (Self::SuggestionRef, Value::Null) => Some(json!({})),
            (Self::SuggestionRef, sent) => match sent.get("id") {
                None | Some(Value::Null) if sent.is_object() => Some(json!({})),
                id => {
                    whole(id.unwrap_or(&sent)).filter(|id| *id >= 0).map(|id| json!({ "id": id }))
                }
            },
            _ => None,
        };
        read.ok_or(name)
    }
}

fn read_fields(fields: &[Field], sent: Value) -> Result<Value, Unreadable> {
    let mut sent = match sent {
        Value::Object(sent) => sent,
        _ => Map::new(),
    };
    let mut read = Map::new();
    for field in fields {
        let value = sent.remove(field.name).unwrap_or_default();
        let value = match (field.shape.read(value, field.name), &field.otherwise) {
            (Ok(value), _) => value,
            (Err(name), Fails) => return Err(name),
            (Err(_), Absent) => continue,
            (Err(_), Empty) => json!(""),
            (Err(_), Is(number)) => json!(number),
            (Err(_), NoneOfThem) => json!([]),
            (Err(_), Null) => Value::Null,
        };
        read.insert(field.name.to_owned(), value);
    }
    Ok(Value::Object(read))
}

/// The changes that the last whole text leaves to be made. None if one of these cannot be read.
fn changes(sent: Vec<Value>) -> Option<Vec<Value>> {
    let mut read = Some(Vec::new());
    for change in sent {
        match change_of(change) {
            Some(change) if change.get("range").is_none() => read = Some(vec![change]),
            change => {
                read = read.zip(change).map(|(mut read, change)| {
                    read.push(change);
                    read
                });
            }
        }
    }
    read
}

/// A range that cannot be read is not the same as none, which would make the text the whole one.
fn change_of(mut sent: Value) -> Option<Value> {
    let text = sent.get_mut("text").map(Value::take).filter(Value::is_string)?;
    match sent.get_mut("range").map(Value::take).unwrap_or_default() {
        Value::Null => Some(json!({ "text": text })),
        range => Some(json!({ "range": EDIT_RANGE.read(range, "range").ok()?, "text": text })),
    }
}

fn number(sent: &Value) -> Option<f64> {
    sent.as_f64().filter(|number| number.is_finite())
}

fn whole(sent: &Value) -> Option<i64> {
    let fraction = || number(sent).filter(|number| number.fract() == 0.0);
    // The cast takes numbers beyond the ends to the ends.
    sent.as_i64().or_else(|| fraction().map(|number| number as i64))
}
