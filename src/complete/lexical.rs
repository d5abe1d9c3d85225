//! Which of a text is code, and what stands in strings and comments: a rough reader for any language.
//!
//! It knows [how strings and comments are written](syntax), and no grammar. Where a quote has no partner on its line it
//! is a letter, unless that line is the last, which ends at the cursor. What it reads further on never changes what it
//! said of the lines before, so that text can be judged while it is decoded.

use syntax::{Literal, Raw, Syntax, syntax_of};

pub mod syntax;

/// The region of the file's own code.
pub const FILE: usize = 0;

/// What [`scan`] found, in the order of the text.
#[derive(Clone, Debug)]
pub struct Scan {
    /// All brackets, each with its region.
    pub brackets: Vec<Bracket>,
    /// The file, and whatever was opened in it.
    pub regions: Vec<Region>,
    /// The regions that are open at the end, innermost last.
    open: Vec<usize>,
    /// Marks of heredocs that begin on the next line.
    heredocs: Vec<String>,
}

/// A bracket and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bracket {
    /// Byte in the text.
    pub at: usize,
    /// The bracket.
    pub character: char,
    /// Index of its region.
    pub region: usize,
}

/// A piece of text of one kind.
#[derive(Clone, Debug)]
pub struct Region {
    /// What it is.
    pub kind: Kind,
    /// Byte of what opens it.
    pub opened: usize,
    /// Byte behind that.
    pub start: usize,
    /// Byte of what closes it; absent while it is open.
    pub end: Option<usize>,
    /// What closes it; empty where it is the line's end.
    pub close: String,
    /// Openers without a partner in a region of code.
    depth: usize,
    literal: Option<Literal>,
}

/// Kinds of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Of the file, or between the brackets of an interpolation.
    Code,
    /// A comment.
    Comment,
    /// A string on one line.
    Text,
    /// A string that may have many lines: a raw string, a template, a heredoc.
    Lines,
}

impl Scan {
    /// Reads `text` from byte `from` on, up to which it has been read already.
    pub fn read_on(self, text: &str, from: usize, language: &str) -> Self {
        let syntax = syntax_of(language);
        let mut scanner = Scanner { text, syntax, language, at: from, scan: self };
        while scanner.at < text.len() {
            scanner.step();
        }
        scanner.scan
    }

    /// The innermost region at the end of the text, by its index.
    pub fn innermost(&self) -> usize {
        self.open.last().copied().unwrap_or(FILE)
    }

    /// The innermost region that holds byte `at`, by its index.
    pub fn region_at(&self, at: usize) -> usize {
        let holds = |region: &Region| region.start <= at && region.end.is_none_or(|end| at <= end);
        self.regions.iter().rposition(holds).unwrap_or(FILE)
    }

    /// Whether a bracket stands in code.
    pub fn is_code(&self, bracket: &Bracket) -> bool {
        self.regions[bracket.region].kind == Kind::Code
    }
}

/// Reads `text`, which begins in code.
pub fn scan(text: &str, language: &str) -> Scan {
    let regions = vec![Region::new(Kind::Code, 0, "")];
    let nothing = Scan { brackets: Vec::new(), regions, open: vec![FILE], heredocs: Vec::new() };
    nothing.read_on(text, 0, language)
}

impl Region {
    fn new(kind: Kind, start: usize, close: &str) -> Self {
        let (close, literal) = (close.to_owned(), None);
        Self { kind, opened: start, start, end: None, close, depth: 0, literal }
    }
}

struct Scanner<'a> {
    text: &'a str,
    syntax: &'static Syntax,
    language: &'a str,
    at: usize,
    scan: Scan,
}

impl<'a> Scanner<'a> {
    fn step(&mut self) {
        let region = &self.scan.regions[self.scan.innermost()];
        match region.kind {
            Kind::Code => self.step_in_code(),
            Kind::Comment | Kind::Text | Kind::Lines => self.step_in_text(),
        }
    }

