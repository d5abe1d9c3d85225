//! Samples on disk: a second run goes on where the first one was, if its settings are the same.

use std::fs;
use std::path::Path;

use cosec_ls::eval::record::Records;
use serde_json::{Map, Value, json};

fn settings(alpha: f64) -> Map<String, Value> {
    Map::from_iter([("alpha".to_owned(), json!(alpha)), ("judge".to_owned(), json!("running"))])
}

fn open(path: &Path) -> Records<u32> {
    Records::open(path, &settings(0.3)).unwrap()
}

#[test]
fn a_second_run_has_the_samples_of_the_first() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("samples.jsonl");
    open(&path).add(1).unwrap();
    let mut second = open(&path);
    assert_eq!(second.samples(), [1]);
    second.add(2).unwrap();
    assert_eq!(Records::<u32>::read(&path).unwrap(), (settings(0.3), vec![1, 2]));
}

#[test]
fn a_line_that_was_cut_short_is_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("samples.jsonl");
    open(&path).add(17).unwrap();
    let whole = fs::read_to_string(&path).unwrap();
    fs::write(&path, whole.clone() + "18").unwrap();
    open(&path).add(19).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), whole + "19\n");
}

#[test]
fn other_settings_are_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("samples.jsonl");
    open(&path);
    let message = Records::<u32>::open(&path, &settings(0.5)).unwrap_err().to_string();
    assert!(message.ends_with("another `alpha`: 0.3 there, 0.5 here"), "{message}");
    let mut fewer = settings(0.3);
    fewer.remove("judge");
    let message = Records::<u32>::open(&path, &fewer).unwrap_err().to_string();
    assert!(message.ends_with("another `judge`: \"running\" there, none here"), "{message}");
}

#[test]
fn a_line_that_is_no_sample_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("samples.jsonl");
    open(&path).add(1).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text + "{}\n").unwrap();
    let message = Records::<u32>::open(&path, &settings(0.3)).unwrap_err().to_string();
    assert!(message.contains("line 3: no sample: "), "{message}");
}
