//! Writes a head's model card.

use std::fmt::Write;

use super::report::{Report, SourceEvaluation};
use crate::eval::Evaluation;

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
    let (split, settings) = (&report.split, &report.settings);
    format!(
        "## How it was made\n\n\
         Softmax regression on features of layer {} of the frozen encoder: the mean of all token vectors, and the \
         mean of those at the beginning. Of the rows, {} were fitted, {} chose the \
         settings by log loss (L2 {:e}, class weights {}; `metrics.json` has all that were tried), and {} were held \
         out. A row counts by one over the root of its source's size.\n\n```\n{command}\n```\n",
        report.layer, split.fit, split.choose, settings.l2, settings.class_weights, split.held_out,
    )
}

fn held_out(report: &Report) -> String {
    let mut text = String::from("## On the held-out rows\n\n");
    text += &summary_header();
    text += &summary_row("all", &report.held_out);
    for SourceEvaluation { source, evaluation } in &report.held_out_by_source {
        text += &summary_row(source, evaluation);
    }
    text += "\nMacro-F1 is the mean over the labels that the rows have. \"Majority\" is the accuracy of always \
             answering the rows' most frequent label.\n\n";
    text + &label_table(&report.held_out)
}

fn validation(report: &Report) -> String {
    if report.validation.is_empty() {
        return String::new();
    }
    let mut text = String::from("## On data kept apart\n\n");
    text += &summary_header();
    for SourceEvaluation { source, evaluation } in &report.validation {
        text += &summary_row(source, evaluation);
    }
    for SourceEvaluation { source, evaluation } in &report.validation {
        // Writing to a String does not fail.
        let _ = write!(text, "\n{source}:\n\n{}", label_table(evaluation));
    }
    text
}

fn sources(report: &Report) -> String {
    let mut text = String::from("## Data\n\n| source | rows |\n|---|---|\n");
    for source in &report.sources {
        // Writing to a String does not fail.
        let _ = writeln!(text, "| {} | {} |", source.source, source.rows);
    }
    text
}

fn summary_header() -> String {
    "| rows of | rows | accuracy | macro-F1 | majority |\n|---|---|---|---|---|\n".to_owned()
}

fn summary_row(name: &str, evaluation: &Evaluation) -> String {
    let Evaluation { rows, accuracy, macro_f1, majority_accuracy, .. } = evaluation;
    format!("| {name} | {rows} | {accuracy:.3} | {macro_f1:.3} | {majority_accuracy:.3} |\n")
}

fn label_table(evaluation: &Evaluation) -> String {
    let mut table = String::from("| label | rows | precision | recall | F1 |\n|---|---|---|---|---|\n");
    for label in &evaluation.labels {
        let _ = writeln!(
            table,
            "| {} | {} | {:.3} | {:.3} | {:.3} |",
            label.label, label.rows, label.precision, label.recall, label.f1
        );
    }
    table
}
