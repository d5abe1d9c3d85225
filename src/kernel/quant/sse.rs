//! The products with SSE4.1, for machines without AVX2: 16 multiplications of bytes in an instruction.
//!
//! A strip's sixteen output rows take four registers, whose products are formed for each activation that is broadcast.
//! Values of Q8_0 are widened to sixteen bits as they are, so that nothing saturates. Those of the other formats are
//! multiplied as bytes, with as many products in sixteen bits as fit (see `avx2.rs`).
//!
//! There is no fused operation and no conversion of half floats: [`fused_4`] gives the bits of the one, [`halves`]
//! those of the other. Loops are written out for the reason that `avx512.rs` gives.

use std::arch::x86_64::*;

use super::activations::{Batch, Record32, Record256};
use super::format::{
    BlockFormat, Line, Q4K_LINES, Q5_0_LINES, Q6K_LINES, Q8_0_LINES, STRIP_ROWS, part,
};
use super::instruction_set::InstructionSet;
use super::prefetch::fetch_ahead;
use super::product::{Kernel, Sums};
use crate::kernel::fused::fused_4;

/// Numbers of a strip's sixteen output rows.
type Quarters = [__m128i; 4];

/// Proof that the machine has SSE4.1 and SSSE3.
pub(super) struct Sse41(());

impl Sse41 {
    /// # Panics
    /// If the machine does not have them.
    pub(super) fn get() -> Self {
        assert!(InstructionSet::Sse41.is_supported(), "a machine with SSE4.1 and SSSE3");
        Self(())
    }
}

impl Kernel for Sse41 {
    fn multiply<const M: usize>(
        &self,
        format: BlockFormat,
        strip: &[Line],
        batch: Batch<'_>,
    ) -> [Sums; M] {
        #[expect(unsafe_code, reason = "calls functions compiled for SSE4.1")]
        // SAFETY: `self` proves that the machine has SSE4.1 and SSSE3.
        unsafe {
            match (format, batch) {
                (BlockFormat::Q4K, Batch::Of256(x)) => q4k(strip, x.as_chunks().0),
                (BlockFormat::Q6K, Batch::Of256(x)) => q6k(strip, x.as_chunks().0),
                (BlockFormat::Q5_0, Batch::Of32(x)) => q5_0(strip, x.as_chunks().0),
                (BlockFormat::Q8_0, Batch::Of32(x)) => q8_0(strip, x.as_chunks().0),
                _ => unreachable!("blocks of the format"),
            }
        }
    }
}

#[target_feature(enable = "sse4.1,ssse3")]
fn q4k<const M: usize>(strip: &[Line], x: &[[Record256; M]]) -> [Sums; M] {
    let mut y = [[0.0; STRIP_ROWS]; M];
    for (block, x) in strip.as_chunks::<Q4K_LINES>().0.iter().zip(x) {
        for line in block {
            fetch_ahead(line);
        }
        let mut sums = [[_mm_setzero_si128(); 4]; M];
        for sub in 0..8 {
            let lines = &block[5..].as_chunks::<8>().0[sub / 2];
            let weights = match sub % 2 {
                0 => masked(load_lines(lines), 0x0F),
                _ => masked(high_first(load_lines(lines)), 0x0F),
            };
            let low = _mm_cvtepu8_epi16(load8(part(&block[1..3], 2 * sub)));
            let high = _mm_cvtepu8_epi16(load8(part(&block[1..3], 2 * sub + 1)));
            let scales = in_pairs(low, high);
            for (sums, x) in sums.iter_mut().zip(x) {
                let words = x.words[sub].as_chunks::<4>().0;
                let mut dots = [_mm_setzero_si128(); 4];
                add_dots(&mut dots, weights.as_chunks::<4>().0[0], &words[0]);
                add_dots(&mut dots, weights.as_chunks::<4>().0[1], &words[1]);
                add_scaled(sums, dots, scales);
            }
        }
        finish_q4k(block, x, &sums, &mut y);
    }
    y
}

