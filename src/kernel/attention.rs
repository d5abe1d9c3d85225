//! Attention of one token's heads over the cached keys and values that they share.
//!
//! Keys lie in blocks of sixteen positions, `[blocks][D][16]`, so that a query meets sixteen of them at a time and no sum
//! is taken across a register. Values lie in groups of 32 columns, `[groups][positions][32]`, so that what the registers
//! can sum at a time is one stream. Every number is summed in one order, along D for scores and along the positions for
//! the result, so a token's result has the same bits in every batch and with every instruction set.

use std::marker::PhantomData;

use pulp::{Arch, Simd, WithSimd};

#[cfg(target_arch = "x86_64")]
use super::fused::{Doubt, fused_4_anywhere, fused_4_unless};
use super::softmax::softmax;

/// Positions in a block of keys.
pub const KEY_BLOCK: usize = 16;

/// Columns in a group of values.
pub const VALUE_GROUP: usize = 32;

/// Most queries that are taken at a time: with two registers of positions or of columns each, their sums take half of
/// AVX-512's registers.
const QUERIES: usize = 8;

/// The cache of one key head in one layer.
#[derive(Clone, Copy, Debug)]
pub struct CachedHead<'a> {
    /// `[blocks][D][16]`; enough blocks for all visible positions.
    pub keys: &'a [f32],
    /// `[D / 32][positions][32]`; at least the visible positions.
    pub values: &'a [f32],
    /// D, a multiple of [`VALUE_GROUP`].
    pub head_dim: usize,
}

/// Writes a position's key, `[D]`, to the blocks of a head.
///
/// # Panics
/// If the position is beyond the blocks.
pub fn write_key(keys: &mut [f32], pos: usize, key: &[f32]) {
    let block = &mut keys[pos / KEY_BLOCK * KEY_BLOCK * key.len()..][..KEY_BLOCK * key.len()];
    let (lines, _) = block.as_chunks_mut::<KEY_BLOCK>();
    for (line, number) in lines.iter_mut().zip(key) {
        line[pos % KEY_BLOCK] = *number;
    }
}

/// Writes a position's value, `[D]`, to the groups of a head.
///
/// # Panics
/// If the position is beyond them.
pub fn write_value(values: &mut [f32], pos: usize, value: &[f32]) {
    let (columns, _) = value.as_chunks::<VALUE_GROUP>();
    let group_len = values.len() / columns.len();
    for (group, columns) in values.chunks_exact_mut(group_len).zip(columns) {
        group[pos * VALUE_GROUP..][..VALUE_GROUP].copy_from_slice(columns);
    }
}

/// `softmax(q · keysᵀ / √D) · values` over the first `n_visible` positions for each of `queries: [n, D]`, as `out: [n, D]`.
/// `scores` is memory that is used again.
///
/// # Panics
/// If the lengths do not fit.
pub fn attend(
    queries: &[f32],
    head: CachedHead<'_>,
    n_visible: usize,
    scores: &mut Vec<f32>,
    out: &mut [f32],
) {
    let head_dim = head.head_dim;
    assert!(n_visible > 0 && head_dim > 0 && head_dim.is_multiple_of(VALUE_GROUP), "whole groups");
    assert!(head.values.len() >= n_visible * head_dim, "a value per visible position");
    assert!(queries.len() == out.len() && queries.len().is_multiple_of(head_dim), "whole queries");
    let padded = n_visible.next_multiple_of(KEY_BLOCK);
    let head = CachedHead { keys: &head.keys[..padded * head_dim], ..head };
    scores.resize(queries.len() / head_dim * padded, 0.0);
    let arch = Arch::new();
    #[cfg(target_arch = "x86_64")]
    if let (Arch::Scalar, Some(v2)) = (arch, pulp::x86::V2::try_new()) {
        let fused = PhantomData::<InDoubles>;
        return Simd::vectorize(v2, Attend { queries, head, n_visible, scores, out, fused });
    }
    arch.dispatch(Attend { queries, head, n_visible, scores, out, fused: PhantomData::<InOne> });
}

/// How to multiply and add with one rounding. A value says whether what it gave may be wrong.
trait Fused: Default {
    /// How to do it again if so.
    type Surely: Fused;

