//! Divides rows into those that are fitted, those that choose the settings, and those held out for the report.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

/// Fewest rows of a label.
const MIN_ROWS: usize = 10;

/// Share of the rows that choose.
const CHOOSE: f64 = 0.05;

/// Indices of rows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Split {
    /// The weights are fitted to them.
    pub fit: Vec<usize>,
    /// One of twenty, and one at least of each stratum: they choose the settings, and when training is best stopped.
    pub choose: Vec<usize>,
    /// Nothing depends on them; they are what is reported.
    pub held_out: Vec<usize>,
}

impl Split {
    /// Splits by a seed, each label in the same proportions.
    ///
    /// # Errors
    /// If labels have fewer than ten rows, naming them.
    pub(super) fn by_label(labels: &[&str], held_out: f64, seed: u64) -> Result<Self> {
        let strata = Strata::new(labels);
        let few = strata.0.iter().filter(|(_, rows)| rows.len() < MIN_ROWS);
        let few: Vec<_> = few.map(|(label, rows)| format!("{label:?} has {}", rows.len())).collect();
        ensure!(
            few.is_empty(),
            "each label needs at least {MIN_ROWS} rows, and {}: add rows, rename it into another with --map, or map in a \
             plan, or leave it out with only in a plan",
            few.join(", ")
        );
        Ok(strata.split(held_out, seed))
    }

    /// Splits by a seed, what is alike in the same proportions as far as there is enough of it.
    ///
    /// # Errors
    /// If there are fewer than ten rows.
    pub(super) fn by_likeness(strata: &[String], held_out: f64, seed: u64) -> Result<Self> {
        let count = strata.len();
        ensure!(count >= MIN_ROWS, "there are {count} rows; training needs at least {MIN_ROWS}");
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        strata.iter().for_each(|stratum| *counts.entry(stratum).or_default() += 1);
        let common = |stratum: &&str| counts.get(stratum).is_some_and(|&count| count >= 2 * MIN_ROWS);
        let strata: Vec<_> =
            strata.iter().map(String::as_str).map(|it| if common(&it) { it } else { "" }).collect();
        Ok(Strata::new(&strata).split(held_out, seed))
    }
}

/// Rows by what they have in common.
struct Strata<'a>(BTreeMap<&'a str, Vec<usize>>);

impl<'a> Strata<'a> {
    fn new(names: &[&'a str]) -> Self {
        let mut strata: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (row, name) in names.iter().enumerate() {
            strata.entry(name).or_default().push(row);
        }
        Self(strata)
    }

    fn split(self, held_out: f64, seed: u64) -> Split {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut split = Split { fit: Vec::new(), choose: Vec::new(), held_out: Vec::new() };
        for (_, mut rows) in self.0 {
            random.shuffle(&mut rows);
            let count = |share: f64| match rows.len() {
                0..MIN_ROWS => 0,
                _ if share == 0.0 => 0,
                rows => ((rows as f64 * share).round() as usize).max(1),
            };
            let (choose, held_out) = (count(CHOOSE), count(held_out));
            split.held_out.extend(rows.drain(..held_out));
            split.choose.extend(rows.drain(..choose));
            split.fit.append(&mut rows);
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
        assert_eq!((count(&split.fit, "a"), count(&split.fit, "b")), (51, 17));
        assert_eq!((count(&split.choose, "a"), count(&split.choose, "b")), (3, 1));
        assert_eq!((count(&split.held_out, "a"), count(&split.held_out, "b")), (6, 2));
        let mut all = [split.fit, split.choose, split.held_out].concat();
        all.sort_unstable();
        assert_eq!(all, (0..80).collect::<Vec<_>>());
    }

    #[test]
    fn the_seed_decides() {
        let split = |seed| Split::by_label(&labels(), 0.1, seed).unwrap();
        assert_eq!(split(1), split(1));
        assert_ne!(split(1), split(2));
    }

    #[test]
    fn nothing_need_be_held_out() {
        assert!(Split::by_label(&labels(), 0.0, 1).unwrap().held_out.is_empty());
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
    fn rare_likes_are_split_together() {
        let strata: Vec<_> = (0..40).map(|row| format!("rare {row}")).collect();
        let split = Split::by_likeness(&strata, 0.1, 1).unwrap();
        assert_eq!((split.fit.len(), split.choose.len(), split.held_out.len()), (34, 2, 4));
    }
}
