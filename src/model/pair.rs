//! Whether two models speak the same tokens: the pair check of co-decoding.
//!
//! Same strings for the same ids, same kinds, same special tokens. Padding of the width is allowed: ids beyond the
//! shorter list have probability 0 (`docs/CO-DECODING.md`, "Two vocabularies").

use super::gguf::Gguf;
use super::{Error, Tokenizer};

/// Checks that `base` and `security` share one vocabulary.
///
/// # Errors
/// If they do not; the message names the first token id that differs.
pub fn check(base: &Gguf, security: &Gguf) -> Result<(), Error> {
    let tokens = |gguf: &Gguf| -> Result<Vec<String>, Error> {
        Ok(gguf.strings("tokenizer.ggml.tokens")?.iter().map(|s| (*s).to_owned()).collect())
    };
    same_strings(&tokens(base)?, &tokens(security)?)?;
    let kinds = |gguf: &Gguf| -> Result<Vec<f64>, Error> {
        Ok(gguf.numbers("tokenizer.ggml.token_type")?.collect())
    };
    same_kinds(&kinds(base)?, &kinds(security)?)?;
    let model = "tokenizer.ggml.model";
    same_name(model, base.string(model)?, security.string(model)?)?;
    // A file that does not say it may well split as the other does.
    let splitting = Tokenizer::splitting_of;
    same_name("tokenizer.ggml.pre", splitting(base)?, splitting(security)?)
}

fn same_name(key: &str, base: &str, security: &str) -> Result<(), Error> {
    match base == security {
        true => Ok(()),
        false => Err(Error::Pair(format!(
            "`{key}` is `{base}` for the base and `{security}` for the security model"
        ))),
    }
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
