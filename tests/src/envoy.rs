//! Real Envoy as a child process.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::process::{Command, ExitStatus};
use std::sync::Arc;

use http_body_util::BodyExt;
use hyper::Method;
use llm_router_test_support::process::Process;
use serde_json::Value;

use crate::bootstrap::Bootstrap;
use crate::client::{OpenResponse, Request, Response};
use crate::sidecar::Sidecar;
use crate::versions::Version;
use crate::{TIMEOUT, poll, repository, within};

/// A running Envoy. It ends with the last clone.
#[derive(Debug, Clone)]
pub struct Envoy {
    process: Arc<Process>,
    /// The sidecar that was started with this Envoy and decides for it, if there is one.
    sidecar: Option<Arc<Sidecar>>,
    address: SocketAddr,
    admin: SocketAddr,
}

impl Envoy {
    /// Starts Envoy with two workers, and waits until it is ready.
    pub async fn start(bootstrap: &Bootstrap) -> Self {
        Self::start_with_workers(bootstrap, 2).await
    }

    /// Starts Envoy, and waits until it is ready. Each worker has its own cache in the Wasm filter, and any of them may get
    /// a connection.
    pub async fn start_with_workers(bootstrap: &Bootstrap, workers: u32) -> Self {
        Self::start_version(Version::default(), bootstrap, workers).await
    }

    /// Starts an Envoy of a certain version, and waits until it is ready.
    pub async fn start_version(version: Version, bootstrap: &Bootstrap, workers: u32) -> Self {
        let (bootstrap, sidecar) = Sidecar::behind(bootstrap.clone()).await;
        let admin_file = crate::scratch_file("envoy", "admin");
        // The file of an earlier run would be mistaken for the one of this run.
        let _ = std::fs::remove_file(&admin_file);
        let mut command = command(version, &bootstrap);
        command.arg("--admin-address-path").arg(&admin_file);
        command.args(["--concurrency", &workers.to_string()]);
        let process = Process::spawn(&command, admin_file.with_extension("log")).expect("starting Envoy");

        let admin = poll(async || {
            process.assert_running();
            let text = std::fs::read_to_string(&admin_file).map_err(|error| error.to_string())?;
            text.parse::<SocketAddr>().map_err(|_| format!("{text:?} is not an address"))
        })
        .await;
        poll(async || {
            process.assert_running();
            let state = get(admin, "/ready").await?;
            if state.starts_with("LIVE") { Ok(()) } else { Err(state) }
        })
        .await;
        let listeners = get(admin, "/listeners?format=json").await.expect("Envoy's listeners");
        let address = first_listener(&listeners).expect("the gateway's address");
        Self { process: Arc::new(process), sidecar, address, admin }
    }

    /// Starts an Envoy of a certain version with a configuration that it must reject, and returns its output when it has ended.
    ///
    /// # Panics
    /// If it ends without an error.
    pub async fn rejecting(version: Version, bootstrap: &Bootstrap) -> String {
        let log = crate::scratch_file("envoy", "log");
        let process = Process::spawn(&command(version, bootstrap), log).expect("starting Envoy");
        let exit = poll(async || process.exit_status().ok_or_else(|| process.log_tail())).await;
        assert!(!exit.success(), "{}", process.log_tail());
        process.output()
    }

    /// Where it serves.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Kills the sidecar that this Envoy was started with. The test's policy must be no other test's.
    pub fn kill_sidecar(&mut self) {
        let sidecar = self.sidecar.take().and_then(Arc::into_inner);
        drop(sidecar.expect("a sidecar that nobody else uses"));
    }

    /// Sends a request through the gateway and reads the whole response.
    pub async fn send(&self, request: Request) -> Response {
        request.send(self.address).await
    }

    /// Sends a request through the gateway and reads the headers of the response.
    pub async fn open(&self, request: Request) -> OpenResponse {
        request.open(self.address).await
    }

    /// Sets a runtime value by the admin interface.
    pub async fn set_runtime(&self, key: &str, value: &str) {
        let request = Request::new(Method::POST, &format!("/runtime_modify?{key}={value}"), "");
        assert_eq!(request.send(self.admin).await.status, 200, "{key}={value}");
    }

