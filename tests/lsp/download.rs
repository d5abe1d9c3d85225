//! Models that are not on this machine: asked about once, pulled, cancelled.

use std::sync::Arc;

use cosec_ls::config::{Download, Settings};
use cosec_ls::engine::local::{LocalEngine, Reuse};
use cosec_ls::engine::{Finish, MissingModels, State};
use serde_json::{Value, json};

use super::scripted_backend::{Fetch, Script};
use super::test_server::{TestServer, at, with};
use crate::support::tiny_site::{PROFILE, TinySite};

const INLINE: &str = "textDocument/inlineCompletion";
const ASK: &str = "window/showMessageRequest";
const PUSH: &str = "workspace/didChangeConfiguration";

fn client(options: Value) -> Value {
    let window = json!({ "window": { "workDoneProgress": true } });
    json!({ "capabilities": window, "initializationOptions": options })
}

fn missing(profile: &str) -> State {
    missing_with(profile, None)
}

fn missing_with(profile: &str, offline: Option<&str>) -> State {
    State::Missing(MissingModels {
        profile: profile.to_owned(),
        models: vec!["big".to_owned(), "small".to_owned()],
        download_bytes: 1_615_000_000,
        offline: offline.map(str::to_owned),
    })
}

/// A server whose models are missing.
async fn lacking(options: Value) -> (TestServer, Script) {
    let (mut server, script) = TestServer::with(client(options), "x = ").await;
    server.status().await;
    script.state.send(missing("default")).unwrap();
    (server, script)
}

async fn pull(server: &mut TestServer) -> Value {
    server.call("workspace/executeCommand", json!({ "command": "cosec-ls.pull" })).await
}

/// Fails if the server asks or tells anything before it answers.
async fn is_quiet(server: &mut TestServer) {
    server.status().await;
    server.status().await;
}

#[tokio::test]
async fn the_user_is_asked_once_with_the_size_and_nothing_is_fetched_before_the_yes() {
    let (mut server, mut script) = lacking(json!({ "download": "ask" })).await;
    let (id, params) = server.asked(ASK).await;
    assert_eq!(
        params,
        json!({
            "type": 3,
            "message": "cosec-ls: the models of the profile `default` are not on this machine yet (1.6 GB). \
                        Download them now?",
            "actions": [{ "title": "Download" }, { "title": "Not now" }],
        })
    );
    let status = server.status().await;
    assert_eq!(
        status["models"],
        json!({
            "state": "missing", "profile": "default", "models": ["big", "small"], "downloadBytes": 1_615_000_000,
        })
    );
    assert!(script.fetches_nothing());
    server.reply(id, json!({ "title": "Download" })).await;
    assert_eq!(script.fetch().await, Fetch::Begin("default".to_owned()));
    is_quiet(&mut server).await;
    server.finish().await;
}

#[tokio::test]
async fn whatever_is_no_yes_is_a_no_that_is_told_and_not_asked_again() {
    let refusals = [
        json!({ "result": { "title": "Not now" } }),
        json!({ "result": null }),
        json!({ "result": "Download" }),
        json!({ "result": { "title": 7 } }),
        json!({ "error": { "code": -32601, "message": "what?" } }),
    ];
    for refusal in refusals {
        let (mut server, mut script) = lacking(json!({ "download": "ask" })).await;
        let (id, _) = server.asked(ASK).await;
        server.send(&[with(json!({ "jsonrpc": "2.0", "id": id }), refusal)]).await;
        let told = server.notification("window/logMessage").await;
        assert_eq!(told["type"], 3);
        assert!(told["message"].as_str().unwrap().contains("`cosec-ls.pull`"), "{told}");
        for state in [State::Unloaded, missing("default")] {
            script.state.send(state).unwrap();
            server.status().await;
        }
        is_quiet(&mut server).await;
        assert!(script.fetches_nothing());

        let id = server.request(INLINE, at(0, 4)).await;
        let State::Missing(models) = missing("default") else { unreachable!() };
        script.run().await.done(Finish::NotReady(models.reason()));
        assert_eq!(server.result(id).await, json!({ "items": [] }));
        assert_eq!(server.status().await["lastEmptyReason"], models.reason());
        assert_eq!(pull(&mut server).await, Value::Null);
        assert_eq!(script.fetch().await, Fetch::Begin("default".to_owned()));
        server.finish().await;
    }
}

