//! The files of a report.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::gate::Rejection;
use super::report::{CostUnit, Report, RoutingFigures};
use super::text::DRAWING;
use crate::eval::CostQuality;

/// A report as files: Markdown, JSON and a drawing.
#[derive(Debug)]
pub struct ReportFiles {
    markdown: String,
    json: String,
    /// None where there is nothing to draw.
    svg: Option<String>,
}

impl ReportFiles {
    /// The files for a report, with the reason if the head is rejected.
    ///
    /// # Errors
    /// If the drawing library fails.
    pub fn new(report: &Report, rejection: Option<&Rejection>) -> Result<Self> {
        let mut json = serde_json::to_value(report)?;
        let reason = rejection.map(ToString::to_string);
        if let Value::Object(members) = &mut json {
            members.insert("rejection".to_owned(), reason.clone().into());
        }
        let mut markdown = format!("# Head `{}`\n\n{}", report.subject.head, report.markdown());
        if let Some(reason) = reason {
            markdown += &format!("\n**Rejected:** {reason}.\n");
        }
        let svg = report.routing.as_ref().map(|routing| draw(report, routing)).transpose()?;
        Ok(Self { markdown, json: serde_json::to_string_pretty(&json)? + "\n", svg })
    }

    /// The report as Markdown.
    #[must_use]
    pub fn markdown(&self) -> &str {
        &self.markdown
    }

    /// Writes `report.md`, `report.json` and, if there is one, the drawing into a folder.
    ///
    /// # Errors
    /// If one cannot be written. The error names it.
    pub fn write(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let files = [
            ("report.md", Some(&self.markdown)),
            ("report.json", Some(&self.json)),
            (DRAWING, self.svg.as_ref()),
        ];
        for (name, content) in files {
            let path = folder.join(name);
            if let Some(content) = content {
                std::fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
            }
        }
        Ok(())
    }
}

fn draw(report: &Report, routing: &RoutingFigures) -> Result<String> {
    let (cost, factor, digits) = match report.subject.cost_unit {
        CostUnit::Dollars => ("cost of 1000 requests, in dollars", 1000.0, 3),
        CostUnit::StrongCalls => ("strong calls, in %", 100.0, 0),
    };
    let band = routing.curve.iter().map(|point| (point.cost, point.quality.low, point.quality.high));
    let current = routing.current.as_ref().map(|current| {
        let name = report.subject.policy.as_deref().unwrap_or("current policy");
        (current.cost, current.quality.value, name.to_owned())
    });
    CostQuality {
        cost,
        digits,
        factor,
        head: &routing.tradeoff,
        length: &routing.tradeoff_by_length,
        band: band.collect(),
        marks: current.into_iter().collect(),
    }
    .svg()
}
