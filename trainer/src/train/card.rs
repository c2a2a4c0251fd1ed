//! Writes a head's model card.

use std::fmt::Write;

use super::fine_tune::{Ended, History, Method};
use super::quality::{Quality, Tags};
use super::report::{How, Report, SourceQuality};
use crate::eval::{Dimension, Evaluation};

/// The file with a head's model card.
pub(super) const FILE: &str = "README.md";
/// A file beside the head that is put into its card: what the trainer cannot know, as the data's licences.
pub(super) const ABOUT: &str = "about.md";

/// The card, as Markdown.
pub(super) fn write(report: &Report, about: &str, command: &str) -> String {
    let mut card = format!("# Head `{}`\n\n", report.head);
    if !about.trim().is_empty() {
        card += about.trim();
        card += "\n\n";
    }
    let sections = [made(report, command), held_out(report), validation(report), sources(report)];
    card += &sections.into_iter().filter(|section| !section.is_empty()).collect::<Vec<_>>().join("\n");
    card
}

fn made(report: &Report, command: &str) -> String {
    let split = &report.split;
    let how = match &report.training {
        How::Head { settings, .. } => format!(
            "A regression on layer {} of the encoder as it is. Of the rows, {} were fitted, {} chose the settings by \
             log loss (L2 {:e}, class weights {}; `metrics.json` has all that were tried), and {} were held out.",
            report.layer, split.fit, split.choose, settings.l2, settings.class_weights, split.held_out,
        ),
        How::FineTuned(history) => format!(
            "Trained together with the encoder, of which it reads layer {}. Of the rows, {} were fitted, {} chose the \
             best epoch, and {} were held out. {}",
            report.layer,
            split.fit,
            split.choose,
            split.held_out,
            trained(history),
        ),
    };
    format!(
        "## How it was made\n\n{how} A row counts by one over the root of its source's size.\n\n```\n{command}\n```\n"
    )
}

fn trained(history: &History) -> String {
    let settings = &history.settings;
    let what = match settings.method {
        Method::Lora { rank, alpha } => format!("Low-rank adapters of rank {rank} (alpha {alpha})"),
        Method::Full => "All weights but the embeddings".to_owned(),
    };
    let ended = match history.ended {
        Ended::Done => String::new(),
        other => format!(", {}", other.why()),
    };
    let best = history.epochs.iter().enumerate().max_by(|a, b| a.1.score.total_cmp(&b.1.score));
    format!(
        "{what}, {} parameters with the heads: {} steps of {} texts, seed {}, {:.0} s on {} with {} threads{ended}. \
         The best epoch was {} of {} (`metrics.json` has all).",
        history.parameters,
        history.steps,
        settings.batch,
        settings.seed,
        history.seconds,
        history.device,
        history.threads,
        best.map_or(0, |(epoch, _)| epoch),
        history.epochs.len().saturating_sub(1),
    )
}

fn held_out(report: &Report) -> String {
    let Some(all) = &report.held_out else { return String::new() };
    let mut text = String::from("## On the held-out rows\n\n");
    text += summary_header(all);
    text += &summary_row("all", all);
    for SourceQuality { source, quality } in &report.held_out_by_source {
        text += &summary_row(source, quality);
    }
    text += "\n";
    text += explanation(all);
    text + &table(all)
}

fn validation(report: &Report) -> String {
    let Some(SourceQuality { quality: first, .. }) = report.validation.first() else { return String::new() };
    let mut text = String::from("## On data kept apart\n\n");
    text += summary_header(first);
    for SourceQuality { source, quality } in &report.validation {
        text += &summary_row(source, quality);
    }
    text += "\n";
    if report.held_out.is_none() {
        text += explanation(first);
    }
    for SourceQuality { source, quality } in &report.validation {
        // Writing to a String does not fail.
        let _ = write!(text, "{source}:\n\n{}", table(quality));
    }
    text
}

fn sources(report: &Report) -> String {
    let mut text = String::from("## Data\n\n| source | rows |\n|---|---|\n");
    for source in &report.sources {
        let _ = writeln!(text, "| {} | {} |", source.source, source.rows);
    }
    text
}

fn summary_header(quality: &Quality) -> &'static str {
    match quality {
        Quality::Label(_) => "| rows of | rows | accuracy | macro-F1 | majority |\n|---|---|---|---|---|\n",
        Quality::Labels(_) => "| rows of | rows | micro-F1 |\n|---|---|---|\n",
        Quality::Score(_) => {
            "| rows of | rows | Spearman | mean error | of the mean |\n|---|---|---|---|---|\n"
        }
    }
}

fn summary_row(name: &str, quality: &Quality) -> String {
    match quality {
        Quality::Label(it) => format!(
            "| {name} | {} | {:.3} | {:.3} | {:.3} |\n",
            it.rows, it.accuracy, it.macro_f1, it.majority_accuracy
        ),
        Quality::Labels(it) => format!("| {name} | {} | {:.3} |\n", it.rows, it.micro_f1),
        Quality::Score(it) => dimension_row(name, &it.score),
    }
}

fn dimension_row(name: &str, it: &Dimension) -> String {
    let Dimension { rows, spearman, mean_absolute_error, mean_baseline_error, .. } = it;
    let spearman = spearman.map_or_else(|| "-".to_owned(), |spearman| format!("{spearman:.3}"));
    format!("| {name} | {rows} | {spearman} | {mean_absolute_error:.3} | {mean_baseline_error:.3} |\n")
}

fn explanation(quality: &Quality) -> &'static str {
    match quality {
        Quality::Label(_) => {
            "Macro-F1 is the mean over the labels that the rows have. \"Majority\" is the accuracy of always answering \
             the rows' most frequent label.\n\n"
        }
        Quality::Labels(_) => "A label is answered if its probability is at least a half.\n\n",
        Quality::Score(_) => {
            "\"Spearman\" is the rank correlation with what was labelled; \"of the mean\" is the mean error of always \
             answering the rows' mean.\n\n"
        }
    }
}

fn table(quality: &Quality) -> String {
    let mut table = String::new();
    match quality {
        Quality::Label(Evaluation { labels, .. }) | Quality::Labels(Tags { labels, .. }) => {
            table += "| label | rows | precision | recall | F1 |\n|---|---|---|---|---|\n";
            for it in labels {
                let _ = writeln!(
                    table,
                    "| {} | {} | {:.3} | {:.3} | {:.3} |",
                    it.label, it.rows, it.precision, it.recall, it.f1
                );
            }
        }
        Quality::Score(quality) => {
            table += "| dimension | rows | Spearman | mean error | of the mean |\n|---|---|---|---|---|\n";
            for it in &quality.dimensions {
                table += &dimension_row(&it.name, it);
            }
        }
    }
    table
}
