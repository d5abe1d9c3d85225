//! The open documents: the one owner of what the user has typed.
//!
//! Requests work on a [`Snapshot`]. A document that an edit could not be applied to, or that lost one, is
//! out of step with the editor: what is being decoded for it ends, and it answers nothing until its
//! whole text comes again.

use dashmap::DashMap;
use tokio_util::sync::{CancellationToken, DropGuard};
use tower_lsp::lsp_types::Url;

use super::uri;
use crate::complete::Links;
use crate::text::{Document, Edit, EditError, Encoding};

/// Every open document by its URI.
#[derive(Debug, Default)]
pub(super) struct Documents {
    open: DashMap<Url, Open>,
}

#[derive(Debug)]
struct Open {
    document: Document,
    links: Links,
    in_step: bool,
    /// For those who work on this text; another token takes its place when the text is lost.
    valid: CancellationToken,
    _cancels_when_closed: DropGuard,
}

impl Open {
    fn new(document: Document, links: Links) -> Self {
        let valid = CancellationToken::new();
        let _cancels_when_closed = valid.clone().drop_guard();
        Self { document, links, in_step: true, valid, _cancels_when_closed }
    }

    /// The editor has another text.
    fn lose(&mut self) {
        let text = Self::new(self.document.clone(), self.links.clone());
        *self = Self { in_step: false, ..text };
    }
}

/// A document at one moment.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    /// The text.
    pub(super) document: Document,
    /// Where the symbolic links of the document's path lead.
    pub(super) links: Links,
    /// Cancelled when the document is closed, by the user or by the end of the server, or lost.
    pub(super) closed: CancellationToken,
}

/// Why a document cannot be changed or asked about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DocumentError {
    /// There was no `didOpen`.
    #[error("the document is not open")]
    NotOpen,
    /// An earlier edit did not fit or could not be read.
    #[error("the document is out of step with the editor; reopen it")]
    OutOfStep,
    /// This edit does not fit.
    #[error(transparent)]
    Edit(#[from] EditError),
}

impl Documents {
    /// Opens or reopens a document.
    pub(super) fn open(&self, uri: Url, document: Document) {
        let open = Open::new(document, links(&uri));
        self.open.insert(uri, open);
    }

    /// Looks again where the links of an open document lead: it has been written to disk.
    pub(super) fn saved(&self, uri: &Url) {
        if let Some(mut open) = self.open.get_mut(uri) {
            open.links = links(uri);
        }
    }

    /// A change of the document was lost.
    pub(super) fn lose(&self, uri: &Url) {
        if let Some(mut open) = self.open.get_mut(uri) {
            open.lose();
        }
    }

    /// A change was lost, and nobody knows of which document.
    pub(super) fn lose_all(&self) {
        self.open.iter_mut().for_each(|mut open| open.lose());
    }

    /// Applies a change and returns the text after it. What comes before a whole text does not matter.
    ///
    /// # Errors
    ///
    /// When the document is not open, or the change does not fit, which leaves the document out of step.
    pub(super) fn change(
        &self,
        uri: &Url,
        version: i32,
        edits: &[Edit],
        encoding: Encoding,
    ) -> Result<Document, DocumentError> {
        let mut open = self.open.get_mut(uri).ok_or(DocumentError::NotOpen)?;
        let whole_text = edits.iter().rposition(|edit| edit.range.is_none());
        if !open.in_step && whole_text.is_none() {
            return Err(DocumentError::OutOfStep);
        }
        let edits = &edits[whole_text.unwrap_or(0)..];
        if let Err(error) = open.document.apply(version, edits, encoding) {
            open.lose();
            return Err(error.into());
        }
        open.in_step = true;
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
        let Open { document, links, valid, .. } = &*open;
        Ok(Snapshot { document: document.clone(), links: links.clone(), closed: valid.clone() })
    }
}

/// Asked of the file system for whatever has a path, as the cells of a notebook have.
fn links(uri: &Url) -> Links {
    uri::path_in_any_scheme(uri).map_or_else(Links::none, Links::look_up)
}
