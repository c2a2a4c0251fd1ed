//! Draws a confusion matrix: a cell for each pair of a true and a predicted label.

use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::style::{FONT, GREEN, RED};
use crate::eval::Confusion;

/// With more labels than this, cells are small and have no numbers: nobody would read them.
const MOST_LABELS_WITH_COUNTS: usize = 30;
/// Space around the matrix, in pixels.
const MARGIN: i32 = 10;
/// Space for the line that explains the axes.
const TITLE_HEIGHT: i32 = 26;
/// About the width of a letter in [`FONT`].
const LETTER_WIDTH: f64 = 7.5;

/// Draws the matrix, with a row for each true label. The larger the fraction of the row, the darker its cell: green on the
/// diagonal, where the prediction is right, and red elsewhere.
///
/// # Errors
/// If the drawing library fails.
pub(in crate::eval) fn svg(confusion: &Confusion) -> Result<String> {
    let labels = &confusion.labels;
    let with_counts = labels.len() <= MOST_LABELS_WITH_COUNTS;
    let cell = if with_counts { 34 } else { 15 };
    let longest = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0);
    let label_length = (LETTER_WIDTH * longest as f64) as i32;
    let (left, top) = (MARGIN + label_length + 8, MARGIN + TITLE_HEIGHT + label_length + 8);
    let side = cell * labels.len() as i32;
    // The title needs its width even if there are few labels.
    let size = ((left + side.max(200) + MARGIN) as u32, (top + side + MARGIN) as u32);
    let style =
        |horizontal, vertical| FONT.into_font().into_text_style(&size).pos(Pos::new(horizontal, vertical));
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        root.fill(&WHITE)?;
        root.draw(&Text::new(
            "rows: true label, columns: predicted label",
            (MARGIN, MARGIN),
            style(HPos::Left, VPos::Top),
        ))?;
        for (row, (label, counts)) in (0..).zip(labels.iter().zip(&confusion.counts)) {
            let start = cell * row;
            let middle = start + cell / 2;
            root.draw(&Text::new(
                label.as_str(),
                (left - 8, top + middle),
                style(HPos::Right, VPos::Center),
            ))?;
            // Vertical text starts at the top of its column, and runs upwards.
            let upwards = style(HPos::Left, VPos::Center).transform(FontTransform::Rotate270);
            root.draw(&Text::new(label.as_str(), (left + middle, top - 8), upwards))?;
            let rows = counts.iter().sum::<usize>().max(1);
            for (column, &count) in (0..).zip(counts) {
                let (x, y) = (left + cell * column, top + start);
                let fraction = count as f64 / rows as f64;
                let corners = [(x, y), (x + cell - 1, y + cell - 1)];
                root.draw(&Rectangle::new(corners, shade(fraction, row == column).filled()))?;
                if with_counts && count > 0 {
                    let colour = if fraction > 0.5 { WHITE } else { BLACK };
                    let style = style(HPos::Center, VPos::Center).color(&colour);
                    root.draw(&Text::new(count.to_string(), (x + cell / 2, y + cell / 2), style))?;
                }
            }
        }
        root.present()?;
    }
    Ok(svg)
}

/// From pale grey, for none of the row, to green or red, for all of it.
fn shade(fraction: f64, is_right: bool) -> RGBColor {
    let RGBColor(red, green, blue) = if is_right { GREEN } else { RED };
    let [red, green, blue] = [red, green, blue]
        .map(|part| (245.0 + (f64::from(part) - 245.0) * fraction.clamp(0.0, 1.0)).round() as u8);
    RGBColor(red, green, blue)
}

#[cfg(test)]
mod tests {
    use roxmltree::Document;

    use super::*;

    fn matrix(labels: usize) -> String {
        let names: Vec<_> = (0..labels).map(|label| format!("label {label} <&>")).collect();
        // Of label 0 three rows are right, and one is predicted as label 1.
        svg(&Confusion::compute(&names, &[0, 0, 0, 1, 1], &[0, 0, 0, 0, 1])).unwrap()
    }

    #[test]
    fn every_pair_has_a_cell_that_is_darker_the_larger_its_fraction() {
        let svg = matrix(2);
        let document = Document::parse(&svg).unwrap();
        let cells: Vec<_> = document
            .descendants()
            .filter(|node| node.has_tag_name("rect") && node.attribute("width") == Some("33"))
            .map(|node| node.attribute("fill").unwrap())
            .collect();
        // By rows: three quarters right, a quarter wrong; none wrong, all right.
        assert_eq!(cells, ["#529D82", "#E5C1BF", "#F5F5F5", "#1B7F5C"]);
    }

    #[test]
    fn labels_and_counts_can_be_read() {
        let svg = matrix(2);
        let document = Document::parse(&svg).unwrap();
        let texts: Vec<_> = document
            .descendants()
            .filter(|node| node.has_tag_name("text"))
            .map(|node| (node.text().unwrap().trim(), node.attribute("transform").is_some()))
            .collect();
        for label in ["label 0 <&>", "label 1 <&>"] {
            assert!(texts.contains(&(label, false)) && texts.contains(&(label, true)), "{texts:?}");
        }
        let counts: Vec<_> = texts.iter().filter_map(|(text, _)| text.parse::<usize>().ok()).collect();
        assert_eq!(counts, [3, 1, 1], "an empty cell has no number");
    }

    #[test]
    fn very_many_labels_have_cells_without_numbers() {
        let names: Vec<_> = (0..40).map(|label| label.to_string()).collect();
        let all: Vec<_> = (0..40).collect();
        let svg = svg(&Confusion::compute(&names, &all, &all)).unwrap();
        let document = Document::parse(&svg).unwrap();
        let count = |name| document.descendants().filter(|node| node.has_tag_name(name)).count();
        // The background is a rectangle, and the title a text; each label is written twice.
        assert_eq!((count("rect"), count("text")), (1 + 40 * 40, 1 + 2 * 40));
    }
}