/// The minimums of a block, and the scales that both parts share.
#[inline]
#[target_feature(enable = "sse4.1,ssse3")]
fn finish_q4k<const M: usize>(
    block: &[Line; Q4K_LINES],
    x: &[Record256; M],
    sums: &[Quarters; M],
    y: &mut [Sums; M],
) {
    let (mut d, mut d_min) = ([_mm_setzero_ps(); 4], [_mm_setzero_ps(); 4]);
    let mut mins = [[_mm_setzero_si128(); 4]; 4];
    for q in 0..4 {
        d[q] = _mm_mul_ps(halves(part(block, q)), _mm_set1_ps(0.0625));
        d_min[q] = halves(part(block, 4 + q));
        for (pair, mins) in mins.iter_mut().enumerate() {
            mins[q] = _mm_cvtepu8_epi16(load8(part(&block[3..5], 4 * pair + q)));
        }
    }
    for ((y, sums), x) in y.iter_mut().zip(sums).zip(x) {
        let mut min_sums = [_mm_setzero_si128(); 4];
        for (mins, x) in mins.iter().zip(spread(&x.pair_sums)) {
            add_scaled(&mut min_sums, *mins, [x; 4]);
        }
        let (mut terms, mut negative) = (d, d);
        for q in 0..4 {
            let sum = _mm_cvtepi32_ps(_mm_slli_epi32::<4>(sums[q]));
            terms[q] = _mm_mul_ps(sum, d[q]);
            negative[q] = _mm_xor_ps(_mm_cvtepi32_ps(min_sums[q]), _mm_set1_ps(-0.0));
        }
        add_terms(y, fused_4(negative, d_min, terms), x.scale);
    }
}

#[target_feature(enable = "sse4.1,ssse3")]
fn q6k<const M: usize>(strip: &[Line], x: &[[Record256; M]]) -> [Sums; M] {
    let mut y = [[0.0; STRIP_ROWS]; M];
    let (head, body) = strip.split_at(x.len().div_ceil(2));
    let blocks = body.as_chunks::<Q6K_LINES>().0.iter();
    for (block_idx, (block, x)) in blocks.zip(x).enumerate() {
        for line in block {
            fetch_ahead(line);
        }
        let mut sums = [[_mm_setzero_si128(); 4]; M];
        for sub in 0..16 {
            let weights = values_q6k(&block[4..].as_chunks::<3>().0[sub]);
            let low = _mm_cvtepi8_epi16(load8(part(&block[..4], 2 * sub)));
            let high = _mm_cvtepi8_epi16(load8(part(&block[..4], 2 * sub + 1)));
            let scales = in_pairs(low, high);
            for (sums, x) in sums.iter_mut().zip(x) {
                let [a, b, c, d] = spread(&x.words.as_flattened().as_chunks::<4>().0[sub]);
                // Even, and in sixteen bits when halved: half with each of the pair's scales.
                let half = _mm_set1_epi16((x.offsets[sub] / 2) as i16);
                let (mut first, mut second) = (*sums, [_mm_setzero_si128(); 4]);
                for q in 0..4 {
                    first[q] = _mm_add_epi16(
                        _mm_maddubs_epi16(weights[0][q], a),
                        _mm_maddubs_epi16(weights[1][q], b),
                    );
                    second[q] = _mm_add_epi16(
                        _mm_maddubs_epi16(weights[2][q], c),
                        _mm_maddubs_epi16(weights[3][q], d),
                    );
                }
                add_scaled(sums, first, scales);
                add_scaled(sums, second, scales);
                add_scaled(sums, [half; 4], scales);
            }
        }
        let d = scales(head, block_idx);
        for ((y, sums), x) in y.iter_mut().zip(&sums).zip(x) {
            add_block(y, *sums, d, x.scale);
        }
    }
    y
}

