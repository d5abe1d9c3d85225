//! The house rules that no compiler checks: layers, outside crates, sizes, and what must not be written where.
//!
//! Every rule is a function from a file to problems, and is run twice: over the whole source, where it must find none,
//! and over bad snippets, where it must find them, so that no rule can fall silent. `docs/ARCHITECTURE.md` and
//! `docs/STYLE.md` say why.

mod source;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use cosec_ls::registry::{Registry, RegistryOptions};
use sha2::{Digest, Sha256};

use source::Source;

/// Top-level modules by layer. A module may import those of a strictly smaller number; the leaves have negative ones.
const LAYERS: [(&str, i8); 14] = [
    ("config", -2),
    ("files", -2),
    ("text", -1),
    ("registry", -1),
    ("kernel", 0),
    ("model", 1),
    ("decode", 2),
    ("prompt", 2),
    ("engine", 3),
    ("complete", 4),
    ("lsp", 5),
    ("train", 5),
    ("eval", 5),
    ("cli", 6),
];

/// What `main.rs` may import besides outside crates.
const MAIN_IMPORTS: [&str; 1] = ["cli"];

/// A place that stands for all of `src/`.
const ANYWHERE: &str = "anywhere";

/// Where each dependency may be named: modules with all that is below them, or single files. The table in
/// `docs/ARCHITECTURE.md` has the same rows.
const OUTSIDE_CRATES: [(&str, &[&str]); 43] = [
    ("aho_corasick", &["text/private_key.rs"]),
    ("anyhow", &["cli"]),
    ("candle_core", &["model", "train"]),
    ("candle_nn", &["model", "train/loss.rs"]),
    ("clap", &["cli", "main.rs"]),
    ("dashmap", &["complete", "lsp"]),
    ("diffy", &["cli/setup"]),
    ("directories", &["registry", "cli/setup"]),
    ("fancy_regex", &["model/lora/peft/modules.rs"]),
    ("flate2", &["registry/pip.rs", "eval/functional.rs"]),
    ("futures", &["lsp"]),
    ("gemm", &[]),
    ("globset", &["complete/path_globs.rs"]),
    ("indicatif", &["cli"]),
    ("jsonc_parser", &["cli/setup"]),
    ("libc", &["kernel/bf16.rs", "kernel/memory.rs", "eval/sandbox.rs"]),
    ("linguist", &["text/language.rs"]),
    ("memmap2", &["model/gguf.rs"]),
    ("plotters", &["train/log.rs", "eval/figure.rs"]),
    ("pulp", &["kernel"]),
    ("rand_chacha", &["decode/rng.rs", "model/dropout.rs", "model/lora.rs", "eval/statistics.rs"]),
    (
        "rayon",
        &[
            "kernel",
            "engine/pair.rs",
            "engine/worker.rs",
            "model/cpu/weights.rs",
            "model/linear.rs",
            "model/transformer.rs",
            "train",
        ],
    ),
    ("ropey", &["text"]),
    ("rustix", &["lsp/parent.rs"]),
    ("rustls_native_certs", &["registry/http.rs"]),
    ("safetensors", &["train/checkpoint.rs"]),
    ("serde", &[ANYWHERE]),
    ("serde_json", &["registry", "model/lora/peft", "lsp", "train", "eval", "cli"]),
    ("sha2", &["registry", "model/lora/peft", "complete/ask.rs"]),
    ("signal_hook", &["cli"]),
    ("tempfile", &["registry", "files.rs", "eval", "cli/eval", "complete/links.rs"]),
    ("thiserror", &[ANYWHERE]),
    ("tokenizers", &["model/tokenizer"]),
    ("tokio", &["engine.rs", "engine/local.rs", "complete", "lsp", "cli"]),
    ("tokio_util", &["engine.rs", "complete", "lsp"]),
    ("toml", &["registry/manifest.rs"]),
    ("toml_edit", &["cli/setup/helix.rs"]),
    ("tower_lsp", &["lsp"]),
    ("tower_service", &["lsp/dispatch.rs"]),
    ("tracing", &[ANYWHERE]),
    ("tracing_subscriber", &["cli", "main.rs"]),
    ("ureq", &["registry/http.rs", "registry/hub.rs"]),
    ("zip", &["registry/pip.rs"]),
];

