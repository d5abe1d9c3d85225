//! An engine whose models are not on this machine: what is fetched and when, and who is answered meanwhile.

use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use cosec_ls::config::{Decoding, Download, Mode, Settings};
use cosec_ls::engine::local::{LocalEngine, Reuse};
use cosec_ls::engine::pair::{Choice, Load, LoadError, Pair};
use cosec_ls::engine::{Backend, Chunk, Finish, Request, State};
use cosec_ls::registry::{
    Environment, Missing, MissingModel, Offline, Presence, Progress, Registry, RegistryOptions,
    Silent,
};

use crate::support::tiny_pair;
use crate::support::tiny_site::{OTHER_PROFILE, PROFILE, TinySite};

/// Longer than anything here takes; a test that waits for what never comes fails by it.
const HANG: Duration = Duration::from_secs(60);

fn settings(download: Download) -> Settings {
    Settings { profile: PROFILE.to_owned(), download, threads: 2, ..Settings::default() }
}

fn start(loader: impl Load, download: Download) -> LocalEngine {
    LocalEngine::start(loader, settings(download), Reuse::Keep).unwrap()
}

fn request() -> Request {
    let decoding = Decoding { mode: Mode::Cosec, ..Decoding::default() };
    Request { decoding, max_tokens: 4, ..tiny_pair::request("a", Mode::Cosec) }
}

async fn ask(engine: &LocalEngine) -> Finish {
    let mut decode = engine.submit(request());
    loop {
        let chunk = tokio::time::timeout(HANG, decode.chunks.recv()).await.expect("no answer");
        if let Chunk::Done(done) = chunk.expect("an answer ends in a word about its end") {
            return done.finish;
        }
    }
}

/// Why there is nothing yet.
async fn not_ready(engine: &LocalEngine) -> String {
    match ask(engine).await {
        Finish::NotReady(reason) => reason,
        other => panic!("{other:?}"),
    }
}

async fn is_served(engine: &LocalEngine) -> bool {
    !matches!(ask(engine).await, Finish::NotReady(_) | Finish::Failed(_))
}

async fn wait_for(engine: &LocalEngine, wanted: impl FnMut(&State) -> bool) -> State {
    let mut state = engine.state();
    let found = tokio::time::timeout(HANG, state.wait_for(wanted)).await.expect("never so");
    found.expect("the engine lives").clone()
}

fn is_ready(state: &State) -> bool {
    matches!(state, State::Ready(_))
}

/// Bytes of the model have come, as the state says.
fn has_bytes(state: &State) -> bool {
    matches!(state, State::Fetching { done_bytes, .. } if *done_bytes > 0)
}

#[tokio::test]
async fn nothing_is_fetched_before_somebody_says_so_and_everything_after() {
    for download in [Download::Ask, Download::Never] {
        let site = TinySite::new();
        let engine = start(site.registry(), download);
        engine.warm();
        let reason = not_ready(&engine).await;
        for part in ["tiny-near", "is not on this machine", "cosec-ls.pull", "models pull near"] {
            assert!(reason.contains(part), "no `{part}` in: {reason}");
        }
        assert_eq!(*engine.state().borrow(), site.missing(PROFILE, site.size_bytes));
        assert_eq!(site.hub.n_connections(), 0, "{download:?}");
        engine.fetch(PROFILE);
        wait_for(&engine, is_ready).await;
        assert!(is_served(&engine).await);
        assert_eq!(site.downloads(), [0]);
    }
}

#[tokio::test]
async fn a_yes_for_another_profile_fetches_nothing() {
    let site = TinySite::new();
    let engine = start(site.registry(), Download::Ask);
    engine.fetch(OTHER_PROFILE);
    not_ready(&engine).await;
    assert_eq!(*engine.state().borrow(), site.missing(PROFILE, site.size_bytes));
    assert_eq!(site.hub.n_connections(), 0);
    // It counts where it was meant.
    engine.configure(&Settings { profile: OTHER_PROFILE.to_owned(), ..settings(Download::Ask) });
    wait_for(&engine, is_ready).await;
}

