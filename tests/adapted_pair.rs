//! A profile with an adapter, from `models.toml` to the logits of both roles, on tiny models.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use cosec_ls::engine::pair::{self, Choice, LoadError, Pair};
use cosec_ls::kernel::threads::Threads;
use cosec_ls::model::gguf::Gguf;
use cosec_ls::model::lora::peft::{Description, Precision, TENSORS_FILE, TrainedOn, write};
use cosec_ls::model::lora::{Adapter, Lora, LoraSettings, Projection};
use cosec_ls::model::{Decoder, LanguageModel, LogitRows, Transformer};
use cosec_ls::registry::{Offline, Registry, RegistryOptions, Silent};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::support::tiny_gguf::TinyGguf;

const TOKENS: [u32; 6] = [3, 1, 4, 1, 5, 9];

/// A directory with two tiny models, an adapter for the second, and a `models.toml`.
pub struct Machine {
    directory: TempDir,
}

impl Machine {
    pub fn new() -> Self {
        let machine = Self { directory: tempfile::tempdir().unwrap() };
        let mut entries = String::new();
        for (name, seed) in [("big", 1), ("little", 2)] {
            let path = TinyGguf { seed, ..TinyGguf::default() }
                .write(machine.directory.path(), &format!("{name}.gguf"));
            entries += &format!(
                "[models.{name}]\nfamily = \"qwen2\"\ncontext = 512\nstop_tokens = [\"<|end|>\"]\n\
                 size_bytes = 1\nsha256 = \"{}\"\nlicence = \"MIT\"\nsources = [{{ path = \"{name}.gguf\" }}]\n",
                sha256(&path)
            );
        }
        machine.write_adapter(None);
        entries += &format!(
            "[adapters.safe]\ntrained_on = \"little\"\nmodel_sha256 = \"{}\"\nsha256 = \"{}\"\n\
             size_bytes = 1\nlicence = \"MIT\"\nsources = [{{ path = \"safe\" }}]\n\
             [profiles.pair]\nbase = \"big\"\nsecurity = \"little\"\nadapter = \"safe\"\n\
             [profiles.self]\nbase = \"little\"\nsecurity = \"little\"\nadapter = \"safe\"\n\
             [profiles.plain]\nbase = \"little\"\nsecurity = \"little\"\n\
             [profiles.wrong]\nbase = \"little\"\nsecurity = \"big\"\n",
            sha256(&machine.path("little.gguf")),
            sha256(&machine.path("safe").join(TENSORS_FILE)),
        );
        fs::write(machine.path("models.toml"), entries).unwrap();
        machine
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn model(&self, name: &str) -> Transformer {
        let gguf = Gguf::open(&self.path(&format!("{name}.gguf"))).unwrap();
        Transformer::load(&gguf, &Device::Cpu).unwrap()
    }

    /// As a pair has it.
    fn loaded(&self, name: &str) -> LanguageModel {
        let gguf = Gguf::open(&self.path(&format!("{name}.gguf"))).unwrap();
        let threads = Arc::new(Threads::new(2).unwrap());
        LanguageModel::load(&gguf, &Device::Cpu, &threads).unwrap()
    }

    /// The adapter in the directory `safe`.
    fn write_adapter(&self, trained_on: Option<&TrainedOn>) {
        let model = self.model("little");
        let description = Description {
            model: model.config(),
            base_model: "little",
            trained_on,
            dropout: 0.0,
            precision: Precision::F32,
        };
        write(&adapter(&model), &self.path("safe"), &description).unwrap();
    }

    pub fn registry(&self) -> Registry {
        let options = RegistryOptions {
            user_manifest: Some(self.path("models.toml")),
            store: Some(self.path("store")),
            offline: Offline::Yes,
            ..RegistryOptions::default()
        };
        Registry::open(options).unwrap()
    }

    fn load(&self, profile: &str, adapter: Option<&str>) -> Result<Pair, LoadError> {
        let choice = Choice { threads: 2, profile, adapter, adapter_strength: 1.0 };
        pair::load(&self.registry(), choice, &Silent)
    }
}

fn sha256(path: &PathBuf) -> String {
    format!("{:x}", Sha256::digest(fs::read(path).unwrap()))
}

/// An adapter that changes something: `up` is not zeros.
fn adapter(model: &Transformer) -> Adapter {
    let projections = vec![Projection::Query, Projection::Value];
    let settings = LoraSettings { rank: 4, alpha: 8.0, projections };
    let initial = Adapter::initial(model.config(), &settings, 3, &Device::Cpu).unwrap();
    let mut adapter = Adapter::default();
    for (layer_idx, projection, lora) in initial.iter() {
        let mut lora = lora.clone();
        let n = lora.up.elem_count();
        let up: Vec<f32> = (0..n).map(|i| (i % 7) as f32 / 7.0 - 0.4).collect();
        lora.up = Tensor::from_vec(up, lora.up.shape(), &Device::Cpu).unwrap();
        adapter.insert(layer_idx, projection, lora);
    }
    adapter
}

fn logits(model: &LanguageModel) -> Vec<f32> {
    model.forward(&TOKENS, &mut model.new_cache(), LogitRows::Last(1)).unwrap().data
}

#[test]
fn the_adapter_stands_beside_the_security_role_alone() {
    let machine = Machine::new();
    let (big, little) = (machine.loaded("big"), machine.loaded("little"));
    let adapted = little.with_adapter(adapter(&machine.model("little"))).unwrap();
    assert_ne!(logits(&little), logits(&adapted));
    for (profile, base) in [("pair", &big), ("self", &little)] {
        let pair = machine.load(profile, None).unwrap();
        assert_eq!(pair.profile.adapter.as_deref(), Some("safe"));
        assert_eq!(logits(&pair.base), logits(base));
        assert_eq!(logits(&pair.security), logits(&adapted));
    }
    let plain = machine.load("plain", None).unwrap();
    assert_eq!(plain.profile.adapter, None);
    assert_eq!(logits(&plain.security), logits(&little));
}

#[test]
fn an_adapter_can_be_tried_by_name_or_directory() {
    let machine = Machine::new();
    let adapter = adapter(&machine.model("little"));
    let adapted = logits(&machine.loaded("little").with_adapter(adapter).unwrap());
    let directory = machine.path("safe").display().to_string();
    for choice in ["safe", &directory] {
        let pair = machine.load("plain", Some(choice)).unwrap();
        assert_eq!(pair.profile.adapter.as_deref(), Some(choice));
        assert_eq!(logits(&pair.security), adapted);
    }
    let error = machine.load("plain", Some("sage")).unwrap_err().to_string();
    let expected = "`sage` is no directory and no adapter of models.toml; known: qwen2.5-coder-0.5b-sven, safe";
    assert_eq!(error, expected);
}

#[test]
fn the_strength_multiplies_what_the_adapter_changes() {
    let machine = Machine::new();
    let little = machine.loaded("little");
    let security = |adapter_strength| {
        let choice = Choice { threads: 2, profile: "self", adapter: None, adapter_strength };
        let pair = pair::load(&machine.registry(), choice, &Silent).unwrap();
        assert_eq!(pair.profile.adapter_strength, adapter_strength);
        assert_eq!(logits(&pair.base), logits(&little), "the base stays as it is");
        logits(&pair.security)
    };
    assert_eq!(security(0.0), logits(&little));
    let model = machine.model("little");
    let mut doubled = Adapter::default();
    for (layer_idx, projection, lora) in adapter(&model).iter() {
        let up = (&lora.up * 2.0).unwrap();
        doubled.insert(layer_idx, projection, Lora { up, ..lora.clone() });
    }
    let doubled = logits(&little.with_adapter(doubled).unwrap());
    for (got, expected) in security(2.0).iter().zip(&doubled) {
        assert!((got - expected).abs() < 1e-4, "{got} {expected}");
    }
}

#[test]
fn an_entrys_own_strength_is_multiplied_with_the_setting() {
    let machine = Machine::new();
    let logits_at = |adapter_strength| {
        let choice = Choice { threads: 2, profile: "self", adapter: None, adapter_strength };
        let pair = pair::load(&machine.registry(), choice, &Silent).unwrap();
        (logits(&pair.security), pair.profile.adapter_strength)
    };
    let (once, twice) = (logits_at(1.0), logits_at(2.0));
    assert_ne!(once, twice);
    let manifest = machine.path("models.toml");
    let entries = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, entries.replace("[adapters.safe]\n", "[adapters.safe]\nstrength = 2\n"))
        .unwrap();
    assert_eq!(logits_at(1.0), twice);
    assert_eq!(logits_at(0.5), once);
}

