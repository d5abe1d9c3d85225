//! The transformer of our own kernels against the one of candle's operations, and every row of it against itself alone.

use std::path::Path;
use std::sync::Arc;

use candle_core::quantized::GgmlDType;
use candle_core::{DType, Device, Tensor};
use cosec_ls::kernel::threads::Threads;
use cosec_ls::model::cpu::{CpuKvCache, CpuTransformer};
use cosec_ls::model::gguf::Gguf;
use cosec_ls::model::linear::Precision;
use cosec_ls::model::lora::{Adapter, LoraSettings, Projection};
use cosec_ls::model::{Cache, Decoder, Feed, LogitRows, Transformer};

use crate::support::decoders::{append_and_truncate, refuse_a_full_context};
use crate::support::real_models;
use crate::support::tiny_gguf::{Random, TinyGguf};

const FORMATS: [GgmlDType; 4] = [GgmlDType::Q4K, GgmlDType::Q5_0, GgmlDType::Q6K, GgmlDType::Q8_0];

fn load(gguf: &Gguf, n_threads: usize) -> CpuTransformer {
    assert!(CpuTransformer::supports(gguf).unwrap());
    CpuTransformer::load(gguf, Arc::new(Threads::new(n_threads).unwrap())).unwrap()
}

fn tiny(directory: &Path, architecture: &'static str, dtype: GgmlDType) -> Gguf {
    let tiny = TinyGguf { architecture, dtype, ..TinyGguf::default() };
    Gguf::open(&tiny.write(directory, "tiny.gguf")).unwrap()
}

/// All rows of logits of `model` after `tokens`.
fn rows<D: Decoder>(model: &D, tokens: &[u32]) -> Vec<f32> {
    model.forward(tokens, &mut model.new_cache(), LogitRows::Last(tokens.len())).unwrap().data
}

/// Root of the mean square of the difference, relative to that of `expected`.
fn relative_error(got: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(got.len(), expected.len());
    let square = |x: f64| x * x;
    let difference: f64 =
        got.iter().zip(expected).map(|(a, b)| square(f64::from(a - b))).sum::<f64>();
    (difference / expected.iter().map(|b| square(f64::from(*b))).sum::<f64>()).sqrt()
}

/// An adapter whose updates matter.
fn adapter(model: &Transformer) -> Adapter {
    let settings = LoraSettings { rank: 8, alpha: 16.0, projections: Projection::ALL.to_vec() };
    let initial = Adapter::initial(model.config(), &settings, 3, &Device::Cpu).unwrap();
    let mut adapter = Adapter::default();
    let mut random = Random(11);
    for (layer_idx, projection, lora) in initial.iter() {
        let mut lora = lora.clone();
        let up = (0..lora.up.elem_count()).map(|_| random.next() * 0.3).collect::<Vec<f32>>();
        lora.up = Tensor::from_vec(up, lora.up.shape(), &Device::Cpu).unwrap();
        assert_eq!(lora.up.dtype(), DType::F32);
        adapter.insert(layer_idx, projection, lora);
    }
    adapter
}

/// How much farther from dense arithmetic our rounding of activations to eight bits may lead than candle's, which rounds
/// them as well.
const SLACK: f64 = 1.25;

#[test]
fn all_formats_and_families_agree_with_dense_arithmetic() {
    let directory = tempfile::tempdir().unwrap();
    let mut random = Random(5);
    let tokens: Vec<u32> = (0..40).map(|_| random.below(256) as u32).collect();
    for architecture in ["qwen2", "llama"] {
        for dtype in FORMATS {
            let gguf = tiny(directory.path(), architecture, dtype);
            let dense = Transformer::load_dense(&gguf, &Device::Cpu, Precision::F32).unwrap();
            let (ours, candle) = (load(&gguf, 2), Transformer::load(&gguf, &Device::Cpu).unwrap());
            let expected = rows(&dense, &tokens);
            let plain = [rows(&ours, &tokens), rows(&candle, &tokens)]
                .map(|got| relative_error(&got, &expected));
            let adapter = Arc::new(adapter(&dense));
            let ours = ours.with_adapter(&adapter).unwrap();
            let candle = candle.with_adapter(adapter.clone());
            let expected = rows(&dense.with_adapter(adapter), &tokens);
            let adapted = [rows(&ours, &tokens), rows(&candle, &tokens)]
                .map(|got| relative_error(&got, &expected));
            println!("{architecture} {dtype:?}: ours and candle's {plain:?}, adapted {adapted:?}");
            for [ours, candle] in [plain, adapted] {
                assert!(ours < SLACK * candle, "{architecture} {dtype:?}: {ours} {candle}");
            }
        }
    }
}

#[test]
fn a_row_has_the_same_bits_however_many_rows_and_threads_there_are() {
    let directory = tempfile::tempdir().unwrap();
    let mut random = Random(6);
    let tokens: Vec<u32> = (0..70).map(|_| random.below(256) as u32).collect();
    for dtype in FORMATS {
        let gguf = tiny(directory.path(), "qwen2", dtype);
        let dense = Transformer::load_dense(&gguf, &Device::Cpu, Precision::F32).unwrap();
        let ours = load(&gguf, 1).with_adapter(&adapter(&dense)).unwrap();
        let one_by_one: Vec<f32> = {
            let mut cache = ours.new_cache();
            let mut row = |token: &u32| ours.forward(&[*token], &mut cache, LogitRows::Last(1));
            tokens.iter().flat_map(|token| row(token).unwrap().data).collect()
        };
        for n_threads in [1, 2, 3, 5] {
            let ours = load(&gguf, n_threads).with_adapter(&adapter(&dense)).unwrap();
            for batch in [2, 3, 5, 8, 9, 24, 70] {
                let mut cache = ours.new_cache();
                let mut together = Vec::new();
                for tokens in tokens.chunks(batch) {
                    let rows = LogitRows::Last(tokens.len());
                    together.extend(ours.forward(tokens, &mut cache, rows).unwrap().data);
                }
                assert!(together == one_by_one, "{dtype:?}, {batch} rows, {n_threads} threads");
            }
        }
    }
}

