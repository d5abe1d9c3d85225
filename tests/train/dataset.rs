//! Whole data sets on a disk: which files are read, and what bad ones do.

use std::path::Path;

use cosec_ls::train::dataset::{Dataset, OnMalformed};

use super::{line, write};

fn good(marked: &str) -> String {
    line(marked).to_string()
}

/// A data set of these training lines and one good validation line.
fn with_lines(lines: &[String]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "train/cwe-089.jsonl", lines);
    write(directory.path(), "val/cwe-089.jsonl", &[good("a = ⟦b⟧")]);
    directory
}

fn error(directory: &Path, on_malformed: OnMalformed) -> String {
    Dataset::read(directory, on_malformed).unwrap_err().to_string()
}

#[test]
fn files_are_read_by_name_and_others_are_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "train/b.jsonl", &[good("⟦b1⟧"), String::new(), good("⟦b2⟧\n")]);
    write(directory.path(), "train/a.jsonl", &[good("⟦a1⟧")]);
    write(directory.path(), "train/LICENSE.txt", &["no sample".to_owned()]);
    write(directory.path(), "val/a.jsonl", &[good("⟦v⟧")]);
    let dataset = Dataset::read(directory.path(), OnMalformed::Stop).unwrap();
    let sources: Vec<&str> = dataset.train.samples.iter().map(|s| s.source.as_str()).collect();
    assert_eq!(sources, ["train/a.jsonl:1", "train/b.jsonl:1", "train/b.jsonl:3"]);
    assert_eq!(dataset.validation.samples[0].source, "val/a.jsonl:1");
}

#[test]
fn windows_line_ends_between_samples_are_no_trouble() {
    let directory = with_lines(&[format!("{}\r", good("⟦a⟧")), format!("{}\r", good("⟦b⟧"))]);
    let dataset = Dataset::read(directory.path(), OnMalformed::Stop).unwrap();
    assert_eq!(dataset.train.samples.len(), 2);
}

#[test]
fn a_malformed_line_stops_or_is_skipped_as_asked() {
    let mut beyond = line("abc⟦d⟧");
    beyond["char_changes"]["added"][0]["char_end"] = 9.into();
    let directory = with_lines(&[good("⟦a⟧"), "{".to_owned(), beyond.to_string(), good("b⟦c⟧")]);
    let stopped = error(directory.path(), OnMalformed::Stop);
    assert!(stopped.contains("cwe-089.jsonl:2: not JSON: "), "{stopped}");
    let dataset = Dataset::read(directory.path(), OnMalformed::Skip).unwrap();
    let problems: Vec<String> = dataset.train.malformed.iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), 2);
    assert!(problems[1].ends_with(
        "cwe-089.jsonl:3: `char_changes.added[0].char_end` is 9, beyond `func_src_after`, which has 4 characters"
    ), "{}", problems[1]);
    assert_eq!(
        dataset.train.to_string(),
        "2 samples; left out: 0 to which the fix added nothing, 2 malformed"
    );
}

#[test]
fn a_fix_that_adds_nothing_is_left_out_and_counted() {
    let directory = with_lines(&[good("abc"), good("a⟦b⟧c")]);
    let train = Dataset::read(directory.path(), OnMalformed::Stop).unwrap().train;
    assert_eq!((train.samples.len(), train.n_unchanged), (1, 1));
}

#[test]
fn a_folder_without_training_files_is_told_what_belongs_there() {
    let directory = tempfile::tempdir().unwrap();
    for folder in [directory.path().to_owned(), directory.path().join("nowhere")] {
        let error = error(&folder, OnMalformed::Skip);
        assert!(error.contains(&folder.display().to_string()), "{error}");
        assert!(error.contains("train/*.jsonl"), "{error}");
    }
}

#[test]
fn an_empty_part_is_an_error_that_says_why() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "train/a.jsonl", &[good("⟦a⟧")]);
    let missing = error(directory.path(), OnMalformed::Skip);
    assert!(missing.starts_with("the validation set in ") && missing.contains("is empty"));
    write(directory.path(), "val/a.jsonl", &[good("a"), "[]".to_owned()]);
    let unusable = error(directory.path(), OnMalformed::Skip);
    assert!(unusable.contains("1 to which the fix added nothing, 1 malformed"), "{unusable}");
    write(directory.path(), "train/a.jsonl", &[]);
    let train = error(directory.path(), OnMalformed::Skip);
    assert!(train.starts_with("the training set in "), "{train}");
}

#[cfg(unix)]
#[test]
fn a_file_that_cannot_be_read_is_named() {
    let directory = with_lines(&[good("⟦a⟧")]);
    std::fs::create_dir(directory.path().join("train/x.jsonl")).unwrap();
    let error = error(directory.path(), OnMalformed::Skip);
    assert!(error.starts_with("cannot read ") && error.contains("x.jsonl"), "{error}");
}
