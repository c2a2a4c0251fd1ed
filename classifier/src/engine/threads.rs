//! Threads that serve one queue, and how many of them are alive.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use parking_lot::Mutex;

use super::queue::Queue;

/// Threads that serve a queue. When the last one ends, the queue is abandoned, so that nobody waits forever.
pub(super) struct ThreadGroup<T> {
    pub(super) queue: Arc<Queue<T>>,
    alive: Arc<AtomicUsize>,
    handles: Mutex<Vec<JoinHandle<()>>>,
}

impl<T: Send + 'static> ThreadGroup<T> {
    /// Starts one thread for each of `threads`, named `NAME-0`, `NAME-1`, ... Each serves the queue until it is closed and
    /// empty.
    ///
    /// # Errors
    /// If a thread cannot be started.
    pub(super) fn start<F>(name: &str, queue: Queue<T>, threads: Vec<F>) -> Result<Self>
    where
        F: FnOnce(&Queue<T>) + Send + 'static,
    {
        // Before the first thread starts: it may end before the last one has started.
        let alive = Arc::new(AtomicUsize::new(threads.len()));
        let group = Self { queue: Arc::new(queue), alive, handles: Mutex::default() };
        for (number, serve) in threads.into_iter().enumerate() {
            let name = format!("{name}-{number}");
            let guard = AliveGuard { queue: Arc::clone(&group.queue), alive: Arc::clone(&group.alive) };
            let run = move || {
                if catch_unwind(AssertUnwindSafe(|| serve(&guard.queue))).is_err() {
                    let thread = std::thread::current();
                    tracing::error!(thread = thread.name(), "a thread of the classifier's engine died");
                }
            };
            let thread = std::thread::Builder::new().name(name).spawn(run);
            group.handles.lock().push(thread.context("cannot start a thread")?);
        }
        Ok(group)
    }
}

impl<T> ThreadGroup<T> {
    /// The number of threads that have not ended.
    pub(super) fn alive(&self) -> usize {
        self.alive.load(Ordering::Acquire)
    }

    /// Closes the queue and waits until it is empty and the threads have ended. Blocks.
    pub(super) fn finish(&self) {
        self.queue.close();
        for thread in self.handles.lock().drain(..) {
            // A panic has been logged already.
            let _ = thread.join();
        }
    }
}

impl<T> Drop for ThreadGroup<T> {
    /// The threads end and drop waiting items; also if only a part of the group could be started.
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// Lives as long as its thread.
struct AliveGuard<T> {
    queue: Arc<Queue<T>>,
    alive: Arc<AtomicUsize>,
}

impl<T> Drop for AliveGuard<T> {
    fn drop(&mut self) {
        if self.alive.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.queue.abandon();
        }
    }
}
