//! The real models of the registry, where this machine has them.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cosec_ls::registry::{Registry, RegistryOptions};

use super::skips::skipped;

pub const BASE: &str = "qwen2.5-coder-1.5b-instruct-q4_k_m";
pub const SECURITY: &str = "qwen2.5-coder-0.5b-instruct-q4_k_m";

/// The file of a model; `None`, with a line that says so, where it was not pulled.
pub fn find(model: &str) -> Option<PathBuf> {
    let registry = Registry::open(RegistryOptions::default()).unwrap();
    let path = registry.path_if_present(model);
    if path.is_none() {
        skipped(format!("{model} is not on this machine; `cosec-ls models pull` fetches it"));
    }
    path
}

/// Tests that load real models take turns: each holds gigabytes and all cores.
pub fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
