//! Several suggestions for one place: drawn where the user asks, remembered where the editor asks by itself.

use cosec_ls::engine::Finish;
use serde_json::{Value, json};

use super::scripted_backend::Script;
use super::test_server::{TestServer, at, edit, with};

const INLINE: &str = "textDocument/inlineCompletion";

fn asked(line: u32, character: u32) -> Value {
    with(at(line, character), json!({ "context": { "triggerKind": 1 } }))
}

fn texts(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().unwrap().iter();
    items.map(|item| item["insertText"].as_str().unwrap()).collect()
}

async fn start() -> (TestServer, Script) {
    let params = json!({ "capabilities": {}, "initializationOptions": { "candidates": 3 } });
    TestServer::with(params, "x = ").await
}

/// Asks by hand, and has the models say all of `texts` in turn.
async fn draw(server: &mut TestServer, script: &mut Script, says: [&str; 3]) -> Value {
    let id = server.request(INLINE, asked(0, 4)).await;
    for (sample, text) in (0..).zip(says) {
        assert_eq!(script.say(text).await.sample, sample);
    }
    server.result(id).await
}

#[tokio::test]
async fn who_asks_may_choose() {
    let (mut server, mut script) = start().await;
    let list = draw(&mut server, &mut script, ["f(1)", "g(2)", "h(3)"]).await;
    assert_eq!(texts(&list), ["f(1)", "g(2)", "h(3)"]);
    let ids: std::collections::BTreeSet<_> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["command"]["arguments"][0]["id"].as_u64().unwrap())
        .collect();
    assert_eq!(ids.len(), 3);
    let last = server.call("cosec/explain", json!({})).await;
    assert_eq!(last["text"], "f(1)");
    let shown = json!({ "item": list["items"][1] });
    server.notify("textDocument/didShowCompletion", shown).await;
    assert_eq!(server.call("cosec/explain", json!({})).await["text"], "g(2)");
    for (id, text) in ids.into_iter().zip(["f(1)", "g(2)", "h(3)"]) {
        assert_eq!(server.call("cosec/explain", json!({ "id": id })).await["text"], text);
    }
    server.finish().await;
}

#[tokio::test]
async fn equal_and_empty_ones_are_no_choice() {
    let (mut server, mut script) = start().await;
    assert_eq!(texts(&draw(&mut server, &mut script, ["f(1)", "f(1)", ""]).await), ["f(1)"]);
    server.finish().await;
}

#[tokio::test]
async fn what_was_drawn_is_remembered_for_its_place() {
    let (mut server, mut script) = start().await;
    draw(&mut server, &mut script, ["f(1)", "g(2)", "h(3)"]).await;
    for question in [at(0, 4), asked(0, 4)] {
        assert_eq!(texts(&server.call(INLINE, question).await), ["f(1)", "g(2)", "h(3)"]);
    }
    // Where the user types on, those that begin otherwise are gone.
    server.send(&[edit(2, 0, 4..4, "g(")]).await;
    assert_eq!(texts(&server.call(INLINE, at(0, 6)).await), ["2)"]);
    assert!(script.is_idle());
    server.finish().await;
}

#[tokio::test]
async fn a_question_that_came_by_itself_draws_once() {
    let (mut server, mut script) = start().await;
    let id = server.request(INLINE, at(0, 4)).await;
    script.say("f(1)").await;
    assert_eq!(texts(&server.result(id).await), ["f(1)"]);
    // The one that was asked for begins with what is there.
    let id = server.request(INLINE, asked(0, 4)).await;
    script.say("g(2)").await;
    script.say("h(3)").await;
    assert_eq!(texts(&server.result(id).await), ["f(1)", "g(2)", "h(3)"]);
    server.finish().await;
}

#[tokio::test]
async fn the_list_grows_while_it_streams() {
    let (mut server, mut script) = start().await;
    let question = with(asked(0, 4), json!({ "partialResultToken": "t" }));
    let id = server.request(INLINE, question).await;
    script.say("f(1)").await;
    let mut seen = Vec::new();
    loop {
        let message = server.next().await;
        if message["id"] == id {
            assert_eq!(texts(&message["result"]), ["f(1)", "g(2)", "h(3)"]);
            break;
        }
        let list = &message["params"]["value"];
        seen.push(texts(list).len());
        match seen.last() {
            Some(1) if seen.len() == 1 => drop(script.say("g(2)").await),
            Some(2) => drop(script.say("h(3)").await),
            _ => {}
        }
    }
    assert!(seen.is_sorted() && seen.contains(&2), "{seen:?}");
    server.finish().await;
}

#[tokio::test]
async fn a_newer_question_ends_the_drawing() {
    let (mut server, mut script) = start().await;
    let older = server.request(INLINE, asked(0, 4)).await;
    script.say("f(1)").await;
    let second = script.run().await;
    assert_eq!(second.request.sample, 1);
    let newer = server.request(INLINE, at(0, 4)).await;
    let (mut answers, mut refused) = (0, 0);
    for message in [server.next().await, server.next().await] {
        if message["id"] == older {
            assert_eq!(message["error"]["code"], -32800);
            refused += 1;
        } else {
            assert_eq!(message["id"], newer);
            assert_eq!(texts(&message["result"]), ["f(1)"]);
            answers += 1;
        }
    }
    assert_eq!((answers, refused), (1, 1));
    second.cancelled().await;
    second.done(Finish::Cancelled);
    server.finish().await;
}

#[tokio::test]
async fn their_number_is_a_setting_and_the_menu_has_one() {
    let options = json!({ "candidates": 2, "popup": "always" });
    let params = json!({ "capabilities": {}, "initializationOptions": options });
    let (mut server, mut script) = TestServer::with(params, "x = ").await;
    let id = server.request("textDocument/completion", asked(0, 4)).await;
    script.say("f(1)").await;
    assert_eq!(server.result(id).await["items"].as_array().unwrap().len(), 1);
    let id = server.request(INLINE, asked(0, 4)).await;
    script.say("g(2)").await;
    assert_eq!(texts(&server.result(id).await), ["f(1)", "g(2)"]);
    assert!(script.is_idle());
    server.finish().await;
}
