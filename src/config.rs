//! Plain settings, shared by every layer: what the user may choose, and the defaults, all in one place.
//!
//! Nothing here reads a file or knows LSP. `models.toml` profiles give [`Decoding`] defaults, a client's
//! options become [`Settings`] in `lsp/options.rs`, and the command line overrides single fields.

pub mod draft_tokens;
pub mod ranges;
pub mod secret_files;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use draft_tokens::{DraftTokens, MAX_DRAFT_TOKENS};
pub use secret_files::SECRET_FILES;

/// Who chooses the tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// The base model alone, unhardened.
    Off,
    /// Co-decoding: the security model proposes, the base accepts or draws itself (CoSec, Algorithm 1).
    #[default]
    Cosec,
    /// The security model alone.
    Security,
}

impl Mode {
    /// As on the command line and in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Cosec => "cosec",
            Self::Security => "security",
        }
    }
}

/// Which base distribution the ratio `p / q` and the base's own draw use; `q` is warped in all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ratio {
    /// Both roles are warped, each with its own temperature and top-p, as the paper's text and tables say.
    Warped,
    /// The base's plain softmax in both, as the paper's published code does (`sample_with_experts`).
    RawBase,
    /// The base's plain softmax in the ratio, and its warped one for its own draw: what the base thinks possible is
    /// accepted, and what it draws itself is what it would have drawn alone. More secure than `Warped`
    /// (`docs/MEASUREMENTS.md`).
    #[default]
    Raw,
}

/// How one role turns logits into a distribution.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sampling {
    /// Softmax temperature; 0 takes the most likely token. By default, 0.4.
    pub temperature: f32,
    /// Nucleus mass in (0, 1]; 1 keeps every token. By default, 0.95 (table 2).
    pub top_p: f32,
    /// Tokens less likely than this are dropped. By default, 0 (table 2).
    pub min_prob: f32,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 0.4, top_p: 0.95, min_prob: 0.0 }
    }
}

/// Everything that the co-decoding step depends on, besides the models and the seed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Decoding {
    /// Who chooses the tokens. By default, `cosec`.
    pub mode: Mode,
    /// Acceptance threshold α: the security model's token is kept iff `α < min(1, p / q)`. By default, 0.3.
    pub alpha: f32,
    /// Which base distribution the ratio uses. By default, `raw`.
    pub ratio: Ratio,
    /// The base model's sampling.
    pub base: Sampling,
    /// The security model's sampling.
    pub security: Sampling,
}

impl Default for Decoding {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            alpha: 0.3,
            ratio: Ratio::default(),
            base: Sampling::default(),
            security: Sampling::default(),
        }
    }
}

/// When a completion may run over the end of the line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MultiLine {
    /// Several lines where the rest of the current line is empty, one line elsewhere.
    #[default]
    Auto,
    /// Several lines everywhere.
    Always,
    /// One line everywhere.
    Never,
}

/// Whether `textDocument/completion` is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Popup {
    /// Only for a client that knows no inline completion: one that asks both at every key would supersede one
    /// with the other.
    #[default]
    Auto,
    /// For every client.
    Always,
    /// For none.
    Never,
}

/// Whether files of models that are not on this machine are fetched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Download {
    /// As soon as they are needed.
    #[default]
    Always,
    /// Once the user has said yes.
    Ask,
    /// Only by a command.
    Never,
}

