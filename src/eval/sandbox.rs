//! Runs generated code where it can do little: without network, in an empty directory, within limits, for a while.
//!
//! On Linux the code has namespaces of its own for users, processes, network, messages and mounts: it sees no network
//! but a dead loopback, can write to its own directory only, and whatever it starts ends with it. Started by root, it
//! runs as nobody. Where the kernel refuses namespaces, limits alone hold, and [`Sandbox::warning`] says so.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use super::Error;

/// How often a running program is looked at.
const POLL: Duration = Duration::from_millis(2);

/// What a run may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Time from start to end. By default, 10 s.
    pub wall: Duration,
    /// Processor time of each process, in whole seconds. By default, 10 s.
    pub cpu_seconds: u64,
    /// Address space of each process; AddressSanitizer needs terabytes of it. By default, 2 GiB.
    pub memory_bytes: Option<u64>,
    /// Processes and threads at a time; where namespaces are refused it does not hold. By default, 64.
    pub n_processes: u64,
    /// Size of each written file. By default, 16 MiB.
    pub file_bytes: u64,
    /// What is kept of each of both outputs. By default, 1 MiB.
    pub output_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            wall: Duration::from_secs(10),
            cpu_seconds: 10,
            memory_bytes: Some(2 << 30),
            n_processes: 64,
            file_bytes: 16 << 20,
            output_bytes: 1 << 20,
        }
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this exit code; 128 and more stand for a signal, as shells do it.
    Exited(i32),
    /// It was killed when [`Limits::wall`] was over.
    TimedOut,
}

/// What a run gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// How it ended.
    pub ended: Ended,
    /// The beginning of its standard output.
    pub stdout: Vec<u8>,
    /// The beginning of its standard error.
    pub stderr: Vec<u8>,
}

/// What is run.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a> {
    /// The executable.
    pub path: &'a Path,
    /// Its arguments.
    pub arguments: &'a [&'a str],
    /// Names and texts of the files that its directory holds.
    pub files: &'a [(&'a str, &'a str)],
    /// What it reads from its standard input.
    pub input: &'a str,
}

/// How much the kernel does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Isolation {
    Namespaces,
    LimitsAlone,
}

/// A place for generated code.
#[derive(Debug)]
pub struct Sandbox {
    isolation: Isolation,
    warning: Option<String>,
}

impl Sandbox {
    /// Finds out what the kernel allows.
    ///
    /// # Errors
    /// If nothing can be run in it, or this is not Linux.
    pub fn new() -> Result<Self, Error> {
        let warning = launch::stays_root().then(|| {
            "root cannot become another user here: the number of generated code's processes is not limited".to_owned()
        });
        let sandbox = Self { isolation: Isolation::Namespaces, warning };
        let probe =
            Program { path: Path::new("/bin/sh"), arguments: &["-c", ":"], files: &[], input: "" };
        let refused = match sandbox.run(probe, Limits::default()) {
            Ok(run) if run.ended == Ended::Exited(0) => return Ok(sandbox),
            Ok(run) => format!("a first run ended with {:?}", run.ended),
            Err(Error::Sandbox { source, .. }) => source.to_string(),
            Err(error) => return Err(error),
        };
        let warning = format!(
            "this system refuses namespaces ({refused}): generated code runs with limits on time, memory and file size \
             alone; it can reach the network, and write wherever you can"
        );
        let sandbox = Self { isolation: Isolation::LimitsAlone, warning: Some(warning) };
        sandbox.run(probe, Limits::default())?;
        Ok(sandbox)
    }

    /// What does not hold here, for the user to know.
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    /// Runs `program` in a directory of its own, which is also its home and is deleted afterwards.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn run(&self, program: Program<'_>, limits: Limits) -> Result<Run, Error> {
        let failed =
            |source| Error::Sandbox { program: program.path.display().to_string(), source };
        let directory = tempfile::Builder::new().prefix("cosec-run-").tempdir().map_err(failed)?;
        let place = directory.path().canonicalize().map_err(failed)?;
        for (name, text) in program.files {
            fs::write(place.join(name), text).map_err(failed)?;
        }
        // Files rather than pipes: nothing that the code leaves behind can keep us waiting for their end.
        let mut stdout = tempfile::tempfile().map_err(failed)?;
        let mut stderr = tempfile::tempfile().map_err(failed)?;
        let mut stdin = tempfile::tempfile().map_err(failed)?;
        stdin.write_all(program.input.as_bytes()).map_err(failed)?;
        stdin.rewind().map_err(failed)?;
        let mut command = command(program, &place);
        command.stdin(stdin);
        command.stdout(stdout.try_clone().map_err(failed)?);
        command.stderr(stderr.try_clone().map_err(failed)?);
        launch::confine(&mut command, self.isolation, &place, limits)?;
        let mut child = command.spawn().map_err(failed)?;
        let ended = wait(&mut child, limits.wall).map_err(failed)?;
        let output = |file: &mut File| beginning(file, limits.output_bytes).map_err(failed);
        Ok(Run { ended, stdout: output(&mut stdout)?, stderr: output(&mut stderr)? })
    }
}

