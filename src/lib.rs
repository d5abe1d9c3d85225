//! cosec-ls: inline code completions from local models, security-hardened while they are decoded.
//!
//! # Layout
//!
//! The folders are the data flow, lowest layer first; a module imports only strictly lower layers and
//! the leaves (`tests/tidy.rs` enforces it):
//!
//! - leaves: [`config`] plain settings; [`files`] files that appear whole; [`text`] documents and positions; [`registry`] `models.toml` → verified files
//! - 0 [`kernel`]: arithmetic on slices, fitted to the CPU
//! - 1 [`model`]: GGUF → weights, tokenizer, transformer, KV cache
//! - 2 [`decode`]: how the next token is chosen; [`prompt`]: text around the cursor → tokens
//! - 3 [`engine`]: the thread that owns models and sequences
//! - 4 [`complete`]: an editor's question → a suggestion, without a word of LSP
//! - 5 [`lsp`]: the language server; [`train`]: a data set of fixes → a security adapter; [`eval`]: what hardening is
//!   worth
//! - 6 [`cli`]: the wiring
//!
//! # Three types to learn first
//!
//! [`text::Document`] is what the user typed, [`decode::Sequence`] is what the models remember, and
//! [`decode::CoDecoder`] is how the next token is chosen.

pub mod config;
pub mod files;
pub mod registry;
pub mod text;

pub mod cli;
pub mod complete;
pub mod decode;
pub mod engine;
pub mod eval;
pub mod kernel;
pub mod lsp;
pub mod model;
pub mod prompt;
pub mod train;
