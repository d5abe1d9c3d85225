//! `cosec-ls eval compare`: what is different between two runs, with the interval of the difference.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::cli::output::out;
use crate::eval::record::{
    Difference, FUNCTIONAL_FILE, FunctionalSample, Records, SECURITY_FILE, SecuritySample,
    differences,
};
use crate::eval::report;

/// Arguments of `cosec-ls eval compare`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Directory of a run
    a: PathBuf,
    /// Directory of the run that it is compared with; differences are B less A
    b: PathBuf,
    /// The k of pass@k, separated by commas
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10])]
    k: Vec<usize>,
}

/// Prints the differences of all that both runs have.
///
/// # Errors
/// If a file cannot be read, or the runs have nothing in common.
pub fn run(args: &CompareArgs) -> Result<ExitCode> {
    let security = both::<SecuritySample>(args, SECURITY_FILE)?;
    let functional = both::<FunctionalSample>(args, FUNCTIONAL_FILE)?;
    if security.is_none() && functional.is_none() {
        bail!("{} and {} have no samples of the same kind", args.a.display(), args.b.display());
    }
    if let Some([a, b]) = security {
        write!(out(), "{}", report::compare_security(&a, &b))?;
    }
    if let Some([a, b]) = functional {
        write!(out(), "{}", report::compare_functional(&a, &b, &args.k))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The samples of both runs, after saying which settings differ; none where a run has no such file.
fn both<T: Serialize + DeserializeOwned>(
    args: &CompareArgs,
    file: &str,
) -> Result<Option<[Vec<T>; 2]>> {
    let paths = [args.a.join(file), args.b.join(file)];
    if !paths.iter().all(|path| path.is_file()) {
        return Ok(None);
    }
    let read = |path: &Path| Records::<T>::read(path);
    let ((was, a), (is, b)) = (read(&paths[0])?, read(&paths[1])?);
    writeln!(out(), "{file}: {}\n", changes(&was, &is))?;
    Ok(Some([a, b]))
}

/// `alpha 0.3 → 0.5, seed 1 → 2`.
fn changes(was: &Map<String, Value>, is: &Map<String, Value>) -> String {
    let changes: Vec<String> = differences(was, is)
        .map(|Difference { field, was, is }| format!("{field} {was} → {is}"))
        .collect();
    match changes.is_empty() {
        true => "the same settings".to_owned(),
        false => changes.join(", "),
    }
}
