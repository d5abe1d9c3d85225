//! A product of rounded activations with packed weights, divided among threads.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::activations::{Activations, BATCH_ROWS, Batch};
use super::format::{BlockFormat, Line, STRIP_ROWS};
use super::instruction_set::InstructionSet;
use super::pack::PackedMatrix;
use super::scalar::Scalar;

/// Bytes of weights that a thread takes at a time, if that is a strip: long enough to be read in one go, and short
/// enough for threads to finish nearly together.
const CHUNK_BYTES: usize = 96 << 10;

/// Fewest strips that a thread takes at a time where there are several batches: each batch then comes from the second
/// level of the cache, or the third, once for so many strips.
const CHUNK_STRIPS: usize = 4;

/// `y = x · Wᵀ`, to be computed by any number of threads, each of which calls [`Product::run`].
///
/// When all of those calls have returned, `y` is complete. Threads may go from one product to the next without waiting
/// for each other.
pub struct Product<'a> {
    matrix: &'a PackedMatrix,
    x: &'a Activations,
    set: InstructionSet,
    y: *mut f32,
    y_is_borrowed: PhantomData<&'a mut [f32]>,
    chunk_strips: usize,
    next_chunk: AtomicUsize,
}

/// One row's results for the sixteen output rows of a strip.
pub(super) type Sums = [f32; STRIP_ROWS];

/// An instruction set's way of multiplying. A value of such a type proves that the machine has it.
pub(super) trait Kernel {
    /// The product of a strip with the `M` rows of a batch.
    ///
    /// # Panics
    /// If the batch is not of the blocks that `format` needs.
    fn multiply<const M: usize>(
        &self,
        format: BlockFormat,
        strip: &[Line],
        batch: Batch<'_>,
    ) -> [Sums; M];
}

impl std::fmt::Debug for Product<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Product({:?}, {:?}, {} rows)", self.set, self.matrix, self.x.n_rows())
    }
}

#[expect(unsafe_code, reason = "a pointer to what `new` borrows exclusively")]
// SAFETY: all fields but `y` are shared references, numbers and an atomic. `y` stands for an exclusive reference to
// floats, which another thread may be given.
unsafe impl Send for Product<'_> {}

#[expect(unsafe_code, reason = "threads write disjoint parts of `y`")]
// SAFETY: `y` is reached through `write` only, which is called for strips that the calling thread alone has taken.
unsafe impl Sync for Product<'_> {}

impl<'a> Product<'a> {
    /// A product of which nothing is computed yet; `y` is `[x.n_rows(), matrix.n_out()]`, row-major.
    ///
    /// # Panics
    /// If the shapes or the activations' blocks do not fit, or this machine does not have the instruction set.
    pub fn new(
        matrix: &'a PackedMatrix,
        x: &'a Activations,
        y: &'a mut [f32],
        set: InstructionSet,
    ) -> Self {
        assert!(set.is_supported(), "this machine does not have {set:?}");
        if x.n_rows() > 0 {
            assert_eq!(x.n_in(), matrix.n_in(), "rows as wide as the matrix");
            assert_eq!(x.blocks(), matrix.format().activation_blocks(), "blocks of the format");
        }
        assert_eq!(y.len(), x.n_rows() * matrix.n_out(), "a number per row and output");
        let fewest = if x.batches().len() > 1 { CHUNK_STRIPS } else { 1 };
        Self {
            matrix,
            x,
            set,
            y: y.as_mut_ptr(),
            y_is_borrowed: PhantomData,
            chunk_strips: (CHUNK_BYTES / matrix.strip_bytes()).max(fewest),
            next_chunk: AtomicUsize::new(0),
        }
    }

    /// Computes one chunk of strips after the other until none are left that no thread has taken.
    pub fn run(&self) {
        match self.set {
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512Vnni => self.run_with(&super::avx512::Avx512::get()),
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => self.run_with(&super::avx2::Avx2::get()),
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Sse41 => self.run_with(&super::sse::Sse41::get()),
            #[cfg(target_arch = "aarch64")]
            InstructionSet::Neon => self.run_with(&super::neon::Neon::get()),
            _ => self.run_with(&Scalar),
        }
    }

