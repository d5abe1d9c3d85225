//! What of a decoded text is worth showing at the cursor.
//!
//! Pure functions on text that is already in the buffer's [style](super::style): what the buffer has
//! to the right and below is not said again, closers that nothing opened go, and nothing is left of
//! white space. See `docs/PROTOCOL.md` for why closers to the right are rather left alone than replaced.

use super::Reason;
use super::brackets::{Bracket, Unmatched, brackets, closer_of, unmatched};
use super::style::TAB_WIDTH;
use super::surroundings::Surroundings;
use crate::prompt::stop::indent;
use crate::prompt::stop::leader::is_trivial;

/// Shortest word that counts as already said to the right of the cursor.
const MIN_WORD_BYTES: usize = 3;

/// What to insert at the cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trimmed {
    /// The text; never only white space.
    pub insert: String,
    /// Bytes to the right of the cursor that it replaces, all on the cursor's line.
    pub replace: usize,
}

/// Trims `text`, which is to stand at the cursor.
///
/// # Errors
///
/// [`Reason::Empty`] if there is nothing but white space, [`Reason::Duplicate`] if the buffer has it all.
pub fn trim(text: &str, near: &Surroundings) -> Result<Trimmed, Reason> {
    let text = text.trim_end();
    if text.is_empty() {
        return Err(Reason::Empty);
    }
    let text = without_line_below(text, near);
    let text = without_trivial_line_below(text, near);
    let mut replace = 0;
    let kept = match said_to_the_right(text, near) {
        Some(said) => &text[..text.len() - said],
        None => {
            replace = replaced_to_the_right(text, near);
            text
        }
    };
    let kept = without_extra_closers(kept, replace, near);
    if kept.trim().is_empty() {
        return Err(Reason::Duplicate);
    }
    Ok(Trimmed { insert: kept.to_owned(), replace })
}

/// `text` up to the first line that equals the first line below.
fn without_line_below<'a>(text: &'a str, near: &Surroundings) -> &'a str {
    let Some(below) = near.lines_below().next().map(str::trim) else {
        return text;
    };
    if is_trivial(below) {
        return text;
    }
    let mut start = 0;
    for (line_idx, line) in text.split('\n').enumerate() {
        let whole = match line_idx {
            0 => format!("{}{line}{}", near.left, near.right),
            _ => line.to_owned(),
        };
        if !line.trim().is_empty() && whole.trim() == below {
            return text[..start].trim_end();
        }
        start += line.len() + 1;
    }
    text
}

/// `text` without a last line such as `}` or `else:` that stands right below, at the same indentation,
/// and that nothing in `text` has opened.
fn without_trivial_line_below<'a>(text: &'a str, near: &Surroundings) -> &'a str {
    let start = text.rfind('\n').map_or(0, |line_break| line_break + 1);
    let last = &text[start..];
    let Some(below) = near.lines_below().next() else {
        return text;
    };
    let columns = |line: &str| indent(line, TAB_WIDTH);
    let whole = if start == 0 { format!("{}{last}", near.left) } else { last.to_owned() };
    let is_below = whole.trim() == below.trim() && columns(&whole) == columns(below);
    let n_brackets = brackets(last, &near.language).len();
    let n_foreign = foreign_closers(text, near).iter().filter(|closer| closer.at >= start).count();
    if is_below && is_trivial(below) && n_brackets == n_foreign {
        return text[..start].trim_end();
    }
    text
}

/// Bytes at the end of a one-line `text` that the rest of the cursor's line says already.
fn said_to_the_right(text: &str, near: &Surroundings) -> Option<usize> {
    let right = near.right.trim_end();
    if text.contains('\n') || right.is_empty() {
        return None;
    }
    let foreign = foreign_closers(text, near);
    let first_foreign = foreign.first().map_or(text.len(), |closer| closer.at);
    let ends = right.char_indices().map(|(at, character)| at + character.len_utf8());
    ends.rev().find(|&end| {
        let said = &right[..end];
        // A closer further left is replaced, and so must be those behind it.
        text.ends_with(said)
            && first_foreign >= text.len() - said.len()
            && may_be_said(text, said, &right[end..], near, &foreign)
    })
}

