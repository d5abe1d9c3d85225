//! The trainer against PyTorch + peft: `tests/fixtures/train/record.py` recorded losses, gradients and three steps in
//! f64 from the same f32 weights.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use cosec_ls::kernel::losses::Divergence;
use cosec_ls::model::gguf::Gguf;
use cosec_ls::model::linear::Precision;
use cosec_ls::model::lora::peft::PeftFiles;
use cosec_ls::model::lora::{Adapter, Projection};
use cosec_ls::model::{Decoder, LogitRows, Transformer};
use cosec_ls::train::examples::{Example, Kind, Role};
use cosec_ls::train::optimizer::AdamW;
use cosec_ls::train::schedule::Schedule;
use cosec_ls::train::trainer::{Settings, Trainer};
use serde_json::Value;

/// The relative error that is allowed; f32 PyTorch itself is within 5e-6 of the record.
const TOLERANCE: f64 = 1e-4;

const HEADS: [(Projection, usize); 2] = [(Projection::Query, 4), (Projection::Key, 2)];

struct Recorded {
    family: &'static str,
    directory: PathBuf,
    json: Value,
    tensors: BTreeMap<String, Tensor>,
    model: Transformer,
    adapter: Adapter,
}

impl Recorded {
    fn load(family: &'static str) -> Self {
        let directory =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/train").join(family);
        let json = std::fs::read_to_string(directory.join("expected.json")).unwrap();
        let tensors = directory.join("expected.safetensors");
        let gguf = Gguf::open(&directory.join("model.gguf")).unwrap();
        let model = Transformer::load_dense(&gguf, &Device::Cpu, Precision::F32).unwrap();
        let files = PeftFiles::open(&directory.join("adapter")).unwrap();
        let adapter = files.read(model.config(), &Device::Cpu).unwrap();
        Self {
            family,
            json: serde_json::from_str(&json).unwrap(),
            tensors: candle_core::safetensors::load(tensors, &Device::Cpu)
                .unwrap()
                .into_iter()
                .collect(),
            directory,
            model,
            adapter,
        }
    }

    fn example(&self, i: usize) -> Example {
        let sequence = &self.json["sequences"][i];
        let numbers =
            |key: &str| sequence[key].as_array().unwrap().iter().map(|n| n.as_u64().unwrap());
        let role = |n| match n {
            0 => Role::Unscored,
            1 => Role::Fix,
            _ => Role::Keep,
        };
        Example {
            tokens: numbers("tokens").map(|n| n as u32).collect(),
            roles: numbers("roles").map(role).collect(),
            kind: Kind::LeftToRight,
            cwe: "cwe-000".to_owned(),
            source: format!("sequence {i}"),
        }
    }

    fn trainer(&self, divergence: Divergence) -> Trainer {
        let settings = Settings {
            divergence,
            // Constant for all that three steps can tell.
            schedule: Schedule { peak: 0.01, warmup: 0, total: usize::MAX / 4 },
            ..settings()
        };
        Trainer::with_adapter(self.model.clone(), &self.adapter, settings).unwrap()
    }

    /// A recorded tensor, in the order of rows that the GGUF file's rotary embeddings need: llama's query and key rows
    /// are interleaved there.
    fn tensor(&self, prefix: &str, name: &(usize, Projection, &str)) -> Vec<f32> {
        let (layer_idx, projection, half) = name;
        let recorded =
            &self.tensors[&format!("{prefix}.{}", plain_name(*layer_idx, *projection, half))];
        let heads = HEADS.iter().find(|(p, _)| p == projection);
        match heads {
            Some((_, n_heads)) if self.family == "llama" && *half == "lora_B" => {
                let (rows, rank) = recorded.dims2().unwrap();
                let by_half = recorded.reshape((*n_heads, 2, rows / n_heads / 2, rank)).unwrap();
                flat(&by_half.transpose(1, 2).unwrap())
            }
            _ => flat(recorded),
        }
    }
}

fn settings() -> Settings {
    Settings {
        seed: 1,
        rank: 4,
        alpha: 8.0,
        dropout: 0.0,
        accumulation: 1,
        schedule: Schedule { peak: 0.01, warmup: 0, total: 1000 },
        optimizer: AdamW::default(),
        divergence: Divergence::SecurityFromBase,
        data: String::new(),
        threads: 1,
    }
}

fn plain_name(layer_idx: usize, projection: Projection, half: &str) -> String {
    let projection = match projection {
        Projection::Query => "q_proj",
        Projection::Key => "k_proj",
        Projection::Value => "v_proj",
        Projection::Output => "o_proj",
    };
    format!("layers.{layer_idx}.{projection}.{half}")
}

