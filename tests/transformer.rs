//! Our transformer against candle-transformers' models, and its cache against itself.

use std::fs::File;
use std::path::Path;

use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::Content;
use candle_core::{Device, Tensor};
use candle_transformers::models::{quantized_llama, quantized_qwen2};
use cosec_ls::model::gguf::Gguf;
use cosec_ls::model::{Decoder, LogitRows, Transformer};

use crate::support::decoders::{append_and_truncate, refuse_a_full_context};
use crate::support::real_models;
use crate::support::tiny_gguf::{Random, TinyGguf};

fn load(path: &Path) -> Transformer {
    Transformer::load(&Gguf::open(path).unwrap(), &Device::Cpu).unwrap()
}

/// The last row of candle-transformers' model after `tokens`.
fn oracle_row(path: &Path, architecture: &str, tokens: &[u32]) -> Vec<f32> {
    let mut file = File::open(path).unwrap();
    let content = Content::read(&mut file).unwrap();
    let input = Tensor::new(tokens, &Device::Cpu).unwrap().unsqueeze(0).unwrap();
    let device = &Device::Cpu;
    let logits = match architecture {
        "qwen2" => quantized_qwen2::ModelWeights::from_gguf(content, &mut file, device)
            .unwrap()
            .forward(&input, 0),
        _ => quantized_llama::ModelWeights::from_gguf(content, &mut file, device)
            .unwrap()
            .forward(&input, 0),
    };
    logits.unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// KL(softmax(a) ‖ softmax(b)), in nats.
fn kl_divergence(a: &[f32], b: &[f32]) -> f64 {
    let log_softmax = |row: &[f32]| -> Vec<f64> {
        let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = row.iter().map(|&l| f64::from(l - max).exp()).sum();
        row.iter().map(|&l| f64::from(l - max) - sum.ln()).collect()
    };
    let (a, b) = (log_softmax(a), log_softmax(b));
    a.iter().zip(&b).map(|(a, b)| a.exp() * (a - b)).sum()
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn tiny_models_agree_with_candle_transformers() {
    let directory = tempfile::tempdir().unwrap();
    let mut random = Random(5);
    let tokens: Vec<u32> = (0..40).map(|_| random.below(256) as u32).collect();
    for architecture in ["qwen2", "llama"] {
        for dtype in [GgmlDType::F32, GgmlDType::Q8_0, GgmlDType::Q4K, GgmlDType::Q6K] {
            let tiny = TinyGguf { architecture, dtype, ..TinyGguf::default() };
            let path = tiny.write(directory.path(), "tiny.gguf");
            let model = load(&path);
            let ours = model.forward(&tokens, &mut model.new_cache(), LogitRows::Last(1)).unwrap();
            let theirs = oracle_row(&path, architecture, &tokens);
            let difference = largest_difference(ours.last(), &theirs);
            let scale = theirs.iter().fold(0f32, |max, l| max.max(l.abs()));
            println!("{architecture} {dtype:?}: largest difference {difference:e} of {scale}");
            let tolerance = 1e-4;
            assert!(difference < tolerance * scale, "{architecture} {dtype:?}: {difference}");
        }
    }
}

#[test]
fn every_asked_row_is_the_last_row_of_its_prefix() {
    let directory = tempfile::tempdir().unwrap();
    let tiny = TinyGguf { dtype: GgmlDType::F32, ..TinyGguf::default() };
    let model = load(&tiny.write(directory.path(), "tiny.gguf"));
    let tokens: Vec<u32> = (0..12).map(|i| i * 7 % 256).collect();
    let all = model.forward(&tokens, &mut model.new_cache(), LogitRows::Last(5)).unwrap();
    assert_eq!(all.rows(), 5);
    for row in 0..5 {
        let prefix = &tokens[..8 + row];
        let alone = model.forward(prefix, &mut model.new_cache(), LogitRows::Last(1)).unwrap();
        assert!(largest_difference(all.row(row), alone.last()) < 1e-4);
    }
}

#[test]
fn any_mix_of_append_and_truncate_equals_one_fresh_prefill() {
    let directory = tempfile::tempdir().unwrap();
    for architecture in ["qwen2", "llama"] {
        let tiny = TinyGguf { architecture, dtype: GgmlDType::F32, ..TinyGguf::default() };
        let model = load(&tiny.write(directory.path(), "tiny.gguf"));
        append_and_truncate(&model, |got, fresh| {
            assert!(largest_difference(got.last(), fresh.last()) < 1e-3);
        });
    }
}

#[test]
fn a_full_context_is_refused_and_leaves_the_cache_alone() {
    let directory = tempfile::tempdir().unwrap();
    refuse_a_full_context(&load(&TinyGguf::default().write(directory.path(), "tiny.gguf")));
}

#[test]
fn the_real_models_agree_with_candle_transformers() {
    let _turn = real_models::turn();
    for name in [real_models::BASE, real_models::SECURITY] {
        let Some(path) = real_models::find(name) else { return };
        let gguf = Gguf::open(&path).unwrap();
        let tokenizer = cosec_ls::model::Tokenizer::from_gguf(&gguf).unwrap();
        let tokens = tokenizer.encode(include_str!("support/toy_decoder.rs")).unwrap();
        let tokens = &tokens[..200];
        let model = Transformer::load(&gguf, &Device::Cpu).unwrap();
        let ours = model.forward(tokens, &mut model.new_cache(), LogitRows::Last(1)).unwrap();
        drop(model);
        let theirs = oracle_row(&path, "qwen2", tokens);
        let difference = largest_difference(ours.last(), &theirs);
        let argmax = |row: &[f32]| {
            row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(id, _)| id)
        };
        let divergence = kl_divergence(&theirs, ours.last());
        println!(
            "{name}: after {} tokens, largest difference of a logit {difference}, KL {divergence:e} nats",
            tokens.len()
        );
        assert_eq!(argmax(ours.last()), argmax(&theirs));
        // Both quantize activations to 8 bits, but not in the same groups, so logits differ by rounding that 24 or 28
        // layers amplify. The distributions must be the same for all that matters; the dense tiny models above show
        // that the computation itself is.
        assert!(divergence < 0.01, "{name}: {divergence}");
    }
}
