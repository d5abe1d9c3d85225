//! Whether the user is typing what was suggested.
//!
//! An [`Anchor`] remembers where a suggestion began; when the editor asks again it says what was typed
//! since. Exact agreement is checked on the text near the anchor and on the length of all of it, so
//! the cost does not grow with the document.

use crate::prompt::window::with_newlines;
use crate::text::{ByteIdx, Document};

/// Bytes on either side of the anchor that must not have changed.
const WINDOW_BYTES: usize = 2048;
/// More than this is not typed but pasted, and no suggestion is as long.
const MAX_TYPED_BYTES: usize = 16 * 1024;
/// Most bytes that an editor inserts by itself: a closing tag.
const MAX_CLOSERS: usize = 32;
/// Bytes between the cursor and the end of what was inserted, where a change tells no cursor.
const MAX_REACH: usize = 16;
/// Most bytes that a suggestion replaces.
const MAX_REPLACED: usize = 128;
/// What editors close, and how.
const CLOSERS: [(&str, &str); 14] = [
    ("/*", "*/"),
    ("<!--", "-->"),
    ("{%", "%}"),
    ("{#", "#}"),
    ("<%", "%>"),
    ("(", ")"),
    ("[", "]"),
    ("{", "}"),
    ("<", ">"),
    ("\"", "\""),
    ("'", "'"),
    ("`", "`"),
    ("$", "$"),
    ("|", "|"),
];

/// Where a suggestion began.
#[derive(Clone, Debug)]
pub struct Anchor {
    before: String,
    after: String,
    cursor: ByteIdx,
    len: ByteIdx,
}

/// How typed text relates to what is known of a suggestion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreement {
    /// The suggestion begins with it.
    Through,
    /// It goes on beyond what is decoded so far, and has agreed up to there.
    Ahead,
    /// It is something else.
    Differs,
}

impl Anchor {
    /// Remembers the text near `cursor`.
    pub fn new(document: &Document, cursor: ByteIdx) -> Self {
        let start = document.char_start(ByteIdx(cursor.0.saturating_sub(WINDOW_BYTES)));
        let end = document.char_start(ByteIdx(cursor.0.saturating_add(WINDOW_BYTES)));
        Self {
            before: document.slice(start..cursor),
            after: document.slice(cursor..end),
            cursor,
            len: document.len(),
        }
    }

    /// What was typed between the anchor and `cursor`, with `\n` line ends; `None` if anything else changed.
    ///
    /// Closers that the editor inserted behind the cursor by itself, and text behind it that was typed over
    /// or replaced by the same, are no other change; nor are blanks that went.
    pub fn typed(&self, document: &Document, cursor: ByteIdx) -> Option<String> {
        let n_typed = cursor.0.checked_sub(self.cursor.0)?;
        let begin = self.cursor.0 - self.before.len();
        if n_typed > MAX_TYPED_BYTES || piece(document, begin, self.cursor.0)? != self.before {
            return None;
        }
        let typed = piece(document, self.cursor.0, cursor.0)?;
        let grown = document.len().0.checked_sub(n_typed)?;
        let is_same = match grown.checked_sub(self.len.0) {
            Some(n_closers) => self.closed_by_itself(document, cursor, &typed, n_closers),
            None => self.typed_over(document, cursor, &typed, self.len.0 - grown),
        };
        is_same.then(|| with_newlines(typed))
    }

    /// What may have been typed, for a change that tells no cursor: the cursor is looked for near the
    /// end of what was inserted.
    pub fn inserted(&self, document: &Document) -> impl Iterator<Item = String> {
        let end = (self.cursor.0 + document.len().0).saturating_sub(self.len.0);
        let cursors = end.saturating_sub(MAX_REACH)..=end + MAX_REACH;
        cursors.filter_map(|cursor| self.typed(document, ByteIdx(cursor)))
    }

    /// The text after the cursor is `n_closers` bytes that an editor inserts by itself, and then as it was.
    fn closed_by_itself(
        &self,
        document: &Document,
        cursor: ByteIdx,
        typed: &str,
        n_closers: usize,
    ) -> bool {
        let rest = cursor.0 + n_closers;
        let closers = piece(document, cursor.0, rest);
        let opened = closers
            .filter(|_| n_closers <= MAX_CLOSERS)
            .is_some_and(|closers| are_closers(&closers, typed));
        opened && piece(document, rest, rest + self.after.len()).as_ref() == Some(&self.after)
    }

    /// The text after the cursor is as it was, but for `n_replaced` bytes on its line that `typed` says too.
    fn typed_over(
        &self,
        document: &Document,
        cursor: ByteIdx,
        typed: &str,
        n_replaced: usize,
    ) -> bool {
        let Some((replaced, rest)) = self.after.split_at_checked(n_replaced) else {
            return false;
        };
        let mut characters = typed.chars();
        let mut replaced_characters = replaced.chars().filter(|c| *c != ' ' && *c != '\t');
        n_replaced <= MAX_REPLACED
            && replaced_characters.all(|c| c != '\n' && characters.any(|typed| typed == c))
            && piece(document, cursor.0, cursor.0 + rest.len()).as_deref() == Some(rest)
    }
}

