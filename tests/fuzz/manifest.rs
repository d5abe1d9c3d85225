//! Users' `models.toml`: whole entries with fields that are missing, twice there, or of another kind.

use std::fs;

use cosec_ls::registry::{Offline, Registry, RegistryOptions};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use crate::harness::fuzz;

/// The lines of a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Input(Vec<String>);

const TABLES: [&str; 14] = [
    "[models.a]",
    "[models.b]",
    "[models.\"é/../x\"]",
    "[models.\"\"]",
    "[models]",
    "[[models.a]]",
    "[adapters.c]",
    "[adapters.\"c\\u0000\"]",
    "[profiles.d]",
    "[profiles.default]",
    "[profiles.d.decoding]",
    "[profiles.d.decoding.base]",
    "[nothing]",
    "[models.a",
];

const FIELDS: [&str; 22] = [
    "family",
    "context",
    "stop_tokens",
    "size_bytes",
    "sha256",
    "licence",
    "sources",
    "fim",
    "fim.order",
    "trained_on",
    "strength",
    "rank",
    "base",
    "security",
    "adapter",
    "alpha",
    "mode",
    "ratio",
    "temperature",
    "top_p",
    "min_prob",
    "\"\\u0001\"",
];

const VALUES: [&str; 30] = [
    "\"qwen2\"",
    "\"llama\"",
    "512",
    "0",
    "-1",
    "9223372036854775807",
    "9223372036854775808",
    "nan",
    "-inf",
    "1e999",
    "true",
    "\"a\"",
    "\"b\"",
    "\"c\"",
    "\"\"",
    "[]",
    "[\"\"]",
    "[\"<|end|>\"]",
    "{}",
    "{ order = \"prefix-suffix-middle\", prefix = \"<|p|>\", suffix = \"<|s|>\", middle = \"<|m|>\" }",
    "[{ path = \"x.gguf\" }]",
    "[{ path = \"../../etc/passwd\" }]",
    "[{ path = \"\" }]",
    "[{ hub = \"a/b\", file = \"c\" }]",
    "[{ pip = \"x==1\", file = \"y\" }]",
    "\"0000000000000000000000000000000000000000000000000000000000000000\"",
    "\"000000000000000000000000000000000000000000000000000000000000000g\"",
    "\"éééééééééééééééééééééééééééééééé\"",
    "2026-11-27",
    "\"\"\"\n",
];

fn inputs() -> impl Strategy<Value = Input> {
    let field = (prop::sample::select(&FIELDS[..]), prop::sample::select(&VALUES[..]))
        .prop_map(|(field, value)| format!("{field} = {value}"));
    let line = prop_oneof![
        3 => prop::sample::select(&TABLES[..]).prop_map(str::to_owned),
        6 => field,
        2 => prop::sample::select(&WHOLE[..]).prop_map(str::to_owned),
        1 => "\\PC{0,20}",
    ];
    let with_one_changed = (0..WHOLE.len(), 0..20_usize, prop::sample::select(&VALUES[..]))
        .prop_map(|(entry, line, value)| changed(WHOLE[entry], line, value));
    prop_oneof![
        prop::collection::vec(line, 0..14).prop_map(Input),
        prop::collection::vec(with_one_changed, 1..4).prop_map(Input),
    ]
}

/// `entry` with another value in one of its lines.
fn changed(entry: &str, line_idx: usize, value: &str) -> String {
    let mut lines: Vec<String> = entry.lines().map(str::to_owned).collect();
    let line_idx = line_idx % lines.len();
    if let Some((field, _)) = lines[line_idx].split_once(" = ") {
        lines[line_idx] = format!("{field} = {value}");
    }
    lines.join("\n")
}

const WHOLE: [&str; 3] = [
    "[models.a]\nfamily = \"qwen2\"\ncontext = 512\nstop_tokens = [\"<|end|>\"]\nsize_bytes = 1\nsha256 = \"0000000000000000000000000000000000000000000000000000000000000000\"\nlicence = \"MIT\"\nsources = [{ path = \"a.gguf\" }]",
    "[profiles.d]\nbase = \"a\"\nsecurity = \"a\"",
    "[profiles.e]\nbase = \"qwen2.5-coder-1.5b-instruct-q4_k_m\"\nsecurity = \"qwen2.5-coder-0.5b-instruct-q4_k_m\"\nalpha = 0.3\nmode = \"cosec\"",
];

#[test]
fn a_broken_models_toml_is_an_error_that_names_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("broken.toml");
    fuzz("manifest", inputs(), |Input(lines)| {
        fs::write(&file, lines.join("\n")).unwrap();
        let options = RegistryOptions {
            user_manifest: Some(file.clone()),
            store: Some(directory.path().join("store")),
            offline: Offline::Yes,
            ..RegistryOptions::default()
        };
        match Registry::open(options) {
            Ok(registry) => {
                registry.list();
                for profile in registry.profiles() {
                    registry.files(&profile.name).unwrap();
                    registry.path_if_present(&profile.base);
                }
            }
            Err(error) => assert!(error.to_string().contains("broken.toml"), "{error}"),
        }
    });
}
