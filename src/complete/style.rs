//! Decoded text in the style of the place where it goes: its line ends, its indentation, and no white space at line ends
//! that means nothing.
//!
//! White space belongs to the file. Each line is indented as the block that it continues, within what the
//! language demands; in strings of several lines, and where nothing is known, it stays as it was decoded.
//!
//! What is rewritten is remembered and compared with what the user types, so a rewritten prefix must
//! be a prefix of the rewritten whole, up to white space at its end.

use std::collections::BTreeMap;

use super::brackets::{Unmatched, unmatched};
use super::lexical::{Kind, Scan, scan};
use super::surroundings::Surroundings;
use crate::prompt::stop::indent;
use crate::prompt::window::with_newlines;
use rules::{Rule, rule_of};

mod rules;

/// Columns of a tab, where indentations of both kinds are compared. Editors do not tell us theirs.
pub const TAB_WIDTH: usize = 4;
/// Indented lines near the cursor whose majority decides where the block itself is not indented.
const N_LINES: usize = 8;

/// How the lines of a block are indented.
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
#[derive(Clone, Debug)]
pub struct Style {
    indentation: Indentation,
    rule: Rule,
    language: String,
    /// What is seen of the text before the cursor, and what it is.
    before: String,
    scan: Scan,
    /// The cursor's line up to the cursor.
    left: String,
    /// Whether the cursor stands where all white space is content.
    in_content: bool,
}

impl Style {
    /// The style of the text near the cursor.
    pub fn of(near: &Surroundings) -> Self {
        let before = near.before();
        let rule = rule_of(&near.language);
        let scan = scan(&before, &near.language);
        let in_literal = is_content(&scan, before.len(), &before);
        Self {
            indentation: Indentation::of(near),
            rule,
            language: near.language.clone(),
            left: near.left.clone(),
            in_content: in_literal || rule == Rule::Records,
            before,
            scan,
        }
    }

    /// Rewrites decoded text that begins at the cursor.
    ///
    /// On a blank line, leading blank lines go and the indentation that is already left of the cursor
    /// is not repeated; behind a space, no second one comes.
    pub fn rewrite(&self, decoded: &str) -> String {
        let decoded = with_newlines(decoded.to_owned());
        let whole = format!("{}{decoded}", self.before);
        // Of one line nothing but its start is looked at.
        let scan = decoded
            .contains('\n')
            .then(|| self.scan.clone().read_on(&whole, self.before.len(), &self.language));
        let is_content = |at: usize| scan.as_ref().filter(|scan| is_content(scan, at, &whole));
        let mut rewritten = self.before.clone();
        let mut start = self.before.len();
        let mut is_first = true;
        for line in decoded.split_inclusive('\n') {
            let (at, on_cursor) = (start, start == self.before.len());
            start += line.len();
            let is_blank = line.trim().is_empty();
            if is_first && is_blank && line.ends_with('\n') && self.is_blank_left() {
                continue;
            }
            let content = line.trim_start_matches(|c: char| c.is_whitespace() && c != '\n');
            let white = &line[..line.len() - content.len()];
            let white = match is_content(at) {
                _ if on_cursor && !self.is_blank_left() => self.white_at_cursor(white).to_owned(),
                Some(scan) => in_literal(white, &self.before, scan, at),
                None => self.indented(white, &rewritten),
            };
            // The cursor's line is indented already.
            let begun = if is_first && !on_cursor { self.left.as_str() } else { "" };
            rewritten.push_str(white.strip_prefix(begun).unwrap_or_default());
            rewritten.push_str(content);
            is_first = false;
            let as_it_stands = whole[..start].trim_end_matches('\n').rsplit('\n').next();
            let keeps_end = self.rule.keeps_end(as_it_stands.unwrap_or_default());
            if content.ends_with('\n') && !keeps_end && is_content(start - 1).is_none() {
                rewritten.truncate(rewritten.len() - 1);
                let kept = rewritten.trim_end_matches([' ', '\t']).len();
                rewritten.truncate(kept.max(self.before.len()));
                rewritten.push('\n');
            }
        }
        rewritten.split_off(self.before.len())
    }

