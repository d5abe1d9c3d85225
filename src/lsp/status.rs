//! `cosec/status`: what the server is doing, for people.

use serde::Serialize;
use tower_lsp::lsp_types::Url;

use super::server::Server;
use super::to_proto::shortest;
use crate::complete::{Exclusions, Feedback};
use crate::config::{Decoding, Mode, Settings};
use crate::engine::{LoadedProfile, ProfileSummary, State, Totals};

/// Answer to `cosec/status`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Status {
    version: &'static str,
    /// Whether suggestions are on.
    enabled: bool,
    /// Name of the profile in the settings.
    profile: String,
    /// Who chooses the tokens, as the settings and the profile say.
    mode: Mode,
    /// Acceptance threshold, before overrides by language and path.
    alpha: f64,
    /// Whether a trained adapter takes part in choosing tokens.
    hardened: bool,
    /// What there is to say about `hardened`.
    note: String,
    /// `cpu`, `cuda:0`, `metal:0`; absent while nothing is loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    /// Where the models are.
    models: State,
    /// Over the last requests; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens_per_second: Option<f64>,
    /// Part of all prompt tokens that was in the cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_reuse: Option<f64>,
    /// Part of the security model's proposals that was accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    acceptance: Option<f64>,
    /// Tokens that came of one forward of the base, in mode `cosec`.
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens_per_round: Option<f64>,
    /// Tokens that were drafted for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    drafts_per_round: Option<f64>,
    /// Memory of this process; absent where the system does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    resident_bytes: Option<u64>,
    /// What is never completed.
    excluded_files: ExcludedFiles,
    /// Whether a question is being answered.
    busy: bool,
    /// What may be chosen as `profile`.
    profiles: Vec<ProfileSummary>,
    /// What became of suggestions.
    suggestions: Suggestions,
    /// Figures since the start.
    totals: Totals,
    /// Why the last empty answer was empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_empty_reason: Option<String>,
    /// Of the document that was asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<DocumentStatus>,
}

/// How things are in one document.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct DocumentStatus {
    uri: Url,
    /// Absent if it is not open.
    #[serde(skip_serializing_if = "Option::is_none")]
    language: Option<String>,
    /// Whether anything may be completed in it.
    completed: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Why the last empty answer was empty, if it was about this document.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_empty_reason: Option<String>,
}

/// Which patterns of `excludedFiles` are in force.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct ExcludedFiles {
    /// Of the server; 0 if the user has said `!default`.
    default_patterns: usize,
    /// Of the user.
    own_patterns: usize,
    /// Of those, the ones that cannot do what they say, with the reason.
    unusable: Vec<String>,
}

/// Counts since the start, as far as the client tells.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Suggestions {
    suggested: u64,
    shown: u64,
    accepted: u64,
}

impl Server {
    /// The status now, and that of a document.
    pub(super) fn current_status(&self, document: Option<&Url>) -> Status {
        let settings = self.session.settings();
        let models = self.backend.state().borrow().clone();
        let totals = self.backend.totals();
        let loaded = loaded(&models);
        let decoding = loaded.map(|profile| profile.decoding).unwrap_or_default();
        let mode = mode(&settings, &decoding);
        Status {
            version: env!("CARGO_PKG_VERSION"),
            enabled: settings.enabled,
            profile: settings.profile.clone(),
            mode,
            alpha: shortest(settings.alpha.unwrap_or(decoding.alpha)),
            hardened: is_hardened(mode, loaded),
            note: note(mode, loaded),
            device: loaded.map(|profile| profile.device.clone()),
            tokens_per_second: tokens_per_second(&totals),
            cache_reuse: part(totals.reused_tokens, totals.prompt_tokens),
            acceptance: part(totals.accepted, totals.proposed),
            tokens_per_round: part(totals.proposed, totals.rounds),
            drafts_per_round: part(totals.drafted, totals.rounds),
            resident_bytes: resident_bytes(),
            excluded_files: excluded_files(self.completer.exclusions(&settings)),
            busy: self.status_updates.is_busy(),
            profiles: self.backend.profiles(),
            suggestions: self.suggestions(),
            totals,
            last_empty_reason: self.session.last_reason().map(|(_, reason)| reason),
            document: document.map(|uri| self.document_status(uri)),
            models,
        }
    }

    fn document_status(&self, uri: &Url) -> DocumentStatus {
        let reason = match self.open_document(uri) {
            Ok((snapshot, settings)) => {
                let prospect = self.prospect(uri, snapshot, None);
                self.completer.refusal(&prospect, &settings).map(|reason| reason.to_string())
            }
            Err(refusal) => Some(refusal.to_string()),
        };
        let last = self.session.last_reason().filter(|(document, _)| document == uri);
        DocumentStatus {
            uri: uri.clone(),
            language: self.language_of(uri),
            completed: reason.is_none(),
            reason,
            last_empty_reason: last.map(|(_, reason)| reason),
        }
    }

    fn suggestions(&self) -> Suggestions {
        let Feedback { suggested, shown, accepted } = self.completer.feedback();
        Suggestions { suggested, shown, accepted }
    }
}

fn excluded_files(exclusions: Exclusions) -> ExcludedFiles {
    let Exclusions { n_default, n_own, unusable } = exclusions;
    ExcludedFiles { default_patterns: n_default, own_patterns: n_own, unusable }
}

/// One line about who writes: `qwen-1.5b · secured`.
pub(super) fn title(state: &State, settings: &Settings) -> String {
    let Some(profile) = loaded(state) else {
        return settings.profile.clone();
    };
    let mode = mode(settings, &profile.decoding);
    let author = if mode == Mode::Security { &profile.security } else { &profile.base };
    let word = match mode {
        Mode::Off => "unhardened",
        _ if is_hardened(mode, Some(profile)) => "secured",
        _ => "no adapter",
    };
    format!("{author} · {word}")
}

/// The models, if they are there.
pub(super) fn loaded(state: &State) -> Option<&LoadedProfile> {
    match state {
        State::Ready(profile) => Some(profile),
        _ => None,
    }
}

fn mode(settings: &Settings, decoding: &Decoding) -> Mode {
    settings.mode.unwrap_or(decoding.mode)
}

fn is_hardened(mode: Mode, loaded: Option<&LoadedProfile>) -> bool {
    mode != Mode::Off && loaded.is_some_and(|profile| profile.adapter.is_some())
}

fn note(mode: Mode, loaded: Option<&LoadedProfile>) -> String {
    match (mode, loaded) {
        (Mode::Off, _) => "hardening is switched off: the base model writes alone".to_owned(),
        (_, None) => "the models are not loaded".to_owned(),
        (_, Some(LoadedProfile { adapter: Some(adapter), security, .. })) => {
            format!("the security role is played by {security} with the adapter {adapter}")
        }
        (_, Some(LoadedProfile { adapter: None, security, .. })) => {
            format!("no adapter: the security role is played by the plain {security}")
        }
    }
}

fn part(some: u64, all: u64) -> Option<f64> {
    (all > 0).then(|| some as f64 / all as f64)
}

fn tokens_per_second(totals: &Totals) -> Option<f64> {
    let tokens: usize = totals.recent.iter().map(|stats| stats.decoded_tokens).sum();
    let ms: f64 = totals.recent.iter().map(|stats| stats.total_ms).sum();
    (ms > 0.0).then(|| tokens as f64 * 1000.0 / ms)
}

/// Linux tells it in a file; elsewhere it is left out.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