    fn fused<S: Simd>(&mut self, simd: S, a: S::f32s, b: S::f32s, c: S::f32s) -> S::f32s;

    fn is_in_doubt(&self) -> bool;
}

/// With the instruction for it, or a library's function.
#[derive(Default)]
struct InOne;

impl Fused for InOne {
    type Surely = Self;

    #[inline(always)]
    fn fused<S: Simd>(&mut self, simd: S, a: S::f32s, b: S::f32s, c: S::f32s) -> S::f32s {
        simd.mul_add_f32s(a, b, c)
    }

    #[inline(always)]
    fn is_in_doubt(&self) -> bool {
        false
    }
}

/// On x86 without the instruction, in registers of four; with others it does not compile. Doubts are collected, as
/// looking at each takes longer than doing it again now and then.
#[cfg(target_arch = "x86_64")]
#[derive(Default)]
struct InDoubles(Doubt);

#[cfg(target_arch = "x86_64")]
impl Fused for InDoubles {
    type Surely = InDoublesSurely;

    #[inline(always)]
    fn fused<S: Simd>(&mut self, _: S, a: S::f32s, b: S::f32s, c: S::f32s) -> S::f32s {
        pulp::cast(fused_4_unless(&mut self.0, pulp::cast(a), pulp::cast(b), pulp::cast(c)))
    }

    #[inline(always)]
    fn is_in_doubt(&self) -> bool {
        self.0.is_any()
    }
}

/// [`InDoubles`], but each doubt is looked at.
#[cfg(target_arch = "x86_64")]
#[derive(Default)]
struct InDoublesSurely;

#[cfg(target_arch = "x86_64")]
impl Fused for InDoublesSurely {
    type Surely = Self;

    #[inline(always)]
    fn fused<S: Simd>(&mut self, _: S, a: S::f32s, b: S::f32s, c: S::f32s) -> S::f32s {
        pulp::cast(fused_4_anywhere(pulp::cast(a), pulp::cast(b), pulp::cast(c)))
    }

    #[inline(always)]
    fn is_in_doubt(&self) -> bool {
        false
    }
}

struct Attend<'a, F> {
    queries: &'a [f32],
    head: CachedHead<'a>,
    n_visible: usize,
    scores: &'a mut [f32],
    out: &'a mut [f32],
    fused: PhantomData<F>,
}

impl<F: Fused> WithSimd for Attend<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { queries, head, n_visible, scores, out, .. } = self;
        let padded = n_visible.next_multiple_of(KEY_BLOCK);
        let queries = queries.chunks(QUERIES * head.head_dim);
        let outs = out.chunks_mut(QUERIES * head.head_dim);
        for ((queries, out), scores) in queries.zip(outs).zip(scores.chunks_mut(QUERIES * padded)) {
            let some = Some { queries, head, n_visible, scores, out };
            match queries.len() / head.head_dim {
                1 => some.attend::<S, F, 1>(simd),
                2 => some.attend::<S, F, 2>(simd),
                3 => some.attend::<S, F, 3>(simd),
                4 => some.attend::<S, F, 4>(simd),
                5 => some.attend::<S, F, 5>(simd),
                6 => some.attend::<S, F, 6>(simd),
                7 => some.attend::<S, F, 7>(simd),
                _ => some.attend::<S, F, 8>(simd),
            }
        }
    }
}

/// As many queries as registers have room for.
struct Some<'a> {
    queries: &'a [f32],
    head: CachedHead<'a>,
    n_visible: usize,
    scores: &'a mut [f32],
    out: &'a mut [f32],
}

impl Some<'_> {
    // No closures here: what a compiler does not inline into the dispatched function loses its instruction set.
    #[inline(always)]
    fn attend<S: Simd, F: Fused, const R: usize>(self, simd: S) {
        let Self { queries, head, n_visible, scores, out } = self;
        score::<S, F, R>(simd, rows(queries), head, scores);
        let padded = scores.len() / R;
        let scale = 1.0 / (head.head_dim as f32).sqrt();
        for scores in scores.chunks_exact_mut(padded) {
            softmax(&mut scores[..n_visible], scale);
        }
        mix::<S, F, R>(simd, visible(scores, n_visible), head, out);
    }
}

