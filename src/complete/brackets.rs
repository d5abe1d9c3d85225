//! Which brackets of a text stand in code, and which of them fit together.
//!
//! A rough reader for any language: strings and comments on one line are skipped, everything else
//! counts. It errs towards seeing too many brackets, never towards a parser per language.

/// A bracket and the byte where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bracket {
    /// Byte in the text.
    pub at: usize,
    /// The bracket.
    pub character: char,
}

impl Bracket {
    fn closes(self, opener: char) -> bool {
        closer_of(opener) == Some(self.character)
    }
}

/// Brackets of a text that have no partner in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unmatched {
    /// Opened and not closed, outermost first.
    pub openers: Vec<Bracket>,
    /// Closed and not opened, in order.
    pub closers: Vec<Bracket>,
}

/// The bracket that closes `opener`.
pub fn closer_of(opener: char) -> Option<char> {
    match opener {
        '(' => Some(')'),
        '[' => Some(']'),
        '{' => Some('}'),
        _ => None,
    }
}

/// Pairs brackets off. A closer that does not fit the innermost opener leaves it open only if an
/// outer one fits.
pub fn unmatched(brackets: &[Bracket]) -> Unmatched {
    let mut unmatched = Unmatched::default();
    for &bracket in brackets {
        if closer_of(bracket.character).is_some() {
            unmatched.openers.push(bracket);
            continue;
        }
        let openers = &mut unmatched.openers;
        match openers.iter().rposition(|opener| bracket.closes(opener.character)) {
            Some(opener) => openers.truncate(opener),
            None => unmatched.closers.push(bracket),
        }
    }
    unmatched
}

/// The brackets of `text` that stand outside of strings and comments.
pub fn brackets(text: &str, language: &str) -> Vec<Bracket> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(character) = text[at..].chars().next() {
        at += match character {
            '(' | ')' | '[' | ']' | '{' | '}' => {
                found.push(Bracket { at, character });
                1
            }
            // What may begin a string or a comment; only there the line is looked at.
            '"' | '\'' | '`' | '/' | '#' | '-' => {
                let line = text[at..].split('\n').next().unwrap_or_default();
                let skipped = string_len(line, language).or_else(|| comment_len(line, language));
                skipped.unwrap_or(1)
            }
            _ => character.len_utf8(),
        };
    }
    found
}

/// Length of the string that begins here and ends on this line.
fn string_len(line: &str, language: &str) -> Option<usize> {
    let quote = line.chars().next().filter(|c| "\"'`".contains(*c))?;
    let mut characters = line.char_indices().skip(1);
    let mut n_inside = 0;
    while let Some((at, character)) = characters.next() {
        if character == quote {
            let is_character = n_inside == 1;
            let fits = quote != '\'' || is_character || has_long_single_quotes(language);
            return fits.then_some(at + 1);
        }
        if character == '\\' {
            characters.next();
        }
        n_inside += 1;
    }
    None
}

/// Length of the comment that begins here.
fn comment_len(line: &str, language: &str) -> Option<usize> {
    let begins = match language {
        "python" | "ruby" | "shellscript" | "sh" | "bash" | "yaml" | "toml" | "perl" | "r"
        | "dockerfile" | "makefile" | "elixir" | "julia" => line.starts_with('#'),
        "lua" | "sql" | "haskell" => line.starts_with("--"),
        "php" => line.starts_with('#') || line.starts_with("//"),
        _ => line.starts_with("//"),
    };
    begins.then_some(line.len())
}

/// Whether `'` makes strings, rather than characters or lifetimes.
fn has_long_single_quotes(language: &str) -> bool {
    !matches!(
        language,
        "rust" | "c" | "cpp" | "csharp" | "java" | "go" | "kotlin" | "scala" | "swift" | "haskell"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(language: &str, text: &str, openers: &str, closers: &str) {
        let unmatched = unmatched(&brackets(text, language));
        let characters =
            |found: Vec<Bracket>| found.iter().map(|b| b.character).collect::<String>();
        let got = (characters(unmatched.openers), characters(unmatched.closers));
        assert_eq!(got, (openers.to_owned(), closers.to_owned()), "{text}");
    }

    #[test]
    fn pairs_go() {
        check("c", "f(a[1]) { g(", "{(", "");
        check("c", "a) + b] (c)", "", ")]");
        check("c", "f(a[1) x", "", "");
    }

    #[test]
    fn strings_and_comments_hold_none() {
        check("python", "f('(', \"[\") # {", "", "");
        check("c", "f('(', '\\'') // {", "", "");
        check("lua", "f( -- {", "(", "");
        check("python", "a // f(", "(", "");
    }

    #[test]
    fn a_lifetime_is_no_string() {
        check("rust", "fn f<'a>(x: &'a str) {", "{", "");
    }

    #[test]
    fn a_quote_without_an_end_is_a_letter() {
        check("c", "// don't\nf(", "(", "");
        check("python", "it's f(", "(", "");
    }
}
