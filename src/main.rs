//! The `cosec-ls` program: parse arguments, start logging, hand over to [`cosec_ls::cli`].

use std::process::ExitCode;

use clap::Parser;
use cosec_ls::cli::{Cli, output};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(message) => return output::end(output::usage(&message)),
    };
    // Standard output belongs to the protocol and to results.
    tracing_subscriber::fmt()
        .with_env_filter(cli.log_filter())
        .with_writer(|| output::Remarks)
        .with_ansi(false)
        .init();
    output::end(cli.run())
}
