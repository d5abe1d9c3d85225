//! Files that are no whole model, and pairs that do not fit: a clear error, never a panic.

use std::path::{Path, PathBuf};

use candle_core::Device;
use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::Value;
use cosec_ls::model::gguf::Gguf;
use cosec_ls::model::{Error, Tokenizer, Transformer, pair};

use crate::support::tiny_gguf::{Metadata, Random, TinyGguf};

fn load(path: &Path) -> Result<Transformer, Error> {
    let gguf = Gguf::open(path)?;
    Tokenizer::from_gguf(&gguf)?;
    Transformer::load(&gguf, &Device::Cpu)
}

/// A tiny model's bytes, changed and written to a file of their own.
fn altered(directory: &Path, change: impl FnOnce(&mut Vec<u8>)) -> PathBuf {
    let whole = TinyGguf::default().write(directory, "whole.gguf");
    let mut bytes = std::fs::read(whole).unwrap();
    change(&mut bytes);
    let path = directory.join("altered.gguf");
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn a_missing_file_is_named() {
    let error = load(Path::new("/nowhere/model.gguf")).unwrap_err().to_string();
    assert!(error.starts_with("cannot read /nowhere/model.gguf: "), "{error}");
}

#[test]
fn an_empty_file_and_another_format_are_no_gguf() {
    let directory = tempfile::tempdir().unwrap();
    for (content, reason) in [(&b""[..], "it is empty"), (b"PK\x03\x04 and so on", "magic")] {
        let path = directory.path().join("x.gguf");
        std::fs::write(&path, content).unwrap();
        let error = load(&path).unwrap_err().to_string();
        assert!(error.contains("is not a whole GGUF file"), "{error}");
        assert!(error.contains(reason) && error.contains("pull the model again"), "{error}");
    }
}

#[test]
fn a_file_of_another_kind_is_named_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let safetensors = [&200u64.to_le_bytes()[..], b"{\"a\":{\"dtype\":\"F32\""].concat();
    for (content, reason) in [
        (
            &b"version https://git-lfs.github.com/spec/v1\noid sha256:0a\nsize 1\n"[..],
            "git lfs pull",
        ),
        (&safetensors, "it is a safetensors file: llama.cpp's convert_hf_to_gguf.py"),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "PyTorch checkpoint"),
        (b"<!DOCTYPE html><html>Sign in</html>", "it is a web page"),
        (b"\n {\"error\": \"Invalid credentials\"}", "it is JSON"),
        (b"tjgg\x03\0\0\0", "GGUF replaced"),
        (b"FUGG\0\0\0\x03", "big-endian"),
        (b"GGUF\0\0\0\x03", "big-endian"),
        (b"GGUF\x01\0\0\0", "version 1 is not supported"),
        (b"GGUF\x04\0\0\0", "version 4 is not supported"),
        (b"GGUF\0\0\0\0", "version 0 is not supported"),
        (b"GGU", "it ends inside its magic"),
        (b"GGUF", "the file ends inside"),
        (b"hello", "its magic is not GGUF's"),
    ] {
        let path = directory.path().join("x.gguf");
        std::fs::write(&path, content).unwrap();
        let error = load(&path).unwrap_err().to_string();
        assert!(error.contains(reason) && error.contains("x.gguf"), "{reason}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn what_is_no_regular_file_is_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let error = load(directory.path()).unwrap_err().to_string();
    assert!(error.ends_with("it is no regular file"), "{error}");
    if cfg!(unix) {
        let error = load(Path::new("/dev/zero")).unwrap_err().to_string();
        assert_eq!(error, "cannot read /dev/zero: it is no regular file");
    }
}

/// Where the bytes of a name end, which follow its length.
fn end_of(bytes: &[u8], name: &str) -> usize {
    let needle = [&(name.len() as u64).to_le_bytes()[..], name.as_bytes()].concat();
    bytes.windows(needle.len()).position(|w| w == needle).unwrap() + needle.len()
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// What a header may say of the entry behind a name, at so many bytes behind it; an error must hold the words.
type Corruption<'a> = (&'a str, usize, &'a [u8], &'a str);

const MOST: &[u8] = &[0xFF; 8];
const FAR: [u8; 8] = (u64::MAX - 31).to_le_bytes();
const TWO_TO_33: [u8; 8] = (1u64 << 33).to_le_bytes();
const MATRIX: &str = "output.weight";

const CORRUPTIONS: [Corruption<'_>; 22] = [
    (
        "general.architecture",
        0,
        &[99, 0, 0, 0],
        "metadata `general.architecture`: is of the unknown type 99",
    ),
    ("general.architecture", 0, &[0xFF; 4], "metadata `general.architecture`: is of the unknown"),
    (
        "general.architecture",
        4,
        MOST,
        "metadata `general.architecture`: a text of 18446744073709551615",
    ),
    (
        "tokenizer.ggml.tokens",
        4,
        &[9, 0, 0, 0],
        "metadata `tokenizer.ggml.tokens`: is an array of arrays",
    ),
    (
        "tokenizer.ggml.tokens",
        4,
        &[77, 0, 0, 0],
        "metadata `tokenizer.ggml.tokens`: is of the unknown type 77",
    ),
    (
        "tokenizer.ggml.tokens",
        8,
        MOST,
        "metadata `tokenizer.ggml.tokens`: is an array that is longer",
    ),
    ("tokenizer.ggml.tokens", 16, MOST, "metadata `tokenizer.ggml.tokens`: a text of"),
    (
        "tokenizer.ggml.token_type",
        8,
        &FAR,
        "metadata `tokenizer.ggml.token_type`: is an array that is longer",
    ),
    (
        "tokenizer.ggml.merges",
        8,
        &[0, 0, 0, 0, 0, 0, 0, 1],
        "metadata `tokenizer.ggml.merges`: is an array",
    ),
    (MATRIX, 0, &[0, 0, 0, 0], "tensor `output.weight`: has 0 dimensions"),
    (MATRIX, 0, &[5, 0, 0, 0], "tensor `output.weight`: has 5 dimensions"),
    (MATRIX, 0, &[0xFF; 4], "tensor `output.weight`: has 4294967295 dimensions"),
    (MATRIX, 4, MOST, "tensor `output.weight`: has rows of 18446744073709551615 weights"),
    (
        MATRIX,
        4,
        &[33, 0, 0, 0, 0, 0, 0, 0],
        "tensor `output.weight`: has rows of 33 weights, but blocks of 32",
    ),
    (MATRIX, 4, &[0; 8], "tensor `output.weight`: has the shape [0, 261]"),
    (MATRIX, 12, MOST, "tensor `output.weight`: has the shape [256, 18446744073709551615]"),
    (MATRIX, 12, &TWO_TO_33, "tensor `output.weight`"),
    (MATRIX, 20, &[99, 0, 0, 0], "tensor `output.weight`: is of type 99"),
    (MATRIX, 20, &[23, 0, 0, 0], "tensor `output.weight`: is in one of the IQ quantizations"),
    (MATRIX, 24, &[1], "tensor `output.weight`: starts at byte"),
    (MATRIX, 24, &[0; 8], "tensors `output.weight` and `token_embd.weight` overlap"),
    (MATRIX, 24, &FAR, "tensor `output.weight` ends at byte 18446744073709551615"),
];

#[test]
fn a_header_that_says_what_cannot_be_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    for (name, behind, value, expected) in CORRUPTIONS {
        let path = altered(directory.path(), |bytes| {
            let at = end_of(bytes, name) + behind;
            put(bytes, at, value);
        });
        let error = load(&path).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn counts_that_do_not_fit_the_file_are_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    for (field, at) in [("tensor_count", 8), ("metadata_kv_count", 16)] {
        for count in [u64::MAX, u64::MAX - 7, 1 << 40, 1 << 21] {
            let path = altered(directory.path(), |bytes| put(bytes, at, &count.to_le_bytes()));
            let error = load(&path).unwrap_err().to_string();
            assert!(error.contains(&format!("`{field}` is {count}, but only")), "{error}");
        }
        // One more than there are: what follows is read as an entry, and is none.
        let path = altered(directory.path(), |bytes| bytes[at] += 1);
        assert!(matches!(load(&path).unwrap_err(), Error::Header { .. }));
    }
    for length in [0, 1 << 20, u64::MAX] {
        let path = altered(directory.path(), |bytes| put(bytes, 24, &length.to_le_bytes()));
        let error = load(&path).unwrap_err().to_string();
        assert!(error.contains("metadata key 0: a "), "{error}");
    }
}

#[test]
fn names_that_come_twice_or_are_no_text_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    for (name, other, expected) in [
        (
            "qwen2.context_length",
            &b"general.architecture"[..],
            "metadata `general.architecture` is there twice",
        ),
        ("blk.0.attn_q.bias", b"blk.0.attn_k.bias", "tensor `blk.0.attn_k.bias` is there twice"),
        ("blk.1.attn_q.bias", b"blk.1.attn_v.bias", "tensor `blk.1.attn_v.bias` is there twice"),
        ("blk.0.attn_q.bias", b"blk.0.attn_\xFF.bias", "no UTF-8"),
        ("qwen2.context_length", b"qwen2.context\xC3length", "metadata key"),
    ] {
        let path = altered(directory.path(), |bytes| {
            let end = end_of(bytes, name);
            put(bytes, end - name.len(), other);
        });
        let error = load(&path).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
    for (key, behind) in
        [("tokenizer.ggml.model", 12), ("general.architecture", 12), ("tokenizer.ggml.pre", 13)]
    {
        let path = altered(directory.path(), |bytes| {
            let at = end_of(bytes, key) + behind;
            bytes[at] = 0xFF;
        });
        let error = load(&path).unwrap_err().to_string();
        assert!(error.contains(&format!("metadata `{key}`: is no UTF-8")), "{error}");
    }
}

/// The message about a tiny model with other metadata.
fn refusal(change: impl FnOnce(&mut Metadata)) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = TinyGguf::default().write_with(directory.path(), "m.gguf", change);
    load(&path).unwrap_err().to_string()
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

#[test]
fn a_metadata_value_that_no_model_has_is_refused_by_key() {
    for (key, value) in [
        ("general.alignment", Value::U32(0)),
        ("general.alignment", Value::U32(3)),
        ("general.alignment", Value::U32(4)),
        ("general.alignment", Value::U32(24)),
        ("general.alignment", Value::U32(1 << 31)),
        ("general.alignment", Value::U64(u64::MAX)),
        ("general.alignment", Value::I32(-32)),
        ("general.alignment", Value::F32(32.0)),
        ("general.alignment", text("32")),
        ("general.architecture", Value::U32(2)),
        ("general.type", text("adapter")),
        ("general.type", text("mmproj")),
        ("general.type", Value::Bool(true)),
        ("qwen2.block_count", Value::U32(0)),
        ("qwen2.block_count", Value::U32(3)),
        ("qwen2.block_count", Value::U32(4_000_000_000)),
        ("qwen2.block_count", Value::I32(-1)),
        ("qwen2.block_count", Value::F32(2.0)),
        ("qwen2.block_count", text("2")),
        ("qwen2.attention.head_count", Value::U32(0)),
        ("qwen2.attention.head_count", Value::U64(u64::MAX)),
        ("qwen2.attention.head_count_kv", Value::U32(0)),
        ("qwen2.attention.head_count_kv", Value::U32(3)),
        ("qwen2.attention.head_count_kv", Value::U32(8)),
        ("qwen2.attention.head_count_kv", Value::Array(vec![Value::U32(2), Value::U32(2)])),
        ("qwen2.attention.key_length", Value::U32(0)),
        ("qwen2.attention.key_length", Value::U32(u32::MAX)),
        ("qwen2.attention.value_length", Value::U32(32)),
        ("qwen2.rope.dimension_count", Value::U32(32)),
        ("qwen2.embedding_length", Value::U32(0)),
        ("qwen2.embedding_length", Value::U32(258)),
        ("qwen2.embedding_length", Value::U32(u32::MAX)),
        ("qwen2.feed_forward_length", Value::U32(0)),
        ("qwen2.feed_forward_length", Value::U64(1 << 40)),
        ("qwen2.context_length", Value::U32(0)),
        ("qwen2.context_length", Value::U64(u64::MAX)),
        ("qwen2.context_length", text("512")),
    ] {
        check_refused(key, value);
    }
}

#[track_caller]
fn check_refused(key: &str, value: Value) {
    let error = refusal(|metadata| metadata.set(key, value.clone()));
    assert!(error.starts_with(&format!("metadata `{key}`: ")), "{key} = {value:?}: {error}");
    assert!(!error.contains('\n'), "{error}");
}

#[test]
fn a_number_that_no_model_computes_with_is_refused_by_key() {
    let nan = Value::F32(f32::NAN);
    for (key, value) in [
        ("qwen2.attention.layer_norm_rms_epsilon", nan.clone()),
        ("qwen2.attention.layer_norm_rms_epsilon", Value::F32(0.0)),
        ("qwen2.attention.layer_norm_rms_epsilon", Value::F64(1e-60)),
        ("qwen2.attention.layer_norm_rms_epsilon", Value::F32(-1e-6)),
        ("qwen2.attention.layer_norm_rms_epsilon", Value::F32(f32::INFINITY)),
        ("qwen2.rope.freq_base", nan.clone()),
        ("qwen2.rope.freq_base", Value::F32(0.0)),
        ("qwen2.rope.freq_base", Value::F64(1e300)),
        ("qwen2.rope.freq_base", Value::Bool(true)),
        ("qwen2.rope.scaling.type", text("yarn")),
        ("qwen2.rope.scaling.type", Value::U32(1)),
        ("qwen2.rope.scaling.factor", Value::F32(0.0)),
        ("qwen2.rope.scaling.factor", nan),
        ("qwen2.vocab_size", Value::U32(0)),
        ("qwen2.vocab_size", Value::U32(260)),
    ] {
        check_refused(key, value);
    }
}

#[test]
fn sizes_that_contradict_the_tensors_name_the_tensor() {
    for (key, value, tensor) in [
        ("qwen2.embedding_length", 128, "token_embd.weight"),
        ("qwen2.feed_forward_length", 256, ".ffn_"),
        ("qwen2.attention.key_length", 32, "metadata `qwen2.rope.dimension_count`"),
        ("qwen2.attention.head_count_kv", 4, ".attn_"),
    ] {
        let error = refusal(|metadata| {
            if key == "qwen2.embedding_length" {
                metadata.remove("qwen2.rope.dimension_count");
            }
            metadata.set(key, Value::U32(value));
        });
        assert!(error.contains(tensor), "{key}: {error}");
    }
}

#[test]
fn a_key_that_a_model_needs_is_named_when_it_is_missing() {
    for key in [
        "general.architecture",
        "qwen2.block_count",
        "qwen2.attention.head_count",
        "qwen2.embedding_length",
        "qwen2.feed_forward_length",
        "qwen2.context_length",
        "qwen2.attention.layer_norm_rms_epsilon",
        "tokenizer.ggml.model",
        "tokenizer.ggml.tokens",
        "tokenizer.ggml.token_type",
        "tokenizer.ggml.merges",
    ] {
        let error = refusal(|metadata| metadata.remove(key));
        assert_eq!(error, format!("metadata `{key}`: is missing from the file"));
    }
}

#[test]
fn what_files_may_say_or_leave_out_is_read() {
    let directory = tempfile::tempdir().unwrap();
    for (key, value) in [
        ("general.alignment", Value::U32(32)),
        ("general.type", text("model")),
        ("qwen2.context_length", Value::U32(10_485_760)),
        ("qwen2.block_count", Value::U8(2)),
        ("qwen2.block_count", Value::I64(2)),
        ("qwen2.attention.key_length", Value::U32(64)),
        ("qwen2.rope.scaling.type", text("none")),
        ("qwen2.rope.scaling.factor", Value::F32(4.0)),
        ("qwen2.vocab_size", Value::U32(261)),
        ("an.array.of.nothing", Value::Array(Vec::new())),
    ] {
        let path =
            TinyGguf::default().write_with(directory.path(), "m.gguf", |m| m.set(key, value));
        load(&path).unwrap_or_else(|error| panic!("{key}: {error}"));
    }
    let path = TinyGguf::default().write_with(directory.path(), "m.gguf", |metadata| {
        metadata.remove("qwen2.rope.dimension_count");
        metadata.remove("qwen2.rope.freq_base");
    });
    load(&path).unwrap();
}

#[test]
fn a_norm_that_is_not_finite_is_refused_by_tensor() {
    let directory = tempfile::tempdir().unwrap();
    for (name, value) in [("output_norm.weight", f32::NAN), ("output_norm.weight", f32::INFINITY)] {
        let path = altered(directory.path(), |bytes| {
            let at = end_of(bytes, name) + 4 + 8 + 4;
            let offset = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
            let data = end_of(bytes, "blk.1.attn_v.bias") + 4 + 8 + 4 + 8;
            put(bytes, data.next_multiple_of(32) + offset, &value.to_le_bytes());
        });
        let error = load(&path).unwrap_err().to_string();
        assert_eq!(error, format!("tensor `{name}` holds numbers that are not finite"));
    }
}

#[test]
fn a_file_truncated_anywhere_is_an_error_that_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let len = std::fs::metadata(TinyGguf::default().write(directory.path(), "w")).unwrap().len();
    let mut tensor_errors = 0;
    for part in 1..40 {
        let keep = len as usize * part / 40;
        let path = altered(directory.path(), |bytes| bytes.truncate(keep));
        match load(&path).unwrap_err() {
            Error::Truncated { tensor, needed, len, .. } => {
                assert!(needed > len && !tensor.is_empty());
                tensor_errors += 1;
            }
            Error::Header { .. } => {}
            other => panic!("{other}"),
        }
    }
    assert!(tensor_errors > 30, "most of a model is tensors");
}

