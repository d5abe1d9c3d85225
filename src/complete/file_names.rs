//! All names that a document may be known by: its URI in every reading, its path, and what that is a link to.
//!
//! Editors and their plugins do not agree on what is escaped in a URI, and a `#` or a `?` may be a part of a file's name
//! or end it. For what is secret it makes no difference: each reading is a name, and one secret name is enough.

use std::path::{Path, PathBuf};

use super::path_globs::normal;
use crate::engine::DocumentId;

/// Times that a URI may have been escaped: once by the editor, and again by what stands between.
const MAX_ESCAPES: usize = 4;

/// The names of one document, as globs see them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileNames(Vec<String>);

impl FileNames {
    /// The names of `document`, which lives at `path` if it is in a file, where links lead to `behind`.
    pub fn new(document: &DocumentId, path: Option<&Path>, behind: &[PathBuf]) -> Self {
        let mut names = Self::default();
        for path in path.into_iter().chain(behind.iter().map(PathBuf::as_path)) {
            names.add(&path.to_string_lossy());
        }
        for reading in readings(without_scheme(&document.0)) {
            names.add(&reading);
        }
        names
    }

    /// Each name once.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    fn add(&mut self, name: &str) {
        let name = normal(name);
        let on_windows = as_on_windows(&name);
        for name in [name, on_windows] {
            if !name.is_empty() && !self.0.contains(&name) {
                self.0.push(name);
            }
        }
    }
}

/// What stands behind the scheme of a URI, and behind its authority. A drive's letter is no scheme.
fn without_scheme(uri: &str) -> &str {
    let is_scheme = |scheme: &str| {
        let mut letters = scheme.chars();
        scheme.len() > 1
            && letters.next().is_some_and(|c| c.is_ascii_alphabetic())
            && letters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    };
    let Some((_, rest)) = uri.split_once(':').filter(|(scheme, _)| is_scheme(scheme)) else {
        return uri;
    };
    let Some(host) = rest.strip_prefix("//") else {
        return rest;
    };
    host.find('/').map_or(host, |at| &host[at..])
}

/// `text` as it is and unescaped again and again, each whole and up to a `#` or a `?`.
fn readings(text: &str) -> Vec<String> {
    let mut readings = Vec::new();
    let mut text = text.to_owned();
    for _ in 0..=MAX_ESCAPES {
        for end in [Some(text.len()), text.find('#'), text.find('?')].into_iter().flatten() {
            readings.push(text[..end].to_owned());
        }
        let unescaped = unescaped(&text);
        if unescaped == text {
            break;
        }
        text = unescaped;
    }
    readings
}

/// `%2E` is `.`; what is no escape stays.
fn unescaped(text: &str) -> String {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, others)) = rest.split_first() {
        let escape = match (first, others) {
            (b'%', [high, low, ..]) => digit(*high).zip(digit(*low)),
            _ => None,
        };
        let (byte, after) = match escape {
            Some((high, low)) => ((high * 16 + low) as u8, &others[2..]),
            None => (first, others),
        };
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The name under which Windows opens the file: without blanks and dots at the end of a part, and without a stream
/// (`.env::$data`).
fn as_on_windows(name: &str) -> String {
    let (folder, file) = name.rsplit_once('/').map_or(("", name), |(folder, file)| (folder, file));
    let file = file.split(':').next().unwrap_or(file);
    let parts = folder.split('/').chain([file]);
    let trimmed = parts.map(|part| part.trim_end_matches(['.', ' ']));
    let joined = trimmed.collect::<Vec<_>>().join("/");
    if name.contains('/') { joined } else { joined.trim_start_matches('/').to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(uri: &str, path: Option<&str>) -> Vec<String> {
        let names = FileNames::new(&DocumentId(uri.into()), path.map(Path::new), &[]);
        names.iter().map(str::to_owned).collect()
    }

    #[test]
    fn every_reading_of_a_uri_is_a_name() {
        for (uri, name) in [
            ("file:///p/.env", "/p/.env"),
            ("file:///p/.env%23x", "/p/.env"),
            ("file:///p/.env#x", "/p/.env"),
            ("file:///p/.env?x", "/p/.env"),
            ("file:///p/.env%3Fx#y", "/p/.env"),
            ("file:///p/a%23.env", "/p/a#.env"),
            ("file:///p/%2Eenv", "/p/.env"),
            ("file:///p/%252eenv", "/p/.env"),
            ("file:///p/%25252Eenv", "/p/.env"),
            ("file:///c:/p%5C.env", "c:/p/.env"),
            ("file:///c%3A/p/.env", "c:/p/.env"),
            ("file:///c:\\p\\.env", "c:/p/.env"),
            ("file:///p%2F.env", "/p/.env"),
            ("file://host/share/.env", "/share/.env"),
            ("file:///p/x/../.ENV", "/p/.env"),
            ("file:///p/.env.", "/p/.env"),
            ("file:///p/.env%20", "/p/.env"),
            ("file:///p/.env::$DATA", "/p/.env"),
            ("untitled:.env?x", ".env"),
            ("untitled:/w/.env", "/w/.env"),
            ("untitled:Untitled-1", "untitled-1"),
            ("git:/w/.env?%7B%7D", "/w/.env"),
            ("vscode-remote://ssh-remote%2Bhost/w/.env", "/w/.env"),
            ("c:\\w\\.env#3", "c:/w/.env"),
            ("/w/100%.env", "/w/100%.env"),
            ("", ""),
        ] {
            let names = names(uri, None);
            assert!(names.iter().any(|n| n == name) || name.is_empty(), "{uri}: {names:?}");
            assert!(names.len() <= 12, "{uri}: {names:?}");
        }
    }

    #[test]
    fn an_ordinary_file_has_one_name() {
        assert_eq!(names("file:///w/src/main.rs", Some("/w/src/main.rs")), ["/w/src/main.rs"]);
    }

    #[test]
    fn what_links_lead_to_is_a_name() {
        let behind = ["/home/x/.ssh/config".into()];
        let id = DocumentId("file:///w/notes.txt".into());
        let names = FileNames::new(&id, Some(Path::new("/w/notes.txt")), &behind);
        assert_eq!(names.iter().collect::<Vec<_>>(), ["/w/notes.txt", "/home/x/.ssh/config"]);
    }
}
