//! What a question's time and tokens buy: when they end, what is shown, and where the next question goes on.

use std::time::Duration;

use cosec_ls::complete::{Answer, Query, Reason, Trigger, Unfinished};
use cosec_ls::config::Settings;
use cosec_ls::engine::Finish;
use tokio::time::{Instant, advance};

use super::script::{Bench, bench, insert_of, query, settle};

fn budget(settings: &Settings) -> Duration {
    Duration::from_millis(settings.time_budget_ms)
}

async fn broken_off(text: &str, decoded: &str, finish: Finish) -> Answer {
    let mut bench = bench();
    let pending = bench.ask_at(text).await;
    let mut run = bench.run().await;
    run.say(decoded);
    run.end(finish);
    pending.answer().await
}

/// Whatever breaks a text off.
fn ends() -> [Finish; 3] {
    [Finish::TimeBudget, Finish::TokenLimit, Finish::Failed("broken".to_owned())]
}

#[tokio::test(start_paused = true)]
async fn time_counts_from_the_question_and_the_debounce_with_it() {
    let mut bench = bench();
    for (n, trigger) in [Trigger::Automatic, Trigger::Invoked].into_iter().enumerate() {
        let asked = Instant::now();
        let text = format!("{}x = $0\n", " ".repeat(n));
        let _pending = bench.ask(Query { trigger, ..query(&text) }).await;
        let run = bench.run().await;
        let deadline = (asked + budget(&bench.settings)).into_std();
        assert_eq!(run.request.deadline, Some(deadline), "{trigger:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_broken_off_is_shown_up_to_a_whole_line_or_word() {
    for finish in ends() {
        for (decoded, expect) in [
            ("const command = `ping -c", "const command = `ping"),
            ("os.urandom(1", "os.urandom("),
            ("f(a);\n    g(b", "f(a);"),
            ("f(a);\n    g(b);\n    h", "f(a);\n    g(b);"),
            ("printf(\"a\\", "printf(\"a"),
            ("foo_bar(baz_qu", "foo_bar("),
        ] {
            let answer = broken_off("x = $0\n", decoded, finish.clone()).await;
            assert_eq!(insert_of(&answer), expect, "{finish:?}");
            assert_eq!(answer.more_may_come(), finish == Finish::TimeBudget, "{finish:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_text_that_ends_by_itself_is_whole_whatever_it_ends_in() {
    for decoded in ["os.urandom(1", "a\nb", "foo", "x =="] {
        let mut bench = bench();
        assert_eq!(insert_of(&bench.suggest("x = $0\n", decoded).await), decoded);
    }
}

#[tokio::test(start_paused = true)]
async fn less_than_a_word_is_nothing_and_has_a_reason() {
    for (finish, reason, more) in [
        (Finish::TimeBudget, Reason::TimeBudget, true),
        (Finish::TokenLimit, Reason::TokenLimit, false),
        (Finish::Failed("broken".to_owned()), Reason::Failed("broken".to_owned()), false),
    ] {
        let answer = broken_off("x = $0\n", "urand", finish).await;
        assert_eq!(answer.more_may_come(), more);
        let Answer::Nothing(why) = answer else { panic!("{answer:?}") };
        assert_eq!(why, reason);
    }
}

#[tokio::test(start_paused = true)]
async fn the_rest_comes_with_the_next_question_which_has_its_own_time() {
    let mut bench = bench();
    let pending = bench.ask_at("x = $0\n").await;
    let mut run = bench.run().await;
    run.say("os.");
    run.say("urandom(");
    run.say("1");
    run.end(Finish::TimeBudget);
    assert_eq!(pending.insert().await, "os.urandom(");
    for (text, rest) in [("x = $0\n", "os.urandom(16)"), ("x = os.urandom($0\n", "16)")] {
        advance(Duration::from_secs(1)).await;
        let asked = Instant::now();
        let next = bench.ask_at(text).await;
        let mut resumed = bench.run().await;
        assert_eq!(resumed.request.resume, [0, 1, 2], "{text}");
        let deadline = (asked + budget(&bench.settings)).into_std();
        assert_eq!(resumed.request.deadline, Some(deadline), "{text}");
        resumed.say("6)");
        match text {
            "x = $0\n" => resumed.end(Finish::Cancelled),
            _ => resumed.end(Finish::EndOfText),
        }
        match next.answer().await {
            Answer::Suggestion(suggestion) => assert_eq!(suggestion.insert, rest),
            Answer::Superseded => {
                // As after a question that was cancelled: what came is kept.
                let again = bench.ask_at(text).await;
                let resumed = bench.run().await;
                assert_eq!(resumed.request.resume, [0, 1, 2, 3]);
                resumed.end(Finish::TimeBudget);
                assert_eq!(again.insert().await, rest);
                return;
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_word_that_was_held_back_may_be_typed() {
    let mut bench = bench();
    let pending = bench.ask_at("x = $0\n").await;
    let mut run = bench.run().await;
    run.say("os.uran");
    run.end(Finish::TimeBudget);
    assert_eq!(pending.insert().await, "os");
    let next = bench.ask_at("x = os.ura$0\n").await;
    let resumed = bench.run().await;
    assert_eq!(resumed.request.resume, [0]);
    resumed.answer("dom(16)");
    assert_eq!(next.insert().await, "ndom(16)");
}

#[tokio::test(start_paused = true)]
async fn time_that_ends_before_the_first_token_is_a_reason_and_the_next_question_asks_again() {
    let mut bench = bench();
    for _ in 0..3 {
        let pending = bench.ask_at("x = $0\n").await;
        let run = bench.run().await;
        assert!(run.request.resume.is_empty());
        run.end(Finish::TimeBudget);
        let answer = pending.answer().await;
        assert!(answer.more_may_come());
        assert!(matches!(answer, Answer::Nothing(Reason::TimeBudget)), "{answer:?}");
        assert_eq!(bench.completer.last_reason(), Some(Reason::TimeBudget));
    }
    assert_eq!(insert_of(&bench.suggest("x = $0\n", "1;").await), "1;");
}

#[tokio::test(start_paused = true)]
async fn models_that_load_for_ever_hold_no_answer_back() {
    let mut bench = bench();
    for _ in 0..2 {
        let asked = Instant::now();
        let pending = bench.ask_at("x = $0\n").await;
        let answer = pending.answer().await;
        assert!(matches!(answer, Answer::Nothing(Reason::TimeBudget)), "{answer:?}");
        let late = asked.elapsed().saturating_sub(budget(&bench.settings));
        assert!(late < Duration::from_secs(1), "{late:?}");
    }
    let mut run = bench.run().await;
    assert!(!run.is_cancelled(), "what it evaluates is for the next question");
    let next = bench.ask_at("x = $0\n").await;
    run.say("foo(a, b");
    let answer = next.answer().await;
    assert_eq!(insert_of(&answer), "foo(a,");
    assert!(answer.more_may_come());
    bench.no_run();
}

#[tokio::test(start_paused = true)]
async fn a_question_that_joins_an_older_one_does_not_end_with_its_time() {
    let mut bench = bench();
    let first = bench.ask_at("x = $0\n").await;
    let mut run = bench.run().await;
    run.say("foo");
    advance(Duration::from_secs(9)).await;
    let second = bench.ask_at("x = f$0\n").await;
    assert!(matches!(first.answer().await, Answer::Superseded));
    run.end(Finish::TimeBudget);
    let resumed = bench.run().await;
    assert!(resumed.request.deadline > run.request.deadline);
    resumed.answer("(a);");
    assert_eq!(second.insert().await, "oo(a);");
}

#[tokio::test(start_paused = true)]
async fn a_joined_question_whose_own_time_is_up_is_answered() {
    let mut bench = bench();
    let invoked = |text| Query { trigger: Trigger::Invoked, ..query(text) };
    let _first = bench.ask(invoked("x = $0\n")).await;
    let mut run = bench.run().await;
    run.say("foo(");
    // No time passes between the two.
    let second = bench.ask(invoked("x = f$0\n")).await;
    run.end(Finish::TimeBudget);
    assert_eq!(second.insert().await, "oo(");
    bench.no_run();
}

#[tokio::test(start_paused = true)]
async fn behind_the_last_whole_word_of_all_tokens_the_models_are_asked_anew() {
    let mut bench = bench();
    let pending = bench.ask_at("x = $0\n").await;
    let mut run = bench.run().await;
    run.say("f(a, bc");
    run.end(Finish::TokenLimit);
    assert_eq!(pending.insert().await, "f(a,");
    assert_eq!(bench.ask_at("x = f($0\n").await.insert().await, "a,", "from memory");
    bench.no_run();
    assert_eq!(insert_of(&bench.suggest("x = f(a,$0\n", " bcd);").await), " bcd);");
    bench.no_run();
}

#[tokio::test(start_paused = true)]
async fn the_evaluation_gets_what_was_decoded() {
    let mut bench = bench();
    let unfinished = Unfinished::Keep;
    let pending = bench.ask(Query { unfinished, ..query("x = $0\n") }).await;
    let mut run = bench.run().await;
    run.say("f(a);\n    g(b");
    run.end(Finish::TokenLimit);
    assert_eq!(pending.insert().await, "f(a);\n    g(b");
}

#[tokio::test(start_paused = true)]
async fn the_ends_of_all_times_do_no_harm() {
    for n in [0, 1, u64::MAX] {
        let mut bench: Bench = bench();
        bench.settings.time_budget_ms = n;
        bench.settings.debounce_ms = if n == u64::MAX { 0 } else { n };
        bench.settings.max_tokens = usize::try_from(n).unwrap();
        bench.settings.max_lines = usize::try_from(n).unwrap();
        bench.settings.prefix_tokens = usize::try_from(n).unwrap();
        bench.settings.suffix_tokens = usize::try_from(n).unwrap();
        let early_after = Some(Duration::from_millis(n));
        let pending = bench.ask(Query { early_after, ..query("x = $0\ny\n") }).await;
        let run = bench.run().await;
        run.answer("1;");
        assert_eq!(pending.insert().await, "1;");
    }
    settle().await;
}
