//! What is secret stays with the editor: by name, by what a link leads to, by language, by its text.

use serde_json::{Value, json};

use super::scripted_backend::Script;
use super::test_server::{TestServer, at, with};

const INLINE: &str = "textDocument/inlineCompletion";

/// A client with these folders open and these settings.
fn client(folders: &[&str], settings: &Value) -> Value {
    let folders: Vec<_> = folders.iter().map(|uri| json!({ "uri": uri, "name": "w" })).collect();
    json!({
        "capabilities": {},
        "workspaceFolders": folders,
        "initializationOptions": settings,
    })
}

async fn start(client: Value) -> (TestServer, Script) {
    TestServer::with(client, "").await
}

/// Opens a document and asks at its start; whether the models were asked.
async fn is_asked(
    server: &mut TestServer,
    script: &mut Script,
    uri: &str,
    document: Value,
) -> bool {
    let opened = with(json!({ "uri": uri, "languageId": "", "version": 1, "text": "x" }), document);
    server.notify("textDocument/didOpen", json!({ "textDocument": opened })).await;
    let ask =
        with(at(0, 0), json!({ "textDocument": { "uri": uri }, "context": { "triggerKind": 1 } }));
    let id = server.request(INLINE, ask).await;
    let (is_asked, items) = tokio::select! {
        request = script.say("1") => {
            drop(request);
            (true, server.result(id).await)
        }
        items = server.result(id) => (false, items),
    };
    assert!(is_asked || items == json!({ "items": [] }), "{uri}: {items}");
    assert!(script.is_idle());
    let params = json!({ "textDocument": { "uri": uri } });
    server.notify("textDocument/didClose", params).await;
    is_asked
}

async fn check(client: Value, documents: &[(&str, bool)]) {
    let (mut server, mut script) = start(client).await;
    for (uri, expected) in documents {
        let asked = is_asked(&mut server, &mut script, uri, json!({})).await;
        assert_eq!(asked, *expected, "{uri}");
    }
    server.finish().await;
}

#[tokio::test]
async fn a_secret_name_is_seen_in_every_reading_of_a_uri() {
    let documents = [
        ("file:///p/a.txt", true),
        ("file:///p/a%23b.txt", true),
        ("file:///p/.env", false),
        ("file:///p/.env%23x", false),
        ("file:///p/.env#x", false),
        ("file:///p/.env?x", false),
        ("file:///p/%2eenv", false),
        ("file:///p/%252eenv", false),
        ("file:///c:/p%5C.env", false),
        ("file:///c%3A/p/.ssh/config", false),
        ("untitled:.env?x", false),
        ("untitled:/w/id_rsa", false),
        ("untitled:Untitled-1", true),
    ];
    check(client(&[], &json!({})), &documents).await;
}

#[tokio::test]
async fn globs_are_relative_to_every_workspace_folder() {
    let folders = ["file:///w", "file:///two%20words"];
    let settings = json!({ "excludedFiles": ["config/*.yml", "/top.txt", "hidden/"] });
    let documents = [
        ("file:///w/config/a.yml", false),
        ("file:///two%20words/config/a.yml", false),
        ("file:///w/b/config/a.yml", true),
        ("file:///elsewhere/config/a.yml", true),
        ("file:///w/top.txt", false),
        ("file:///top.txt", false),
        ("file:///w/a/hidden/b/c.rs", false),
        ("file:///w/.env", false),
        ("file:///w/a.rs", true),
    ];
    check(client(&folders, &settings), &documents).await;
}

#[tokio::test]
async fn folders_that_are_opened_later_count_too() {
    let settings = json!({ "excludedFiles": ["config/*.yml"] });
    let (mut server, mut script) = start(client(&["file:///w"], &settings)).await;
    let later = "file:///later/config/a.yml";
    assert!(is_asked(&mut server, &mut script, later, json!({})).await);
    let event = |added: &[&str], removed: &[&str]| {
        let folders = |uris: &[&str]| {
            uris.iter().map(|u| json!({ "uri": u, "name": "" })).collect::<Vec<_>>()
        };
        json!({ "event": { "added": folders(added), "removed": folders(removed) } })
    };
    let changed = "workspace/didChangeWorkspaceFolders";
    server.notify(changed, event(&["file:///later"], &[])).await;
    assert!(!is_asked(&mut server, &mut script, later, json!({})).await);
    server.notify(changed, event(&[], &["file:///later"])).await;
    assert!(is_asked(&mut server, &mut script, later, json!({})).await);
    server.finish().await;
}

