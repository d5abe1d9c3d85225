//! The models' way into memory, shown in the editor as work in progress.

use std::sync::atomic::{AtomicU32, Ordering};

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
enum Shown {
    /// Can be cancelled.
    Download {
        model: String,
        done_bytes: u64,
        total_bytes: u64,
    },
    Load {
        profile: String,
    },
}

/// Numbers the bars that the client is shown.
#[derive(Debug, Default)]
pub(super) struct Bars(AtomicU32);

impl Bars {
    fn next(&self) -> ProgressToken {
        token(self.0.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Whether a token is that of the newest bar.
    pub(super) fn is_newest(&self, named: &ProgressToken) -> bool {
        *named == token(self.0.load(Ordering::Relaxed))
    }
}

fn token(number: u32) -> ProgressToken {
    ProgressToken::String(format!("cosec-ls/models/{number}"))
}

impl Server {
    /// Follows the models' state; never returns while they live.
    pub(super) async fn keep_showing_progress(&self) {
        let mut states = self.backend.state();
        let mut bar = None;
        loop {
            let state = states.borrow_and_update().clone();
            match (shown(&state), &mut bar) {
                (None, None) => {}
                (None, Some(_)) => bar = None,
                (Some(shown), Some(bar)) => Bar::report(bar, shown),
                (Some(shown), None) if self.session.client().work_done_progress => {
                    bar = Bar::begin(&self.client, self.progress_bars.next(), shown).await;
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
        State::Fetching { model, done_bytes, total_bytes } => Some(Shown::Download {
            model: model.clone(),
            done_bytes: *done_bytes,
            total_bytes: *total_bytes,
        }),
        State::Loading { profile } => Some(Shown::Load { profile: profile.clone() }),
        State::Unloaded | State::Missing(_) | State::Ready(_) | State::Failed { .. } => None,
    }
}

impl Shown {
    fn message(&self) -> String {
        match self {
            Self::Download { model, done_bytes, total_bytes } => {
                let (done, total) = (done_bytes / 1_000_000, total_bytes / 1_000_000);
                format!("Downloading {model}: {done} of {total} MB")
            }
            Self::Load { profile } => format!("Loading profile {profile}"),
        }
    }

    /// Only a download knows how far it is.
    fn percentage(&self) -> Option<u32> {
        let Self::Download { done_bytes, total_bytes, .. } = self else { return None };
        let percentage = done_bytes.saturating_mul(100) / (*total_bytes).max(1);
        Some(u32::try_from(percentage).unwrap_or(100).min(100))
    }

    fn is_cancellable(&self) -> bool {
        matches!(self, Self::Download { .. })
    }

    /// Whether nobody would see a difference: a download is told in hundredths, not in chunks.
    fn looks_like(&self, other: &Self) -> bool {
        let same_subject = match (self, other) {
            (Self::Download { model, .. }, Self::Download { model: other, .. }) => model == other,
            _ => self == other,
        };
        same_subject && self.percentage() == other.percentage()
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
    async fn begin(client: &Client, token: ProgressToken, shown: Shown) -> Option<Self> {
        let params = WorkDoneProgressCreateParams { token: token.clone() };
        client.request::<WorkDoneProgressCreate>(params).await?;
        let begin = WorkDoneProgressBegin {
            title: "cosec-ls".to_owned(),
            cancellable: Some(shown.is_cancellable()),
            message: Some(shown.message()),
            percentage: shown.percentage(),
        };
        client.progress(&token, WorkDoneProgress::Begin(begin));
        Some(Self { client: client.clone(), token, shown })
    }

    fn report(&mut self, shown: Shown) {
        if shown.looks_like(&self.shown) {
            return;
        }
        let report = WorkDoneProgressReport {
            cancellable: Some(shown.is_cancellable()),
            message: Some(shown.message()),
            percentage: shown.percentage(),
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
