//! The models' loading, as the editor sees it.

use cosec_ls::config::Decoding;
use cosec_ls::engine::{Finish, LoadedProfile, State};
use serde_json::{Value, json};

use super::test_server::{TestServer, URI};

fn fetching(done_bytes: u64) -> State {
    State::Fetching {
        model: "base".to_owned(),
        done_bytes: done_bytes * 1_000_000,
        total_bytes: 1_000_000_000,
    }
}

fn ready(adapter: Option<&str>) -> State {
    State::Ready(Box::new(LoadedProfile {
        profile: "default".to_owned(),
        base: "big".to_owned(),
        security: "small".to_owned(),
        adapter: adapter.map(str::to_owned),
        adapter_strength: 1.0,
        device: "cpu".to_owned(),
        decoding: Decoding::default(),
        fill_in_middle: true,
        load_seconds: 1.5,
    }))
}

fn showing() -> Value {
    json!({ "capabilities": { "window": { "workDoneProgress": true } } })
}

#[tokio::test]
async fn loading_is_shown_from_begin_to_end() {
    let (mut server, script) = TestServer::with(showing(), "").await;
    server.status().await;
    script.state.send(fetching(100)).unwrap();
    let (id, params) = server.asked("window/workDoneProgress/create").await;
    let token = params["token"].clone();
    server.reply(id, Value::Null).await;
    let mut kinds = Vec::new();
    for state in [fetching(505), State::Loading { profile: "default".to_owned() }, ready(None)] {
        let progress = server.notification("$/progress").await;
        assert_eq!(progress["token"], token);
        kinds.push(progress["value"].clone());
        script.state.send(state).unwrap();
    }
    kinds.push(server.notification("$/progress").await["value"].take());
    let begin = json!({
        "kind": "begin", "title": "cosec-ls", "cancellable": true,
        "message": "Downloading base: 100 of 1000 MB", "percentage": 10,
    });
    let report = json!({
        "kind": "report", "cancellable": true,
        "message": "Downloading base: 505 of 1000 MB", "percentage": 50,
    });
    let loading = json!({
        "kind": "report", "cancellable": false, "message": "Loading profile default",
    });
    assert_eq!(kinds, [begin, report, loading, json!({ "kind": "end" })]);
    server.finish().await;
}

#[tokio::test]
async fn a_client_without_progress_is_left_alone_but_told_of_failure() {
    let (mut server, script) = TestServer::start("").await;
    script.state.send(fetching(100)).unwrap();
    server.status().await;
    script.state.send(State::Failed { reason: "no such file".to_owned() }).unwrap();
    let message = server.notification("window/logMessage").await;
    assert_eq!(message, json!({ "type": 1, "message": "no such file" }));
    server.finish().await;
}

#[tokio::test]
async fn each_reason_of_a_failure_is_told_once() {
    let (mut server, script) = TestServer::start("").await;
    server.status().await;
    let failed = |reason: &str| State::Failed { reason: reason.to_owned() };
    let loading = || State::Loading { profile: "default".to_owned() };
    for (state, told) in [
        (failed("no base"), true),
        (loading(), false),
        (failed("no base"), false),
        (failed("no memory"), true),
        (failed("no base"), false),
        (ready(None), false),
        (failed("no base"), false),
    ] {
        script.state.send(state.clone()).unwrap();
        if told {
            let message = server.notification("window/logMessage").await;
            assert_eq!(message["type"], 1, "{state:?}");
        }
        server.status().await;
    }
    server.finish().await;
}

#[tokio::test]
async fn a_client_that_never_creates_progress_is_told_of_failure() {
    let (mut server, script) = TestServer::with(showing(), "").await;
    server.status().await;
    script.state.send(fetching(100)).unwrap();
    server.asked("window/workDoneProgress/create").await;
    script.state.send(State::Failed { reason: "no such file".to_owned() }).unwrap();
    server.notification("window/logMessage").await;
    server.finish().await;
}

#[tokio::test]
async fn a_client_that_never_creates_progress_blocks_nothing() {
    let (mut server, script) = TestServer::with(showing(), "").await;
    server.status().await;
    script.state.send(fetching(100)).unwrap();
    server.asked("window/workDoneProgress/create").await;
    script.state.send(ready(None)).unwrap();
    assert_eq!(server.status().await["models"]["state"], "ready");
    server.finish().await;
}

#[tokio::test]
async fn the_status_says_who_writes_and_whether_it_is_hardened() {
    let (mut server, script) = TestServer::start("").await;
    let status = server.status().await;
    assert_eq!(status["note"], "the models are not loaded");
    assert_eq!((&status["cacheReuse"], &status["alpha"]), (&json!(0.75), &json!(0.3)));
    script.state.send(ready(None)).unwrap();
    let status = server.status().await;
    assert_eq!(status["device"], "cpu");
    assert_eq!(status["hardened"], false);
    assert_eq!(status["note"], "no adapter: the security role is played by the plain small");
    script.state.send(ready(Some("small-cosec"))).unwrap();
    assert_eq!(server.status().await["hardened"], true);
    let off = json!({ "command": "cosec-ls.setMode", "arguments": ["off"] });
    server.call("workspace/executeCommand", off).await;
    assert_eq!(server.status().await["hardened"], false);
    server.finish().await;
}

#[tokio::test]
async fn each_failure_is_told_once_whoever_notices_it() {
    let (mut server, mut script) = TestServer::start("x = ").await;
    let ask = json!({
        "textDocument": { "uri": URI }, "position": { "line": 0, "character": 4 },
        "context": { "triggerKind": 1 },
    });
    let reasons = ["first", "second", "first", "second", "third"];
    for (i, reason) in reasons.iter().enumerate() {
        let id = server.request("textDocument/inlineCompletion", ask.clone()).await;
        script.run().await.done(Finish::Failed((*reason).to_owned()));
        if !reasons[..i].contains(reason) {
            assert_eq!(server.notification("window/logMessage").await["message"], *reason);
        }
        server.result(id).await;
    }
    script.state.send(State::Failed { reason: "third".to_owned() }).unwrap();
    server.status().await;
    script.state.send(State::Failed { reason: "fourth".to_owned() }).unwrap();
    assert_eq!(server.notification("window/logMessage").await["message"], "fourth");
    server.finish().await;
}
