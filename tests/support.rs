//! What several test modules need: toy decoders with known laws, tiny GGUF files, and the real models where they are.

pub mod real_models;
pub mod tiny_gguf;
pub mod toy_decoder;
