//! `cosec-ls models`: what is known, what is here, and how to get or lose it.

use std::fmt::Write as _;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use indicatif::HumanBytes;

use super::output::{out, remark};
use super::progress::Terminal;
use crate::config::Settings;
use crate::registry::{AdapterPlace, Error, Listed, Presence, Profile, Registry};

/// Models on this machine.
#[derive(Args, Debug)]
pub struct ModelsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show models, adapters and profiles, and what of them is here
    List,
    /// Fetch models, or all models of profiles; goes on where an earlier pull was interrupted
    Pull {
        /// Names of models, adapters or profiles [default: the default profile]
        names: Vec<String>,
    },
    /// Read files again in full and check their sha256
    Verify {
        /// Names of models, adapters or profiles [default: all that are here]
        names: Vec<String>,
    },
    /// Print the paths of files that are here and verified
    Path {
        /// Names of models, adapters or profiles [default: the default profile]
        names: Vec<String>,
    },
    /// Remove files, and what interrupted pulls left of them
    Rm {
        /// Names of models, adapters or profiles
        #[arg(required = true)]
        names: Vec<String>,
    },
}

/// Runs one of the subcommands.
///
/// # Errors
///
/// Whatever the registry says; nothing is left half done.
pub fn run(args: ModelsArgs, registry: Registry) -> Result<()> {
    match args.command {
        Command::List => write!(out(), "{}", render(&registry))?,
        Command::Pull { names } => pull(&registry, &names_or_default(names))?,
        Command::Verify { names } => verify(&registry, names)?,
        Command::Path { names } => paths(&registry, &names_or_default(names))?,
        Command::Rm { names } => remove(&registry, &names)?,
    }
    Ok(())
}

fn names_or_default(names: Vec<String>) -> Vec<String> {
    match names.is_empty() {
        true => vec![Settings::default().profile],
        false => names,
    }
}

/// Names of files, each once, in the order of the names that stand for them.
fn files<'a>(registry: &'a Registry, names: &[String]) -> Result<Vec<&'a str>> {
    let mut files = Vec::new();
    for name in names {
        for file in registry.files(name)? {
            if !files.contains(&file) {
                files.push(file);
            }
        }
    }
    Ok(files)
}

fn pull(registry: &Registry, names: &[String]) -> Result<()> {
    let files = files(registry, names)?;
    let progress = Terminal::new();
    for file in files {
        writeln!(out(), "{file}: {}", fetch(registry, file, &progress)?)?;
    }
    for profile in names.iter().filter_map(|name| registry.profile(name).ok()) {
        writeln!(out(), "profile {}: {profile}", profile.name)?;
    }
    Ok(())
}

/// Where a verified model or adapter is, in words.
fn fetch(registry: &Registry, name: &str, progress: &Terminal) -> Result<String, Error> {
    match registry.adapter(name) {
        Ok(_) => Ok(registry.adapter_files(name)?.place.to_string()),
        Err(_) => Ok(registry.ensure(name, progress)?.display().to_string()),
    }
}

fn verify(registry: &Registry, names: Vec<String>) -> Result<()> {
    let here =
        |listed: &Listed| !matches!(listed.presence, Presence::Absent | Presence::Partial { .. });
    let names = match names.is_empty() {
        true => registry.list().into_iter().filter(here).map(|listed| listed.name).collect(),
        false => names,
    };
    let mut n_wrong = 0;
    for file in files(registry, &names)? {
        let place = match registry.adapter(file) {
            Ok(_) => registry.adapter_files(file).map(|files| files.place.to_string()),
            Err(_) => registry.verify(file).map(|path| path.display().to_string()),
        };
        match place {
            Ok(place) => writeln!(out(), "{file}: right, {place}")?,
            Err(error) => {
                n_wrong += 1;
                writeln!(out(), "{file}: {error}")?;
            }
        }
    }
    match n_wrong {
        0 => Ok(()),
        n_wrong => bail!("{n_wrong} of the files cannot be used"),
    }
}

fn paths(registry: &Registry, names: &[String]) -> Result<()> {
    for file in files(registry, names)? {
        if registry.adapter(file).is_ok() {
            match registry.adapter_files(file)?.place {
                AdapterPlace::Directory(directory) => writeln!(out(), "{}", directory.display())?,
                // Standard output is for paths.
                AdapterPlace::BuiltIn => {
                    remark(format_args!("{file}: built into the program, in no file"))
                }
            }
            continue;
        }
        match registry.path_if_present(file) {
            Some(path) => writeln!(out(), "{}", path.display())?,
            None => bail!("`{file}` is not here; fetch it with `cosec-ls models pull {file}`"),
        }
    }
    Ok(())
}

fn remove(registry: &Registry, names: &[String]) -> Result<()> {
    for file in files(registry, names)? {
        match registry.adapter(file) {
            Ok(_) => {
                writeln!(out(), "{file}: an adapter is used where it is, nothing was removed")?
            }
            Err(_) => writeln!(out(), "{file}: {} freed", HumanBytes(registry.remove(file)?))?,
        }
    }
    Ok(())
}

/// The list as a person reads it.
fn render(registry: &Registry) -> String {
    let mut text = String::new();
    for listed in registry.list() {
        render_file(&mut text, &listed);
    }
    let _ = writeln!(text, "\nstore: {}\n", registry.directory().display());
    for profile in registry.profiles() {
        render_profile(&mut text, profile);
    }
    text
}

/// Writing to a string cannot fail, here and below.
fn render_file(text: &mut String, listed: &Listed) {
    let size = HumanBytes(listed.size_bytes).to_string();
    let state = match &listed.presence {
        Presence::Absent => "absent".to_owned(),
        Presence::Partial { bytes } => format!("{} of it", HumanBytes(*bytes)),
        Presence::Unverified(_) => "here, not verified".to_owned(),
        Presence::Ready(_) => "ready".to_owned(),
        Presence::BuiltIn => "built in".to_owned(),
    };
    let Listed { name, licence, profiles, .. } = listed;
    let used_by = match profiles.is_empty() {
        true => String::new(),
        false => format!("  used by {}", profiles.join(", ")),
    };
    let _ = writeln!(text, "{name:40} {size:>12}  {state:18}  {licence}{used_by}");
}

fn render_profile(text: &mut String, profile: &Profile) {
    let _ = writeln!(text, "profile {}: {profile}", profile.name);
}
