//! GGUF files that are nearly right: opened, read, turned into a tokenizer and into both transformers, and asked for a
//! row of logits.

use std::fs;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use candle_core::Device;
use cosec_ls::kernel::threads::Threads;
use cosec_ls::model::config::Config;
use cosec_ls::model::cpu::CpuTransformer;
use cosec_ls::model::gguf::Gguf;
use cosec_ls::model::{Decoder, Error, LogitRows, Tokenizer, Transformer, pair};
use proptest::prelude::*;
use proptest::sample::Index;
use serde::{Deserialize, Serialize};

use crate::harness::fuzz;

/// A model that `tests/fixtures/peft/make.py` made, small enough to be written a thousand times a second.
fn whole() -> &'static [u8] {
    static WHOLE: LazyLock<Vec<u8>> = LazyLock::new(|| fs::read(fixture()).unwrap());
    &WHOLE
}

fn fixture() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/peft/qwen2/model.gguf")
}

/// What is done to a whole file, in order; places count the entries that there are, round and round.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Fault {
    Version(u32),
    TensorCount(u64),
    KeyCount(u64),
    /// A key's value becomes this number, in the type of this code.
    Number {
        key: usize,
        code: u32,
        bits: u64,
    },
    /// A key's value becomes text that says it is as long as this.
    Text {
        key: usize,
        len: Option<u64>,
        text: String,
    },
    /// A key's value becomes an array of this type that says it is as long as this.
    Array {
        key: usize,
        code: u32,
        len: u64,
        elements: Vec<u8>,
    },
    /// An array keeps its bytes and says another length.
    Length {
        key: usize,
        len: u64,
    },
    RenameKey {
        key: usize,
        name: String,
    },
    RemoveKey {
        key: usize,
    },
    AddNumber {
        name: String,
        code: u32,
        bits: u64,
    },
    Dimensions {
        tensor: usize,
        dims: Vec<u64>,
    },
    Type {
        tensor: usize,
        code: u32,
    },
    Offset {
        tensor: usize,
        offset: u64,
    },
    RenameTensor {
        tensor: usize,
        name: String,
    },
    RemoveTensor {
        tensor: usize,
    },
    Cut {
        len: usize,
    },
    Byte {
        at: usize,
        byte: u8,
    },
}

fn faults() -> impl Strategy<Value = Vec<Fault>> {
    let place = || any::<Index>().prop_map(|place| place.index(1 << 20));
    let code = || prop_oneof![8 => 0..13_u32, 1 => any::<u32>()];
    let key = || prop::sample::select(&KEYS[..]).prop_map(str::to_owned);
    let fault = prop_oneof![
        1 => prop_oneof![0..5_u32, any::<u32>()].prop_map(Fault::Version),
        1 => number().prop_map(Fault::TensorCount),
        1 => number().prop_map(Fault::KeyCount),
        6 => (place(), code(), number())
            .prop_map(|(key, code, bits)| Fault::Number { key, code, bits }),
        2 => (place(), prop::option::of(number()), prop::sample::select(&TEXTS[..]))
            .prop_map(|(key, len, text)| Fault::Text { key, len, text: text.to_owned() }),
        2 => (place(), code(), number(), prop::collection::vec(any::<u8>(), 0..40))
            .prop_map(|(key, code, len, elements)| Fault::Array { key, code, len, elements }),
        2 => (place(), number()).prop_map(|(key, len)| Fault::Length { key, len }),
        1 => (place(), key()).prop_map(|(key, name)| Fault::RenameKey { key, name }),
        1 => place().prop_map(|key| Fault::RemoveKey { key }),
        3 => (key(), code(), number())
            .prop_map(|(name, code, bits)| Fault::AddNumber { name, code, bits }),
        3 => (place(), prop::collection::vec(number(), 0..6))
            .prop_map(|(tensor, dims)| Fault::Dimensions { tensor, dims }),
        2 => (place(), prop_oneof![0..32_u32, any::<u32>()])
            .prop_map(|(tensor, code)| Fault::Type { tensor, code }),
        2 => (place(), number()).prop_map(|(tensor, offset)| Fault::Offset { tensor, offset }),
        1 => (place(), prop::sample::select(&["", "token_embd.weight", "blk.0.attn_q.weight"][..]))
            .prop_map(|(tensor, name)| Fault::RenameTensor { tensor, name: name.to_owned() }),
        1 => place().prop_map(|tensor| Fault::RemoveTensor { tensor }),
        1 => (0..70_000_usize).prop_map(|len| Fault::Cut { len }),
        2 => (0..8_000_usize, any::<u8>()).prop_map(|(at, byte)| Fault::Byte { at, byte }),
    ];
    prop::collection::vec(fault, 1..4)
}

/// Numbers at which programs break.
fn number() -> impl Strategy<Value = u64> {
    let bits = (0..64_u32, -1..2_i64).prop_map(|(bit, by)| (1_u64 << bit).wrapping_add_signed(by));
    prop_oneof![3 => 0..70_u64, 4 => bits, 1 => any::<u64>(), 1 => any::<f32>().prop_map(|n| u64::from(n.to_bits()))]
}

