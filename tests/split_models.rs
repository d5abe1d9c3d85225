//! Models in several files, as llama.cpp's `llama-gguf-split` writes them: one model, or a message that says which part.

use std::fs;
use std::path::{Path, PathBuf};

use candle_core::Device;
use candle_core::quantized::gguf_file::Value;
use cosec_ls::model::gguf::Gguf;
use cosec_ls::model::{Decoder, LogitRows, Tokenizer, Transformer};
use tempfile::TempDir;

use crate::support::tiny_gguf::{Metadata, TinyGguf};

fn split(count: usize, change: impl Fn(usize, &mut Metadata)) -> (TempDir, Vec<PathBuf>) {
    let directory = tempfile::tempdir().unwrap();
    let parts = TinyGguf::default().write_split(directory.path(), "tiny-q8", count, change);
    (directory, parts)
}

fn logits(path: &Path) -> Vec<f32> {
    let gguf = Gguf::open(path).unwrap();
    let tokens = Tokenizer::from_gguf(&gguf).unwrap().encode("def ab").unwrap();
    let model = Transformer::load(&gguf, &Device::Cpu).unwrap();
    let rows = LogitRows::Last(tokens.len());
    model.forward(&tokens, &mut model.new_cache(), rows).unwrap().data
}

#[track_caller]
fn check_refusal(path: &Path, expected: &str) {
    let error = Gguf::open(path).unwrap_err().to_string();
    assert!(error.contains(expected), "{expected}: {error}");
    assert!(!error.contains('\n'), "{error}");
}

#[test]
fn a_split_model_is_the_model_that_was_split() {
    let directory = tempfile::tempdir().unwrap();
    let whole = logits(&TinyGguf::default().write(directory.path(), "whole.gguf"));
    for count in [1, 2, 3, 7] {
        let (_directory, parts) = split(count, |_, _| ());
        assert_eq!(logits(&parts[0]), whole, "{count} parts");
    }
}

#[test]
fn a_part_that_is_missing_is_named() {
    for missing in [2, 3] {
        let (_directory, parts) = split(3, |_, _| ());
        fs::remove_file(&parts[missing - 1]).unwrap();
        check_refusal(&parts[0], &format!("part {missing} of 3 is missing: "));
        check_refusal(&parts[0], &parts[missing - 1].display().to_string());
    }
}

#[test]
fn another_part_says_which_one_to_open() {
    let (_directory, parts) = split(3, |_, _| ());
    for number in [2, 3] {
        let expected = format!("it is part {number} of 3; open {}", parts[0].display());
        check_refusal(&parts[number - 1], &expected);
    }
}

#[test]
fn a_part_under_another_name_says_how_parts_are_named() {
    let (directory, parts) = split(3, |_, _| ());
    let renamed = directory.path().join("model.gguf");
    fs::copy(&parts[0], &renamed).unwrap();
    check_refusal(&renamed, "it is part 1 of 3, and the others are found by name");
    check_refusal(&renamed, "NAME-00001-of-00003.gguf");
    let other = directory.path().join("tiny-q8-00002-of-00004.gguf");
    fs::copy(&parts[0], &other).unwrap();
    check_refusal(&other, "its name says part 2 of 4, its metadata part 1 of 3");
    fs::copy(&parts[2], &parts[1]).unwrap();
    check_refusal(&parts[0], "`split.no` is 2, but as part 2 of 3 it must be 1");
}

#[test]
fn parts_of_different_models_do_not_make_one() {
    type Change = fn(usize, &mut Metadata);
    let cases: [(Change, &str); 8] = [
        (
            |n, m| m.set("split.count", Value::U16(if n == 2 { 4 } else { 3 })),
            "`split.count` is 4, but as part 2",
        ),
        (
            |n, m| {
                if n == 3 {
                    m.remove("split.no")
                }
            },
            "`split.no` is missing, but as part 3",
        ),
        (
            |_, m| m.set("split.tensors.count", Value::I32(99)),
            "`split.tensors.count` is 99, but the parts",
        ),
        (|_, m| m.set("split.tensors.count", Value::I32(-1)), "metadata `split.tensors.count`"),
        (
            |_, m| m.remove("split.count"),
            "its name says that it is part 1 of 3, but `split.count` does not",
        ),
        (|_, m| m.set("split.count", Value::U32(u32::MAX)), "metadata `split.count`"),
        (|_, m| m.set("split.no", Value::U16(3)), "metadata `split.no`"),
        (|_, m| m.set("split.no", Value::F32(0.0)), "metadata `split.no`: expected an integer"),
    ];
    for (change, expected) in cases {
        let (_directory, parts) = split(3, change);
        check_refusal(&parts[0], expected);
    }
}

#[test]
fn a_broken_part_is_named() {
    let (_directory, parts) = split(2, |_, _| ());
    let whole = fs::read(&parts[1]).unwrap();
    fs::write(&parts[1], &whole[..whole.len() / 2]).unwrap();
    check_refusal(&parts[0], "tiny-q8-00002-of-00002.gguf is truncated");
    fs::write(&parts[1], "version https://git-lfs.github.com/spec/v1\n").unwrap();
    check_refusal(
        &parts[0],
        "tiny-q8-00002-of-00002.gguf is not a whole GGUF file (it is a git-lfs",
    );
    fs::copy(&parts[0], &parts[1]).unwrap();
    check_refusal(&parts[0], "`split.no` is 0, but as part 2 of 2 it must be 1");
}
