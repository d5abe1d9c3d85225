//! One question, from its first look at the memory to its answer.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::ask::{File, Place, Terms, request, terms};
use super::file_names::FileNames;
use super::finished::{finished, whole_lines};
use super::job::{Job, Progress};
use super::memory::{Recall, Remembered};
use super::surroundings::Surroundings;
use super::trigger::{Extent, admit, extent};
use super::trim::{Trimmed, trim};
use super::typed_through::Agreement;
use super::{Answer, Query, Reason, Shared, Suggestion, Trigger, Unfinished};
use crate::config::Settings;
use crate::engine::Finish;
use crate::prompt::stop::StopReason;
use crate::text::{ByteIdx, Document};

/// How long the engine may take to say itself that the time is up: about one forward.
const GRACE: Duration = Duration::from_millis(250);

/// A question that deserves an answer.
pub(super) struct Question<'a> {
    shared: &'a Shared,
    settings: &'a Settings,
    place: Place,
    terms: Terms,
    selected: Selected,
    /// When whole lines are answered although more is to come.
    early_at: Option<Instant>,
    /// When an automatic question may go to the models.
    not_before: Option<Instant>,
    unfinished: Unfinished,
    /// The answer's id, once there is something to show.
    id: Option<u64>,
    /// The longest partial suggestion so far.
    shown: String,
    /// Whose text the last suggestion was.
    chosen: Option<Arc<Job>>,
}

/// The menu entry that the question's place has already taken; empty where none is selected.
struct Selected {
    /// What it replaces in the editor's text, and so does the answer.
    range: Range<ByteIdx>,
    /// What it says, and what the answer begins with.
    entry: String,
}

/// What a look at a job's progress says.
enum Look {
    /// The answer.
    Done(Answer),
    /// There may be more; this much can be shown.
    More(Option<String>),
    /// What was typed is not, or all of, what was suggested.
    Over,
}

impl<'a> Question<'a> {
    /// Looks whether the question deserves an answer at all.
    pub(super) fn new(
        shared: &'a Shared,
        query: Query,
        settings: &'a Settings,
    ) -> Result<Self, Reason> {
        let behind = query.links.paths().ok_or(Reason::Links)?;
        let names = FileNames::new(&query.document, query.path.as_deref(), &behind);
        let rules = shared.journal.rules(settings);
        admit(&query.snapshot, &names, query.trigger, settings, &rules)?;
        let (document, cursor, selected) = with_selected(&query)?;
        let near = Surroundings::at(&document, cursor);
        let extent = extent(&near, query.trigger, settings.multi_line)?;
        let state = shared.backend.state();
        let name = query.name.as_deref();
        let file = File { names: &names, name, language: document.language() };
        let terms = terms(settings, &rules, file, &state.borrow());
        let automatic = query.trigger == Trigger::Automatic;
        let now = Instant::now();
        Ok(Self {
            shared,
            settings,
            place: Place {
                id: query.document,
                document,
                cursor,
                near,
                extent,
                sample: query.sample,
                deadline: now.checked_add(settings.time_budget()).map(Instant::into_std),
            },
            terms,
            selected,
            early_at: query.early_after.and_then(|patience| now.checked_add(patience)),
            not_before: automatic.then(|| now.checked_add(settings.debounce())).flatten(),
            unfinished: query.unfinished,
            id: None,
            shown: String::new(),
            chosen: None,
        })
    }

    /// What else is remembered for the very place of the answer, each with an id of its own.
    pub(super) fn others(&mut self) -> Vec<Suggestion> {
        let Some(chosen) = self.chosen.clone() else { return Vec::new() };
        let others = {
            let memory = self.shared.documents.get(&self.place.id);
            memory.map(|memory| memory.others(&self.place, &self.terms, &chosen))
        };
        let others = others.into_iter().flatten();
        others
            .filter_map(|(job, text)| {
                self.id = None;
                self.suggestion(&job, &text).ok()
            })
            .collect()
    }

    /// Answers from memory, from a job that runs, or from a new one.
    pub(super) async fn answer(
        &mut self,
        on_partial: &mut (dyn FnMut(&Suggestion) + Send),
    ) -> Answer {
        loop {
            let (remembered, typed) = match self.recall() {
                Recall::Follow(remembered, typed) => (remembered, typed),
                Recall::Stopping(remembered) => {
                    remembered.job.ended().await;
                    continue;
                }
                Recall::Resume(remembered, typed) => {
                    let known = remembered.remainder(&remembered.job.progress(), &typed).1;
                    self.show(&remembered.job, &known, on_partial);
                    self.debounce().await;
                    (self.resume(&remembered), typed)
                }
                Recall::Nothing => {
                    self.debounce().await;
                    (self.begin(), String::new())
                }
            };
            if let Some(answer) = self.follow(&remembered, &typed, on_partial).await {
                return answer;
            }
        }
    }

