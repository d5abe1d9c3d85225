//! Rust source, as far as the rules of `tidy.rs` need it: tokens without comments and literals, paths, attributes and
//! function bodies.
//!
//! Not a parser. What it does not understand it passes over as single characters, so a rule sees too little of odd code
//! rather than failing on it; the code of this crate is not odd.

/// One file.
pub struct Source {
    /// Path from the root of the repository, with `/`.
    pub file: String,
    /// The whole text.
    pub text: String,
    tokens: Vec<Token>,
}

/// An identifier, `::`, or any other single character outside comments, strings and characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// From 1.
    pub line: usize,
    pub text: String,
}

/// A path as written, with the groups of `use` taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// Where its last segment stands.
    pub line: usize,
    pub segments: Vec<String>,
    /// Inline modules around it.
    pub nesting: usize,
}

/// A function that has a body.
pub struct Function<'a> {
    pub name: &'a str,
    /// Line of `fn`.
    pub line: usize,
    /// Lines from `fn` to the closing brace.
    pub n_lines: usize,
    /// The tokens between the braces.
    pub body: &'a [Token],
}

impl Source {
    pub fn new(file: &str, text: &str) -> Self {
        Self { file: file.to_owned(), text: text.to_owned(), tokens: tokenize(text) }
    }

    /// Path below `src/`; none for files elsewhere.
    pub fn in_src(&self) -> Option<&str> {
        self.file.strip_prefix("src/")
    }

    /// The module path of a file below `src/`: `["model", "gguf"]`; empty for `lib.rs` and `main.rs`.
    pub fn module(&self) -> Vec<&str> {
        let path = self.in_src().and_then(|path| path.strip_suffix(".rs")).unwrap_or("");
        match path {
            "" | "lib" | "main" => Vec::new(),
            path => path.split('/').collect(),
        }
    }

    pub fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// Every path of at least two segments, and every path in a `use`.
    pub fn paths(&self) -> Vec<Path> {
        let mut paths = Vec::new();
        let mut braces = 0;
        let mut modules = Vec::new();
        let mut at = 0;
        while let Some(token) = self.tokens.get(at) {
            match token.text.as_str() {
                "{" => {
                    braces += 1;
                    if at >= 2 && self.text_at(at - 2) == "mod" {
                        modules.push(braces);
                    }
                }
                "}" => {
                    if modules.last() == Some(&braces) {
                        modules.pop();
                    }
                    braces -= 1;
                }
                _ if is_ident(token) && self.starts_path(at) => {
                    at = self.read_path(at, &[], modules.len(), &mut paths);
                    continue;
                }
                _ => {}
            }
            at += 1;
        }
        paths
    }

    /// The tokens inside the brackets of every attribute.
    pub fn attributes(&self) -> Vec<&[Token]> {
        let mut attributes = Vec::new();
        for at in 0..self.tokens.len() {
            let bracket = if self.text_at(at + 1) == "!" { at + 2 } else { at + 1 };
            if self.text_at(at) == "#" && self.text_at(bracket) == "[" {
                let end = self.closing(bracket);
                attributes.push(&self.tokens[bracket + 1..end]);
            }
        }
        attributes
    }

