//! One document, one name: a URI as a client writes it → the one spelling that it has here, and its path.
//!
//! Editors escape differently, and one editor does so differently in different messages: `file:///c%3A/a` and
//! `file:///C:/a`, `%c3%a9` and `é`, `file:/a` and `file://localhost/a`. The rim (`params.rs`) writes every URI anew, so
//! nothing below it meets two names of one document. What may be two files stays two: letters' case outside of scheme,
//! host and drive, `%2F` and `/`, `%5C`, a query, a fragment.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use tower_lsp::lsp_types::Url;

use crate::text::language::language_of_text;

/// The scheme of names that are no URIs and no absolute paths. Completed only where the settings say so.
const NAMELESS: &str = "nameless";

/// Bytes of a path, query or fragment that mean the same with and without escape, besides letters and digits: RFC 3986's
/// `pchar`. All others are escaped.
const PLAIN: &[u8] = b"-._~!$&'()*+,;=:@";

/// The one spelling of what a client wrote. Every text has one: absolute paths become `file:`, and what is no URI at all
/// is a name of the scheme `nameless`.
pub(super) fn canonical(written: &str) -> Url {
    let uri = match absolute_path(written) {
        Some(path) => Url::parse(&path),
        None => Url::parse(written),
    };
    let uri = uri.unwrap_or_else(|_no_uri| {
        let name = format!("{NAMELESS}:{}", respelled(written, b""));
        Url::parse(&name).expect("a scheme and plain characters are a URI")
    });
    let mut canonical = uri.clone();
    canonical.set_path(&with_small_drive(respelled(uri.path(), b"/")));
    canonical.set_query(uri.query().map(|query| respelled(query, b"/?")).as_deref());
    canonical.set_fragment(uri.fragment().map(|fragment| respelled(fragment, b"/?")).as_deref());
    canonical
}

/// Where the document lies on this machine; none for one that lies elsewhere or nowhere.
pub(super) fn path(uri: &Url) -> Option<PathBuf> {
    uri.to_file_path().ok()
}

/// The path that the URI speaks of, also in a scheme of an editor's own, as that of a notebook's cells.
pub(super) fn path_in_any_scheme(uri: &Url) -> Option<PathBuf> {
    let as_file = || Url::parse(&format!("file://{}", uri.path())).ok()?.to_file_path().ok();
    path(uri).or_else(|| uri.path().starts_with('/').then(as_file).flatten())
}

/// The language of a document whose editor does not say it, by its name or its first line.
pub(super) fn language(uri: &Url, text: &str) -> String {
    let path = path(uri).unwrap_or_else(|| Path::new(uri.path()).to_owned());
    language_of_text(&path, text).to_owned()
}

/// Clients that send paths where LSP wants URIs: `/a`, `C:\a`, `\\server\share\a`.
fn absolute_path(written: &str) -> Option<String> {
    let windows = |path: &str| respelled(&path.replace('%', "%25").replace('\\', "/"), b"/");
    match written.as_bytes() {
        [b'/', ..] => Some(format!("file://{}", respelled(&written.replace('%', "%25"), b"/"))),
        [b'\\', b'\\', ..] => Some(format!("file:{}", windows(written))),
        [drive, b':', b'/' | b'\\', ..] if drive.is_ascii_alphabetic() => {
            Some(format!("file:///{}", windows(written)))
        }
        _ => None,
    }
}

/// `component` with each byte escaped that needs it, and no other. `delimiters` stay as they are written.
fn respelled(component: &str, delimiters: &[u8]) -> String {
    let mut spelled = String::with_capacity(component.len());
    let mut rest = component.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = escaped_byte(rest);
        let byte = escaped.unwrap_or(*first);
        let is_plain = byte.is_ascii_alphanumeric() || PLAIN.contains(&byte);
        if is_plain || escaped.is_none() && delimiters.contains(&byte) {
            spelled.push(char::from(byte));
        } else {
            write!(spelled, "%{byte:02X}").expect("writing to a string cannot fail");
        }
        rest = if escaped.is_some() { &rest[3..] } else { tail };
    }
    spelled
}

