//! Products with weights that stay quantized: `y = x · Wᵀ` for up to eight rows of `x` in the time that one takes.
//!
//! A forward over few rows costs what reading the weights costs, so that the weights are read once, in the order in
//! which they lie, and decoded once for all rows. For that they are repacked when they are loaded: [`PackedMatrix`] holds
//! strips of sixteen output rows, whose lines of 64 bytes hold four consecutive numbers of each of the sixteen. One
//! instruction (`vpdpbusd` with four activations broadcast) then adds to sixteen sums, and no sum is ever taken across
//! a register. Weights lose nothing in this.
//!
//! [`Activations`] are rounded to eight bits in blocks, as llama.cpp does (`quantize_row_q8_K`, `quantize_row_q8_0` of
//! `ggml-quants.c`), once for all matrices that read them. A [`Product`] is computed by any number of threads, each of
//! which takes the next strips until none are left.
//!
//! Row `i` of a product has the same bits whatever other rows there are, however many threads work, and whichever
//! [`InstructionSet`] they use: sums of integers are exact, and floats are added per row in one order, that of the
//! blocks along the row, with the same fused operations everywhere. Verifying drafted tokens relies on this.

mod activations;
mod format;
mod instruction_set;
mod pack;
mod product;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "x86_64")]
mod prefetch;
mod scalar;
#[cfg(target_arch = "x86_64")]
mod sse;

#[cfg(test)]
mod oracle;

pub use activations::{ActivationBlocks, Activations, ActivationsWriter};
pub use format::BlockFormat;
pub use instruction_set::InstructionSet;
pub use pack::{PackError, PackedMatrix};
pub use product::Product;
