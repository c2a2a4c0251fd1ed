//! `bench --gateway`: measures a gateway from the outside.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use llm_router_classifier::args::{duration, may_be_key};
use tokio::signal::unix::{SignalKind, signal};

use super::BenchArgs;
use crate::bench::gateway::chats::Chats;
use crate::bench::gateway::check::check;
use crate::bench::gateway::endpoint::{ApiKey, Endpoint, Header, Protocol};
use crate::bench::gateway::load::{self, Stop};
use crate::bench::gateway::plot as plot_over_time;
use crate::bench::gateway::recording::Recorder;
use crate::bench::gateway::report::Report;
use crate::bench::gateway::sample::Side;
use crate::bench::gateway::series::Series;
use crate::bench::gateway::setup::{Setup, Streaming, Target};
use crate::bench::gateway::step::Step;
use crate::bench::gateway::usage::ProcessUsage;
use crate::bench::plot;
use crate::bench::process::{Process, ProcessArg};

/// The variable with the gateway's key, unless an option names another.
const KEY_VARIABLE: &str = "OPENAI_API_KEY";

/// The longest time between two rows of a series, unless an option says otherwise.
const SAMPLE: Duration = Duration::from_secs(10);

/// How many rows a short load has.
const ROWS: u32 = 10;

/// The exit status of a program that Ctrl-C ends.
const INTERRUPTED: i32 = 130;

/// Options of `bench --gateway`.
#[derive(Debug, Args)]
#[command(next_help_heading = "A gateway")]
pub(super) struct GatewayArgs {
    /// Measure chat completions of the gateway with this base URL, such as http://127.0.0.1:10000/v1.
    #[arg(long, value_name = "URL")]
    pub(super) gateway: Option<String>,
    /// Also send each request directly to the LLM with this base URL, and report the latency that the gateway adds.
    #[arg(long, value_name = "URL", requires = "gateway")]
    direct: Option<String>,
    /// The `model` of the requests to --direct. Default: that of the requests to the gateway.
    #[arg(long, value_name = "NAME", requires = "direct")]
    direct_model: Option<String>,
    /// Which requests ask for a stream. Default: those whose body in the file of --prompts does.
    #[arg(long, value_enum, requires = "gateway")]
    stream: Option<Streaming>,
    /// Make each prompt of the file of --prompts different, so that no cached prediction is used. Prompts of
    /// the default mix are always different.
    #[arg(long, requires = "gateway")]
    unique: bool,
    /// A header of the requests to the gateway; may be repeated.
    #[arg(long, value_name = "NAME: VALUE", requires = "gateway")]
    header: Vec<Header>,
    /// The environment variable with the gateway's API key. Default: OPENAI_API_KEY, which need not be set.
    #[arg(long, value_name = "VARIABLE", requires = "gateway")]
    key_env: Option<String>,
    /// The environment variable with the API key for --direct. Default: no key.
    #[arg(long, value_name = "VARIABLE", requires = "direct")]
    direct_key_env: Option<String>,
    /// Use HTTP/2 without negotiation, with all requests on one connection.
    #[arg(long, requires = "gateway")]
    http2: bool,
    /// With --rate: maximum number of requests in flight. Further ones are dropped, and count as failed.
    #[arg(long, value_name = "REQUESTS", default_value = "512", requires = "gateway")]
    in_flight: NonZeroUsize,
    /// Also report memory, open files, threads and processor time of this process; may be repeated.
    #[arg(long, value_name = "NAME=PID", requires = "gateway")]
    watch: Vec<ProcessArg>,
    /// Interval at which the processes are read and a row of --series is written. Default: 10s, or less for a short load.
    #[arg(long, value_name = "DURATION", value_parser = interval, requires = "gateway")]
    sample: Option<Duration>,
    /// Write the requests and the watched processes over time to this file.
    #[arg(long, value_name = "FILE.csv", requires = "gateway")]
    series: Option<PathBuf>,
}