    /// Batches outside, strips inside: a batch's activations stay in the first-level cache while the chunk's strips
    /// pass by, and the chunk stays in the second level for the next batch.
    fn run_with(&self, kernel: &impl Kernel) {
        while let Some(strips) = self.take() {
            let batches = self.x.batches();
            for rows in (0..batches.len()).map(|idx| batches.rows(idx)) {
                let batch = self.x.batch(rows.clone());
                for (strip_idx, strip) in strips.clone().zip(self.matrix.strips(strips.clone())) {
                    let mut sums = [[0.0; STRIP_ROWS]; BATCH_ROWS];
                    let sums = &mut sums[..rows.len()];
                    multiply_batch(kernel, (self.matrix.format(), strip), batch, sums);
                    for (row, sums) in rows.clone().zip(sums) {
                        #[expect(unsafe_code, reason = "threads write disjoint parts of `y`")]
                        // SAFETY: `take` gave this strip to this call alone.
                        unsafe {
                            self.write(row, strip_idx, sums);
                        }
                    }
                }
            }
        }
    }

    /// The next strips, which no other call gets.
    fn take(&self) -> Option<Range<usize>> {
        let n_strips = self.matrix.n_strips();
        // Only the division of work depends on the counter; what is written is published by whatever the caller waits
        // with.
        let start = self.next_chunk.fetch_add(1, Ordering::Relaxed) * self.chunk_strips;
        (start < n_strips).then(|| start..n_strips.min(start + self.chunk_strips))
    }

    /// Writes a row's results for a strip, without those of rows that only fill it up.
    ///
    /// # Safety
    /// The strip must be this thread's, given by `take`.
    #[expect(unsafe_code, reason = "threads write disjoint parts of `y`")]
    unsafe fn write(&self, row: usize, strip_idx: usize, sums: &Sums) {
        let n_out = self.matrix.n_out();
        let column = strip_idx * STRIP_ROWS;
        assert!(row < self.x.n_rows() && column < n_out, "within the result");
        let n = STRIP_ROWS.min(n_out - column);
        // SAFETY: `y` has `n_rows · n_out` numbers, so that these are within it; no other thread touches them, as the
        // strip is this one's; `sums` is no part of `y`, which is borrowed exclusively.
        unsafe {
            std::ptr::copy_nonoverlapping(sums.as_ptr(), self.y.add(row * n_out + column), n);
        }
    }
}

