//! The setting `draftTokens`: how many tokens the security model drafts before the base verifies them.
//!
//! Written as a number or the word `auto`, on the command line and in a client's JSON alike. What is decoded does not
//! depend on it; only the time does.

use std::fmt::{self, Formatter};
use std::str::FromStr;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Most drafts of one round. Beyond this the chance that all of them are kept is small; and a first round, which feeds
/// the last chunk of the prompt as well, stays below 32 rows, from where on candle packs the weights another time.
pub const MAX_DRAFT_TOKENS: usize = 8;

/// How many tokens are drafted per forward of the base.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DraftTokens {
    /// As many as were measured to be fastest.
    #[default]
    Auto,
    /// Always so many, 1 to [`MAX_DRAFT_TOKENS`]; 1 is the plain step.
    Fixed(usize),
}

/// What is neither `auto` nor a number in range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {EXPECTED}")]
pub struct NotDraftTokens;

const EXPECTED: &str = "a number from 1 to 8 or \"auto\"";

impl DraftTokens {
    fn fixed(n: u64) -> Option<Self> {
        let n = usize::try_from(n).ok()?;
        (1..=MAX_DRAFT_TOKENS).contains(&n).then_some(Self::Fixed(n))
    }
}

impl FromStr for DraftTokens {
    type Err = NotDraftTokens;

    fn from_str(text: &str) -> Result<Self, NotDraftTokens> {
        match text {
            "auto" => Ok(Self::Auto),
            number => number.parse().ok().and_then(Self::fixed).ok_or(NotDraftTokens),
        }
    }
}

impl Serialize for DraftTokens {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Fixed(n) => serializer.serialize_u64(n as u64),
        }
    }
}

impl<'de> Deserialize<'de> for DraftTokens {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordOrNumber)
    }
}

struct WordOrNumber;

impl Visitor<'_> for WordOrNumber {
    type Value = DraftTokens;

    fn expecting(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(EXPECTED)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<DraftTokens, E> {
        let invalid = || E::invalid_value(Unexpected::Unsigned(number), &self);
        DraftTokens::fixed(number).ok_or_else(invalid)
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<DraftTokens, E> {
        word.parse().map_err(|NotDraftTokens| E::invalid_value(Unexpected::Str(word), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_or_auto_is_read_and_nothing_else() {
        let read = |text: &str| text.parse::<DraftTokens>();
        assert_eq!(read("auto"), Ok(DraftTokens::Auto));
        assert_eq!(read("1"), Ok(DraftTokens::Fixed(1)));
        assert_eq!(read("8"), Ok(DraftTokens::Fixed(8)));
        for wrong in ["0", "9", "-1", "", "Auto", "2.5"] {
            assert_eq!(read(wrong), Err(NotDraftTokens), "{wrong}");
        }
    }

    #[test]
    fn the_message_names_the_largest_number() {
        assert!(EXPECTED.contains(&format!("from 1 to {MAX_DRAFT_TOKENS} ")));
    }
}