    fn recall(&self) -> Recall {
        let memory = self.shared.documents.get(&self.place.id);
        memory.map_or(Recall::Nothing, |memory| memory.recall(&self.place, &self.terms))
    }

    async fn debounce(&self) {
        if let Some(not_before) = self.not_before {
            sleep_until(not_before).await;
        }
    }

    fn begin(&self) -> Arc<Remembered> {
        let backend = &*self.shared.backend;
        let request = {
            let state = backend.state();
            request(&self.place, &self.terms, self.settings, &state.borrow())
        };
        let start = || Job::start(backend, request);
        self.keep(None, || Remembered::new(&self.place, self.terms.clone(), start()))
    }

    fn resume(&self, stopped: &Arc<Remembered>) -> Arc<Remembered> {
        let backend = &*self.shared.backend;
        self.keep(Some(stopped), || {
            stopped.with_job(stopped.job.resume(backend, self.place.deadline))
        })
    }

    /// Remembers what `start` begins, once everything older has been told to stop.
    fn keep(
        &self,
        instead: Option<&Arc<Remembered>>,
        start: impl FnOnce() -> Remembered,
    ) -> Arc<Remembered> {
        let mut memory = self.shared.documents.entry(self.place.id.clone()).or_default();
        memory.stop();
        let new = Arc::new(start());
        memory.keep(Arc::clone(&new), instead);
        new
    }

    /// Waits for the answer; `None` if this suggestion has none for the question.
    async fn follow(
        &mut self,
        remembered: &Remembered,
        typed: &str,
        on_partial: &mut (dyn FnMut(&Suggestion) + Send),
    ) -> Option<Answer> {
        let waiting = remembered.job.wait();
        let mut progress = remembered.job.watch();
        loop {
            let look = {
                let progress = progress.borrow_and_update();
                self.look(remembered, &progress, typed)
            };
            match look {
                Look::Done(answer) => return Some(answer),
                Look::Over => return None,
                Look::More(None) => (),
                Look::More(Some(known)) => {
                    self.show(&remembered.job, &known, on_partial);
                    if let Some(answer) = self.early(&remembered.job, &known) {
                        waiting.leave();
                        return Some(answer);
                    }
                }
            }
            tokio::select! {
                biased;
                changed = progress.changed() => if changed.is_err() {
                    return Some(Answer::Superseded);
                },
                () = self.until_early() => {}
                () = self.until_late() => {
                    let progress = progress.borrow().clone();
                    // It goes on for the next question, as far as its own time allows.
                    waiting.leave();
                    return Some(self.late(remembered, &progress, typed));
                }
            }
        }
    }

    /// Waits until the time is up, whatever the engine is busy with.
    async fn until_late(&self) {
        let late = self.place.deadline.and_then(|deadline| deadline.checked_add(GRACE));
        match late {
            Some(late) => sleep_until(Instant::from_std(late)).await,
            None => std::future::pending().await,
        }
    }

    /// The answer of a job that has not ended although the time is up.
    fn late(&mut self, remembered: &Remembered, progress: &Progress, typed: &str) -> Answer {
        let (agreement, remainder) = remembered.remainder(progress, typed);
        let shown = match agreement {
            Agreement::Through => finished(&remainder),
            Agreement::Ahead | Agreement::Differs => "",
        };
        if shown.trim().is_empty() {
            return Answer::Nothing(Reason::TimeBudget);
        }
        match self.suggestion(&remembered.job, shown) {
            Ok(suggestion) => Answer::Suggestion(Suggestion { partial: true, ..suggestion }),
            Err(reason) => Answer::Nothing(reason),
        }
    }

    /// Waits for the time of an early answer; for ever once it has come, since then every look counts.
    async fn until_early(&self) {
        match self.early_at {
            Some(at) if at > Instant::now() => sleep_until(at).await,
            _ => std::future::pending().await,
        }
    }

    /// The whole lines of `known`, if there are any and it is time.
    fn early(&mut self, job: &Arc<Job>, known: &str) -> Option<Answer> {
        if self.early_at.is_none_or(|at| Instant::now() < at) {
            return None;
        }
        let lines = whole_lines(known)?;
        let suggestion = self.suggestion(job, lines).ok()?;
        Some(Answer::Suggestion(Suggestion { partial: true, ..suggestion }))
    }

    fn look(&mut self, remembered: &Remembered, progress: &Progress, typed: &str) -> Look {
        let (agreement, remainder) = remembered.remainder(progress, typed);
        match (agreement, &progress.finish) {
            (_, Some(Finish::Cancelled | Finish::Superseded)) => Look::Done(Answer::Superseded),
            (Agreement::Differs, _) => Look::Over,
            (Agreement::Ahead, _) => Look::More(None),
            (Agreement::Through, None) => Look::More(Some(remainder)),
            // It was begun by a question that came before this one, which has time left.
            (Agreement::Through, Some(Finish::TimeBudget))
                if remembered.job.deadline() < self.place.deadline =>
            {
                Look::Over
            }
            (Agreement::Through, Some(finish)) => {
                let shown = self.shown_of(progress, &remainder);
                match shown.trim().is_empty() {
                    true => ended_empty(finish, typed),
                    false => self.ended(&remembered.job, finish, shown),
                }
            }
        }
    }