/// What a user may set. Field names in a client's JSON are the camelCase of these, and [`ranges`] has what their numbers
/// may be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Settings {
    /// Whether anything is completed at all. By default, true.
    pub enabled: bool,
    /// Name of the profile in `models.toml`. By default, `default`.
    pub profile: String,
    /// Whether models that are not on this machine are fetched. By default, `always`.
    pub download: Download,
    /// Overrides the profile's adapter: the name of one in `models.toml`, or a directory in PEFT's format. By default,
    /// none.
    pub adapter: Option<String>,
    /// How strongly the adapter changes the security model: its updates times this. 0 leaves the plain model, 1 the adapter
    /// at its own strength. By default, 1.
    pub adapter_strength: f32,
    /// Overrides the profile's mode. By default, none.
    pub mode: Option<Mode>,
    /// Overrides the profile's α everywhere. By default, none.
    pub alpha: Option<f32>,
    /// α per language id, stronger than `alpha`. By default, empty.
    pub alpha_by_language: BTreeMap<String, f32>,
    /// α per path glob, stronger than both; the first glob in order that matches wins. By default, empty.
    pub alpha_by_path: Vec<(String, f32)>,
    /// Overrides the profile's ratio rule. By default, none.
    pub ratio: Option<Ratio>,
    /// Overrides both roles' temperature. By default, none.
    pub temperature: Option<f32>,
    /// Tokens that the security model drafts per forward of the base; changes the time and not the text. By default,
    /// `auto`.
    pub draft_tokens: DraftTokens,
    /// Language ids switched on or off; `*` stands for all others. By default, `{"*": true}`.
    pub languages: BTreeMap<String, bool>,
    /// URI schemes that are completed. By default, [`SCHEMES`].
    pub schemes: Vec<String>,
    /// Globs of files that are never completed and never used as context, besides those of [`SECRET_FILES`]. One that
    /// begins with `!` takes files back, `!default` all of [`SECRET_FILES`]; of those that match, the last one counts. By
    /// default, empty.
    pub excluded_files: Vec<String>,
    /// Whether suggestions come while typing, or only when asked for. By default, true.
    pub automatic: bool,
    /// Whether suggestions are also offered as an entry of the popup menu. By default, `auto`.
    pub popup: Popup,
    /// When a completion may have several lines. By default, `auto`.
    pub multi_line: MultiLine,
    /// Most suggestions to choose from, where the user asks for one. By default, 1: not every editor that says its user
    /// asked lets them choose.
    pub candidates: u32,
    /// Most lines of one completion. By default, 12.
    pub max_lines: usize,
    /// Most tokens of one completion. By default, 96.
    pub max_tokens: usize,
    /// Time for one completion in ms; what is finished by then is returned. By default, 10,000.
    pub time_budget_ms: u64,
    /// Time in ms after which an editor that cannot show partial results is answered with the whole lines that are
    /// there; the rest is decoded meanwhile and comes with the next question. 0 waits for all of it. By default, 1,500.
    pub early_answer_ms: u64,
    /// Quiet time in ms before an automatic request reaches the models. By default, 75.
    pub debounce_ms: u64,
    /// Whether the prompt is evaluated in idle time, before anybody asks. By default, true.
    pub prefill_ahead: bool,
    /// Whether the models are told the file's path, relative to its workspace folder. By default, true.
    pub path_in_prompt: bool,
    /// Most tokens of the prompt before the cursor: path, lines above and the cursor's line. By default, 1,024.
    pub prefix_tokens: usize,
    /// Most tokens of the prompt after the cursor. By default, 256.
    pub suffix_tokens: usize,
    /// Compute threads; 0 takes all physical cores. A change while the server runs has its full effect from the next
    /// start on. By default, 0.
    pub threads: usize,
    /// Minutes without a request after which the models leave memory; 0 keeps them. By default, 30.
    pub idle_unload_minutes: u64,
    /// Most memory in MiB for all KV caches together. By default, 1,024.
    pub kv_memory_mib: u64,
}

/// Documents that their user writes on this machine: files, what is not saved yet (`untitled` in VS Code and coc.nvim,
/// `buffer` in Sublime Text), and the cells of notebooks.
pub const SCHEMES: [&str; 4] = ["file", "untitled", "buffer", "vscode-notebook-cell"];

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: true,
            profile: "default".to_owned(),
            download: Download::default(),
            adapter: None,
            adapter_strength: 1.0,
            mode: None,
            alpha: None,
            alpha_by_language: BTreeMap::new(),
            alpha_by_path: Vec::new(),
            ratio: None,
            temperature: None,
            draft_tokens: DraftTokens::default(),
            languages: BTreeMap::from([("*".to_owned(), true)]),
            schemes: SCHEMES.map(str::to_owned).to_vec(),
            excluded_files: Vec::new(),
            automatic: true,
            popup: Popup::default(),
            multi_line: MultiLine::default(),
            candidates: 1,
            max_lines: 12,
            max_tokens: 96,
            time_budget_ms: 10_000,
            early_answer_ms: 1_500,
            debounce_ms: 75,
            prefill_ahead: true,
            path_in_prompt: true,
            prefix_tokens: 1024,
            suffix_tokens: 256,
            threads: 0,
            idle_unload_minutes: 30,
            kv_memory_mib: 1024,
        }
    }
}

impl Settings {
    /// Time for one completion.
    pub fn time_budget(&self) -> Duration {
        Duration::from_millis(self.time_budget_ms)
    }

    /// Time after which whole lines are answered early; `None` waits for all of them.
    pub fn early_answer(&self) -> Option<Duration> {
        (self.early_answer_ms > 0).then(|| Duration::from_millis(self.early_answer_ms))
    }

    /// Quiet time before an automatic request reaches the models.
    pub fn debounce(&self) -> Duration {
        Duration::from_millis(self.debounce_ms)
    }

    /// Time without a request after which the models leave memory; `None` keeps them.
    pub fn idle_unload(&self) -> Option<Duration> {
        let minutes = Some(self.idle_unload_minutes).filter(|&minutes| minutes > 0)?;
        Some(Duration::from_secs(minutes.saturating_mul(60)))
    }

    /// Whether documents of this language id are completed.
    pub fn language_enabled(&self, language: &str) -> bool {
        let listed = self.languages.get(language).or_else(|| self.languages.get("*"));
        listed.copied().unwrap_or(true)
    }
}
