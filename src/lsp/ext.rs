//! Protocol types that lsp-types 0.94 lacks: inline completion of LSP 3.18, and our own methods.
//!
//! `docs/PROTOCOL.md` describes all of this for people; a test compares the hash of this file with
//! the one written there, so that neither changes alone.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tower_lsp::lsp_types::{Command, Position, ProgressToken, Range, TextDocumentIdentifier};

use crate::config::Mode;
use crate::engine::{RequestStats, TokenTrace};

/// Request of LSP 3.18: [`InlineCompletionParams`] → [`InlineCompletionList`].
pub const INLINE_COMPLETION: &str = "textDocument/inlineCompletion";
/// Request: [`ExplainParams`] → [`Explained`] or null.
pub const EXPLAIN: &str = "cosec/explain";
/// Request: [`StatusParams`], which may be left out → the status object of `status.rs`.
pub const STATUS: &str = "cosec/status";
/// Notification to clients that say `experimental.cosec.status`: the same object, when it has changed.
pub const DID_CHANGE_STATUS: &str = "cosec/didChangeStatus";
/// Notification: [`DidShowParams`].
pub const DID_SHOW: &str = "textDocument/didShowCompletion";
/// Notification: [`DidPartiallyAcceptParams`].
pub const DID_PARTIALLY_ACCEPT: &str = "textDocument/didPartiallyAcceptCompletion";
/// Notification: [`DidFocusParams`].
pub const DID_FOCUS: &str = "textDocument/didFocus";

/// Parameters of [`INLINE_COMPLETION`]. The specification has no `partialResultToken`; with one,
/// text is streamed.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InlineCompletionParams {
    /// Which document.
    pub text_document: TextDocumentIdentifier,
    /// The cursor.
    pub position: Position,
    /// Why it is asked.
    #[serde(default)]
    pub context: InlineCompletionContext,
    /// Asks for streaming: `$/progress` with the whole list so far, each replacing the one before.
    #[serde(default)]
    pub partial_result_token: Option<ProgressToken>,
}

/// Why an inline completion is asked.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InlineCompletionContext {
    /// 1 on demand, 2 while typing; anything else counts as 2.
    pub trigger_kind: i64,
    /// The selected entry of the popup menu.
    pub selected_completion_info: Option<SelectedCompletionInfo>,
}

/// The selected entry of the popup menu.
#[derive(Clone, Debug, Deserialize)]
pub struct SelectedCompletionInfo {
    /// What it replaces.
    pub range: Range,
    /// What it inserts.
    pub text: String,
}

/// Answer to [`INLINE_COMPLETION`].
#[derive(Clone, Debug, Default, Serialize)]
pub struct InlineCompletionList {
    /// The suggestion, and what may be chosen instead; empty clears what the editor shows.
    pub items: Vec<InlineCompletionItem>,
}

/// One suggestion.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InlineCompletionItem {
    /// What to insert; lines end in `\n`. Begins with the buffer's text from the start of the range
    /// to the cursor.
    pub insert_text: String,
    /// What it replaces: always there, always on one line.
    pub range: Range,
    /// To be executed when the item is accepted; its one argument is a [`SuggestionRef`].
    pub command: Command,
}

/// Names a suggestion: the argument of an item's command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuggestionRef {
    /// Unique in this run of the server.
    pub id: u64,
}

/// Parameters of [`EXPLAIN`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ExplainParams {
    /// Of which suggestion; the last one if absent.
    pub id: Option<u64>,
}

/// Parameters of [`STATUS`].
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StatusParams {
    /// A document that is asked about as well.
    pub text_document: Option<TextDocumentIdentifier>,
}

/// Answer to [`EXPLAIN`]: why each token of a suggestion is what it is.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explained {
    /// Whose explanation this is.
    pub id: u64,
    /// The document that it was made for.
    pub uri: String,
    /// That document's language; absent if it is closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Who chose the tokens.
    pub mode: Mode,
    /// The threshold that ratios were compared with.
    pub alpha: f64,
    /// The base's temperature.
    pub temperature: f64,
    /// The models that are loaded; absent where none are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// See `base`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security: Option<String>,
    /// The security model's adapter.
    pub adapter: Option<String>,
    /// The decoded text before trimming.
    pub text: String,
    /// How decoding ended (`endOfText`, `lines`, `blankLine`, `blockEnd`, `repetition`,
    /// `tokenLimit`, `timeBudget`, `cancelled`, `superseded`, `notReady`, `failed`); absent while
    /// it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish: Option<&'static str>,
    /// Tokens that differ from the base's own choice.
    pub interventions: usize,
    /// Every token, oldest first.
    pub tokens: Vec<TokenTrace>,
    /// What it took.
    pub stats: RequestStats,
}

/// Parameters of [`DID_SHOW`]: the item as it was received.
#[derive(Clone, Debug, Deserialize)]
pub struct DidShowParams {
    /// The item.
    pub item: Value,
}

/// Parameters of [`DID_PARTIALLY_ACCEPT`].
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DidPartiallyAcceptParams {
    /// The item.
    pub item: Value,
    /// UTF-16 units from the start of `insertText` that the user has taken so far.
    #[serde(default)]
    pub accepted_length: u32,
}

/// Parameters of [`DID_FOCUS`].
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DidFocusParams {
    /// The document that the user looks at; absent if none.
    #[serde(default)]
    pub text_document: Option<TextDocumentIdentifier>,
}

/// `experimental.cosec` in our capabilities: what of this file the server speaks.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Experimental {
    /// Grows when a client must change.
    pub version: u32,
    /// Whether `partialResultToken` streams text.
    pub partial_results: bool,
    /// Custom requests.
    pub requests: [&'static str; 2],
    /// Notifications that a client may wish for.
    pub notifications: [&'static str; 1],
}

impl Default for Experimental {
    fn default() -> Self {
        Self {
            version: 2,
            partial_results: true,
            requests: [EXPLAIN, STATUS],
            notifications: [DID_CHANGE_STATUS],
        }
    }
}
