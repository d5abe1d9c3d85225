//! The walls around generated code: each test is an attempt to get over one.

use std::path::Path;
use std::time::{Duration, Instant};

use cosec_ls::eval::sandbox::{Ended, Limits, Program, Run, Sandbox};

use super::sandbox;
use crate::support::skips::skipped;

/// Runs a Python program; none where there is no sandbox or no Python.
fn python(source: &str, limits: Limits) -> Option<Run> {
    let sandbox = sandbox()?;
    let path = Path::new("/usr/bin/python3");
    if !path.exists() {
        skipped(format!("no {}", path.display()));
        return None;
    }
    let program = Program { path, arguments: &["x.py"], files: &[("x.py", source)], input: "" };
    Some(sandbox.run(program, limits).unwrap())
}

fn shell(sandbox: &Sandbox, line: &str, limits: Limits) -> Run {
    let program =
        Program { path: Path::new("/bin/sh"), arguments: &["-c", line], files: &[], input: "" };
    sandbox.run(program, limits).unwrap()
}

/// The standard output of a program that must end well.
#[track_caller]
fn check(source: &str, expected: &str) {
    let Some(run) = python(source, Limits::default()) else { return };
    let stderr = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.ended, Ended::Exited(0), "{stderr}");
    assert_eq!(String::from_utf8_lossy(&run.stdout).trim(), expected, "{stderr}");
}

/// Whether the kernel gives namespaces; where it does not, the limits are all there is.
fn has_namespaces() -> bool {
    let Some(sandbox) = sandbox() else { return false };
    match sandbox.warning() {
        Some(warning) => {
            skipped(warning);
            false
        }
        None => true,
    }
}

#[test]
fn there_is_no_network() {
    if has_namespaces() {
        let source = "import socket\nnames = [name for _, name in socket.if_nameindex()]\ntry:\n    \
                      socket.create_connection(('127.0.0.1', 22), 1)\nexcept OSError as error:\n    \
                      print(names, error.errno)\n";
        // ENETUNREACH: not even loopback is up.
        check(source, "['lo'] 101");
    }
}

#[test]
fn nothing_can_be_written_elsewhere() {
    if has_namespaces() {
        let elsewhere = tempfile::tempdir().unwrap();
        let place = elsewhere.path().display().to_string();
        let source = format!(
            "import os\nfor place in ['{place}', '/tmp', '/var/tmp', '/dev/shm']:\n    try:\n        \
             open(place + '/cosec-escaped', 'w')\n        print(place)\n    except OSError as error:\n        \
             assert error.errno in (2, 13, 30), error\nopen('here', 'w').write('x')\nprint(open('here').read())\n"
        );
        check(&source, "x");
    }
}

#[test]
fn the_directory_is_empty_and_the_home() {
    let Some(sandbox) = sandbox() else { return };
    let line = "ls -A | wc -l; [ \"$HOME\" = \"$(pwd)\" ] && echo home; env | cut -d= -f1 | sort | tr '\\n' ' '";
    let run = shell(&sandbox, line, Limits::default());
    let stdout = String::from_utf8(run.stdout).unwrap();
    let lines: Vec<&str> = stdout.lines().map(str::trim).collect();
    assert_eq!(lines[..2], ["0", "home"]);
    assert_eq!(lines[2], "HOME LANG PATH PWD TMPDIR", "the environment is cleared");
}

#[test]
fn time_ends() {
    let Some(sandbox) = sandbox() else { return };
    let limits = Limits { wall: Duration::from_millis(300), ..Limits::default() };
    let started = Instant::now();
    let run = shell(&sandbox, "sleep 60 & echo begun; sleep 60", limits);
    assert_eq!((run.ended, run.stdout.as_slice()), (Ended::TimedOut, b"begun\n".as_slice()));
    assert!(started.elapsed() < Duration::from_secs(10));
    let limits = Limits { cpu_seconds: 1, ..Limits::default() };
    let run = shell(&sandbox, "while :; do :; done", limits);
    assert_eq!(run.ended, Ended::Exited(128 + 9), "processor time is over");
}

#[test]
fn what_was_started_ends_with_it() {
    if has_namespaces() {
        let Some(sandbox) = sandbox() else { return };
        // Found again by an argument that nothing else has.
        let run = shell(&sandbox, "setsid sleep 86399.25 & exit 3", Limits::default());
        assert_eq!(run.ended, Ended::Exited(3));
        let is_left = || {
            let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
            let mut lines = processes.filter_map(|p| std::fs::read(p.path().join("cmdline")).ok());
            lines.any(|line| line.starts_with(b"sleep\x0086399.25"))
        };
        let deadline = Instant::now() + Duration::from_secs(5);
        while is_left() {
            assert!(Instant::now() < deadline, "a process outlived the run");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn memory_is_limited() {
    let limits = Limits { memory_bytes: Some(256 << 20), ..Limits::default() };
    let source = "try:\n    bytearray(1 << 30)\n    print('got it')\nexcept MemoryError:\n    print('refused')\n";
    let Some(run) = python(source, limits) else { return };
    assert_eq!(run.stdout, b"refused\n");
}

#[test]
fn files_are_limited() {
    let limits = Limits { file_bytes: 1000, ..Limits::default() };
    let source = "try:\n    with open('big', 'wb') as file:\n        file.write(bytes(5000))\nexcept OSError as error:\n    \
                  print(error.errno)\n";
    let Some(run) = python(source, limits) else { return };
    // EFBIG; Python ignores the signal that comes with it.
    assert_eq!(run.stdout, b"27\n");
}

#[test]
fn processes_are_limited() {
    if has_namespaces() {
        let limits = Limits { n_processes: 8, ..Limits::default() };
        let source = "import os, time\nn = 0\ntry:\n    while n < 40:\n        if os.fork() == 0:\n            \
                      time.sleep(20)\n            os._exit(0)\n        n += 1\nexcept OSError as error:\n    \
                      print(n < 8, error.errno)\n";
        let Some(run) = python(source, limits) else { return };
        assert_eq!(String::from_utf8_lossy(&run.stdout), "True 11\n");
    }
}

#[test]
fn outputs_are_cut() {
    let Some(sandbox) = sandbox() else { return };
    let limits = Limits { output_bytes: 100, ..Limits::default() };
    let run = shell(&sandbox, "yes | head -c 100000; yes n | head -c 100000 >&2", limits);
    assert_eq!((run.stdout.len(), run.stderr.len()), (100, 100));
}

#[test]
fn what_cannot_be_started_is_an_error() {
    let Some(sandbox) = sandbox() else { return };
    let program =
        Program { path: Path::new("/no/such/program"), arguments: &[], files: &[], input: "" };
    let error = sandbox.run(program, Limits::default()).unwrap_err();
    assert!(
        error.to_string().starts_with("cannot run /no/such/program in the sandbox: "),
        "{error}"
    );
}
