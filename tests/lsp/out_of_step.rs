//! Never an answer to a text that the editor does not have: edits that were lost in any way, and documents of many names.

use serde_json::{Value, json};

use super::scripted_backend::Script;
use super::test_server::{TestServer, URI, at, edit, with};

const INLINE: &str = "textDocument/inlineCompletion";
const OUT_OF_STEP: &str = "the document is out of step with the editor; reopen it";

/// A client whose columns are UTF-16 units, and `x = ` in [`URI`].
async fn utf16() -> (TestServer, Script) {
    TestServer::with(json!({ "capabilities": {} }), "x = ").await
}

fn frame(body: &[u8]) -> Vec<u8> {
    let mut frame = format!("Content-Length: {}\r\n\r\n", body.len()).into_bytes();
    frame.extend_from_slice(body);
    frame
}

fn in_document(uri: &str, character: u32) -> Value {
    let invoked = json!({ "triggerKind": 1 });
    with(at(0, character), json!({ "textDocument": { "uri": uri }, "context": invoked }))
}

/// Whether the models are asked about the end of the first line of `uri`, with this before the cursor; `Err` is why not.
async fn asked(server: &mut TestServer, script: &mut Script, uri: &str) -> Result<String, String> {
    let id = server.request(INLINE, in_document(uri, 1000)).await;
    let status = server.request("cosec/status", json!({})).await;
    let first = server.next().await;
    if first["id"] == id {
        assert_eq!(first["result"], json!({ "items": [] }));
        return Err(server.result(status).await["lastEmptyReason"].as_str().unwrap().to_owned());
    }
    assert_eq!(first["id"], status);
    let left = script.say("1").await.prompt.left;
    server.result(id).await;
    Ok(left)
}

/// After `bytes`, [`URI`] is out of step, or holds this line.
async fn check(client: (TestServer, Script), bytes: &[u8], expect: Result<&str, &str>) {
    let (mut server, mut script) = client;
    server.send_raw(bytes).await;
    let found = asked_after_complaints(&mut server, &mut script).await;
    let bytes = String::from_utf8_lossy(bytes);
    assert_eq!(found.as_deref().map_err(String::as_str), expect, "{bytes}");
    let whole = json!({ "textDocument": { "uri": URI }, "contentChanges": [{ "text": "z = " }] });
    server.notify("textDocument/didChange", whole).await;
    assert_eq!(asked(&mut server, &mut script, URI).await.as_deref(), Ok("z = "), "{bytes}");
    server.finish().await;
}

/// The same as [`asked`], behind the answers to what cannot be read, which have no id.
async fn asked_after_complaints(
    server: &mut TestServer,
    script: &mut Script,
) -> Result<String, String> {
    let marker = server.request("cosec/status", json!({})).await;
    loop {
        let message = server.next().await;
        if message["id"] == marker {
            return asked(server, script, URI).await;
        }
        assert_eq!((&message["id"], message.get("error").is_some()), (&Value::Null, true));
    }
}

