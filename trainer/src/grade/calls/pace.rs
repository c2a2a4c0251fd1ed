//! How fast requests go to one URL.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

/// The pace of all requests to one URL: a rate, and pauses that the provider asks for.
#[derive(Debug)]
pub(crate) struct Pace {
    /// The least time between two requests.
    interval: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    next: Instant,
    paused_until: Instant,
}

impl Pace {
    /// A pace of at most this number of requests per second; without a number, there is no limit.
    pub(crate) fn new(rate: Option<f64>) -> Self {
        let interval = rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(1.0 / rate));
        let now = Instant::now();
        Self { interval, state: Mutex::new(State { next: now, paused_until: now }) }
    }

    /// Holds back all requests for this time, or longer if they are already held back for longer.
    pub(super) fn pause(&self, time: Duration) {
        let mut state = self.state.lock();
        state.paused_until = state.paused_until.max(Instant::now() + time);
    }

    /// Waits until the next request may be sent.
    pub(super) async fn turn(&self) {
        loop {
            let (at, is_turn) = self.next();
            sleep_until(at).await;
            if is_turn && self.state.lock().paused_until <= Instant::now() {
                return;
            }
        }
    }

    /// The end of a pause, or the time of the next turn, which is then taken.
    fn next(&self) -> (Instant, bool) {
        let (mut state, now) = (self.state.lock(), Instant::now());
        if state.paused_until > now {
            return (state.paused_until, false);
        }
        let turn = state.next.max(now);
        state.next = turn + self.interval;
        (turn, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn turns_keep_their_distance() {
        let (pace, start) = (Pace::new(Some(200.0)), Instant::now());
        futures_util::future::join_all((0..5).map(|_| pace.turn())).await;
        assert!(start.elapsed() >= Duration::from_millis(20), "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn a_pause_holds_back_all_and_a_shorter_one_does_not_end_it() {
        let (pace, start) = (Pace::new(None), Instant::now());
        pace.turn().await;
        pace.pause(Duration::from_millis(30));
        pace.pause(Duration::from_millis(1));
        futures_util::future::join_all((0..5).map(|_| pace.turn())).await;
        assert!(start.elapsed() >= Duration::from_millis(30), "{:?}", start.elapsed());
    }
}
