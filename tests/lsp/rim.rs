//! Clients that are not textbook clients: what they send beyond the letter of the protocol is made good.

use cosec_ls::lsp::End;
use serde_json::{Value, json};

use super::test_server::{TestServer, URI, at, with};

const INLINE: &str = "textDocument/inlineCompletion";
const COMPLETION: &str = "textDocument/completion";

/// A raw message: `fields` besides `jsonrpc`.
async fn send(server: &mut TestServer, fields: Value) {
    server.send(&[with(json!({ "jsonrpc": "2.0" }), fields)]).await;
}

/// Takes the next message and looks for `key` in it.
async fn expect(server: &mut TestServer, id: &Value, key: &str) -> Value {
    let mut message = server.next().await;
    assert_eq!(&message["id"], id, "{message}");
    message.get_mut(key).unwrap_or_else(|| panic!("no {key} for {id}")).take()
}

/// A suggestion comes for this request.
async fn is_answered(method: &str, params: Value) {
    let (mut server, mut script) = TestServer::start("x = ").await;
    let id = server.request(method, params.clone()).await;
    script.say("1").await;
    let items = server.result(id).await["items"].take();
    assert_eq!(items.as_array().unwrap().len(), 1, "{method} {params}");
    server.finish().await;
}

#[tokio::test]
async fn initialize_fails_for_nothing() {
    let odd = [
        json!({ "trace": "compact" }),
        json!({ "trace": null }),
        json!({ "trace": 3 }),
        json!({ "rootUri": "" }),
        json!({ "rootUri": 5 }),
        json!({ "rootUri": "not a uri", "rootPath": false }),
        json!({ "processId": "12" }),
        json!({ "processId": 1.5 }),
        json!({ "processId": -1 }),
        json!({ "processId": {} }),
        json!({ "capabilities": null }),
        json!({ "capabilities": [] }),
        json!({ "capabilities": "all" }),
        json!({ "capabilities": { "textDocument": null, "window": 1, "workspace": [] } }),
        json!({ "capabilities": { "window": { "workDoneProgress": 0 } } }),
        json!({ "capabilities": { "textDocument": { "completion": {
            "completionItemKind": { "valueSet": ["Text", 99] }, "contextSupport": 1,
            "completionItem": { "snippetSupport": "no", "tagSupport": { "valueSet": ["x"] },
                "insertTextModeSupport": { "valueSet": "asIs" } },
        } } } }),
        json!({ "capabilities": { "workspace": { "symbol": { "symbolKind": { "valueSet": [-1] } } } } }),
        json!({ "workspaceFolders": null }),
        json!({ "workspaceFolders": {} }),
        json!({ "workspaceFolders": [{ "uri": "file:///a" }, null, { "name": "b" }, { "uri": "" }] }),
        json!({ "clientInfo": { "version": "1" } }),
        json!({ "clientInfo": "me" }),
        json!({ "locale": 7, "workDoneToken": {} }),
    ];
    for odd in odd {
        let params = with(json!({ "processId": null, "capabilities": {} }), odd.clone());
        let (mut server, _script) = TestServer::spawn();
        let result = server.call("initialize", params).await;
        assert_eq!(result["capabilities"]["inlineCompletionProvider"], json!({}), "{odd}");
        server.finish().await;
    }
}

#[tokio::test]
async fn parameters_may_be_absent_null_or_empty() {
    for params in [None, Some(json!(null)), Some(json!([])), Some(json!({})), Some(json!([{}]))] {
        let with_params = |fields: Value| match &params {
            Some(params) => with(fields, json!({ "params": params })),
            None => fields,
        };
        let (mut server, _script) = TestServer::spawn();
        send(&mut server, with_params(json!({ "id": 1, "method": "initialize" }))).await;
        let result = expect(&mut server, &json!(1), "result").await;
        assert_eq!(result["serverInfo"]["name"], "cosec-ls");
        for method in ["initialized", "workspace/didChangeConfiguration", "textDocument/didFocus"] {
            send(&mut server, with_params(json!({ "method": method }))).await;
        }
        send(&mut server, with_params(json!({ "id": 2, "method": "cosec/status" }))).await;
        assert_eq!(expect(&mut server, &json!(2), "result").await["enabled"], true);
        send(&mut server, with_params(json!({ "id": 3, "method": "shutdown" }))).await;
        assert_eq!(expect(&mut server, &json!(3), "result").await, json!(null), "{params:?}");
        send(&mut server, with_params(json!({ "method": "exit" }))).await;
        assert_eq!(server.ended().await, End::Exit);
    }
}

