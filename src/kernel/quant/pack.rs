//! Quantized weights in strips of sixteen output rows, made once from the blocks of a GGUF file.

use std::ops::Range;

use rayon::prelude::*;
use thiserror::Error;

use super::format::{
    BlockFormat, LINE_BYTES, Line, Q4K_LINES, Q5_0_LINES, Q6K_LINES, Q8_0_LINES, STRIP_ROWS,
};

/// A frozen matrix `[n_out, n_in]`, repacked for [`Product`](super::Product) without any loss.
///
/// The last strip is filled up with rows of zeros, which no product writes.
pub struct PackedMatrix {
    format: BlockFormat,
    n_out: usize,
    n_in: usize,
    lines: Lines,
}

/// Why bytes are no matrix.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PackError {
    /// A row is no whole number of blocks, or there is none.
    #[error("a row of {n_in} numbers is no whole number of {format:?} blocks of {}", .format.block_len())]
    Width {
        /// The blocks' format.
        format: BlockFormat,
        /// Numbers in a row.
        n_in: usize,
    },
    /// The blocks are more or fewer than the shape says.
    #[error("{got} bytes for {format:?} [{n_out}, {n_in}], which takes {expected}")]
    Length {
        /// The blocks' format.
        format: BlockFormat,
        /// Rows.
        n_out: usize,
        /// Numbers in a row.
        n_in: usize,
        /// Bytes that the shape takes.
        expected: usize,
        /// Bytes that there are.
        got: usize,
    },
}

impl std::fmt::Debug for PackedMatrix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PackedMatrix({:?})[{}, {}]", self.format, self.n_out, self.n_in)
    }
}

impl PackedMatrix {
    /// Repacks the blocks of a matrix `[n_out, n_in]`, row after row as in a GGUF file, on rayon's current pool.
    ///
    /// # Errors
    /// If a row is no whole number of blocks, or `blocks` is not of that size.
    pub fn pack(
        format: BlockFormat,
        blocks: &[u8],
        [n_out, n_in]: [usize; 2],
    ) -> Result<Self, PackError> {
        if n_in == 0 || !n_in.is_multiple_of(format.block_len()) {
            return Err(PackError::Width { format, n_in });
        }
        let row_bytes = n_in / format.block_len() * format.block_bytes();
        let (expected, got) = (n_out.saturating_mul(row_bytes), blocks.len());
        if got != expected {
            return Err(PackError::Length { format, n_out, n_in, expected, got });
        }
        let n_blocks = n_in / format.block_len();
        let strip_lines = format.head_lines(n_blocks) + n_blocks * format.block_lines();
        let mut lines = Lines::zeros(n_out.div_ceil(STRIP_ROWS) * strip_lines);
        let strips = lines.as_mut_slice().par_chunks_mut(strip_lines);
        strips.zip(blocks.par_chunks(STRIP_ROWS * row_bytes)).for_each(|(strip, rows)| {
            let (head, body) = strip.split_at_mut(format.head_lines(n_blocks));
            for (row_idx, row) in rows.chunks_exact(row_bytes).enumerate() {
                pack_row(format, row, row_idx, [&mut *head, &mut *body]);
            }
        });
        Ok(Self { format, n_out, n_in, lines })
    }

    /// The format of the blocks.
    pub fn format(&self) -> BlockFormat {
        self.format
    }

    /// Output rows.
    pub fn n_out(&self) -> usize {
        self.n_out
    }

    /// Numbers in a row.
    pub fn n_in(&self) -> usize {
        self.n_in
    }

    /// Strips of sixteen output rows, of which the last may have fewer.
    pub fn n_strips(&self) -> usize {
        self.n_out.div_ceil(STRIP_ROWS)
    }

    /// Bytes of memory that the weights take, and that a product reads.
    pub fn bytes(&self) -> usize {
        self.lines.as_slice().len() * LINE_BYTES
    }

    /// Blocks along a row.
    pub(super) fn n_blocks(&self) -> usize {
        self.n_in / self.format.block_len()
    }

    /// Bytes of one strip.
    pub(super) fn strip_bytes(&self) -> usize {
        self.strip_lines() * LINE_BYTES
    }

    /// These strips, one after the other.
    pub(super) fn strips(&self, strips: Range<usize>) -> impl Iterator<Item = &[Line]> {
        let n = self.strip_lines();
        self.lines.as_slice()[strips.start * n..strips.end * n].chunks_exact(n)
    }

