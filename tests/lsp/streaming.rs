//! `$/progress` with a partial result: each list replaces the one before, the answer is the last.

use cosec_ls::engine::Finish;
use serde_json::json;

use super::test_server::{TestServer, at, with};

#[tokio::test]
async fn ghost_text_grows() {
    let (mut server, mut script) = TestServer::start("x = ").await;
    let ask = with(at(0, 4), json!({ "partialResultToken": 42 }));
    let id = server.request("textDocument/inlineCompletion", ask).await;
    let run = script.run().await;
    for (text, so_far) in [("com", "com"), ("pute", "compute"), ("(1)", "compute(1)")] {
        run.text(text);
        let progress = server.notification("$/progress").await;
        assert_eq!(progress["token"], 42);
        assert_eq!(progress["value"]["items"][0]["insertText"], so_far);
    }
    run.done(Finish::EndOfText);
    assert_eq!(server.result(id).await["items"][0]["insertText"], "compute(1)");
    server.finish().await;
}

#[tokio::test]
async fn a_popup_entry_grows() {
    let (mut server, mut script) = TestServer::start("x = ").await;
    let ask = with(at(0, 4), json!({ "partialResultToken": "t", "context": null }));
    let id = server.request("textDocument/completion", ask).await;
    let run = script.run().await;
    for (text, so_far) in [("com", "com"), ("pute", "compute")] {
        run.text(text);
        let progress = server.notification("$/progress").await;
        assert_eq!(progress["value"]["items"][0]["textEdit"]["newText"], so_far);
        assert_eq!(progress["value"]["isIncomplete"], true);
    }
    run.done(Finish::EndOfText);
    let list = server.result(id).await;
    assert_eq!(list["items"][0]["textEdit"]["newText"], "compute");
    assert_eq!(list["isIncomplete"], false);
    server.finish().await;
}

#[tokio::test]
async fn without_a_token_nothing_is_streamed() {
    let (mut server, mut script) = TestServer::start("x = ").await;
    let id = server.request("textDocument/inlineCompletion", at(0, 4)).await;
    let run = script.run().await;
    run.text("com");
    run.text("pute");
    run.done(Finish::EndOfText);
    assert_eq!(server.result(id).await["items"][0]["insertText"], "compute");
    server.finish().await;
}

/// Text and end come at once: the partial results still come before the answer.
#[tokio::test]
async fn nothing_comes_after_the_answer() {
    for _ in 0..50 {
        let (mut server, mut script) = TestServer::start("x = ").await;
        let ask = with(at(0, 4), json!({ "partialResultToken": 1 }));
        let id = server.request("textDocument/inlineCompletion", ask).await;
        let run = script.run().await;
        ["a", "b", "c"].iter().for_each(|text| run.text(text));
        run.done(Finish::EndOfText);
        while server.next().await.get("id") != Some(&json!(id)) {}
        server.status().await;
        server.finish().await;
    }
}
