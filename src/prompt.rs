//! From the text around a cursor to the tokens that the models see.
//!
//! [`window`] cuts a [`Prompt`] (text, no tokens) out of a document so that typing on a line changes nothing
//! but [`Prompt::left`]; [`fim`] frames it in the model's tokens; [`stop`] says when the middle has said enough.

pub mod fim;
pub mod stop;
pub mod window;

/// The text that a completion is drawn from. `above ++ left` stands before the cursor, `suffix` after it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompt {
    /// Whole lines before the cursor's line, the last one ending in `\n`; empty on the first line. Line ends are `\n`.
    pub above: String,
    /// The cursor's line up to the cursor: what typing appends to. Never holds `\n`.
    pub left: String,
    /// From the cursor on: the rest of the line, and lines below. Line ends are `\n`.
    pub suffix: String,
    /// Which tokens frame the text.
    pub layout: Layout,
}

/// The order in which the model sees the three parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// `<prefix> above <suffix> suffix <middle> left`: fill-in-the-middle with the cursor's line last, so that a
    /// letter typed on it invalidates no token before it.
    #[default]
    FillInMiddle,
    /// `above left`: left-to-right, for models without such tokens, and the paper's setting. `suffix` is not shown.
    LeftToRight,
}
