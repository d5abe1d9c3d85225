//! The server as a process, and messages to and from it.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result};
use serde_json::Value;

/// A server that runs; it is killed when nobody wants it any more.
pub(crate) struct ServerProcess(pub(crate) Child);

impl ServerProcess {
    /// Starts `cosec-ls` with these arguments, and returns what leads to it and what comes from it.
    pub(crate) fn start(
        command: &mut Command,
    ) -> Result<(Self, ChildStdin, BufReader<ChildStdout>)> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take().context("a pipe was asked for")?;
        let output = child.stdout.take().context("a pipe was asked for")?;
        Ok((Self(child), input, BufReader::new(output)))
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // It is of no use any more, and has nothing to lose.
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

/// The program that cargo built for the benches.
pub(crate) fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_cosec-ls"))
}

/// Writes one message.
pub(crate) fn write(to: &mut impl Write, message: &Value) -> Result<()> {
    let body = message.to_string();
    let frame = format!("Content-Length: {}\r\n\r\n{body}", body.len());
    Ok(to.write_all(frame.as_bytes())?)
}

/// Reads one message; none at the end.
pub(crate) fn read(from: &mut impl BufRead) -> Result<Option<Value>> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        match line.trim().strip_prefix("Content-Length: ") {
            Some(value) => length = value.parse()?,
            None if line.trim().is_empty() => break,
            None => {}
        }
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    Ok(Some(serde_json::from_slice(&body)?))
}
