//! What stands right of the cursor, and how far a decoded text fits before it.
//!
//! Editors close what people open. Where the rest of the line begins by closing something, a suggestion goes before it,
//! and ends where it would close the same thing again; only if it says all that stands there, and more, does it take
//! the place of it.

use super::brackets::unmatched;
use super::lexical::syntax::{has_tags, is_prose, syntax_of};
use super::lexical::{Bracket, Kind, Scan, scan};
use super::surroundings::Surroundings;
use tags::Tags;

mod tags;

/// Shortest word that counts as already said to the right of the cursor.
const MIN_WORD_BYTES: usize = 3;
/// Ends of comments, templates and formulas.
const ENDS: [&str; 18] = [
    "*/", "-->", "--%>", "-%>", "%>", "?>", "-%}", "%}", "-}}", "~}}", "#}", "#-}", "-}", "]]>",
    "\\)", "\\]", "\\right", "\\end{",
];
/// What emphasis, formulas and code begin and end with in prose, the longest first.
const PROSE_MARKS: [&str; 10] = ["**", "__", "~~", "$$", "==", "*", "_", "$", "`", "|"];

/// How the rest of the cursor's line begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beside<'a> {
    /// It is empty or white.
    Nothing,
    /// It closes what is open left of the cursor.
    Closer(Closer<'a>),
    /// It ends or divides a statement, or opens its block, and no more follows than a comment or something that is closed.
    Separator(char),
    /// It is a comment.
    Comment,
    /// It is text of its own.
    Text,
}

/// What is closed right of the cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closer<'a> {
    /// A bracket.
    Bracket(char),
    /// The string or comment that the cursor is in.
    Region,
    /// Something with a mark of its own: a formula, a template, the parameters of a closure.
    Mark(&'a str),
    /// An element, by its closing tag.
    Tag,
    /// A tag, or a list of types.
    Angle,
    /// A block, by a word.
    Word(&'a str),
}

/// The text near the cursor, and what of it is code.
#[derive(Debug)]
pub struct Around<'a> {
    /// The text.
    pub near: &'a Surroundings,
    /// All of it before the cursor.
    pub before: String,
    /// What that is.
    pub scan: Scan,
}

/// How a text fits before the rest of the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fit {
    /// Bytes of the text that are kept.
    pub keep: usize,
    /// Bytes right of the cursor whose place it takes.
    pub replace: usize,
}

impl<'a> Around<'a> {
    /// Reads what stands before the cursor.
    pub fn new(near: &'a Surroundings) -> Self {
        let before = near.before();
        let scan = scan(&before, &near.language);
        Self { near, before, scan }
    }

    /// The piece of text that the cursor stands in, and its kind.
    pub fn region(&self) -> (usize, Kind) {
        let region = self.scan.innermost();
        (region, self.scan.regions[region].kind)
    }

    /// What stands before the cursor and `text` behind it, and what that is.
    pub fn with(&self, text: &str) -> (String, Scan) {
        let whole = format!("{}{text}", self.before);
        let scan = self.scan.clone().read_on(&whole, self.before.len(), &self.near.language);
        (whole, scan)
    }

    /// The closers in `text` that nothing in `text` opens, at their bytes in `text`, as far as they stand in what the
    /// cursor stands in, or in code behind it.
    pub fn foreign_closers(&self, text: &str) -> Vec<Bracket> {
        unmatched(self.brackets(text)).closers
    }

    fn brackets(&self, text: &str) -> Vec<Bracket> {
        let (region, _) = self.region();
        let (_, scan) = self.with(text);
        let own = scan.brackets.iter().filter_map(|bracket| {
            let at = bracket.at.checked_sub(self.before.len())?;
            (bracket.region == region || scan.is_code(bracket))
                .then_some(Bracket { at, ..*bracket })
        });
        own.collect()
    }
}

/// Looks at the rest of the cursor's line.
pub fn beside<'a>(around: &Around<'a>) -> Beside<'a> {
    let right = around.near.right.trim();
    if right.is_empty() {
        return Beside::Nothing;
    }
    match closer(right, around) {
        Some(closer) => Beside::Closer(closer),
        None => divider(right, around),
    }
}

