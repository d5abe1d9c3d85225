//! When the middle has said enough: rules on the decoded text, applied while it streams.
//!
//! The engine feeds a [`StopScanner`] with every piece of text and ends the request at the first [`Stop`].
//! Token-level ends (end of text, token limit, time) are not here but in `decode`.

/// What ends a completion, as plain data; made by `complete/trigger.rs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopRules {
    /// Most lines; 1 ends at the first line break.
    pub max_lines: usize,
    /// The cursor's line up to the cursor, for its indentation and for whether it opens a block.
    pub left: String,
    /// The first lines of the suffix that hold more than white space, trimmed at their ends; at most three.
    /// A decoded line that equals the first of them ends the completion.
    pub lines_below: Vec<String>,
    /// Columns of a tab, to compare indentations.
    pub tab_width: usize,
}

/// Which rule ended the completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// `max_lines` is reached.
    Lines,
    /// A blank line after at least one line of text.
    BlankLine,
    /// A line is indented less than the block that the completion is in.
    BlockEnd,
    /// The text repeats the line below the cursor, or itself.
    Repetition,
}

/// The end of a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// Bytes of the decoded text to keep; always on a character boundary.
    pub keep: usize,
    /// Which rule fired.
    pub reason: StopReason,
}
