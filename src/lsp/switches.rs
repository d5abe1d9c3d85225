//! What the user has switched by command: laid over the client's configuration, until that says otherwise.

use std::collections::BTreeMap;

use tower_lsp::lsp_types::Url;

use crate::config::{Mode, Settings};

/// What is switched, each for the session.
#[derive(Clone, Debug, Default)]
pub(super) struct Switches {
    /// Whether there are suggestions.
    pub(super) enabled: Option<bool>,
    /// Who chooses the tokens.
    pub(super) mode: Option<Mode>,
    /// Whose models.
    pub(super) profile: Option<String>,
    /// By language id.
    pub(super) languages: BTreeMap<String, bool>,
    /// By document, stronger than its language's.
    documents: BTreeMap<Url, bool>,
}

impl Switches {
    /// `configured` with what is switched.
    pub(super) fn lay_over(&self, configured: &Settings) -> Settings {
        let mut settings = configured.clone();
        settings.enabled = self.enabled.unwrap_or(settings.enabled);
        settings.mode = self.mode.or(settings.mode);
        settings.languages.extend(self.languages.clone());
        if let Some(profile) = &self.profile {
            settings.profile.clone_from(profile);
        }
        settings
    }

    /// A configuration that changes what was switched takes the switch back, for the last word counts.
    pub(super) fn reconfigured(&mut self, before: &Settings, after: &Settings) {
        if before.enabled != after.enabled {
            self.enabled = None;
        }
        if before.mode != after.mode {
            self.mode = None;
        }
        if before.profile != after.profile {
            self.profile = None;
        }
        if before.languages != after.languages {
            self.languages.clear();
        }
    }

    /// Switches suggestions in one document.
    pub(super) fn switch_document(&mut self, uri: Url, on: bool) {
        self.documents.insert(uri, on);
    }

    /// Whether a document is switched on or off by itself.
    pub(super) fn document(&self, uri: &Url) -> Option<bool> {
        self.documents.get(uri).copied()
    }

    /// The document is closed.
    pub(super) fn forget(&mut self, uri: &Url) {
        self.documents.remove(uri);
    }
}
