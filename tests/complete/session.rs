//! Random sessions: whatever is typed, taken back, asked, cancelled and decoded in whatever order, a
//! suggestion is the rest of the text that the model has in mind, and no work is done twice at once.

use cosec_ls::complete::Answer;
use cosec_ls::engine::Finish;
use proptest::prelude::*;

use super::script::{Bench, Pending, Run, bench, query, settle};

/// What the model writes, whatever the user has typed of it.
const TEXT: &str = "int f(int a) {\n    int b = a[0];\n    while (b) {\n        b = g(b, \"é)\");\n    }\n    return b;\n}";

#[derive(Clone, Copy, Debug)]
enum Act {
    TypeOn(usize),
    TypeWrong,
    TakeBack,
    Ask,
    CancelQuestion,
    Say(usize),
    Supersede,
}

struct Session {
    bench: Bench,
    typed: String,
    pending: Option<(String, Pending)>,
    run: Option<Run>,
}

impl Session {
    async fn act(&mut self, act: Act) {
        match act {
            Act::TypeOn(n) if TEXT.starts_with(&self.typed) => {
                self.typed.extend(TEXT[self.typed.len()..].chars().take(n));
            }
            Act::TypeOn(_) | Act::TypeWrong => self.typed.push('~'),
            Act::TakeBack => drop(self.typed.pop()),
            Act::Ask => return self.ask().await,
            Act::CancelQuestion => {
                if let Some((_, pending)) = self.pending.take() {
                    pending.cancel().await;
                }
            }
            Act::Say(n) => self.say(n),
            Act::Supersede => {
                if let Some(run) = self.run.take() {
                    run.end(Finish::Superseded);
                }
            }
        }
        let document = query(&self.text());
        self.bench.completer.edited(&document.document, &document.snapshot);
        self.settle().await;
    }

    fn text(&self) -> String {
        format!("// a\n{}$0\n", self.typed)
    }

    async fn ask(&mut self) {
        let pending = self.bench.ask_at(&self.text()).await;
        if let Some((_, older)) = self.pending.replace((self.typed.clone(), pending)) {
            assert!(older.is_answered(), "an older question waits");
        }
        self.settle().await;
    }

    fn say(&mut self, n_tokens: usize) {
        let Some(run) = &mut self.run else { return };
        for _ in 0..n_tokens {
            if !run.say_next(TEXT) {
                run.end(Finish::EndOfText);
                self.run = None;
                return;
            }
        }
    }

    /// Lets everything happen that needs no time, and checks an answer that has come.
    async fn settle(&mut self) {
        tokio::time::advance(self.bench.settings.debounce()).await;
        settle().await;
        while let Some(run) = self.bench.next_run() {
            let older = self.run.replace(run);
            assert!(older.is_none_or(|older| older.is_cancelled()), "two runs at once");
            settle().await;
        }
        if self.pending.as_ref().is_some_and(|(_, pending)| pending.is_answered()) {
            let (typed, pending) = self.pending.take().expect("it is there");
            check(&typed, &pending.answer().await);
        }
    }

    /// Lets the model say all it has: the last question is answered.
    async fn end(mut self) {
        self.ask().await;
        for _ in 0..400 {
            self.say(1);
            self.settle().await;
        }
        assert!(self.pending.is_none(), "the last question has no answer");
    }
}

fn check(typed: &str, answer: &Answer) {
    let Answer::Suggestion(suggestion) = answer else { return };
    let together = format!("{typed}{}", suggestion.insert);
    if TEXT.starts_with(typed) {
        assert!(TEXT.starts_with(&together), "{together:?}");
    } else {
        assert!(!suggestion.insert.contains('~'), "{together:?}");
    }
}

fn any_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        5 => (1..9_usize).prop_map(Act::TypeOn),
        1 => Just(Act::TypeWrong),
        2 => Just(Act::TakeBack),
        5 => Just(Act::Ask),
        1 => Just(Act::CancelQuestion),
        6 => (1..6_usize).prop_map(Act::Say),
        1 => Just(Act::Supersede),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn any_session_is_served(acts in prop::collection::vec(any_act(), 0..60)) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut session =
                Session { bench: bench(), typed: String::new(), pending: None, run: None };
            for act in acts {
                session.act(act).await;
            }
            session.end().await;
        });
    }
}
