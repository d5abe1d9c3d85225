//! Several suggestions for one place, for editors that let their user choose.
//!
//! A question that the user asked has the models draw again, with other draws of the same law; each candidate takes as
//! long as the first one, less the prompt. A question that came by itself gets what is remembered besides its answer, and
//! costs nothing more.

use tokio::time::Instant;

use super::{Answer, Completer, Query, Suggestion, Trigger};
use crate::config::Settings;

/// The answer to a question, and what may be shown in its place.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The answer.
    pub answer: Answer,
    /// Other suggestions for the same place, each with another text and another id; none unless the answer is one.
    pub others: Vec<Suggestion>,
}

impl From<Answer> for Answered {
    fn from(answer: Answer) -> Self {
        Self { answer, others: Vec::new() }
    }
}

impl Completer {
    /// As [`Completer::complete`], with up to `settings.candidates` suggestions where the user asked. `on_partial` gets
    /// all that there are, the answer first; no list is shorter than the one before.
    pub async fn candidates(
        &self,
        query: Query,
        settings: &Settings,
        on_partial: &mut (dyn FnMut(&[Suggestion]) + Send),
    ) -> Answered {
        let turn = self.take_turn(&query);
        let answered = tokio::select! {
            biased;
            () = turn.cancelled() => Answer::Superseded.into(),
            answered = self.draw(query, settings, on_partial) => answered,
        };
        self.note(&answered.answer);
        answered
    }

    async fn draw(
        &self,
        query: Query,
        settings: &Settings,
        on_partial: &mut (dyn FnMut(&[Suggestion]) + Send),
    ) -> Answered {
        let began = Instant::now();
        let one = |suggestion: &Suggestion| on_partial(std::slice::from_ref(suggestion));
        let (answer, remembered) = self.first(query.clone(), settings, &mut { one }).await;
        let Answer::Suggestion(first) = answer else { return answer.into() };
        let mut found = vec![first];
        found.extend(remembered);
        keep_distinct(&mut found);
        // What was answered before its end is still being decoded; and the likeliest token is always the same one.
        let may_draw = query.trigger == Trigger::Invoked
            && !found[0].partial
            && settings.temperature != Some(0.0);
        for sample in 1..if may_draw { settings.candidates } else { 0 } {
            let left = settings.time_budget().saturating_sub(began.elapsed());
            if found.len() >= settings.candidates as usize || left.is_zero() {
                break;
            }
            on_partial(&found);
            let settings = Settings { time_budget_ms: left.as_millis() as u64, ..settings.clone() };
            let query = Query { sample, early_after: None, ..query.clone() };
            match self.answer(query, &settings, &mut |_| ()).await {
                Answer::Superseded => return Answer::Superseded.into(),
                // What is broken off is no choice.
                Answer::Suggestion(next) if !next.partial => found.push(next),
                Answer::Suggestion(_) | Answer::Nothing(_) => {}
            }
            keep_distinct(&mut found);
        }
        Answered { answer: Answer::Suggestion(found.remove(0)), others: found }
    }

    /// The answer, and what else is remembered for its place.
    async fn first(
        &self,
        query: Query,
        settings: &Settings,
        on_partial: &mut (dyn FnMut(&Suggestion) + Send),
    ) -> (Answer, Vec<Suggestion>) {
        let mut question = match self.question(query, settings).await {
            Ok(question) => question,
            Err(reason) => return (Answer::Nothing(reason), Vec::new()),
        };
        let answer = question.answer(on_partial).await;
        let others = match &answer {
            Answer::Suggestion(_) => question.others(),
            Answer::Nothing(_) | Answer::Superseded => Vec::new(),
        };
        (answer, others)
    }
}

/// Of equal texts the first one.
fn keep_distinct(found: &mut Vec<Suggestion>) {
    let mut seen = std::collections::HashSet::new();
    found.retain(|suggestion| seen.insert(suggestion.insert.clone()));
}