    pub fn functions(&self) -> Vec<Function<'_>> {
        let is_function =
            |at: &usize| self.text_at(*at) == "fn" && self.tokens.get(at + 1).is_some_and(is_ident);
        (0..self.tokens.len()).filter(is_function).filter_map(|at| self.function(at)).collect()
    }

    fn function(&self, at: usize) -> Option<Function<'_>> {
        let mut open = at + 2;
        while self.text_at(open) != "{" {
            open = match self.text_at(open) {
                "" | ";" => return None,
                "(" | "[" => self.closing(open) + 1,
                _ => open + 1,
            };
        }
        let close = self.closing(open);
        let last = self.tokens.get(close)?;
        Some(Function {
            name: &self.tokens[at + 1].text,
            line: self.tokens[at].line,
            n_lines: last.line - self.tokens[at].line + 1,
            body: &self.tokens[open + 1..close],
        })
    }

    /// Text of a token; empty beyond the end.
    fn text_at(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |token| &token.text)
    }

    /// Whether a path can begin here: not behind `.` or inside a path, and either `use` or `::` is next to it.
    fn starts_path(&self, at: usize) -> bool {
        let before = |n: usize| at.checked_sub(n).map_or("", |at| self.text_at(at));
        // `::tokio::spawn` begins here, `a::b` and `<A as B>::c` do not.
        let is_global = before(1) == "::" && {
            let inside = before(2) == ">" || before(2).starts_with(is_ident_char);
            before(2) == "use" || !inside
        };
        match before(1) {
            "." => false,
            "::" if !is_global => false,
            before => before == "use" || is_global || self.text_at(at + 1) == "::",
        }
    }

    /// Reads one path from `at`, adds it (or what its group holds) to `paths`, and returns where it ends.
    fn read_path(
        &self,
        at: usize,
        prefix: &[String],
        nesting: usize,
        paths: &mut Vec<Path>,
    ) -> usize {
        let mut segments = prefix.to_vec();
        let mut at = at;
        let mut line = 0;
        while let Some(token) =
            self.tokens.get(at).filter(|token| is_ident(token) || token.text == "*")
        {
            line = token.line;
            segments.push(token.text.clone());
            at += 1;
            let more =
                self.tokens.get(at + 1).is_some_and(|next| is_ident(next) || next.text == "*");
            match self.text_at(at) {
                "::" if more => at += 1,
                "::" if self.text_at(at + 1) == "{" => {
                    return self.read_group(at + 1, &segments, nesting, paths);
                }
                _ => break,
            }
        }
        paths.push(Path { line, segments, nesting });
        at
    }

    fn read_group(
        &self,
        open: usize,
        prefix: &[String],
        nesting: usize,
        paths: &mut Vec<Path>,
    ) -> usize {
        let close = self.closing(open);
        let mut at = open + 1;
        while at < close {
            let starts = is_ident(&self.tokens[at]) || self.text_at(at) == "*";
            let renamed = self.text_at(at - 1) == "as";
            at = match starts && !renamed {
                true => self.read_path(at, prefix, nesting, paths),
                false => at + 1,
            };
        }
        close + 1
    }

    /// Where the bracket at `open` is closed; the end if it is not.
    fn closing(&self, open: usize) -> usize {
        let mut depth = 0;
        for (at, token) in self.tokens.iter().enumerate().skip(open) {
            match token.text.as_str() {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return at;
            }
        }
        self.tokens.len()
    }
}

/// Whether a token is an identifier or a keyword.
pub fn is_ident(token: &Token) -> bool {
    token.text.starts_with(is_ident_char)
        && !token.text.starts_with(|c: char| c.is_ascii_digit())
        && token.text != "as"
}

fn is_ident_char(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

fn tokenize(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut line = 1;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let literal = literal_len(rest);
        let word = rest.find(|c| !is_ident_char(c)).unwrap_or(rest.len());
        let (len, is_code) = match first {
            _ if literal > 0 => (literal, false),
            _ if first.is_whitespace() => (first.len_utf8(), false),
            _ if word > 0 => (word, true),
            _ if rest.starts_with("::") => (2, true),
            _ => (first.len_utf8(), true),
        };
        if is_code {
            tokens.push(Token { line, text: rest[..len].to_owned() });
        }
        line += rest[..len].matches('\n').count();
        rest = &rest[len..];
    }
    tokens
}

