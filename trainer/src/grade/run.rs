//! Grades all rows.

use std::convert::Infallible;
use std::io::Write;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use futures_util::{StreamExt, stream};

use super::progress::ProgressDisplay;
use super::result::RowResult;
use super::stop::{StopReason, StopSignals};
use super::summary::Summary;

pub(crate) use super::grader::Grader;
pub(crate) use super::input::GradingRow;
pub(crate) use super::output::OutputFiles;

/// The interval at which the progress is updated while no row is finished.
const TICK: Duration = Duration::from_millis(500);

/// By the shells' convention: 128 plus the number of SIGINT.
const INTERRUPTED: i32 = 130;

/// Grades the rows, this number at the same time, writes the results and prints a summary.
///
/// # Errors
/// If a file cannot be written, or the run ends early for another reason than its budget.
pub(crate) async fn run(
    grader: &Grader,
    rows: &[GradingRow],
    files: &OutputFiles,
    concurrency: usize,
) -> Result<()> {
    let has_prices = grader.has_prices();
    let progress = ProgressDisplay::new(rows.len(), has_prices, grader.requester.journal.spent())?;
    let mut signals = StopSignals::watch()?;
    let results = tokio::select! {
        results = grade_all(grader, rows, concurrency, &progress) => results,
        never = obey(&mut signals, grader, &progress) => match never {},
        never = tick(grader, &progress) => match never {},
    };
    progress.finish();
    let (graded, ungraded) = files.write(grader, rows, &results)?;
    let summary = Summary::compute(grader, rows, &results);
    let spent = grader.requester.budget.spent();
    let cost = if has_prices { format!(", {} spent", spent.cost) } else { String::new() };
    let mut out = std::io::stdout().lock();
    write!(out, "{summary}")?;
    let retries = grader.requester.retries();
    writeln!(out, "{} requests in all, {retries} of this run repeated{cost}", spent.requests)?;
    writeln!(out, "wrote {graded} rows to {}", files.graded.display())?;
    if ungraded > 0 {
        writeln!(out, "wrote {ungraded} rows without grades to {}", files.ungraded.display())?;
    }
    drop(out);
    conclude(grader.requester.stop.reason(), &summary, rows.len())
}

async fn grade_all(
    grader: &Grader,
    rows: &[GradingRow],
    concurrency: usize,
    progress: &ProgressDisplay,
) -> Vec<RowResult> {
    let graded = stream::iter(rows.iter().enumerate())
        .map(async |(index, row)| (index, grader.grade(row).await))
        .buffer_unordered(concurrency);
    let finished = graded.inspect(|(_, result)| {
        if !matches!(result, RowResult::Unfinished) {
            progress.add(&grader.requester);
        }
    });
    let mut results: Vec<_> = finished.collect().await;
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Ends the run at the first Ctrl-C, and the process at the second one.
async fn obey(signals: &mut StopSignals, grader: &Grader, progress: &ProgressDisplay) -> Infallible {
    signals.next().await;
    grader.requester.stop.request(StopReason::Interrupted);
    progress.println("stopping: requests in flight have some seconds left; Ctrl-C again stops at once");
    signals.next().await;
    std::process::exit(INTERRUPTED);
}

async fn tick(grader: &Grader, progress: &ProgressDisplay) -> Infallible {
    loop {
        tokio::time::sleep(TICK).await;
        progress.tick(&grader.requester);
    }
}

/// Says how the run ended, and how to continue.
fn conclude(reason: Option<StopReason>, summary: &Summary, rows: usize) -> Result<()> {
    let graded = summary.graded();
    let done = format!("{graded} of {rows} prompts are graded");
    let go_on = "run the same command again to continue: what is paid for is in the journal";
    match reason {
        Some(StopReason::Failed(why)) => bail!("{why}\n{done}; {go_on}"),
        Some(StopReason::Interrupted) if summary.unfinished() > 0 => bail!("interrupted: {done}; {go_on}"),
        Some(StopReason::Budget(why)) => {
            tracing::warn!(
                "{why}: {done}; raise the budget to continue: the journal keeps all paid requests"
            );
        }
        _ => {}
    }
    ensure!(graded > 0, "no prompt could be graded");
    Ok(())
}
