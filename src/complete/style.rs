//! Decoded text in the buffer's own style: its line ends, its indentation, no white space at line ends.
//!
//! What is rewritten is remembered and compared with what the user types, so a rewritten prefix must
//! be a prefix of the rewritten whole, up to white space at its end.

use std::collections::BTreeMap;

use super::surroundings::Surroundings;
use crate::prompt::stop::indent;
use crate::prompt::window::with_newlines;

/// Columns of a tab, where indentations of both kinds are compared. Editors do not tell us theirs.
pub const TAB_WIDTH: usize = 4;

/// How the lines of a buffer are indented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Indentation {
    /// No line near the cursor is indented.
    Unknown,
    /// By tabs.
    Tabs,
    /// By so many spaces per level.
    Spaces(usize),
}

/// What a completion's text must fit into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Style {
    indentation: Indentation,
    /// The cursor's line up to the cursor.
    left: String,
}

impl Style {
    /// The style of the text near the cursor.
    pub fn of(near: &Surroundings) -> Self {
        let lines = near.above.lines().chain([near.left.as_str()]).chain(near.below.lines());
        Self { indentation: Indentation::of(lines), left: near.left.clone() }
    }

    /// Rewrites decoded text that begins at the cursor.
    ///
    /// On a blank line, leading blank lines go and the indentation that is already left of the cursor
    /// is not repeated; behind a space, no second one comes.
    pub fn rewrite(&self, decoded: &str) -> String {
        let decoded = with_newlines(decoded.to_owned());
        let blank_left = self.left.trim().is_empty();
        let mut rewritten = String::with_capacity(decoded.len());
        let mut lines = decoded.split('\n').enumerate().peekable();
        if blank_left {
            while lines.next_if(|(_, line)| line.trim().is_empty()).is_some() {}
        }
        let first = lines.peek().map_or(0, |(line_idx, _)| *line_idx);
        while let Some((line_idx, line)) = lines.next() {
            let (white, content) = line.split_at(line.len() - line.trim_start().len());
            let white = self.indentation.rewrite(white);
            match line_idx == first {
                true if blank_left && line_idx > 0 => {
                    rewritten.push_str(white.strip_prefix(self.left.as_str()).unwrap_or_default());
                }
                true if !blank_left && self.left.ends_with(char::is_whitespace) => {}
                true if !blank_left => rewritten.push_str(&line[..line.len() - content.len()]),
                _ => rewritten.push_str(&white),
            }
            if lines.peek().is_some() {
                rewritten.push_str(content);
                rewritten.truncate(rewritten.trim_end_matches([' ', '\t']).len());
                rewritten.push('\n');
            } else {
                rewritten.push_str(content);
            }
        }
        rewritten
    }
}

impl Indentation {
    /// The indentation that most of `lines` have.
    pub fn of<'a>(lines: impl Iterator<Item = &'a str>) -> Self {
        let (mut n_tabs, mut n_spaces, mut last) = (0, 0, 0);
        let mut steps = BTreeMap::<usize, usize>::new();
        for line in lines.filter(|line| !line.trim().is_empty()) {
            // ` * ` is the middle of a comment in C's family.
            let comment = line.trim_start().starts_with('*');
            n_tabs += usize::from(line.starts_with('\t'));
            n_spaces += usize::from(line.starts_with("  ") && !comment);
            let columns = if comment { last } else { indent(line, TAB_WIDTH) };
            if (2..=8).contains(&columns.saturating_sub(last)) {
                *steps.entry(columns - last).or_default() += 1;
            }
            last = columns;
        }
        match (n_tabs, n_spaces) {
            (0, 0) => Self::Unknown,
            _ if n_tabs >= n_spaces => Self::Tabs,
            _ => Self::Spaces(steps.iter().max_by_key(|(_, n)| **n).map_or(4, |(step, _)| *step)),
        }
    }

    /// Rewrites the white space at the start of a line.
    fn rewrite(self, white: &str) -> String {
        match self {
            // Tabs and then spaces align what is below.
            Self::Tabs if !white.starts_with('\t') => {
                let columns = indent(white, TAB_WIDTH);
                "\t".repeat(columns / TAB_WIDTH) + &" ".repeat(columns % TAB_WIDTH)
            }
            Self::Spaces(width) => white.replace('\t', &" ".repeat(width)),
            _ => white.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(above: &str, left: &str, decoded: &str, expect: &str) {
        let near = Surroundings {
            above: above.to_owned(),
            left: left.to_owned(),
            ..Surroundings::default()
        };
        assert_eq!(Style::of(&near).rewrite(decoded), expect);
    }

    #[test]
    fn line_ends_are_newlines_with_nothing_before_them() {
        check("", "x = ", "1 \r\ny\r\n", "1\ny\n");
        check("", "x = ", "f(  \n    a,\t\n)", "f(\n    a,\n)");
    }

    #[test]
    fn spaces_become_tabs_in_a_file_of_tabs() {
        check("\ta\n\tb\n", "\tif x {", "\n        y()\n    }", "\n\t\ty()\n\t}");
        check("\ta\n\tb\n", "\tif x {", "\n\t\ty()\n\t}", "\n\t\ty()\n\t}");
        check("\ta\n", "", "    b", "\tb");
    }

    #[test]
    fn tabs_become_spaces_in_the_width_of_the_file() {
        check("a {\n  b {\n    c\n", "  if x {", "\n\t\ty\n\t}", "\n    y\n  }");
        check("a:\n    b\n", "    if x:", "\n\t\ty", "\n        y");
    }

    #[test]
    fn without_a_style_the_text_stays() {
        check("a\n", "b(", "\n\tc\n  d", "\n\tc\n  d");
    }

    #[test]
    fn a_space_is_not_doubled() {
        check("", "x = ", " 1", "1");
        check("", "x =", " 1", " 1");
        check("", "x = ", " \n  1", "\n  1");
    }

    #[test]
    fn a_blank_line_is_filled_where_the_cursor_is() {
        check("def f():\n    x\n", "    ", "\n    y", "y");
        check("def f():\n    x\n", "    ", "\n\n        y\n    z", "    y\n    z");
        check("def f():\n    x\n", "", "    y", "    y");
        check("def f():\n    x\n", "        ", "\n    y", "y");
    }

    #[test]
    fn the_width_is_the_usual_step() {
        let width = |text: &str| Indentation::of(text.lines());
        assert_eq!(width("a\n  b\n    c\n  d\n        e\n"), Indentation::Spaces(2));
        assert_eq!(width("/*\n * a\n * b\n */\n\tx\n"), Indentation::Tabs);
        assert_eq!(width("a\n\nb\n"), Indentation::Unknown);
    }

    proptest! {
        #[test]
        fn a_prefix_is_rewritten_to_a_prefix(
            left in prop::sample::select(vec!["", "    ", "x = ", "x", "\t"]),
            above in prop::sample::select(vec!["", "a\n  b\n", "\ta\n"]),
            parts in prop::collection::vec(
                prop::sample::select(vec!["\n", "\r\n", " ", "    ", "\t", "x", "é"]), 0..12),
            cut in any::<prop::sample::Index>(),
        ) {
            let near = Surroundings {
                above: above.to_owned(), left: left.to_owned(), ..Surroundings::default()
            };
            let style = Style::of(&near);
            let whole = parts.concat();
            let part = parts[..cut.index(parts.len() + 1)].concat();
            let (part, whole) = (style.rewrite(&part), style.rewrite(&whole));
            prop_assert!(whole.starts_with(part.trim_end()), "{part:?} {whole:?}");
        }
    }
}
