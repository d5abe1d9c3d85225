//! The lists of a tokenizer in a GGUF file, held against each other before a tokenizer is built of them.

use std::collections::HashMap;

use super::pre_tokenizer::PreTokenizer;
use crate::model::Error;
use crate::model::gguf::{Gguf, metadata_error};

const MODEL: &str = "tokenizer.ggml.model";
const TOKENS: &str = "tokenizer.ggml.tokens";
const TYPES: &str = "tokenizer.ggml.token_type";
const SCORES: &str = "tokenizer.ggml.scores";
const MERGES: &str = "tokenizer.ggml.merges";
const BOS_ID: &str = "tokenizer.ggml.bos_token_id";
const ADD_BOS: &str = "tokenizer.ggml.add_bos_token";

/// Special tokens that mean nothing here. Files exist whose ids of them are wrong, and llama.cpp overlooks it.
const MEANINGLESS: [&str; 6] = ["unknown", "padding", "seperator", "separator", "mask", "cls"];

/// Bytes that every text is made of; those of other scripts and controls may lack a token.
fn common_bytes() -> impl Iterator<Item = u8> {
    (b' '..=b'~').chain([b'\n', b'\t'])
}

/// The tokens of a file.
pub(super) struct Vocabulary<'a> {
    /// As they are written; none of them twice.
    pub(super) tokens: Vec<&'a str>,
    /// Which of them are no text.
    pub(super) is_special: Vec<bool>,
    ids: HashMap<&'a str, u32>,
}

impl<'a> Vocabulary<'a> {
    /// Reads the tokens of `gguf`; `to_byte` says which byte a character stands for.
    ///
    /// # Errors
    /// If it is no byte-level BPE, or a list is missing, contradicts another or the embedding table.
    pub(super) fn read(gguf: &'a Gguf, to_byte: &HashMap<char, u8>) -> Result<Self, Error> {
        let kind = gguf.string(MODEL)?;
        if kind != "gpt2" {
            let reason = format!("`{kind}` is not supported, `gpt2` (byte-level BPE) is");
            return Err(metadata_error(MODEL, reason));
        }
        let tokens = gguf.strings(TOKENS)?;
        check_lengths(gguf, tokens.len())?;
        let mut ids = HashMap::with_capacity(tokens.len());
        for (id, token) in (0..).zip(&tokens) {
            if let Some(earlier) = ids.insert(*token, id).filter(|_| !token.is_empty()) {
                let reason = format!("{token:?} is token {earlier} and token {id}");
                return Err(metadata_error(TOKENS, reason));
            }
        }
        // llama.cpp's token types: 1 is ordinary text, 6 a raw byte; unknown, control, user-defined and unused tokens
        // are not text. Neither is what has characters that stand for no byte, whatever its type says.
        let is_text =
            |token: &str| !token.is_empty() && token.chars().all(|c| to_byte.contains_key(&c));
        let special = |(token, kind): (&&str, f64)| ![1.0, 6.0].contains(&kind) || !is_text(token);
        let is_special = tokens.iter().zip(gguf.numbers(TYPES)?).map(special).collect();
        let vocabulary = Self { tokens, is_special, ids };
        vocabulary.check_bytes(to_byte)?;
        vocabulary.check_special_ids(gguf)?;
        Ok(vocabulary)
    }

    /// Ordinary tokens with their ids.
    pub(super) fn ordinary(&self) -> impl Iterator<Item = (&'a str, u32)> {
        let tokens = (0..).zip(&self.tokens).zip(&self.is_special);
        tokens.filter(|(_, special)| !**special).map(|((id, token), _)| (*token, id))
    }

