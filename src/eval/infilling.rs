//! Gaps in right solutions: the problems of HumanEval-Infilling (Bavarian et al. 2022, "Efficient Training of Language
//! Models to Fill in the Middle").

use std::ops::Range;

use super::functional::Problem;

/// The benchmarks of which a gap is whole lines; of the others it is a span of characters.
const OF_LINES: [&str; 2] = ["SingleLineInfilling/", "MultiLineInfilling/"];

/// A document with a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The text before the gap.
    pub before: String,
    /// The text after the gap. A gap of whole lines is an empty line, which is what an editor has when its user stops to
    /// write them.
    pub after: String,
    /// What tests the whole program; its own prompt is empty.
    pub problem: Problem,
}

impl Gap {
    /// The gap of a problem.
    ///
    /// # Errors
    /// If it has no text after the gap, and so is a problem of another kind.
    pub fn new(mut problem: Problem) -> Result<Self, NoGap> {
        let task_id = &problem.task_id;
        let suffix = problem.suffix.take().ok_or_else(|| NoGap(task_id.clone()))?;
        let before = std::mem::take(&mut problem.prompt);
        let is_of_lines = OF_LINES.iter().any(|name| problem.task_id.starts_with(name));
        let line_end = if is_of_lines { "\n" } else { "" };
        Ok(Self { before, after: format!("{line_end}{suffix}"), problem })
    }

    /// The text with the gap.
    pub fn document(&self) -> String {
        format!("{}{}", self.before, self.after)
    }

    /// The text with `insert` in place of the bytes `replace`.
    ///
    /// # Panics
    /// If these are not in the text, or inside of characters.
    pub fn filled(&self, replace: Range<usize>, insert: &str) -> String {
        let mut text = self.document();
        text.replace_range(replace, insert);
        text
    }
}

/// A problem without a gap.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` has no `suffix`: is this a file of HumanEval-Infilling?")]
pub struct NoGap(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(task_id: &str, prompt: &str, suffix: Option<&str>) -> Result<Gap, NoGap> {
        Gap::new(Problem {
            task_id: task_id.to_owned(),
            prompt: prompt.to_owned(),
            suffix: suffix.map(str::to_owned),
            test: "def check(f): pass".to_owned(),
            entry_point: "f".to_owned(),
            canonical_solution: String::new(),
        })
    }

    #[test]
    fn a_gap_of_lines_is_an_empty_line() {
        let gap =
            gap("SingleLineInfilling/HumanEval/0/L0", "def f():\n", Some("    pass\n")).unwrap();
        assert_eq!(gap.document(), "def f():\n\n    pass\n");
        assert_eq!(gap.filled(9..9, "    x = 1"), "def f():\n    x = 1\n    pass\n");
    }

    #[test]
    fn a_gap_of_characters_is_nothing() {
        let gap =
            gap("RandomSpanInfilling/HumanEval/0/1", "def f(", Some("):\n    pass\n")).unwrap();
        assert_eq!(gap.document(), "def f():\n    pass\n");
        assert_eq!(gap.filled(6..7, "x)"), "def f(x):\n    pass\n");
        let program = gap.problem.program(&gap.filled(6..6, ""));
        assert_eq!(program, "def f():\n    pass\n\n");
    }

    #[test]
    fn a_problem_of_another_kind_is_named() {
        let error = gap("HumanEval/0", "def f():\n", None).unwrap_err();
        assert!(error.to_string().starts_with("`HumanEval/0` has no `suffix`"), "{error}");
    }
}