/// Whether `said`, the end of `text`, is what stands to the right, and not the same letters by chance.
fn may_be_said(
    text: &str,
    said: &str,
    after: &str,
    near: &Surroundings,
    foreign: &[Bracket],
) -> bool {
    let start = text.len() - said.len();
    if said.contains(is_word) {
        let inside =
            |before: &str, after: &str| before.ends_with(is_word) && after.starts_with(is_word);
        let torn = inside(&text[..start], said) || inside(said, after);
        return said.len() >= MIN_WORD_BYTES && !torn;
    }
    let n_closers = unmatched(&brackets(said, &near.language)).closers.len();
    let n_foreign = foreign.iter().filter(|closer| closer.at >= start).count();
    let quote = said.chars().find(|c| is_quote(*c));
    let quote_fits =
        quote.is_none_or(|quote| is_open(quote, &near.left) && !is_open(quote, &text[..start]));
    let is_whole = after.is_empty() || said.contains([')', ']', '}']) || quote.is_some();
    n_closers == n_foreign && quote_fits && is_whole
}

/// Bytes of the quote and closers to the right of the cursor that `text` has too, though not at its end.
fn replaced_to_the_right(text: &str, near: &Surroundings) -> usize {
    let mut foreign = foreign_closers(text, near).into_iter().peekable();
    let mut replaced = 0;
    for (at, character) in near.right.char_indices() {
        let first_line = text.split('\n').next().unwrap_or_default();
        let is_said = match character {
            ' ' => continue,
            quote if is_quote(quote) => {
                at == 0 && is_open(quote, &near.left) && first_line.contains(quote)
            }
            closer => foreign.next_if(|bracket| bracket.character == closer).is_some(),
        };
        if !is_said {
            break;
        }
        replaced = at + character.len_utf8();
    }
    replaced
}

/// `text` without closers at its end that close nothing: what is open before the cursor is closed
/// after it already.
fn without_extra_closers<'a>(text: &'a str, replaced: usize, near: &Surroundings) -> &'a str {
    let foreign = foreign_closers(text, near);
    let n_replaced = brackets(&near.right[..replaced], &near.language).len();
    let missing = missing_closers(replaced, near);
    let mut missing = missing.iter();
    let extra = foreign.iter().skip(n_replaced).find(|closer| match missing.next() {
        Some(wanted) => *wanted != closer.character,
        None => near.is_whole() || is_certainly_extra(**closer, text, near),
    });
    let Some(extra) = extra else { return text };
    let only_closers = text[extra.at..].chars().all(|c| ")]};, \n\t".contains(c));
    if only_closers { text[..extra.at].trim_end() } else { text }
}

/// Whether a closer that seems to lack an opener lacks it beyond what is seen of the document, too:
/// blocks are long, and where a line begins with a closer its indentation says more.
fn is_certainly_extra(closer: Bracket, text: &str, near: &Surroundings) -> bool {
    let line = text[..closer.at].rsplit_once('\n').map(|(_, line)| line);
    let begins_line = line.is_some_and(|line| line.trim().is_empty());
    !begins_line && (closer.character != '}' || !opens_above(near).is_empty())
}

/// The closers that the text without any suggestion lacks, innermost first. `replaced` bytes to the
/// right of the cursor do not count.
fn missing_closers(replaced: usize, near: &Surroundings) -> Vec<char> {
    let after = format!("{}\n{}", &near.right[replaced..], near.below);
    let mut closed = unmatched(&brackets(&after, &near.language)).closers;
    let mut open = opens_above(near);
    if near.is_whole() {
        // From the outside in, as an inner bracket is the one that is being written.
        while let (Some(outer), Some(last)) = (open.first(), closed.last())
            && closer_of(outer.character) == Some(last.character)
        {
            open.remove(0);
            closed.pop();
        }
    }
    let wanted = open.iter().rev().filter_map(|opener| closer_of(opener.character));
    let first = closed.first().map(|first| first.character);
    wanted.take_while(|closer| Some(*closer) != first).collect()
}

