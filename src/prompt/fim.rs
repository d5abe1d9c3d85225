//! From a [`Prompt`] to the tokens that the models see.
//!
//! With fill-in-the-middle the cursor's line stands *after* the middle token, where it is what has been decoded so far:
//! `<prefix> above <suffix> suffix <middle> left`. So a letter typed on the line changes no token before `left`, and the
//! caches keep everything. The parts are encoded apart, for the same reason, and none is cut by the length of one that
//! typing changes: what the cursor's line may take is what the lines above leave, never the other way round.

use crate::model::healing::Healing;
use crate::model::{Error, Tokenizer};

use super::{Header, Layout, Prompt};

/// The special tokens of fill-in-the-middle, in prefix-suffix-middle order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FimTokens {
    /// Before the text before the cursor.
    pub prefix: u32,
    /// Before the text after the cursor.
    pub suffix: u32,
    /// Before the text to decode.
    pub middle: u32,
    /// Ahead of everything else, what says which file it is; absent for models that were not trained on such.
    pub file: Option<FileTokens>,
}

/// The special tokens of a file in a repository: `<repository> name <file> path`, a line each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileTokens {
    /// Before the repository's name.
    pub repository: u32,
    /// Before the file's path.
    pub file: u32,
}

/// Most prompt tokens on either side of the cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PromptBudget {
    /// For the text before the cursor: the file's path, the lines above and the cursor's line.
    pub prefix_tokens: usize,
    /// For the text after the cursor.
    pub suffix_tokens: usize,
}

/// Tokens of a prompt that stand for no text: the beginning of a text, one before each part, two before the path.
const N_FRAMING: usize = 6;

/// What every repository is called: a folder's real name may be its user's.
const REPOSITORY: &str = "workspace\n";

/// A quarter of a prompt is the suffix's at most where the model's context does not hold all that is asked for.
const SUFFIX_SHARE: usize = 4;

/// The cursor's line can count on this part of the prefix's budget, whatever stands above it.
const LEFT_SHARE: usize = 8;

/// A path takes this part of the prefix's budget at most; a longer one is not shown.
const HEADER_SHARE: usize = 4;

