//! Any text around the cursor and any text out of the models: what an item says of its range and text is true.

use cosec_ls::engine::Finish;
use cosec_ls::prompt::stop::{StopRules, StopScanner};
use cosec_ls::text::{Encoding, Position};
use proptest::prelude::*;
use proptest::sample::Index;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::edits::Naive;
use crate::harness::fuzz;
use crate::scripted_backend::Run;
use crate::wire::{Wire, in_no_time, settle};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Input {
    language: String,
    before: String,
    after: String,
    by_hand: bool,
    multi_line: String,
    /// What is selected in the popup menu instead of so many characters left of the cursor.
    selected: Option<(u8, String)>,
    /// What the models decode, token by token.
    tokens: Vec<String>,
    ends_by_itself: bool,
}

const PIECES: [&str; 72] = [
    "a",
    "foo",
    "x = ",
    "foo(",
    ")",
    "(",
    "[",
    "]",
    "{",
    "}",
    "{ ",
    " }",
    "<div>",
    "</div>",
    "/** ",
    " */",
    "*/",
    "//",
    "# ",
    "\"",
    "'",
    "`",
    "\"\"\"",
    "$",
    "{{ ",
    " }}",
    ";",
    ",",
    ", ",
    ".",
    ":",
    " => {",
    "?;",
    "|",
    "||",
    "&&",
    "\\",
    "\n",
    "\n",
    "\n",
    "\n\n",
    "\r\n",
    "\r",
    "\t",
    "\n\t",
    "    ",
    "\n    ",
    "\n        ",
    "  \n",
    " ",
    "é",
    "🦀",
    "e\u{301}",
    "\u{200d}",
    "\u{feff}",
    "\u{2028}",
    "def f(x):",
    "return",
    "if x:",
    "else:",
    "case a)",
    "esac",
    "end",
    "fn f() {",
    "return a[0];",
    "<!--",
    "-->",
    "%}",
    "{% if x %}",
    "- item",
    "  key: value",
    "\u{fffd}",
];

const LANGUAGES: [&str; 14] = [
    "python",
    "rust",
    "c",
    "javascript",
    "html",
    "go",
    "makefile",
    "yaml",
    "markdown",
    "json",
    "shellscript",
    "latex",
    "plaintext",
    "",
];

fn text(most: usize) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(&PIECES[..]), 0..most)
        .prop_map(|pieces| pieces.concat())
}

fn inputs() -> impl Strategy<Value = Input> {
    let selected = prop::option::weighted(0.2, (0..4_u8, text(3)));
    let words = prop::collection::vec(prop::sample::select(&PIECES[..]), 0..20);
    // What stands below or right of the cursor is what models like to repeat.
    let tokens = (words, any::<Index>(), prop::bool::weighted(0.3));
    let place = (prop::sample::select(&LANGUAGES[..]), text(14), text(10));
    let ways =
        (any::<bool>(), prop::sample::select(&["auto", "always", "never"][..]), any::<bool>());
    (place, ways, selected, tokens).prop_map(|(place, ways, selected, (words, at, repeats))| {
        let (language, before, after) = place;
        let mut tokens: Vec<String> = words.into_iter().map(str::to_owned).collect();
        if repeats {
            tokens.insert(at.index(tokens.len() + 1), after.clone());
        }
        let (by_hand, multi_line, ends_by_itself) = ways;
        Input {
            language: language.to_owned(),
            before,
            after,
            by_hand,
            multi_line: multi_line.to_owned(),
            selected,
            tokens,
            ends_by_itself,
        }
    })
}

/// What the engine lets through of `tokens`, token by token, and whether a rule ended it.
fn released(rules: &StopRules, tokens: &[String]) -> (Vec<String>, bool) {
    let (mut scanner, mut all) = (StopScanner::new(rules.clone()), String::new());
    let (mut pieces, mut sent) = (Vec::new(), 0);
    for token in tokens {
        all += token;
        let stop = scanner.push(token);
        let stable = scanner.stable();
        assert!(stable >= sent, "{stable} bytes are stable after {sent} were");
        pieces.push(all[sent..stable].to_owned());
        sent = stable;
        if let Some(stop) = stop {
            assert_eq!(stop.keep, stable, "what is kept is not what is stable");
            assert_eq!(StopScanner::new(rules.clone()).push(&all), Some(stop), "pieces matter");
            return (pieces, true);
        }
    }
    let keep = scanner.finish();
    assert!(keep >= sent, "{keep} bytes are kept of {sent} that were sent");
    pieces.push(all[sent..keep].to_owned());
    (pieces, false)
}

async fn decode(input: &Input, run: &Run) {
    let (pieces, stopped) = released(&run.request.stop, &input.tokens);
    for piece in pieces {
        run.text(&piece);
        settle().await;
    }
    run.done(match (stopped, input.ends_by_itself) {
        (true, _) => Finish::StopRule(cosec_ls::prompt::stop::StopReason::Lines),
        (false, true) => Finish::EndOfText,
        (false, false) => Finish::TokenLimit,
    });
}

