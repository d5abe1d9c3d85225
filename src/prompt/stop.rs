//! When the middle has said enough: rules on the decoded text, applied while it streams.
//!
//! The engine feeds a [`StopScanner`] with every piece of text and ends the request at the first [`Stop`].
//! Token-level ends (end of text, token limit, time) are not here but in `decode`; after one of them the
//! engine asks [`StopScanner::finish`]. What a line's first word says about blocks is in [`leader`], which lines the
//! buffer has already in [`below`], and when a line only repeats itself in [`circles`].

use std::cmp::Ordering;
use std::ops::Range;

use circles::Circles;
use leader::Leader;

pub mod below;
pub mod circles;
pub mod leader;

/// Blank lines that may stand before the first line of text.
const MAX_LEADING_BLANK_LINES: usize = 2;

/// What ends a completion, as plain data; made by `complete/trigger.rs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopRules {
    /// Most lines; 1 ends at the first line break. Where it is more, blank lines before the first line of text
    /// are not counted, so that a body of as many lines may follow the end of a block's opening line.
    pub max_lines: usize,
    /// The cursor's line up to the cursor, for its indentation and for whether it is blank.
    pub left: String,
    /// The first lines below the cursor's line that hold more than white space, with their indentation and without
    /// white space at their ends. Decoded lines that say them [again](below::repetition) end the completion.
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
    /// The text repeats lines below the cursor, or itself.
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

/// Applies [`StopRules`] to text that comes in pieces.
///
/// Where the pieces are cut makes no difference: each rule fires at the first character that decides it.
/// Blocks are told apart by indentation alone, against the *reference*: the indentation of the cursor's line,
/// or of the first decoded text where that line is blank.
#[derive(Clone, Debug)]
pub struct StopScanner {
    rules: StopRules,
    /// `rules.left` and then all decoded text: the first line is judged as it will stand in the buffer.
    text: String,
    /// Bytes of `text` that have been looked at.
    scanned: usize,
    /// The complete lines, without white space at their ends.
    lines: Vec<Range<usize>>,
    /// Start of the line that is still growing.
    line_start: usize,
    line: Line,
    /// The decoded part of that line.
    circles: Circles,
    reference: usize,
    /// A line indented more than the reference has been kept.
    went_deeper: bool,
    n_blank: usize,
    stop: Option<Stop>,
}

/// What is known about the line that is still growing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// Not yet whether it belongs to the completion.
    Unjudged,
    /// It belongs to it.
    Kept,
    /// It belongs to it, and closes its block: the last line, unless it opens another.
    Closing,
}

impl StopScanner {
    /// A scanner at the cursor.
    pub fn new(rules: StopRules) -> Self {
        let line = if rules.left.trim().is_empty() { Line::Unjudged } else { Line::Kept };
        Self {
            text: rules.left.clone(),
            scanned: rules.left.len(),
            lines: Vec::new(),
            line_start: 0,
            line,
            circles: Circles::default(),
            reference: indent(&rules.left, rules.tab_width),
            went_deeper: false,
            n_blank: 0,
            stop: None,
            rules,
        }
    }

    /// Takes more decoded text. The first rule that fires is remembered: text pushed after it changes nothing.
    pub fn push(&mut self, text: &str) -> Option<Stop> {
        if self.stop.is_none() {
            self.text.push_str(text);
            self.scan();
        }
        self.stop
    }

    /// Bytes of the decoded text that no rule can cut any more; never shrinks, never ends in white space.
    pub fn stable(&self) -> usize {
        if let Some(stop) = self.stop {
            return stop.keep;
        }
        let held = self.held_from();
        if self.line_start < held {
            let end = self.circles.held_from().unwrap_or(self.text.len());
            let growing = self.text[self.line_start..end].trim_end();
            if !growing.is_empty() {
                return self.decoded(self.line_start + growing.len());
            }
        }
        let kept = self.lines.iter().rev().find(|line| line.start < held);
        self.decoded(kept.map_or(0, |line| line.end))
    }

    /// Bytes of the decoded text to keep when the model ends by itself: trailing white space goes, and
    /// so does a last line that would have ended the completion, had it been complete.
    pub fn finish(&self) -> usize {
        let mut ended = self.clone();
        ended.push("\n");
        ended.stop.map_or_else(|| ended.last_text_end(), |stop| stop.keep)
    }

