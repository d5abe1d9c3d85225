//! The exponential, in a form that compilers turn into vector instructions.

/// ln 2 in two parts, so that `n · ln 2` is exact for the `n` that occur (Cephes, `expf.c`).
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;

/// Coefficients of Cephes' polynomial for `eʳ − 1 − r` over `r²`, highest power first.
const POLYNOMIAL: [f32; 6] =
    [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5];

/// Below this the result is 0; above its negative, the largest finite number's neighbourhood.
const LIMIT: f32 = 87.0;

/// `eˣ` to about two units in the last place, without a branch; for `x` beyond ±87 that of the nearer limit.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let x = x.clamp(-LIMIT, LIMIT);
    // Adding and subtracting 1.5 · 2²³ rounds to the nearest integer.
    const ROUND: f32 = 12_582_912.0;
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = x - n * LN_2_HIGH - n * LN_2_LOW;
    let mut poly = POLYNOMIAL[0];
    for coefficient in &POLYNOMIAL[1..] {
        poly = poly * r + coefficient;
    }
    let fraction = poly * r * r + r + 1.0;
    // The last bits of what was rounded are `n`: a conversion, which saturates, would keep compilers from vectorising.
    let n = rounded.to_bits().wrapping_sub(ROUND.to_bits());
    fraction * f32::from_bits(n.wrapping_add(127) << 23)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_standard_library() {
        for i in -86_000..86_000 {
            let x = i as f32 / 1000.0;
            let (got, expected) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((got - expected).abs() <= 3e-7 * expected, "e^{x}: {got} is not {expected}");
        }
    }
}