/// Layers that compute and nothing else, and the parts of the standard library that are not for them.
const PURE_LAYERS: [&str; 3] = ["text", "decode", "prompt"];
const IMPURE: [&str; 7] =
    ["std::env", "std::fs", "std::net", "std::process", "std::thread", "std::io", "std::os"];

/// The only homes of `unsafe`.
const UNSAFE_FILES: [&str; 13] = [
    "src/eval/sandbox.rs",
    "src/kernel/bf16.rs",
    "src/kernel/memory.rs",
    "src/kernel/fused.rs",
    "src/kernel/quant/avx2.rs",
    "src/kernel/quant/avx512.rs",
    "src/kernel/quant/neon.rs",
    "src/kernel/quant/prefetch.rs",
    "src/kernel/quant/product.rs",
    "src/kernel/quant/sse.rs",
    "src/kernel/threads.rs",
    "src/model/device.rs",
    "src/model/gguf.rs",
];

/// The only place that writes to the standard streams.
const OUTPUT_FILE: &str = "cli/output.rs";

/// The only homes of `cfg(feature = …)`.
const FEATURE_FILES: [&str; 1] = ["src/model/device.rs"];

/// Names that say nothing of what is inside.
const VAGUE_FILES: [&str; 6] =
    ["mod.rs", "utils.rs", "util.rs", "common.rs", "helpers.rs", "types.rs"];

/// Longest files and functions. They only ever shrink: whoever is over them finds the seam instead.
const MAX_SRC_LINES: usize = 600;
const MAX_TEST_LINES: usize = 850;
const MAX_SRC_FUNCTION_LINES: usize = 45;
const MAX_TEST_FUNCTION_LINES: usize = 55;

/// A rule: what is wrong with a file, as line and message.
type Rule = fn(&Source) -> Vec<(usize, String)>;

#[test]
fn modules_import_only_lower_layers() {
    keep(layers);
    for (file, code, lines) in [
        ("src/model/x.rs", "\nuse crate::decode::Role;", &[2][..]),
        ("src/prompt.rs", "use crate::{model::Error, decode::{self, Role}, engine};", &[1, 1, 1]),
        ("src/engine/x.rs", "fn f() {\n    crate::lsp::serve();\n}", &[2]),
        ("src/decode.rs", "use super::prompt::Prompt;", &[1]),
        ("src/decode/x.rs", "use super::super::prompt;\nuse super::Role;", &[1]),
        ("src/decode.rs", "mod tests { use super::*; use super::super::lsp; }", &[1]),
        ("src/text.rs", "use crate::registry;", &[1]),
        ("src/config.rs", "use crate::text::Document;", &[1]),
        ("src/cli/x.rs", "use crate::nowhere::A;", &[1]),
        ("src/model.rs", "use crate::*;", &[1]),
        ("src/main.rs", "use cosec_ls::cli::Cli;\nuse cosec_ls::lsp;", &[2]),
        ("src/nowhere.rs", "", &[1]),
        (
            "src/model/x.rs",
            "//! [`crate::lsp`]\n// crate::lsp\nuse crate::model::Y;\npub(crate) fn f() {}",
            &[],
        ),
    ] {
        catches(layers, file, code, lines);
    }
}

fn layers(source: &Source) -> Vec<(usize, String)> {
    if source.in_src().is_none() {
        return Vec::new();
    }
    let module = source.module();
    let own = module.first().copied();
    let paths = source.paths();
    let imports = paths.iter().filter_map(|path| {
        let target = top_module(&module, path)?;
        let is_lower = match (own, layer_of(target)) {
            _ if own == Some(target) => true,
            (None, _) => source.file != "src/main.rs" || MAIN_IMPORTS.contains(&target),
            (Some(own), Some(layer)) => layer_of(own).is_some_and(|own| layer < own),
            (Some(_), None) => false,
        };
        (!is_lower)
            .then(|| (path.line, format!("imports `{target}`, which is not on a lower layer")))
    });
    let unknown = own.filter(|own| layer_of(own).is_none());
    let unknown = unknown.map(|own| (1, format!("`{own}` has no layer in tests/tidy.rs")));
    imports.chain(unknown).collect()
}

