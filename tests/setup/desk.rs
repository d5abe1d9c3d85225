//! A user's home in a temporary directory, with programs of our choice on the `PATH`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_cosec-ls");

/// A home and a `PATH`, both empty but for what a test puts there.
pub struct Desk {
    directory: TempDir,
}

/// What a command said, and how it ended.
#[derive(Debug)]
pub struct Ran {
    pub out: String,
    pub err: String,
    pub code: Option<i32>,
}

impl Desk {
    pub fn new() -> Self {
        let desk = Self { directory: tempfile::tempdir().unwrap() };
        for name in ["home", "bin"] {
            fs::create_dir(desk.directory.path().join(name)).unwrap();
        }
        desk
    }

    pub fn home(&self, name: &str) -> PathBuf {
        self.directory.path().join("home").join(name)
    }

    /// A shell script on the `PATH`.
    pub fn program(&self, name: &str, script: &str) -> PathBuf {
        let path = self.directory.path().join("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// This program on the `PATH`.
    pub fn link_program(&self) {
        let link = self.directory.path().join("bin/cosec-ls");
        std::os::unix::fs::symlink(PROGRAM, link).unwrap();
    }

    /// This program under another name in the home.
    pub fn link_program_at(&self, name: &str) -> PathBuf {
        let link = self.home(name);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(PROGRAM, &link).unwrap();
        link
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.home(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        let path = self.home(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// `cosec-ls setup LINE`, with nobody at a terminal.
    pub fn setup(&self, line: &str) -> Ran {
        self.ran(self.command(PROGRAM).arg("setup").args(line.split_whitespace()))
    }

    /// A program in this home.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("HOME", self.directory.path().join("home"))
            .env("PATH", self.directory.path().join("bin"))
            .current_dir(self.directory.path())
            .stdin(Stdio::null());
        command
    }

    pub fn ran(&self, command: &mut Command) -> Ran {
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ran { out: text(&output.stdout), err: text(&output.stderr), code: output.status.code() }
    }

    /// Every file of the home with its text, but for our own records.
    pub fn files(&self) -> Vec<(String, String)> {
        let mut files = Vec::new();
        let home = self.home("");
        collect(&home, &home, &mut files);
        files.sort();
        files
    }
}

fn collect(root: &Path, at: &Path, files: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(at).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        if name == ".local/state" {
            continue;
        }
        if path.is_dir() {
            if name != ".local" {
                files.push((name, "a directory".to_owned()));
            }
            collect(root, &path, files);
        } else {
            files.push((name, fs::read_to_string(path).unwrap()));
        }
    }
}

impl Ran {
    /// It did what it was asked for.
    #[track_caller]
    pub fn done(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out
    }

    /// It did not, and says why.
    #[track_caller]
    pub fn refused(self, why: &str) {
        assert_eq!(self.code, Some(1), "{self:?}");
        assert!(self.err.contains(why) && !self.err.contains("panicked"), "{why}: {self:?}");
    }
}
