//! The loop of every target: the corpus, then new inputs until the time is up, and what to do with one that fails.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Once};
use std::time::{Duration, Instant, SystemTime};

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

/// New inputs of an ordinary run.
const RUNS: u64 = 200;

/// An input that takes longer than this is a failure: all of them are small.
const MAX_RUN: Duration = Duration::from_secs(20);

/// Attempts to make a failing input smaller.
const MAX_SHRINKS: usize = 500;

/// How long a target runs.
enum Budget {
    /// As many runs, always the same.
    Runs(u64),
    /// As long, from a seed that is printed.
    Time(Duration),
}

/// Runs `check` on every input of `corpus/TARGET/`, and on new ones until the time is up.
///
/// # Panics
/// At the end, if `check` did for some of them: once for each place where it did.
pub fn fuzz<S>(target: &'static str, inputs: S, check: impl Fn(&S::Value))
where
    S: Strategy,
    S::Value: Serialize + DeserializeOwned + Debug,
{
    listen_to_panics();
    let watched = Watched::start(target);
    let run = |input: &S::Value| watched.run(input, &check);
    let mut faults = BTreeMap::new();
    let n_stored = replay(target, &run, &mut faults);
    let (budget, seed) = (Budget::of_environment(), seed());
    let mut runner = TestRunner::new_with_rng(
        Config::default(),
        TestRng::from_seed(RngAlgorithm::ChaCha, &seed.to_le_bytes().repeat(4)),
    );
    let (started, mut n_runs) = (Instant::now(), 0);
    while !budget.is_spent(n_runs, started.elapsed()) {
        n_runs += 1;
        let tree = inputs.new_tree(&mut runner).expect("no strategy here rejects");
        let Err(reason) = run(&tree.current()) else { continue };
        faults.entry(place(&reason)).or_insert_with_key(|place| store(target, place, tree, &run));
    }
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "fuzz {target}: {n_stored} stored inputs, {n_runs} new ones in {seconds:.1} s, {:.0} runs per second, seed {seed}",
        n_runs as f64 / seconds
    );
    let faults: Vec<String> = faults.into_values().collect();
    assert!(
        faults.is_empty(),
        "{target} fails in {} places:\n{}",
        faults.len(),
        faults.join("\n\n")
    );
}

impl Budget {
    fn of_environment() -> Self {
        match number("COSEC_FUZZ_SECONDS") {
            Some(seconds) => Self::Time(Duration::from_secs(seconds)),
            None => Self::Runs(RUNS),
        }
    }

    fn is_spent(&self, n_runs: u64, elapsed: Duration) -> bool {
        match *self {
            Self::Runs(most) => n_runs >= most,
            Self::Time(most) => elapsed >= most,
        }
    }
}

/// `COSEC_FUZZ_SEED`; else another one each time where there is time to look further, and the same where there is not.
fn seed() -> u64 {
    let clock = || SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos() as u64);
    let fresh = || number("COSEC_FUZZ_SECONDS").map_or(1, |_| clock());
    number("COSEC_FUZZ_SEED").unwrap_or_else(fresh)
}

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable} is no number: {value}")))
}

/// Runs the stored inputs and says how many there are.
fn replay<I: DeserializeOwned>(
    target: &str,
    run: &impl Fn(&I) -> Result<(), String>,
    faults: &mut BTreeMap<String, String>,
) -> usize {
    let Ok(files) = fs::read_dir(corpus(target)) else { return 0 };
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    for file in &files {
        let text = fs::read_to_string(file).unwrap();
        let input = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        if let Err(reason) = run(&input) {
            let fault = faults.entry(place(&reason)).or_default();
            *fault += &format!("{}: {reason}\n", file.display());
        }
    }
    files.len()
}

/// Makes an input that fails smaller as long as it fails at the same place, stores it, and says what it is.
fn store<I: Serialize + Debug>(
    target: &str,
    failing: &str,
    mut tree: impl ValueTree<Value = I>,
    run: &impl Fn(&I) -> Result<(), String>,
) -> String {
    let fails = |input: &I| run(input).err().filter(|reason| place(reason) == failing);
    let mut smallest = tree.current();
    for _ in 0..MAX_SHRINKS {
        let fails = fails(&tree.current()).is_some();
        if fails {
            smallest = tree.current();
        }
        if !(if fails { tree.simplify() } else { tree.complicate() }) {
            break;
        }
    }
    let reason = fails(&smallest).unwrap_or_else(|| "it fails sometimes only".to_owned());
    let json = serde_json::to_string_pretty(&smallest).expect("inputs have string keys") + "\n";
    let hash = format!("{:x}", Sha256::digest(&json));
    let file = corpus(target).join(format!("found-{}.json", &hash[..8]));
    fs::create_dir_all(corpus(target)).unwrap();
    fs::write(&file, &json).unwrap();
    format!("{}: {reason}", file.display())
}

/// The first line of a panic's report, which says where it happened.
fn place(reason: &str) -> String {
    reason.lines().next().unwrap_or_default().to_owned()
}

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target)
}

/// A target under a watch: an input that hangs or ends the process is left in a file.
struct Watched {
    file: PathBuf,
    /// When the run that is going on began, in milliseconds after `epoch`, from 1; 0 between runs.
    started_ms: Arc<AtomicU64>,
    epoch: Instant,
    /// Held while the target lives.
    _alive: Arc<()>,
}

impl Watched {
    fn start(target: &str) -> Self {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{target}.json"));
        let (started_ms, alive) = (Arc::new(AtomicU64::new(0)), Arc::new(()));
        let watched =
            Self { file, started_ms: started_ms.clone(), epoch: Instant::now(), _alive: alive };
        let (file, epoch) = (watched.file.clone(), watched.epoch);
        let alive = Arc::downgrade(&watched._alive);
        std::thread::spawn(move || {
            while alive.upgrade().is_some() {
                std::thread::sleep(MAX_RUN / 20);
                let started = started_ms.load(Ordering::Relaxed);
                let now = epoch.elapsed().as_millis() as u64;
                if started > 0 && now > started + MAX_RUN.as_millis() as u64 {
                    eprintln!("an input takes longer than {MAX_RUN:?}: {}", file.display());
                    std::process::abort();
                }
            }
        });
        watched
    }

    /// Runs `check`; a panic is an error. The input is in the file while it runs, for it may be the last.
    fn run<I: Serialize>(&self, input: &I, check: impl Fn(&I)) -> Result<(), String> {
        let json = serde_json::to_vec(input).expect("inputs have string keys");
        fs::write(&self.file, json).expect("the target directory can be written to");
        let now = self.epoch.elapsed().as_millis() as u64;
        self.started_ms.store(now + 1, Ordering::Relaxed);
        SAID.set(Some(Vec::new()));
        let result = catch_unwind(AssertUnwindSafe(|| check(input)));
        let said = SAID.take().unwrap_or_default();
        self.started_ms.store(0, Ordering::Relaxed);
        result.map_err(|_panic| said.join("\n"))
    }
}

thread_local! {
    /// What panics have said during the run that goes on in this thread; none between runs.
    static SAID: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Keeps what panics say, with the place where they happened, for the report on the input: a run may fail hundreds of
/// times while its input is made smaller, and the first panic tells more than the last.
fn listen_to_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let kept = SAID.with_borrow_mut(|said| {
                said.as_mut().map(|said| said.push(info.to_string())).is_some()
            });
            if !kept {
                usual(info);
            }
        }));
    });
}