#[tokio::test]
async fn a_client_that_never_answers_holds_up_nobody() {
    let (mut server, mut script) = lacking(json!({ "download": "ask" })).await;
    let (late, _) = server.asked(ASK).await;
    let id = server.request(INLINE, at(0, 4)).await;
    script.run().await.done(Finish::NotReady("not here".to_owned()));
    server.result(id).await;
    assert!(script.fetches_nothing());
    pull(&mut server).await;
    assert_eq!(script.fetch().await, Fetch::Begin("default".to_owned()));
    // Better late than never.
    server.reply(late, json!({ "title": "Download" })).await;
    assert_eq!(script.fetch().await, Fetch::Begin("default".to_owned()));
    server.finish().await;
}

#[tokio::test]
async fn another_profile_is_another_question() {
    let (mut server, mut script) = lacking(json!({ "download": "ask" })).await;
    let (first, _) = server.asked(ASK).await;
    let settings = json!({ "cosec-ls": { "profile": "small" } });
    server.notify(PUSH, json!({ "settings": settings })).await;
    is_quiet(&mut server).await;
    script.state.send(missing("small")).unwrap();
    let (second, params) = server.asked(ASK).await;
    assert!(params["message"].as_str().unwrap().contains("profile `small`"), "{params}");
    server.reply(second, json!({ "title": "Download" })).await;
    assert_eq!(script.fetch().await, Fetch::Begin("small".to_owned()));
    server.reply(first, Value::Null).await;
    server.notification("window/logMessage").await;
    server.notify(PUSH, json!({ "settings": { "cosec-ls": {} } })).await;
    script.state.send(missing("default")).unwrap();
    is_quiet(&mut server).await;
    server.finish().await;
}

#[tokio::test]
async fn nobody_is_asked_where_the_answer_is_known() {
    for (options, state, told) in [
        (json!({ "download": "never" }), missing("default"), "`cosec-ls.pull`"),
        (json!({ "download": "never" }), missing_with("default", Some("--offline")), "`--offline`"),
        (json!({ "download": "ask" }), missing_with("default", Some("--offline")), "`--offline`"),
        (json!({}), missing_with("default", Some("HF_HUB_OFFLINE")), "`HF_HUB_OFFLINE`"),
        (json!({}), missing("default"), ""),
        (json!({ "download": "ask", "enabled": false }), missing("default"), ""),
    ] {
        let (mut server, mut script) = TestServer::with(client(options), "x = ").await;
        server.status().await;
        script.state.send(state.clone()).unwrap();
        if !told.is_empty() {
            let message = server.notification("window/logMessage").await["message"].take();
            assert!(message.as_str().unwrap().contains(told), "{message}");
        }
        script.state.send(state).unwrap();
        is_quiet(&mut server).await;
        assert!(script.fetches_nothing());
        server.finish().await;
    }
}

#[tokio::test]
async fn who_switches_suggestions_on_is_asked_then() {
    let (mut server, _script) = lacking(json!({ "download": "ask", "enabled": false })).await;
    is_quiet(&mut server).await;
    let toggle = json!({ "command": "cosec-ls.toggle", "arguments": [] });
    server.call("workspace/executeCommand", toggle).await;
    server.asked(ASK).await;
    server.finish().await;
}

/// Downloads that the configuration would forbid must not have begun when it comes.
#[tokio::test]
async fn what_the_configuration_says_is_waited_for() {
    let answers = [
        (json!({ "result": [{ "download": "ask" }] }), Download::Ask),
        (json!({ "result": [{ "download": "never" }] }), Download::Never),
        (json!({ "result": [null] }), Download::Always),
        (json!({ "result": [{}] }), Download::Always),
        (json!({ "error": { "code": -32601, "message": "what?" } }), Download::Always),
    ];
    for (answer, expected) in answers {
        let capabilities = json!({ "workspace": { "configuration": true } });
        let params = json!({ "capabilities": capabilities });
        let (mut server, mut script) = TestServer::with(params, "x = ").await;
        let (id, _) = server.asked("workspace/configuration").await;
        script.state.send(missing("default")).unwrap();
        is_quiet(&mut server).await;
        let first = script.configured.recv().await.unwrap();
        assert_ne!(first.download, Download::Always, "not before the answer");
        server.send(&[with(json!({ "jsonrpc": "2.0", "id": id }), answer)]).await;
        assert_eq!(script.configured.recv().await.unwrap().download, expected);
        match expected {
            Download::Ask => drop(server.asked(ASK).await),
            Download::Never => drop(server.notification("window/logMessage").await),
            Download::Always => {}
        }
        is_quiet(&mut server).await;
        server.finish().await;
    }
}