/// Calls the kernel for as many rows as `sums` has.
fn multiply_batch(
    kernel: &impl Kernel,
    (format, strip): (BlockFormat, &[Line]),
    batch: Batch<'_>,
    sums: &mut [Sums],
) {
    match sums.len() {
        1 => sums.copy_from_slice(&kernel.multiply::<1>(format, strip, batch)),
        2 => sums.copy_from_slice(&kernel.multiply::<2>(format, strip, batch)),
        3 => sums.copy_from_slice(&kernel.multiply::<3>(format, strip, batch)),
        4 => sums.copy_from_slice(&kernel.multiply::<4>(format, strip, batch)),
        5 => sums.copy_from_slice(&kernel.multiply::<5>(format, strip, batch)),
        6 => sums.copy_from_slice(&kernel.multiply::<6>(format, strip, batch)),
        7 => sums.copy_from_slice(&kernel.multiply::<7>(format, strip, batch)),
        8 => sums.copy_from_slice(&kernel.multiply::<8>(format, strip, batch)),
        n => unreachable!("a batch of {n} rows"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::activations::ActivationBlocks;
    use super::super::oracle::{Random, dequantize, set_scales};
    use super::*;

    /// Widths of the models' matrices in each format, narrow and odd ones among them.
    fn shapes() -> impl Iterator<Item = (BlockFormat, [usize; 2])> {
        let widths = |format: BlockFormat| match format.block_len() {
            256 => [256, 1536, 4864],
            _ => [32, 896, 4864],
        };
        let each = move |format| {
            widths(format).map(|n_in| [16, 24, 256].map(|n_out| (format, [n_out, n_in])))
        };
        BlockFormat::ALL.into_iter().flat_map(each).flatten()
    }

    struct Case {
        matrix: PackedMatrix,
        weights: Vec<f64>,
        x: Vec<f32>,
    }

    impl Case {
        fn new(format: BlockFormat, shape: [usize; 2], n_rows: usize) -> Self {
            let mut random = Random((shape[0] * shape[1] + n_rows) as u64);
            let blocks = random.blocks(format, shape[0] * shape[1]);
            Self::of(format, &blocks, shape, random.activations(n_rows * shape[1]))
        }

        fn of(format: BlockFormat, blocks: &[u8], shape: [usize; 2], x: Vec<f32>) -> Self {
            let matrix = PackedMatrix::pack(format, blocks, shape).unwrap();
            Self { matrix, weights: dequantize(format, blocks), x }
        }

        fn rounded(&self, rows: Range<usize>) -> Activations {
            let n_in = self.matrix.n_in();
            let mut rounded = Activations::default();
            let blocks = self.matrix.format().activation_blocks();
            rounded.quantize(&self.x[rows.start * n_in..rows.end * n_in], n_in, blocks);
            rounded
        }

        /// The product of some rows, as bits.
        fn multiply(&self, rows: Range<usize>, set: InstructionSet) -> Vec<u32> {
            let mut y = vec![f32::NAN; rows.len() * self.matrix.n_out()];
            Product::new(&self.matrix, &self.rounded(rows), &mut y, set).run();
            y.into_iter().map(f32::to_bits).collect()
        }

        /// The product in `f64`, of `x: [rows, n_in]`.
        fn expected(&self, x: &[f64]) -> Vec<f64> {
            let n_in = self.matrix.n_in();
            let row = |x: &[f64]| -> Vec<f64> {
                let outputs = self.weights.chunks_exact(n_in);
                outputs.map(|w| w.iter().zip(x).map(|(w, x)| w * x).sum()).collect()
            };
            x.chunks_exact(n_in).flat_map(row).collect()
        }
    }

    fn sets() -> impl Iterator<Item = InstructionSet> {
        InstructionSet::ALL.into_iter().filter(|set| set.is_supported())
    }

    /// The activations that the records stand for, as `[rows, n_in]`.
    fn restored(x: &Activations) -> Vec<f64> {
        let mut restored = Vec::new();
        for (rows, row) in
            (0..x.batches().len()).map(|idx| x.batches().rows(idx)).flat_map(|rows| {
                let first = rows.clone();
                rows.map(move |row| (first.clone(), row))
            })
        {
            let (n, at) = (rows.len(), row - rows.start);
            let mut push = |words: &[i32], scale: f32| {
                let steps = words.iter().flat_map(|word| word.to_le_bytes());
                restored.extend(steps.map(|step| f64::from(step as i8) * f64::from(scale)));
            };
            match x.batch(rows) {
                Batch::Of256(records) => records.iter().skip(at).step_by(n).for_each(|record| {
                    push(record.words.as_flattened(), record.scale);
                }),
                Batch::Of32(records) => records.iter().skip(at).step_by(n).for_each(|record| {
                    push(&record.words, record.scale);
                }),
            }
        }
        restored
    }

    fn rms(x: impl Iterator<Item = f64> + Clone) -> f64 {
        (x.clone().map(|x| x * x).sum::<f64>() / x.count() as f64).sqrt()
    }

    /// The error of `got` relative to `expected`, by root mean squares.
    fn error(got: &[u32], expected: &[f64]) -> f64 {
        let got = got.iter().map(|bits| f64::from(f32::from_bits(*bits)));
        rms(got.zip(expected).map(|(got, expected)| got - expected)) / rms(expected.iter().copied())
    }

    /// What adding up blocks in `f32` may lose.
    const SUM_ERROR: f64 = 1e-6;

    /// What rounding activations to eight bits may lose, of normal ones.
    const ROUNDING_ERROR: f64 = 0.012;

    #[test]
    fn products_are_those_of_the_blocks() {
        for (format, shape) in shapes() {
            let case = Case::new(format, shape, 3);
            let rounded = case.expected(&restored(&case.rounded(0..3)));
            let exact = case.expected(&case.x.iter().map(|x| f64::from(*x)).collect::<Vec<_>>());
            for set in sets() {
                let got = case.multiply(0..3, set);
                let (sums, all) = (error(&got, &rounded), error(&got, &exact));
                assert!(sums < SUM_ERROR, "{set:?} {format:?} {shape:?}: {sums}");
                assert!(all < ROUNDING_ERROR, "{set:?} {format:?} {shape:?}: {all}");
            }
        }
    }

    #[test]
    fn instruction_sets_agree_to_the_bit() {
        for (format, shape) in shapes().filter(|(_, [n_out, n_in])| n_out * n_in < 200_000) {
            let case = Case::new(format, shape, 20);
            for n_rows in 1..=20 {
                let expected = case.multiply(0..n_rows, InstructionSet::Scalar);
                for set in sets() {
                    let got = case.multiply(0..n_rows, set);
                    assert_eq!(got, expected, "{set:?} {format:?} {shape:?} {n_rows}");
                }
            }
        }
    }

    #[test]
    fn a_row_is_the_same_in_any_company() {
        for format in BlockFormat::ALL {
            let case = Case::new(format, [40, 1536], 20);
            let alone = |set| -> Vec<_> {
                (0..20).flat_map(|row| case.multiply(row..row + 1, set)).collect()
            };
            for set in sets() {
                let rows = alone(set);
                for n_rows in 1..=20 {
                    assert_eq!(
                        case.multiply(0..n_rows, set),
                        rows[..n_rows * 40],
                        "{set:?} {n_rows}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_largest_sums_fit() {
        for format in BlockFormat::ALL {
            let n_bytes = 16 * 512 / format.block_len() * format.block_bytes();
            for (fill, sign) in
                [0xFF, 0x7F, 0x80].into_iter().flat_map(|fill| [(fill, 1.0), (fill, -1.0)])
            {
                let mut blocks = vec![fill; n_bytes];
                for block in blocks.chunks_exact_mut(format.block_bytes()) {
                    set_scales(format, block, 0x3C00);
                }
                let case = Case::of(format, &blocks, [16, 512], vec![sign; 3 * 512]);
                let expected = case.expected(&restored(&case.rounded(0..3)));
                for set in sets() {
                    let error = error(&case.multiply(0..3, set), &expected);
                    assert!(error < SUM_ERROR, "{set:?} {format:?} {fill:x} {sign}: {error}");
                }
            }
        }
    }

    #[test]
    fn threads_write_what_one_does() {
        for format in BlockFormat::ALL {
            let case = Case::new(format, [1000, 1536], 9);
            let x = case.rounded(0..9);
            for set in sets().filter(|set| *set != InstructionSet::Scalar) {
                let mut y = vec![f32::NAN; 9 * 1000];
                let product = Product::new(&case.matrix, &x, &mut y, set);
                std::thread::scope(|scope| {
                    (0..3).for_each(|_| drop(scope.spawn(|| product.run())))
                });
                let y: Vec<u32> = y.into_iter().map(f32::to_bits).collect();
                assert_eq!(y, case.multiply(0..9, set), "{set:?} {format:?}");
            }
        }
    }

    #[test]
    fn a_row_that_is_no_number_spoils_no_other() {
        for format in BlockFormat::ALL {
            let mut case = Case::new(format, [16, 512], 3);
            case.x[512 + 300] = f32::NAN;
            for set in sets() {
                let y = case.multiply(0..3, set);
                let is_nan: Vec<bool> = y.iter().map(|y| f32::from_bits(*y).is_nan()).collect();
                assert_eq!(is_nan, [[false; 16], [true; 16], [false; 16]].concat(), "{set:?}");
            }
        }
    }

    #[test]
    fn nothing_times_something_is_nothing() {
        let case = Case::new(BlockFormat::Q4K, [24, 256], 0);
        let empty = Case::new(BlockFormat::Q8_0, [0, 256], 2);
        for set in sets() {
            assert_eq!(case.multiply(0..0, set), [0; 0]);
            assert_eq!(empty.multiply(0..2, set), [0; 0]);
        }
    }

    #[test]
    #[should_panic(expected = "blocks of the format")]
    fn activations_of_other_blocks_are_refused() {
        let case = Case::new(BlockFormat::Q8_0, [16, 256], 1);
        let mut x = Activations::default();
        x.quantize(&case.x, 256, ActivationBlocks::Of256);
        Product::new(&case.matrix, &x, &mut [0.0; 16], InstructionSet::Scalar).run();
    }
}
