//! Whole runs on tiny random models: learning, continuing, and ending badly.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::{Device, Tensor};
use cosec_ls::kernel::losses::Divergence;
use cosec_ls::model::Transformer;
use cosec_ls::model::gguf::Gguf;
use cosec_ls::model::linear::Precision;
use cosec_ls::train::Error;
use cosec_ls::train::checkpoint;
use cosec_ls::train::examples::{Example, Kind, Role};
use cosec_ls::train::log::{Event, Log, ValidationReport};
use cosec_ls::train::optimizer::AdamW;
use cosec_ls::train::schedule::Schedule;
use cosec_ls::train::trainer::{Ended, Settings, Trainer};

use crate::support::tiny_gguf::TinyGguf;

fn model() -> Transformer {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/train");
    let gguf = Gguf::open(&fixtures.join("qwen2/model.gguf")).unwrap();
    Transformer::load_dense(&gguf, &Device::Cpu, Precision::F32).unwrap()
}

/// A model whose weights are quantized, in blocks that the kernels multiply with.
fn quantized_model() -> Transformer {
    let directory = tempfile::tempdir().unwrap();
    let path = TinyGguf::default().write(directory.path(), "tiny.gguf");
    let gguf = Gguf::open(&path).unwrap();
    Transformer::load_dense(&gguf, &Device::Cpu, Precision::Quantized).unwrap()
}

fn settings() -> Settings {
    Settings {
        seed: 7,
        rank: 8,
        alpha: 16.0,
        dropout: 0.1,
        accumulation: 2,
        schedule: Schedule { peak: 0.01, warmup: 2, total: 20 },
        optimizer: AdamW::default(),
        divergence: Divergence::SecurityFromBase,
        data: "pairs".to_owned(),
        threads: 2,
    }
}

/// Pairs whose prompts differ: the fix is three tokens that the random model does not expect.
fn pairs() -> Vec<Example> {
    let pair = |i: u32| {
        let prompt = (0..8).map(|j| (i * 13 + j * 7) % 96);
        let fix = (0..3).map(|j| (i * 29 + j * 31 + 5) % 96);
        let tokens: Vec<u32> = prompt.chain(fix).chain([(i * 3 + 1) % 96]).collect();
        let role = |place| match place {
            0..4 => Role::Unscored,
            8..11 => Role::Fix,
            _ => Role::Keep,
        };
        Example {
            roles: (0..tokens.len()).map(role).collect(),
            tokens,
            kind: Kind::LeftToRight,
            cwe: "cwe-089".to_owned(),
            source: format!("pair {i}"),
        }
    };
    (0..4).map(pair).collect()
}

fn numbers(trainer: &Trainer) -> Vec<u32> {
    let tensors = trainer.adapter().iter().flat_map(|(_, _, lora)| [&lora.down, &lora.up]);
    let bits = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    tensors.flat_map(bits).map(f32::to_bits).collect()
}

/// Trains until `steps` steps are done.
fn train(trainer: &mut Trainer, steps: usize) {
    let examples = pairs();
    while trainer.progress.steps < steps {
        let halt = AtomicBool::new(false);
        let ended = trainer.epoch(&examples, &halt, |report, _| {
            halt.store(report.step >= steps, Ordering::Relaxed);
            Ok(())
        });
        if ended.unwrap() == Ended::Schedule {
            break;
        }
    }
}

#[test]
fn a_handful_of_pairs_is_learnt_and_then_proposed() {
    learns(model(), 0.02);
}

#[test]
fn a_handful_of_pairs_is_learnt_through_quantized_weights() {
    // Wider than the other one, so that a step of the same length changes it more.
    learns(quantized_model(), 0.004);
}

fn learns(model: Transformer, peak: f64) {
    let schedule = Schedule { peak, warmup: 5, total: 400 };
    let settings = Settings { dropout: 0.0, accumulation: 4, schedule, ..settings() };
    let mut trainer = Trainer::new(model, settings).unwrap();
    let before = trainer.validate(&pairs()).unwrap().of_kind(Kind::LeftToRight);
    train(&mut trainer, 400);
    let after = trainer.validate(&pairs()).unwrap().of_kind(Kind::LeftToRight);
    assert!(before.mean_cross_entropy() > 3.0, "{before:?}");
    assert!(after.mean_cross_entropy() < 0.05, "{after:?}");
    let security = trainer.model().with_adapter(trainer.adapter().clone().into());
    for pair in pairs() {
        let hidden = security.hidden_states(&pair.tokens[..10], None).unwrap();
        let logits = security.head().forward(&hidden, None).unwrap();
        let proposed = logits.argmax(1).unwrap().to_vec1::<u32>().unwrap();
        assert_eq!(proposed[7..], pair.tokens[8..11], "{}", pair.source);
    }
}

