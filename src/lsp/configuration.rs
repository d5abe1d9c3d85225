//! The client's configuration: what it pushes, and what we pull where it can be pulled.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::Notify;
use tower_lsp::lsp_types::request::WorkspaceConfiguration;
use tower_lsp::lsp_types::{ConfigurationItem, ConfigurationParams, MessageType};

use super::options::SECTION;
use super::server::Server;

/// Wakes the one who pulls.
#[derive(Clone, Debug, Default)]
pub(super) struct PullWanted(Arc<Notify>);

impl PullWanted {
    /// Asks for the configuration to be pulled soon.
    pub(super) fn wish(&self) {
        self.0.notify_one();
    }
}

impl Server {
    /// What a client pushed: its section if it is there, else a hint to pull.
    pub(super) fn take_pushed(&self, settings: &Value) {
        match settings.get(SECTION) {
            Some(section) => self.apply_configuration(section),
            None => self.pull_wanted.wish(),
        }
    }

    /// Pulls the configuration whenever it is wanted; never returns. A client that does not answer
    /// is asked again when there is a new reason.
    pub(super) async fn keep_pulling(&self) {
        if !self.session.client().configuration {
            return;
        }
        loop {
            self.pull_wanted.0.notified().await;
            tokio::select! {
                answer = self.ask_for_section() => match answer {
                    Some(section) => self.apply_configuration(&section),
                    None => self.go_without_configuration(),
                },
                () = self.pull_wanted.0.notified() => self.pull_wanted.wish(),
            }
        }
    }

    async fn ask_for_section(&self) -> Option<Value> {
        let item = ConfigurationItem { scope_uri: None, section: Some(SECTION.to_owned()) };
        let params = ConfigurationParams { items: vec![item] };
        self.client.request::<WorkspaceConfiguration>(params).await?.into_iter().next()
    }

    /// The client has no configuration to give: the settings are what they are.
    fn go_without_configuration(&self) {
        if self.session.awaits_configuration() {
            self.session.await_no_configuration();
            self.backend.configure(&self.session.settings());
            self.ask_again.wish();
        }
    }

    fn apply_configuration(&self, section: &Value) {
        self.session.configure(section);
        self.settings_changed();
        self.report_mistakes();
    }

    /// Has everybody follow the settings as they stand now.
    pub(super) fn settings_changed(&self) {
        self.backend.configure(&self.session.settings());
        self.ask_again.wish();
        self.last_seen.again();
        self.status_changed();
    }

    /// Tells the client what is wrong with its options, each mistake once.
    pub(super) fn report_mistakes(&self) {
        for mistake in self.session.take_mistakes() {
            self.client.log(MessageType::WARNING, mistake.to_string());
        }
    }
}