#[tokio::test]
async fn a_question_needs_a_place_and_nothing_else() {
    let contexts = [
        json!(null),
        json!({}),
        json!([]),
        json!("typed"),
        json!({ "triggerKind": null }),
        json!({ "triggerKind": 9 }),
        json!({ "triggerKind": -1 }),
        json!({ "triggerKind": "Invoked" }),
        json!({ "triggerKind": 1.0, "triggerCharacter": 5 }),
        json!({ "triggerKind": 1, "selectedCompletionInfo": null }),
        json!({ "triggerKind": 1, "selectedCompletionInfo": { "text": 3 } }),
    ];
    for method in [INLINE, COMPLETION] {
        for context in &contexts {
            is_answered(method, with(at(0, 4), json!({ "context": context }))).await;
        }
        let mut without = at(0, 4);
        without.as_object_mut().unwrap().remove("context");
        is_answered(method, without).await;
        for more in [
            json!({ "workDoneToken": { "a": 1 } }),
            json!({ "workDoneToken": 1.5, "partialResultToken": null }),
            json!({ "partialResultToken": [1] }),
            json!({ "textDocument": { "uri": URI, "version": "3" }, "formattingOptions": 1 }),
        ] {
            is_answered(method, with(at(0, 4), more)).await;
        }
    }
}

#[tokio::test]
async fn places_are_numbers_however_they_are_written() {
    let places = [
        (json!({ "line": 0.0, "character": 4.0 }), "x = "),
        (json!({ "line": 0, "character": 1e30 }), "x = "),
        (json!({ "line": 0, "character": 18446744073709551615_u64 }), "x = "),
        (json!({ "line": -1, "character": 4 }), "x = "),
        (json!({ "line": 0, "character": -7 }), ""),
        (json!({ "line": 4294967296_i64, "character": 0 }), "x = "),
        (json!({ "line": 0, "character": 4, "offset": 9 }), "x = "),
    ];
    for (place, before) in places {
        let (mut server, mut script) = TestServer::start("x = ").await;
        let invoked = json!({ "position": place, "context": { "triggerKind": 1 } });
        let id = server.request(COMPLETION, with(at(0, 0), invoked)).await;
        assert_eq!(script.say("1").await.prompt.left, before, "{place}");
        server.result(id).await;
        server.finish().await;
    }
}

#[tokio::test]
async fn a_question_without_a_place_is_an_error_and_the_server_goes_on() {
    let (mut server, _script) = TestServer::start("x = ").await;
    for params in [
        json!(null),
        json!({}),
        json!({ "textDocument": { "uri": URI } }),
        json!({ "textDocument": { "uri": 3 }, "position": { "line": 0, "character": 0 } }),
        with(at(0, 0), json!({ "position": { "line": 0 } })),
        with(at(0, 0), json!({ "position": { "line": "0", "character": 0 } })),
        with(at(0, 0), json!({ "position": [0, 0] })),
    ] {
        for method in [INLINE, COMPLETION] {
            let id = server.request(method, params.clone()).await;
            assert_eq!(server.error(id).await, -32602, "{params}");
        }
    }
    server.finish().await;
}

#[tokio::test]
async fn commands_come_with_arguments_of_all_kinds() {
    let (mut server, _script) = TestServer::start("").await;
    let mut enabled = true;
    for arguments in [Some(json!(null)), None, Some(json!({})), Some(json!([null])), Some(json!(1))]
    {
        let mut params = json!({ "command": "cosec-ls.toggle", "workDoneToken": [] });
        if let Some(arguments) = arguments {
            params["arguments"] = arguments;
        }
        enabled = !enabled;
        let result = server.call("workspace/executeCommand", params).await;
        assert_eq!(result, json!({ "enabled": enabled }));
    }
    for id in [json!(77), json!([{ "id": 77 }]), json!({ "id": 77.0 }), json!([77])] {
        assert_eq!(server.call("cosec/explain", id).await, json!(null));
    }
    // None is named: the last one, which there is not.
    for none in [json!(null), json!({}), json!({ "id": null }), json!([])] {
        assert_eq!(server.call("cosec/explain", none).await, json!(null));
    }
    for id in [json!({ "id": -1 }), json!({ "id": "x" }), json!("x"), json!(-1)] {
        let id = server.request("cosec/explain", id).await;
        assert_eq!(server.error(id).await, -32602);
    }
    server.finish().await;
}