/// Measures each load and prints the results.
pub(super) async fn run(args: &BenchArgs, url: &str) -> Result<()> {
    let setup = Arc::new(args.setup(url)?);
    let loads = args.loads();
    let is_single = loads.len() == 1;
    ensure!(
        is_single || (args.gateway.watch.is_empty() && args.gateway.series.is_none()),
        "--watch and --series are for a single load: give --rate or --concurrency one number"
    );
    let processes = args.gateway.watch.iter().map(Process::open).collect::<Result<Vec<_>>>()?;
    check(&setup).await?;
    let stop = stop_on_interrupt()?;
    let timing = args.timing();
    let mut series = is_single.then(|| args.series(processes)).transpose()?;
    let mut steps = Vec::new();
    for load in loads {
        if stop.at().is_some() {
            break;
        }
        tracing::info!(?load, "measuring");
        let (mut recording, window) =
            load::run(&setup, load, timing, &stop, Recorder::new(series.take())).await?;
        steps.push(Step::compute(&setup, load, window, &recording));
        series = recording.series.take();
    }
    args.write_plot(|| match &series {
        Some(series) => plot_over_time::svg(series),
        None => {
            let steps: Vec<_> = steps.iter().map(|step| (step.load, step.gateway.latency_ms)).collect();
            plot::svg(&steps)
        }
    })?;
    args.print(&Report {
        gateway: setup.gateway.endpoint.to_string(),
        direct: setup.direct.as_ref().map(|target| target.endpoint.to_string()),
        prompts: setup.chats.count(),
        steps,
        processes: series.as_ref().map(ProcessUsage::compute).unwrap_or_default(),
    })
}

/// The first Ctrl-C ends the load and reports the results so far. The second one ends the program.
fn stop_on_interrupt() -> Result<Stop> {
    let stop = Stop::default();
    let stopped = stop.clone();
    let mut interrupts = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        interrupts.recv().await;
        stopped.stop();
        tracing::warn!("stopping: waiting for the last responses; Ctrl-C again ends at once");
        interrupts.recv().await;
        std::process::exit(INTERRUPTED);
    });
    Ok(stop)
}

impl BenchArgs {
    fn setup(&self, url: &str) -> Result<Setup> {
        let options = &self.gateway;
        let protocol = if options.http2 { Protocol::Http2 } else { Protocol::Http1 };
        let key = match &options.key_env {
            Some(variable) => Some(key_from(variable)?),
            None => key_from(KEY_VARIABLE).ok(),
        };
        let model = self.model.name.clone();
        let gateway = Target {
            side: Side::Gateway,
            endpoint: Endpoint::new(url, key, &options.header, protocol)?,
            model: model.clone(),
        };
        let direct = options.direct.as_ref().map(|url| {
            let key = options.direct_key_env.as_ref().map(|variable| key_from(variable)).transpose()?;
            anyhow::Ok(Arc::new(Target {
                side: Side::Direct,
                endpoint: Endpoint::new(url, key, &[], protocol)?,
                model: options.direct_model.clone().or(model),
            }))
        });
        let (chats, is_unique) = match &self.prompts {
            Some(path) => (Chats::read(path)?, options.unique),
            None => (Chats::mixed(), true),
        };
        Ok(Setup {
            gateway: Arc::new(gateway),
            direct: direct.transpose()?,
            chats,
            is_unique,
            streaming: options.stream,
            deadline: self.deadline,
            in_flight: options.in_flight.get(),
            seed: fastrand::u64(..),
        })
    }

    fn series(&self, processes: Vec<Process>) -> Result<Series> {
        let short = self.duration / ROWS;
        let interval =
            self.gateway.sample.unwrap_or(if short.is_zero() { SAMPLE } else { short.min(SAMPLE) });
        Series::begin(interval, processes, self.gateway.series.as_deref())
    }
}

/// The key in an environment variable.
fn key_from(variable: &str) -> Result<ApiKey> {
    let key = std::env::var(variable).ok().filter(|key| !key.trim().is_empty());
    let shown = if may_be_key(variable) { "that was named" } else { variable };
    key.map(|key| ApiKey::new(&key)).with_context(|| format!("the environment variable {shown} has no key"))
}

fn interval(text: &str) -> Result<Duration, String> {
    duration(text)
        .and_then(|interval| if interval.is_zero() { Err("not above 0".to_owned()) } else { Ok(interval) })
}
