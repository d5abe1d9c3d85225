//! Rows of activations, rounded to eight bits block by block, in the order in which the products read them.
//!
//! Rows are taken in batches of up to eight, as equal as can be (nine are five and four), because a product holds the
//! sums of eight rows in registers. A batch's records lie block by block, and in each block row by row, so that a
//! product finds all of its rows at constant distances. Nothing in a row's records depends on another row.

use std::ops::Range;
use std::sync::Mutex;

use pulp::{Arch, NullaryFnOnce};

use super::format::BlockFormat;

/// Most rows that are multiplied at a time: their sums, and the eight registers of weights that they share, fill the
/// 32 registers of AVX-512.
pub(super) const BATCH_ROWS: usize = 8;

/// Numbers that a thread rounds before it looks for more: little enough for two threads to share one row.
const PIECE_LEN: usize = 4096;

/// What adding to a float of magnitude below 2²² leaves as the last bits: the nearest integer, ties to even.
const ROUNDING: f32 = 12_582_912.0;

/// How many activations share one scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ActivationBlocks {
    /// 256, for Q4_K and Q6_K.
    Of256,
    /// 32, for Q5_0 and Q8_0.
    Of32,
}

impl BlockFormat {
    /// The blocks that activations must have for weights of this format.
    pub fn activation_blocks(self) -> ActivationBlocks {
        match self {
            Self::Q4K | Self::Q6K => ActivationBlocks::Of256,
            Self::Q5_0 | Self::Q8_0 => ActivationBlocks::Of32,
        }
    }
}

impl ActivationBlocks {
    /// Numbers in a block.
    pub fn block_len(self) -> usize {
        match self {
            Self::Of256 => Record256::LEN,
            Self::Of32 => Record32::LEN,
        }
    }
}

/// Rounded rows `[n_rows, n_in]`: a buffer to be used again and again, which keeps its memory.
#[derive(Debug)]
pub struct Activations {
    n_rows: usize,
    n_in: usize,
    blocks: ActivationBlocks,
    of_256: Vec<Record256>,
    of_32: Vec<Record32>,
}

impl Default for Activations {
    fn default() -> Self {
        let blocks = ActivationBlocks::Of256;
        Self { n_rows: 0, n_in: 0, blocks, of_256: Vec::new(), of_32: Vec::new() }
    }
}

impl Activations {
    /// Rounds the rows of `x: [rows, n_in]` on this thread, in place of what was here.
    ///
    /// # Panics
    /// If `x` is no whole number of rows, or a row no whole number of blocks.
    pub fn quantize(&mut self, x: &[f32], n_in: usize, blocks: ActivationBlocks) {
        self.writer(x, n_in, blocks).run();
    }

    /// What [`Activations::quantize`] does, for several threads to share.
    ///
    /// # Panics
    /// As [`Activations::quantize`].
    pub fn writer<'a>(
        &'a mut self,
        x: &'a [f32],
        n_in: usize,
        blocks: ActivationBlocks,
    ) -> ActivationsWriter<'a> {
        assert!(n_in > 0 && n_in.is_multiple_of(blocks.block_len()), "whole blocks");
        assert!(x.len().is_multiple_of(n_in), "whole rows");
        (self.n_rows, self.n_in, self.blocks) = (x.len() / n_in, n_in, blocks);
        let n_records = x.len() / blocks.block_len();
        let batches = Batches { n_rows: self.n_rows };
        let rest = match blocks {
            ActivationBlocks::Of256 => {
                self.of_256.resize(n_records, Record256::default());
                Rest::Of256(Mutex::new(Pieces::new(&mut self.of_256)))
            }
            ActivationBlocks::Of32 => {
                self.of_32.resize(n_records, Record32::default());
                Rest::Of32(Mutex::new(Pieces::new(&mut self.of_32)))
            }
        };
        ActivationsWriter { x, n_in, batches, rest }
    }

    /// Rows.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Numbers in a row.
    pub fn n_in(&self) -> usize {
        self.n_in
    }

    /// How many numbers share a scale.
    pub fn blocks(&self) -> ActivationBlocks {
        self.blocks
    }

    pub(super) fn batches(&self) -> Batches {
        Batches { n_rows: self.n_rows }
    }

    /// The records of these rows, which are a batch's.
    pub(super) fn batch(&self, rows: Range<usize>) -> Batch<'_> {
        let n_blocks = self.n_in / self.blocks.block_len();
        let records = rows.start * n_blocks..rows.end * n_blocks;
        match self.blocks {
            ActivationBlocks::Of256 => Batch::Of256(&self.of_256[records]),
            ActivationBlocks::Of32 => Batch::Of32(&self.of_32[records]),
        }
    }
}

/// The records of up to eight rows, `[blocks][rows]`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Batch<'a> {
    /// For Q4_K and Q6_K.
    Of256(&'a [Record256]),
    /// For Q5_0 and Q8_0.
    Of32(&'a [Record32]),
}

/// How rows are divided into batches: as few as can be, and equal but for one row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batches {
    n_rows: usize,
}