fn layer_of(module: &str) -> Option<i8> {
    LAYERS.iter().find(|(name, _)| *name == module).map(|(_, layer)| *layer)
}

/// The top-level module of this crate that a path in `module` leads to; none for outside crates and for paths that stay
/// inside.
fn top_module<'p>(module: &[&str], path: &'p source::Path) -> Option<&'p str> {
    let segments = &path.segments;
    let n_supers = segments.iter().take_while(|segment| *segment == "super").count();
    let rest = match segments[0].as_str() {
        "crate" | "cosec_ls" => &segments[1..],
        "super" if n_supers == module.len() + path.nesting => &segments[n_supers..],
        _ => return None,
    };
    rest.first().map(String::as_str)
}

#[test]
fn outside_crates_are_named_only_where_they_belong() {
    keep(outside_crates);
    for (file, code, lines) in [
        ("src/decode/x.rs", "\n\nuse candle_core::Tensor;", &[3][..]),
        ("src/complete.rs", "async fn f() { tower_lsp::jsonrpc::Error; }", &[1]),
        ("src/engine/queue.rs", "#[tokio::test] async fn f() {}", &[1]),
        ("src/lsp/x.rs", "use {anyhow::Result, std::fmt};", &[1]),
        ("src/registry.rs", "use anyhow;", &[1]),
        ("src/model/x.rs", "use candle_core::{Device, Tensor};", &[]),
        ("src/decode/x.rs", "fn f() { a.iter().zip(b); let toml = 1; }", &[]),
    ] {
        catches(outside_crates, file, code, lines);
    }
}

fn outside_crates(source: &Source) -> Vec<(usize, String)> {
    let Some(file) = source.in_src() else { return Vec::new() };
    let misplaced = |path: &source::Path| {
        let name = path.segments[0].as_str();
        let (_, places) = OUTSIDE_CRATES.iter().find(|(allowed, _)| *allowed == name)?;
        let allowed = places.iter().any(|place| is_in(file, place));
        (!allowed).then(|| (path.line, format!("`{name}` is for {} only", places.join(", "))))
    };
    source.paths().iter().filter_map(misplaced).collect()
}

/// Whether a file of `src/` is `place`, or in the module of that name.
fn is_in(file: &str, place: &str) -> bool {
    let below = file.strip_prefix(place);
    place == ANYWHERE
        || below.is_some_and(|rest| rest.is_empty() || rest == ".rs" || rest.starts_with('/'))
}

#[test]
fn every_dependency_has_its_place_and_the_page_says_the_same() {
    let dependencies = dependencies(&read("Cargo.toml"));
    let listed: Vec<String> = OUTSIDE_CRATES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(dependencies, listed, "Cargo.toml and OUTSIDE_CRATES differ");
    let page = read("docs/ARCHITECTURE.md");
    for (name, places) in OUTSIDE_CRATES {
        let row = format!("| `{name}` | {} |", places.join(", "));
        assert!(page.contains(&row), "docs/ARCHITECTURE.md has no row: {row}");
    }
}

#[test]
fn dependencies_are_read_from_their_own_section() {
    let manifest = "[package]\nname = \"a\"\n[dependencies]\nb-c = \"1\"\nd = { version = \"1\" }\n\n[dev-dependencies]\ne = \"1\"\n\n[target.'cfg(unix)'.dependencies]\nc = \"1\"";
    assert_eq!(dependencies(manifest), ["b_c", "c", "d"]);
}