/// `program` with nothing of our own environment.
fn command(program: Program<'_>, place: &Path) -> Command {
    let mut command = Command::new(program.path);
    command
        .args(program.arguments)
        .current_dir(place)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("LANG", "C.UTF-8")
        .env("HOME", place)
        .env("TMPDIR", place);
    command
}

/// Waits until the program ends or its time is over; then nothing of it is left.
fn wait(child: &mut Child, wall: Duration) -> io::Result<Ended> {
    let deadline = Instant::now() + wall;
    let ended = loop {
        match child.try_wait()? {
            Some(status) => break Ended::Exited(launch::exit_code(status)),
            None if Instant::now() >= deadline => break Ended::TimedOut,
            None => std::thread::sleep(POLL),
        }
    };
    launch::kill_group(child.id());
    child.wait()?;
    Ok(ended)
}

/// The first `most` bytes of a file that was written through another handle.
fn beginning(file: &mut File, most: u64) -> io::Result<Vec<u8>> {
    file.rewind()?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "the kernel's walls have no safe interface")]
mod launch {
    use std::ffi::CString;
    use std::io;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{PermissionsExt, chown};
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::path::Path;
    use std::process::{Command, ExitStatus};

    use super::{Error, Isolation, Limits};

    /// The user and group that own nothing.
    const NOBODY: u32 = 65534;

    /// Has `command` walled in before its program starts. `place` is its directory.
    pub(super) fn confine(
        command: &mut Command,
        isolation: Isolation,
        place: &Path,
        limits: Limits,
    ) -> Result<(), Error> {
        // In a container whose users are mapped, there may be no nobody, and root is not the real one.
        let becomes_nobody = is_root() && give(place).is_ok();
        let place = CString::new(place.as_os_str().as_bytes()).map_err(|error| Error::Sandbox {
            program: error.to_string(),
            source: io::ErrorKind::InvalidInput.into(),
        })?;
        let walls = Walls { isolation, becomes_nobody, place, limits };
        // SAFETY: between fork and exec, `build` makes system calls only: it takes no lock and allocates nothing, except
        // for the message of an error, with which the child ends.
        unsafe { command.pre_exec(move || walls.build()) };
        Ok(())
    }

    /// Whether programs of root run as root, because nobody is no user here.
    pub(super) fn stays_root() -> bool {
        is_root() && tempfile::tempdir().is_ok_and(|directory| give(directory.path()).is_err())
    }

    fn is_root() -> bool {
        // SAFETY: asks for a number.
        unsafe { libc::geteuid() == 0 }
    }

    /// Makes a directory and the files in it nobody's.
    fn give(place: &Path) -> io::Result<()> {
        std::fs::set_permissions(place, std::fs::Permissions::from_mode(0o700))?;
        for entry in std::fs::read_dir(place)? {
            chown(entry?.path(), Some(NOBODY), Some(NOBODY))?;
        }
        chown(place, Some(NOBODY), Some(NOBODY))
    }

    /// The exit code, or 128 and the signal's number.
    pub(super) fn exit_code(status: ExitStatus) -> i32 {
        status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
    }

    /// Ends all that is left of a program's group of processes.
    pub(super) fn kill_group(id: u32) {
        // SAFETY: a system call on numbers. The group has the id of its first process, whose number is not given to
        // another as long as the group has members; if it has none, nothing happens.
        unsafe { libc::kill(-(id as i32), libc::SIGKILL) };
    }

    struct Walls {
        isolation: Isolation,
        becomes_nobody: bool,
        place: CString,
        limits: Limits,
    }

    impl Walls {
        /// Runs in the child, between fork and exec.
        fn build(&self) -> io::Result<()> {
            // SAFETY: system calls on numbers.
            check(unsafe { libc::setsid() })?;
            if self.becomes_nobody {
                become_nobody()?;
            }
            if self.isolation == Isolation::Namespaces {
                self.unshare()?;
            }
            self.limit()
        }

        fn unshare(&self) -> io::Result<()> {
            let spaces = libc::CLONE_NEWUSER
                | libc::CLONE_NEWNET
                | libc::CLONE_NEWPID
                | libc::CLONE_NEWIPC
                | libc::CLONE_NEWNS;
            // SAFETY: a system call on a number.
            check(unsafe { libc::unshare(spaces) })?;
            self.protect_files()?;
            // Twice: the first child is the first process of the new space, which ignores most signals and with which
            // all others end; the program is the second.
            go_on_in_child()?;
            go_on_in_child()
        }

