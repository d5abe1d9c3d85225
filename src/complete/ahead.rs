//! A place where the user may ask next, so that its prompt is evaluated before they do.
//!
//! Passes the very gate that questions pass, and shows a model nothing that a question could not show it.

use std::path::PathBuf;

use super::ask::{File, hint, terms};
use super::file_names::FileNames;
use super::trigger::admit;
use super::{Completer, Links, Trigger};
use crate::config::Settings;
use crate::engine::DocumentId;
use crate::text::{ByteIdx, Document};

/// Where the user may ask next.
#[derive(Clone, Debug)]
pub struct Prospect {
    /// Whose text it is.
    pub document: DocumentId,
    /// Where the document lives on disk, for path globs; absent for unsaved buffers.
    pub path: Option<PathBuf>,
    /// Where the symbolic links of that path lead.
    pub links: Links,
    /// What the models are told of where that is; as in [`Query`](super::Query).
    pub name: Option<String>,
    /// The text as it is.
    pub snapshot: Document,
    /// The cursor; absent while nothing tells where in the document it is.
    pub cursor: Option<ByteIdx>,
}

impl Completer {
    /// Has the prompt of a question that may come evaluated in idle time, if such a question would be let through.
    /// Never waits, and answers nothing.
    pub fn prefill(&self, prospect: &Prospect, settings: &Settings) {
        if !settings.prefill_ahead {
            return;
        }
        let document = &prospect.snapshot;
        let Some(behind) = prospect.links.paths() else {
            return tracing::debug!("nothing is evaluated ahead of a file that may be a link");
        };
        let names = FileNames::new(&prospect.document, prospect.path.as_deref(), &behind);
        let rules = self.shared.journal.rules(settings);
        // Where nothing comes by itself the user may still ask.
        if let Err(reason) = admit(document, &names, Trigger::Invoked, settings, &rules) {
            return tracing::debug!(%reason, "nothing is evaluated ahead");
        }
        let hint = {
            let state = self.shared.backend.state();
            let state = state.borrow();
            let name = prospect.name.as_deref();
            let file = File { names: &names, name, language: document.language() };
            let terms = terms(settings, &rules, file, &state);
            hint(prospect, &terms, settings, &state)
        };
        if let Some(hint) = hint {
            self.shared.backend.prefill(hint);
        }
    }
}
