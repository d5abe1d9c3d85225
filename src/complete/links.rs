//! Where the symbolic links of a document's path lead.
//!
//! The file system may take its time, on a network mount that is gone for ever, so nobody waits for it in a handler:
//! [`Links::look_up`] asks on a blocking thread when a document is opened, and until the answer is there the document
//! counts as secret. A keystroke costs no call of the system.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

/// Links that are followed one after the other; Linux follows as many.
const MAX_LINKS: usize = 40;

/// How long a question waits for the file system: longer than any disk takes, shorter than a user waits.
const PATIENCE: Duration = Duration::from_secs(2);

/// Look-ups at the same time. Those of a mount that is gone never end, and must leave threads for the others.
static LOOK_UPS: Semaphore = Semaphore::const_new(16);

/// The paths behind a document's own path, as soon as they are known.
#[derive(Clone, Debug)]
pub struct Links(watch::Receiver<Option<Arc<[PathBuf]>>>);

impl Links {
    /// For a document that is in no file.
    pub fn none() -> Self {
        Self::known(Vec::new())
    }

    /// Asks the file system and waits for it.
    pub fn now(path: &Path) -> Self {
        Self::known(behind(path))
    }

    /// Asks the file system on another thread. Only inside a tokio runtime.
    #[expect(
        clippy::disallowed_methods,
        reason = "a file system may never answer, and only a thread of its own can wait for it"
    )]
    pub fn look_up(path: PathBuf) -> Self {
        let (answer, links) = watch::channel(None);
        tokio::spawn(async move {
            // The semaphore is never closed, and a look-up that panicked leaves the document secret.
            let Ok(_permit) = LOOK_UPS.acquire().await else { return };
            if let Ok(paths) = tokio::task::spawn_blocking(move || behind(&path)).await {
                answer.send_replace(Some(paths.into()));
            }
        });
        Self(links)
    }

    /// The paths, if they are known by now.
    pub fn paths(&self) -> Option<Arc<[PathBuf]>> {
        self.0.borrow().clone()
    }

    /// Waits until the paths are known, but not for long.
    pub async fn settle(&self) {
        if self.paths().is_some() {
            return;
        }
        let mut links = self.0.clone();
        // Too late, or nobody will tell: `paths` says which.
        drop(timeout(PATIENCE, links.wait_for(Option::is_some)).await);
    }

    fn known(paths: Vec<PathBuf>) -> Self {
        Self(watch::channel(Some(paths.into())).1)
    }
}

/// Every path that following the links of `path` one by one leads to, and the resolved path at last. Of a file that does
/// not exist the nearest folder that does is resolved.
fn behind(path: &Path) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    let mut at = path.to_owned();
    while paths.len() < MAX_LINKS
        && let Some(next) = after_first_link(&at)
    {
        paths.push(next.clone());
        at = next;
    }
    paths.extend(resolved(path));
    paths
}

/// The path with its first part that is a link replaced by where that leads; none without links.
fn after_first_link(path: &Path) -> Option<PathBuf> {
    let mut walked = PathBuf::new();
    let mut rest = path.components();
    while let Some(part) = rest.next() {
        walked.push(part);
        if matches!(part, Component::Prefix(_) | Component::RootDir) {
            continue;
        }
        if let Ok(target) = std::fs::read_link(&walked) {
            walked.pop();
            return Some(walked.join(target).join(rest.as_path()));
        }
    }
    None
}

fn resolved(path: &Path) -> Option<PathBuf> {
    path.ancestors().find_map(|folder| {
        let rest = path.strip_prefix(folder).ok()?;
        let folder = std::fs::canonicalize(folder).ok()?;
        Some(if rest.as_os_str().is_empty() { folder } else { folder.join(rest) })
    })
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// A folder that is resolved itself, and goes with the test.
    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = fs::canonicalize(folder.path()).unwrap();
        (folder, path)
    }

    #[test]
    fn every_link_on_the_way_is_told() {
        let (_kept, at) = folder();
        fs::create_dir_all(at.join("home/.ssh")).unwrap();
        fs::write(at.join("home/.ssh/config"), "").unwrap();
        symlink("home/.ssh/config", at.join("direct")).unwrap();
        symlink("direct", at.join("notes.txt")).unwrap();
        symlink(at.join("home/.ssh"), at.join("docs")).unwrap();
        symlink("../plain", at.join("home/.env")).unwrap();
        symlink("home/.env", at.join("through")).unwrap();
        fs::write(at.join("plain"), "").unwrap();
        for (name, behind) in [
            ("direct", "home/.ssh/config"),
            ("notes.txt", "direct"),
            ("notes.txt", "home/.ssh/config"),
            ("docs/config", "home/.ssh/config"),
            ("docs/new-file", "home/.ssh/new-file"),
            ("docs/new-folder/new-file", "home/.ssh/new-folder/new-file"),
            ("through", "home/.env"),
            ("through", "plain"),
            ("plain", "plain"),
        ] {
            let paths = Links::now(&at.join(name)).paths().unwrap();
            assert!(paths.contains(&at.join(behind)), "{name}: {paths:?}");
        }
    }

    #[test]
    fn links_in_a_circle_end() {
        let (_kept, at) = folder();
        symlink("b", at.join("a")).unwrap();
        symlink("a", at.join("b")).unwrap();
        assert!(behind(&at.join("a")).len() <= MAX_LINKS + 1);
    }

    #[tokio::test]
    async fn a_look_up_is_known_in_a_while() {
        let (_kept, at) = folder();
        symlink(".env", at.join("x")).unwrap();
        let links = Links::look_up(at.join("x"));
        assert_eq!(links.paths(), None);
        links.settle().await;
        assert_eq!(links.paths().unwrap()[0], at.join(".env"));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_a_file_system_that_is_gone() {
        let (_never, links) = watch::channel(None);
        let links = Links(links);
        links.settle().await;
        assert_eq!(links.paths(), None);
    }
}
