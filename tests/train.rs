//! Training: from files to samples and from samples to tokens.

mod command;
mod dataset;
mod examples;
mod reference;
mod run;

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

/// A line of a data set; what the fix added stands between `⟦` and `⟧` in `marked`.
pub fn line(marked: &str) -> Value {
    let mut added = Vec::new();
    let mut text = String::new();
    for (idx, piece) in marked.split(['⟦', '⟧']).enumerate() {
        let start = text.chars().count();
        text.push_str(piece);
        if idx % 2 == 1 {
            let end = text.chars().count();
            added.push(json!({"char_start": start, "char_end": end, "chars": piece}));
        }
    }
    json!({
        "func_name": "f",
        "func_src_before": "",
        "func_src_after": text,
        "line_changes": {"deleted": [], "added": []},
        "char_changes": {"deleted": [], "added": added},
        "vul_type": "cwe-089",
        "file_name": "app/views.py",
    })
}

/// Writes one file of a data set.
pub fn write(directory: &Path, name: &str, lines: &[String]) {
    let path = directory.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, lines.join("\n")).unwrap();
}
