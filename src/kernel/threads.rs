//! A small pool of threads for work that takes microseconds, a few hundred times per forward.
//!
//! rayon's threads sleep between two calls, and waking them costs as much as a small product. These wait a moment with
//! their eyes open (`SPINS`), then yield, then sleep: a pool that only spins stands still for whole scheduler ticks on
//! a machine that is busy with something else, as an editor's machine is.
//!
//! The caller works too, and waits for tasks that were begun, never for threads that were not scheduled: with no other
//! thread awake it does everything itself.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Looks for work before a thread yields: some 30 microseconds, longer than what lies between two products of a block.
const SPINS: usize = 1500;

/// Yields before a thread sleeps.
const YIELDS: usize = 30;

/// Threads that wait for work. Dropping them ends them.
#[derive(Debug)]
pub struct Threads {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// Only one job runs at a time.
    turn: Mutex<()>,
}

#[derive(Debug, Default)]
struct Shared {
    /// The number of the job in the upper half, and how many of its tasks nobody has taken in the lower.
    state: AtomicU64,
    /// The running job. Whoever takes a task from `state` may use it until the task is done.
    job: AtomicPtr<Job<'static>>,
    asleep: Mutex<usize>,
    wake: Condvar,
    closing: AtomicBool,
}

struct Job<'a> {
    task: &'a (dyn Fn(usize) + Sync),
    n_tasks: usize,
    n_done: AtomicUsize,
    /// What the first task that panicked said.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Threads {
    /// A pool of `n` threads, of which the caller is one.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub fn new(n: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let mut pool = Self { shared, workers: Vec::new(), turn: Mutex::new(()) };
        for worker_idx in 1..n {
            let shared = pool.shared.clone();
            let builder = std::thread::Builder::new().name(format!("kernel-{worker_idx}"));
            pool.workers.push(builder.spawn(move || shared.work())?);
        }
        Ok(pool)
    }

    /// Threads that work, the caller included.
    pub fn count(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `task` with each of `0..n_tasks` once, on any thread and in any order, and returns when all are done.
    ///
    /// # Panics
    /// If a task panics, with what the first of them said; after all others are done. A task must not call this on the same pool.
    pub fn for_each(&self, n_tasks: usize, task: impl Fn(usize) + Sync) {
        if n_tasks <= 1 || self.workers.is_empty() {
            return (0..n_tasks).for_each(task);
        }
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let job =
            Job { task: &task, n_tasks, n_done: AtomicUsize::new(0), panic: Mutex::default() };
        self.shared.publish(&job);
        while self.shared.take_one() {}
        let mut spins = 0;
        while job.n_done.load(Ordering::Acquire) < n_tasks {
            pause(&mut spins);
        }
        if let Some(panic) = job.panic.into_inner().unwrap_or_else(PoisonError::into_inner) {
            resume_unwind(panic);
        }
    }

    /// Calls `work` once per thread that has time for it: for work that divides itself.
    ///
    /// # Panics
    /// As [`Threads::for_each`].
    pub fn together(&self, work: impl Fn() + Sync) {
        self.for_each(self.count(), |_| work());
    }

    /// Calls `task` with each chunk of `chunk_len` numbers of `out` (the last may be shorter) and its index.
    ///
    /// # Panics
    /// If `chunk_len` is 0, or a task panics.
    pub fn for_each_chunk<T: Send>(
        &self,
        out: &mut [T],
        chunk_len: usize,
        task: impl Fn(usize, &mut [T]) + Sync,
    ) {
        let (len, out) = (out.len(), Pointer(out.as_mut_ptr()));
        self.for_each(len.div_ceil(chunk_len), |idx| {
            let start = idx * chunk_len;
            let chunk_len = chunk_len.min(len - start);
            #[expect(unsafe_code, reason = "chunks of one slice, handed to different threads")]
            // SAFETY: `for_each` calls this once per index, so no two calls have a chunk in common; all of them end
            // before the exclusive borrow of `out` does.
            let chunk = unsafe { std::slice::from_raw_parts_mut(out.get().add(start), chunk_len) };
            task(idx, chunk);
        });
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::SeqCst);
        self.shared.wake_all();
        for worker in self.workers.drain(..) {
            let _panicked = worker.join();
        }
    }
}

impl Shared {
    /// Makes `job` the one that threads take tasks from.
    fn publish(&self, job: &Job<'_>) {
        self.job.store(std::ptr::from_ref(job).cast_mut().cast(), Ordering::Relaxed);
        let number = (self.state.load(Ordering::Relaxed) >> 32).wrapping_add(1);
        // Everything before this is seen by whoever takes a task; and it comes before the look at the sleepers, as
        // theirs at the state comes after they have counted themselves.
        self.state.store(number << 32 | job.n_tasks as u64, Ordering::SeqCst);
        self.wake_all();
    }

