//! `cosec-ls setup vscode`: the extension, installed by the editor itself from a file that lies with this program.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::Wish;
use super::places::{self, Places};
use super::plan::Plan;

/// Editors that take extensions of VS Code, by the names of their programs.
pub const PROGRAMS: [&str; 4] = ["code", "codium", "code-server", "code-insiders"];

/// The extension's name among extensions.
const EXTENSION: &str = "cosec-ls.cosec-ls";

/// Where the editor keeps its settings; nothing of them is changed.
pub fn directory(places: &Places) -> PathBuf {
    places.platform("Application Support/Code/User", "Code/User")
}

/// Whether the editor has the extension.
pub fn is_set_up(places: &Places) -> bool {
    places.first_program(&PROGRAMS).is_some_and(|program| installed(&program).is_some())
}

/// The extension's version in the editor.
fn installed(program: &Path) -> Option<String> {
    let listed = places::ask(program, &["--list-extensions", "--show-versions"])?;
    let mut lines = listed.lines().filter_map(|line| line.split_once('@'));
    lines.find(|(name, _)| *name == EXTENSION).map(|(_, version)| version.to_owned())
}

/// The command that installs the extension.
///
/// # Errors
/// If there is no editor, or `--vsix` names no file.
pub fn plan(wish: &Wish<'_>) -> Result<Plan> {
    let program = program(wish.places)?;
    let mut plan = Plan {
        next: "In the editor run `Developer: Reload Window`; the walkthrough `cosec-ls` has the first steps.".to_owned(),
        ..Plan::default()
    };
    let Some(package) = package(wish)? else {
        plan.by_hand = Some(format!(
            "no extension lies beside this program: build one (editors/vscode/README.md says how), and name it with `cosec-ls setup vscode --vsix FILE`, or run `{} --install-extension FILE`",
            program.display()
        ));
        return Ok(plan);
    };
    let version = env!("CARGO_PKG_VERSION");
    match installed(&program) {
        Some(there) if there == version && wish.vsix.is_none() => return Ok(plan),
        Some(there) => plan.notes.push(format!("{there} of the extension is installed already")),
        None => {}
    }
    plan.commands.push(command(&program, "--install-extension", &package));
    Ok(plan)
}

/// The command that removes the extension; none if the editor does not have it.
///
/// # Errors
/// If there is no editor.
pub fn undoing(places: &Places) -> Result<Plan> {
    let program = program(places)?;
    let mut plan = Plan::default();
    if installed(&program).is_some() {
        plan.commands.push(command(&program, "--uninstall-extension", Path::new(EXTENSION)));
    }
    Ok(plan)
}

/// The settings that the extension understands are described in it; there is only this one to say from outside.
pub fn configuration(wish: &Wish<'_>) -> String {
    format!("{{\n  \"cosec-ls.server.path\": {:?}\n}}\n", wish.server)
}

fn program(places: &Places) -> Result<PathBuf> {
    let found = places.first_program(&PROGRAMS);
    found.with_context(|| format!("none of {} is on the PATH", PROGRAMS.join(", ")))
}

fn command(program: &Path, verb: &str, what: &Path) -> Vec<String> {
    vec![program.display().to_string(), verb.to_owned(), what.display().to_string()]
}

/// The file of the extension: named, beside the program, or where a package puts it.
fn package(wish: &Wish<'_>) -> Result<Option<PathBuf>> {
    if let Some(named) = wish.vsix {
        if !named.is_file() {
            bail!("--vsix {}: there is no such file", named.display());
        }
        return Ok(Some(named.clone()));
    }
    let own = env::current_exe().and_then(fs::canonicalize).context("where is this program?")?;
    let beside = own.parent().unwrap_or(Path::new("")).to_owned();
    let shared = beside.join("..").join("share").join("cosec-ls");
    Ok([beside, shared].iter().find_map(|directory| best(&packages(directory))))
}

fn packages(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let ours = files.filter(|file| {
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("cosec-ls") && name.ends_with(".vsix")
    });
    let mut ours: Vec<PathBuf> = ours.collect();
    ours.sort();
    ours
}

/// Of several the one without a program inside, since there is one: this; else the one for this platform.
fn best(packages: &[PathBuf]) -> Option<PathBuf> {
    let system = match env::consts::OS {
        "macos" => "darwin",
        "windows" => "win32",
        other => other,
    };
    let machine = match env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    };
    let named = |part: &str| {
        let name = |file: &&PathBuf| file.file_name()?.to_str().map(str::to_owned);
        packages.iter().rev().find(|file| name(file).is_some_and(|name| name.contains(part)))
    };
    let for_any = packages.iter().rev().find(|file| {
        let name = file.to_string_lossy().into_owned();
        !["linux", "darwin", "win32", "alpine"].iter().any(|system| {
            Path::new(&name).file_name().is_some_and(|name| name.to_string_lossy().contains(system))
        })
    });
    for_any.or_else(|| named(&format!("{system}-{machine}"))).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extension_for_another_platform_is_none_for_this() {
        let files = |names: &[&str]| best(&names.iter().map(PathBuf::from).collect::<Vec<_>>());
        let universal = Some(PathBuf::from("cosec-ls-0.2.0.vsix"));
        assert_eq!(files(&["cosec-ls-0.2.0.vsix", "cosec-ls-linux-x64-0.2.0.vsix"]), universal);
        assert_eq!(files(&["cosec-ls-linux-nowhere-0.2.0.vsix"]), None);
        assert_eq!(files(&[]), None);
    }
}
