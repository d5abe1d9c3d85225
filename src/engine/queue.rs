//! Requests that wait for the worker: the newest of each document wins, the newest of all goes first.
//!
//! A request that is passed over ends at once as [`Finish::Superseded`], on the thread that submits its successor, so a
//! client gets its answer even while the worker is busy.
//!
//! Behind all of them there is room for one hint, the newest. It runs when nothing else is to do, and whatever comes in
//! interrupts it for good.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::fetch::Fetched;
use super::{Chunk, DecodeSink, DocumentId, Done, Finish, Hint, Request, RequestStats};

/// A request and the way back to its caller.
#[derive(Debug)]
pub struct Job {
    /// What to decode.
    pub request: Request,
    /// Where chunks go.
    pub sink: DecodeSink,
    /// Set when a newer request of the same document comes.
    pub superseded: Arc<AtomicBool>,
}

impl Job {
    /// Nobody waits for this any more.
    pub fn is_stale(&self) -> bool {
        self.superseded.load(Ordering::Relaxed) || self.sink.cancelled.is_cancelled()
    }

    /// The finish of a stale job.
    pub fn stale_finish(&self) -> Finish {
        match self.superseded.load(Ordering::Relaxed) {
            true => Finish::Superseded,
            false => Finish::Cancelled,
        }
    }
}

/// A hint and whether it still counts.
#[derive(Debug)]
pub struct Prefill {
    /// What to evaluate.
    pub hint: Hint,
    /// Set when anything else comes in.
    interrupted: Arc<AtomicBool>,
}

impl Prefill {
    /// Something else is to be done.
    pub fn is_stale(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }
}

/// Ends a request. A caller that has gone away is no error.
pub fn finish(sink: &DecodeSink, finish: Finish, stats: RequestStats) {
    let _gone = sink.chunks.send(Chunk::Done(Done { finish, stats }));
}

/// What wakes the worker.
#[derive(Debug)]
pub enum Event {
    /// A request to serve.
    Job(Box<Job>),
    /// A hint to evaluate, since there is nothing else to do.
    Prefill(Box<Prefill>),
    /// A document was closed.
    Forget(DocumentId),
    /// The settings changed.
    Configure,
    /// The files of this profile are to be fetched, whatever the settings say.
    Fetch(String),
    /// What is being fetched is not wanted any more.
    CancelFetch,
    /// A download has ended.
    Fetched(Fetched),
    /// No request came until the given time.
    Idle,
    /// The last handle is gone.
    Shutdown,
}

/// The worker's inbox.
#[derive(Debug, Default)]
pub struct Queue {
    inbox: Mutex<Inbox>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct Inbox {
    waiting: VecDeque<Job>,
    running: Option<(DocumentId, Arc<AtomicBool>)>,
    hint: Option<Hint>,
    prefilling: Option<Arc<AtomicBool>>,
    forgotten: Vec<DocumentId>,
    configured: bool,
    /// The last word about downloads.
    wish: Option<FetchWish>,
    fetched: Vec<Fetched>,
    closed: bool,
    /// Why there is no worker any more, where it did not end by [`Queue::close`].
    broken: Option<String>,
}

#[derive(Debug)]
enum FetchWish {
    Fetch(String),
    Cancel,
}

impl Queue {
    /// Adds a request; older ones of the same document, waiting or running, are superseded.
    pub fn submit(&self, request: Request, sink: DecodeSink) {
        let superseded = Arc::new(AtomicBool::new(false));
        let mut inbox = self.lock();
        if let Some(reason) = &inbox.broken {
            return finish(&sink, Finish::Failed(reason.clone()), RequestStats::default());
        }
        inbox.interrupt();
        inbox.drop_hint_of(&request.document);
        if let Some((document, flag)) = &inbox.running
            && *document == request.document
        {
            flag.store(true, Ordering::Relaxed);
        }
        let document = request.document.clone();
        inbox.waiting.retain(|job| {
            let older = job.request.document == document;
            if older {
                finish(&job.sink, Finish::Superseded, RequestStats::default());
            }
            !older
        });
        inbox.waiting.push_back(Job { request, sink, superseded });
        self.arrived.notify_one();
    }

    /// A hint: it takes the place of an older one, whichever document that is about, since the user is here.
    pub fn prefill(&self, hint: Hint) {
        let mut inbox = self.lock();
        inbox.interrupt();
        inbox.hint = Some(hint);
        self.arrived.notify_one();
    }

    /// No hint counts any more.
    pub fn drop_hints(&self) {
        self.lock().drop_hints();
    }

