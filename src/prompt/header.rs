//! What a prompt says about its file, before any of its text: where it is, and so what language it is in.
//!
//! It depends on the document's name and language alone, so that it stays put while one types. What of a name may be
//! said at all is decided where names are known (`complete/shown_path.rs`).

use super::comment::comment;

/// Which file a prompt's text is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The file's path, relative to its folder and with `/` between its parts; a single line.
    pub path: String,
    /// The editor's language id.
    pub language: String,
}

impl Header {
    /// The path as a line of the file, for models that know no other way to say it: a comment of the language. `None`
    /// where that has no comments.
    pub fn comment(&self) -> Option<String> {
        comment(&self.language, &format!("path: {}", self.path))
    }
}
