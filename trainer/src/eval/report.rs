//! The report of an evaluation: tables for people, JSON for scripts, drawings for both.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Map, Value};

/// A section of a report.
pub trait Section {
    /// The section's name in JSON.
    fn name(&self) -> &'static str;
    /// The section as text, with tables.
    fn table(&self) -> String;
    /// The section as JSON.
    ///
    /// # Errors
    /// If it cannot be written as JSON.
    fn json(&self) -> Result<Value>;
    /// The section's main numbers, each with a column heading. None is a number that the rows do not define.
    fn summary(&self) -> Vec<(&'static str, Option<f64>)> {
        Vec::new()
    }
    /// SVG drawings, each with a file name.
    ///
    /// # Errors
    /// If the drawing library fails.
    fn drawings(&self) -> Result<Vec<(&'static str, String)>> {
        Ok(Vec::new())
    }
}

/// The results of an evaluation.
pub struct EvaluationReport {
    /// What was measured.
    pub subject: String,
    /// The number of rows.
    pub rows: usize,
    /// The results.
    pub sections: Vec<Box<dyn Section>>,
}

impl EvaluationReport {
    /// Returns the report as JSON: `{"subject", "rows", SECTION: {..}}`.
    ///
    /// # Errors
    /// If it cannot be written as JSON.
    pub fn json(&self) -> Result<Value> {
        let mut all = Map::new();
        all.insert("subject".to_owned(), self.subject.clone().into());
        all.insert("rows".to_owned(), self.rows.into());
        for section in &self.sections {
            all.insert(section.name().to_owned(), section.json()?);
        }
        Ok(Value::Object(all))
    }

    /// Writes the drawings into a folder and returns their paths.
    ///
    /// # Errors
    /// If a drawing cannot be written. The error names it.
    pub fn write_drawings(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let mut paths = Vec::new();
        for section in &self.sections {
            for (name, svg) in section.drawings()? {
                let path = folder.join(name);
                std::fs::write(&path, svg).with_context(|| format!("cannot write {}", path.display()))?;
                paths.push(path);
            }
        }
        Ok(paths)
    }
}

impl fmt::Display for EvaluationReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, {} rows", self.subject, self.rows)?;
        self.sections.iter().try_for_each(|section| write!(f, "\n{}", section.table()))
    }
}
