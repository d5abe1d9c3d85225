//! The `cosec-ls` program: parse arguments, start logging, hand over to [`cosec_ls::cli`].

use std::process::ExitCode;

use clap::Parser;
use cosec_ls::cli::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Standard output belongs to the protocol and to results.
    tracing_subscriber::fmt()
        .with_env_filter(cli.log_filter())
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    match cli.run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
