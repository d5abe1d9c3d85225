//! A language model: tokens in, rows of logits out, and the memory between two calls belongs to the caller.
//!
//! Weights are immutable (`&self`) and shared; a [`KvCache`] is a value with exactly one owner, which is what lets one
//! copy of the weights serve many documents and both roles of a pair. Nothing here knows threads, requests or text
//! around a cursor.

mod attach;
pub mod config;
pub mod cpu;
pub mod device;
pub mod dropout;
pub mod family;
pub mod gguf;
pub mod gradient;
pub mod healing;
pub mod kv_cache;
pub mod language_model;
pub mod linear;
pub mod lora;
pub mod pair;
pub mod tokenizer;
pub mod transformer;

use std::path::PathBuf;

pub use kv_cache::KvCache;
pub use language_model::{LanguageModel, LanguageModelCache};
pub use tokenizer::Tokenizer;
pub use transformer::Transformer;

/// Which positions of a forward need logits: the last ones, counted from the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogitRows {
    /// No row: the forward only fills the cache.
    None,
    /// The rows of the last `n` tokens; `n` is at most the number of tokens fed.
    Last(usize),
}

impl LogitRows {
    /// How many rows.
    pub fn count(self) -> usize {
        match self {
            Self::None => 0,
            Self::Last(n) => n,
        }
    }
}

/// Rows of logits, oldest position first.
#[derive(Clone, Debug, PartialEq)]
pub struct Logits {
    /// Width of a row, V.
    pub vocab: usize,
    /// Row-major, `[rows, V]`.
    pub data: Vec<f32>,
}

impl Logits {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.data.len() / self.vocab.max(1)
    }

    /// One row, `[V]`.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.data[row * self.vocab..(row + 1) * self.vocab]
    }

    /// The newest row, `[V]`.
    ///
    /// # Panics
    /// If no row was asked for.
    pub fn last(&self) -> &[f32] {
        self.row(self.rows() - 1)
    }
}

/// What a model remembers of the tokens that were fed to it.
pub trait Cache: Send {
    /// Tokens remembered.
    fn len(&self) -> usize;

    /// Whether nothing is remembered.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets everything from token `len` on; does nothing if there are fewer.
    fn truncate(&mut self, len: usize);

    /// Memory held, in bytes.
    fn bytes(&self) -> usize;

    /// Memory that is held once `len` tokens are remembered, in bytes; at least what is held already.
    fn bytes_at(&self, len: usize) -> usize;

    /// A copy with memory of its own, to go on differently after the same beginning.
    ///
    /// # Errors
    /// If the device has no memory.
    fn try_clone(&self) -> Result<Self, Error>
    where
        Self: Sized;
}

/// One sequence's part of a forward over several: what is fed to which cache, and which of its rows are wanted.
#[derive(Debug)]
pub struct Feed<'a, C> {
    /// At least one.
    pub tokens: &'a [u32],
    /// What the model remembers of this sequence.
    pub cache: &'a mut C,
    /// Counted from the end of `tokens`.
    pub rows: LogitRows,
}

/// A causal language model. Implemented by [`Transformer`] and, in tests, by tables of distributions.
pub trait Decoder: Send + Sync {
    /// What it remembers between forwards.
    type Cache: Cache;

    /// An empty cache for this model.
    fn new_cache(&self) -> Self::Cache;

    /// Width of a row of logits, V.
    fn vocab(&self) -> usize;

    /// Most tokens that one sequence may have.
    fn context(&self) -> usize;

    /// Feeds `tokens` after what `cache` holds, appends them to it, and returns the logits of the asked rows.
    /// The row of a token is the (unnormalised) distribution of its *successor*.
    ///
    /// # Errors
    /// If the sequence would outgrow the context, or the device fails; the cache is then as before the call.
    fn forward(
        &self,
        tokens: &[u32],
        cache: &mut Self::Cache,
        rows: LogitRows,
    ) -> Result<Logits, Error>;

    /// Feeds several sequences, and returns the logits of each; what [`Decoder::forward`] gives for one after another,
    /// and that is what happens unless a model can do better.
    ///
    /// # Errors
    /// As [`Decoder::forward`]; each cache is then as before the call, or holds all that was fed to it.
    fn forward_batch(&self, feeds: &mut [Feed<'_, Self::Cache>]) -> Result<Vec<Logits>, Error> {
        one_by_one(self, feeds)
    }
}

/// Feeds sequences one after another.
fn one_by_one<D: Decoder + ?Sized>(
    model: &D,
    feeds: &mut [Feed<'_, D::Cache>],
) -> Result<Vec<Logits>, Error> {
    feeds.iter_mut().map(|feed| model.forward(feed.tokens, feed.cache, feed.rows)).collect()
}

/// What can go wrong between a file and a row of logits.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The header is no GGUF header, or is cut off inside.
    #[error("{path} is not a whole GGUF file ({reason}); pull the model again", path = path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        reason: String,
    },
    /// A tensor's bytes end beyond the file.
    #[error(
        "{path} is truncated: tensor `{tensor}` ends at byte {needed}, the file at {len}; pull the model again",
        path = path.display()
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// Where its last byte should be.
        needed: u64,
        /// Length of the file.
        len: u64,
    },
    /// A tensor that this family needs is not in the file.
    #[error("tensor `{0}` is missing: the file does not hold a whole model of its family")]
    MissingTensor(String),
    /// A tensor has another shape than the hyperparameters say.
    #[error("tensor `{tensor}` has shape {got:?}, the hyperparameters say {expected:?}")]
    Shape {
        /// The tensor's name.
        tensor: String,
        /// From the hyperparameters.
        expected: Vec<usize>,
        /// In the file.
        got: Vec<usize>,
    },
    /// A part of a split model is missing, or does not belong to the others.
    #[error("{path}: {reason}", path = path.display())]
    Split {
        /// The part that was opened.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A tensor holds NaN or infinity.
    #[error("tensor `{0}` holds numbers that are not finite")]
    NotFinite(String),
    /// A matrix's blocks cannot be repacked.
    #[error("tensor `{tensor}`: {source}")]
    Pack {
        /// The tensor's name.
        tensor: String,
        /// The cause.
        source: crate::kernel::quant::PackError,
    },
    /// A metadata key is missing or has another type.
    #[error("metadata `{key}`: {reason}")]
    Metadata {
        /// The key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// `general.architecture` is none of ours.
    #[error("family `{0}` is not supported; supported are {names}", names = family::NAMES.join(", "))]
    UnknownFamily(String),
    /// A feature of the model that this program does not implement.
    #[error("{0} is not supported")]
    Unsupported(String),
    /// The tokenizer's data is inconsistent.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// The two models of a pair do not speak the same tokens.
    #[error("the two models of the pair differ: {0}")]
    Pair(String),
    /// More tokens than the context holds.
    #[error("{needed} tokens do not fit the context of {context}")]
    ContextFull {
        /// Tokens after the forward.
        needed: usize,
        /// The context.
        context: usize,
    },
    /// The device or a kernel failed.
    #[error("{}", without_backtrace(.0))]
    Candle(#[from] candle_core::Error),
}

/// candle's own message. Where the environment asks for backtraces, its errors carry and print one, which says nothing
/// to a user.
fn without_backtrace(error: &candle_core::Error) -> String {
    match error {
        candle_core::Error::WithBacktrace { inner, .. } => without_backtrace(inner),
        other => other.to_string(),
    }
}