/// How `text` fits before the rest of the line.
pub fn fit(text: &str, around: &Around<'_>) -> Fit {
    let near = around.near;
    let all = Fit { keep: text.len(), replace: 0 };
    let beside = beside(around);
    if beside == Beside::Nothing {
        let replace = if keeps_blanks(&near.language) { 0 } else { near.right.len() };
        return Fit { replace, ..all };
    }
    let text = without_open_end(text, around);
    let fit = match beside {
        Beside::Closer(closer) => before_closer(text, closer, around),
        Beside::Separator(first) => before_separator(text, first, around),
        Beside::Text => before_text(text, near),
        Beside::Nothing | Beside::Comment => Fit { keep: text.len(), replace: 0 },
    };
    let is_spaced = fit.replace == 0 && near.right.starts_with(char::is_whitespace);
    let kept = &text[..fit.keep];
    Fit { keep: if is_spaced { kept.trim_end().len() } else { kept.len() }, ..fit }
}

/// Whether blanks at a line's end mean something.
pub fn keeps_blanks(language: &str) -> bool {
    is_prose(language)
}

fn closer<'a>(right: &'a str, around: &Around<'_>) -> Option<Closer<'a>> {
    let near = around.near;
    let region = &around.scan.regions[around.scan.innermost()];
    let end = region.close.trim_end();
    if region.kind != Kind::Code && !end.is_empty() && right.starts_with(end) {
        return Some(Closer::Region);
    }
    let first = right.chars().next()?;
    let begins = |mark: &&&str| right.starts_with(**mark);
    if let Some(mark) = ENDS.iter().find(begins) {
        return Some(Closer::Mark(mark));
    }
    if ")]}".contains(first) {
        return Some(Closer::Bracket(first));
    }
    if has_tags(&near.language) && right.starts_with("</") {
        return Some(Closer::Tag);
    }
    if has_tags(&near.language) && right.starts_with("/>") {
        return Some(Closer::Mark("/>"));
    }
    if first == '>' && (right == ">" || tags::open_angles(&near.left) > 0) {
        return Some(Closer::Angle);
    }
    let pairs = |mark: &&&str| right.starts_with(**mark) && is_open(mark, right, &near.left);
    let marks = marks(&near.language);
    if let Some(mark) = marks.iter().find(pairs) {
        return Some(Closer::Mark(mark));
    }
    let word = &right[..right.find(|c| !is_word(c)).unwrap_or(right.len())];
    closing_words(&near.language).contains(&word).then_some(Closer::Word(word))
}

/// Marks that open and close alike.
fn marks(language: &str) -> &'static [&'static str] {
    match language {
        "rust" | "ruby" | "crystal" => &["\"", "`", "|"],
        language if is_prose(language) => &PROSE_MARKS,
        _ => &["\"", "'", "`"],
    }
}

/// Words that end blocks.
fn closing_words(language: &str) -> &'static [&'static str] {
    match language {
        "lua" | "ruby" | "crystal" | "julia" | "elixir" | "matlab" | "octave" | "fish"
        | "pascal" | "vhdl" | "erlang" => &["end"],
        "shellscript" | "sh" | "bash" | "zsh" => &["fi", "done", "esac"],
        "vim" => &["endif", "endfor", "endfunction", "endwhile"],
        _ => &[],
    }
}

/// Whether `mark`, with which `right` begins, closes what an equal one left of the cursor has opened.
fn is_open(mark: &str, right: &str, left: &str) -> bool {
    let n_left = left.replace('\\', "").matches(mark).count();
    n_left % 2 == 1 && !right[mark.len()..].starts_with(is_word)
}

fn divider<'a>(right: &'a str, around: &Around<'_>) -> Beside<'a> {
    let near = around.near;
    let is_code = around.region().1 == Kind::Code;
    let mut rest = right;
    while let Some(first) = rest.chars().next() {
        if is_code && !near.left.trim().is_empty() && is_comment(rest, &near.language) {
            break;
        }
        let arrow = ["=>", "->"].into_iter().find(|arrow| rest.starts_with(arrow));
        let len = match first {
            ';' | ',' | ':' | '?' | '{' => 1,
            _ if arrow.is_some() => 2,
            _ if rest.len() < right.len() && closer(rest, around).is_some() => break,
            _ => return Beside::Text,
        };
        rest = rest[len..].trim_start();
    }
    match right.chars().next() {
        Some(first) if rest.len() < right.len() => Beside::Separator(first),
        _ => Beside::Comment,
    }
}

