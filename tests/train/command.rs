//! `cosec-ls train` as a user runs it, on a tiny model.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use candle_core::{DType, Device, Tensor};
use cosec_ls::model::lora::peft::TENSORS_FILE;
use cosec_ls::train::log::{Event, Log};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::{line, write};
use crate::support::tiny_gguf::{TinyGguf, with_alignment_0};

/// The command with its output in `out`, unless `more` says otherwise.
fn command(directory: &Path, more: &[&str]) -> Command {
    let at = |name: &str| directory.join(name).display().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_cosec-ls"));
    command
        .args(["train", "--model", "tiny", "--offline"])
        .args(["--models", &at("models.toml"), "--data", &at("data")])
        .args(more)
        .env("XDG_CACHE_HOME", directory.join("cache"));
    if !more.contains(&"--out") {
        command.args(["--out", &at("out")]);
    }
    command
}

fn train(directory: &Path, more: &[&str]) -> Output {
    command(directory, more).output().unwrap()
}

fn write_model(directory: &Path) {
    let path = TinyGguf::default().write(directory, "tiny.gguf");
    let sha256 = format!("{:x}", Sha256::digest(fs::read(&path).unwrap()));
    let size = fs::metadata(&path).unwrap().len();
    let entry = format!(
        "[models.tiny]\nfamily = \"qwen2\"\ncontext = 512\nstop_tokens = [\"<|end|>\"]\nsize_bytes = {size}\n\
         sha256 = \"{sha256}\"\nlicence = \"MIT\"\nsources = [{{ path = \"tiny.gguf\" }}]\n"
    );
    fs::write(directory.join("models.toml"), entry).unwrap();
}

/// A directory with the model and a data set of these fixes; the first of them validates.
fn prepared(fixes: &[&str]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let lines: Vec<String> = fixes.iter().map(|text| line(text).to_string()).collect();
    write(directory.path(), "data/train/cwe-089.jsonl", &lines);
    write(directory.path(), "data/val/cwe-089.jsonl", &lines[..1]);
    write_model(directory.path());
    directory
}

