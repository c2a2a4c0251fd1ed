//! The thread that has Envoy's main thread ask for the counts once a second.
//!
//! It lives as long as there is a configuration: Envoy unloads a module that no configuration needs, and no thread may be in it
//! then.
#![allow(unsafe_code)]

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Stats;
use super::thread::Thread;
use crate::abi::{self, ConfigPtr, LogLevel, SchedulerPtr};
use crate::log;

/// How often Envoy gets the counts. Prometheus asks less often.
const INTERVAL: Duration = Duration::from_secs(1);

/// A configuration whose counts are handed over. Ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Flushing(u64);

/// What the thread and the configurations share.
static STATE: Mutex<State> = Mutex::new(State { next: 0, targets: Vec::new(), thread: None, generation: 0 });
/// Wakes a thread that is to end.
static CHANGED: Condvar = Condvar::new();

#[derive(Debug)]
struct State {
    next: u64,
    targets: Vec<Target>,
    thread: Option<Thread>,
    /// The number of the thread that is to run; others end.
    generation: u64,
}

#[derive(Debug)]
struct Target {
    id: u64,
    scheduler: Scheduler,
    stats: Arc<Stats>,
}

/// Has Envoy's main thread call `config_scheduled`.
#[derive(Debug)]
struct Scheduler(SchedulerPtr);

// SAFETY: Envoy's scheduler may be used and deleted on any thread.
unsafe impl Send for Scheduler {}

impl Drop for Scheduler {
    fn drop(&mut self) {
        // SAFETY: it was made by `scheduler_new`, and nobody else has it.
        unsafe { abi::envoy_dynamic_module_callback_http_filter_config_scheduler_delete(self.0) };
    }
}

impl Flushing {
    /// # Safety
    /// `config` is the configuration's pointer, and Envoy has not destroyed it.
    pub(crate) unsafe fn start(config: ConfigPtr, stats: Arc<Stats>) -> Self {
        // SAFETY: as above.
        let scheduler =
            Scheduler(unsafe { abi::envoy_dynamic_module_callback_http_filter_config_scheduler_new(config) });
        let mut state = lock();
        let id = state.next;
        state.next = id.wrapping_add(1);
        state.targets.push(Target { id, scheduler, stats });
        if state.thread.is_none() {
            match Thread::start(run, state.generation) {
                Ok(thread) => state.thread = Some(thread),
                Err(error) => {
                    log::write(LogLevel::Error, &format!("counters stay as they are: no thread: {error}"));
                }
            }
        }
        Self(id)
    }
}

impl Drop for Flushing {
    fn drop(&mut self) {
        let mut state = lock();
        state.targets.retain(|target| target.id != self.0);
        let ended = if state.targets.is_empty() { state.thread.take() } else { None };
        if ended.is_some() {
            state.generation = state.generation.wrapping_add(1);
        }
        drop(state);
        if let Some(thread) = ended {
            CHANGED.notify_all();
            thread.join();
        }
    }
}

fn run(generation: u64) {
    let mut state = lock();
    while state.generation == generation {
        let (woken, _) = CHANGED.wait_timeout(state, INTERVAL).unwrap_or_else(PoisonError::into_inner);
        state = woken;
        for target in state.targets.iter().filter(|target| target.stats.is_dirty()) {
            // SAFETY: the scheduler lives as long as its target. Envoy only takes note of it here, and calls us later.
            unsafe {
                abi::envoy_dynamic_module_callback_http_filter_config_scheduler_commit(target.scheduler.0, 0);
            }
        }
    }
}

fn lock() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}
