//! Files that are no whole model, and pairs that do not fit: a clear error, never a panic.

use std::path::{Path, PathBuf};

use candle_core::Device;
use candle_core::quantized::GgmlDType;
use cosec_ls::model::gguf::Gguf;
use cosec_ls::model::{Error, Tokenizer, Transformer, pair};

use crate::support::tiny_gguf::{Random, TinyGguf};

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