#[tokio::test]
async fn an_id_is_given_back_as_it_came() {
    let (mut server, _script) = TestServer::start("").await;
    for id in [
        json!("a"),
        json!(""),
        json!(0),
        json!(-4),
        json!(1.5),
        json!(3.0),
        json!(18446744073709551615_u64),
        json!(null),
        json!(true),
        json!([1]),
        json!({ "n": 1 }),
    ] {
        send(&mut server, json!({ "id": id, "method": "cosec/status" })).await;
        expect(&mut server, &id, "result").await;
        send(&mut server, json!({ "id": id, "method": "no/such" })).await;
        assert_eq!(expect(&mut server, &id, "error").await["code"], -32601);
    }
    server.finish().await;
}

#[tokio::test]
async fn requests_of_one_id_are_answered_one_by_one() {
    let (mut server, mut script) = TestServer::start("x = ").await;
    let ask = json!({ "jsonrpc": "2.0", "id": 5, "method": INLINE, "params": at(0, 4) });
    server.send(std::slice::from_ref(&ask)).await;
    let run = script.run().await;
    send(&mut server, json!({ "id": 5, "method": "cosec/status" })).await;
    assert_eq!(expect(&mut server, &json!(5), "result").await["enabled"], true);
    send(&mut server, json!({ "method": "$/cancelRequest", "params": { "id": 5.0 } })).await;
    assert_eq!(expect(&mut server, &json!(5), "error").await["code"], -32800);
    run.cancelled().await;
    server.status().await;
    server.finish().await;
}

#[tokio::test]
async fn what_is_cancelled_is_known_by_the_clients_own_id() {
    for (id, named) in
        [(json!("a"), json!("a")), (json!(1.5), json!(1.5)), (json!(null), json!(null))]
    {
        let (mut server, mut script) = TestServer::start("x = ").await;
        send(&mut server, json!({ "id": id, "method": INLINE, "params": at(0, 4) })).await;
        let run = script.run().await;
        for other in [json!("b"), json!(99), json!({}), json!([])] {
            send(&mut server, json!({ "method": "$/cancelRequest", "params": { "id": other } }))
                .await;
        }
        for params in [json!(null), json!({}), json!([1]), json!(7)] {
            send(&mut server, json!({ "method": "$/cancelRequest", "params": params })).await;
        }
        server.status().await;
        send(&mut server, json!({ "method": "$/cancelRequest", "params": { "id": named } })).await;
        assert_eq!(expect(&mut server, &id, "error").await["code"], -32800);
        run.cancelled().await;
        server.finish().await;
    }
}

#[tokio::test]
async fn unknown_requests_are_refused_whatever_they_are_called() {
    let (mut server, _script) = TestServer::start("").await;
    for method in
        ["$/x", "$/logTrace", "$/progress", "$/setTrace", "", "textDocument/hover", "window/x"]
    {
        for params in [json!(null), json!({}), json!([1, 2])] {
            send(&mut server, json!({ "method": method, "params": params })).await;
            let id = server.request(method, params).await;
            assert_eq!(server.error(id).await, -32601, "{method}");
        }
    }
    for method in
        ["notebookDocument/didOpen", "notebookDocument/didChange", "notebookDocument/didClose"]
    {
        server.notify(method, json!({ "notebookDocument": { "uri": URI } })).await;
    }
    server.status().await;
    server.finish().await;
}

