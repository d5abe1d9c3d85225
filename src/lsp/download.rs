//! Models that are not on this machine: asking once, fetching on demand, and taking it back.
//!
//! The question comes as soon as settings and state are known, which is when the editor starts, and never because
//! somebody types: editors that ask in a dialogue would take the next keys for the answer. A "no" is a no until the
//! user runs [`PULL`](super::commands), chooses another profile or starts the editor again.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::Notify;
use tower_lsp::lsp_types::request::ShowMessageRequest;
use tower_lsp::lsp_types::{
    MessageActionItem, MessageType, ShowMessageRequestParams, WorkDoneProgressCancelParams,
};

use super::server::Server;
use crate::config::Download;
use crate::engine::{MissingModels, State};

const DOWNLOAD: &str = "Download";
const NOT_NOW: &str = "Not now";

/// Wakes the one who asks: settings have changed that say whether to ask.
#[derive(Clone, Debug, Default)]
pub(super) struct AskAgain(Arc<Notify>);

impl AskAgain {
    /// Looks at the settings soon.
    pub(super) fn wish(&self) {
        self.0.notify_one();
    }
}

impl Server {
    /// Asks whether to download what is missing, once for each profile; never returns while the models live. A client
    /// that never answers holds up nobody, and nothing is fetched for it.
    pub(super) async fn keep_asking_to_download(&self) {
        let mut states = self.backend.state();
        let mut asked = BTreeSet::new();
        let mut open = FuturesUnordered::new();
        loop {
            let missing = missing(&states.borrow_and_update());
            if let Some(missing) = missing
                && self.may_ask(&missing)
                && asked.insert(missing.profile.clone())
            {
                open.push(self.ask_to_download(missing));
            }
            tokio::select! {
                changed = states.changed() => if changed.is_err() { return },
                () = self.ask_again.0.notified() => {}
                Some(()) = open.next() => {}
            }
        }
    }

    /// Fetches what is missing of the profile of the settings, whatever they say about it.
    pub(super) fn pull(&self) {
        self.backend.fetch(&self.session.settings().profile);
    }

    /// `window/workDoneProgress/cancel`. Bars that have ended are of no consequence.
    pub(super) async fn did_cancel_progress(&self, params: WorkDoneProgressCancelParams) {
        if self.progress_bars.is_newest(&params.token) {
            self.backend.cancel_fetch();
        }
    }

    /// Whether this is the time to ask. Where it is the time to say something else, that is said.
    fn may_ask(&self, missing: &MissingModels) -> bool {
        let settings = self.session.settings();
        // What was changed on the way here is asked about when the engine has seen it.
        if self.session.awaits_configuration() || missing.profile != settings.profile {
            return false;
        }
        match (&missing.offline, settings.download) {
            (None, Download::Ask) => settings.enabled,
            // It is about to begin, or was cancelled by hand.
            (None, Download::Always) => false,
            (Some(_), _) | (None, Download::Never) => {
                self.tell_missing(missing);
                false
            }
        }
    }

    async fn ask_to_download(&self, missing: MissingModels) {
        let params = ShowMessageRequestParams {
            typ: MessageType::INFO,
            message: format!(
                "cosec-ls: the models of the profile `{}` are not on this machine yet ({}). Download them now?",
                missing.profile,
                missing.size()
            ),
            actions: Some([DOWNLOAD, NOT_NOW].map(action).to_vec()),
        };
        let answer = self.client.request::<ShowMessageRequest>(params).await.flatten();
        match answer.is_some_and(|action| action.title == DOWNLOAD) {
            true => self.backend.fetch(&missing.profile),
            false => self.tell_missing(&missing),
        }
    }

    fn tell_missing(&self, missing: &MissingModels) {
        let reason = missing.reason();
        if self.session.is_news(&reason) {
            self.client.log(MessageType::INFO, reason);
        }
    }
}

fn missing(state: &State) -> Option<MissingModels> {
    match state {
        State::Missing(missing) => Some(missing.clone()),
        _ => None,
    }
}

fn action(title: &str) -> MessageActionItem {
    MessageActionItem { title: title.to_owned(), properties: Default::default() }
}
