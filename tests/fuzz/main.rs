//! Fuzzing, kept: a target per kind of input from outside, random inputs for it, and every input that once failed.
//!
//! Inputs are values that `proptest` generates and shrinks, whole or nearly so, and that lie as JSON in `corpus/TARGET/`.
//! An ordinary run replays those and tries a few hundred new ones, the same ones each time. `COSEC_FUZZ_SECONDS=3600
//! cargo test --release --test fuzz -- --nocapture` tries new ones for that long, each target on a thread of its own;
//! `.ci/run` does so for a minute. What fails is shrunk and written to the corpus. A panic is a failure, and so is memory
//! out of proportion, an input that takes seconds, and whatever a target says of its own.

#![expect(unreachable_pub, reason = "modules share helpers inside one binary")]

mod adapters;
mod completions;
mod edits;
mod engine_settings;
mod frames;
mod gguf;
mod harness;
mod manifest;
#[path = "../lsp/scripted_backend.rs"]
#[expect(dead_code, reason = "the protocol's tests use all of it")]
mod scripted_backend;
mod sequences;
#[path = "../support/tiny_gguf.rs"]
#[expect(dead_code, reason = "other tests use all of it")]
mod tiny_gguf;
#[path = "../support/tiny_pair.rs"]
#[expect(dead_code, reason = "other tests use all of it")]
mod tiny_pair;
mod wire;

/// No input is longer than some 100 kB, so that whoever asks for more than this has believed a number in a file.
const MAX_ALLOCATED_BYTES: usize = 1 << 30;

#[global_allocator]
static ALLOCATOR: cap::Cap<std::alloc::System> =
    cap::Cap::new(std::alloc::System, MAX_ALLOCATED_BYTES);
