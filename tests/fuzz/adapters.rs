//! Adapters that are nearly right: PEFT's configuration and the safetensors file beside it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use candle_core::{DType, Device, Tensor};
use cosec_ls::model::config::Config;
use cosec_ls::model::gguf::Gguf;
use cosec_ls::model::lora::peft::{CONFIG_FILE, PeftFiles, TENSORS_FILE};
use proptest::prelude::*;
use proptest::sample::Index;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::harness::fuzz;

/// What is done to an adapter that PEFT itself wrote, in order; places count the tensors, round and round.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Fault {
    Setting {
        name: String,
        value: Value,
    },
    RemoveSetting {
        name: String,
    },
    ConfigByte {
        at: usize,
        byte: u8,
    },
    Tensor {
        tensor: usize,
        field: String,
        value: Value,
    },
    Rename {
        tensor: usize,
        from: String,
        to: String,
    },
    RemoveTensor {
        tensor: usize,
    },
    Note {
        value: Value,
    },
    /// The number at this place of the data becomes these bits.
    Number {
        at: usize,
        bits: u32,
    },
    HeaderLength {
        len: u64,
    },
    Cut {
        len: usize,
    },
    Byte {
        at: usize,
        byte: u8,
    },
}

const SETTINGS: [&str; 14] = [
    "r",
    "lora_alpha",
    "use_rslora",
    "use_dora",
    "rank_pattern",
    "alpha_pattern",
    "modules_to_save",
    "target_modules",
    "layers_to_transform",
    "bias",
    "peft_type",
    "init_lora_weights",
    "fan_in_fan_out",
    "lora_bias",
];

const NAMES: [(&str, &str); 10] = [
    ("lora_A.weight", "lora_A.default.weight"),
    ("lora_B.weight", "lora_B.default.weight"),
    ("base_model.model.", ""),
    ("base_model.model.model.", "model."),
    ("layers.0", "layers.1"),
    ("layers.0", "layers.18446744073709551616"),
    ("layers.0", "layers.-1"),
    ("q_proj", "k_proj"),
    ("self_attn", "mlp"),
    ("lora_A", "lora_magnitude_vector"),
];

fn faults() -> impl Strategy<Value = Vec<Fault>> {
    let tensor = || any::<Index>().prop_map(|place| place.index(1 << 20));
    let setting = || prop::sample::select(&SETTINGS[..]).prop_map(str::to_owned);
    let field = prop::sample::select(&["dtype", "shape", "data_offsets", "more"][..]);
    let bits = prop_oneof![
        Just(f32::NAN.to_bits()),
        Just(f32::INFINITY.to_bits()),
        Just(f32::MAX.to_bits()),
        any::<u32>(),
    ];
    let fault = prop_oneof![
        6 => (setting(), value()).prop_map(|(name, value)| Fault::Setting { name, value }),
        1 => setting().prop_map(|name| Fault::RemoveSetting { name }),
        1 => (0..1_200_usize, any::<u8>()).prop_map(|(at, byte)| Fault::ConfigByte { at, byte }),
        4 => (tensor(), field, value()).prop_map(|(tensor, field, value)| Fault::Tensor {
            tensor,
            field: field.to_owned(),
            value
        }),
        4 => (tensor(), prop::sample::select(&NAMES[..])).prop_map(|(tensor, (from, to))| Fault::Rename {
            tensor,
            from: from.to_owned(),
            to: to.to_owned()
        }),
        1 => tensor().prop_map(|tensor| Fault::RemoveTensor { tensor }),
        1 => value().prop_map(|value| Fault::Note { value }),
        3 => (0..2_000_usize, bits).prop_map(|(at, bits)| Fault::Number { at, bits }),
        1 => prop_oneof![0..2_000_u64, any::<u64>()].prop_map(|len| Fault::HeaderLength { len }),
        1 => (0..9_200_usize).prop_map(|len| Fault::Cut { len }),
        2 => (0..9_200_usize, any::<u8>()).prop_map(|(at, byte)| Fault::Byte { at, byte }),
    ];
    prop::collection::vec(fault, 1..4)
}

fn value() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        Value::Null,
        json!(true),
        json!(false),
        json!(0),
        json!(-1),
        json!(1),
        json!(1e308),
        json!(-0.0),
        json!(u64::MAX),
        json!(1_u64 << 40),
        json!(""),
        json!("none"),
        json!("all-linear"),
        json!(".*q_proj"),
        json!("LORA"),
        json!("pissa"),
        json!("F16"),
        json!("BF16"),
        json!("F64"),
        json!("F8_E4M3"),
        json!("I64"),
        json!([]),
        json!([0]),
        json!([0, 0]),
        json!([4, 16]),
        json!([u64::MAX, 1]),
        json!([1_u64 << 32, 1_u64 << 32]),
        json!([0, u64::MAX]),
        json!([64, 0]),
        json!(["q_proj", "down_proj"]),
        json!({}),
        json!({ "q_proj": 2 }),
        json!({ "format": "pt" }),
    ])
}

