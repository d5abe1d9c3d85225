//! The text near a cursor, cut to a size that every keystroke can afford.
//!
//! What [`super::trigger`], [`super::style`] and [`super::trim`] know of the document.

use crate::prompt::window::with_newlines;
use crate::text::{ByteIdx, Document};

/// Bytes that are looked at on either side of the cursor's line: the blocks around it, rarely more.
const REACH_BYTES: usize = 4096;
/// Bytes of the cursor's line that are looked at on either side of the cursor.
const LINE_BYTES: usize = 4096;
/// Bytes of an over-long line's start that may be its indentation.
const INDENT_BYTES: usize = 256;

/// The text near a cursor. Line ends are `\n`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Lines above the cursor's line.
    pub above: String,
    /// Whether `above` begins where the document begins.
    pub from_start: bool,
    /// The cursor's line up to the cursor; of an over-long line its indentation and its end.
    pub left: String,
    /// The cursor's line from the cursor on, without its line break.
    pub right: String,
    /// Lines below the cursor's line.
    pub below: String,
    /// Whether `below` ends where the document ends.
    pub to_end: bool,
    /// The editor's language id.
    pub language: String,
}

impl Surroundings {
    /// The text near `cursor`, which lies in the text.
    pub fn at(document: &Document, cursor: ByteIdx) -> Self {
        let start = document.line_start(cursor);
        let end = document.line_end(cursor).max(cursor);
        let above = document.char_start(ByteIdx(start.0.saturating_sub(REACH_BYTES)));
        let right = document.char_start(ByteIdx(cursor.0.saturating_add(LINE_BYTES)));
        let next = document.n_th_line_start(document.line_of(cursor) + 1).max(cursor);
        let below = document.char_start(ByteIdx(next.0.saturating_add(REACH_BYTES)));
        Self {
            above: with_newlines(document.slice(above..start)),
            from_start: above.0 == 0,
            left: left(document, start, cursor.min(document.line_end(cursor))),
            right: document.slice(cursor..right.min(end)),
            below: with_newlines(document.slice(next..below)),
            to_end: below == document.len(),
            language: document.language().to_owned(),
        }
    }

    /// All that is seen before the cursor.
    pub fn before(&self) -> String {
        format!("{}{}", self.above, self.left)
    }

    /// Whether all of the document is seen.
    pub fn is_whole(&self) -> bool {
        self.from_start && self.to_end
    }

    /// The lines below that hold more than white space.
    pub fn lines_below(&self) -> impl Iterator<Item = &str> {
        self.below.lines().filter(|line| !line.trim().is_empty())
    }
}

fn left(document: &Document, start: ByteIdx, end: ByteIdx) -> String {
    if end.0 - start.0 <= LINE_BYTES {
        return document.slice(start..end);
    }
    let head = document.char_start(ByteIdx(start.0 + INDENT_BYTES));
    let head = document.slice(start..head);
    let indentation = &head[..head.len() - head.trim_start().len()];
    let tail = document.char_start(ByteIdx(end.0 - LINE_BYTES));
    format!("{indentation}{}", document.slice(tail..end).trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Surroundings {
        let cursor = text.find("$0").expect("the text has a cursor");
        Surroundings::at(&Document::new(&text.replacen("$0", "", 1), 1, "c"), ByteIdx(cursor))
    }

    #[test]
    fn the_cursor_parts_its_line() {
        let near = at("a\r\n  b$0c\r\n\r\nd\r\n");
        assert_eq!((near.above.as_str(), near.from_start), ("a\n", true));
        assert_eq!((near.left.as_str(), near.right.as_str()), ("  b", "c"));
        assert_eq!((near.below.as_str(), near.language.as_str()), ("\nd\n", "c"));
        assert_eq!(near.lines_below().collect::<Vec<_>>(), ["d"]);
    }

    #[test]
    fn the_ends_of_a_document_are_no_trouble() {
        for text in ["$0", "$0a", "a$0", "a\n$0", "$0\n", "a\r$0\nb"] {
            let near = at(text);
            assert!(!format!("{}{}", near.left, near.right).contains('\n'), "{text:?}");
        }
    }

    #[test]
    fn an_over_long_line_keeps_its_indentation_and_its_end() {
        let near = at(&format!("    {}🦀$0{}", "é=1;".repeat(9000), "x".repeat(9000)));
        assert!(near.left.starts_with("    ") && near.left.ends_with("é=1;🦀"));
        assert!(near.left.len() <= LINE_BYTES + 4 && near.right.len() == LINE_BYTES);
    }
}
