//! Which labels are taken for which.

use serde::Serialize;

use crate::svg::{Anchor, BLACK, Drawing};

/// How often each label was answered for each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Confusion {
    /// The labels that are true or answered at least once.
    pub labels: Vec<String>,
    /// By true label, then by answered label, in the labels' order.
    pub counts: Vec<Vec<usize>>,
}

impl Confusion {
    /// Compares answers with true labels; both are indices of `names`.
    #[must_use]
    pub fn new(names: &[String], predicted: &[i64], truth: &[i64]) -> Self {
        let used: Vec<_> = names
            .iter()
            .zip(0i64..)
            .filter(|(_, label)| predicted.contains(label) || truth.contains(label))
            .collect();
        let count = |is: i64, answered: i64| {
            predicted.iter().zip(truth).filter(|&(&p, &t)| p == answered && t == is).count()
        };
        Self {
            labels: used.iter().map(|(name, _)| (*name).clone()).collect(),
            counts: used
                .iter()
                .map(|&(_, is)| used.iter().map(|&(_, answered)| count(is, answered)).collect())
                .collect(),
        }
    }

    /// A square for each pair, the darker the larger its share of the true label's rows.
    #[must_use]
    pub fn svg(&self) -> String {
        // With very many labels the numbers would not be read.
        let (cell, numbers) = if self.labels.len() <= 30 { (34.0, true) } else { (10.0, false) };
        let longest = self.labels.iter().map(|label| label.chars().count()).max().unwrap_or(0);
        let margin = 40.0 + 6.5 * longest as f64;
        let size = margin + cell * self.labels.len() as f64;
        let mut drawing = Drawing::new(size + 20.0, size + 20.0);
        drawing.text((margin, 14.0), Anchor::Start, BLACK, "answered →   true ↓");
        for (row, (label, counts)) in self.labels.iter().zip(&self.counts).enumerate() {
            let y = margin + cell * row as f64;
            let foot = y + cell / 2.0 + 4.0;
            drawing.text((margin - 6.0, foot), Anchor::End, BLACK, label);
            drawing.upward_text((foot, margin - 8.0 - 3.2 * label.chars().count() as f64), label);
            let rows = counts.iter().sum::<usize>().max(1);
            for (column, (answered, &count)) in self.labels.iter().zip(counts).enumerate() {
                let x = margin + cell * column as f64;
                let share = count as f64 / rows as f64;
                let title = format!("{label} answered as {answered}: {count} of {rows}");
                drawing.rectangle((x, y), (cell - 1.0, cell - 1.0), &shade(share, row == column), &title);
                if numbers && count > 0 {
                    let colour = if share > 0.5 { "white" } else { BLACK };
                    drawing.text((x + cell / 2.0, foot), Anchor::Middle, colour, &count.to_string());
                }
            }
        }
        drawing.into_svg()
    }
}

/// From pale to green for right answers, and to red for wrong ones.
fn shade(share: f64, right: bool) -> String {
    let full = if right { [0x1b, 0x7f, 0x5c] } else { [0xb3, 0x26, 0x1e] };
    let [red, green, blue] =
        full.map(|part| (245.0 + (f64::from(part) - 245.0) * share.clamp(0.0, 1.0)).round());
    format!("rgb({red},{green},{blue})")
}

#[cfg(test)]
mod tests {
    use roxmltree::Document;

    use super::*;

    fn confusion() -> Confusion {
        let names = ["a", "b", "c & d", "e"].map(str::to_owned);
        Confusion::new(&names, &[0, 0, 1, 2], &[0, 1, 1, 1])
    }

    #[test]
    fn answers_are_counted_by_truth() {
        let confusion = confusion();
        assert_eq!(confusion.labels, ["a", "b", "c & d"], "e is not there");
        assert_eq!(confusion.counts, [[1, 0, 0], [1, 1, 1], [0, 0, 0]]);
    }

    #[test]
    fn every_pair_has_a_square_and_says_what_it_is() {
        let svg = confusion().svg();
        let document = Document::parse(&svg).unwrap();
        let titles: Vec<_> = document
            .descendants()
            .filter(|node| node.has_tag_name("title"))
            .filter_map(|node| node.text())
            .collect();
        assert_eq!(titles.len(), 9);
        assert!(titles.contains(&"b answered as c & d: 1 of 3"), "{titles:?}");
    }
}