struct Whole {
    config: Map<String, Value>,
    header: Map<String, Value>,
    data: Vec<u8>,
    model: Config,
}

fn whole() -> &'static Whole {
    static WHOLE: LazyLock<Whole> = LazyLock::new(|| {
        let read = |name: &str| fs::read(fixture(name)).unwrap();
        let tensors = read(TENSORS_FILE);
        let (len, rest) = tensors.split_first_chunk::<8>().unwrap();
        let (header, data) = rest.split_at(u64::from_le_bytes(*len) as usize);
        Whole {
            config: serde_json::from_slice(&read(CONFIG_FILE)).unwrap(),
            header: serde_json::from_slice(header).unwrap(),
            data: data.to_vec(),
            model: Config::read(&Gguf::open(&fixture("model.gguf")).unwrap()).unwrap(),
        }
    });
    &WHOLE
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/peft/qwen2").join(name)
}

/// Both files with these faults.
fn broken(faults: &[Fault]) -> (Vec<u8>, Vec<u8>) {
    let Whole { config, header, data, .. } = whole();
    let (mut config, mut header, mut data) = (config.clone(), header.clone(), data.clone());
    for fault in faults {
        match fault {
            Fault::Setting { name, value } => drop(config.insert(name.clone(), value.clone())),
            Fault::RemoveSetting { name } => drop(config.remove(name)),
            Fault::Note { value } => drop(header.insert("__metadata__".to_owned(), value.clone())),
            Fault::Number { at, bits } => {
                let place = data.get_mut(4 * at..4 * at + 4);
                place.into_iter().for_each(|place| place.copy_from_slice(&bits.to_le_bytes()));
            }
            _ => change_entry(&mut header, fault),
        }
    }
    let mut config = serde_json::to_vec(&config).unwrap();
    let header = serde_json::to_vec(&header).unwrap();
    let mut tensors = [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat();
    for fault in faults {
        match fault {
            Fault::ConfigByte { at, byte } if *at < config.len() => config[*at] = *byte,
            Fault::HeaderLength { len } if tensors.len() >= 8 => {
                tensors[..8].copy_from_slice(&len.to_le_bytes());
            }
            Fault::Cut { len } => tensors.truncate(*len),
            Fault::Byte { at, byte } if *at < tensors.len() => tensors[*at] = *byte,
            _ => {}
        }
    }
    (config, tensors)
}

fn change_entry(header: &mut Map<String, Value>, fault: &Fault) {
    let (Fault::Tensor { tensor, .. }
    | Fault::Rename { tensor, .. }
    | Fault::RemoveTensor { tensor }) = fault
    else {
        return;
    };
    let Some(name) = header.keys().nth(tensor % header.len().max(1)).cloned() else { return };
    match fault {
        Fault::Tensor { field, value, .. } => {
            let entry = header.get_mut(&name).and_then(Value::as_object_mut);
            entry.map(|entry| entry.insert(field.clone(), value.clone()));
        }
        Fault::Rename { from, to, .. } => {
            let entry = header.remove(&name).unwrap_or_default();
            header.insert(name.replace(from.as_str(), to), entry);
        }
        _ => drop(header.remove(&name)),
    }
}

fn check(faults: &[Fault]) {
    let (config, tensors) = broken(faults);
    let files = PeftFiles::new(config, tensors);
    files.trained_on().ok();
    match files.read(&whole().model, &Device::Cpu) {
        Ok(adapter) => {
            for (layer_idx, projection, lora) in adapter.iter() {
                let what = format!("layer {layer_idx}, {projection:?}");
                assert!(lora.scale.is_finite(), "{what}: the scale is {}", lora.scale);
                assert!(is_finite(&lora.down) && is_finite(&lora.up), "{what} is not finite");
            }
        }
        Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
    }
}

fn is_finite(tensor: &Tensor) -> bool {
    let numbers = tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1::<f32>();
    numbers.unwrap().iter().all(|number| number.is_finite())
}

#[test]
fn a_whole_adapter_is_read() {
    let (config, tensors) = broken(&[]);
    let adapter = PeftFiles::new(config, tensors).read(&whole().model, &Device::Cpu).unwrap();
    assert!(adapter.iter().count() > 0);
}

#[test]
fn a_broken_adapter_is_an_error_or_finite() {
    fuzz("adapters", faults(), |faults| check(faults));
}
