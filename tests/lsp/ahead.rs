//! Hints: where the cursor comes to rest, and nothing that may not be completed. The clock is paused, so that a rest is
//! over when nothing else can happen.

use std::time::Duration;

use cosec_ls::config::Mode;
use cosec_ls::engine::{Finish, Hint, Reach};
use serde_json::{Value, json};
use tokio::time::advance;

use super::scripted_backend::Script;
use super::test_server::{TestServer, URI, at, edit, with};

const INLINE: &str = "textDocument/inlineCompletion";
const PUSH: &str = "workspace/didChangeConfiguration";

/// More than a rest needs.
const LONG: Duration = Duration::from_secs(60);

/// A server with these settings and an open document.
async fn start(settings: Value, text: &str) -> (TestServer, Script) {
    let general = json!({ "positionEncodings": ["utf-8"] });
    let client = json!({ "capabilities": { "general": general } });
    TestServer::with(with(client, json!({ "initializationOptions": settings })), text).await
}

/// Lets the cursor rest, once everything that was sent has been handled; there is no hint.
async fn no_hint(server: &mut TestServer, script: &mut Script) {
    server.status().await;
    advance(LONG).await;
    server.status().await;
    assert!(script.has_no_hint(), "a hint came");
}

/// A server whose document was opened and looked at.
async fn rested(text: &str) -> (TestServer, Script) {
    let (server, mut script) = start(json!({}), text).await;
    script.hint().await;
    (server, script)
}

fn parts(hint: &Hint) -> (&str, &str, &str, Reach) {
    (&hint.prompt.above, &hint.prompt.left, &hint.prompt.suffix, hint.reach)
}

#[tokio::test(start_paused = true)]
async fn an_opened_document_is_evaluated_from_its_start() {
    let (mut server, mut script) = start(json!({ "mode": "off" }), "a = 1\nb = 2\n").await;
    let hint = script.hint().await;
    assert_eq!(parts(&hint), ("a = 1\nb = 2\n", "", "", Reach::Head));
    assert_eq!((&*hint.document.0, hint.mode), (URI, Mode::Off));
    no_hint(&mut server, &mut script).await;
    server.finish().await;
}

#[tokio::test(start_paused = true)]
async fn of_a_long_document_nothing_is_known_when_it_is_opened() {
    let text = "x = 1\n".repeat(20);
    let (mut server, mut script) = start(json!({ "prefixTokens": 20 }), &text).await;
    no_hint(&mut server, &mut script).await;
    server.send(&[edit(2, 19, 5..5, "0")]).await;
    assert_eq!(script.hint().await.reach, Reach::Cursor);
    server.finish().await;
}

#[tokio::test(start_paused = true)]
async fn an_edit_says_where_the_cursor_rests() {
    let (mut server, mut script) = rested("def f(x):\n    retrn\ny = 1\n").await;
    server.send(&[edit(2, 1, 7..7, "u"), edit(3, 1, 10..10, " x"), edit(4, 1, 12..12, ".")]).await;
    let hint = script.hint().await;
    assert_eq!(parts(&hint), ("def f(x):\n", "    return x.", "\ny = 1\n", Reach::Cursor));
    no_hint(&mut server, &mut script).await;
    server.finish().await;
}

#[tokio::test(start_paused = true)]
async fn in_the_middle_of_a_line_only_the_lines_above_are_known() {
    let (mut server, mut script) = rested("a = 1\nf(x, z)\n").await;
    server.send(&[edit(2, 1, 4..4, " y,")]).await;
    let hint = script.hint().await;
    assert_eq!((hint.prompt.above.as_str(), hint.reach), ("a = 1\n", Reach::Above));
    server.finish().await;
}