fn is_comment(text: &str, language: &str) -> bool {
    let syntax = syntax_of(language);
    syntax.line_comments.iter().any(|mark| text.starts_with(mark))
        || syntax.block_comments.iter().any(|(open, close)| {
            text.strip_prefix(open).and_then(|text| text.find(close)).is_some()
        })
}

/// A text before something that is closed there.
fn before_closer(text: &str, closer: Closer<'_>, around: &Around<'_>) -> Fit {
    let right = around.near.right.as_str();
    let all = Fit { keep: text.len(), replace: 0 };
    let Some(said) = first_said(text, closer, around) else {
        return Fit { keep: text.len() - begun(text, closer, around), ..all };
    };
    let (tail, rest) = (tokens(&text[said..]), tokens(right));
    let whole = right.trim_end().len();
    if rest.starts_with(&tail) {
        let is_whole = text.contains('\n') && rest == tail;
        return if is_whole { Fit { replace: whole, ..all } } else { Fit { keep: said, ..all } };
    }
    let mut said_all = tail.iter();
    let is_said = rest.iter().all(|token| said_all.any(|said| said == token));
    let is_whole = is_balanced(text, around) && is_paired(&text[said..], closer, around);
    match partly_said(text, closer, around) {
        _ if is_said && is_whole => Fit { replace: whole, ..all },
        Some(replace) if is_whole => Fit { replace, ..all },
        _ => Fit { keep: said, ..all },
    }
}

/// Bytes at the end of `text` that only begin the mark which stands to the right.
fn begun(text: &str, closer: Closer<'_>, around: &Around<'_>) -> usize {
    let right = around.near.right.trim_start();
    let len = mark_len(closer, around).min(right.len());
    (1..len).rev().find(|n| right.get(..*n).is_some_and(|mark| text.ends_with(mark))).unwrap_or(0)
}

/// Whether `tail` closes again what it opens with a mark that opens and closes alike.
fn is_paired(tail: &str, closer: Closer<'_>, around: &Around<'_>) -> bool {
    match closer {
        Closer::Mark(mark) if marks(&around.near.language).contains(&mark) => {
            tail.matches(mark).count() % 2 == 1
        }
        _ => true,
    }
}

/// Bytes of a mark that is no bracket, tag or word.
fn mark_len(closer: Closer<'_>, around: &Around<'_>) -> usize {
    match closer {
        Closer::Region => around.scan.regions[around.region().0].close.trim_end().len(),
        Closer::Mark(mark) => mark.len(),
        Closer::Bracket(_) | Closer::Tag | Closer::Angle | Closer::Word(_) => 0,
    }
}

/// Byte of `text` where it closes what `closer` closes.
fn first_said(text: &str, closer: Closer<'_>, around: &Around<'_>) -> Option<usize> {
    match closer {
        Closer::Bracket(character) => {
            let foreign = around.foreign_closers(text);
            foreign.iter().find(|closer| closer.character == character).map(|closer| closer.at)
        }
        Closer::Region => {
            let (whole, scan) = around.with(text);
            let region = &scan.regions[around.region().0];
            let end =
                region.end.filter(|end| whole[*end..].starts_with(region.close.trim_end()))?;
            end.checked_sub(around.before.len())
        }
        Closer::Mark(mark) => {
            let mut found = text.match_indices(mark).map(|(at, _)| at);
            found.find(|at| !text[..*at].ends_with('\\'))
        }
        Closer::Tag => Tags::of(text).first_foreign(),
        Closer::Angle => tags::first_foreign_angle(text),
        Closer::Word(word) => tags::first_foreign_word(text, word),
    }
}

