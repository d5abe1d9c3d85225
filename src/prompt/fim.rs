//! From a [`Prompt`] to the tokens that the models see.
//!
//! With fill-in-the-middle the cursor's line stands *after* the middle token, where it is what has been decoded so far:
//! `<prefix> above <suffix> suffix <middle> left`. So a letter typed on the line changes no token before `left`, and the
//! caches keep everything. The three parts are encoded apart, for the same reason.

use crate::model::healing::Healing;
use crate::model::{Error, Tokenizer};

use super::{Layout, Prompt};

/// The special tokens of fill-in-the-middle, in prefix-suffix-middle order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FimTokens {
    /// Before the text before the cursor.
    pub prefix: u32,
    /// Before the text after the cursor.
    pub suffix: u32,
    /// Before the text to decode.
    pub middle: u32,
}

/// Most prompt tokens on either side of the cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PromptBudget {
    /// For the lines above the cursor's line.
    pub prefix_tokens: usize,
    /// For the text after the cursor.
    pub suffix_tokens: usize,
}

/// A prompt in tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Framed {
    /// What the models see; never empty.
    pub tokens: Vec<u32>,
    /// What of the cursor's line was taken back, to be decoded again.
    pub healing: Healing,
}

/// How much of a prompt is known before it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The document's head: `above` begins where the document does, and the cursor may be anywhere in it or below.
    Head,
    /// The lines above the cursor's line; what follows the cursor may still change.
    Above,
    /// Everything.
    Cursor,
}

/// The prefix loses tokens from its start in steps of this many, so that its start stays put for as many typed tokens.
const CUT_STEP: usize = 256;

/// Frames `prompt` for a model with the tokens `fim`; without them, or with [`Layout::LeftToRight`], only the text
/// before the cursor is shown. What the model expects at the beginning of every text ([`Tokenizer::leading`]) stands
/// before all else. Token healing takes back the last token of the cursor's line.
///
/// # Errors
/// If the tokenizer fails.
pub fn frame(
    prompt: &Prompt,
    tokenizer: &Tokenizer,
    fim: Option<FimTokens>,
    budget: PromptBudget,
) -> Result<Framed, Error> {
    let above = cut_front(tokenizer.encode(&prompt.above)?, budget.prefix_tokens);
    let mut left = tokenizer.encode(&prompt.left)?;
    let healing = Healing::back_up(&mut left, tokenizer);
    let tokens = match fim {
        Some(fim) if prompt.layout == Layout::FillInMiddle => {
            let mut suffix = tokenizer.encode(&prompt.suffix)?;
            suffix.truncate(budget.suffix_tokens);
            let start = [tokenizer.leading(), &[fim.prefix]].concat();
            [&start, &above[..], &[fim.suffix], &suffix, &[fim.middle], &left].concat()
        }
        _ => [tokenizer.leading(), &above, &left].concat(),
    };
    match tokens.is_empty() {
        false => Ok(Framed { tokens, healing }),
        // Left-to-right in an empty document: a line break is the least that a model can start from.
        true => Ok(Framed { tokens: tokenizer.encode("\n")?, healing }),
    }
}

/// The tokens that [`frame`] begins with for every prompt of which only so much is known; may be empty. The last of them
/// is the least certain: what is typed next may change where it ends.
///
/// # Errors
/// If the tokenizer fails.
pub fn frame_ahead(
    prompt: &Prompt,
    reach: Reach,
    tokenizer: &Tokenizer,
    fim: Option<FimTokens>,
    budget: PromptBudget,
) -> Result<Vec<u32>, Error> {
    if reach == Reach::Cursor {
        return Ok(frame(prompt, tokenizer, fim, budget)?.tokens);
    }
    let mut above = tokenizer.encode(&prompt.above)?;
    match reach {
        // A cursor that is so far down that the start is cut off shares nothing with the head.
        Reach::Head => above.truncate(budget.prefix_tokens),
        Reach::Above | Reach::Cursor => above = cut_front(above, budget.prefix_tokens),
    }
    let prefix = fim.filter(|_| prompt.layout == Layout::FillInMiddle).map(|fim| fim.prefix);
    Ok(tokenizer.leading().iter().copied().chain(prefix).chain(above).collect())
}

/// At most `most` tokens of the end of `tokens`, cut at a multiple of [`CUT_STEP`] from their start.
fn cut_front(mut tokens: Vec<u32>, most: usize) -> Vec<u32> {
    let excess = tokens.len().saturating_sub(most).next_multiple_of(CUT_STEP);
    tokens.drain(..excess.min(tokens.len()));
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_of_a_long_prefix_moves_in_steps() {
        let kept = |n: u32, most| cut_front((0..n).collect(), most);
        assert_eq!(kept(100, 1000), (0..100).collect::<Vec<u32>>());
        assert_eq!(kept(1001, 1000)[0], 256);
        assert_eq!(kept(1256, 1000)[0], 256);
        assert_eq!(kept(1257, 1000)[0], 512);
        assert_eq!(kept(100, 10), Vec::<u32>::new());
    }
}
