//! The command line: wiring, and words for people. The only layer that knows how errors are shown.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::config::{Settings, ranges};
use crate::registry::{Offline, Registry, RegistryOptions};

pub mod bench;
pub mod complete;
pub mod doctor;
pub mod eval;
pub mod models;
pub mod output;
pub mod panics;
pub mod progress;
pub mod serve;
pub mod session;
pub mod setup;
pub mod train;

/// What is logged unless something else is asked for.
const DEFAULT_LOG: &str = "warn";

/// Inline code completions from local models, security-hardened while they are decoded.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Profile of models.toml [default: default]
    #[arg(long, global = true)]
    profile: Option<String>,
    /// A models.toml whose entries add to the built-in ones or override them
    #[arg(long, global = true, value_name = "FILE")]
    models: Option<PathBuf>,
    /// Never open a socket: use what is here
    #[arg(long, global = true)]
    offline: bool,
    /// Compute threads; 0 takes all cores
    #[arg(long, global = true, default_value_t = 0, value_parser = ranges::THREADS.parser::<usize>())]
    threads: usize,
    /// What is logged to standard error, as `error`, `warn`, `info`, `debug`, or per module [default: warn]
    #[arg(long, global = true, env = "COSEC_LOG", value_name = "FILTER")]
    log: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve an editor over standard input and output
    Serve(serve::ServeArgs),
    /// Complete one place of a file
    Complete(complete::CompleteArgs),
    /// Models on this machine
    Models(models::ModelsArgs),
    /// Train the adapter of a security model
    Train(train::TrainArgs),
    /// Measure decoding on this machine, with and without hardening
    Bench(bench::BenchArgs),
    /// Measure how secure, how correct and how fast completions are, with and without hardening
    Eval(eval::EvalArgs),
    /// Put this server into an editor's configuration, or take it out again
    Setup(setup::SetupArgs),
    /// Say what is installed, what computes, and whether a completion works
    Doctor,
}

impl Cli {
    /// What is logged. User code appears at `trace` only.
    pub fn log_filter(&self) -> EnvFilter {
        // What the HTTP client traces are headers, of which some are secrets.
        let filter =
            |ours: &str| EnvFilter::builder().parse(format!("{ours},ureq=off,ureq_proto=off"));
        let asked = self.log.as_deref().unwrap_or(DEFAULT_LOG);
        filter(asked).unwrap_or_else(|error| {
            output::remark(format_args!("--log {asked}: {error}; logging {DEFAULT_LOG} instead"));
            filter(DEFAULT_LOG).expect("a fixed filter")
        })
    }

    /// Runs the command. A panic is an error as well.
    ///
    /// # Errors
    /// Whatever stopped it, in words for people.
    pub fn run(self) -> Result<ExitCode> {
        panics::keep_quiet();
        panics::guarded(|| self.run_command())
    }

    fn run_command(self) -> Result<ExitCode> {
        // Needs no models, and so not their list either.
        if let Command::Setup(args) = &self.command {
            return setup::run(args);
        }
        let registry = Registry::open(RegistryOptions {
            user_manifest: self.models,
            offline: if self.offline { Offline::Yes } else { Offline::No },
            ..RegistryOptions::default()
        })?;
        let defaults = Settings::default();
        let settings = Settings {
            profile: self.profile.unwrap_or(defaults.profile.clone()),
            threads: self.threads,
            ..defaults
        };
        match self.command {
            Command::Serve(args) => serve::run(&args, registry, settings),
            Command::Complete(args) => complete::run(&args, registry, settings),
            Command::Models(args) => models::run(args, registry).map(|()| ExitCode::SUCCESS),
            Command::Train(args) => train::run(&args, &registry, self.threads),
            Command::Bench(args) => bench::run(&args, registry, settings),
            Command::Setup(args) => setup::run(&args),
            Command::Eval(args) => eval::run(&args, registry, settings),
            Command::Doctor => doctor::run(registry, settings),
        }
    }
}
