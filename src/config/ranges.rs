//! The ranges of all numbers that a user may set, for whoever reads them: a client's JSON, `models.toml`, the command
//! line.
//!
//! Their ends are far from what anybody needs and near enough that no arithmetic, no allocation and no number of threads
//! behind them can bring the process down.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use super::MAX_DRAFT_TOKENS;

/// The values that a number may have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NumberRange {
    kind: Kind,
    low: Low,
    /// The largest value.
    high: f64,
    /// A word that may stand instead of a number.
    word: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Integer,
    Number,
}

/// Where a range begins.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Low {
    From(f64),
    Above(f64),
}

/// A number outside its range, or none.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("found {found}, expected {expected}")]
pub struct OutOfRange {
    found: String,
    expected: NumberRange,
}

/// Acceptance thresholds. At 1 nothing is accepted, and nothing beyond it could be.
pub const ALPHA: NumberRange = NumberRange::number(0.0, 1.0);
/// Temperatures. At 100 every token is about as likely as any other.
pub const TEMPERATURE: NumberRange = NumberRange::number(0.0, 100.0);
/// A nucleus.
pub const TOP_P: NumberRange =
    NumberRange { low: Low::Above(0.0), ..NumberRange::number(0.0, 1.0) };
/// What a token's probability must reach.
pub const MIN_PROB: NumberRange = NumberRange::number(0.0, 0.999);
/// What an adapter's updates are multiplied by.
pub const ADAPTER_STRENGTH: NumberRange = NumberRange::number(0.0, 100.0);
/// Compute threads. A thread takes megabytes of address space, and a system that gives none ends the process.
pub const THREADS: NumberRange = NumberRange::integer(0, 256);
/// Suggestions for one place. The memory of a document holds as many.
pub const CANDIDATES: NumberRange = NumberRange::integer(1, 8);
/// Lines of one completion.
pub const MAX_LINES: NumberRange = NumberRange::integer(1, 1_000);
/// Tokens of one completion.
pub const MAX_TOKENS: NumberRange = NumberRange::integer(1, 8_192);
/// Tokens of a part of the prompt; the longest contexts of the families that are read have as many.
pub const PROMPT_TOKENS: NumberRange = NumberRange::integer(0, 131_072);
/// Tokens that are drafted per forward of the base.
pub const DRAFT_TOKENS: NumberRange =
    NumberRange { word: Some("\"auto\""), ..NumberRange::integer(1, MAX_DRAFT_TOKENS as u32) };
/// Times in ms that a user waits for: up to an hour.
pub const BUDGET_MS: NumberRange = NumberRange::integer(1, 3_600_000);
/// Times in ms after which something happens: up to an hour.
pub const DELAY_MS: NumberRange = NumberRange::integer(0, 3_600_000);
/// Minutes; a year.
pub const IDLE_MINUTES: NumberRange = NumberRange::integer(0, 525_600);
/// Memory in MiB; a tebibyte.
pub const MEMORY_MIB: NumberRange = NumberRange::integer(0, 1_048_576);
/// How often something is done on the command line.
pub const TIMES: NumberRange = NumberRange::integer(1, 1_000_000);
/// Sequences that are decoded side by side.
pub const BATCH: NumberRange = NumberRange::integer(1, 1_024);
/// Tokens of one sequence.
pub const CONTEXT: NumberRange = NumberRange::integer(1, 16_777_216);
/// Parts that a file is split into.
pub const PARTS: NumberRange = NumberRange::integer(1, 99);

/// The settings that hold numbers, by their names in a client's JSON. The range of `alpha` holds for each number of
/// `alphaByLanguage` and `alphaByPath`.
pub const SETTINGS: [(&str, NumberRange); 17] = [
    ("adapterStrength", ADAPTER_STRENGTH),
    ("alpha", ALPHA),
    ("alphaByLanguage", ALPHA),
    ("alphaByPath", ALPHA),
    ("temperature", TEMPERATURE),
    ("draftTokens", DRAFT_TOKENS),
    ("candidates", CANDIDATES),
    ("maxLines", MAX_LINES),
    ("maxTokens", MAX_TOKENS),
    ("timeBudgetMs", BUDGET_MS),
    ("earlyAnswerMs", DELAY_MS),
    ("debounceMs", DELAY_MS),
    ("prefixTokens", PROMPT_TOKENS),
    ("suffixTokens", PROMPT_TOKENS),
    ("threads", THREADS),
    ("idleUnloadMinutes", IDLE_MINUTES),
    ("kvMemoryMib", MEMORY_MIB),
];

