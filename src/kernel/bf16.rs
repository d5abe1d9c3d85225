//! Products with frozen bf16 weights in the tile registers of AMX: `y = x · B` in bf16 with f32 sums.
//!
//! Training the security model is nothing but such products over many rows, where AMX does sixteen times the work of
//! AVX-512. The layouts are Intel's (Optimization Reference Manual, "Intel AMX"): a tile of `B` holds 32 × 16 numbers as
//! 16 rows of 16 pairs. [`Bf16Matrix::multiply_scalar`] is the obvious version, and serves where there is no AMX.

use rayon::prelude::*;

/// Numbers of the inner dimension in a tile.
const TILE_K: usize = 32;

/// Rows or columns of a block: two tiles each way, so that each loaded tile is used twice.
const BLOCK: usize = 32;

/// Numbers in one tile of 1 KiB.
const TILE: usize = 512;

/// A frozen matrix `[K, N]` in tiles; both dimensions are padded with zeros.
///
/// By panels of 32 columns, in each by steps of 32 along K, in each two tiles side by side.
pub struct Bf16Matrix {
    inner: usize,
    columns: usize,
    tiles: Vec<u16>,
}

impl std::fmt::Debug for Bf16Matrix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bf16Matrix[{}, {}]", self.inner, self.columns)
    }
}

/// Which way a matrix is multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Orientation {
    /// `x · W`: K is the number of W's rows.
    AsStored,
    /// `x · Wᵀ`: K is the number of W's columns.
    Transposed,
}

/// Whether this machine and its kernel offer AMX; asked once.
pub fn available() -> bool {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    return amx::available();
    #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
    return false;
}

impl Bf16Matrix {
    /// Rounds and packs `weights: [rows, columns]`, row-major.
    ///
    /// # Panics
    /// If `weights` is not of that size.
    pub fn pack(weights: &[f32], [rows, columns]: [usize; 2], orientation: Orientation) -> Self {
        assert_eq!(weights.len(), rows * columns, "a whole matrix");
        let (inner, width, strides) = match orientation {
            Orientation::AsStored => (rows, columns, [columns, 1]),
            Orientation::Transposed => (columns, rows, [1, columns]),
        };
        let steps = inner.div_ceil(TILE_K);
        let panel_len = steps * 2 * TILE;
        let mut tiles = vec![0u16; width.div_ceil(BLOCK) * panel_len];
        tiles.par_chunks_mut(panel_len).enumerate().for_each(|(panel, tiles)| {
            for (place, tile) in tiles.chunks_exact_mut(TILE).enumerate() {
                let first_k = place / 2 * TILE_K;
                let first_n = panel * BLOCK + place % 2 * (BLOCK / 2);
                for (i, number) in tile.iter_mut().enumerate() {
                    let (k, n) = (first_k + i / 32 * 2 + i % 2, first_n + i % 32 / 2);
                    if k < inner && n < width {
                        *number = to_bf16(weights[k * strides[0] + n * strides[1]]);
                    }
                }
            }
        });
        Self { inner, columns: width, tiles }
    }

    /// K.
    pub fn inner(&self) -> usize {
        self.inner
    }

    /// N.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// `x · B` for `x: [M, K]`, as `[M, N]`; `x` is rounded to bf16. A row of the result depends on no other row.
    ///
    /// # Panics
    /// If `x` is no whole number of rows.
    pub fn multiply(&self, x: &[f32]) -> Vec<f32> {
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        if amx::available() {
            assert!(x.len().is_multiple_of(self.inner), "whole rows");
            let mut y = vec![0f32; x.len() / self.inner * self.columns];
            let share = (x.len() / self.inner).div_ceil(rayon::current_num_threads());
            let rows = share.next_multiple_of(BLOCK).min(amx::ROWS);
            let chunks = x.par_chunks(rows * self.inner);
            y.par_chunks_mut(rows * self.columns)
                .zip(chunks)
                .for_each(|(y, x)| amx::multiply(self, x, y));
            return y;
        }
        self.multiply_scalar(x)
    }

