//! Whether two models speak the same tokens: the pair check of co-decoding.
//!
//! Same strings for the same ids, same kinds, same special tokens. Padding of the width is allowed: ids beyond the
//! shorter list have probability 0 (`docs/CO-DECODING.md`, "Two vocabularies").

use super::Error;
use super::gguf::Gguf;

/// Checks that `base` and `security` share one vocabulary.
///
/// # Errors
/// If they do not; the message names the first token id that differs.
pub fn check(base: &Gguf, security: &Gguf) -> Result<(), Error> {
    let tokens = |gguf: &Gguf| -> Result<Vec<String>, Error> {
        Ok(gguf.strings("tokenizer.ggml.tokens")?.iter().map(|s| (*s).to_owned()).collect())
    };
    same_strings(&tokens(base)?, &tokens(security)?)?;
    let kinds = |gguf: &Gguf| gguf.numbers("tokenizer.ggml.token_type");
    same_kinds(&kinds(base)?, &kinds(security)?)?;
    for key in ["tokenizer.ggml.model", "tokenizer.ggml.pre"] {
        let (a, b) = (base.string(key).unwrap_or(""), security.string(key).unwrap_or(""));
        if a != b {
            return Err(Error::Pair(format!(
                "`{key}` is `{a}` for the base and `{b}` for the security model"
            )));
        }
    }
    Ok(())
}

fn same_strings(base: &[String], security: &[String]) -> Result<(), Error> {
    match base.iter().zip(security).position(|(a, b)| a != b) {
        None => Ok(()),
        Some(id) => Err(Error::Pair(format!(
            "token {id} is {:?} for the base and {:?} for the security model",
            base[id], security[id]
        ))),
    }
}

fn same_kinds(base: &[f64], security: &[f64]) -> Result<(), Error> {
    match base.iter().zip(security).position(|(a, b)| a != b) {
        None => Ok(()),
        Some(id) => Err(Error::Pair(format!(
            "token {id} has type {} for the base and {} for the security model",
            base[id], security[id]
        ))),
    }
}