    fn strip_lines(&self) -> usize {
        self.format.head_lines(self.n_blocks()) + self.n_blocks() * self.format.block_lines()
    }
}

/// Memory that begins on a cache line. The system fills it with zeros when it is first touched, so that the threads
/// that pack strips wait for that, each for its own.
struct Lines {
    bytes: Vec<u8>,
    range: Range<usize>,
}

impl Lines {
    fn zeros(n_lines: usize) -> Self {
        let bytes = vec![0; n_lines * LINE_BYTES + LINE_BYTES - 1];
        let start = bytes.as_ptr().align_offset(LINE_BYTES);
        Self { range: start..start + n_lines * LINE_BYTES, bytes }
    }

    fn as_slice(&self) -> &[Line] {
        self.bytes[self.range.clone()].as_chunks().0
    }

    fn as_mut_slice(&mut self) -> &mut [Line] {
        self.bytes[self.range.clone()].as_chunks_mut().0
    }
}

/// Writes one row's blocks as row `row_idx` of a strip, given as its head and its blocks.
fn pack_row(format: BlockFormat, row: &[u8], row_idx: usize, [head, body]: [&mut [Line]; 2]) {
    let head = head.as_flattened_mut().as_chunks_mut::<{ 2 * STRIP_ROWS }>().0;
    match format {
        BlockFormat::Q4K => {
            let blocks = row.as_chunks::<144>().0.iter();
            for (block, lines) in blocks.zip(body.as_chunks_mut::<Q4K_LINES>().0) {
                pack_q4k(block, row_idx, lines);
            }
        }
        BlockFormat::Q6K => {
            let blocks = row.as_chunks::<210>().0.iter().zip(head);
            for ((block, d), lines) in blocks.zip(body.as_chunks_mut::<Q6K_LINES>().0) {
                d[2 * row_idx..][..2].copy_from_slice(&block[208..]);
                pack_q6k(block, row_idx, lines);
            }
        }
        BlockFormat::Q5_0 => {
            let blocks = row.as_chunks::<22>().0.iter().zip(head);
            for ((block, d), lines) in blocks.zip(body.as_chunks_mut::<Q5_0_LINES>().0) {
                d[2 * row_idx..][..2].copy_from_slice(&block[..2]);
                pack_q5_0(block, row_idx, lines);
            }
        }
        BlockFormat::Q8_0 => {
            let blocks = row.as_chunks::<34>().0.iter().zip(head);
            for ((block, d), lines) in blocks.zip(body.as_chunks_mut::<Q8_0_LINES>().0) {
                d[2 * row_idx..][..2].copy_from_slice(&block[..2]);
                for (line, quants) in lines.iter_mut().zip(block[2..].as_chunks::<4>().0) {
                    *four(line, row_idx) = quants.map(|quant| quant ^ 0x80);
                }
            }
        }
    }
}

/// The four bytes of a line that are a row's.
fn four(line: &mut Line, row_idx: usize) -> &mut [u8; 4] {
    &mut line.as_chunks_mut::<4>().0[row_idx]
}

/// `d`, `dmin`, twelve bytes of scales and minimums, 128 bytes of nibbles.
fn pack_q4k(block: &[u8; 144], row_idx: usize, lines: &mut [Line; Q4K_LINES]) {
    lines[0][2 * row_idx..][..2].copy_from_slice(&block[..2]);
    lines[0][32 + 2 * row_idx..][..2].copy_from_slice(&block[2..4]);
    let packed = &block[4..16];
    for sub in 0..8 {
        // As `get_scale_min_k4` of ggml-quants.c.
        let (scale, min) = match sub {
            0..4 => (packed[sub] & 63, packed[sub + 4] & 63),
            _ => (
                (packed[sub + 4] & 0xF) | ((packed[sub - 4] >> 6) << 4),
                (packed[sub + 4] >> 4) | ((packed[sub] >> 6) << 4),
            ),
        };
        lines[1 + sub / 4][sub % 4 * STRIP_ROWS + row_idx] = scale;
        lines[3 + sub / 4][sub / 2 % 2 * 32 + 2 * row_idx + sub % 2] = min;
    }
    for (line, nibbles) in lines[5..].iter_mut().zip(block[16..].as_chunks::<4>().0) {
        *four(line, row_idx) = *nibbles;
    }
}

