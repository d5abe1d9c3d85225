//! `cosec/explain`: why a suggestion is what it is.

use expect_test::expect;
use serde_json::json;

use super::test_server::{TestServer, at};

#[tokio::test]
async fn every_token_is_explained() {
    let (mut server, mut script) = TestServer::start("x = ").await;
    let id = server.request("textDocument/inlineCompletion", at(0, 4)).await;
    script.say("f(1)").await;
    let result = server.result(id).await;
    let suggestion = result["items"][0]["command"]["arguments"][0].clone();
    let item = json!({ "item": result["items"][0] });
    server.notify("textDocument/didShowCompletion", item.clone()).await;
    server.notify("textDocument/didPartiallyAcceptCompletion", item).await;
    let accept = json!({ "command": "cosec-ls.didAccept", "arguments": [suggestion] });
    server.call("workspace/executeCommand", accept).await;
    let counts = json!({ "suggested": 1, "shown": 1, "accepted": 1 });
    assert_eq!(server.status().await["suggestions"], counts);
    let mut explained = server.call("cosec/explain", suggestion.clone()).await;
    assert_eq!(explained["id"].take(), suggestion["id"]);
    explained["stats"].take();
    expect![[r#"
        {
          "adapter": null,
          "alpha": 0.3,
          "finish": "endOfText",
          "id": null,
          "interventions": 1,
          "language": "python",
          "mode": "cosec",
          "stats": null,
          "temperature": 0.4,
          "text": "f(1)",
          "tokens": [
            {
              "baseChoice": "other",
              "intervened": true,
              "p": 0.5,
              "q": 0.25,
              "ratio": 1.0,
              "rejected": null,
              "role": "security",
              "text": "f(1)",
              "token": 7
            }
          ],
          "uri": "file:///project/main.py"
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&explained).unwrap());
    for named_or_last in [json!([suggestion]), json!([]), json!([{}])] {
        let command = json!({ "command": "cosec-ls.explain", "arguments": named_or_last });
        let same = server.call("workspace/executeCommand", command).await;
        assert_eq!(same["tokens"], explained["tokens"]);
    }
    assert_eq!(server.call("cosec/explain", json!({})).await["id"], suggestion["id"]);
    server.finish().await;
}

#[tokio::test]
async fn an_unknown_suggestion_has_no_explanation() {
    let (mut server, _script) = TestServer::start("").await;
    assert_eq!(server.call("cosec/explain", json!({ "id": 987_654_321 })).await, json!(null));
    server.finish().await;
}