impl Batches {
    /// How many there are.
    pub(super) fn len(self) -> usize {
        self.n_rows.div_ceil(BATCH_ROWS)
    }

    /// The rows of one batch.
    pub(super) fn rows(self, batch_idx: usize) -> Range<usize> {
        let (least, n_longer) = (self.n_rows / self.len(), self.n_rows % self.len());
        let start = |idx: usize| idx * least + idx.min(n_longer);
        start(batch_idx)..start(batch_idx + 1)
    }
}

/// A block of 256 activations.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(32))]
pub(super) struct Record256 {
    /// The rounded numbers, four bytes in a word (the first is the lowest), 32 numbers in a row.
    pub(super) words: [[i32; 8]; 8],
    /// −32 times the sums of sixteen numbers: what the sums of raised Q6_K values begin at.
    pub(super) offsets: [i32; 16],
    /// The sums of 32 numbers in pairs of sixteen bits (the first is the lower), for the minimums of Q4_K.
    pub(super) pair_sums: [i32; 4],
    /// What one step is worth.
    pub(super) scale: f32,
}

/// A block of 32 activations.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(16))]
pub(super) struct Record32 {
    /// The rounded numbers, four bytes in a word; the first is the lowest.
    pub(super) words: [i32; 8],
    /// −16 times their sum: what the sums of raised Q5_0 values begin at.
    pub(super) offset_q5: i32,
    /// −128 times their sum, for Q8_0.
    pub(super) offset_q8: i32,
    /// What one step is worth.
    pub(super) scale: f32,
}

/// A block's record.
trait Record: Sized {
    /// Numbers in a block.
    const LEN: usize;

    /// Writes the record of `x`, a block.
    fn write(&mut self, x: &[f32]);
}

impl Record for Record256 {
    const LEN: usize = 256;

    #[inline(always)]
    fn write(&mut self, x: &[f32]) {
        let (steps, scale) = round::<256>(x);
        self.scale = scale;
        let mut sums = [0; 16];
        for (sum, steps) in sums.iter_mut().zip(steps.as_chunks::<16>().0) {
            *sum = steps.iter().sum();
        }
        self.offsets = sums.map(|sum| -32 * sum);
        for (pair, sums) in self.pair_sums.iter_mut().zip(sums.as_chunks::<4>().0) {
            *pair = (sums[0] + sums[1]) & 0xFFFF | (sums[2] + sums[3]) << 16;
        }
        pack(&steps, self.words.as_flattened_mut());
    }
}

impl Record for Record32 {
    const LEN: usize = 32;

    #[inline(always)]
    fn write(&mut self, x: &[f32]) {
        let (steps, scale) = round::<32>(x);
        self.scale = scale;
        let sum: i32 = steps.iter().sum();
        (self.offset_q5, self.offset_q8) = (-16 * sum, -128 * sum);
        pack(&steps, &mut self.words);
    }
}

/// Four numbers to a word, the first in its lowest byte.
#[inline(always)]
fn pack(steps: &[i32], words: &mut [i32]) {
    for (word, steps) in words.iter_mut().zip(steps.as_chunks::<4>().0) {
        *word = i32::from_le_bytes(steps.map(|step| step as u8));
    }
}

/// A block as multiples, between −127 and 127, of what one step is worth; the largest magnitude is 127 steps. A block
/// with NaN or infinity is worth NaN or infinity, and so are its products; one of nearly zeros is zero.
#[inline(always)]
fn round<const N: usize>(x: &[f32]) -> ([i32; N], f32) {
    // Magnitudes are ordered as their bits are, and NaN is above them all.
    let bits = x.iter().fold(0, |most, x| most.max(x.to_bits() & 0x7FFF_FFFF));
    let most = f32::from_bits(bits);
    let steps = 127.0 / most;
    if !steps.is_normal() {
        return ([0; N], if most.is_finite() { 0.0 } else { most });
    }
    let mut rounded = [0; N];
    for (rounded, x) in rounded.iter_mut().zip(x) {
        let bits = (x * steps + ROUNDING).to_bits();
        *rounded = bits.cast_signed() - ROUNDING.to_bits().cast_signed();
    }
    (rounded, most / 127.0)
}

/// [`Activations`] being written by any number of threads, each of which calls [`ActivationsWriter::run`].
#[derive(Debug)]
pub struct ActivationsWriter<'a> {
    x: &'a [f32],
    n_in: usize,
    batches: Batches,
    rest: Rest<'a>,
}

#[derive(Debug)]
enum Rest<'a> {
    Of256(Mutex<Pieces<'a, Record256>>),
    Of32(Mutex<Pieces<'a, Record32>>),
}

/// What no thread has taken yet: `records` begin at `block` of a batch.
#[derive(Debug)]
struct Pieces<'a, R> {
    records: &'a mut [R],
    batch: usize,
    block: usize,
}

/// Some blocks of a batch's rows, and where they begin.
struct Piece<'a, R> {
    records: &'a mut [R],
    rows: Range<usize>,
    block: usize,
}

