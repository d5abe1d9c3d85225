//! What a setup would write: the files before and after, shown as a difference, then written as a whole.
//!
//! A plan is made without touching anything. It is carried out only if every file still is what the difference was taken
//! from, and can be written.

use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use diffy::DiffOptions;

use super::places::Places;
use crate::files;

/// Longest chain of symbolic links that is followed, which is Linux's own limit.
const MOST_LINKS: usize = 40;

/// What is to be done.
#[derive(Debug, Default)]
pub struct Plan {
    /// Files, in the order in which they are written.
    pub edits: Vec<Edit>,
    /// Programs to run, each with its arguments, after the files.
    pub commands: Vec<Vec<String>>,
    /// What the user should know before saying yes.
    pub notes: Vec<String>,
    /// What the user does next.
    pub next: String,
    /// What only the user can do, and why.
    pub by_hand: Option<String>,
}

/// One file before and after; none where there is no file.
#[derive(Debug)]
pub struct Edit {
    /// The file, as the editor names it; it may be a symbolic link, which stays one.
    pub path: PathBuf,
    /// Its text.
    pub before: Option<String>,
    /// The text that it gets.
    pub after: Option<String>,
    /// Whose file it is.
    pub owner: Owner,
}

/// Whose file it is, which decides how it is shown and taken back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Owner {
    /// The user's: every line is shown, and of later changes only ours is taken back.
    User,
    /// Ours from the first line to the last: a new one is only named, and one that was changed since stays.
    Ours,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty() && self.commands.is_empty()
    }

    /// Adds a change of a file of the user's, if it is one.
    ///
    /// # Errors
    /// If the file cannot be read, or is not UTF-8, or `change` says so.
    pub fn edit(
        &mut self,
        path: PathBuf,
        change: impl FnOnce(&str) -> Result<String>,
    ) -> Result<()> {
        let before = read(&path)?;
        let after = in_its_own_lines(before.as_deref().unwrap_or_default(), change)?;
        if before.as_ref() != Some(&after) {
            self.edits.push(Edit { path, before, after: Some(after), owner: Owner::User });
        }
        Ok(())
    }

    /// All of it, as a unified diff with names of commands after it.
    pub fn render(&self, places: &Places, colours: Colours) -> String {
        let mut text = String::new();
        for edit in &self.edits {
            edit.render(&mut text, places, colours);
        }
        for command in &self.commands {
            // Writing to a string cannot fail, here and below.
            let _ = writeln!(text, "run: {}", command.join(" "));
        }
        text
    }

    /// Whether every file still is what it was, and may be written.
    ///
    /// # Errors
    /// If one is not; the message says that nothing was written.
    pub fn check(&self, places: &Places) -> Result<()> {
        self.edits.iter().try_for_each(|edit| edit.check(places))
    }

    /// Writes every file.
    ///
    /// # Errors
    /// If the system refuses one; those before it are written.
    pub fn write(&self, places: &Places) -> Result<()> {
        self.edits.iter().try_for_each(|edit| edit.write(places))
    }

    /// Directories that [`Self::write`] will make, outer ones first.
    pub fn new_directories(&self) -> Vec<PathBuf> {
        let mut new = Vec::new();
        for edit in self.edits.iter().filter(|edit| edit.after.is_some()) {
            let Ok(target) = through_links(&edit.path) else { continue };
            let missing = target.ancestors().skip(1).take_while(|at| !at.exists());
            let mut missing: Vec<PathBuf> = missing.map(Path::to_owned).collect();
            missing.reverse();
            new.extend(missing.into_iter().filter(|at| !new.contains(at)).collect::<Vec<_>>());
        }
        new
    }
}

impl Edit {
    fn render(&self, text: &mut String, places: &Places, colours: Colours) {
        let name = places.shown(&self.path);
        let (before, after) = (self.before.as_deref(), self.after.as_deref());
        if self.owner == Owner::Ours && (before.is_none() || after.is_none()) {
            let (sign, whole) = after.map_or(('-', before), |after| ('+', Some(after)));
            let n_lines = whole.unwrap_or_default().lines().count();
            let line = format!("{sign} {name} ({n_lines} lines)");
            let _ = writeln!(text, "{}", colours.of_line(&line));
            return;
        }
        let plain = |text: Option<&str>| text.unwrap_or_default().replace("\r\n", "\n");
        let (old, new) = (plain(before), plain(after));
        let side = |here: bool| if here { name.clone() } else { "/dev/null".to_owned() };
        let patch = DiffOptions::new()
            .set_original_filename(side(before.is_some()))
            .set_modified_filename(side(after.is_some()))
            .create_patch(&old, &new)
            .to_string();
        for line in patch.lines() {
            let _ = writeln!(text, "{}", colours.of_line(line));
        }
    }

