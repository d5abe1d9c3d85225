//! `cosec/status` and `cosec/didChangeStatus`: how things are, asked for and told.

use cosec_ls::engine::State;
use serde_json::{Value, json};

use super::test_server::{TestServer, URI, at};

const INLINE: &str = "textDocument/inlineCompletion";

fn wishing() -> Value {
    json!({ "capabilities": { "experimental": { "cosec": { "status": true } } } })
}

/// The next update for which `is` holds, and that is the last that was expected.
async fn update(server: &mut TestServer, is: impl Fn(&Value) -> bool) -> Value {
    loop {
        let status = server.notification("cosec/didChangeStatus").await;
        if is(&status) {
            return status;
        }
    }
}

#[tokio::test]
async fn a_client_that_wishes_is_told_of_changes() {
    let (mut server, mut script) = TestServer::with(wishing(), "x = ").await;
    let first = update(&mut server, |_| true).await;
    assert_eq!((&first["models"]["state"], &first["busy"]), (&json!("unloaded"), &json!(false)));
    script.state.send_replace(State::Loading { profile: "default".to_owned() });
    update(&mut server, |status| status["models"]["state"] == "loading").await;
    let push = json!({ "settings": { "cosec-ls": { "enabled": false } } });
    server.notify("workspace/didChangeConfiguration", push).await;
    update(&mut server, |status| status["enabled"] == false).await;
    let push = json!({ "settings": { "cosec-ls": { "enabled": true } } });
    server.notify("workspace/didChangeConfiguration", push).await;
    update(&mut server, |status| status["enabled"] == true).await;
    server.request(INLINE, at(0, 4)).await;
    let run = script.run().await;
    update(&mut server, |status| status["busy"] == true).await;
    run.text("1");
    run.done(cosec_ls::engine::Finish::EndOfText);
    let answer = server.next().await;
    assert_eq!(answer["result"]["items"][0]["insertText"], "1");
    let last = update(&mut server, |status| status["busy"] == false).await;
    assert_eq!(last["suggestions"]["suggested"], 1);
    server.finish().await;
}

#[tokio::test]
async fn a_document_has_a_status_of_its_own() {
    let (mut server, _script) = TestServer::start("x = 1 + y").await;
    assert_eq!(server.call(INLINE, at(0, 4)).await, json!({ "items": [] }));
    server.open("file:///project/.env", "KEY=").await;
    for (uri, completed, reason, last) in [
        (URI, true, json!(null), json!("the cursor is in the middle of a line")),
        (
            "file:///project/.env",
            false,
            json!("the file matches the excluded pattern `**/.env*`"),
            json!(null),
        ),
        ("file:///project/closed.py", false, json!("the document is not open"), json!(null)),
    ] {
        let params = json!({ "textDocument": { "uri": uri } });
        let status = server.call("cosec/status", params).await["document"].take();
        assert_eq!(status["uri"], uri);
        assert_eq!(status["completed"], completed, "{status}");
        assert_eq!((&status["reason"], &status["lastEmptyReason"]), (&reason, &last));
    }
    assert_eq!(server.status().await.get("document"), None);
    server.finish().await;
}
