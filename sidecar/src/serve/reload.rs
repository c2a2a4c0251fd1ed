//! Takes over new policies and models while requests go on.
//!
//! A new one is loaded and warmed beside the old one and then takes its place at once ([`Live`]); requests that began
//! with the old one end with it, after which its engine ends too. One that cannot be loaded changes nothing.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use tokio::signal::unix::Signal;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::load::ServiceLoader;
use super::watch::Watch;
use crate::ext_proc::{Live, Service};
use crate::telemetry::reloads::{Reload, Reloaded, Reloads};

/// A service, and the files that it was made of.
pub(super) struct Reloader {
    pub(super) live: Live,
    pub(super) loader: ServiceLoader,
    pub(super) reloads: Reloads,
    /// What there is to reload.
    pub(super) watches: Vec<(Reload, Watch)>,
}

/// Watches over the files, as they are before they are loaded for the first time.
pub(super) fn watches(model: PathBuf, policy: Option<PathBuf>) -> Vec<(Reload, Watch)> {
    let model = (Reload::Model, Watch::new(model));
    let policy = policy.map(|policy| (Reload::Policy, Watch::new(policy)));
    // The model first: a policy may need what comes with a new one.
    [Some(model), policy].into_iter().flatten().collect()
}

impl Reloader {
    /// Reloads what has changed, at every interval, and everything at every signal. Runs until it is dropped.
    pub(super) async fn run(mut self, interval: Duration, mut hangup: Signal) {
        // A year is never.
        let period = if interval.is_zero() { Duration::from_secs(365 * 86400) } else { interval };
        let mut ticks = interval_at(Instant::now() + period, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let asked = tokio::select! {
                _ = ticks.tick() => false,
                _ = hangup.recv() => true,
            };
            for (what, watch) in &mut self.watches {
                if asked {
                    watch.take();
                } else if !watch.has_settled() {
                    continue;
                }
                let path = watch.path().display();
                let outcome = match next(&self.loader, *what, &self.live.current()).await {
                    Ok(service) => {
                        self.live.replace(service);
                        tracing::info!(%path, "reloaded");
                        Reloaded::Applied
                    }
                    Err(error) => {
                        tracing::error!(%path, error = format!("{error:#}"), "not reloaded; the old one stays");
                        Reloaded::Refused
                    }
                };
                self.reloads.count(*what, outcome);
            }
        }
    }
}

async fn next(loader: &ServiceLoader, what: Reload, now: &Service) -> Result<Service> {
    match what {
        Reload::Policy => loader.with_policy(now).await,
        Reload::Model => loader.with_model(now).await,
    }
}
