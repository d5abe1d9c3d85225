//! What was written, remembered so that it can be taken back exactly.
//!
//! A record is a list of changes, oldest first, each with the text before and after. To take them back, they are undone in
//! reverse: a file that is as we left it gets its older text; in one that was changed since, only our lines are undone.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use diffy::{DiffOptions, Line};
use serde::{Deserialize, Serialize};

use super::places::Places;
use super::plan::{self, Edit, Owner, Plan};
use crate::files;

/// What setups of one editor wrote.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Record {
    changes: Vec<Change>,
    /// Directories that were made, outer ones first.
    directories: Vec<PathBuf>,
}

/// One file that was written.
#[derive(Debug, Deserialize, Serialize)]
struct Change {
    path: PathBuf,
    before: Option<String>,
    after: Option<String>,
    /// Whether no line of it is the user's.
    ours: bool,
}

impl Record {
    /// The record of an editor; an empty one if there is none.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read(places: &Places, editor: &str) -> Result<Self> {
        let file = file(places, editor);
        let Some(text) = plan::read(&file)? else { return Ok(Self::default()) };
        serde_json::from_str(&text)
            .with_context(|| format!("{} cannot be read as a record", file.display()))
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// What we last wrote to a file.
    pub fn last_text(&self, path: &Path) -> Option<&str> {
        let mut changes = self.changes.iter().rev();
        changes.find(|change| change.path == path)?.after.as_deref()
    }

    /// Files that are ours alone.
    pub fn own_files(&self) -> impl Iterator<Item = &Path> {
        self.changes.iter().filter(|change| change.ours).map(|change| change.path.as_path())
    }

    /// Remembers what `plan` is about to write, before it is written: what did not happen is no trouble to undo.
    ///
    /// # Errors
    /// If the record cannot be written.
    pub fn add(&mut self, plan: &Plan, places: &Places, editor: &str) -> Result<()> {
        self.directories.extend(plan.new_directories());
        for edit in &plan.edits {
            let change = Change {
                path: edit.path.clone(),
                before: edit.before.clone(),
                after: edit.after.clone(),
                ours: edit.owner == Owner::Ours,
            };
            let older = self.changes.iter_mut().find(|older| {
                older.path == change.path && older.after == change.before && older.after.is_some()
            });
            match older {
                Some(older) => older.after = change.after,
                None => self.changes.push(change),
            }
        }
        let text = serde_json::to_string_pretty(self).context("the record")?;
        let file = file(places, editor);
        files::replace(&file, text.as_bytes())
            .with_context(|| format!("cannot write {}", file.display()))
    }

    /// What takes everything back.
    ///
    /// # Errors
    /// If a file was changed where we had written; the message has the lines to remove.
    pub fn undoing(&self, places: &Places) -> Result<Plan> {
        let mut plan = Plan::default();
        for change in self.changes.iter().rev() {
            let planned = plan.edits.iter().position(|edit| edit.path == change.path);
            let current = match planned {
                Some(at) => plan.edits[at].after.clone(),
                None => plan::read(&change.path)?,
            };
            let after = match change.undo(current.as_deref()) {
                Undone::To(after) => after,
                Undone::Kept => {
                    let name = places.shown(&change.path);
                    plan.notes.push(format!("{name} was changed since and stays as it is"));
                    continue;
                }
                Undone::Conflict(lines) => bail!(conflict(&places.shown(&change.path), &lines)),
            };
            match planned {
                Some(at) => plan.edits[at].after = after,
                None => plan.edits.push(Edit {
                    path: change.path.clone(),
                    before: current,
                    after,
                    owner: if change.ours { Owner::Ours } else { Owner::User },
                }),
            }
        }
        plan.edits.retain(|edit| edit.before != edit.after);
        Ok(plan)
    }

    /// Forgets everything, and removes the directories that were made and are empty.
    ///
    /// # Errors
    /// If the record cannot be removed.
    pub fn forget(&self, places: &Places, editor: &str) -> Result<()> {
        for directory in self.directories.iter().rev() {
            // What has something else in it stays.
            let _ = fs::remove_dir(directory);
        }
        let file = file(places, editor);
        fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))
    }
}

