//! Divides the rows of a head into those that train it, those that choose its settings, and those that test it.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

/// Minimum number of rows of a label.
const MIN_ROWS: usize = 10;

/// The fraction of the rows for validation.
const VALIDATION_FRACTION: f64 = 0.05;

/// Indices of rows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Split {
    /// The weights are fitted to these.
    pub train: Vec<usize>,
    /// These choose the settings and the best epoch: one row in twenty, and at least one of each stratum.
    pub validation: Vec<usize>,
    /// Only the report uses these.
    pub test: Vec<usize>,
}

impl Split {
    /// Splits each label in the same proportions. The seed determines which rows go where.
    ///
    /// # Errors
    /// If labels have fewer than ten rows. The error names them.
    pub(super) fn by_label(labels: &[&str], test_fraction: f64, seed: u64) -> Result<Self> {
        let strata = Strata::new(labels);
        let few = strata.0.iter().filter(|(_, rows)| rows.len() < MIN_ROWS);
        let few: Vec<_> = few.map(|(label, rows)| format!("{label:?} has {}", rows.len())).collect();
        ensure!(
            few.is_empty(),
            "each label needs at least {MIN_ROWS} rows, and {}: add rows, merge the label into another one (--map, or \
             map in a plan), or leave it out (only in a plan)",
            few.join(", ")
        );
        Ok(strata.split(test_fraction, seed))
    }

    /// Splits each stratum in the same proportions. Strata with few rows are split as one.
    ///
    /// # Errors
    /// If there are fewer than ten rows.
    pub(super) fn stratified(strata: &[String], test_fraction: f64, seed: u64) -> Result<Self> {
        let count = strata.len();
        ensure!(count >= MIN_ROWS, "there are {count} rows; training needs at least {MIN_ROWS}");
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        strata.iter().for_each(|stratum| *counts.entry(stratum).or_default() += 1);
        let common = |stratum: &&str| counts.get(stratum).is_some_and(|&count| count >= 2 * MIN_ROWS);
        let strata: Vec<_> =
            strata.iter().map(String::as_str).map(|it| if common(&it) { it } else { "" }).collect();
        Ok(Strata::new(&strata).split(test_fraction, seed))
    }
}

/// Indices of rows by their stratum.
struct Strata<'a>(BTreeMap<&'a str, Vec<usize>>);

impl<'a> Strata<'a> {
    fn new(names: &[&'a str]) -> Self {
        let mut strata: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (row, name) in names.iter().enumerate() {
            strata.entry(name).or_default().push(row);
        }
        Self(strata)
    }

    fn split(self, test_fraction: f64, seed: u64) -> Split {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut split = Split { train: Vec::new(), validation: Vec::new(), test: Vec::new() };
        for (_, mut rows) in self.0 {
            random.shuffle(&mut rows);
            let count = |fraction: f64| match rows.len() {
                0..MIN_ROWS => 0,
                _ if fraction == 0.0 => 0,
                rows => ((rows as f64 * fraction).round() as usize).max(1),
            };
            let (validation, test) = (count(VALIDATION_FRACTION), count(test_fraction));
            split.test.extend(rows.drain(..test));
            split.validation.extend(rows.drain(..validation));
            split.train.append(&mut rows);
        }
        split
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> Vec<&'static str> {
        [vec!["a"; 60], vec!["b"; 20]].concat()
    }

    #[test]
    fn every_row_is_in_one_part_and_every_label_in_all() {
        let labels = labels();
        let split = Split::by_label(&labels, 0.1, 1).unwrap();
        let count = |rows: &[usize], label| rows.iter().filter(|row| labels[**row] == label).count();
        assert_eq!((count(&split.train, "a"), count(&split.train, "b")), (51, 17));
        assert_eq!((count(&split.validation, "a"), count(&split.validation, "b")), (3, 1));
        assert_eq!((count(&split.test, "a"), count(&split.test, "b")), (6, 2));
        let mut all = [split.train, split.validation, split.test].concat();
        all.sort_unstable();
        assert_eq!(all, (0..80).collect::<Vec<_>>());
    }

    #[test]
    fn the_seed_determines_the_split() {
        let split = |seed| Split::by_label(&labels(), 0.1, seed).unwrap();
        assert_eq!(split(1), split(1));
        assert_ne!(split(1), split(2));
    }

    #[test]
    fn the_test_rows_are_optional() {
        assert!(Split::by_label(&labels(), 0.0, 1).unwrap().test.is_empty());
    }

    #[test]
    fn labels_with_too_few_rows_are_named() {
        let labels = [vec!["common"; 10], vec!["rare"; 9], vec!["one"; 1]].concat();
        let error = Split::by_label(&labels, 0.1, 1).unwrap_err().to_string();
        assert!(
            error.starts_with("each label needs at least 10 rows, and \"one\" has 1, \"rare\" has 9: "),
            "{error}"
        );
    }

    #[test]
    fn rare_strata_are_split_as_one() {
        let strata: Vec<_> = (0..40).map(|row| format!("rare {row}")).collect();
        let split = Split::stratified(&strata, 0.1, 1).unwrap();
        assert_eq!((split.train.len(), split.validation.len(), split.test.len()), (34, 2, 4));
    }
}
