//! What of a decoded text is worth showing at the cursor.
//!
//! Pure functions on text that is already in the buffer's [style](super::style): what the buffer has
//! [to the right](super::beside) and below is not said again, closers that nothing opened go, and nothing is left of
//! white space. See `docs/PROTOCOL.md` for why closers to the right are rather left alone than replaced.

use super::Reason;
use super::beside::{Around, Fit, fit};
use super::brackets::{closer_of, unmatched};
use super::lexical::syntax::is_prose;
use super::lexical::{Bracket, Kind};
use super::style::TAB_WIDTH;
use super::surroundings::Surroundings;
use crate::prompt::stop::leader::is_trivial;
use crate::prompt::stop::{below, indent};

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
    let around = Around::new(near);
    let text = without_lines_below(text, near);
    let text = without_trivial_lines_below(text, &around);
    let Fit { keep, replace } = fit(text, &around);
    let kept = without_extra_closers(&text[..keep], replace, &around);
    let kept = without_last_comma(kept, replace, near);
    if kept.trim().is_empty() {
        return Err(Reason::Duplicate);
    }
    Ok(Trimmed { insert: kept.to_owned(), replace })
}

/// A line of a text, as it will stand in the buffer, and the byte of the text where it begins.
struct Line {
    start: usize,
    text: String,
}

/// The lines of `text` that hold more than white space.
fn lines(text: &str, near: &Surroundings) -> Vec<Line> {
    let mut start = 0;
    let lines = text.split('\n').enumerate().map(|(idx, line)| {
        let text = match idx {
            0 if line.trim().is_empty() => String::new(),
            0 => format!("{}{line}{}", near.left, near.right),
            _ => line.to_owned(),
        };
        start += line.len() + 1;
        Line { start: start - line.len() - 1, text: text.trim_end().to_owned() }
    });
    lines.filter(|line| !line.text.is_empty()).collect()
}

/// `text` up to where it only says again what stands below.
fn without_lines_below<'a>(text: &'a str, near: &Surroundings) -> &'a str {
    let lines = lines(text, near);
    let texts = lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>();
    let below = near.lines_below().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>();
    let first = (1..=lines.len()).find_map(|n| below::repetition(&texts[..n], &below, TAB_WIDTH));
    first.map_or(text, |first| text[..lines[first].start].trim_end())
}

/// `text` without last lines such as `}` or `else:` that stand right below, at the same indentation,
/// and that nothing in `text` has opened.
fn without_trivial_lines_below<'a>(text: &'a str, around: &Around<'_>) -> &'a str {
    let lines = lines(text, around.near);
    let below = around.near.lines_below().take_while(|line| is_trivial(line)).collect::<Vec<_>>();
    let columns = |line: &str| indent(line, TAB_WIDTH);
    let foreign = around.foreign_closers(text);
    let is_below = |n: &usize| {
        let last = &lines[lines.len() - n..];
        let start = last.first().map_or(text.len(), |line| line.start);
        let n_brackets = text[start..].chars().filter(|c| "()[]{}".contains(*c)).count();
        let n_foreign = foreign.iter().filter(|closer| closer.at >= start).count();
        let are_same = last.iter().zip(&below).all(|(line, below)| {
            line.text.trim() == below.trim() && columns(&line.text) == columns(below)
        });
        are_same && n_brackets == n_foreign
    };
    let n = (1..=lines.len().min(below.len())).rev().find(is_below);
    n.map_or(text, |n| text[..lines[lines.len() - n].start].trim_end())
}

/// `text` without closers at its end that close nothing: what is open before the cursor is closed
/// after it already. What is no code needs no partners.
fn without_extra_closers<'a>(text: &'a str, replaced: usize, around: &Around<'_>) -> &'a str {
    let near = around.near;
    if around.region().1 != Kind::Code || needs_no_partners(&near.language) {
        return text;
    }
    let foreign = around.foreign_closers(text);
    let n_replaced = near.right[..replaced].chars().filter(|c| ")]}".contains(*c)).count();
    let missing = missing_closers(replaced, around);
    let mut missing = missing.iter();
    let extra = foreign.iter().skip(n_replaced).find(|closer| match missing.next() {
        Some(wanted) => *wanted != closer.character,
        None => near.is_whole() || is_certainly_extra(**closer, text, around),
    });
    let Some(extra) = extra.filter(|extra| !ends_pattern(**extra, around)) else { return text };
    let only_closers = text[extra.at..].chars().all(|c| ")]};, \n\t".contains(c));
    if only_closers { text[..extra.at].trim_end() } else { text }
}

/// Languages in which plain text has brackets.
fn needs_no_partners(language: &str) -> bool {
    is_prose(language)
        || matches!(language, "yaml" | "dockercompose" | "html" | "xml" | "ini" | "properties")
}

/// Whether a `)` ends the pattern of a `case` branch in a shell, which nothing opens.
fn ends_pattern(closer: Bracket, around: &Around<'_>) -> bool {
    let is_shell = matches!(
        around.near.language.as_str(),
        "shellscript" | "sh" | "bash" | "zsh" | "makefile" | "make" | "dockerfile" | "just"
    );
    is_shell && closer.character == ')' && !opens_above(around).iter().any(|o| o.character == '(')
}

/// Whether a closer that seems to lack an opener lacks it beyond what is seen of the document, too:
/// blocks are long, and where a line begins with a closer its indentation says more.
fn is_certainly_extra(closer: Bracket, text: &str, around: &Around<'_>) -> bool {
    let line = text[..closer.at].rsplit_once('\n').map(|(_, line)| line);
    let begins_line = line.is_some_and(|line| line.trim().is_empty());
    !begins_line && (closer.character != '}' || !opens_above(around).is_empty())
}

/// The closers that the text without any suggestion lacks, innermost first. `replaced` bytes to the
/// right of the cursor do not count.
fn missing_closers(replaced: usize, around: &Around<'_>) -> Vec<char> {
    let mut open = opens_above(around);
    let mut closed = closes_after(replaced, around);
    if around.near.is_whole() {
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

/// What is open at the cursor in the piece of code that it stands in.
fn opens_above(around: &Around<'_>) -> Vec<Bracket> {
    let (region, _) = around.region();
    let brackets = around.scan.brackets.iter().copied();
    unmatched(brackets.filter(|bracket| bracket.region == region)).openers
}

/// What is closed behind the cursor and not opened there, as far as it is code.
fn closes_after(replaced: usize, around: &Around<'_>) -> Vec<Bracket> {
    let near = around.near;
    let (_, scan) = around.with(&format!("{}\n{}", &near.right[replaced..], near.below));
    let after = scan.brackets.iter().copied();
    let after = after.filter(|bracket| bracket.at >= around.before.len() && scan.is_code(bracket));
    unmatched(after).closers
}

/// `text` without a comma at its end, where JSON has nothing but a closer behind it, or another comma.
fn without_last_comma<'a>(text: &'a str, replaced: usize, near: &Surroundings) -> &'a str {
    let is_json = near.language.starts_with("json");
    let after = near.right[replaced..].chars().chain(near.below.chars());
    let next = after.clone().find(|c| !c.is_whitespace());
    match text.trim_end().strip_suffix(',') {
        Some(kept) if is_json && next.is_some_and(|next| "}],".contains(next)) => kept.trim_end(),
        _ => text,
    }
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
