//! Changes to a document, as an editor reports them.
//!
//! Columns beyond a line and inside a character are moved as `position.rs` says. A line may lie one
//! beyond the last (editors delete to there); a line further off means that editor and server hold
//! different texts, and nothing is changed.

use std::ops::Range;

use super::{ByteIdx, Document, Encoding, Position};

/// One change: the text in `range` becomes `text`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// What is replaced, in the text that the edits before this one left; the whole text if absent.
    pub range: Option<Range<Position>>,
    /// What takes its place.
    pub text: String,
}

/// Why a document was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The change is about a line that the document does not have.
    #[error("line {line} is beyond the end of a document of {line_count} lines")]
    BeyondEnd {
        /// Line of the change, from 0.
        line: u32,
        /// Lines that there are.
        line_count: usize,
    },
    /// The end of the range lies before its start.
    #[error("the range ends at {end:?}, before its start at {start:?}")]
    Reversed {
        /// Start of the range.
        start: Position,
        /// End of the range.
        end: Position,
    },
}

impl Edit {
    /// Where the new text ends in `after`, the document that this edit led to; none for a whole text. A guess where the
    /// edit began at a column beyond its line, which `after` no longer tells.
    pub fn end_in(&self, after: &Document, encoding: Encoding) -> Option<ByteIdx> {
        let start = self.range.as_ref()?.start;
        Some(after.char_start(ByteIdx(after.byte_of(start, encoding).0 + self.text.len())))
    }
}

impl Document {
    /// Applies `edits` in order, each to the text that the one before it left. Any `version` will do: editors count as
    /// they like, and an edit that is left out costs more than one that was numbered oddly.
    ///
    /// # Errors
    ///
    /// When a range names no place in the text. The document is then as it was.
    pub fn apply(
        &mut self,
        version: i32,
        edits: &[Edit],
        encoding: Encoding,
    ) -> Result<(), EditError> {
        let mut changed = self.clone();
        for edit in edits {
            changed.apply_one(edit, encoding)?;
        }
        changed.version = version;
        *self = changed;
        Ok(())
    }

