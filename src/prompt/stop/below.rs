//! Decoded lines that stand below the cursor already.
//!
//! [`super::StopScanner`] asks while the text streams, and `complete/trim.rs` once more about all of it.

use super::indent;
use super::leader::is_trivial;

/// Letters and digits that a line must hold to be said again although other lines stand between it and the cursor; of
/// two lines each needs a quarter. Shorter statements are written more than once.
const MIN_LETTERS: usize = 16;
/// What leaves a block. A second one in the same block leaves what is between them without effect.
const LEAVING_WORDS: [&str; 7] = ["return", "raise", "throw", "break", "continue", "goto", "exit"];

/// Where lines end as lines below the cursor do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Index of the first line that stands below, too.
    pub start: usize,
    /// Index of the line below that it equals.
    pub below: usize,
    /// Number of lines.
    pub len: usize,
}

/// The ends of `lines` that stand in `below`; both are lines with their indentation that hold more than white space.
/// Includes the empty end, of which the next line may be the first.
pub fn runs<'a>(
    lines: &'a [&'a str],
    below: &'a [String],
    tab_width: usize,
) -> impl Iterator<Item = Run> + 'a {
    let longest = move |at: usize| lines.len().min(below.len() - at);
    let all = (0..below.len()).flat_map(move |at| (0..=longest(at)).map(move |len| (at, len)));
    all.filter_map(move |(at, len)| {
        let run = Run { start: lines.len() - len, below: at, len };
        let fits = lines[run.start..]
            .iter()
            .zip(&below[at..])
            .enumerate()
            .all(|(n, (line, below))| run.is_same(n, line, below, tab_width));
        (fits && (at == 0 || !is_trivial(&below[at]))).then_some(run)
    })
}

/// Index of the first of `lines` that only says again what stands below.
pub fn repetition(lines: &[&str], below: &[String], tab_width: usize) -> Option<usize> {
    let runs = runs(lines, below, tab_width);
    let certain = runs.filter(|run| run.is_certain(lines, below, tab_width));
    certain.map(|run| run.start).min()
}

impl Run {
    /// Whether `growing`, the line behind the run, may be one more line of it.
    pub fn may_go_on(self, growing: &str, below: &[String]) -> bool {
        let next = below.get(self.below + self.len);
        next.is_some_and(|next| next.trim_start().starts_with(growing.trim()))
    }

    /// The first line below needs no more than to be equal, if it says anything; elsewhere the same words at another
    /// depth are other code.
    fn is_same(self, n_th: usize, line: &str, below: &str, tab_width: usize) -> bool {
        let same_depth = || indent(line, tab_width) == indent(below, tab_width);
        let is_first = self.below + n_th == 0 && !is_trivial(below);
        line.trim() == below.trim() && (is_first || same_depth())
    }

    fn is_certain(self, lines: &[&str], below: &[String], tab_width: usize) -> bool {
        if self.len == 0 || self.below == 0 {
            return lines[self.start..].iter().any(|line| !is_trivial(line));
        }
        let depth = |line: &str| indent(line, tab_width);
        let in_one_block = || {
            let first = depth(&below[self.below]);
            below[..self.below].iter().all(|line| depth(line) >= first)
        };
        let first_word = lines[self.start].trim().split(|c: char| !c.is_alphanumeric()).next();
        let leaves = first_word.is_some_and(|word| LEAVING_WORDS.contains(&word));
        let letters = lines[self.start..].iter().flat_map(|line| line.chars());
        let n_letters = letters.filter(|c| c.is_alphanumeric()).count();
        (leaves || n_letters * self.len >= MIN_LETTERS) && in_one_block()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &str, below: &str, expect: Option<usize>) {
        let lines = lines.lines().collect::<Vec<_>>();
        let below = below.lines().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(repetition(&lines, &below, 4), expect, "{lines:?} {below:?}");
    }

    #[test]
    fn what_stands_below_is_found_wherever_it_begins() {
        check("a()\nb()", "b()\nc()", Some(1));
        check("a()\n  b()", "b()\nc()", Some(1));
        check("x\ntotal = compute(first)", "b()\ntotal = compute(first)", Some(1));
        check("x\nreturn y", "y = 2\nreturn y", Some(1));
        check("  x\n}\ny", "}\ny", Some(1));
        check("x\nfirst(1)\nsecond(2, 3)", "b()\nfirst(1)\nsecond(2, 3)", Some(1));
        check("x\nlast(alpha, beta, gamma)", "b()\n}\nlast(alpha, beta, gamma)", Some(1));
    }

    #[test]
    fn lines_that_are_common_are_no_repetition() {
        check("case 1:\n  a();\n  break;", "case 2:\n  b();\n  break;", None);
        check("x()\n}", "}\n}", None);
        check("    x\n  }\n  y", "}\ny", None);
        check("  return compute(a, b, c)", "x\nreturn compute(a, b, c)", None);
        check("x()\nend", "y()\nend", None);
        check("f(1)\nlog()", "f(2)\nlog()", None);
        check("case 1:\n  a();\n  return x;", "case 2:\n  b();\n  return x;", None);
    }
}