#[test]
fn a_run_that_is_continued_keeps_its_log_and_its_curve() {
    let directory = prepared(&["a = ⟦quote(b)⟧\n", "x = ⟦y⟧\n", "f(⟦None⟧)\n"]);
    let first = train(directory.path(), &["--steps", "3"]);
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    let steps = || {
        let log = Log::open(&directory.path().join("out"), usize::MAX).unwrap();
        let step = |event: &Event| match event {
            Event::Step(report) => Some(report.step),
            Event::Validation(_) => None,
        };
        log.events().iter().filter_map(step).collect::<Vec<_>>()
    };
    assert_eq!(steps(), [1, 2, 3]);
    let again = train(directory.path(), &["--steps", "3", "--resume"]);
    let said = String::from_utf8_lossy(&again.stderr);
    assert!(again.status.success() && said.contains("continuing after step 3"), "{said}");
    assert_eq!(steps(), [1, 2, 3]);
    let refused = train(directory.path(), &["--steps", "3"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("continue it with --resume"), "{said}");
    assert_eq!(steps(), [1, 2, 3]);
    let longer = train(directory.path(), &["--steps", "5", "--resume"]);
    assert!(longer.status.success(), "{}", String::from_utf8_lossy(&longer.stderr));
    assert_eq!(steps(), [1, 2, 3, 4, 5]);
    let other = train(directory.path(), &["--steps", "6", "--resume", "--rank", "4"]);
    let said = String::from_utf8_lossy(&other.stderr);
    assert!(!other.status.success() && said.contains("other settings"), "{said}");
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_writes_a_checkpoint_and_goes_on_from_there() {
    let directory = prepared(&["a = ⟦quote(b)⟧\n", "x = ⟦y⟧\n"]);
    let mut run = command(directory.path(), &["--steps", "1000000"]);
    let mut run = run.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let said = BufReader::new(run.stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut said = said.inspect(|line| println!("{line}"));
    // The frozen model was validated: steps follow.
    assert!(said.any(|line| line.contains("after step 0")));
    let interrupted = Command::new("kill").args(["-INT", &run.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    let stopped = said.find_map(|line| Some(line.strip_prefix("stopped after step ")?.to_owned()));
    let steps: usize = stopped.expect("it says so").split(';').next().unwrap().parse().unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(130));
    let more = format!("{}", steps + 1);
    let again = train(directory.path(), &["--steps", &more, "--resume"]);
    let said = String::from_utf8_lossy(&again.stderr);
    assert!(said.contains(&format!("continuing after step {steps}")), "{said}");
}

/// The validations of the run in `out`: steps and losses.
fn validations(directory: &Path, out: &str) -> Vec<(usize, f64)> {
    let log = Log::open(&directory.join(out), usize::MAX).unwrap();
    let validation = |event: &Event| match event {
        Event::Validation(report) => Some((report.step, report.loss)),
        Event::Step(_) => None,
    };
    log.events().iter().filter_map(validation).collect()
}

#[test]
fn a_run_that_begins_with_an_adapter_begins_where_that_one_ended() {
    let directory = prepared(&["a = ⟦quote(b)⟧\n", "x = ⟦y⟧\n"]);
    let at = |name: &str| directory.path().join(name).display().to_string();
    let more = ["--steps", "8", "--learning-rate", "0.01", "--warmup", "0", "--rank", "4"];
    let first = train(directory.path(), &more);
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    let ends = validations(directory.path(), "out");
    let best = ends.iter().map(|(_, loss)| *loss).fold(f64::INFINITY, f64::min);
    assert!(best < ends[0].1, "{ends:?}");

    let (adapter, out) = (at("out"), at("out2"));
    let more = ["--steps", "2", "--out", &out, "--adapter", &adapter];
    let second = train(directory.path(), &more);
    assert!(second.status.success(), "{}", String::from_utf8_lossy(&second.stderr));
    let begins = validations(directory.path(), "out2");
    assert_eq!(begins[0], (0, best));
    // Another beginning is another run: its checkpoint is not continued as if it were this one.
    let other = train(directory.path(), &["--steps", "2", "--resume", "--out", &out]);
    let said = String::from_utf8_lossy(&other.stderr);
    assert!(!other.status.success() && said.contains("other settings"), "{said}");
}

#[test]
fn an_adapter_of_16_bits_is_the_same_adapter_rounded() {
    let directory = prepared(&["a = ⟦quote(b)⟧\n", "x = ⟦y⟧\n"]);
    let trained = |out: &str, precision: &str| {
        let out = directory.path().join(out);
        let more = ["--steps", "8", "--learning-rate", "0.01", "--warmup", "0"];
        let to = ["--out", out.to_str().unwrap(), "--adapter-precision", precision];
        let run = train(directory.path(), &[&more[..], &to].concat());
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        candle_core::safetensors::load(out.join(TENSORS_FILE), &Device::Cpu).unwrap()
    };
    let (full, half) = (trained("full", "f32"), trained("half", "f16"));
    assert_eq!(full.len(), half.len());
    let numbers = |tensor: &Tensor| {
        tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    for (name, tensor) in &full {
        assert_eq!(half[name].dtype(), DType::F16);
        let rounded = tensor.to_dtype(DType::F16).unwrap();
        assert_eq!(numbers(&half[name]), numbers(&rounded), "{name}");
    }
}

#[test]
fn an_adapter_that_is_not_there_is_named_before_a_step_is_taken() {
    let directory = prepared(&["a = ⟦quote(b)⟧\n"]);
    let refused = train(directory.path(), &["--steps", "2", "--adapter", "no-such-adapter"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("no-such-adapter"), "{said}");
}

#[test]
fn a_model_that_cannot_be_read_is_a_message() {
    let directory = prepared(&["a = ⟦quote(b)⟧\n"]);
    let model = directory.path().join("tiny.gguf");
    let mut bytes = fs::read(&model).unwrap();
    with_alignment_0(&mut bytes);
    fs::write(&model, bytes).unwrap();
    let output = train(directory.path(), &["--steps", "1"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("error: "), "{errors}");
}
