//! The thread that owns models and sequences, behind a cheap handle.
//!
//! Above this layer there are only values: a [`Request`] goes in, [`Chunk`]s come out, and dropping the
//! [`Decode`] stops the work within one forward. [`Backend`] has two implementations: [`local`] and the
//! scripted one of the protocol tests.

pub mod ahead;
pub mod decoding;
pub mod fetch;
pub mod local;
pub mod pair;
pub mod panic;
pub mod queue;
pub mod sequences;
mod worker;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::config::{Decoding, DraftTokens, Mode};
pub use crate::decode::Role;
use crate::prompt::Prompt;
pub use crate::prompt::fim::{PromptBudget, Reach};
use crate::prompt::stop::StopRules;

/// Names a document; requests of one document supersede each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DocumentId(pub Arc<str>);

/// One completion to decode.
#[derive(Clone, Debug)]
pub struct Request {
    /// Whose request this is: a newer request of the same document ends this one as [`Finish::Superseded`].
    pub document: DocumentId,
    /// The text around the cursor.
    pub prompt: Prompt,
    /// Most prompt tokens before and after the cursor; less where the models' context does not hold them.
    pub budget: PromptBudget,
    /// The law by which tokens are chosen.
    pub decoding: Decoding,
    /// How many tokens are drafted per forward of the base; concerns the time, not the text.
    pub draft_tokens: DraftTokens,
    /// Keys every draw: equal requests with equal seeds decode equal tokens.
    pub seed: u64,
    /// Which of the completions with this seed, from 0 on.
    pub sample: u32,
    /// When the text has said enough.
    pub stop: StopRules,
    /// Most tokens to decode.
    pub max_tokens: usize,
    /// When the time for it is up, whatever it is spent on: waiting in the queue, loading the models, the prefill, the
    /// tokens. What is there then is kept, and what was evaluated stays in the caches. `None` for all the time there is.
    pub deadline: Option<Instant>,
    /// Tokens that an earlier run of this very request already chose: they are kept, and decoding goes on after them.
    pub resume: Vec<u32>,
}

/// A prompt that may be asked next.
#[derive(Clone, Debug)]
pub struct Hint {
    /// Whose prompt this is.
    pub document: DocumentId,
    /// The text around the cursor, or where it is expected.
    pub prompt: Prompt,
    /// Most prompt tokens before and after the cursor; less where the models' context does not hold them.
    pub budget: PromptBudget,
    /// How much of the prompt is known.
    pub reach: Reach,
    /// Who will choose the tokens, and so whose caches are filled.
    pub mode: Mode,
    /// Most tokens that will be decoded: the prompt leaves room for them.
    pub max_tokens: usize,
}

/// What a running request says: any number of `Text`, then exactly one `Done`.
#[derive(Clone, Debug)]
pub enum Chunk {
    /// More text. The concatenation of all `text` is the completion so far.
    Text(TextChunk),
    /// The end.
    Done(Done),
}

/// Newly decoded tokens and the text that they complete.
#[derive(Clone, Debug, Default)]
pub struct TextChunk {
    /// Whole characters only; may be empty while a character is incomplete. Never text that stood left of the cursor.
    pub text: String,
    /// The tokens decoded since the last chunk, oldest first.
    pub tokens: Vec<TokenTrace>,
}

/// Why one token is what it is ([CO-DECODING.md], "What each token remembers").
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenTrace {
    /// Token id.
    pub token: u32,
    /// The token's text, lossy where it is not a whole character; its name where it is special.
    pub text: String,
    /// `security` where its proposal was accepted, `base` where the base drew.
    pub role: Role,
    /// The base's probability of the security model's proposal, or of `token` in mode `off`; absent where the base was
    /// not asked.
    pub p: Option<f32>,
    /// The security model's probability of its proposal; absent where it was not asked.
    pub q: Option<f32>,
    /// `min(1, p / q)` of the proposal, which α was compared with.
    pub ratio: Option<f32>,
    /// What the security model proposed, where the proposal was rejected.
    pub rejected: Option<String>,
    /// What the base would have drawn here with the same key.
    pub base_choice: Option<String>,
    /// The emitted token differs from the base's own choice: hardening changed something here.
    pub intervened: bool,
}

/// How a request ended, and what it took.
#[derive(Clone, Debug)]
pub struct Done {
    /// Why decoding ended.
    pub finish: Finish,
    /// What it took.
    pub stats: RequestStats,
}