/// Whether two registers per row fit the registers there are.
#[inline(always)]
fn two_fit<S: Simd, const R: usize>() -> bool {
    S::REGISTER_COUNT >= 32 || R <= 4
}

/// `q · keysᵀ`, as `[R, padded]`.
#[inline(always)]
fn score<S: Simd, F: Fused, const R: usize>(
    simd: S,
    queries: [&[f32]; R],
    head: CachedHead<'_>,
    scores: &mut [f32],
) {
    let n_registers = scores.len() / R / S::F32_LANES;
    let mut out: [&mut [f32]; R] = rows_mut(scores);
    let mut first = 0;
    while first < n_registers {
        if two_fit::<S, R>() && first + 2 <= n_registers {
            let sums = score_registers::<S, F, R, 2>(simd, queries, head, first);
            store::<S, R, 2>(&mut out, first, sums);
            first += 2;
        } else {
            let sums = score_registers::<S, F, R, 1>(simd, queries, head, first);
            store::<S, R, 1>(&mut out, first, sums);
            first += 1;
        }
    }
}

/// `weights · values`, as `out: [R, D]`.
#[inline(always)]
fn mix<S: Simd, F: Fused, const R: usize>(
    simd: S,
    weights: [&[f32]; R],
    head: CachedHead<'_>,
    out: &mut [f32],
) {
    let n_registers = head.head_dim / S::F32_LANES;
    let mut out: [&mut [f32]; R] = rows_mut(out);
    let mut first = 0;
    while first < n_registers {
        if two_fit::<S, R>() && first + 2 <= n_registers {
            let sums = mix_registers::<S, F, R, 2>(simd, weights, head, first);
            store::<S, R, 2>(&mut out, first, sums);
            first += 2;
        } else {
            let sums = mix_registers::<S, F, R, 1>(simd, weights, head, first);
            store::<S, R, 1>(&mut out, first, sums);
            first += 1;
        }
    }
}

/// The scores of `C` registers of positions, of which the first is register `first` of all.
#[inline(always)]
fn score_registers<S: Simd, F: Fused, const R: usize, const C: usize>(
    simd: S,
    queries: [&[f32]; R],
    head: CachedHead<'_>,
    first: usize,
) -> [[S::f32s; C]; R] {
    let per_block = KEY_BLOCK / S::F32_LANES;
    let block_len = KEY_BLOCK * head.head_dim;
    // Each register's own column of lines.
    let mut lines = [&[][..]; C];
    for (register, lines) in (first..).zip(&mut lines) {
        let block = &head.keys[register / per_block * block_len..][..block_len];
        *lines = &S::as_simd_f32s(block).0[register % per_block..];
    }
    let (mut sums, mut fused) = ([[simd.splat_f32s(0.0); C]; R], F::default());
    for d in 0..head.head_dim {
        let mut keys = [simd.splat_f32s(0.0); C];
        for c in 0..C {
            keys[c] = lines[c][d * per_block];
        }
        for r in 0..R {
            let query = simd.splat_f32s(queries[r][d]);
            for c in 0..C {
                sums[r][c] = fused.fused(simd, query, keys[c], sums[r][c]);
            }
        }
    }
    if fused.is_in_doubt() {
        return score_surely::<S, F::Surely, R, C>(simd, queries, head, first);
    }
    sums
}

/// [`score_registers`] where there was a doubt about it.
#[cold]
#[inline(never)]
fn score_surely<S: Simd, F: Fused, const R: usize, const C: usize>(
    simd: S,
    queries: [&[f32]; R],
    head: CachedHead<'_>,
    first: usize,
) -> [[S::f32s; C]; R] {
    score_registers::<S, F, R, C>(simd, queries, head, first)
}

