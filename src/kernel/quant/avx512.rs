//! The products with AVX-512 VNNI: 64 multiplications of bytes in an instruction.
//!
//! A block's weights are decoded into registers once for all rows of the batch; each row then adds its products to
//! sixteen sums at a time, with four activations broadcast as an operand of the multiplication. Rows take turns with
//! every line of weights: an instruction takes five cycles and two begin in each, so that one row's sums alone would
//! leave the processor waiting for them.
//!
//! Loops are written out instead of `map` and `for_each` of closures, which the standard library's functions call from
//! code that is compiled without AVX-512, so that they are never inlined.

use std::arch::x86_64::*;

use super::activations::{Batch, Record32, Record256};
use super::format::{
    BlockFormat, Line, Q4K_LINES, Q5_0_LINES, Q6K_LINES, Q8_0_LINES, STRIP_ROWS, part,
};
use super::instruction_set::InstructionSet;
use super::prefetch::fetch_ahead;
use super::product::{Kernel, Sums};

/// Proof that the machine has AVX-512 VNNI.
pub(super) struct Avx512(());

impl Avx512 {
    /// # Panics
    /// If the machine does not have it.
    pub(super) fn get() -> Self {
        assert!(InstructionSet::Avx512Vnni.is_supported(), "a machine with AVX-512 VNNI");
        Self(())
    }
}

impl Kernel for Avx512 {
    fn multiply<const M: usize>(
        &self,
        format: BlockFormat,
        strip: &[Line],
        batch: Batch<'_>,
    ) -> [Sums; M] {
        #[expect(unsafe_code, reason = "calls functions compiled for AVX-512")]
        // SAFETY: `self` proves that the machine has AVX512F, AVX512BW and AVX512VNNI.
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

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn q4k<const M: usize>(strip: &[Line], x: &[[Record256; M]]) -> [Sums; M] {
    let mut y = [_mm512_setzero_ps(); M];
    for (block, x) in strip.as_chunks::<Q4K_LINES>().0.iter().zip(x) {
        let mut sums = [_mm512_setzero_si512(); M];
        fetch_ahead(&block[0]);
        for pair in 0..4 {
            fetch_ahead(&block[1 + pair]);
            let [mut low, mut high] = [[_mm512_setzero_si512(); M]; 2];
            for (i, line) in block[5..].as_chunks::<8>().0[pair].iter().enumerate() {
                let packed = load(line);
                let low_nibbles = _mm512_and_si512(packed, _mm512_set1_epi8(0x0F));
                // What stays in the upper half of its byte counts sixteen times; the lower half's scale makes up for it.
                let high_nibbles = _mm512_and_si512(packed, _mm512_set1_epi8(-16));
                for ((low, high), x) in low.iter_mut().zip(&mut high).zip(x) {
                    *low = add_products(*low, low_nibbles, x.words[2 * pair][i]);
                    *high = add_products(*high, high_nibbles, x.words[2 * pair + 1][i]);
                }
            }
            let scale = |sub| _mm512_cvtepu8_epi32(load16(part(&block[1..3], sub)));
            let low_scale = _mm512_slli_epi32::<4>(scale(2 * pair));
            let high_scale = scale(2 * pair + 1);
            for (sum, (low, high)) in sums.iter_mut().zip(low.into_iter().zip(high)) {
                let low = _mm512_mullo_epi32(low, low_scale);
                let high = _mm512_mullo_epi32(high, high_scale);
                *sum = _mm512_add_epi32(*sum, _mm512_add_epi32(low, high));
            }
        }
        let d = _mm512_mul_ps(halves(part(block, 0)), _mm512_set1_ps(0.0625));
        let d_min = halves(part(block, 1));
        for ((y, sum), x) in y.iter_mut().zip(sums).zip(x) {
            let mut min_sum = _mm512_setzero_si512();
            for (i, sums) in x.pair_sums.iter().enumerate() {
                let mins = _mm512_cvtepu8_epi16(load32(part(&block[3..5], i)));
                min_sum = _mm512_dpwssd_epi32(min_sum, mins, _mm512_set1_epi32(*sums));
            }
            let term = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), d);
            let term = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(min_sum), d_min, term);
            *y = _mm512_fmadd_ps(term, _mm512_set1_ps(x.scale), *y);
        }
    }
    store(&y)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn q6k<const M: usize>(strip: &[Line], x: &[[Record256; M]]) -> [Sums; M] {
    let mut y = [_mm512_setzero_ps(); M];
    let (head, body) = strip.split_at(x.len().div_ceil(2));
    let blocks = body.as_chunks::<Q6K_LINES>().0.iter().zip(head.as_flattened().as_chunks().0);
    for ((block, d), x) in blocks.zip(x) {
        let mut sums = [_mm512_setzero_si512(); M];
        for scales in &block[..4] {
            fetch_ahead(scales);
        }
        for sub in 0..16 {
            let weights = values_q6k(&block[4..].as_chunks::<3>().0[sub]);
            let mut dots = [_mm512_setzero_si512(); M];
            for (dots, x) in dots.iter_mut().zip(x) {
                *dots = _mm512_set1_epi32(x.offsets[sub]);
            }
            for (i, weights) in weights.into_iter().enumerate() {
                for (dots, x) in dots.iter_mut().zip(x) {
                    *dots = add_products(*dots, weights, x.words[sub / 2][sub % 2 * 4 + i]);
                }
            }
            let scale = _mm512_cvtepi8_epi32(load16(part(&block[..4], sub)));
            for (sum, dots) in sums.iter_mut().zip(dots) {
                *sum = _mm512_add_epi32(*sum, _mm512_mullo_epi32(dots, scale));
            }
        }
        fetch_ahead(d);
        let d = halves(d);
        for ((y, sum), x) in y.iter_mut().zip(sums).zip(x) {
            *y = add_block(*y, sum, d, x.scale);
        }
    }
    store(&y)
}