/// `didChange` of [`URI`] with these fields in `textDocument` and these `contentChanges`, as text.
fn change(document: &str, changes: &str) -> Vec<u8> {
    let method = r#""jsonrpc":"2.0","method":"textDocument/didChange""#;
    let params =
        format!(r#"{{"textDocument":{{"uri":"{URI}"{document}}},"contentChanges":{changes}}}"#);
    frame(format!(r#"{{{method},"params":{params}}}"#).as_bytes())
}

const X_TO_Y: &str =
    r#"[{"range":{"start":{"line":0,"character":0},"end":{"line":0,"character":1}},"text":"y"}]"#;

#[tokio::test]
async fn an_edit_that_fits_is_taken_whatever_its_version() {
    for version in [
        "",
        r#","version":null"#,
        r#","version":1"#,
        r#","version":0"#,
        r#","version":-9"#,
        r#","version":"2""#,
        r#","version":2.0"#,
        r#","version":2.5"#,
        r#","version":1e99"#,
        r#","version":{}"#,
    ] {
        check(utf16().await, &change(version, X_TO_Y), Ok("y = ")).await;
    }
}

#[tokio::test]
async fn edits_of_one_version_are_all_taken() {
    let (mut server, mut script) = utf16().await;
    server.send(&[edit(7, 0, 0..1, "y"), edit(7, 0, 0..0, "a"), edit(2, 0, 0..0, "b")]).await;
    assert_eq!(asked(&mut server, &mut script, URI).await.as_deref(), Ok("bay = "));
    server.finish().await;
}

#[tokio::test]
async fn what_is_not_needed_of_an_edit_cannot_fail_it() {
    for changes in [
        X_TO_Y.replace(r#","text""#, r#","rangeLength":"one","text""#),
        X_TO_Y.replace(r#","text""#, r#","rangeLength":-5,"extra":[],"text""#),
        X_TO_Y.replace(":0", ":0.0"),
        X_TO_Y.replace(r#""character":1}"#, r#""character":1,"offset":null}"#),
        r#"[{"text":"y = "}]"#.to_owned(),
        r#"[{"range":null,"rangeLength":3,"text":"y = "}]"#.to_owned(),
        r#"[{"range":{"start":{"line":7,"character":0},"end":{"line":7,"character":0}},"text":"q"},{"text":"y = "}]"#
            .to_owned(),
        format!(r#"[{{"range":1}},null,{{"text":"x = "}},{}]"#, &X_TO_Y[1..X_TO_Y.len() - 1]),
        r#"[{"range":{"start":{"line":0,"character":0},"end":{"line":0,"character":99999999999}},"text":"y = "}]"#
            .to_owned(),
    ] {
        check(utf16().await, &change("", &changes), Ok("y = ")).await;
    }
    check(utf16().await, &change("", "[]"), Ok("x = ")).await;
}

#[tokio::test]
async fn an_edit_that_cannot_be_read_is_no_reason_to_guess() {
    for changes in [
        "null",
        "{}",
        "[null]",
        r#"[{"text":null}]"#,
        r#"[{"text":5}]"#,
        r#"[{}]"#,
        r#"[{"range":{},"text":"y"}]"#,
        r#"[{"range":"all","text":"y"}]"#,
        r#"[{"range":{"start":{"line":0,"character":0}},"text":"y"}]"#,
        r#"[{"text":"y = "},{"range":{"start":{"line":0}},"text":"y"}]"#,
        &X_TO_Y.replace(r#""character":0"#, r#""character":-1"#),
        &X_TO_Y.replace(r#""character":1"#, r#""character":0.5"#),
        &X_TO_Y.replace(r#""line":0"#, r#""line":9"#),
        &X_TO_Y.replace(r#""line":0,"character":1"#, r#""line":99999999999,"character":1"#),
        r#"[{"range":{"start":{"line":0,"character":2},"end":{"line":0,"character":1}},"text":"y"}]"#,
        r#"[{"text":"\q"}]"#,
        "[{\"text\":\"\u{1}\"}]",
        "[{'text':1}]",
    ] {
        check(utf16().await, &change("", changes), Err(OUT_OF_STEP)).await;
    }
}

#[tokio::test]
async fn half_a_surrogate_pair_leaves_the_document_in_step() {
    let typed = |text: &str| change("", &X_TO_Y.replace("\"y\"", text));
    for (text, expect) in [
        (r#""\ud800""#, "\u{fffd} = "),
        (r#""\udfff""#, "\u{fffd} = "),
        (r#""a\uD83Db""#, "a\u{fffd}b = "),
        (r#""\ude00\ud83d""#, "\u{fffd}\u{fffd} = "),
        (r#""\ud83d\ude00""#, "😀 = "),
        (r#""\\ud800""#, "\\ud800 = "),
    ] {
        check(utf16().await, &typed(text), Ok(expect)).await;
    }
    // One UTF-16 unit, as in the editor: what is typed behind it comes behind it.
    let (mut server, mut script) = utf16().await;
    server.send_raw(&typed(r#""\ud83d""#)).await;
    server.send(&[edit(3, 0, 1..1, "b")]).await;
    assert_eq!(asked(&mut server, &mut script, URI).await.as_deref(), Ok("\u{fffd}b = "));
    server.finish().await;
    // Elsewhere two halves that come one by one are as wide as one character and not as two.
    check(TestServer::start("x = ").await, &typed(r#""\ud83d""#), Err(OUT_OF_STEP)).await;
}

#[tokio::test]
async fn bytes_that_are_no_utf_8_put_their_document_out_of_step() {
    for bad in [&b"caf\xE9"[..], b"\xFF\xFE", b"\xED\xA0\x80", b"\xE2\x82"] {
        let message = change("", &X_TO_Y.replace("\"y\"", "\"@@@\""));
        let at = message.windows(3).position(|bytes| bytes == b"@@@").unwrap();
        let mut body = message;
        body.splice(at..at + 3, bad.iter().copied());
        let start = body.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
        check(utf16().await, &frame(&body[start..]), Err(OUT_OF_STEP)).await;
    }
}

#[tokio::test]
async fn what_is_lost_on_the_wire_is_lost_to_all_documents() {
    let whole = change("", X_TO_Y);
    let body_at = whole.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
    let body = &whole[body_at..];
    let mut short = format!("Content-Length: {}\r\n\r\n", body.len() - 5).into_bytes();
    short.extend_from_slice(body);
    let mut nameless = b"Content-Type: x\r\n\r\n".to_vec();
    nameless.extend_from_slice(body);
    for bytes in [
        short,
        nameless,
        b"Content-Length: 999999999999\r\n\r\n".to_vec(),
        frame(&body[..body.len() - 9]),
        frame(br#"{"method":"textDocument/didChange","params":{"textDocument":{"uri":7},"x":'"#),
        frame(br#"{"method":"textDocument/didChange","params":{"contentChanges":[]}}"#),
        frame(br#"{"method":"textDocument/didChange"}"#),
    ] {
        check(utf16().await, &bytes, Err(OUT_OF_STEP)).await;
    }
}

#[tokio::test]
async fn what_is_lost_is_lost_to_its_own_document_alone() {
    let other = change("", r#"[{"text":"\q"}]"#);
    let other = String::from_utf8(other).unwrap().replace(URI, "file:///project/main.rs");
    check(utf16().await, other.as_bytes(), Ok("x = ")).await;
    for harmless in [
        &br#"{"method":"$/setTrace","params":{"value":"\q"}}"#[..],
        br#"{"method":"textDocument/hover","id":3,"params":{"a":'b'}}"#,
        b"",
        br#"{"id":3}"#,
    ] {
        check(utf16().await, &frame(harmless), Ok("x = ")).await;
    }
}

#[tokio::test]
async fn a_document_whose_text_never_came_is_out_of_step() {
    let uri = "file:///project/other.py";
    let opened = format!(r#"{{"uri":"{uri}","languageId":"python","version":1"#);
    let open = r#"{"method":"textDocument/didOpen","params":{"textDocument":"#;
    for text in
        ["}", r#","text":null}"#, r#","text":["a"]}"#, r#","text":"\q"}"#, ",\"text\":\"\t\"}"]
    {
        let (mut server, mut script) = utf16().await;
        server.send_raw(&frame(format!("{open}{opened}{text}}}}}").as_bytes())).await;
        let marker = server.request("cosec/status", json!({})).await;
        while server.next().await["id"] != marker {}
        let found = asked(&mut server, &mut script, uri).await;
        assert_eq!(found.as_deref().map_err(String::as_str), Err(OUT_OF_STEP), "{text}");
        assert_eq!(asked(&mut server, &mut script, URI).await.as_deref(), Ok("x = "), "{text}");
        server.open(uri, "w = ").await;
        assert_eq!(asked(&mut server, &mut script, uri).await.as_deref(), Ok("w = "));
        server.finish().await;
    }
}

#[tokio::test]
async fn opening_twice_and_closing_what_is_not_open_keep_the_last_text() {
    let (mut server, mut script) = utf16().await;
    let other = "file:///project/never.py";
    server.notify("textDocument/didClose", json!({ "textDocument": { "uri": other } })).await;
    server.notify("textDocument/didClose", json!({ "textDocument": null })).await;
    let whole = json!({ "textDocument": { "uri": other }, "contentChanges": [{ "text": "a" }] });
    server.notify("textDocument/didChange", whole).await;
    let found = asked(&mut server, &mut script, other).await;
    assert_eq!(found, Err("the document is not open".to_owned()));
    server.open(URI, "w = ").await;
    server.send(&[edit(0, 0, 0..1, "v")]).await;
    assert_eq!(asked(&mut server, &mut script, URI).await.as_deref(), Ok("v = "));
    server.finish().await;
}

#[tokio::test]
async fn what_is_being_decoded_for_a_lost_text_ends() {
    let (mut server, mut script) = utf16().await;
    let id = server.request(INLINE, in_document(URI, 4)).await;
    let run = script.run().await;
    run.text("wrong");
    server.send(&[edit(2, 7, 0..0, "y")]).await;
    assert_eq!(server.error(id).await, -32800);
    run.cancelled().await;
    server.open(URI, "w = ").await;
    assert_eq!(asked(&mut server, &mut script, URI).await.as_deref(), Ok("w = "));
    server.finish().await;
}

#[tokio::test]
async fn a_document_has_one_text_by_all_of_its_names() {
    for [opened, changed, asked_as] in [
        ["file:///c%3A/a.py", "file:///c:/a.py", "file:///C:/a.py"],
        ["file:///C%3a/a.py", "file:///c%3A/a.py", "C:\\a.py"],
        ["file:///a%20b.py", "file:///a b.py", "file:/a%20b.py"],
        ["file:///%c3%a9.py", "file:///%C3%A9.py", "file:///é.py"],
        ["file:///a.py", "file://localhost/a.py", "/a.py"],
        ["file:///a/%5Bid%5D.ts", "file:///a/[id].ts", "file:///a/%5bid%5d.ts"],
        ["untitled:Untitled-1", "untitled:Untitled%2D1", "untitled:%55ntitled-1"],
        [
            "vscode-notebook-cell:/a.ipynb#W1s%3D",
            "vscode-notebook-cell:/a.ipynb#W1s=",
            "vscode-notebook-cell:/a%2Eipynb#W1s%3d",
        ],
    ] {
        let (mut server, mut script) = utf16().await;
        server.open(opened, "x = ").await;
        let change = json!({ "textDocument": { "uri": changed, "version": 2 },
            "contentChanges": [{ "range": { "start": { "line": 0, "character": 0 },
                "end": { "line": 0, "character": 1 } }, "text": "y" }] });
        server.notify("textDocument/didChange", change).await;
        assert_eq!(
            asked(&mut server, &mut script, asked_as).await.as_deref(),
            Ok("y = "),
            "{opened}"
        );
        server
            .notify("textDocument/didClose", json!({ "textDocument": { "uri": asked_as } }))
            .await;
        let closed = asked(&mut server, &mut script, opened).await;
        assert_eq!(closed, Err("the document is not open".to_owned()), "{opened}");
        server.finish().await;
    }
}

#[tokio::test]
async fn two_documents_have_two_texts() {
    for [one, other] in [
        ["file:///a.py", "file:///A.py"],
        ["file:///a/b.py", "file:///a%2Fb.py"],
        ["file:///a.py", "untitled:/a.py"],
        ["vscode-notebook-cell:/a.ipynb#W0", "vscode-notebook-cell:/a.ipynb#W1"],
        ["file:///a%25.py", "file:///a%2525.py"],
    ] {
        let (mut server, mut script) = utf16().await;
        server.open(one, "x = ").await;
        server.open(other, "y = ").await;
        assert_eq!(asked(&mut server, &mut script, one).await.as_deref(), Ok("x = "), "{one}");
        assert_eq!(asked(&mut server, &mut script, other).await.as_deref(), Ok("y = "), "{one}");
        server.finish().await;
    }
}
