//! `a · b + c`, rounded once, on machines that have no instruction for it.
//!
//! Products and attention are defined by fused operations ([`f32::mul_add`]), for which such machines call a library's
//! function, one number at a time. Doubles do it as well: they hold the product of two floats exactly, so that only
//! their sum is rounded before it becomes a float. That rounding is harmless unless its result lies in the middle of
//! two floats.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// The bits of [`f32::mul_add`] on machines with an instruction for it, but for those that tell one NaN from another.
///
/// The double's sum is rounded to odd (Boldo and Melquiond, "Emulation of FMA and correctly rounded sums: proved
/// algorithms using rounding to odd", 2008): what is lost shows in the last bit, so that rounding it again is right.
pub fn fused(a: f32, b: f32, c: f32) -> f32 {
    let (product, c) = (f64::from(a) * f64::from(b), f64::from(c));
    let sum = product + c;
    // What the sum lost, exactly (Knuth's TwoSum); NaN where the sum is not finite.
    let of_c = sum - product;
    let error = (product - (sum - of_c)) + (c - of_c);
    let bits = sum.to_bits();
    let is_exact = error == 0.0 || error.is_nan();
    if is_exact || bits & 1 == 1 {
        return sum as f32;
    }
    let outwards = (error > 0.0) == (sum > 0.0);
    f64::from_bits(if outwards { bits + 1 } else { bits - 1 }) as f32
}

/// Whether [`fused_4_unless`] gave a number that may be wrong.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug)]
pub(super) struct Doubt(__m128i);

#[cfg(target_arch = "x86_64")]
impl Default for Doubt {
    /// None.
    #[inline(always)]
    fn default() -> Self {
        Self(pulp::cast(0u128))
    }
}

#[cfg(target_arch = "x86_64")]
impl Doubt {
    /// Whether there is any.
    #[inline(always)]
    pub(super) fn is_any(self) -> bool {
        pulp::cast::<_, u128>(self.0) != 0
    }
}

/// [`fused`] of four numbers at a time, unless there is any doubt afterwards: then one of them may be wrong. For code
/// that is compiled for whatever machine.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) fn fused_4_unless(doubt: &mut Doubt, a: __m128, b: __m128, c: __m128) -> __m128 {
    #[expect(unsafe_code, reason = "calls a function compiled for SSE2")]
    // SAFETY: SSE2 is part of x86-64.
    unsafe {
        rounded_twice(doubt, a, b, c)
    }
}

/// [`fused`] of four numbers at a time, for code that is compiled for whatever machine.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) fn fused_4_anywhere(a: __m128, b: __m128, c: __m128) -> __m128 {
    #[expect(unsafe_code, reason = "calls a function compiled for SSE2")]
    // SAFETY: SSE2 is part of x86-64.
    let [fused] = unsafe { fused_4([a], [b], [c]) };
    fused
}

/// [`fused`] of four numbers at a time, `N` times.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "sse2")]
pub(super) fn fused_4<const N: usize>(
    a: [__m128; N],
    b: [__m128; N],
    c: [__m128; N],
) -> [__m128; N] {
    let mut fused = c;
    let mut doubt = Doubt::default();
    for i in 0..N {
        fused[i] = rounded_twice(&mut doubt, a[i], b[i], c[i]);
    }
    if doubt.is_any() {
        one_by_one(&a, &b, &c, &mut fused);
    }
    fused
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "sse2")]
fn rounded_twice(doubt: &mut Doubt, a: __m128, b: __m128, c: __m128) -> __m128 {
    let low = sum_2(a, b, c);
    let high = sum_2(upper(a), upper(b), upper(c));
    doubt.0 = _mm_or_si128(doubt.0, in_doubt(low, high));
    _mm_movelh_ps(_mm_cvtpd_ps(low), _mm_cvtpd_ps(high))
}

/// The upper two numbers in the place of the lower ones.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "sse2")]
fn upper(x: __m128) -> __m128 {
    _mm_movehl_ps(x, x)
}

/// `a · b + c` of the lower two numbers, rounded to doubles.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "sse2")]
fn sum_2(a: __m128, b: __m128, c: __m128) -> __m128d {
    _mm_add_pd(_mm_mul_pd(_mm_cvtps_pd(a), _mm_cvtps_pd(b)), _mm_cvtps_pd(c))
}

/// Which of these doubles may lie in the middle of two floats: those that end as such a middle does, and those
/// below the smallest normal float, whose middles end elsewhere. Zero is exact.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "sse2")]
fn in_doubt(low: __m128d, high: __m128d) -> __m128i {
    /// The bits of a double that a normal float lacks, and of these the one that is worth half a float's last.
    const LACKED: i32 = 0x1FFF_FFFF;
    const HALF: i32 = 0x1000_0000;
    /// The upper half of the smallest normal float as a double, 2⁻¹²⁶.
    const NORMAL: i32 = (1023 - 126) << 20;
    let (low, high) = (_mm_castpd_ps(low), _mm_castpd_ps(high));
    let ends = _mm_castps_si128(_mm_shuffle_ps::<0b10_00_10_00>(low, high));
    let begins = _mm_castps_si128(_mm_shuffle_ps::<0b11_01_11_01>(low, high));
    let ends = _mm_and_si128(ends, _mm_set1_epi32(LACKED));
    let is_middle = _mm_cmpeq_epi32(ends, _mm_set1_epi32(HALF));
    // Adding the largest number makes zero the largest, and one the smallest.
    let begins = _mm_and_si128(begins, _mm_set1_epi32(i32::MAX));
    let begins = _mm_add_epi32(begins, _mm_set1_epi32(i32::MAX));
    let is_small = _mm_cmpgt_epi32(_mm_set1_epi32(NORMAL.wrapping_add(i32::MAX)), begins);
    _mm_or_si128(is_middle, is_small)
}