const KEYS: [&str; 12] = [
    "general.alignment",
    "general.architecture",
    "general.file_type",
    "split.no",
    "split.count",
    "split.tensors.count",
    "qwen2.rope.scaling.factor",
    "qwen2.rope.dimension_count",
    "qwen2.attention.key_length",
    "qwen2.attention.sliding_window",
    "tokenizer.ggml.add_bos_token",
    "tokenizer.ggml.bos_token_id",
];

const TEXTS: [&str; 9] =
    ["", "qwen2", "llama", "gpt2", "linear", "none", "a b", "\u{120}\u{120}", "deepseek-coder"];

/// A file taken apart.
struct File {
    version: u32,
    n_tensors: u64,
    n_keys: u64,
    /// Name, type code, and bytes of the value.
    keys: Vec<(String, u32, Vec<u8>)>,
    tensors: Vec<TensorEntry>,
    data: Vec<u8>,
}

struct TensorEntry {
    name: String,
    dims: Vec<u64>,
    code: u32,
    offset: u64,
}

/// Reads a file that is known to be whole.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len);
        self.0 = rest;
        taken
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take(4).try_into().unwrap())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take(8).try_into().unwrap())
    }

    fn text(&mut self) -> String {
        let len = self.u64() as usize;
        String::from_utf8(self.take(len).to_vec()).unwrap()
    }

    /// The bytes of a value of this type.
    fn value(&mut self, code: u32) -> &'a [u8] {
        let before = self.0;
        match code {
            0 | 1 | 7 => drop(self.take(1)),
            2 | 3 => drop(self.take(2)),
            4..=6 => drop(self.take(4)),
            8 => drop(self.text()),
            9 => {
                let (element, len) = (self.u32(), self.u64());
                for _ in 0..len {
                    self.value(element);
                }
            }
            _ => drop(self.take(8)),
        }
        &before[..before.len() - self.0.len()]
    }
}

impl File {
    fn read(bytes: &[u8]) -> Self {
        let mut reader = Reader(bytes);
        reader.take(4);
        let (version, n_tensors, n_keys) = (reader.u32(), reader.u64(), reader.u64());
        let key = |reader: &mut Reader<'_>| {
            let (name, code) = (reader.text(), reader.u32());
            (name, code, reader.value(code).to_vec())
        };
        let keys = (0..n_keys).map(|_| key(&mut reader)).collect();
        let tensor = |reader: &mut Reader<'_>| {
            let (name, n_dims) = (reader.text(), reader.u32());
            let dims = (0..n_dims).map(|_| reader.u64()).collect();
            TensorEntry { name, dims, code: reader.u32(), offset: reader.u64() }
        };
        let tensors = (0..n_tensors).map(|_| tensor(&mut reader)).collect();
        let start = (bytes.len() - reader.0.len()).next_multiple_of(32);
        Self { version, n_tensors, n_keys, keys, tensors, data: bytes[start..].to_vec() }
    }

    fn write(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        let text = |out: &mut Vec<u8>, text: &str| {
            out.extend((text.len() as u64).to_le_bytes());
            out.extend(text.as_bytes());
        };
        out.extend(self.version.to_le_bytes());
        out.extend(self.n_tensors.to_le_bytes());
        out.extend(self.n_keys.to_le_bytes());
        for (name, code, value) in &self.keys {
            text(&mut out, name);
            out.extend(code.to_le_bytes());
            out.extend(value);
        }
        for tensor in &self.tensors {
            text(&mut out, &tensor.name);
            out.extend((tensor.dims.len() as u32).to_le_bytes());
            tensor.dims.iter().for_each(|dim| out.extend(dim.to_le_bytes()));
            out.extend(tensor.code.to_le_bytes());
            out.extend(tensor.offset.to_le_bytes());
        }
        out.resize(out.len().next_multiple_of(32), 0);
        out.extend(&self.data);
        out
    }

    /// Does to the file what can be done before it is written.
    fn change(&mut self, fault: &Fault) {
        match fault {
            Fault::Version(version) => self.version = *version,
            Fault::TensorCount(count) => self.n_tensors = *count,
            Fault::KeyCount(count) => self.n_keys = *count,
            Fault::RemoveKey { key } if !self.keys.is_empty() => {
                let at = key % self.keys.len();
                self.keys.remove(at);
                self.n_keys = self.n_keys.wrapping_sub(1);
            }
            Fault::AddNumber { name, code, bits } => {
                self.keys.push((name.clone(), *code, number_bytes(*code, *bits)));
                self.n_keys = self.n_keys.wrapping_add(1);
            }
            Fault::RemoveTensor { tensor } if !self.tensors.is_empty() => {
                let at = tensor % self.tensors.len();
                self.tensors.remove(at);
                self.n_tensors = self.n_tensors.wrapping_sub(1);
            }
            _ => {
                self.change_key(fault);
                self.change_tensor(fault);
            }
        }
    }

    fn key(&mut self, key: usize) -> Option<&mut (String, u32, Vec<u8>)> {
        let n_keys = self.keys.len().max(1);
        self.keys.get_mut(key % n_keys)
    }

    fn tensor(&mut self, tensor: usize) -> Option<&mut TensorEntry> {
        let n_tensors = self.tensors.len().max(1);
        self.tensors.get_mut(tensor % n_tensors)
    }

    fn change_key(&mut self, fault: &Fault) {
        match fault {
            Fault::Number { key, code, bits } => {
                let Some(entry) = self.key(*key) else { return };
                (entry.1, entry.2) = (*code, number_bytes(*code, *bits));
            }
            Fault::Text { key, len, text } => {
                let Some(entry) = self.key(*key) else { return };
                let len = len.unwrap_or(text.len() as u64);
                (entry.1, entry.2) = (8, [&len.to_le_bytes(), text.as_bytes()].concat());
            }
            Fault::Array { key, code, len, elements } => {
                let Some(entry) = self.key(*key) else { return };
                let value = [&code.to_le_bytes()[..], &len.to_le_bytes(), elements].concat();
                (entry.1, entry.2) = (9, value);
            }
            Fault::Length { key, len } => {
                let Some(entry) = self.key(*key) else { return };
                let at = if entry.1 == 9 { 4..12 } else { 0..8 };
                if let Some(place) = entry.2.get_mut(at).filter(|_| [8, 9].contains(&entry.1)) {
                    place.copy_from_slice(&len.to_le_bytes());
                }
            }
            Fault::RenameKey { key, name } => {
                let Some(entry) = self.key(*key) else { return };
                entry.0.clone_from(name);
            }
            _ => {}
        }
    }

    fn change_tensor(&mut self, fault: &Fault) {
        match fault {
            Fault::Dimensions { tensor, dims } => {
                self.tensor(*tensor).into_iter().for_each(|entry| entry.dims.clone_from(dims));
            }
            Fault::Type { tensor, code } => {
                self.tensor(*tensor).into_iter().for_each(|entry| entry.code = *code);
            }
            Fault::Offset { tensor, offset } => {
                self.tensor(*tensor).into_iter().for_each(|entry| entry.offset = *offset);
            }
            Fault::RenameTensor { tensor, name } => {
                self.tensor(*tensor).into_iter().for_each(|entry| entry.name.clone_from(name));
            }
            _ => {}
        }
    }
}

