//! The products with AVX2: 32 multiplications of bytes in an instruction, whose sums have sixteen bits.
//!
//! A strip's sixteen output rows take two registers; a block is multiplied for one half of them, then for the other.
//! `vpmaddubsw` saturates, so that only as many products are added in sixteen bits as surely fit: activations are at
//! most 127 in magnitude, the sum of two lines' products of Q6_K 2 · 2 · 63 · 127 = 32,004. Values of Q8_0 go in as
//! magnitudes, with their signs given to the activations: at most 2 · 128 · 127 = 32,512.
//!
//! Loops are written out for the reason that `avx512.rs` gives.

use std::arch::x86_64::*;

use super::activations::{Batch, Record32, Record256};
use super::format::{
    BlockFormat, Line, Q4K_LINES, Q5_0_LINES, Q6K_LINES, Q8_0_LINES, STRIP_ROWS, part,
};
use super::instruction_set::InstructionSet;
use super::prefetch::fetch_ahead;
use super::product::{Kernel, Sums};

/// Both halves of a strip's results.
type Halves = [__m256; 2];

/// Proof that the machine has AVX2, FMA and F16C.
pub(super) struct Avx2(());

impl Avx2 {
    /// # Panics
    /// If the machine does not have them.
    pub(super) fn get() -> Self {
        assert!(InstructionSet::Avx2.is_supported(), "a machine with AVX2, FMA and F16C");
        Self(())
    }
}

impl Kernel for Avx2 {
    fn multiply<const M: usize>(
        &self,
        format: BlockFormat,
        strip: &[Line],
        batch: Batch<'_>,
    ) -> [Sums; M] {
        #[expect(unsafe_code, reason = "calls functions compiled for AVX2")]
        // SAFETY: `self` proves that the machine has AVX2, FMA and F16C.
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

#[target_feature(enable = "avx2,fma,f16c")]
fn q4k<const M: usize>(strip: &[Line], x: &[[Record256; M]]) -> [Sums; M] {
    let mut y = [[_mm256_setzero_ps(); 2]; M];
    for (block, x) in strip.as_chunks::<Q4K_LINES>().0.iter().zip(x) {
        for line in block {
            fetch_ahead(line);
        }
        for half in 0..2 {
            let mut sums = [_mm256_setzero_si256(); M];
            for sub in 0..8 {
                let lines = &block[5..].as_chunks::<8>().0[sub / 2];
                let weights = match sub % 2 {
                    0 => masked(load_lines(lines, half), 0x0F),
                    _ => masked(high_first(load_lines(lines, half)), 0x0F),
                };
                let scale = _mm256_cvtepu8_epi32(load8(part(&block[1..3], 2 * sub + half)));
                let scales = in_pairs(scale);
                for (sum, x) in sums.iter_mut().zip(x) {
                    let dots = dot(&weights, &x.words[sub]);
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(dots, scales));
                }
            }
            finish_q4k(block, half, x, &sums, &mut y);
        }
    }
    store(&y)
}

/// The minimums of a block, and the scales that both parts share.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn finish_q4k<const M: usize>(
    block: &[Line; Q4K_LINES],
    half: usize,
    x: &[Record256; M],
    sums: &[__m256i; M],
    y: &mut [Halves; M],
) {
    let d = _mm256_mul_ps(halves(part(block, half)), _mm256_set1_ps(0.0625));
    let d_min = halves(part(block, 2 + half));
    for ((y, sum), x) in y.iter_mut().zip(sums).zip(x) {
        let mut min_sum = _mm256_setzero_si256();
        for (pair, sums) in x.pair_sums.iter().enumerate() {
            let mins = _mm256_cvtepu8_epi16(load16(part(&block[3..5], 2 * pair + half)));
            let products = _mm256_madd_epi16(mins, _mm256_set1_epi32(*sums));
            min_sum = _mm256_add_epi32(min_sum, products);
        }
        let term = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_slli_epi32::<4>(*sum)), d);
        let term = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(min_sum), d_min, term);
        y[half] = _mm256_fmadd_ps(term, _mm256_set1_ps(x.scale), y[half]);
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn q6k<const M: usize>(strip: &[Line], x: &[[Record256; M]]) -> [Sums; M] {
    let mut y = [[_mm256_setzero_ps(); 2]; M];
    let (head, body) = strip.split_at(x.len().div_ceil(2));
    let blocks = body.as_chunks::<Q6K_LINES>().0.iter();
    for (block_idx, (block, x)) in blocks.zip(x).enumerate() {
        for line in block {
            fetch_ahead(line);
        }
        for half in 0..2 {
            let mut sums = [_mm256_setzero_si256(); M];
            for sub in 0..16 {
                let weights = values_q6k(&block[4..].as_chunks::<3>().0[sub], half);
                let scale = _mm256_cvtepi8_epi32(load8(part(&block[..4], 2 * sub + half)));
                let scales = in_pairs(scale);
                for (sum, x) in sums.iter_mut().zip(x) {
                    let words = x.words.as_flattened().as_chunks::<2>().0;
                    let first = dot(&[weights[0], weights[1]], &words[2 * sub]);
                    let second = dot(&[weights[2], weights[3]], &words[2 * sub + 1]);
                    let offset = _mm256_mullo_epi32(scale, _mm256_set1_epi32(x.offsets[sub]));
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(first, scales));
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(second, scales));
                    *sum = _mm256_add_epi32(*sum, offset);
                }
            }
            let d = halves(part(head, 2 * block_idx + half));
            for ((y, sum), x) in y.iter_mut().zip(sums).zip(x) {
                y[half] = add_block(y[half], sum, d, x.scale);
            }
        }
    }
    store(&y)
}

