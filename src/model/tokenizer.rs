//! Text to tokens and back, built from the GGUF's own metadata.
//!
//! Text is encoded as text: a file that contains `<|fim_middle|>` literally is split into ordinary tokens and cannot
//! steer the model. Special tokens are reached by name through [`Tokenizer::special`] only, and never decode to text.

mod pre_tokenizer;
mod vocabulary;

use std::collections::HashMap;
use std::ops::Range;

use tokenizers::NormalizerWrapper;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::NFC;

use super::Error;
use super::gguf::Gguf;
use pre_tokenizer::PreTokenizer;
use vocabulary::Vocabulary;

/// A byte-level BPE tokenizer.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// Bytes of each token; empty for special ones.
    bytes: Vec<Box<[u8]>>,
    special: HashMap<String, u32>,
    is_special: Vec<bool>,
    /// As in the file, for explanations.
    names: Vec<Box<str>>,
    /// Ordinary tokens, sorted by their bytes.
    by_bytes: Vec<u32>,
    /// What every prompt begins with, if the file says so.
    bos: Option<u32>,
    /// What was assumed where the file does not say how text is split.
    assumption: Option<String>,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer").field("vocab", &self.bytes.len()).finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// Builds the tokenizer that `gguf` describes.
    ///
    /// # Errors
    /// If it is no byte-level BPE, or its lists do not fit together; the message names the metadata key.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, Error> {
        let to_byte = byte_of_char();
        let vocabulary = Vocabulary::read(gguf, &to_byte)?;
        let choice = pre_tokenizer::choose(gguf, &vocabulary.tokens)?;
        if let Some(assumption) = &choice.assumption {
            tracing::warn!("{assumption}");
        }
        let inner = build_bpe(gguf, &vocabulary, choice.pre_tokenizer)?;
        let bos = vocabulary.bos(gguf, choice.pre_tokenizer)?;
        let tokenizer = Self::assemble(inner, vocabulary, &to_byte);
        Ok(Self { bos, assumption: choice.assumption, ..tokenizer })
    }

    fn assemble(
        inner: tokenizers::Tokenizer,
        vocabulary: Vocabulary<'_>,
        to_byte: &HashMap<char, u8>,
    ) -> Self {
        let Vocabulary { tokens, is_special, .. } = vocabulary;
        let text = |(token, special): (&&str, &bool)| match special {
            true => Box::default(),
            false => token.chars().filter_map(|c| to_byte.get(&c).copied()).collect(),
        };
        let bytes: Vec<Box<[u8]>> = tokens.iter().zip(&is_special).map(text).collect();
        let named = tokens.iter().enumerate().filter(|&(id, _)| is_special[id]);
        let special = named.map(|(id, token)| ((*token).to_owned(), id as u32)).collect();
        let mut by_bytes: Vec<u32> =
            (0..bytes.len() as u32).filter(|&id| !bytes[id as usize].is_empty()).collect();
        by_bytes.sort_by(|&a, &b| bytes[a as usize].cmp(&bytes[b as usize]));
        let names = tokens.iter().map(|token| Box::from(*token)).collect();
        Self { inner, bytes, special, is_special, names, by_bytes, bos: None, assumption: None }
    }

    /// What every prompt begins with, before all else: the token for the beginning of a text, for models that were
    /// trained with it (`tokenizer.ggml.add_bos_token`); nothing for others.
    pub fn leading(&self) -> &[u32] {
        self.bos.as_slice()
    }

    /// What was assumed of how text is split, in words for the user; nothing where the file says it.
    pub fn assumption(&self) -> Option<&str> {
        self.assumption.as_deref()
    }

    /// What the way is called in which the text of `gguf` is split.
    ///
    /// # Errors
    /// If the tokens cannot be read.
    pub fn splitting_of(gguf: &Gguf) -> Result<&'static str, Error> {
        let tokens = gguf.strings("tokenizer.ggml.tokens")?;
        Ok(pre_tokenizer::choose(gguf, &tokens)?.pre_tokenizer.name())
    }

    /// Number of token ids.
    pub fn vocab(&self) -> usize {
        self.bytes.len()
    }

    /// The tokens of `text`, none of them special.
    ///
    /// # Errors
    /// If the tokenizer fails; text cannot make it fail.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, Error> {
        let encoding = self.inner.encode_fast(text, false);
        Ok(encoding.map_err(|e| Error::Tokenizer(e.to_string()))?.get_ids().to_vec())
    }

    /// The tokens of `text` as [`Tokenizer::encode`] gives them, each with the bytes of `text` that it stands for: whole
    /// characters, so that tokens that share a character overlap. Together the ranges cover `text`.
    ///
    /// # Errors
    /// If the tokenizer fails; text cannot make it fail.
    pub fn encode_with_offsets(&self, text: &str) -> Result<Vec<(u32, Range<usize>)>, Error> {
        let encoding = self.inner.encode(text, false);
        let encoding = encoding.map_err(|e| Error::Tokenizer(e.to_string()))?;
        let offsets = encoding.get_offsets();
        // Where the normalizer joins characters, it counts the first of them only.
        let next_starts = offsets.iter().skip(1).map(|&(start, _)| start).chain([text.len()]);
        let ranges =
            offsets.iter().zip(next_starts).map(|(&(start, end), next)| start..end.max(next));
        Ok(encoding.get_ids().iter().copied().zip(ranges).collect())
    }

    /// The id of a special token such as `<|fim_middle|>`.
    pub fn special(&self, name: &str) -> Option<u32> {
        self.special.get(name).copied()
    }

    /// Whether a token is not text: it ends a completion and is never shown.
    pub fn is_special(&self, token: u32) -> bool {
        self.is_special.get(token as usize).copied().unwrap_or(true)
    }

    /// The bytes of a token; empty for special ones and ids beyond the vocabulary.
    pub fn bytes(&self, token: u32) -> &[u8] {
        self.bytes.get(token as usize).map_or(&[], |bytes| bytes)
    }

    /// What to call a token in an explanation: its text, or its name where it is special. Never for a buffer.
    pub fn describe(&self, token: u32) -> String {
        match (self.is_special(token), self.names.get(token as usize)) {
            (true, Some(name)) => name.to_string(),
            _ => self.decode_lossy(&[token]),
        }
    }

    /// The text of some tokens, with `U+FFFD` where they are no whole characters.
    pub fn decode_lossy(&self, tokens: &[u32]) -> String {
        let bytes: Vec<u8> = tokens.iter().flat_map(|&token| self.bytes(token)).copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The tokens that can come next if the text must begin with `pending`: those that begin with all of it, and those
    /// that are a beginning of it. Never empty, since every byte is a token.
    pub fn tokens_matching(&self, pending: &[u8]) -> Vec<u32> {
        let from = self.by_bytes.partition_point(|&id| self.bytes(id) < pending);
        let longer =
            self.by_bytes[from..].iter().take_while(|&&id| self.bytes(id).starts_with(pending));
        let shorter = (1..pending.len()).filter_map(|len| self.token_of(&pending[..len]));
        shorter.chain(longer.copied()).collect()
    }

    fn token_of(&self, bytes: &[u8]) -> Option<u32> {
        let found = self.by_bytes.binary_search_by(|&id| self.bytes(id).cmp(bytes));
        found.ok().map(|at| self.by_bytes[at])
    }
}

