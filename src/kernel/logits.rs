//! What sampling asks of a row of logits, `[V]`: its maximum, its normalizer, and the ids near the top.
//!
//! Each of them is one pass; V is 151,936 for Qwen2.5.

use pulp::{Arch, NullaryFnOnce};

use super::exp::exp;
use super::sum::{max, sum};

/// Numbers that are looked at as one: few enough that their f32 sum rounds little.
const BLOCK: usize = 256;

/// Bound on the relative error of [`sum_exp`]: the exponential's own, that of its argument (1.8e-7 times the argument,
/// of which those beyond 30 do not count beside the maximum), and the sum's over a block.
pub const SUM_EXP_ERROR: f64 = 1e-5;

/// How far below the largest number of a row one adds less than a millionth of what that adds.
const FAR: f32 = -16.0;

/// The largest number of a row; NaN if there is one in it, −∞ of none.
pub fn largest(row: &[f32]) -> f32 {
    Arch::new().dispatch(|| {
        let mut is_nan = 0u32;
        for &x in row {
            is_nan |= u32::from(x.is_nan());
        }
        if is_nan == 0 { max(row) } else { f32::NAN }
    })
}

/// The index of the largest number; the smallest index among equals, 0 of none. No number is NaN.
pub fn first_largest(row: &[f32]) -> usize {
    Arch::new().dispatch(|| {
        let (mut block, mut most) = (0, f32::NEG_INFINITY);
        for (i, numbers) in row.chunks(BLOCK).enumerate() {
            let of_block = max(numbers);
            if of_block > most {
                (block, most) = (i, of_block);
            }
        }
        let numbers = &row[block * BLOCK..];
        block * BLOCK + numbers.iter().position(|&x| x == most).unwrap_or(0)
    })
}

/// `Σ exp((x − most) · scale)` to [`SUM_EXP_ERROR`], where `most` is the largest number of the row and `scale` is
/// positive.
pub fn sum_exp(row: &[f32], most: f32, scale: f32) -> f64 {
    Arch::new().dispatch(SumExp { row, most, scale })
}

/// [`sum_exp`]: not a closure, which might not be inlined, and so not be compiled for the machine.
struct SumExp<'a> {
    row: &'a [f32],
    most: f32,
    scale: f32,
}

impl NullaryFnOnce for SumExp<'_> {
    type Output = f64;

    #[inline(always)]
    fn call(self) -> f64 {
        let mut total = 0.0;
        for block in self.row.chunks(BLOCK) {
            total += f64::from(sum(block, |x| exp((x - self.most) * self.scale)));
        }
        total
    }
}

/// `ln Σ exp(x)`, where `most` is the largest number of the row. Blocks that are far below it, as most are, are summed to
/// [`SUM_EXP_ERROR`] of what little they add; the others in f64.
pub fn log_sum_exp(row: &[f32], most: f32) -> f64 {
    f64::from(most) + Arch::new().dispatch(MixedSum { row, most }).ln()
}

/// Σ exp(x − most) for [`log_sum_exp`]; no closure, as [`SumExp`].
struct MixedSum<'a> {
    row: &'a [f32],
    most: f32,
}

impl NullaryFnOnce for MixedSum<'_> {
    type Output = f64;

    #[inline(always)]
    fn call(self) -> f64 {
        let mut total = 0.0;
        for block in self.row.chunks(BLOCK) {
            if max(block) - self.most < FAR {
                total += f64::from(sum(block, |x| exp(x - self.most)));
            } else {
                total += block.iter().map(|&x| f64::from(x - self.most).exp()).sum::<f64>();
            }
        }
        total
    }
}

/// The indices `i` with `row[i] − most ≥ bound`, in order.
pub fn at_least(row: &[f32], most: f32, bound: f32) -> Vec<usize> {
    let mut found = Vec::new();
    Arch::new().dispatch(|| {
        for (i, block) in row.chunks(BLOCK).enumerate() {
            // Most blocks have none.
            if max(block) - most >= bound {
                let near = block.iter().enumerate().filter(|&(_, &x)| x - most >= bound);
                found.extend(near.map(|(j, _)| i * BLOCK + j));
            }
        }
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(n: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7919 + 31) % 1009) as f32 / 40.0 - 12.0).collect()
    }

    #[test]
    fn the_logarithm_of_the_sum_is_that_of_a_sum_in_f64() {
        for n in [1, 100, 256, 5000] {
            // Blocks near the largest number and blocks far below it.
            let row: Vec<f32> = row(n).iter().zip(0..).map(|(x, i)| x - (i / 512) as f32).collect();
            let most = largest(&row);
            let total: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
            let got = log_sum_exp(&row, most);
            assert!((got - total.ln()).abs() < 1e-9, "{n}: {got} {}", total.ln());
        }
    }

    #[test]
    fn the_maximum_and_its_first_place_are_found_in_any_length() {
        assert_eq!((largest(&[]), first_largest(&[])), (f32::NEG_INFINITY, 0));
        for n in [1, 15, 16, 255, 256, 257, 1009, 5000] {
            let mut row = row(n);
            row[n / 2] = 99.0;
            row[n - 1] = 99.0;
            assert_eq!((largest(&row), first_largest(&row)), (99.0, n / 2));
            row[n / 3] = f32::NAN;
            assert!(largest(&row).is_nan());
        }
        assert_eq!(first_largest(&[f32::NEG_INFINITY; 3]), 0);
    }

    #[test]
    fn the_sum_keeps_its_bound() {
        for n in [1, 300, 150_000] {
            for scale in [0.1, 1.0, 2.5, 40.0] {
                let mut row = row(n);
                row[n / 2] = f32::NEG_INFINITY;
                row[n - 1] = 14.0;
                let weight = |&x: &f32| (f64::from(x - 14.0) * f64::from(scale)).exp();
                let expected: f64 = row.iter().map(weight).sum();
                let got = sum_exp(&row, 14.0, scale);
                assert!((got / expected - 1.0).abs() < SUM_EXP_ERROR, "{got} is not {expected}");
            }
        }
    }

    #[test]
    fn indices_near_the_top_come_in_order() {
        let row = row(5000);
        let most = largest(&row);
        for bound in [0.0, -0.5, -7.0, -100.0] {
            let expected: Vec<usize> = (0..5000).filter(|&i| row[i] - most >= bound).collect();
            assert_eq!(at_least(&row, most, bound), expected);
        }
    }
}
