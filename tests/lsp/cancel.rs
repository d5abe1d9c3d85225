//! Requests that nobody waits for any more: one answer each, and the models are free at once.

use cosec_ls::engine::Finish;
use serde_json::json;

use super::test_server::{TestServer, URI, at, edit, with};

const INLINE: &str = "textDocument/inlineCompletion";

#[tokio::test]
async fn a_newer_request_supersedes() {
    let (mut server, mut script) = TestServer::start("x = ").await;
    let older = server.request(INLINE, at(0, 4)).await;
    let older_run = script.run().await;
    older_run.text("wrong");
    server.send(&[edit(2, 0, 4..4, "y")]).await;
    let newer = server.request(INLINE, at(0, 5)).await;
    assert_eq!(server.error(older).await, -32800);
    older_run.cancelled().await;
    script.say("(z)").await;
    assert_eq!(server.result(newer).await["items"][0]["insertText"], "(z)");
    server.finish().await;
}

#[tokio::test]
async fn either_method_supersedes_the_other() {
    let (mut server, mut script) = TestServer::start("x = \ny = ").await;
    let older = server.request(INLINE, at(0, 4)).await;
    let run = script.run().await;
    let newer =
        server.request("textDocument/completion", with(at(1, 4), json!({ "context": null }))).await;
    assert_eq!(server.error(older).await, -32800);
    run.cancelled().await;
    script.say("1").await;
    assert_eq!(server.result(newer).await["items"][0]["label"], "1");
    server.finish().await;
}

#[tokio::test]
async fn documents_do_not_supersede_each_other() {
    let (mut server, mut script) = TestServer::start("x = ").await;
    let other = "file:///project/other.py";
    server.open(other, "y = ").await;
    let one = server.request(INLINE, at(0, 4)).await;
    let one_run = script.run().await;
    let elsewhere = json!({ "textDocument": { "uri": other } });
    let two = server.request(INLINE, with(at(0, 4), elsewhere)).await;
    script.say("2").await;
    assert_eq!(server.result(two).await["items"][0]["insertText"], "2");
    one_run.text("1");
    one_run.done(Finish::EndOfText);
    assert_eq!(server.result(one).await["items"][0]["insertText"], "1");
    server.finish().await;
}

#[tokio::test]
async fn cancel_request_cancels() {
    let (mut server, mut script) = TestServer::start("x = ").await;
    let id = server.request(INLINE, at(0, 4)).await;
    let run = script.run().await;
    server.notify("$/cancelRequest", json!({ "id": id })).await;
    assert_eq!(server.error(id).await, -32800);
    run.cancelled().await;
    server.notify("$/cancelRequest", json!({ "id": id })).await;
    server.notify("$/cancelRequest", json!({ "id": "never asked" })).await;
    server.status().await;
    server.finish().await;
}

#[tokio::test]
async fn closing_the_document_cancels() {
    let (mut server, mut script) = TestServer::start("x = ").await;
    let id = server.request(INLINE, at(0, 4)).await;
    let run = script.run().await;
    server.notify("textDocument/didClose", json!({ "textDocument": { "uri": URI } })).await;
    assert_eq!(server.error(id).await, -32800);
    run.cancelled().await;
    server.finish().await;
}

/// Far more than tower-lsp's own four at a time, so that none waits for another.
#[tokio::test]
async fn many_documents_decode_at_once() {
    let (mut server, mut script) = TestServer::start("").await;
    let mut runs = Vec::new();
    let mut ids = Vec::new();
    for number in 0..40 {
        let uri = format!("file:///project/{number}.py");
        server.open(&uri, "x = ").await;
        let elsewhere = json!({ "textDocument": { "uri": uri } });
        ids.push(server.request(INLINE, with(at(0, 4), elsewhere)).await);
        runs.push(script.run().await);
    }
    for (id, run) in ids.into_iter().zip(runs).rev() {
        run.text("1");
        run.done(Finish::EndOfText);
        assert_eq!(server.result(id).await["items"][0]["insertText"], "1");
    }
    server.finish().await;
}