#[tokio::test]
async fn requests_are_answered_while_a_download_stands_still_and_it_can_be_cancelled() {
    let site = TinySite::stalling();
    let engine = start(site.registry(), Download::Always);
    let reason = not_ready(&engine).await;
    assert!(reason.starts_with("downloading tiny-near: "), "{reason}");
    wait_for(&engine, has_bytes).await;
    for _ in 0..3 {
        let reason = not_ready(&engine).await;
        assert!(reason.starts_with("downloading tiny-near: "), "{reason}");
    }

    engine.cancel_fetch();
    let state = wait_for(&engine, |state| matches!(state, State::Missing(_))).await;
    let State::Missing(missing) = state else { unreachable!() };
    let left = missing.download_bytes;
    assert!(left > 0 && left < site.size_bytes, "{left} of {}", site.size_bytes);
    for _ in 0..3 {
        let reason = not_ready(&engine).await;
        assert!(reason.contains("cosec-ls.pull"), "{reason}");
    }
    engine.configure(&Settings { max_lines: 3, ..settings(Download::Always) });
    not_ready(&engine).await;
    assert_eq!(site.downloads(), [0], "what was cancelled does not begin again by itself");

    engine.fetch(PROFILE);
    wait_for(&engine, is_ready).await;
    assert!(is_served(&engine).await);
    let begun = usize::try_from(site.size_bytes - left).unwrap();
    assert_eq!(site.downloads(), [0, begun], "it goes on where it was cancelled");
}

#[tokio::test]
async fn the_last_of_many_words_counts() {
    let site = TinySite::new();
    let engine = start(site.registry(), Download::Ask);
    for _ in 0..5 {
        engine.fetch(PROFILE);
        engine.cancel_fetch();
    }
    engine.fetch(PROFILE);
    wait_for(&engine, is_ready).await;
    engine.cancel_fetch();
    assert!(is_served(&engine).await, "there is nothing to cancel any more");
    assert!(is_ready(&engine.state().borrow()));
}

#[tokio::test]
async fn another_profile_takes_the_place_of_a_download() {
    let site = TinySite::stalling();
    let engine = start(site.registry(), Download::Always);
    not_ready(&engine).await;
    wait_for(&engine, has_bytes).await;
    engine.configure(&Settings { profile: OTHER_PROFILE.to_owned(), ..settings(Download::Always) });
    let state = wait_for(&engine, is_ready).await;
    let State::Ready(loaded) = state else { unreachable!() };
    assert_eq!(loaded.profile, OTHER_PROFILE);
    assert!(is_served(&engine).await);
    let listed = site.registry().list();
    let near = listed.iter().find(|listed| listed.name == "tiny-near").unwrap();
    assert!(matches!(near.presence, Presence::Partial { .. }), "{near:?}");
}

#[tokio::test]
async fn a_setting_that_forbids_downloads_ends_one_that_nobody_asked_for() {
    for download in [Download::Never, Download::Ask] {
        let site = TinySite::stalling();
        let engine = start(site.registry(), Download::Always);
        not_ready(&engine).await;
        wait_for(&engine, has_bytes).await;
        engine.configure(&settings(download));
        wait_for(&engine, |state| matches!(state, State::Missing(_))).await;
        engine.configure(&settings(Download::Always));
        wait_for(&engine, is_ready).await;
    }
}

#[tokio::test]
async fn nothing_is_fetched_where_the_network_is_forbidden_and_the_reason_says_by_what() {
    let site = TinySite::new();
    for (offline, environment, setting) in [
        (Offline::Yes, Environment::default(), "--offline"),
        (Offline::No, [("HF_HUB_OFFLINE", "1")].into(), "HF_HUB_OFFLINE"),
    ] {
        for download in [Download::Always, Download::Ask, Download::Never] {
            let environment = Some(environment.clone());
            let options = RegistryOptions { offline, environment, ..site.options() };
            let engine = start(Registry::open(options).unwrap(), download);
            engine.fetch(PROFILE);
            let reason = not_ready(&engine).await;
            assert!(reason.contains(&format!("since `{setting}` is set")), "{reason}");
            let State::Missing(missing) = engine.state().borrow().clone() else { panic!() };
            assert_eq!(missing.offline.as_deref(), Some(setting));
        }
    }
    assert_eq!(site.hub.n_connections(), 0);
}

/// Stands still at its first bytes until it is told to go on.
struct Held {
    reached: Mutex<Sender<()>>,
    go_on: Mutex<Receiver<()>>,
}

impl Progress for Held {
    fn advance(&self, _: &str, _: u64, _: u64) {
        let _ = self.reached.lock().unwrap().send(());
        let _ = self.go_on.lock().unwrap().recv();
    }

    fn note(&self, _: &str) {}