    fn step_in_code(&mut self) {
        let rest = self.rest();
        let Some(character) = rest.chars().next() else { return };
        if character == '\n' {
            return self.begin_heredoc();
        }
        if let Some((open, close)) =
            self.syntax.block_comments.iter().find(|c| rest.starts_with(c.0))
        {
            return self.open(Kind::Comment, open.len(), close, None);
        }
        if let Some(open) = self.line_comment() {
            return self.open(Kind::Comment, open, "", None);
        }
        if let Some((open, close)) = self.raw_literal() {
            return self.open(Kind::Lines, open, &close, None);
        }
        if let Some((len, mark)) = self.heredoc() {
            self.scan.heredocs.push(mark);
            self.at += len;
            return;
        }
        if let Some(literal) = self.syntax.literals.iter().find(|l| rest.starts_with(l.open)) {
            return self.begin_literal(*literal);
        }
        if character == '\'' && self.syntax.characters {
            self.at += character_len(rest).unwrap_or(1);
            return;
        }
        self.bracket(character);
        self.at += character.len_utf8();
    }

    fn step_in_text(&mut self) {
        let (region, rest) = (&self.scan.regions[self.scan.innermost()], self.rest());
        let Some(character) = rest.chars().next() else { return };
        let literal = region.literal;
        let is_heredoc =
            literal.is_none() && region.kind == Kind::Lines && region.close.ends_with('\n');
        if is_heredoc {
            return self.step_in_heredoc();
        }
        if !region.close.is_empty() && rest.starts_with(&region.close) {
            return self.close();
        }
        if character == '\n' && (region.close.is_empty() || region.kind == Kind::Text) {
            return self.close_before();
        }
        if character == '\\' && literal.is_some_and(|literal| literal.escapes) {
            let escaped = rest.chars().nth(1).map_or(0, char::len_utf8);
            self.at += 1 + escaped;
            return;
        }
        if let Some((_, open)) = literal.and_then(|literal| literal.code)
            && rest.starts_with(open)
        {
            // `{{` is a brace, and no code.
            if open == "{" && rest.starts_with("{{") {
                self.at += 2;
                return;
            }
            self.open(Kind::Code, open.len(), "", None);
            let bracket = open.chars().last().unwrap_or('{');
            let region = self.scan.innermost();
            self.scan.brackets.push(Bracket { at: self.at - 1, character: bracket, region });
            return;
        }
        self.bracket(character);
        self.at += character.len_utf8();
    }

