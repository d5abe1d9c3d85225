//! The block formats of GGUF that have a product, and the lines that their strips consist of.
//!
//! A strip is what sixteen output rows become. It begins, except in Q4_K, with the blocks' scales `d`, 32 bytes per
//! block and zeros up to a whole line, so that all blocks lie on lines. What a block's lines hold:
//!
//! - **Q4_K** (256 numbers, 37 lines): `d` and `dmin` of the sixteen rows, as half floats; two lines of scales,
//!   `[8 sub-blocks][16 rows]`; two lines of minimums in pairs, `[4][16 rows][2]`; then for each of the four pairs of
//!   sub-blocks eight lines of nibbles, the low one of the even sub-block and the high one of the odd. Scales take a
//!   byte instead of six bits: 2.8 % more bytes, and no shuffling of bits while multiplying.
//! - **Q6_K** (256 numbers, 52 lines): four lines of scales, `[16 sub-blocks][16 rows]`; then for each sub-block of
//!   sixteen numbers three lines for four lines' worth of values: the low six bits are a value each of the first three,
//!   and the top two bits of the three lines are the fourth. Values are raised by 32.
//! - **Q5_0** (32 numbers, 5 lines): four lines of nibbles, low for line `j` of values and high for line `j + 4`; a
//!   line of fifth bits, bit `j` for line `j`. Values are raised by 16.
//! - **Q8_0** (32 numbers, 8 lines): values raised by 128.
//!
//! Raised values are unsigned, as `vpdpbusd` wants them; the sums begin at minus what raising adds.

/// 64 bytes: four consecutive numbers of each of sixteen output rows, or sixteen rows' scales.
pub(super) type Line = [u8; LINE_BYTES];

/// Bytes of a cache line.
pub(super) const LINE_BYTES: usize = 64;

/// Output rows in a strip: as many as a register has 32-bit lanes.
pub(super) const STRIP_ROWS: usize = 16;

/// Lines of a Q4_K block of a strip.
pub(super) const Q4K_LINES: usize = 37;

/// Lines of a Q6_K block of a strip.
pub(super) const Q6K_LINES: usize = 52;

/// Lines of a Q5_0 block of a strip.
pub(super) const Q5_0_LINES: usize = 5;

/// Lines of a Q8_0 block of a strip.
pub(super) const Q8_0_LINES: usize = 8;

/// A block format of GGUF, as ggml's `ggml-common.h` defines it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockFormat {
    /// Four bits, 256 numbers with eight scales and minimums of six bits.
    Q4K,
    /// Five bits, 32 numbers with one scale.
    Q5_0,
    /// Six bits, 256 numbers with sixteen scales of eight bits.
    Q6K,
    /// Eight bits, 32 numbers with one scale.
    Q8_0,
}

impl BlockFormat {
    /// Every format.
    pub const ALL: [Self; 4] = [Self::Q4K, Self::Q5_0, Self::Q6K, Self::Q8_0];

    /// Bytes of a block in a GGUF file.
    pub fn block_bytes(self) -> usize {
        match self {
            Self::Q4K => 144,
            Self::Q5_0 => 22,
            Self::Q6K => 210,
            Self::Q8_0 => 34,
        }
    }

    /// Numbers in a block.
    pub fn block_len(self) -> usize {
        match self {
            Self::Q4K | Self::Q6K => 256,
            Self::Q5_0 | Self::Q8_0 => 32,
        }
    }

    /// Lines that sixteen rows' blocks take in a strip.
    pub(super) fn block_lines(self) -> usize {
        match self {
            Self::Q4K => Q4K_LINES,
            Self::Q5_0 => Q5_0_LINES,
            Self::Q6K => Q6K_LINES,
            Self::Q8_0 => Q8_0_LINES,
        }
    }

    /// Lines before a strip's first block, which hold the scales `d` of all its `n_blocks` blocks along a row.
    pub(super) fn head_lines(self, n_blocks: usize) -> usize {
        match self {
            Self::Q4K => 0,
            Self::Q5_0 | Self::Q6K | Self::Q8_0 => n_blocks.div_ceil(2),
        }
    }
}

/// The half float of these bits.
pub(super) fn half(bits: [u8; 2]) -> f32 {
    let bits = u32::from(u16::from_le_bytes(bits));
    let (sign, exponent, fraction) = ((bits & 0x8000) << 16, (bits >> 10) & 0x1F, bits & 0x3FF);
    let magnitude = match exponent {
        // Subnormal: a multiple of 2⁻²⁴.
        0 => fraction as f32 / 16_777_216.0,
        0x1F => f32::from_bits(0x7F80_0000 | (fraction << 13)),
        _ => f32::from_bits(((exponent + 112) << 23) | (fraction << 13)),
    };
    f32::from_bits(sign | magnitude.to_bits())
}

/// The `i`-th run of `N` bytes of these lines.
#[inline(always)]
pub(super) fn part<const N: usize>(lines: &[Line], i: usize) -> &[u8; N] {
    &lines.as_flattened().as_chunks::<N>().0[i]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_floats_are_read_exactly() {
        for (bits, expected) in [
            (0x0000u16, 0.0),
            (0x0001, 5.960_464_5e-8),
            (0x03FF, 1023.0 / 16_777_216.0),
            (0x0400, 6.103_515_6e-5),
            (0x3C00, 1.0),
            (0xC100, -2.5),
            (0x7BFF, 65504.0),
            (0x7C00, f32::INFINITY),
        ] {
            assert_eq!(half(bits.to_le_bytes()), expected, "{bits:04x}");
        }
        assert!(half(0x8000u16.to_le_bytes()).is_sign_negative());
        assert!(half(0x7E00u16.to_le_bytes()).is_nan());
    }
}