/// Three lines of six bits, and the fourth that their upper bits make.
#[inline]
#[target_feature(enable = "sse4.1,ssse3")]
fn values_q6k(lines: &[Line; 3]) -> [Quarters; 4] {
    let [a, b, c] = load_lines(lines);
    let mut last = a;
    for q in 0..4 {
        last[q] = _mm_or_si128(
            _mm_and_si128(_mm_srli_epi16::<6>(a[q]), _mm_set1_epi8(0x03)),
            _mm_or_si128(
                _mm_and_si128(_mm_srli_epi16::<4>(b[q]), _mm_set1_epi8(0x0C)),
                _mm_and_si128(_mm_srli_epi16::<2>(c[q]), _mm_set1_epi8(0x30)),
            ),
        );
    }
    let [a, b, c] = masked([a, b, c], 63);
    [a, b, c, last]
}

#[target_feature(enable = "sse4.1,ssse3")]
fn q5_0<const M: usize>(strip: &[Line], x: &[[Record32; M]]) -> [Sums; M] {
    let mut y = [[0.0; STRIP_ROWS]; M];
    let (head, body) = strip.split_at(x.len().div_ceil(2));
    let blocks = body.as_chunks::<Q5_0_LINES>().0.iter();
    for (block_idx, (block, x)) in blocks.zip(x).enumerate() {
        for line in block {
            fetch_ahead(line);
        }
        let mut weights = [[_mm_setzero_si128(); 4]; 8];
        for quarter in 0..4 {
            for (weights, values) in weights.iter_mut().zip(values_q5(block, quarter)) {
                weights[quarter] = values;
            }
        }
        let d = scales(head, block_idx);
        for (y, x) in y.iter_mut().zip(x) {
            let words = x.words.as_chunks::<4>().0;
            let (mut low, mut high) = ([_mm_setzero_si128(); 4], [_mm_setzero_si128(); 4]);
            add_dots(&mut low, weights.as_chunks::<4>().0[0], &words[0]);
            add_dots(&mut high, weights.as_chunks::<4>().0[1], &words[1]);
            let mut sums = [_mm_set1_epi32(x.offset_q5); 4];
            add_scaled(&mut sums, low, [_mm_set1_epi16(1); 4]);
            add_scaled(&mut sums, high, [_mm_set1_epi16(1); 4]);
            add_block(y, sums, d, x.scale);
        }
    }
    y
}

/// The eight lines of values of a quarter of the output rows.
#[inline]
#[target_feature(enable = "sse4.1,ssse3")]
fn values_q5(block: &[Line; Q5_0_LINES], quarter: usize) -> [__m128i; 8] {
    let [a, b, c, d, plane] = load_quarter(block, quarter);
    let low = _mm_set1_epi8(0x0F);
    [
        raised(_mm_and_si128(a, low), _mm_slli_epi16::<4>(plane)),
        raised(_mm_and_si128(b, low), _mm_slli_epi16::<3>(plane)),
        raised(_mm_and_si128(c, low), _mm_slli_epi16::<2>(plane)),
        raised(_mm_and_si128(d, low), _mm_slli_epi16::<1>(plane)),
        raised(_mm_and_si128(_mm_srli_epi16::<4>(a), low), plane),
        raised(_mm_and_si128(_mm_srli_epi16::<4>(b), low), _mm_srli_epi16::<1>(plane)),
        raised(_mm_and_si128(_mm_srli_epi16::<4>(c), low), _mm_srli_epi16::<2>(plane)),
        raised(_mm_and_si128(_mm_srli_epi16::<4>(d), low), _mm_srli_epi16::<3>(plane)),
    ]
}

/// Nibbles with a fifth bit, that of `bits` which is in its place.
#[inline]
#[target_feature(enable = "sse4.1,ssse3")]
fn raised(nibbles: __m128i, bits: __m128i) -> __m128i {
    _mm_or_si128(nibbles, _mm_and_si128(bits, _mm_set1_epi8(0x10)))
}

