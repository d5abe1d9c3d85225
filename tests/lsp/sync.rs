//! What the user has typed is what the models see, whatever the client sends.

use serde_json::{Value, json};

use super::test_server::{TestServer, URI, at, edit};

const INLINE: &str = "textDocument/inlineCompletion";

#[tokio::test]
async fn edits_reach_the_prompt() {
    let (mut server, mut script) = TestServer::start("a = 1\r\nb = \r\n").await;
    server.send(&[edit(2, 1, 0..1, "ü")]).await;
    server.send(&[edit(5, 0, 4..5, "22")]).await;
    let id = server.request(INLINE, at(1, 5)).await;
    let run = script.run().await;
    assert_eq!(run.before_cursor(), "a = 22\nü = ");
    run.done(cosec_ls::engine::Finish::EndOfText);
    assert_eq!(server.result(id).await, json!({ "items": [] }));
    server.finish().await;
}

/// Handlers start in the order of arrival: an edit takes effect before a request that came after
/// it, and not before one that came before it. A hundred keystrokes arrive in one write.
#[tokio::test]
async fn messages_take_effect_in_order() {
    let (mut server, mut script) = TestServer::start("").await;
    let messages: Vec<Value> = (0..100)
        .flat_map(|key| {
            let params = at(0, key + 1);
            let ask = json!({ "jsonrpc": "2.0", "id": key, "method": INLINE, "params": params });
            [edit(2 + key as i32, 0, key..key, "x"), ask]
        })
        .collect();
    server.send(&messages).await;
    for key in 0..99 {
        assert_eq!(server.error(key).await, -32800);
    }
    let last = loop {
        let run = script.run().await;
        let typed = run.before_cursor();
        assert!(typed.chars().all(|typed| typed == 'x'), "{typed}");
        if typed.len() == 100 {
            break run;
        }
    };
    last.text("yz");
    last.done(cosec_ls::engine::Finish::EndOfText);
    assert_eq!(server.result(99).await["items"][0]["range"]["start"]["character"], 100);
    server.finish().await;
}

#[tokio::test]
async fn a_document_that_is_not_open_has_no_suggestions() {
    let (mut server, script) = TestServer::start("").await;
    server.notify("textDocument/didClose", json!({ "textDocument": { "uri": URI } })).await;
    server.notify("textDocument/didClose", json!({ "textDocument": { "uri": URI } })).await;
    server.send(&[edit(2, 0, 0..0, "x")]).await;
    assert_eq!(server.call(INLINE, at(0, 0)).await, json!({ "items": [] }));
    assert_eq!(server.status().await["lastEmptyReason"], "the document is not open");
    assert_eq!(script.forgotten.len(), 1);
    server.finish().await;
}

#[tokio::test]
async fn after_an_edit_that_does_not_fit_only_the_whole_text_helps() {
    let (mut server, mut script) = TestServer::start("x = ").await;
    server.send(&[edit(2, 7, 0..0, "y"), edit(3, 0, 0..1, "y")]).await;
    assert_eq!(server.call(INLINE, at(0, 4)).await, json!({ "items": [] }));
    let reason = "the document is out of step with the editor; reopen it";
    assert_eq!(server.status().await["lastEmptyReason"], reason);
    let params = json!({
        "textDocument": { "uri": URI, "version": 4 },
        "contentChanges": [{ "text": "z = " }],
    });
    server.notify("textDocument/didChange", params).await;
    let id = server.request(INLINE, at(0, 4)).await;
    assert_eq!(script.say("1").await.prompt.left, "z = ");
    server.result(id).await;
    server.finish().await;
}

#[tokio::test]
async fn saving_and_folders_are_taken_note_of() {
    let (mut server, _script) = TestServer::start("").await;
    let document = json!({ "textDocument": { "uri": URI } });
    server.notify("textDocument/didSave", document.clone()).await;
    server.notify("textDocument/didFocus", document).await;
    server.notify("textDocument/didFocus", json!({})).await;
    let event = json!({ "event": { "added": [], "removed": [] } });
    server.notify("workspace/didChangeWorkspaceFolders", event).await;
    server.status().await;
    server.finish().await;
}

#[tokio::test]
async fn a_file_of_five_megabytes_is_followed_and_answered_at_once() {
    let line = "value = compute(41) + 1  # 𝒳\r\n";
    let (mut server, mut script) = TestServer::start(&line.repeat(5_000_000 / line.len())).await;
    server.status().await;
    let started = std::time::Instant::now();
    for version in 2..200 {
        server.send(&[edit(version, 100_000, 0..0, "x")]).await;
    }
    let id = server.request(INLINE, at(100_000, 9999)).await;
    let run = script.run().await;
    assert!(run.request.prompt.left.starts_with("xxx"));
    assert!(run.before_cursor().len() < 50_000);
    run.done(cosec_ls::engine::Finish::EndOfText);
    server.result(id).await;
    // Far more than it takes, for slow machines; a copy of the text per edit takes longer.
    let elapsed = started.elapsed();
    assert!(elapsed < std::time::Duration::from_secs(5), "{elapsed:?}");
    server.finish().await;
}