#[tokio::test]
async fn notifications_with_an_id_are_done_and_answered() {
    let (mut server, mut script) = TestServer::start("x = ").await;
    let change = super::test_server::edit(2, 0, 0..1, "y");
    server.send(&[with(change, json!({ "id": 7 }))]).await;
    assert_eq!(expect(&mut server, &json!(7), "result").await, json!(null));
    let document = json!({ "textDocument": { "uri": URI } });
    for (id, method) in [
        (json!("s"), "textDocument/didSave"),
        (json!(9), "$/cancelRequest"),
        (json!(10), "textDocument/didFocus"),
    ] {
        send(&mut server, json!({ "id": id, "method": method, "params": document })).await;
        assert_eq!(expect(&mut server, &id, "result").await, json!(null), "{method}");
    }
    send(&mut server, json!({ "id": null, "method": "textDocument/didSave" })).await;
    let id = server.request(INLINE, at(0, 4)).await;
    assert_eq!(script.say("1").await.prompt.left, "y = ");
    server.result(id).await;
    let id = server.request("shutdown", json!(null)).await;
    server.result(id).await;
    send(&mut server, json!({ "id": 11, "method": "exit" })).await;
    assert_eq!(expect(&mut server, &json!(11), "result").await, json!(null));
    assert_eq!(server.ended().await, End::Exit);
}

#[tokio::test]
async fn requests_without_an_id_are_not_answered() {
    let (mut server, mut script) = TestServer::start("x = ").await;
    for method in [INLINE, COMPLETION, "cosec/status", "cosec/explain", "initialize", "no/such"] {
        server.notify(method, at(0, 4)).await;
    }
    let toggle = json!({ "command": "cosec-ls.toggle" });
    server.notify("workspace/executeCommand", toggle).await;
    assert_eq!(server.status().await["enabled"], false);
    assert!(script.is_idle());
    server.notify("shutdown", json!(null)).await;
    let id = server.request("cosec/status", json!({})).await;
    assert_eq!(server.error(id).await, -32600);
    server.notify("exit", json!(null)).await;
    assert_eq!(server.ended().await, End::Exit);
}

#[tokio::test]
async fn each_call_has_its_time() {
    let (mut server, _script) = TestServer::spawn();
    for method in [INLINE, "shutdown", "cosec/status", "textDocument/didOpen", "no/such", "$/x"] {
        let id = server.request(method, at(0, 0)).await;
        assert_eq!(server.error(id).await, -32002, "{method}");
        server.notify(method, at(0, 0)).await;
    }
    server.notify("initialized", json!({})).await;
    server.call("initialize", json!({})).await;
    let id = server.request("initialize", json!({ "capabilities": {} })).await;
    assert_eq!(server.error(id).await, -32600);
    for _ in 0..2 {
        server.notify("initialized", json!({})).await;
    }
    let id = server.request("shutdown", json!(null)).await;
    server.result(id).await;
    for method in [INLINE, "shutdown", "initialize", "cosec/status", "no/such", "$/x"] {
        let id = server.request(method, at(0, 0)).await;
        assert_eq!(server.error(id).await, -32600, "{method}");
        server.notify(method, at(0, 0)).await;
    }
    server.notify("exit", json!(null)).await;
    assert_eq!(server.ended().await, End::Exit);
}

#[tokio::test]
async fn jsonrpc_is_what_the_client_makes_of_it() {
    let (mut server, _script) = TestServer::start("").await;
    for (number, version) in [json!("1.0"), json!(2.0), json!(null), json!({})].iter().enumerate() {
        let id = json!(number);
        let message = json!({ "jsonrpc": version, "id": id, "method": "cosec/status" });
        server.send(&[message]).await;
        expect(&mut server, &id, "result").await;
    }
    server.send(&[json!({ "id": 9, "method": "cosec/status" })]).await;
    expect(&mut server, &json!(9), "result").await;
    server.finish().await;
}

#[tokio::test]
async fn answers_to_nothing_are_ignored_and_nonsense_is_answered_once() {
    let (mut server, _script) = TestServer::start("").await;
    for id in [json!(0), json!(99), json!("x"), json!(null), json!(1.5)] {
        send(&mut server, json!({ "id": id, "result": null })).await;
        send(&mut server, json!({ "id": id, "error": { "code": 1, "message": "no" } })).await;
        send(&mut server, json!({ "id": id, "error": "no" })).await;
    }
    server.status().await;
    for (nonsense, id) in [
        (json!({}), json!(null)),
        (json!({ "id": 3, "method": 5 }), json!(3)),
        (json!({ "id": "a", "method": null, "params": {} }), json!("a")),
        (json!({ "id": 4, "params": {} }), json!(4)),
        (json!([1, "a", null]), json!(null)),
        (json!([]), json!(null)),
        (json!("text"), json!(null)),
        (json!(null), json!(null)),
    ] {
        server.send(&[nonsense]).await;
        assert_eq!(expect(&mut server, &id, "error").await["code"], -32600);
    }
    server.finish().await;
}

