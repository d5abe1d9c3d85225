//! The completer as an editor uses it, on a backend that follows a script, under a paused clock.

mod beside;
mod budget;
mod script;
mod session;
mod white_space;

use std::time::Duration;

use cosec_ls::complete::{Answer, Query, Reason, Suggestion, Trigger};
use cosec_ls::config::MultiLine;
use cosec_ls::engine::{DocumentId, Finish};
use cosec_ls::prompt::stop::StopReason;
use cosec_ls::text::{ByteIdx, Document};
use tokio::time::{Instant, advance};

use script::{bench, insert_of, query, settle};

fn nothing(answer: Answer) -> Reason {
    match answer {
        Answer::Nothing(reason) => reason,
        other => panic!("not nothing but {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_suggestion_is_what_the_models_say() {
    let mut bench = bench();
    let answer = bench.suggest("int x = $0\n", "1;").await;
    let Answer::Suggestion(suggestion) = answer else { panic!("{answer:?}") };
    assert_eq!((suggestion.insert.as_str(), suggestion.partial), ("1;", false));
    assert_eq!(suggestion.replace, ByteIdx(8)..ByteIdx(8));
}

#[tokio::test(start_paused = true)]
async fn typing_through_a_suggestion_asks_no_model() {
    let mut bench = bench();
    bench.suggest("x = $0\n", "foo(a);").await;
    for (text, rest) in [
        ("x = $0\n", "foo(a);"),
        ("x = f$0\n", "oo(a);"),
        ("x = foo(a)$0\n", ";"),
        ("x = fo$0\n", "o(a);"),
    ] {
        let started = Instant::now();
        assert_eq!(bench.ask_at(text).await.insert().await, rest);
        assert_eq!(started.elapsed(), Duration::ZERO, "no debounce");
    }
    bench.no_run();
}

#[tokio::test(start_paused = true)]
async fn a_suggestion_typed_to_its_end_is_followed_by_a_new_one() {
    let mut bench = bench();
    bench.suggest("x = $0\n", "foo(a);").await;
    assert_eq!(insert_of(&bench.suggest("x = foo(a);$0\n", "\ny();").await), "\ny();");
}

#[tokio::test(start_paused = true)]
async fn typing_through_while_it_is_decoded_joins_the_decoding() {
    let mut bench = bench();
    let first = bench.ask_at("x = $0\n").await;
    let mut run = bench.run().await;
    run.say("foo");
    settle().await;
    let second = bench.ask_at("x = f$0\n").await;
    assert!(matches!(first.answer().await, Answer::Superseded));
    assert_eq!(second.partials(), ["oo"]);
    run.say("(a)");
    settle().await;
    assert_eq!(second.partials(), ["oo", "oo(a)"]);
    assert!(!run.is_cancelled());
    run.answer(";");
    assert_eq!(second.insert().await, "oo(a);");
    bench.no_run();
}

#[tokio::test(start_paused = true)]
async fn typing_ahead_waits_until_the_decoding_has_caught_up() {
    let mut bench = bench();
    let _first = bench.ask_at("x = $0\n").await;
    let mut run = bench.run().await;
    run.say("fo");
    settle().await;
    let second = bench.ask_at("x = foo(a$0\n").await;
    run.say("o(");
    settle().await;
    assert!(second.partials().is_empty() && !run.is_cancelled());
    run.answer("a);");
    assert_eq!(second.insert().await, ");");
    bench.no_run();
}

#[tokio::test(start_paused = true)]
async fn typing_ahead_of_something_else_asks_anew_once_that_is_clear() {
    let mut bench = bench();
    let _first = bench.ask_at("x = $0\n").await;
    let mut run = bench.run().await;
    let second = bench.ask_at("x = b$0\n").await;
    assert!(!run.is_cancelled());
    run.say("foo");
    let next = bench.run().await;
    assert!(run.is_cancelled());
    assert_eq!(next.request.prompt.left, "x = b");
    next.answer("ar;");
    assert_eq!(second.insert().await, "ar;");
}

#[tokio::test(start_paused = true)]
async fn a_mismatch_stops_the_decoding_at_once() {
    let mut bench = bench();
    let _first = bench.ask_at("x = $0\n").await;
    let mut run = bench.run().await;
    run.say("foo");
    settle().await;
    let asked = Instant::now();
    let second = bench.ask_at("x = b$0\n").await;
    assert!(run.is_cancelled());
    assert_eq!(asked.elapsed(), Duration::ZERO, "before the debounce");
    bench.run().await.answer("ar;");
    assert_eq!(second.insert().await, "ar;");
}

#[tokio::test(start_paused = true)]
async fn a_wrong_letter_taken_back_is_answered_from_memory() {
    let mut bench = bench();
    bench.suggest("x = $0\n", "foo(a);").await;
    bench.suggest("x = fi$0\n", "x();").await;
    assert_eq!(bench.ask_at("x = f$0\n").await.insert().await, "oo(a);");
    bench.no_run();
}

#[tokio::test(start_paused = true)]
async fn a_dropped_question_stops_and_the_next_goes_on_after_its_tokens() {
    let mut bench = bench();
    let first = bench.ask_at("x = $0\n").await;
    let mut run = bench.run().await;
    run.say("foo");
    run.say("(");
    settle().await;
    first.cancel().await;
    run.cancelled().await;
    let second = bench.ask_at("x = f$0\n").await;
    assert_eq!(second.partials(), ["oo("], "what is known is shown before the debounce");
    let resumed = bench.run().await;
    assert_eq!(resumed.request.resume, [0, 1]);
    assert_eq!(resumed.request.seed, run.request.seed);
    assert_eq!(resumed.request.prompt, run.request.prompt);
    resumed.answer("a);");
    assert_eq!(second.insert().await, "oo(a);");
}

#[tokio::test(start_paused = true)]
async fn a_question_right_behind_a_dropped_one_resumes_too() {
    let mut bench = bench();
    let (completer, settings) = (bench.completer.clone(), bench.settings.clone());
    let mut hear = |_: &Suggestion| ();
    let run = async {
        let mut run = bench.run().await;
        run.say("foo");
        settle().await;
        run.say("(");
        run
    };
    // Dropped before the last token is taken out of the channel.
    tokio::select! {
        biased;
        answer = completer.complete(query("x = $0\n"), &settings, &mut hear) => panic!("{answer:?}"),
        _run = run => (),
    }
    let second = bench.ask_at("x = fo$0\n").await;
    let resumed = bench.run().await;
    assert_eq!(resumed.request.resume, [0, 1], "no token is lost");
    resumed.answer("a);");
    assert_eq!(second.insert().await, "o(a);");
}

#[tokio::test(start_paused = true)]
async fn what_a_run_releases_only_because_it_ends_is_not_counted_twice() {
    let mut bench = bench();
    let first = bench.ask_at("x = $0\n").await;
    let mut run = bench.run().await;
    run.say("foo");
    // The engine lets go of text that it held back, without tokens, when another request takes over.
    run.release("(");
    run.end(Finish::Superseded);
    assert!(matches!(first.answer().await, Answer::Superseded));
    let second = bench.ask_at("x = $0\n").await;
    let resumed = bench.run().await;
    resumed.answer("(a);");
    assert_eq!(second.insert().await, "foo(a);");
}

#[tokio::test(start_paused = true)]
async fn whole_lines_are_answered_early_and_the_rest_comes_after_they_are_accepted() {
    let mut bench = bench();
    let early_after = Some(Duration::from_secs(1));
    let first = bench.ask(Query { early_after, ..query("$0\n") }).await;
    let mut run = bench.run().await;
    run.say("a();\nb(");
    settle().await;
    assert!(!first.is_answered(), "there is time left");
    advance(Duration::from_millis(1001)).await;
    let Answer::Suggestion(suggestion) = first.answer().await else { panic!("lines are there") };
    assert_eq!((suggestion.insert.as_str(), suggestion.partial), ("a();", true));
    run.say(");");
    settle().await;
    let second = bench.ask_at("a();$0\n").await;
    bench.no_run();
    run.end(Finish::EndOfText);
    assert_eq!(second.insert().await, "\nb();", "the run went on, nobody asked the models again");
}

#[tokio::test(start_paused = true)]
async fn an_early_answer_waits_for_the_first_whole_line() {
    let mut bench = bench();
    let early_after = Some(Duration::from_secs(1));
    let first = bench.ask(Query { early_after, ..query("$0\n") }).await;
    let mut run = bench.run().await;
    run.say("a(");
    advance(Duration::from_secs(5)).await;
    settle().await;
    assert!(!first.is_answered(), "half a line is no answer");
    run.say(");\n");
    run.say("b");
    assert_eq!(first.insert().await, "a();");
}

#[tokio::test(start_paused = true)]
async fn a_newer_question_ends_the_older_at_once() {
    let mut bench = bench();
    let first = bench.ask_at("x = $0\n").await;
    let second = bench.ask_at("y = $0\n").await;
    assert!(first.is_answered());
    assert!(matches!(first.answer().await, Answer::Superseded));
    let run = bench.run().await;
    assert_eq!(run.request.prompt.left, "y = ");
    run.answer("1;");
    assert_eq!(second.insert().await, "1;");
    bench.no_run();
}

#[tokio::test(start_paused = true)]
async fn fast_typing_asks_the_models_once() {
    let mut bench = bench();
    let mut pending = Vec::new();
    for text in ["x$0\n", "xy$0\n", "xyz$0\n"] {
        pending.push(bench.ask_at(text).await);
        advance(Duration::from_millis(50)).await;
        settle().await;
        bench.no_run();
    }
    advance(Duration::from_millis(25)).await;
    settle().await;
    let run = bench.run().await;
    assert_eq!(run.request.prompt.left, "xyz");
    run.answer(" = 1;");
    assert_eq!(pending.pop().unwrap().insert().await, " = 1;");
    for older in pending {
        assert!(matches!(older.answer().await, Answer::Superseded));
    }
}

#[tokio::test(start_paused = true)]
async fn asking_by_hand_does_not_wait() {
    let mut bench = bench();
    let started = Instant::now();
    let _pending = bench.ask(Query { trigger: Trigger::Invoked, ..query("x$0\n") }).await;
    bench.run().await;
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn documents_do_not_disturb_each_other() {
    let mut bench = bench();
    let other = |text| Query { document: DocumentId("file:///w/b.c".into()), ..query(text) };
    let first = bench.ask_at("x = $0\n").await;
    let one = bench.run().await;
    let second = bench.ask(other("x = $0\n")).await;
    let two = bench.run().await;
    assert!(!one.is_cancelled() && !first.is_answered());
    one.answer("1;");
    two.answer("2;");
    assert_eq!((first.insert().await, second.insert().await), ("1;".into(), "2;".into()));
    assert_eq!(bench.ask(other("x = 2$0\n")).await.insert().await, ";");
    assert_eq!(bench.ask_at("x = 1$0\n").await.insert().await, ";");
}

#[tokio::test(start_paused = true)]
async fn models_that_are_not_ready_are_a_reason() {
    let mut bench = bench();
    let pending = bench.ask_at("x = $0\n").await;
    bench.run().await.end(Finish::NotReady("loading the models".into()));
    let reason = Reason::NotReady("loading the models".into());
    assert_eq!(nothing(pending.answer().await), reason);
    assert_eq!(bench.completer.last_reason(), Some(reason));
    assert_eq!(insert_of(&bench.suggest("x = $0\n", "1;").await), "1;", "asked again");
}

#[tokio::test(start_paused = true)]
async fn failing_models_are_a_reason_unless_there_is_text() {
    let mut bench = bench();
    let pending = bench.ask_at("x = $0\n").await;
    bench.run().await.end(Finish::Failed("broken".into()));
    assert_eq!(nothing(pending.answer().await), Reason::Failed("broken".into()));
    let pending = bench.ask_at("x = $0\n").await;
    let mut run = bench.run().await;
    run.say("1;");
    run.end(Finish::Failed("broken".into()));
    assert_eq!(pending.insert().await, "1;");
}

#[tokio::test(start_paused = true)]
async fn what_is_there_when_the_time_is_up_is_shown() {
    let mut bench = bench();
    let pending = bench.ask_at("x = $0\n").await;
    let mut run = bench.run().await;
    run.say("foo(");
    run.end(Finish::TimeBudget);
    assert_eq!(pending.insert().await, "foo(");
}

#[tokio::test(start_paused = true)]
async fn what_the_buffer_already_says_is_not_suggested() {
    let mut bench = bench();
    assert_eq!(insert_of(&bench.suggest("f($0);\n", "a, b);").await), "a, b");
    let answer = bench.suggest("  ret$0\n  return x;\n", "urn x;").await;
    assert_eq!(nothing(answer), Reason::Duplicate);
    let pending = bench.ask_at("  y$0\n  return x;\n").await;
    bench.run().await.end(Finish::StopRule(StopReason::Repetition));
    assert_eq!(nothing(pending.answer().await), Reason::Duplicate);
}

#[tokio::test(start_paused = true)]
async fn a_replaced_closer_is_told_and_typed_through() {
    let mut bench = bench();
    let answer = bench.suggest("f($0)\n", "a, b);").await;
    let Answer::Suggestion(suggestion) = answer else { panic!("{answer:?}") };
    assert_eq!(
        (suggestion.insert.as_str(), suggestion.replace),
        ("a, b);", ByteIdx(2)..ByteIdx(3))
    );
    assert_eq!(bench.ask_at("f(a, b)$0\n").await.insert().await, ";");
    bench.no_run();
}

#[tokio::test(start_paused = true)]
async fn brackets_that_the_editor_closes_do_not_end_a_suggestion() {
    let mut bench = bench();
    bench.suggest("x = $0\n", "foo(a, b);").await;
    assert_eq!(bench.ask_at("x = foo($0)\n").await.insert().await, "a, b);");
    assert_eq!(bench.ask_at("x = foo(a, $0)\n").await.insert().await, "b);");
    bench.no_run();
}

#[tokio::test(start_paused = true)]
async fn an_empty_answer_is_remembered() {
    let mut bench = bench();
    assert_eq!(nothing(bench.suggest("x;$0\n", "").await), Reason::Empty);
    assert_eq!(nothing(bench.ask_at("x;$0\n").await.answer().await), Reason::Empty);
    bench.no_run();
}

#[tokio::test(start_paused = true)]
async fn secret_files_never_reach_the_models() {
    let mut bench = bench();
    assert_eq!(insert_of(&bench.suggest("x = $0\n", "1;").await), "1;");
    for (id, path) in [
        ("file:///w/.env", Some("/w/.env")),
        ("file:///home/x/.ssh/id_rsa", Some("/home/x/.ssh/id_rsa")),
        ("untitled:/w/secrets.yaml", None),
    ] {
        let query = Query {
            document: DocumentId(id.into()),
            path: path.map(Into::into),
            trigger: Trigger::Invoked,
            ..query("PASSWORD=$0\n")
        };
        let answer = bench.ask(query).await.answer().await;
        assert!(matches!(nothing(answer), Reason::Excluded(_)));
    }
    bench.settings.excluded_files.push("a.c".into());
    let answer = bench.ask_at("x = $0\n").await.answer().await;
    assert_eq!(nothing(answer), Reason::Excluded("a.c".into()), "the settings have changed");
    bench.no_run();
}

#[tokio::test(start_paused = true)]
async fn a_question_that_is_refused_still_ends_the_one_before() {
    let mut bench = bench();
    let first = bench.ask_at("x = $0\n").await;
    let run = bench.run().await;
    let second = bench.ask_at("$0x = \n").await;
    assert_eq!(nothing(second.answer().await), Reason::MidLine);
    assert!(matches!(first.answer().await, Answer::Superseded));
    run.cancelled().await;
}

#[tokio::test(start_paused = true)]
async fn an_edit_stops_only_what_no_longer_agrees() {
    let mut bench = bench();
    let pending = bench.ask_at("x = $0\n").await;
    let mut run = bench.run().await;
    run.say("foo(");
    settle().await;
    let id = query("$0").document;
    let edited = |text: &str| bench.completer.edited(&id, &query(&format!("{text}$0")).snapshot);
    edited("x = f\n");
    edited("x = foo()\n");
    edited("x = foo(ab\n");
    assert!(!run.is_cancelled());
    edited("x = g\n");
    run.cancelled().await;
    assert!(matches!(pending.answer().await, Answer::Superseded));
}

#[tokio::test(start_paused = true)]
async fn a_suggestion_is_accepted_line_by_line() {
    let mut bench = bench();
    let body = "\n    a();\n    b();\n}";
    assert_eq!(insert_of(&bench.suggest("int f() {$0\n", body).await), body);
    for (text, rest) in [
        ("int f() {\n$0\n", "    a();\n    b();\n}"),
        ("int f() {\n    $0\n", "a();\n    b();\n}"),
        ("int f() {\n    a();\n    $0\n", "b();\n}"),
    ] {
        assert_eq!(bench.ask_at(text).await.insert().await, rest);
    }
    bench.no_run();
}

#[tokio::test(start_paused = true)]
async fn a_buffer_with_carriage_returns_is_typed_through_too() {
    let mut bench = bench();
    bench.suggest("int f() {$0\r\n", "\r\n    a();\r\n}").await;
    let pending = bench.ask_at("int f() {\r\n    a();$0\r\n").await;
    assert_eq!(pending.insert().await, "\n}");
    bench.no_run();
}

#[tokio::test(start_paused = true)]
async fn a_suggestion_in_the_buffer_s_style_is_typed_through() {
    let mut bench = bench();
    let answer = bench.suggest("\tif (x) {$0\n\ty;\n", "\n        z();\n    }").await;
    assert_eq!(insert_of(&answer), "\n\t\tz();\n\t}");
    let pending = bench.ask_at("\tif (x) {\n\t\tz();$0\n\ty;\n").await;
    assert_eq!(pending.insert().await, "\n\t}");
    bench.no_run();
}

#[tokio::test(start_paused = true)]
async fn partial_suggestions_grow_and_the_answer_has_their_id() {
    let mut bench = bench();
    let pending = bench.ask_at("x = $0;\n").await;
    let mut run = bench.run().await;
    for text in ["foo", "", "(a", ")", ";"] {
        run.say(text);
        settle().await;
    }
    assert_eq!(pending.partials(), ["foo", "foo(a", "foo(a)"]);
    run.end(Finish::EndOfText);
    let Answer::Suggestion(suggestion) = pending.answer().await else { panic!("no suggestion") };
    assert_eq!(suggestion.insert, "foo(a)");
    let explanation = bench.completer.explain(suggestion.id).expect("it is new");
    assert_eq!((explanation.text.as_str(), explanation.tokens.len()), ("foo(a);", 5));
    assert_eq!(explanation.finish, Some(Finish::EndOfText));
    assert_eq!(explanation.stats.decoded_tokens, 7);
}

#[tokio::test(start_paused = true)]
async fn ids_are_unique_and_the_last_ones_are_explained() {
    let mut bench = bench();
    let mut ids = Vec::new();
    for line in 0..70 {
        let answer = bench.suggest(&format!("x{line} = $0\n"), "1;").await;
        let Answer::Suggestion(suggestion) = answer else { panic!("{answer:?}") };
        ids.push(suggestion.id);
    }
    let explained = ids.iter().filter(|id| bench.completer.explain(**id).is_some()).count();
    assert_eq!(explained, 64);
    bench.completer.shown(ids[69]);
    bench.completer.accepted(ids[69]);
    bench.completer.accepted(ids[69]);
    let feedback = bench.completer.feedback();
    assert_eq!((feedback.suggested, feedback.shown, feedback.accepted), (70, 1, 1));
    ids.dedup();
    assert_eq!(ids.len(), 70);
}

#[tokio::test(start_paused = true)]
async fn a_selected_menu_entry_is_extended() {
    let mut bench = bench();
    let selected = Some((ByteIdx(4)..ByteIdx(7), "console".to_owned()));
    let pending = bench.ask(Query { selected, ..query("x = con$0;\n") }).await;
    let run = bench.run().await;
    assert_eq!(run.request.prompt.left, "x = console");
    run.answer(".log(a);");
    let Answer::Suggestion(suggestion) = pending.answer().await else { panic!("no suggestion") };
    assert_eq!(suggestion.insert, "console.log(a)");
    assert_eq!(suggestion.replace, ByteIdx(4)..ByteIdx(7));
    assert_eq!(bench.ask_at("x = console$0;\n").await.insert().await, ".log(a)");
    let selected = Some((ByteIdx(0)..ByteIdx(99), "console".to_owned()));
    let answer = bench.ask(Query { selected, ..query("x = con$0;\n") }).await.answer().await;
    assert_eq!(nothing(answer), Reason::Selected);
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_does_not_begin_with_what_is_typed_is_not_extended() {
    let mut bench = bench();
    for entry in ["Console", "log", "", "my_console", "con\nsole"] {
        let selected = Some((ByteIdx(4)..ByteIdx(7), entry.to_owned()));
        let answer = bench.ask(Query { selected, ..query("x = con$0;\n") }).await.answer().await;
        assert_eq!(nothing(answer), Reason::Selected, "{entry}");
        bench.no_run();
    }
    for (entry, decoded, insert) in [("con", "sole;", "console"), ("connect", "(a);", "connect(a)")]
    {
        let selected = Some((ByteIdx(4)..ByteIdx(7), entry.to_owned()));
        let pending = bench.ask(Query { selected, ..query("x = con$0;\n") }).await;
        bench.run().await.answer(decoded);
        assert_eq!(pending.insert().await, insert);
    }
}

/// A question in a document of another language.
fn query_in(language: &str, text: &str) -> Query {
    let query = query(text);
    let snapshot = Document::new(&text.replacen("$0", "", 1), 1, language);
    Query { snapshot, ..query }
}

#[tokio::test(start_paused = true)]
async fn a_suggestion_comes_by_itself_between_what_an_editor_has_closed() {
    for (language, text, decoded, insert, replaced) in [
        ("html", "<div>$0</div>\n", "a</div>", "a", 0),
        ("javascript", "/** $0 */\n", "Adds.\n", "Adds.", 0),
        ("rust", "foo($0)?;\n", "a);", "a", 0),
        ("go", "run($0); // go\n", "a) {", "a", 0),
        ("vue", "<p>{{ $0 }}</p>\n", "a }}", "a", 0),
        ("c", "x = $0   \n", "f();", "f();", 3),
        ("c", "f(g($0))\n", "a) + b", "a) + b", 1),
    ] {
        let mut bench = bench();
        let pending = bench.ask(query_in(language, text)).await;
        bench.run().await.answer(decoded);
        let answer = pending.answer().await;
        let Answer::Suggestion(suggestion) = answer else { panic!("{text} {answer:?}") };
        let n_replaced = suggestion.replace.end.0 - suggestion.replace.start.0;
        assert_eq!((suggestion.insert.as_str(), n_replaced), (insert, replaced), "{text}");
        // Typed to its end it leaves nothing of what it replaced, and no model is asked again.
        let typed = &insert[..1];
        let pending = bench.ask(query_in(language, &text.replacen("$0", &format!("{typed}$0"), 1)));
        let pending = pending.await;
        if insert.len() > 1 {
            assert_eq!(pending.insert().await, insert[1..], "{text}");
            bench.no_run();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_recipe_keeps_its_tab_while_it_is_decoded() {
    let mut bench = bench();
    let text = "SRC = a \\\n    b\n\nall: $(SRC)$0\n";
    let pending = bench.ask(query_in("makefile", text)).await;
    let mut run = bench.run().await;
    run.say("\n    gcc");
    settle().await;
    assert_eq!(pending.partials(), ["\n\tgcc"]);
    run.answer(" -o x\n\tls");
    assert_eq!(pending.insert().await, "\n\tgcc -o x\n\tls");
}

#[tokio::test(start_paused = true)]
async fn other_settings_ask_anew() {
    let mut bench = bench();
    bench.suggest("x = $0\n", "1;").await;
    bench.settings.alpha = Some(0.9);
    let pending = bench.ask_at("x = $0\n").await;
    let run = bench.run().await;
    assert_eq!(run.request.decoding.alpha, 0.9);
    run.answer("2;");
    assert_eq!(pending.insert().await, "2;");
}

#[tokio::test(start_paused = true)]
async fn the_extent_is_the_settings_and_the_place() {
    let mut bench = bench();
    for (text, multi_line, max_lines) in [
        ("x$0\n", MultiLine::Auto, 12),
        ("f($0)\n", MultiLine::Auto, 1),
        ("f($0)\n", MultiLine::Always, 12),
        ("x$0\n", MultiLine::Never, 1),
    ] {
        bench.settings.multi_line = multi_line;
        let pending = bench.ask_at(text).await;
        assert_eq!(bench.run().await.request.stop.max_lines, max_lines, "{text}");
        pending.cancel().await;
    }
}

#[tokio::test(start_paused = true)]
async fn closing_a_document_ends_its_question() {
    let mut bench = bench();
    let pending = bench.ask_at("x = $0\n").await;
    let run = bench.run().await;
    bench.completer.forget(&query("$0").document);
    assert!(matches!(pending.answer().await, Answer::Superseded));
    run.cancelled().await;
    assert_eq!(insert_of(&bench.suggest("x = $0\n", "1;").await), "1;");
}

fn path_of(run: &script::Run) -> Option<String> {
    run.request.prompt.header.as_ref().map(|header| header.path.clone())
}

#[tokio::test(start_paused = true)]
async fn the_models_are_told_the_path_and_the_language() {
    let mut bench = bench();
    for (name, expected) in [
        (Some("src/a.c"), "src/a.c"),
        (Some("src\\a\n.c"), "src/a.c"),
        (Some("ghp_16C7e42F292c6912E7710c838347Ae178B4a/a.c"), "a.c"),
        (Some("5d41402abc4b2a76b9719d911017c592.c"), "untitled.c"),
        (None, "untitled.c"),
    ] {
        let document = DocumentId(format!("file:///w/{name:?}").into());
        let query = Query { document, name: name.map(str::to_owned), ..query("x = $0\n") };
        let _pending = bench.ask(query).await;
        assert_eq!(path_of(&bench.run().await).as_deref(), Some(expected), "{name:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_path_is_told_only_if_it_may_be() {
    let mut bench = bench();
    bench.settings.path_in_prompt = false;
    let _first = bench.ask_at("x = $0\n").await;
    let without = bench.run().await;
    assert_eq!(path_of(&without), None);
    bench.settings.path_in_prompt = true;
    let _second = bench.ask_at("x = $0\n").await;
    let with = bench.run().await;
    assert_eq!(path_of(&with).as_deref(), Some("a.c"));
    assert_ne!(with.request.seed, without.request.seed);
}

#[tokio::test(start_paused = true)]
async fn a_suggestion_of_another_name_is_not_remembered() {
    let mut bench = bench();
    assert_eq!(insert_of(&bench.suggest("x = $0\n", "1;").await), "1;");
    let renamed = Query { name: Some("src/b.c".to_owned()), ..query("x = $0\n") };
    let pending = bench.ask(renamed).await;
    let run = bench.run().await;
    assert_eq!(path_of(&run).as_deref(), Some("src/b.c"));
    run.answer("2;");
    assert_eq!(insert_of(&pending.answer().await), "2;");
}
