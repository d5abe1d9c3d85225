//! The two parts of the security model's training loss (§2.1, equations 1 and 2), row by row, and their gradients.
//!
//! A row is the logits of one prediction, `[V]`; V is 151,936 for Qwen2.5, so rows are turned into their own gradients
//! in place.

use pulp::{Arch, NullaryFnOnce};

use super::exp::exp;
use super::sum::{max, sum, sum_pairs};

/// Which way the divergence between the security model S and the frozen model B is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Divergence {
    /// KL(S ‖ B), as the paper writes it.
    SecurityFromBase,
    /// KL(B ‖ S), as the published code computes it.
    BaseFromSecurity,
}

/// Cross-entropy of `target` under the softmax of `logits`, which become the gradient times `scale`.
///
/// # Panics
/// If there is no such token.
pub fn cross_entropy(logits: &mut [f32], target: usize, scale: f32) -> f64 {
    let at_target = logits[target];
    let normalizer = Arch::new().dispatch(Normalize { logits, scale });
    logits[target] -= scale;
    f64::from(normalizer) - f64::from(at_target)
}

/// Turns logits into probabilities times `scale`; gives ln Σ eˣ. No closure, which might not be inlined, and so not be
/// compiled for the machine.
struct Normalize<'a> {
    logits: &'a mut [f32],
    scale: f32,
}

impl NullaryFnOnce for Normalize<'_> {
    type Output = f32;

    #[inline(always)]
    fn call(self) -> f32 {
        let normalizer = log_sum_exp(self.logits);
        for x in self.logits.iter_mut() {
            *x = self.scale * exp(*x - normalizer);
        }
        normalizer
    }
}

/// The divergence of two rows of logits; `security` becomes its gradient times `scale`.
///
/// # Panics
/// If the rows differ in width.
pub fn divergence(security: &mut [f32], base: &[f32], which: Divergence, scale: f32) -> f64 {
    assert_eq!(security.len(), base.len(), "rows of one vocabulary");
    Arch::new().dispatch(Diverge { security, base, which, scale })
}

/// What [`divergence`] computes.
struct Diverge<'a> {
    security: &'a mut [f32],
    base: &'a [f32],
    which: Divergence,
    scale: f32,
}

impl NullaryFnOnce for Diverge<'_> {
    type Output = f64;

    #[inline(always)]
    fn call(self) -> f64 {
        let Self { security, base, which, scale } = self;
        let (s_norm, b_norm) = (log_sum_exp(security), log_sum_exp(base));
        let shift = s_norm - b_norm;
        match which {
            Divergence::SecurityFromBase => {
                let term = |s, b| exp(s - s_norm) * (s - b - shift);
                let divergence = sum_pairs(security, base, term);
                for (s, b) in security.iter_mut().zip(base) {
                    *s = scale * exp(*s - s_norm) * (*s - b - shift - divergence);
                }
                f64::from(divergence)
            }
            Divergence::BaseFromSecurity => {
                let term = |s, b| exp(b - b_norm) * (b - s + shift);
                let divergence = sum_pairs(security, base, term);
                for (s, b) in security.iter_mut().zip(base) {
                    *s = scale * (exp(*s - s_norm) - exp(b - b_norm));
                }
                f64::from(divergence)
            }
        }
    }
}

/// ln Σ eˣ.
#[inline(always)]
fn log_sum_exp(row: &[f32]) -> f32 {
    let most = max(row);
    most + sum(row, |x| exp(x - most)).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logits(seed: usize) -> Vec<f32> {
        (0..97).map(|i| ((i * 31 + seed * 57) % 101) as f32 / 20.0 - 2.0).collect()
    }

    fn log_softmax(row: &[f32]) -> Vec<f64> {
        let total: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
        row.iter().map(|&x| f64::from(x) - total.ln()).collect()
    }

    /// Compares a loss and its gradient with the formula in f64 and its central differences.
    fn check(expected: impl Fn(&[f32]) -> f64, got: impl Fn(&mut [f32]) -> f64) {
        let row = logits(1);
        let mut grad = row.clone();
        let loss = got(&mut grad);
        assert!((loss - expected(&row)).abs() < 1e-5, "{loss} is not {}", expected(&row));
        for i in 0..row.len() {
            let (mut more, mut less) = (row.clone(), row.clone());
            more[i] += 0.01;
            less[i] -= 0.01;
            let slope = (expected(&more) - expected(&less)) / 0.02;
            assert!((f64::from(grad[i]) / 3.0 - slope).abs() < 1e-4, "{i}: {} {slope}", grad[i]);
        }
    }

    #[test]
    fn cross_entropy_and_its_gradient() {
        check(|row| -log_softmax(row)[5], |row| cross_entropy(row, 5, 3.0));
    }

    #[test]
    fn both_divergences_and_their_gradients() {
        let base = logits(2);
        let b = log_softmax(&base);
        let kl =
            |p: &[f64], q: &[f64]| -> f64 { p.iter().zip(q).map(|(p, q)| p.exp() * (p - q)).sum() };
        check(
            |row| kl(&log_softmax(row), &b),
            |row| divergence(row, &base, Divergence::SecurityFromBase, 3.0),
        );
        check(
            |row| kl(&b, &log_softmax(row)),
            |row| divergence(row, &base, Divergence::BaseFromSecurity, 3.0),
        );
    }
}
