//! The models' way into memory, shown in the editor as work in progress.

use tower_lsp::lsp_types::request::WorkDoneProgressCreate;
use tower_lsp::lsp_types::{
    MessageType, ProgressToken, WorkDoneProgress, WorkDoneProgressBegin,
    WorkDoneProgressCreateParams, WorkDoneProgressEnd, WorkDoneProgressReport,
};

use super::client::Client;
use super::server::Server;
use crate::engine::State;

/// What is shown for a state of the models; none where nothing is going on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shown {
    title: String,
    /// Only a download knows how far it is.
    percentage: Option<u32>,
}

impl Server {
    /// Follows the models' state; never returns while they live.
    pub(super) async fn keep_showing_progress(&self) {
        let mut states = self.backend.state();
        let mut bar = None;
        let mut n_bars = 0;
        loop {
            let state = states.borrow_and_update().clone();
            match (shown(&state), &mut bar) {
                (None, None) => {}
                (None, Some(_)) => bar = None,
                (Some(shown), Some(bar)) => Bar::report(bar, shown),
                (Some(shown), None) if self.session.client().work_done_progress => {
                    n_bars += 1;
                    bar = Bar::begin(&self.client, n_bars, shown).await;
                }
                (Some(_), None) => {}
            }
            if states.changed().await.is_err() {
                return;
            }
        }
    }

    /// Writes to the client's log why the models cannot be loaded, also where it shows no progress; never returns while
    /// they live.
    pub(super) async fn keep_telling_of_failures(&self) {
        let mut states = self.backend.state();
        loop {
            if let State::Failed { reason } = &*states.borrow_and_update() {
                self.tell_failure(reason);
            }
            if states.changed().await.is_err() {
                return;
            }
        }
    }

    /// Tells the client that the models have failed. They are tried again and again while people type, so each failure
    /// is told once.
    pub(super) fn tell_failure(&self, reason: &str) {
        if self.session.is_news(reason) {
            self.client.log(MessageType::ERROR, reason.to_owned());
        }
    }
}

fn shown(state: &State) -> Option<Shown> {
    match state {
        State::Fetching { model, done_bytes, total_bytes } => {
            let percentage = done_bytes.saturating_mul(100) / (*total_bytes).max(1);
            let percentage = u32::try_from(percentage).unwrap_or(100).min(100);
            Some(Shown { title: format!("Downloading {model}"), percentage: Some(percentage) })
        }
        State::Loading { profile } => {
            Some(Shown { title: format!("Loading profile {profile}"), percentage: None })
        }
        State::Unloaded | State::Missing(_) | State::Ready(_) | State::Failed { .. } => None,
    }
}

/// A progress bar in the editor; ends when dropped.
struct Bar {
    client: Client,
    token: ProgressToken,
    shown: Shown,
}

impl Bar {
    /// None if the client refuses. One that never answers is waited for, and sees no progress.
    async fn begin(client: &Client, number: u32, shown: Shown) -> Option<Self> {
        let token = ProgressToken::String(format!("cosec-ls/models/{number}"));
        let params = WorkDoneProgressCreateParams { token: token.clone() };
        client.request::<WorkDoneProgressCreate>(params).await?;
        let begin = WorkDoneProgressBegin {
            title: "cosec-ls".to_owned(),
            cancellable: Some(false),
            message: Some(shown.title.clone()),
            percentage: shown.percentage,
        };
        client.progress(&token, WorkDoneProgress::Begin(begin));
        Some(Self { client: client.clone(), token, shown })
    }

    fn report(&mut self, shown: Shown) {
        if shown == self.shown {
            return;
        }
        let report = WorkDoneProgressReport {
            cancellable: None,
            message: Some(shown.title.clone()),
            percentage: shown.percentage,
        };
        self.client.progress(&self.token, WorkDoneProgress::Report(report));
        self.shown = shown;
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        let end = WorkDoneProgressEnd { message: None };
        self.client.progress(&self.token, WorkDoneProgress::End(end));
    }
}
