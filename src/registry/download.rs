//! Getting one file: its sources in order, each failing fast, and nothing installed whose sha256 is wrong.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::hub::{self, Hub};
use super::manifest::{Artifact, Source};
use super::pip::{self, Python};
use super::store::{self, Lock, Store};
use super::{Attempt, Error, Progress, split};

/// How often a wait looks whether it was cancelled, and how often progress is told.
pub(super) const POLL: Duration = Duration::from_millis(100);

/// Bytes per read; cancellation is checked in between.
const CHUNK_BYTES: usize = 1 << 20;

/// What fetching may use.
#[derive(Debug)]
pub(super) struct Means {
    /// The setting that forbids the network, if one does.
    pub(super) offline: Option<String>,
    pub(super) python: Python,
    pub(super) hub: Hub,
}

/// One file to get, where to, and who is told.
pub(super) struct Job<'a> {
    pub(super) artifact: Artifact<'a>,
    pub(super) store: &'a Store,
    pub(super) progress: &'a dyn Progress,
    /// Bytes that this source was last said to have brought.
    told_bytes: Cell<u64>,
}

/// How far a file is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// On this machine alone.
    Here,
    /// Wherever its sources are.
    Everywhere,
}

/// What a source gave.
enum Found {
    /// A file of the user's, or of another program: stays where it is.
    Elsewhere(PathBuf),
    /// A file among the parts: moves into the store.
    Fetched {
        path: PathBuf,
        /// All that this source has among the parts.
        parts: PathBuf,
    },
}

/// Finds the file, or asks one source after the other. The caller holds the lock.
pub(super) fn fetch(job: &Job<'_>, means: &Means, reach: Reach) -> Result<PathBuf, Error> {
    let mut attempts = Vec::new();
    if let Some(path) = job.store.present(&job.artifact) {
        match job.verify(&path, "the store") {
            Ok(()) => return Ok(path),
            Err(error) => job.give_up("store".to_owned(), error, &mut attempts)?,
        }
    }
    for source in job.artifact.sources {
        if let Some(failed) = attempts.last()
            && reach == Reach::Everywhere
        {
            job.progress.note(&format!("{failed}; trying {source}"));
        }
        match from_source(source, job, means, reach) {
            Ok(path) => return Ok(path),
            Err(error) => job.give_up(source.to_string(), error, &mut attempts)?,
        }
    }
    let name = job.artifact.name.to_owned();
    match attempts.iter().any(|attempt| matches!(attempt.error, Error::NotTried)) {
        true => Err(Error::NotHere { name, attempts }),
        false => Err(Error::Unavailable { name, attempts }),
    }
}

/// Asks one source; the file that comes back is verified and in its place.
fn from_source(
    source: &Source,
    job: &Job<'_>,
    means: &Means,
    reach: Reach,
) -> Result<PathBuf, Error> {
    let from = source.to_string();
    job.told_bytes.set(0);
    match ask(source, job, means, reach)? {
        Found::Elsewhere(path) => job.verify(&path, &from).map(|()| path),
        Found::Fetched { path, parts } => {
            job.check(&path, &from).inspect_err(|error| job.drop_if_wrong(&parts, error))?;
            job.store.install(&job.artifact, &path).map_err(|cause| job.io_error(&path, cause))
        }
    }
}

fn ask(source: &Source, job: &Job<'_>, means: &Means, reach: Reach) -> Result<Found, Error> {
    match source {
        Source::Path(path) => Ok(Found::Elsewhere(path.clone())),
        Source::Hub(source) => {
            if let Some(path) = means.hub.cached(source) {
                return Ok(Found::Elsewhere(path));
            }
            means.check_online(reach)?;
            let parts = job.parts().join("hub");
            hub::fetch(&means.hub, source, &parts, job).map(|path| Found::Fetched { path, parts })
        }
        Source::Pip(source) => {
            means.check_online(reach)?;
            let parts = job.parts().join("pip");
            pip::fetch(&means.python, source, &parts, job)
                .map(|path| Found::Fetched { path, parts })
        }
    }
}

impl Means {
    /// Whether a source has the file on this machine; looks at no more than names.
    pub(super) fn has_here(&self, source: &Source) -> bool {
        match source {
            Source::Path(path) => path.exists(),
            Source::Hub(source) => self.hub.cached(source).is_some(),
            Source::Pip(_) => false,
        }
    }

    fn check_online(&self, reach: Reach) -> Result<(), Error> {
        match &self.offline {
            _ if reach == Reach::Here => Err(Error::NotTried),
            Some(setting) => Err(Error::Offline { setting: setting.clone() }),
            None => Ok(()),
        }
    }
}

impl<'a> Job<'a> {
    pub(super) fn new(
        artifact: Artifact<'a>,
        store: &'a Store,
        progress: &'a dyn Progress,
    ) -> Self {
        Self { artifact, store, progress, told_bytes: Cell::new(0) }
    }