    /// Its stats as Prometheus gets them, by name and labels as they are written there.
    pub async fn stats(&self) -> HashMap<String, f64> {
        samples(&get(self.admin, "/stats/prometheus").await.expect("Envoy's stats"))
    }

    /// Its stats, once one whose name begins so is above zero: our filter's counts come up to a second late.
    pub async fn stats_with(&self, name: &str) -> HashMap<String, f64> {
        poll(async || {
            let stats = self.stats().await;
            let counted = stats.iter().any(|(it, value)| it.starts_with(name) && *value > 0.0);
            if counted { Ok(stats) } else { Err(stats) }
        })
        .await
    }

    /// What files its process has in memory, as `/proc/PID/maps` lists them.
    ///
    /// # Panics
    /// If it has ended.
    #[must_use]
    pub fn mapped_files(&self) -> String {
        std::fs::read_to_string(format!("/proc/{}/maps", self.process.id())).expect("a running process")
    }

    /// Stops it, and returns its exit status.
    pub async fn terminate(&self) -> ExitStatus {
        self.process.signal("TERM");
        poll(async || self.process.exit_status().ok_or("it still runs")).await
    }

    /// Waits until its output has this text.
    pub async fn log_has(&self, text: &str) {
        poll(async || if self.output().contains(text) { Ok(()) } else { Err(self.process.log_tail()) }).await;
    }

    /// The first entry of the access log that `is_it`, once it is there.
    pub async fn access_log(&self, is_it: impl Fn(&Value) -> bool) -> Value {
        poll(async || {
            let output = self.output();
            let mut entries = output.lines().filter_map(|line| serde_json::from_str(line).ok());
            entries.find(&is_it).ok_or(output)
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
    // Envoy writes that there are no labels. The module's names have Envoy's prefix, which deploy/observability/prometheus.yml removes.
    let name = |name: &str| {
        let name = name.trim_end_matches("{}");
        name.strip_prefix("envoy_dynamicmodulescustom_").unwrap_or(name).to_owned()
    };
    samples.filter_map(|(before, value)| Some((name(before), value.parse().ok()?))).collect()
}

/// How to run it on a bootstrap.
fn command(version: Version, bootstrap: &Bootstrap) -> Command {
    // Not .json, which Envoy reads by other rules: in YAML, it reads 0.3 as a string.
    let config = crate::scratch_file("envoy", "yaml");
    std::fs::write(&config, bootstrap.to_yaml()).expect("the bootstrap's copy");
    let mut command = Command::new(version.executable());
    command.current_dir(repository());
    // Where it keeps modules that it fetched.
    command.env("TMPDIR", config.parent().expect("a folder"));
    // Where Envoy 1.37 looks for modules, which it knows by name only.
    command.env("ENVOY_DYNAMIC_MODULES_SEARCH_PATH", repository().join("target"));
    command.arg("--config-path").arg(&config);
    command.args(["--use-dynamic-base-id", "--disable-hot-restart", "--log-level", "warning"]);
    // Access logs are buffered for ten seconds otherwise.
    command.args(["--file-flush-interval-msec", "100"]);
    command
}

fn first_listener(listeners: &str) -> Option<SocketAddr> {
    let listeners: Value = serde_json::from_str(listeners).ok()?;
    let address = listeners.pointer("/listener_statuses/0/local_address/socket_address")?;
    let port = u16::try_from(address["port_value"].as_u64()?).ok()?;
    Some(SocketAddr::new(address["address"].as_str()?.parse().ok()?, port))
}

async fn get(address: SocketAddr, path: &str) -> Result<String, String> {
    within(TIMEOUT, async {
        let response = Request::new(Method::GET, path, "").exchange(address).await;
        let body = response.map_err(|error| error.to_string())?.into_body().collect().await;
        Ok(String::from_utf8_lossy(&body.map_err(|error| error.to_string())?.to_bytes()).into_owned())
    })
    .await
}
