//! Keeps panics inside the module: unwinding into Envoy would abort it.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};

use crate::abi::LogLevel;
use crate::log;

thread_local! {
    /// Where this thread last panicked.
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Records where panics happen. Panic messages may quote prompts, so they are never logged.
pub(crate) fn install_hook() {
    panic::set_hook(Box::new(|panic: &PanicHookInfo<'_>| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let _ = PLACE.try_with(|it| it.replace(place));
    }));
}

/// Runs a hook. If it panics, logs that and returns the result of `recover`, or `None` if `recover` panics too.
pub(crate) fn run<T>(hook: impl FnOnce() -> T, recover: impl FnOnce() -> T) -> Option<T> {
    // State that a panic left half changed is not used again: `recover` starts from scratch.
    if let Ok(value) = panic::catch_unwind(AssertUnwindSafe(hook)) {
        return Some(value);
    }
    report();
    let recovered = panic::catch_unwind(AssertUnwindSafe(recover));
    if recovered.is_err() {
        report();
    }
    recovered.ok()
}

#[cfg(any(test, feature = "fuzzing"))]
thread_local!(static PANICS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) });

/// How often hooks of this thread panicked since the last call.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn take_panics() -> usize {
    PANICS.take()
}

fn report() {
    #[cfg(any(test, feature = "fuzzing"))]
    PANICS.set(PANICS.get() + 1);
    let place = PLACE.try_with(|it| it.take()).unwrap_or_default();
    let message = format!("a bug in the router: panicked at {place}; please report it");
    let _ = panic::catch_unwind(|| log::write(LogLevel::Error, &message));
}