/// Names in `[dependencies]`, and in those of a target, as Rust spells them, in the alphabet's order.
fn dependencies(manifest: &str) -> Vec<String> {
    let (mut names, mut is_inside) = (Vec::new(), false);
    for line in manifest.lines() {
        if line.starts_with('[') {
            is_inside = line == "[dependencies]"
                || line.starts_with("[target.") && line.ends_with(".dependencies]");
        } else if let Some((name, _)) = line.split_once(" = ").filter(|_| is_inside) {
            names.push(name.replace('-', "_"));
        }
    }
    names.sort();
    names
}

#[test]
fn the_code_map_names_every_file_and_no_other() {
    let files: Vec<&str> = SOURCES.iter().filter_map(Source::in_src).collect();
    assert_eq!(differences(&read("docs/ARCHITECTURE.md"), &files), [""; 0]);
    let page = "## Code map\n| `a.rs`, `b/c.rs` | `Word`. |\n| **`d.rs`** | `e.rs` is not here. |\n## Layers\n| `f.rs` | x |";
    assert_eq!(differences(page, &["a.rs", "b/c.rs", "d.rs"]), [""; 0]);
    assert_eq!(differences(page, &["a.rs", "b/c.rs", "e.rs"]), ["d.rs", "e.rs"]);
}

/// Files that are in only one of the page's code map and `files`.
fn differences(page: &str, files: &[&str]) -> Vec<String> {
    let map = page.split("\n## ").find(|part| part.contains("Code map\n")).unwrap_or("");
    let rows = map.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | "));
    let named: Vec<&str> = rows
        .flat_map(|(names, _)| names.split(", "))
        .filter_map(|name| name.trim_matches('*').strip_prefix('`')?.strip_suffix('`'))
        .collect();
    let gone = named.iter().filter(|name| !files.contains(name));
    gone.chain(files.iter().filter(|file| !named.contains(file))).map(ToString::to_string).collect()
}

#[test]
fn pure_layers_only_compute() {
    keep(purity);
    catches(purity, "src/decode/x.rs", "use std::time::Instant;\nuse std::{fmt, thread};", &[2]);
    catches(purity, "src/prompt.rs", "fn f() { std::fs::read(\"a\"); }", &[1]);
    catches(purity, "src/engine/x.rs", "use std::thread;", &[]);
}

fn purity(source: &Source) -> Vec<(usize, String)> {
    let module = source.module();
    if !module.first().is_some_and(|own| PURE_LAYERS.contains(own)) {
        return Vec::new();
    }
    let impure = |path: &source::Path| {
        let name = path.segments.get(..2)?.join("::");
        IMPURE
            .contains(&name.as_str())
            .then(|| (path.line, format!("`{name}` in a layer that only computes")))
    };
    source.paths().iter().filter_map(impure).collect()
}

#[test]
fn every_file_says_first_what_it_is() {
    keep(first_line);
    catches(first_line, "src/x.rs", "use std::fmt;", &[1]);
    catches(first_line, "tests/x.rs", "// A comment.\n//! Too late.", &[1]);
    catches(first_line, "src/x.rs", "//!\n//! An empty first line.", &[1]);
    catches(first_line, "src/x.rs", "//! What it is.", &[]);
}

fn first_line(source: &Source) -> Vec<(usize, String)> {
    let says = source.text.lines().next().and_then(|line| line.strip_prefix("//! "));
    match says.is_some_and(|text| !text.trim().is_empty()) {
        true => Vec::new(),
        false => vec![(1, "the first line must be `//!` and what the file is".to_owned())],
    }
}

#[test]
fn files_have_names_that_mean_something() {
    keep(file_name);
    catches(file_name, "src/model/mod.rs", "", &[1]);
    catches(file_name, "tests/common.rs", "", &[1]);
    catches(file_name, "src/model/device.rs", "", &[]);
}

fn file_name(source: &Source) -> Vec<(usize, String)> {
    let name = source.file.rsplit('/').next().unwrap_or("");
    match VAGUE_FILES.contains(&name) {
        true => vec![(1, format!("`{name}` says nothing of what is inside"))],
        false => Vec::new(),
    }
}

