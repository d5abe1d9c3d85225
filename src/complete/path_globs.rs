//! Globs as people write them in settings, compiled: what any path pattern of the settings means.
//!
//! | Pattern | Matches |
//! |---|---|
//! | `*.pem`, `secrets` | that name in any folder |
//! | `config/*.key`, `./x` | below each workspace folder; below any folder where none is open |
//! | `**/config/x` | below any folder |
//! | `~/private` | below the user's home |
//! | `/etc/x`, `C:\x` | from the root; `/x` also from each workspace folder, as in `.gitignore` |
//! | `x/` | all that is below `x` |
//!
//! A user's pattern whose last part is a plain name may be the name of a folder, and then means all that is below it as
//! well. Letters' case makes no difference, for `SERVER.KEY` is as secret as `server.key`; nor do `\` and `/`. What is no
//! valid glob is taken by its letters: an exclusion must not vanish by a typo. [`problem`] tells people of it.

use std::path::{Path, PathBuf};

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};

/// Globs in one set: many, so that a path is looked at once, and few enough for the limits of `regex`.
const GLOBS_PER_SET: usize = 512;

/// Where patterns that are not absolute begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roots {
    /// The workspace folders.
    pub folders: Vec<PathBuf>,
    /// The user's home.
    pub home: Option<PathBuf>,
}

impl Default for Roots {
    /// No workspace folder, and the home of the user who runs this process.
    fn default() -> Self {
        Self { folders: Vec::new(), home: std::env::home_dir() }
    }
}

/// What a pattern that ends in a plain name is the name of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameOf {
    /// A file.
    File,
    /// A file, or a folder with all that is below it.
    FileOrFolder,
}

/// Patterns, compiled together; a match is told by the pattern's index.
#[derive(Clone, Debug)]
pub struct PathGlobs {
    parts: Vec<Part>,
}

/// Globs that are matched at once.
#[derive(Clone, Debug)]
struct Part {
    set: GlobSet,
    /// The pattern that each glob of the set is for.
    pattern_idx: Vec<usize>,
}

impl PathGlobs {
    /// Compiles `patterns`.
    pub fn new<'a>(patterns: impl Iterator<Item = (&'a str, NameOf)>, roots: &Roots) -> Self {
        let of_pattern = |(idx, (pattern, name_of))| {
            globs(pattern, name_of, roots).into_iter().map(move |glob| (glob, idx))
        };
        let globs: Vec<_> = patterns.enumerate().flat_map(of_pattern).collect();
        Self { parts: globs.chunks(GLOBS_PER_SET).flat_map(Part::of).collect() }
    }

    /// Indices of the patterns that match `path`, which is [`normal`]; in ascending order.
    pub fn matching(&self, path: &str) -> Vec<usize> {
        let of_part = |part: &Part| {
            let globs = part.set.matches(path).into_iter();
            globs.map(|glob| part.pattern_idx[glob]).collect::<Vec<_>>()
        };
        let mut patterns: Vec<_> = self.parts.iter().flat_map(of_part).collect();
        patterns.sort_unstable();
        patterns.dedup();
        patterns
    }
}

impl Part {
    /// Compiles globs together, or each alone where together they are too large; one that is too large alone is taken by
    /// its letters.
    fn of(globs: &[(Glob, usize)]) -> Vec<Self> {
        let compiled = |globs: &[(Glob, usize)]| {
            let mut set = GlobSetBuilder::new();
            for (glob, _) in globs {
                set.add(glob.clone());
            }
            let pattern_idx = globs.iter().map(|(_, idx)| *idx).collect();
            Some(Self { set: set.build().ok()?, pattern_idx })
        };
        if let Some(part) = compiled(globs) {
            return vec![part];
        }
        let alone = globs.iter().filter_map(|(glob, idx)| {
            let letters = || Some((build(&globset::escape(glob.glob())).ok()?, *idx));
            compiled(&[(glob.clone(), *idx)]).or_else(|| compiled(&[letters()?]))
        });
        alone.collect()
    }
}

