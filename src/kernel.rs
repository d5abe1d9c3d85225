//! Arithmetic on slices, fitted to the CPU: layer 0, which knows no tensor, no model and no thread but rayon's and
//! those of [`threads`].
//!
//! Slices in, slices out; shapes are arguments and checked. What the machine has is found out at run time, so one
//! program runs anywhere: [`pulp`] compiles each loop for several instruction sets and takes the widest there is.

pub mod attention;
pub mod bf16;
pub mod exp;
pub mod fused;
pub mod logits;
pub mod losses;
pub mod low_rank;
pub mod memory;
pub mod norm;
pub mod quant;
pub mod rope;
pub mod softmax;
pub mod sum;
pub mod swiglu;
pub mod threads;