    /// What [`Bf16Matrix::multiply`] computes, one number after the other.
    ///
    /// # Panics
    /// If `x` is no whole number of rows.
    pub fn multiply_scalar(&self, x: &[f32]) -> Vec<f32> {
        assert!(x.len().is_multiple_of(self.inner), "whole rows");
        let mut y = Vec::with_capacity(x.len() / self.inner * self.columns);
        for row in x.chunks_exact(self.inner) {
            for n in 0..self.columns {
                let products = row
                    .iter()
                    .enumerate()
                    .map(|(k, &x)| from_bf16(to_bf16(x)) * from_bf16(self.at(k, n)));
                y.push(products.sum());
            }
        }
        y
    }

    fn at(&self, k: usize, n: usize) -> u16 {
        let panel = n / BLOCK * self.steps() * 2;
        let tile = panel + k / TILE_K * 2 + n % BLOCK / 16;
        self.tiles[tile * TILE + k % TILE_K / 2 * 32 + n % 16 * 2 + k % 2]
    }

    fn steps(&self) -> usize {
        self.inner.div_ceil(TILE_K)
    }
}

/// Rounds to the nearest bf16, ties to even; NaN stays NaN.
#[inline(always)]
fn to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7FFF + ((bits >> 16) & 1));
    (if x.is_nan() { bits | 0x40_0000 } else { rounded } >> 16) as u16
}