    /// The merges of `gguf` that make ordinary tokens of ordinary tokens, in order.
    ///
    /// # Errors
    /// If one of them has no two halves, or does not make a token of two tokens.
    pub(super) fn merges(&self, gguf: &Gguf) -> Result<Vec<(String, String)>, Error> {
        let mut merges = Vec::new();
        let mut whole = String::new();
        for (rank, merge) in gguf.strings(MERGES)?.into_iter().enumerate() {
            // As llama.cpp: a half may begin with a space.
            let from = merge.chars().next().map_or(0, char::len_utf8);
            let halves = merge[from..].find(' ').map(|at| merge.split_at(from + at));
            let Some((left, right)) = halves.map(|(left, right)| (left, &right[1..])) else {
                return Err(metadata_error(
                    MERGES,
                    format!("{rank} is {merge:?}, without two halves"),
                ));
            };
            whole.clear();
            whole.extend([left, right]);
            let ids = [left, right, &whole].map(|part| (part, self.ids.get(part)));
            if let Some((part, _)) = ids.iter().find(|(_, id)| id.is_none()) {
                let reason = format!("{rank} is {merge:?}, but {part:?} is no token");
                return Err(metadata_error(MERGES, reason));
            }
            if ids.iter().all(|(_, id)| id.is_some_and(|id| !self.is_special[*id as usize])) {
                merges.push((left.to_owned(), right.to_owned()));
            }
        }
        Ok(merges)
    }

    /// The token that prompts begin with, if the file says that there is one: `add_bos_token`, or else what llama.cpp
    /// does for its way of splitting. (`add_eos_token` is for whole texts, which prompts are not, and `add_space_prefix`
    /// for SentencePiece.)
    ///
    /// # Errors
    /// If there should be one, and the file does not say which, or it is none.
    pub(super) fn bos(&self, gguf: &Gguf, pre: &PreTokenizer) -> Result<Option<u32>, Error> {
        let adds = match gguf.has_key(ADD_BOS) {
            true => gguf.flag(ADD_BOS)?,
            false => pre.adds_bos && gguf.has_key(BOS_ID),
        };
        if !adds {
            return Ok(None);
        }
        if !gguf.has_key(BOS_ID) {
            return Err(metadata_error(BOS_ID, format!("is missing, but `{ADD_BOS}` is true")));
        }
        let id = gguf.integer(BOS_ID, 0..=self.tokens.len() - 1)?;
        Ok(u32::try_from(id).ok())
    }

    fn check_bytes(&self, to_byte: &HashMap<char, u8>) -> Result<(), Error> {
        let mut has_token = [false; 256];
        for (token, _) in self.ordinary() {
            let mut chars = token.chars();
            if let (Some(byte), None) = (chars.next().and_then(|c| to_byte.get(&c)), chars.next()) {
                has_token[usize::from(*byte)] = true;
            }
        }
        match common_bytes().find(|byte| !has_token[usize::from(*byte)]) {
            None => Ok(()),
            Some(byte) => {
                let reason = format!("there is no token for {:?}", char::from(byte));
                Err(metadata_error(TOKENS, reason))
            }
        }
    }

    /// Special tokens must be tokens.
    fn check_special_ids(&self, gguf: &Gguf) -> Result<(), Error> {
        for key in gguf.keys() {
            let name =
                key.strip_prefix("tokenizer.ggml.").and_then(|k| k.strip_suffix("_token_id"));
            let Some(name) = name else { continue };
            let checked = gguf.integer(key, 0..=self.tokens.len() - 1);
            match checked {
                Err(error) if MEANINGLESS.contains(&name) => tracing::warn!("{error}"),
                other => drop(other?),
            }
        }
        Ok(())
    }
}

/// All lists are as long as that of the tokens, and none of these is without a row of the embedding table.
fn check_lengths(gguf: &Gguf, n_tokens: usize) -> Result<(), Error> {
    if n_tokens == 0 {
        return Err(metadata_error(TOKENS, "is empty"));
    }
    for key in [TYPES, SCORES] {
        if key == SCORES && !gguf.has_key(SCORES) {
            continue;
        }
        let len = gguf.array_len(key)?;
        if len != n_tokens {
            let reason = format!("has {len} elements, but there are {n_tokens} tokens");
            return Err(metadata_error(key, reason));
        }
    }
    match gguf.rows_of_embeddings() {
        Some(rows) if rows < n_tokens => {
            let reason = format!("has {n_tokens} tokens, but the embedding table {rows} rows");
            Err(metadata_error(TOKENS, reason))
        }
        _ => Ok(()),
    }
}