#[target_feature(enable = "sse4.1,ssse3")]
fn q8_0<const M: usize>(strip: &[Line], x: &[[Record32; M]]) -> [Sums; M] {
    let mut y = [[0.0; STRIP_ROWS]; M];
    let (head, body) = strip.split_at(x.len().div_ceil(2));
    let blocks = body.as_chunks::<Q8_0_LINES>().0.iter();
    for (block_idx, (block, x)) in blocks.zip(x).enumerate() {
        for line in block {
            fetch_ahead(line);
        }
        let mut words = [[_mm_setzero_si128(); 8]; M];
        for (words, x) in words.iter_mut().zip(x) {
            *words = widened(&x.words);
        }
        let mut sums = [[_mm_setzero_si128(); 4]; M];
        for quarter in 0..4 {
            let mut weights = [[_mm_setzero_si128(); 2]; 8];
            for (weights, line) in weights.iter_mut().zip(block) {
                let eights = line.as_chunks::<16>().0[quarter].as_chunks::<8>().0;
                weights[0] = _mm_cvtepu8_epi16(load8(&eights[0]));
                weights[1] = _mm_cvtepu8_epi16(load8(&eights[1]));
            }
            for ((sums, words), x) in sums.iter_mut().zip(&words).zip(x) {
                let mut dots = [_mm_setzero_si128(); 2];
                for (weights, word) in weights.iter().zip(words) {
                    dots[0] = _mm_add_epi32(dots[0], _mm_madd_epi16(weights[0], *word));
                    dots[1] = _mm_add_epi32(dots[1], _mm_madd_epi16(weights[1], *word));
                }
                let dots = _mm_hadd_epi32(dots[0], dots[1]);
                sums[quarter] = _mm_add_epi32(dots, _mm_set1_epi32(x.offset_q8));
            }
        }
        let d = scales(head, block_idx);
        for ((y, sums), x) in y.iter_mut().zip(&sums).zip(x) {
            add_block(y, *sums, d, x.scale);
        }
    }
    y
}

/// The four numbers of each word, of sixteen bits and twice.
#[inline]
#[target_feature(enable = "sse4.1,ssse3")]
fn widened(words: &[i32; 8]) -> [__m128i; 8] {
    let mut widened = [_mm_setzero_si128(); 8];
    for (widened, words) in widened.as_chunks_mut::<2>().0.iter_mut().zip(words.as_chunks::<2>().0)
    {
        let [first, second] = words.map(i32::cast_unsigned).map(u64::from);
        let numbers = _mm_cvtsi64_si128((first | second << 32).cast_signed());
        let numbers = _mm_cvtepi8_epi16(numbers);
        widened[0] = _mm_unpacklo_epi64(numbers, numbers);
        widened[1] = _mm_unpackhi_epi64(numbers, numbers);
    }
    widened
}

/// Adds the products of four lines with four activations each, as two sums of sixteen bits for each output row.
#[inline]
#[target_feature(enable = "sse4.1,ssse3")]
fn add_dots(sums: &mut Quarters, weights: [Quarters; 4], words: &[i32; 4]) {
    for (weights, word) in weights.iter().zip(spread(words)) {
        for (sum, weights) in sums.iter_mut().zip(weights) {
            *sum = _mm_add_epi16(*sum, _mm_maddubs_epi16(*weights, word));
        }
    }
}

/// Adds sums of sixteen bits times scales, pair by pair.
#[inline]
#[target_feature(enable = "sse4.1,ssse3")]
fn add_scaled(sums: &mut Quarters, dots: Quarters, scales: Quarters) {
    for ((sum, dots), scales) in sums.iter_mut().zip(dots).zip(scales) {
        *sum = _mm_add_epi32(*sum, _mm_madd_epi16(dots, scales));
    }
}

