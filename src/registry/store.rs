//! The directory where verified files live, and what it remembers of them.
//!
//! A file of weights is read in full once, when it is installed; a small marker beside it then holds its sha256, length
//! and time, so that a start costs one `stat`. What an interrupted pull left is under `parts/`, one directory per file.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use directories::ProjectDirs;
use serde::{Deserialize, Serialize};

use crate::files;

use super::manifest::Artifact;
use super::{Error, Presence, split};

/// The directory of one user's files.
#[derive(Debug)]
pub(super) struct Store {
    directory: PathBuf,
}

/// Held while a file is fetched, checked or removed; dropping it lets the next process in.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// What was true of a file, or of all parts of a split one, when its sha256 was right.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Marker {
    path: PathBuf,
    sha256: String,
    size_bytes: u64,
    /// Nanoseconds since 1970, of the newest part; a file that was written again since is not trusted.
    modified_ns: u64,
}

/// The user's own `models.toml`, if there is one.
pub(super) fn user_manifest() -> Option<PathBuf> {
    let file = project_dirs()?.config_dir().join("models.toml");
    file.is_file().then_some(file)
}

fn project_dirs() -> Option<ProjectDirs> {
    ProjectDirs::from("", "", "cosec-ls")
}

impl Store {
    /// The given directory, `COSEC_MODELS_DIR`, or the platform's; not created until something is written.
    pub(super) fn new(directory: Option<PathBuf>) -> Result<Self, Error> {
        let named = std::env::var_os("COSEC_MODELS_DIR").filter(|value| !value.is_empty());
        let directory = directory
            .or_else(|| named.map(PathBuf::from))
            .or_else(|| Some(project_dirs()?.cache_dir().join("models")))
            .ok_or(Error::NoDirectory)?;
        let absolute = std::path::absolute(&directory);
        absolute
            .map(|directory| Self { directory })
            .map_err(|cause| Error::Io { path: directory, cause })
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where an interrupted pull of this file leaves what is complete.
    pub(super) fn parts(&self, artifact: &Artifact<'_>) -> PathBuf {
        self.directory.join("parts").join(file_name(artifact))
    }

    /// The file, if its marker still holds.
    pub(super) fn verified(&self, artifact: &Artifact<'_>) -> Option<PathBuf> {
        let text = fs::read(self.marker(artifact)).ok()?;
        let marker: Marker = serde_json::from_slice(&text).ok()?;
        let holds = marker.sha256 == artifact.sha256.as_str()
            && Marker::of(artifact, &marker.path).is_ok_and(|now| now == marker);
        holds.then_some(marker.path)
    }

    /// The file, verified or not.
    pub(super) fn present(&self, artifact: &Artifact<'_>) -> Option<PathBuf> {
        let installed = || Some(self.file(artifact)).filter(|file| file.is_file());
        self.verified(artifact).or_else(installed)
    }

    pub(super) fn presence(&self, artifact: &Artifact<'_>) -> Presence {
        if let Some(path) = self.verified(artifact) {
            return Presence::Ready(path);
        }
        if let Some(path) = self.present(artifact) {
            return Presence::Unverified(path);
        }
        match self.begun_bytes(artifact) {
            0 => Presence::Absent,
            bytes => Presence::Partial { bytes },
        }
    }

    /// What an interrupted pull of this file left, in bytes.
    pub(super) fn begun_bytes(&self, artifact: &Artifact<'_>) -> u64 {
        size_of(&self.parts(artifact))
    }

    /// Takes the file's lock if it is free.
    pub(super) fn try_lock(&self, artifact: &Artifact<'_>) -> io::Result<Option<Lock>> {
        fs::create_dir_all(&self.directory)?;
        let file = File::create(self.beside(artifact, "lock"))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(cause)) => Err(cause),
        }
    }

    /// Remembers that the sha256 of the file at `path` is right.
    pub(super) fn mark(&self, artifact: &Artifact<'_>, path: &Path) -> io::Result<()> {
        let marker = Marker::of(artifact, path)?;
        files::replace(&self.marker(artifact), &serde_json::to_vec(&marker)?)
    }

    /// Moves a checked file to its place, in one step for everybody who looks.
    pub(super) fn install(&self, artifact: &Artifact<'_>, checked: &Path) -> io::Result<PathBuf> {
        let file = self.file(artifact);
        fs::rename(checked, &file)?;
        self.mark(artifact, &file)?;
        remove_tree(&self.parts(artifact))?;
        Ok(file)
    }

    /// No longer trusts the file.
    pub(super) fn forget(&self, artifact: &Artifact<'_>) -> Result<(), Error> {
        remove_file(&self.marker(artifact)).map(drop)
    }

    /// Removes the file, its marker and its parts; returns the bytes that became free.
    pub(super) fn remove(&self, artifact: &Artifact<'_>) -> Result<u64, Error> {
        let parts = self.parts(artifact);
        let part_bytes = size_of(&parts);
        remove_tree(&parts).map_err(|cause| Error::Io { path: parts, cause })?;
        self.forget(artifact)?;
        Ok(part_bytes + remove_file(&self.file(artifact))?)
    }

    fn file(&self, artifact: &Artifact<'_>) -> PathBuf {
        self.directory.join(file_name(artifact))
    }

    fn marker(&self, artifact: &Artifact<'_>) -> PathBuf {
        self.beside(artifact, "verified")
    }

    fn beside(&self, artifact: &Artifact<'_>, extension: &str) -> PathBuf {
        self.directory.join(format!("{}.{extension}", file_name(artifact)))
    }
}

impl Marker {
    fn of(artifact: &Artifact<'_>, path: &Path) -> io::Result<Self> {
        let (mut size_bytes, mut modified_ns) = (0, 0);
        for file in split::files(path) {
            let metadata = fs::metadata(file)?;
            let modified = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            size_bytes += metadata.len();
            modified_ns = modified_ns.max(u64::try_from(modified.as_nanos()).unwrap_or(u64::MAX));
        }
        let (path, sha256) = (path.to_owned(), artifact.sha256.as_str().to_owned());
        Ok(Self { path, sha256, size_bytes, modified_ns })
    }
}

fn file_name(artifact: &Artifact<'_>) -> String {
    format!("{}.gguf", artifact.name)
}

/// Bytes of all files below a directory; 0 if there is none.
pub(super) fn size_of(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else {
        return 0;
    };
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size_of(&entry.path()),
        Ok(metadata) if metadata.is_file() => metadata.len(),
        _ => 0,
    };
    entries.flatten().map(size).sum()
}

/// Removes a directory that may not be there.
pub(super) fn remove_tree(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Removes a file that may not be there; returns its length.
fn remove_file(file: &Path) -> Result<u64, Error> {
    let bytes = fs::metadata(file).map_or(0, |metadata| metadata.len());
    match fs::remove_file(file) {
        Ok(()) => Ok(bytes),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(cause) => Err(Error::Io { path: file.to_owned(), cause }),
    }
}
