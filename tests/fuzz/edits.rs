//! Edits and places, against a plain string.

use std::ops::Range;

use cosec_ls::text::{ByteIdx, Document, Edit, Encoding, Position};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::harness::fuzz;

/// One edit as it is sent: start, end, both as line and column, and the new text.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Change {
    start: (u32, u32),
    end: (u32, u32),
    text: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Input {
    text: String,
    /// One message per item.
    changes: Vec<Vec<Change>>,
    /// A place to name and to find again.
    place: (u32, u32),
}

const ENCODINGS: [Encoding; 3] = [Encoding::Utf8, Encoding::Utf16, Encoding::Utf32];

/// A text of a few lines, with what is hard about lines and widths.
pub fn naive_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        6 => prop::sample::select(&["a", "x = f(", ")", "    ", "\t", "é", "🦀", "𝒳", "\"", "e\u{301}"][..]),
        3 => prop::sample::select(&["\n", "\r\n", "\r", "\n\r"][..]),
        1 => prop::sample::select(&["\u{2028}", "\u{85}", "\u{b}", "\u{200d}", "\u{fffd}"][..]),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// The edits of one message.
pub fn changes() -> impl Strategy<Value = Vec<Change>> {
    let place = || {
        let far = prop_oneof![9 => 0..6_u32, 1 => any::<u32>()];
        (far, prop_oneof![9 => 0..14_u32, 1 => any::<u32>()])
    };
    let ordered = (place(), place(), prop::bool::weighted(0.95))
        .prop_map(|(a, b, in_order)| if in_order { (a.min(b), a.max(b)) } else { (a, b) });
    let change =
        (ordered, naive_text()).prop_map(|((start, end), text)| Change { start, end, text });
    prop::collection::vec(change, 0..4)
}

impl Change {
    fn edit(&self) -> Edit {
        Edit { range: Some(position(self.start)..position(self.end)), text: self.text.clone() }
    }

    pub fn to_json(&self) -> Value {
        let place = |(line, character): (u32, u32)| json!({ "line": line, "character": character });
        let range = json!({ "start": place(self.start), "end": place(self.end) });
        json!({ "range": range, "text": self.text })
    }
}

fn position((line, character): (u32, u32)) -> Position {
    Position { line, character }
}

/// The obvious twin of [`Document`]: a string, its lines found by walking over it.
#[derive(Clone, Debug)]
pub struct Naive(pub String);

impl Naive {
    fn lines(&self) -> Vec<Range<usize>> {
        let (mut lines, mut start, mut at) = (Vec::new(), 0, 0);
        while at < self.0.len() {
            let line_break = match &self.0.as_bytes()[at..] {
                [b'\r', b'\n', ..] => 2,
                [b'\r' | b'\n', ..] => 1,
                _ => 0,
            };
            if line_break > 0 {
                lines.push(start..at);
                start = at + line_break;
            }
            at += line_break.max(1);
        }
        lines.push(start..self.0.len());
        lines
    }

    pub fn byte_of(&self, position: Position, encoding: Encoding) -> usize {
        let lines = self.lines();
        let Some(line) = lines.get(position.line as usize) else { return self.0.len() };
        let mut units = position.character as usize;
        let mut byte = line.start;
        for character in self.0[line.clone()].chars() {
            let width = match encoding {
                Encoding::Utf8 => character.len_utf8(),
                Encoding::Utf16 => character.len_utf16(),
                Encoding::Utf32 => 1,
            };
            if units < width {
                break;
            }
            units -= width;
            byte += character.len_utf8();
        }
        byte
    }

    /// The text after all of them; none if one names no place.
    pub fn apply_all(mut self, changes: &[Change], encoding: Encoding) -> Option<Self> {
        for change in changes {
            let (start, end) = (position(change.start), position(change.end));
            if end < start || end.line as usize > self.lines().len() {
                return None;
            }
            let range = self.byte_of(start, encoding)..self.byte_of(end, encoding);
            self.0.replace_range(range, &change.text);
        }
        Some(self)
    }
}

fn check(input: &Input) {
    for encoding in ENCODINGS {
        let mut document = Document::new(&input.text, 1, "");
        let mut naive = Naive(input.text.clone());
        for (version, changes) in (2..).zip(&input.changes) {
            let edits: Vec<Edit> = changes.iter().map(Change::edit).collect();
            let applied = document.apply(version, &edits, encoding);
            let expected = naive.clone().apply_all(changes, encoding);
            assert_eq!(applied.is_ok(), expected.is_some(), "{applied:?} {expected:?}");
            naive = expected.unwrap_or(naive);
            assert_eq!(document.slice(ByteIdx(0)..document.len()), naive.0);
        }
        check_places(&document, &naive, position(input.place), encoding);
    }
}

fn check_places(document: &Document, naive: &Naive, place: Position, encoding: Encoding) {
    let lines = naive.lines();
    assert_eq!(document.line_count(), lines.len());
    for (line_idx, line) in lines.iter().enumerate() {
        assert_eq!(document.n_th_line_start(line_idx), ByteIdx(line.start));
        assert_eq!(document.n_th_line_end(line_idx), ByteIdx(line.end));
    }
    let at = document.byte_of(place, encoding);
    assert_eq!(at.0, naive.byte_of(place, encoding));
    let named = document.position_of(at, encoding);
    assert_eq!(document.byte_of(named, encoding), at, "{named:?} is not where it came from");
    for byte in 0..=naive.0.len() + 2 {
        let start = document.char_start(ByteIdx(byte));
        assert!(naive.0.is_char_boundary(start.0) && start.0 <= byte);
        document.position_of(start, encoding);
    }
}

#[test]
fn edits_do_what_they_do_to_a_string() {
    let inputs = (naive_text(), prop::collection::vec(changes(), 0..4), (0..8_u32, 0..16_u32));
    let inputs = inputs.prop_map(|(text, changes, place)| Input { text, changes, place });
    fuzz("edits", inputs, check);
}
