//! The RMS norm of a row, and its gradient.

use pulp::Arch;
use rayon::prelude::*;

use super::sum::{sum, sum_pairs};

/// `x / √(mean(x²) + ε) · weight` for one row, `[E]` each.
///
/// # Panics
/// If the lengths differ.
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    assert!(x.len() == weight.len() && x.len() == out.len(), "one width");
    Arch::new().dispatch(|| {
        let mean_square = sum(x, |x| x * x) / x.len() as f32;
        let r = 1.0 / (mean_square + eps).sqrt();
        for ((out, x), w) in out.iter_mut().zip(x).zip(weight) {
            *out = x * r * w;
        }
    });
}

/// The gradient of `x` in `y = x / √(mean(x²) + ε) · weight`, row by row; `x` and `grad` are `[rows, E]`, `weight` is
/// `[E]`.
///
/// # Panics
/// If the lengths do not fit.
pub fn rms_norm_gradient(x: &[f32], weight: &[f32], eps: f32, grad: &[f32]) -> Vec<f32> {
    let width = weight.len();
    assert!(x.len() == grad.len() && x.len().is_multiple_of(width), "whole rows");
    let mut out = vec![0.0; x.len()];
    let rows = x.par_chunks(width).zip(grad.par_chunks(width));
    out.par_chunks_mut(width).zip(rows).for_each(|(out, (x, grad))| {
        Arch::new().dispatch(|| {
            let mean_square = sum(x, |x| x * x) / width as f32;
            let r = 1.0 / (mean_square + eps).sqrt();
            for ((out, w), g) in out.iter_mut().zip(weight).zip(grad) {
                *out = w * g;
            }
            let dot = sum_pairs(x, out, |x, g| x * g);
            let back = r * r * r * dot / width as f32;
            for (out, x) in out.iter_mut().zip(x) {
                *out = *out * r - x * back;
            }
        });
    });
    out
}
