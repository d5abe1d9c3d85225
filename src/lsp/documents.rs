//! The open documents: the one owner of what the user has typed.
//!
//! Requests work on a [`Snapshot`]. A document that an edit could not be applied to is out of step
//! with the editor and answers nothing until its whole text comes again.

use dashmap::DashMap;
use tokio_util::sync::{CancellationToken, DropGuard};
use tower_lsp::lsp_types::Url;

use crate::text::{Document, Edit, EditError, Encoding};

/// Every open document by its URI.
#[derive(Debug, Default)]
pub(super) struct Documents {
    open: DashMap<Url, Open>,
}

#[derive(Debug)]
struct Open {
    document: Document,
    in_step: bool,
    closed: CancellationToken,
    _cancels_when_closed: DropGuard,
}

/// A document at one moment.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    /// The text.
    pub(super) document: Document,
    /// Cancelled when the document is closed, by the user or by the end of the server.
    pub(super) closed: CancellationToken,
}

/// Why a document cannot be changed or asked about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DocumentError {
    /// There was no `didOpen`.
    #[error("the document is not open")]
    NotOpen,
    /// An earlier edit did not fit.
    #[error("the document is out of step with the editor; reopen it")]
    OutOfStep,
    /// This edit does not fit.
    #[error(transparent)]
    Edit(#[from] EditError),
}

impl Documents {
    /// Opens or reopens a document.
    pub(super) fn open(&self, uri: Url, document: Document) {
        let closed = CancellationToken::new();
        let _cancels_when_closed = closed.clone().drop_guard();
        self.open.insert(uri, Open { document, in_step: true, closed, _cancels_when_closed });
    }

    /// Applies a change and returns the text after it.
    ///
    /// # Errors
    ///
    /// When the document is not open or the change does not fit. A change of an old version is
    /// merely skipped; any other leaves the document out of step.
    pub(super) fn change(
        &self,
        uri: &Url,
        version: i32,
        edits: &[Edit],
        encoding: Encoding,
    ) -> Result<Document, DocumentError> {
        let mut open = self.open.get_mut(uri).ok_or(DocumentError::NotOpen)?;
        if edits.iter().any(|edit| edit.range.is_none()) {
            open.in_step = true;
        }
        if !open.in_step {
            return Err(DocumentError::OutOfStep);
        }
        let applied = open.document.apply(version, edits, encoding);
        if let Err(EditError::BeyondEnd { .. } | EditError::Reversed { .. }) = applied {
            open.in_step = false;
        }
        applied?;
        Ok(open.document.clone())
    }

    /// Closes a document.
    ///
    /// # Errors
    ///
    /// When it is not open.
    pub(super) fn close(&self, uri: &Url) -> Result<(), DocumentError> {
        self.open.remove(uri).map(drop).ok_or(DocumentError::NotOpen)
    }

    /// Closes every document.
    pub(super) fn close_all(&self) {
        self.open.clear();
    }

    /// The document as it is.
    ///
    /// # Errors
    ///
    /// When it is not open or out of step.
    pub(super) fn snapshot(&self, uri: &Url) -> Result<Snapshot, DocumentError> {
        let open = self.open.get(uri).ok_or(DocumentError::NotOpen)?;
        if !open.in_step {
            return Err(DocumentError::OutOfStep);
        }
        Ok(Snapshot { document: open.document.clone(), closed: open.closed.clone() })
    }
}
