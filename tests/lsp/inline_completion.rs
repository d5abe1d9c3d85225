//! Ghost text: shapes, ranges and reasons for silence.

use cosec_ls::engine::Finish;
use expect_test::expect;
use serde_json::json;

use super::test_server::{TestServer, URI, at, with};

const INLINE: &str = "textDocument/inlineCompletion";

#[tokio::test]
async fn an_item_has_text_range_and_command() {
    let (mut server, mut script) = TestServer::start("x = ").await;
    let id = server.request(INLINE, at(0, 4)).await;
    script.say("compute(1)").await;
    let mut result = server.result(id).await;
    let suggestion = result["items"][0]["command"]["arguments"][0]["id"].take();
    assert!(suggestion.is_u64());
    expect![[r#"
        {
          "items": [
            {
              "command": {
                "arguments": [
                  {
                    "id": null
                  }
                ],
                "command": "cosec-ls.didAccept",
                "title": "Accept suggestion"
              },
              "insertText": "compute(1)",
              "range": {
                "end": {
                  "character": 4,
                  "line": 0
                },
                "start": {
                  "character": 4,
                  "line": 0
                }
              }
            }
          ]
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&result).unwrap());
    let accept = json!({ "command": "cosec-ls.didAccept", "arguments": [{ "id": suggestion }] });
    assert_eq!(server.call("workspace/executeCommand", accept).await, json!(null));
    server.finish().await;
}

#[tokio::test]
async fn columns_count_what_was_agreed() {
    for (encoding, column) in [("utf-8", 9), ("utf-16", 7), ("utf-32", 6)] {
        let general = json!({ "positionEncodings": [encoding] });
        let params = json!({ "capabilities": { "general": general } });
        let (mut server, mut script) = TestServer::with(params, "\n𝒳 = 1 + ").await;
        let column = column + 2;
        let id = server.request(INLINE, at(1, column)).await;
        assert_eq!(script.say("1").await.prompt.left, "𝒳 = 1 + ");
        let range = server.result(id).await["items"][0]["range"].take();
        let place = json!({ "line": 1, "character": column });
        assert_eq!(range, json!({ "start": place, "end": place }), "{encoding}");
        server.finish().await;
    }
}

#[tokio::test]
async fn positions_that_do_not_exist_are_moved() {
    for (line, character, before) in
        [(0, 99, "y = 1"), (1, 5, "y = 1\nx = "), (1, 99, "y = 1\nx = 𝒳"), (9, 0, "y = 1\nx = 𝒳")]
    {
        let utf16 = json!({ "capabilities": {} });
        let (mut server, mut script) = TestServer::with(utf16, "y = 1\r\nx = 𝒳").await;
        let invoked = json!({ "context": { "triggerKind": 1 } });
        let id = server.request(INLINE, with(at(line, character), invoked)).await;
        let run = script.run().await;
        assert_eq!(run.before_cursor(), before);
        run.done(Finish::EndOfText);
        assert_eq!(server.result(id).await, json!({ "items": [] }));
        server.finish().await;
    }
}

#[tokio::test]
async fn an_empty_file_is_a_place_to_begin() {
    let (mut server, mut script) = TestServer::start("").await;
    let id = server.request(INLINE, at(0, 0)).await;
    assert_eq!(script.say("import os").await.prompt.left, "");
    assert_eq!(server.result(id).await["items"][0]["insertText"], "import os");
    server.finish().await;
}

#[tokio::test]
async fn line_ends_are_newlines_whatever_the_file_has() {
    let (mut server, mut script) = TestServer::start("def f(x):\r\n    \r\ny = 1\r\n").await;
    let id = server.request(INLINE, at(1, 4)).await;
    let request = script.say("if x:\n        return 1").await;
    assert_eq!(request.prompt.above, "def f(x):\n");
    assert_eq!(request.prompt.suffix, "\ny = 1\n");
    let item = server.result(id).await["items"][0].take();
    assert_eq!(item["insertText"], "if x:\n        return 1");
    let place = json!({ "line": 1, "character": 4 });
    assert_eq!(item["range"], json!({ "start": place, "end": place }));
    server.finish().await;
}

#[tokio::test]
async fn silence_is_an_empty_list_and_has_a_reason() {
    let (mut server, mut script) = TestServer::start("x = ").await;
    let reasons = [
        (Finish::NotReady("the models are loading".to_owned()), "the models are loading"),
        (Finish::Failed("out of memory".to_owned()), "out of memory"),
        (Finish::EndOfText, "the model has nothing to add here"),
    ];
    for (finish, reason) in reasons {
        let invoked = json!({ "context": { "triggerKind": 1 } });
        let id = server.request(INLINE, with(at(0, 4), invoked)).await;
        let is_failure = matches!(finish, Finish::Failed(_));
        script.run().await.done(finish);
        if is_failure {
            let told = server.notification("window/logMessage").await;
            assert_eq!(told, json!({ "type": 1, "message": reason }));
        }
        assert_eq!(server.result(id).await, json!({ "items": [] }));
        assert_eq!(server.status().await["lastEmptyReason"], reason);
    }
    server.finish().await;
}

#[tokio::test]
async fn only_what_its_user_writes_here_is_completed() {
    let (mut server, mut script) = TestServer::start("").await;
    for (uri, scheme) in [("output:/log", "output"), ("git:/x", "git"), ("x.py", "nameless")] {
        server.open(uri, "x = ").await;
        let ask = with(at(0, 4), json!({ "textDocument": { "uri": uri } }));
        assert_eq!(server.call(INLINE, ask).await, json!({ "items": [] }));
        let reason = format!("documents of scheme `{scheme}` are switched off");
        assert_eq!(server.status().await["lastEmptyReason"], reason);
    }
    for uri in ["untitled:Untitled-1", "file://", "buffer:3", "vscode-notebook-cell:/a.ipynb#1"] {
        server.open(uri, "x = ").await;
        let ask = with(at(0, 4), json!({ "textDocument": { "uri": uri } }));
        let id = server.request(INLINE, ask).await;
        script.say("1").await;
        assert_eq!(server.result(id).await["items"][0]["insertText"], "1", "{uri}");
    }
    server.finish().await;
}

#[tokio::test]
async fn a_binary_file_has_no_suggestions() {
    let (mut server, mut script) = TestServer::start("\u{7f}ELF\u{0}\u{0}x = ").await;
    assert_eq!(server.call(INLINE, at(0, 10)).await, json!({ "items": [] }));
    assert_eq!(server.status().await["lastEmptyReason"], "the document is not text");
    assert!(script.is_idle());
    server.finish().await;
}

#[tokio::test]
async fn a_secret_file_has_no_suggestions() {
    let (mut server, mut script) = TestServer::start("").await;
    let uri = "file:///project/.env";
    server.open(uri, "TOKEN=").await;
    let ask = with(at(0, 6), json!({ "textDocument": { "uri": uri } }));
    assert_eq!(server.call(INLINE, ask).await, json!({ "items": [] }));
    assert!(script.is_idle());
    server.finish().await;
}

#[tokio::test]
async fn a_suggestion_extends_the_selected_menu_entry() {
    let (mut server, mut script) = TestServer::start("os.pa").await;
    let range =
        json!({ "start": { "line": 0, "character": 3 }, "end": { "line": 0, "character": 5 } });
    let selected = json!({ "range": range, "text": "path" });
    let context = json!({ "triggerKind": 2, "selectedCompletionInfo": selected });
    let ask = with(at(0, 5), json!({ "context": context }));

    let id = server.request(INLINE, ask.clone()).await;
    assert_eq!(script.say(".join(a)").await.prompt.left, "os.path");
    let item = server.result(id).await["items"][0].take();
    assert_eq!((&item["insertText"], &item["range"]), (&json!("path.join(a)"), &range));

    let elsewhere = with(ask, json!({ "position": { "line": 0, "character": 2 } }));
    assert_eq!(server.call(INLINE, elsewhere).await, json!({ "items": [] }));
    let reason = "the suggestion does not extend the selected menu entry";
    assert_eq!(server.status().await["lastEmptyReason"], reason);
    server.finish().await;
}

#[tokio::test]
async fn blanks_behind_the_cursor_are_in_the_range() {
    let (mut server, mut script) = TestServer::start("x = (\t \r\ny").await;
    let id = server.request(INLINE, at(0, 5)).await;
    script.say("1)").await;
    let item = server.result(id).await["items"][0].take();
    let place = |character: u32| json!({ "line": 0, "character": character });
    assert_eq!(item["insertText"], "1)");
    assert_eq!(item["range"], json!({ "start": place(5), "end": place(7) }));
    server.finish().await;
}

#[tokio::test]
async fn a_suggestion_comes_before_closers_and_leaves_them() {
    let (mut server, mut script) = TestServer::start("total = compute()  # sum").await;
    let id = server.request(INLINE, at(0, 16)).await;
    assert_eq!(script.say("a, b)  # all").await.stop.max_lines, 1);
    let item = server.result(id).await["items"][0].take();
    let place = json!({ "line": 0, "character": 16 });
    assert_eq!((&item["insertText"], &item["range"]["end"]), (&json!("a, b"), &place));
    server.finish().await;
}

#[tokio::test]
async fn an_entry_that_does_not_begin_with_what_is_typed_has_no_item() {
    let (mut server, mut script) = TestServer::start("os.pt").await;
    let range =
        json!({ "start": { "line": 0, "character": 3 }, "end": { "line": 0, "character": 5 } });
    let context =
        json!({ "triggerKind": 2, "selectedCompletionInfo": { "range": range, "text": "path" } });
    let ask = with(at(0, 5), json!({ "context": context }));
    assert_eq!(server.call(INLINE, ask).await, json!({ "items": [] }));
    assert!(script.is_idle());
    server.finish().await;
}

#[tokio::test]
async fn a_closed_document_frees_its_sequences() {
    let (mut server, mut script) = TestServer::start("x = ").await;
    server.notify("textDocument/didClose", json!({ "textDocument": { "uri": URI } })).await;
    let forgotten = script.forgotten.recv().await.unwrap();
    assert_eq!(&*forgotten.0, URI);
    server.finish().await;
}