/// The range of a setting; `None` for one that holds no number.
pub fn of_setting(name: &str) -> Option<NumberRange> {
    SETTINGS.iter().find(|(setting, _)| *setting == name).map(|(_, range)| *range)
}

impl NumberRange {
    const fn integer(low: u32, high: u32) -> Self {
        Self { kind: Kind::Integer, low: Low::From(low as f64), high: high as f64, word: None }
    }

    const fn number(low: f64, high: f64) -> Self {
        Self { kind: Kind::Number, low: Low::From(low), high, word: None }
    }

    /// Whether only whole numbers are meant.
    pub fn is_integer(self) -> bool {
        self.kind == Kind::Integer
    }

    /// The number itself where it is one of the range.
    ///
    /// # Errors
    /// If it is not; no range holds NaN or an infinity.
    pub fn check(self, number: f64) -> Result<f64, OutOfRange> {
        let above = match self.low {
            Low::From(low) => number >= low,
            Low::Above(low) => number > low,
        };
        let whole = self.kind == Kind::Number || number.fract() == 0.0;
        match above && number <= self.high && whole {
            true => Ok(number),
            false => Err(OutOfRange { found: number.to_string(), expected: self }),
        }
    }

    /// [`NumberRange::parse`], for a command line's arguments.
    pub fn parser<T: FromStr>(self) -> impl Fn(&str) -> Result<T, OutOfRange> + Clone {
        move |text| self.parse(text)
    }

    /// Reads a number that is written as text.
    ///
    /// # Errors
    /// If it is none of the range.
    pub fn parse<T: FromStr>(self, text: &str) -> Result<T, OutOfRange> {
        let wrong = || OutOfRange { found: format!("`{text}`"), expected: self };
        let number: f64 = text.parse().map_err(|_| wrong())?;
        self.check(number).map_err(|_| wrong())?;
        text.parse().map_err(|_| wrong())
    }
}

/// "a number from 0 to 1", for messages and tables.
impl Display for NumberRange {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Integer => "an integer",
            Kind::Number => "a number",
        })?;
        match self.low {
            Low::From(low) => write!(f, " from {low} to {}", self.high)?,
            Low::Above(low) => write!(f, " above {low} and up to {}", self.high)?,
        }
        self.word.map_or(Ok(()), |word| write!(f, " or {word}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_are_in_a_range_and_nothing_beyond_them() {
        let inside = [
            (ALPHA, 0.0),
            (ALPHA, 1.0),
            (TOP_P, 1e-9),
            (TOP_P, 1.0),
            (THREADS, 0.0),
            (THREADS, 256.0),
            (MAX_TOKENS, 1.0),
            (BUDGET_MS, 3_600_000.0),
            (ALPHA, -0.0),
        ];
        for (range, number) in inside {
            assert_eq!(range.check(number), Ok(number), "{range}");
        }
        let outside = [
            (ALPHA, 1.0001),
            (ALPHA, -1e-9),
            (TOP_P, 0.0),
            (THREADS, 257.0),
            (THREADS, -1.0),
            (MAX_TOKENS, 0.0),
            (MAX_TOKENS, 1.5),
            (BUDGET_MS, f64::INFINITY),
            (ALPHA, f64::NAN),
            (ALPHA, f64::NEG_INFINITY),
            (IDLE_MINUTES, 18_446_744_073_709_551_615.0),
        ];
        for (range, number) in outside {
            assert!(range.check(number).is_err(), "{number} is not {range}");
        }
    }

    #[test]
    fn text_is_read_as_a_number_of_the_range() {
        assert_eq!(ALPHA.parse::<f32>("0.3"), Ok(0.3));
        assert_eq!(THREADS.parse::<usize>("4"), Ok(4));
        for text in ["", "x", "nan", "inf", "-1", "1e400", "100000", "18446744073709551616", "1.5"]
        {
            let error = THREADS.parse::<usize>(text).unwrap_err().to_string();
            assert_eq!(error, format!("found `{text}`, expected an integer from 0 to 256"));
        }
    }

    #[test]
    fn a_range_is_said_in_words() {
        assert_eq!(ALPHA.to_string(), "a number from 0 to 1");
        assert_eq!(TOP_P.to_string(), "a number above 0 and up to 1");
        assert_eq!(DRAFT_TOKENS.to_string(), "an integer from 1 to 8 or \"auto\"");
    }
}
