//! Adapters in PEFT's format: against PEFT itself, written and read again, and every way in which one can be wrong.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use cosec_ls::model::gguf::Gguf;
use cosec_ls::model::lora::peft::{
    CONFIG_FILE, Description, PeftFiles, Precision, TENSORS_FILE, TrainedOn, write,
};
use cosec_ls::model::lora::{Adapter, LoraSettings, Projection};
use cosec_ls::model::{Decoder, LogitRows, Transformer};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// `patterns` is a Llama, whose adapter has other ranks and scales in every layer.
const FAMILIES: [&str; 3] = ["qwen2", "llama", "patterns"];

/// A directory that `tests/fixtures/peft/make.py` made with the real PEFT.
fn fixture(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/peft").join(family)
}

fn model(family: &str) -> Transformer {
    let gguf = Gguf::open(&fixture(family).join("model.gguf")).unwrap();
    Transformer::load(&gguf, &Device::Cpu).unwrap()
}

fn read(directory: &Path, model: &Transformer) -> Adapter {
    PeftFiles::open(directory).unwrap().read(model.config(), &Device::Cpu).unwrap()
}

fn logits(model: &Transformer, tokens: &[u32]) -> Vec<f32> {
    model.forward(tokens, &mut model.new_cache(), LogitRows::Last(tokens.len())).unwrap().data
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn safetensors(directory: &Path, name: &str) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(directory.join(name), &Device::Cpu).unwrap()
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// How an adapter for `model` is written in these tests.
fn description(model: &Transformer) -> Description<'_> {
    Description {
        model: model.config(),
        base_model: "tiny",
        trained_on: None,
        dropout: 0.05,
        precision: Precision::F32,
    }
}

#[test]
fn pefts_own_adapters_give_pefts_own_logits() {
    for family in FAMILIES {
        let expected = safetensors(&fixture(family), "expected.safetensors");
        let tokens: Vec<i64> = expected["tokens"].to_vec1().unwrap();
        let tokens: Vec<u32> = tokens.into_iter().map(|token| token as u32).collect();
        let plain = model(family);
        let adapted = plain.with_adapter(read(&fixture(family), &plain).into());
        let (before, after) = (numbers(&expected["plain"]), numbers(&expected["adapted"]));
        assert!(largest_difference(&before, &after) > 1.0, "the adapter changes much");
        let difference = largest_difference(&logits(&plain, &tokens), &before);
        assert!(difference < 1e-4, "{family} without the adapter: {difference}");
        let difference = largest_difference(&logits(&adapted, &tokens), &after);
        println!("{family}: largest difference of a logit {difference:e}");
        assert!(difference < 1e-4, "{family} with the adapter: {difference}");
    }
}

#[test]
fn what_is_written_has_pefts_names_rows_and_numbers() {
    let directory = tempfile::tempdir().unwrap();
    for family in FAMILIES {
        let model = model(family);
        let adapter = read(&fixture(family), &model);
        let to = directory.path().join(family);
        let written = write(&adapter, &to, &description(&model)).unwrap();
        let (ours, theirs) =
            (safetensors(&to, TENSORS_FILE), safetensors(&fixture(family), TENSORS_FILE));
        assert_eq!(ours.len(), theirs.len());
        for (name, tensor) in &theirs {
            assert_eq!(ours[name].dims(), tensor.dims(), "{name}");
            assert_eq!(numbers(&ours[name]), numbers(tensor), "{name}");
        }
        let bytes = fs::read(to.join(TENSORS_FILE)).unwrap();
        assert_eq!(written.sha256, format!("{:x}", Sha256::digest(&bytes)));
        assert_eq!(written.size_bytes, bytes.len() as u64);
        assert_eq!(PeftFiles::open(&to).unwrap().sha256(), written.sha256);
        let files: Vec<_> = fs::read_dir(&to).unwrap().map(|f| f.unwrap().file_name()).collect();
        assert_eq!(files.len(), 2, "nothing temporary stays: {files:?}");
    }
}