/// The names of a trainer's variables and gradients, in their order.
fn names(adapter: &Adapter) -> Vec<(usize, Projection, &'static str)> {
    adapter.iter().flat_map(|(l, p, _)| ["lora_A", "lora_B"].map(|half| (l, p, half))).collect()
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn norm(numbers: &[f32]) -> f64 {
    numbers.iter().map(|&n| f64::from(n).powi(2)).sum::<f64>().sqrt()
}

/// Holds `got` against `expected` by the norm of the difference, relative to that of `expected`.
fn assert_close(got: &[f32], expected: &[f32], what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let difference: Vec<f32> = got.iter().zip(expected).map(|(a, b)| a - b).collect();
    let error = norm(&difference) / norm(expected).max(1e-12);
    assert!(error < TOLERANCE, "{what}: relative error {error}");
}

fn assert_number(got: f64, expected: &Value, what: &str) {
    let expected = expected.as_f64().unwrap();
    let error = (got - expected).abs() / expected.abs().max(1.0);
    assert!(error < TOLERANCE, "{what}: {got} is not {expected}");
}

fn both_families(check: impl Fn(&Recorded)) {
    for family in ["qwen2", "llama"] {
        let recorded = Recorded::load(family);
        eprintln!("{}", recorded.directory.display());
        check(&recorded);
    }
}

#[test]
fn logits_with_and_without_the_adapter_are_pytorchs() {
    both_families(|recorded| {
        let tokens = recorded.example(recorded.json["logits_of"].as_u64().unwrap() as usize).tokens;
        let with = recorded.model.with_adapter(recorded.adapter.clone().into());
        for (model, name) in [(&recorded.model, "logits.base"), (&with, "logits.adapter")] {
            let expected = flat(&recorded.tensors[name]);
            let hidden = model.hidden_states(&tokens, None).unwrap();
            assert_close(&flat(&model.head().forward(&hidden, None).unwrap()), &expected, name);
            let rows = LogitRows::Last(tokens.len());
            let cached = model.forward(&tokens, &mut model.new_cache(), rows).unwrap();
            assert_close(&cached.data, &expected, name);
        }
    });
}

#[test]
fn losses_and_gradients_are_pytorchs() {
    let directions =
        [("kl_sb", Divergence::SecurityFromBase), ("kl_bs", Divergence::BaseFromSecurity)];
    both_families(|recorded| {
        for (direction, divergence) in directions {
            let trainer = recorded.trainer(divergence);
            for (i, sequence) in recorded.json["sequences"].as_array().unwrap().iter().enumerate() {
                let (losses, gradients) = trainer.gradient(&recorded.example(i), 0, 1.0).unwrap();
                let what = format!("{} sequence {i} {direction}", recorded.family);
                assert_number(losses.mean_cross_entropy(), &sequence["ce"], &what);
                assert_number(losses.mean_divergence(), &sequence[direction], &what);
                let is_recorded = recorded.json["gradients_of"].as_u64() == Some(i as u64);
                for (name, gradient) in names(&recorded.adapter).iter().zip(&gradients) {
                    let plain = plain_name(name.0, name.1, name.2);
                    let got = flat(gradient);
                    let what = format!("{what} {plain}");
                    let expected = &sequence["grad_norms"][direction][&plain];
                    assert_number(norm(&got), expected, &what);
                    if is_recorded {
                        let prefix = format!("grad.{direction}");
                        assert_close(&got, &recorded.tensor(&prefix, name), &what);
                    }
                }
            }
        }
    });
}

#[test]
fn three_steps_are_pytorchs() {
    both_families(|recorded| {
        let mut trainer = recorded.trainer(Divergence::SecurityFromBase);
        for step in recorded.json["adamw"]["steps"].as_array().unwrap() {
            let example = recorded.example(step["sequence"].as_u64().unwrap() as usize);
            let report = trainer.step(&[example]).unwrap();
            let what = format!("{} step {}", recorded.family, report.step);
            assert_number(report.cross_entropy, &step["ce"], &what);
            assert_number(report.divergence, &step["kl"], &what);
            assert_number(report.gradient_norm, &step["grad_norm"], &what);
        }
        let tensors = trainer.adapter().iter().flat_map(|(_, _, lora)| [&lora.down, &lora.up]);
        for (name, tensor) in names(&recorded.adapter).iter().zip(tensors) {
            let what = plain_name(name.0, name.1, name.2);
            assert_close(&flat(tensor), &recorded.tensor("final", name), &what);
        }
    });
}

#[test]
fn learning_rates_are_those_of_transformers() {
    let recorded = Recorded::load("qwen2");
    let schedule = &recorded.json["schedule"];
    let count = |key: &str| schedule[key].as_u64().unwrap() as usize;
    let ours = Schedule {
        peak: schedule["lr"].as_f64().unwrap(),
        warmup: count("warmup_steps"),
        total: count("total_steps"),
    };
    for rate in schedule["rates"].as_array().unwrap() {
        let expected = rate["lr"].as_f64().unwrap();
        let got = ours.rate(rate["step"].as_u64().unwrap() as usize);
        assert!((got - expected).abs() <= 1e-12 * expected.max(1.0), "{got} is not {expected}");
    }
}