impl PromptBudget {
    /// The same budget, or what of it fits a model that takes `room` prompt tokens. The text after the cursor gives way
    /// first, down to a quarter of the room.
    #[must_use]
    pub fn within(self, room: usize) -> Self {
        let room = room.saturating_sub(N_FRAMING);
        let left_over = room.saturating_sub(self.prefix_tokens).max(room / SUFFIX_SHARE);
        let suffix_tokens = self.suffix_tokens.min(left_over);
        Self { prefix_tokens: self.prefix_tokens.min(room - suffix_tokens), suffix_tokens }
    }
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

/// A text loses tokens from its start in steps of this many, or of half its budget if that is less, so that its start
/// stays put for as many typed tokens.
const CUT_STEP: usize = 256;

/// Bytes at the end of the cursor's line that do not count when its cut is decided, for typing changes their tokens.
const UNSETTLED_BYTES: usize = 64;

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
    let opening = Opening::encode(prompt, Reach::Above, tokenizer, fim, budget)?;
    let mut left = cut_line(&prompt.left, tokenizer, opening.n_left)?;
    let healing = Healing::back_up(&mut left, tokenizer);
    let tokens = match fim {
        Some(fim) if prompt.layout == Layout::FillInMiddle => {
            let suffix = tokenizer.encode(&prompt.suffix)?;
            let suffix = cut_back(suffix, budget.suffix_tokens, tokenizer);
            [&opening.tokens[..], &[fim.suffix], &suffix, &[fim.middle], &left].concat()
        }
        _ => [opening.tokens, left].concat(),
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
    match reach {
        Reach::Cursor => Ok(frame(prompt, tokenizer, fim, budget)?.tokens),
        _ => Ok(Opening::encode(prompt, reach, tokenizer, fim, budget)?.tokens),
    }
}

/// What a prompt begins with, up to the end of the lines above the cursor's.
struct Opening {
    tokens: Vec<u32>,
    /// Tokens of the prefix's budget that the cursor's line may take.
    n_left: usize,
}

impl Opening {
    fn encode(
        prompt: &Prompt,
        reach: Reach,
        tokenizer: &Tokenizer,
        fim: Option<FimTokens>,
        budget: PromptBudget,
    ) -> Result<Self, Error> {
        let most = budget.prefix_tokens;
        let path = Path::encode(prompt.header.as_ref(), tokenizer, fim)?;
        let path =
            Some(path).filter(|path| path.n_tokens <= most / HEADER_SHARE).unwrap_or_default();
        let most = most - path.n_tokens;
        let above = tokenizer.encode(&prompt.above)?;
        let above = match reach {
            // A cursor that is so far down that the start is cut off shares nothing with the head.
            Reach::Head => cut_back(above, most, tokenizer),
            Reach::Above | Reach::Cursor => {
                cut_front(above, most - budget.prefix_tokens / LEFT_SHARE, tokenizer)
            }
        };
        let n_left = most - above.len();
        let prefix = fim.filter(|_| prompt.layout == Layout::FillInMiddle).map(|fim| fim.prefix);
        let start = tokenizer.leading().iter().copied().chain(path.ahead);
        let tokens = start.chain(prefix).chain(path.inside).chain(above).collect();
        Ok(Self { tokens, n_left })
    }
}

/// A header in tokens: as the family was trained, where it was, and in a comment of the language, where there is one.
/// Models that were made to follow instructions do not heed the first alone.
#[derive(Default)]
struct Path {
    /// What stands before the prefix.
    ahead: Vec<u32>,
    /// What the prefix begins with.
    inside: Vec<u32>,
    /// Tokens of text in both.
    n_tokens: usize,
}

impl Path {
    fn encode(
        header: Option<&Header>,
        tokenizer: &Tokenizer,
        fim: Option<FimTokens>,
    ) -> Result<Self, Error> {
        let Some(header) = header else { return Ok(Self::default()) };
        let mut path = Self::default();
        if let Some(FileTokens { repository, file }) = fim.and_then(|fim| fim.file) {
            let name = tokenizer.encode(REPOSITORY)?;
            let line = tokenizer.encode(&format!("{}\n", header.path))?;
            path.n_tokens = name.len() + line.len();
            path.ahead = [&[repository], &name[..], &[file], &line].concat();
        }
        if let Some(comment) = header.comment() {
            path.inside = tokenizer.encode(&comment)?;
            path.n_tokens += path.inside.len();
        }
        Ok(path)
    }
}

/// At most `most` tokens of the end of `tokens`, cut at a multiple of the step from their start, or behind it where that
/// is inside a character.
fn cut_front(tokens: Vec<u32>, most: usize, tokenizer: &Tokenizer) -> Vec<u32> {
    let excess = tokens.len().saturating_sub(most);
    without_first(tokens, stepwise(excess, most), tokenizer)
}

/// At most `most` tokens of the start of `tokens`, which end with a whole character.
fn cut_back(mut tokens: Vec<u32>, most: usize, tokenizer: &Tokenizer) -> Vec<u32> {
    if tokens.len() > most {
        tokens.truncate(most);
        while !tokens.is_empty() && !ends_character(&tokens, tokenizer) {
            tokens.pop();
        }
    }
    tokens
}

/// The tokens of a line's end, at most `most`. The cut depends on the text up to the last multiple of
/// [`UNSETTLED_BYTES`] alone, so that it moves in steps while the line is typed and a token that typing takes back does
/// not move it to and fro.
fn cut_line(line: &str, tokenizer: &Tokenizer, most: usize) -> Result<Vec<u32>, Error> {
    let tokens = tokenizer.encode(line)?;
    // No token is shorter than a byte.
    if line.len() <= most {
        return Ok(cut_front(tokens, most, tokenizer));
    }
    let unsettled = UNSETTLED_BYTES.min(most / 4).max(1);
    let settled = line.floor_char_boundary(line.len() / unsettled * unsettled);
    let n_settled = tokenizer.encode(&line[..settled])?.len();
    let excess = (n_settled + unsettled).saturating_sub(most);
    let tokens = without_first(tokens, stepwise(excess, most), tokenizer);
    // Where characters are composed, the parts of a line can have more tokens than bytes.
    Ok(cut_front(tokens, most, tokenizer))
}

fn stepwise(excess: usize, most: usize) -> usize {
    excess.next_multiple_of(CUT_STEP.min(most / 2).max(1))
}

fn without_first(mut tokens: Vec<u32>, n: usize, tokenizer: &Tokenizer) -> Vec<u32> {
    if n > 0 {
        let rest = tokens.iter().skip(n);
        let is_inside =
            |token: &&u32| tokenizer.bytes(**token).first().is_some_and(is_continuation);
        let n_inside = rest.take_while(is_inside).count();
        tokens.drain(..(n + n_inside).min(tokens.len()));
    }
    tokens
}

/// Whether a byte of UTF-8 is not the first of its character.
fn is_continuation(byte: &u8) -> bool {
    byte & 0b1100_0000 == 0b1000_0000
}

fn ends_character(tokens: &[u32], tokenizer: &Tokenizer) -> bool {
    /// The longest character.
    const MOST: usize = 4;
    let mut end: Vec<u8> = tokens
        .iter()
        .rev()
        .take(MOST)
        .rev()
        .flat_map(|&token| tokenizer.bytes(token))
        .copied()
        .collect();
    let from = end.len().saturating_sub(MOST);
    end.drain(..from);
    while end.first().is_some_and(is_continuation) {
        end.remove(0);
    }
    std::str::from_utf8(&end).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_of_a_long_prefix_moves_in_steps() {
        let start = |n: usize, most| stepwise(n.saturating_sub(most), most);
        assert_eq!(start(100, 1000), 0);
        assert_eq!(start(1001, 1000), 256);
        assert_eq!(start(1256, 1000), 256);
        assert_eq!(start(1257, 1000), 512);
        assert_eq!(start(100, 10), 90, "a small budget is used, in small steps");
        assert_eq!(start(100, 0), 100);
    }

    #[test]
    fn a_budget_gives_way_to_the_context_after_the_cursor_first() {
        let within = |prefix_tokens, suffix_tokens, room| {
            let PromptBudget { prefix_tokens, suffix_tokens } =
                PromptBudget { prefix_tokens, suffix_tokens }.within(room);
            (prefix_tokens, suffix_tokens)
        };
        assert_eq!(within(1024, 256, 32_000), (1024, 256));
        assert_eq!(within(1024, 256, 1286), (1024, 256));
        assert_eq!(within(1024, 512, 1406), (1024, 376));
        assert_eq!(within(1024, 256, 406), (300, 100));
        assert_eq!(within(usize::MAX, usize::MAX, 406), (300, 100));
        assert_eq!(within(16, 512, 106), (16, 84));
        assert_eq!(within(1024, 256, 0), (0, 0));
    }
}
