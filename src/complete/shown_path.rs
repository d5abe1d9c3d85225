//! What a file is called to the models: its path relative to its folder, less what is nobody's business.
//!
//! Only names below the folder are shown, so never a home directory or a user. A part of the path that is itself a
//! secret, or looks like one, is not shown, nor is what stands before it.

use std::path::{Component, Path, PathBuf};

use super::file_names::FileNames;
use super::file_rules::FileRules;
use crate::engine::DocumentId;
use crate::prompt::Header;
use crate::prompt::comment::extension;

/// Most bytes of a path that are shown: a deep folder's names say less the further they are from the file.
const MOST_BYTES: usize = 120;

/// Digits and letters in a row that may be a key: GitHub's tokens have 36, AWS's access keys 20, an MD5 sum has 32.
const KEY_LENGTH: usize = 20;

/// As many of them behind a word that keys begin with.
const MARKED_KEY_LENGTH: usize = 16;

/// Digits in a row that are no date and time any more: the length of card numbers.
const MANY_DIGITS: usize = 16;

/// What keys and tokens of well-known services begin with (the rules of secret scanners, such as gitleaks').
const KEY_PREFIXES: [&str; 20] = [
    "sk-",
    "sk_live_",
    "sk_test_",
    "pk_live_",
    "rk_live_",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "xox",
    "AKIA",
    "ASIA",
    "AIza",
    "eyJ",
    "npm_",
    "hf_",
    "SG.",
];

/// Words before a `=` that is followed by a secret.
const SECRET_WORDS: [&str; 6] = ["pass", "pwd", "secret", "token", "key", "auth"];

/// The path of `path` from the innermost of `folders` that holds it, with `/` between its parts; its name alone if none
/// does. `None` for what has no name.
pub fn relative(path: &Path, folders: &[PathBuf]) -> Option<String> {
    let below = folders.iter().filter_map(|folder| path.strip_prefix(folder).ok());
    let is_below = |below: &&Path| {
        let mut parts = below.components().peekable();
        parts.peek().is_some() && parts.all(|part| part != Component::ParentDir)
    };
    let below = below.filter(is_below);
    let shortest = below.min_by_key(|below| below.components().count());
    let shown = shortest.or_else(|| path.file_name().map(Path::new))?;
    let names = shown.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_string_lossy()),
        _ => None,
    });
    let names: Vec<_> = names.collect();
    (!names.is_empty()).then(|| names.join("/"))
}

/// What to say about a document of this name ([`relative`]) and language. One without a name, or with one that may not
/// be shown, is told to be of its language; `None` where that has no usual extension.
pub fn header(name: Option<&str>, language: &str, rules: &FileRules) -> Option<Header> {
    let path = name.and_then(|name| shown(name, language, rules));
    let unnamed = || extension(language).map(|extension| format!("untitled.{extension}"));
    Some(Header { path: path.or_else(unnamed)?, language: language.to_owned() })
}

/// The end of the path that may be shown; none where that is not even the file's name.
fn shown(name: &str, language: &str, rules: &FileRules) -> Option<String> {
    let parts: Vec<String> =
        name.split(['/', '\\']).map(printable).filter(|part| is_name(part)).collect();
    let is_hidden = |part: &String| is_secret(part) || rules.excluding(&named(part), "").is_some();
    let first = parts.iter().rposition(is_hidden).map_or(0, |hidden| hidden + 1);
    let (file, folders) = parts[first..].split_last()?;
    let mut path = in_language(file, language);
    for folder in folders.iter().rev() {
        if folder.len() + 1 + path.len() > MOST_BYTES {
            break;
        }
        path = format!("{folder}/{path}");
    }
    let start = path.ceil_char_boundary(path.len().saturating_sub(MOST_BYTES));
    Some(path[start..].to_owned())
}

fn named(part: &str) -> FileNames {
    FileNames::new(&DocumentId("".into()), Some(Path::new(part)), &[])
}

/// A cell of a notebook is in a language of its own, and not in the JSON of the file.
fn in_language(file: &str, language: &str) -> String {
    match (file.strip_suffix(".ipynb"), extension(language)) {
        (Some(stem), Some(extension)) if !language.contains("json") => {
            format!("{stem}.{extension}")
        }
        _ => file.to_owned(),
    }
}

/// The part without what is no character to see: control characters, line breaks of any kind, and marks that turn or
/// hide text.
fn printable(part: &str) -> String {
    let is_hidden = |c: &char| {
        let is_mark = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
        c.is_control() || is_mark
    };
    part.chars().filter(|c| !is_hidden(c)).collect::<String>().trim().to_owned()
}

fn is_name(part: &str) -> bool {
    !matches!(part, "" | "." | "..")
}

/// Whether a name is a key, a token or a password itself. What only looks like one costs its place in the prompt.
fn is_secret(part: &str) -> bool {
    assigns_secret(part)
        || KEY_PREFIXES.iter().any(|prefix| has_key_behind(part, prefix))
        || part.split('.').any(is_hex_with_dashes)
        || runs(part).any(is_random)
}

/// The stretches of ASCII digits and letters.
fn runs(part: &str) -> impl Iterator<Item = &str> {
    part.split(|c: char| !c.is_ascii_alphanumeric()).filter(|run| !run.is_empty())
}

fn assigns_secret(part: &str) -> bool {
    part.split_once('=').is_some_and(|(word, value)| {
        let word = word.to_ascii_lowercase();
        !value.is_empty() && SECRET_WORDS.iter().any(|secret| word.contains(secret))
    })
}

