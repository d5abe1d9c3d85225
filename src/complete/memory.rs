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

/// Suggestions kept per document: all candidates of one place, and enough to take back a wrong letter or two.
const CAPACITY: usize = 12;

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
    /// Which of the suggestions for that place it is.
    sample: u32,
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
    ///
    /// Of one place's candidates it is the one that is asked about; and where another one's text was begun, that one.
    pub fn recall(&self, place: &Place, terms: &Terms) -> Recall {
        let (asked, others): (Vec<_>, Vec<_>) =
            self.remembered.iter().partition(|remembered| remembered.sample == place.sample);
        let asked =
            asked.into_iter().map(|remembered| Remembered::recall(remembered, place, terms));
        let begun = others
            .into_iter()
            .filter(|other| place.sample == 0 && other.is_begun(place))
            .map(|remembered| Remembered::recall(remembered, place, terms));
        let mut recalled = asked.chain(begun);
        recalled.find(|recall| !matches!(recall, Recall::Nothing)).unwrap_or(Recall::Nothing)
    }

    /// What the other candidates for the place, besides `chosen`, still have to say there; those that are there in full.
    pub fn others(
        &self,
        place: &Place,
        terms: &Terms,
        chosen: &Arc<Job>,
    ) -> Vec<(Arc<Job>, String)> {
        let sample = self.remembered.iter().find(|one| Arc::ptr_eq(&one.job, chosen));
        let Some(sample) = sample.map(|chosen| chosen.sample) else { return Vec::new() };
        let mut others: Vec<_> =
            self.remembered.iter().filter(|other| other.sample != sample).collect();
        others.sort_by_key(|other| other.sample);
        others.into_iter().filter_map(|other| other.finished_at(place, terms)).collect()
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
            sample: place.sample,
        }
    }

    /// The same suggestion, decoded by another job.
    pub fn with_job(&self, job: Arc<Job>) -> Self {
        let (anchor, style) = (self.anchor.clone(), self.style.clone());
        Self { job, anchor, style, terms: self.terms.clone(), sample: self.sample }
    }

    /// Whether some of it may stand before the cursor.
    fn is_begun(&self, place: &Place) -> bool {
        let typed = self.anchor.typed(&place.document, place.cursor);
        typed.is_some_and(|typed| !typed.is_empty())
    }

    /// What of it is still to be typed at `place`, if it has ended and agrees with what was.
    fn finished_at(&self, place: &Place, terms: &Terms) -> Option<(Arc<Job>, String)> {
        let typed = self.anchor.typed(&place.document, place.cursor)?;
        let progress = self.job.progress();
        let is_whole = self.job.state() == JobState::Ended && !progress.is_broken_off();
        let (agreement, remainder) = self.remainder(&progress, &typed);
        let fits = is_whole && self.terms == *terms && agreement == Agreement::Through;
        (fits && !remainder.trim().is_empty()).then(|| (Arc::clone(&self.job), remainder))
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
