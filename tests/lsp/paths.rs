//! What the models are told of where a document is.

use serde_json::{Value, json};

use super::scripted_backend::Script;
use super::test_server::{TestServer, at, with};

const INLINE: &str = "textDocument/inlineCompletion";

async fn start(more: Value) -> (TestServer, Script) {
    let general = json!({ "positionEncodings": ["utf-8"] });
    let client = json!({ "capabilities": { "general": general } });
    TestServer::with(with(client, more), "").await
}

/// The path that comes with a question about a document that is opened for it.
async fn path_of(
    server: &mut TestServer,
    script: &mut Script,
    uri: &str,
    language: &str,
) -> Option<String> {
    let document = json!({ "uri": uri, "languageId": language, "version": 1, "text": "x = " });
    server.notify("textDocument/didOpen", json!({ "textDocument": document })).await;
    let place = json!({ "textDocument": { "uri": uri }, "context": { "triggerKind": 1 } });
    let id = server.request(INLINE, with(at(0, 4), place)).await;
    let request = script.say("1").await;
    server.result(id).await;
    server.notify("textDocument/didClose", json!({ "textDocument": { "uri": uri } })).await;
    request.prompt.header.map(|header| header.path)
}

#[tokio::test(start_paused = true)]
async fn the_models_are_told_the_path_in_the_workspace() {
    let folders = json!([{ "uri": "file:///home/x/work", "name": "w" }, { "uri": "file:///srv/api", "name": "a" }]);
    let (mut server, mut script) = start(json!({ "workspaceFolders": folders })).await;
    for (uri, language, expected) in [
        ("file:///home/x/work/src/app.py", "python", Some("src/app.py")),
        ("file:///home/x/work/src/renamed.py", "python", Some("src/renamed.py")),
        ("file:///srv/api/a%20b/%E6%BC%A2.rs", "rust", Some("a b/漢.rs")),
        ("file:///home/x/notes.md", "markdown", Some("notes.md")),
        ("untitled:Untitled-1", "python", Some("untitled.py")),
        ("untitled:/home/x/work/src/new.ts", "typescript", Some("src/new.ts")),
        ("untitled:Untitled-2", "klingon", None),
        (
            "file:///home/x/work/ghp_16C7e42F292c6912E7710c838347Ae178B4a.py",
            "python",
            Some("untitled.py"),
        ),
    ] {
        assert_eq!(
            path_of(&mut server, &mut script, uri, language).await.as_deref(),
            expected,
            "{uri}"
        );
    }
    server.finish().await;
}

#[tokio::test(start_paused = true)]
async fn folders_that_come_and_go_change_the_path() {
    let (mut server, mut script) = start(json!({ "rootUri": "file:///w" })).await;
    let uri = "file:///w/api/src/app.py";
    assert_eq!(
        path_of(&mut server, &mut script, uri, "python").await.as_deref(),
        Some("api/src/app.py")
    );
    let event = json!({ "added": [{ "uri": "file:///w/api", "name": "api" }], "removed": [] });
    server.notify("workspace/didChangeWorkspaceFolders", json!({ "event": event })).await;
    assert_eq!(
        path_of(&mut server, &mut script, uri, "python").await.as_deref(),
        Some("src/app.py")
    );
    server.finish().await;
}

#[tokio::test(start_paused = true)]
async fn the_setting_keeps_the_path_out_of_prompts() {
    let settings = json!({ "initializationOptions": { "pathInPrompt": false } });
    let (mut server, mut script) = start(settings).await;
    assert_eq!(path_of(&mut server, &mut script, "file:///w/a.py", "python").await, None);
    server.finish().await;
}
