//! `bench`: loads the classifier, and prints how fast it answers.

use std::io::Write;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use crate::bench::load::{self, Load, Timing};
use crate::bench::prompts::Prompts;
use crate::bench::report::{Report, Step};
use crate::bench::target::Target;
use crate::bench::{memory, plot};
use llm_router_classifier::args::{EngineArgs, duration};
use llm_router_classifier::load::Loader;
use llm_router_classifier::metrics::Metrics;
use llm_router_classifier::model::prediction::Outputs;

/// Options of `bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(flatten)]
    engine: EngineArgs,
    /// Measure the sidecar that listens there, ADDRESS:PORT or unix:PATH, in place of a model in this process; what that
    /// is run with then counts for nothing.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "want")]
    address: Option<String>,
    /// Callers that each wait for their answer before they ask again; several numbers are measured one after the other.
    #[arg(long, value_delimiter = ',', default_value = "1,8,32", value_name = "CALLERS,..")]
    concurrency: Vec<NonZeroUsize>,
    /// Calls a second, whether or not those before have their answers, in place of --concurrency.
    #[arg(long, value_delimiter = ',', conflicts_with = "concurrency", value_name = "CALLS,..", value_parser = rate)]
    rate: Vec<f64>,
    /// How long each load is measured.
    #[arg(long, default_value = "5s", value_parser = duration)]
    duration: Duration,
    /// How long each load runs before it is measured.
    #[arg(long, default_value = "1s", value_name = "DURATION", value_parser = duration)]
    warmup: Duration,
    /// How long a call may take before it counts as failed.
    #[arg(long, default_value = "10s", value_name = "DURATION", value_parser = duration)]
    deadline: Duration,
    /// What is asked, in turn: JSON Lines with a field `text` if the name ends in .jsonl, else a prompt a line. Default:
    /// a mix of lengths.
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// Ask prompts of this many tokens.
    #[arg(long, conflicts_with = "prompts")]
    tokens: Option<usize>,
    /// What is wanted of a prompt.
    #[arg(long, value_enum, default_value = "scores")]
    want: Wanted,
    /// Draw latency over load.
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// Print JSON in place of the table.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Wanted {
    /// What the heads say: as deep into the model as they read.
    Scores,
    /// The sentence embedding: the whole model.
    Embedding,
}

/// Measures each load, and prints what came of it.
///
/// # Errors
/// If prompts or model are unfit, nothing answers, or the plot cannot be written.
pub async fn run(args: &BenchArgs) -> Result<()> {
    let prompts = Arc::new(args.prompts()?);
    let target = args.target().await?;
    let first = prompts.next();
    target.check(&first).await?;
    if let Some(tokens) = args.tokens {
        target.check_length(&first, tokens)?;
    }
    let report = args.measure(&target, &prompts).await?;
    if let Some(path) = &args.plot {
        let svg = plot::svg(&report.steps)?;
        std::fs::write(path, svg).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let mut out = std::io::stdout().lock();
    match args.json {
        true => writeln!(out, "{}", serde_json::to_string(&report)?)?,
        false => write!(out, "{report}")?,
    }
    Ok(())
}

impl BenchArgs {
    fn prompts(&self) -> Result<Prompts> {
        match (&self.prompts, self.tokens) {
            (Some(path), _) => Prompts::read(path),
            (None, Some(tokens)) => Prompts::of_tokens(tokens),
            (None, None) => Ok(Prompts::mixed()),
        }
    }

    async fn target(&self) -> Result<Target> {
        if let Some(address) = &self.address {
            return Target::connect(address).await;
        }
        let pipeline = Loader::new(&self.engine, Arc::new(Metrics::default()))?.load().await?;
        let want = match self.want {
            Wanted::Scores => Outputs::Scores,
            Wanted::Embedding => Outputs::Embedding,
        };
        Ok(Target::InProcess { pipeline, want })
    }

    fn loads(&self) -> Vec<Load> {
        match self.rate.as_slice() {
            [] => self.concurrency.iter().copied().map(Load::Callers).collect(),
            rates => rates.iter().copied().map(Load::Rate).collect(),
        }
    }

    async fn measure(&self, target: &Target, prompts: &Arc<Prompts>) -> Result<Report> {
        let timing = Timing { warmup: self.warmup, measured: self.duration, patience: self.deadline };
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
                .unwrap_or_else(|| format!("{} in process", self.engine.model().display())),
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
