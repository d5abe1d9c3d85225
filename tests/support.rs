//! What several test modules need: toy decoders with known laws, what holds for every decoder, tiny GGUF files, and the real models where they are.

pub mod decoders;
pub mod real_models;
pub mod tiny_gguf;
pub mod tiny_pair;
pub mod toy_decoder;
