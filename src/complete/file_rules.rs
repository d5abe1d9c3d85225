//! What the settings say about single files: secret ones are left alone, some have their own α.
//!
//! Globs are compiled once per settings. A pattern without `/` is about the file's name, in any
//! folder; letters' case makes no difference, for `SERVER.KEY` is as secret as `server.key`.

use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};

use crate::config::Settings;
use crate::engine::DocumentId;

/// The compiled globs of one [`Settings`].
#[derive(Clone, Debug)]
pub struct FileRules {
    excluded: Vec<(String, GlobMatcher)>,
    alpha: Vec<(GlobMatcher, f32)>,
    excluded_source: Vec<String>,
    alpha_source: Vec<(String, f32)>,
}

impl FileRules {
    /// Compiles the globs of `settings`.
    pub fn new(settings: &Settings) -> Self {
        let excluded = settings.excluded_files.iter();
        let alpha = settings.alpha_by_path.iter();
        Self {
            excluded: excluded.map(|pattern| (pattern.clone(), matcher(pattern))).collect(),
            alpha: alpha.map(|(pattern, alpha)| (matcher(pattern), *alpha)).collect(),
            excluded_source: settings.excluded_files.clone(),
            alpha_source: settings.alpha_by_path.clone(),
        }
    }

    /// Whether these are still the rules of `settings`.
    pub fn belong_to(&self, settings: &Settings) -> bool {
        self.excluded_source == settings.excluded_files
            && self.alpha_source == settings.alpha_by_path
    }

    /// The first pattern that excludes the file.
    pub fn excluding(&self, path: &Path) -> Option<&str> {
        let found = self.excluded.iter().find(|(_, matcher)| matcher.is_match(path));
        found.map(|(pattern, _)| pattern.as_str())
    }

    /// The α of the first glob that matches.
    pub fn alpha(&self, path: &Path) -> Option<f32> {
        let found = self.alpha.iter().find(|(matcher, _)| matcher.is_match(path));
        found.map(|(_, alpha)| *alpha)
    }
}

/// What globs are matched with: the file's path, or for an unsaved buffer the path in its name
/// (`untitled:/project/.env`).
pub fn path_of(document: &DocumentId, path: Option<&Path>) -> PathBuf {
    if let Some(path) = path {
        return path.to_owned();
    }
    let name = document.0.split(['?', '#']).next().unwrap_or_default();
    let after_scheme = name.split_once(':').map_or(name, |(_, path)| path);
    PathBuf::from(after_scheme)
}

/// A pattern that is no valid glob is taken by its letters: an exclusion must not vanish by a typo.
fn matcher(pattern: &str) -> GlobMatcher {
    let anywhere = if pattern.contains('/') { pattern.to_owned() } else { format!("**/{pattern}") };
    let build = |pattern: &str| {
        let mut builder = GlobBuilder::new(pattern);
        builder.literal_separator(true).case_insensitive(true).build()
    };
    let glob = build(&anywhere).or_else(|error| {
        tracing::warn!(pattern, %error, "not a valid glob; taken literally");
        build(&globset::escape(pattern))
    });
    glob.expect("an escaped pattern is a valid glob").compile_matcher()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excluding(path: &str) -> Option<String> {
        let rules = FileRules::new(&Settings::default());
        rules.excluding(Path::new(path)).map(str::to_owned)
    }

    #[test]
    fn secret_files_are_excluded_by_default() {
        let secret = [
            "/w/.env",
            ".env",
            "/w/.env.local",
            "/w/prod.env",
            "/w/server.key",
            "/w/SERVER.KEY",
            "/home/x/.ssh/config",
            "/home/x/.ssh/id_ed25519",
            "/w/secrets.yaml",
            "/w/.npmrc",
        ];
        assert!(secret.iter().all(|path| excluding(path).is_some()));
        let open = ["/w/main.rs", "/w/env.rs", "/w/key.py", "/w/secrets.rs"];
        assert!(open.iter().all(|path| excluding(path).is_none()));
    }

    #[test]
    fn a_pattern_without_a_folder_is_about_the_name() {
        let settings = Settings {
            excluded_files: vec!["*.secret".into(), "private/*".into(), "a[".into()],
            ..Settings::default()
        };
        let rules = FileRules::new(&settings);
        assert_eq!(rules.excluding(Path::new("/w/x.secret")), Some("*.secret"));
        assert_eq!(rules.excluding(Path::new("private/x")), Some("private/*"));
        assert_eq!(rules.excluding(Path::new("private/x/y")), None);
        assert_eq!(rules.excluding(Path::new("a[")), Some("a["));
    }

    #[test]
    fn the_first_matching_alpha_wins() {
        let settings = Settings {
            alpha_by_path: vec![("**/test/**".into(), 0.1), ("*.rs".into(), 0.5)],
            ..Settings::default()
        };
        let rules = FileRules::new(&settings);
        assert_eq!(rules.alpha(Path::new("/w/test/a.rs")), Some(0.1));
        assert_eq!(rules.alpha(Path::new("/w/src/a.rs")), Some(0.5));
        assert_eq!(rules.alpha(Path::new("/w/src/a.py")), None);
        assert!(rules.belong_to(&settings) && !rules.belong_to(&Settings::default()));
    }

    #[test]
    fn an_unsaved_buffer_is_matched_by_its_name() {
        let path = |id: &str| path_of(&DocumentId(id.into()), None);
        assert_eq!(path("untitled:/w/.env"), Path::new("/w/.env"));
        assert_eq!(path("git:/w/.env?%7B%7D"), Path::new("/w/.env"));
        assert_eq!(path("untitled:Untitled-1"), Path::new("Untitled-1"));
    }
}
