//! The editor's process, as `initialize` names it: when it is gone, nobody needs this server.
//!
//! Usually the end of standard input says so. Where something else holds that open (a wrapper, a child that inherited
//! it), only the process itself tells. Ids are used again, so a process is known by when it was started too, where the
//! system tells that cheaply (Linux). On Windows no process is watched.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// How often is looked. vscode-languageserver-node looks every three seconds.
const PERIOD: Duration = Duration::from_secs(2);

/// What is watched, if anything.
#[derive(Debug, Default)]
pub(super) struct Parent {
    watch: Option<(Process, Interval)>,
}

impl Parent {
    /// The process that the parameters of `initialize` name; null and nonsense are none.
    ///
    /// One that this system has never had lives elsewhere (the editor outside of a container, the server inside) and is
    /// not watched.
    pub(super) fn named_by(initialize: Option<&Value>) -> Self {
        let id = initialize.and_then(|params| params.get("processId")?.as_i64());
        let process = id.and_then(|id| i32::try_from(id).ok()).and_then(Process::of);
        if id.is_some() && process.is_none() {
            tracing::warn!("the process of `processId` is not on this system, and is not watched");
        }
        let watch = process.map(|process| {
            let mut ticks = interval(PERIOD);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            (process, ticks)
        });
        Self { watch }
    }

    /// Whether there is a process to watch.
    pub(super) fn is_named(&self) -> bool {
        self.watch.is_some()
    }

    /// Ends when the process is gone. May be dropped and called again.
    pub(super) async fn gone(&mut self) {
        let Some((process, ticks)) = &mut self.watch else {
            return std::future::pending().await;
        };
        loop {
            ticks.tick().await;
            if process.is_gone() {
                return tracing::info!("the process of `processId` is gone");
            }
        }
    }
}

/// A process, by its id and when it was started, in ticks since the system was.
#[cfg(target_os = "linux")]
#[derive(Debug)]
struct Process {
    id: i32,
    started: u64,
}

#[cfg(target_os = "linux")]
impl Process {
    /// None if there is no such process, and never was.
    fn of(id: i32) -> Option<Self> {
        // A process that was here and is gone has no start that another one could have.
        let gone = || was_given_out(id).then_some(Self { id, started: u64::MAX });
        (id > 0).then(|| start_of(id).map(|started| Self { id, started }).or_else(gone))?
    }

    fn is_gone(&self) -> bool {
        start_of(self.id) != Some(self.started)
    }
}

/// When a process was started; none if it has ended, even if its own parent has not asked after it yet.
#[cfg(target_os = "linux")]
fn start_of(id: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name of the program comes second, in parentheses, and may hold anything (proc_pid_stat(5)).
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let has_ended = matches!(fields.next()?, "Z" | "X" | "x");
    let started = fields.nth(18)?.parse().ok()?;
    (!has_ended).then_some(started)
}

/// Whether this system has given out ids up to this one, so that a process of this id may have been here and be gone.
#[cfg(target_os = "linux")]
fn was_given_out(id: i32) -> bool {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let last = load.split_ascii_whitespace().last().and_then(|last| last.parse().ok());
    last.is_some_and(|last: i32| id <= last)
}

/// A process, by its id alone.
#[cfg(all(unix, not(target_os = "linux")))]
#[derive(Debug)]
struct Process(rustix::process::Pid);

#[cfg(all(unix, not(target_os = "linux")))]
impl Process {
    /// None if there is no such process.
    fn of(id: i32) -> Option<Self> {
        let process = Self(rustix::process::Pid::from_raw(id.max(0))?);
        (!process.is_gone()).then_some(process)
    }

    fn is_gone(&self) -> bool {
        // Another user's process may not be asked, so it is there.
        rustix::process::test_kill_process(self.0)
            .is_err_and(|error| error != rustix::io::Errno::PERM)
    }
}

/// Nothing is watched here.
#[cfg(not(unix))]
#[derive(Debug)]
enum Process {}

#[cfg(not(unix))]
impl Process {
    fn of(_id: i32) -> Option<Self> {
        None
    }

    fn is_gone(&self) -> bool {
        match *self {}
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::{Child, Command, Stdio};

    use serde_json::json;

    use super::*;

    /// A process that waits for the end of its input.
    fn child() -> Child {
        Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
    }

    fn id(child: &Child) -> i32 {
        i32::try_from(child.id()).unwrap()
    }

    #[test]
    fn a_process_is_there_until_it_ends() {
        let mut child = child();
        let process = Process::of(id(&child)).unwrap();
        assert!(!process.is_gone());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(process.is_gone());
        assert!(Process::of(id(&child)).unwrap().is_gone(), "it was here once");
    }

    #[test]
    fn a_process_that_nobody_has_asked_after_is_gone() {
        let mut child = child();
        let process = Process::of(id(&child)).unwrap();
        child.kill().unwrap();
        // Without `wait` it is a zombie as soon as the signal has arrived.
        while !process.is_gone() {
            std::thread::yield_now();
        }
        child.wait().unwrap();
    }

    #[test]
    fn another_process_of_the_same_id_is_not_the_one() {
        let own = Process::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(!own.is_gone());
        assert!(Process { started: own.started - 1, ..own }.is_gone());
    }

    #[test]
    fn processes_of_other_systems_are_not_watched() {
        for id in
            [json!(null), json!("12"), json!(-1), json!(0), json!(i32::MAX), json!(1u64 << 40)]
        {
            assert!(Parent::named_by(Some(&json!({ "processId": id }))).watch.is_none(), "{id}");
        }
        assert!(Parent::named_by(None).watch.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_is_noticed_without_a_word() {
        let mut child = child();
        let mut parent = Parent::named_by(Some(&json!({ "processId": child.id() })));
        assert!(tokio::time::timeout(PERIOD * 3, parent.gone()).await.is_err());
        child.kill().unwrap();
        child.wait().unwrap();
        parent.gone().await;
    }
}
