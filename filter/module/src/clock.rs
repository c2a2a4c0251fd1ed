//! A clock that only goes forward.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// The time since the module was loaded.
pub(crate) fn now() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed()
}
