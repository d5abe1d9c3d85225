//! Tags, angle brackets and words that end blocks: what closes without a bracket.

/// Elements that have no end.
const VOID: [&str; 13] = [
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track",
    "wbr",
];
/// Words that begin a block which a word ends.
const OPENING_WORDS: [&str; 12] = [
    "function", "def", "do", "begin", "case", "class", "module", "if", "unless", "struct", "fn",
    "quote",
];

/// The tags of a text that have no partner in it.
#[derive(Debug, Default)]
pub(super) struct Tags {
    opened: Vec<String>,
    first_foreign: Option<usize>,
}

impl Tags {
    /// Pairs the tags of `text` off by their names.
    pub(super) fn of(text: &str) -> Self {
        let mut tags = Self::default();
        for (at, _) in text.match_indices('<') {
            let rest = &text[at + 1..];
            let name = rest.trim_start_matches('/');
            let len = name.find(|c: char| !is_name(c)).unwrap_or(name.len());
            let (name, is_closing) = (&name[..len], rest.starts_with('/'));
            let end = rest.find('>');
            let closes_itself = end.is_some_and(|end| rest[..end].ends_with('/'));
            if is_closing {
                match tags.opened.iter().rposition(|opened| opened == name) {
                    Some(partner) => tags.opened.truncate(partner),
                    None => drop(tags.first_foreign.get_or_insert(at)),
                }
            } else if end.is_some() && !name.is_empty() && !closes_itself && !VOID.contains(&name) {
                tags.opened.push(name.to_owned());
            }
        }
        tags
    }

    /// Byte of the first closing tag that nothing in the text opens.
    pub(super) fn first_foreign(&self) -> Option<usize> {
        self.first_foreign
    }

    /// Whether all tags are closed that the text opens.
    pub(super) fn are_closed(&self) -> bool {
        self.opened.is_empty()
    }
}

/// Angle brackets that are open at the end of a line: `Vec<`, `<div class="a"`.
pub(super) fn open_angles(left: &str) -> usize {
    let mut open = 0_usize;
    for (at, character) in left.char_indices() {
        let before = left[..at].chars().last();
        let after = left[at + character.len_utf8()..].chars().next();
        match character {
            '<' if after.is_none_or(|c| is_name(c) || "/!?&'(".contains(c)) => open += 1,
            '>' if !matches!(before, Some('-' | '=')) => open = open.saturating_sub(1),
            _ => {}
        }
    }
    open
}

/// Byte of the first `>` that nothing in `text` opens.
pub(super) fn first_foreign_angle(text: &str) -> Option<usize> {
    let mut found = text.match_indices('>').map(|(at, _)| at);
    found.find(|at| !text[..*at].ends_with(['-', '=']) && open_angles(&text[..*at]) == 0)
}

/// Byte of the first `word` that ends no block of `text`.
pub(super) fn first_foreign_word(text: &str, word: &str) -> Option<usize> {
    let mut open = 0_usize;
    let mut at = 0;
    for piece in text.split_inclusive(|c: char| !is_name(c)) {
        let name = piece.trim_end_matches(|c: char| !is_name(c));
        if OPENING_WORDS.contains(&name) {
            open += 1;
        } else if name == word {
            if open == 0 {
                return Some(at);
            }
            open -= 1;
        }
        at += piece.len();
    }
    None
}

fn is_name(character: char) -> bool {
    character.is_alphanumeric() || "_-.:".contains(character)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_paired_by_their_names() {
        assert_eq!(Tags::of("<b>a</b></p>").first_foreign(), Some(8));
        assert_eq!(Tags::of("<img src=\"a\"><Foo /></p>").first_foreign(), Some(20));
        assert!(!Tags::of("<div>a").are_closed() && Tags::of("<br>a < b").are_closed());
    }

    #[test]
    fn angles_are_counted_where_they_are_brackets() {
        assert_eq!(open_angles("let x: Vec<"), 1);
        assert_eq!(open_angles("if a < b"), 0);
        assert_eq!(open_angles("<a onclick={() => x"), 1);
        assert_eq!(first_foreign_angle("u8, Vec<u8>>"), Some(11));
    }

    #[test]
    fn blocks_are_ended_by_words() {
        assert_eq!(first_foreign_word("return x end", "end"), Some(9));
        assert_eq!(first_foreign_word("if a then b end", "end"), None);
    }
}
