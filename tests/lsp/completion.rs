//! The popup menu's entry.

use cosec_ls::engine::Finish;
use expect_test::expect;
use serde_json::{Value, json};

use super::test_server::{TestServer, at, with};

const COMPLETION: &str = "textDocument/completion";

fn ask(line: u32, character: u32) -> Value {
    with(at(line, character), json!({ "context": { "triggerKind": 1 } }))
}

#[tokio::test]
async fn an_entry_has_what_clients_filter_and_insert_by() {
    let (mut server, mut script) = TestServer::start("total = comp").await;
    let id = server.request(COMPLETION, ask(0, 12)).await;
    script.say("ute(1)").await;
    let mut result = server.result(id).await;
    result["items"][0]["command"]["arguments"].take();
    expect![[r#"
        {
          "isIncomplete": false,
          "items": [
            {
              "command": {
                "arguments": null,
                "command": "cosec-ls.didAccept",
                "title": "Accept suggestion"
              },
              "detail": "default",
              "documentation": {
                "kind": "markdown",
                "value": "```python\ncompute(1)\n```"
              },
              "filterText": "compute(1)",
              "insertTextFormat": 1,
              "kind": 1,
              "label": "compute(1)",
              "preselect": false,
              "sortText": "~",
              "textEdit": {
                "newText": "compute(1)",
                "range": {
                  "end": {
                    "character": 12,
                    "line": 0
                  },
                  "start": {
                    "character": 8,
                    "line": 0
                  }
                }
              }
            }
          ]
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&result).unwrap());
    server.finish().await;
}

#[tokio::test]
async fn an_entry_covers_blanks_behind_the_cursor_and_filters_by_its_word() {
    let (mut server, mut script) = TestServer::start("total = comp  \n").await;
    let id = server.request(COMPLETION, ask(0, 12)).await;
    script.say("ute(1)").await;
    let item = server.result(id).await["items"][0].take();
    assert_eq!(item["filterText"], "compute(1)");
    let place = |character: u32| json!({ "line": 0, "character": character });
    assert_eq!(item["textEdit"]["range"], json!({ "start": place(8), "end": place(14) }));
    server.finish().await;
}

#[tokio::test]
async fn silence_is_an_empty_list() {
    let (mut server, mut script) = TestServer::start("x = ").await;
    let id = server.request(COMPLETION, ask(0, 4)).await;
    script.run().await.done(cosec_ls::engine::Finish::EndOfText);
    assert_eq!(server.result(id).await, json!({ "isIncomplete": false, "items": [] }));
    server.finish().await;
}

/// A client asks again where more may come, and only there.
#[tokio::test]
async fn a_list_is_complete_unless_more_may_come() {
    for (finish, is_incomplete) in [
        (Finish::NotReady("the models are loading".to_owned()), true),
        (Finish::NotReady("downloading base: 3 of 9 MB".to_owned()), true),
        (Finish::Failed("out of memory".to_owned()), false),
        (Finish::EndOfText, false),
    ] {
        let (mut server, mut script) = TestServer::start("x = ").await;
        let id = server.request(COMPLETION, ask(0, 4)).await;
        let is_failure = matches!(finish, Finish::Failed(_));
        script.run().await.done(finish);
        if is_failure {
            server.notification("window/logMessage").await;
        }
        let expect = json!({ "isIncomplete": is_incomplete, "items": [] });
        assert_eq!(server.result(id).await, expect);
        server.finish().await;
    }
    let early = json!({ "capabilities": {}, "initializationOptions": { "earlyAnswerMs": 1 } });
    let (mut server, mut script) = TestServer::with(early, "def f():\n    ").await;
    let id = server.request(COMPLETION, ask(1, 4)).await;
    let run = script.run().await;
    run.text("return 1\n");
    let list = server.result(id).await;
    assert_eq!(
        (&list["isIncomplete"], &list["items"][0]["label"]),
        (&json!(true), &json!("return 1"))
    );
    run.done(Finish::EndOfText);
    server.finish().await;
}

/// A client that asks both methods at every key would supersede one with the other.
#[tokio::test]
async fn a_client_with_inline_completion_gets_no_entry_unless_it_wants_one() {
    let capabilities = json!({ "textDocument": { "inlineCompletion": {} } });
    let params = json!({ "capabilities": capabilities });
    let (mut server, mut script) = TestServer::with(params.clone(), "x = ").await;
    let inline = server.request("textDocument/inlineCompletion", at(0, 4)).await;
    let run = script.run().await;
    let nothing = json!({ "isIncomplete": false, "items": [] });
    assert_eq!(server.call(COMPLETION, ask(0, 4)).await, nothing);
    run.text("1");
    run.done(cosec_ls::engine::Finish::EndOfText);
    assert_eq!(server.result(inline).await["items"][0]["insertText"], "1");
    server.finish().await;

    let always = with(params, json!({ "initializationOptions": { "popup": "always" } }));
    let (mut server, mut script) = TestServer::with(always, "x = ").await;
    let id = server.request(COMPLETION, ask(0, 4)).await;
    script.say("1").await;
    assert_eq!(server.result(id).await["items"][0]["label"], "1");
    server.finish().await;
}