/// Sixteen numbers of sixteen bits, twice each.
#[inline]
#[target_feature(enable = "sse4.1,ssse3")]
fn in_pairs(low: __m128i, high: __m128i) -> Quarters {
    [
        _mm_unpacklo_epi16(low, low),
        _mm_unpackhi_epi16(low, low),
        _mm_unpacklo_epi16(high, high),
        _mm_unpackhi_epi16(high, high),
    ]
}

/// Each of four words in all lanes of a register.
#[inline]
#[target_feature(enable = "sse4.1,ssse3")]
fn spread(words: &[i32; 4]) -> Quarters {
    #[expect(unsafe_code, reason = "loads take pointers")]
    // SAFETY: these are 16 bytes, and the load need not be aligned.
    let words = unsafe { _mm_loadu_si128(words.as_ptr().cast()) };
    [
        _mm_shuffle_epi32::<0b00_00_00_00>(words),
        _mm_shuffle_epi32::<0b01_01_01_01>(words),
        _mm_shuffle_epi32::<0b10_10_10_10>(words),
        _mm_shuffle_epi32::<0b11_11_11_11>(words),
    ]
}

/// The scales of a block, which are in the strip's head.
#[inline]
#[target_feature(enable = "sse4.1,ssse3")]
fn scales(head: &[Line], block_idx: usize) -> [__m128; 4] {
    let mut scales = [_mm_setzero_ps(); 4];
    for (q, scales) in scales.iter_mut().enumerate() {
        *scales = halves(part(head, 4 * block_idx + q));
    }
    scales
}

/// Adds `sums · d · scale` to `y`, in the order that `scalar.rs` fixes.
#[inline]
#[target_feature(enable = "sse4.1,ssse3")]
fn add_block(y: &mut Sums, sums: Quarters, d: [__m128; 4], scale: f32) {
    let mut terms = d;
    for (term, sum) in terms.iter_mut().zip(sums) {
        *term = _mm_mul_ps(_mm_cvtepi32_ps(sum), *term);
    }
    add_terms(y, terms, scale);
}

/// Adds `terms · scale` to `y`.
#[inline]
#[target_feature(enable = "sse4.1,ssse3")]
fn add_terms(y: &mut Sums, terms: [__m128; 4], scale: f32) {
    let mut sums = terms;
    let quarters = y.as_chunks_mut::<4>().0;
    for (sum, y) in sums.iter_mut().zip(&*quarters) {
        #[expect(unsafe_code, reason = "loads take pointers")]
        // SAFETY: these are four floats, and the load need not be aligned.
        unsafe {
            *sum = _mm_loadu_ps(y.as_ptr());
        }
    }
    let sums = fused_4(terms, [_mm_set1_ps(scale); 4], sums);
    for (sum, y) in sums.iter().zip(quarters) {
        #[expect(unsafe_code, reason = "stores take pointers")]
        // SAFETY: these are four floats, and the store need not be aligned.
        unsafe {
            _mm_storeu_ps(y.as_mut_ptr(), *sum);
        }
    }
}

/// The bits of the lines' bytes that are in `mask`.
#[inline]
#[target_feature(enable = "sse4.1,ssse3")]
fn masked<const N: usize>(lines: [Quarters; N], mask: i8) -> [Quarters; N] {
    let mut masked = lines;
    for quarter in masked.as_flattened_mut() {
        *quarter = _mm_and_si128(*quarter, _mm_set1_epi8(mask));
    }
    masked
}

/// High nibbles in the place of the low ones, with other bits above them.
#[inline]
#[target_feature(enable = "sse4.1,ssse3")]
fn high_first<const N: usize>(lines: [Quarters; N]) -> [Quarters; N] {
    let mut high = lines;
    for quarter in high.as_flattened_mut() {
        *quarter = _mm_srli_epi16::<4>(*quarter);
    }
    high
}

