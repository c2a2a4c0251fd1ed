//! Reports the counts of all configurations to Envoy once a second.
//!
//! Envoy drops a counter with the last configuration that used it. So the newest configuration uses all counters of this process,
//! and reports the counts of the others: a change of the policy loses no count.
//!
//! A thread schedules the report on Envoy's main thread. It lives as long as there is a configuration: Envoy unloads a module
//! that no configuration needs, and no thread may run in it then.
#![allow(unsafe_code)]

use std::collections::HashSet;
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::thread::Thread;
use super::{Counter, Stats};
use crate::abi::{self, ConfigPtr, LogLevel, SchedulerPtr};
use crate::gateway::Gateway;
use crate::log;

/// How often Envoy gets the counts. Prometheus scrapes less often.
const INTERVAL: Duration = Duration::from_secs(1);

/// The maximum number of counters that a new configuration takes over. Their labels come from configurations,
/// so their number can grow over time.
const MAX_CARRIED: usize = 4096;

/// Reports a configuration's counts until it is dropped.
#[derive(Debug)]
pub(crate) struct Flushing(u64);

/// What the thread and the configurations share. It is locked while Envoy is called, which keeps the configurations alive; these
/// calls run no hook.
static STATE: LazyLock<Mutex<State>> = LazyLock::new(Mutex::default);
/// Wakes a thread that must end.
static CHANGED: Condvar = Condvar::new();

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// The oldest first.
    targets: Vec<Target>,
    /// The counters that this process has reported.
    known: HashSet<Counter>,
    thread: Option<Thread>,
    /// The number of the thread that may run; others end.
    generation: u64,
}

#[derive(Debug)]
struct Target {
    id: u64,
    envoy: ConfigPtr,
    scheduler: Scheduler,
    gateway: Arc<Gateway>,
}

// SAFETY: Envoy's stats may be used on any thread.
unsafe impl Send for Target {}

/// Makes Envoy's main thread call `config_scheduled`.
#[derive(Debug)]
struct Scheduler(SchedulerPtr);

impl Drop for Scheduler {
    fn drop(&mut self) {
        // SAFETY: it was made by `scheduler_new`, and nobody else has it. It may be deleted on any thread.
        unsafe { abi::envoy_dynamic_module_callback_http_filter_config_scheduler_delete(self.0) };
    }
}

impl Target {
    fn stats(&self) -> &Stats {
        &self.gateway.stats
    }

    fn add(&self, counter: &Counter, by: u64) {
        // SAFETY: a configuration is a target until Envoy destroys it.
        unsafe { self.stats().add(self.envoy, counter, by) };
    }

    fn take(&self) -> Vec<(Counter, u64)> {
        self.stats().take(self.gateway.config())
    }
}

impl State {
    /// Reports the counts of all configurations to Envoy.
    fn flush(&mut self) {
        let counted: Vec<_> = self.targets.iter().flat_map(Target::take).collect();
        self.hand_over(counted);
    }

    /// Reports these counts to Envoy, through the newest configuration.
    fn hand_over(&mut self, counted: Vec<(Counter, u64)>) {
        let Some(newest) = self.targets.last() else { return };
        for (counter, by) in counted {
            newest.add(&counter, by);
            if self.known.len() < MAX_CARRIED {
                self.known.insert(counter);
            }
        }
    }

    /// Makes the newest configuration use all counters.
    fn carry_over(&self) {
        if let Some(newest) = self.targets.last() {
            self.known.iter().for_each(|counter| newest.add(counter, 0));
        }
    }
}

/// Reports the counts of all configurations to Envoy.
pub(crate) fn flush() {
    lock().flush();
}

impl Flushing {
    /// # Safety
    /// `envoy` is the configuration's pointer, and Envoy has not destroyed it before this is dropped.
    pub(crate) unsafe fn start(envoy: ConfigPtr, gateway: Arc<Gateway>) -> Self {
        // SAFETY: as above.
        let scheduler =
            Scheduler(unsafe { abi::envoy_dynamic_module_callback_http_filter_config_scheduler_new(envoy) });
        let mut state = lock();
        let id = state.next;
        state.next = id.wrapping_add(1);
        state.targets.push(Target { id, envoy, scheduler, gateway });
        state.carry_over();
        if state.thread.is_none() {
            match Thread::start(run, state.generation) {
                Ok(thread) => state.thread = Some(thread),
                Err(error) => {
                    log::write(
                        LogLevel::Error,
                        &format!("counters are not reported: cannot start a thread: {error}"),
                    );
                }
            }
        }
        Self(id)
    }
}

impl Drop for Flushing {
    fn drop(&mut self) {
        let mut state = lock();
        let Some(place) = state.targets.iter().position(|target| target.id == self.0) else { return };
        if state.targets.len() == 1 {
            state.flush();
        }
        let ended = state.targets.remove(place);
        // The configuration that ends keeps the counters in Envoy until the newest one uses them.
        state.carry_over();
        let counted = ended.take();
        state.hand_over(counted);
        let thread = if state.targets.is_empty() { state.thread.take() } else { None };
        if thread.is_some() {
            state.generation = state.generation.wrapping_add(1);
        }
        drop(state);
        if let Some(thread) = thread {
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
        let is_dirty = state.targets.iter().any(|target| target.stats().is_dirty());
        if let Some(newest) = state.targets.last().filter(|_| is_dirty) {
            // SAFETY: the scheduler lives as long as its target. Envoy only queues the event here, and calls
            // `config_scheduled` later.
            unsafe {
                abi::envoy_dynamic_module_callback_http_filter_config_scheduler_commit(newest.scheduler.0, 0);
            }
        }
    }
}

fn lock() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}
