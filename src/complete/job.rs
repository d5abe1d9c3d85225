//! One request while it is decoded: outlives the question that began it, and is watched by any number.
//!
//! A tokio task takes the backend's chunks and keeps all of them as [`Progress`], so that a later
//! question can go on where an earlier one was dropped. The backend only sends text that no stop rule
//! can cut any more, so whatever is here may be shown.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::Decoding;
use crate::engine::{
    Backend, Chunk, Decode, DocumentId, Done, Finish, Request, RequestStats, TextChunk, TokenTrace,
};

/// A request that is or was decoded.
#[derive(Debug)]
pub struct Job {
    request: Request,
    progress: watch::Receiver<Progress>,
    cancel: CancellationToken,
    n_waiting: AtomicUsize,
}

/// What has been decoded so far.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// The text, as the model wrote it.
    pub text: String,
    /// The tokens, oldest first.
    pub tokens: Vec<TokenTrace>,
    /// How it ended; absent while it is being decoded.
    pub finish: Option<Finish>,
    /// What it took; zeros until it ends.
    pub stats: RequestStats,
    /// Bytes of `text` that came with tokens. A resumed run begins behind them: what came without was
    /// only released because the run ended.
    resumable: usize,
}

/// Whether more may come of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobState {
    /// It is being decoded.
    Running,
    /// It was cancelled, and its last chunks are not in yet.
    Stopping,
    /// It was stopped half-way, or its time was up: a [resumed](Job::resume) one goes on.
    Stopped,
    /// It has said all.
    Ended,
}

/// Somebody waits for a job; dropping the last of them cancels it.
#[derive(Debug)]
pub struct Waiting {
    job: Arc<Job>,
    on_drop: OnDrop,
}

/// What becomes of a job that nobody waits for any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnDrop {
    Cancel,
    GoOn,
}

impl Job {
    /// Gives the request to the backend.
    pub fn start(backend: &dyn Backend, request: Request) -> Arc<Self> {
        Self::go_on(backend, request, Progress::default())
    }

    /// The same request again, to go on after the tokens that are there until `deadline`.
    pub fn resume(&self, backend: &dyn Backend, deadline: Option<Instant>) -> Arc<Self> {
        let mut progress = self.progress();
        progress.finish = None;
        let resume = progress.tokens.iter().map(|trace| trace.token).collect();
        Self::go_on(backend, Request { resume, deadline, ..self.request.clone() }, progress)
    }

    /// Whose text it continues.
    pub fn document(&self) -> &DocumentId {
        &self.request.document
    }

    /// The law by which its tokens are chosen.
    pub fn decoding(&self) -> Decoding {
        self.request.decoding
    }

    /// When its time is up.
    pub fn deadline(&self) -> Option<Instant> {
        self.request.deadline
    }

    fn go_on(backend: &dyn Backend, request: Request, progress: Progress) -> Arc<Self> {
        let decode = backend.submit(request.clone());
        let (sender, progress) = watch::channel(progress);
        let cancel = CancellationToken::new();
        tokio::spawn(follow(decode, cancel.clone(), sender));
        Arc::new(Self { request, progress, cancel, n_waiting: AtomicUsize::new(0) })
    }

    /// What is there now.
    pub fn progress(&self) -> Progress {
        self.progress.borrow().clone()
    }

    /// What is there, as it grows. The sender goes away when the job ends.
    pub fn watch(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// Whether more may come.
    pub fn state(&self) -> JobState {
        match &self.progress.borrow().finish {
            // Its task is gone: the runtime shuts down.
            None if self.progress.has_changed().is_err() => JobState::Stopped,
            None if self.cancel.is_cancelled() => JobState::Stopping,
            None => JobState::Running,
            Some(finish) if finish.is_resumable() => JobState::Stopped,
            Some(_) => JobState::Ended,
        }
    }

    /// Resolves when the job has stopped or ended.
    pub async fn ended(&self) {
        let mut progress = self.watch();
        // A sender that is gone has ended, too.
        let _ended = progress.wait_for(|progress| progress.finish.is_some()).await;
    }

    /// Stops the work. What is there is kept.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// Counts somebody who wants the job to go on.
    pub fn wait(self: &Arc<Self>) -> Waiting {
        self.n_waiting.fetch_add(1, Ordering::Relaxed);
        Waiting { job: Arc::clone(self), on_drop: OnDrop::Cancel }
    }
}

impl Waiting {
    /// Stops waiting, but lets the job go on: for the next question, or until an edit disagrees with it.
    pub fn leave(mut self) {
        self.on_drop = OnDrop::GoOn;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let last = self.job.n_waiting.fetch_sub(1, Ordering::Relaxed) == 1;
        if last && self.on_drop == OnDrop::Cancel {
            self.job.cancel();
        }
    }
}

impl Progress {
    /// Whether the text stops where tokens, time or the models ended, and not where it has said enough.
    pub fn is_broken_off(&self) -> bool {
        let ended_well =
            |finish: &Finish| matches!(finish, Finish::EndOfText | Finish::StopRule(_));
        self.finish.as_ref().is_some_and(|finish| !ended_well(finish))
    }

    fn take(&mut self, chunk: TextChunk) {
        self.text.push_str(&chunk.text);
        if !chunk.tokens.is_empty() {
            self.tokens.extend(chunk.tokens);
            self.resumable = self.text.len();
        }
    }

    fn end(&mut self, done: Done) {
        if done.finish.is_resumable() {
            self.text.truncate(self.resumable);
        }
        self.finish = Some(done.finish);
        self.stats = done.stats;
    }
}

/// Collects the chunks until the end. Dropping `decode` with the task tells the backend to stop.
async fn follow(mut decode: Decode, cancel: CancellationToken, progress: watch::Sender<Progress>) {
    let done = loop {
        let chunk = tokio::select! {
            biased;
            () = cancel.cancelled() => break rest(&mut decode, &progress),
            chunk = decode.chunks.recv() => chunk,
        };
        match chunk {
            Some(Chunk::Text(chunk)) => progress.send_modify(|progress| progress.take(chunk)),
            Some(Chunk::Done(done)) => break done,
            None => break ended(Finish::Failed("the engine has stopped".to_owned())),
        }
    };
    progress.send_modify(|progress| progress.end(done));
}

/// Takes what the backend has said before it was cancelled.
fn rest(decode: &mut Decode, progress: &watch::Sender<Progress>) -> Done {
    while let Ok(chunk) = decode.chunks.try_recv() {
        match chunk {
            Chunk::Text(chunk) => progress.send_modify(|progress| progress.take(chunk)),
            Chunk::Done(done) => return done,
        }
    }
    ended(Finish::Cancelled)
}

fn ended(finish: Finish) -> Done {
    Done { finish, stats: RequestStats::default() }
}
