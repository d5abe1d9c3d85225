//! Settings: asked for, pushed, switched, mistaken, and never answered.

use std::time::{Duration, Instant};

use cosec_ls::config::Mode;
use serde_json::{Value, json};

use super::test_server::{TestServer, at, with};

const INLINE: &str = "textDocument/inlineCompletion";
const PUSH: &str = "workspace/didChangeConfiguration";

fn pulling() -> Value {
    json!({ "capabilities": { "workspace": { "configuration": true } } })
}

async fn command(server: &mut TestServer, name: &str, arguments: Value) -> Value {
    let params = json!({ "command": name, "arguments": arguments });
    server.call("workspace/executeCommand", params).await
}

#[tokio::test]
async fn a_client_that_never_answers_blocks_nothing() {
    let (mut server, mut script) = TestServer::with(pulling(), "x = ").await;
    server.asked("workspace/configuration").await;
    let id = server.request(INLINE, at(0, 4)).await;
    script.say("1").await;
    assert_eq!(server.result(id).await["items"][0]["insertText"], "1");
    server.notify(PUSH, json!({ "settings": null })).await;
    server.asked("workspace/configuration").await;
    server.notify(PUSH, json!({ "settings": { "cosec-ls": { "enabled": false } } })).await;
    assert_eq!(server.status().await["enabled"], false);
    server.finish().await;
}

#[tokio::test]
async fn configuration_is_pulled_and_pulled_again() {
    let (mut server, mut script) = TestServer::with(pulling(), "").await;
    let (id, params) = server.asked("workspace/configuration").await;
    assert_eq!(params, json!({ "items": [{ "section": "cosec-ls" }] }));
    server.reply(id, json!([{ "alpha": 0.5, "mode": "security" }])).await;
    let status = server.status().await;
    assert_eq!((&status["alpha"], &status["mode"]), (&json!(0.5), &json!("security")));
    server.notify(PUSH, json!({ "settings": { "http": {} } })).await;
    let (stale, _) = server.asked("workspace/configuration").await;
    server.notify(PUSH, json!({ "settings": {} })).await;
    let (id, _) = server.asked("workspace/configuration").await;
    server.reply(id, json!([{ "alpha": 0.75 }])).await;
    server.reply(stale, json!([{ "alpha": 0.1 }])).await;
    let status = server.status().await;
    assert_eq!((&status["alpha"], &status["mode"]), (&json!(0.75), &json!("cosec")));
    let configured: Vec<_> = std::iter::from_fn(|| script.configured.try_recv().ok()).collect();
    assert_eq!(configured.last().unwrap().alpha, Some(0.75));
    server.finish().await;
}

#[tokio::test]
async fn mistakes_are_told_once_and_cost_only_themselves() {
    let options = json!({ "alpha": "high", "colour": "red", "maxLines": 3 });
    let params = json!({ "capabilities": {}, "initializationOptions": options });
    let (mut server, _script) = TestServer::with(params, "").await;
    for expect in [
        "setting `alpha` is ignored: invalid type: string \"high\", expected f32",
        "setting `colour` is unknown and ignored",
    ] {
        let message = server.notification("window/logMessage").await;
        assert_eq!((&message["type"], &message["message"]), (&json!(2), &json!(expect)));
    }
    let again = json!({ "settings": { "cosec-ls": { "colour": "blue", "mode": "off" } } });
    server.notify(PUSH, again).await;
    assert_eq!(server.status().await["mode"], "off");
    server.finish().await;
}

#[tokio::test]
async fn the_user_switches() {
    let (mut server, mut script) = TestServer::start("x = ").await;
    assert_eq!(
        command(&mut server, "cosec-ls.toggle", json!([])).await,
        json!({ "enabled": false })
    );
    assert_eq!(server.call(INLINE, at(0, 4)).await, json!({ "items": [] }));
    let status = command(&mut server, "cosec-ls.status", json!([])).await;
    assert_eq!(status["lastEmptyReason"], "completions are switched off");
    assert_eq!(
        command(&mut server, "cosec-ls.toggle", json!([])).await,
        json!({ "enabled": true })
    );
    let off = command(&mut server, "cosec-ls.setMode", json!(["off"])).await;
    assert_eq!(off, json!({ "mode": "off" }));
    let id = server.request(INLINE, at(0, 4)).await;
    assert_eq!(script.say("1").await.decoding.mode, Mode::Off);
    server.result(id).await;
    server.finish().await;
}

#[tokio::test]
async fn wrong_commands_are_refused() {
    let (mut server, _script) = TestServer::start("").await;
    let wrong = [
        ("cosec-ls.setMode", json!(["safe"])),
        ("cosec-ls.setMode", json!([])),
        ("cosec-ls.didAccept", json!(["one"])),
        ("cosec-ls.explain", json!([{ "id": -1 }])),
        ("github.copilot.didAcceptCompletionItem", json!([])),
    ];
    for (name, arguments) in wrong {
        let params = json!({ "command": name, "arguments": arguments });
        let id = server.request("workspace/executeCommand", params).await;
        assert_eq!(server.error(id).await, -32602, "{name}");
    }
    server.finish().await;
}

#[tokio::test]
async fn settings_reach_the_request() {
    let options = json!({ "maxTokens": 5, "timeBudgetMs": 1234, "alpha": 0.7 });
    let params = with(json!({ "capabilities": {} }), json!({ "initializationOptions": options }));
    let (mut server, mut script) = TestServer::with(params, "x = ").await;
    let id = server.request(INLINE, at(0, 4)).await;
    let request = script.say("1").await;
    assert_eq!(request.max_tokens, 5);
    let left = request.deadline.unwrap().saturating_duration_since(Instant::now());
    assert!(left <= Duration::from_millis(1234), "from the question on");
    assert_eq!(request.decoding.alpha, 0.7);
    server.result(id).await;
    server.finish().await;
}

#[tokio::test]
async fn numbers_out_of_range_are_reported_once_and_ignored() {
    let absurd = json!({ "threads": 100_000, "idleUnloadMinutes": u64::MAX, "maxTokens": 1e300, "alpha": -0.5 });
    let (mut server, mut script) = TestServer::start("x = ").await;
    for settings in [&absurd, &absurd] {
        server.notify(PUSH, json!({ "settings": { "cosec-ls": settings } })).await;
    }
    for field in ["alpha", "idleUnloadMinutes", "maxTokens", "threads"] {
        let told = server.notification("window/logMessage").await["message"].take();
        let told = told.as_str().unwrap();
        assert!(told.starts_with(&format!("setting `{field}` is ignored: found ")), "{told}");
    }
    let _initial = script.configured.recv().await.unwrap();
    assert_eq!(script.configured.recv().await.unwrap().threads, 0);
    server.finish().await;
}

#[tokio::test]
async fn a_number_beyond_all_numbers_does_no_harm() {
    let (mut server, mut script) = TestServer::start("x = ").await;
    let body = r#"{"jsonrpc":"2.0","method":"workspace/didChangeConfiguration","params":{"settings":{"cosec-ls":{"alpha":1e400}}}}"#;
    server.send_raw(format!("Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).await;
    let refused = server.next().await;
    assert!(refused["error"]["code"].is_i64(), "{refused}");
    let id = server.request(INLINE, at(0, 4)).await;
    script.say("1").await;
    assert_eq!(server.result(id).await["items"][0]["insertText"], "1");
    server.finish().await;
}
