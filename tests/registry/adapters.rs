//! Adapters of `models.toml`: entries, directories and checksums.

use std::fs;
use std::path::PathBuf;

use cosec_ls::registry::{AdapterPlace, Error, Presence};

use super::{Machine, PIP, sha256, toy};

const NUMBERS: &[u8] = b"the numbers of an adapter";

/// `PIN` stands for the sha256 of [`NUMBERS`], `SHA` for that of the model `toy`.
const ADAPTER: &str = r#"
[adapters.safe]
trained_on = "toy"
model_sha256 = "SHA"
sha256 = "PIN"
size_bytes = 25
licence = "MIT"
sources = [{ path = "safe" }]
"#;

const PROFILE: &str = r#"
[profiles.x]
base = "toy"
security = "toy"
adapter = "safe"
"#;

/// A machine with these entries, and the adapter's directory beside `models.toml`.
fn machine(entries: &str) -> Machine {
    let machine = Machine::new(&entries.replace("PIN", &sha256(NUMBERS)));
    fs::create_dir(machine.path("safe")).unwrap();
    fs::write(machine.path("safe/adapter_config.json"), "{}").unwrap();
    fs::write(machine.path("safe/adapter_model.safetensors"), NUMBERS).unwrap();
    machine
}

fn entries() -> String {
    [&toy(&[PIP]), ADAPTER, PROFILE].concat()
}

#[track_caller]
fn check_mistake(entries: &str, line: usize, parts: &[&str]) {
    let machine = machine(entries);
    let error = cosec_ls::registry::Registry::open(machine.options()).unwrap_err().to_string();
    let place = format!("{}:{line}: ", machine.path("models.toml").display());
    assert!(error.starts_with(&place), "{error}");
    for part in parts {
        assert!(error.contains(part), "no `{part}` in: {error}");
    }
}

#[test]
fn a_directory_beside_models_toml_is_used_where_it_is() {
    let machine = machine(&entries());
    let registry = machine.open();
    let files = registry.adapter_files("safe").unwrap();
    assert_eq!(files.place, AdapterPlace::Directory(machine.path("safe")));
    assert_eq!((&*files.config, &*files.tensors), (&b"{}"[..], NUMBERS));
    let trained_on = files.trained_on.unwrap();
    assert_eq!(trained_on.model, "toy");
    assert_eq!(registry.profile("x").unwrap().models(), ["toy"]);
    assert_eq!(registry.profile("x").unwrap().files(), ["toy", "safe"]);
    let listed = registry.list().pop().unwrap();
    assert_eq!(listed.presence, Presence::Ready(machine.path("safe")));
    assert_eq!((listed.name.as_str(), listed.profiles), ("safe", vec!["x".to_owned()]));
}

#[test]
fn other_numbers_than_the_pinned_ones_are_refused() {
    let machine = machine(&entries());
    fs::write(machine.path("safe/adapter_model.safetensors"), "others").unwrap();
    let registry = machine.open();
    let error = registry.adapter_files("safe").unwrap_err().to_string();
    let (got, pinned) = (sha256(b"others"), sha256(NUMBERS));
    let expected = format!(
        "{}: adapter_model.safetensors has sha256 {got}, but models.toml pins {pinned}",
        machine.path("safe").display()
    );
    assert!(error.ends_with(&expected), "{error}");
    assert_eq!(registry.list().pop().unwrap().presence, Presence::Unverified(machine.path("safe")));
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let machine = machine(&entries().replace("path = \"safe\"", "path = \"gone\""));
    let registry = machine.open();
    let error = registry.adapter_files("safe").unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }));
    let missing = machine.path("gone").join("adapter_config.json").display().to_string();
    assert!(error.to_string().contains(&missing), "{error}");
    assert_eq!(registry.list().pop().unwrap().presence, Presence::Absent);
}

#[test]
fn a_directory_need_not_be_in_models_toml() {
    let machine = machine(&toy(&[PIP]));
    let registry = machine.open();
    let directory = machine.path("safe").display().to_string();
    let files = registry.adapter_files(&directory).unwrap();
    assert_eq!(files.name, directory);
    assert_eq!(files.trained_on, None);
    assert_eq!(&*files.tensors, NUMBERS);
    let error = registry.adapter_files("nowhere").unwrap_err().to_string();
    assert_eq!(
        error,
        "`nowhere` is no directory and no adapter of models.toml; known: qwen2.5-coder-0.5b-sven"
    );
    fs::remove_file(PathBuf::from(&directory).join("adapter_config.json")).unwrap();
    let error = registry.adapter_files(&directory).unwrap_err().to_string();
    assert!(error.contains("adapter_config.json: "), "{error}");
}

#[test]
fn an_adapter_must_fit_the_security_model() {
    let zeros = "0".repeat(64);
    let mistaken =
        entries().replace("model_sha256 = \"SHA\"", &format!("model_sha256 = \"{zeros}\""));
    check_mistake(
        &mistaken,
        22,
        &[
            "`adapter` of profile `x` is `safe`",
            &format!("was trained on `toy` with sha256 {zeros}"),
            &format!("but the security model `toy` has sha256 {}", sha256(&super::weights())),
        ],
    );
    let swapped = entries().replace("model_sha256 = \"SHA\"", "model_sha256 = \"PIN\"");
    check_mistake(&swapped, 22, &[&format!("with sha256 {}", sha256(NUMBERS))]);
}

#[test]
fn mistakes_are_reported_with_line_and_field() {
    let entries = entries();
    check_mistake(
        &entries.replace("\"safe\"\n", "\"sage\"\n"),
        22,
        &["`sage`, which is no adapter", "safe"],
    );
    check_mistake(
        &entries.replace("trained_on = \"toy\"", "trained_on = \"tony\""),
        12,
        &["`trained_on` of adapter `safe` is `tony`, which is no model", "toy"],
    );
    check_mistake(&entries.replace("trained_on =", "trained ="), 12, &["unknown field `trained`"]);
    check_mistake(
        &entries.replace("\"PIN\"", "\"12\""),
        14,
        &["64 hexadecimal digits", "sha256 = \"12\""],
    );
    check_mistake(&entries.replace("sha256 = \"PIN\"\n", ""), 11, &["missing field `sha256`"]);
    for strength in ["-1", "nan", "inf", "101"] {
        let entry = format!("strength = {strength}\nsha256 = \"PIN\"");
        check_mistake(
            &entries.replace("sha256 = \"PIN\"", &entry),
            14,
            &["`strength`: found ", "expected a number from 0 to 100"],
        );
    }
    check_mistake(
        &entries.replace("{ path = \"safe\" }", "{ hub = 1 }"),
        17,
        &["unknown variant `hub`"],
    );
    check_mistake(&entries.replace("{ path = \"safe\" }", ""), 17, &["at least one source"]);
    check_mistake(
        &entries.replace("path = \"safe\"", "built-in = \"other\""),
        17,
        &["no adapter `other` is built into this program"],
    );
}
