//! A client's request → a [`Query`], and the way of its one answer.
//!
//! Superseding is the business of the [`Completer`]: it may hand a running decode over to the newer
//! request, so the older one is left to end by itself and is not dropped here.
//!
//! [`Completer`]: crate::complete::Completer

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tower_lsp::lsp_types::{Position, Url};

use super::documents::{DocumentError, Snapshot};
use super::ext::SelectedCompletionInfo;
use super::server::Server;
use super::to_proto::Failure;
use super::{from_proto, uri};
use crate::complete::{Answer, Query, Reason, Suggestion, Trigger, Unfinished};
use crate::config::Settings;

/// A query, and what it is asked under.
#[derive(Debug)]
pub(super) struct Question {
    /// The query.
    pub(super) query: Query,
    /// The document's name in the protocol.
    uri: Url,
    /// The settings when it was asked.
    settings: Arc<Settings>,
    /// The document is gone.
    closed: CancellationToken,
}

/// Why a request never reaches the completer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// Not one of the schemes in the settings.
    #[error("documents of scheme `{0}` are switched off")]
    Scheme(String),
    /// The user has switched it off by itself.
    #[error("suggestions are switched off in this file")]
    SwitchedOff,
    /// The document cannot be asked about.
    #[error(transparent)]
    Document(#[from] DocumentError),
}

impl Question {
    /// For an editor that shows one suggestion, and asks as if its user did whenever they type.
    pub(super) fn of_one(mut self) -> Self {
        self.settings = Arc::new(Settings { candidates: 1, ..Settings::clone(&self.settings) });
        self
    }

    /// For a client that shows nothing before the answer: whole lines are answered early.
    pub(super) fn without_streaming(mut self) -> Self {
        self.query.early_after = self.settings.early_answer();
        self
    }
}

impl Server {
    /// The question that a request asks, with the text as it is; none (and the reason noted) if the
    /// document is not for us.
    pub(super) fn question(
        &self,
        uri: &Url,
        position: Position,
        trigger: Trigger,
        selected: Option<&SelectedCompletionInfo>,
    ) -> Option<Question> {
        match self.try_question(uri, position, trigger, selected) {
            Ok(question) => Some(question),
            Err(refusal) => {
                self.session.note_reason(uri, refusal.to_string());
                self.status_changed();
                None
            }
        }
    }

    fn try_question(
        &self,
        uri: &Url,
        position: Position,
        trigger: Trigger,
        selected: Option<&SelectedCompletionInfo>,
    ) -> Result<Question, Refusal> {
        let (snapshot, settings) = self.open_document(uri)?;
        let encoding = self.session.client().encoding;
        let document = &snapshot.document;
        let selected = selected.map(|selected| {
            (from_proto::range(document, selected.range, encoding), selected.text.clone())
        });
        let query = Query {
            document: from_proto::document_id(uri),
            path: uri::path(uri),
            links: snapshot.links,
            name: self.session.name_of(uri),
            cursor: document.byte_of(from_proto::position(position), encoding),
            trigger,
            selected,
            early_after: None,
            sample: 0,
            unfinished: Unfinished::Cut,
            snapshot: snapshot.document,
        };
        Ok(Question { query, uri: uri.clone(), settings, closed: snapshot.closed })
    }

    /// A document as it is, and the settings that let it be asked about.
    ///
    /// # Errors
    ///
    /// When it is not for us, not open or out of step.
    pub(super) fn open_document(&self, uri: &Url) -> Result<(Snapshot, Arc<Settings>), Refusal> {
        let settings = self.session.settings_for(uri).ok_or(Refusal::SwitchedOff)?;
        if !settings.schemes.iter().any(|scheme| scheme == uri.scheme()) {
            return Err(Refusal::Scheme(uri.scheme().to_owned()));
        }
        Ok((self.documents.snapshot(uri)?, settings))
    }

    /// Asks the completer: the answer first, then what else may be shown in its place. Where there is nothing to show,
    /// the reason is noted.
    ///
    /// # Errors
    ///
    /// When a newer question came or the document was closed.
    pub(super) async fn ask(
        &self,
        question: Question,
        on_partial: &mut (dyn FnMut(&[Suggestion]) + Send),
    ) -> Result<Result<Vec<Suggestion>, Reason>, Failure> {
        let Question { query, uri, settings, closed } = question;
        self.last_seen.asked();
        let _busy = self.busy();
        let cursor = query.cursor;
        let answered = tokio::select! {
            // In this order, so that the completer has seen the query when the first poll returns.
            biased;
            answered = self.completer.candidates(query, &settings, on_partial) => answered,
            () = closed.cancelled() => Answer::Superseded.into(),
        };
        match answered.answer {
            Answer::Suggestion(first) => Ok(Ok([vec![first], answered.others].concat())),
            Answer::Nothing(reason) => {
                self.last_seen.answered_nothing(uri.clone(), cursor);
                if let Reason::Failed(why) = &reason {
                    self.tell_failure(why);
                }
                self.session.note_reason(&uri, reason.to_string());
                Ok(Err(reason))
            }
            Answer::Superseded => Err(Failure::Cancelled),
        }
    }
}