#[test]
fn unsafe_has_few_homes() {
    keep(no_unsafe);
    catches(no_unsafe, "src/model/x.rs", "fn f() {\n unsafe { g() }\n}", &[2]);
    catches(no_unsafe, "tests/x.rs", "unsafe impl Send for X {}", &[1]);
    catches(no_unsafe, "src/model/gguf.rs", "unsafe { g() }", &[]);
    catches(no_unsafe, "src/x.rs", "#![deny(unsafe_code)] // unsafe", &[]);
}

fn no_unsafe(source: &Source) -> Vec<(usize, String)> {
    if UNSAFE_FILES.contains(&source.file.as_str()) {
        return Vec::new();
    }
    let found = source.tokens().iter().filter(|token| token.text == "unsafe");
    found.map(|token| (token.line, "`unsafe` outside its homes".to_owned())).collect()
}

#[test]
fn notifications_of_the_editor_never_wait() {
    keep(no_await_in_notifications);
    let server = Source::new("src/lsp/server.rs", &read("src/lsp/server.rs"));
    for name in ["did_open", "did_change", "did_close"] {
        assert!(server.functions().iter().any(|f| f.name == name), "no {name} in {}", server.file);
    }
    let code = "impl A for B {\n async fn did_open(&self) {\n self.x(|| 1)\n .await;\n }\n async fn open(&self) { x.await }\n}";
    catches(no_await_in_notifications, "src/lsp/server.rs", code, &[4]);
    catches(no_await_in_notifications, "src/lsp/x.rs", "async fn did_x() { y() }", &[]);
}

fn no_await_in_notifications(source: &Source) -> Vec<(usize, String)> {
    let functions = source.functions();
    let handlers = functions
        .iter()
        .filter(|f| source.file.starts_with("src/lsp") && f.name.starts_with("did_"));
    let awaits = handlers.flat_map(|f| {
        f.body.iter().filter(|token| token.text == "await").map(move |token| (f, token))
    });
    awaits
        .map(|(f, token)| {
            (token.line, format!("`{}` awaits, so a later message may overtake it", f.name))
        })
        .collect()
}

#[test]
fn no_test_is_ignored_and_no_lint_allowed() {
    keep(attributes);
    catches(attributes, "tests/x.rs", "#[test]\n#[ignore = \"slow\"]\nfn f() {}", &[2]);
    catches(attributes, "tests/x.rs", "#[cfg_attr(windows, ignore)]\nfn f() {}", &[1]);
    catches(attributes, "src/x.rs", "#![allow(dead_code)]", &[1]);
    catches(attributes, "src/x.rs", "#[expect(dead_code)]", &[1]);
    catches(attributes, "src/x.rs", "#[expect(dead_code, reason = \"used on Windows\")]", &[]);
    catches(attributes, "src/x.rs", "#[error(\"ignore, allow (this)\")]\nfn allow() {}", &[]);
}

fn attributes(source: &Source) -> Vec<(usize, String)> {
    let problem = |attribute: &[source::Token]| {
        let has = |word: &str| attribute.iter().any(|token| token.text == word);
        let message = match () {
            () if has("ignore") => "a test that cannot run says so and returns; it is not ignored",
            () if has("allow") => "use `expect` with a reason instead of `allow`",
            () if has("expect") && !has("reason") => "`expect` needs a reason",
            () => return None,
        };
        Some((attribute[0].line, message.to_owned()))
    };
    source.attributes().into_iter().filter_map(problem).collect()
}

#[test]
fn features_only_choose_a_device() {
    keep(no_feature);
    catches(no_feature, "src/engine/x.rs", "#[cfg(feature = \"cuda\")]\nfn f() {}", &[1]);
    catches(no_feature, "src/engine/x.rs", "fn f() { if cfg!(feature = \"cuda\") {} }", &[1]);
    catches(
        no_feature,
        "src/engine/x.rs",
        "#[cfg(target_feature = \"avx2\")]\nfn f(feature: u8) {}",
        &[],
    );
}

