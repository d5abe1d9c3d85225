//! What a panic says to people, wherever in the process it happens.
//!
//! The message of a panic may quote the text that it was about, and so the user's code: standard error, which editors keep
//! in a log, gets the place alone. The message itself is logged at `trace`.

use std::any::Any;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::process::ExitCode;

use anyhow::{Result, bail};

/// Logs the place of every panic from here on, in place of the standard library's report.
pub fn keep_quiet() {
    std::panic::set_hook(Box::new(report));
}

fn report(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let place = panic.location().map_or("an unknown place".to_owned(), ToString::to_string);
    tracing::error!(thread = thread.name().unwrap_or("unnamed"), "panicked at {place}");
    tracing::trace!("the panic at {place} says: {}", message(panic.payload()));
}

fn message(payload: &dyn Any) -> &str {
    let owned = payload.downcast_ref::<String>().map(String::as_str);
    owned.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("nothing")
}

/// Runs a command; a panic is one more error.
///
/// # Errors
/// Those of the command.
pub fn guarded(command: impl FnOnce() -> Result<ExitCode>) -> Result<ExitCode> {
    match catch_unwind(AssertUnwindSafe(command)) {
        Ok(ended) => ended,
        Err(panic) => {
            // What nobody knows may panic again when it is dropped.
            std::mem::forget(panic);
            bail!(
                "cosec-ls has failed, which is a fault of the program or of a model's file; the line above says where, \
                 and `--log trace` says more"
            )
        }
    }
}
