//! The one writer of the command line: results to standard output, remarks to standard error.
//!
//! Nobody else prints, because the macros of the standard library panic where the output is gone. A result that cannot be
//! written is an error like any other, with which the command ends ([`end`]); a remark that cannot be written is dropped.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Result;
use tokio::io::AsyncWrite;

/// What a shell reports of a program that wrote into a pipe which nobody reads: 128 and the number of SIGPIPE. The runtime
/// of Rust ignores the signal itself.
const CLOSED_PIPE: u8 = 141;

/// Standard output did not take a result.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output")]
pub struct Unwritable(#[from] io::Error);

/// Standard output, for results: `writeln!(out(), "…")?`.
#[derive(Clone, Copy, Debug)]
pub struct Output;

/// Standard output, for results.
pub fn out() -> Output {
    Output
}

impl Output {
    /// What `write!` and `writeln!` call.
    ///
    /// # Errors
    /// If it is closed, or full.
    pub fn write_fmt(self, text: fmt::Arguments<'_>) -> Result<(), Unwritable> {
        Ok(io::stdout().lock().write_fmt(text)?)
    }

    /// Hands over what is buffered.
    ///
    /// # Errors
    /// If it is closed, or full.
    pub fn flush(self) -> Result<(), Unwritable> {
        Ok(io::stdout().lock().flush()?)
    }

    /// Whether a person reads it.
    pub fn is_terminal(self) -> bool {
        io::stdout().is_terminal()
    }
}

/// Says something on standard error, which a script does not read.
pub fn remark(text: impl fmt::Display) {
    // Where standard error is closed or full, there is nobody to tell.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Whether a person reads standard error.
pub fn remarks_are_seen() -> bool {
    io::stderr().is_terminal()
}

/// Standard error, for the log: takes everything, also where it is closed or full.
#[derive(Clone, Copy, Debug)]
pub struct Remarks;

impl Write for Remarks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = io::stderr().lock().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Standard output, for the protocol.
pub fn protocol() -> impl AsyncWrite + Unpin {
    tokio::io::stdout()
}

/// Prints what clap has to say: help and version to standard output, mistakes to standard error.
///
/// # Errors
/// If standard output does not take it.
pub fn usage(message: &clap::Error) -> Result<ExitCode> {
    let printed = message.print();
    if !message.use_stderr() {
        printed.map_err(Unwritable)?;
    }
    // clap has 2 for mistakes.
    Ok(u8::try_from(message.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Ends the program: its exit code, after the last of its results is written and a failure explained.
pub fn end(result: Result<ExitCode>) -> ExitCode {
    let flushed = result.and_then(|code| Ok(out().flush().map(|()| code)?));
    let error = match flushed {
        Ok(code) => return code,
        Err(error) => error,
    };
    match error.downcast_ref() {
        Some(Unwritable(cause)) if cause.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::from(CLOSED_PIPE)
        }
        _ => {
            remark(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