    /// Waits for the file's lock, and says so, and how far the one is who has it.
    pub(super) fn lock(&self) -> Result<Lock, Error> {
        let mut told = false;
        loop {
            let lock = self.store.try_lock(&self.artifact);
            if let Some(lock) =
                lock.map_err(|cause| self.io_error(self.store.directory(), cause))?
            {
                return Ok(lock);
            }
            if !told {
                let name = self.artifact.name;
                self.progress
                    .note(&format!("another process is busy with `{name}`; waiting for it"));
                told = true;
            }
            // What the other one has fetched is as good as ours.
            self.advance(self.store.begun_bytes(&self.artifact));
            self.check_cancelled()?;
            thread::sleep(POLL);
        }
    }

    /// Checks the sha256 of a file in its final place and remembers that it is right.
    pub(super) fn verify(&self, path: &Path, from: &str) -> Result<(), Error> {
        self.check(path, from)?;
        self.store.mark(&self.artifact, path).map_err(|cause| self.io_error(path, cause))
    }

    /// Where this file's parts are.
    pub(super) fn parts(&self) -> PathBuf {
        self.store.parts(&self.artifact)
    }

    /// Tells how far the file is. Wheels are longer than what is in them, but nobody shall see the bar overrun or fall
    /// back because of that.
    pub(super) fn advance(&self, done_bytes: u64) {
        let total = self.artifact.size_bytes;
        self.told_bytes.set(done_bytes.min(total).max(self.told_bytes.get()));
        self.progress.advance(self.artifact.name, self.told_bytes.get(), total);
    }

    /// # Errors
    ///
    /// [`Error::Cancelled`] once nobody wants the file any more.
    pub(super) fn check_cancelled(&self) -> Result<(), Error> {
        match self.progress.is_cancelled() {
            true => Err(self.cancelled()),
            false => Ok(()),
        }
    }

    pub(super) fn cancelled(&self) -> Error {
        Error::Cancelled {
            name: self.artifact.name.to_owned(),
            directory: self.store.directory().to_owned(),
        }
    }

    /// A full disk is told apart, since no other source can help then.
    pub(super) fn io_error(&self, path: &Path, cause: io::Error) -> Error {
        match cause.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => self.disk_full(),
            _ => Error::Io { path: path.to_owned(), cause },
        }
    }

    pub(super) fn disk_full(&self) -> Error {
        let here_bytes = store::size_of(&self.parts());
        Error::DiskFull {
            directory: self.store.directory().to_owned(),
            name: self.artifact.name.to_owned(),
            needed_bytes: self.artifact.size_bytes.saturating_sub(here_bytes),
        }
    }

    /// Copies all that `from` has; calls `on_chunk` with the bytes so far.
    pub(super) fn copy(
        &self,
        from: &mut dyn Read,
        to: &mut dyn Write,
        on_chunk: impl Fn(u64),
    ) -> Result<io::Result<u64>, Error> {
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut done_bytes = 0;
        loop {
            self.check_cancelled()?;
            let n_bytes = match from.read(&mut chunk) {
                Ok(0) => return Ok(Ok(done_bytes)),
                Ok(n_bytes) => n_bytes,
                Err(cause) => return Ok(Err(cause)),
            };
            if let Err(cause) = to.write_all(&chunk[..n_bytes]) {
                return Ok(Err(cause));
            }
            done_bytes += n_bytes as u64;
            on_chunk(done_bytes);
        }
    }

    /// The sha256 of a split model is that of its parts one after the other.
    fn check(&self, path: &Path, from: &str) -> Result<(), Error> {
        self.progress.note(&format!("checking the sha256 of `{}`", self.artifact.name));
        let mut hasher = Sha256::new();
        for part in split::files(path) {
            let io_error = |cause| self.io_error(&part, cause);
            let mut file = File::open(&part).map_err(io_error)?;
            self.copy(&mut file, &mut hasher, |_| ())?.map_err(io_error)?;
        }
        let got = format!("{:x}", hasher.finalize());
        if got == self.artifact.sha256.as_str() {
            return Ok(());
        }
        let expected = self.artifact.sha256.to_string();
        Err(Error::Checksum { from: from.to_owned(), expected, got })
    }

    /// Parts that add up to the wrong file would do so at every further pull.
    fn drop_if_wrong(&self, parts: &Path, error: &Error) {
        if matches!(error, Error::Checksum { .. })
            && let Err(cause) = store::remove_tree(parts)
        {
            self.progress.note(&format!("{}: {cause}", parts.display()));
        }
    }

    /// Keeps what a source said and lets the next one try, unless none can help.
    fn give_up(
        &self,
        source: String,
        error: Error,
        attempts: &mut Vec<Attempt>,
    ) -> Result<(), Error> {
        if matches!(error, Error::Cancelled { .. } | Error::DiskFull { .. }) {
            return Err(error);
        }
        // Ctrl-C reaches pip too, whose complaint about it is not the reason.
        self.check_cancelled()?;
        attempts.push(Attempt { source, error });
        Ok(())
    }
}