#[test]
fn an_adapter_is_read_as_it_was_written() {
    let directory = tempfile::tempdir().unwrap();
    for family in FAMILIES {
        let model = model(family);
        let adapter = read(&fixture(family), &model);
        for (precision, tolerance) in [(Precision::F32, 0.0), (Precision::F16, 1e-3)] {
            let description = Description { precision, ..description(&model) };
            write(&adapter, directory.path(), &description).unwrap();
            let again = read(directory.path(), &model);
            assert_eq!(again.iter().count(), adapter.iter().count());
            for (layer_idx, projection, lora) in adapter.iter() {
                let found = again.get(layer_idx, projection).unwrap();
                assert!((found.scale - lora.scale).abs() < 1e-12);
                for (a, b) in [(&found.down, &lora.down), (&found.up, &lora.up)] {
                    assert!(largest_difference(&numbers(a), &numbers(b)) <= tolerance);
                }
            }
        }
    }
}

#[test]
fn equal_adapters_are_written_as_equal_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let model = model("qwen2");
    let settings = LoraSettings { rank: 2, alpha: 4.0, projections: vec![Projection::Query] };
    let trained_on = TrainedOn { model: "tiny".to_owned(), model_sha256: "ab".repeat(32) };
    let description = Description { trained_on: Some(&trained_on), ..description(&model) };
    let write_initial = |seed| {
        let adapter = Adapter::initial(model.config(), &settings, seed, &Device::Cpu).unwrap();
        write(&adapter, directory.path(), &description).unwrap()
    };
    let first = write_initial(1);
    assert_ne!(first, write_initial(2));
    assert_eq!(first, write_initial(1));
    let files = PeftFiles::open(directory.path()).unwrap();
    assert_eq!(files.trained_on().unwrap(), Some(trained_on.clone()));
    assert_eq!(PeftFiles::open(&fixture("qwen2")).unwrap().trained_on().unwrap(), None);
}

#[test]
fn some_projections_of_some_layers_are_enough() {
    let directory = tempfile::tempdir().unwrap();
    let model = model("llama");
    let full = read(&fixture("llama"), &model);
    let mut part = Adapter::default();
    for projection in [Projection::Key, Projection::Output] {
        part.insert(1, projection, full.get(1, projection).unwrap().clone());
    }
    write(&part, directory.path(), &description(&model)).unwrap();
    let config: Value =
        serde_json::from_slice(&fs::read(directory.path().join(CONFIG_FILE)).unwrap()).unwrap();
    assert_eq!(config["target_modules"], json!(["k_proj", "o_proj"]));
    assert_eq!(config["layers_to_transform"], json!([1]));
    let again = read(directory.path(), &model);
    let places: Vec<_> = again.iter().map(|(layer, projection, _)| (layer, projection)).collect();
    assert_eq!(places, [(1, Projection::Key), (1, Projection::Output)]);
    let tokens = [3, 1, 4, 1, 5];
    let logits = |adapter| logits(&model.with_adapter(std::sync::Arc::new(adapter)), &tokens);
    assert_eq!(logits(part), logits(again));
}

#[test]
fn updates_of_different_ranks_and_scales_are_written_as_patterns() {
    let directory = tempfile::tempdir().unwrap();
    let model = model("qwen2");
    let error = write(&Adapter::default(), directory.path(), &description(&model)).unwrap_err();
    assert_eq!(error.to_string(), "the adapter is empty");
    let mut adapter = read(&fixture("qwen2"), &model);
    let mut lora = adapter.get(0, Projection::Key).unwrap().clone();
    lora.down = lora.down.narrow(0, 0, 2).unwrap();
    lora.up = lora.up.narrow(1, 0, 2).unwrap();
    lora.scale = 7.0;
    adapter.insert(0, Projection::Key, lora);
    write(&adapter, directory.path(), &description(&model)).unwrap();
    let config: Value =
        serde_json::from_slice(&fs::read(directory.path().join(CONFIG_FILE)).unwrap()).unwrap();
    assert_eq!(config["rank_pattern"], json!({"model.layers.0.self_attn.k_proj": 2}));
    assert_eq!(config["alpha_pattern"], json!({"model.layers.0.self_attn.k_proj": 14}));
    let again = read(directory.path(), &model);
    let scales =
        |adapter: &Adapter| -> Vec<_> { adapter.iter().map(|(_, _, l)| l.scale).collect() };
    assert_eq!(scales(&again), scales(&adapter));
}