/// Three lines of six bits, and the fourth that their upper bits make.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn values_q6k(lines: &[Line; 3]) -> [__m512i; 4] {
    let [a, b, c] = load_lines(lines);
    let last = _mm512_or_si512(
        _mm512_and_si512(_mm512_srli_epi16::<6>(a), _mm512_set1_epi8(0x03)),
        _mm512_or_si512(
            _mm512_and_si512(_mm512_srli_epi16::<4>(b), _mm512_set1_epi8(0x0C)),
            _mm512_and_si512(_mm512_srli_epi16::<2>(c), _mm512_set1_epi8(0x30)),
        ),
    );
    let [a, b, c] = masked([a, b, c], 63);
    [a, b, c, last]
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn q5_0<const M: usize>(strip: &[Line], x: &[[Record32; M]]) -> [Sums; M] {
    let mut y = [_mm512_setzero_ps(); M];
    let (head, body) = strip.split_at(x.len().div_ceil(2));
    let blocks = body.as_chunks::<Q5_0_LINES>().0.iter().zip(head.as_flattened().as_chunks().0);
    for ((block, d), x) in blocks.zip(x) {
        let mut sums = [_mm512_setzero_si512(); M];
        for (sum, x) in sums.iter_mut().zip(x) {
            *sum = _mm512_set1_epi32(x.offset_q5);
        }
        add_lines(&mut sums, &values_q5(block), x);
        fetch_ahead(d);
        let d = halves(d);
        for ((y, sum), x) in y.iter_mut().zip(sums).zip(x) {
            *y = add_block(*y, sum, d, x.scale);
        }
    }
    store(&y)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn values_q5(block: &[Line; Q5_0_LINES]) -> [__m512i; 8] {
    let [a, b, c, d, plane] = load_lines(block);
    let fifth = _mm512_set1_epi8(0x10);
    let low = masked([a, b, c, d], 0x0F);
    let [a, b] = [_mm512_srli_epi16::<4>(a), _mm512_srli_epi16::<4>(b)];
    let [c, d] = [_mm512_srli_epi16::<4>(c), _mm512_srli_epi16::<4>(d)];
    let high = masked([a, b, c, d], 0x0F);
    let raise = |line, bits| _mm512_or_si512(line, _mm512_and_si512(bits, fifth));
    [
        raise(low[0], _mm512_slli_epi16::<4>(plane)),
        raise(low[1], _mm512_slli_epi16::<3>(plane)),
        raise(low[2], _mm512_slli_epi16::<2>(plane)),
        raise(low[3], _mm512_slli_epi16::<1>(plane)),
        raise(high[0], plane),
        raise(high[1], _mm512_srli_epi16::<1>(plane)),
        raise(high[2], _mm512_srli_epi16::<2>(plane)),
        raise(high[3], _mm512_srli_epi16::<3>(plane)),
    ]
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn q8_0<const M: usize>(strip: &[Line], x: &[[Record32; M]]) -> [Sums; M] {
    let mut y = [_mm512_setzero_ps(); M];
    let (head, body) = strip.split_at(x.len().div_ceil(2));
    let blocks = body.as_chunks::<Q8_0_LINES>().0.iter().zip(head.as_flattened().as_chunks().0);
    for ((block, d), x) in blocks.zip(x) {
        let mut sums = [_mm512_setzero_si512(); M];
        for (sum, x) in sums.iter_mut().zip(x) {
            *sum = _mm512_set1_epi32(x.offset_q8);
        }
        add_lines(&mut sums, &load_lines(block), x);
        fetch_ahead(d);
        let d = halves(d);
        for ((y, sum), x) in y.iter_mut().zip(sums).zip(x) {
            *y = add_block(*y, sum, d, x.scale);
        }
    }
    store(&y)
}

/// Adds a block's products to the rows' sums.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn add_lines<const M: usize>(sums: &mut [__m512i; M], weights: &[__m512i; 8], x: &[Record32; M]) {
    for (i, weights) in weights.iter().enumerate() {
        for (sum, x) in sums.iter_mut().zip(x) {
            *sum = add_products(*sum, *weights, x.words[i]);
        }
    }
}

/// `sum` and the products of a line with four activations.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn add_products(sum: __m512i, weights: __m512i, word: i32) -> __m512i {
    _mm512_dpbusd_epi32(sum, weights, _mm512_set1_epi32(word))
}

