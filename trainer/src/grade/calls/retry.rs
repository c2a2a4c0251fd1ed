//! When a failed request is repeated.

use std::time::{Duration, SystemTime};

use reqwest::header::{HeaderMap, RETRY_AFTER};

/// The longest delay between two attempts, unless the provider asks for more.
const MAX_DELAY: Duration = Duration::from_secs(30);

/// Exponential backoff: each delay is a random fraction of a bound that doubles, so that concurrent requests
/// spread out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    /// The first bound.
    pub(crate) first: Duration,
    /// How often a request is sent at most.
    pub(crate) attempts: u32,
}

impl Backoff {
    /// The delays between the attempts of one request.
    pub(super) fn delays(self) -> impl Iterator<Item = Duration> {
        (1..self.attempts).map(move |attempt| self.bound(attempt).mul_f64(fastrand::f64()))
    }

    fn bound(self, attempt: u32) -> Duration {
        self.first.saturating_mul(2_u32.saturating_pow(attempt - 1)).min(MAX_DELAY)
    }
}

/// How long the provider asks to wait: `retry-after-ms`, or `Retry-After` in seconds or as a date. A number
/// that is too large for a [`Duration`] counts as the longest one.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let number = |text: &str| text.trim().parse().ok().filter(|number: &f64| *number >= 0.0);
    let header = |name: &str| headers.get(name)?.to_str().ok();
    let wait = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
    if let Some(milliseconds) = header("retry-after-ms").and_then(number) {
        return Some(wait(milliseconds / 1e3));
    }
    let text = header(RETRY_AFTER.as_str())?;
    match number(text) {
        Some(seconds) => Some(wait(seconds)),
        None => Some(httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(headers: &[(&'static str, &str)]) -> Option<Duration> {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        retry_after(&headers.collect(), now)
    }

    #[test]
    fn the_wait_is_in_seconds_milliseconds_or_a_date() {
        let seconds = |seconds| Some(Duration::from_secs_f64(seconds));
        assert_eq!(asked(&[("retry-after", "3")]), seconds(3.0));
        assert_eq!(asked(&[("retry-after", "0.5")]), seconds(0.5));
        assert_eq!(asked(&[("retry-after", "3"), ("retry-after-ms", "250")]), seconds(0.25));
        // Ten seconds after the time of the test, and before it.
        assert_eq!(asked(&[("retry-after", "Sun, 06 Nov 1994 08:49:47 GMT")]), seconds(10.0));
        assert_eq!(asked(&[("retry-after", "Sun, 06 Nov 1994 08:49:27 GMT")]), seconds(0.0));
        assert_eq!(asked(&[("retry-after", "1e30")]), Some(Duration::MAX));
        assert_eq!(asked(&[("retry-after-ms", "1e40")]), Some(Duration::MAX));
        for unreadable in ["soon", "-1", "", "NaN"] {
            assert_eq!(asked(&[("retry-after", unreadable)]), None, "{unreadable}");
        }
        assert_eq!(asked(&[]), None);
    }

    #[test]
    fn delays_grow_to_a_bound_and_their_number_is_limited() {
        let backoff = Backoff { first: Duration::from_secs(1), attempts: 8 };
        let bounds: Vec<_> = (1..8).map(|attempt| backoff.bound(attempt).as_secs()).collect();
        assert_eq!(bounds, [1, 2, 4, 8, 16, 30, 30]);
        let delays: Vec<_> = backoff.delays().collect();
        assert_eq!(delays.len(), 7);
        assert!(delays.iter().zip(&bounds).all(|(delay, bound)| *delay <= Duration::from_secs(*bound)));
        assert_eq!(Backoff { attempts: 1, ..backoff }.delays().count(), 0);
    }
}