    fn wake_all(&self) {
        let asleep = self.asleep.lock().unwrap_or_else(PoisonError::into_inner);
        if *asleep > 0 {
            self.wake.notify_all();
        }
    }

    fn work(&self) {
        while !self.closing.load(Ordering::Relaxed) {
            let mut idle = 0;
            while idle < SPINS + YIELDS {
                if self.take_one() {
                    idle = 0;
                } else if self.closing.load(Ordering::Relaxed) {
                    return;
                } else {
                    pause(&mut idle);
                }
            }
            self.sleep();
        }
    }

    fn sleep(&self) {
        let mut asleep = self.asleep.lock().unwrap_or_else(PoisonError::into_inner);
        *asleep += 1;
        while self.n_left() == 0 && !self.closing.load(Ordering::SeqCst) {
            asleep = self.wake.wait(asleep).unwrap_or_else(PoisonError::into_inner);
        }
        *asleep -= 1;
    }

    fn n_left(&self) -> u32 {
        self.state.load(Ordering::SeqCst) as u32
    }

    /// Takes a task and does it; false if there is none.
    fn take_one(&self) -> bool {
        let mut state = self.state.load(Ordering::Acquire);
        loop {
            let n_left = state as u32;
            if n_left == 0 {
                return false;
            }
            let job = self.job.load(Ordering::Relaxed);
            let taken = self.state.compare_exchange_weak(
                state,
                state - 1,
                Ordering::AcqRel,
                Ordering::Acquire,
            );
            match taken {
                Ok(_) => {
                    #[expect(unsafe_code, reason = "the job lies on the caller's stack")]
                    // SAFETY: the job's number was the same before and after `job` was read, so it is that job's
                    // pointer; and `for_each` does not return before the task taken here is counted as done.
                    unsafe {
                        (*job).run(n_left);
                    }
                    return true;
                }
                Err(now) => state = now,
            }
        }
    }
}

impl Job<'_> {
    /// Does the task that was taken when `n_left` were left; the job may be gone when this returns.
    fn run(&self, n_left: u32) {
        let task_idx = self.n_tasks - n_left as usize;
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (self.task)(task_idx))) {
            let mut first = self.panic.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert(panic);
        }
        self.n_done.fetch_add(1, Ordering::Release);
    }
}

/// Waits a little: spinning first, then leaving the processor to others.
fn pause(idle: &mut usize) {
    *idle += 1;
    if *idle < SPINS {
        std::hint::spin_loop();
    } else {
        std::thread::yield_now();
    }
}

/// A pointer that threads may share; what they do with it is theirs to justify.
struct Pointer<T>(*mut T);

impl<T> Pointer<T> {
    fn get(&self) -> *mut T {
        self.0
    }
}

#[expect(unsafe_code, reason = "threads get disjoint parts of what it points to")]
// SAFETY: the only use gives each thread its own part, which it may have because `T` is `Send`.
unsafe impl<T: Send> Sync for Pointer<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_is_done_once_however_many_threads_there_are() {
        for n_threads in 1..5 {
            let threads = Threads::new(n_threads).unwrap();
            for n_tasks in [0, 1, 2, 3, 17, 200] {
                for _ in 0..50 {
                    let done: Vec<_> = (0..n_tasks).map(|_| AtomicUsize::new(0)).collect();
                    threads.for_each(n_tasks, |i| {
                        done[i].fetch_add(1, Ordering::Relaxed);
                    });
                    assert!(done.iter().all(|n| n.load(Ordering::Relaxed) == 1));
                }
            }
        }
    }

    #[test]
    fn chunks_cover_a_slice() {
        let threads = Threads::new(3).unwrap();
        for len in [0usize, 1, 9, 10, 11, 1000] {
            let mut numbers = vec![0; len];
            threads.for_each_chunk(&mut numbers, 10, |idx, chunk| {
                assert_eq!(chunk.len(), 10.min(len - idx * 10));
                for (i, number) in chunk.iter_mut().enumerate() {
                    *number += idx * 10 + i;
                }
            });
            assert!(numbers.iter().copied().eq(0..len));
        }
    }

    #[test]
    fn sleeping_threads_are_woken() {
        let threads = Threads::new(2).unwrap();
        // Two tasks that each wait for the other need both threads.
        let barrier = std::sync::Barrier::new(2);
        for _ in 0..3 {
            while *threads.shared.asleep.lock().unwrap() == 0 {
                std::thread::yield_now();
            }
            threads.for_each(2, |_| {
                barrier.wait();
            });
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_leaves_the_pool_whole() {
        let threads = Threads::new(2).unwrap();
        let call = AssertUnwindSafe(|| threads.for_each(8, |i| assert!(i != 5, "task {i}")));
        let panic = catch_unwind(call).unwrap_err();
        assert_eq!(panic.downcast_ref::<String>().map(String::as_str), Some("task 5"));
        let done = AtomicUsize::new(0);
        threads.for_each(8, |_| {
            done.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(done.into_inner(), 8);
    }
}
