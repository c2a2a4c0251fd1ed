//! Time limits, so that no test can hang.

use std::fmt::Debug;
use std::panic::Location;
use std::time::Duration;

use tokio::time::{sleep, timeout};

/// The limit for events that are certain to happen. It is so long that only a hang exceeds it, even on a busy machine.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// The interval at which [`poll`] asks.
const INTERVAL: Duration = Duration::from_millis(20);

/// The future's output.
///
/// # Panics
/// If there is no value within the limit. The message names the caller.
#[track_caller]
pub fn within<F: Future>(limit: Duration, future: F) -> impl Future<Output = F::Output> {
    let caller = Location::caller();
    async move {
        match timeout(limit, future).await {
            Ok(output) => output,
            Err(_) => fail(caller, &format!("still waiting after {limit:?}")),
        }
    }
}

/// Repeats `ask` until it returns `Ok`, for [`TIMEOUT`] at most.
///
/// # Panics
/// If `ask` never returns `Ok`. The message names the caller and the last error.
#[track_caller]
pub fn poll<T, E: Debug>(ask: impl AsyncFnMut() -> Result<T, E>) -> impl Future<Output = T> {
    poll_from(TIMEOUT, ask, Location::caller())
}

/// Like [`poll`], with another limit, for slow operations.
///
/// # Panics
/// As [`poll`].
#[track_caller]
pub fn poll_for<T, E: Debug>(
    limit: Duration,
    ask: impl AsyncFnMut() -> Result<T, E>,
) -> impl Future<Output = T> {
    poll_from(limit, ask, Location::caller())
}

async fn poll_from<T, E: Debug>(
    limit: Duration,
    mut ask: impl AsyncFnMut() -> Result<T, E>,
    caller: &Location<'_>,
) -> T {
    let mut last = None;
    let polling = timeout(limit, async {
        loop {
            match ask().await {
                Ok(found) => return found,
                Err(error) => last = Some(error),
            }
            sleep(INTERVAL).await;
        }
    });
    match polling.await {
        Ok(found) => found,
        Err(_) => fail(caller, &format!("still not so after {limit:?}: {last:?}")),
    }
}

fn fail(caller: &Location<'_>, message: &str) -> ! {
    panic!("{caller}: {message}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_done_in_time_has_its_output() {
        assert_eq!(within(TIMEOUT, async { 1 }).await, 1);
        let mut asked = 0;
        let found = poll(async || {
            asked += 1;
            if asked == 3 { Ok(asked) } else { Err("not yet") }
        });
        assert_eq!(found.await, 3);
    }

    #[tokio::test]
    #[should_panic(expected = "time.rs")]
    async fn what_hangs_fails_where_it_was_waited_for() {
        within(Duration::from_millis(1), std::future::pending::<()>()).await;
    }

    #[tokio::test]
    #[should_panic(expected = "not yet")]
    async fn what_never_comes_fails_with_the_last_error() {
        poll_for(INTERVAL, async || Err::<(), _>("not yet")).await;
    }
}