/// What becomes of a file.
enum Undone {
    /// It gets this text, or is removed.
    To(Option<String>),
    /// It was ours, but somebody has worked on it.
    Kept,
    /// These lines of it, with their numbers, are ours and cannot be told from what was done since.
    Conflict(Vec<(usize, String)>),
}

impl Change {
    fn undo(&self, current: Option<&str>) -> Undone {
        let before = self.before.as_deref();
        if current == self.after.as_deref() {
            return Undone::To(self.before.clone());
        }
        let Some(text) = current.filter(|_| current != before) else {
            return Undone::To(current.map(str::to_owned));
        };
        if self.ours {
            return Undone::Kept;
        }
        let (older, after) =
            (before.unwrap_or_default(), self.after.as_deref().unwrap_or_default());
        let without =
            without_hunks(older, after, text).or_else(|| diffy::merge(after, text, older).ok());
        match without {
            Some(rest) if before.is_none() && rest.trim().is_empty() => Undone::To(None),
            Some(rest) => Undone::To(Some(rest)),
            None => Undone::Conflict(lines_of_ours(older, after, text)),
        }
    }
}

/// `text` without what `after` has more than `before`, if each such run of lines stands in it as often as in `after`. A
/// merge alone would take what was added directly below our lines for a conflict.
fn without_hunks(before: &str, after: &str, text: &str) -> Option<String> {
    let patch = DiffOptions::new().set_context_len(0).create_patch(before, after);
    let mut replacements = Vec::new();
    for hunk in patch.hunks() {
        let (mut old, mut new) = (String::new(), String::new());
        for line in hunk.lines() {
            match line {
                Line::Delete(line) => old.push_str(line),
                Line::Insert(line) => new.push_str(line),
                Line::Context(_) => return None,
            }
        }
        let lines_above = hunk.new_range().start().saturating_sub(1);
        let start: usize = after.split_inclusive('\n').take(lines_above).map(str::len).sum();
        let at = counterpart(&new, start, after, text)?;
        let end = at + new.len();
        if !old.is_empty() && !old.ends_with('\n') && end < text.len() {
            old.push('\n');
        }
        replacements.push((at..end, old));
    }
    let in_order = replacements.windows(2).all(|pair| pair[0].0.end <= pair[1].0.start);
    let mut text = text.to_owned();
    for (range, old) in replacements.into_iter().rev().filter(|_| in_order) {
        text.replace_range(range, &old);
    }
    in_order.then_some(text)
}

/// Where in `text` the lines stand that stand at `start` in `after`.
fn counterpart(lines: &str, start: usize, after: &str, text: &str) -> Option<usize> {
    let places = |text: &str| -> Vec<usize> {
        let found = text.match_indices(lines).map(|(at, _)| at);
        found.filter(|&at| at == 0 || text[..at].ends_with('\n')).collect()
    };
    if lines.is_empty() {
        return None;
    }
    let (ours, found) = (places(after), places(text));
    let which = ours.iter().position(|&at| at == start)?;
    (found.len() == ours.len()).then(|| found[which])
}

/// The lines of `text` that only we can have written.
fn lines_of_ours(before: &str, after: &str, text: &str) -> Vec<(usize, String)> {
    let ours: Vec<&str> =
        after.lines().filter(|line| !line.trim().is_empty() && !before.contains(line)).collect();
    let lines = text.lines().enumerate().filter(|(_, line)| ours.contains(line));
    lines.map(|(at, line)| (at + 1, line.to_owned())).collect()
}

fn conflict(name: &str, lines: &[(usize, String)]) -> String {
    if lines.is_empty() {
        return format!("{name} has nothing left of what was written; nothing was changed");
    }
    let lines: Vec<String> = lines.iter().map(|(at, line)| format!("{at:6}  {line}")).collect();
    format!(
        "{name} was changed where cosec-ls had written, so nothing was changed; these lines are ours to remove:\n{}",
        lines.join("\n")
    )
}

fn file(places: &Places, editor: &str) -> PathBuf {
    places.state.join(format!("{editor}.json"))
}

/// Keeps other setups away while it lives.
///
/// # Errors
/// If another one is running, or there is no room for records.
pub fn lock(places: &Places) -> Result<File> {
    private_directory(&places.state)
        .with_context(|| format!("cannot make {}", places.state.display()))?;
    let path = places.state.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    match file.try_lock() {
        // A file system without locks has nobody else's either.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!("another `cosec-ls setup` is running"),
    }
}

