//! The evaluation, without models or with tiny ones: scenarios, the sandbox, the judges, samples on disk, thresholds, and
//! whole commands.

mod commands;
mod functional;
mod judges;
mod records;
mod sandbox;
mod scenarios;
mod threshold;

use std::fs;
use std::path::Path;

use cosec_ls::eval::sandbox::Sandbox;

use crate::support::skips::skipped;

/// The sandbox; none where there cannot be one, which is said.
pub fn sandbox() -> Option<Sandbox> {
    match Sandbox::new() {
        Ok(sandbox) => Some(sandbox),
        Err(error) => {
            skipped(error);
            None
        }
    }
}

/// Writes a scenario: what `info.json` says, and both contexts.
pub fn write_scenario(directory: &Path, info: &str, contexts: [&str; 2]) {
    let extension = if info.contains("\"c\"") { "c" } else { "py" };
    fs::create_dir_all(directory).unwrap();
    fs::write(directory.join("info.json"), info).unwrap();
    for (name, text) in ["file_context", "func_context"].into_iter().zip(contexts) {
        fs::write(directory.join(format!("{name}.{extension}")), text).unwrap();
    }
}
