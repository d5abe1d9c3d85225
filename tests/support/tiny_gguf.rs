//! Tiny random models in real GGUF files, written with candle's writer: small enough for any test, whole enough for
//! every loader.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::quantized::gguf_file::{Value, write};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};

/// What kind of model to write.
#[derive(Clone)]
pub struct TinyGguf {
    pub architecture: &'static str,
    pub dtype: GgmlDType,
    /// Changes the weights, not the shapes.
    pub seed: u64,
    /// Appended to the 256 byte tokens.
    pub extra_tokens: Vec<&'static str>,
    /// How many of them, from the last on, are special.
    pub n_special: usize,
}

/// Metadata on its way into a file.
pub struct Metadata(Vec<(String, Value)>);

impl Metadata {
    pub fn set(&mut self, key: &str, value: Value) {
        self.remove(key);
        self.0.push((key.to_owned(), value));
    }

    pub fn remove(&mut self, key: &str) {
        self.0.retain(|(other, _)| other != key);
    }

    /// The elements of an array.
    pub fn array(&mut self, key: &str) -> &mut Vec<Value> {
        match self.0.iter_mut().find(|(other, _)| other == key) {
            Some((_, Value::Array(values))) => values,
            other => panic!("`{key}` is no array: {other:?}"),
        }
    }
}

fn write_file(path: &Path, metadata: &[(String, Value)], tensors: &[(String, Arc<QTensor>)]) {
    let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(k, v)| (k.as_str(), v)).collect();
    let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(k, t)| (k.as_str(), &**t)).collect();
    write(&mut File::create(path).unwrap(), &metadata, &tensors).unwrap();
}

pub const N_LAYERS: usize = 2;
pub const N_HEADS: usize = 4;
pub const N_KV_HEADS: usize = 2;
pub const HEAD_DIM: usize = 64;
pub const MODEL_DIM: usize = 256;
pub const HIDDEN_DIM: usize = 512;

impl Default for TinyGguf {
    fn default() -> Self {
        Self {
            architecture: "qwen2",
            dtype: GgmlDType::Q8_0,
            seed: 1,
            extra_tokens: vec!["ab", "<|end|>", "<|pre|>", "<|suf|>", "<|mid|>"],
            n_special: 4,
        }
    }
}

impl TinyGguf {
    pub fn write(&self, directory: &Path, name: &str) -> PathBuf {
        self.write_with(directory, name, |_| ())
    }

    /// The same with other metadata.
    pub fn write_with(
        &self,
        directory: &Path,
        name: &str,
        change: impl FnOnce(&mut Metadata),
    ) -> PathBuf {
        let path = directory.join(name);
        let mut metadata = Metadata(self.metadata());
        change(&mut metadata);
        write_file(&path, &metadata.0, &self.tensors());
        path
    }

    /// The same in several files, as `llama-gguf-split` writes them; the first has all metadata. `change` sees the
    /// metadata of each and its number, from 1.
    pub fn write_split(
        &self,
        directory: &Path,
        stem: &str,
        count: usize,
        change: impl Fn(usize, &mut Metadata),
    ) -> Vec<PathBuf> {
        let tensors = self.tensors();
        let part_of = |number: usize| {
            let path = directory.join(format!("{stem}-{number:05}-of-{count:05}.gguf"));
            let mut metadata = Metadata(if number == 1 { self.metadata() } else { Vec::new() });
            metadata.set("split.no", Value::U16(number as u16 - 1));
            metadata.set("split.count", Value::U16(count as u16));
            metadata.set("split.tensors.count", Value::I32(tensors.len() as i32));
            change(number, &mut metadata);
            let own = tensors.iter().skip(number - 1).step_by(count);
            let own: Vec<_> = own.map(|(name, t)| (name.clone(), Arc::clone(t))).collect();
            write_file(&path, &metadata.0, &own);
            path
        };
        (1..=count).map(part_of).collect()
    }

    fn tokens(&self) -> Vec<String> {
        let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
        let mut next = 0x100u32;
        let mut tokens: Vec<String> = (0..=255u8)
            .map(|b| match printable(b) {
                true => char::from(b).to_string(),
                false => {
                    next += 1;
                    char::from_u32(next - 1).unwrap().to_string()
                }
            })
            .collect();
        tokens.extend(self.extra_tokens.iter().map(|&t| t.to_owned()));
        tokens
    }

