//! What the user switches by command: all suggestions, a language's, a file's, the profile.

use serde_json::{Value, json};

use super::test_server::{TestServer, URI, at, with};

const INLINE: &str = "textDocument/inlineCompletion";
const OTHER: &str = "file:///project/other.py";

async fn command(server: &mut TestServer, name: &str, argument: Value) -> Value {
    let params = json!({ "command": name, "arguments": [argument] });
    server.call("workspace/executeCommand", params).await
}

async fn toggle(server: &mut TestServer, what: Value) -> bool {
    command(server, "cosec-ls.toggle", what).await["enabled"].as_bool().unwrap()
}

async fn document(server: &mut TestServer, uri: &str) -> Value {
    let params = json!({ "textDocument": { "uri": uri } });
    server.call("cosec/status", params).await["document"].take()
}

#[tokio::test]
async fn a_language_is_switched() {
    let (mut server, mut script) = TestServer::start("x = ").await;
    assert!(!toggle(&mut server, json!({ "language": "py" })).await);
    assert_eq!(server.call(INLINE, at(0, 4)).await, json!({ "items": [] }));
    let status = document(&mut server, URI).await;
    assert_eq!(status["completed"], false);
    assert_eq!(status["reason"], "language `python` is switched off");
    assert_eq!(status["lastEmptyReason"], "language `python` is switched off");
    assert!(toggle(&mut server, json!({ "language": "python" })).await);
    let id = server.request(INLINE, at(0, 4)).await;
    script.say("1").await;
    assert_eq!(server.result(id).await["items"][0]["insertText"], "1");
    server.finish().await;
}

#[tokio::test]
async fn a_file_is_switched_until_it_is_closed() {
    let (mut server, mut script) = TestServer::start("x = ").await;
    server.open(OTHER, "x = ").await;
    assert!(!toggle(&mut server, json!({ "uri": URI })).await);
    assert_eq!(server.call(INLINE, at(0, 4)).await, json!({ "items": [] }));
    let status = document(&mut server, URI).await;
    assert_eq!(status["reason"], "suggestions are switched off in this file");
    assert_eq!(
        document(&mut server, OTHER).await,
        json!({
            "uri": OTHER, "language": "python", "completed": true,
        })
    );
    server.notify("textDocument/didClose", json!({ "textDocument": { "uri": URI } })).await;
    server.open(URI, "x = ").await;
    let id = server.request(INLINE, at(0, 4)).await;
    script.say("1").await;
    server.result(id).await;
    server.finish().await;
}

#[tokio::test]
async fn a_file_is_on_in_spite_of_its_language() {
    let options = json!({ "languages": { "python": false } });
    let params = json!({ "capabilities": {}, "initializationOptions": options });
    let (mut server, mut script) = TestServer::with(params, "x = ").await;
    server.open(OTHER, "x = ").await;
    // Any spelling of the URI names the document.
    assert!(toggle(&mut server, json!({ "uri": "file:/project/main.py" })).await);
    let id = server.request(INLINE, at(0, 4)).await;
    script.say("1").await;
    server.result(id).await;
    let other = with(at(0, 4), json!({ "textDocument": { "uri": OTHER } }));
    assert_eq!(server.call(INLINE, other).await, json!({ "items": [] }));
    // But not in spite of the switch for all.
    assert!(!toggle(&mut server, Value::Null).await);
    assert_eq!(document(&mut server, URI).await["reason"], "completions are switched off");
    server.finish().await;
}

#[tokio::test]
async fn the_profile_is_switched_until_the_configuration_changes_it() {
    let (mut server, mut script) = TestServer::start("x = ").await;
    let small = command(&mut server, "cosec-ls.setProfile", json!("small")).await;
    assert_eq!(small, json!({ "profile": "small" }));
    let mut configured = None;
    while let Ok(settings) = script.configured.try_recv() {
        configured = Some(settings.profile);
    }
    assert_eq!(configured.as_deref(), Some("small"));
    let status = server.status().await;
    assert_eq!(status["profile"], "small");
    assert_eq!(
        status["profiles"][1],
        json!({
            "name": "small", "base": "small base", "security": "small security",
        })
    );
    let push = json!({ "settings": { "cosec-ls": { "profile": "other" } } });
    server.notify("workspace/didChangeConfiguration", push).await;
    assert_eq!(server.status().await["profile"], "other");
    server.finish().await;
}

#[tokio::test]
async fn what_is_not_there_cannot_be_switched() {
    let (mut server, _script) = TestServer::start("x = ").await;
    for (name, argument, says) in [
        (
            "cosec-ls.setProfile",
            json!("huge"),
            "no profile `huge` in models.toml; there are: default, small",
        ),
        ("cosec-ls.toggle", json!({ "uri": "file:///project/closed.py" }), "is not open"),
        ("cosec-ls.toggle", json!({ "colour": "red" }), "expected [], [{\"language\""),
    ] {
        let params = json!({ "command": name, "arguments": [argument] });
        let id = server.request("workspace/executeCommand", params).await;
        let response = server.response(id).await;
        assert_eq!(response["error"]["code"], -32602);
        let message = response["error"]["message"].as_str().unwrap();
        assert!(message.contains(says), "{message}");
    }
    server.finish().await;
}