/// The low bytes of a number, as many as the type of this code has.
fn number_bytes(code: u32, bits: u64) -> Vec<u8> {
    let len = match code {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        _ => 8,
    };
    bits.to_le_bytes()[..len].to_vec()
}

fn broken(faults: &[Fault]) -> Vec<u8> {
    let mut file = File::read(whole());
    faults.iter().for_each(|fault| file.change(fault));
    let mut bytes = file.write();
    for fault in faults {
        match fault {
            Fault::Cut { len } => bytes.truncate(*len),
            Fault::Byte { at, byte } if *at < bytes.len() => bytes[*at] = *byte,
            _ => {}
        }
    }
    bytes
}

/// Everything that is done with a model's file before the first answer.
fn load(path: &Path, threads: &Arc<Threads>) -> Result<(), Error> {
    let gguf = Gguf::open(path)?;
    let tokens = match Tokenizer::from_gguf(&gguf) {
        Ok(tokenizer) => tokenizer.encode("def f(x):\n    return \"é🦀\"")?,
        Err(_) => vec![1, 2, 3],
    };
    Config::read(&gguf)?;
    pair::check(&Gguf::open(&fixture())?, &gguf).ok();
    let ours =
        CpuTransformer::load(&gguf, Arc::clone(threads)).and_then(|model| ask(&model, &tokens));
    let candle = Transformer::load(&gguf, &Device::Cpu).and_then(|model| ask(&model, &tokens));
    ours.and(candle)
}

fn ask<D: Decoder>(model: &D, tokens: &[u32]) -> Result<(), Error> {
    let tokens: Vec<u32> =
        tokens.iter().map(|&token| token % model.vocab().max(1) as u32).take(8).collect();
    if model.vocab() == 0 || tokens.is_empty() {
        return Ok(());
    }
    let logits = model.forward(&tokens, &mut model.new_cache(), LogitRows::Last(1))?;
    assert_eq!(logits.data.len(), model.vocab());
    Ok(())
}

#[test]
fn a_file_that_is_taken_apart_and_put_together_is_the_same() {
    assert_eq!(File::read(whole()).write(), whole());
}

#[test]
fn a_broken_model_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("broken.gguf");
    let threads = Arc::new(Threads::new(1).unwrap());
    fuzz("gguf", faults(), |faults| {
        fs::write(&path, broken(faults)).unwrap();
        if let Err(error) = load(&path, &threads) {
            assert!(!error.to_string().contains('\n'), "{error}");
        }
    });
}
