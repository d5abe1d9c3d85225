//! One open document: its text, version and language.
//!
//! The text is a rope, so that a snapshot is O(1) and an edit of a 5 MB file is O(log n). Lines end
//! at `\n`, `\r\n` and `\r`, as LSP says. Changes come in through `edit.rs`, places through
//! `position.rs`.

use std::ops::Range;
use std::sync::Arc;

use ropey::Rope;

use super::ByteIdx;
use super::language::editor_id;

/// Text that is looked at for a NUL byte; git looks at as many.
const BINARY_PROBE_BYTES: usize = 8000;

/// What some programs write at the start of a file in UTF-8.
pub const BYTE_ORDER_MARK: char = '\u{feff}';

/// What the user has typed into one buffer.
///
/// Cloning is O(1) and the clone never changes: it is the snapshot that a request works on.
#[derive(Clone, Debug)]
pub struct Document {
    pub(super) rope: Rope,
    pub(super) version: i32,
    language: Arc<str>,
}

impl Document {
    /// A document as the editor opened it. `language` is the editor's language id, however the editor spells it
    /// ([`editor_id`]).
    pub fn new(text: &str, version: i32, language: &str) -> Self {
        Self { rope: Rope::from_str(text), version, language: editor_id(language).into() }
    }

    /// The editor's version of this text, as the editor counts.
    pub fn version(&self) -> i32 {
        self.version
    }

    /// The language id, spelled as [`editor_id`] does.
    pub fn language(&self) -> &str {
        &self.language
    }

    /// Length of the text, which is also the last place in it.
    pub fn len(&self) -> ByteIdx {
        ByteIdx(self.rope.len_bytes())
    }

    /// Where the text begins, behind a byte order mark.
    pub fn start(&self) -> ByteIdx {
        let has_mark = self.rope.get_char(0) == Some(BYTE_ORDER_MARK);
        ByteIdx(if has_mark { BYTE_ORDER_MARK.len_utf8() } else { 0 })
    }

    /// Whether there is no text at all.
    pub fn is_empty(&self) -> bool {
        self.rope.len_bytes() == 0
    }

    /// A piece of the text as it is, line ends included. A byte order mark at the start of the text is no part of it:
    /// editors that send one count it in columns, but it is nothing that anybody wrote.
    ///
    /// # Panics
    ///
    /// When an end of `range` lies beyond the text or inside a character, or the ends are reversed.
    pub fn slice(&self, range: Range<ByteIdx>) -> String {
        let piece = self.rope.byte_slice(range.start.0..range.end.0).to_string();
        match piece.strip_prefix(BYTE_ORDER_MARK) {
            Some(rest) if range.start.0 == 0 => rest.to_owned(),
            _ => piece,
        }
    }

    /// The nearest character boundary at or before `at`; the end of the text for a place beyond it.
    pub fn char_start(&self, at: ByteIdx) -> ByteIdx {
        let at = at.0.min(self.rope.len_bytes());
        ByteIdx(self.rope.char_to_byte(self.rope.byte_to_char(at)))
    }

    /// A copy in which `text` stands in place of `range`; the version stays.
    ///
    /// # Panics
    ///
    /// When an end of `range` lies beyond the text or inside a character, or the ends are reversed.
    pub fn with_replaced(&self, range: Range<ByteIdx>, text: &str) -> Self {
        let mut replaced = self.clone();
        let start = self.rope.byte_to_char(range.start.0);
        let end = self.rope.byte_to_char(range.end.0);
        replaced.rope.remove(start..end);
        replaced.rope.insert(start, text);
        replaced
    }

    /// Number of lines; a final line break opens one more, empty line, and an empty text has one.
    pub fn line_count(&self) -> usize {
        self.rope.len_lines()
    }

    /// Index of the line that holds `at`.
    ///
    /// # Panics
    ///
    /// When `at` lies beyond the text.
    pub fn line_of(&self, at: ByteIdx) -> usize {
        self.rope.byte_to_line(at.0)
    }

    /// Start of line `line_idx`; the end of the text for a line beyond it.
    pub fn n_th_line_start(&self, line_idx: usize) -> ByteIdx {
        ByteIdx(self.rope.line_to_byte(line_idx.min(self.rope.len_lines())))
    }

