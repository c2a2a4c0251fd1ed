//! `bench`: measures a classifier or a gateway under load and prints latency, throughput and errors.

mod engine;
mod gateway;

use std::fmt::Display;
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::builder::ArgPredicate;
use clap::{Args, ValueEnum};
use serde::Serialize;

use self::engine::ModelOrName;
use self::gateway::GatewayArgs;

use crate::bench::load::{self, Load, Timing};
use crate::bench::prompts::Prompts;
use crate::bench::report::{Report, Step};
use crate::bench::target::Target;
use crate::bench::{memory, plot};
use llm_router_classifier::args::duration;
use llm_router_classifier::load::Loader;
use llm_router_classifier::metrics::Metrics;
use llm_router_classifier::model::prediction::Outputs;

/// Options of `bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(flatten)]
    model: ModelOrName,
    /// Measure the sidecar at ADDRESS:PORT or unix:PATH, not a model in this process. The model's options then have no
    /// effect.
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["want", "gateway"])]
    address: Option<String>,
    /// Number of callers. Each waits for its response before it calls again. Several numbers are measured one
    /// after the other. With --gateway the default is 1.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "1,8,32",
        default_value_if("gateway", ArgPredicate::IsPresent, "1"),
        value_name = "CALLERS,.."
    )]
    concurrency: Vec<NonZeroUsize>,
    /// Calls per second, regardless of whether earlier calls have finished; replaces --concurrency.
    #[arg(long, value_delimiter = ',', conflicts_with = "concurrency", value_name = "CALLS,..", value_parser = rate)]
    rate: Vec<f64>,
    /// How long each load is measured.
    #[arg(long, default_value = "5s", value_parser = duration)]
    duration: Duration,
    /// How long each load runs before it is measured.
    #[arg(long, default_value = "1s", value_name = "DURATION", value_parser = duration)]
    warmup: Duration,
    /// How long a call may take before it counts as failed. With --gateway the default is 60s.
    #[arg(
        long,
        default_value = "10s",
        default_value_if("gateway", ArgPredicate::IsPresent, "60s"),
        value_name = "DURATION",
        value_parser = duration
    )]
    deadline: Duration,
    /// Prompts to cycle through: JSON Lines if the name ends in .jsonl, else one prompt per line. A line of JSON has the
    /// field `text`; with --gateway also `prompt` instead of it, and `context` for the user's messages before it, or it is a
    /// whole request body with `messages`. Default: a mix of lengths.
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// Use prompts of this many tokens.
    #[arg(long, conflicts_with_all = ["prompts", "gateway"])]
    tokens: Option<usize>,
    /// Outputs to compute for each prompt.
    #[arg(long, value_enum, default_value = "scores", conflicts_with = "gateway")]
    want: Wanted,
    /// Draw latency over load to this file; with --gateway and a single load, latency over time, and memory and open files
    /// of the watched processes.
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// Print JSON, not a table.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    gateway: GatewayArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Wanted {
    /// The scores of the heads. Computes only the layers that the heads need.
    Scores,
    /// The sentence embedding. Computes the whole model.
    Embedding,
}

/// Measures each load and prints the results.
///
/// # Errors
/// If prompts, model or URL are invalid, the first call fails, or a file cannot be written.
pub async fn run(args: &BenchArgs) -> Result<()> {
    if let Some(url) = &args.gateway.gateway {
        return gateway::run(args, url).await;
    }
    let prompts = Arc::new(args.prompts()?);
    let target = args.target().await?;
    let first = prompts.next();
    target.check(&first).await?;
    if let Some(tokens) = args.tokens {
        target.check_length(&first, tokens)?;
    }
    let report = args.measure(&target, &prompts).await?;
    args.write_plot(|| {
        let steps: Vec<_> = report.steps.iter().map(|step| (step.load, step.statistics.latency_ms)).collect();
        plot::svg(&steps)
    })?;
    args.print(&report)
}

impl BenchArgs {
    fn prompts(&self) -> Result<Prompts> {
        match (&self.prompts, self.tokens) {
            (Some(path), _) => Prompts::read(path),
            (None, Some(tokens)) => Prompts::with_tokens(tokens),
            (None, None) => Ok(Prompts::mixed()),
        }
    }

    async fn target(&self) -> Result<Target> {
        if let Some(address) = &self.address {
            return Target::connect(address).await;
        }
        let pipeline = Loader::new(&self.model.engine, Arc::new(Metrics::default()))?.load().await?;
        let outputs = match self.want {
            Wanted::Scores => Outputs::Scores,
            Wanted::Embedding => Outputs::Embedding,
        };
        Ok(Target::InProcess { pipeline, outputs })
    }

    fn loads(&self) -> Vec<Load> {
        match self.rate.as_slice() {
            [] => self.concurrency.iter().copied().map(Load::Callers).collect(),
            rates => rates.iter().copied().map(Load::Rate).collect(),
        }
    }

    fn timing(&self) -> Timing {
        Timing { warmup: self.warmup, measured: self.duration, timeout: self.deadline }
    }

    fn write_plot(&self, draw: impl FnOnce() -> Result<String>) -> Result<()> {
        let Some(path) = &self.plot else { return Ok(()) };
        std::fs::write(path, draw()?).with_context(|| format!("cannot write {}", path.display()))
    }

    fn print(&self, report: &(impl Serialize + Display)) -> Result<()> {
        let mut out = std::io::stdout().lock();
        match self.json {
            true => writeln!(out, "{}", serde_json::to_string(report)?)?,
            false => write!(out, "{report}")?,
        }
        Ok(())
    }

    async fn measure(&self, target: &Target, prompts: &Arc<Prompts>) -> Result<Report> {
        let timing = self.timing();
        let mut steps = Vec::new();
        for load in self.loads() {
            tracing::info!(?load, "measuring");
            steps.push(Step { load, statistics: load::run(target, prompts, load, timing).await? });
        }
        let in_process = self.address.is_none();
        Ok(Report {
            target: self
                .address
                .clone()
                .unwrap_or_else(|| format!("{} in process", self.model.engine.model().display())),
            prompts: prompts.count(),
            seconds: self.duration.as_secs_f64(),
            steps,
            peak_resident_bytes: memory::peak_resident().filter(|_| in_process),
        })
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0);
    rate.ok_or_else(|| "not a number above 0".to_owned())
}
