//! Where the cursor rests, so that the completer may have a prompt evaluated before anybody asks.
//!
//! The protocol tells no cursor's moves. What tells of it is an edit, which ends where the cursor is, and a question that
//! got nothing. One place is remembered, the last of all documents, and it is told once per rest.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;
use tower_lsp::lsp_types::Url;

use super::documents::Snapshot;
use super::server::Server;
use super::{from_proto, uri};
use crate::complete::ahead::Prospect;
use crate::text::{ByteIdx, Document, Edit, Encoding};

/// Quiet time after which the cursor rests. Editors that ask by themselves have done so by then.
const REST: Duration = Duration::from_millis(500);

/// Where the cursor was seen last, if nobody has asked there since.
#[derive(Debug, Default)]
pub(super) struct LastSeen(watch::Sender<Option<Seen>>);

#[derive(Clone, Debug)]
struct Seen {
    uri: Url,
    /// Absent where only the document is known.
    cursor: Option<ByteIdx>,
}

impl LastSeen {
    /// A document was opened; the cursor is somewhere in it.
    pub(super) fn opened(&self, uri: Url) {
        self.0.send_replace(Some(Seen { uri, cursor: None }));
    }

    /// A document was changed to `text`. Several changes at once, and a text that is sent whole, do not tell where the
    /// cursor is.
    pub(super) fn edited(&self, uri: &Url, edits: &[Edit], text: &Document, encoding: Encoding) {
        let cursor = match edits {
            [edit] => edit.end_in(text, encoding),
            _ => None,
        };
        self.0.send_replace(cursor.map(|at| Seen { uri: uri.clone(), cursor: Some(at) }));
    }

    /// A question was asked: it has its prompt evaluated itself.
    pub(super) fn asked(&self) {
        self.0.send_replace(None);
    }

    /// A question got nothing, so that its place may not have been evaluated. What was seen since counts more.
    pub(super) fn answered_nothing(&self, uri: Url, cursor: ByteIdx) {
        self.0.send_if_modified(|seen| {
            if seen.is_some() {
                return false;
            }
            *seen = Some(Seen { uri, cursor: Some(cursor) });
            true
        });
    }

    /// The settings have changed: the last place is looked at again.
    pub(super) fn again(&self) {
        self.0.send_modify(|_same| ());
    }

    /// The place where the cursor comes to rest next.
    async fn rest(receiver: &mut watch::Receiver<Option<Seen>>) -> Option<Seen> {
        // The sender lives as long as the server, and this is a part of it.
        receiver.changed().await.ok()?;
        while let Ok(moved) = timeout(REST, receiver.changed()).await {
            moved.ok()?;
        }
        receiver.borrow_and_update().clone()
    }
}

impl Server {
    /// Tells the completer of every rest; never returns.
    pub(super) async fn keep_looking_ahead(&self) {
        let mut receiver = self.last_seen.0.subscribe();
        loop {
            if let Some(seen) = LastSeen::rest(&mut receiver).await {
                self.look_ahead(&seen);
            }
        }
    }

    fn look_ahead(&self, seen: &Seen) {
        let Ok((snapshot, settings)) = self.open_document(&seen.uri) else { return };
        let prospect = self.prospect(&seen.uri, snapshot, seen.cursor);
        self.completer.prefill(&prospect, &settings);
    }

    /// A place in an open document.
    pub(super) fn prospect(
        &self,
        uri: &Url,
        snapshot: Snapshot,
        cursor: Option<ByteIdx>,
    ) -> Prospect {
        Prospect {
            document: from_proto::document_id(uri),
            path: uri::path(uri),
            links: snapshot.links,
            name: self.session.name_of(uri),
            snapshot: snapshot.document,
            cursor,
        }
    }
}