    /// Reads one line of a heredoc.
    fn step_in_heredoc(&mut self) {
        let rest = self.rest();
        let line = rest.split('\n').next().unwrap_or_default();
        let region = &self.scan.regions[self.scan.innermost()];
        let is_end = line.trim() == region.close.trim_end() && rest.len() > line.len();
        if is_end {
            self.close_before();
        }
        self.at += line.len() + usize::from(rest.len() > line.len());
        if is_end && !self.scan.heredocs.is_empty() {
            self.at -= 1;
        }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn open(&mut self, kind: Kind, len: usize, close: &str, literal: Option<Literal>) {
        let opened = self.at;
        self.at += len;
        let region = Region { literal, opened, ..Region::new(kind, self.at, close) };
        self.scan.regions.push(region);
        self.scan.open.push(self.scan.regions.len() - 1);
    }

    /// Closes the innermost region with what stands here.
    fn close(&mut self) {
        let len = self.scan.regions[self.scan.innermost()].close.len();
        self.close_before();
        self.at += len;
    }

    /// Closes the innermost region; what stands here does not belong to it.
    fn close_before(&mut self) {
        let region = self.scan.innermost();
        self.scan.regions[region].end = Some(self.at);
        self.scan.open.pop();
    }

    fn bracket(&mut self, character: char) {
        if !"()[]{}".contains(character) {
            return;
        }
        let region = self.scan.innermost();
        self.scan.brackets.push(Bracket { at: self.at, character, region });
        let is_code = self.scan.regions[region].kind == Kind::Code;
        let depth = &mut self.scan.regions[region].depth;
        if "([{".contains(character) {
            *depth += 1;
        } else if *depth > 0 {
            *depth -= 1;
        } else if is_code && region != FILE {
            self.close_before();
        }
    }

    fn begin_heredoc(&mut self) {
        if self.scan.heredocs.is_empty() {
            self.at += 1;
        } else {
            let mark = self.scan.heredocs.remove(0);
            self.open(Kind::Lines, 1, &format!("{mark}\n"), None);
        }
    }

    /// Opens the string that begins here, unless its quote is a letter.
    fn begin_literal(&mut self, literal: Literal) {
        let before = self.text[..self.at].trim_end_matches(char::is_alphanumeric);
        let prefix = &self.text[before.len()..self.at];
        let is_apostrophe =
            literal.open == "'" && !prefix.is_empty() && !is_prefix(prefix, self.language);
        let is_open = literal.spans_lines || self.ends_on_line(literal);
        if is_apostrophe || !is_open {
            self.at += literal.open.len();
            return;
        }
        let last = before.chars().last().filter(|c| *c == '$' || *c == '@');
        let prefixed = |wanted: &str| {
            wanted.is_empty() || prefix.chars().chain(last).any(|c| wanted.contains(c))
        };
        let code = literal.code.filter(|(wanted, _)| prefixed(wanted));
        let kind = if literal.spans_lines { Kind::Lines } else { Kind::Text };
        self.open(kind, literal.open.len(), literal.close, Some(Literal { code, ..literal }));
    }

    /// Whether a string that begins here ends on this line, or the line is the last.
    fn ends_on_line(&self, literal: Literal) -> bool {
        let rest = &self.rest()[literal.open.len()..];
        let (line, is_last) = rest.split_once('\n').map_or((rest, true), |(line, _)| (line, false));
        let mut characters = line.char_indices();
        while let Some((at, character)) = characters.next() {
            if line[at..].starts_with(literal.close) {
                return true;
            }
            if character == '\\' && literal.escapes {
                characters.next();
            }
        }
        is_last
    }

    /// Length of the mark of a comment that begins here.
    fn line_comment(&self) -> Option<usize> {
        let rest = self.rest();
        let mark = self.syntax.line_comments.iter().find(|mark| rest.starts_with(**mark))?;
        let before = self.text[..self.at].chars().last();
        let is_word = match (*mark, before) {
            // `$#`, `${x#y}`, `a#b` in shells and YAML; a URL anywhere; an attribute of PHP.
            ("#", Some(before)) if self.language != "python" => !before.is_whitespace(),
            ("//", Some(before)) => before == ':',
            ("%", Some(before)) => before == '\\',
            _ => false,
        };
        let is_attribute = self.language == "php" && rest.starts_with("#[");
        (!is_word && !is_attribute).then_some(mark.len())
    }

    /// Length of what opens a string whose end is told by its beginning, and that end.
    fn raw_literal(&self) -> Option<(usize, String)> {
        let rest = self.rest();
        let run = |text: &str, c: char| text.len() - text.trim_start_matches(c).len();
        match self.syntax.raw? {
            Raw::Rust => {
                let after = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'))?;
                let before = self.text[..self.at].chars().last();
                let n_hashes = run(after, '#');
                let opens = after[n_hashes..].starts_with('"');
                let is_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
                let len = rest.len() - after.len() + n_hashes + 1;
                (opens && !is_word).then(|| (len, format!("\"{}", "#".repeat(n_hashes))))
            }
            Raw::Cpp => {
                let (mark, _) = rest.strip_prefix("R\"")?.split_once('(')?;
                let is_mark = mark.len() <= 16 && !mark.contains(char::is_whitespace);
                is_mark.then(|| (3 + mark.len(), format!("){mark}\"")))
            }
            Raw::Lua => {
                let n_equals = run(rest.strip_prefix('[')?, '=');
                let opens = rest[1 + n_equals..].starts_with('[');
                opens.then(|| (2 + n_equals, format!("]{}]", "=".repeat(n_equals))))
            }
        }
    }

    /// Length of what announces a heredoc, and the mark that ends it.
    fn heredoc(&self) -> Option<(usize, String)> {
        let opener = self.syntax.heredoc?;
        let rest = self.rest().strip_prefix(opener)?;
        let before = self.text[..self.at].chars().last();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '<') || rest.starts_with('<') {
            return None;
        }
        let after = rest.trim_start_matches(['-', '~']).trim_start_matches(' ');
        let after = after.trim_start_matches(['\'', '"']);
        let len = after.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(after.len());
        let mark = &after[..len];
        let is_shift = rest.starts_with(' ') || self.language == "ruby";
        let is_quoted = rest.starts_with(['\'', '"', '-', '~']);
        let is_lower = !is_shift || is_quoted;
        let is_mark = mark
            .starts_with(|c: char| c.is_uppercase() || c == '_' || (is_lower && c.is_alphabetic()));
        is_mark.then(|| (self.rest().len() - after.len() + len, mark.to_owned()))
    }
}

