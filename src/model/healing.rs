//! Token healing: the text before the cursor may end inside a token; the first decoded tokens continue it.
//!
//! The prompt is backed up by its last token, and decoding is restricted to tokens that agree with the bytes that were
//! taken back. So `urlspl|` can become `urlsplit`, one token that the boundary at the cursor would have ruled out.

use super::Tokenizer;

/// Bytes that stand in the buffer already and that decoding must reproduce first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Healing {
    pending: Vec<u8>,
}

impl Healing {
    /// Takes the last token of `tokens` back.
    pub fn back_up(tokens: &mut Vec<u32>, tokenizer: &Tokenizer) -> Self {
        let last = tokens.pop();
        Self { pending: last.map_or(Vec::new(), |token| tokenizer.bytes(token).to_vec()) }
    }

    /// The bytes that decoding must reproduce first.
    pub fn pending(&self) -> &[u8] {
        &self.pending
    }

    /// The tokens that may come next; `None` once the buffer's text is reproduced, when every token may.
    pub fn allowed(&self, tokenizer: &Tokenizer) -> Option<Vec<u32>> {
        match self.pending.is_empty() {
            true => None,
            false => Some(tokenizer.tokens_matching(&self.pending)),
        }
    }

    /// The tokens that may come after `drafted`, which were allowed in turn.
    pub fn allowed_after(&self, drafted: &[u32], tokenizer: &Tokenizer) -> Option<Vec<u32>> {
        let mut healing = self.clone();
        for &token in drafted {
            healing.advance(tokenizer.bytes(token));
        }
        healing.allowed(tokenizer)
    }

    /// Takes note of a decoded token's bytes and returns those of them that the buffer does not have.
    pub fn advance<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let known = self.pending.len().min(bytes.len());
        debug_assert_eq!(self.pending[..known], bytes[..known], "only allowed tokens are decoded");
        self.pending.drain(..known);
        &bytes[known..]
    }
}