fn check(input: &Input) {
    in_no_time(async {
        let text = Naive(format!("{}{}", input.before, input.after));
        let cursor = place_of(&text, input.before.len());
        let (mut wire, mut script) = Wire::open();
        let general = json!({ "positionEncodings": ["utf-8"] });
        let options = json!({ "multiLine": input.multi_line });
        let params =
            json!({ "capabilities": { "general": general }, "initializationOptions": options });
        wire.request(1, "initialize", params).await;
        wire.notify("initialized", json!({})).await;
        let uri = "file:///w/a";
        let document =
            json!({ "uri": uri, "languageId": input.language, "version": 1, "text": text.0 });
        wire.notify("textDocument/didOpen", json!({ "textDocument": document })).await;
        let mut context = json!({ "triggerKind": if input.by_hand { 1 } else { 2 } });
        if let Some((back, entry)) = &input.selected {
            let from =
                Position { character: cursor.character.saturating_sub(u32::from(*back)), ..cursor };
            let range = json!({ "start": named(from), "end": named(cursor) });
            context["selectedCompletionInfo"] = json!({ "range": range, "text": entry });
        }
        let params = json!({
            "textDocument": { "uri": uri },
            "position": named(cursor),
            "context": context,
            "partialResultToken": "t",
        });
        wire.request(2, "textDocument/inlineCompletion", params).await;
        settle().await;
        if !script.is_idle() {
            decode(input, &script.run().await).await;
        }
        settle().await;
        let (_, said) = wire.close().await;
        look_at(input, &text, cursor, &said);
    });
}

/// The place of a byte, or of the nearest one before it that has a name; in bytes.
fn place_of(text: &Naive, byte: usize) -> Position {
    let mut line_start = 0;
    let mut line = 0;
    for (at, character) in text.0.char_indices() {
        let rest = &text.0[at..];
        let ends = character == '\n' || character == '\r' && !rest.starts_with("\r\n");
        if ends && at < byte {
            (line_start, line) = (at + 1, line + 1);
        }
    }
    let behind_return = text.0[..byte].ends_with('\r') && text.0[byte..].starts_with('\n');
    let character = byte - line_start - usize::from(behind_return);
    Position { line, character: character as u32 }
}

fn named(place: Position) -> Value {
    json!({ "line": place.line, "character": place.character })
}

fn look_at(input: &Input, text: &Naive, cursor: Position, said: &[Value]) {
    let answer = said.iter().find(|message| message["id"] == 2 && message.get("method").is_none());
    let answer = answer.unwrap_or_else(|| panic!("no answer: {said:?}"));
    assert!(answer.get("error").is_none(), "{answer}");
    let partial = said.iter().filter(|message| message["params"]["token"] == "t");
    let values = partial.map(|message| &message["params"]["value"]).chain([&answer["result"]]);
    let mut before: Option<String> = None;
    for value in values {
        let items = value["items"].as_array().unwrap_or_else(|| panic!("no list: {value}"));
        assert!(items.len() <= 1, "{value}");
        let Some(item) = items.first() else { continue };
        let insert = item["insertText"].as_str().unwrap_or_else(|| panic!("no text: {item}"));
        look_at_item(input, text, cursor, item, insert);
        if let Some(before) = &before {
            let agree = insert.starts_with(before.as_str()) || before.starts_with(insert);
            assert!(agree, "{insert:?} takes back some of {before:?}");
        }
        before = Some(insert.to_owned());
    }
}

fn look_at_item(input: &Input, text: &Naive, cursor: Position, item: &Value, insert: &str) {
    let place = |end: &str| -> Position {
        let number = |name: &str| item["range"][end][name].as_u64().unwrap() as u32;
        Position { line: number("line"), character: number("character") }
    };
    let (start, end) = (place("start"), place("end"));
    assert!(start <= cursor && cursor <= end, "the cursor is not in {item}");
    assert_eq!((start.line, end.line), (cursor.line, cursor.line), "{item}");
    let [from, at, to] = [start, cursor, end].map(|place| text.byte_of(place, Encoding::Utf8));
    assert!(insert.starts_with(&text.0[from..at]), "{item} does not begin with what is there");
    assert!(!insert.contains('\r'), "{item}");
    assert!(!text.0[at..to].contains(['\n', '\r']), "{item} swallows a line end");
    assert!(insert != &text.0[from..to], "{item} changes nothing");
    if let Some((_, entry)) = &input.selected {
        assert!(
            insert.starts_with(entry.as_str()),
            "{item} does not begin with the entry {entry:?}"
        );
    }
}

#[test]
fn items_keep_what_they_promise() {
    fuzz("completions", inputs(), check);
}
