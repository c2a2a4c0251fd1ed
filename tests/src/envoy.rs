//! Real Envoy as a child process.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use tokio::time::{Instant, sleep};

use crate::PATIENCE;
use crate::bootstrap::Bootstrap;
use crate::client::{Answer, OpenAnswer, Request};
use crate::process::Process;
use crate::sidecar::Sidecar;

/// A running Envoy. It ends with the last clone.
#[derive(Debug, Clone)]
pub struct Envoy {
    process: Arc<Process>,
    /// The one that decides for this Envoy, if it was started with it.
    sidecar: Option<Arc<Sidecar>>,
    gateway: SocketAddr,
    admin: SocketAddr,
}

impl Envoy {
    /// Starts Envoy with two workers, and waits until it is ready.
    pub async fn start(bootstrap: &Bootstrap) -> Self {
        Self::start_with_workers(bootstrap, 2).await
    }

    /// Starts Envoy, and waits until it is ready. Workers remember apart; it is chance which of them gets a connection.
    pub async fn start_with_workers(bootstrap: &Bootstrap, workers: u32) -> Self {
        let (bootstrap, sidecar) = Sidecar::behind(bootstrap.clone()).await;
        // Not .json, which Envoy reads by other rules: in YAML, it takes 0.3 for a string.
        let config = crate::scratch_file("envoy", "yaml");
        std::fs::write(&config, bootstrap.to_yaml()).expect("the bootstrap's copy");
        let admin_file = config.with_extension("admin");
        // An earlier run's would be taken for this one's.
        let _ = std::fs::remove_file(&admin_file);
        let arguments = [
            "--config-path",
            &config.to_string_lossy(),
            "--admin-address-path",
            &admin_file.to_string_lossy(),
            "--use-dynamic-base-id",
            "--disable-hot-restart",
            "--concurrency",
            &workers.to_string(),
            "--log-level",
            "warning",
            // Access logs are buffered for ten seconds else.
            "--file-flush-interval-msec",
            "100",
        ];
        let process =
            Process::spawn(&executable(), &arguments.map(str::to_owned), config.with_extension("log"))
                .expect("starting Envoy");

        let admin = wait(&process, async || std::fs::read_to_string(&admin_file).ok()?.parse().ok()).await;
        wait(&process, async || get(admin, "/ready").await.filter(|it| it.starts_with("LIVE"))).await;
        let listeners = get(admin, "/listeners?format=json").await.expect("Envoy's listeners");
        Self {
            process: Arc::new(process),
            sidecar,
            gateway: first_listener(&listeners).expect("the gateway's address"),
            admin,
        }
    }

    /// Kills the sidecar that this Envoy was started with. The test's policy must be no other test's.
    pub fn kill_sidecar(&mut self) {
        let sidecar = self.sidecar.take().and_then(Arc::into_inner);
        drop(sidecar.expect("a sidecar that nobody else uses"));
    }

    /// Sends a request through the gateway and reads the whole answer.
    pub async fn send(&self, request: Request) -> Answer {
        request.send(self.gateway).await
    }

    /// Sends a request through the gateway and reads the head of the answer.
    pub async fn open(&self, request: Request) -> OpenAnswer {
        request.open(self.gateway).await
    }

    /// Sets a runtime value by the admin interface.
    pub async fn set_runtime(&self, key: &str, value: &str) {
        let request = Request::new(Method::POST, &format!("/runtime_modify?{key}={value}"), "");
        assert_eq!(request.send(self.admin).await.status, 200, "{key}={value}");
    }

    /// Its stats as Prometheus gets them, by name and labels as they are written there.
    pub async fn stats(&self) -> HashMap<String, f64> {
        let text = get(self.admin, "/stats/prometheus").await.expect("Envoy's stats");
        samples(&text)
    }

    /// Its stats, once one whose name begins so counts something: our filter's come a second late.
    pub async fn stats_with(&self, name: &str) -> HashMap<String, f64> {
        wait(&self.process, async || {
            let counts = |(it, value): (&String, &f64)| it.starts_with(name) && *value > 0.0;
            Some(self.stats().await).filter(|stats| stats.iter().any(counts))
        })
        .await
    }

    /// Waits until its output has this text.
    pub async fn log_has(&self, text: &str) {
        wait(&self.process, async || self.output().contains(text).then_some(())).await;
    }

    /// The first line of the access log that `is_it`, once it is there.
    pub async fn access_log(&self, is_it: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        wait(&self.process, async || {
            let output = self.output();
            let lines = output.lines().filter_map(|line| serde_json::from_str(line).ok());
            lines.into_iter().find(&is_it)
        })
        .await
    }

    /// All of its output so far: its log, and the access log.
    #[must_use]
    pub fn output(&self) -> String {
        self.process.output()
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.process.log_tail());
        }
    }
}

/// The samples of Prometheus' text format, by name and labels as they are written there.
#[must_use]
pub fn samples(text: &str) -> HashMap<String, f64> {
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let samples = samples.filter_map(|line| line.rsplit_once(' '));
    // Envoy writes that there are no labels.
    let name = |name: &str| name.trim_end_matches("{}").to_owned();
    samples.filter_map(|(before, value)| Some((name(before), value.parse().ok()?))).collect()
}

fn executable() -> PathBuf {
    match std::env::var_os("ENVOY") {
        Some(path) => PathBuf::from(path),
        None => crate::binary(".setup/venv/bin/envoy", "scripts/setup"),
    }
}

fn first_listener(listeners: &str) -> Option<SocketAddr> {
    let listeners: serde_json::Value = serde_json::from_str(listeners).ok()?;
    let address = listeners.pointer("/listener_statuses/0/local_address/socket_address")?;
    let port = u16::try_from(address["port_value"].as_u64()?).ok()?;
    Some(SocketAddr::new(address["address"].as_str()?.parse().ok()?, port))
}

async fn get(address: SocketAddr, path: &str) -> Option<String> {
    let answer = Request::new(Method::GET, path, "").exchange(address).await.ok()?;
    let body = http_body_util::BodyExt::collect(answer.into_body()).await.ok()?.to_bytes();
    Some(String::from_utf8_lossy(&body).into_owned())
}

/// Asks again and again until there is an answer. Panics with the process's output if it ends, or is not
/// ready for long.
pub(crate) async fn wait<T>(process: &Process, ask: impl AsyncFn() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(!process.has_ended(), "it ended at the start\n{}", process.log_tail());
        assert!(start.elapsed() < PATIENCE, "it is not ready\n{}", process.log_tail());
        sleep(Duration::from_millis(20)).await;
    }
}