/// Whether `text` is what editors insert when somebody types `typed`.
fn are_closers(text: &str, typed: &str) -> bool {
    let is_tag = |text: &str| text.starts_with("</") && text.find('>') == Some(text.len() - 1);
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        if is_tag(rest) {
            return typed.contains('>');
        }
        let closes =
            |(open, close): &&(&str, &str)| rest.starts_with(close) && typed.contains(open);
        let Some((_, close)) = CLOSERS.iter().find(closes) else { return false };
        rest = &rest[close.len()..];
    }
    true
}

/// How `typed` relates to `known`, the suggestion so far, to which more may come if it `grows`.
pub fn agreement(known: &str, typed: &str, grows: Grows) -> Agreement {
    if known.starts_with(typed) {
        return Agreement::Through;
    }
    let settled = known.trim_end();
    let (Grows::Yes, Some(beyond)) = (grows, typed.strip_prefix(settled)) else {
        return Agreement::Differs;
    };
    // White space at the end of what is known goes if a line break follows.
    let pending = &known[settled.len()..];
    if beyond.starts_with(pending) || beyond.starts_with('\n') {
        Agreement::Ahead
    } else {
        Agreement::Differs
    }
}

/// Whether more text may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grows {
    /// It is being decoded.
    Yes,
    /// All of it is there.
    No,
}

/// A piece of the text; `None` where its ends are no places in it.
fn piece(document: &Document, start: usize, end: usize) -> Option<String> {
    let exists = |at| document.char_start(ByteIdx(at)).0 == at;
    (start <= end && exists(start) && exists(end))
        .then(|| document.slice(ByteIdx(start)..ByteIdx(end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both texts have the cursor as `$0`.
    fn check(before: &str, after: &str, typed: Option<&str>) {
        let at = |text: &str| {
            let cursor = text.find("$0").expect("the text has a cursor");
            (Document::new(&text.replacen("$0", "", 1), 1, ""), ByteIdx(cursor))
        };
        let (document, cursor) = at(before);
        let anchor = Anchor::new(&document, cursor);
        let (document, cursor) = at(after);
        assert_eq!(anchor.typed(&document, cursor).as_deref(), typed, "{before:?} {after:?}");
        let inserted = anchor.inserted(&document).collect::<Vec<_>>();
        assert!(typed.is_none_or(|typed| inserted.iter().any(|t| t == typed)), "{inserted:?}");
    }

    #[test]
    fn what_was_typed_is_found() {
        check("a$0b", "a$0b", Some(""));
        check("a$0b", "axy$0b", Some("xy"));
        check("é$0\r\nb", "éx\r\n  y$0\r\nb", Some("x\n  y"));
        check("$0", "x$0", Some("x"));
    }

    #[test]
    fn other_changes_are_noticed() {
        check("a$0b", "$0b", None);
        check("a$0b", "ax$0c", None);
        check("a$0b", "cx$0b", None);
        check("a$0b", "ax$0", None);
        check("a$0b", "ax$0bb", None);
        check("éa$0b", "aéx$0b", None);
    }

    #[test]
    fn closers_that_an_editor_inserts_are_no_other_change() {
        check("f$0\n", "f($0)\n", Some("("));
        check("f$0\n", "f([\"$0\"])\n", Some("([\""));
        check("f$0\n", "f($0]\n", None);
        check("$0\n", "<div>$0</div>\n", Some("<div>"));
        check("$0\n", "/**$0 */\n", Some("/**"));
        check("$0\n", "{{ a$0 }}\n", Some("{{ a"));
        check("map($0)\n", "map(|x$0|)\n", Some("|x"));
        check("$0\n", "<div$0</div>\n", None);
        check("$0\n", "a$0 */\n", None);
    }

    #[test]
    fn closers_that_are_typed_over_are_no_other_change() {
        check("f($0)\n", "f(a)$0\n", Some("a)"));
        check("f(g($0))\n", "f(g(a) + b);$0\n", Some("a) + b);"));
        check("f($0)\n", "f(a$0\n", None);
        check("x = $0   \ny", "x = f();$0\ny", Some("f();"));
        check("<p>$0</p>\n", "<p>a</p>!$0\n", Some("a</p>!"));
        check("f($0) => {\n", "f(a) => { b$0\n", Some("a) => { b"));
        check("f($0)\n\ny", "f(a)$0\ny", None);
        check("f($0word)\n", "f(a)$0\n", None);
    }

    #[test]
    fn a_change_far_away_is_noticed_by_the_length() {
        let long = "x\n".repeat(5000);
        check(&format!("{long}a$0"), &format!("x{long}a$0"), None);
        check(&format!("a$0{long}"), &format!("ab$0{long}x"), None);
        check(&format!("{long}a$0{long}"), &format!("{long}ab$0{long}"), Some("b"));
    }

    #[test]
    fn typed_text_agrees_until_it_differs() {
        use Agreement::{Ahead, Differs, Through};
        let cases = [
            ("foo(a)", "", Through),
            ("foo(a)", "foo", Through),
            ("foo(a)", "foo(a)", Through),
            ("foo(a)", "fob", Differs),
            ("foo", "foo(", Ahead),
            ("", "x", Ahead),
            ("foo ", "foox", Differs),
            ("foo ", "foo\n  x", Ahead),
            ("foo ", "foo x", Ahead),
        ];
        for (known, typed, expect) in cases {
            assert_eq!(agreement(known, typed, Grows::Yes), expect, "{known:?} {typed:?}");
            let ended = if expect == Ahead { Differs } else { expect };
            assert_eq!(agreement(known, typed, Grows::No), ended, "{known:?} {typed:?}");
        }
    }
}
