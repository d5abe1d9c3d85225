//! The paper's evaluation: how secure and how correct completions are, with and without hardening.
//!
//! [`scenario`] reads what is to be completed, [`sample`] completes it, [`completion`] cuts at the function's end,
//! [`judge`] says whether the result is secure, [`functional`] whether it is correct. Generated code runs in [`sandbox`]
//! only, and a verdict on it counts with the mark of its run only (`mark`). [`record`] keeps every sample on disk, [`statistics`] counts them, [`report`] writes the tables. [`threshold`]
//! puts the runs of several α beside each other, and [`figure`] draws them. [`timing`] and [`latency`] measure what
//! hardening costs in time, [`keystrokes`] sums up a typing replay. Called by the command line; knows no editor and
//! prints nothing.

pub mod scenario;

pub mod sample;

pub mod completion;

pub mod sandbox;

mod mark;

pub mod judge;

pub mod functional;

pub mod infilling;

pub mod record;

pub mod statistics;

pub mod report;

pub mod threshold;

pub mod figure;

pub mod timing;

pub mod latency;

pub mod keystrokes;

use std::io;
use std::path::{Path, PathBuf};

/// What can go wrong in an evaluation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{}: {fault}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The field or line, and what is wrong with it.
        fault: String,
    },
    /// There is nothing to complete.
    #[error(
        "no scenarios in {}: expected are directories with info.json, file_context.* and func_context.* in SVEN's format",
        .0.display()
    )]
    NoScenarios(PathBuf),
    /// The samples on disk are of another run.
    #[error("{} holds samples of a run with another `{field}`: {was} there, {is} here", path.display())]
    OtherSettings {
        /// The file of samples.
        path: PathBuf,
        /// The first setting that differs.
        field: String,
        /// As noted in the file.
        was: String,
        /// As asked for.
        is: String,
    },
    /// A figure cannot be drawn.
    #[error("cannot draw the figure: {0}")]
    Figure(String),
    /// There is no sandbox on this system.
    #[error("evaluation runs generated code in a sandbox that only Linux has")]
    NoSandbox,
    /// Nothing can be run in the sandbox.
    #[error("cannot run {program} in the sandbox: {source}")]
    Sandbox {
        /// What was to be run.
        program: String,
        /// The system's reason.
        source: io::Error,
    },
    /// A program that judging needs is not there.
    #[error("{0} is needed for judging and cannot be found or run")]
    NoProgram(&'static str),
    /// A model failed.
    #[error(transparent)]
    Model(#[from] crate::model::Error),
    /// Decoding failed.
    #[error(transparent)]
    Decode(#[from] crate::decode::Error),
}

impl Error {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }

    fn malformed(path: &Path, fault: impl ToString) -> Self {
        Self::Malformed { path: path.to_owned(), fault: fault.to_string() }
    }
}