#[test]
fn a_continued_run_is_the_uninterrupted_one_bit_for_bit() {
    continues(model);
}

#[test]
fn a_continued_run_through_quantized_weights_is_the_uninterrupted_one_bit_for_bit() {
    continues(quantized_model);
}

fn continues(model: impl Fn() -> Transformer) {
    let directory = tempfile::tempdir().unwrap();
    let mut whole = Trainer::new(model(), settings()).unwrap();
    train(&mut whole, 7);
    let mut first = Trainer::new(model(), settings()).unwrap();
    train(&mut first, 3);
    checkpoint::save(&first, directory.path()).unwrap();
    // The number of threads belongs to the machine, not to the run.
    let mut second = Trainer::new(model(), Settings { threads: 1, ..settings() }).unwrap();
    checkpoint::resume(&mut second, directory.path()).unwrap();
    assert_eq!(second.progress, first.progress);
    train(&mut second, 7);
    assert_eq!(numbers(&second), numbers(&whole));
    assert_ne!(numbers(&first), numbers(&whole));
}

#[test]
fn another_runs_checkpoint_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    checkpoint::save(&Trainer::new(model(), settings()).unwrap(), directory.path()).unwrap();
    let mut other = Trainer::new(model(), Settings { seed: 8, ..settings() }).unwrap();
    let error = checkpoint::resume(&mut other, directory.path()).unwrap_err();
    assert!(error.to_string().contains("seed: 7") && error.to_string().contains("seed: 8"));
}

#[test]
fn a_checkpoint_that_is_cut_off_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let mut trainer = Trainer::new(model(), settings()).unwrap();
    checkpoint::save(&trainer, directory.path()).unwrap();
    let path = directory.path().join(checkpoint::FILE);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 100]).unwrap();
    let error = checkpoint::resume(&mut trainer, directory.path()).unwrap_err();
    assert!(matches!(&error, Error::Checkpoint { path: named, .. } if *named == path), "{error}");
}

#[test]
fn a_checkpoint_that_cannot_be_written_leaves_the_old_one_and_no_rubbish() {
    let directory = tempfile::tempdir().unwrap();
    // A directory in the file's place is what the rename fails on, at any user id.
    std::fs::create_dir(directory.path().join(checkpoint::FILE)).unwrap();
    let trainer = Trainer::new(model(), settings()).unwrap();
    let error = checkpoint::save(&trainer, directory.path()).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn a_run_that_diverges_names_step_and_samples_and_keeps_its_state() {
    let schedule = Schedule { peak: 1e30, warmup: 0, total: 100 };
    let mut trainer = Trainer::new(model(), Settings { schedule, ..settings() }).unwrap();
    trainer.step(&pairs()[..2]).unwrap();
    let before = numbers(&trainer);
    let error = trainer.step(&pairs()[2..]).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("step 2") && text.contains("pair 2"), "{text}");
    assert_eq!(numbers(&trainer), before);
    assert_eq!(trainer.progress.steps, 1);
}

#[test]
fn a_stop_ends_the_epoch_after_the_running_step() {
    let mut trainer = Trainer::new(model(), settings()).unwrap();
    let stop = AtomicBool::new(false);
    let ended = trainer.epoch(&pairs(), &stop, |_, _| {
        stop.store(true, Ordering::Relaxed);
        Ok(())
    });
    assert_eq!(ended.unwrap(), Ended::Stopped);
    assert_eq!((trainer.progress.steps, trainer.progress.examples), (1, 2));
}

#[test]
fn a_continued_log_forgets_what_came_after_its_checkpoint() {
    let directory = tempfile::tempdir().unwrap();
    let mut trainer = Trainer::new(model(), settings()).unwrap();
    let mut log = Log::open(directory.path(), 0).unwrap();
    for _ in 0..3 {
        log.add(Event::Step(trainer.step(&pairs()[..2]).unwrap())).unwrap();
    }
    let validation = trainer.validate(&pairs()).unwrap();
    log.add(Event::Validation(ValidationReport::new(3, &validation, 0.0))).unwrap();
    log.draw().unwrap();
    assert!(std::fs::read_to_string(directory.path().join("loss.svg")).unwrap().contains("<svg"));
    assert_eq!(Log::open(directory.path(), 3).unwrap().events(), log.events());
    assert_eq!(Log::open(directory.path(), 2).unwrap().events(), &log.events()[..2]);
    assert_eq!(Log::open(directory.path(), 3).unwrap().events().len(), 2);
}
