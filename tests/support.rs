//! What several test modules need: toy decoders with known laws, what holds for every decoder, tiny GGUF files, a hub
//! to fetch from, the real models where they are, and a word about what cannot run.

pub mod decoders;
pub mod hub;
pub mod real_models;
pub mod skips;
pub mod tiny_gguf;
pub mod tiny_pair;
pub mod tiny_site;
pub mod toy_decoder;