#[inline]
#[target_feature(enable = "sse4.1,ssse3")]
fn load_lines<const N: usize>(lines: &[Line; N]) -> [Quarters; N] {
    let mut loaded = [[_mm_setzero_si128(); 4]; N];
    for quarter in 0..4 {
        for (loaded, line) in loaded.iter_mut().zip(load_quarter(lines, quarter)) {
            loaded[quarter] = line;
        }
    }
    loaded
}

/// Four output rows' parts of lines.
#[inline]
#[target_feature(enable = "sse4.1,ssse3")]
fn load_quarter<const N: usize>(lines: &[Line; N], quarter: usize) -> [__m128i; N] {
    let mut loaded = [_mm_setzero_si128(); N];
    for (loaded, line) in loaded.iter_mut().zip(lines) {
        let bytes = &line.as_chunks::<16>().0[quarter];
        #[expect(unsafe_code, reason = "loads take pointers")]
        // SAFETY: these are 16 bytes, and the load need not be aligned.
        unsafe {
            *loaded = _mm_loadu_si128(bytes.as_ptr().cast());
        }
    }
    loaded
}

#[inline]
#[target_feature(enable = "sse4.1,ssse3")]
fn load8(bytes: &[u8; 8]) -> __m128i {
    _mm_cvtsi64_si128(i64::from_le_bytes(*bytes))
}

/// Four half floats.
#[inline]
#[target_feature(enable = "sse4.1,ssse3")]
fn halves(bytes: &[u8; 8]) -> __m128 {
    /// What the bits of a half float's exponent and fraction become: those of a float whose exponent lacks 112.
    const INFINITE: i32 = 0x1F << 23;
    const NORMAL: i32 = 1 << 23;
    const LACKED: i32 = 112 << 23;
    let upper = _mm_unpacklo_epi16(_mm_setzero_si128(), load8(bytes));
    let sign = _mm_and_si128(upper, _mm_set1_epi32(i32::MIN));
    let magnitude = _mm_srli_epi32::<3>(_mm_xor_si128(upper, sign));
    // A subnormal number is a normal one of the smallest exponent, less that one's 1.
    let is_subnormal = _mm_cmpgt_epi32(_mm_set1_epi32(NORMAL), magnitude);
    let excess = _mm_and_si128(is_subnormal, _mm_set1_epi32(LACKED + NORMAL));
    let is_infinite = _mm_cmpgt_epi32(magnitude, _mm_set1_epi32(INFINITE - 1));
    let infinite = _mm_and_si128(is_infinite, _mm_set1_epi32(f32::INFINITY.to_bits() as i32));
    let raised = _mm_add_epi32(magnitude, _mm_set1_epi32(LACKED));
    let raised = _mm_add_epi32(raised, _mm_and_si128(is_subnormal, _mm_set1_epi32(NORMAL)));
    let raised = _mm_castsi128_ps(_mm_or_si128(raised, infinite));
    _mm_or_ps(_mm_sub_ps(raised, _mm_castsi128_ps(excess)), _mm_castsi128_ps(sign))
}

#[cfg(test)]
mod tests {
    use super::super::format::half;
    use super::*;

    #[test]
    fn half_floats_are_read_exactly() {
        if !InstructionSet::Sse41.is_supported() {
            return;
        }
        for bits in 0..=u16::MAX {
            let four = [0x3C00, bits, 0, 0x3C01];
            let mut bytes = [0; 8];
            bytes.as_chunks_mut().0.copy_from_slice(&four.map(u16::to_le_bytes));
            #[expect(unsafe_code, reason = "calls a function compiled for SSE4.1")]
            // SAFETY: the machine has it, as was asked above.
            let got: [f32; 4] = pulp::cast(unsafe { halves(&bytes) });
            let expected = four.map(|bits| half(bits.to_le_bytes()));
            // A NaN that signals may stop doing so.
            let bits_of = |x: f32| if x.is_nan() { None } else { Some(x.to_bits()) };
            assert_eq!(got.map(bits_of), expected.map(bits_of), "{bits:04x}");
        }
    }
}