fn no_feature(source: &Source) -> Vec<(usize, String)> {
    if FEATURE_FILES.contains(&source.file.as_str()) {
        return Vec::new();
    }
    let pairs = source.tokens().windows(2);
    let found = pairs.filter(|pair| pair[0].text == "feature" && pair[1].text == "=");
    found.map(|pair| (pair[0].line, "`cfg(feature)` outside its homes".to_owned())).collect()
}

#[test]
fn standard_output_belongs_to_the_protocol() {
    keep(no_print);
    catches(no_print, "src/engine/x.rs", "fn f() {\n println!(\"a\");\n}", &[2]);
    catches(no_print, "src/lsp/x.rs", "fn f() { dbg!(1); let out = std::io::stdout(); }", &[1, 1]);
    catches(no_print, "src/cli/x.rs", "fn f() {\n println!(\"a\");\n eprintln!(\"b\"); }", &[2, 3]);
    catches(no_print, "src/main.rs", "fn f() { eprint!(\"a\"); std::io::stderr(); }", &[1, 1]);
    catches(no_print, "src/cli/output.rs", "fn f() { std::io::stdout(); std::io::stderr(); }", &[]);
    catches(
        no_print,
        "src/cli/output.rs",
        "fn f() { println!(\"panics if nobody reads\"); }",
        &[1],
    );
    catches(no_print, "src/lsp/x.rs", "fn print() { x.print(); command.stdout(y); }", &[]);
}

fn no_print(source: &Source) -> Vec<(usize, String)> {
    let Some(file) = source.in_src() else { return Vec::new() };
    let triples = source.tokens().windows(3);
    let prints = |triple: &&[source::Token]| match triple[1].text.as_str() {
        "println" | "print" | "eprintln" | "eprint" | "dbg" => triple[2].text == "!",
        // A method of that name is a child process's.
        "stdout" | "stderr" => {
            file != OUTPUT_FILE && triple[0].text != "." && triple[2].text == "("
        }
        _ => false,
    };
    let found = triples.filter(prints).map(|triple| &triple[1]);
    found.map(|token| (token.line, format!("`{}` instead of `cli::output`", token.text))).collect()
}

#[test]
fn files_and_functions_stay_small() {
    keep(sizes);
    let lines = |n: usize| "//! x\n".repeat(n);
    let function = |n: usize| format!("fn f() {{{}}}", "\n".repeat(n - 1));
    catches(sizes, "src/x.rs", &lines(MAX_SRC_LINES), &[]);
    catches(sizes, "src/x.rs", &lines(MAX_SRC_LINES + 1), &[MAX_SRC_LINES + 1]);
    catches(sizes, "tests/x.rs", &lines(MAX_TEST_LINES + 1), &[MAX_TEST_LINES + 1]);
    catches(sizes, "src/x.rs", &function(MAX_SRC_FUNCTION_LINES), &[]);
    catches(sizes, "src/x.rs", &function(MAX_SRC_FUNCTION_LINES + 1), &[1]);
    catches(sizes, "tests/x.rs", &function(MAX_TEST_FUNCTION_LINES + 1), &[1]);
}

fn sizes(source: &Source) -> Vec<(usize, String)> {
    let (most, most_of_function) = match source.in_src() {
        Some(_) => (MAX_SRC_LINES, MAX_SRC_FUNCTION_LINES),
        None => (MAX_TEST_LINES, MAX_TEST_FUNCTION_LINES),
    };
    let n_lines = source.text.lines().count();
    let file = (n_lines > most)
        .then(|| (n_lines, format!("the file has {n_lines} lines, more than {most}")));
    let functions = source.functions();
    let long = functions.iter().filter(|f| f.n_lines > most_of_function);
    let long = long.map(|f| {
        (f.line, format!("`{}` has {} lines, more than {most_of_function}", f.name, f.n_lines))
    });
    file.into_iter().chain(long).collect()
}

