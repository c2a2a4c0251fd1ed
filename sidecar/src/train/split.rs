//! Divides rows into those that are fitted, those that choose the settings, and those held out for the report.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

/// Fewest rows of a label: one of ten goes to each of the two smaller parts.
const MIN_ROWS: usize = 10;

/// Indices of rows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Split {
    /// Eight of ten: the weights are fitted to them.
    pub fit: Vec<usize>,
    /// One of ten: they choose the regularisation and the class weights.
    pub choose: Vec<usize>,
    /// One of ten: nothing depends on them; they are what is reported.
    pub held_out: Vec<usize>,
}

impl Split {
    /// Splits by a seed, each label in the same proportions.
    ///
    /// # Errors
    /// If a label has fewer than ten rows.
    pub(super) fn stratified(labels: &[&str], seed: u64) -> Result<Self> {
        let mut by_label: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (row, label) in labels.iter().enumerate() {
            by_label.entry(label).or_default().push(row);
        }
        let mut random = fastrand::Rng::with_seed(seed);
        let mut split = Self { fit: Vec::new(), choose: Vec::new(), held_out: Vec::new() };
        for (label, mut rows) in by_label {
            let count = rows.len();
            ensure!(count >= MIN_ROWS, "label {label:?} has {count} rows; it needs at least {MIN_ROWS}");
            random.shuffle(&mut rows);
            let tenth = count / 10;
            split.held_out.extend(rows.drain(..tenth));
            split.choose.extend(rows.drain(..tenth));
            split.fit.append(&mut rows);
        }
        Ok(split)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> Vec<&'static str> {
        [vec!["a"; 50], vec!["b"; 20]].concat()
    }

    #[test]
    fn every_row_is_in_one_part_and_every_label_in_all() {
        let labels = labels();
        let split = Split::stratified(&labels, 1).unwrap();
        let count = |rows: &[usize], label| rows.iter().filter(|row| labels[**row] == label).count();
        assert_eq!((count(&split.fit, "a"), count(&split.fit, "b")), (40, 16));
        assert_eq!((count(&split.choose, "a"), count(&split.choose, "b")), (5, 2));
        assert_eq!((count(&split.held_out, "a"), count(&split.held_out, "b")), (5, 2));
        let mut all = [split.fit, split.choose, split.held_out].concat();
        all.sort_unstable();
        assert_eq!(all, (0..70).collect::<Vec<_>>());
    }

    #[test]
    fn the_seed_decides() {
        let split = |seed| Split::stratified(&labels(), seed).unwrap();
        assert_eq!(split(1), split(1));
        assert_ne!(split(1), split(2));
    }

    #[test]
    fn a_label_with_too_few_rows_is_named() {
        let error = Split::stratified(&["rare"; 9], 1).unwrap_err().to_string();
        assert_eq!(error, "label \"rare\" has 9 rows; it needs at least 10");
    }
}
