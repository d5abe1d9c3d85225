//! Two tiny models and a `models.toml` that makes a pair of them: an engine without downloads.

use std::fs;
use std::path::PathBuf;

use cosec_ls::config::{Decoding, DraftTokens, Mode};
use cosec_ls::engine::pair::{self, Choice, Pair};
use cosec_ls::engine::{DocumentId, PromptBudget, Request};
use cosec_ls::prompt::Prompt;
use cosec_ls::prompt::stop::StopRules;
use cosec_ls::registry::{Offline, Registry, RegistryOptions, Silent};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::tiny_gguf::TinyGguf;

/// The profile of the pair.
pub const PROFILE: &str = "tiny";

/// The profile of the same two models, each in the other's role.
pub const SWAPPED_PROFILE: &str = "tiny-swapped";

/// A short request that every tiny pair can serve.
pub fn request(name: &str, mode: Mode) -> Request {
    Request {
        document: DocumentId(name.into()),
        prompt: Prompt { above: "a = b\n".to_owned(), left: "c".to_owned(), ..Prompt::default() },
        budget: PromptBudget { prefix_tokens: 100, suffix_tokens: 100 },
        decoding: Decoding { mode, alpha: 0.0, ..Decoding::default() },
        draft_tokens: DraftTokens::Fixed(2),
        seed: 1,
        sample: 0,
        stop: StopRules {
            max_lines: 100,
            left: "c".to_owned(),
            lines_below: Vec::new(),
            tab_width: 4,
        },
        max_tokens: 8,
        deadline: None,
        resume: Vec::new(),
    }
}

/// A directory with the files of a pair; they go with it.
pub struct TinyPair {
    directory: TempDir,
}

impl TinyPair {
    pub fn new() -> Self {
        Self::altered(|_| ())
    }

    /// A pair whose files' bytes are changed.
    pub fn altered(change: impl Fn(&mut Vec<u8>)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut entries = format!(
            "[profiles.{PROFILE}]\nbase = \"tiny-base\"\nsecurity = \"tiny-security\"\n\
             [profiles.{SWAPPED_PROFILE}]\nbase = \"tiny-security\"\nsecurity = \"tiny-base\"\n"
        );
        for (name, seed) in [("tiny-base", 1), ("tiny-security", 2)] {
            let file = format!("{name}.gguf");
            let path = TinyGguf { seed, ..TinyGguf::default() }.write(directory.path(), &file);
            let mut bytes = fs::read(&path).unwrap();
            change(&mut bytes);
            fs::write(&path, &bytes).unwrap();
            let sha256 = Sha256::digest(bytes);
            entries += &format!(
                "[models.{name}]\nfamily = \"qwen2\"\ncontext = 512\nstop_tokens = [\"<|end|>\"]\n\
                 fim = {{ order = \"prefix-suffix-middle\", prefix = \"<|pre|>\", suffix = \"<|suf|>\", middle = \"<|mid|>\" }}\n\
                 size_bytes = 1\nsha256 = \"{sha256:x}\"\nlicence = \"MIT\"\nsources = [{{ path = \"{file}\" }}]\n"
            );
        }
        let pair = Self { directory };
        fs::write(pair.manifest(), entries).unwrap();
        pair
    }

    /// The `models.toml` with the profiles.
    pub fn manifest(&self) -> PathBuf {
        self.directory.path().join("models.toml")
    }

    /// The directory where verified files live.
    pub fn store(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    pub fn registry(&self) -> Registry {
        let options = RegistryOptions {
            user_manifest: Some(self.manifest()),
            store: Some(self.store()),
            offline: Offline::Yes,
            ..RegistryOptions::default()
        };
        Registry::open(options).unwrap()
    }

    pub fn load(&self) -> Pair {
        let choice = Choice { threads: 2, profile: PROFILE, adapter: None, adapter_strength: 1.0 };
        pair::load(&self.registry(), choice, &Silent).unwrap()
    }
}
