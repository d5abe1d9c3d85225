//! Tests that cannot run on this machine: said, and counted by whoever asks.

use std::env::var_os;
use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::Write;
use std::thread;

/// Says on standard error that the test that calls it is skipped, and why. Where `COSEC_SKIPPED` names a file, which the
/// gate does, a line is added to it, so that no skipped test goes unseen among the green ones.
pub fn skipped(reason: impl Display) {
    eprintln!("skipped: {reason}");
    let Some(file) = var_os("COSEC_SKIPPED") else { return };
    let test = thread::current().name().unwrap_or("a test").to_owned();
    let mut file = OpenOptions::new().create(true).append(true).open(file).unwrap();
    // One write, for tests run side by side.
    file.write_all(format!("{test}: {reason}\n").as_bytes()).unwrap();
}
