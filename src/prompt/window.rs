//! Which text around the cursor the models see.
//!
//! The window's edges must not slide, or every keystroke would change the first token of the prompt and nothing
//! that the models remember would fit. So the start moves in steps, and depends on the cursor's *line* alone;
//! the end is anchored at the cursor. Called by `complete`; budgets are bytes here, and the engine cuts once
//! more, in tokens.

use std::ops::Range;

use super::fim::PromptBudget;
use super::{Layout, Prompt};
use crate::text::{ByteIdx, Document};

/// Bytes of code per token, a little more than usual: the budget in tokens cuts once more.
const BYTES_PER_TOKEN: usize = 4;

/// The window's start moves by this part of the budget at once.
const STEPS_PER_BUDGET: usize = 4;

/// Most bytes on either side of the cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowBudget {
    /// For the lines above the cursor's line, and again for that line's part left of the cursor.
    pub prefix_bytes: usize,
    /// For the text after the cursor.
    pub suffix_bytes: usize,
}

impl From<PromptBudget> for WindowBudget {
    /// Room for as many tokens as `budget` allows.
    fn from(budget: PromptBudget) -> Self {
        Self {
            prefix_bytes: budget.prefix_tokens.saturating_mul(BYTES_PER_TOKEN),
            suffix_bytes: budget.suffix_tokens.saturating_mul(BYTES_PER_TOKEN),
        }
    }
}

/// The text around `cursor`, which lies on a character boundary, without a header; the layout is
/// [`Layout::FillInMiddle`].
///
/// # Panics
///
/// When `cursor` lies beyond the text.
pub fn prompt_at(document: &Document, cursor: ByteIdx, budget: WindowBudget) -> Prompt {
    let line_start = document.line_start(cursor);
    // Between `\r` and `\n` the cursor is already behind its line.
    let line_end = cursor.min(document.line_end(cursor));
    let above = above_start(document, line_start, budget.prefix_bytes)..line_start;
    let left = left_start(document, line_start..line_end, budget.prefix_bytes)..line_end;
    let suffix = cursor..suffix_end(document, cursor, budget.suffix_bytes);
    Prompt {
        header: None,
        above: with_newlines(document.slice(above)),
        left: document.slice(left),
        suffix: with_newlines(document.slice(suffix)),
        layout: Layout::FillInMiddle,
    }
}

/// `text` with every line end as `\n`.
pub fn with_newlines(text: String) -> String {
    if !text.contains('\r') {
        return text;
    }
    text.replace("\r\n", "\n").replace('\r', "\n")
}

/// The first line start behind the last multiple of the step that keeps the budget. It depends on `line_start`
/// alone, and moves once while that moves by a step.
fn above_start(document: &Document, line_start: ByteIdx, budget: usize) -> ByteIdx {
    let Some(step_start) = step_start(line_start.0, budget) else {
        return ByteIdx(0);
    };
    let line_idx = document.line_of(ByteIdx(step_start));
    let line = document.n_th_line_start(line_idx);
    if line.0 == step_start { line } else { document.n_th_line_start(line_idx + 1).min(line_start) }
}

/// Start of what is kept of the cursor's line: all of it, or its tail where it is longer than the budget.
fn left_start(document: &Document, left: Range<ByteIdx>, budget: usize) -> ByteIdx {
    match step_start(left.end.0 - left.start.0, budget) {
        None => left.start,
        Some(step_start) => document.char_start(ByteIdx(left.start.0 + step_start)),
    }
}

/// The last line start within the budget, so that the suffix ends in a whole line; inside a line only where
/// even the cursor's line does not fit.
fn suffix_end(document: &Document, cursor: ByteIdx, budget: usize) -> ByteIdx {
    let far = ByteIdx(cursor.0.saturating_add(budget));
    if far >= document.len() {
        return document.len();
    }
    let far = document.char_start(far);
    let line_start = document.line_start(far);
    if line_start > cursor { line_start } else { far.max(cursor) }
}

