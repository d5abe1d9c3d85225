//! An engine and a completer for one command: what the editor has, without the protocol.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::complete::{
    Answer, Completer, Explanation, Links, Query, Suggestion, Trigger, Unfinished,
};
use crate::config::Settings;
use crate::engine::local::{LocalEngine, Reuse};
use crate::engine::{Backend, DocumentId, State};
use crate::registry::Registry;
use crate::text::{ByteIdx, Document};

use super::complete::{Asked, Place};
use super::output::Unwritable;
use super::progress::Terminal;

/// Models in memory and questions about single places.
pub struct Session {
    runtime: Runtime,
    engine: Arc<LocalEngine>,
    completer: Completer,
    settings: Settings,
    unfinished: Unfinished,
}

impl Session {
    /// Fetches what is missing of the profile, with a progress bar, and loads it. Questions have all the time they need:
    /// nobody types meanwhile, and what is printed is not to depend on the machine.
    ///
    /// # Errors
    /// If a file cannot be had.
    pub fn start(registry: Registry, mut settings: Settings) -> Result<Self> {
        settings.time_budget_ms = u64::MAX;
        let (runtime, engine) = start_engine(registry, &settings, Reuse::Keep)?;
        let completer = Completer::new(engine.clone() as Arc<dyn Backend>);
        Ok(Self { runtime, engine, completer, settings, unfinished: Unfinished::Cut })
    }

    /// Text that stops because its tokens are used up is given as it was decoded.
    pub fn keeping_unfinished(self) -> Self {
        Self { unfinished: Unfinished::Keep, ..self }
    }

    /// The settings that questions are asked with.
    pub fn settings_mut(&mut self) -> &mut Settings {
        &mut self.settings
    }

    /// The state of the models.
    pub fn state(&self) -> State {
        self.engine.state().borrow().clone()
    }

    /// Asks what comes at `place`, as an editor does when its user asks; the suggestion of that number, of all that the
    /// place may get.
    ///
    /// # Errors
    /// The first one of `on_partial`, which ends the question; or if the answer is for another question, which cannot
    /// happen with one question at a time.
    pub fn complete(
        &self,
        place: &Place,
        sample: u32,
        mut on_partial: impl FnMut(&Suggestion) -> Result<(), Unwritable> + Send,
    ) -> Result<Asked> {
        // A document of its own for every question: nothing is answered from memory.
        let document =
            DocumentId(format!("{}#{}", place.name, self.engine.totals().requests).into());
        let query = Query {
            document: document.clone(),
            path: place.path.clone(),
            links: place.path.as_deref().map_or_else(Links::none, Links::now),
            name: place.shown.clone(),
            snapshot: Document::new(&place.text, 0, &place.language),
            cursor: ByteIdx(place.cursor),
            trigger: Trigger::Invoked,
            selected: None,
            early_after: None,
            sample,
            unfinished: self.unfinished,
        };
        let answer = self.answer(query, &mut on_partial)?;
        let asked = match answer {
            Answer::Suggestion(suggestion) => {
                let explanation = self.explain(suggestion.id)?;
                Asked::Suggested { suggestion, explanation: Box::new(explanation) }
            }
            Answer::Nothing(reason) => Asked::Nothing(reason),
            Answer::Superseded => bail!("the question was superseded"),
        };
        self.completer.forget(&document);
        Ok(asked)
    }

    /// Waits for the answer, or for the first failure of `on_partial`.
    fn answer(
        &self,
        query: Query,
        on_partial: &mut (dyn FnMut(&Suggestion) -> Result<(), Unwritable> + Send),
    ) -> Result<Answer, Unwritable> {
        let (fail, failure) = oneshot::channel();
        let mut fail = Some(fail);
        let mut show = |suggestion: &Suggestion| {
            if let Err(error) = on_partial(suggestion)
                && let Some(fail) = fail.take()
            {
                // Its other end is waited for below, unless the answer came first.
                let _ = fail.send(error);
            }
        };
        self.runtime.block_on(async {
            tokio::select! {
                Ok(error) = failure => Err(error),
                answer = self.completer.complete(query, &self.settings, &mut show) => Ok(answer),
            }
        })
    }

    /// What is known about a suggestion, also while it is being decoded.
    ///
    /// # Errors
    /// If there is no such suggestion.
    pub fn explain(&self, id: u64) -> Result<Explanation> {
        self.completer.explain(id).context("the suggestion has no explanation")
    }

    /// The completer, to explain a suggestion while it is being decoded.
    pub fn completer(&self) -> &Completer {
        &self.completer
    }
}

/// Fetches what is missing of the profile, with a progress bar, and starts an engine that has loaded it.
///
/// # Errors
/// If a file cannot be had or loaded.
pub fn start_engine(
    registry: Registry,
    settings: &Settings,
    reuse: Reuse,
) -> Result<(Runtime, Arc<LocalEngine>)> {
    let profile = registry.profile(&settings.profile)?.clone();
    // Looked at before gigabytes are fetched for it.
    if let Some(adapter) = settings.adapter.as_ref().or(profile.adapter.as_ref()) {
        registry.adapter_files(adapter)?;
    }
    let progress = Terminal::new();
    for name in profile.models() {
        registry.ensure(name, &progress)?;
    }
    let runtime = Runtime::new().context("cannot start the asynchronous runtime")?;
    let engine = LocalEngine::start(registry, settings.clone(), reuse)
        .context("cannot start the engine's thread")?;
    let engine = Arc::new(engine);
    engine.warm();
    let mut state = engine.state();
    let settled =
        |state: &State| matches!(state, State::Ready(_) | State::Failed { .. } | State::Missing(_));
    let settled = runtime.block_on(state.wait_for(settled)).context("the engine has ended")?;
    if let State::Failed { reason } = &*settled {
        bail!("{reason}");
    }
    // Somebody has removed a file since.
    if let State::Missing(missing) = &*settled {
        bail!("{}", missing.reason());
    }
    drop(settled);
    Ok((runtime, engine))
}
