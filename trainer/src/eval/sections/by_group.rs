//! The results of groups of rows, such as those of one source or language.

use std::fmt::Write;

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::table::{or_dash, width};
use crate::eval::Section;

/// The results of each group of rows with one value of a field.
pub struct ByGroup {
    /// The field.
    pub field: String,
    /// The groups, in the order of their names.
    pub groups: Vec<Group>,
}

/// The rows with one value of a field.
pub struct Group {
    /// The value.
    pub name: String,
    /// The number of rows.
    pub rows: usize,
    /// The results.
    pub sections: Vec<Box<dyn Section>>,
}

impl Group {
    fn summary(&self) -> impl Iterator<Item = (&'static str, Option<f64>)> {
        self.sections.iter().flat_map(|section| section.summary())
    }
}

impl Section for ByGroup {
    fn name(&self) -> &'static str {
        "groups"
    }

    fn table(&self) -> String {
        let wide = width(self.groups.iter().map(|group| group.name.as_str()).chain([self.field.as_str()]));
        let mut text = format!("{:<wide$}{:>7}", self.field, "rows");
        for (column, _) in self.groups.iter().take(1).flat_map(Group::summary) {
            // Writing to a String does not fail.
            let _ = write!(text, "{column:>12}");
        }
        for group in &self.groups {
            let _ = write!(text, "\n{:<wide$}{:>7}", group.name, group.rows);
            for (_, number) in group.summary() {
                let _ = write!(text, "{:>12}", or_dash(number));
            }
        }
        text + "\n"
    }

    fn json(&self) -> Result<Value> {
        let mut groups = Vec::new();
        for group in &self.groups {
            let mut all = Map::from_iter([
                (self.field.clone(), group.name.clone().into()),
                ("rows".to_owned(), group.rows.into()),
            ]);
            for section in &group.sections {
                all.insert(section.name().to_owned(), section.json()?);
            }
            groups.push(Value::Object(all));
        }
        Ok(json!(groups))
    }
}
