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

/// How a text fits before the rest of the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fit {
    /// Bytes of the text that are kept.
    pub keep: usize,
    /// Bytes right of the cursor whose place it takes.
    pub replace: usize,
}

/// Looks at the rest of the cursor's line.
pub fn beside(near: &Surroundings) -> Beside<'_> {
    let right = near.right.trim();
    if right.is_empty() {
        return Beside::Nothing;
    }
    let before = scan(&near.before(), &near.language);
    match closer(right, near, &before) {
        Some(closer) => Beside::Closer(closer),
        None => divider(right, near, &before),
    }
}

/// How `text` fits before the rest of the line.
pub fn fit(text: &str, near: &Surroundings) -> Fit {
    let all = Fit { keep: text.len(), replace: 0 };
    let beside = beside(near);
    if beside == Beside::Nothing {
        let replace = if keeps_blanks(&near.language) { 0 } else { near.right.len() };
        return Fit { replace, ..all };
    }
    let text = without_open_end(text, near);
    let fit = match beside {
        Beside::Closer(closer) => before_closer(text, closer, near),
        Beside::Separator(first) => before_separator(text, first, near),
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

fn closer<'a>(right: &'a str, near: &Surroundings, before: &Scan) -> Option<Closer<'a>> {
    let region = &before.regions[before.innermost()];
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

fn divider<'a>(right: &'a str, near: &Surroundings, before: &Scan) -> Beside<'a> {
    let is_code = before.regions[before.innermost()].kind == Kind::Code;
    let mut rest = right;
    while let Some(first) = rest.chars().next() {
        if is_code && !near.left.trim().is_empty() && is_comment(rest, &near.language) {
            break;
        }
        let arrow = ["=>", "->"].into_iter().find(|arrow| rest.starts_with(arrow));
        let len = match first {
            ';' | ',' | ':' | '?' | '{' => 1,
            _ if arrow.is_some() => 2,
            _ if rest.len() < right.len() && closer(rest, near, before).is_some() => break,
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
fn before_closer(text: &str, closer: Closer<'_>, near: &Surroundings) -> Fit {
    let right = near.right.as_str();
    let all = Fit { keep: text.len(), replace: 0 };
    let Some(said) = first_said(text, closer, near) else {
        return Fit { keep: text.len() - begun(text, closer, near), ..all };
    };
    let (tail, rest) = (tokens(&text[said..]), tokens(right));
    let whole = right.trim_end().len();
    if rest.starts_with(&tail) {
        let is_whole = text.contains('\n') && rest == tail;
        return if is_whole { Fit { replace: whole, ..all } } else { Fit { keep: said, ..all } };
    }
    let mut said_all = tail.iter();
    let is_said = rest.iter().all(|token| said_all.any(|said| said == token));
    let is_whole = is_balanced(text, near) && is_paired(&text[said..], closer, near);
    match partly_said(text, closer, near) {
        _ if is_said && is_whole => Fit { replace: whole, ..all },
        Some(replace) if is_whole => Fit { replace, ..all },
        _ => Fit { keep: said, ..all },
    }
}

/// Bytes at the end of `text` that only begin the mark which stands to the right.
fn begun(text: &str, closer: Closer<'_>, near: &Surroundings) -> usize {
    let right = near.right.trim_start();
    let len = mark_len(closer, near).min(right.len());
    (1..len).rev().find(|n| right.get(..*n).is_some_and(|mark| text.ends_with(mark))).unwrap_or(0)
}

/// Whether `tail` closes again what it opens with a mark that opens and closes alike.
fn is_paired(tail: &str, closer: Closer<'_>, near: &Surroundings) -> bool {
    match closer {
        Closer::Mark(mark) if marks(&near.language).contains(&mark) => {
            tail.matches(mark).count() % 2 == 1
        }
        _ => true,
    }
}

/// Bytes of a mark that is no bracket, tag or word.
fn mark_len(closer: Closer<'_>, near: &Surroundings) -> usize {
    match closer {
        Closer::Region => {
            let scan = scan(&near.before(), &near.language);
            scan.regions[scan.innermost()].close.trim_end().len()
        }
        Closer::Mark(mark) => mark.len(),
        Closer::Bracket(_) | Closer::Tag | Closer::Angle | Closer::Word(_) => 0,
    }
}

/// Byte of `text` where it closes what `closer` closes.
fn first_said(text: &str, closer: Closer<'_>, near: &Surroundings) -> Option<usize> {
    match closer {
        Closer::Bracket(character) => {
            let foreign = foreign_closers(text, near);
            foreign.iter().find(|closer| closer.character == character).map(|closer| closer.at)
        }
        Closer::Region => {
            let before = near.before();
            let region = scan(&before, &near.language).innermost();
            let whole = format!("{before}{text}");
            let scan = scan(&whole, &near.language);
            let region = &scan.regions[region];
            let end =
                region.end.filter(|end| whole[*end..].starts_with(region.close.trim_end()))?;
            end.checked_sub(before.len())
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
fn partly_said(text: &str, closer: Closer<'_>, near: &Surroundings) -> Option<usize> {
    let right = near.right.as_str();
    if matches!(closer, Closer::Tag | Closer::Angle | Closer::Word(_)) {
        return None;
    }
    let begin = right.len() - right.trim_start().len() + mark_len(closer, near);
    let mut replaced = begin;
    let mut foreign = foreign_closers(text, near).into_iter().peekable();
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
fn is_balanced(text: &str, near: &Surroundings) -> bool {
    let (region, kind) = cursor_region(near);
    let is_code = |opener: &Bracket| opener.region != region || kind == Kind::Code;
    !unmatched(own_brackets(text, near)).openers.iter().any(is_code)
        && (!has_tags(&near.language) || Tags::of(text).are_closed())
}

/// A text before the end of its statement.
fn before_separator(text: &str, first: char, near: &Surroundings) -> Fit {
    let rest = tokens(&near.right);
    let starts = text.match_indices(first).map(|(at, _)| at);
    let said = starts.clone().find(|at| rest.starts_with(&tokens(&text[*at..])));
    // What opens a block opens none within the suggestion.
    let opened = (first == '{').then(|| {
        let openers = unmatched(own_brackets(text, near)).openers;
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
fn without_open_end<'a>(text: &'a str, near: &Surroundings) -> &'a str {
    let before = near.before();
    let n_before = scan(&before, &near.language).regions.len();
    let scan = scan(&format!("{before}{text}"), &near.language);
    let mut opened = scan.regions.iter().skip(n_before);
    let open = opened.find(|region| region.end.is_none());
    match open.and_then(|region| region.opened.checked_sub(before.len())) {
        Some(at) => text.get(..at).unwrap_or(text),
        None => text,
    }
}

/// The closers in `text` that nothing in `text` opens, at their bytes in `text`, as far as they stand in what the cursor
/// stands in, or in code behind it.
pub fn foreign_closers(text: &str, near: &Surroundings) -> Vec<Bracket> {
    unmatched(own_brackets(text, near)).closers
}

/// The piece of text that the cursor stands in, and its kind.
pub fn cursor_region(near: &Surroundings) -> (usize, Kind) {
    let scan = scan(&near.before(), &near.language);
    let region = scan.innermost();
    (region, scan.regions[region].kind)
}

fn own_brackets(text: &str, near: &Surroundings) -> Vec<Bracket> {
    let before = near.before();
    let (region, _) = cursor_region(near);
    let scan = scan(&format!("{before}{text}"), &near.language);
    let own = scan.brackets.iter().filter_map(|bracket| {
        let at = bracket.at.checked_sub(before.len())?;
        (bracket.region == region || scan.is_code(bracket)).then_some(Bracket { at, ..*bracket })
    });
    own.collect()
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