    fn scan(&mut self) {
        while self.stop.is_none() {
            let Some(next) = self.text[self.scanned..].chars().next() else {
                return;
            };
            let circle = self.circles.push(next, self.scanned);
            self.scanned += next.len_utf8();
            if next == '\n' {
                self.circles.clear();
                self.end_line();
            } else if let Some(end) = circle {
                let kept = self.text[..end].trim_end().len();
                self.end(self.decoded(kept), StopReason::Repetition);
            } else if self.line == Line::Unjudged {
                self.judge_growing(self.line_start..self.scanned, Leader::of_growing);
            }
        }
    }

    /// Decides about the line in `range` as early as its first characters allow.
    fn judge_growing(&mut self, range: Range<usize>, leader: fn(&str) -> Option<Leader>) {
        let line = &self.text[range];
        let content = line.trim();
        if content.is_empty() {
            return;
        }
        let columns = indent(line, self.rules.tab_width);
        if self.line_start == 0 {
            self.reference = columns;
        }
        self.line = match columns.cmp(&self.reference) {
            Ordering::Less => return self.end(self.last_text_end(), StopReason::BlockEnd),
            Ordering::Greater => {
                self.went_deeper = true;
                Line::Kept
            }
            Ordering::Equal => match leader(content) {
                None => return,
                Some(Leader::Closer) if self.line_start > 0 => Line::Closing,
                Some(Leader::Other) if self.went_deeper => {
                    return self.end(self.last_text_end(), StopReason::BlockEnd);
                }
                Some(_) => Line::Kept,
            },
        };
    }

    /// A line break has come: the rules on whole lines apply.
    fn end_line(&mut self) {
        let line_break = self.scanned - 1;
        let range = self.line_start..line_break;
        let content = self.text[range.clone()].trim_end();
        if content.trim_start().is_empty() {
            self.n_blank += 1;
            self.judge_blank();
        } else {
            let end = self.line_start + content.len();
            if self.line == Line::Unjudged {
                self.judge_growing(range, Leader::of_complete);
            }
            if self.stop.is_none() {
                self.lines.push(self.line_start..end);
                self.judge_complete();
            }
        }
        self.line_start = self.scanned;
        self.line = Line::Unjudged;
    }

    fn judge_blank(&mut self) {
        let may_lead = self.lines.is_empty() || leader::opens_block(&self.rules.left);
        if self.rules.max_lines <= 1 {
            self.end(self.last_text_end(), StopReason::Lines);
        } else if !may_lead || self.n_decoded() > 0 || self.n_blank > MAX_LEADING_BLANK_LINES {
            self.end(self.last_text_end(), StopReason::BlankLine);
        }
    }

    /// Judges the last of `lines`.
    fn judge_complete(&mut self) {
        let Some(line) = self.lines.last().cloned() else {
            return;
        };
        let below = below::repetition(&self.texts(), &self.rules.lines_below, self.rules.tab_width);
        if let Some(first) = below {
            let keep = first.checked_sub(1).map_or(0, |before| self.lines[before].end);
            return self.end(self.decoded(keep), StopReason::Repetition);
        }
        if let Some(first) = self.first_of_repetition() {
            return self.end(self.decoded(first), StopReason::Repetition);
        }
        let keep = self.decoded(line.end);
        let closed = self.line == Line::Closing && !leader::opens_block(&self.text[line]);
        if closed {
            self.end(keep, StopReason::BlockEnd);
        } else if self.rules.max_lines <= 1 || self.n_decoded() >= self.rules.max_lines {
            self.end(keep, StopReason::Lines);
        }
    }

    /// Where the first round ends, if the last lines are `A A A` or `A B A B`.
    fn first_of_repetition(&self) -> Option<usize> {
        let line = |back: usize| {
            let idx = self.lines.len().checked_sub(back)?;
            Some(&self.text[self.lines[idx].clone()])
        };
        let single = line(1) == line(2) && line(2) == line(3);
        let pair = line(1) == line(3) && line(2) == line(4);
        let rounds = (line(3).is_some() && single) || (line(4).is_some() && pair);
        rounds.then(|| self.lines[self.lines.len() - 3].end)
    }

    /// Start of the first line that a rule may still cut; beyond the text if there is none.
    fn held_from(&self) -> usize {
        let held = self.held_repetition().min(self.held_below());
        if self.line == Line::Unjudged && self.growing() != "" {
            return held.min(self.line_start);
        }
        held
    }