impl ActivationsWriter<'_> {
    /// Rounds one piece after the other until none are left that no thread has taken.
    pub fn run(&self) {
        match &self.rest {
            Rest::Of256(pieces) => self.write(pieces),
            Rest::Of32(pieces) => self.write(pieces),
        }
    }

    fn write<R: Record>(&self, pieces: &Mutex<Pieces<'_, R>>) {
        let next = || pieces.lock().expect("taking does not panic").take(self.batches, self.n_in);
        while let Some(piece) = next() {
            Arch::new().dispatch(Writing { x: self.x, n_in: self.n_in, piece });
        }
    }
}

/// One piece to be written: not a closure, which might not be inlined, and so not be compiled for the machine.
struct Writing<'a, R> {
    x: &'a [f32],
    n_in: usize,
    piece: Piece<'a, R>,
}

impl<R: Record> NullaryFnOnce for Writing<'_, R> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Piece { records, rows, block } = self.piece;
        for (idx, records) in records.chunks_exact_mut(rows.len()).enumerate() {
            for (record, row) in records.iter_mut().zip(rows.clone()) {
                let start = row * self.n_in + (block + idx) * R::LEN;
                record.write(&self.x[start..][..R::LEN]);
            }
        }
    }
}

impl<'a, R: Record> Pieces<'a, R> {
    fn new(records: &'a mut [R]) -> Self {
        Self { records, batch: 0, block: 0 }
    }

    fn take(&mut self, batches: Batches, n_in: usize) -> Option<Piece<'a, R>> {
        if self.records.is_empty() {
            return None;
        }
        let (rows, block, n_blocks) = (batches.rows(self.batch), self.block, n_in / R::LEN);
        let taken = (PIECE_LEN / R::LEN / rows.len()).clamp(1, n_blocks - block);
        let records = std::mem::take(&mut self.records);
        let (records, rest) = records.split_at_mut(taken * rows.len());
        self.records = rest;
        self.block += taken;
        if self.block == n_blocks {
            (self.batch, self.block) = (self.batch + 1, 0);
        }
        Some(Piece { records, rows, block })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_few_and_equal() {
        let sizes = |n_rows| {
            let batches = Batches { n_rows };
            (0..batches.len()).map(|idx| batches.rows(idx).len()).collect::<Vec<_>>()
        };
        assert_eq!(sizes(0), [0; 0]);
        assert_eq!(sizes(8), [8]);
        assert_eq!(sizes(9), [5, 4]);
        assert_eq!(sizes(16), [8, 8]);
        assert_eq!(sizes(20), [7, 7, 6]);
        assert_eq!(Batches { n_rows: 20 }.rows(1), 7..14);
    }

    #[test]
    fn rounding_is_to_the_nearest_step() {
        let x: Vec<f32> = (0..32).map(|i| (i as f32 - 20.0) * 0.31).collect();
        let (steps, scale) = round::<32>(&x);
        assert_eq!(steps[0], -127);
        for (x, step) in x.iter().zip(steps) {
            assert!((x - step as f32 * scale).abs() <= 0.500_01 * scale);
        }
        assert_eq!(round::<32>(&[0.0; 32]), ([0; 32], 0.0));
        assert_eq!(round::<32>(&[1e-40; 32]), ([0; 32], 0.0));
        let mut bad = [1.0; 32];
        bad[7] = f32::NAN;
        assert!(round::<32>(&bad).1.is_nan());
        bad[7] = f32::NEG_INFINITY;
        assert_eq!(round::<32>(&bad), ([0; 32], f32::INFINITY));
    }

    #[test]
    fn threads_write_what_one_does() {
        let (n_rows, n_in) = (19, 2048);
        let x: Vec<f32> = (0..n_rows * n_in).map(|i| (i * 7919 % 2003) as f32 - 1000.0).collect();
        for blocks in [ActivationBlocks::Of256, ActivationBlocks::Of32] {
            let (mut alone, mut shared) = (Activations::default(), Activations::default());
            alone.quantize(&x, n_in, blocks);
            let writer = shared.writer(&x, n_in, blocks);
            std::thread::scope(|scope| (0..3).for_each(|_| drop(scope.spawn(|| writer.run()))));
            assert_eq!(format!("{alone:?}"), format!("{shared:?}"));
            assert_eq!((shared.n_rows(), shared.n_in(), shared.blocks()), (n_rows, n_in, blocks));
        }
    }

    #[test]
    fn a_buffer_that_is_large_enough_is_kept() {
        let mut buffer = Activations::default();
        buffer.quantize(&[1.0; 4096], 1024, ActivationBlocks::Of256);
        let (before, capacity) = (buffer.of_256.as_ptr(), buffer.of_256.capacity());
        buffer.quantize(&[1.0; 1024], 512, ActivationBlocks::Of32);
        buffer.quantize(&[2.0; 4096], 256, ActivationBlocks::Of256);
        assert_eq!((buffer.of_256.as_ptr(), buffer.of_256.capacity()), (before, capacity));
    }
}
