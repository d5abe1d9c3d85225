//! How the next token is chosen.
//!
//! Sees token ids and rows of logits, never text, a thread or a device, so all of it is tested with toy models whose
//! output law is known in closed form. [`co_decode`] is the paper's algorithm, [`speculate`] the same for several tokens
//! per forward of the base, [`generate`] the loop around both, [`batch`] one step of several sequences.

pub mod batch;
pub mod co_decode;
pub mod speculate;

pub mod draft_length;
pub mod generate;
pub mod rng;
pub mod sampler;
pub mod sequence;

mod lookup;

pub use co_decode::{CoDecoder, Provenance, Step};
pub use sequence::Sequence;
pub use speculate::{Round, Signal};

/// What can go wrong while tokens are chosen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A model failed.
    #[error(transparent)]
    Model(#[from] crate::model::Error),
    /// A row of logits has no finite maximum: the weights or a kernel are broken.
    #[error("the model's logits are not finite")]
    NotFinite,
}

/// The two models of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// The model that is hardened.
    Base,
    /// The small model that hardens it.
    Security,
}
