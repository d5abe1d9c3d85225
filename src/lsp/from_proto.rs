//! LSP's values → ours.

use std::ops::Range;

use tower_lsp::lsp_types as lsp;

use super::ext::SuggestionRef;
use crate::complete::Trigger;
use crate::engine::DocumentId;
use crate::text::{ByteIdx, Document, Edit, Encoding, Position};

/// A document's name in the layers below. The rim has given the URI its one spelling (`uri.rs`).
pub(super) fn document_id(uri: &lsp::Url) -> DocumentId {
    DocumentId(uri.as_str().into())
}

/// A place.
pub(super) fn position(position: lsp::Position) -> Position {
    Position { line: position.line, character: position.character }
}

/// A range in `document`; ends that name no place are moved, and reversed ends make it empty.
pub(super) fn range(document: &Document, range: lsp::Range, encoding: Encoding) -> Range<ByteIdx> {
    let start = document.byte_of(position(range.start), encoding);
    let end = document.byte_of(position(range.end), encoding);
    start..end.max(start)
}

/// One change of `didChange`.
pub(super) fn edit(change: lsp::TextDocumentContentChangeEvent) -> Edit {
    let range = change.range.map(|range| position(range.start)..position(range.end));
    Edit { range, text: change.text }
}

/// Why an inline completion is asked: 1 is on demand.
pub(super) fn inline_trigger(trigger_kind: i64) -> Trigger {
    if trigger_kind == 1 { Trigger::Invoked } else { Trigger::Automatic }
}

/// Why a completion is asked. LSP's `Invoked` covers typed words as well as the user's command; the
/// editors that need this method have waited for a pause by then, so neither waits again here.
pub(super) fn completion_trigger(context: Option<&lsp::CompletionContext>) -> Trigger {
    match context.map(|context| context.trigger_kind) {
        None | Some(lsp::CompletionTriggerKind::INVOKED) => Trigger::Invoked,
        Some(_) => Trigger::Automatic,
    }
}

/// The suggestion that a command's first argument names: `{"id": 7}` or `7`.
pub(super) fn suggestion_id(argument: Option<&serde_json::Value>) -> Option<u64> {
    let argument = argument?;
    let named = || serde_json::from_value::<SuggestionRef>(argument.clone()).ok();
    argument.as_u64().or_else(|| named().map(|suggestion| suggestion.id))
}

/// The suggestion that a whole item, as a client sends it back, belongs to.
pub(super) fn suggestion_id_of_item(item: &serde_json::Value) -> Option<u64> {
    suggestion_id(item.pointer("/command/arguments/0"))
}