fn opens_above(near: &Surroundings) -> Vec<Bracket> {
    let before = format!("{}{}", near.above, near.left);
    unmatched(&brackets(&before, &near.language)).openers
}

/// The closers in `text` that nothing in `text` opens, at their bytes in `text`.
fn foreign_closers(text: &str, near: &Surroundings) -> Vec<Bracket> {
    // The line's start is read too, as the cursor may stand in a string.
    let line = format!("{}{text}", near.left);
    let inside = brackets(&line, &near.language).into_iter().filter_map(|bracket| {
        let at = bracket.at.checked_sub(near.left.len())?;
        Some(Bracket { at, ..bracket })
    });
    let Unmatched { closers, .. } = unmatched(&inside.collect::<Vec<_>>());
    closers
}

/// Whether a string that begins with `quote` is open at the end of `text`.
fn is_open(quote: char, text: &str) -> bool {
    let line = text.rsplit('\n').next().unwrap_or_default();
    line.matches(quote).count() % 2 == 1
}

fn is_quote(character: char) -> bool {
    "\"'`".contains(character)
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{ByteIdx, Document};

    /// `text` has the cursor as `$0`. `expect` is the buffer after the suggestion was taken, with the
    /// cursor behind it; or why there is none.
    fn check_in(language: &str, text: &str, decoded: &str, expect: Result<&str, Reason>) {
        let cursor = text.find("$0").expect("the text has a cursor");
        let plain = text.replacen("$0", "", 1);
        let document = Document::new(&plain, 1, language);
        let near = Surroundings::at(&document, ByteIdx(cursor));
        let got = trim(decoded, &near).map(|trimmed| {
            let (before, after) = plain.split_at(cursor);
            format!("{before}{}$0{}", trimmed.insert, &after[trimmed.replace..])
        });
        assert_eq!(got.as_deref(), expect.as_deref(), "{text:?} {decoded:?}");
    }

    fn check(text: &str, decoded: &str, expect: &str) {
        check_in("c", text, decoded, Ok(expect));
    }

    fn check_py(text: &str, decoded: &str, expect: &str) {
        check_in("python", text, decoded, Ok(expect));
    }

    #[test]
    fn white_space_at_the_end_goes() {
        check("x = $0", "1;  \n  ", "x = 1;$0");
        check_in("c", "x = $0", " \n ", Err(Reason::Empty));
        check_in("c", "x = $0", "", Err(Reason::Empty));
    }

    #[test]
    fn closers_to_the_right_are_not_said_again() {
        check("f($0)", "a, b)", "f(a, b$0)");
        check("f($0);", "a, b);", "f(a, b$0);");
        check("f(g($0))", "x))", "f(g(x$0))");
        check("if ($0) {", "x > 0) {", "if (x > 0$0) {");
        check("x = $0;", "f();", "x = f()$0;");
        check("a[$0]", "i]", "a[i$0]");
    }

    #[test]
    fn a_suggestion_s_own_closers_stay() {
        check("f($0)", "g(x)", "f(g(x)$0)");
        check("f(g($0))", "h(x))", "f(g(h(x)$0))");
        check("f($0)", "a[0], g(b)", "f(a[0], g(b)$0)");
    }

    #[test]
    fn closers_inside_a_suggestion_are_replaced() {
        check("f($0)", "a, b);", "f(a, b);$0");
        check("x = f($0)", "a) + 1", "x = f(a) + 1$0");
        check("f(g($0))", "a) + b)", "f(g(a) + b)$0");
        check("f(g($0))", "a) + b);", "f(g(a) + b);$0");
        check("f($0)", "\n    a,\n    b)", "f(\n    a,\n    b)$0");
    }

    #[test]
    fn quotes_to_the_right_are_not_said_again() {
        check("f(\"$0\")", "hello\")", "f(\"hello$0\")");
        check("f(\"$0\")", "hello", "f(\"hello$0\")");
        check("f(\"$0\")", "a\", 1);", "f(\"a\", 1);$0");
        check("x = '$0'", "a'", "x = 'a$0'");
        check("f($0)", "\"a\")", "f(\"a\"$0)");
    }

    #[test]
    fn words_to_the_right_are_not_said_again() {
        check("x = $0result", "2 * result", "x = 2 * $0result");
        check("x = $0it", "edit", "x = edit$0it");
        check_in("c", "x = $0result", "result", Err(Reason::Duplicate));
    }

    #[test]
    fn the_line_below_is_not_said_again() {
        check("  $0\n  return x;\n", "y();\n  return x;", "  y();$0\n  return x;\n");
        check("  $0\n\n  return x;\n", "y();\n  return x;\n  z", "  y();$0\n\n  return x;\n");
        check_in("c", "  ret$0\n  return x;\n", "urn x;", Err(Reason::Duplicate));
        check("  $0\n  return x;\n", "return y;", "  return y;$0\n  return x;\n");
    }

    #[test]
    fn a_brace_below_is_not_said_again() {
        check("if (x) {\n  $0\n}\n", "y();\n}", "if (x) {\n  y();$0\n}\n");
        check("if (x) {$0\n}\n", "\n  y();\n}", "if (x) {\n  y();$0\n}\n");
        let outer = "void f() {\n  if (x) {$0\n}\n";
        check(outer, "\n    y();\n  }", "void f() {\n  if (x) {\n    y();\n  }$0\n}\n");
        let inner = "f() {\n  $0\n}\n";
        check(inner, "if (x) {\n    y();\n  }", "f() {\n  if (x) {\n    y();\n  }$0\n}\n");
        check_py("if a:\n    $0\nelse:\n    c\n", "b\nelse:", "if a:\n    b$0\nelse:\n    c\n");
    }

    #[test]
    fn closers_that_close_nothing_go() {
        check_in("c", "f(a)$0\n", ");", Err(Reason::Duplicate));
        check("f(a) + $0;\n", "b);", "f(a) + b$0;\n");
        check("f(a)$0\n", " + b)", "f(a) + b$0\n");
    }

    #[test]
    fn a_missing_closer_is_given() {
        check("f(a$0\n", ");", "f(a);$0\n");
        check("int f() {\n  g($0\n}\n", "x);", "int f() {\n  g(x);$0\n}\n");
        check("g(\n  a,\n  $0\n)\n", "b)", "g(\n  a,\n  b$0\n)\n");
        check("g([$0\n", "1, 2])", "g([1, 2])$0\n");
        check("int f() {\n  g();\n$0", "}", "int f() {\n  g();\n}$0");
    }

    #[test]
    fn in_a_long_file_a_block_s_own_closer_stays() {
        let before = format!("{}void f() {{\n  if (x) {{", "int x;\n".repeat(800));
        let after = format!("\n}}\n{}", "int x;\n".repeat(800));
        let expect = format!("{before}\n    y();\n  }}$0{after}");
        check(&format!("{before}$0{after}"), "\n    y();\n  }", &expect);
        let expect = format!("{before}\n    f(a) + b$0{after}");
        check(&format!("{before}\n    f(a)$0{after}"), " + b)", &expect);
    }

    #[test]
    fn brackets_in_strings_and_comments_do_not_count() {
        check_py("x = f(')', $0\n", "a)", "x = f(')', a)$0\n");
        check_py("# f(\nx = $0\n", "(a)", "# f(\nx = (a)$0\n");
    }

    #[test]
    fn several_lines_pass() {
        let body = "\n    a = 1\n    return a";
        check_py("def f():$0\n\ng()\n", body, "def f():\n    a = 1\n    return a$0\n\ng()\n");
    }
}
