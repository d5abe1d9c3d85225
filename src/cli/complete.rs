//! `cosec-ls complete FILE:LINE[:COLUMN]`: the editor's completion, in a terminal or a script.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;

use crate::complete::shown_path::relative;
use crate::complete::{Explanation, Reason, Suggestion};
use crate::config::{DraftTokens, Mode, Settings, ranges};
use crate::engine::{Finish, RequestStats, Role, State, TokenTrace};
use crate::registry::Registry;
use crate::text::language::language_of_text;
use crate::text::{ByteIdx, Document};

use super::doctor::describe_adapter;
use super::output::{Unwritable, out};
use super::session::Session;

/// Complete one place of a file.
#[derive(Args, Debug)]
pub struct CompleteArgs {
    /// Where: line and column count from 1; without a column, the end of the line
    #[arg(value_name = "FILE:LINE[:COLUMN]")]
    place: String,
    /// Who chooses the tokens; several, separated by commas, are shown one after the other
    #[arg(long, value_delimiter = ',', default_value = "cosec", value_parser = parse_mode)]
    mode: Vec<Mode>,
    /// Adapter of models.toml, or a directory in PEFT's format, beside the security model [default: the profile's]
    #[arg(long, value_name = "NAME|DIRECTORY")]
    adapter: Option<String>,
    /// What the adapter's updates are multiplied by: 0 is the plain model, 1 the adapter at its own strength [default: 1]
    #[arg(long, value_name = "FACTOR", value_parser = ranges::ADAPTER_STRENGTH.parser::<f32>())]
    adapter_strength: Option<f32>,
    /// Acceptance threshold of the co-decoding [default: the profile's]
    #[arg(long, value_parser = ranges::ALPHA.parser::<f32>())]
    alpha: Option<f32>,
    /// Temperature of both roles; 0 takes the most likely token [default: the profile's]
    #[arg(long, value_parser = ranges::TEMPERATURE.parser::<f32>())]
    temperature: Option<f32>,
    /// Tokens drafted per forward of the base: a number from 1 to 8, or `auto` for what is fastest; changes no text
    #[arg(long, value_name = "N|auto", default_value = "auto")]
    draft_tokens: DraftTokens,
    /// Most lines
    #[arg(long, value_parser = ranges::MAX_LINES.parser::<usize>())]
    max_lines: Option<usize>,
    /// Most tokens
    #[arg(long, value_parser = ranges::MAX_TOKENS.parser::<usize>())]
    max_tokens: Option<usize>,
    /// One JSON object per mode, and nothing else, on standard output
    #[arg(long)]
    json: bool,
}

/// A place in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Names the document.
    pub name: String,
    /// Absent for text that is in no file.
    pub path: Option<PathBuf>,
    /// What the models are told of where that is; absent for text that is in no file.
    pub shown: Option<String>,
    /// The whole text.
    pub text: String,
    /// Language id, as editors call it.
    pub language: String,
    /// The cursor, in bytes.
    pub cursor: usize,
}

/// What came of a question.
#[derive(Debug)]
pub enum Asked {
    /// Something to insert.
    Suggested {
        /// What.
        suggestion: Suggestion,
        /// How it came to be.
        explanation: Box<Explanation>,
    },
    /// Nothing, and why.
    Nothing(Reason),
}

