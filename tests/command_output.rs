//! What commands do whose output is closed or full: they end in order, with the usual status, and never panic.

#![cfg(target_os = "linux")]

use std::fs::{self, File};
use std::io::{Write, pipe};
use std::process::{Command, Output, Stdio};

use crate::adapted_pair::Machine;

/// Commands that print, each of another part of the command line. `FILE` is a file of a few lines, `OUT` a directory.
const COMMANDS: [&str; 14] = [
    "--help",
    "--version",
    "complete --help",
    "models list",
    "models verify",
    "models pull big",
    "models rm big",
    "doctor",
    "setup",
    "setup helix --print --languages go",
    "complete FILE:2 --max-tokens 4",
    "complete FILE:2 --max-tokens 4 --json --mode off,security",
    "bench FILE --prompt 4 --tokens 2 --rounds 1 --temperature 0",
    "eval latency FILE --prompt 4 --tokens 2 --rounds 1 --out OUT",
];

/// What no message may hold.
const PANIC: &str = "panicked";

/// A machine with tiny models and a file to complete.
fn machine() -> Machine {
    let machine = Machine::new();
    fs::write(machine.path("f.py"), "def f():\n    return 1\n\n\nprint(f())\n").unwrap();
    machine
}

fn command(machine: &Machine, line: &str) -> Command {
    let line = line
        .replace("FILE", &machine.path("f.py").display().to_string())
        .replace("OUT", &machine.path("out").display().to_string());
    let mut command = Command::new(env!("CARGO_BIN_EXE_cosec-ls"));
    command
        .args(line.split_whitespace())
        .args(["--offline", "--threads", "2", "--profile", "pair", "--models"])
        .arg(machine.path("models.toml"))
        .env("COSEC_MODELS_DIR", machine.path("store"))
        .stdin(Stdio::null());
    command
}

/// Standard error, and the exit code.
fn ended(output: &Output) -> (String, Option<i32>) {
    (String::from_utf8_lossy(&output.stderr).into_owned(), output.status.code())
}

#[test]
fn a_pipe_that_nobody_reads_ends_every_command_as_its_signal_would() {
    let machine = machine();
    for line in COMMANDS {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let (said, code) = ended(&command(&machine, line).stdout(writer).output().unwrap());
        assert_eq!(code, Some(141), "{line}: {said}");
        assert!(!said.contains(PANIC) && !said.contains("error"), "{line}: {said}");
    }
}

#[test]
fn a_full_device_is_a_message_and_a_failure() {
    let machine = machine();
    for line in COMMANDS {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let (said, code) = ended(&command(&machine, line).stdout(full).output().unwrap());
        assert_eq!(code, Some(1), "{line}: {said}");
        let message = "error: cannot write to standard output: No space left on device";
        assert!(said.contains(message) && !said.contains(PANIC), "{line}: {said}");
    }
}

#[test]
fn standard_error_that_takes_nothing_changes_no_result() {
    let machine = machine();
    for line in [
        "models list",
        "models verify",
        "complete FILE:2 --max-tokens 4 --log trace",
        "no",
        "models list --log a=b=c",
    ] {
        let whole = command(&machine, line).output().unwrap();
        let full = File::options().write(true).open("/dev/full").unwrap();
        let (reader, closed) = pipe().unwrap();
        drop(reader);
        for stderr in [Stdio::from(full), Stdio::from(closed)] {
            let output = command(&machine, line).stderr(stderr).output().unwrap();
            assert_eq!(output.status.code(), whole.status.code(), "{line}");
            assert_eq!(output.stdout.is_empty(), whole.stdout.is_empty(), "{line}");
        }
    }
}

#[test]
fn closed_standard_streams_are_no_panic() {
    let machine = machine();
    for closed in [">&-", "2>&-", "<&-", ">&- 2>&-"] {
        let plain = command(&machine, "models list");
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", &format!("exec \"$0\" \"$@\" {closed}")]).arg(plain.get_program());
        shell.args(plain.get_args()).env("COSEC_MODELS_DIR", machine.path("store"));
        let (said, code) = ended(&shell.output().unwrap());
        assert!(matches!(code, Some(0 | 1)) && !said.contains(PANIC), "{closed}: {code:?} {said}");
    }
}

#[test]
fn a_server_whose_output_is_gone_ends_in_order() {
    let machine = machine();
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"capabilities":{}}}"#;
    let message = format!("Content-Length: {}\r\n\r\n{body}", body.len());
    let (reader, closed) = pipe().unwrap();
    drop(reader);
    let full = File::options().write(true).open("/dev/full").unwrap();
    for stdout in [Stdio::from(full), Stdio::from(closed)] {
        let mut serving = command(&machine, "serve");
        serving.stdin(Stdio::piped()).stdout(stdout).stderr(Stdio::piped());
        let mut child = serving.spawn().unwrap();
        // Held open until the end: it is the output that ends the server.
        let mut input = child.stdin.take().unwrap();
        input.write_all(message.as_bytes()).unwrap();
        let (said, code) = ended(&child.wait_with_output().unwrap());
        assert!(code.is_some() && code != Some(101) && !said.contains(PANIC), "{code:?} {said}");
        drop(input);
    }
}
