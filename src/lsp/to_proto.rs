//! Our values → LSP's, and our failures → JSON-RPC errors.

use std::ops::Range;

use serde_json::json;
use tower_lsp::jsonrpc;
use tower_lsp::lsp_types as lsp;

use super::commands;
use super::ext::{Explained, InlineCompletionItem, InlineCompletionList, SuggestionRef};
use crate::complete::{Explanation, Suggestion};
use crate::engine::{Finish, LoadedProfile};
use crate::prompt::stop::StopReason;
use crate::text::{ByteIdx, Document, Encoding};

/// Why a request gets an error. Models that fail or have nothing to say are none: those are empty
/// answers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// A newer request came, or the document was closed.
    #[error("superseded")]
    Cancelled,
    /// The client's arguments are wrong.
    #[error("{0}")]
    InvalidParams(String),
}

/// The one place where failures become JSON-RPC.
impl From<Failure> for jsonrpc::Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Cancelled => Self::request_cancelled(),
            Failure::InvalidParams(reason) => Self::invalid_params(reason),
        }
    }
}

/// A range, by the names of its ends.
pub(super) fn range(document: &Document, range: Range<ByteIdx>, encoding: Encoding) -> lsp::Range {
    let position = |at| {
        let position = document.position_of(at, encoding);
        lsp::Position { line: position.line, character: position.character }
    };
    lsp::Range { start: position(range.start), end: position(range.end) }
}

/// What a client executes when a suggestion is accepted. Ids go here since `data` does not survive
/// VS Code.
pub(super) fn accept_command(id: u64) -> lsp::Command {
    lsp::Command {
        title: "Accept suggestion".to_owned(),
        command: commands::DID_ACCEPT.to_owned(),
        arguments: Some(vec![json!(SuggestionRef { id })]),
    }
}

/// A list of an item each.
pub(super) fn inline_list(
    document: &Document,
    suggestions: &[Suggestion],
    encoding: Encoding,
) -> InlineCompletionList {
    let items = suggestions.iter().map(|suggestion| InlineCompletionItem {
        insert_text: suggestion.insert.clone(),
        range: range(document, suggestion.replace.clone(), encoding),
        command: accept_command(suggestion.id),
    });
    InlineCompletionList { items: items.collect() }
}

/// The explanation of a suggestion in a document of this language, by the models that are loaded.
pub(super) fn explained(
    explanation: Explanation,
    language: Option<String>,
    models: Option<&LoadedProfile>,
) -> Explained {
    let decoding = explanation.decoding;
    Explained {
        id: explanation.id,
        uri: explanation.document.0.to_string(),
        language,
        mode: decoding.mode,
        alpha: shortest(decoding.alpha),
        temperature: shortest(decoding.base.temperature),
        base: models.map(|models| models.base.clone()),
        security: models.map(|models| models.security.clone()),
        adapter: models.and_then(|models| models.adapter.clone()),
        text: explanation.text,
        finish: explanation.finish.as_ref().map(finish),
        interventions: explanation.tokens.iter().filter(|token| token.intervened).count(),
        tokens: explanation.tokens,
        stats: explanation.stats,
    }
}

/// 0.3 stays 0.3, and does not become 0.30000001192092896.
pub(super) fn shortest(number: f32) -> f64 {
    number.to_string().parse().unwrap_or(f64::from(number))
}

fn finish(finish: &Finish) -> &'static str {
    match finish {
        Finish::EndOfText => "endOfText",
        Finish::StopRule(StopReason::Lines) => "lines",
        Finish::StopRule(StopReason::BlankLine) => "blankLine",
        Finish::StopRule(StopReason::BlockEnd) => "blockEnd",
        Finish::StopRule(StopReason::Repetition) => "repetition",
        Finish::TokenLimit => "tokenLimit",
        Finish::TimeBudget => "timeBudget",
        Finish::Cancelled => "cancelled",
        Finish::Superseded => "superseded",
        Finish::NotReady(_) => "notReady",
        Finish::Failed(_) => "failed",
    }
}
