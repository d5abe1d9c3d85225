//! Downloads beside the worker: threads that fetch, and what may be fetched.
//!
//! A download takes minutes and waits for the network, so the worker starts it in a thread of its own and goes on to
//! answer requests. Its end comes to the worker's inbox like everything else. One that is given up ends within the
//! registry's next look ([`Progress::is_cancelled`]), and is waited for only when the worker itself ends.

use std::collections::BTreeMap;
use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use crate::config::{self, Settings};
use crate::registry::{Missing, Progress};

use super::local::Shared;
use super::pair::{Load, LoadError};
use super::{State, panic};

/// How a download ended.
#[derive(Debug)]
pub struct Fetched {
    /// Which one.
    pub id: u64,
    /// Whether all files are here.
    pub result: Result<(), LoadError>,
}

/// What the user wants of the files of a profile, stronger than the setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// They shall be fetched.
    Fetch,
    /// A download was cancelled: none shall begin by itself.
    Leave,
}

/// All downloads that have not ended, and who wishes for what.
#[derive(Debug, Default)]
pub(super) struct Fetches {
    /// At most one that is not given up.
    all: Vec<Fetch>,
    next_id: u64,
    /// By profile.
    wishes: BTreeMap<String, Wish>,
    /// The setting when it was looked at last.
    setting: config::Download,
}

/// A download.
#[derive(Debug)]
pub(super) struct Fetch {
    id: u64,
    /// Whose files it fetches.
    pub(super) profile: String,
    given_up: Arc<AtomicBool>,
    /// Absent once it was waited for.
    thread: Option<JoinHandle<()>>,
}

/// Turns a download's progress into [`State`].
struct Report {
    shared: Arc<Shared>,
    given_up: Arc<AtomicBool>,
}

impl Fetches {
    /// The download that counts.
    pub(super) fn running(&self) -> Option<&Fetch> {
        self.all.iter().find(|fetch| !fetch.is_given_up())
    }

    /// From now on the files of this profile are wanted, or not.
    pub(super) fn wish(&mut self, profile: &str, wish: Wish) {
        self.wishes.insert(profile.to_owned(), wish);
    }

    /// A wish is fulfilled: files that go away are another matter.
    pub(super) fn forget_wish(&mut self, profile: &str) {
        self.wishes.remove(profile);
    }

    /// Whether the files of the settings' profile may be fetched.
    pub(super) fn may_begin(&mut self, settings: &Settings) -> bool {
        if mem::replace(&mut self.setting, settings.download) != settings.download {
            // Another setting is a newer word than a download that was cancelled.
            self.wishes.retain(|_, wish| *wish == Wish::Fetch);
        }
        match self.wishes.get(&settings.profile) {
            Some(wish) => *wish == Wish::Fetch,
            None => settings.download == config::Download::Always,
        }
    }

    /// Begins to fetch what is missing. Where nothing is known to be missing, files that are here are not right.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub(super) fn begin<L: Load>(
        &mut self,
        loader: &Arc<L>,
        shared: &Arc<Shared>,
        settings: &Settings,
        missing: &Missing,
    ) -> io::Result<()> {
        let id = self.next_id;
        self.next_id += 1;
        let given_up = Arc::new(AtomicBool::new(false));
        let report = Report { shared: Arc::clone(shared), given_up: Arc::clone(&given_up) };
        if let Some(first) = missing.models.first() {
            report.advance(&first.name, first.here_bytes, first.size_bytes);
        }
        let (loader, profile) = (Arc::clone(loader), settings.profile.clone());
        let settings = settings.clone();
        let fetch = move || {
            let fetched = panic::catch(|| loader.fetch((&settings).into(), &report));
            let result = fetched.unwrap_or_else(|message| {
                tracing::error!(message, "a download panicked");
                Err(LoadError::Panicked { name: settings.profile, message })
            });
            report.shared.queue.fetched(Fetched { id, result });
        };
        let thread = thread::Builder::new().name("fetch".to_owned()).spawn(fetch)?;
        self.all.push(Fetch { id, profile, given_up, thread: Some(thread) });
        Ok(())
    }

    /// Takes out a download that has ended.
    pub(super) fn ended(&mut self, id: u64) -> Option<Fetch> {
        let idx = self.all.iter().position(|fetch| fetch.id == id)?;
        Some(self.all.swap_remove(idx))
    }
}

/// The store's locks are free, and no pip runs, once the worker is gone.
impl Drop for Fetches {
    fn drop(&mut self) {
        self.all.iter().for_each(Fetch::give_up);
        for fetch in &mut self.all {
            if let Some(thread) = fetch.thread.take() {
                let _panicked = thread.join();
            }
        }
    }
}

impl Fetch {
    /// Nobody wants it any more. It says nothing more of how far it is.
    pub(super) fn give_up(&self) {
        self.given_up.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::SeqCst)
    }
}

impl Progress for Report {
    fn advance(&self, model: &str, done_bytes: u64, total_bytes: u64) {
        self.shared.state.send_if_modified(|state| {
            // Looked at inside, where nobody else can tell the state: what follows a download that is given up stays.
            if self.given_up.load(Ordering::SeqCst) {
                return false;
            }
            *state = State::Fetching { model: model.to_owned(), done_bytes, total_bytes };
            true
        });
    }

    fn note(&self, message: &str) {
        tracing::info!("{message}");
    }

    fn is_cancelled(&self) -> bool {
        self.given_up.load(Ordering::SeqCst) || self.shared.queue.is_closed()
    }
}

/// A number of bytes as people say it: `986 MB`, `1.6 GB`.
pub fn in_words(bytes: u64) -> String {
    match bytes.saturating_add(500_000) / 1_000_000 {
        0 if bytes > 0 => "1 MB".to_owned(),
        n_mb @ 0..1000 => format!("{n_mb} MB"),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_said_as_people_say_them() {
        for (bytes, words) in [
            (0, "0 MB"),
            (1, "1 MB"),
            (491_400_064, "491 MB"),
            (999_999_999, "1.0 GB"),
            (1_000_000_000, "1.0 GB"),
            (1_615_000_000, "1.6 GB"),
        ] {
            assert_eq!(in_words(bytes), words);
        }
    }

    #[test]
    fn the_last_word_about_a_profile_counts() {
        let mut fetches = Fetches::default();
        let settings = |download| Settings { download, ..Settings::default() };
        let (always, ask, never) = (
            settings(config::Download::Always),
            settings(config::Download::Ask),
            settings(config::Download::Never),
        );
        assert!(fetches.may_begin(&always) && !fetches.may_begin(&ask));
        fetches.wish("default", Wish::Fetch);
        assert!(fetches.may_begin(&ask) && fetches.may_begin(&never));
        let small = Settings { profile: "small".to_owned(), ..never.clone() };
        assert!(!fetches.may_begin(&small), "a yes is for one profile");
        fetches.forget_wish("default");
        assert!(!fetches.may_begin(&never));
        fetches.may_begin(&always);
        fetches.wish("default", Wish::Leave);
        assert!(!fetches.may_begin(&always), "a cancelled download does not begin by itself");
        assert!(!fetches.may_begin(&ask) && fetches.may_begin(&always), "unless it is set anew");
    }
}
