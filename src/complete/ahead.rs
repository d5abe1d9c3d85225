//! A place where the user may ask next, so that its prompt is evaluated before they do.
//!
//! Passes the very gate that questions pass, and shows a model nothing that a question could not show it.

use std::path::PathBuf;
use std::sync::Arc;

use super::ask::{File, hint, terms};
use super::file_names::FileNames;
use super::file_rules::FileRules;
use super::trigger::admit;
use super::{Completer, Links, Reason, Trigger};
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
        let (names, rules) = match self.admitted(prospect, settings) {
            Ok(admitted) => admitted,
            Err(reason) => return tracing::debug!(%reason, "nothing is evaluated ahead"),
        };
        let hint = {
            let state = self.shared.backend.state();
            let state = state.borrow();
            let name = prospect.name.as_deref();
            let file = File { names: &names, name, language: prospect.snapshot.language() };
            let terms = terms(settings, &rules, file, &state);
            hint(prospect, &terms, settings, &state)
        };
        if let Some(hint) = hint {
            self.shared.backend.prefill(hint);
        }
    }

    /// Why nothing would come in this document, wherever its user asked; none if something might.
    pub fn refusal(&self, prospect: &Prospect, settings: &Settings) -> Option<Reason> {
        self.admitted(prospect, settings).err()
    }

    /// The gate of questions, for one that the user may ask: where nothing comes by itself they still can.
    fn admitted(
        &self,
        prospect: &Prospect,
        settings: &Settings,
    ) -> Result<(FileNames, Arc<FileRules>), Reason> {
        let behind = prospect.links.paths().ok_or(Reason::Links)?;
        let names = FileNames::new(&prospect.document, prospect.path.as_deref(), &behind);
        let rules = self.shared.journal.rules(settings);
        admit(&prospect.snapshot, &names, Trigger::Invoked, settings, &rules)?;
        Ok((names, rules))
    }
}