/// Whether letters before a quote belong to the string: `rb'…'`.
fn is_prefix(letters: &str, language: &str) -> bool {
    language == "python" && letters.len() <= 2 && letters.chars().all(|c| "rbfuRBFU".contains(c))
}

/// Length of the character that begins here; none where it is a lifetime or an apostrophe.
fn character_len(rest: &str) -> Option<usize> {
    let inside = rest.strip_prefix('\'')?;
    let line = inside.split('\n').next().unwrap_or_default();
    let first = line.chars().next()?;
    if first == '\\' {
        let end = line.char_indices().skip(2).find(|(_, c)| *c == '\'')?.0;
        return Some(end + 2);
    }
    line[first.len_utf8()..].starts_with('\'').then_some(first.len_utf8() + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the innermost region at the end of `text` is, and what closes it.
    fn check(language: &str, text: &str, kind: Kind, close: &str) {
        let scan = scan(text, language);
        let region = &scan.regions[scan.innermost()];
        assert_eq!((region.kind, region.close.as_str()), (kind, close), "{language} {text:?}");
    }

    #[test]
    fn strings_and_comments_are_open_at_the_cursor() {
        use Kind::{Code, Comment, Lines, Text};
        for (language, text, kind, close) in [
            ("c", "f(\"a", Text, "\""),
            ("c", "f(\"a\\\"", Text, "\""),
            ("c", "f(\"a\"", Code, ""),
            ("c", "/* a\n b", Comment, "*/"),
            ("c", "x; // a", Comment, ""),
            ("c", "x; // a\n", Code, ""),
            ("c", "x = '\"';", Code, ""),
            ("python", "def f():\n    \"\"\"a", Lines, "\"\"\""),
            ("python", "x = f'{a", Code, ""),
            ("python", "x = f'{a}", Text, "'"),
            ("python", "# it's\nx = ", Code, ""),
            ("go", "x := `a\n  b", Lines, "`"),
            ("rust", "let x = r#\"a\" b", Lines, "\"#"),
            ("rust", "fn f<'a>(x: &'a str) {", Code, ""),
            ("cpp", "auto x = R\"sql(a \" b", Lines, ")sql\""),
            ("lua", "x = [[a\nb", Lines, "]]"),
            ("javascript", "x = `a ${b", Code, ""),
            ("javascript", "x = `a ${b} c\n", Lines, "`"),
            ("javascript", "x = `a ${{ b: 1 }} c", Lines, "`"),
            ("javascriptreact", "<p>it's", Code, ""),
            ("shellscript", "cat <<-EOF >a\n  x\n", Lines, "EOF\n"),
            ("shellscript", "cat <<'EOF'\n  x\nEOF\nx", Code, ""),
            ("shellscript", "x=$((a<<b))\nx", Code, ""),
            ("html", "<!-- a", Comment, "-->"),
            ("markdown", "it's \"a", Code, ""),
            ("yaml", "a: http://x#y", Code, ""),
            ("elixir", "@doc \"\"\"\na", Lines, "\"\"\""),
        ] {
            check(language, text, kind, close);
        }
    }

    #[test]
    fn what_follows_changes_no_line_before() {
        let text = "x = 'a\ny = \"\"\"b\n'''\n\"\"\"; z = `c${'d\n}` /* e\n*/ f <<EOF\ng\nEOF\nh";
        for language in ["python", "javascript", "shellscript", "go", "rust", "c", "", "ruby"] {
            let whole = scan(text, language);
            for (at, _) in text.match_indices('\n') {
                let part = scan(&text[..=at], language);
                let kind = |scan: &Scan| scan.regions[scan.region_at(at + 1)].kind;
                assert_eq!(kind(&part), kind(&whole), "{language} {at}");
            }
        }
    }
}
