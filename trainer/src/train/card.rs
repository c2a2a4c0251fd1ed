//! Writes a head's model card.

use std::fmt::Write;

use super::fine_tune::{History, Method, StopReason};
use super::plan::HeadKind;
use super::quality::{MultiLabelQuality, Quality};
use super::report::{SourceQuality, TrainingDetails, TrainingReport};
use crate::eval::{Dimension, Evaluation};

/// The file with a head's model card.
pub(super) const FILE: &str = "README.md";
/// A file beside the head that becomes part of its card, for what the trainer cannot know, such as the licences of the data.
pub(super) const ABOUT: &str = "about.md";

/// Returns the card as Markdown. `section` follows the section on the training.
pub(super) fn render(report: &TrainingReport, about: &str, command: &str, section: &str) -> String {
    let mut card = format!("# Head `{}`\n\n", report.head);
    if !about.trim().is_empty() {
        card += about.trim();
        card += "\n\n";
    }
    let section = section.to_owned();
    let sections =
        [training(report, command), section, test(report), external_validation(report), sources(report)];
    card += &sections.into_iter().filter(|section| !section.is_empty()).collect::<Vec<_>>().join("\n");
    card
}

fn training(report: &TrainingReport, command: &str) -> String {
    let split = &report.split;
    let how = match &report.training {
        TrainingDetails::Head { settings, .. } if report.kind == HeadKind::Score => format!(
            "A regression on layer {} of the frozen encoder, fitted to {} rows. Its regularisation (L2 {:e}; `metrics.json` has all that \
             were tried) was chosen by the log loss of each fifth of them by a head that was fitted to the others. {} rows were held \
             out.",
            report.layer,
            split.train + split.validation,
            settings.l2,
            split.test,
        ),
        TrainingDetails::Head { settings, .. } => format!(
            "A regression on layer {} of the frozen encoder. Of the rows, {} trained the head, {} chose the settings by \
             log loss (L2 {:e}, class weights {}; `metrics.json` has all that were tried), and {} were held out.",
            report.layer, split.train, split.validation, settings.l2, settings.class_weights, split.test,
        ),
        TrainingDetails::CrossFitted { settings, folds, .. } => format!(
            "A regression on layer {} of the frozen encoder, fitted to all {} rows (L2 {:e}, chosen by log loss; `metrics.json` \
             has all that were tried). All figures are of {folds} other heads, each fitted without one of {folds} folds and \
             measured on it.",
            report.layer, split.train, settings.l2,
        ),
        TrainingDetails::FineTuned(history) => format!(
            "Trained together with the encoder, whose layer {} it reads. Of the rows, {} trained the head, {} chose the \
             best epoch, and {} were held out. {}",
            report.layer,
            split.train,
            split.validation,
            split.test,
            fine_tuning(history),
        ),
    };
    format!(
        "## How it was trained\n\n{how} A row's weight is one over the square root of its source's number of rows.\n\n```\n{command}\n```\n"
    )
}

fn fine_tuning(history: &History) -> String {
    let settings = &history.settings;
    let what = match settings.method {
        Method::Lora { rank, alpha } => format!("Low-rank adapters of rank {rank} (alpha {alpha})"),
        Method::Full => "All weights but the embeddings".to_owned(),
    };
    let stopped = match history.stop_reason {
        StopReason::Done => String::new(),
        other => format!(", {}", other.description()),
    };
    let best = history.epochs.iter().enumerate().max_by(|a, b| a.1.score.total_cmp(&b.1.score));
    format!(
        "{what}, {} parameters with the heads: {} steps of {} texts, seed {}, {:.0} s on {} with {} threads{stopped}. \
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

fn test(report: &TrainingReport) -> String {
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

fn external_validation(report: &TrainingReport) -> String {
    let Some(SourceQuality { quality: first, .. }) = report.validation.first() else { return String::new() };
    let mut text = String::from("## On separate validation data\n\n");
    text += summary_header(first);
    for SourceQuality { source, quality } in &report.validation {
        text += &summary_row(source, quality);
    }
    text += "\n";
    if report.held_out.is_none() {
        text += explanation(first);
    }
    let of_each = report.validation.iter();
    let tables = of_each.map(|SourceQuality { source, quality }| format!("{source}:\n\n{}", table(quality)));
    text + &tables.collect::<Vec<_>>().join("\n")
}

fn sources(report: &TrainingReport) -> String {
    let mut text = String::from("## Data\n\n| source | rows |\n|---|---|\n");
    for source in &report.sources {
        let _ = writeln!(text, "| {} | {} |", source.source, source.rows);
    }
    text
}

fn summary_header(quality: &Quality) -> &'static str {
    match quality {
        Quality::SingleLabel(_) => {
            "| rows of | rows | accuracy | macro-F1 | majority |\n|---|---|---|---|---|\n"
        }
        Quality::MultiLabel(_) => "| rows of | rows | micro-F1 |\n|---|---|---|\n",
        Quality::Score(_) => {
            "| rows of | rows | Spearman | mean error | of the mean |\n|---|---|---|---|---|\n"
        }
    }
}

fn summary_row(name: &str, quality: &Quality) -> String {
    match quality {
        Quality::SingleLabel(it) => format!(
            "| {name} | {} | {:.3} | {:.3} | {:.3} |\n",
            it.rows, it.accuracy, it.macro_f1, it.majority_accuracy
        ),
        Quality::MultiLabel(it) => format!("| {name} | {} | {:.3} |\n", it.rows, it.micro_f1),
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
        Quality::SingleLabel(_) => {
            "Macro-F1 is the mean over the labels that the rows have. \"Majority\" is the accuracy of always predicting \
             the rows' most frequent label.\n\n"
        }
        Quality::MultiLabel(_) => "A label is predicted if its probability is at least one half.\n\n",
        Quality::Score(_) => {
            "\"Spearman\" is the rank correlation with the labels; \"of the mean\" is the mean error of always \
             predicting the rows' mean.\n\n"
        }
    }
}

fn table(quality: &Quality) -> String {
    let mut table = String::new();
    match quality {
        Quality::SingleLabel(Evaluation { labels, .. })
        | Quality::MultiLabel(MultiLabelQuality { labels, .. }) => {
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
