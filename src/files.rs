//! Files that appear whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Writes `content` beside `path`, flushes it to the disk, and renames it to `path`: whoever looks sees the older file or
/// this one, with the older one's permissions. Two writers at once need a lock between them.
///
/// # Errors
/// If the disk is full or the directory cannot be written; an older file is then untouched, and nothing is left beside it.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let next = beside(path);
    let written = File::create(&next).and_then(|mut file| {
        if let Ok(older) = fs::metadata(path) {
            file.set_permissions(older.permissions())?;
        }
        file.write_all(content)?;
        file.sync_all()
    });
    written.and_then(|()| fs::rename(&next, path)).inspect_err(|_| {
        // What cannot be removed was never there, or is overwritten by the next try.
        let _ = fs::remove_file(&next);
    })
}

/// Where the content waits until it is whole.
fn beside(path: &Path) -> PathBuf {
    let mut next = path.as_os_str().to_owned();
    next.push(".next");
    PathBuf::from(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_and_nothing_stays_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.json");
        for content in ["first", "second"] {
            replace(&path, content.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_written_leaves_the_older_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.json");
        replace(&path, b"first").unwrap();
        fs::create_dir(beside(&path)).unwrap();
        replace(&path, b"second").unwrap_err();
        assert_eq!(fs::read_to_string(&path).unwrap(), "first");
        let absent = directory.path().join("none").join("a.json");
        assert_eq!(replace(&absent, b"x").unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