/// A copy of the Qwen2 fixture to break.
struct Broken {
    directory: TempDir,
}

impl Broken {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in [CONFIG_FILE, TENSORS_FILE] {
            fs::copy(fixture("qwen2").join(name), directory.path().join(name)).unwrap();
        }
        Self { directory }
    }

    fn with_config(change: impl FnOnce(&mut Value)) -> Self {
        let broken = Self::new();
        let path = broken.path(CONFIG_FILE);
        let mut config = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        change(&mut config);
        fs::write(&path, config.to_string()).unwrap();
        broken
    }

    fn with_tensors(change: impl FnOnce(&mut HashMap<String, Tensor>)) -> Self {
        let broken = Self::new();
        let mut tensors = safetensors(broken.directory.path(), TENSORS_FILE);
        change(&mut tensors);
        candle_core::safetensors::save(&tensors, broken.path(TENSORS_FILE)).unwrap();
        broken
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn error(&self) -> String {
        let files = PeftFiles::open(self.directory.path());
        let read = files.and_then(|f| f.read(model("qwen2").config(), &Device::Cpu));
        let error = read.unwrap_err().to_string();
        assert!(!error.contains('\n'), "{error}");
        error
    }
}

/// PEFT's name of a tensor.
fn name(layer_idx: usize, rest: &str) -> String {
    format!("base_model.model.model.layers.{layer_idx}.{rest}.weight")
}

#[test]
fn a_missing_file_is_named() {
    for file in [CONFIG_FILE, TENSORS_FILE] {
        let broken = Broken::new();
        fs::remove_file(broken.path(file)).unwrap();
        let path = broken.path(file).display().to_string();
        assert!(broken.error().starts_with(&format!("{path}: ")), "{}", broken.error());
    }
}

