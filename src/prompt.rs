//! From the text around a cursor to the tokens that the models see.
//!
//! [`window`] cuts a [`Prompt`] (text, no tokens) out of a document so that typing on a line changes nothing
//! but [`Prompt::left`]; [`header`] says which file it is; [`fim`] frames both in the model's tokens; [`stop`] says
//! when the middle has said enough.

pub mod comment;
pub mod fim;
pub mod header;
pub mod stop;
pub mod window;

pub use header::Header;

/// The text that a completion is drawn from. `above ++ left` stands before the cursor, `suffix` after it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompt {
    /// Which file the text is of; absent where nothing is to be said about it.
    pub header: Option<Header>,
    /// Whole lines before the cursor's line, the last one ending in `\n`; empty on the first line. Line ends are `\n`.
    pub above: String,
    /// The cursor's line up to the cursor: what typing appends to. Never holds `\n`.
    pub left: String,
    /// From the cursor on: the rest of the line, and lines below. Line ends are `\n`.
    pub suffix: String,
    /// Which tokens frame the text.
    pub layout: Layout,
}

/// The order in which the model sees the parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// `header <prefix> above <suffix> suffix <middle> left`: fill-in-the-middle with the cursor's line last, so that a
    /// letter typed on it invalidates no token before it.
    #[default]
    FillInMiddle,
    /// `header above left`: left-to-right, for models without such tokens, and the paper's setting. `suffix` is not shown.
    LeftToRight,
}
