//! What is kept across documents: the last suggestions, for explanations, and the last reason for none.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Reason;
use super::file_rules::FileRules;
use super::job::Job;
use super::path_globs::Roots;
use crate::config::Settings;

/// Suggestions that can still be explained.
const N_EXPLAINED: usize = 64;

/// What the editor has told of suggestions, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Feedback {
    /// Suggestions that were made.
    pub suggested: u64,
    /// Of them, those that the editor has reported as shown.
    pub shown: u64,
    /// Of them, those that the editor has reported as accepted.
    pub accepted: u64,
}

/// A shared record; its lock is held for a few instructions at a time.
#[derive(Debug, Default)]
pub struct Journal(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    roots: Roots,
    rules: Option<Arc<FileRules>>,
    last_reason: Option<Reason>,
    /// Newest last.
    suggestions: VecDeque<Entry>,
    /// The one that the user saw last, as far as that is known.
    last_suggestion: Option<u64>,
    feedback: Feedback,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    job: Arc<Job>,
    shown: bool,
    accepted: bool,
}

impl Journal {
    /// The compiled globs of `settings`; compiled anew only when those or the folders have changed.
    pub fn rules(&self, settings: &Settings) -> Arc<FileRules> {
        let entries = &mut *self.lock();
        match &entries.rules {
            Some(rules) if rules.belong_to(settings, &entries.roots) => Arc::clone(rules),
            _ => {
                let rules = FileRules::new(settings, &entries.roots);
                Arc::clone(entries.rules.insert(Arc::new(rules)))
            }
        }
    }

    /// The workspace folders are these from now on.
    pub fn set_folders(&self, folders: Vec<PathBuf>) {
        self.lock().roots.folders = folders;
    }

    /// Enters a suggestion; returns its id, which no other one has.
    pub fn enter(&self, job: Arc<Job>) -> u64 {
        let mut entries = self.lock();
        entries.feedback.suggested += 1;
        let id = entries.feedback.suggested;
        entries.suggestions.push_back(Entry { id, job, shown: false, accepted: false });
        if entries.suggestions.len() > N_EXPLAINED {
            entries.suggestions.pop_front();
        }
        id
    }

    /// Another job goes on with a suggestion.
    pub fn replace(&self, id: u64, job: Arc<Job>) {
        if let Some(entry) = self.lock().find(id) {
            entry.job = job;
        }
    }

    /// A suggestion is the answer to a question: an editor shows it first.
    pub fn answered(&self, id: u64) {
        self.lock().last_suggestion = Some(id);
    }

    /// The suggestion that was answered, shown or accepted last.
    pub fn last_suggestion(&self) -> Option<u64> {
        self.lock().last_suggestion
    }

    /// The job of one of the last suggestions.
    pub fn job(&self, id: u64) -> Option<Arc<Job>> {
        self.lock().find(id).map(|entry| Arc::clone(&entry.job))
    }

    /// The editor shows a suggestion.
    pub fn shown(&self, id: u64) {
        let mut entries = self.lock();
        let Some(entry) = entries.find(id) else { return };
        let is_news = !std::mem::replace(&mut entry.shown, true);
        entries.feedback.shown += u64::from(is_news);
        entries.last_suggestion = Some(id);
    }

    /// The user has accepted a suggestion.
    pub fn accepted(&self, id: u64) {
        let mut entries = self.lock();
        let Some(entry) = entries.find(id) else { return };
        let is_news = !std::mem::replace(&mut entry.accepted, true);
        entries.feedback.accepted += u64::from(is_news);
        entries.last_suggestion = Some(id);
    }

    /// The counts so far.
    pub fn feedback(&self) -> Feedback {
        self.lock().feedback
    }

    /// A question got nothing.
    pub fn nothing(&self, reason: Reason) {
        self.lock().last_reason = Some(reason);
    }

    /// Why the last question that got nothing got nothing.
    pub fn last_reason(&self) -> Option<Reason> {
        self.lock().last_reason.clone()
    }

    /// A panic elsewhere leaves the entries whole: each method changes them by one step.
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn find(&mut self, id: u64) -> Option<&mut Entry> {
        self.suggestions.iter_mut().rev().find(|entry| entry.id == id)
    }
}