#[cfg(unix)]
#[tokio::test]
async fn what_a_link_leads_to_is_checked_as_well() {
    use std::os::unix::fs::symlink;

    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    std::fs::create_dir_all(at.join("home/.ssh")).unwrap();
    std::fs::write(at.join("plain.txt"), "").unwrap();
    std::fs::write(at.join("home/.ssh/config"), "").unwrap();
    symlink(at.join("home/.ssh/config"), at.join("notes.txt")).unwrap();
    symlink("home/.ssh", at.join("docs")).unwrap();
    symlink("plain.txt", at.join("other.txt")).unwrap();
    let uri = |name: &str| format!("file://{}/{name}", at.display());
    let documents = [
        ("plain.txt", true),
        ("other.txt", true),
        ("new.txt", true),
        ("new/new.txt", true),
        ("notes.txt", false),
        ("docs/config", false),
        ("docs/not-yet-there", false),
    ]
    .map(|(name, asked)| (uri(name), asked));
    let documents: Vec<_> = documents.iter().map(|(uri, asked)| (uri.as_str(), *asked)).collect();
    check(client(&[], &json!({})), &documents).await;
}

#[tokio::test]
async fn a_private_key_or_a_secret_language_is_not_prompted_from() {
    let (mut server, mut script) = start(client(&[], &json!({}))).await;
    let body = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtz";
    let key = format!("k = '''\n-----BEGIN OPENSSH PRIVATE KEY-----\n{body}\n'''\n");
    for (document, asked, reason) in [
        (json!({ "text": key }), false, "the document holds a private key"),
        (json!({ "text": "# see -----BEGIN OPENSSH PRIVATE KEY-----" }), true, ""),
        (json!({ "languageId": "dotenv" }), false, "`language:dotenv`"),
        (json!({ "languageId": "env" }), false, "`language:dotenv`"),
        (json!({ "languageId": "properties" }), true, ""),
    ] {
        let uri = "file:///p/innocent.txt";
        let shown = document.to_string();
        assert_eq!(is_asked(&mut server, &mut script, uri, document).await, asked, "{shown}");
        let status = server.status().await;
        let last = status["lastEmptyReason"].as_str().unwrap_or_default();
        assert!(asked || last.contains(reason), "{shown}: {last}");
    }
    server.finish().await;
}

#[tokio::test]
async fn the_defaults_are_taken_away_by_a_word_and_the_status_says_so() {
    let (mut server, mut script) = start(client(&[], &json!({ "excludedFiles": ["*.x"] }))).await;
    assert!(!is_asked(&mut server, &mut script, "file:///p/.env", json!({})).await);
    let status = server.status().await;
    assert!(status["excludedFiles"]["defaultPatterns"].as_u64() > Some(50), "{status}");
    assert_eq!(status["excludedFiles"]["ownPatterns"], 1);
    let own = json!({ "excludedFiles": ["!default", "*.x", "[a"] });
    let push = json!({ "settings": { "cosec-ls": own } });
    server.notify("workspace/didChangeConfiguration", push).await;
    let told = server.notification("window/logMessage").await;
    assert!(told["message"].as_str().unwrap().contains("`[a` is not valid"), "{told}");
    assert!(is_asked(&mut server, &mut script, "file:///p/.env", json!({})).await);
    assert!(!is_asked(&mut server, &mut script, "file:///p/a.x", json!({})).await);
    assert!(!is_asked(&mut server, &mut script, "file:///p/[a", json!({})).await);
    let status = server.status().await;
    assert_eq!(status["excludedFiles"]["defaultPatterns"], 0);
    assert_eq!(status["excludedFiles"]["ownPatterns"], 2);
    assert_eq!(status["excludedFiles"]["unusable"].as_array().map(Vec::len), Some(1));
    server.finish().await;
}