    fn check(&self, places: &Places) -> Result<()> {
        let name = places.shown(&self.path);
        if read(&self.path)? != self.before {
            bail!("{name} was changed meanwhile; nothing was written, try again");
        }
        let target = through_links(&self.path)?;
        let Ok(found) = fs::metadata(&target) else { return Ok(()) };
        if found.permissions().readonly() {
            let where_to = match target == self.path {
                true => String::new(),
                false => format!(", for it leads to {}", target.display()),
            };
            bail!(
                "{name} is read-only{where_to}; nothing was written: what writes that file must add this (`--print` shows it)"
            );
        }
        Ok(())
    }

    fn write(&self, places: &Places) -> Result<()> {
        let target = through_links(&self.path)?;
        let written = match &self.after {
            None => fs::remove_file(&target),
            Some(text) => target
                .parent()
                .map_or(Ok(()), fs::create_dir_all)
                .and_then(|()| files::replace(&target, text.as_bytes())),
        };
        written.with_context(|| format!("cannot write {}", places.shown(&self.path)))
    }
}

/// The text of a file; none if there is no file.
///
/// # Errors
/// If it cannot be read, or is not UTF-8.
pub fn read(path: &Path) -> Result<Option<String>> {
    match fs::read(path) {
        Ok(bytes) => {
            let text = String::from_utf8(bytes);
            Ok(Some(text.with_context(|| format!("{} is not UTF-8", path.display()))?))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Where a chain of symbolic links ends, whether there is a file or not.
fn through_links(path: &Path) -> Result<PathBuf> {
    let mut target = path.to_owned();
    for _ in 0..MOST_LINKS {
        let Ok(next) = fs::read_link(&target) else { return Ok(target) };
        target = target.parent().unwrap_or(Path::new("")).join(next);
    }
    bail!("{} is a link that leads in circles", path.display())
}

/// Changes a text that may begin with a byte order mark and end its lines with `\r\n`, as one that does neither.
fn in_its_own_lines(text: &str, change: impl FnOnce(&str) -> Result<String>) -> Result<String> {
    let (mark, body) = match text.strip_prefix('\u{feff}') {
        Some(body) => ("\u{feff}", body),
        None => ("", text),
    };
    let n_lines = body.matches('\n').count();
    let is_crlf = n_lines > 0 && body.matches("\r\n").count() == n_lines;
    let changed = match is_crlf {
        true => change(&body.replace("\r\n", "\n"))?.replace('\n', "\r\n"),
        false => change(body)?,
    };
    Ok(format!("{mark}{changed}"))
}

/// Whether a difference has colours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Colours {
    /// For a person at a terminal.
    Ansi,
    /// For everything else.
    None,
}

impl Colours {
    fn of_line(self, line: &str) -> String {
        let colour = match line.as_bytes() {
            _ if self == Self::None => return line.to_owned(),
            [b'+', b'+', b'+', ..] | [b'-', b'-', b'-', ..] => "1",
            [b'+', ..] => "32",
            [b'-', ..] => "31",
            [b'@', ..] => "36",
            _ => return line.to_owned(),
        };
        format!("\u{1b}[{colour}m{line}\u{1b}[0m")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_and_the_mark_stay_as_they_are() {
        let add = |text: &str| Ok(format!("{text}b\nc\n"));
        for (before, after) in [
            ("", "b\nc\n"),
            ("a\n", "a\nb\nc\n"),
            ("a\r\n", "a\r\nb\r\nc\r\n"),
            ("a\r\nx\n", "a\r\nx\nb\nc\n"),
            ("\u{feff}a\r\n", "\u{feff}a\r\nb\r\nc\r\n"),
        ] {
            assert_eq!(in_its_own_lines(before, add).unwrap(), after);
        }
    }

    #[test]
    fn colours_are_for_terminals() {
        assert_eq!(Colours::None.of_line("+a"), "+a");
        assert_eq!(Colours::Ansi.of_line("+a"), "\u{1b}[32m+a\u{1b}[0m");
        assert_eq!(Colours::Ansi.of_line(" a"), " a");
    }
}