/// A path as globs see it: in lower case, with `/` between its parts, without `.`, `..` and empty parts, and without
/// what Windows puts before a drive.
pub fn normal(path: &str) -> String {
    let path = path.replace('\\', "/").to_lowercase();
    let path = path.strip_prefix("//?/").or_else(|| path.strip_prefix("//./")).unwrap_or(&path);
    let is_absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let has_drive = parts.first().is_some_and(|part| is_drive(part));
    let root = if is_absolute && !has_drive { "/" } else { "" };
    format!("{root}{}", parts.join("/"))
}

/// Why a pattern of the settings cannot do what it says, for people; none for one that can.
pub fn problem(pattern: &str) -> Option<String> {
    let pattern = pattern.trim();
    if pattern.is_empty() || pattern == "!" {
        return Some("is empty and matches nothing".to_owned());
    }
    match build(&separated(pattern)) {
        Err(error) if build(pattern).is_err() => {
            return Some(format!("is not valid and is taken by its letters: {}", error.kind()));
        }
        Ok(glob) if GlobSetBuilder::new().add(glob.clone()).build().is_err() => {
            return Some("is too large and is taken by its letters".to_owned());
        }
        _ => {}
    }
    let mut parts = pattern.split(['/', '\\']);
    if parts.clone().any(|part| part == "..") {
        return Some("holds `..`, which no path has once it is resolved".to_owned());
    }
    let first = parts.next().unwrap_or_default();
    if first.starts_with('~') && first != "~" && parts.next().is_some() {
        return Some(format!("begins with `{first}`; only `~` alone is known as a home"));
    }
    pattern
        .contains(['\0', '\n', '\r'])
        .then(|| "holds a line break and matches nothing".to_owned())
}

/// The globs of one pattern.
fn globs(pattern: &str, name_of: NameOf, roots: &Roots) -> Vec<Glob> {
    let pattern = pattern.trim().to_lowercase();
    if pattern.is_empty() {
        return Vec::new();
    }
    let mut globs = Vec::new();
    for reading in readings(&pattern) {
        for placed in placed(&reading, roots) {
            let spellings = match below(&placed, name_of) {
                Below::Only(all) => vec![all],
                Below::AsWell(all) => vec![placed, all],
                Below::No => vec![placed],
            };
            globs.extend(spellings.iter().filter_map(|glob| build(glob).ok()));
        }
    }
    globs
}

/// What a pattern may mean: `\` parts folders, or takes a sign by its letter; what is no glob is taken by its letters.
fn readings(pattern: &str) -> Vec<String> {
    let mut readings = vec![separated(pattern)];
    if pattern.contains('\\') {
        readings.push(pattern.to_owned());
    }
    for reading in &mut readings {
        if build(reading).is_err() {
            let (anywhere, rest) = match reading.strip_prefix("**/") {
                Some(rest) => ("**/", rest),
                None => ("", reading.as_str()),
            };
            *reading = format!("{anywhere}{}", globset::escape(rest));
        }
    }
    readings
}

/// The pattern with `/` between its parts, without what says nothing.
fn separated(pattern: &str) -> String {
    let pattern = pattern.replace('\\', "/");
    let pattern = pattern.strip_prefix("file://").unwrap_or(&pattern);
    let mut pattern = pattern.replace("/./", "/");
    while pattern.contains("//") {
        pattern = pattern.replace("//", "/");
    }
    pattern
}