/// Why decoding ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finish {
    /// A stop token: the model had nothing more to say.
    EndOfText,
    /// A rule of [`StopRules`]; the text is already cut.
    StopRule(crate::prompt::stop::StopReason),
    /// `max_tokens` was reached.
    TokenLimit,
    /// The request's `deadline` came. A [resumed](Request::resume) request goes on from there.
    TimeBudget,
    /// The caller dropped the [`Decode`].
    Cancelled,
    /// A newer request of the same document came.
    Superseded,
    /// The models are not (yet) there; the reason is for people.
    NotReady(String),
    /// The models failed; the reason is for people. The server goes on.
    Failed(String),
}

impl Finish {
    /// Whether the request was stopped half-way, so that a [resumed](Request::resume) one has more to say. It must not
    /// find text released that is not yet stable.
    pub fn is_resumable(&self) -> bool {
        matches!(self, Self::Cancelled | Self::Superseded | Self::TimeBudget)
    }
}

/// What one request took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestStats {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Prompt tokens that the base's KV cache already held.
    pub reused_tokens: usize,
    /// Tokens that the base evaluated before the first new token.
    pub base_prefill_tokens: usize,
    /// Tokens that the security model evaluated before the first new token.
    pub security_prefill_tokens: usize,
    /// Tokens decoded.
    pub decoded_tokens: usize,
    /// Proposals of the security model, and how many of them were accepted.
    pub proposed: usize,
    /// See `proposed`.
    pub accepted: usize,
    /// Rounds of co-decoding, with one forward of the base each: `proposed / rounds` tokens came of one.
    pub rounds: usize,
    /// Tokens that were drafted in these rounds, with those behind a rejection: `drafted / rounds` per round.
    pub drafted: usize,
    /// Tokens that differ from the base's own choice.
    pub interventions: usize,
    /// Time from the worker's start on the request to the first decoded token, in ms.
    pub first_token_ms: f64,
    /// Time from the worker's start on the request to its end, in ms.
    pub total_ms: f64,
}

/// A running request. Dropping it cancels the work.
#[derive(Debug)]
pub struct Decode {
    /// What the request says.
    pub chunks: mpsc::UnboundedReceiver<Chunk>,
    /// Cancels on drop.
    pub guard: DropGuard,
}

/// The worker's side of a [`Decode`].
#[derive(Clone, Debug)]
pub struct DecodeSink {
    /// Where chunks go; a closed channel means that nobody listens.
    pub chunks: mpsc::UnboundedSender<Chunk>,
    /// Checked between forwards.
    pub cancelled: CancellationToken,
}

impl Decode {
    /// A connected pair: what the caller holds and what the worker holds.
    pub fn channel() -> (Self, DecodeSink) {
        let (sender, chunks) = mpsc::unbounded_channel();
        let cancelled = CancellationToken::new();
        let guard = cancelled.clone().drop_guard();
        (Self { chunks, guard }, DecodeSink { chunks: sender, cancelled })
    }
}

/// Something that decodes requests: the local engine, or a script in tests.
pub trait Backend: Send + Sync + 'static {
    /// Starts a request and returns at once. The answer always ends in one [`Chunk::Done`].
    fn submit(&self, request: Request) -> Decode;

    /// A prompt that may be asked next. A backend on this machine may evaluate it while it has nothing else to do, so
    /// that less is left when it is asked; it answers nothing, and loads no model for it. The newest hint takes the
    /// place of older ones, and a request interrupts it.
    ///
    /// By default nothing happens: text that nobody has asked about must not leave this machine.
    fn prefill(&self, _hint: Hint) {}

    /// No hint counts any more: what it is about may not be completed now.
    fn drop_hints(&self) {}

    /// The document is closed: its sequences may go.
    fn forget(&self, document: &DocumentId);

    /// The state of the models, as it changes.
    fn state(&self) -> watch::Receiver<State>;

    /// What a user may set as `profile`; empty where there is no choice.
    fn profiles(&self) -> Vec<ProfileSummary> {
        Vec::new()
    }

    /// Totals and recent figures since the start.
    fn totals(&self) -> Totals;

    /// Applies the settings that concern the engine (profile, threads, memory, idle unload); cheap, asynchronous.
    fn configure(&self, settings: &crate::config::Settings);

    /// Fetches what is missing of a profile, whatever the setting `download` says, and loads it if it is the one of the
    /// settings; cheap, asynchronous. By default nothing happens: not every backend has files.
    fn fetch(&self, _profile: &str) {}

    /// Ends the download that is going on, if there is one. What is complete stays; none begins by itself any more.
    fn cancel_fetch(&self) {}
}