#[test]
fn sequences_of_a_batch_get_the_rows_that_each_gets_alone() {
    let directory = tempfile::tempdir().unwrap();
    let mut random = Random(8);
    let mut tokens = |n| (0..n).map(|_| random.below(256) as u32).collect::<Vec<u32>>();
    let prompts = [5, 40, 17, 1].map(&mut tokens);
    let more = [1, 3, 1, 2].map(&mut tokens);
    let wanted = [LogitRows::Last(1), LogitRows::Last(2), LogitRows::None, LogitRows::Last(2)];
    let model = load(&tiny(directory.path(), "qwen2", GgmlDType::Q4K), 2);
    let fed = |prompt: &Vec<u32>| {
        let mut cache = model.new_cache();
        model.forward(prompt, &mut cache, LogitRows::None).unwrap();
        cache
    };
    let mut caches = prompts.each_ref().map(fed);
    let clones = caches.each_ref().map(|cache| cache.try_clone().unwrap());
    let feeds = caches.iter_mut().zip(&more).zip(wanted);
    let mut feeds: Vec<_> =
        feeds.map(|((cache, tokens), rows)| Feed { tokens, cache, rows }).collect();
    let together = model.forward_batch(&mut feeds).unwrap();
    for (i, mut alone) in clones.into_iter().enumerate() {
        let expected = model.forward(&more[i], &mut alone, wanted[i]).unwrap();
        assert!(together[i] == expected, "sequence {i}");
        assert_eq!((caches[i].len(), together[i].rows()), (alone.len(), wanted[i].count()));
        // What was written to the caches is the same as well.
        let next = |cache: &mut CpuKvCache| model.forward(&[7], cache, LogitRows::Last(1)).unwrap();
        assert!(next(&mut caches[i]) == next(&mut alone), "sequence {i}, one token later");
    }
}

#[test]
fn truncating_and_going_on_equals_a_fresh_prefill() {
    let directory = tempfile::tempdir().unwrap();
    let gguf = tiny(directory.path(), "llama", GgmlDType::Q4K);
    append_and_truncate(&load(&gguf, 2), |got, fresh| assert_eq!(got, fresh));
}

#[test]
fn a_full_context_is_refused_and_leaves_the_cache_alone() {
    let directory = tempfile::tempdir().unwrap();
    refuse_a_full_context(&load(&tiny(directory.path(), "qwen2", GgmlDType::Q8_0), 2));
}

#[test]
fn other_quantizations_are_left_to_candle() {
    let directory = tempfile::tempdir().unwrap();
    for dtype in [GgmlDType::Q4_0, GgmlDType::Q5K, GgmlDType::F32] {
        assert!(!CpuTransformer::supports(&tiny(directory.path(), "qwen2", dtype)).unwrap());
    }
}

/// Mean of |Δ log p| of the true next token, in nats.
fn mean_difference(ours: &[f32], theirs: &[f32], tokens: &[u32]) -> f64 {
    let vocab = ours.len() / tokens.len();
    let log_p = |row: &[f32], token: u32| {
        let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = row.iter().map(|&l| f64::from(l - max).exp()).sum();
        f64::from(row[token as usize] - max) - sum.ln()
    };
    let pairs = ours.chunks(vocab).zip(theirs.chunks(vocab)).zip(&tokens[1..]);
    let differences = pairs.map(|((a, b), &token)| (log_p(a, token) - log_p(b, token)).abs());
    differences.sum::<f64>() / (tokens.len() - 1) as f64
}

#[test]
fn the_real_models_are_as_near_to_dense_arithmetic_as_candles_are() {
    let _turn = real_models::turn();
    for name in [real_models::BASE, real_models::SECURITY] {
        let Some(path) = real_models::find(name) else { return };
        let gguf = Gguf::open(&path).unwrap();
        let tokenizer = cosec_ls::model::Tokenizer::from_gguf(&gguf).unwrap();
        let tokens = tokenizer.encode(include_str!("support/toy_decoder.rs")).unwrap();
        let tokens = &tokens[..64];
        let ours = rows(&load(&gguf, 2), tokens);
        let candle = rows(&Transformer::load(&gguf, &Device::Cpu).unwrap(), tokens);
        let dense = Transformer::load_dense(&gguf, &Device::Cpu, Precision::F32).unwrap();
        let dense = rows(&dense, tokens);
        let [ours, candle] = [ours, candle].map(|got| mean_difference(&got, &dense, tokens));
        println!(
            "{name}: mean |Δ log p| to dense arithmetic, ours {ours:.4}, candle's {candle:.4} nats"
        );
        assert!(ours < SLACK * candle + 0.005, "{name}: {ours} {candle}");
    }
}