    /// A document was closed: its waiting requests end, its sequences may go.
    pub fn forget(&self, document: &DocumentId) {
        let mut inbox = self.lock();
        inbox.interrupt();
        inbox.drop_hint_of(document);
        inbox.waiting.retain(|job| {
            let closed = job.request.document == *document;
            if closed {
                finish(&job.sink, Finish::Cancelled, RequestStats::default());
            }
            !closed
        });
        inbox.forgotten.push(document.clone());
        self.arrived.notify_one();
    }

    /// The settings changed. A hint was given under the old ones, which may have allowed more.
    pub fn configure(&self) {
        let mut inbox = self.lock();
        inbox.drop_hints();
        inbox.configured = true;
        self.arrived.notify_one();
    }

    /// The files of this profile are to be fetched, whatever the settings say.
    pub fn fetch(&self, profile: &str) {
        self.wish(FetchWish::Fetch(profile.to_owned()));
    }

    /// What is being fetched is not wanted any more.
    pub fn cancel_fetch(&self) {
        self.wish(FetchWish::Cancel);
    }

    fn wish(&self, wish: FetchWish) {
        let mut inbox = self.lock();
        inbox.interrupt();
        inbox.wish = Some(wish);
        self.arrived.notify_one();
    }

    /// A download has ended.
    pub fn fetched(&self, fetched: Fetched) {
        let mut inbox = self.lock();
        inbox.interrupt();
        inbox.fetched.push(fetched);
        self.arrived.notify_one();
    }

    /// No further requests: the worker ends, waiting requests are cancelled.
    pub fn close(&self) {
        let mut inbox = self.lock();
        inbox.closed = true;
        inbox.interrupt();
        if let Some((_, flag)) = &inbox.running {
            flag.store(true, Ordering::Relaxed);
        }
        for job in inbox.waiting.drain(..) {
            finish(&job.sink, Finish::Cancelled, RequestStats::default());
        }
        self.arrived.notify_one();
    }

    /// Ends all that wait as failed, for `reason`: what they wait for is not there.
    pub fn fail_waiting(&self, reason: &str) {
        self.lock().fail_waiting(reason);
    }

    /// There is no worker any more: all that wait fail, and so does whatever comes. Says nothing of a queue that was
    /// closed.
    pub fn break_off(&self, reason: &str) {
        let mut inbox = self.lock();
        if !inbox.closed {
            inbox.broken = Some(reason.to_owned());
            inbox.fail_waiting(reason);
        }
    }

    /// Whether [`Queue::close`] was called.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// The next event; waits until `deadline` at the latest where it is given. What was returned before counts as ended.
    pub fn next(&self, deadline: Option<Instant>) -> Event {
        let mut inbox = self.lock();
        inbox.running = None;
        inbox.prefilling = None;
        loop {
            if let Some(event) = inbox.take() {
                return event;
            }
            inbox = match deadline {
                None => self.arrived.wait(inbox).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Event::Idle;
                    }
                    let waited = self.arrived.wait_timeout(inbox, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// A poisoned lock only means that some submitter panicked; the inbox itself is always whole.
    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inbox {
    /// Ends the hint that is being evaluated.
    fn interrupt(&mut self) {
        if let Some(interrupted) = self.prefilling.take() {
            interrupted.store(true, Ordering::Relaxed);
        }
    }

    fn fail_waiting(&mut self, reason: &str) {
        for job in self.waiting.drain(..) {
            finish(&job.sink, Finish::Failed(reason.to_owned()), RequestStats::default());
        }
    }

    fn drop_hints(&mut self) {
        self.interrupt();
        self.hint = None;
    }

    fn drop_hint_of(&mut self, document: &DocumentId) {
        self.hint.take_if(|hint| hint.document == *document);
    }

    fn take(&mut self) -> Option<Event> {
        if self.closed {
            return Some(Event::Shutdown);
        }
        if std::mem::take(&mut self.configured) {
            return Some(Event::Configure);
        }
        match self.wish.take() {
            Some(FetchWish::Fetch(profile)) => return Some(Event::Fetch(profile)),
            Some(FetchWish::Cancel) => return Some(Event::CancelFetch),
            None => {}
        }
        if let Some(fetched) = self.fetched.pop() {
            return Some(Event::Fetched(fetched));
        }
        if let Some(document) = self.forgotten.pop() {
            return Some(Event::Forget(document));
        }
        // The newest first: that is where the user is.
        while let Some(job) = self.waiting.pop_back() {
            if job.is_stale() {
                finish(&job.sink, job.stale_finish(), RequestStats::default());
                continue;
            }
            self.running = Some((job.request.document.clone(), job.superseded.clone()));
            return Some(Event::Job(Box::new(job)));
        }
        let hint = self.hint.take()?;
        let interrupted = Arc::clone(self.prefilling.insert(Arc::default()));
        Some(Event::Prefill(Box::new(Prefill { hint, interrupted })))
    }
}
