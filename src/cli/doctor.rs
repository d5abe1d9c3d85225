//! `cosec-ls doctor`: what is installed, what computes, and whether a completion works.

use std::process::ExitCode;

use anyhow::Result;

use crate::complete::Exclusions;
use crate::complete::file_rules::FileRules;
use crate::complete::path_globs::Roots;
use crate::config::Settings;
use crate::engine::{LoadedProfile, RequestStats, State};
use crate::kernel::quant::InstructionSet;
use crate::model::device;
use crate::registry::Registry;

use super::complete::{Asked, Place};
use super::output::{Unwritable, out};
use super::session::Session;

/// A place where every code model has something to say.
const SNIPPET: &str =
    "import sqlite3\n\ndef find_user(db, name):\n    cursor = db.cursor()\n    cursor.execute(";

/// Prints what it finds; exit code 1 if no completion can be had.
///
/// # Errors
/// If the asynchronous runtime cannot start.
pub fn run(registry: Registry, settings: Settings) -> Result<ExitCode> {
    print_build()?;
    let rules = FileRules::new(&settings, &Roots::default());
    writeln!(out(), "secret files  {}", describe_exclusions(&rules.exclusions()))?;
    let here = print_profile(&registry, &settings)?;
    if !here {
        writeln!(out(), "completion    not tried: `cosec-ls models pull` fetches what is missing")?;
        return Ok(ExitCode::FAILURE);
    }
    let session = Session::start(registry, settings)?;
    let place = Place::from_text(SNIPPET, "python");
    let outcome = session.complete(&place, 0, |_| Ok(()))?;
    let State::Ready(profile) = session.state() else {
        writeln!(out(), "completion    failed: {}", describe_state(&session.state()))?;
        return Ok(ExitCode::FAILURE);
    };
    print_loaded(&profile)?;
    match outcome {
        Asked::Suggested { explanation, .. } => {
            print_speed(&explanation.stats)?;
            Ok(ExitCode::SUCCESS)
        }
        Asked::Nothing(reason) => {
            writeln!(out(), "completion    failed: {reason}")?;
            Ok(ExitCode::FAILURE)
        }
    }
}

fn print_build() -> Result<(), Unwritable> {
    writeln!(out(), "cosec-ls      {}", env!("CARGO_PKG_VERSION"))?;
    writeln!(out(), "platform      {} {}", std::env::consts::OS, std::env::consts::ARCH)?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    writeln!(out(), "processors    {threads}, instructions: {}", device::cpu_features().join(" "))?;
    let (set, warning) = InstructionSet::from_environment();
    writeln!(out(), "kernels       {}", warning.as_deref().unwrap_or(set.name()))?;
    match device::select() {
        Ok(device) => writeln!(out(), "device        {}", device::name(&device)),
        Err(error) => writeln!(out(), "device        failed: {error}"),
    }
}

/// Prints the profile's parts; says whether all files are here.
fn print_profile(registry: &Registry, settings: &Settings) -> Result<bool, Unwritable> {
    writeln!(out(), "store         {}", registry.directory().display())?;
    let profile = match registry.profile(&settings.profile) {
        Ok(profile) => profile,
        Err(error) => {
            writeln!(out(), "profile       {error}")?;
            return Ok(false);
        }
    };
    writeln!(out(), "profile       {}", profile.name)?;
    let mut here = true;
    for (role, name) in [("base", &profile.base), ("security", &profile.security)] {
        let found = registry.path_if_present(name).is_some();
        writeln!(
            out(),
            "{role:<13} {name}: {}",
            if found { "here, verified" } else { "not here" }
        )?;
        here &= found;
    }
    match profile.adapter.as_ref().map(|name| registry.adapter_files(name)) {
        None => writeln!(out(), "adapter       {}", describe_adapter(None, 1.0))?,
        Some(Ok(files)) => {
            writeln!(out(), "adapter       {}: {}, verified", files.name, files.place)?
        }
        Some(Err(error)) => {
            writeln!(out(), "adapter       {error}")?;
            here = false;
        }
    }
    Ok(here)
}

fn print_loaded(profile: &LoadedProfile) -> Result<(), Unwritable> {
    writeln!(out(), "loaded in     {:.1} s, on {}", profile.load_seconds, profile.device)
}

fn print_speed(stats: &RequestStats) -> Result<(), Unwritable> {
    let decoding_ms = stats.total_ms - stats.first_token_ms;
    let rate = stats.decoded_tokens.saturating_sub(1) as f64 / (decoding_ms / 1e3).max(1e-9);
    writeln!(
        out(),
        "completion    works: {} tokens, first after {:.0} ms, then {rate:.1} per second",
        stats.decoded_tokens,
        stats.first_token_ms
    )
}

/// What plays the security role, for people.
pub fn describe_adapter(adapter: Option<&str>, strength: f32) -> String {
    match adapter {
        Some(adapter) if strength == 1.0 => adapter.to_owned(),
        Some(adapter) => format!("{adapter}, times {strength}"),
        None => "none: the plain small model plays the security role".to_owned(),
    }
}

/// Which files are never completed, for people.
fn describe_exclusions(exclusions: &Exclusions) -> String {
    let Exclusions { n_default, n_own, unusable } = exclusions;
    let defaults = match n_default {
        0 => "the default patterns are switched off (`!default`)".to_owned(),
        n => format!("{n} default patterns"),
    };
    let own = format!("{n_own} of your own");
    let unusable = unusable.iter().map(|problem| format!("; {problem}"));
    format!("{defaults}, {own}{}", unusable.collect::<String>())
}

fn describe_state(state: &State) -> String {
    match state {
        State::Failed { reason } => reason.clone(),
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SECRET_FILES;

    #[test]
    fn what_is_excluded_is_described() {
        let described = |patterns: &[&str]| {
            let excluded_files = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
            let settings = Settings { excluded_files, ..Settings::default() };
            let rules = FileRules::new(&settings, &Roots::default());
            describe_exclusions(&rules.exclusions())
        };
        let n = SECRET_FILES.len();
        assert_eq!(described(&[]), format!("{n} default patterns, 0 of your own"));
        assert_eq!(
            described(&["!default", "a", ""]),
            "the default patterns are switched off (`!default`), 2 of your own; `` is empty and matches nothing"
        );
    }
}
