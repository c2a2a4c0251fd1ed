//! Replaces policy and model while requests are in progress.
//!
//! A new version is loaded and warmed beside the old one and then replaces it at once ([`ReloadableService`]).
//! Requests that have arrived keep the old policy. Classifications in progress finish with the old model; then its
//! engine ends, too. A version that cannot be loaded changes nothing.

use std::future;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use tokio::signal::unix::Signal;
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::sleep;

use super::load::ServiceLoader;
use super::watch::{Fingerprint, Watch};
use crate::ext_proc::{ReloadableService, Service};
use crate::telemetry::reloads::{Reload, Reloaded, Reloads};

/// Reloads a service from its files.
pub(super) struct Reloader {
    pub(super) service: ReloadableService,
    pub(super) loader: ServiceLoader,
    pub(super) reloads: Reloads,
    /// The files of all that can be reloaded.
    pub(super) watches: Vec<(Reload, Watch)>,
}

/// Watches the files of model and policy. Call it before they are loaded, so that no change is missed.
pub(super) async fn watches(model: &Path, policy: Option<&Path>) -> Result<Vec<(Reload, Watch)>, JoinError> {
    // The model first: a new policy may need a head of the new model.
    let paths = [Some((Reload::Model, model)), policy.map(|policy| (Reload::Policy, policy))];
    let mut watches = Vec::new();
    for (what, path) in paths.into_iter().flatten() {
        watches.push((what, Watch::new(path.to_owned(), fingerprint(path).await?)));
    }
    Ok(watches)
}

/// Off the async threads, because a network volume may be slow.
async fn fingerprint(path: &Path) -> Result<Fingerprint, JoinError> {
    let path = path.to_owned();
    spawn_blocking(move || Fingerprint::read(&path)).await
}

impl Reloader {
    /// Reloads what has changed, after every interval, and everything at every signal. Runs until it is dropped.
    pub(super) async fn run(mut self, interval: Option<Duration>, mut hangup: Signal) {
        loop {
            let everything = tokio::select! {
                () = pause(interval) => false,
                _ = hangup.recv() => true,
            };
            if let Err(error) = self.reload(everything).await {
                tracing::error!(%error, "cannot check files for changes");
            }
        }
    }

    async fn reload(&mut self, everything: bool) -> Result<(), JoinError> {
        for (what, watch) in &mut self.watches {
            let now = fingerprint(watch.path()).await?;
            if everything {
                watch.set_loaded(now);
            } else if !watch.has_settled(now) {
                continue;
            }
            let path = watch.path().display();
            let outcome = match load(&self.loader, *what, &self.service.current()).await {
                Ok(service) => {
                    self.service.replace(service);
                    tracing::info!(%path, "reloaded");
                    Reloaded::Applied
                }
                Err(error) => {
                    tracing::error!(%path, error = format!("{error:#}"), "reload failed; the previous version stays in use");
                    Reloaded::Rejected
                }
            };
            self.reloads.count(*what, outcome);
        }
        Ok(())
    }
}

/// Waits for the interval; for ever without one.
async fn pause(interval: Option<Duration>) {
    match interval {
        Some(interval) => sleep(interval).await,
        None => future::pending().await,
    }
}

async fn load(loader: &ServiceLoader, what: Reload, now: &Service) -> Result<Service> {
    match what {
        Reload::Policy => loader.with_policy(now).await,
        Reload::Model => loader.with_model(now).await,
    }
}