fn from_bf16(x: u16) -> f32 {
    f32::from_bits(u32::from(x) << 16)
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[expect(unsafe_code, reason = "tile instructions have no safe intrinsics")]
mod amx {
    use std::arch::asm;
    use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
    use std::sync::OnceLock;

    use super::{BLOCK, Bf16Matrix, TILE, TILE_K, to_bf16};

    /// Most rows of `x` that one pass over the weights serves: the part that is in use at a time (448 columns) takes less
    /// than a megabyte of the second-level cache.
    pub(super) const ROWS: usize = 1024;

    /// The operand of `ldtilecfg`: eight tiles of 16 rows of 64 bytes.
    #[repr(C, align(64))]
    #[derive(Clone, Copy)]
    struct TileConfig {
        palette: u8,
        start_row: u8,
        reserved: [u8; 14],
        row_bytes: [u16; 16],
        rows: [u8; 16],
    }

    static ALL_TILES: TileConfig = TileConfig {
        palette: 1,
        start_row: 0,
        reserved: [0; 14],
        row_bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
        rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
    };

    /// AMX in the CPU (leaf 7: AMX-BF16 is bit 22 of EDX, AMX-TILE bit 24), and the kernel's leave to use its state.
    pub(super) fn available() -> bool {
        static AVAILABLE: OnceLock<bool> = OnceLock::new();
        *AVAILABLE.get_or_init(|| {
            let edx = std::arch::x86_64::__cpuid_count(7, 0).edx;
            edx & (1 << 22) != 0 && edx & (1 << 24) != 0 && ask_for_tile_state()
        })
    }

    /// Linux saves the eight KiB of tile state only for processes that asked (`arch_prctl`, `ARCH_REQ_XCOMP_PERM`).
    fn ask_for_tile_state() -> bool {
        const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
        const XFEATURE_XTILEDATA: libc::c_long = 18;
        // SAFETY: the call takes two integers and changes nothing but this process's permission.
        let answer =
            unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) };
        answer == 0
    }

    /// Steps along K for which the 28 KiB of a column panel stay in the first-level cache while all rows pass by; the
    /// rows come from the second level, which alone would feed only half of what the tiles can take.
    const STEPS: usize = 14;

    /// `y = x · B` on this thread; `x` is `[M, K]`, `y` is `[M, N]`.
    pub(super) fn multiply(matrix: &Bf16Matrix, x: &[f32], y: &mut [f32]) {
        let packed = pack_rows(x, matrix.inner);
        let (group_len, panel_len) = (matrix.steps() * TILE, matrix.steps() * 2 * TILE);
        let n_blocks = packed.len() / (2 * group_len);
        let mut sums = vec![0f32; n_blocks * BLOCK * BLOCK];
        with_tiles(|| {
            let mut done = 0;
            for (panel_idx, panel) in matrix.tiles.chunks_exact(panel_len).enumerate() {
                sums.fill(0.0);
                for (part_idx, part) in panel.chunks(STEPS * 2 * TILE).enumerate() {
                    done += part.len();
                    let mut ahead = Ahead::new(&matrix.tiles[done..], n_blocks);
                    let first = part_idx * STEPS * TILE;
                    let columns = first..first + part.len() / 2;
                    let blocks = packed.chunks_exact(2 * group_len);
                    for (rows, sums) in blocks.zip(sums.chunks_exact_mut(BLOCK * BLOCK)) {
                        ahead.fetch();
                        let (top, bottom) = rows.split_at(group_len);
                        multiply_block(
                            [&top[columns.clone()], &bottom[columns.clone()]],
                            part,
                            sums,
                        );
                    }
                }
                let first_column = panel_idx * BLOCK;
                let width = BLOCK.min(matrix.columns - first_column);
                for (y, sums) in y.chunks_exact_mut(matrix.columns).zip(sums.chunks_exact(BLOCK)) {
                    y[first_column..][..width].copy_from_slice(&sums[..width]);
                }
            }
        });
    }

    /// `x: [M, K]` as tiles of 16 × 32, by groups of 16 rows; rows are padded to whole blocks.
    fn pack_rows(x: &[f32], inner: usize) -> Vec<u16> {
        let n_rows = x.len() / inner;
        let steps = inner.div_ceil(TILE_K);
        let mut packed = vec![0u16; n_rows.next_multiple_of(BLOCK) / 16 * steps * TILE];
        pulp::Arch::new().dispatch(|| {
            for (row, x) in x.chunks_exact(inner).enumerate() {
                let group = &mut packed[row / 16 * steps * TILE..][..steps * TILE];
                for (x, tile) in x.chunks(TILE_K).zip(group.chunks_exact_mut(TILE)) {
                    let place = &mut tile[row % 16 * TILE_K..][..x.len()];
                    for (number, x) in place.iter_mut().zip(x) {
                        *number = to_bf16(*x);
                    }
                }
            }
        });
        packed
    }

    /// The next part of the weights, fetched into the second-level cache while this one is multiplied: weights come from
    /// memory, which would otherwise be waited for half of the time.
    struct Ahead<'a> {
        part: &'a [u16],
        per_block: usize,
    }

    /// Numbers in a cache line.
    const LINE: usize = 32;

    impl<'a> Ahead<'a> {
        fn new(rest: &'a [u16], n_blocks: usize) -> Self {
            let part = &rest[..rest.len().min(STEPS * 2 * TILE)];
            Self { part, per_block: part.len().div_ceil(n_blocks).next_multiple_of(LINE) }
        }

        /// Asks for one block's share.
        fn fetch(&mut self) {
            let (now, later) = self.part.split_at(self.per_block.min(self.part.len()));
            for line in now.chunks(LINE) {
                // SAFETY: prefetching has no effect but on the cache, and the address is within the weights.
                unsafe { _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast()) };
            }
            self.part = later;
        }
    }

    /// Runs `work` with all tiles configured, and puts the thread's configuration back: candle keeps its own.
    fn with_tiles(work: impl FnOnce()) {
        let mut before = TileConfig { palette: 0, ..ALL_TILES };
        // SAFETY: `available` was true, so the instructions exist and the state may be used; both operands are 64
        // bytes, and the tiles' contents belong to nobody between two products.
        unsafe {
            asm!("sttilecfg [{before}]", "ldtilecfg [{config}]",
                before = in(reg) &raw mut before, config = in(reg) &raw const ALL_TILES, options(nostack));
        }
        work();
        // SAFETY: as above; `before` is what `sttilecfg` wrote.
        unsafe {
            asm!("ldtilecfg [{before}]", before = in(reg) &raw const before, options(nostack))
        };
    }

    /// Adds one 32 × 32 block to `sums`: `top` and `bottom` are 16 rows each, `panel` the tiles of 32 columns.
    fn multiply_block([top, bottom]: [&[u16]; 2], panel: &[u16], sums: &mut [f32]) {
        assert!(top.len() == bottom.len() && 2 * top.len() == panel.len(), "equally many steps");
        assert_eq!(sums.len(), BLOCK * BLOCK, "a whole block");
        let steps = panel.len() / (2 * TILE);
        // SAFETY: the loop reads `steps` tiles of 1 KiB from `top` and `bottom` and twice as many from `panel`, which
        // is what the slices hold, and reads and writes 32 rows of 128 bytes of `sums`. `with_tiles` configured the tiles.
        unsafe {
            asm!(
                "tileloadd tmm0, [{sums} + {sums_row}]",
                "tileloadd tmm1, [{sums} + {sums_row} + 64]",
                "tileloadd tmm2, [{sums} + {sums_row} + 2048]",
                "tileloadd tmm3, [{sums} + {sums_row} + 2112]",
                "2:",
                "tileloadd tmm4, [{top} + {row}]",
                "tileloadd tmm6, [{panel} + {row}]",
                "tileloadd tmm7, [{panel} + {row} + 1024]",
                "tileloadd tmm5, [{bottom} + {row}]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {top}, 1024",
                "add {bottom}, 1024",
                "add {panel}, 2048",
                "dec {steps}",
                "jnz 2b",
                "tilestored [{sums} + {sums_row}], tmm0",
                "tilestored [{sums} + {sums_row} + 64], tmm1",
                "tilestored [{sums} + {sums_row} + 2048], tmm2",
                "tilestored [{sums} + {sums_row} + 2112], tmm3",
                top = inout(reg) top.as_ptr() => _,
                bottom = inout(reg) bottom.as_ptr() => _,
                panel = inout(reg) panel.as_ptr() => _,
                steps = inout(reg) steps => _,
                sums = in(reg) sums.as_mut_ptr(),
                row = in(reg) 64usize,
                sums_row = in(reg) 128usize,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack)
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, seed: u32) -> Vec<f32> {
        (0..n as u32).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 500.0 - 2.0).collect()
    }

    #[test]
    fn the_scalar_version_is_the_product_of_the_rounded_numbers() {
        let (rows, columns) = (5, 70);
        let (weights, x) = (numbers(rows * columns, 1), numbers(3 * columns, 2));
        let packed = Bf16Matrix::pack(&weights, [rows, columns], Orientation::Transposed);
        let round = |x: f32| from_bf16(to_bf16(x));
        for (i, got) in packed.multiply_scalar(&x).iter().enumerate() {
            let (x, w) = (&x[i / rows * columns..], &weights[i % rows * columns..]);
            let expected: f32 = (0..columns).map(|k| round(x[k]) * round(w[k])).sum();
            assert!((got - expected).abs() < 1e-3, "{got} is not {expected}");
        }
    }

    #[test]
    fn tiles_agree_with_the_scalar_version_at_every_size() {
        for (m, k, n) in
            [(1, 1, 1), (1, 32, 32), (3, 33, 31), (33, 64, 65), (40, 100, 7), (300, 96, 64)]
        {
            let (weights, x) = (numbers(k * n, 3), numbers(m * k, 4));
            for orientation in [Orientation::AsStored, Orientation::Transposed] {
                let shape = if orientation == Orientation::AsStored { [k, n] } else { [n, k] };
                let packed = Bf16Matrix::pack(&weights, shape, orientation);
                let (fast, slow) = (packed.multiply(&x), packed.multiply_scalar(&x));
                assert_eq!(fast.len(), m * n);
                for (fast, slow) in fast.iter().zip(&slow) {
                    // Both add products of bf16 in f32, in different orders.
                    assert!((fast - slow).abs() <= 1e-4 * (k as f32), "{m}×{k}×{n}: {fast} {slow}");
                }
            }
        }
    }

    #[test]
    fn a_row_depends_on_no_other_row() {
        let (k, n) = (96, 40);
        let packed = Bf16Matrix::pack(&numbers(k * n, 5), [k, n], Orientation::AsStored);
        let x = numbers(37 * k, 6);
        let all = packed.multiply(&x);
        for (row, x) in x.chunks(k).enumerate() {
            assert_eq!(packed.multiply(x), all[row * n..][..n]);
        }
    }

    #[test]
    fn rounding_is_to_the_nearest_even() {
        let near = |n: f32| 1.0 + n / 256.0;
        let cases = [(1.0, 0x3F80), (-2.5, 0xC020), (near(1.0), 0x3F80), (near(3.0), 0x3F82)];
        for (x, expected) in cases {
            assert_eq!(to_bf16(x), expected, "{x}");
        }
        assert!(from_bf16(to_bf16(f32::NAN)).is_nan());
    }
}
