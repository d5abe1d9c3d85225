//! What tests compare products with: blocks read as ggml-quants.c defines them (`dequantize_row_q4_K` and so on), and
//! blocks of random bits.

use super::format::BlockFormat;

/// A generator of numbers that are random enough (splitmix64).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Between 0 and 1.
    pub(super) fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Nearly normal numbers, of deviation 1.
    pub(super) fn activations(&mut self, n: usize) -> Vec<f32> {
        let mut number = || (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0;
        (0..n).map(|_| number() as f32).collect()
    }

    /// The blocks of `n` numbers: all bits random but those of `d` and `dmin`, which are of weights' usual size and
    /// either sign. Some blocks are all zeros, and some all ones.
    pub(super) fn blocks(&mut self, format: BlockFormat, n: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(n / format.block_len() * format.block_bytes());
        for _ in 0..n / format.block_len() {
            let kind = self.next() % 16;
            let start = bytes.len();
            for _ in 0..format.block_bytes() {
                bytes.push(match kind {
                    0 => 0x00,
                    1 => 0xFF,
                    _ => self.next() as u8,
                });
            }
            let block = &mut bytes[start..];
            // Half floats between 2⁻¹⁴ (or 0) and 2⁻⁷.
            let bits = if kind == 0 { 0 } else { self.next() as u16 & 0x9FFF };
            set_scales(format, block, bits);
        }
        bytes
    }
}

/// Writes these bits as `d`, and with the other sign as `dmin` where there is one.
pub(super) fn set_scales(format: BlockFormat, block: &mut [u8], bits: u16) {
    let at = if format == BlockFormat::Q6K { 208 } else { 0 };
    block[at..][..2].copy_from_slice(&bits.to_le_bytes());
    if format == BlockFormat::Q4K {
        block[2..4].copy_from_slice(&(bits ^ 0x8000).to_le_bytes());
    }
}

/// The numbers that blocks stand for.
pub(super) fn dequantize(format: BlockFormat, blocks: &[u8]) -> Vec<f64> {
    let blocks = blocks.chunks_exact(format.block_bytes());
    blocks
        .flat_map(|block| match format {
            BlockFormat::Q4K => q4k(block),
            BlockFormat::Q6K => q6k(block),
            BlockFormat::Q5_0 => q5_0(block),
            BlockFormat::Q8_0 => {
                let d = half(&block[0..2]);
                block[2..].iter().map(|q| d * f64::from(*q as i8)).collect()
            }
        })
        .collect()
}

fn half(bytes: &[u8]) -> f64 {
    let bits = u16::from_le_bytes([bytes[0], bytes[1]]);
    let (exponent, fraction) = (i32::from((bits >> 10) & 31), f64::from(bits & 1023) / 1024.0);
    let magnitude = match exponent {
        0 => fraction * 2f64.powi(-14),
        _ => (1.0 + fraction) * 2f64.powi(exponent - 15),
    };
    if bits & 0x8000 == 0 { magnitude } else { -magnitude }
}

fn q4k(block: &[u8]) -> Vec<f64> {
    let (d, d_min) = (half(&block[0..2]), half(&block[2..4]));
    let (scales, nibbles) = (&block[4..16], &block[16..144]);
    (0..256)
        .map(|k| {
            let sub = k / 32;
            let (scale, min) = if sub < 4 {
                (scales[sub] & 63, scales[sub + 4] & 63)
            } else {
                let low = scales[sub + 4];
                (low & 15 | (scales[sub - 4] & 0xC0) >> 2, low >> 4 | (scales[sub] & 0xC0) >> 2)
            };
            let byte = nibbles[k / 64 * 32 + k % 32];
            let q = if sub % 2 == 0 { byte & 15 } else { byte >> 4 };
            d * f64::from(scale) * f64::from(q) - d_min * f64::from(min)
        })
        .collect()
}

fn q6k(block: &[u8]) -> Vec<f64> {
    let (low, high, scales) = (&block[0..128], &block[128..192], &block[192..208]);
    let d = half(&block[208..210]);
    (0..256)
        .map(|k| {
            let (part, quarter, i) = (k / 128, k % 128 / 32, k % 32);
            let byte = low[64 * part + 32 * (quarter % 2) + i];
            let four = if quarter < 2 { byte & 15 } else { byte >> 4 };
            let two = (high[32 * part + i] >> (2 * quarter)) & 3;
            let scale = scales[k / 16] as i8;
            d * f64::from(scale) * (f64::from(four | two << 4) - 32.0)
        })
        .collect()
}

fn q5_0(block: &[u8]) -> Vec<f64> {
    let d = half(&block[0..2]);
    let fifths = u32::from_le_bytes([block[2], block[3], block[4], block[5]]);
    (0..32)
        .map(|k| {
            let byte = block[6 + k % 16];
            let four = u32::from(if k < 16 { byte & 15 } else { byte >> 4 });
            d * (f64::from(four | ((fifths >> k) & 1) << 4) - 16.0)
        })
        .collect()
}
