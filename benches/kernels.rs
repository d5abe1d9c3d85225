//! The kernels that a decoded token is made of, one by one, on one thread.
//!
//! `cargo bench --bench kernels [FILTER]`. Shapes are those of the default profile's base, Qwen2.5-Coder-1.5B. A product
//! of one row reads each weight once, so that bytes per second are what it is measured in; more rows shall cost little.

use std::hint::black_box;

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use cosec_ls::config::Sampling;
use cosec_ls::decode::sampler::Distribution;
use cosec_ls::kernel::attention::{CachedHead, attend};
use cosec_ls::kernel::norm::rms_norm;
use cosec_ls::kernel::quant::{Activations, BlockFormat, InstructionSet, PackedMatrix, Product};
use cosec_ls::kernel::swiglu::swiglu_in_place;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// The feed-forward's width.
const HIDDEN: usize = 8960;
/// The residual stream's.
const MODEL: usize = 1536;
/// The vocabulary.
const VOCAB: usize = 151_936;
/// A head's width, and how many query heads share a key head.
const HEAD: usize = 128;
const GROUP: usize = 6;

const FORMATS: [(BlockFormat, GgmlDType); 4] = [
    (BlockFormat::Q4K, GgmlDType::Q4K),
    (BlockFormat::Q5_0, GgmlDType::Q5_0),
    (BlockFormat::Q6K, GgmlDType::Q6K),
    (BlockFormat::Q8_0, GgmlDType::Q8_0),
];

/// Numbers between −1 and 1 without a pattern.
fn numbers(n: usize) -> Vec<f32> {
    let mut state = 1u32;
    let next = move |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(next).collect()
}

fn matrix(format: BlockFormat, dtype: GgmlDType) -> PackedMatrix {
    let dense = Tensor::from_vec(numbers(HIDDEN * MODEL), (HIDDEN, MODEL), &Device::Cpu);
    let blocks = QTensor::quantize(&dense.unwrap(), dtype).unwrap();
    PackedMatrix::pack(format, &blocks.data().unwrap(), [HIDDEN, MODEL]).unwrap()
}

fn products(c: &mut Criterion) {
    for (format, dtype) in FORMATS {
        let matrix = matrix(format, dtype);
        let mut group = c.benchmark_group(format!("product {format:?} {HIDDEN}x{MODEL}"));
        group.throughput(Throughput::Bytes(matrix.bytes() as u64));
        // One row in plain Rust takes seconds.
        let fast = |set: &InstructionSet| set.is_supported() && *set != InstructionSet::Scalar;
        for set in InstructionSet::ALL.into_iter().filter(fast) {
            for n_rows in [1, 4, 8, 16, 48] {
                let mut x = Activations::default();
                x.quantize(&numbers(n_rows * MODEL), MODEL, format.activation_blocks());
                let mut y = vec![0.0; n_rows * HIDDEN];
                group.bench_function(BenchmarkId::new(format!("{set:?}"), n_rows), |b| {
                    b.iter(|| Product::new(&matrix, &x, black_box(&mut y), set).run());
                });
            }
        }
    }
}

fn attention(c: &mut Criterion) {
    let mut group = c.benchmark_group("attention of one token, one key head");
    for n_visible in [128, 512, 1024, 4096] {
        let (keys, values) = (numbers(n_visible * HEAD), numbers(n_visible * HEAD));
        let (queries, mut scores) = (numbers(GROUP * HEAD), Vec::new());
        let mut out = vec![0.0; GROUP * HEAD];
        group.throughput(Throughput::Bytes((2 * n_visible * HEAD * size_of::<f32>()) as u64));
        group.bench_function(BenchmarkId::from_parameter(n_visible), |b| {
            let head = CachedHead { keys: &keys, values: &values, head_dim: HEAD };
            b.iter(|| attend(&queries, head, n_visible, &mut scores, black_box(&mut out)));
        });
    }
}

fn elementwise(c: &mut Criterion) {
    let (x, weight, mut y) = (numbers(MODEL), numbers(MODEL), vec![0.0; MODEL]);
    c.bench_function("rms norm", |b| {
        b.iter(|| rms_norm(black_box(&x), &weight, 1e-6, &mut y));
    });
    let (mut gate, up) = (numbers(HIDDEN), numbers(HIDDEN));
    c.bench_function("swiglu", |b| b.iter(|| swiglu_in_place(black_box(&mut gate), &up)));
}

fn sampling(c: &mut Criterion) {
    // A few likely tokens far above all others, as in code.
    let mut logits: Vec<f32> = numbers(VOCAB).into_iter().map(|x| 3.0 * x).collect();
    for (i, logit) in logits.iter_mut().step_by(VOCAB / 8).enumerate() {
        *logit = 18.0 - i as f32;
    }
    for temperature in [0.0, 0.4, 0.8] {
        let sampling = Sampling { temperature, top_p: 0.95, min_prob: 0.0 };
        c.bench_function(&format!("a draw from {VOCAB} logits at T = {temperature}"), |b| {
            b.iter(|| {
                let row = black_box(logits.as_slice());
                Distribution::warped(row, &sampling).map(|row| row.draw(0.3))
            });
        });
    }
}

criterion_group!(kernels, products, attention, elementwise, sampling);
criterion_main!(kernels);
