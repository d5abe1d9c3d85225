//! From `initialize` to the end, whatever the end is.

use cosec_ls::lsp::End;
use expect_test::expect;
use serde_json::{Value, json};

use super::test_server::{TestServer, at, with};

const INLINE: &str = "textDocument/inlineCompletion";

#[tokio::test]
async fn capabilities_are_static() {
    let (mut server, _script) = TestServer::spawn();
    let result = server.call("initialize", json!({ "capabilities": {} })).await;
    expect![[r#"
        {
          "completionProvider": {
            "resolveProvider": false,
            "triggerCharacters": [
              ".",
              ":",
              "("
            ]
          },
          "executeCommandProvider": {
            "commands": [
              "cosec-ls.didAccept",
              "cosec-ls.toggle",
              "cosec-ls.status",
              "cosec-ls.explain",
              "cosec-ls.setMode",
              "cosec-ls.setProfile",
              "cosec-ls.pull"
            ]
          },
          "experimental": {
            "cosec": {
              "notifications": [
                "cosec/didChangeStatus"
              ],
              "partialResults": true,
              "requests": [
                "cosec/explain",
                "cosec/status"
              ],
              "version": 2
            }
          },
          "inlineCompletionProvider": {},
          "positionEncoding": "utf-16",
          "textDocumentSync": {
            "change": 2,
            "openClose": true,
            "save": true
          },
          "workspace": {
            "workspaceFolders": {
              "changeNotifications": true,
              "supported": true
            }
          }
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&result["capabilities"]).unwrap());
    assert_eq!(result["serverInfo"]["name"], "cosec-ls");
    server.finish().await;
}

#[tokio::test]
async fn the_encoding_is_one_that_the_client_offers() {
    let cases = [
        (json!(null), "utf-16"),
        (json!([]), "utf-16"),
        (json!(["utf-16"]), "utf-16"),
        (json!(["utf-32", "utf-16"]), "utf-32"),
        (json!(["utf-16", "utf-8"]), "utf-8"),
        (json!(["utf-7", 8]), "utf-16"),
        (json!([null, 8, "utf-32"]), "utf-32"),
        (json!("utf-8"), "utf-16"),
    ];
    for (offered, expect) in cases {
        let (mut server, _script) = TestServer::spawn();
        let general = json!({ "positionEncodings": offered });
        let params = json!({ "capabilities": { "general": general } });
        let result = server.call("initialize", params).await;
        assert_eq!(result["capabilities"]["positionEncoding"], expect, "{offered}");
        server.finish().await;
    }
}

#[tokio::test]
async fn requests_before_initialize_are_refused() {
    let (mut server, _script) = TestServer::spawn();
    let id = server.request(INLINE, at(0, 0)).await;
    assert_eq!(server.error(id).await, -32002);
    server.call("initialize", json!({ "capabilities": {} })).await;
    server.finish().await;
}

#[tokio::test]
async fn requests_before_initialized_are_answered() {
    let (mut server, mut script) = TestServer::spawn();
    let folders = json!({ "capabilities": {}, "workspaceFolders": null, "rootUri": null });
    server.call("initialize", folders).await;
    server.open(super::test_server::URI, "x = ").await;
    let id = server.request(INLINE, at(0, 4)).await;
    script.say("1").await;
    assert_eq!(server.result(id).await["items"][0]["insertText"], "1");
    server.finish().await;
}

#[tokio::test]
async fn unknown_methods_are_refused_and_unknown_notifications_ignored() {
    let (mut server, _script) = TestServer::start("").await;
    server.notify("$/setTrace", json!({ "value": "off" })).await;
    server.notify("cosec/noSuchThing", json!({})).await;
    for method in ["cosec/noSuchThing", "textDocument/copilotInlineEdit", "textDocument/hover"] {
        let id = server.request(method, at(0, 0)).await;
        assert_eq!(server.error(id).await, -32601, "{method}");
    }
    server.finish().await;
}

#[tokio::test]
async fn a_malformed_message_is_answered_and_survived() {
    let (mut server, _script) = TestServer::start("").await;
    server.send_raw(b"Content-Length: 9\r\n\r\n{\"json\": ").await;
    assert_eq!(server.next().await["error"]["code"], -32700);
    server.send(&[json!([1, 2])]).await;
    assert_eq!(server.next().await["error"]["code"], -32600);
    let id = server.request(INLINE, json!({ "position": 3 })).await;
    assert_eq!(server.error(id).await, -32602);
    server.status().await;
    server.finish().await;
}

#[tokio::test]
async fn a_panic_costs_one_empty_answer() {
    let (mut server, script) = TestServer::start("x = ").await;
    script.panic();
    assert_eq!(server.call(INLINE, at(0, 4)).await, json!({ "items": [] }));
    server.status().await;
    server.finish().await;
}

#[tokio::test]
async fn shutdown_ends_a_running_decode() {
    let (mut server, mut script) = TestServer::start("x = ").await;
    let asked = server.request(INLINE, at(0, 4)).await;
    let run = script.run().await;
    let shutdown = server.request("shutdown", Value::Null).await;
    let mut answers = [server.next().await, server.next().await];
    answers.sort_by_key(|answer| answer["id"].as_i64());
    assert_eq!((&answers[0]["id"], &answers[0]["error"]["code"]), (&json!(asked), &json!(-32800)));
    assert_eq!((&answers[1]["id"], &answers[1]["result"]), (&json!(shutdown), &Value::Null));
    run.cancelled().await;
    let late = server.request(INLINE, at(0, 4)).await;
    assert_eq!(server.error(late).await, -32600);
    server.notify("exit", Value::Null).await;
    assert_eq!(server.ended().await, End::Exit);
}

#[tokio::test]
async fn exit_in_the_middle_of_a_decode_ends_the_server() {
    let (mut server, mut script) = TestServer::start("x = ").await;
    server.request(INLINE, at(0, 4)).await;
    let run = script.run().await;
    server.notify("exit", Value::Null).await;
    assert_eq!(server.ended().await, End::ExitWithoutShutdown);
    run.cancelled().await;
}

#[tokio::test]
async fn a_client_that_closes_stdin_in_the_middle_of_a_decode_ends_the_server() {
    let (mut server, mut script) = TestServer::start("x = ").await;
    server.request(INLINE, at(0, 4)).await;
    let run = script.run().await;
    run.text("1");
    server.hang_up().await;
    assert_eq!(server.ended().await, End::HangUp);
    run.cancelled().await;
}

#[tokio::test]
async fn half_a_message_and_a_closed_stdin_end_the_server() {
    let (mut server, _script) = TestServer::start("").await;
    server.send_raw(b"Content-Length: 100\r\n\r\n{\"jsonrpc\"").await;
    server.hang_up().await;
    assert_eq!(server.ended().await, End::HangUp);
}

#[tokio::test]
async fn a_client_that_stops_reading_does_not_stop_the_server() {
    let (mut server, mut script) = TestServer::start("x = ").await;
    server.stop_reading().await;
    let stream = json!({ "partialResultToken": "t" });
    server.request(INLINE, with(at(0, 4), stream)).await;
    let run = script.run().await;
    // More than the pipe holds.
    (0..2000).for_each(|_| run.text("spam, and ham; "));
    server.send(&[super::test_server::edit(2, 0, 0..1, "y")]).await;
    server.request(INLINE, at(0, 4)).await;
    assert_eq!(script.run().await.before_cursor(), "y = ");
    server.hang_up().await;
    assert_eq!(server.ended().await, End::HangUp);
}
