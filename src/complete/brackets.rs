//! Which brackets of a text fit together.
//!
//! Brackets fit only within one [region](super::lexical): what a string or a comment opens, code does not close.

use super::lexical::{Bracket, Kind, scan};

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
pub fn unmatched(brackets: impl IntoIterator<Item = Bracket>) -> Unmatched {
    let mut unmatched = Unmatched::default();
    for bracket in brackets {
        unmatched.pair(bracket);
    }
    unmatched
}

impl Unmatched {
    /// Takes the next bracket.
    pub fn pair(&mut self, bracket: Bracket) {
        if closer_of(bracket.character).is_some() {
            return self.openers.push(bracket);
        }
        let fits = |opener: &Bracket| {
            opener.region == bracket.region
                && closer_of(opener.character) == Some(bracket.character)
        };
        match self.openers.iter().rposition(fits) {
            Some(partner) => {
                let mut idx = 0..;
                self.openers
                    .retain(|opener| idx.next() < Some(partner) || opener.region != bracket.region);
            }
            None => self.closers.push(bracket),
        }
    }
}

/// The brackets of `text` that stand outside of strings and comments.
pub fn brackets(text: &str, language: &str) -> Vec<Bracket> {
    let scan = scan(text, language);
    let is_code = |bracket: &Bracket| scan.regions[bracket.region].kind == Kind::Code;
    scan.brackets.iter().copied().filter(is_code).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(language: &str, text: &str, openers: &str, closers: &str) {
        let unmatched = unmatched(brackets(text, language));
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
        check("python", "\"\"\"[0, n)\n(\"\"\"\nf(", "(", "");
        check("go", "x := `a(\n` + f(", "(", "");
        check("javascript", "`a ( ${f(x)} ) ${g(", "{(", "");
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
