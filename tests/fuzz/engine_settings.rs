//! Settings of any kind and size, up to the models: a real engine, and a question that is answered whatever they say.

use std::sync::Arc;

use cosec_ls::config::Settings;
use cosec_ls::engine::Backend;
use cosec_ls::engine::local::{LocalEngine, Reuse};
use cosec_ls::lsp::End;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::harness::fuzz;
use crate::tiny_pair::{PROFILE, TinyPair};
use crate::wire::{Wire, n_answers};

/// Settings that come with `initialize`, and those that come later.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Input {
    first: Value,
    then: Vec<Value>,
}

fn inputs() -> impl Strategy<Value = Input> {
    (options(), prop::collection::vec(options(), 0..3))
        .prop_map(|(first, then)| Input { first, then })
}

/// Some of the settings that there are, and some that are none.
fn options() -> impl Strategy<Value = Value> {
    let names: Vec<String> = match serde_json::to_value(Settings::default()) {
        Ok(Value::Object(fields)) => fields.into_iter().map(|(name, _)| name).collect(),
        other => unreachable!("settings are an object: {other:?}"),
    };
    let field = (prop::sample::select(names), any_value());
    let fields = prop::collection::vec(field, 0..5)
        .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>()));
    prop_oneof![12 => fields, 1 => any_value()]
}

fn any_value() -> impl Strategy<Value = Value> {
    let number =
        (0..64_u32, -1..2_i64).prop_map(|(bit, by)| json!((1_u64 << bit).wrapping_add_signed(by)));
    let float = any::<f64>().prop_map(|number| json!(number));
    prop_oneof![6 => (0..9_u64).prop_map(|number| json!(number)), 6 => number, 2 => float, 8 => word()]
}

fn word() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        Value::Null,
        json!(true),
        json!(false),
        json!(-1),
        json!(100_000),
        json!(1e300),
        json!(""),
        json!("auto"),
        json!("always"),
        json!("never"),
        json!("off"),
        json!("cosec"),
        json!("security"),
        json!("raw-base"),
        json!("tiny"),
        json!("no such profile"),
        json!("/nowhere"),
        json!([]),
        json!(["file"]),
        json!(["**/*.py"]),
        json!(["[", "{a,{b,{c", "!default", "!", "~/x", "/", "\u{0}"]),
        json!([["**", 0.5]]),
        json!([["[", 0.5], ["**", -1], ["**", null]]),
        json!({}),
        json!({ "*": true }),
        json!({ "python": false }),
        json!({ "*": 0.1, "python": 1e39 }),
        json!({ "cosec-ls": { "threads": 2 } }),
    ])
}

const URI: &str = "file:///w/a.py";

fn check(pair: &TinyPair, input: &Input) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let defaults = Settings { profile: PROFILE.to_owned(), threads: 1, ..Settings::default() };
        let engine = LocalEngine::start(pair.registry(), defaults.clone(), Reuse::Keep).unwrap();
        let mut wire = Wire::over(Arc::new(engine) as Arc<dyn Backend>, defaults);
        let params = json!({ "capabilities": {}, "initializationOptions": input.first });
        wire.request(1, "initialize", params).await;
        wire.notify("initialized", json!({})).await;
        for settings in &input.then {
            let params = json!({ "settings": { "cosec-ls": settings } });
            wire.notify("workspace/didChangeConfiguration", params).await;
        }
        let document = json!({ "uri": URI, "languageId": "python", "version": 1, "text": "x = " });
        wire.notify("textDocument/didOpen", json!({ "textDocument": document })).await;
        let params = json!({
            "textDocument": { "uri": URI },
            "position": { "line": 0, "character": 4 },
            "context": { "triggerKind": 1 },
        });
        wire.request(2, "textDocument/inlineCompletion", params).await;
        wire.answered(2).await;
        wire.request(3, "shutdown", Value::Null).await;
        wire.notify("exit", Value::Null).await;
        let (end, said) = wire.close().await;
        assert_eq!(end, End::Exit);
        for id in 1..=3 {
            assert_eq!(n_answers(&said, id), 1, "request {id}: {said:?}");
        }
    });
}

#[test]
fn any_settings_leave_an_engine_that_answers() {
    let pair = TinyPair::new();
    fuzz("settings", inputs(), |input| check(&pair, input));
}
