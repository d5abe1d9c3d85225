//! The status, told to a client that wishes to show it all the time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

use super::ext;
use super::server::Server;

/// Least time between two updates: a status bar that changes more often is not read.
const INTERVAL: Duration = Duration::from_millis(250);

/// What may have changed since the client was told.
#[derive(Debug, Default)]
pub(super) struct StatusUpdates {
    changed: Notify,
    n_questions: AtomicUsize,
}

/// A question that is being answered.
#[derive(Debug)]
pub(super) struct Busy<'a>(&'a StatusUpdates);

impl StatusUpdates {
    /// Whether questions are being answered.
    pub(super) fn is_busy(&self) -> bool {
        self.n_questions.load(Ordering::Relaxed) > 0
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.n_questions.fetch_sub(1, Ordering::Relaxed);
        self.0.changed.notify_one();
    }
}

impl Server {
    /// Something that the status shows may have changed.
    pub(super) fn status_changed(&self) {
        self.status_updates.changed.notify_one();
    }

    /// Counts a question until the answer is there.
    pub(super) fn busy(&self) -> Busy<'_> {
        self.status_updates.n_questions.fetch_add(1, Ordering::Relaxed);
        self.status_changed();
        Busy(&self.status_updates)
    }

    /// Tells a client that wishes for it how things are, and again whenever they have changed; never returns while the
    /// models live.
    pub(super) async fn keep_telling_status(&self) {
        if !self.session.client().status_updates {
            return;
        }
        let mut states = self.backend.state();
        let mut told = None;
        loop {
            states.mark_unchanged();
            let status = self.current_status(None);
            if told.as_ref() != Some(&status) {
                self.client.tell(ext::DID_CHANGE_STATUS, &status);
                told = Some(status);
            }
            sleep(INTERVAL).await;
            tokio::select! {
                () = self.status_updates.changed.notified() => {}
                alive = states.changed() => if alive.is_err() { return },
            }
        }
    }
}
