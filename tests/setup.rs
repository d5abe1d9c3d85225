//! `cosec-ls setup`, run in homes that do not matter: what it writes, what it leaves alone, and that it takes all of it back.

#![cfg(unix)]

mod desk;
mod editors;
mod helix;
mod neovim;
mod undo;
