//! An editor's question, "what comes here?", answered without a word of LSP.
//!
//! [`Completer`] decides whether to ask the models at all ([`trigger`]), answers from memory while the user types
//! through a suggestion ([`typed_through`]), and cuts what the suffix already says ([`trim`]). The evaluation and the
//! command line use the very same path as the editor.

use std::ops::Range;
use std::path::PathBuf;

use crate::engine::{DocumentId, Finish, RequestStats, TokenTrace};
use crate::text::{ByteIdx, Document};

pub mod trigger;
pub mod trim;
pub mod typed_through;

/// One question.
#[derive(Clone, Debug)]
pub struct Query {
    /// Whose request this is.
    pub document: DocumentId,
    /// Where the document lives on disk, for path globs; absent for unsaved buffers.
    pub path: Option<PathBuf>,
    /// The text at the time of the question.
    pub snapshot: Document,
    /// The cursor; at most the length of the text, on a character boundary.
    pub cursor: ByteIdx,
    /// Typed, or asked for.
    pub trigger: Trigger,
    /// The entry selected in the editor's popup menu: what it would replace, and by what. A suggestion must extend it.
    pub selected: Option<(Range<ByteIdx>, String)>,
}

/// Why the editor asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// The user typed or moved.
    Automatic,
    /// The user asked: no debounce, no `automatic = false`.
    Invoked,
}

/// The answer to one question; every question gets exactly one.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Something to show.
    Suggestion(Suggestion),
    /// Nothing to show, and why.
    Nothing(Reason),
    /// A newer question about the same document came.
    Superseded,
}

/// Text to show at the cursor.
#[derive(Clone, Debug, PartialEq)]
pub struct Suggestion {
    /// Unique in this process; `explain` takes it.
    pub id: u64,
    /// What to insert, with `\n` line ends; begins with the buffer's text from `replace.start` to the cursor.
    pub insert: String,
    /// What it replaces: starts at the cursor, on one line; longer than empty where the suggestion repeats the
    /// closers to the right of the cursor.
    pub replace: Range<ByteIdx>,
    /// More of it is still being decoded.
    pub partial: bool,
}

/// Why there is nothing to show.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// `enabled = false`.
    #[error("completions are switched off")]
    Disabled,
    /// `automatic = false` and nobody asked.
    #[error("automatic suggestions are switched off; ask for one")]
    ManualOnly,
    /// The language is switched off.
    #[error("language `{0}` is switched off")]
    Language(String),
    /// The file matches `excludedFiles`.
    #[error("the file matches the excluded pattern `{0}`")]
    Excluded(String),
    /// The document looks like no text.
    #[error("the document is not text")]
    Binary,
    /// Too much text to the right of the cursor.
    #[error("the cursor is in the middle of a line")]
    MidLine,
    /// The popup menu's selection and the suggestion do not fit together.
    #[error("the suggestion does not extend the selected menu entry")]
    Selected,
    /// The models had nothing to say.
    #[error("the model has nothing to add here")]
    Empty,
    /// All that the models said is already in the buffer.
    #[error("the buffer already has what was suggested")]
    Duplicate,
    /// The models are not (yet) there.
    #[error("{0}")]
    NotReady(String),
    /// The models failed.
    #[error("{0}")]
    Failed(String),
}

/// Everything about one suggestion, for `cosec/explain` and the command line.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The suggestion's id.
    pub id: u64,
    /// The decoded text before trimming.
    pub text: String,
    /// Every token of it.
    pub tokens: Vec<TokenTrace>,
    /// How it ended; absent while it is being decoded.
    pub finish: Option<Finish>,
    /// What it took.
    pub stats: RequestStats,
}