#[test]
fn models_toml_parses_and_pins_every_file() {
    let directory = tempfile::tempdir().unwrap();
    let no_additions = directory.path().join("models.toml");
    fs::write(&no_additions, "").unwrap();
    let options = RegistryOptions {
        user_manifest: Some(no_additions),
        store: Some(directory.path().join("store")),
        ..RegistryOptions::default()
    };
    let registry = Registry::open(options).unwrap();
    assert!(registry.profiles().any(|profile| profile.name == "default"));
    assert_eq!(unpinned(&read("models.toml")), [""; 0]);
}

#[test]
fn a_model_without_a_sha256_is_found() {
    let sha256 = format!("sha256 = \"{}\"", "0f".repeat(32));
    let manifest = format!(
        "[models.a]\n{sha256}\n[adapters.b]\n# {sha256}\n[profiles.c]\n[models.\"d\"]\nsha256 = \"12\"\n[models.e]\n{}",
        sha256.replace("0f", "0F")
    );
    assert_eq!(unpinned(&manifest), ["[adapters.b]", "[models.\"d\"]", "[models.e]"]);
}

/// Headers of models and adapters that have no `sha256` of 64 lower-case hexadecimal digits.
fn unpinned(manifest: &str) -> Vec<&str> {
    let is_digit = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    let is_pin = |line: &str| {
        let value = line.strip_prefix("sha256 = \"").and_then(|rest| rest.strip_suffix('"'));
        value.is_some_and(|value| value.len() == 64 && value.chars().all(is_digit))
    };
    let mut unpinned = Vec::new();
    for line in manifest.lines().map(str::trim_end) {
        if line.starts_with("[models.") || line.starts_with("[adapters.") {
            unpinned.push(line);
        } else if is_pin(line) {
            unpinned.pop();
        }
    }
    unpinned
}

#[test]
fn the_protocol_page_follows_the_protocol_types() {
    let (types, page) = (read("src/lsp/ext.rs"), read("docs/PROTOCOL.md"));
    let line = hash_line(&types);
    assert!(page.contains(&line), "look over docs/PROTOCOL.md, then write there: {line}");
    assert!(
        !page.contains(&hash_line(&(types + "\n"))),
        "any change of the types changes the line"
    );
}

/// The line that must stand in `docs/PROTOCOL.md` for these types.
fn hash_line(types: &str) -> String {
    let digest = Sha256::digest(types);
    let hash: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("`src/lsp/ext.rs` hash: {hash}")
}

/// Every file of `src/` and `tests/`, read once for all rules.
static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(sources);

/// Runs a rule over every file.
fn keep(rule: Rule) {
    assert!(SOURCES.len() > 50, "only {} files found", SOURCES.len());
    let problems: Vec<String> = SOURCES
        .iter()
        .flat_map(|source| {
            rule(source).into_iter().map(|(line, what)| format!("{}:{line}: {what}", source.file))
        })
        .collect();
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

/// Runs a rule over a snippet; it must find problems on exactly these lines.
#[track_caller]
fn catches(rule: Rule, file: &str, code: &str, lines: &[usize]) {
    let problems = rule(&Source::new(file, code));
    let found: Vec<usize> = problems.iter().map(|(line, _)| *line).collect();
    assert_eq!(found, lines, "{file}: {code:?}: {problems:?}");
}

fn sources() -> Vec<Source> {
    let mut files = Vec::new();
    for folder in ["src", "tests"] {
        collect(&root().join(folder), &mut files);
    }
    files.sort();
    let name = |file: &Path| {
        let path = file.strip_prefix(root()).expect("found below the root");
        path.to_str().expect("our files have plain names").replace('\\', "/")
    };
    files.iter().map(|file| name(file)).map(|name| Source::new(&name, &read(&name))).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file of the repository, with `\n` line ends.
fn read(name: &str) -> String {
    let text = fs::read_to_string(root().join(name));
    text.unwrap_or_else(|error| panic!("cannot read {name}: {error}")).replace("\r\n", "\n")
}