#[tokio::test]
async fn a_batch_is_done_in_order_and_each_request_in_it_answered() {
    let (mut server, mut script) = TestServer::start("x = ").await;
    let change = super::test_server::edit(2, 0, 0..1, "y");
    let status = json!({ "id": "s", "method": "cosec/status" });
    let ask = json!({ "jsonrpc": "2.0", "id": 1, "method": INLINE, "params": at(0, 4) });
    server.send(&[json!([change, status, 3, ask])]).await;
    expect(&mut server, &json!("s"), "result").await;
    assert_eq!(expect(&mut server, &json!(null), "error").await["code"], -32600);
    assert_eq!(script.say("1").await.prompt.left, "y = ");
    expect(&mut server, &json!(1), "result").await;
    server.finish().await;
}

#[tokio::test]
async fn a_document_is_opened_with_what_is_known_of_it() {
    for (name, document, language) in [
        ("a.py", json!({}), "python"),
        ("b.rs", json!({ "languageId": null, "version": null }), "rust"),
        ("c.py", json!({ "languageId": "", "version": "3" }), "python"),
        ("d.go", json!({ "languageId": 5, "version": 1.5 }), "go"),
        ("e.py", json!({ "languageId": "rust", "version": -3 }), "rust"),
        ("f.go", json!({ "version": 1e300, "extra": {} }), "go"),
    ] {
        let (mut server, mut script) = TestServer::start("").await;
        let uri = format!("file:///project/{name}");
        let document = with(json!({ "uri": uri, "text": "x = " }), document);
        server.notify("textDocument/didOpen", json!({ "textDocument": document })).await;
        let ask = with(at(0, 4), json!({ "textDocument": { "uri": uri } }));
        let id = server.request(COMPLETION, ask).await;
        script.say("1").await;
        let documentation = server.result(id).await["items"][0]["documentation"]["value"].take();
        let fence = format!("```{language}\n");
        assert!(documentation.as_str().unwrap().starts_with(&fence), "{documentation}");
        server.finish().await;
    }
}

#[tokio::test]
async fn headers_and_bodies_are_read_as_they_come() {
    let (mut server, _script) = TestServer::start("").await;
    for id in 100..104 {
        let mut body = format!(r#"{{"id":{id},"method":"cosec/status"}}"#).into_bytes();
        let header = match id {
            100 => "content-type: application/vscode-jsonrpc; charset=utf8\r\nCONTENT-LENGTH:",
            101 => "Content-Length: 1\nX-Other: \nContent-length:",
            102 => "\r\n\r\nContent-Type: text\r\nContent-Length:   ",
            _ => {
                body.splice(0..0, *b"\xEF\xBB\xBF");
                "content-length: "
            }
        };
        let end = if id == 101 { "\n\n" } else { " \r\n\r\n" };
        server.send_raw(format!("{header}{}{end}", body.len()).as_bytes()).await;
        server.send_raw(&body).await;
        expect(&mut server, &json!(id), "result").await;
    }
    server.send_raw(b"Content-Length: 99999999999\r\n\r\n{}").await;
    let error = expect(&mut server, &json!(null), "error").await;
    assert_eq!(error["code"], -32700);
    server.send(&[json!({ "id": 104, "method": "cosec/status" })]).await;
    expect(&mut server, &json!(104), "result").await;
    server.finish().await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_server_ends_with_the_process_that_it_serves() {
    use std::process::{Command, Stdio};

    let mut editor = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let (mut server, mut script) = TestServer::spawn();
    server.call("initialize", json!({ "processId": editor.id(), "capabilities": {} })).await;
    server.open(URI, "x = ").await;
    server.request(INLINE, at(0, 4)).await;
    let run = script.run().await;
    editor.kill().unwrap();
    editor.wait().unwrap();
    // Our end of the pipe is open all the while.
    assert_eq!(server.ended().await, End::HangUp);
    run.cancelled().await;
}