#[test]
fn an_adapter_is_refused_beside_another_model() {
    let machine = Machine::new();
    let [big, little] =
        ["big", "little"].map(|name| sha256(&machine.path(&format!("{name}.gguf"))));
    let expected = |adapter: &str| {
        format!(
            "adapter `{adapter}` was trained on `little` with sha256 {little}, but the security model `big` has sha256 {big}"
        )
    };
    let error = machine.load("wrong", Some("safe")).unwrap_err().to_string();
    assert_eq!(error, expected("safe"));
    // A directory says itself what it was trained on, or is trusted.
    let directory = machine.path("safe").display().to_string();
    assert!(machine.load("wrong", Some(&directory)).is_ok());
    machine.write_adapter(Some(&TrainedOn {
        model: "little".to_owned(),
        model_sha256: little.clone(),
    }));
    assert!(machine.load("plain", Some(&directory)).is_ok());
    let error = machine.load("wrong", Some(&directory)).unwrap_err().to_string();
    assert_eq!(error, expected(&directory));
}

#[test]
fn a_broken_adapter_is_an_error_with_its_name() {
    let machine = Machine::new();
    let directory = machine.path("safe").display().to_string();
    fs::write(machine.path("safe").join("adapter_config.json"), r#"{"peft_type": "IA3"}"#).unwrap();
    let error = machine.load("plain", Some(&directory)).unwrap_err().to_string();
    assert!(error.starts_with(&format!("adapter `{directory}`: ")), "{error}");
    assert!(error.contains("`peft_type` is `IA3`"), "{error}");
    fs::write(machine.path("safe").join(TENSORS_FILE), "x").unwrap();
    let error = machine.load("pair", None).unwrap_err().to_string();
    assert!(error.contains("models.toml pins"), "{error}");
}