    /// Whether text goes to a blank line, where what is left of the cursor is no content.
    fn is_blank_left(&self) -> bool {
        self.left.trim().is_empty() && self.rule != Rule::Records
    }

    /// The white space with which decoded text begins right behind other text.
    fn white_at_cursor<'a>(&self, white: &'a str) -> &'a str {
        if self.left.ends_with(char::is_whitespace) && !self.in_content { "" } else { white }
    }

    /// White space at the start of a line of code below `above`.
    fn indented(&self, white: &str, above: &str) -> String {
        let block = self.indentation;
        let indentation = match self.rule {
            Rule::Records | Rule::Prose => return white.to_owned(),
            // Behind spaces a tab is content of a block scalar.
            Rule::Spaces if white.starts_with(' ') => return white.to_owned(),
            Rule::Recipes => return rules::in_recipe(white, above),
            Rule::Tabs if block == Indentation::Unknown => Indentation::Tabs,
            Rule::Spaces => match block {
                Indentation::Spaces(width) => Indentation::Spaces(width),
                Indentation::Tabs | Indentation::Unknown => Indentation::Spaces(2),
            },
            Rule::Tabs | Rule::Block | Rule::Offside => block,
        };
        match indentation {
            Indentation::Tabs if !white.starts_with('\t') && self.rule != Rule::Tabs => {
                let base = aligned_below(above, &self.language);
                let n_more =
                    |base: &str| indent(white, TAB_WIDTH).saturating_sub(indent(base, TAB_WIDTH));
                match base.filter(|base| base.starts_with('\t') || base.is_empty()) {
                    Some(base) if n_more(base) > 0 => base.to_owned() + &" ".repeat(n_more(base)),
                    _ => indentation.rewrite(white, self.rule),
                }
            }
            _ => indentation.rewrite(white, self.rule),
        }
    }
}

impl Indentation {
    /// The indentation of the block that the cursor is in: of its own line, else of the line above, else of most lines
    /// nearby.
    pub fn of(near: &Surroundings) -> Self {
        let (above, below) = block_lines(near);
        let is_indented = |line: &&str| line.starts_with('\t') || line.starts_with("  ");
        let white = &near.left[..near.left.len() - near.left.trim_start().len()];
        let own = Some(white).filter(is_indented);
        let last = above.last().copied().filter(is_indented);
        let nearest = above.iter().rev().chain(&below).copied().filter(is_indented);
        let nearest = nearest.take(N_LINES).collect::<Vec<_>>();
        let n_tabs = nearest.iter().filter(|line| line.starts_with('\t')).count();
        match own.or(last) {
            Some(line) if line.starts_with('\t') => Self::Tabs,
            None if nearest.is_empty() => Self::Unknown,
            None if 2 * n_tabs >= nearest.len() => Self::Tabs,
            _ => {
                let cursor = Some(near.left.as_str()).filter(|left| !left.trim().is_empty());
                Self::Spaces(usual_step(above.into_iter().chain(cursor).chain(below)))
            }
        }
    }

    /// Rewrites the white space at the start of a line.
    fn rewrite(self, white: &str, rule: Rule) -> String {
        match self {
            // Tabs and then spaces align what is below.
            Self::Tabs if !white.starts_with('\t') => {
                let columns = indent(white, TAB_WIDTH);
                if rule == Rule::Offside {
                    return "\t".repeat(columns.div_ceil(TAB_WIDTH));
                }
                "\t".repeat(columns / TAB_WIDTH) + &" ".repeat(columns % TAB_WIDTH)
            }
            Self::Spaces(width) => white.replace('\t', &" ".repeat(width)),
            _ => white.to_owned(),
        }
    }
}

/// The lines near the cursor whose indentation is that of a block, above and below it. Lines in brackets may be aligned
/// with anything, and count only where there are no others; strings and the middle of a comment in C's family never do.
fn block_lines(near: &Surroundings) -> (Vec<&str>, Vec<&str>) {
    let whole = format!("{}{}\n{}", near.before(), near.right, near.below);
    let scan = scan(&whole, &near.language);
    let above = code_lines(&near.above, 0, &scan, &whole);
    let below = code_lines(&near.below, whole.len() - near.below.len(), &scan, &whole);
    let any_free = above.iter().chain(&below).any(|(_, place)| *place == Bracketed::No);
    let pick = |lines: Vec<(_, Bracketed)>| {
        let lines = lines.into_iter();
        let kept = lines.filter(|(_, place)| !any_free || *place == Bracketed::No);
        kept.map(|(line, _)| line).collect()
    };
    (pick(above), pick(below))
}

