//! A line that goes round in circles: `foo, foo, foo, …`, `aaaa…`, `{{{{{`.
//!
//! [`super::StopScanner`] feeds it the decoded characters of the growing line. Much that repeats is meant: rulers, tables
//! of zeros, the dashes of a Markdown table, base64. What counts is what is repeated and how much of it there is.

/// Longest round that is looked for, in characters; a longer one does not come back often enough within a completion.
const MAX_PERIOD: usize = 96;
/// Rounds that are kept of a circle, where a round is more than one character. One repetition is everyday code
/// (`f(x, x)`), and to hold it back would make it wait for what follows.
const KEPT_ROUNDS: usize = 2;
/// Characters that are kept of a circle of one character.
const KEPT_CHARACTERS: usize = 3;
/// Most openers of one kind in a row: nobody nests more without anything in between.
const MOST_OPENERS: usize = 4;
/// Most letters or digits in a row: a hash of zeros in base 16 has so many.
const MOST_LETTERS: usize = 64;
/// Most other characters in a row: rulers and boxes reach across a line.
const MOST_RULER: usize = 120;
/// Most characters of repeated values: a table of 8 × 8 zeros on one line, or 48 columns of a Markdown table.
const MOST_VALUES: usize = 192;
/// Most characters of repeated words, where a word is short; of longer ones this many more than three rounds.
const MOST_WORDS: usize = 40;
const MORE_THAN_THREE_ROUNDS: usize = 16;
/// Letters in a row that make a word, unless it is a value's name.
const MIN_WORD_LETTERS: usize = 3;
const VALUES: [&str; 12] = [
    "true",
    "false",
    "none",
    "null",
    "nil",
    "nan",
    "inf",
    "undefined",
    "some",
    "nullptr",
    "yes",
    "no",
];

/// The growing line, and how far its end agrees with what stands before it.
#[derive(Clone, Debug, Default)]
pub struct Circles {
    characters: Vec<char>,
    /// Byte where each character begins.
    starts: Vec<usize>,
    /// At `period - 1`: how many of the last characters equal the one `period` before them.
    agreeing: Vec<usize>,
}

/// How much of a circle is kept when it ends the line, and how much of it there may be; in characters.
struct Allowance {
    kept: usize,
    most: usize,
}

impl Circles {
    /// Takes the next character, which begins at byte `at`. Where the line has gone round too often, returns the byte
    /// up to which it is kept.
    pub fn push(&mut self, character: char, at: usize) -> Option<usize> {
        self.characters.push(character);
        self.starts.push(at);
        let last = self.characters.len() - 1;
        self.agreeing.resize(last.min(MAX_PERIOD), 0);
        for (period, agreeing) in (1..).zip(&mut self.agreeing) {
            let agrees = self.characters[last - period] == character;
            *agreeing = if agrees { *agreeing + 1 } else { 0 };
        }
        self.circles().find_map(|(start, covered, allowed)| {
            (covered > allowed.most).then(|| self.starts[start + allowed.kept])
        })
    }

    /// The byte from which the line may still be cut.
    pub fn held_from(&self) -> Option<usize> {
        let held = self.circles().map(|(start, _, allowed)| self.starts[start + allowed.kept]);
        held.min()
    }

    /// The line has ended.
    pub fn clear(&mut self) {
        self.characters.clear();
        self.starts.clear();
        self.agreeing.clear();
    }

    /// The circles that the line's end is in, of which there is more than what is kept: first character, length, and
    /// what is allowed.
    fn circles(&self) -> impl Iterator<Item = (usize, usize, Allowance)> {
        (1..).zip(&self.agreeing).filter_map(|(period, agreeing)| {
            // Nothing less is ever more than what is kept.
            if *agreeing == 0 || (period > 1 && *agreeing <= period) {
                return None;
            }
            let covered = agreeing + period;
            let start = self.characters.len() - covered;
            let allowed = allowance(&self.characters[start..start + period])?;
            (covered > allowed.kept).then_some((start, covered, allowed))
        })
    }
}

