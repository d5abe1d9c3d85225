//! What is agreed with one client: its capabilities, and the settings as they stand.
//!
//! Settings come in layers: the server's defaults, `initializationOptions`, the client's
//! configuration, and what the user switched by command. A later layer wins; a configuration that
//! changes what a command had switched takes the switch back, for the last word counts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use serde_json::Value;
use tower_lsp::lsp_types::{Url, WorkspaceFoldersChangeEvent};

use super::capabilities::ClientCapabilities;
use super::folders;
use super::options::{self, Mistake};
use super::switches::Switches;
use crate::config::{Download, Mode, Settings};
use crate::text::language::editor_id;

/// Failures of the models that one client is told of: a log that goes on and on is not read.
const MOST_FAILURES: usize = 64;

/// What is agreed with one client.
#[derive(Debug)]
pub(super) struct Session {
    client: OnceLock<ClientCapabilities>,
    // A lock, since commands, configuration and requests come from different handlers; held for a
    // few assignments and never over an await.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The server's defaults and `initializationOptions`.
    initial: Settings,
    /// `initial` and the client's configuration.
    configured: Settings,
    switches: Switches,
    /// The client can be asked for its configuration and has not given it. It may forbid downloads, so none begins.
    awaits_configuration: bool,
    folders: Vec<PathBuf>,
    effective: Arc<Settings>,
    mistakes: Vec<Mistake>,
    reported: BTreeSet<Mistake>,
    failures: BTreeSet<String>,
    last_reason: Option<(Url, String)>,
}

impl Session {
    /// A session in which nothing is agreed yet.
    pub(super) fn new(defaults: Settings) -> Self {
        let state = State {
            initial: defaults.clone(),
            configured: defaults.clone(),
            switches: Switches::default(),
            awaits_configuration: false,
            folders: Vec::new(),
            effective: Arc::new(defaults),
            mistakes: Vec::new(),
            reported: BTreeSet::new(),
            failures: BTreeSet::new(),
            last_reason: None,
        };
        Self { client: OnceLock::new(), state: Mutex::new(state) }
    }

    /// Reads the parameters of `initialize`. Only the first call counts.
    pub(super) fn meet(&self, params: &Value) {
        if self.client.set(ClientCapabilities::read(params)).is_err() {
            return;
        }
        let mut state = self.state();
        state.folders = folders::of_initialize(params);
        state.awaits_configuration = self.client().configuration;
        let options = params.get("initializationOptions").unwrap_or(&Value::Null);
        let (initial, mistakes) = options::lay_over(&state.initial, options);
        state.mistakes.extend(mistakes);
        state.configured = initial.clone();
        state.initial = initial;
        state.settle();
    }

    /// What the client can do.
    pub(super) fn client(&self) -> &ClientCapabilities {
        self.client.get_or_init(ClientCapabilities::default)
    }

    /// The workspace folders.
    pub(super) fn folders(&self) -> Vec<PathBuf> {
        self.state().folders.clone()
    }

    /// What a document is called in these folders.
    pub(super) fn name_of(&self, uri: &Url) -> Option<String> {
        folders::name_of(&self.state().folders, uri)
    }

    /// Opens and closes workspace folders, and says which are open.
    pub(super) fn change_folders(&self, event: &WorkspaceFoldersChangeEvent) -> Vec<PathBuf> {
        let mut state = self.state();
        state.folders = folders::changed(std::mem::take(&mut state.folders), event);
        state.folders.clone()
    }

    /// Takes over the client's configuration.
    pub(super) fn configure(&self, configuration: &Value) {
        let mut state = self.state();
        let (configured, mistakes) = options::lay_over(&state.initial, configuration);
        state.mistakes.extend(mistakes);
        let before = std::mem::replace(&mut state.configured, configured.clone());
        state.switches.reconfigured(&before, &configured);
        state.awaits_configuration = false;
        state.settle();
    }

    /// Whether the client's own configuration is still to come.
    pub(super) fn awaits_configuration(&self) -> bool {
        self.state().awaits_configuration
    }

    /// None will come.
    pub(super) fn await_no_configuration(&self) {
        let mut state = self.state();
        state.awaits_configuration = false;
        state.settle();
    }

    /// Switches suggestions, and says whether they are on.
    pub(super) fn toggle(&self) -> bool {
        let mut state = self.state();
        let enabled = !state.effective.enabled;
        state.switches.enabled = Some(enabled);
        state.settle();
        enabled
    }