/// Bytes of the closers right of the cursor that `text` says, too, and goes on from, if all that is left then are
/// closers of what is around it.
fn partly_said(text: &str, closer: Closer<'_>, around: &Around<'_>) -> Option<usize> {
    let right = around.near.right.as_str();
    if matches!(closer, Closer::Tag | Closer::Angle | Closer::Word(_)) {
        return None;
    }
    let begin = right.len() - right.trim_start().len() + mark_len(closer, around);
    let mut replaced = begin;
    let mut foreign = around.foreign_closers(text).into_iter().peekable();
    for (at, character) in right.char_indices().skip_while(|(at, _)| *at < begin) {
        if foreign.next_if(|bracket| bracket.character == character).is_some() {
            replaced = at + character.len_utf8();
        } else if character != ' ' {
            break;
        }
    }
    let around = right.get(replaced..)?.trim_end().trim_end_matches([';', ',']);
    let goes_on = !text.trim_end().ends_with([';', ',', ':', '{', '(', '[']);
    (goes_on && around.chars().all(|c| ")]} ".contains(c))).then_some(replaced)
}

/// Whether `text` closes all that it opens.
fn is_balanced(text: &str, around: &Around<'_>) -> bool {
    let (region, kind) = around.region();
    let is_code = |opener: &Bracket| opener.region != region || kind == Kind::Code;
    !unmatched(around.brackets(text)).openers.iter().any(is_code)
        && (!has_tags(&around.near.language) || Tags::of(text).are_closed())
}

/// A text before the end of its statement.
fn before_separator(text: &str, first: char, around: &Around<'_>) -> Fit {
    let rest = tokens(&around.near.right);
    let starts = text.match_indices(first).map(|(at, _)| at);
    let said = starts.clone().find(|at| rest.starts_with(&tokens(&text[*at..])));
    // What opens a block opens none within the suggestion.
    let opened = (first == '{').then(|| {
        let openers = unmatched(around.brackets(text)).openers;
        openers.iter().find(|opener| opener.character == '{').map(|opener| opener.at)
    });
    let keep = said.or(opened.flatten()).unwrap_or(text.len());
    Fit { keep, replace: 0 }
}

/// A text before other text, by request.
fn before_text(text: &str, near: &Surroundings) -> Fit {
    let right = near.right.trim();
    let all = Fit { keep: text.len(), replace: 0 };
    let ends = right.char_indices().map(|(at, character)| at + character.len_utf8());
    let said = ends.rev().find(|&end| {
        let start = text.len().checked_sub(end);
        let is_end = start.is_some_and(|_| text.ends_with(&right[..end]));
        is_end
            && (end == right.len() || is_words(&right[..end]))
            && !is_torn(&text[..text.len() - end], &right[..end])
            && !is_torn(&right[..end], &right[end..])
    });
    if let Some(said) = said {
        return Fit { keep: text.len() - said, ..all };
    }
    let inside = text.match_indices(right).map(|(at, _)| (at, at + right.len()));
    let mut inside =
        inside.filter(|(at, end)| !is_torn(&text[..*at], right) && !is_torn(right, &text[*end..]));
    match inside.next() {
        Some(_) if is_words(right) => Fit { replace: near.right.trim_end().len(), ..all },
        _ => all,
    }
}

fn is_words(said: &str) -> bool {
    said.contains(is_word) && said.len() >= MIN_WORD_BYTES
}

fn is_torn(before: &str, after: &str) -> bool {
    before.ends_with(is_word) && after.starts_with(is_word)
}

/// `text` up to the first string or comment that it opens and does not close: what stands to the right would fall into it.
fn without_open_end<'a>(text: &'a str, around: &Around<'_>) -> &'a str {
    let (_, scan) = around.with(text);
    let mut opened = scan.regions.iter().skip(around.scan.regions.len());
    let open = opened.find(|region| region.end.is_none());
    let at = open.and_then(|region| region.opened.checked_sub(around.before.len()));
    at.and_then(|at| text.get(..at)).unwrap_or(text)
}

/// Words, and other characters one by one.
fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let len = match rest.find(|c| !is_word(c)) {
            _ if !is_word(first) => first.len_utf8(),
            len => len.unwrap_or(rest.len()),
        };
        tokens.push(&rest[..len]);
        rest = rest[len..].trim_start();
    }
    tokens
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}
