//! An editor's question, "what comes here?", answered without a word of LSP.
//!
//! [`Completer`] decides whether to ask the models at all ([`trigger`]), answers from [`memory`] while the user types
//! through a suggestion ([`typed_through`]), lets the engine decode the rest ([`ask`], [`job`]), and cuts what the
//! buffer already says ([`style`], [`trim`]). The evaluation and the command line use the very same path as the editor.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use tokio_util::sync::CancellationToken;

use crate::config::{Decoding, Settings};
use crate::engine::{Backend, DocumentId, Finish, RequestStats, TokenTrace};
use crate::text::{ByteIdx, Document};

use journal::Journal;
use memory::Memory;
use question::Question;

pub mod ahead;
pub mod ask;
pub mod beside;
pub mod brackets;
pub mod candidates;
pub mod file_names;
pub mod file_rules;
pub mod finished;
pub mod job;
pub mod journal;
pub mod lexical;
pub mod links;
pub mod memory;
pub mod path_globs;
pub mod question;
pub mod shown_path;
pub mod style;
pub mod surroundings;
pub mod trigger;
pub mod trim;
pub mod typed_through;

pub use candidates::Answered;
pub use file_rules::Exclusions;
pub use journal::Feedback;
pub use links::Links;

/// One question.
#[derive(Clone, Debug)]
pub struct Query {
    /// Whose request this is.
    pub document: DocumentId,
    /// Where the document lives on disk, for path globs; absent for unsaved buffers.
    pub path: Option<PathBuf>,
    /// Where the symbolic links of that path lead.
    pub links: Links,
    /// What the models are told of where that is: the path from its workspace folder ([`shown_path::relative`]); absent for
    /// buffers without a name.
    pub name: Option<String>,
    /// The text at the time of the question.
    pub snapshot: Document,
    /// The cursor; at most the length of the text, on a character boundary.
    pub cursor: ByteIdx,
    /// Typed, or asked for.
    pub trigger: Trigger,
    /// The entry selected in the editor's popup menu: what it would replace, and by what. A suggestion must extend it.
    pub selected: Option<(Range<ByteIdx>, String)>,
    /// When to answer with the whole lines that are there, while the rest is still being decoded and waits for the next
    /// question; `None` to wait for all of it. For editors that cannot show partial results.
    pub early_after: Option<Duration>,
    /// Which of the suggestions that one text may get; an editor's questions are all about the first, 0.
    pub sample: u32,
    /// What becomes of text that stops because tokens or time are used up.
    pub unfinished: Unfinished,
}

/// What becomes of text that stops in the middle of something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unfinished {
    /// It ends with its last whole line, or its last whole word where there is no whole line.
    #[default]
    Cut,
    /// It is kept as it was decoded; for measuring what models write.
    Keep,
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
    /// closers to the right of the cursor. Where a menu entry is selected, it starts where that one's range does.
    pub replace: Range<ByteIdx>,
    /// More of it may come: it is being decoded, or the next question goes on where time ended this one.
    pub partial: bool,
}

impl Answer {
    /// Whether the same question may soon have another answer, so that a client should ask again.
    pub fn more_may_come(&self) -> bool {
        match self {
            Self::Suggestion(suggestion) => suggestion.partial,
            Self::Nothing(reason) => reason.may_pass(),
            Self::Superseded => false,
        }
    }
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
    /// A private key stands in the document.
    #[error("the document holds a private key")]
    PrivateKey,
    /// Whether the document's path is a link to a secret file cannot be told.
    #[error("the file system does not say whether the file is a link to a secret one")]
    Links,
    /// Too much text to the right of the cursor.
    #[error("the cursor is in the middle of a line")]
    MidLine,
    /// The popup menu's selection and the suggestion do not fit together.
    #[error("the suggestion does not extend the selected menu entry")]
    Selected,
    /// The models had nothing to say.
    #[error("the model has nothing to add here")]
    Empty,
    /// The time was up before there was a whole word.
    #[error(
        "the time (`timeBudgetMs`) was up before there was anything to show; the next question goes on from there"
    )]
    TimeBudget,
    /// The tokens were used up before there was a whole word.
    #[error("the tokens (`maxTokens`) were used up before there was a whole word")]
    TokenLimit,
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

impl Reason {
    /// Whether the same question may get something later, without a key being typed.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::NotReady(_) | Self::TimeBudget)
    }
}

/// Everything about one suggestion, for `cosec/explain` and the command line.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The suggestion's id.
    pub id: u64,
    /// Whose text it continues.
    pub document: DocumentId,
    /// The law by which its tokens were chosen.
    pub decoding: Decoding,
    /// The decoded text before trimming.
    pub text: String,
    /// Every token of it.
    pub tokens: Vec<TokenTrace>,
    /// How it ended; absent while it is being decoded.
    pub finish: Option<Finish>,
    /// What it took.
    pub stats: RequestStats,
}

