//! Where text that stopped anywhere may be cut, so that nothing half-said is shown.
//!
//! A model that ends by itself ends well. One whose time or tokens are used up stops inside a name, a number or an
//! escape: `os.urandom(1` may have become `os.urandom(16)`. What is left is sure to stand in the whole text as it is.

/// The whole lines of `text`, if one of them says something.
pub fn whole_lines(text: &str) -> Option<&str> {
    let (lines, _) = text.rsplit_once('\n')?;
    (!lines.trim().is_empty()).then_some(lines)
}

/// What of `text` is finished, although it stopped anywhere: its whole lines, or where there are none, its whole words.
/// May be empty; never ends in white space.
pub fn finished(text: &str) -> &str {
    whole_lines(text).unwrap_or_else(|| whole_words(text)).trim_end()
}

fn whole_words(text: &str) -> &str {
    let Some(last) = text.chars().next_back() else { return text };
    if last.is_whitespace() || is_closed(text, last) {
        return text;
    }
    // The word that may go on, and the signs that belong to it: the `-` of a flag, the `\` of an escape.
    let text = text.trim_end_matches(|c| is_quote(c) && text.ends_with(c));
    without_word(text).trim_end_matches(is_sign)
}

/// Whether `text` ends in a character that is a token by itself.
fn is_closed(text: &str, last: char) -> bool {
    if !is_quote(last) {
        return matches!(last, '(' | ')' | '[' | ']' | '{' | '}' | ',' | ';');
    }
    let before = &text[..text.len() - last.len_utf8()];
    match before.chars().next_back() {
        // `""` may become `"""`.
        Some(c) if c == last => false,
        // The second of two ends a string, but a single one may be that of `don't`.
        Some(c) if is_word(c) => before.matches(last).count() % 2 == 1,
        _ => true,
    }
}

/// `text` without the word or number at its end, of which `-`, `'` and the point of a number are parts: `a-b` is one name
/// in CSS, and `1e-` no number yet.
fn without_word(text: &str) -> &str {
    let mut start = text.len();
    for (at, c) in text.char_indices().rev() {
        let before = text[..at].chars().next_back();
        let joins = match c {
            '-' | '\'' => before.is_some_and(is_word),
            '.' => before.is_some_and(char::is_numeric),
            _ => false,
        };
        if !is_word(c) && !joins {
            break;
        }
        start = at;
    }
    &text[..start]
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '$') || (!c.is_ascii() && !c.is_whitespace())
}

fn is_quote(c: char) -> bool {
    matches!(c, '"' | '\'' | '`')
}

/// A character of operators and the like, several of which may be one token.
fn is_sign(c: char) -> bool {
    !is_word(c)
        && !is_quote(c)
        && !c.is_whitespace()
        && !matches!(c, '(' | ')' | '[' | ']' | '{' | '}' | ',' | ';')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expect: &str) {
        assert_eq!(finished(text), expect, "{text:?}");
    }

    #[test]
    fn whole_lines_are_kept_and_the_line_that_stopped_goes() {
        check("a(1)\nb(2", "a(1)");
        check("a(1)\n    b(2)\n    c", "a(1)\n    b(2)");
        check("a(1)\n", "a(1)");
        check("\n    return foo(ba", "\n    return foo(");
        check("\n\n", "");
    }

    #[test]
    fn without_a_whole_line_whole_words_are_kept() {
        for (text, expect) in [
            ("const command = `ping -c", "const command = `ping"),
            ("os.urandom(1", "os.urandom("),
            ("os.urandom(16", "os.urandom("),
            ("os.urandom(16)", "os.urandom(16)"),
            ("os.uran", "os"),
            ("foo.bar, foo.b", "foo.bar, foo"),
            ("x = 3.1", "x ="),
            ("x = 3.", "x ="),
            ("x = 1e-", "x ="),
            ("x = 0x1", "x ="),
            ("x = 1_00", "x ="),
            ("margin: 0; background-col", "margin: 0;"),
            ("return a == b.c", "return a == b"),
            ("if a =", "if a"),
            ("std::collections::Ha", "std::collections"),
            ("print(\"a\\", "print(\"a"),
            ("print(\"\\x4", "print(\""),
            ("print(\"caf\\u00e", "print(\"caf"),
            ("re.compile(r'\\d", "re.compile(r'"),
            ("echo $HO", "echo"),
            ("&am", ""),
            ("n", ""),
            ("", ""),
            ("größ", ""),
            ("a größ", "a"),
        ] {
            check(text, expect);
        }
    }

    #[test]
    fn a_quote_ends_a_string_unless_it_may_be_another_sign() {
        for (text, expect) in [
            ("x = 'abc'", "x = 'abc'"),
            ("x = \"abc\"", "x = \"abc\""),
            ("f(\"", "f(\""),
            ("x = \"\"", "x ="),
            ("# we don'", "# we"),
            ("# we don't", "# we"),
            ("b'ab", ""),
        ] {
            check(text, expect);
        }
    }

    proptest! {
        #[test]
        fn what_is_finished_is_a_beginning_that_ends_between_two_words(
            text in r#"([a-z]{1,3}|[0-9]{1,2}|[-+=.'"\\(),;:_$é ]|\n){0,12}"#,
        ) {
            let kept = finished(&text);
            prop_assert!(text.starts_with(kept) && kept.trim_end() == kept);
            let ends = kept.chars().next_back().zip(text[kept.len()..].chars().next());
            prop_assert!(ends.is_none_or(|(last, next)| !is_word(last) || !is_word(next)), "{kept:?}");
        }
    }
}