/// The results of `C` registers of columns, which are in one group.
#[inline(always)]
fn mix_registers<S: Simd, F: Fused, const R: usize, const C: usize>(
    simd: S,
    weights: [&[f32]; R],
    head: CachedHead<'_>,
    register: usize,
) -> [[S::f32s; C]; R] {
    let per_group = VALUE_GROUP / S::F32_LANES;
    let group_len = head.values.len() / (head.head_dim / VALUE_GROUP);
    let group = &head.values[register / per_group * group_len..][..group_len];
    let (lines, _) = group.as_chunks::<VALUE_GROUP>();
    let lines = &lines[..weights[0].len()];
    let first = register % per_group;
    let (mut sums, mut fused) = ([[simd.splat_f32s(0.0); C]; R], F::default());
    for (pos, line) in lines.iter().enumerate() {
        let values = &S::as_simd_f32s(line).0[first..first + C];
        for r in 0..R {
            let weight = simd.splat_f32s(weights[r][pos]);
            for c in 0..C {
                sums[r][c] = fused.fused(simd, weight, values[c], sums[r][c]);
            }
        }
    }
    if fused.is_in_doubt() {
        return mix_surely::<S, F::Surely, R, C>(simd, weights, head, register);
    }
    sums
}

/// [`mix_registers`] where there was a doubt about it.
#[cold]
#[inline(never)]
fn mix_surely<S: Simd, F: Fused, const R: usize, const C: usize>(
    simd: S,
    weights: [&[f32]; R],
    head: CachedHead<'_>,
    register: usize,
) -> [[S::f32s; C]; R] {
    mix_registers::<S, F, R, C>(simd, weights, head, register)
}

#[inline(always)]
fn store<S: Simd, const R: usize, const C: usize>(
    out: &mut [&mut [f32]; R],
    first: usize,
    sums: [[S::f32s; C]; R],
) {
    for r in 0..R {
        S::as_mut_simd_f32s(out[r]).0[first..first + C].copy_from_slice(&sums[r]);
    }
}

#[inline(always)]
fn rows<const R: usize>(matrix: &[f32]) -> [&[f32]; R] {
    visible(matrix, matrix.len() / R)
}

/// The first `n` numbers of each row.
#[inline(always)]
fn visible<const R: usize>(matrix: &[f32], n: usize) -> [&[f32]; R] {
    let width = matrix.len() / R;
    let mut rows = [&[][..]; R];
    for r in 0..R {
        rows[r] = &matrix[r * width..][..n];
    }
    rows
}