fn has_key_behind(part: &str, prefix: &str) -> bool {
    let is_key = |run: &str| {
        let is_capital = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit();
        run.len() >= MARKED_KEY_LENGTH
            && (run.contains(|c: char| c.is_ascii_digit()) || run.chars().all(is_capital))
    };
    part.match_indices(prefix).any(|(at, _)| runs(&part[at + prefix.len()..]).any(is_key))
}

/// A hash or a UUID.
fn is_hex_with_dashes(part: &str) -> bool {
    let digits: String = part.chars().filter(|c| *c != '-').collect();
    digits.len() >= KEY_LENGTH && is_hex(&digits)
}

fn is_hex(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_hexdigit())
        && text.contains(|c: char| c.is_ascii_digit())
        && text.contains(|c: char| c.is_ascii_alphabetic())
}

/// Whether digits and letters stand as chance would put them, and not as words with a number here and there.
fn is_random(run: &str) -> bool {
    let is_digit = |c: char| c.is_ascii_digit();
    if run.chars().all(is_digit) {
        return run.len() >= MANY_DIGITS;
    }
    let n_numbers = run.split(|c| !is_digit(c)).filter(|number| !number.is_empty()).count();
    let has_both_cases = run.contains(|c: char| c.is_ascii_uppercase())
        && run.contains(|c: char| c.is_ascii_lowercase());
    run.len() >= KEY_LENGTH && (is_hex(run) || n_numbers >= if has_both_cases { 2 } else { 4 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::complete::path_globs::Roots;
    use crate::config::Settings;

    fn path_of(name: Option<&str>, language: &str) -> Option<String> {
        header(name, language, &FileRules::new(&Settings::default(), &Roots::default()))
            .map(|header| header.path)
    }

    #[track_caller]
    fn check(name: &str, expected: &str) {
        assert_eq!(path_of(Some(name), "python").as_deref(), Some(expected), "{name:?}");
    }

    #[test]
    fn a_path_is_relative_to_the_innermost_folder_that_holds_it() {
        let folders = ["/home/x/work", "/home/x/work/api", "/srv"].map(PathBuf::from);
        for (path, expected) in [
            ("/home/x/work/src/app.py", Some("src/app.py")),
            ("/home/x/work/api/src/app.py", Some("src/app.py")),
            ("/home/x/work/api", Some("api")),
            ("/home/x/workshop/app.py", Some("app.py")),
            ("/home/x/notes.py", Some("notes.py")),
            ("/srv/../home/x/a.py", Some("a.py")),
            ("/", None),
            ("", None),
        ] {
            assert_eq!(relative(Path::new(path), &folders).as_deref(), expected, "{path}");
        }
        assert_eq!(relative(Path::new("/home/x/app.py"), &[]).as_deref(), Some("app.py"));
    }

    #[test]
    fn names_are_shown_as_one_line_of_parts() {
        for (name, expected) in [
            ("src/app.py", "src/app.py"),
            (r"src\app.py", "src/app.py"),
            ("./src//../app.py", "src/app.py"),
            ("src/a\nb\u{1b}[31m.py", "src/ab[31m.py"),
            ("src/a\u{2028}b\u{202e}.py", "src/ab.py"),
            ("src/<|endoftext|>.py", "src/<|endoftext|>.py"),
            ("src/naïve 漢字.py", "src/naïve 漢字.py"),
            ("notebooks/plot.ipynb", "notebooks/plot.py"),
        ] {
            check(name, expected);
        }
    }

    #[test]
    fn a_long_path_keeps_its_end() {
        let folders = "folder/".repeat(40);
        let shown = path_of(Some(&format!("{folders}app.py")), "python").unwrap();
        assert!(shown.starts_with("folder/") && shown.ends_with("folder/app.py"));
        assert!((100..=MOST_BYTES).contains(&shown.len()), "{}", shown.len());
        let shown = path_of(Some(&format!("a/{}.py", "é".repeat(120))), "python").unwrap();
        assert!(shown.ends_with("éé.py") && shown.len() <= MOST_BYTES, "{shown}");
    }

    #[test]
    fn a_name_that_is_a_secret_is_not_shown() {
        for secret in [
            "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
            "AKIAIOSFODNN7EXAMPLE",
            "sk-proj-a1B2c3D4e5F6g7H8i9",
            "5d41402abc4b2a76b9719d911017c592",
            "123e4567-e89b-12d3-a456-426614174000",
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30",
            "wJalrXUtnFEMI7K7MDENGbPxRfiCY",
            "password=hunter2",
            "4111111111111111",
            "id_rsa.py",
            "server.key",
        ] {
            check(&format!("src/{secret}/api/app.py"), "api/app.py");
            check(&format!("src/{secret}"), "untitled.py");
        }
    }

    #[test]
    fn names_that_people_give_are_shown() {
        for name in [
            "test_the_very_long_name_of_a_function_that_does_nothing.py",
            "AbstractSingletonProxyFactoryBean.java",
            "20240101120000_add_users.sql",
            "v1alpha1/zz_generated.deepcopy.go",
            "sk-learn-examples/token_bucket.py",
            "hf_hub_download.py",
            "eyJoy.py",
            "x86_64-unknown-linux-gnu/base64.rs",
            "internationalization.py",
            "date=2024-01-01/part.py",
        ] {
            check(name, name);
        }
    }

    #[test]
    fn a_document_without_a_name_is_told_by_its_language() {
        assert_eq!(path_of(None, "python").as_deref(), Some("untitled.py"));
        assert_eq!(path_of(None, "typescriptreact").as_deref(), Some("untitled.tsx"));
        assert_eq!(path_of(None, "klingon"), None);
        assert_eq!(path_of(Some(""), ""), None);
    }
}
