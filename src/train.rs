//! Training the security model: a data set of security fixes in, token examples out.
//!
//! [`dataset`] reads functions and which part of them a fix added, [`examples`] turns them into tokens and says of each
//! token how its prediction counts: learnt where the fix is, kept as the frozen model has it elsewhere. [`loss`] is that
//! in numbers, [`trainer`] the loop around it, [`checkpoint`] what lets a run be continued, [`log`] what it reports.
//! Called by the command line; knows no editor and prints nothing.

pub mod checkpoint;
pub mod dataset;
pub mod examples;
pub mod log;
pub mod loss;
pub mod optimizer;
pub mod schedule;
pub mod trainer;

mod draw;
mod middle;

use std::io;
use std::path::PathBuf;

use dataset::Malformed;
use examples::Counts;

/// What can go wrong between a data set and examples.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory of the data set cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// There are no training files.
    #[error(
        "no training data in {}: expected there are train/*.jsonl and val/*.jsonl in SVEN's format, one changed \
         function per line", directory.display()
    )]
    NoTrainFiles {
        /// Where they were looked for.
        directory: PathBuf,
    },
    /// A line is no sample, and malformed lines are not to be skipped.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Nothing is left to train on or to validate with.
    #[error("the {part} set in {} is empty: {summary}", directory.display())]
    NoSamples {
        /// `training` or `validation`.
        part: &'static str,
        /// Where its files were looked for.
        directory: PathBuf,
        /// What was found and left out.
        summary: String,
    },
    /// All samples were left out.
    #[error("no {part} example is left: {counts}")]
    NoExamples {
        /// `training` or `validation`.
        part: &'static str,
        /// Why they were left out.
        counts: Box<Counts>,
    },
    /// A share that is none.
    #[error("the share of fill-in-the-middle examples must lie between 0 and 1, but is {0}")]
    FimShare(f64),
    /// Fill-in-the-middle examples for a model that cannot read them.
    #[error(
        "the model has no fill-in-the-middle tokens; the share of such examples must be 0, but is {0}"
    )]
    NoFim(f64),
    /// The model or its tokenizer failed.
    #[error(transparent)]
    Model(#[from] crate::model::Error),
    /// A loss or a gradient is not a finite number; the step was not taken.
    #[error(
        "the run diverged: the {what} of step {step} is not finite, on {example}; continue from the last checkpoint with \
         a lower learning rate, or leave the sample out"
    )]
    Diverged {
        /// Counted from 1.
        step: usize,
        /// `loss` or `gradient`.
        what: &'static str,
        /// Where its samples were read.
        example: String,
    },
    /// A file is no checkpoint.
    #[error("{} is no whole checkpoint: {reason}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A checkpoint of another run.
    #[error("{} belongs to a run with other settings:\n was {was}\n is  {is}", path.display())]
    OtherSettings {
        /// The file.
        path: PathBuf,
        /// As noted in it.
        was: String,
        /// As asked for.
        is: String,
    },
    /// The curve cannot be drawn.
    #[error("cannot draw the loss curve: {0}")]
    Curve(String),
    /// No threads to work on.
    #[error("cannot start threads: {0}")]
    Threads(rayon::ThreadPoolBuildError),
}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        Self::Model(error.into())
    }
}