/// Whether a line stands in brackets that an earlier line opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bracketed {
    Yes,
    No,
}

/// The lines of `text`, which stands at byte `offset` of `whole`, that are code.
fn code_lines<'a>(
    text: &'a str,
    offset: usize,
    scan: &Scan,
    whole: &str,
) -> Vec<(&'a str, Bracketed)> {
    let mut start = offset;
    let mut lines = Vec::new();
    let mut brackets = scan.brackets.iter().filter(|bracket| scan.is_code(bracket)).peekable();
    let mut open = Unmatched::default();
    for line in text.split_inclusive('\n') {
        while let Some(bracket) = brackets.next_if(|bracket| bracket.at < start) {
            open.pair(*bracket);
        }
        let is_star = line.trim_start().starts_with('*');
        if !line.trim().is_empty() && !is_star && !is_content(scan, start, whole) {
            let innermost = open.openers.last();
            let is_bracketed = innermost.is_some_and(|opener| opener.character != '{');
            lines.push((line, if is_bracketed { Bracketed::Yes } else { Bracketed::No }));
        }
        start += line.len();
    }
    lines
}

/// By how many columns most lines are indented more than the line before.
fn usual_step<'a>(lines: impl Iterator<Item = &'a str>) -> usize {
    let mut steps = BTreeMap::<usize, usize>::new();
    let mut last = 0;
    for line in lines {
        let columns = indent(line, TAB_WIDTH);
        if (2..=8).contains(&columns.saturating_sub(last)) {
            *steps.entry(columns - last).or_default() += 1;
        }
        last = columns;
    }
    steps.iter().max_by_key(|(_, n)| **n).map_or(TAB_WIDTH, |(step, _)| *step)
}

/// Whether white space at byte `at` is content: in a string of several lines, unless it is documentation.
fn is_content(scan: &Scan, at: usize, text: &str) -> bool {
    let region = &scan.regions[scan.region_at(at)];
    let line = text[..region.opened].rsplit('\n').next().unwrap_or_default();
    let is_documentation = region.close == "\"\"\"" && line.trim().is_empty();
    region.kind == Kind::Lines && !is_documentation
}

/// White space at the start of a line, byte `at`, in a string of several lines: never a tab where all lines of the string
/// before the cursor have spaces. A heredoc may have marked itself with tabs.
fn in_literal(white: &str, before: &str, scan: &Scan, at: usize) -> String {
    let region = &scan.regions[scan.region_at(at)];
    let inside = before.get(region.start..).unwrap_or_default().split('\n').skip(1);
    let mut indented = inside.filter(|line| line.starts_with([' ', '\t'])).peekable();
    let is_heredoc = region.close.ends_with('\n');
    let has_spaces =
        indented.peek().is_some() && indented.clone().all(|line| line.starts_with(' '));
    match has_spaces && !is_heredoc {
        true => white.replace('\t', &" ".repeat(usual_step(indented))),
        false => white.to_owned(),
    }
}

/// The indentation of the line whose bracket is open at the end of `above`, if text follows that bracket: what is below
/// is aligned with it.
fn aligned_below<'a>(above: &'a str, language: &str) -> Option<&'a str> {
    let scan = scan(above, language);
    let code = scan.brackets.iter().copied().filter(|bracket| scan.is_code(bracket));
    let opener = unmatched(code).openers.pop().filter(|opener| opener.character != '{')?;
    let line_start = above[..opener.at].rfind('\n').map_or(0, |line_break| line_break + 1);
    let behind = above[opener.at + 1..].split('\n').next().unwrap_or_default();
    let line = &above[line_start..];
    let white = line.len() - line.trim_start_matches([' ', '\t']).len();
    (!behind.trim().is_empty()).then(|| &line[..white])
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
        let width = |text: &str| {
            let above = text.to_owned();
            Indentation::of(&Surroundings { above, ..Surroundings::default() })
        };
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