/// Runs the command. Exit code 1 if no mode had anything to say.
///
/// # Errors
/// A place that is not there, a file that is not text, models that cannot be had.
pub fn run(args: &CompleteArgs, registry: Registry, mut settings: Settings) -> Result<ExitCode> {
    let place = Place::parse(&args.place)?;
    settings.adapter = args.adapter.clone().or(settings.adapter);
    settings.adapter_strength = args.adapter_strength.unwrap_or(settings.adapter_strength);
    settings.alpha = args.alpha.or(settings.alpha);
    settings.temperature = args.temperature.or(settings.temperature);
    settings.draft_tokens = args.draft_tokens;
    settings.max_lines = args.max_lines.unwrap_or(settings.max_lines);
    settings.max_tokens = args.max_tokens.unwrap_or(settings.max_tokens);
    let mut session = Session::start(registry, settings)?;
    let mut any = false;
    for &mode in &args.mode {
        session.settings_mut().mode = Some(mode);
        any |= match args.json {
            true => print_json(&session, &place, mode)?,
            false => print_text(&session, &place, mode)?,
        };
    }
    Ok(if any { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Place {
    /// Reads `FILE:LINE[:COLUMN]`, counting from 1.
    ///
    /// # Errors
    /// A missing line, a file that cannot be read or is no UTF-8 text, a position beyond the end.
    pub fn parse(argument: &str) -> Result<Self> {
        let Some((path, line, column)) = split_place(argument) else {
            bail!(
                "`{argument}` names no place; write FILE:LINE or FILE:LINE:COLUMN, counted from 1"
            );
        };
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {path}"))?;
        if let Some(encoding) = other_encoding(&bytes) {
            bail!(
                "{path} is {encoding}; only UTF-8 is read: `iconv -f {encoding} -t UTF-8` turns it into that"
            );
        }
        let text = String::from_utf8(bytes).with_context(|| format!("{path} is not UTF-8 text"))?;
        let cursor = locate(&text, line, column).with_context(|| path.to_owned())?;
        let path = std::path::absolute(path).with_context(|| path.to_owned())?;
        let language = language_of_text(&path, &text).to_owned();
        let shown = relative(&path, &folder_of(&path));
        let name = path.display().to_string();
        Ok(Self { name, path: Some(path), shown, text, language, cursor })
    }

    /// The end of a text that is in no file.
    pub fn from_text(text: &str, language: &str) -> Self {
        Self {
            name: "untitled".to_owned(),
            path: None,
            shown: None,
            text: text.to_owned(),
            language: language.to_owned(),
            cursor: text.len(),
        }
    }

    /// The cursor's line up to the cursor.
    fn left(&self) -> String {
        let document = Document::new(&self.text, 0, "");
        let cursor = ByteIdx(self.cursor);
        document.slice(document.line_start(cursor)..cursor)
    }
}

/// What an editor would have opened as a folder: the repository that the file is in, or else the current directory.
fn folder_of(path: &Path) -> Vec<PathBuf> {
    let repository = path.ancestors().skip(1).find(|folder| folder.join(".git").exists());
    repository.map(Path::to_owned).or_else(|| std::env::current_dir().ok()).into_iter().collect()
}

/// `FILE:LINE:COLUMN` or `FILE:LINE`; the file's name may hold colons.
fn split_place(argument: &str) -> Option<(&str, usize, Option<usize>)> {
    let (rest, last) = argument.rsplit_once(':')?;
    let last: usize = last.parse().ok()?;
    if let Some((path, line)) = rest.rsplit_once(':')
        && let Ok(line) = line.parse()
    {
        return Some((path, line, Some(last)));
    }
    Some((rest, last, None))
}

/// The encoding of a text that is not in UTF-8, as `iconv` calls it, told by its byte order mark, or by ASCII letters
/// with a zero beside each.
fn other_encoding(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => Some("UTF-32"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some("UTF-16"),
        [1..=0x7f, 0, 1..=0x7f, 0, ..] => Some("UTF-16LE"),
        [0, 1..=0x7f, 0, 1..=0x7f, ..] => Some("UTF-16BE"),
        _ => None,
    }
}

/// The byte of a line and column, both from 1; a column counts characters, and a byte order mark is none. Lines are those
/// of [`Document`], and so an editor's.
fn locate(text: &str, line: usize, column: Option<usize>) -> Result<usize> {
    let document = Document::new(text, 0, "");
    let n_lines = document.line_count();
    if line == 0 || line > n_lines {
        bail!("there is no line {line}: the file has {n_lines}");
    }
    let start = document.n_th_line_start(line - 1).max(document.start()).0;
    let end = document.n_th_line_end(line - 1).0;
    let Some(column) = column else {
        return Ok(end);
    };
    let content = &text[start..end];
    let mut columns = content.char_indices().map(|(at, _)| at).chain([content.len()]);
    let at = column.checked_sub(1).and_then(|column| columns.nth(column));
    let n_columns = content.chars().count() + 1;
    let at =
        at.with_context(|| format!("line {line} has columns 1 to {n_columns}, not {column}"))?;
    Ok(start + at)
}

/// Reads a [`Mode`] of the command line.
///
/// # Errors
/// If there is none of that name, in words for people.
pub fn parse_mode(name: &str) -> Result<Mode, String> {
    match name {
        "off" => Ok(Mode::Off),
        "cosec" => Ok(Mode::Cosec),
        "security" => Ok(Mode::Security),
        other => Err(format!("`{other}` is no mode; there are off, cosec and security")),
    }
}

/// Streams a completion to the terminal; says whether there was one.
fn print_text(session: &Session, place: &Place, mode: Mode) -> Result<bool> {
    writeln!(out(), "{}", heading(session, mode))?;
    let mut output = Stream::new(out().is_terminal());
    write!(out(), "{}", place.left())?;
    let asked = session.complete(place, 0, |suggestion| {
        let explanation = session.completer().explain(suggestion.id);
        output.show(&suggestion.insert, &explanation.map_or(Vec::new(), |e| e.tokens))
    })?;
    match asked {
        Asked::Suggested { suggestion, explanation } => {
            output.show(&suggestion.insert, &explanation.tokens)?;
            writeln!(out())?;
            writeln!(out(), "{}", figures(&explanation))?;
            print_interventions(&explanation.tokens)?;
            Ok(true)
        }
        Asked::Nothing(reason) => {
            writeln!(out(), "\n-- nothing: {reason}")?;
            Ok(false)
        }
    }
}

fn heading(session: &Session, mode: Mode) -> String {
    match (session.state(), mode) {
        (State::Ready(profile), Mode::Off) => format!("-- off: {} alone", profile.base),
        (State::Ready(profile), Mode::Security) => format!(
            "-- security: {} alone; adapter: {}",
            profile.security,
            describe_adapter(profile.adapter.as_deref(), profile.adapter_strength)
        ),
        (State::Ready(profile), Mode::Cosec) => format!(
            "-- cosec: {} hardened by {}; adapter: {}",
            profile.base,
            profile.security,
            describe_adapter(profile.adapter.as_deref(), profile.adapter_strength)
        ),
        _ => format!("-- {}", mode.name()),
    }
}

fn figures(explanation: &Explanation) -> String {
    let RequestStats { decoded_tokens, first_token_ms, total_ms, proposed, accepted, .. } =
        explanation.stats;
    let RequestStats { rounds, drafted, .. } = explanation.stats;
    let rate =
        decoded_tokens.saturating_sub(1) as f64 / ((total_ms - first_token_ms) / 1e3).max(1e-9);
    let mut line = format!(
        "-- {decoded_tokens} tokens, first after {first_token_ms:.0} ms, then {rate:.1} per second"
    );
    if proposed > 0 {
        let per_round = |n: usize| n as f64 / rounds.max(1) as f64;
        line += &format!(
            "; {accepted} of {proposed} proposals accepted; {:.1} tokens per forward of the base, {:.1} drafted",
            per_round(proposed),
            per_round(drafted)
        );
    }
    line + &format!("; ended by {}", finish_name(explanation.finish.as_ref()))
}

fn finish_name(finish: Option<&Finish>) -> String {
    match finish {
        Some(Finish::EndOfText) => "the model".to_owned(),
        Some(Finish::StopRule(reason)) => format!("a stop rule ({reason:?})"),
        Some(Finish::TokenLimit) => "the token limit".to_owned(),
        Some(Finish::TimeBudget) => "the time budget".to_owned(),
        Some(other) => format!("{other:?}"),
        None => "nothing yet".to_owned(),
    }
}

fn print_interventions(tokens: &[TokenTrace]) -> Result<(), Unwritable> {
    for (position, token) in tokens.iter().enumerate().filter(|(_, token)| token.intervened) {
        let role = match token.role {
            Role::Security => "security",
            Role::Base => "base, after a rejection",
        };
        let instead = token.base_choice.as_deref().unwrap_or("");
        writeln!(
            out(),
            "-- intervention at token {}: {:?} ({role}) instead of {instead:?}, p {}, q {}, ratio {}",
            position + 1,
            token.text,
            number(token.p),
            number(token.q),
            number(token.ratio),
        )?;
    }
    Ok(())
}

fn number(value: Option<f32>) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.3}"))
}

/// Text that grows on the terminal, with the intervened parts coloured.
struct Stream {
    colours: bool,
    shown: String,
}

impl Stream {
    fn new(colours: bool) -> Self {
        Self { colours, shown: String::new() }
    }

    /// Prints what `text` has beyond what was shown; starts a new line where it does not continue it.
    fn show(&mut self, text: &str, tokens: &[TokenTrace]) -> Result<(), Unwritable> {
        if !text.starts_with(&self.shown) {
            write!(out(), "\n-- corrected:\n")?;
            self.shown.clear();
        }
        let from = self.shown.len();
        let marks = intervened_bytes(text, tokens);
        for (at, c) in text[from..].char_indices() {
            match self.colours && marks.iter().any(|range| range.contains(&(from + at))) {
                true => write!(out(), "\x1b[1;33m{c}\x1b[0m")?,
                false => write!(out(), "{c}")?,
            }
        }
        self.shown = text.to_owned();
        out().flush()
    }
}

/// The byte ranges of `text` that come from intervened tokens. The tokens spell the text after what healing took back.
fn intervened_bytes(text: &str, tokens: &[TokenTrace]) -> Vec<std::ops::Range<usize>> {
    let spelled: String = tokens.iter().map(|token| token.text.as_str()).collect();
    let probe: String = text.chars().take(12).collect();
    let Some(offset) = spelled.find(&probe) else { return Vec::new() };
    let mut at = 0;
    let mut marks = Vec::new();
    for token in tokens {
        let end = at + token.text.len();
        if token.intervened && end > offset {
            marks.push(at.saturating_sub(offset)..end - offset);
        }
        at = end;
    }
    marks
}

/// What `--json` prints per mode.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonAnswer<'a> {
    mode: Mode,
    file: &'a str,
    cursor_byte: usize,
    text: Option<&'a str>,
    replace_bytes: Option<[usize; 2]>,
    reason: Option<String>,
    finish: Option<String>,
    stats: Option<RequestStats>,
    tokens: &'a [TokenTrace],
    profile: Option<State>,
}

