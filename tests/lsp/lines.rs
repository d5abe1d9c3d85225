//! Command line and server have one notion of a line and of a column.

use cosec_ls::cli::complete::Place;
use cosec_ls::prompt::window::{WindowBudget, prompt_at};
use cosec_ls::text::{ByteIdx, Document};
use serde_json::json;

use super::test_server::{TestServer, at, with};

const INLINE: &str = "textDocument/inlineCompletion";
const BUDGET: WindowBudget = WindowBudget { prefix_bytes: 4096, suffix_bytes: 1024 };

/// What stands before and behind the place that a person names `FILE:LINE:COLUMN`.
fn by_command_line(name: &str, text: &str, line: usize, column: usize) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(name);
    std::fs::write(&file, text).unwrap();
    let place = Place::parse(&format!("{}:{line}:{column}", file.display())).unwrap();
    let document = Document::new(&place.text, 0, &place.language);
    let prompt = prompt_at(&document, ByteIdx(place.cursor), BUDGET);
    (prompt.above + &prompt.left, prompt.suffix)
}

/// The same by the protocol, in UTF-16 units from 0.
async fn by_server(text: &str, line: u32, character: u32) -> (String, String) {
    let (mut server, mut script) = TestServer::with(json!({ "capabilities": {} }), text).await;
    let ask = with(at(line, character), json!({ "context": { "triggerKind": 1 } }));
    let id = server.request(INLINE, ask).await;
    let request = script.say("1").await;
    server.result(id).await;
    server.finish().await;
    (request.prompt.above.clone() + &request.prompt.left, request.prompt.suffix.clone())
}

#[tokio::test]
async fn command_line_and_server_agree_on_lines_and_columns() {
    // Text, line and column of a person, what the server's client adds to the column, and what stands before the place.
    for (text, line, column, extra, before) in [
        ("ab\ncd\n", 2, 2, 0, "ab\nc"),
        ("ab\r\ncd\r\n", 2, 2, 0, "ab\nc"),
        ("ab\rcd\ref", 2, 2, 0, "ab\nc"),
        ("ab\rcd\ref", 3, 3, 0, "ab\ncd\nef"),
        ("ab\r\r\ncd\n\re", 5, 1, 0, "ab\n\ncd\n\n"),
        ("a\u{2028}b\u{2029}c\nd", 2, 1, 0, "a\u{2028}b\u{2029}c\n"),
        ("a\u{c}b\u{b}c\u{85}d\u{1c}e\nf", 1, 9, 0, "a\u{c}b\u{b}c\u{85}d\u{1c}"),
        ("é𝒳\nü", 2, 2, 0, "é𝒳\nü"),
        // A client that keeps the mark counts it on its line, and on no other.
        ("\u{feff}ab\ncd", 1, 1, 1, ""),
        ("\u{feff}ab\ncd", 1, 3, 1, "ab"),
        ("\u{feff}ab\ncd", 2, 2, 0, "ab\nc"),
        ("\u{feff}ab\rcd", 2, 1, 0, "ab\n"),
        ("\u{feff}", 1, 1, 1, ""),
    ] {
        let ours = by_command_line("a.py", text, line, column);
        let theirs = by_server(text, line as u32 - 1, column as u32 - 1 + extra).await;
        assert_eq!(ours, theirs, "{text:?}");
        assert_eq!(ours.0, before, "{text:?}");
        assert!(!ours.1.contains('\r'), "{text:?}");
    }
}

#[tokio::test]
async fn a_byte_order_mark_is_shown_to_no_model() {
    for character in 0..3 {
        let (before, behind) = by_server("\u{feff}ab\ncd", 0, character).await;
        assert!(!format!("{before}{behind}").contains('\u{feff}'), "{character}");
    }
}

#[test]
fn a_file_in_another_encoding_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let little = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
    for (bytes, encoding) in [
        (little("\u{feff}a = 1\n"), "is UTF-16;"),
        (little("a = 1\n"), "is UTF-16LE;"),
        (b"\xfe\xff\0a".to_vec(), "is UTF-16;"),
        (b"a = \"\xe9\"\n".to_vec(), "is not UTF-8 text"),
    ] {
        let file = folder.path().join("a.py");
        std::fs::write(&file, bytes).unwrap();
        let error = Place::parse(&format!("{}:1", file.display())).unwrap_err();
        assert!(error.to_string().contains(encoding), "{error}");
    }
}

#[test]
fn the_command_line_knows_a_file_s_language() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text, language) in [
        ("b.tsx", "x", "typescriptreact"),
        ("Makefile", "x", "makefile"),
        ("a.yml", "x", "yaml"),
        ("a.md", "x", "markdown"),
        (".bashrc", "x", "shellscript"),
        ("run", "#!/usr/bin/env python3\n", "python"),
        ("deploy", "#!/bin/bash\n", "shellscript"),
    ] {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        let place = Place::parse(&format!("{}:1", file.display())).unwrap();
        assert_eq!(place.language, language, "{name}");
    }
}
