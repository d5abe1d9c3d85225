//! `cosec-ls serve`: the language server on standard input and output.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;

use crate::config::Settings;
use crate::engine::Backend;
use crate::engine::local::{LocalEngine, Reuse};
use crate::lsp;
use crate::registry::Registry;

use super::output;

/// Serve an editor.
#[derive(Args, Debug)]
pub struct ServeArgs {
    /// Accepted for editors that insist on naming the transport; there is no other
    #[arg(long)]
    stdio: bool,
    /// Forget the KV caches after every request, to measure what keeping them is worth
    #[arg(long, hide = true)]
    no_reuse: bool,
}

/// Serves until the editor says `exit`, closes standard input or is gone.
///
/// # Errors
/// If the runtime or the engine's thread cannot start.
pub fn run(args: &ServeArgs, registry: Registry, settings: Settings) -> Result<ExitCode> {
    let runtime =
        tokio::runtime::Runtime::new().context("cannot start the asynchronous runtime")?;
    let reuse = if args.no_reuse { Reuse::Discard } else { Reuse::Keep };
    let engine = LocalEngine::start(registry, settings.clone(), reuse)
        .context("cannot start the engine's thread")?;
    let engine = Arc::new(engine);
    let end = runtime.block_on(lsp::serve(
        tokio::io::stdin(),
        output::protocol(),
        engine as Arc<dyn Backend>,
        settings,
    ));
    // A thread that still waits for standard input must not keep the process.
    runtime.shutdown_timeout(Duration::from_millis(100));
    Ok(match end {
        lsp::End::ExitWithoutShutdown => ExitCode::FAILURE,
        lsp::End::Exit | lsp::End::HangUp => ExitCode::SUCCESS,
    })
}