#[cfg(target_arch = "x86_64")]
#[cold]
#[inline(never)]
fn one_by_one(a: &[__m128], b: &[__m128], c: &[__m128], out: &mut [__m128]) {
    for (((a, b), c), out) in a.iter().zip(b).zip(c).zip(out) {
        let [a, b, c]: [[f32; 4]; 3] = [a, b, c].map(|x| pulp::cast(*x));
        *out = pulp::cast([0, 1, 2, 3].map(|i| fused(a[i], b[i], c[i])));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether [`f32::mul_add`] is right about a result. Without an instruction it is wrong about some below the smallest
    /// normal number: <https://github.com/rust-lang/compiler-builtins/issues/1262>.
    fn is_right(result: f32) -> bool {
        #[cfg(target_arch = "x86_64")]
        let has_instruction = is_x86_feature_detected!("fma");
        #[cfg(not(target_arch = "x86_64"))]
        let has_instruction = true;
        has_instruction || result.is_nan() || result.abs() > f32::MIN_POSITIVE
    }

    fn check(a: f32, b: f32, c: f32) {
        let expected = a.mul_add(b, c);
        if !is_right(expected) {
            return;
        }
        let is_expected = |got: f32| got.to_bits() == expected.to_bits() || got.is_nan();
        let got = fused(a, b, c);
        assert_eq!(got.is_nan(), expected.is_nan(), "{a:e} · {b:e} + {c:e}");
        assert!(is_expected(got), "{a:e} · {b:e} + {c:e} is {expected:e}, not {got:e}");
        #[cfg(target_arch = "x86_64")]
        {
            // Among numbers that are in no doubt.
            let [a4, b4, c4] = [a, b, c].map(|x| pulp::cast([1.5, x, 1.5, 1.5]));
            let got = fused_4_anywhere(a4, b4, c4);
            let got: [f32; 4] = pulp::cast(got);
            assert_eq!(got[1].is_nan(), expected.is_nan(), "{a:e} · {b:e} + {c:e}");
            assert!(is_expected(got[1]), "{a:e} · {b:e} + {c:e} is {expected:e}, not {got:?}");
            assert_eq!([got[0], got[2], got[3]], [3.75; 3]);
        }
    }

    /// Random enough bits (splitmix64).
    fn random(state: &mut u64) -> u64 {
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    #[test]
    fn any_numbers_are_fused_as_the_standard_library_does() {
        let mut state = 1;
        for _ in 0..1_000_000 {
            let [a, b, c] = [0; 3].map(|_| f32::from_bits(random(&mut state) as u32));
            check(a, b, c);
        }
    }

    #[test]
    fn sums_of_like_numbers_are_fused_as_the_standard_library_does() {
        let mut state = 2;
        // `c` within 2⁴⁰ of the product, which is anywhere, with the smallest floats among them.
        for _ in 0..1_000_000 {
            let bits = random(&mut state);
            let a = f32::from_bits((bits as u32 & 0x807F_FFFF) | 0x3F80_0000);
            let exponent = (bits >> 32) as u32 % 254;
            let b = f32::from_bits((random(&mut state) as u32 & 0x807F_FFFF) | (exponent << 23));
            let near = (exponent + (bits >> 40) as u32 % 81).saturating_sub(40).min(254);
            let c = f32::from_bits((random(&mut state) as u32 & 0x807F_FFFF) | (near << 23));
            check(a, b, c);
        }
    }

    #[test]
    fn middles_and_what_is_just_beside_them_are_rounded_once() {
        let mut state = 3;
        for _ in 0..1_000_000 {
            let bits = random(&mut state);
            // A product that is half of the last bit of `c`, or that and a little, or a part of it.
            let mask = if bits >> 62 == 0 { 0x807F_FFFF } else { 0xFEFF_FFFF };
            let c = f32::from_bits(random(&mut state) as u32 & mask);
            let exponent = (((c.to_bits() >> 23) & 0xFF) as i32).max(1) - 127;
            let a = 1.0 + f32::EPSILON * [0.0, 1.0, 2.0, -0.5][bits as usize % 4];
            let b = 1.0 + f32::EPSILON * [0.0, 1.0, -1.0, -0.5][(bits >> 8) as usize % 4];
            let shift = exponent - 24 - (bits >> 16) as i32 % 3;
            let (a, b) = (a * 2f32.powi(shift / 2), b * 2f32.powi(shift - shift / 2));
            check(if bits >> 61 & 1 == 0 { a } else { -a }, b, c);
            // Few bits: exact middles of their own.
            let few = |bits: u64| f32::from_bits(bits as u32 & 0x83FF_F000 | 0x3C00_0000);
            check(few(bits), few(bits >> 32), few(random(&mut state)));
        }
    }

    #[test]
    fn special_numbers_are_fused_as_the_standard_library_does() {
        let tiny = f32::from_bits(1);
        let below_normal = f32::from_bits(0x007F_FFFF);
        let magnitudes = [
            0.0,
            tiny,
            3.0 * tiny,
            below_normal,
            f32::MIN_POSITIVE,
            1.0 - f32::EPSILON / 2.0,
            1.0,
            1.0 + f32::EPSILON,
            0.5,
            2f32.powi(-24),
            2f32.powi(-63),
            2f32.powi(-75),
            2f32.powi(64),
            16_777_215.0,
            f32::MAX,
            f32::INFINITY,
            f32::NAN,
        ];
        let all = || magnitudes.into_iter().flat_map(|x| [x, -x]);
        for a in all() {
            for b in all() {
                all().for_each(|c| check(a, b, c));
            }
        }
    }
}