fn print_json(session: &Session, place: &Place, mode: Mode) -> Result<bool> {
    let asked = session.complete(place, 0, |_| Ok(()))?;
    let mut answer = JsonAnswer {
        mode,
        file: &place.name,
        cursor_byte: place.cursor,
        text: None,
        replace_bytes: None,
        reason: None,
        finish: None,
        stats: None,
        tokens: &[],
        profile: Some(session.state()),
    };
    match &asked {
        Asked::Suggested { suggestion, explanation } => {
            answer.text = Some(&suggestion.insert);
            answer.replace_bytes = Some([suggestion.replace.start.0, suggestion.replace.end.0]);
            answer.finish = Some(finish_name(explanation.finish.as_ref()));
            answer.stats = Some(explanation.stats);
            answer.tokens = &explanation.tokens;
        }
        Asked::Nothing(reason) => answer.reason = Some(reason.to_string()),
    }
    writeln!(out(), "{}", serde_json::to_string(&answer)?)?;
    Ok(matches!(asked, Asked::Suggested { .. }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_may_have_a_column_and_colons_in_its_name() {
        assert_eq!(split_place("a.py:3"), Some(("a.py", 3, None)));
        assert_eq!(split_place("a.py:3:7"), Some(("a.py", 3, Some(7))));
        assert_eq!(split_place(r"C:\x\a.py:3:7"), Some((r"C:\x\a.py", 3, Some(7))));
        assert_eq!(split_place(r"C:\x\a.py:3"), Some((r"C:\x\a.py", 3, None)));
        assert_eq!(split_place("a.py"), None);
        assert_eq!(split_place("a.py:x"), None);
    }

    #[test]
    fn lines_and_columns_count_from_one_and_stop_at_the_end() {
        let text = "ab\r\nçd\n";
        assert_eq!(locate(text, 1, None).unwrap(), 2);
        assert_eq!(locate(text, 2, Some(2)).unwrap(), 6);
        assert_eq!(locate(text, 2, Some(3)).unwrap(), 7);
        assert_eq!(locate(text, 3, None).unwrap(), 8);
        assert_eq!(locate("", 1, Some(1)).unwrap(), 0);
        let error = |line, column| locate(text, line, column).unwrap_err().to_string();
        assert_eq!(error(4, None), "there is no line 4: the file has 3");
        assert_eq!(error(2, Some(4)), "line 2 has columns 1 to 3, not 4");
        assert_eq!(error(2, Some(0)), "line 2 has columns 1 to 3, not 0");
    }

    #[test]
    fn lines_are_those_of_an_editor() {
        for (text, line, column, byte) in [
            ("a\rbc\rd", 2, Some(2), 3),
            ("a\rbc\rd", 3, None, 6),
            ("a\r\nbc", 2, Some(1), 3),
            ("a\r\n\rb", 3, Some(1), 4),
            ("\u{feff}ab\nc", 1, Some(1), 3),
            ("\u{feff}ab\nc", 1, Some(3), 5),
            ("\u{feff}ab\nc", 2, Some(1), 6),
            ("\u{feff}", 1, None, 3),
            ("a\u{2028}b\u{c}c\u{b}d\u{85}e", 1, Some(9), 11),
        ] {
            assert_eq!(locate(text, line, column).unwrap(), byte, "{text:?}");
        }
        assert!(locate("a\u{2028}b\u{c}c\u{85}d", 2, None).is_err());
        assert!(locate("\u{feff}ab", 1, Some(4)).is_err());
    }

    #[test]
    fn other_encodings_are_told() {
        let utf_16 =
            |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
        assert_eq!(other_encoding(&utf_16("\u{feff}a = 1")), Some("UTF-16"));
        assert_eq!(other_encoding(&utf_16("a = 1")), Some("UTF-16LE"));
        assert_eq!(other_encoding(b"\xfe\xff\0a"), Some("UTF-16"));
        assert_eq!(other_encoding(b"\0a\0b"), Some("UTF-16BE"));
        assert_eq!(other_encoding(b"\xff\xfe\0\0a\0\0\0"), Some("UTF-32"));
        for text in ["", "a", "\u{feff}a", "\u{ff}\u{fe}", "a\0b"] {
            assert_eq!(other_encoding(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn intervened_tokens_are_found_behind_healed_text() {
        let token = |text: &str, intervened| TokenTrace {
            token: 0,
            text: text.to_owned(),
            role: Role::Security,
            p: None,
            q: None,
            ratio: None,
            rejected: None,
            base_choice: None,
            intervened,
        };
        let tokens = [token("url", false), token("split", false), token("(x", true)];
        assert_eq!(intervened_bytes("it(x", &tokens), vec![4 - 2..4]);
    }
}