/// What is allowed of a repeated `round`; `None` if that is a circle itself, and judged as such.
fn allowance(round: &[char]) -> Option<Allowance> {
    let period = round.len();
    if let [character] = round {
        let is_opener = "([{".contains(*character);
        let most = match character {
            _ if is_opener => MOST_OPENERS,
            letter if letter.is_alphanumeric() => MOST_LETTERS,
            _ => MOST_RULER,
        };
        return Some(Allowance { kept: if is_opener { 1 } else { KEPT_CHARACTERS }, most });
    }
    let is_circle = (1..=period / 2)
        .any(|inner| period.is_multiple_of(inner) && round[inner..] == round[..period - inner]);
    let most = if has_words(round) {
        MOST_WORDS.max(3 * period + MORE_THAN_THREE_ROUNDS)
    } else {
        MOST_VALUES.max(4 * period)
    };
    (!is_circle).then_some(Allowance { kept: KEPT_ROUNDS * period, most })
}

/// Whether a round says more than values and punctuation. Where its first word is cut does not matter.
fn has_words(round: &[char]) -> bool {
    let twice = round.iter().chain(round).collect::<String>().to_lowercase();
    let mut words = twice.split(|c: char| !c.is_alphabetic());
    let is_inside = |word: &str| word.len() < twice.len();
    words.any(|word| {
        word.chars().count() >= MIN_WORD_LETTERS
            && is_inside(word)
            && !VALUES.iter().any(|value| value.ends_with(word) || value.starts_with(word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many bytes are kept of `line`, if it goes round in circles.
    fn kept(line: &str) -> Option<usize> {
        let mut circles = Circles::default();
        line.char_indices().find_map(|(at, character)| circles.push(character, at))
    }

    #[test]
    fn circles_end_after_two_rounds() {
        for (round, first) in [
            ("foo, ", "foo, foo, "),
            ("the user is ", "the user is the user is "),
            ("a", "aaa"),
            ("{", "{"),
            ("(", "("),
            ("0, ", "0, 0, "),
            ("0x00, ", "0x00, 0x00, "),
            ("é🦀 ", "é🦀 é🦀 "),
            (" ", "   "),
            ("self.value + ", "self.value + self.value + "),
            ("AAAA", "AAA"),
            ("\\n", "\\n\\n"),
        ] {
            assert_eq!(kept(&round.repeat(200)), Some(first.len()), "{round}");
            let before = format!("x = [{}", round.repeat(200));
            assert!(kept(&before).is_some_and(|kept| kept <= 5 + first.len() + 1), "{round}");
        }
    }

    #[test]
    fn repetition_that_is_meant_goes_on() {
        for line in [
            "-".repeat(80),
            "=".repeat(100),
            "// ".to_owned() + &"─".repeat(110),
            "    ".repeat(24),
            "0, ".repeat(64),
            "0x00, ".repeat(16),
            "'\\0', ".repeat(16),
            "False, ".repeat(16),
            "NULL, ".repeat(16),
            "?, ".repeat(40),
            "%s, ".repeat(20),
            "|---".repeat(20),
            "../".repeat(12),
            "A".repeat(64),
            "0".repeat(64),
            "}".repeat(12),
            ")".repeat(20),
            "{{{{".to_owned() + "x",
            "str, ".repeat(8),
            "Option<String>, ".repeat(4),
            "f(x, x) + f(x, x)".to_owned(),
        ] {
            assert_eq!(kept(&line), None, "{line}");
        }
    }

    #[test]
    fn what_may_be_cut_is_held() {
        let mut circles = Circles::default();
        let mut held = None;
        for (at, character) in "x = foo, foo, foo, foo".char_indices() {
            assert_eq!(circles.push(character, at), None);
            held = circles.held_from();
        }
        assert_eq!(held, Some("x = foo, foo,".len()));
        circles.push(']', 22);
        assert_eq!(circles.held_from(), None);
    }
}