/// The pattern from each place where it may begin.
fn placed(pattern: &str, roots: &Roots) -> Vec<String> {
    let from = |folder: &Path| {
        let folder = normal(&folder.to_string_lossy());
        format!("{}/", globset::escape(folder.trim_end_matches('/')))
    };
    let below = |folder: &Path, rest: &str| {
        // A pattern may go up from its folder: `../shared/x`.
        let mut folder = folder.to_owned();
        let mut rest = rest;
        while let Some(up) = rest.strip_prefix("../") {
            folder.pop();
            rest = up;
        }
        from(&folder) + rest
    };
    let below_folders =
        |rest: &str| roots.folders.iter().map(|f| below(f, rest)).collect::<Vec<_>>();
    if let Some(rest) = pattern.strip_prefix("~/").or((pattern == "~").then_some("")) {
        return match &roots.home {
            Some(home) => vec![below(home, rest)],
            None => vec![format!("**/{rest}")],
        };
    }
    if let Some(rest) = pattern.strip_prefix('/') {
        let rest = rest.trim_start_matches("../");
        let is_drive = rest.split('/').next().is_some_and(is_drive);
        let absolute = if is_drive { rest.to_owned() } else { format!("/{rest}") };
        return [absolute].into_iter().chain(below_folders(rest)).collect();
    }
    let starts_anywhere = pattern.starts_with("**/") || pattern == "**";
    if starts_anywhere || pattern.split('/').next().is_some_and(is_drive) {
        return vec![pattern.to_owned()];
    }
    let rest = pattern.strip_prefix("./").unwrap_or(pattern);
    let is_name = rest == pattern && !pattern.trim_end_matches('/').contains('/');
    if is_name || roots.folders.is_empty() {
        return vec![format!("**/{rest}")];
    }
    // A buffer that is in no file may have a relative name.
    [rest.to_owned()].into_iter().chain(below_folders(rest)).collect()
}

/// Whether a pattern means what is below a folder.
enum Below {
    No,
    /// It, and this.
    AsWell(String),
    /// This alone.
    Only(String),
}

fn below(pattern: &str, name_of: NameOf) -> Below {
    if let Some(folder) = pattern.strip_suffix('/') {
        return Below::Only(format!("{folder}/**"));
    }
    let last = pattern.rsplit('/').next().unwrap_or(pattern);
    match name_of {
        NameOf::FileOrFolder if !last.contains(['*', '?', '{', '}']) => {
            Below::AsWell(format!("{pattern}/**"))
        }
        _ => Below::No,
    }
}

fn build(pattern: &str) -> Result<Glob, globset::Error> {
    let mut builder = GlobBuilder::new(pattern);
    builder.literal_separator(true).backslash_escape(true).empty_alternates(true).build()
}

