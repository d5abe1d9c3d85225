//! Text to tokens and back, built from the GGUF's own metadata.
//!
//! Text is encoded as text: a file that contains `<|fim_middle|>` literally is split into ordinary tokens and cannot
//! steer the model. Special tokens are reached by name through [`Tokenizer::special`] only, and never decode to text.

use std::collections::HashMap;
use std::ops::Range;

use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::NFC;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{NormalizerWrapper, SplitDelimiterBehavior};

use super::Error;
use super::gguf::Gguf;

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
    /// If it is no byte-level BPE, splits text in a way that is not known here, or its lists do not fit together.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, Error> {
        let kind = gguf.string("tokenizer.ggml.model")?;
        if kind != "gpt2" {
            return Err(Error::Unsupported(format!("tokenizer model `{kind}`")));
        }
        let tokens = gguf.strings("tokenizer.ggml.tokens")?;
        let kinds = gguf.numbers("tokenizer.ggml.token_type")?;
        if kinds.len() != tokens.len() {
            let (a, b) = (tokens.len(), kinds.len());
            return Err(Error::Tokenizer(format!("{a} tokens, but {b} token types")));
        }
        let inner = build_bpe(gguf, &tokens)?;
        // llama.cpp's token types: 1 is ordinary text, 6 a raw byte; unknown, control, user-defined and unused tokens
        // are not text.
        let is_special: Vec<bool> = kinds.iter().map(|kind| ![1.0, 6.0].contains(kind)).collect();
        Ok(Self::assemble(inner, &tokens, is_special))
    }

    fn assemble(inner: tokenizers::Tokenizer, tokens: &[&str], is_special: Vec<bool>) -> Self {
        let to_byte = byte_of_char();
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
        Self { inner, bytes, special, is_special, names, by_bytes }
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

fn build_bpe(gguf: &Gguf, tokens: &[&str]) -> Result<tokenizers::Tokenizer, Error> {
    let fail = |e: tokenizers::Error| Error::Tokenizer(e.to_string());
    let vocab = tokens.iter().enumerate().map(|(id, token)| ((*token).to_owned(), id as u32));
    let merges = gguf.strings("tokenizer.ggml.merges")?;
    let pair = |merge: &&str| {
        let halves = merge.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned()));
        halves.ok_or_else(|| Error::Tokenizer(format!("merge `{merge}` has no two halves")))
    };
    let merges = merges.iter().map(pair).collect::<Result<Vec<_>, _>>()?;
    let bpe = BPE::builder().vocab_and_merges(vocab.collect::<Vocab>(), merges);
    let mut inner = tokenizers::Tokenizer::new(bpe.build().map_err(fail)?);
    let pre = gguf.string("tokenizer.ggml.pre").unwrap_or("default");
    if NFC_NORMALIZED.contains(&pre) {
        inner.with_normalizer(Some(NormalizerWrapper::NFC(NFC))).map_err(fail)?;
    }
    inner.with_pre_tokenizer(Some(pre_tokenizer(pre)?));
    Ok(inner)
}

/// `tokenizer.ggml.pre` values whose reference tokenizer normalizes to NFC first.
const NFC_NORMALIZED: [&str; 1] = ["qwen2"];

/// Qwen2's `tokenizer.json`.
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// DeepSeek-Coder's `tokenizer.json`: a sequence of splits.
const DEEPSEEK_CODER: [&str; 4] =
    ["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥\u{800}-一가-\u{d7ff}]+"];

/// How text is split before the merges, by `tokenizer.ggml.pre`.
fn pre_tokenizer(pre: &str) -> Result<PreTokenizerWrapper, Error> {
    let bytes_only = PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, false, false));
    let gpt2 = PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, false, true));
    let digits = PreTokenizerWrapper::Digits(Digits::new(true));
    let parts = match pre {
        "qwen2" => vec![split(QWEN2)?, bytes_only],
        "deepseek-coder" => {
            let mut parts: Vec<_> =
                DEEPSEEK_CODER.iter().map(|regex| split(regex)).collect::<Result<_, _>>()?;
            parts.extend([digits, bytes_only]);
            parts
        }
        "smollm" | "starcoder" | "refact" => vec![digits, gpt2],
        "default" | "gpt-2" => vec![gpt2],
        other => return Err(Error::Unsupported(format!("pre-tokenizer `{other}`"))),
    };
    Ok(PreTokenizerWrapper::Sequence(Sequence::new(parts)))
}

fn split(regex: &str) -> Result<PreTokenizerWrapper, Error> {
    let pattern = SplitPattern::Regex(regex.to_owned());
    let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false);
    Ok(PreTokenizerWrapper::Split(split.map_err(|e| Error::Tokenizer(e.to_string()))?))
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
