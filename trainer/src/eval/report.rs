//! What is printed: tables for people, JSON for scripts, drawings for both.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Map, Value};

/// One part of a report.
pub trait Section {
    /// Its name in JSON.
    fn name(&self) -> &'static str;
    /// As tables, a line after the other.
    fn table(&self) -> String;
    /// The same by name.
    ///
    /// # Errors
    /// If it cannot be written as JSON.
    fn json(&self) -> Result<Value>;
    /// SVG drawings, each with its file's name.
    ///
    /// # Errors
    /// If the drawing library fails.
    fn drawings(&self) -> Result<Vec<(&'static str, String)>> {
        Ok(Vec::new())
    }
}

/// What was measured on some rows.
pub struct Report {
    /// What was measured.
    pub subject: String,
    /// Number of rows.
    pub rows: usize,
    /// What came of it.
    pub sections: Vec<Box<dyn Section>>,
}

impl Report {
    /// `{"subject", "rows", SECTION: {..}}`
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

    /// Writes the drawings into a folder, and returns their paths.
    ///
    /// # Errors
    /// If one cannot be written; the error names it.
    pub fn draw(&self, folder: &Path) -> Result<Vec<PathBuf>> {
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

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, {} rows", self.subject, self.rows)?;
        self.sections.iter().try_for_each(|section| write!(f, "\n{}", section.table()))
    }
}