#[test]
fn other_bytes_are_no_safetensors() {
    let whole = fs::read(fixture("qwen2").join(TENSORS_FILE)).unwrap();
    let other = [&b""[..], b"PK\x03\x04 and so on and so on", &[0xff; 64], &whole[..200]];
    for content in other.into_iter().chain([&whole[..whole.len() - 1]]) {
        let broken = Broken::new();
        fs::write(broken.path(TENSORS_FILE), content).unwrap();
        let error = broken.error();
        let expected = "adapter_model.safetensors is not a whole safetensors file: ";
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn a_configuration_of_another_kind_is_refused() {
    #[track_caller]
    fn check(change: impl FnOnce(&mut Value), expected: &str) {
        let error = Broken::with_config(change).error();
        assert!(error.contains(expected), "{error}");
    }
    check(|c| *c = json!([]), "adapter_config.json: invalid type");
    check(|c| c["peft_type"] = json!("IA3"), "`peft_type` is `IA3`, supported is `LORA`");
    check(|c| c["peft_type"] = json!(null), "missing field `peft_type`");
    check(|c| drop(c.as_object_mut().unwrap().remove("r")), "missing field `r`");
    check(|c| c["r"] = json!(0), "`r` is 0");
    check(
        |c| c["target_modules"] = json!(["q_proj", "up_proj", "gate_proj"]),
        "the adapter changes `gate_proj`, `up_proj`, but only q_proj, k_proj, v_proj and o_proj",
    );
    for (field, value) in [
        ("use_dora", json!(true)),
        ("use_dora", json!("yes")),
        ("modules_to_save", json!(["lm_head"])),
        ("trainable_token_indices", json!([1, 2])),
        ("target_parameters", json!(["x"])),
        ("use_qalora", json!(true)),
        ("layer_replication", json!([[0, 1]])),
        ("megatron_config", json!({"a": 1})),
        ("bias", json!("all")),
        ("bias", json!("lora_only")),
        ("bias", json!(true)),
        ("fan_in_fan_out", json!(true)),
        ("lora_bias", json!(true)),
        ("init_lora_weights", json!("pissa_niter_16")),
        ("init_lora_weights", json!("PiSSA")),
        ("init_lora_weights", json!("olora")),
        ("init_lora_weights", json!("corda")),
        ("init_lora_weights", json!("loftq")),
    ] {
        let expected = format!("adapter_config.json: `{field}` is {value}, which is not supported");
        check(|c| c[field] = value, &expected);
    }
}

#[test]
fn fields_without_a_meaning_for_the_numbers_are_accepted() {
    let broken = Broken::with_config(|config| {
        config["target_modules"] = json!("all-linear");
        config["init_lora_weights"] = json!("gaussian");
        config["modules_to_save"] = json!([]);
        config["a_field_of_next_year"] = json!(1);
    });
    let model = model("qwen2");
    assert_eq!(read(broken.directory.path(), &model).iter().count(), 8);
}

#[test]
fn a_tensor_that_does_not_fit_is_named() {
    let zeros = |rows, columns| Tensor::zeros((rows, columns), DType::F32, &Device::Cpu).unwrap();
    let up = name(1, "self_attn.k_proj.lora_B");
    let broken = Broken::with_tensors(|t| drop(t.insert(up.clone(), zeros(32, 4))));
    assert_eq!(
        broken.error(),
        format!("tensor `{up}` has shape [32, 4], model and rank ask for [16, 4]")
    );
    let broken = Broken::with_config(|config| config["r"] = json!(8));
    assert!(broken.error().ends_with("model and rank ask for [8, 32]"), "{}", broken.error());
    let broken = Broken::with_tensors(|t| drop(t.remove(&up)));
    assert_eq!(
        broken.error(),
        format!("tensor `{up}` is missing: an update needs both lora_A and lora_B")
    );
    let beyond = name(2, "self_attn.k_proj.lora_A");
    let broken = Broken::with_tensors(|t| drop(t.insert(beyond.clone(), zeros(4, 32))));
    assert_eq!(
        broken.error(),
        format!("tensor `{beyond}` is beyond the model, whose 2 layers count from 0")
    );
    let foreign = name(0, "mlp.up_proj.lora_A");
    let broken = Broken::with_tensors(|t| drop(t.insert(foreign.clone(), zeros(4, 32))));
    assert!(broken.error().starts_with(&format!("the adapter changes `{foreign}`, but only")));
    let whole = Tensor::zeros((16, 4), DType::I64, &Device::Cpu).unwrap();
    let broken = Broken::with_tensors(|t| drop(t.insert(up.clone(), whole)));
    assert_eq!(broken.error(), format!("tensor `{up}` is I64, supported are F32, F16 and BF16"));
    assert_eq!(Broken::with_tensors(|t| t.clear()).error(), "the adapter is empty");
}

#[test]
fn all_widths_of_floats_are_read() {
    let model = model("qwen2");
    let expected = read(&fixture("qwen2"), &model);
    for (dtype, tolerance) in [(DType::F16, 1e-3), (DType::BF16, 8e-3)] {
        let narrow = Broken::with_tensors(|tensors| {
            tensors.values_mut().for_each(|tensor| *tensor = tensor.to_dtype(dtype).unwrap());
        });
        let adapter = read(narrow.directory.path(), &model);
        for (layer_idx, projection, lora) in adapter.iter() {
            assert_eq!(lora.down.dtype(), DType::F32);
            let down = &expected.get(layer_idx, projection).unwrap().down;
            assert!(largest_difference(&numbers(&lora.down), &numbers(down)) < tolerance);
        }
    }
}

#[test]
fn ranks_and_scales_that_are_none_are_refused_by_field() {
    for (field, value, expected) in [
        ("r", json!(-4), "`r` is -4"),
        ("r", json!(4.0), "`r` is 4.0"),
        ("r", json!("4"), "`r` is \"4\""),
        ("r", json!(u64::MAX), "model and rank ask for [18446744073709551615, 32]"),
        ("lora_alpha", json!("6"), "`lora_alpha` is \"6\""),
        ("lora_alpha", json!(null), "`lora_alpha` is null"),
        ("lora_alpha", json!(1e300), "the scale of `model.layers.0.self_attn.q_proj` is"),
        ("use_rslora", json!("true"), "`use_rslora` is \"true\""),
        ("rank_pattern", json!({"q_proj": 0}), "`rank_pattern` of `q_proj` is 0"),
        ("rank_pattern", json!({"q_proj": "x"}), "`rank_pattern` of `q_proj` is \"x\""),
        ("rank_pattern", json!({"q_proj": 2}), "has shape [4, 32], model and rank ask for [2, 32]"),
        ("rank_pattern", json!({"(q_proj": 2}), "`rank_pattern`: no pattern `^(.*\\.)?((q_proj)$`"),
        ("rank_pattern", json!([1]), "adapter_config.json: invalid type"),
        ("alpha_pattern", json!({"q_proj": null}), "`alpha_pattern` of `q_proj` is null"),
        ("alpha_pattern", json!({"[": 2}), "`alpha_pattern`: no pattern"),
        ("layers_to_transform", json!([-1]), "`layers_to_transform` has -1"),
        ("layers_to_transform", json!("all"), "`layers_to_transform` has \"all\""),
    ] {
        let error = Broken::with_config(|config| config[field] = value).error();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn rank_stabilized_scales_are_alpha_over_the_root_of_the_rank() {
    let broken = Broken::with_config(|config| {
        config["use_rslora"] = json!(true);
        config["lora_alpha"] = json!(6);
        config["alpha_pattern"] = json!({"layers.1.self_attn.k_proj": 10});
    });
    let adapter = read(broken.directory.path(), &model("qwen2"));
    assert_eq!(adapter.get(0, Projection::Key).unwrap().scale, 3.0);
    assert_eq!(adapter.get(1, Projection::Key).unwrap().scale, 5.0);
    assert_eq!(adapter.get(1, Projection::Query).unwrap().scale, 3.0);
}

#[test]
fn a_tensor_whose_layer_the_configuration_leaves_out_is_refused() {
    let all = "self_attn.(q|k|v|o)_proj";
    for (field, value, expected) in [
        ("layers_to_transform", json!([0]), Some("layers.1.")),
        ("layers_to_transform", json!(1), Some("layers.0.")),
        ("layers_to_transform", json!([0, 1]), None),
        ("target_modules", json!(["q_proj", "k_proj", "v_proj"]), Some("o_proj")),
        ("target_modules", json!(format!(r"model\.layers\.0\.{all}")), Some("layers.1.")),
        ("target_modules", json!(format!(".*{all}")), None),
        ("target_modules", json!("q_proj"), Some("layers.0.")),
        ("exclude_modules", json!(["v_proj"]), Some("v_proj")),
        ("exclude_modules", json!(".*k_proj"), Some("k_proj")),
        ("exclude_modules", json!(["_proj", "proj"]), None),
        ("exclude_modules", json!([]), None),
    ] {
        let broken = Broken::with_config(|config| config[field] = value.clone());
        let Some(place) = expected else {
            assert_eq!(read(broken.directory.path(), &model("qwen2")).iter().count(), 8);
            continue;
        };
        let error = broken.error();
        assert!(error.contains(&format!("leaves its layer out: `{field}`")), "{value}: {error}");
        assert!(error.contains(place), "{value}: {error}");
    }
    let broken = Broken::with_config(|config| {
        config["layers_to_transform"] = json!([0, 1]);
        config["layers_pattern"] = json!("h");
    });
    assert!(broken.error().ends_with("leaves its layer out: `layers_pattern`"));
}

/// The Qwen2 fixture's tensors under other names.
fn renamed(rename: impl Fn(&str) -> String) -> Broken {
    Broken::with_tensors(|tensors| {
        *tensors = tensors.drain().map(|(name, tensor)| (rename(&name), tensor)).collect();
    })
}

#[test]
fn tensors_are_known_however_they_were_saved() {
    let model = model("qwen2");
    let tokens = [3, 1, 4, 1, 5];
    let logits = |adapter| logits(&model.with_adapter(std::sync::Arc::new(adapter)), &tokens);
    let expected = logits(read(&fixture("qwen2"), &model));
    for (from, to) in [
        (".weight", ".default.weight"),
        (".weight", ".my-adapter.weight"),
        (".weight", ".weight"),
        ("base_model.model.", ""),
        ("base_model.model.model.", ""),
        ("base_model.model.", "base_model.model.base_model.model."),
        ("base_model.", "module.base_model."),
        (".self_attn.", "._orig_mod.self_attn."),
    ] {
        let saved = renamed(|name| name.replace(from, to));
        assert_eq!(logits(read(saved.directory.path(), &model)), expected, "{from} {to}");
    }
}

#[test]
fn several_adapters_in_one_file_are_told_apart() {
    let broken = Broken::with_tensors(|tensors| {
        for (name, tensor) in tensors.clone() {
            tensors.remove(&name);
            for adapter in ["safe", "default"] {
                tensors
                    .insert(name.replace(".weight", &format!(".{adapter}.weight")), tensor.clone());
            }
        }
    });
    let expected = "the file holds several adapters, `default` and `safe`: save one alone";
    assert_eq!(broken.error(), expected);
    let broken = renamed(|name| match name.contains("layers.1.") {
        true => name.replace(".weight", ".other.weight"),
        false => name.replace(".weight", ".default.weight"),
    });
    assert!(broken.error().contains("`default` and `other`"), "{}", broken.error());
    let whole = name(0, "self_attn.q_proj.lora_A");
    let short = whole.replace("base_model.model.", "");
    let broken = Broken::with_tensors(|t| drop(t.insert(short.clone(), t[&whole].clone())));
    let expected =
        format!("tensors `{whole}` and `{short}` are the same matrix of the same update");
    assert_eq!(broken.error(), expected);
    let half = renamed(|name| name.replace("q_proj.lora_B.weight", "q_proj.lora_A.b.weight"));
    assert!(half.error().contains("are the same matrix"), "{}", half.error());
}

#[test]
fn numbers_that_are_not_finite_are_refused_by_tensor() {
    let down = name(1, "self_attn.v_proj.lora_A");
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let broken = Broken::with_tensors(|tensors| {
                let mut numbers = numbers(&tensors[&down]);
                numbers[77] = value;
                let tensor = Tensor::from_vec(numbers, (4, 32), &Device::Cpu).unwrap();
                tensors.insert(down.clone(), tensor.to_dtype(dtype).unwrap());
            });
            let expected = format!("tensor `{down}` holds NaN or infinity");
            assert!(broken.error().starts_with(&expected), "{}", broken.error());
        }
    }
}

#[test]
fn types_that_no_trainer_writes_are_refused_by_tensor() {
    let up = name(1, "self_attn.k_proj.lora_B");
    for (dtype, expected) in [(DType::F64, "F64"), (DType::U8, "U8"), (DType::U32, "U32")] {
        let tensor = Tensor::zeros((16, 4), dtype, &Device::Cpu).unwrap();
        let broken = Broken::with_tensors(|t| drop(t.insert(up.clone(), tensor)));
        let expected = format!("tensor `{up}` is {expected}, supported are F32, F16 and BF16");
        assert_eq!(broken.error(), expected);
    }
    for shape in [&[64][..], &[16, 4, 1], &[4, 16], &[16, 0]] {
        let tensor = Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        let broken = Broken::with_tensors(|t| drop(t.insert(up.clone(), tensor)));
        let expected = format!("tensor `{up}` has shape {shape:?}, model and rank ask for [16, 4]");
        assert_eq!(broken.error(), expected);
    }
}

#[test]
fn a_safetensors_header_that_says_what_cannot_be_is_refused() {
    let q = name(0, "self_attn.q_proj.lora_A");
    let entry = |offsets: &str| {
        format!(r#""{q}":{{"dtype":"F32","shape":[4,32],"data_offsets":{offsets}}}"#)
    };
    let other = entry("[0,512]").replace(&q, "other");
    for (header, expected) in [
        (format!("{{{}}}", entry("[0,513]")), "has bytes 0 to 513 of 512"),
        (format!("{{{}}}", entry("[8,512]")), "has bytes 8 to 512 of 512, where 0 was to be next"),
        (format!("{{{}}}", entry("[0,504]")), "its tensors have 504 bytes, but 512 follow"),
        (format!("{{{}}}", entry("[512,0]")), "has bytes 512 to 0 of 512"),
        (format!("{{{}}}", entry("[0,18446744073709551615]")), "to 18446744073709551615 of 512"),
        (format!("{{{}}}", entry("[0,18446744073709551616]")), "tensor `base_model"),
        (format!("{{{}}}", entry("[-1,512]")), "tensor `base_model"),
        (format!("{{{}}}", entry("[0]")), "tensor `base_model"),
        (format!("{{{}}}", entry("[0,512]").replace("[4,32]", "[-4,32]")), "tensor `base_model"),
        (format!("{{{},{}}}", entry("[0,512]"), entry("[0,512]")), "is there twice"),
        (format!("{{{},{other}}}", entry("[0,512]")), "where 512 was to be next"),
        ("[]".to_owned(), "expected tensors by name"),
        ("{".to_owned(), "EOF"),
        (format!("{}{}", "[".repeat(5000), "]".repeat(5000)), "safetensors file: "),
        (format!(r#"{{"a":{}{}}}"#, "[".repeat(5000), "]".repeat(5000)), "tensor `a`: "),
        ("{}".to_owned(), "its tensors have 0 bytes, but 512 follow"),
        (r#"{"__metadata__":{"a":1}}"#.to_owned(), "invalid type: integer `1`"),
    ] {
        let file =
            [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 512]].concat();
        let broken = Broken::new();
        fs::write(broken.path(TENSORS_FILE), file).unwrap();
        let error = broken.error();
        assert!(
            error.starts_with("adapter_model.safetensors is not a whole safetensors"),
            "{error}"
        );
        assert!(error.contains(expected), "{expected}: {error}");
    }
    for len in [u64::MAX, 1 << 40, 513] {
        let broken = Broken::new();
        fs::write(broken.path(TENSORS_FILE), [&len.to_le_bytes()[..], &[b' '; 512]].concat())
            .unwrap();
        assert!(broken.error().ends_with("it ends inside its header"), "{}", broken.error());
    }
}

#[test]
fn a_configuration_with_a_byte_order_mark_is_read() {
    let broken = Broken::new();
    let config = fs::read(broken.path(CONFIG_FILE)).unwrap();
    fs::write(broken.path(CONFIG_FILE), [b"\xEF\xBB\xBF", &config[..]].concat()).unwrap();
    assert_eq!(read(broken.directory.path(), &model("qwen2")).iter().count(), 8);
    for other in [&b""[..], b"{", b"null", b"\xFF\xFE{\0}\0", b"{\"peft_type\": LORA}"] {
        fs::write(broken.path(CONFIG_FILE), other).unwrap();
        assert!(broken.error().starts_with("adapter_config.json: "), "{}", broken.error());
    }
}

#[test]
fn a_directory_of_something_else_says_what_is_there() {
    let broken = Broken::new();
    fs::rename(broken.path(TENSORS_FILE), broken.path("adapter_model.bin")).unwrap();
    assert!(broken.error().contains("adapter_model.bin, a Python pickle"), "{}", broken.error());
    assert!(broken.error().contains("s.save_file("), "{}", broken.error());
    for name in ["model.safetensors", "config.json", "pytorch_model.bin"] {
        let broken = Broken::new();
        fs::rename(broken.path(CONFIG_FILE), broken.path(name)).unwrap();
        let error = broken.error();
        assert!(
            error.contains("adapter_config.json: ") && error.contains("a whole model"),
            "{error}"
        );
    }
    let broken = Broken::new();
    let error = PeftFiles::open(&broken.path(CONFIG_FILE)).unwrap_err().to_string();
    assert!(error.contains("an adapter is a directory, not a file"), "{error}");
    let broken = Broken::new();
    fs::remove_file(broken.path(TENSORS_FILE)).unwrap();
    fs::create_dir(broken.path(TENSORS_FILE)).unwrap();
    assert!(broken.error().ends_with("it is no regular file"), "{}", broken.error());
    let broken = Broken::new();
    fs::write(broken.path(TENSORS_FILE), "version https://git-lfs.github.com/spec/v1\n").unwrap();
    assert!(broken.error().contains("git lfs pull"), "{}", broken.error());
}
