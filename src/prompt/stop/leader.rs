//! What the first word of a line says about the block above it, in any language that indents.
//!
//! [`super::StopScanner`] asks while the line is still growing, so that an answer may have to wait: `els`
//! may become `else` or `elsewhere`.

/// How a line begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leader {
    /// It closes the block above: `}`, `end`, `</div>`.
    Closer,
    /// It goes on with the statement whose block is above: `else`, `except`, `{` on a line of its own.
    Continuation,
    /// It begins something of its own.
    Other,
}

const CLOSING_SYMBOLS: [&str; 8] = ["}", ")", "]", "</", "*/", "\"\"\"", "'''", "```"];
const CONTINUING_SYMBOLS: [&str; 1] = ["{"];
const CLOSING_WORDS: [&str; 4] = ["end", "done", "fi", "esac"];
const CONTINUING_WORDS: [&str; 15] = [
    "else", "elif", "elsif", "elseif", "except", "finally", "catch", "rescue", "ensure", "case",
    "default", "when", "then", "until", "where",
];
/// Lines of letters that are as common as a lone bracket.
const TRIVIAL_LINES: [&str; 12] = [
    "end", "end;", "end,", "end)", "done", "fi", "esac", "else", "else:", "else {", "try:",
    "finally:",
];

impl Leader {
    /// Reads the start of a line that may still grow; `None` while that is ambiguous.
    pub fn of_growing(content: &str) -> Option<Self> {
        let word_len = content.find(|c| !is_word(c)).unwrap_or(content.len());
        if word_len > 0 && word_len < content.len() {
            return Some(Self::of_word(&content[..word_len]));
        }
        if let Some(leader) = Self::of_symbol(content) {
            return Some(leader);
        }
        let table = if word_len > 0 {
            [&CLOSING_WORDS[..], &CONTINUING_WORDS]
        } else {
            [&CLOSING_SYMBOLS[..], &CONTINUING_SYMBOLS]
        };
        let may_become = table.concat().iter().any(|listed| listed.starts_with(content));
        (!may_become).then_some(Self::Other)
    }

    /// Reads a line that has ended; never `None`.
    pub fn of_complete(content: &str) -> Option<Self> {
        let word_len = content.find(|c| !is_word(c)).unwrap_or(content.len());
        let symbol = Self::of_symbol(content);
        Some(symbol.unwrap_or_else(|| Self::of_word(&content[..word_len])))
    }

    fn of_symbol(content: &str) -> Option<Self> {
        let begins = |symbols: &[&str]| symbols.iter().any(|symbol| content.starts_with(symbol));
        if begins(&CLOSING_SYMBOLS) {
            return Some(Self::Closer);
        }
        begins(&CONTINUING_SYMBOLS).then_some(Self::Continuation)
    }

    fn of_word(word: &str) -> Self {
        if CLOSING_WORDS.contains(&word) {
            Self::Closer
        } else if CONTINUING_WORDS.contains(&word) {
            Self::Continuation
        } else {
            Self::Other
        }
    }
}

/// Whether the line ends in something that a block or a list follows.
pub fn opens_block(line: &str) -> bool {
    let line = line.trim_end();
    let last_word = line.rsplit(|c| !is_word(c)).next().unwrap_or_default();
    line.ends_with(['{', '(', '[', ':'])
        || line.ends_with("=>")
        || line.ends_with("->")
        || ["do", "then", "else", "begin", "try"].contains(&last_word)
}

/// Whether a line says so little that its return below the cursor is no repetition: brackets and
/// punctuation only, or one of the words that end and split blocks.
pub fn is_trivial(line: &str) -> bool {
    let line = line.trim();
    !line.contains(char::is_alphanumeric) || TRIVIAL_LINES.contains(&line)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_growing_word_is_ambiguous_until_it_ends() {
        let cases = [
            ("e", None),
            ("els", None),
            ("else", None),
            ("else:", Some(Leader::Continuation)),
            ("elsewhere", Some(Leader::Other)),
            ("end", None),
            ("end)", Some(Leader::Closer)),
            ("x", Some(Leader::Other)),
            ("<", None),
            ("</", Some(Leader::Closer)),
            ("<p", Some(Leader::Other)),
            ("}", Some(Leader::Closer)),
            ("{", Some(Leader::Continuation)),
            ("\"\"", None),
            ("\"a", Some(Leader::Other)),
            ("@x", Some(Leader::Other)),
        ];
        for (content, leader) in cases {
            assert_eq!(Leader::of_growing(content), leader, "{content}");
        }
    }

    #[test]
    fn a_complete_line_is_never_ambiguous() {
        assert_eq!(Leader::of_complete("els"), Some(Leader::Other));
        assert_eq!(Leader::of_complete("else"), Some(Leader::Continuation));
        assert_eq!(Leader::of_complete("<"), Some(Leader::Other));
    }

    #[test]
    fn openers_end_in_a_bracket_a_colon_or_a_word() {
        assert!(["f(", "x {  ", "if a:", "x =>", "while x do"].map(opens_block) == [true; 5]);
        assert!(["f()", "", "undo", "x"].map(opens_block) == [false; 4]);
    }

    #[test]
    fn trivial_lines_hold_no_names() {
        assert!(["}", "});", "", "else:", " end "].map(is_trivial) == [true; 5]);
        assert!(["} else if x {", "return", "pass"].map(is_trivial) == [false; 3]);
    }
}