    /// Start of the first line that may turn out to stand below already; beyond the text if there is none.
    fn held_below(&self) -> usize {
        let (lines, below) = (self.texts(), &self.rules.lines_below);
        let runs = below::runs(&lines, below, self.rules.tab_width);
        let growing = self.growing();
        let may_go_on = runs.filter(|run| {
            (run.len > 0 || !growing.trim().is_empty()) && run.may_go_on(growing, below)
        });
        let starts = may_go_on
            .map(|run| self.lines.get(run.start).map_or(self.line_start, |line| line.start));
        starts.min().unwrap_or(usize::MAX)
    }

    /// The complete lines.
    fn texts(&self) -> Vec<&str> {
        self.lines.iter().map(|line| &self.text[line.clone()]).collect()
    }

    /// Start of the first line that is a second round, if the growing line may turn out to be one more.
    fn held_repetition(&self) -> usize {
        let line = |back: usize| {
            let idx = self.lines.len().checked_sub(back)?;
            Some(&self.text[self.lines[idx].clone()])
        };
        let may_become =
            |line: Option<&str>| line.is_some_and(|line| line.starts_with(self.growing()));
        let last_start = self.lines.last().map_or(self.line_start, |line| line.start);
        let second_single = line(2).is_some() && line(1) == line(2) && may_become(line(1));
        let second_pair = line(3).is_some() && line(1) == line(3) && may_become(line(2));
        if second_single || second_pair {
            last_start
        } else if may_become(line(1)) || may_become(line(2)) {
            self.line_start
        } else {
            usize::MAX
        }
    }

    /// The line that is still growing, without white space at its end.
    fn growing(&self) -> &str {
        self.text[self.line_start..].trim_end()
    }

    /// Complete lines that hold decoded text.
    fn n_decoded(&self) -> usize {
        let left = self.rules.left.trim_end().len();
        self.lines.iter().filter(|line| line.end > left).count()
    }

    /// Bytes of the decoded text up to the end of the last complete line.
    fn last_text_end(&self) -> usize {
        self.decoded(self.lines.last().map_or(0, |line| line.end))
    }

    /// Bytes of the decoded text before a place in `text`.
    fn decoded(&self, at: usize) -> usize {
        at.saturating_sub(self.rules.left.len())
    }

    fn end(&mut self, keep: usize, reason: StopReason) {
        self.stop = Some(Stop { keep, reason });
    }
}