    fn is_cancelled(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn what_another_process_is_pulling_is_waited_for_and_not_fetched_twice() {
    let site = TinySite::new();
    let (reached, wait_reached) = mpsc::channel();
    let (go_on, wait_go_on) = mpsc::channel();
    let held = Held { reached: Mutex::new(reached), go_on: Mutex::new(wait_go_on) };
    let elsewhere = site.registry();
    let pulling = thread::spawn(move || elsewhere.ensure("tiny-near", &held).map(drop));
    wait_reached.recv().unwrap();

    let engine = start(site.registry(), Download::Always);
    let reason = not_ready(&engine).await;
    assert!(reason.starts_with("downloading tiny-near: "), "{reason}");
    engine.cancel_fetch();
    wait_for(&engine, |state| matches!(state, State::Missing(_))).await;
    engine.fetch(PROFILE);
    wait_for(&engine, |state| matches!(state, State::Fetching { .. })).await;
    drop(go_on);
    pulling.join().unwrap().unwrap();
    wait_for(&engine, is_ready).await;
    assert_eq!(site.downloads(), [0]);
}

#[tokio::test]
async fn what_was_pulled_meanwhile_is_found_by_the_next_request() {
    let site = TinySite::new();
    let engine = start(site.registry(), Download::Never);
    not_ready(&engine).await;
    site.registry().ensure("tiny-near", &Silent).unwrap();
    assert!(is_served(&engine).await);
}

#[tokio::test]
async fn an_engine_ends_in_the_middle_of_a_download_and_keeps_what_came() {
    let site = TinySite::stalling();
    let engine = start(site.registry(), Download::Always);
    not_ready(&engine).await;
    wait_for(&engine, has_bytes).await;
    drop(engine);
    let left = site.registry().missing(PROFILE).unwrap().download_bytes();
    assert!(left > 0 && left < site.size_bytes, "{left}");
    // Nobody holds the lock any more.
    site.registry().ensure("tiny-near", &Silent).unwrap();
}

/// A download that panics.
struct Broken;

impl Load for Broken {
    fn missing(&self, _: Choice<'_>) -> Result<Missing, LoadError> {
        let model = MissingModel { name: "m".to_owned(), size_bytes: 10, here_bytes: 0 };
        Ok(Missing { models: vec![model], forbidden_by: None })
    }

    fn fetch(&self, _: Choice<'_>, _: &dyn Progress) -> Result<(), LoadError> {
        panic!("in the middle of it")
    }

    fn load(&self, _: Choice<'_>, _: &dyn Progress) -> Result<Pair, LoadError> {
        unreachable!("not before the files are here")
    }
}

#[tokio::test]
async fn a_download_that_panics_is_a_reason() {
    let engine = start(Broken, Download::Always);
    not_ready(&engine).await;
    let failed = |state: &State| matches!(state, State::Failed { reason } if reason.contains("in the middle of it"));
    wait_for(&engine, failed).await;
    not_ready(&engine).await;
}

#[tokio::test]
async fn a_download_that_fails_says_why_and_a_pull_tries_again() {
    let site = TinySite::new();
    let nobody = Some("http://127.0.0.1:9".to_owned());
    let options = RegistryOptions { hub_endpoint: nobody, ..site.options() };
    let engine = start(Registry::open(options).unwrap(), Download::Always);
    not_ready(&engine).await;
    let state = wait_for(&engine, |state| matches!(state, State::Failed { .. })).await;
    let State::Failed { reason } = state else { unreachable!() };
    assert!(reason.contains("could not get `tiny-near`"), "{reason}");
    assert_eq!(not_ready(&engine).await, reason, "it is not tried at every key");
    let mut states = engine.state();
    states.borrow_and_update();
    engine.fetch(PROFILE);
    let again = |state: &State| matches!(state, State::Fetching { .. });
    tokio::time::timeout(HANG, states.wait_for(again)).await.expect("tried again").unwrap();
}

#[tokio::test]
async fn a_wrong_file_is_fetched_anew_only_where_that_is_allowed() {
    let site = TinySite::new();
    let registry = site.registry();
    std::fs::create_dir_all(registry.directory()).unwrap();
    let file = registry.directory().join("tiny-near.gguf");
    std::fs::write(&file, b"wrong").unwrap();
    let engine = start(registry, Download::Ask);
    let reason = not_ready(&engine).await;
    assert!(reason.contains("wrong checksum"), "{reason}");
    assert_eq!(site.hub.n_connections(), 0);
    engine.fetch(PROFILE);
    wait_for(&engine, is_ready).await;
    assert_eq!(site.downloads(), [0]);
}