/// Three lines of six bits, and the fourth that their upper bits make.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn values_q6k(lines: &[Line; 3], half: usize) -> [__m256i; 4] {
    let [a, b, c] = load_lines(lines, half);
    let last = _mm256_or_si256(
        _mm256_and_si256(_mm256_srli_epi16::<6>(a), _mm256_set1_epi8(0x03)),
        _mm256_or_si256(
            _mm256_and_si256(_mm256_srli_epi16::<4>(b), _mm256_set1_epi8(0x0C)),
            _mm256_and_si256(_mm256_srli_epi16::<2>(c), _mm256_set1_epi8(0x30)),
        ),
    );
    let [a, b, c] = masked([a, b, c], 63);
    [a, b, c, last]
}

#[target_feature(enable = "avx2,fma,f16c")]
fn q5_0<const M: usize>(strip: &[Line], x: &[[Record32; M]]) -> [Sums; M] {
    let mut y = [[_mm256_setzero_ps(); 2]; M];
    let (head, body) = strip.split_at(x.len().div_ceil(2));
    let blocks = body.as_chunks::<Q5_0_LINES>().0.iter();
    for (block_idx, (block, x)) in blocks.zip(x).enumerate() {
        for line in block {
            fetch_ahead(line);
        }
        for half in 0..2 {
            let (first, second) = values_q5(block, half);
            let d = halves(part(head, 2 * block_idx + half));
            for (y, x) in y.iter_mut().zip(x) {
                let words = x.words.as_chunks::<4>().0;
                let ones = _mm256_set1_epi16(1);
                let first = _mm256_madd_epi16(dot(&first, &words[0]), ones);
                let second = _mm256_madd_epi16(dot(&second, &words[1]), ones);
                let sum = _mm256_add_epi32(_mm256_set1_epi32(x.offset_q5), first);
                y[half] = add_block(y[half], _mm256_add_epi32(sum, second), d, x.scale);
            }
        }
    }
    store(&y)
}

/// The first and the last four lines of values.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn values_q5(block: &[Line; Q5_0_LINES], half: usize) -> ([__m256i; 4], [__m256i; 4]) {
    let [a, b, c, d, plane] = load_lines(block, half);
    let fifth = _mm256_set1_epi8(0x10);
    let low = masked([a, b, c, d], 0x0F);
    let high = masked(high_first([a, b, c, d]), 0x0F);
    let raise = |line, bits| _mm256_or_si256(line, _mm256_and_si256(bits, fifth));
    let first = [
        raise(low[0], _mm256_slli_epi16::<4>(plane)),
        raise(low[1], _mm256_slli_epi16::<3>(plane)),
        raise(low[2], _mm256_slli_epi16::<2>(plane)),
        raise(low[3], _mm256_slli_epi16::<1>(plane)),
    ];
    let second = [
        raise(high[0], plane),
        raise(high[1], _mm256_srli_epi16::<1>(plane)),
        raise(high[2], _mm256_srli_epi16::<2>(plane)),
        raise(high[3], _mm256_srli_epi16::<3>(plane)),
    ];
    (first, second)
}