#[inline(always)]
fn rows_mut<const R: usize>(matrix: &mut [f32]) -> [&mut [f32]; R] {
    let width = matrix.len() / R;
    let mut rest = matrix.chunks_exact_mut(width);
    std::array::from_fn(|_| rest.next().expect("as many rows as were asked for"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7919 + seed * 104_729) % 1009) as f32 / 500.0 - 1.0).collect()
    }

    /// Keys `[positions, D]` in blocks, with something in the positions that nobody may see.
    fn in_blocks(keys: &[f32], head_dim: usize) -> Vec<f32> {
        let n = (keys.len() / head_dim).next_multiple_of(KEY_BLOCK);
        let mut blocks = vec![f32::NAN; n * head_dim];
        for (pos, key) in keys.chunks_exact(head_dim).enumerate() {
            write_key(&mut blocks, pos, key);
        }
        blocks
    }

    /// Values `[positions, D]` in groups, with room for more.
    fn in_groups(values: &[f32], head_dim: usize) -> Vec<f32> {
        let n = values.len() / head_dim + 5;
        let mut groups = vec![f32::NAN; n * head_dim];
        for (pos, value) in values.chunks_exact(head_dim).enumerate() {
            write_value(&mut groups, pos, value);
        }
        groups
    }

    fn obvious(query: &[f32], keys: &[f32], values: &[f32], head_dim: usize) -> Vec<f64> {
        let score = |key: &[f32]| {
            let dot: f64 = key.iter().zip(query).map(|(k, q)| f64::from(*k) * f64::from(*q)).sum();
            (dot / (head_dim as f64).sqrt()).exp()
        };
        let weights: Vec<f64> = keys.chunks(head_dim).map(score).collect();
        let total: f64 = weights.iter().sum();
        let column = |d: usize| {
            let products = weights.iter().zip(values.chunks(head_dim));
            products.map(|(w, value)| w * f64::from(value[d])).sum::<f64>() / total
        };
        (0..head_dim).map(column).collect()
    }

    #[test]
    fn agrees_with_the_formula_for_all_numbers_of_queries_and_positions() {
        for (n_queries, head_dim) in
            [(1, 32), (2, 96), (3, 64), (4, 64), (6, 128), (7, 64), (8, 32), (13, 64)]
        {
            for n_visible in [1, 2, 15, 16, 17, 33, 100] {
                let queries = numbers(n_queries * head_dim, 1);
                let keys = numbers(n_visible * head_dim, 2);
                let values = numbers(n_visible * head_dim, 3);
                let (blocks, groups) = (in_blocks(&keys, head_dim), in_groups(&values, head_dim));
                let head = CachedHead { keys: &blocks, values: &groups, head_dim };
                let (mut out, mut scores) = (vec![0.0; queries.len()], Vec::new());
                attend(&queries, head, n_visible, &mut scores, &mut out);
                for (query, out) in queries.chunks(head_dim).zip(out.chunks(head_dim)) {
                    let expected = obvious(query, &keys, &values, head_dim);
                    for (got, expected) in out.iter().zip(expected) {
                        assert!((f64::from(*got) - expected).abs() < 1e-5, "{got} {expected}");
                    }
                }
            }
        }
    }

    /// Queries, and the keys and values of a head as they are cached.
    fn seven_queries(head_dim: usize, n_visible: usize) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
        let keys = in_blocks(&numbers(n_visible * head_dim, 2), head_dim);
        let values = in_groups(&numbers(n_visible * head_dim, 3), head_dim);
        (numbers(7 * head_dim, 1), keys, values)
    }

    #[test]
    fn a_query_has_the_same_bits_alone_and_among_others() {
        let (head_dim, n_visible) = (64, 77);
        let (queries, keys, values) = seven_queries(head_dim, n_visible);
        let head = CachedHead { keys: &keys, values: &values, head_dim };
        let (mut all, mut scores) = (vec![0.0; queries.len()], Vec::new());
        attend(&queries, head, n_visible, &mut scores, &mut all);
        for (query, among_others) in queries.chunks(head_dim).zip(all.chunks(head_dim)) {
            let mut alone = vec![0.0; head_dim];
            attend(query, head, n_visible, &mut scores, &mut alone);
            assert_eq!(alone, among_others);
        }
    }

    /// Attention of [`seven_queries`], times a factor, as one way of computing it gives it.
    #[cfg(target_arch = "x86_64")]
    fn of_seven<F: Fused>(factor: f32, run: impl FnOnce(Attend<'_, F>)) -> Vec<f32> {
        let (head_dim, n_visible) = (64, 77);
        let (mut queries, mut keys, mut values) = seven_queries(head_dim, n_visible);
        for x in queries.iter_mut().chain(&mut keys).chain(&mut values) {
            *x *= factor;
        }
        let padded = n_visible.next_multiple_of(KEY_BLOCK);
        let head = CachedHead { keys: &keys[..padded * head_dim], values: &values, head_dim };
        let (mut scores, mut out) = (vec![0.0; 7 * padded], vec![0.0; queries.len()]);
        let (queries, scores, fused) = (&queries[..], &mut scores[..], PhantomData);
        run(Attend { queries, head, n_visible, scores, out: &mut out, fused });
        out
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn every_instruction_set_gives_the_same_bits() {
        // Numbers of few bits, of which sums in doubles are in doubt, of many, and tiny ones.
        for factor in [1.0, 0.731_058_6, 1e-19] {
            let expected =
                of_seven::<InOne>(factor, |attend| Simd::vectorize(pulp::Scalar, attend));
            assert!(expected.iter().all(|x| x.is_finite()));
            let best = of_seven::<InOne>(factor, |attend| Arch::new().dispatch(attend));
            assert_eq!(best, expected);
            if let Some(v2) = pulp::x86::V2::try_new() {
                let run = |attend: Attend<'_, InDoubles>| Simd::vectorize(v2, attend);
                assert_eq!(of_seven(factor, run), expected);
            }
            if let Some(v3) = pulp::x86::V3::try_new() {
                let run = |attend: Attend<'_, InOne>| Simd::vectorize(v3, attend);
                assert_eq!(of_seven(factor, run), expected);
            }
        }
    }
}