/// 128 bytes of low nibbles, 64 of high pairs of bits, sixteen scales, `d`.
fn pack_q6k(block: &[u8; 210], row_idx: usize, lines: &mut [Line; Q6K_LINES]) {
    let (scales, subs) = lines.split_at_mut(4);
    for (sub, scale) in block[192..208].iter().enumerate() {
        scales[sub / 4][sub % 4 * STRIP_ROWS + row_idx] = *scale;
    }
    let values = values_q6k(block);
    for (lines, values) in subs.as_chunks_mut::<3>().0.iter_mut().zip(values.as_chunks::<16>().0) {
        for (shift, line) in lines.iter_mut().enumerate() {
            let line = four(line, row_idx);
            for i in 0..4 {
                line[i] = values[4 * shift + i] | (((values[12 + i] >> (2 * shift)) & 3) << 6);
            }
        }
    }
}

/// The 256 values, raised by 32, in their order.
fn values_q6k(block: &[u8; 210]) -> [u8; 256] {
    let mut values = [0; 256];
    for (part, values) in values.as_chunks_mut::<128>().0.iter_mut().enumerate() {
        let (low, high) = (&block[64 * part..][..64], &block[128 + 32 * part..][..32]);
        for i in 0..32 {
            values[i] = (low[i] & 0xF) | ((high[i] & 3) << 4);
            values[i + 32] = (low[i + 32] & 0xF) | (((high[i] >> 2) & 3) << 4);
            values[i + 64] = (low[i] >> 4) | (((high[i] >> 4) & 3) << 4);
            values[i + 96] = (low[i + 32] >> 4) | ((high[i] >> 6) << 4);
        }
    }
    values
}

/// `d`, 32 fifth bits, sixteen bytes of nibbles.
fn pack_q5_0(block: &[u8; 22], row_idx: usize, lines: &mut [Line; Q5_0_LINES]) {
    let (nibbles, plane) = lines.split_at_mut(4);
    for (line, packed) in nibbles.iter_mut().zip(block[6..].as_chunks::<4>().0) {
        *four(line, row_idx) = *packed;
    }
    let bits = u32::from_le_bytes([block[2], block[3], block[4], block[5]]);
    let plane = four(&mut plane[0], row_idx);
    for k in 0..32 {
        plane[k % 4] |= (((bits >> k) & 1) << (k / 4)) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_matrix_is_an_error() {
        let pack = |format, n_bytes, shape| {
            PackedMatrix::pack(format, &vec![0; n_bytes], shape).map(|matrix| matrix.n_strips())
        };
        let format = BlockFormat::Q4K;
        assert_eq!(pack(format, 24 * 144, [24, 256]), Ok(2));
        assert_eq!(pack(format, 0, [0, 256]), Ok(0));
        let width = |n_in| Err(PackError::Width { format, n_in });
        assert_eq!(pack(format, 24 * 144, [24, 128]), width(128));
        assert_eq!(pack(format, 0, [24, 0]), width(0));
        let length =
            |got| Err(PackError::Length { format, n_out: 24, n_in: 512, expected: 24 * 288, got });
        assert_eq!(pack(format, 24 * 144, [24, 512]), length(24 * 144));
        assert_eq!(pack(format, 24 * 288 + 1, [24, 512]), length(24 * 288 + 1));
        let overflow = pack(BlockFormat::Q8_0, 34, [usize::MAX / 2, 32]);
        assert!(matches!(overflow, Err(PackError::Length { .. })));
    }

    #[test]
    fn memory_is_what_the_file_takes_and_a_little_for_scales() {
        for (format, n_in, expected) in [
            (BlockFormat::Q4K, 1536, 16 * 6 * 148),
            (BlockFormat::Q6K, 1536, 16 * 6 * 210),
            (BlockFormat::Q5_0, 896, 16 * 28 * 22),
            (BlockFormat::Q8_0, 896, 16 * 28 * 34),
        ] {
            let n_bytes = 16 * n_in / format.block_len() * format.block_bytes();
            let matrix = PackedMatrix::pack(format, &vec![0; n_bytes], [16, n_in]).unwrap();
            assert_eq!(matrix.bytes(), expected, "{format:?}");
            assert_eq!((matrix.n_out(), matrix.n_in(), matrix.format()), (16, n_in, format));
        }
    }
}