    /// What of the text of a job that has ended may be shown.
    fn shown_of<'t>(&self, progress: &Progress, text: &'t str) -> &'t str {
        match self.unfinished {
            Unfinished::Cut if progress.is_broken_off() => finished(text),
            Unfinished::Cut | Unfinished::Keep => text,
        }
    }

    /// The answer with the text of a job that has ended.
    fn ended(&mut self, job: &Arc<Job>, finish: &Finish, text: &str) -> Look {
        let partial = *finish == Finish::TimeBudget;
        Look::Done(match self.suggestion(job, text) {
            Ok(suggestion) => Answer::Suggestion(Suggestion { partial, ..suggestion }),
            Err(reason) => Answer::Nothing(reason),
        })
    }

    /// Shows `known` while more of it is being decoded, if there is more to see than before.
    fn show(
        &mut self,
        job: &Arc<Job>,
        known: &str,
        on_partial: &mut (dyn FnMut(&Suggestion) + Send),
    ) {
        let Ok(trimmed) = self.trimmed(known) else {
            return;
        };
        if trimmed.insert.len() <= self.shown.len() || !trimmed.insert.starts_with(&self.shown) {
            return;
        }
        self.shown = trimmed.insert;
        if let Ok(suggestion) = self.suggestion(job, known) {
            on_partial(&Suggestion { partial: true, ..suggestion });
        }
    }

    /// What the place lacks of `text`. What began where nothing stood to the right may have several lines, and since
    /// then the editor may have closed what was typed of it.
    fn trimmed(&self, text: &str) -> Result<Trimmed, Reason> {
        let text = match self.place.extent {
            Extent::Line => text.split('\n').next().unwrap_or_default(),
            Extent::Block => text,
        };
        trim(text, &self.place.near)
    }

    /// What to show of `text`, which is to stand at the place.
    fn suggestion(&mut self, job: &Arc<Job>, text: &str) -> Result<Suggestion, Reason> {
        let trimmed = self.trimmed(text)?;
        let id = match self.id {
            Some(id) => {
                self.shared.journal.replace(id, Arc::clone(job));
                id
            }
            None => *self.id.insert(self.shared.journal.enter(Arc::clone(job))),
        };
        self.chosen = Some(Arc::clone(job));
        let Selected { range, entry } = &self.selected;
        Ok(Suggestion {
            id,
            insert: format!("{entry}{}", trimmed.insert),
            replace: range.start..ByteIdx(range.end.0 + trimmed.replace),
            partial: false,
        })
    }
}

/// What a job that has ended without text says to a question behind `typed`.
fn ended_empty(finish: &Finish, typed: &str) -> Look {
    match finish {
        Finish::TimeBudget => nothing(Reason::TimeBudget),
        _ if !typed.is_empty() => Look::Over,
        Finish::NotReady(why) => nothing(Reason::NotReady(why.clone())),
        Finish::Failed(why) => nothing(Reason::Failed(why.clone())),
        Finish::TokenLimit => nothing(Reason::TokenLimit),
        Finish::StopRule(StopReason::Repetition) => nothing(Reason::Duplicate),
        _ => nothing(Reason::Empty),
    }
}

fn nothing(reason: Reason) -> Look {
    Look::Done(Answer::Nothing(reason))
}

/// The text as it will be once the selected menu entry is taken, and the cursor in it.
fn with_selected(query: &Query) -> Result<(Document, ByteIdx, Selected), Reason> {
    let document = &query.snapshot;
    let cursor = document.char_start(query.cursor);
    let Some((range, entry)) = query.selected.clone() else {
        let none = Selected { range: cursor..cursor, entry: String::new() };
        return Ok((document.clone(), cursor, none));
    };
    // An entry that was matched in another way than by its beginning has no text that could go on from what is typed.
    let typed = document.slice(range.start.min(cursor)..cursor);
    let fits = document.line_start(cursor) <= range.start
        && entry.starts_with(&typed)
        && range.start <= cursor
        && cursor <= range.end
        && range.end <= document.line_end(cursor)
        && [range.start, range.end].iter().all(|at| document.char_start(*at) == *at)
        && !entry.contains(['\n', '\r']);
    if !fits {
        return Err(Reason::Selected);
    }
    let taken = document.with_replaced(range.clone(), &entry);
    let cursor = ByteIdx(range.start.0 + entry.len());
    Ok((taken, cursor, Selected { range, entry }))
}