/// Records hold what stands in the user's files, which are nobody else's.
fn private_directory(path: &Path) -> std::io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn undone(
        before: Option<&str>,
        after: &str,
        current: Option<&str>,
    ) -> Result<Option<String>, usize> {
        let change = Change {
            path: PathBuf::from("a"),
            before: before.map(str::to_owned),
            after: Some(after.to_owned()),
            ours: false,
        };
        match change.undo(current) {
            Undone::To(text) => Ok(text),
            Undone::Kept => panic!("no file of ours"),
            Undone::Conflict(lines) => Err(lines.len()),
        }
    }

    #[test]
    fn what_was_done_since_stays() {
        let some = |text: &str| Ok(Some(text.to_owned()));
        let (before, after) = (Some("a\nb\n"), "a\nX\nY\nb\n");
        assert_eq!(undone(before, after, Some(after)), some("a\nb\n"));
        assert_eq!(undone(before, after, Some("a\nb\n")), some("a\nb\n"));
        assert_eq!(undone(before, after, None), Ok(None));
        assert_eq!(undone(before, after, Some("new\na\nX\nY\nb\n")), some("new\na\nb\n"));
        // Directly above and below our lines.
        assert_eq!(
            undone(before, after, Some("a\nover\nX\nY\nunder\nb\n")),
            some("a\nover\nunder\nb\n")
        );
        assert_eq!(undone(Some("a"), "a\nX\n", Some("a\nX\nc\n")), some("a\nc\n"));
        // The same line twice, of which one is not ours.
        let (before, after) = (Some("a\nX\nb\nc\n"), "a\nX\nb\nX\nc\n");
        assert_eq!(undone(before, after, Some("a\nX\nb\nX\nnew\nc\n")), some("a\nX\nb\nnew\nc\n"));
    }

    #[test]
    fn a_file_that_we_made_goes_unless_something_else_is_in_it() {
        assert_eq!(undone(None, "X\n", Some("X\n\n")), Ok(None));
        assert_eq!(undone(None, "X\n", Some("X\nmine\n")), Ok(Some("mine\n".to_owned())));
    }

    #[test]
    fn what_cannot_be_told_apart_is_a_conflict_with_its_lines() {
        assert_eq!(undone(Some("a\n"), "a\nX\nY\n", Some("a\nX\nmine\nY changed\n")), Err(1));
        assert_eq!(undone(Some("a = 1\n"), "a = 2\n", Some("a = 3\n")), Err(0));
    }

    proptest! {
        /// Lines are few, so that many are alike; ours are unlike the user's, for among equal ones nobody can tell whose is whose.
        #[test]
        fn only_our_lines_go(
            lines in prop::collection::vec("[ab]{1,2}\n", 0..6),
            ours in prop::collection::vec("X[abX]?\n", 1..4),
            at in 0..6usize,
            added in prop::collection::vec((0..10usize, "[yz]{1,3}\n"), 0..4),
        ) {
            let at = at.min(lines.len());
            let (mut with, mut kept) = (lines.clone(), lines.clone());
            with.splice(at..at, ours.clone());
            let (before, after) = (lines.concat(), with.concat());
            // The same lines of the user's, into the text with ours and into the one without; never between ours.
            for (place, line) in &added {
                let place = place % (kept.len() + 1);
                kept.insert(place, line.clone());
            }
            let at_with_added = {
                let mut rest = at;
                let mut end = 0;
                for (index, line) in kept.iter().enumerate() {
                    if rest == 0 { break; }
                    if !line.starts_with(['y', 'z']) { rest -= 1; }
                    end = index + 1;
                }
                end
            };
            let mut current = kept.clone();
            current.splice(at_with_added..at_with_added, ours);
            let current = current.concat();
            match undone(Some(&before), &after, Some(&current)) {
                Ok(text) => prop_assert_eq!(text, Some(kept.concat())),
                // Lines that are ambiguous may be left to the user, never guessed.
                Err(_) => prop_assert!(!added.is_empty()),
            }
        }
    }
}