/// Answers questions; a cheap handle that all of an editor's documents share.
#[derive(Clone)]
pub struct Completer {
    shared: Arc<Shared>,
}

/// What all handles share. An entry's lock is held for a look at its memory, never across an await.
struct Shared {
    backend: Arc<dyn Backend>,
    documents: DashMap<DocumentId, Memory>,
    journal: Journal,
}

impl Completer {
    /// A completer that asks `backend`. Questions must be asked inside a tokio runtime.
    pub fn new(backend: Arc<dyn Backend>) -> Self {
        let shared = Shared { backend, documents: DashMap::new(), journal: Journal::default() };
        Self { shared: Arc::new(shared) }
    }

    /// Answers a question, exactly once; a newer one about the same document ends it as superseded. The memory has
    /// seen the question when the first poll returns.
    ///
    /// `on_partial` is called with each longer suggestion while it is decoded; all of them, and the answer, have the
    /// same id. Dropping the future stops the decoding, but keeps what is there for the next question.
    pub async fn complete(
        &self,
        query: Query,
        settings: &Settings,
        on_partial: &mut (dyn FnMut(&Suggestion) + Send),
    ) -> Answer {
        let turn = self.take_turn(&query);
        let answer = tokio::select! {
            biased;
            () = turn.cancelled() => Answer::Superseded,
            answer = self.answer(query, settings, on_partial) => answer,
        };
        self.note(&answer);
        answer
    }

    /// The document is closed.
    pub fn forget(&self, document: &DocumentId) {
        self.shared.documents.remove(document);
        self.shared.backend.forget(document);
    }

    /// The document's text has become `snapshot`: work that no longer agrees with it stops. Never waits.
    pub fn edited(&self, document: &DocumentId, snapshot: &Document) {
        if let Some(memory) = self.shared.documents.get(document) {
            memory.edited(snapshot);
        }
    }

    /// The editor shows a suggestion.
    pub fn shown(&self, id: u64) {
        self.shared.journal.shown(id);
    }

    /// The user has accepted a suggestion.
    pub fn accepted(&self, id: u64) {
        self.shared.journal.accepted(id);
    }

    /// Counts of suggestions and what became of them.
    pub fn feedback(&self) -> Feedback {
        self.shared.journal.feedback()
    }

    /// The suggestion that was answered, shown or accepted last.
    pub fn last_suggestion(&self) -> Option<u64> {
        self.shared.journal.last_suggestion()
    }

    /// Everything about one of the last suggestions.
    pub fn explain(&self, id: u64) -> Option<Explanation> {
        let job = self.shared.journal.job(id)?;
        let progress = job.progress();
        Some(Explanation {
            id,
            document: job.document().clone(),
            decoding: job.decoding(),
            text: progress.text,
            tokens: progress.tokens,
            finish: progress.finish,
            stats: progress.stats,
        })
    }

    /// The workspace folders, which globs of the settings are relative to, are these from now on.
    pub fn set_folders(&self, folders: Vec<PathBuf>) {
        self.shared.journal.set_folders(folders);
    }

    /// Which exclusions are in force under `settings`.
    pub fn exclusions(&self, settings: &Settings) -> Exclusions {
        self.shared.journal.rules(settings).exclusions()
    }

    /// Why the last question that got nothing got nothing.
    pub fn last_reason(&self) -> Option<Reason> {
        self.shared.journal.last_reason()
    }

    /// Ends the question about the document that is being answered.
    fn take_turn(&self, query: &Query) -> CancellationToken {
        self.shared.documents.entry(query.document.clone()).or_default().take_turn()
    }

    fn note(&self, answer: &Answer) {
        match answer {
            Answer::Suggestion(suggestion) => self.shared.journal.answered(suggestion.id),
            Answer::Nothing(reason) => self.shared.journal.nothing(reason.clone()),
            Answer::Superseded => {}
        }
    }

    async fn answer(
        &self,
        query: Query,
        settings: &Settings,
        on_partial: &mut (dyn FnMut(&Suggestion) + Send),
    ) -> Answer {
        match self.question(query, settings).await {
            Ok(mut question) => question.answer(on_partial).await,
            Err(reason) => Answer::Nothing(reason),
        }
    }

    /// The question, once it is known where the document's links lead.
    async fn question<'a>(
        &'a self,
        query: Query,
        settings: &'a Settings,
    ) -> Result<Question<'a>, Reason> {
        query.links.settle().await;
        Question::new(&self.shared, query, settings)
    }
}