#[test]
fn a_message_is_one_line_whatever_the_environment_asks_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = altered(directory.path(), |bytes| bytes.truncate(600));
    let message = load(&path).unwrap_err().to_string();
    assert!(!message.contains('\n'), "{message}");
    let inner = candle_core::Error::Msg("the cause".to_owned());
    let traced = candle_core::Error::WithBacktrace {
        inner: Box::new(inner),
        backtrace: Box::new(std::backtrace::Backtrace::force_capture()),
    };
    assert_eq!(Error::from(traced).to_string(), "the cause");
}

#[test]
fn corrupted_headers_never_panic() {
    let directory = tempfile::tempdir().unwrap();
    let mut random = Random(2);
    let mut refused = 0;
    for _ in 0..150 {
        let path = altered(directory.path(), |bytes| {
            for _ in 0..4 {
                let at = random.below(16_000);
                bytes[at] = random.below(256) as u8;
            }
        });
        refused += u32::from(load(&path).is_err());
    }
    assert!(refused > 0, "some of these changes cannot be loaded");
}

#[test]
fn an_unknown_family_names_the_supported_ones() {
    let directory = tempfile::tempdir().unwrap();
    let tiny = TinyGguf { architecture: "mamba", ..TinyGguf::default() };
    let error = load(&tiny.write(directory.path(), "m.gguf")).unwrap_err();
    assert_eq!(error.to_string(), "family `mamba` is not supported; supported are qwen2, llama");
}

