//! Where the middle of a fill-in-the-middle example begins and ends: at a change, or at places near it where an
//! editor's cursor stands and a completion ends.
//!
//! Works on text alone. Most middles begin at a line's indentation or between words; a few begin inside a word, as a
//! cursor may, which token healing makes up for.

use std::ops::Range;

use super::draw::{Choice, Draw};

/// Changes with fewer whole lines between them belong together: half a fix is nothing that one would type.
const LINES_THAT_PART: usize = 3;
/// A middle begins on the line of its change or at most so many lines above, and ends likewise below.
const MOST_LINES_AWAY: usize = 3;

/// A piece of `text` around one of the ranges `fixed`, which are sorted, disjoint and not empty, or around several that
/// are close to each other. It begins at the change or before it. It ends behind it; white space at the change's end
/// may be left outside, since a completion ends with its last line.
///
/// # Panics
/// If `fixed` is empty or does not fit `text`.
pub(super) fn choose(text: &str, fixed: &[Range<usize>], draw: Draw) -> Range<usize> {
    let groups = groups(text, fixed);
    let group = &groups[draw.below(Choice::Group, groups.len())];
    start(text, group.start, draw)..end(text, group, draw)
}

fn groups(text: &str, fixed: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    for range in fixed {
        let close = |last: &Range<usize>| {
            text[last.end..range.start].matches('\n').count() <= LINES_THAT_PART
        };
        match groups.last_mut() {
            Some(last) if close(last) => last.end = range.end,
            _ => groups.push(range.clone()),
        }
    }
    groups
}

/// `change` or a place before it.
fn start(text: &str, change: usize, draw: Draw) -> usize {
    let line = line_above(text, change, draw.below(Choice::LinesAbove, MOST_LINES_AWAY + 1));
    let anywhere = || char_start(text, line + draw.below(Choice::Start, change - line + 1));
    // In twentieths; the shares are our guess at how often an editor's cursor stands where.
    match draw.below(Choice::StartKind, 20) {
        0..7 => word_start(text, change),
        7..15 => indentation_end(text, line).min(change),
        15..19 => word_start(text, anywhere()),
        _ => anywhere(),
    }
}

/// The change's end or a place behind it.
fn end(text: &str, change: &Range<usize>, draw: Draw) -> usize {
    // In twentieths, as above. Most completions end with a line.
    if draw.below(Choice::EndKind, 20) < 4 {
        return word_end(text, change.end);
    }
    let trimmed = text[change.clone()].trim_end().len();
    let last = if trimmed > 0 { change.start + trimmed } else { change.end };
    line_end_below(text, last, draw.below(Choice::LinesBelow, MOST_LINES_AWAY + 1))
}

/// Start of the line `n_lines` above the one that holds `at`; of the first line where there are fewer.
fn line_above(text: &str, at: usize, n_lines: usize) -> usize {
    let breaks = text[..at].rmatch_indices('\n');
    breaks.map(|(before, _)| before + 1).nth(n_lines).unwrap_or(0)
}

/// End of the line `n_lines` below the one that holds `at`, before its line break.
fn line_end_below(text: &str, at: usize, n_lines: usize) -> usize {
    text[at..].match_indices('\n').nth(n_lines).map_or(text.len(), |(after, _)| at + after)
}

/// The first place of a line behind its indentation.
fn indentation_end(text: &str, line: usize) -> usize {
    let is_indentation = |c: char| c == ' ' || c == '\t';
    line + text[line..].find(|c| !is_indentation(c)).unwrap_or(text.len() - line)
}

/// `at`, or the start of the word whose inside it is.
fn word_start(text: &str, at: usize) -> usize {
    match text[at..].starts_with(is_of_word) {
        true => text[..at].trim_end_matches(is_of_word).len(),
        false => at,
    }
}

/// `at`, or the end of the word whose inside it is.
fn word_end(text: &str, at: usize) -> usize {
    match text[..at].ends_with(is_of_word) {
        true => text.len() - text[at..].trim_start_matches(is_of_word).len(),
        false => at,
    }
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The nearest character boundary at or before `at`.
fn char_start(text: &str, at: usize) -> usize {
    (0..=at).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "def f(q):\n    a = 1\n    b = 2\n    run(q, (tainted,))\n    é = '🦀'\n    return naïve\n\n    end\n";

    fn fixed(part: &str) -> Range<usize> {
        let start = TEXT.find(part).expect("the part is there");
        start..start + part.len()
    }

    fn drawn(fixed: &[Range<usize>]) -> Vec<Range<usize>> {
        (0..500).map(|epoch| choose(TEXT, fixed, Draw::new(1, epoch, 0))).collect()
    }

    #[test]
    fn the_change_is_inside_and_the_middle_near() {
        let change = fixed(", (tainted,)");
        for middle in drawn(std::slice::from_ref(&change)) {
            assert!(middle.start <= change.start && change.end <= middle.end, "{middle:?}");
            assert!(TEXT[middle.clone()].lines().count() <= 7, "{middle:?}");
        }
    }

    #[test]
    fn most_middles_begin_between_words_and_some_inside() {
        let inside = |middle: &Range<usize>| word_start(TEXT, middle.start) != middle.start;
        let n_inside = drawn(&[fixed("ainted")]).iter().filter(|middle| inside(middle)).count();
        assert!((2..50).contains(&n_inside), "{n_inside}");
    }

    #[test]
    fn middles_begin_at_many_places() {
        let middles = drawn(&[fixed("tainted")]);
        let starts: std::collections::BTreeSet<usize> = middles.iter().map(|m| m.start).collect();
        let ends: std::collections::BTreeSet<usize> = middles.iter().map(|m| m.end).collect();
        assert!(starts.len() > 10 && ends.len() >= 4, "{starts:?} {ends:?}");
        assert!(starts.contains(&TEXT.find("a = 1").unwrap()));
        assert!(ends.contains(&TEXT.find("\n    é").unwrap()));
    }

    #[test]
    fn white_space_at_the_end_of_a_change_may_stay_outside() {
        let change = fixed("run(q, (tainted,))\n    ");
        let ends: Vec<usize> = drawn(&[change]).iter().map(|middle| middle.end).collect();
        assert!(ends.contains(&TEXT.find("\n    é").unwrap()));
        let blank = fixed("\n\n");
        assert!(drawn(std::slice::from_ref(&blank)).iter().all(|m| m.end >= blank.end));
    }

    #[test]
    fn close_changes_are_one_and_distant_ones_are_not() {
        let (near, far) = (fixed("b = 2"), fixed("end"));
        let all = [fixed("a = 1"), near.clone(), far.clone()];
        assert_eq!(groups(TEXT, &all), [all[0].start..near.end, far]);
    }

    #[test]
    fn the_ends_of_the_text_are_no_trouble() {
        for change in [0..TEXT.len(), 0..1, TEXT.len() - 1..TEXT.len()] {
            for middle in drawn(&[change]) {
                assert!(!TEXT[middle].is_empty());
            }
        }
    }
}
