//! Divides prompts into folds. Each fold is scored by a head that was fitted to the others.

use std::collections::BTreeMap;

/// The fold of each row, from 0. Rows of a group are in one fold, and the targets are spread alike over all
/// folds, so that the mean target of a fold is that of the rows that its head was fitted to. The seed
/// determines the rest.
#[must_use]
pub fn assign(groups: &[usize], targets: &[f64], folds: usize, seed: u64) -> Vec<usize> {
    let mut sums: BTreeMap<usize, (f64, f64)> = BTreeMap::new();
    for (group, target) in groups.iter().zip(targets) {
        let (sum, rows) = sums.entry(*group).or_default();
        *sum += target;
        *rows += 1.0;
    }
    let mut means: Vec<_> = sums.into_iter().map(|(group, (sum, rows))| (group, sum / rows)).collect();
    let mut random = fastrand::Rng::with_seed(seed);
    random.shuffle(&mut means);
    means.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mut fold_of = BTreeMap::new();
    for alike in means.chunks(folds.max(1)) {
        let mut numbers: Vec<_> = (0..folds).collect();
        random.shuffle(&mut numbers);
        fold_of.extend(alike.iter().map(|(group, _)| *group).zip(numbers));
    }
    groups.iter().map(|group| fold_of.get(group).copied().unwrap_or_default()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_never_in_two_folds() {
        let groups: Vec<_> = (0..200).map(|row| row % 40).collect();
        let targets: Vec<_> = (0..200).map(|row| f64::from(row % 3) / 2.0).collect();
        let folds = assign(&groups, &targets, 5, 1);
        let mut seen = BTreeMap::new();
        for (group, fold) in groups.iter().zip(&folds) {
            assert_eq!(seen.entry(group).or_insert(fold), &fold, "group {group}");
        }
        assert_eq!(folds.iter().collect::<std::collections::BTreeSet<_>>().len(), 5);
    }

    #[test]
    fn folds_are_of_one_size_with_the_same_mean_target() {
        let groups: Vec<_> = (0..100).collect();
        let targets: Vec<_> = (0..100).map(|row| f64::from(u8::from(row % 10 == 0))).collect();
        let folds = assign(&groups, &targets, 5, 3);
        for fold in 0..5 {
            let of_fold: Vec<_> = folds.iter().zip(&targets).filter(|(it, _)| **it == fold).collect();
            let sum: f64 = of_fold.iter().map(|(_, target)| **target).sum();
            assert_eq!((of_fold.len(), sum), (20, 2.0));
        }
    }

    #[test]
    fn the_seed_determines_the_folds() {
        let (groups, targets): (Vec<_>, Vec<_>) = (0..50).map(|row| (row, row as f64 / 50.0)).unzip();
        assert_eq!(assign(&groups, &targets, 5, 1), assign(&groups, &targets, 5, 1));
        assert_ne!(assign(&groups, &targets, 5, 1), assign(&groups, &targets, 5, 2));
    }
}