#[test]
fn a_model_of_one_family_under_the_name_of_another_misses_its_tensors_or_loads_without_them() {
    let directory = tempfile::tempdir().unwrap();
    // Written as Llama, the file still has Qwen2's biases, which Llama does not read.
    let tiny = TinyGguf { architecture: "llama", dtype: GgmlDType::F32, ..TinyGguf::default() };
    assert!(load(&tiny.write(directory.path(), "l.gguf")).is_ok());
    let path = altered(directory.path(), |bytes| {
        let name = b"blk.1.attn_q.bias";
        let at = bytes.windows(name.len()).position(|w| w == name).unwrap();
        bytes[at + 4] = b'9';
    });
    let error = load(&path).unwrap_err().to_string();
    assert!(error.starts_with("tensor `blk.1.attn_q.bias` is missing"), "{error}");
}

fn check_pair(base: &TinyGguf, security: &TinyGguf) -> Result<(), Error> {
    let directory = tempfile::tempdir().unwrap();
    let base = Gguf::open(&base.write(directory.path(), "base.gguf")).unwrap();
    let security = Gguf::open(&security.write(directory.path(), "security.gguf")).unwrap();
    pair::check(&base, &security)
}

#[test]
fn a_pair_of_one_vocabulary_may_differ_in_all_else() {
    let other = TinyGguf { seed: 9, dtype: GgmlDType::Q4K, ..TinyGguf::default() };
    check_pair(&TinyGguf::default(), &other).unwrap();
}

#[test]
fn a_pair_of_two_vocabularies_names_the_first_token_that_differs() {
    let extra_tokens = vec!["ab", "<|end|>", "<|pre|>", "<|middle|>", "<|mid|>"];
    let other = TinyGguf { extra_tokens, ..TinyGguf::default() };
    let error = check_pair(&TinyGguf::default(), &other).unwrap_err().to_string();
    assert_eq!(
        error,
        "the two models of the pair differ: token 259 is \"<|suf|>\" for the base and \"<|middle|>\" for the \
         security model"
    );
}

#[test]
fn a_token_that_is_special_for_one_model_only_is_a_difference() {
    let mut longer = TinyGguf::default();
    longer.extra_tokens.push("<|pad|>");
    let error = check_pair(&TinyGguf::default(), &longer).unwrap_err().to_string();
    assert!(error.contains("token 257 has type 3 for the base and 1 for the security"), "{error}");
}