/// Bytes of the comment, string or character at the start; 0 if there is none.
fn literal_len(text: &str) -> usize {
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return block_comment_len(text);
    }
    let prefix = ["br", "cr", "b", "c", "r", ""].into_iter().find(|prefix| {
        let rest = text.strip_prefix(prefix);
        rest.is_some_and(|rest| rest.trim_start_matches('#').starts_with(['"', '\'']))
    });
    let Some(prefix) = prefix else { return 0 };
    let body = &text[prefix.len()..];
    let hashes = body.len() - body.trim_start_matches('#').len();
    match (body.starts_with('\''), prefix.ends_with('r')) {
        (true, _) => quoted_char_len(body).map_or(0, |len| prefix.len() + len),
        (false, true) => {
            let end = format!("\"{}", "#".repeat(hashes));
            let start = prefix.len() + hashes + 1;
            text[start..].find(&end).map_or(text.len(), |at| start + at + end.len())
        }
        (false, false) if hashes > 0 => 0,
        (false, false) => prefix.len() + quoted_string_len(body),
    }
}

fn block_comment_len(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        match &text.as_bytes()[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// Bytes of `"…"`.
fn quoted_string_len(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

/// Bytes of `'…'`; none for a lifetime.
fn quoted_char_len(text: &str) -> Option<usize> {
    let mut chars = text.char_indices().skip(1);
    let (_, first) = chars.next()?;
    if first != '\\' {
        return chars.next().filter(|&(_, c)| c == '\'').map(|(at, _)| at + 1);
    }
    chars.next()?;
    chars.find(|&(_, c)| c == '\'').map(|(at, _)| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(code: &str) -> Vec<String> {
        tokenize(code).into_iter().map(|token| token.text).collect()
    }

    fn paths(code: &str) -> Vec<String> {
        let source = Source::new("src/a.rs", code);
        source.paths().iter().map(|path| path.segments.join("::")).collect()
    }

    #[test]
    fn comments_strings_and_characters_are_no_tokens() {
        assert_eq!(texts("a // b\n/* c /* d */ e */ f"), ["a", "f"]);
        assert_eq!(texts(r##"a "b \" c" r#"d " e"# b"f" g"##), ["a", "g"]);
        assert_eq!(texts(r"'a' '\'' '\u{1F}' b'\\' c"), ["c"]);
        assert_eq!(texts("&'a b"), ["&", "'", "a", "b"]);
        assert_eq!(texts("r#type"), ["r", "#", "type"]);
    }

    #[test]
    fn lines_are_counted_through_comments_and_strings() {
        let tokens = tokenize("/*\n\n*/ a \"\n\" b\nc");
        let lines: Vec<_> = tokens.iter().map(|token| (token.text.as_str(), token.line)).collect();
        assert_eq!(lines, [("a", 3), ("b", 4), ("c", 5)]);
    }

    #[test]
    fn groups_are_taken_apart() {
        assert_eq!(
            paths("pub use crate::{a, b::{self, c as d, e::*}, f};"),
            ["crate::a", "crate::b::self", "crate::b::c", "crate::b::e::*", "crate::f"]
        );
    }

    #[test]
    fn paths_in_bodies_are_found_and_method_calls_are_not() {
        assert_eq!(
            paths("fn f() { crate::a::b(x.zip::<u8>(y)); T::new() }"),
            ["crate::a::b", "T::new"]
        );
        assert_eq!(
            paths("#[tokio::test] fn f() -> a::B<c::D> {}"),
            ["tokio::test", "a::B", "c::D"]
        );
    }

    #[test]
    fn nesting_counts_inline_modules() {
        let source = Source::new("src/a.rs", "mod b { mod c { d::e; } f::g; } h::i;");
        let nesting: Vec<_> = source.paths().iter().map(|path| path.nesting).collect();
        assert_eq!(nesting, [2, 1, 0]);
    }

    #[test]
    fn functions_have_their_lines_and_bodies() {
        let source =
            Source::new("src/a.rs", "trait T { fn a([u8; 2]);\nfn b() -> fn(u8) {\n x\n}\n}");
        let functions = source.functions();
        assert_eq!(functions.len(), 1);
        assert_eq!((functions[0].name, functions[0].line, functions[0].n_lines), ("b", 2, 3));
        assert_eq!(functions[0].body[0].text, "x");
    }
}
