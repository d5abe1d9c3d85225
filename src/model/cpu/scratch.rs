//! The memory of one forward, used again by the next, and products with it.

use std::cell::RefCell;
use std::sync::Arc;

use crate::kernel::quant::{ActivationBlocks, Activations, InstructionSet, PackedMatrix, Product};
use crate::kernel::threads::Threads;
use crate::model::config::Config;

/// Numbers that are rounded on one thread, because others would come too late.
const ROUND_ALONE: usize = 16_384;

/// What a forward over T tokens writes to.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// The residual stream, `[T, E]`.
    pub(super) x: Vec<f32>,
    /// `[T, E]`.
    pub(super) normed: Vec<f32>,
    /// `[T, H·D]`.
    pub(super) query: Vec<f32>,
    /// `[T, K·D]`.
    pub(super) key: Vec<f32>,
    /// `[T, K·D]`.
    pub(super) value: Vec<f32>,
    /// What attention gives, `[T, H·D]`.
    pub(super) mixed: Vec<f32>,
    /// What a block adds to the residual stream, `[T, E]`.
    pub(super) out: Vec<f32>,
    /// `[T, hidden]`.
    pub(super) gate: Vec<f32>,
    /// `[T, hidden]`.
    pub(super) up: Vec<f32>,
    /// Cosines of the tokens' angles, `[T, D/2]`.
    pub(super) cos: Vec<f32>,
    /// Their sines.
    pub(super) sin: Vec<f32>,
    /// Where each token stands, `[T]`.
    pub(super) places: Vec<Place>,
    /// What products read.
    pub(super) rounded: Rounded,
}

/// Where a token of a forward stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Which of the sequences that are fed.
    pub(super) feed_idx: usize,
    /// Tokens before it in that sequence.
    pub(super) pos: usize,
}

/// The rows of one product, rounded as its weights' formats need them.
#[derive(Debug, Default)]
pub(super) struct Rounded {
    of_256: Activations,
    of_32: Activations,
}

impl Scratch {
    /// Makes room for `n_tokens`.
    pub(super) fn resize(&mut self, config: &Config, n_tokens: usize) {
        let Config { n_heads, n_kv_heads, head_dim, model_dim, hidden_dim, .. } = *config;
        let sizes = [
            (&mut self.x, model_dim),
            (&mut self.normed, model_dim),
            (&mut self.query, n_heads * head_dim),
            (&mut self.key, n_kv_heads * head_dim),
            (&mut self.value, n_kv_heads * head_dim),
            (&mut self.mixed, n_heads * head_dim),
            (&mut self.out, model_dim),
            (&mut self.gate, hidden_dim),
            (&mut self.up, hidden_dim),
            (&mut self.cos, head_dim / 2),
            (&mut self.sin, head_dim / 2),
        ];
        for (buffer, width) in sizes {
            buffer.resize(n_tokens * width, 0.0);
        }
    }

    /// The angles of the tokens at [`Scratch::places`]; `frequencies` is `[D/2]`.
    pub(super) fn angles(&mut self, frequencies: &[f32], rope_scale: f32) {
        let width = frequencies.len();
        let rows = self.cos.chunks_exact_mut(width).zip(self.sin.chunks_exact_mut(width));
        for (place, (cos, sin)) in self.places.iter().zip(rows) {
            let pos = place.pos as f32 / rope_scale;
            for ((cos, sin), frequency) in cos.iter_mut().zip(sin).zip(frequencies) {
                (*sin, *cos) = (pos * frequency).sin_cos();
            }
        }
    }
}

/// What computes products.
#[derive(Debug)]
pub(super) struct Processor {
    pub(super) threads: Arc<Threads>,
    pub(super) set: InstructionSet,
}

/// `y = x · Wᵀ` for matrices that read the same rows `x: [T, in]`.
pub(super) fn multiply<const N: usize>(
    Processor { threads, set }: &Processor,
    rounded: &mut Rounded,
    x: &[f32],
    products: [(&PackedMatrix, &mut [f32]); N],
) {
    let Rounded { of_256, of_32 } = rounded;
    let n_in = products[0].0.n_in();
    let needs = |wanted| products.iter().any(|(m, _)| m.format().activation_blocks() == wanted);
    if needs(ActivationBlocks::Of256) {
        round(threads, of_256, x, (n_in, ActivationBlocks::Of256));
    }
    if needs(ActivationBlocks::Of32) {
        round(threads, of_32, x, (n_in, ActivationBlocks::Of32));
    }
    let products = products.map(|(matrix, y)| {
        let x = match matrix.format().activation_blocks() {
            ActivationBlocks::Of256 => &*of_256,
            ActivationBlocks::Of32 => &*of_32,
        };
        Product::new(matrix, x, y, *set)
    });
    threads.together(|| products.iter().for_each(Product::run));
}

fn round(
    threads: &Threads,
    activations: &mut Activations,
    x: &[f32],
    (n_in, blocks): (usize, ActivationBlocks),
) {
    let writer = activations.writer(x, n_in, blocks);
    match x.len() {
        0..ROUND_ALONE => writer.run(),
        _ => threads.together(|| writer.run()),
    }
}

/// Lends this thread's memory for attention scores.
pub(super) fn with_scores<R>(work: impl FnOnce(&mut Vec<f32>) -> R) -> R {
    thread_local! {
        static SCORES: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    }
    SCORES.with_borrow_mut(work)
}
