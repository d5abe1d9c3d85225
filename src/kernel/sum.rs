//! Sums in sixteen strands, which compilers turn into vector instructions, and which round less than one strand.

/// Numbers that are summed side by side.
const STRANDS: usize = 16;

/// Σ f(aᵢ).
#[inline(always)]
pub fn sum(a: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut strands = [0f32; STRANDS];
    let (whole, rest) = a.as_chunks::<STRANDS>();
    for a in whole {
        for (strand, &a) in strands.iter_mut().zip(a) {
            *strand += f(a);
        }
    }
    for (strand, &a) in strands.iter_mut().zip(rest) {
        *strand += f(a);
    }
    strands.iter().sum()
}

/// Σ f(aᵢ, bᵢ); `a` and `b` are equally long.
#[inline(always)]
pub fn sum_pairs(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut strands = [0f32; STRANDS];
    let (whole_a, rest_a) = a.as_chunks::<STRANDS>();
    let (whole_b, rest_b) = b.as_chunks::<STRANDS>();
    for (a, b) in whole_a.iter().zip(whole_b) {
        for ((strand, &a), &b) in strands.iter_mut().zip(a).zip(b) {
            *strand += f(a, b);
        }
    }
    for ((strand, &a), &b) in strands.iter_mut().zip(rest_a).zip(rest_b) {
        *strand += f(a, b);
    }
    strands.iter().sum()
}

/// The largest number; −∞ of none.
#[inline(always)]
pub fn max(a: &[f32]) -> f32 {
    let larger = |most: f32, x: f32| if x > most { x } else { most };
    let mut strands = [f32::NEG_INFINITY; STRANDS];
    let (whole, rest) = a.as_chunks::<STRANDS>();
    for a in whole {
        for (strand, &a) in strands.iter_mut().zip(a) {
            *strand = larger(*strand, a);
        }
    }
    strands.iter().chain(rest).copied().fold(f32::NEG_INFINITY, larger)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_is_summed_whole() {
        for n in 0..70 {
            let a: Vec<f32> = (0..n).map(|i| i as f32).collect();
            assert_eq!(sum(&a, |x| x), (0..n).sum::<i32>() as f32);
            assert_eq!(sum_pairs(&a, &a, |x, y| x * y), (0..n).map(|i| i * i).sum::<i32>() as f32);
            assert_eq!(max(&a), if n == 0 { f32::NEG_INFINITY } else { (n - 1) as f32 });
        }
    }
}
