//! `grade`: grades the completions of two models on prompts.

mod models;
mod specs;

use std::io::Write;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use llm_router_classifier::args::duration;

use crate::grade::calls::{Backoff, Budget, HttpClient, Journal, Limits, Requester};
use crate::grade::code::PythonRunner;
use crate::grade::input::{Check, GradingRows, Methods};
use crate::grade::money::Money;
use crate::grade::plan::Plan;
use crate::grade::run::{Grader, OutputFiles, run as grade_all};
use models::{GradedModels, ModelsArgs};

/// Options of `grade`.
#[derive(Debug, Args)]
pub struct GradeArgs {
    #[command(flatten)]
    files: FilesArgs,
    #[command(flatten)]
    models: ModelsArgs,
    #[command(flatten)]
    requests: RequestsArgs,
    #[command(flatten)]
    budget: BudgetArgs,
    #[command(flatten)]
    code: CodeArgs,
    /// Print what would be sent and an estimate of its cost; send nothing and write nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Which files are read and written.
#[derive(Debug, Args)]
struct FilesArgs {
    /// JSON Lines or CSV files with one prompt per row, or folders of such files; docs/grading.md lists the fields.
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    data: Vec<PathBuf>,
    /// File for the graded rows. Rows without grades go to FILE.ungraded.jsonl.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// File that records all paid requests. Runs with other models can share it. Default: the name of --out plus
    /// .journal.jsonl.
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
}

/// How requests are sent.
#[derive(Debug, Args)]
struct RequestsArgs {
    /// Maximum number of requests in flight, and of prompts that are graded at the same time.
    #[arg(long, default_value = "8", value_name = "COUNT")]
    concurrency: NonZeroUsize,
    /// Maximum number of requests per second to each URL. Default: no limit.
    #[arg(long, value_name = "NUMBER", value_parser = specs::positive)]
    rate: Option<f64>,
    /// Time limit of a request.
    #[arg(long, default_value = "120s", value_name = "DURATION", value_parser = duration)]
    timeout: Duration,
    /// Maximum number of attempts for a request if the provider is overloaded or does not respond.
    #[arg(long, default_value = "6", value_name = "COUNT")]
    attempts: NonZeroU32,
    /// Longest delay before a request is sent again. It doubles each time, up to 30 s.
    #[arg(long, default_value = "1s", value_name = "DURATION", value_parser = duration)]
    retry_delay: Duration,
}

/// What may be spent.
#[derive(Debug, Args)]
struct BudgetArgs {
    /// Maximum cost in dollars, including earlier runs of the same journal. Needs prices.
    #[arg(long, value_name = "DOLLARS", value_parser = specs::positive)]
    max_cost: Option<f64>,
    /// Maximum number of requests, including earlier runs of the same journal.
    #[arg(long, value_name = "COUNT")]
    max_requests: Option<u64>,
}

/// How code is run.
#[derive(Debug, Args)]
struct CodeArgs {
    /// Run the code of completions, for rows with "tests". Use a container or a virtual machine.
    #[arg(long)]
    run_code: bool,
    /// Python interpreter for --run-code.
    #[arg(long, default_value = "python3", value_name = "PROGRAM", requires = "run_code")]
    python: PathBuf,
    /// Time limit of a completion's tests.
    #[arg(long, default_value = "10s", value_name = "DURATION", value_parser = duration, requires = "run_code")]
    code_timeout: Duration,
}

/// Grades, writes the rows and prints a summary.
///
/// # Errors
/// If an option or a row is invalid, or the run ends before all rows are graded for another reason than its budget.
pub async fn run(args: &GradeArgs) -> Result<()> {
    let rows = GradingRows::read(&args.files.data)?;
    let GradedModels { weak, strong, judge } =
        args.models.models(&args.requests, args.budget.max_cost.is_some())?;
    rows.ensure_gradable(Methods { judge: judge.is_some(), code: args.code.run_code })?;
    let files = OutputFiles::new(args.files.out.clone(), args.files.journal.clone());
    files.check(&args.files.data)?;
    let journal = match args.dry_run {
        true => Journal::read(&files.journal)?,
        false => Journal::open(&files.journal)?,
    };
    args.budget.check(&journal)?;
    let has_tests = rows.rows.iter().any(|row| matches!(row.check, Check::Tests(_)));
    let code = match has_tests && !args.dry_run {
        true => Some(PythonRunner::new(&args.code.python, args.code.code_timeout).await?),
        false => None,
    };
    let grader = Grader { weak, strong, judge, code, requester: args.requester(journal)? };
    let plan = Plan::compute(&grader, &rows);
    if args.dry_run {
        write!(std::io::stdout().lock(), "{plan}")?;
        return Ok(());
    }
    grade_all(&grader, &rows.rows, &files, args.requests.concurrency.get()).await
}

impl BudgetArgs {
    /// Rejects a budget in dollars that earlier runs may have passed.
    fn check(&self, journal: &Journal) -> Result<()> {
        let unpriced = journal.spent().unpriced;
        ensure!(
            self.max_cost.is_none() || unpriced == 0,
            "--max-cost counts what earlier runs spent, but {unpriced} requests of this journal were sent without prices: \
             use --max-requests instead, or another --journal"
        );
        Ok(())
    }
}

impl GradeArgs {
    fn requester(&self, journal: Journal) -> Result<Requester> {
        let limits = Limits {
            max_cost: self.budget.max_cost.map(Money::from_limit),
            max_requests: self.budget.max_requests,
        };
        let budget = Budget::new(limits, journal.spent());
        let RequestsArgs { concurrency, timeout, attempts, retry_delay, .. } = self.requests;
        let backoff = Backoff { first: retry_delay, attempts: attempts.get() };
        Ok(Requester::new(HttpClient::new(timeout)?, journal, budget, concurrency.get(), backoff))
    }
}