/// The byte that an escape at the start of `rest` stands for.
fn escaped_byte(rest: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = *rest else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

/// `/C:/a` → `/c:/a`.
fn with_small_drive(mut path: String) -> String {
    if let [b'/', drive, b':', rest @ ..] = path.as_bytes()
        && drive.is_ascii_alphabetic()
        && matches!(rest, [] | [b'/', ..])
    {
        path[1..2].make_ascii_lowercase();
    }
    path
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The name, and how else it is written.
    const SPELLINGS: [(&str, &[&str]); 11] = [
        (
            "file:///c:/a/b.py",
            &[
                "file:///c%3A/a/b.py",
                "file:///c%3a/a/b.py",
                "file:///C:/a/b.py",
                "file:///C%3A/a/b.py",
                "file://localhost/c:/a/b.py",
                "file:/c:/a/b.py",
                "FILE:///C:/a/b.py",
                "file:///c:\\a\\b.py",
                "file:///c:/a/./x/../b.py",
                "C:\\a\\b.py",
                "c:/a/b.py",
            ],
        ),
        (
            "file:///a%20b/%C3%A9.py",
            &[
                "file:///a b/é.py",
                "file:///a%20b/%c3%a9.py",
                "file:/a%20b/é.py",
                "file://localhost/a b/%C3%a9.py",
                "file://LOCALHOST/%61%20b/%c3%A9%2Epy",
                "/a b/é.py",
            ],
        ),
        (
            "file:///p/%5Bid%5D+@(x),%7B%7D%5E%60~.ts",
            &["file:///p/[id]+@(x),{}^`~.ts", "file:///p/%5bid%5d%2B%40%28x%29%2C%7b%7d^%60%7E.ts"],
        ),
        ("file:///100%25", &["file:///100%", "/100%"]),
        ("file:///a%23b%3Fc", &["/a#b?c", "file:///a%23b%3fc"]),
        ("file://server/share/a", &["file://SERVER/share/a", "\\\\server\\share\\a"]),
        ("untitled:Untitled-1", &["UNTITLED:Untitled-1", "untitled:%55ntitled%2D1"]),
        ("untitled:/c:/a%20b.py", &["untitled:/C%3a/a b.py"]),
        (
            "vscode-notebook-cell:/a.ipynb#W0s=",
            &["vscode-notebook-cell:/a.ipynb#W0s%3D", "vscode-notebook-cell:/a%2eipynb#W0s%3d"],
        ),
        ("buffer:12", &["buffer:%31%32"]),
        ("file:///", &["file://", "file:", "file://localhost"]),
    ];

    #[test]
    fn one_document_has_one_name() {
        for (name, others) in SPELLINGS {
            assert_eq!(canonical(name).as_str(), name);
            for other in others {
                assert_eq!(canonical(other).as_str(), name, "{other}");
            }
        }
    }

    #[test]
    fn two_files_have_two_names() {
        for [one, other] in [
            ["file:///a/b", "file:///A/b"],
            ["file:///a/b", "file:///a%2Fb"],
            ["file:///a/b", "file:///a%5Cb"],
            ["file:///a", "file:///a#1"],
            ["file:///a", "file:///a?1"],
            ["file:///a#1", "file:///a%231"],
            ["file:///a%25", "file:///a%2525"],
            ["file:///a%20b", "/a%20b"],
            ["file:///é", "file:///e\u{301}"],
            ["file:///a", "untitled:/a"],
            ["untitled:a", "untitled:A"],
            ["vscode-notebook-cell:/a.ipynb#W0", "vscode-notebook-cell:/a.ipynb#W1"],
            ["", "a.py"],
            ["a.py", "b.py"],
        ] {
            assert_ne!(canonical(one), canonical(other), "{one} {other}");
        }
    }

    #[test]
    fn a_path_is_what_the_file_system_knows() {
        for (uri, expect) in [
            ("file:///a%20b/%c3%a9.py", Some("/a b/é.py")),
            ("file:///a%5Cb", Some("/a\\b")),
            ("untitled:Untitled-1", None),
            ("main.py", None),
        ] {
            assert_eq!(path(&canonical(uri)).as_deref(), expect.map(Path::new), "{uri}");
        }
    }

    #[test]
    fn a_name_tells_the_language() {
        for (uri, expect) in [
            ("file:///a%20b/x.py", "python"),
            ("file:///x%2Ers", "rust"),
            ("untitled:/x.go", "go"),
            ("x.py", "python"),
            ("untitled:Untitled-1", ""),
        ] {
            assert_eq!(language(&canonical(uri), ""), expect, "{uri}");
        }
    }

    proptest! {
        #[test]
        fn a_name_is_its_own_name(written in "[a-c]{0,6}:?[/\\\\]{0,3}([%#?:.a-dA-D2\\\\/ é\\[]|%[2-7][0-9a-fA-F]){0,12}") {
            let once = canonical(&written);
            prop_assert_eq!(canonical(once.as_str()), once);
        }
    }
}
