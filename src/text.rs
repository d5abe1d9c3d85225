//! Documents: what the user has typed, and where in it.
//!
//! Knows nothing of LSP. Offsets are newtypes, since bytes, characters and UTF-16 units are all
//! `usize` and the bug is classic. A [`Document`] clones in O(1), so a request works on a snapshot
//! while the user types on.

pub mod document;
pub mod edit;
pub mod language;
pub mod position;
mod private_key;

pub use document::Document;
pub use edit::{Edit, EditError};
pub use position::{ByteIdx, Encoding, Position};