        /// Makes everything but the program's directory read-only.
        fn protect_files(&self) -> io::Result<()> {
            let place = self.place.as_ptr();
            let (root, none) = (c"/".as_ptr(), std::ptr::null());
            // SAFETY: the strings end in 0 and live as long as `self`; without a file system's type and data, the
            // kernel reads neither.
            unsafe {
                check(libc::mount(
                    none,
                    root,
                    none,
                    libc::MS_REC | libc::MS_PRIVATE,
                    std::ptr::null(),
                ))?;
                check(libc::mount(place, place, none, libc::MS_BIND, std::ptr::null()))?;
            }
            set_read_only(c"/", libc::AT_RECURSIVE, ReadOnly::Yes)?;
            set_read_only(&self.place, 0, ReadOnly::No)?;
            // The old current directory is the one below the new mount.
            // SAFETY: the string ends in 0 and lives as long as `self`.
            check(unsafe { libc::chdir(place) })
        }

        fn limit(&self) -> io::Result<()> {
            let limits = &self.limits;
            set_limit(libc::RLIMIT_CORE, 0)?;
            set_limit(libc::RLIMIT_CPU, limits.cpu_seconds)?;
            set_limit(libc::RLIMIT_FSIZE, limits.file_bytes)?;
            if let Some(bytes) = limits.memory_bytes {
                set_limit(libc::RLIMIT_AS, bytes)?;
            }
            // Without a namespace, all other processes of the user would count.
            if self.isolation == Isolation::Namespaces {
                set_limit(libc::RLIMIT_NPROC, limits.n_processes)?;
            }
            // SAFETY: a system call on numbers.
            check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })
        }
    }

    fn become_nobody() -> io::Result<()> {
        // SAFETY: system calls on numbers; no group is read from the null pointer, since their number is 0.
        unsafe {
            check(libc::setgroups(0, std::ptr::null()))?;
            check(libc::setresgid(NOBODY, NOBODY, NOBODY))?;
            check(libc::setresuid(NOBODY, NOBODY, NOBODY))
        }
    }

    #[derive(Clone, Copy, PartialEq, Eq)]
    enum ReadOnly {
        Yes,
        No,
    }

    fn set_read_only(path: &std::ffi::CStr, flags: i32, read_only: ReadOnly) -> io::Result<()> {
        let (set, clear) = match read_only {
            ReadOnly::Yes => (libc::MOUNT_ATTR_RDONLY, 0),
            ReadOnly::No => (0, libc::MOUNT_ATTR_RDONLY),
        };
        let attributes =
            libc::mount_attr { attr_set: set, attr_clr: clear, propagation: 0, userns_fd: 0 };
        let size = size_of::<libc::mount_attr>();
        let call = libc::SYS_mount_setattr;
        // SAFETY: the string ends in 0, and the kernel reads `size` bytes of `attributes`; both outlive the call.
        let done = unsafe {
            libc::syscall(call, libc::AT_FDCWD, path.as_ptr(), flags, &raw const attributes, size)
        };
        check(done as i32)
    }

    fn set_limit(resource: libc::__rlimit_resource_t, most: u64) -> io::Result<()> {
        let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
        // SAFETY: the kernel reads one `rlimit`, which outlives the call.
        check(unsafe { libc::setrlimit(resource, &raw const limit) })
    }

    /// Forks. The child returns and is killed when its parent ends; the parent holds no file, waits, and ends as the
    /// child did.
    fn go_on_in_child() -> io::Result<()> {
        // SAFETY: the process has one thread. The parent makes system calls on numbers, and one that writes to `status`.
        unsafe {
            let child = libc::fork();
            check(child)?;
            if child == 0 {
                return check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0));
            }
            libc::syscall(libc::SYS_close_range, 0u32, u32::MAX, 0u32);
            let mut status = 0;
            while libc::waitpid(child, &raw mut status, 0) < 0 {
                if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                    libc::_exit(127);
                }
            }
            let is_exit = libc::WIFEXITED(status);
            libc::_exit(if is_exit {
                libc::WEXITSTATUS(status)
            } else {
                128 + libc::WTERMSIG(status)
            })
        }
    }

    fn check(result: i32) -> io::Result<()> {
        match result < 0 {
            true => Err(io::Error::last_os_error()),
            false => Ok(()),
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod launch {
    use std::path::Path;
    use std::process::{Command, ExitStatus};

    use super::{Error, Isolation, Limits};

    pub(super) fn confine(
        _command: &mut Command,
        _isolation: Isolation,
        _place: &Path,
        _limits: Limits,
    ) -> Result<(), Error> {
        Err(Error::NoSandbox)
    }

    pub(super) fn stays_root() -> bool {
        false
    }

    pub(super) fn exit_code(status: ExitStatus) -> i32 {
        status.code().unwrap_or(-1)
    }

    pub(super) fn kill_group(_id: u32) {}
}