#[target_feature(enable = "avx2,fma,f16c")]
fn q8_0<const M: usize>(strip: &[Line], x: &[[Record32; M]]) -> [Sums; M] {
    let mut y = [[_mm256_setzero_ps(); 2]; M];
    let (head, body) = strip.split_at(x.len().div_ceil(2));
    let blocks = body.as_chunks::<Q8_0_LINES>().0.iter();
    for (block_idx, (block, x)) in blocks.zip(x).enumerate() {
        for line in block {
            fetch_ahead(line);
        }
        for half in 0..2 {
            let d = halves(part(head, 2 * block_idx + half));
            let mut sums = [_mm256_setzero_si256(); M];
            for (i, line) in block.iter().enumerate() {
                let weights = _mm256_xor_si256(load(line, half), _mm256_set1_epi8(-128));
                let magnitudes = _mm256_abs_epi8(weights);
                for (sum, x) in sums.iter_mut().zip(x) {
                    let x = _mm256_sign_epi8(_mm256_set1_epi32(x.words[i]), weights);
                    let dots = _mm256_maddubs_epi16(magnitudes, x);
                    let dots = _mm256_madd_epi16(dots, _mm256_set1_epi16(1));
                    *sum = _mm256_add_epi32(*sum, dots);
                }
            }
            for ((y, sum), x) in y.iter_mut().zip(sums).zip(x) {
                y[half] = add_block(y[half], sum, d, x.scale);
            }
        }
    }
    store(&y)
}

/// The products of the lines with four activations each, as two sums of sixteen bits for each output row.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn dot<const N: usize>(weights: &[__m256i; N], words: &[i32; N]) -> __m256i {
    let mut sum = _mm256_setzero_si256();
    for (weights, word) in weights.iter().zip(words) {
        let products = _mm256_maddubs_epi16(*weights, _mm256_set1_epi32(*word));
        sum = _mm256_add_epi16(sum, products);
    }
    sum
}

/// Numbers of sixteen bits, twice each, from ones of 32 bits that fit.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn in_pairs(scale: __m256i) -> __m256i {
    _mm256_blend_epi16::<0b1010_1010>(scale, _mm256_slli_epi32::<16>(scale))
}

/// `y + sum · d · scale`, in the order that `scalar.rs` fixes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn add_block(y: __m256, sum: __m256i, d: __m256, scale: f32) -> __m256 {
    let term = _mm256_mul_ps(_mm256_cvtepi32_ps(sum), d);
    _mm256_fmadd_ps(term, _mm256_set1_ps(scale), y)
}

/// The bits of the lines' bytes that are in `mask`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn masked<const N: usize>(lines: [__m256i; N], mask: i8) -> [__m256i; N] {
    let mut masked = lines;
    for line in &mut masked {
        *line = _mm256_and_si256(*line, _mm256_set1_epi8(mask));
    }
    masked
}

/// High nibbles in the place of the low ones, with other bits above them.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn high_first<const N: usize>(lines: [__m256i; N]) -> [__m256i; N] {
    let mut high = lines;
    for line in &mut high {
        *line = _mm256_srli_epi16::<4>(*line);
    }
    high
}

/// Eight output rows' parts of lines.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn load_lines<const N: usize>(lines: &[Line; N], half: usize) -> [__m256i; N] {
    let mut loaded = [_mm256_setzero_si256(); N];
    for (loaded, line) in loaded.iter_mut().zip(lines) {
        *loaded = load(line, half);
    }
    loaded
}

/// Eight output rows' part of a line.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn load(line: &Line, half: usize) -> __m256i {
    let bytes = &line.as_chunks::<32>().0[half];
    #[expect(unsafe_code, reason = "loads take pointers")]
    // SAFETY: these are 32 bytes, and the load need not be aligned.
    unsafe {
        _mm256_loadu_si256(bytes.as_ptr().cast())
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn load16(bytes: &[u8; 16]) -> __m128i {
    #[expect(unsafe_code, reason = "loads take pointers")]
    // SAFETY: these are 16 bytes, and the load need not be aligned.
    unsafe {
        _mm_loadu_si128(bytes.as_ptr().cast())
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn load8(bytes: &[u8; 8]) -> __m128i {
    _mm_cvtsi64_si128(i64::from_le_bytes(*bytes))
}

/// Eight half floats.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn halves(bytes: &[u8; 16]) -> __m256 {
    _mm256_cvtph_ps(load16(bytes))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn store<const M: usize>(y: &[Halves; M]) -> [Sums; M] {
    let mut sums = [[0.0; STRIP_ROWS]; M];
    let eights = sums.as_flattened_mut().as_chunks_mut::<8>().0.iter_mut();
    for (sums, y) in eights.zip(y.as_flattened()) {
        #[expect(unsafe_code, reason = "stores take pointers")]
        // SAFETY: these are eight floats, and the store need not be aligned.
        unsafe {
            _mm256_storeu_ps(sums.as_mut_ptr(), *y);
        }
    }
    sums
}
