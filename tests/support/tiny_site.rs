//! Tiny models that lie on a hub: an engine that has something to download.

use std::path::PathBuf;

use cosec_ls::engine::{MissingModels, State};
use cosec_ls::registry::{Environment, Offline, Registry, RegistryOptions};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::hub::Hub;
use super::tiny_gguf::TinyGguf;

/// A profile whose one model is on the hub.
pub const PROFILE: &str = "near";

/// Another one, with a model of its own.
pub const OTHER_PROFILE: &str = "far";

/// A machine without models, and the hub that has them.
pub struct TinySite {
    directory: TempDir,
    pub hub: Hub,
    pub size_bytes: u64,
}

impl TinySite {
    pub fn new() -> Self {
        Self::with(|hub, _| hub)
    }

    /// The first download gets no more than half of the file, and no end.
    pub fn stalling() -> Self {
        Self::with(|hub, size_bytes| hub.stalling_after(size_bytes / 2))
    }

    fn with(trouble: impl FnOnce(Hub, usize) -> Hub) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = TinyGguf::default().write(directory.path(), "original.gguf");
        let bytes = std::fs::read(file).unwrap();
        let (sha256, size_bytes) = (Sha256::digest(&bytes), bytes.len());
        let mut entries = String::new();
        for profile in [PROFILE, OTHER_PROFILE] {
            entries += &format!(
                "[profiles.{profile}]\nbase = \"tiny-{profile}\"\nsecurity = \"tiny-{profile}\"\n\
                 [models.tiny-{profile}]\nfamily = \"qwen2\"\ncontext = 512\nstop_tokens = [\"<|end|>\"]\n\
                 fim = {{ order = \"prefix-suffix-middle\", prefix = \"<|pre|>\", suffix = \"<|suf|>\", middle = \"<|mid|>\" }}\n\
                 size_bytes = {size_bytes}\nsha256 = \"{sha256:x}\"\nlicence = \"MIT\"\n\
                 sources = [{{ hub = {{ repository = \"toys/toy\", revision = \"abc\", file = \"tiny.gguf\" }} }}]\n"
            );
        }
        let hub = trouble(Hub::serving(bytes), size_bytes);
        let site = Self { directory, hub, size_bytes: size_bytes as u64 };
        std::fs::write(site.path("models.toml"), entries).unwrap();
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn options(&self) -> RegistryOptions {
        RegistryOptions {
            user_manifest: Some(self.path("models.toml")),
            store: Some(self.path("store")),
            offline: Offline::No,
            python: Some(self.path("no-python")),
            hub_endpoint: Some(self.hub.endpoint()),
            hub_cache: Some(self.path("shared")),
            environment: Some(Environment::default()),
        }
    }

    pub fn registry(&self) -> Registry {
        Registry::open(self.options()).unwrap()
    }

    /// Where downloads began in the file.
    pub fn downloads(&self) -> Vec<usize> {
        self.hub.ranges()
    }

    /// The state of a machine that lacks a whole model, or what a download left to be fetched.
    pub fn missing(&self, profile: &str, download_bytes: u64) -> State {
        State::Missing(MissingModels {
            profile: profile.to_owned(),
            models: vec![format!("tiny-{profile}")],
            download_bytes,
            offline: None,
        })
    }
}