/// `y + sum · d · scale`, in the order that `scalar.rs` fixes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn add_block(y: __m512, sum: __m512i, d: __m512, scale: f32) -> __m512 {
    let term = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), d);
    _mm512_fmadd_ps(term, _mm512_set1_ps(scale), y)
}

/// The bits of the lines' bytes that are in `mask`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn masked<const N: usize>(lines: [__m512i; N], mask: i8) -> [__m512i; N] {
    let mut masked = lines;
    for line in &mut masked {
        *line = _mm512_and_si512(*line, _mm512_set1_epi8(mask));
    }
    masked
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn load_lines<const N: usize>(lines: &[Line; N]) -> [__m512i; N] {
    let mut loaded = [_mm512_setzero_si512(); N];
    for (loaded, line) in loaded.iter_mut().zip(lines) {
        *loaded = load(line);
    }
    loaded
}

/// A line of weights; the one that is as far ahead as it takes to fetch is asked for.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn load(line: &Line) -> __m512i {
    fetch_ahead(line);
    #[expect(unsafe_code, reason = "loads take pointers")]
    // SAFETY: a line is 64 bytes, and the load need not be aligned.
    unsafe {
        _mm512_loadu_si512(line.as_ptr().cast())
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn load32(bytes: &[u8; 32]) -> __m256i {
    #[expect(unsafe_code, reason = "loads take pointers")]
    // SAFETY: these are 32 bytes, and the load need not be aligned.
    unsafe {
        _mm256_loadu_si256(bytes.as_ptr().cast())
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn load16(bytes: &[u8; 16]) -> __m128i {
    #[expect(unsafe_code, reason = "loads take pointers")]
    // SAFETY: these are 16 bytes, and the load need not be aligned.
    unsafe {
        _mm_loadu_si128(bytes.as_ptr().cast())
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn store<const M: usize>(y: &[__m512; M]) -> [Sums; M] {
    let mut sums = [[0.0; STRIP_ROWS]; M];
    for (sums, y) in sums.iter_mut().zip(y) {
        #[expect(unsafe_code, reason = "stores take pointers")]
        // SAFETY: these are sixteen floats, and the store need not be aligned.
        unsafe {
            _mm512_storeu_ps(sums.as_mut_ptr(), *y);
        }
    }
    sums
}

/// Sixteen half floats.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn halves(bytes: &[u8; 32]) -> __m512 {
    _mm512_cvtph_ps(load32(bytes))
}
