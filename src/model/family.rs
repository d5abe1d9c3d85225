//! Model families, and all that differs between them, as data.

use super::Error;

/// An architecture, named as in GGUF's `general.architecture`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Qwen2 and Qwen2.5-Coder: biases on query, key and value.
    Qwen2,
    /// Llama, DeepSeek-Coder, SmolLM2.
    Llama,
}

/// How rotary embeddings pair the D numbers of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rope {
    /// `(i, i + D/2)`, as in GPT-NeoX.
    Halves,
    /// `(2i, 2i + 1)`; GGUF's Llama files have their query and key rows permuted for it.
    Interleaved,
}

/// Special tokens before a repository's name and before a file's path, each a line of its own, in the text that models
/// were trained on: those of Qwen2.5-Coder (figure 4 of its report, arXiv 2409.12186; llama.cpp's `FIM_REP` and
/// `FIM_SEP`). A model with such tokens is told the path so, whatever its architecture.
pub const FILE_TOKENS: [(&str, &str); 1] = [("<|repo_name|>", "<|file_sep|>")];

/// Names of all families, for messages.
pub const NAMES: [&str; 2] = ["qwen2", "llama"];

impl Family {
    /// The family of a GGUF architecture name.
    ///
    /// # Errors
    /// If it is none of ours.
    pub fn from_name(name: &str) -> Result<Self, Error> {
        match name {
            "qwen2" => Ok(Self::Qwen2),
            "llama" => Ok(Self::Llama),
            other => Err(Error::UnknownFamily(other.to_owned())),
        }
    }

    /// The GGUF architecture name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Qwen2 => "qwen2",
            Self::Llama => "llama",
        }
    }

    /// Whether query, key and value projections have biases.
    pub fn qkv_bias(self) -> bool {
        matches!(self, Self::Qwen2)
    }

    /// How rotary embeddings pair a head's numbers.
    pub fn rope(self) -> Rope {
        match self {
            Self::Qwen2 => Rope::Halves,
            Self::Llama => Rope::Interleaved,
        }
    }
}