/// A profile that may be chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProfileSummary {
    /// Profile name of `models.toml`.
    pub name: String,
    /// Base model name.
    pub base: String,
    /// Security model name.
    pub security: String,
}

/// Where the models are.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "state")]
pub enum State {
    /// Not in memory; the next request loads them.
    #[default]
    Unloaded,
    /// Files are being downloaded.
    Fetching {
        /// Model name of `models.toml`.
        model: String,
        /// Bytes that are here.
        done_bytes: u64,
        /// Bytes in all.
        total_bytes: u64,
    },
    /// Files are not here and may not be fetched, as things stand.
    Missing(MissingModels),
    /// Files are being read.
    Loading {
        /// Profile name.
        profile: String,
    },
    /// Requests are served.
    Ready(Box<LoadedProfile>),
    /// Loading failed; the reason says what to do.
    Failed {
        /// For people.
        reason: String,
    },
}

impl State {
    /// Why nothing can be decoded before more files are here; for people.
    pub fn lacks_files(&self) -> Option<String> {
        match self {
            Self::Missing(missing) => Some(missing.reason()),
            Self::Fetching { model, done_bytes, total_bytes } => Some(format!(
                "downloading {model}: {} of {} MB; suggestions come when all of it is here",
                done_bytes / 1_000_000,
                total_bytes / 1_000_000
            )),
            _ => None,
        }
    }
}

/// Files of a profile that are not on this machine.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MissingModels {
    /// Profile name.
    pub profile: String,
    /// Model names of `models.toml`.
    pub models: Vec<String>,
    /// What a download would still bring.
    pub download_bytes: u64,
    /// What forbids every download: `--offline`, or a variable of the environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offline: Option<String>,
}

impl MissingModels {
    /// What is missing and how to get it, in one sentence.
    pub fn reason(&self) -> String {
        let (verb, size) = (if self.models.len() == 1 { "is" } else { "are" }, self.size());
        let (models, profile) = (self.models.join(" and "), &self.profile);
        let pull = format!("`cosec-ls models pull {profile}`");
        match &self.offline {
            Some(setting) => format!(
                "{models} ({size}) {verb} not on this machine, and nothing is downloaded since `{setting}` is set; without \
                 it {pull} gets what is missing"
            ),
            None => format!(
                "{models} ({size}) {verb} not on this machine; the command `cosec-ls.pull` of the editor downloads what is \
                 missing, and so does {pull}"
            ),
        }
    }

    /// What a download would still bring, as people say it.
    pub fn size(&self) -> String {
        fetch::in_words(self.download_bytes)
    }
}

/// What is in memory.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadedProfile {
    /// Profile name.
    pub profile: String,
    /// Base model name.
    pub base: String,
    /// Security model name.
    pub security: String,
    /// Adapter name; absent while the security role is played by the plain small model.
    pub adapter: Option<String>,
    /// What the adapter's updates are multiplied by; 1 is the adapter as its file says. The
    /// setting of that name times the adapter's own strength in `models.toml`.
    pub adapter_strength: f32,
    /// `cpu`, `cuda:0`, `metal:0`.
    pub device: String,
    /// The profile's own decoding settings, before a user's overrides.
    pub decoding: Decoding,
    /// Whether the prompt can be fill-in-the-middle.
    pub fill_in_middle: bool,
    /// Seconds from the files to ready.
    pub load_seconds: f64,
}

/// Figures since the start.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// Requests that decoded at least one token.
    pub requests: u64,
    /// Prompt tokens asked for, and how many of them were in the cache.
    pub prompt_tokens: u64,
    /// See `prompt_tokens`.
    pub reused_tokens: u64,
    /// Tokens decoded.
    pub decoded_tokens: u64,
    /// Proposals and acceptances of the security model.
    pub proposed: u64,
    /// See `proposed`.
    pub accepted: u64,
    /// Rounds of co-decoding, and tokens that were drafted in them.
    pub rounds: u64,
    /// See `rounds`.
    pub drafted: u64,
    /// Tokens that differ from the base's own choice.
    pub interventions: u64,
    /// Tokens that either model evaluated for hints, which are no requests and count nowhere else.
    pub ahead_tokens: u64,
    /// Bytes of all KV caches.
    pub kv_bytes: u64,
    /// Sequences kept.
    pub sequences: usize,
    /// The last requests, newest last; at most 64.
    #[serde(skip)]
    pub recent: VecDeque<RequestStats>,
}