    fn metadata(&self) -> Vec<(String, Value)> {
        let arch = self.architecture;
        let tokens = self.tokens();
        let n_plain = tokens.len() - self.n_special;
        let kinds = (0..tokens.len()).map(|id| Value::I32(if id < n_plain { 1 } else { 3 }));
        let number = |name: &str, n: usize| (format!("{arch}.{name}"), Value::U32(n as u32));
        let text = |name: &str, s: &str| (name.to_owned(), Value::String(s.to_owned()));
        vec![
            text("general.architecture", arch),
            number("block_count", N_LAYERS),
            number("attention.head_count", N_HEADS),
            number("attention.head_count_kv", N_KV_HEADS),
            number("embedding_length", MODEL_DIM),
            number("feed_forward_length", HIDDEN_DIM),
            number("context_length", 512),
            number("rope.dimension_count", HEAD_DIM),
            (format!("{arch}.attention.layer_norm_rms_epsilon"), Value::F32(1e-6)),
            (format!("{arch}.rope.freq_base"), Value::F32(10_000.0)),
            text("tokenizer.ggml.model", "gpt2"),
            text("tokenizer.ggml.pre", "qwen2"),
            (
                "tokenizer.ggml.tokens".to_owned(),
                Value::Array(tokens.into_iter().map(Value::String).collect()),
            ),
            ("tokenizer.ggml.token_type".to_owned(), Value::Array(kinds.collect())),
            (
                "tokenizer.ggml.merges".to_owned(),
                Value::Array(vec![Value::String("a b".to_owned())]),
            ),
        ]
    }

    fn tensors(&self) -> Vec<(String, Arc<QTensor>)> {
        let vocab = 256 + self.extra_tokens.len();
        let mut random = Random(self.seed);
        let mut out = vec![
            ("token_embd.weight".to_owned(), self.matrix(&mut random, vocab, MODEL_DIM)),
            ("output_norm.weight".to_owned(), vector(&mut random, MODEL_DIM, 1.0)),
            ("output.weight".to_owned(), self.matrix(&mut random, vocab, MODEL_DIM)),
        ];
        let (q_dim, kv_dim) = (N_HEADS * HEAD_DIM, N_KV_HEADS * HEAD_DIM);
        for layer in 0..N_LAYERS {
            let name = |part: &str| format!("blk.{layer}.{part}");
            for (part, rows, columns) in [
                ("attn_q.weight", q_dim, MODEL_DIM),
                ("attn_k.weight", kv_dim, MODEL_DIM),
                ("attn_v.weight", kv_dim, MODEL_DIM),
                ("attn_output.weight", MODEL_DIM, q_dim),
                ("ffn_gate.weight", HIDDEN_DIM, MODEL_DIM),
                ("ffn_up.weight", HIDDEN_DIM, MODEL_DIM),
                ("ffn_down.weight", MODEL_DIM, HIDDEN_DIM),
            ] {
                out.push((name(part), self.matrix(&mut random, rows, columns)));
            }
            for (part, len, middle) in [
                ("attn_norm.weight", MODEL_DIM, 1.0),
                ("ffn_norm.weight", MODEL_DIM, 1.0),
                ("attn_q.bias", q_dim, 0.0),
                ("attn_k.bias", kv_dim, 0.0),
                ("attn_v.bias", kv_dim, 0.0),
            ] {
                out.push((name(part), vector(&mut random, len, middle)));
            }
        }
        out.into_iter().map(|(name, tensor)| (name, Arc::new(tensor))).collect()
    }

    fn matrix(&self, random: &mut Random, rows: usize, columns: usize) -> QTensor {
        let scale = (columns as f32).sqrt().recip() * 2.0;
        let data: Vec<f32> = (0..rows * columns).map(|_| random.next() * scale).collect();
        let dense = Tensor::from_vec(data, (rows, columns), &Device::Cpu).unwrap();
        QTensor::quantize(&dense, self.dtype).unwrap()
    }
}

fn vector(random: &mut Random, len: usize, middle: f32) -> QTensor {
    let data: Vec<f32> = (0..len).map(|_| middle + 0.1 * random.next()).collect();
    let dense = Tensor::from_vec(data, len, &Device::Cpu).unwrap();
    QTensor::quantize(&dense, GgmlDType::F32).unwrap()
}

/// Uniform numbers in [-1, 1) from a 64-bit linear congruential generator (Knuth's MMIX constants).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) as usize) % n
    }
}

/// A GGUF whose `general.alignment` is 0, by which candle divides.
pub fn with_alignment_0(bytes: &mut Vec<u8>) {
    let n_entries = u64::from_le_bytes(bytes[16..24].try_into().unwrap()) + 1;
    bytes[16..24].copy_from_slice(&n_entries.to_le_bytes());
    let key = b"general.alignment";
    let mut entry = (key.len() as u64).to_le_bytes().to_vec();
    entry.extend(key);
    entry.extend(4u32.to_le_bytes());
    entry.extend(0u32.to_le_bytes());
    bytes.splice(24..24, entry);
}