    /// Switches suggestions in documents of a language, and says whether they are on there.
    pub(super) fn toggle_language(&self, language: &str) -> bool {
        let mut state = self.state();
        let language = editor_id(language);
        let enabled = !state.effective.language_enabled(language);
        state.switches.languages.insert(language.to_owned(), enabled);
        state.settle();
        enabled
    }

    /// Switches suggestions in one document of `language` while it is open, and says whether they are on there. On means
    /// on in spite of its language.
    pub(super) fn toggle_document(&self, uri: &Url, language: &str) -> bool {
        let mut state = self.state();
        let enabled = state.switches.document(uri);
        let enabled = !enabled.unwrap_or_else(|| state.effective.language_enabled(language));
        state.switches.switch_document(uri.clone(), enabled);
        enabled
    }

    /// A document is closed.
    pub(super) fn forget(&self, uri: &Url) {
        self.state().switches.forget(uri);
    }

    /// Sets who chooses the tokens.
    pub(super) fn set_mode(&self, mode: Mode) {
        let mut state = self.state();
        state.switches.mode = Some(mode);
        state.settle();
    }

    /// Sets whose models are used.
    pub(super) fn set_profile(&self, profile: &str) {
        let mut state = self.state();
        state.switches.profile = Some(profile.to_owned());
        state.settle();
    }

    /// The settings as they stand.
    pub(super) fn settings(&self) -> Arc<Settings> {
        self.state().effective.clone()
    }

    /// The settings as they stand for one document; none if suggestions are switched off in it alone.
    pub(super) fn settings_for(&self, uri: &Url) -> Option<Arc<Settings>> {
        let state = self.state();
        let settings = &state.effective;
        match state.switches.document(uri) {
            Some(false) => None,
            Some(true) => {
                let languages = BTreeMap::from([("*".to_owned(), true)]);
                Some(Arc::new(Settings { languages, ..Settings::clone(settings) }))
            }
            None => Some(settings.clone()),
        }
    }

    /// Mistakes in the client's options that it has not been told of.
    pub(super) fn take_mistakes(&self) -> Vec<Mistake> {
        let mut state = self.state();
        let mistakes = std::mem::take(&mut state.mistakes);
        mistakes.into_iter().filter(|mistake| state.reported.insert(mistake.clone())).collect()
    }

    /// Whether the client has not been told of this failure of the models; from then on it has.
    pub(super) fn is_news(&self, failure: &str) -> bool {
        let failures = &mut self.state().failures;
        failures.len() < MOST_FAILURES && failures.insert(failure.to_owned())
    }

    /// Remembers why an answer about a document was empty.
    pub(super) fn note_reason(&self, uri: &Url, reason: String) {
        tracing::debug!(reason, "nothing to suggest");
        self.state().last_reason = Some((uri.clone(), reason));
    }

    /// Why the last empty answer was empty, and whose answer that was.
    pub(super) fn last_reason(&self) -> Option<(Url, String)> {
        self.state().last_reason.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No assignment above panics halfway, so what a panic left is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn settle(&mut self) {
        let mut effective = self.switches.lay_over(&self.configured);
        if self.awaits_configuration && effective.download == Download::Always {
            effective.download = Download::Ask;
        }
        self.effective = Arc::new(effective);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn configuration_is_laid_over_the_initial_options() {
        let session = Session::new(Settings::default());
        session.meet(&json!({ "initializationOptions": { "alpha": 0.5, "maxLines": 2 } }));
        session.configure(&json!({ "maxLines": 4 }));
        assert_eq!((session.settings().alpha, session.settings().max_lines), (Some(0.5), 4));
        session.configure(&json!({}));
        assert_eq!(session.settings().max_lines, 2);
    }

    #[test]
    fn the_last_word_counts() {
        let session = Session::new(Settings::default());
        assert!(!session.toggle());
        session.set_mode(Mode::Off);
        session.configure(&json!({ "maxLines": 4 }));
        assert_eq!((session.settings().enabled, session.settings().mode), (false, Some(Mode::Off)));
        session.configure(&json!({ "enabled": false, "mode": "security" }));
        session.configure(&json!({ "enabled": true, "mode": "security" }));
        let settings = session.settings();
        assert_eq!((settings.enabled, settings.mode), (true, Some(Mode::Security)));
    }

    #[test]
    fn a_mistake_is_told_once() {
        let session = Session::new(Settings::default());
        session.meet(&json!({ "initializationOptions": { "colour": 1 } }));
        assert_eq!(session.take_mistakes().len(), 1);
        session.configure(&json!({ "colour": 2 }));
        assert_eq!(session.take_mistakes(), []);
    }
}