    /// End of line `line_idx`, before its line break; the end of the text for a line beyond it.
    pub fn n_th_line_end(&self, line_idx: usize) -> ByteIdx {
        let Some(line) = self.rope.get_line(line_idx) else {
            return self.len();
        };
        let mut end = line.len_chars();
        for line_break in ['\n', '\r'] {
            if end > 0 && line.char(end - 1) == line_break {
                end -= 1;
            }
        }
        ByteIdx(self.rope.line_to_byte(line_idx) + line.char_to_byte(end))
    }

    /// Start of the line that holds `at`.
    ///
    /// # Panics
    ///
    /// When `at` lies beyond the text.
    pub fn line_start(&self, at: ByteIdx) -> ByteIdx {
        self.n_th_line_start(self.line_of(at))
    }

    /// End of the line that holds `at`, before its line break.
    ///
    /// # Panics
    ///
    /// When `at` lies beyond the text.
    pub fn line_end(&self, at: ByteIdx) -> ByteIdx {
        self.n_th_line_end(self.line_of(at))
    }

    /// Whether a NUL byte stands near the start, which no source file has.
    pub fn looks_binary(&self) -> bool {
        self.rope.bytes().take(BINARY_PROBE_BYTES).any(|byte| byte == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: &str) -> Document {
        Document::new(text, 1, "python")
    }

    #[test]
    fn lines_end_at_newline_carriage_return_and_both() {
        let text = document("one\r\ntwo\rthree\nfour");
        let lines = (0..text.line_count())
            .map(|line| text.slice(text.n_th_line_start(line)..text.n_th_line_end(line)));
        assert_eq!(lines.collect::<Vec<_>>(), ["one", "two", "three", "four"]);
    }

    #[test]
    fn unicode_separators_end_no_line() {
        assert_eq!(document("a\u{2028}b\u{85}c\u{b}d").line_count(), 1);
    }

    #[test]
    fn a_final_line_break_opens_an_empty_line() {
        let text = document("a\n");
        assert_eq!(text.line_count(), 2);
        assert_eq!(text.line_of(text.len()), 1);
        assert_eq!(text.line_start(text.len()), text.line_end(text.len()));
    }

    #[test]
    fn an_empty_text_has_one_line() {
        let text = document("");
        assert_eq!((text.line_count(), text.line_end(ByteIdx(0))), (1, ByteIdx(0)));
        assert_eq!((text.n_th_line_start(7), text.n_th_line_end(7)), (ByteIdx(0), ByteIdx(0)));
    }

    #[test]
    fn between_carriage_return_and_newline_the_line_is_the_one_before() {
        let text = document("ab\r\ncd");
        assert_eq!((text.line_of(ByteIdx(3)), text.line_end(ByteIdx(3))), (0, ByteIdx(2)));
    }

    #[test]
    fn a_place_inside_a_character_moves_to_its_start() {
        let text = document("a🦀b");
        let places = [0, 1, 2, 4, 5, 9].map(|at| text.char_start(ByteIdx(at)).0);
        assert_eq!(places, [0, 1, 1, 1, 5, 6]);
    }

    #[test]
    fn a_replaced_copy_leaves_the_document_alone() {
        let text = document("aéb");
        let other = text.with_replaced(ByteIdx(1)..ByteIdx(3), "xy");
        assert_eq!(other.slice(ByteIdx(0)..other.len()), "axyb");
        assert_eq!(text.slice(ByteIdx(0)..text.len()), "aéb");
    }

    #[test]
    fn a_byte_order_mark_counts_and_is_not_read() {
        let text = document("\u{feff}ab\n\u{feff}c");
        assert_eq!((text.start(), text.len()), (ByteIdx(3), ByteIdx(10)));
        assert_eq!(text.slice(ByteIdx(0)..text.len()), "ab\n\u{feff}c");
        assert_eq!(text.slice(ByteIdx(0)..ByteIdx(3)), "");
        assert_eq!((document("ab").start(), document("").start()), (ByteIdx(0), ByteIdx(0)));
    }

    #[test]
    fn the_language_is_spelled_in_one_way() {
        let language = |id| Document::new("", 1, id).language().to_owned();
        assert_eq!(
            ["sh", "tsx", "rust", "unheard-of", ""].map(language),
            ["shellscript", "typescriptreact", "rust", "unheard-of", ""]
        );
    }

    #[test]
    fn binary_is_told_by_a_nul() {
        assert!(document("\u{7f}ELF\0\0").looks_binary());
        assert!(!document("x = 1\n").looks_binary());
    }
}
