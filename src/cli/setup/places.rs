//! Where editors keep their configuration, and which programs there are.

use std::env;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use directories::{BaseDirs, ProjectDirs};

/// Our own name on the `PATH`.
const PROGRAM: &str = "cosec-ls";

/// How long a program may take to say its version, or what it has installed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Directories of the user, as the editors look for them, and the `PATH`.
#[derive(Debug)]
pub struct Places {
    /// The user's home.
    pub home: PathBuf,
    /// `$XDG_CONFIG_HOME` or `~/.config`, on macOS too; on Windows the roaming application data.
    pub config: PathBuf,
    /// `$XDG_DATA_HOME` or `~/.local/share`, on macOS too; on Windows the local application data.
    pub data: PathBuf,
    /// Where we remember what was written.
    pub state: PathBuf,
    path: Vec<PathBuf>,
}

impl Places {
    /// The places of the user who runs this program.
    ///
    /// # Errors
    /// If there is no home directory.
    pub fn of_user() -> Result<Self> {
        let base = BaseDirs::new().context("there is no home directory")?;
        let project = ProjectDirs::from("", "", PROGRAM).context("there is no home directory")?;
        let home = base.home_dir().to_owned();
        let (config, data) = if cfg!(windows) {
            (base.config_dir().to_owned(), base.data_local_dir().to_owned())
        } else {
            // Editors that are at home in a terminal go by XDG on macOS as well.
            (xdg("XDG_CONFIG_HOME", &home, ".config"), xdg("XDG_DATA_HOME", &home, ".local/share"))
        };
        let state = project.state_dir().unwrap_or(project.data_local_dir()).join("setup");
        let path = env::var_os("PATH").unwrap_or_default();
        Ok(Self { home, config, data, state, path: env::split_paths(&path).collect() })
    }

    /// The configuration of a program that follows its platform: `~/Library/below_library` on macOS, else `below` the
    /// configuration directory.
    pub fn platform(&self, below_library: &str, below: &str) -> PathBuf {
        match cfg!(target_os = "macos") {
            true => self.home.join("Library").join(below_library),
            false => self.config.join(below),
        }
    }

    /// A program on the `PATH`.
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        let endings: &[&str] = if cfg!(windows) { &[".exe", ".cmd", ".bat"] } else { &[""] };
        let files = self.path.iter().filter(|directory| directory.is_absolute());
        let mut files =
            files.flat_map(|at| endings.iter().map(move |end| at.join(format!("{name}{end}"))));
        files.find(|file| is_executable(file))
    }

    /// The first of these that is on the `PATH`.
    pub fn first_program(&self, names: &[&str]) -> Option<PathBuf> {
        names.iter().find_map(|name| self.program(name))
    }

    /// How an editor starts this program: by its name, if that leads to it, else by its path. A name that only leads to it
    /// while a virtual environment of Python is active is none for an editor that was started elsewhere.
    ///
    /// # Errors
    /// If the system does not say where this program is.
    pub fn server(&self) -> Result<String> {
        let own = env::current_exe().context("where is this program?")?;
        let same = |found: &PathBuf| fs::canonicalize(found).ok() == fs::canonicalize(&own).ok();
        let path = match self.program(PROGRAM).filter(same) {
            Some(found) if !is_in_virtual_environment(&found) => return Ok(PROGRAM.to_owned()),
            Some(found) => found,
            None => own,
        };
        Ok(path.to_str().context("the path of this program is not UTF-8")?.to_owned())
    }

    /// A path as people write it.
    pub fn shown(&self, path: &Path) -> String {
        match path.strip_prefix(&self.home) {
            Ok(below) if !cfg!(windows) && below.components().next().is_some() => {
                format!("~/{}", below.display())
            }
            _ => path.display().to_string(),
        }
    }
}

fn is_in_virtual_environment(program: &Path) -> bool {
    let environment = program.parent().and_then(Path::parent);
    environment.is_some_and(|directory| directory.join("pyvenv.cfg").exists())
}

fn xdg(variable: &str, home: &Path, below: &str) -> PathBuf {
    // The specification: paths that are not absolute are to be ignored.
    let set = env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    set.unwrap_or_else(|| home.join(below))
}

#[cfg(unix)]
fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(file).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(file: &Path) -> bool {
    file.is_file()
}

/// What a program prints, if it ends well within ten seconds. Graphical programs get no display.
pub fn ask(program: &Path, args: &[&str]) -> Option<String> {
    let mut child = Command::new(program)
        .args(args)
        .env("QT_QPA_PLATFORM", "offscreen")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut output = child.stdout.take()?;
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut printed = Vec::new();
        let whole = output.read_to_end(&mut printed);
        // Where nobody waits any more, nobody is told.
        let _ = sender.send(whole.map(|_| printed));
    });
    let printed = receiver.recv_timeout(PATIENCE);
    if printed.is_err() {
        // One that has just ended needs no end.
        let _ = child.kill();
    }
    let ended = child.wait().ok()?;
    let printed = printed.ok()?.ok()?;
    ended.success().then(|| String::from_utf8_lossy(&printed).into_owned())
}

/// The version that a program says it has: the first word of its first lines that begins as a number.
pub fn version(program: &Path) -> Option<String> {
    let said = ask(program, &["--version"])?;
    version_in(&said).map(str::to_owned)
}

fn version_in(said: &str) -> Option<&str> {
    let words = said.lines().take(3).flat_map(str::split_whitespace);
    let mut numbers = words.map(|word| word.strip_prefix('v').unwrap_or(word));
    numbers.find(|word| word.starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_where_editors_say_them() {
        for (said, version) in [
            ("helix 25.07.1 (abc)", Some("25.07.1")),
            ("NVIM v0.12.4\nBuild type: Release", Some("0.12.4")),
            ("GNU Emacs 30.1\nCopyright", Some("30.1")),
            ("1.100.3\nabc\nx64", Some("1.100.3")),
            ("Sublime Text Build 4200", Some("4200")),
            ("no", None),
        ] {
            assert_eq!(version_in(said), version, "{said}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_program_is_asked_and_its_failure_is_no_answer() {
        let shell = Path::new("/bin/sh");
        assert_eq!(ask(shell, &["-c", "echo 1"]).as_deref(), Some("1\n"));
        assert_eq!(ask(shell, &["-c", "echo 1; exit 3"]), None);
        assert_eq!(ask(Path::new("/nowhere"), &[]), None);
    }
}
