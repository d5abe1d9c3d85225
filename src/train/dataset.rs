//! A data set in SVEN's format: functions after a security fix, and which part of them the fix added.
//!
//! `DIR/train/*.jsonl` and `DIR/val/*.jsonl` hold one JSON object per line (He and Vechev 2023, `data_train_val` of their
//! repository). Read here are `func_src_after`, `char_changes.added`, `vul_type` and `file_name`; other fields may be
//! there or not. Places in the text are counted in characters there, as Python does, and in bytes everywhere else.

use std::fmt;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Error;
use crate::prompt::window::with_newlines;
use crate::text::language::language_of;

/// A function after its fix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// File and line that it was read from (`train/cwe-089.jsonl:12`).
    pub source: String,
    /// The weakness that was fixed, as the data set spells it (`cwe-089`).
    pub cwe: String,
    /// An editor's language id, from the extension of the file that the function stood in.
    pub language: String,
    /// The function. Line ends are `\n`, as in every prompt.
    pub text: String,
    /// What the fix added: byte ranges of `text`, sorted, disjoint, none empty; at least one.
    pub fixed: Vec<Range<usize>>,
}

/// The samples of `train/` or `val/`, and what was left out. Its display is one line.
#[derive(Clone, Debug, Default)]
pub struct Part {
    /// In the order of the files' names and of their lines.
    pub samples: Vec<Sample>,
    /// Lines left out because the fix added nothing: it only removed code.
    pub n_unchanged: usize,
    /// Lines left out because they are no samples.
    pub malformed: Vec<Malformed>,
}

/// Both parts of a data set; neither is empty.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// What is trained on.
    pub train: Part,
    /// What is only measured.
    pub validation: Part,
}

/// A line that is no sample.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}:{line}: {fault}", file.display())]
pub struct Malformed {
    /// The file.
    pub file: PathBuf,
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", in_field(field.as_deref()))]
pub struct Fault {
    /// The path to the field that is wrong (`char_changes.added[2].char_end`); none for the whole line.
    pub field: Option<String>,
    /// What is wrong with it.
    pub message: String,
}

/// What a malformed line does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnMalformed {
    /// It is noted in [`Part::malformed`], and the rest is used.
    Skip,
    /// It ends the reading with an error.
    #[default]
    Stop,
}

impl Dataset {
    /// Reads all of `directory`.
    ///
    /// # Errors
    /// If there are no training files, a file cannot be read, a line is malformed and `on_malformed` says to stop, or a
    /// part has no samples.
    pub fn read(directory: &Path, on_malformed: OnMalformed) -> Result<Self, Error> {
        let (train, validation) = (directory.join("train"), directory.join("val"));
        let train_files = files(&train)?;
        if train_files.is_empty() {
            return Err(Error::NoTrainFiles { directory: directory.to_owned() });
        }
        let part = |name, directory: PathBuf, files: Vec<PathBuf>| {
            let part = Part::read(&files, on_malformed)?;
            if !part.samples.is_empty() {
                return Ok(part);
            }
            let summary = format!("*.jsonl files: {}, {part}", files.len());
            Err(Error::NoSamples { part: name, directory, summary })
        };
        let validation_files = files(&validation)?;
        Ok(Self {
            train: part("training", train, train_files)?,
            validation: part("validation", validation, validation_files)?,
        })
    }
}

impl Part {
    fn read(files: &[PathBuf], on_malformed: OnMalformed) -> Result<Self, Error> {
        let mut part = Self::default();
        for file in files {
            let bytes = fs::read(file).map_err(|source| unreadable(file, source))?;
            let lines = bytes.split(|&byte| byte == b'\n').zip(1..);
            for (line, number) in lines.filter(|(line, _)| !line.trim_ascii().is_empty()) {
                let malformed = |fault| Malformed { file: file.clone(), line: number, fault };
                match sample(line, source(file, number)).map_err(malformed) {
                    Ok(Some(sample)) => part.samples.push(sample),
                    Ok(None) => part.n_unchanged += 1,
                    Err(malformed) if on_malformed == OnMalformed::Stop => {
                        return Err(malformed.into());
                    }
                    Err(malformed) => part.malformed.push(malformed),
                }
            }
        }
        Ok(part)
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (n, unchanged, malformed) =
            (self.samples.len(), self.n_unchanged, self.malformed.len());
        write!(
            f,
            "{n} samples; left out: {unchanged} to which the fix added nothing, {malformed} malformed"
        )
    }
}