#[tokio::test]
async fn only_the_bar_that_is_shown_cancels() {
    let (mut server, mut script) = TestServer::with(client(json!({})), "").await;
    server.status().await;
    let cancel = |token: Value| json!({ "token": token });
    let fetching = State::Fetching {
        model: "big".to_owned(),
        done_bytes: 312_000_000,
        total_bytes: 986_000_000,
    };
    let mut tokens = Vec::new();
    for _ in 0..2 {
        script.state.send(fetching.clone()).unwrap();
        let (id, params) = server.asked("window/workDoneProgress/create").await;
        server.reply(id, Value::Null).await;
        let begin = server.notification("$/progress").await["value"].take();
        assert_eq!(begin["message"], "Downloading big: 312 of 986 MB");
        assert_eq!(begin["cancellable"], true);
        tokens.push(params["token"].clone());
        for wrong in [json!("other"), json!(1), Value::Null, json!({})] {
            server.notify("window/workDoneProgress/cancel", cancel(wrong)).await;
        }
        for old in &tokens[..tokens.len() - 1] {
            server.notify("window/workDoneProgress/cancel", cancel(old.clone())).await;
        }
        server.status().await;
        assert!(script.fetches_nothing());
        let newest = tokens.last().unwrap().clone();
        server.notify("window/workDoneProgress/cancel", cancel(newest)).await;
        assert_eq!(script.fetch().await, Fetch::Cancel);
        script.state.send(missing("default")).unwrap();
        assert_eq!(server.notification("$/progress").await["value"]["kind"], "end");
    }
    server.finish().await;
}

/// The next message of the kind that is looked for, and the progress that comes before it.
async fn past_progress(server: &mut TestServer, found: impl Fn(&Value) -> bool) -> Vec<Value> {
    let mut values = Vec::new();
    loop {
        let mut message = server.next().await;
        assert_eq!(message["method"], "$/progress", "{message}");
        let value = message["params"]["value"].take();
        values.push(value.clone());
        if found(&value) {
            return values;
        }
    }
}

#[tokio::test]
async fn a_real_download_is_asked_for_shown_cancelled_and_taken_up_again() {
    let site = TinySite::stalling();
    let settings = Settings { profile: PROFILE.to_owned(), threads: 2, ..Settings::default() };
    let engine = LocalEngine::start(site.registry(), settings, Reuse::Keep).unwrap();
    let mut server = TestServer::on(Arc::new(engine));
    let options = json!({ "download": "ask", "profile": PROFILE });
    server.call("initialize", client(options)).await;
    server.notify("initialized", json!({})).await;
    server.open(super::test_server::URI, "x = ").await;

    let (question, _) = server.asked(ASK).await;
    assert_eq!(server.call(INLINE, at(0, 4)).await, json!({ "items": [] }));
    assert_eq!(site.hub.n_connections(), 0);
    server.reply(question, json!({ "title": "Download" })).await;
    let (id, params) = server.asked("window/workDoneProgress/create").await;
    server.reply(id, Value::Null).await;
    past_progress(&mut server, |value| value["percentage"] == 50).await;
    // The download stands still, and who asks is told at once.
    assert_eq!(server.call(INLINE, at(0, 4)).await, json!({ "items": [] }));
    let status = server.status().await;
    assert_eq!(status["models"]["state"], "fetching");
    assert!(status["lastEmptyReason"].as_str().unwrap().starts_with("downloading tiny-near"));
    server.notify("window/workDoneProgress/cancel", json!({ "token": params["token"] })).await;
    past_progress(&mut server, |value| value["kind"] == "end").await;
    let models = server.status().await["models"].take();
    assert_eq!(models["state"], "missing");
    assert!(models["downloadBytes"].as_u64().unwrap() < site.size_bytes, "{models}");

    assert_eq!(pull(&mut server).await, Value::Null);
    let (id, _) = server.asked("window/workDoneProgress/create").await;
    server.reply(id, Value::Null).await;
    let shown = past_progress(&mut server, |value| value["kind"] == "end").await;
    assert_eq!(shown[0]["kind"], "begin");
    assert_eq!(server.status().await["models"]["state"], "ready");
    let downloads = site.downloads();
    assert!(downloads.len() == 2 && downloads[1] > 0, "{downloads:?}");
    server.call(INLINE, at(0, 4)).await;
    let reason = server.status().await["lastEmptyReason"].take();
    assert!(!reason.to_string().contains("on this machine"), "{reason}");
    server.finish().await;
}