/// Columns of white space at the start of a line.
pub fn indent(line: &str, tab_width: usize) -> usize {
    let tab_width = tab_width.max(1);
    line.chars().take_while(|c| c.is_whitespace()).fold(0, |columns, c| match c {
        '\t' => (columns / tab_width + 1) * tab_width,
        _ => columns + 1,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rules(left: &str, below: &str) -> StopRules {
        let below = below.lines().map(str::trim_end).filter(|line| !line.is_empty());
        StopRules {
            max_lines: 12,
            left: left.to_owned(),
            lines_below: below.take(3).map(str::to_owned).collect(),
            tab_width: 4,
        }
    }

    /// `decoded` with `‖` where it must be cut; the rule that must fire, if any.
    fn check(left: &str, decoded: &str, reason: Option<StopReason>) {
        check_rules(rules(left, ""), decoded, reason);
    }

    fn check_rules(rules: StopRules, decoded: &str, reason: Option<StopReason>) {
        let (keep, rest) = decoded.split_once('‖').unwrap_or((decoded, ""));
        let mut scanner = StopScanner::new(rules);
        let stop = scanner.push(&format!("{keep}{rest}"));
        let got = stop.map_or_else(|| scanner.finish(), |stop| stop.keep);
        let text = format!("{keep}{rest}");
        assert_eq!((&text[..got], stop.map(|stop| stop.reason)), (keep, reason), "{decoded:?}");
    }

    use StopReason::{BlankLine, BlockEnd, Lines, Repetition};

    #[test]
    fn one_line_ends_at_the_first_line_break() {
        let one = StopRules { max_lines: 1, ..rules("x = ", "") };
        check_rules(one.clone(), "foo(a)‖\ny", Some(Lines));
        check_rules(one.clone(), "foo(a)‖  ", None);
        check_rules(one, "‖\ny", Some(Lines));
        check_rules(StopRules { max_lines: 1, ..rules("    ", "") }, "‖\n  y", Some(Lines));
    }

    #[test]
    fn lines_are_counted_from_the_first_text() {
        let two = |left| StopRules { max_lines: 2, ..rules(left, "") };
        check_rules(two("x = "), "1\ny = 2‖\nz = 3", Some(Lines));
        check_rules(two("def f():"), "\n    a\n    b‖\n    c", Some(Lines));
    }

    #[test]
    fn a_blank_line_after_text_ends() {
        check("x = ", "1‖\n\ny", Some(BlankLine));
        check("x = ", "1‖\n  \n", Some(BlankLine));
        check("x = 1", "‖\n\ny", Some(BlankLine));
        check("", "import a\nimport b‖\n\nimport c", Some(BlankLine));
    }

    #[test]
    fn blank_lines_may_lead_where_a_block_begins() {
        check("class A:", "\n\n    x = 1‖", None);
        check("class A:", "‖\n\n\n\n    x", Some(BlankLine));
        check("", "\n\nx = 1‖\n", None);
    }

    #[test]
    fn a_body_ends_before_the_next_statement() {
        check("def f():", "\n    return 1‖\ng", Some(BlockEnd));
        check("    def f():", "\n        return 1‖\n    def g", Some(BlockEnd));
        check("", "def f():\n    return 1‖\nf()", Some(BlockEnd));
        check("def f(a,", " b):\n    return 1‖\nf()", Some(BlockEnd));
        check("x = foo", "\n    .bar()‖\ny", Some(BlockEnd));
    }

    #[test]
    fn a_dedent_ends() {
        check("    x = ", "1\n    y = 2‖\nz", Some(BlockEnd));
        check("        ", "return x‖\n    }", Some(BlockEnd));
        check("\t", "x()\n\ty()‖\n}", Some(BlockEnd));
        check("    ", "‖\n  x", Some(BlockEnd));
    }

    #[test]
    fn a_blank_cursor_line_takes_the_indentation_of_the_first_text() {
        check("", "    x = 1\n    y = 2‖\nz", Some(BlockEnd));
    }

    #[test]
    fn siblings_go_on() {
        check("    a = 1", "\n    b = 2\n    c = 3‖\n", None);
    }

    #[test]
    fn a_closer_is_kept_and_ends() {
        check("fn f() {", "\n    x();\n}‖\nfn", Some(BlockEnd));
        check("    call(", "\n        a,\n    );‖\n    b", Some(BlockEnd));
        check("def f", "\n  x\nend‖\ny", Some(BlockEnd));
        check("<ul>", "\n  <li/>\n</ul>‖\n<p>", Some(BlockEnd));
        check("fn f() {", "\n}‖\nx", Some(BlockEnd));
    }

    #[test]
    fn a_continuation_goes_on() {
        check("if a:", "\n    b\nelse:\n    c‖\nd()", Some(BlockEnd));
        check("if (a) {", "\n    b;\n} else {\n    c;\n}‖\nd", Some(BlockEnd));
        check("try:", "\n    b\nexcept E:\n    c\nfinally:\n    d‖", None);
        check("int f()", "\n{\n    x();\n}‖\ny", Some(BlockEnd));
    }

    #[test]
    fn a_word_that_only_begins_like_a_continuation_ends() {
        check("if a:", "\n    b‖\nelsewhere = 1", Some(BlockEnd));
        check("if a:", "\n    b‖\nels", None);
        check("if a:", "\n    b\nelse‖", None);
    }

    #[test]
    fn the_line_below_ends() {
        let below = |left| rules(left, "    return x\n");
        check_rules(below("    "), "y()‖\n    return x\n    z", Some(Repetition));
        check_rules(below("    "), "y()‖\n    return x", None);
        check_rules(below("    "), "y()\n    return xs‖", None);
        check_rules(below("    retu"), "‖rn x\n", Some(Repetition));
    }

    #[test]
    fn a_trivial_line_below_does_not_end() {
        check_rules(rules("    if a {", "    }\n"), "\n        b\n    }‖\n", Some(BlockEnd));
        check_rules(rules("    ", "else:\n"), "x\n    y‖\n", None);
    }

    #[test]
    fn loops_end_after_their_first_round() {
        check("", "a = 1‖\na = 1\na = 1\n", Some(Repetition));
        check("", "a = 1\nb = 1‖\na = 1\nb = 1\n", Some(Repetition));
        check("a()", "‖\na()\na()\n", Some(Repetition));
        check("", "a = 1\na = 1\nb = 1‖\n", None);
    }

    #[test]
    fn lines_further_below_end() {
        let below = "    first(a)\n    second(b, c)\n    third = [alpha, beta, gamma]\n";
        let check = |decoded: &str| check_rules(rules("    ", below), decoded, Some(Repetition));
        check("x()\n    y()‖\n    first(a)\n    second(b, c)\n    third");
        check("x()‖\n    third = [alpha, beta, gamma]\n    third2");
        check("x()‖\n    second(b, c)\n    third = [alpha, beta, gamma]\n");
        check_rules(rules("    ", below), "x()\n    second(b, c)\n    y‖", None);
    }

    #[test]
    fn a_line_that_goes_round_in_circles_ends() {
        check("x = [", &format!("foo, foo,‖{}", " foo,".repeat(20)), Some(Repetition));
        check("x = ", &format!("f({{‖{}", "{".repeat(9)), Some(Repetition));
        check("x = ", &format!("1\ny = aaa‖{}", "a".repeat(90)), Some(Repetition));
        check("x = ", &format!("[{}]‖", "0, ".repeat(16).trim_end()), None);
        let mut scanner = StopScanner::new(rules("x = [", ""));
        scanner.push("1, foo, foo, foo, fo");
        assert_eq!(scanner.stable(), "1, foo, foo".len());
        scanner.push("x]");
        assert_eq!(scanner.stable(), "1, foo, foo, foo, fox]".len());
    }

    #[test]
    fn carriage_returns_are_white_space() {
        check("def f():\r", "\r\n    x‖\r\ny", Some(BlockEnd));
        check("x = ", "1‖\r\n\r\n", Some(BlankLine));
    }

    #[test]
    fn what_may_be_cut_is_not_stable() {
        let mut scanner = StopScanner::new(rules("if a:", "return x\n"));
        let mut shown = Vec::new();
        for piece in ["\n    b", "c\n", "el", "se:\n   ", " d\n    d", " = 1\n", "retur"] {
            scanner.push(piece);
            shown.push(scanner.stable());
        }
        assert_eq!(shown, [6, 7, 7, 13, 19, 29, 29]);
    }

    fn fragments() -> impl Strategy<Value = Vec<String>> {
        let fragment = prop::sample::select(vec![
            "\n",
            "\n",
            "\n    ",
            "\n        ",
            "\n}",
            "\r\n",
            "\t",
            " ",
            "x",
            "else",
            "else:",
            "els",
            "end",
            "return x",
            "}",
            ") {",
            "{",
            "é",
            "🦀",
            "</",
            "\"\"\"",
            "a = 1\n",
            "a = 1",
            "b\n",
            "ab, ab, ab, ab, ab, ab, ab, ab, ab, ",
            "abc, abc, abc, abc, abc, abc, abc, ",
            "{{{",
        ]);
        prop::collection::vec(fragment.prop_map(str::to_owned), 0..24)
    }

    fn any_rules() -> impl Strategy<Value = StopRules> {
        let left = prop::sample::select(vec![
            "",
            "    ",
            "def f():",
            "    x = ",
            "    if (a) {",
            "\tretu",
        ]);
        let below = prop::sample::select(vec![
            "",
            "return x",
            "}",
            "a = 1\nb",
            "else:",
            "x\na = 1\nb",
            "b\nreturn x\nreturn x",
        ]);
        (left, below, 1..6_usize)
            .prop_map(|(left, below, max_lines)| StopRules { max_lines, ..rules(left, below) })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn pieces_make_no_difference(rules in any_rules(), pieces in fragments()) {
            let text = pieces.concat();
            let mut whole = StopScanner::new(rules.clone());
            whole.push(&text);
            let mut by_char = StopScanner::new(rules.clone());
            let mut by_piece = StopScanner::new(rules);
            let mut stable = 0;
            for piece in &pieces {
                by_piece.push(piece);
            }
            for character in text.chars() {
                by_char.push(&character.to_string());
                prop_assert!(by_char.stable() >= stable, "stable text shrank");
                stable = by_char.stable();
                prop_assert!(by_char.finish() >= stable, "finish cuts stable text");
            }
            prop_assert_eq!(whole.stop, by_char.stop);
            prop_assert_eq!(whole.stop, by_piece.stop);
            prop_assert_eq!((whole.stable(), whole.finish()), (stable, by_char.finish()));
            let keep = whole.stop.map_or_else(|| whole.finish(), |stop| stop.keep);
            prop_assert!(text.is_char_boundary(keep) && stable <= keep);
        }
    }
}