fn in_field(field: Option<&str>) -> String {
    field.map_or(String::new(), |field| format!("`{field}` "))
}

/// The JSONL files of a folder by name; none where there is no folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(folder, error)),
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut paths: Vec<PathBuf> =
        paths.collect::<Result<_, _>>().map_err(|error| unreadable(folder, error))?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    paths.sort();
    Ok(paths)
}

fn unreadable(path: &Path, source: io::Error) -> Error {
    Error::Io { path: path.to_owned(), source }
}

/// Names a line by the last two parts of its file's path.
fn source(file: &Path, line: usize) -> String {
    let name = |path: Option<&Path>| {
        path.and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned()
    };
    format!("{}/{}:{line}", name(file.parent()), name(Some(file)))
}

/// The sample of a line; none if the fix added nothing.
fn sample(line: &[u8], source: String) -> Result<Option<Sample>, Fault> {
    let value: Value = serde_json::from_slice(line).map_err(|error| not_json(&error))?;
    let line = Field { path: String::new(), value: &value };
    let text = line.member("func_src_after")?.string()?;
    let cwe = line.member("vul_type")?.string()?.to_owned();
    let file_name = line.member("file_name")?.string()?;
    let added = line.member("char_changes")?.member("added")?;
    let fixed = places_with_newlines(text, merged(added_ranges(&added, text)?));
    if fixed.is_empty() {
        return Ok(None);
    }
    let language = language_of(Path::new(file_name)).to_owned();
    Ok(Some(Sample { source, cwe, language, text: with_newlines(text.to_owned()), fixed }))
}

fn not_json(error: &serde_json::Error) -> Fault {
    let message = error.to_string();
    // The parser saw one line; its own number would mislead beside the file's.
    let what = message.split(" at line ").next().unwrap_or_default();
    Fault { field: None, message: format!("not JSON: {what} at column {}", error.column()) }
}

/// Byte ranges of what was added, in the order of the line.
fn added_ranges(added: &Field<'_>, text: &str) -> Result<Vec<Range<usize>>, Fault> {
    let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    let byte_of_char: Vec<usize> = ends.collect();
    added.elements()?.iter().map(|span| added_range(span, text, &byte_of_char)).collect()
}

fn added_range(
    span: &Field<'_>,
    text: &str,
    byte_of_char: &[usize],
) -> Result<Range<usize>, Fault> {
    let (start_field, end_field) = (span.member("char_start")?, span.member("char_end")?);
    let (start, end) = (start_field.count()?, end_field.count()?);
    let chars = span.member("chars")?;
    if start > end {
        return Err(start_field.fault(format!("is {start}, behind `char_end`, which is {end}")));
    }
    let (Some(&from), Some(&to)) = (byte_of_char.get(start), byte_of_char.get(end)) else {
        let n_chars = byte_of_char.len() - 1;
        return Err(end_field
            .fault(format!("is {end}, beyond `func_src_after`, which has {n_chars} characters")));
    };
    if chars.string()? != &text[from..to] {
        let message = format!("differs from characters {start} to {end} of `func_src_after`");
        return Err(chars.fault(message));
    }
    Ok(from..to)
}

/// The same bytes as sorted, disjoint ranges, none of them empty.
fn merged(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_by_key(|range| range.start);
    let mut merged: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// Where `ranges` of `text` are once [`with_newlines`] has taken its `\r` away; those of nothing else are gone.
fn places_with_newlines(text: &str, ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    let removed: Vec<usize> = text.match_indices("\r\n").map(|(at, _)| at).collect();
    let place = |at: usize| at - removed.partition_point(|&removed| removed < at);
    merged(ranges.into_iter().map(|range| place(range.start)..place(range.end)).collect())
}

/// A value of a line, and the path to it.
struct Field<'v> {
    path: String,
    value: &'v Value,
}