#[tokio::test(start_paused = true)]
async fn several_changes_at_once_say_nothing_of_the_cursor() {
    let (mut server, mut script) = rested("a = 1\nb = 2\n").await;
    let here = |line: u32| json!({ "line": line, "character": 0 });
    let change =
        |line| json!({ "range": { "start": here(line), "end": here(line) }, "text": "# " });
    for (version, changes) in [(2, json!([change(1), change(0)])), (3, json!([{ "text": "c" }]))] {
        let document = json!({ "uri": URI, "version": version });
        let params = json!({ "textDocument": document, "contentChanges": changes });
        server.notify("textDocument/didChange", params).await;
        no_hint(&mut server, &mut script).await;
    }
    server.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_question_needs_no_hint() {
    let (mut server, mut script) = rested("x = ").await;
    server.send(&[edit(2, 0, 4..4, "y")]).await;
    let id = server.request(INLINE, at(0, 5)).await;
    script.say("(z)").await;
    assert_eq!(server.result(id).await["items"][0]["insertText"], "(z)");
    no_hint(&mut server, &mut script).await;
    server.finish().await;
}

#[tokio::test(start_paused = true)]
async fn a_question_that_got_nothing_shows_the_cursor() {
    let (mut server, mut script) = rested("a = 1\nb = f(c)\n").await;
    assert_eq!(server.call(INLINE, at(1, 6)).await, json!({ "items": [] }));
    let hint = script.hint().await;
    assert_eq!((hint.prompt.left.as_str(), hint.reach), ("b = f(", Reach::Above));
    let id = server.request(INLINE, at(0, 5)).await;
    script.run().await.done(Finish::NotReady("loading".to_owned()));
    server.result(id).await;
    assert_eq!(parts(&script.hint().await), ("", "a = 1", "\nb = f(c)\n", Reach::Cursor));
    server.finish().await;
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_completed_is_not_evaluated_either() {
    let off = [
        (json!({ "enabled": false }), URI),
        (json!({ "prefillAhead": false }), URI),
        (json!({ "languages": { "python": false } }), URI),
        (json!({ "schemes": ["untitled"] }), URI),
        (json!({ "excludedFiles": ["**/main.py"] }), URI),
        (json!({}), "file:///project/.env"),
        (json!({}), "file:///home/me/.ssh/config"),
        (json!({}), "git:/project/main.py"),
    ];
    for (settings, uri) in off {
        let (mut server, mut script) = start(settings, "x = 1\n").await;
        server.open(uri, "SECRET=1\n").await;
        no_hint(&mut server, &mut script).await;
        let document = json!({ "uri": uri, "version": 2 });
        let end = json!({ "line": 0, "character": 8 });
        let change = json!({ "range": { "start": end, "end": end }, "text": "2" });
        let params = json!({ "textDocument": document, "contentChanges": [change] });
        server.notify("textDocument/didChange", params).await;
        no_hint(&mut server, &mut script).await;
        let ask = with(at(0, 9), json!({ "textDocument": { "uri": uri } }));
        if uri != URI {
            server.call(INLINE, ask).await;
            no_hint(&mut server, &mut script).await;
        }
        server.finish().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_binary_or_closed_document_is_not_evaluated() {
    let (mut server, mut script) = start(json!({}), "\u{7f}ELF\u{0}").await;
    no_hint(&mut server, &mut script).await;
    server.open("file:///project/other.py", "x").await;
    let closed = json!({ "textDocument": { "uri": "file:///project/other.py" } });
    server.notify("textDocument/didClose", closed).await;
    no_hint(&mut server, &mut script).await;
    server.finish().await;
}

#[tokio::test(start_paused = true)]
async fn who_asks_by_hand_is_helped_too() {
    let (server, mut script) = start(json!({ "automatic": false }), "x = 1\n").await;
    assert_eq!(script.hint().await.reach, Reach::Head);
    server.finish().await;
}

#[tokio::test(start_paused = true)]
async fn changed_settings_are_asked_again() {
    let (mut server, mut script) = rested("x = 1\n").await;
    let exclude = json!({ "cosec-ls": { "excludedFiles": ["*.py"] } });
    server.notify(PUSH, json!({ "settings": exclude })).await;
    no_hint(&mut server, &mut script).await;
    let allow = json!({ "cosec-ls": { "prefixTokens": 512 } });
    server.notify(PUSH, json!({ "settings": allow })).await;
    assert_eq!(script.hint().await.budget.prefix_tokens, 512);
    server.finish().await;
}

#[tokio::test(start_paused = true)]
async fn switching_suggestions_off_drops_a_hint_that_waits() {
    let (mut server, mut script) = rested("x = 1\n").await;
    let toggle = json!({ "command": "cosec-ls.toggle", "arguments": [] });
    server.call("workspace/executeCommand", toggle.clone()).await;
    assert_eq!(script.n_dropped_hints(), 1);
    no_hint(&mut server, &mut script).await;
    server.call("workspace/executeCommand", toggle).await;
    assert_eq!(script.hint().await.reach, Reach::Head);
    server.finish().await;
}