    fn apply_one(&mut self, edit: &Edit, encoding: Encoding) -> Result<(), EditError> {
        let Some(Range { start, end }) = edit.range else {
            self.rope = ropey::Rope::from_str(&edit.text);
            return Ok(());
        };
        if end < start {
            return Err(EditError::Reversed { start, end });
        }
        let line_count = self.line_count();
        if end.line as usize > line_count {
            return Err(EditError::BeyondEnd { line: end.line, line_count });
        }
        let start = self.rope.byte_to_char(self.byte_of(start, encoding).0);
        let end = self.rope.byte_to_char(self.byte_of(end, encoding).0);
        self.rope.remove(start..end);
        self.rope.insert(start, &edit.text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    fn at(line: u32, character: u32) -> Position {
        Position { line, character }
    }

    fn replace(range: Range<Position>, text: &str) -> Edit {
        Edit { range: Some(range), text: text.to_owned() }
    }

    fn text_of(document: &Document) -> String {
        document.slice(ByteIdx(0)..document.len())
    }

    fn check(before: &str, edits: &[Edit], after: &str) {
        let mut document = Document::new(before, 1, "");
        document.apply(2, edits, Encoding::Utf16).unwrap();
        assert_eq!((text_of(&document).as_str(), document.version()), (after, 2));
    }

    #[test]
    fn an_edit_ends_behind_its_text() {
        let end = |edit: &Edit| {
            let mut document = Document::new("a\r\nüx\n", 1, "");
            document.apply(2, std::slice::from_ref(edit), Encoding::Utf16).unwrap();
            edit.end_in(&document, Encoding::Utf16)
        };
        assert_eq!(end(&replace(at(1, 1)..at(1, 2), "\r\n🦀")), Some(ByteIdx(11)));
        assert_eq!(end(&replace(at(1, 0)..at(2, 0), "")), Some(ByteIdx(3)));
        assert_eq!(end(&Edit { range: None, text: "b".to_owned() }), None);
    }

    /// The obvious twin of [`Document::apply`]: a string, its lines found by walking over it.
    struct Model(String);

    impl Model {
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

        fn byte_of(&self, position: Position, encoding: Encoding) -> usize {
            let lines = self.lines();
            let Some(line) = lines.get(position.line as usize) else {
                return self.0.len();
            };
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

        fn apply(&mut self, edit: &Edit, encoding: Encoding) {
            let Some(Range { start, end }) = edit.range else {
                self.0.clone_from(&edit.text);
                return;
            };
            let bytes = self.byte_of(start, encoding)..self.byte_of(end, encoding);
            self.0.replace_range(bytes, &edit.text);
        }
    }

    fn any_text() -> impl Strategy<Value = String> {
        prop::collection::vec(
            prop::sample::select(vec![
                "a", "b ", "\t", "\n", "\r\n", "\r", "é", "𝒳", "🦀", "\u{301}",
            ]),
            0..8,
        )
        .prop_map(|parts| parts.concat())
    }

    /// Numbers that are scaled to the lines and columns of the text when the edit is applied.
    fn any_edit() -> impl Strategy<Value = ([u32; 4], String, bool)> {
        (any::<[u32; 4]>(), any_text(), prop::bool::weighted(0.02))
    }

    fn scaled(document: &Document, numbers: [u32; 4]) -> Range<Position> {
        let lines = document.line_count() as u32 + 1;
        let [a, b, c, d] = numbers;
        let (one, two) = (at(a % lines, b % 12), at((a + c % 2) % lines, d % 12));
        one.min(two)..one.max(two)
    }

    proptest! {
        // 3 encodings × 35 cases × 100 edits: ten thousand.
        #![proptest_config(ProptestConfig::with_cases(35))]
        #[test]
        fn edits_agree_with_a_plain_string(
            edits in prop::collection::vec(any_edit(), 100)
        ) {
            for encoding in [Encoding::Utf8, Encoding::Utf16, Encoding::Utf32] {
                let mut document = Document::new("", 0, "");
                let mut model = Model(String::new());
                for (version, (numbers, text, full)) in (1..).zip(edits.clone()) {
                    let range = (!full).then(|| scaled(&document, numbers));
                    let edit = Edit { range, text };
                    model.apply(&edit, encoding);
                    document.apply(version, &[edit], encoding).unwrap();
                    prop_assert_eq!(text_of(&document), model.0.as_str());
                    prop_assert_eq!(document.line_count(), model.lines().len());
                }
            }
        }
    }

    #[test]
    fn edits_apply_one_after_another() {
        check("a\nb", &[replace(at(0, 1)..at(1, 0), ""), replace(at(0, 2)..at(0, 2), "c")], "abc");
    }

    #[test]
    fn the_whole_text_can_be_replaced() {
        check("a\r\nb", &[Edit { range: None, text: "new".to_owned() }], "new");
        check("old", &[replace(at(0, 0)..at(1, 0), "new")], "new");
    }

    #[test]
    fn an_empty_text_takes_an_edit() {
        check("", &[replace(at(0, 0)..at(0, 0), "x\n")], "x\n");
    }

    #[test]
    fn an_edit_may_join_carriage_return_and_newline() {
        check("a\rb\nc", &[replace(at(1, 0)..at(1, 1), "")], "a\r\nc");
    }

    #[test]
    fn a_failed_edit_changes_nothing() {
        let mut document = Document::new("a\n", 4, "");
        let good = replace(at(0, 0)..at(0, 0), "x");
        let beyond = replace(at(3, 0)..at(3, 0), "y");
        let reversed = replace(at(0, 1)..at(0, 0), "y");
        let errors = [
            document.apply(5, &[good.clone(), beyond], Encoding::Utf8),
            document.apply(5, &[good, reversed], Encoding::Utf8),
        ];
        assert!(matches!(
            errors,
            [Err(EditError::BeyondEnd { line: 3, line_count: 2 }), Err(EditError::Reversed { .. }),]
        ));
        assert_eq!((text_of(&document).as_str(), document.version()), ("a\n", 4));
    }

    #[test]
    fn any_version_will_do() {
        let mut document = Document::new("", 3, "");
        for version in [3, 3, 1, 0, -7, i32::MAX, i32::MIN] {
            let end = at(0, document.len().0 as u32);
            document.apply(version, &[replace(end..end, "x")], Encoding::Utf8).unwrap();
            assert_eq!(document.version(), version);
        }
        assert_eq!(text_of(&document), "xxxxxxx");
    }

    #[test]
    fn five_megabytes_are_edited_in_no_time() {
        let line = "let answer = compute(41) + 1; // 𝒳\n";
        let mut document = Document::new(&line.repeat(5_000_000 / line.len()), 0, "rust");
        let started = Instant::now();
        for version in 1..=10_000 {
            let place = at((version as u32 * 7919) % 100_000, 12);
            document.apply(version, &[replace(place..place, "x")], Encoding::Utf16).unwrap();
        }
        // Far more than it takes, for slow machines; a copy of the text per edit takes longer.
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    }
}
