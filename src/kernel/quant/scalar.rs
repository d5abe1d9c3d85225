//! The products in plain Rust: the obvious version, which defines what every instruction set computes to the bit.
//!
//! Per block, the sum of products is exact in integers. Then, for one output of one row:
//!
//! - Q6_K, Q5_0, Q8_0: `y = fma(float(sum) · d, scale, y)`;
//! - Q4_K: `y = fma(fma(−float(min_sum), dmin, float(16 · sum) · (d / 16)), scale, y)`, where 16 is what a nibble is
//!   worth that is left in the upper half of its byte.
//!
//! Where there is no instruction for `fma`, this calls a library's function; `sse.rs` has its own way.

use super::activations::{Batch, Record32, Record256};
use super::format::{
    BlockFormat, Line, Q4K_LINES, Q5_0_LINES, Q6K_LINES, Q8_0_LINES, STRIP_ROWS, half, part,
};
use super::product::{Kernel, Sums};

/// Plain Rust, which every machine has.
pub(super) struct Scalar;

impl Kernel for Scalar {
    fn multiply<const M: usize>(
        &self,
        format: BlockFormat,
        strip: &[Line],
        batch: Batch<'_>,
    ) -> [Sums; M] {
        let mut y = [[0.0; STRIP_ROWS]; M];
        match (format, batch) {
            (BlockFormat::Q4K, Batch::Of256(x)) => q4k(strip, x, &mut y),
            (BlockFormat::Q6K, Batch::Of256(x)) => q6k(strip, x, &mut y),
            (BlockFormat::Q5_0, Batch::Of32(x)) => of_32::<Q5_0_LINES>(strip, x, &mut y),
            (BlockFormat::Q8_0, Batch::Of32(x)) => of_32::<Q8_0_LINES>(strip, x, &mut y),
            _ => unreachable!("blocks of the format"),
        }
        y
    }
}

fn q4k(strip: &[Line], x: &[Record256], y: &mut [Sums]) {
    let blocks = strip.as_chunks::<Q4K_LINES>().0;
    for (block, x) in blocks.iter().zip(x.chunks_exact(y.len())) {
        for (x, y) in x.iter().zip(&mut *y) {
            for (lane, y) in y.iter_mut().enumerate() {
                let (mut sum, mut min_sum) = (0, 0);
                for sub in 0..8 {
                    let lines = block[5 + sub / 2 * 8..][..8].iter();
                    let dot: i32 = lines
                        .zip(x.words[sub])
                        .map(|(line, word)| {
                            dot(four(line, lane).map(|w| (w >> (sub % 2 * 4)) & 0xF), word)
                        })
                        .sum();
                    sum += dot * i32::from(part::<16>(&block[1..3], sub)[lane]);
                    let min = part::<32>(&block[3..5], sub / 2)[2 * lane + sub % 2];
                    min_sum +=
                        i32::from(min) * i32::from((x.pair_sums[sub / 2] >> (sub % 2 * 16)) as i16);
                }
                let (d, d_min) = (d(part(block, 0), lane), d(part(block, 1), lane));
                let term = (16 * sum) as f32 * (d * 0.0625);
                *y = (-(min_sum as f32)).mul_add(d_min, term).mul_add(x.scale, *y);
            }
        }
    }
}

fn q6k(strip: &[Line], x: &[Record256], y: &mut [Sums]) {
    let n_blocks = x.len() / y.len();
    let (head, body) = strip.split_at(n_blocks.div_ceil(2));
    for (idx, block) in body.as_chunks::<Q6K_LINES>().0.iter().enumerate() {
        for (x, y) in x[idx * y.len()..].iter().zip(&mut *y) {
            for (lane, y) in y.iter_mut().enumerate() {
                let mut sum = 0;
                for sub in 0..16 {
                    let lines = [0, 1, 2].map(|i| four(&block[4 + 3 * sub + i], lane));
                    let words = &x.words.as_flattened()[4 * sub..];
                    let mut dots = x.offsets[sub];
                    for (line, word) in lines.iter().zip(words) {
                        dots += dot(line.map(|w| w & 63), *word);
                    }
                    let last = [0, 1, 2, 3].map(|i| {
                        (lines[0][i] >> 6) | ((lines[1][i] >> 6) << 2) | ((lines[2][i] >> 6) << 4)
                    });
                    dots += dot(last, words[3]);
                    let scale = part::<16>(&block[..4], sub)[lane].cast_signed();
                    sum += dots * i32::from(scale);
                }
                *y = (sum as f32 * d(part(head, idx), lane)).mul_add(x.scale, *y);
            }
        }
    }
}

/// Q5_0 or Q8_0, which have different numbers of lines.
fn of_32<const LINES: usize>(strip: &[Line], x: &[Record32], y: &mut [Sums]) {
    let n_blocks = x.len() / y.len();
    let (head, body) = strip.split_at(n_blocks.div_ceil(2));
    for (idx, block) in body.as_chunks::<LINES>().0.iter().enumerate() {
        for (x, y) in x[idx * y.len()..].iter().zip(&mut *y) {
            for (lane, y) in y.iter_mut().enumerate() {
                let dots = (0..8).map(|i| match LINES {
                    Q8_0_LINES => dot(four(&block[i], lane), x.words[i]),
                    _ => dot(value_q5(block, lane, i), x.words[i]),
                });
                let offset = if LINES == Q8_0_LINES { x.offset_q8 } else { x.offset_q5 };
                let sum = offset + dots.sum::<i32>();
                *y = (sum as f32 * d(part(head, idx), lane)).mul_add(x.scale, *y);
            }
        }
    }
}

/// Numbers `4 i..4 i + 4` of a Q5_0 block of one output row, raised by 16.
fn value_q5(block: &[Line], lane: usize, i: usize) -> [u8; 4] {
    let (nibbles, plane) = (four(&block[i % 4], lane), four(&block[4], lane));
    [0, 1, 2, 3].map(|k| ((nibbles[k] >> (i / 4 * 4)) & 0xF) | (((plane[k] >> i) & 1) << 4))
}

fn four(line: &Line, lane: usize) -> [u8; 4] {
    line.as_chunks::<4>().0[lane]
}

fn d(halves: &[u8; 32], lane: usize) -> f32 {
    half([halves[2 * lane], halves[2 * lane + 1]])
}

fn dot(weights: [u8; 4], word: i32) -> i32 {
    let x = word.to_le_bytes().map(u8::cast_signed);
    weights.iter().zip(x).map(|(w, x)| i32::from(*w) * i32::from(x)).sum()
}
