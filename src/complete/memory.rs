//! The last suggestions of a document, and which of them the user is typing.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::ask::{Place, Terms};
use super::finished::finished;
use super::job::{Job, JobState, Progress};
use super::style::Style;
use super::typed_through::{Agreement, Anchor, Grows, agreement};
use crate::engine::Finish;
use crate::text::Document;

/// Suggestions kept per document: enough to take back a wrong letter or two.
const CAPACITY: usize = 4;

/// What is remembered of one document.
#[derive(Debug, Default)]
pub struct Memory {
    /// Ends the question that is being answered.
    turn: CancellationToken,
    /// Newest first. Only the newest may be being decoded.
    remembered: VecDeque<Arc<Remembered>>,
}

/// One suggestion, and where it began.
#[derive(Debug)]
pub struct Remembered {
    /// What is decoded.
    pub job: Arc<Job>,
    anchor: Anchor,
    style: Style,
    terms: Terms,
}

/// What the memory has for a question.
#[derive(Clone, Debug)]
pub enum Recall {
    /// The suggestion agrees with what was typed: answer from it, or wait for more of it.
    Follow(Arc<Remembered>, String),
    /// The same, but it was stopped half-way.
    Resume(Arc<Remembered>, String),
    /// It was stopped just now, and it is not yet clear where.
    Stopping(Arc<Remembered>),
    /// Nothing fits.
    Nothing,
}

impl Memory {
    /// Begins a question; the one before it ends as superseded.
    pub fn take_turn(&mut self) -> CancellationToken {
        std::mem::take(&mut self.turn).cancel();
        self.turn.clone()
    }

    /// Finds the suggestion that is being typed. One that is not, and is being decoded, stops.
    pub fn recall(&self, place: &Place, terms: &Terms) -> Recall {
        let mut recalled =
            self.remembered.iter().map(|remembered| Remembered::recall(remembered, place, terms));
        recalled.find(|recall| !matches!(recall, Recall::Nothing)).unwrap_or(Recall::Nothing)
    }

    /// Stops all work for the document.
    pub fn stop(&self) {
        for remembered in &self.remembered {
            remembered.job.cancel();
        }
    }

    /// Remembers a suggestion that has just begun, in place of `instead`.
    pub fn keep(&mut self, new: Arc<Remembered>, instead: Option<&Arc<Remembered>>) {
        self.remembered.retain(|old| instead.is_none_or(|instead| !Arc::ptr_eq(old, instead)));
        self.remembered.push_front(new);
        self.remembered.truncate(CAPACITY);
    }

    /// The text has changed: stops what no longer agrees with it.
    pub fn edited(&self, document: &Document) {
        for remembered in &self.remembered {
            if remembered.job.state() == JobState::Running && !remembered.may_become(document) {
                remembered.job.cancel();
            }
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.turn.cancel();
        self.stop();
    }
}

impl Remembered {
    /// A suggestion that begins at `place`.
    pub fn new(place: &Place, terms: Terms, job: Arc<Job>) -> Self {
        Self {
            job,
            anchor: Anchor::new(&place.document, place.cursor),
            style: Style::of(&place.near),
            terms,
        }
    }

    /// The same suggestion, decoded by another job.
    pub fn with_job(&self, job: Arc<Job>) -> Self {
        let (anchor, style) = (self.anchor.clone(), self.style.clone());
        Self { job, anchor, style, terms: self.terms.clone() }
    }

    /// How `typed` relates to what is decoded, and what of that is still to be typed.
    pub fn remainder(&self, progress: &Progress, typed: &str) -> (Agreement, String) {
        let known = self.style.rewrite(&progress.text);
        let remainder = known.get(typed.len()..).unwrap_or_default().to_owned();
        (agreement(&known, typed, grows(progress)), remainder)
    }

    fn recall(this: &Arc<Self>, place: &Place, terms: &Terms) -> Recall {
        let typed = this.anchor.typed(&place.document, place.cursor);
        let Some(typed) = typed.filter(|_| this.terms == *terms) else {
            this.job.cancel();
            return Recall::Nothing;
        };
        let progress = this.job.progress();
        let (agreement, remainder) = this.remainder(&progress, &typed);
        if agreement == Agreement::Differs {
            this.job.cancel();
            return Recall::Nothing;
        }
        let shown = if progress.is_broken_off() { finished(&remainder) } else { &remainder };
        let has_text = !shown.trim().is_empty();
        match this.job.state() {
            JobState::Running => Recall::Follow(Arc::clone(this), typed),
            JobState::Stopping => Recall::Stopping(Arc::clone(this)),
            JobState::Stopped if !progress.tokens.is_empty() => {
                Recall::Resume(Arc::clone(this), typed)
            }
            JobState::Ended if has_text || (typed.is_empty() && is_lasting(&progress)) => {
                Recall::Follow(Arc::clone(this), typed)
            }
            JobState::Stopped | JobState::Ended => Recall::Nothing,
        }
    }

    fn may_become(&self, document: &Document) -> bool {
        let progress = self.job.progress();
        let known = self.style.rewrite(&progress.text);
        let mut typed = self.anchor.inserted(document);
        typed.any(|typed| agreement(&known, &typed, grows(&progress)) != Agreement::Differs)
    }
}

fn grows(progress: &Progress) -> Grows {
    if progress.finish.is_none() { Grows::Yes } else { Grows::No }
}

/// Whether the same question would end the same way again.
fn is_lasting(progress: &Progress) -> bool {
    matches!(progress.finish, Some(Finish::EndOfText | Finish::StopRule(_) | Finish::TokenLimit))
}