impl<'v> Field<'v> {
    fn member(&self, name: &str) -> Result<Self, Fault> {
        let path = match self.path.as_str() {
            "" => name.to_owned(),
            path => format!("{path}.{name}"),
        };
        if !self.value.is_object() {
            return Err(self.wrong_type("an object"));
        }
        match self.value.get(name) {
            Some(value) => Ok(Self { path, value }),
            None => Err(Fault { field: Some(path), message: "is missing".to_owned() }),
        }
    }

    fn elements(&self) -> Result<Vec<Self>, Fault> {
        let elements = self.value.as_array().ok_or_else(|| self.wrong_type("a list"))?;
        let element = |(idx, value)| Self { path: format!("{}[{idx}]", self.path), value };
        Ok(elements.iter().enumerate().map(element).collect())
    }

    fn string(&self) -> Result<&'v str, Fault> {
        self.value.as_str().ok_or_else(|| self.wrong_type("a string"))
    }

    fn count(&self) -> Result<usize, Fault> {
        let count = self.value.as_u64().and_then(|count| usize::try_from(count).ok());
        count.ok_or_else(|| self.wrong_type("a whole number from 0 on"))
    }

    fn wrong_type(&self, expected: &str) -> Fault {
        let got = match self.value {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(number) => {
                return self.fault(format!("must be {expected}, not {number}"));
            }
            Value::String(_) => "a string",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        self.fault(format!("must be {expected}, not {got}"))
    }

    fn fault(&self, message: String) -> Fault {
        let field = (!self.path.is_empty()).then(|| self.path.clone());
        // A line without a field's name has no other subject.
        let subject = if field.is_none() { "the line " } else { "" };
        Fault { field, message: format!("{subject}{message}") }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A line whose fix added the characters `spans` of `text`.
    fn line(text: &str, spans: &[(usize, usize)]) -> Value {
        let span = |&(start, end): &(usize, usize)| {
            let chars: String = text.chars().skip(start).take(end - start).collect();
            json!({"char_start": start, "char_end": end, "chars": chars})
        };
        let added: Vec<Value> = spans.iter().map(span).collect();
        json!({
            "func_src_after": text, "vul_type": "cwe-089", "file_name": "a/b.py",
            "char_changes": {"deleted": [], "added": added},
        })
    }

    fn read(line: &Value) -> Result<Option<Sample>, Fault> {
        sample(line.to_string().as_bytes(), "train/a.jsonl:1".to_owned())
    }

    fn fixed(text: &str, spans: &[(usize, usize)]) -> Vec<String> {
        let sample = read(&line(text, spans)).unwrap();
        sample.map_or(Vec::new(), |sample| {
            sample.fixed.iter().map(|range| sample.text[range.clone()].to_owned()).collect()
        })
    }

    #[track_caller]
    fn check_fault(line: &Value, expected: &str) {
        assert_eq!(read(line).unwrap_err().to_string(), expected);
    }

    #[test]
    fn a_sample_has_all_that_its_line_says() {
        let sample = read(&line("a = b\n", &[(4, 5)])).unwrap().unwrap();
        let expected = Sample {
            source: "train/a.jsonl:1".to_owned(),
            cwe: "cwe-089".to_owned(),
            language: "python".to_owned(),
            text: "a = b\n".to_owned(),
            fixed: std::iter::once(4..5).collect(),
        };
        assert_eq!(sample, expected);
    }

    #[test]
    fn characters_become_bytes() {
        assert_eq!(fixed("漢🦀 = safe(é🦀)", &[(5, 9)]), ["safe"]);
        assert_eq!(fixed("漢🦀 = safe(é🦀)", &[(0, 2), (10, 12)]), ["漢🦀", "é🦀"]);
        // One character to a reader, two to Python and here.
        assert_eq!(fixed("e\u{301}x = 1", &[(1, 3)]), ["\u{301}x"]);
    }

    #[test]
    fn ranges_are_sorted_and_merged() {
        assert_eq!(fixed("abcdefgh", &[(6, 7), (1, 3), (1, 3), (2, 4), (4, 5)]), ["bcde", "g"]);
        assert_eq!(fixed("abc", &[(3, 3), (0, 0), (1, 2)]), ["b"]);
    }

    #[test]
    fn a_fix_that_adds_nothing_is_no_sample() {
        assert_eq!(read(&line("abc", &[])), Ok(None));
        assert_eq!(read(&line("abc", &[(1, 1)])), Ok(None));
    }

    #[test]
    fn line_ends_become_newlines_and_the_ranges_follow() {
        assert_eq!(fixed("é\r\nsafe\r\nb\rc", &[(3, 7)]), ["safe"]);
        assert_eq!(fixed("é\r\nsafe\r\nb\rc", &[(1, 8)]), ["\nsafe"]);
        assert_eq!(fixed("é\r\nsafe\r\nb\rc", &[(2, 9)]), ["\nsafe\n"]);
        assert_eq!(fixed("é\r\nsafe\r\nb\rc", &[(9, 12)]), ["b\nc"]);
        assert_eq!(fixed("a\r\nb", &[(1, 2)]), [""; 0], "only the line end's spelling changed");
    }

    #[test]
    fn a_broken_line_says_where_it_breaks() {
        let fault = sample(b"{\"func_src_after\": ", String::new()).unwrap_err();
        assert_eq!(fault.to_string(), "not JSON: EOF while parsing a value at column 19");
        let fault = sample(b"{\"a\": \"\xff\"}", String::new()).unwrap_err();
        assert!(fault.to_string().starts_with("not JSON: invalid unicode"), "{fault}");
        check_fault(&json!([1]), "the line must be an object, not a list");
    }

    #[test]
    fn a_missing_field_is_named() {
        for field in ["func_src_after", "vul_type", "file_name", "char_changes"] {
            let mut line = line("abc", &[(0, 1)]);
            line.as_object_mut().unwrap().remove(field);
            check_fault(&line, &format!("`{field}` is missing"));
        }
        for field in ["char_start", "char_end", "chars"] {
            let mut line = line("abc", &[(0, 1), (1, 2)]);
            line["char_changes"]["added"][1].as_object_mut().unwrap().remove(field);
            check_fault(&line, &format!("`char_changes.added[1].{field}` is missing"));
        }
    }

    #[test]
    fn a_field_of_the_wrong_type_is_named() {
        let with = |pointer: &str, value: Value| {
            let mut line = line("abc", &[(0, 1)]);
            *line.pointer_mut(pointer).unwrap() = value;
            line
        };
        check_fault(&with("/vul_type", json!(89)), "`vul_type` must be a string, not 89");
        check_fault(
            &with("/char_changes", json!([])),
            "`char_changes` must be an object, not a list",
        );
        check_fault(
            &with("/char_changes/added", json!(null)),
            "`char_changes.added` must be a list, not null",
        );
        check_fault(
            &with("/char_changes/added/0/char_start", json!(-1)),
            "`char_changes.added[0].char_start` must be a whole number from 0 on, not -1",
        );
    }

    #[test]
    fn a_range_that_does_not_fit_the_text_is_named() {
        let with = |start: usize, end: usize, chars: &str| {
            let mut line = line("aéc", &[]);
            line["char_changes"]["added"] =
                json!([{"char_start": start, "char_end": end, "chars": chars}]);
            line
        };
        check_fault(
            &with(2, 4, "c"),
            "`char_changes.added[0].char_end` is 4, beyond `func_src_after`, which has 3 characters",
        );
        check_fault(
            &with(2, 1, ""),
            "`char_changes.added[0].char_start` is 2, behind `char_end`, which is 1",
        );
        check_fault(
            &with(1, 2, "e"),
            "`char_changes.added[0].chars` differs from characters 1 to 2 of `func_src_after`",
        );
        assert!(read(&with(1, 3, "éc")).is_ok(), "the end of the text is in reach");
    }
}
