//! One request, served: prompt text to tokens, tokens to text, until something ends it.
//!
//! Runs on the worker thread. Everything that reaches the caller has passed the acceptance rule, and no stop rule can
//! take it back any more.

use std::ops::ControlFlow;
use std::time::Instant;

use crate::decode::draft_length::DraftLength;
use crate::decode::generate::{End, Guide, Limits, generate};
use crate::decode::rng::Draws;
use crate::decode::{Role, Sequence, Step};
use crate::model::healing::Healing;
use crate::model::tokenizer::TextStream;
use crate::model::{Decoder, LanguageModelCache};
use crate::prompt::fim::{Framed, frame};
use crate::prompt::stop::StopScanner;

use super::pair::Pair;
use super::queue::Job;
use super::{Chunk, Finish, RequestStats, TextChunk, TokenTrace};

/// Serves `job` on `sequence`, which holds whatever an earlier request of the document left. Sends text, but not the
/// end; returns how it ended and what it took. `draft_length` learns from it.
pub fn serve(
    pair: &Pair,
    job: &Job,
    sequence: &mut Sequence<LanguageModelCache>,
    draft_length: &mut DraftLength,
) -> (Finish, RequestStats) {
    let started = Instant::now();
    let mut guide = match RequestGuide::start(pair, job, sequence, started) {
        Ok(guide) => guide,
        Err(error) => return (Finish::Failed(error.to_string()), RequestStats::default()),
    };
    let request = &job.request;
    let draws = Draws { seed: request.seed, sample: request.sample };
    let decoder = pair.decoder(request.decoding, draws);
    let limits = Limits {
        max_tokens: request.max_tokens.saturating_sub(request.resume.len()),
        deadline: request.deadline,
    };
    draft_length.setting = request.draft_tokens;
    let end = match guide.finish {
        // A resumed request that had already ended has nothing more to say.
        Some(_) => Ok(End::Observer),
        None => generate(&decoder, sequence, limits, draft_length, &mut guide),
    };
    sequence.settle();
    let finish = match end {
        Ok(End::Observer) => guide.finish.take().unwrap_or(Finish::EndOfText),
        Ok(End::Cancelled) => job.stale_finish(),
        Ok(End::TokenLimit) => Finish::TokenLimit,
        Ok(End::TimeBudget) => Finish::TimeBudget,
        Err(error) => Finish::Failed(error.to_string()),
    };
    if !finish.is_resumable() {
        guide.release_rest();
    }
    guide.stats.total_ms = milliseconds(started);
    (finish, guide.stats)
}

/// Follows one request's tokens and turns them into text.
struct RequestGuide<'a> {
    pair: &'a Pair,
    job: &'a Job,
    started: Instant,
    healing: Healing,
    stream: TextStream,
    scanner: StopScanner,
    /// All decoded text, and how much of it was released to the caller.
    text: String,
    released: usize,
    finish: Option<Finish>,
    stats: RequestStats,
}

impl<'a> RequestGuide<'a> {
    fn start(
        pair: &'a Pair,
        job: &'a Job,
        sequence: &mut Sequence<LanguageModelCache>,
        started: Instant,
    ) -> Result<Self, crate::model::Error> {
        let request = &job.request;
        let Framed { mut tokens, healing } = frame(
            &request.prompt,
            &pair.tokenizer,
            pair.fim,
            pair.budget(request.budget, request.max_tokens),
        )?;
        let n_prompt = tokens.len();
        tokens.extend_from_slice(&request.resume);
        sequence.retarget(tokens);
        let stats = RequestStats { prompt_tokens: n_prompt, ..RequestStats::default() };
        let mut guide = Self {
            pair,
            job,
            started,
            healing,
            stream: TextStream::default(),
            scanner: StopScanner::new(request.stop.clone()),
            text: String::new(),
            released: 0,
            finish: None,
            stats,
        };
        for &token in &request.resume {
            guide.finish = guide.finish.take().or_else(|| guide.take(token));
        }
        // What an earlier run released is the caller's already.
        guide.released = guide.scanner.stable();
        Ok(guide)
    }

    /// Adds a token's text; says why decoding ends with it, if it does.
    fn take(&mut self, token: u32) -> Option<Finish> {
        let tokenizer = &self.pair.tokenizer;
        if tokenizer.is_special(token) || self.pair.stop_tokens.contains(&token) {
            return Some(Finish::EndOfText);
        }
        let text = self.stream.push(self.healing.advance(tokenizer.bytes(token)));
        self.text.push_str(&text);
        let stop = self.scanner.push(&text)?;
        self.text.truncate(stop.keep);
        Some(Finish::StopRule(stop.reason))
    }

    fn trace(&self, step: &Step) -> TokenTrace {
        let text = |token: u32| self.pair.tokenizer.describe(token);
        let provenance = &step.provenance;
        let rejected = provenance.proposal.filter(|_| provenance.role == Role::Base);
        TokenTrace {
            token: step.token,
            text: text(step.token),
            role: provenance.role,
            p: provenance.p.map(|p| p as f32),
            q: provenance.q.map(|q| q as f32),
            ratio: provenance.ratio.map(|ratio| ratio as f32),
            rejected: rejected.map(text),
            base_choice: provenance.base_choice.map(text),
            intervened: step.intervened(),
        }
    }

    fn count(&mut self, step: &Step) {
        if self.stats.decoded_tokens == 0 {
            self.stats.first_token_ms = milliseconds(self.started);
        }
        self.stats.decoded_tokens += 1;
        self.stats.proposed += usize::from(step.proposed());
        self.stats.accepted += usize::from(step.accepted());
        self.stats.interventions += usize::from(step.intervened());
    }

    /// Sends the text up to byte `to` that was not sent yet, with the tokens that are new.
    fn release(&mut self, to: usize, tokens: Vec<TokenTrace>) {
        let to = to.clamp(self.released, self.text.len());
        let text = self.text[self.released..to].to_owned();
        self.released = to;
        if !text.is_empty() || !tokens.is_empty() {
            let chunk = Chunk::Text(TextChunk { text, tokens });
            let _gone = self.job.sink.chunks.send(chunk);
        }
    }

    /// At the end, sends what the stop rules held back and did not cut.
    fn release_rest(&mut self) {
        self.release(self.scanner.finish(), Vec::new());
    }
}

impl Guide for RequestGuide<'_> {
    fn cancelled(&self) -> bool {
        self.job.is_stale()
    }

    fn allowed(&self, drafted: &[u32]) -> Option<Vec<u32>> {
        self.healing.allowed_after(drafted, &self.pair.tokenizer)
    }

    fn verified(&mut self, n_drafts: usize) {
        self.stats.rounds += 1;
        self.stats.drafted += n_drafts;
    }

    fn observe(&mut self, step: &Step) -> ControlFlow<()> {
        self.count(step);
        self.finish = self.take(step.token);
        let trace = self.trace(step);
        self.release(self.scanner.stable(), vec![trace]);
        match self.finish {
            Some(_) => ControlFlow::Break(()),
            None => ControlFlow::Continue(()),
        }
    }

    fn prefilled(&mut self, base: usize, security: usize) {
        self.stats.base_prefill_tokens = base;
        self.stats.security_prefill_tokens = security;
        let evaluated = if base > 0 { base } else { security };
        self.stats.reused_tokens = self.stats.prompt_tokens.saturating_sub(evaluated);
    }
}

/// A sequence without tokens for this pair.
pub fn new_sequence(pair: &Pair) -> Sequence<LanguageModelCache> {
    Sequence::new(pair.base.new_cache(), pair.security.new_cache())
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}