/// Turns tokens into text as they come, holding back the bytes of an unfinished character.
#[derive(Clone, Debug, Default)]
pub struct TextStream {
    held: Vec<u8>,
}

impl TextStream {
    /// Adds a token's bytes and returns the characters that are now whole. A byte that can belong to no character
    /// becomes `U+FFFD`.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.held.extend_from_slice(bytes);
        let mut text = String::new();
        loop {
            match std::str::from_utf8(&self.held) {
                Ok(valid) => {
                    text.push_str(valid);
                    self.held.clear();
                    return text;
                }
                Err(error) => {
                    let (valid, rest) = self.held.split_at(error.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(valid));
                    let Some(bad) = error.error_len() else {
                        self.held = rest.to_vec();
                        return text;
                    };
                    text.push(char::REPLACEMENT_CHARACTER);
                    self.held = rest[bad..].to_vec();
                }
            }
        }
    }
}

/// Special tokens are not part of it, so that no text can spell one.
fn build_bpe(
    gguf: &Gguf,
    vocabulary: &Vocabulary<'_>,
    pre: &PreTokenizer,
) -> Result<tokenizers::Tokenizer, Error> {
    let fail = |e: tokenizers::Error| Error::Tokenizer(e.to_string());
    let tokens = vocabulary.ordinary().map(|(token, id)| (token.to_owned(), id));
    let merges = vocabulary.merges(gguf)?;
    let bpe = BPE::builder().vocab_and_merges(tokens.collect::<Vocab>(), merges);
    let bpe = bpe.ignore_merges(pre.ignores_merges).build().map_err(fail)?;
    let mut inner = tokenizers::Tokenizer::new(bpe);
    if pre.is_nfc {
        inner.with_normalizer(Some(NormalizerWrapper::NFC(NFC))).map_err(fail)?;
    }
    inner.with_pre_tokenizer(Some(pre.build()?));
    Ok(inner)
}

/// GPT-2's printable stand-ins for bytes, character to byte: printable Latin-1 stands for itself, the other bytes for
/// the characters from `U+0100` on (`bytes_to_unicode` in GPT-2's `encoder.py`).
fn byte_of_char() -> HashMap<char, u8> {
    let printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let others = (0..=255u8).filter(|byte| !printable(byte));
    let stand_ins = others.zip(0x100u32..).filter_map(|(byte, c)| Some((char::from_u32(c)?, byte)));
    (0..=255u8).filter(printable).map(|byte| (char::from(byte), byte)).chain(stand_ins).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stream_never_splits_a_character() {
        let text = "naïve 🦀 漢字\n";
        let mut stream = TextStream::default();
        let mut whole = String::new();
        for byte in text.bytes() {
            whole.push_str(&stream.push(&[byte]));
            assert!(text.starts_with(&whole));
        }
        assert_eq!(whole, text);
    }

    #[test]
    fn text_stream_replaces_bytes_that_belong_to_no_character() {
        let mut stream = TextStream::default();
        assert_eq!(stream.push(&[b'a', 0xFF, b'b', 0xE6]), "a\u{FFFD}b");
        assert_eq!(stream.push(b"c"), "\u{FFFD}c");
    }

    #[test]
    fn all_bytes_have_a_stand_in() {
        let map = byte_of_char();
        let mut bytes: Vec<u8> = map.values().copied().collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
        assert_eq!(map[&'Ġ'], b' ');
        assert_eq!(map[&'Ċ'], b'\n');
    }
}
