//! Softmax over the positions that a token may see, and its gradient.

use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;

use super::exp::exp;
use super::sum::{max, sum, sum_pairs};

/// Turns scores into attention weights, row by row: `scores` holds rows of `n_tokens`, of which row `i` (counted
/// modulo `n_tokens`, so that heads may be stacked) sees positions `0..=i`. Scores are multiplied by `scale` first;
/// what a row does not see gets weight 0.
///
/// # Panics
/// If `scores` is no whole number of `[n_tokens, n_tokens]` matrices.
pub fn causal_softmax(scores: &mut [f32], n_tokens: usize, scale: f32) {
    assert!(scores.len().is_multiple_of(n_tokens * n_tokens), "whole matrices of scores");
    scores.par_chunks_mut(n_tokens * n_tokens).for_each(|matrix| {
        Arch::new().dispatch(CausalSoftmax { matrix, n_tokens, scale });
    });
}

/// [`causal_softmax`] of one matrix. No closure, which might not be inlined, and so not be compiled for the machine.
struct CausalSoftmax<'a> {
    matrix: &'a mut [f32],
    n_tokens: usize,
    scale: f32,
}

impl NullaryFnOnce for CausalSoftmax<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for (i, row) in self.matrix.chunks_exact_mut(self.n_tokens).enumerate() {
            let (seen, unseen) = row.split_at_mut(i + 1);
            softmax(seen, self.scale);
            unseen.fill(0.0);
        }
    }
}

/// From the gradient of attention weights to that of the scores before scaling, in place; `weights` are those of
/// [`causal_softmax`], and both have its shape.
///
/// # Panics
/// If the two differ in length.
pub fn causal_softmax_gradient(weights: &[f32], grad: &mut [f32], n_tokens: usize, scale: f32) {
    assert_eq!(weights.len(), grad.len(), "a gradient per weight");
    let size = n_tokens * n_tokens;
    grad.par_chunks_mut(size).zip(weights.par_chunks(size)).for_each(|(grad, weights)| {
        Arch::new().dispatch(|| {
            let rows = grad.chunks_exact_mut(n_tokens).zip(weights.chunks_exact(n_tokens));
            for (i, (grad, weights)) in rows.enumerate() {
                let (grad, unseen) = grad.split_at_mut(i + 1);
                let weights = &weights[..=i];
                let mean = sum_pairs(grad, weights, |g, w| g * w);
                for (g, w) in grad.iter_mut().zip(weights) {
                    *g = scale * w * (*g - mean);
                }
                unseen.fill(0.0);
            }
        });
    });
}

/// `softmax(scale · row)`, in place.
#[inline(always)]
pub(super) fn softmax(row: &mut [f32], scale: f32) {
    let most = max(row);
    for x in row.iter_mut() {
        *x = exp((*x - most) * scale);
    }
    let factor = 1.0 / sum(row, |x| x);
    for x in row.iter_mut() {
        *x *= factor;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, seed: u32) -> Vec<f32> {
        (0..n as u32).map(|i| ((i * 7919 + seed * 104_729) % 1009) as f32 / 200.0 - 2.5).collect()
    }

    #[test]
    fn rows_are_distributions_over_what_they_see() {
        let n = 19;
        let scores = numbers(2 * n * n, 1);
        let mut weights = scores.clone();
        causal_softmax(&mut weights, n, 0.3);
        for (row, (got, scores)) in weights.chunks(n).zip(scores.chunks(n)).enumerate() {
            let seen = row % n + 1;
            let total: f64 = scores[..seen].iter().map(|s| f64::from(s * 0.3).exp()).sum();
            for (j, got) in got.iter().enumerate() {
                let expected =
                    if j < seen { f64::from(scores[j] * 0.3).exp() / total } else { 0.0 };
                assert!((f64::from(*got) - expected).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn the_gradient_is_that_of_the_softmax() {
        let (n, scale) = (7, 0.5);
        let (scores, upstream) = (numbers(n * n, 2), numbers(n * n, 3));
        let value = |scores: &[f32]| -> f64 {
            let mut weights = scores.to_vec();
            causal_softmax(&mut weights, n, scale);
            weights.iter().zip(&upstream).map(|(w, g)| f64::from(w * g)).sum()
        };
        let mut weights = scores.clone();
        causal_softmax(&mut weights, n, scale);
        let mut grad = upstream.clone();
        causal_softmax_gradient(&weights, &mut grad, n, scale);
        for i in 0..n * n {
            let (mut more, mut less) = (scores.clone(), scores.clone());
            more[i] += 0.01;
            less[i] -= 0.01;
            let expected = (value(&more) - value(&less)) / 0.02;
            assert!((f64::from(grad[i]) - expected).abs() < 2e-3, "{} {expected}", grad[i]);
        }
    }
}