fn is_drive(part: &str) -> bool {
    matches!(part.as_bytes(), [letter, b':'] if letter.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &str, roots: &Roots) -> bool {
        let globs = PathGlobs::new([(pattern, NameOf::FileOrFolder)].into_iter(), roots);
        globs.matching(&normal(path)) == [0]
    }

    /// A pattern, what it matches, and what not, in the workspace of the test.
    const PATTERNS: [(&str, &[&str], &[&str]); 31] = [
        ("*.secret", &["/w/x.secret", "/x/y.SECRET", "x.secret"], &["/w/x.secret.rs"]),
        ("secrets", &["/w/secrets", "/w/a/secrets/b/c", "/x/secrets/y"], &["/w/secrets.rs"]),
        ("private/*", &["/w/private/x", "private/x"], &["/w/private/x/y", "/x/private/x"]),
        (
            "config/a.yml",
            &["/w/config/a.yml", "/srv/two words/config/a.yml"],
            &["/w/b/config/a.yml"],
        ),
        ("config/keys/**", &["/w/config/keys/a/b", "c:/code/config/keys/a"], &["/w/config/a"]),
        ("config/", &["/w/config/a", "/x/y/config/b/c"], &["/w/config", "/w/configs/a"]),
        ("a/b/", &["/w/a/b/c", "/w/a/b/c/d"], &["/w/a/b", "/x/a/b/c"]),
        ("./x", &["/w/x", "/w/x/y", "/srv/two words/x"], &["/w/a/x", "/x"]),
        ("././a//b", &["/w/a/b"], &["/w/x/a/b"]),
        ("**/k/*.txt", &["/w/k/a.txt", "/x/y/k/a.txt"], &["/w/k/l/a.txt"]),
        ("**/k/", &["/x/k/a", "/x/k/a/b"], &["/x/k"]),
        ("~/private", &["/home/me/private", "/home/me/private/a/b"], &["/home/you/private"]),
        ("~/s/**", &["/home/me/s/a"], &["/w/s/a", "/home/me/t/a"]),
        ("~", &["/home/me/a"], &["/home/you/a"]),
        ("/etc/x", &["/etc/x", "/etc/x/y", "/w/etc/x"], &["/a/etc/x", "/srv/etc/x"]),
        ("/etc/*.d/", &["/etc/a.d/b/c"], &["/etc/a.d"]),
        ("C:\\code\\x\\*", &["C:\\code\\x\\a", "c:/code/x/a", "/C:/code/x/a"], &["/code/x/a"]),
        ("c:/code/x/", &["\\\\?\\C:\\code\\x\\a"], &["d:/code/x/a"]),
        ("config\\*.key", &["/w/config/a.key"], &["/w/config/a/b.key"]),
        ("a\\[b", &["/w/a[b"], &["/w/ab"]),
        ("file:///opt/x/**", &["/opt/x/a/b"], &["/opt/y/a"]),
        ("../shared/k", &["/shared/k", "/srv/shared/k"], &["/w/shared/k"]),
        ("{a,b}.txt", &["/w/a.txt", "/x/b.txt"], &["/w/c.txt"]),
        ("x{,.bak}", &["/w/x", "/w/x.bak"], &["/w/x.old"]),
        ("Ünï.KEY", &["/w/ünï.key"], &["/w/uni.key"]),
        ("a[", &["/w/a[", "a["], &["/w/ab"]),
        ("**/[a", &["/w/[a", "/w/b/[a"], &["/w/a"]),
        ("x/{a", &["/w/x/{a"], &["/w/x/a"]),
        (" pad.txt ", &["/w/pad.txt"], &["/w/pad.txt.rs"]),
        ("**", &["/w/a", "/a/b/c"], &[]),
        ("", &[], &["/w/a", ""]),
    ];

    #[test]
    fn a_pattern_means_what_people_mean() {
        let roots = Roots {
            folders: vec!["/w".into(), "/srv/two words".into(), "C:\\code".into()],
            home: Some("/home/me".into()),
        };
        for (pattern, hits, misses) in PATTERNS {
            assert!(hits.iter().all(|path| matches(pattern, path, &roots)), "{pattern}: {hits:?}");
            let found = misses.iter().find(|path| matches(pattern, path, &roots));
            assert_eq!(found, None, "{pattern}");
        }
    }

    #[test]
    fn without_a_workspace_a_relative_pattern_matches_anywhere() {
        let none = Roots { folders: Vec::new(), home: None };
        for (pattern, path) in [
            ("private/*", "/x/private/y"),
            ("private/*", "private/y"),
            ("./x", "/w/a/x"),
            ("~/s/**", "/home/me/s/a"),
            ("/etc/x", "/etc/x"),
        ] {
            assert!(matches(pattern, path, &none), "{pattern} {path}");
        }
        assert!(!matches("private/*", "/x/private/y/z", &none));
    }

    #[test]
    fn paths_have_one_form() {
        for (path, form) in [
            ("/W/a.RS", "/w/a.rs"),
            ("/w//b/./c/../d", "/w/b/d"),
            ("C:\\W\\x", "c:/w/x"),
            ("/c:/w/x", "c:/w/x"),
            ("\\\\?\\C:\\w", "c:/w"),
            ("\\\\server\\share\\x", "/server/share/x"),
            ("a/b", "a/b"),
            ("../a", "a"),
            ("/..", "/"),
            ("", ""),
        ] {
            assert_eq!(normal(path), form, "{path}");
        }
    }

    #[test]
    fn usable_patterns_have_no_problem() {
        for pattern in ["*.x", "a/", "/a/b", "~/x", "~", "./x", "C:\\x\\**", "a\\b", "{a,b}", "**"]
        {
            assert_eq!(problem(pattern), None, "{pattern}");
        }
        for pattern in ["", " ", "!", "[", "{a", "a/../b", "..", "~you/x", "a\nb"] {
            assert!(problem(pattern).is_some(), "{pattern}");
        }
    }
}
