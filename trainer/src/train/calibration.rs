//! Records the calibration of a head in its card and its metrics.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{card, report};
use llm_router_classifier::model::temperature::Temperature;

/// The card's section, and the start of the next one.
const SECTION: &str = "## Calibration\n";
const NEXT: &str = "\n## ";

/// A fitted temperature, and the calibration error that remains.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Calibration {
    /// The divisor of the logits.
    pub temperature: Temperature,
    /// The number of rows that it was fitted to.
    pub rows: usize,
    /// The expected calibration error on these rows.
    pub ece: f64,
    /// The command line.
    pub command: String,
}

impl Calibration {
    /// Writes the calibration into the card and the metrics of a head's folder, if it has them. An earlier one is replaced.
    ///
    /// # Errors
    /// If a file cannot be read or written; the error names it.
    pub fn write(&self, folder: &Path) -> Result<()> {
        rewrite(&folder.join(report::FILE), |json| {
            let mut metrics: Map<String, Value> = serde_json::from_str(json)?;
            metrics.insert("calibration".to_owned(), serde_json::to_value(self)?);
            Ok(serde_json::to_string_pretty(&metrics)? + "\n")
        })?;
        rewrite(&folder.join(card::FILE), |card| Ok(self.insert_into(card)))
    }

    fn insert_into(&self, card: &str) -> String {
        let (before, after) = match card.find(SECTION) {
            Some(start) => {
                let (before, section) = card.split_at(start);
                let after = section.find(NEXT).map_or("", |end| section.split_at(end).1);
                (before, after)
            }
            None => (card, ""),
        };
        format!("{}\n\n{}{after}", before.trim_end(), self.section())
    }

    fn section(&self) -> String {
        let Self { temperature, rows, ece, command } = self;
        let temperature = match temperature {
            Temperature::All(one) => one.to_string(),
            Temperature::Each(each) => each.iter().map(f32::to_string).collect::<Vec<_>>().join(", "),
        };
        format!(
            "{SECTION}\nLogits are divided by the temperature {temperature}, fitted to {rows} rows, on which the expected \
             calibration error (ECE) is now {ece:.3}.\n\n```\n{command}\n```\n"
        )
    }
}

/// Rewrites a file, if it exists.
fn rewrite(path: &Path, new: impl Fn(&str) -> Result<String>) -> Result<()> {
    if !path.is_file() {
        return Ok(());
    }
    let old = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let new = new(&old).with_context(|| format!("cannot change {}", path.display()))?;
    std::fs::write(path, new).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calibration(ece: f64) -> Calibration {
        let temperature = Temperature::All(1.25);
        Calibration { temperature, rows: 40, ece, command: "llm-router-train calibrate ...".to_owned() }
    }

    #[test]
    fn a_calibration_replaces_the_last_one_and_nothing_else() {
        let card = "# Head `a`\n\n## Data\n\n| source |\n";
        let once = calibration(0.0512).insert_into(card);
        assert!(once.starts_with(card) && once.contains("temperature 1.25"), "{once}");
        assert!(once.contains("is now 0.051.\n\n```\nllm-router-train calibrate ...\n```\n"), "{once}");
        assert_eq!(calibration(0.0512).insert_into(&once), once);
        let more = once.clone() + "\n## More\n\nText.\n";
        let twice = calibration(0.02).insert_into(&more);
        assert_eq!(twice, more.replace("0.051", "0.020"));
    }

    #[test]
    fn missing_files_are_not_created() {
        let folder = tempfile::tempdir().unwrap();
        calibration(0.1).write(folder.path()).unwrap();
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
        std::fs::write(folder.path().join(report::FILE), r#"{"head": "a", "calibration": {}}"#).unwrap();
        calibration(0.1).write(folder.path()).unwrap();
        let metrics = std::fs::read(folder.path().join(report::FILE)).unwrap();
        let metrics: Value = serde_json::from_slice(&metrics).unwrap();
        assert_eq!((&metrics["head"], &metrics["calibration"]["ece"]), (&"a".into(), &0.1.into()));
    }
}
