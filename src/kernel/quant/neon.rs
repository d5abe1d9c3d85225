//! The products with the Advanced SIMD of 64-bit ARM: 16 multiplications of bytes in an instruction.
//!
//! A strip's sixteen output rows take four registers; a block is multiplied for one quarter of them after the other.
//! All values fit signed bytes, Q8_0's after taking back what raised them. Products are added in pairs of sixteen bits,
//! of which even Q8_0's fit (2 · 128 · 127 = 32,512), then in 32. `sdot` would do both at once, where there is one.

use std::arch::aarch64::*;

use super::activations::{Batch, Record32, Record256};
use super::format::{
    BlockFormat, Line, Q4K_LINES, Q5_0_LINES, Q6K_LINES, Q8_0_LINES, STRIP_ROWS, half, part,
};
use super::instruction_set::InstructionSet;
use super::product::{Kernel, Sums};

/// Proof that the machine has Advanced SIMD.
pub(super) struct Neon(());

impl Neon {
    /// # Panics
    /// If the machine does not have it.
    pub(super) fn get() -> Self {
        assert!(InstructionSet::Neon.is_supported(), "a machine with Advanced SIMD");
        Self(())
    }
}

impl Kernel for Neon {
    fn multiply<const M: usize>(
        &self,
        format: BlockFormat,
        strip: &[Line],
        batch: Batch<'_>,
    ) -> [Sums; M] {
        #[expect(unsafe_code, reason = "calls functions compiled for Advanced SIMD")]
        // SAFETY: `self` proves that the machine has it.
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

#[target_feature(enable = "neon")]
fn q4k<const M: usize>(strip: &[Line], x: &[[Record256; M]]) -> [Sums; M] {
    let mut y = [[0.0; STRIP_ROWS]; M];
    for (block, x) in strip.as_chunks::<Q4K_LINES>().0.iter().zip(x) {
        for quarter in 0..4 {
            let mut sums = [vdupq_n_s32(0); M];
            for sub in 0..8 {
                let lines = &block[5..].as_chunks::<8>().0[sub / 2];
                let weights = lines.each_ref().map(|line| {
                    let packed = load(line, quarter);
                    vreinterpretq_s8_u8(match sub % 2 {
                        0 => vandq_u8(packed, vdupq_n_u8(0x0F)),
                        _ => vshrq_n_u8::<4>(packed),
                    })
                });
                let scales = part::<4>(&block[1..3], 4 * sub + quarter);
                let scales = numbers(scales.map(i32::from));
                for (sum, x) in sums.iter_mut().zip(x) {
                    *sum = vmlaq_s32(*sum, dot(vdupq_n_s32(0), &weights, &x.words[sub]), scales);
                }
            }
            finish_q4k(block, quarter, (x, &sums), &mut y);
        }
    }
    y
}

/// The minimums of a block, and the scales that both parts share.
#[inline]
#[target_feature(enable = "neon")]
fn finish_q4k<const M: usize>(
    block: &[Line; Q4K_LINES],
    quarter: usize,
    (x, sums): (&[Record256; M], &[int32x4_t; M]),
    y: &mut [Sums; M],
) {
    let d = vmulq_n_f32(halves(part(block, quarter)), 0.0625);
    let d_min = halves(part(block, 4 + quarter));
    for ((y, sum), x) in y.iter_mut().zip(sums).zip(x) {
        let mut min_sum = vdupq_n_s32(0);
        for (pair, sums) in x.pair_sums.iter().enumerate() {
            let mins = part::<8>(&block[3..5], 4 * pair + quarter);
            let (even, odd) = ([0, 2, 4, 6].map(|i| mins[i]), [1, 3, 5, 7].map(|i| mins[i]));
            min_sum = vmlaq_n_s32(min_sum, numbers(even.map(i32::from)), i32::from(*sums as i16));
            min_sum = vmlaq_n_s32(min_sum, numbers(odd.map(i32::from)), sums >> 16);
        }
        let term = vmulq_f32(vcvtq_f32_s32(vshlq_n_s32::<4>(*sum)), d);
        let term = vfmsq_f32(term, vcvtq_f32_s32(min_sum), d_min);
        let y = &mut y.as_chunks_mut::<4>().0[quarter];
        *y = floats(vfmaq_n_f32(from_floats(y), term, x.scale));
    }
}

#[target_feature(enable = "neon")]
fn q6k<const M: usize>(strip: &[Line], x: &[[Record256; M]]) -> [Sums; M] {
    let mut y = [[0.0; STRIP_ROWS]; M];
    let (head, body) = strip.split_at(x.len().div_ceil(2));
    let blocks = body.as_chunks::<Q6K_LINES>().0.iter();
    for (block_idx, (block, x)) in blocks.zip(x).enumerate() {
        for quarter in 0..4 {
            let mut sums = [vdupq_n_s32(0); M];
            for sub in 0..16 {
                let weights = values_q6k(&block[4..].as_chunks::<3>().0[sub], quarter);
                let scales = part::<4>(&block[..4], 4 * sub + quarter);
                let scales = numbers(scales.map(|scale| i32::from(scale.cast_signed())));
                for (sum, x) in sums.iter_mut().zip(x) {
                    let words = &x.words.as_flattened().as_chunks::<4>().0[sub];
                    let dots = dot(vdupq_n_s32(x.offsets[sub]), &weights, words);
                    *sum = vmlaq_s32(*sum, dots, scales);
                }
            }
            let d = halves(part(head, 4 * block_idx + quarter));
            for ((y, sum), x) in y.iter_mut().zip(sums).zip(x) {
                add_block(&mut y.as_chunks_mut::<4>().0[quarter], sum, d, x.scale);
            }
        }
    }
    y
}

/// Three lines of six bits, and the fourth that their upper bits make.
#[inline]
#[target_feature(enable = "neon")]
fn values_q6k(lines: &[Line; 3], quarter: usize) -> [int8x16_t; 4] {
    let [a, b, c] = lines.each_ref().map(|line| load(line, quarter));
    let last = vshrq_n_u8::<6>(a);
    let last = vorrq_u8(last, vandq_u8(vshrq_n_u8::<4>(b), vdupq_n_u8(0x0C)));
    let last = vorrq_u8(last, vandq_u8(vshrq_n_u8::<2>(c), vdupq_n_u8(0x30)));
    let [a, b, c] = [a, b, c].map(|line| vandq_u8(line, vdupq_n_u8(63)));
    [a, b, c, last].map(|values| vreinterpretq_s8_u8(values))
}

#[target_feature(enable = "neon")]
fn q5_0<const M: usize>(strip: &[Line], x: &[[Record32; M]]) -> [Sums; M] {
    let mut y = [[0.0; STRIP_ROWS]; M];
    let (head, body) = strip.split_at(x.len().div_ceil(2));
    let blocks = body.as_chunks::<Q5_0_LINES>().0.iter();
    for (block_idx, (block, x)) in blocks.zip(x).enumerate() {
        for quarter in 0..4 {
            let weights = values_q5(block, quarter);
            let d = halves(part(head, 4 * block_idx + quarter));
            for (y, x) in y.iter_mut().zip(x) {
                let sum = dot(vdupq_n_s32(x.offset_q5), &weights, &x.words);
                add_block(&mut y.as_chunks_mut::<4>().0[quarter], sum, d, x.scale);
            }
        }
    }
    y
}

#[inline]
#[target_feature(enable = "neon")]
fn values_q5(block: &[Line; Q5_0_LINES], quarter: usize) -> [int8x16_t; 8] {
    let [a, b, c, d, plane] = block.each_ref().map(|line| load(line, quarter));
    let (nibble, fifth) = (vdupq_n_u8(0x0F), vdupq_n_u8(0x10));
    let low = [a, b, c, d].map(|line| vandq_u8(line, nibble));
    let high = [a, b, c, d].map(|line| vshrq_n_u8::<4>(line));
    let raise = |line, bits| vreinterpretq_s8_u8(vorrq_u8(line, vandq_u8(bits, fifth)));
    [
        raise(low[0], vshlq_n_u8::<4>(plane)),
        raise(low[1], vshlq_n_u8::<3>(plane)),
        raise(low[2], vshlq_n_u8::<2>(plane)),
        raise(low[3], vshlq_n_u8::<1>(plane)),
        raise(high[0], plane),
        raise(high[1], vshrq_n_u8::<1>(plane)),
        raise(high[2], vshrq_n_u8::<2>(plane)),
        raise(high[3], vshrq_n_u8::<3>(plane)),
    ]
}

#[target_feature(enable = "neon")]
fn q8_0<const M: usize>(strip: &[Line], x: &[[Record32; M]]) -> [Sums; M] {
    let mut y = [[0.0; STRIP_ROWS]; M];
    let (head, body) = strip.split_at(x.len().div_ceil(2));
    let blocks = body.as_chunks::<Q8_0_LINES>().0.iter();
    for (block_idx, (block, x)) in blocks.zip(x).enumerate() {
        for quarter in 0..4 {
            let weights = block
                .each_ref()
                .map(|line| vreinterpretq_s8_u8(veorq_u8(load(line, quarter), vdupq_n_u8(0x80))));
            let d = halves(part(head, 4 * block_idx + quarter));
            for (y, x) in y.iter_mut().zip(x) {
                let sum = dot(vdupq_n_s32(0), &weights, &x.words);
                add_block(&mut y.as_chunks_mut::<4>().0[quarter], sum, d, x.scale);
            }
        }
    }
    y
}

/// `sum` and the products of the lines with four activations each.
#[inline]
#[target_feature(enable = "neon")]
fn dot<const N: usize>(sum: int32x4_t, weights: &[int8x16_t; N], words: &[i32; N]) -> int32x4_t {
    let mut sum = sum;
    for (weights, word) in weights.iter().zip(words) {
        let x = vreinterpretq_s8_s32(vdupq_n_s32(*word));
        let low = vmull_s8(vget_low_s8(*weights), vget_low_s8(x));
        sum = vpadalq_s16(sum, vpaddq_s16(low, vmull_high_s8(*weights, x)));
    }
    sum
}

/// Adds `sum · d · scale` to `y`, in the order that `scalar.rs` fixes.
#[inline]
#[target_feature(enable = "neon")]
fn add_block(y: &mut [f32; 4], sum: int32x4_t, d: float32x4_t, scale: f32) {
    let term = vmulq_f32(vcvtq_f32_s32(sum), d);
    *y = floats(vfmaq_n_f32(from_floats(y), term, scale));
}

/// Four output rows' part of a line.
#[inline]
#[target_feature(enable = "neon")]
fn load(line: &Line, quarter: usize) -> uint8x16_t {
    let bytes = &line.as_chunks::<16>().0[quarter];
    #[expect(unsafe_code, reason = "loads take pointers")]
    // SAFETY: these are 16 bytes, and the load need not be aligned.
    unsafe {
        vld1q_u8(bytes.as_ptr())
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn numbers(numbers: [i32; 4]) -> int32x4_t {
    #[expect(unsafe_code, reason = "loads take pointers")]
    // SAFETY: these are four numbers, and the load need not be aligned.
    unsafe {
        vld1q_s32(numbers.as_ptr())
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn from_floats(floats: &[f32; 4]) -> float32x4_t {
    #[expect(unsafe_code, reason = "loads take pointers")]
    // SAFETY: these are four floats, and the load need not be aligned.
    unsafe {
        vld1q_f32(floats.as_ptr())
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn floats(y: float32x4_t) -> [f32; 4] {
    let mut floats = [0.0; 4];
    #[expect(unsafe_code, reason = "stores take pointers")]
    // SAFETY: these are four floats, and the store need not be aligned.
    unsafe {
        vst1q_f32(floats.as_mut_ptr(), y);
    }
    floats
}

/// Four half floats.
#[inline]
#[target_feature(enable = "neon")]
fn halves(bytes: &[u8; 8]) -> float32x4_t {
    let halves = bytes.as_chunks::<2>().0;
    from_floats(&[0, 1, 2, 3].map(|i| half(halves[i])))
}