/// The multiple of the step at which the last `budget` bytes or less of `len` begin; `None` if all fit.
fn step_start(len: usize, budget: usize) -> Option<usize> {
    let excess = len.checked_sub(budget).filter(|&excess| excess > 0)?;
    let step = (budget / STEPS_PER_BUDGET).max(1);
    Some(excess.next_multiple_of(step).min(len))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::text::{Edit, Encoding};

    const BUDGET: WindowBudget = WindowBudget { prefix_bytes: 400, suffix_bytes: 100 };

    /// A document and the place of `$0` in it.
    fn at(text: &str) -> (Document, ByteIdx) {
        let cursor = text.find("$0").expect("the text has a cursor");
        (Document::new(&text.replacen("$0", "", 1), 1, "python"), ByteIdx(cursor))
    }

    fn check(text: &str, above: &str, left: &str, suffix: &str) {
        let (document, cursor) = at(text);
        let prompt = prompt_at(&document, cursor, BUDGET);
        let got = (prompt.above.as_str(), prompt.left.as_str(), prompt.suffix.as_str());
        assert_eq!(got, (above, left, suffix));
    }

    fn insert(document: &mut Document, cursor: &mut ByteIdx, text: &str) {
        let place = document.position_of(*cursor, Encoding::Utf8);
        let edit = Edit { range: Some(place..place), text: text.to_owned() };
        document.apply(document.version() + 1, &[edit], Encoding::Utf8).unwrap();
        cursor.0 += text.len();
    }

    fn many_lines(n_lines: usize) -> String {
        (0..n_lines).map(|line| format!("line_{line} = {line}é\n")).collect()
    }

    #[test]
    fn a_small_text_is_seen_whole() {
        check("a\nb$0c\nd", "a\n", "b", "c\nd");
        check("$0", "", "", "");
        check("a\n$0", "a\n", "", "");
        check("$0a\n", "", "", "a\n");
    }

    #[test]
    fn line_ends_become_newlines() {
        check("a\r\nb$0c\r\nd\re", "a\n", "b", "c\nd\ne");
        check("a\r\nb$0\r\n", "a\n", "b", "\n");
        check("a\r$0\nb", "", "a", "\nb");
    }

    #[test]
    fn a_long_text_is_cut_at_line_starts() {
        let text = format!("{}    x = $0\n{}", many_lines(90), many_lines(90));
        let (document, cursor) = at(&text);
        let prompt = prompt_at(&document, cursor, BUDGET);
        assert!(prompt.above.starts_with("line_") && prompt.above.ends_with("89é\n"));
        assert!((300..=400).contains(&prompt.above.len()), "{}", prompt.above.len());
        assert_eq!(prompt.left, "    x = ");
        assert!(prompt.suffix.starts_with("\nline_0 ") && prompt.suffix.ends_with("é\n"));
        assert!((80..=100).contains(&prompt.suffix.len()), "{}", prompt.suffix.len());
    }

    #[test]
    fn typing_on_a_line_changes_left_alone() {
        let (mut document, mut cursor) = at(&format!("{}$0)\n{}", many_lines(90), many_lines(90)));
        let first = prompt_at(&document, cursor, BUDGET);
        let mut typed = String::new();
        for letter in "é = f(x, y)".chars().cycle().take(300) {
            insert(&mut document, &mut cursor, &letter.to_string());
            typed.push(letter);
            let prompt = prompt_at(&document, cursor, BUDGET);
            assert_eq!((&prompt.above, &prompt.suffix), (&first.above, &first.suffix));
            assert_eq!(prompt.left, typed);
        }
    }

    #[test]
    fn new_lines_move_the_start_once_per_step() {
        let (mut document, mut cursor) = at(&format!("{}$0", many_lines(90)));
        let start = |document: &Document, cursor| {
            cursor - prompt_at(document, ByteIdx(cursor), BUDGET).above.len()
        };
        let (mut moves, mut last) = (0, start(&document, cursor.0));
        for _ in 0..200 {
            insert(&mut document, &mut cursor, "ab\n");
            let next = start(&document, cursor.0);
            moves += usize::from(next != last);
            last = next;
        }
        // 600 bytes in steps of 100.
        assert!((5..=7).contains(&moves), "{moves}");
    }

    #[test]
    fn a_huge_line_is_cut_and_costs_nothing() {
        let line = "ab🦀é ".repeat(500_000);
        let middle = line.len() / 2 / 9 * 9;
        let text = format!("x\n{}$0{}\ny\n", &line[..middle], &line[middle..]);
        let (mut document, mut cursor) = at(&text);
        let started = Instant::now();
        let (mut moves, mut last) = (0, String::new());
        for _ in 0..250 {
            insert(&mut document, &mut cursor, "é");
            let prompt = prompt_at(&document, cursor, BUDGET);
            assert!((280..=404).contains(&prompt.left.len()), "{}", prompt.left.len());
            assert!((95..=100).contains(&prompt.suffix.len()), "{}", prompt.suffix.len());
            assert_eq!(prompt.above, "x\n");
            moves += usize::from(!prompt.left.starts_with(&last));
            last = prompt.left;
        }
        // 500 bytes in steps of 100.
        assert!((4..=6).contains(&moves), "{moves}");
        assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    }

    #[test]
    fn a_budget_of_nothing_leaves_nothing() {
        let (document, cursor) = at("a\nbc$0d\ne");
        let budget = WindowBudget { prefix_bytes: 0, suffix_bytes: 0 };
        assert_eq!(prompt_at(&document, cursor, budget), Prompt::default());
    }
}
