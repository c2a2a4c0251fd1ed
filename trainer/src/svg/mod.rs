//! The few SVG elements of which our drawings are made.

mod axes;

use std::fmt::{Display, Write};

pub(crate) use axes::{Axes, Frame};

/// A place, in units to the right and down.
pub(crate) type Place = (f64, f64);

/// Colours that can be told apart in print and by the colour-blind.
pub(crate) const GREEN: &str = "#1b7f5c";
pub(crate) const ORANGE: &str = "#c77700";
pub(crate) const BLUE: &str = "#2b5fa8";
pub(crate) const BLACK: &str = "#000";
pub(crate) const GREY: &str = "#666";
pub(crate) const PALE: &str = "#ccc";

/// Which end of a text is at its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// A drawing in the making.
pub(crate) struct Drawing {
    width: f64,
    height: f64,
    elements: String,
}

impl Drawing {
    /// A white sheet.
    pub(crate) fn new(width: f64, height: f64) -> Self {
        Self { width, height, elements: String::new() }
    }

    /// A straight line.
    pub(crate) fn line(&mut self, from: Place, to: Place, colour: &str) {
        self.straight(from, to, colour, "");
    }

    /// A straight line of dashes.
    pub(crate) fn dashes(&mut self, from: Place, to: Place, colour: &str) {
        self.straight(from, to, colour, " stroke-dasharray=\"5 4\"");
    }

    fn straight(&mut self, (x1, y1): Place, (x2, y2): Place, colour: &str, more: &str) {
        self.add(format_args!(
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\"{more}/>"
        ));
    }

    /// A line through places; `id` is how scripts and tests find it.
    pub(crate) fn polyline(&mut self, id: &str, places: &[Place], colour: &str) {
        let list: Vec<_> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let (id, list) = (escape(id), list.join(" "));
        self.add(format_args!(
            "<polyline id=\"{id}\" points=\"{list}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>"
        ));
    }

    /// A dot.
    pub(crate) fn dot(&mut self, (x, y): Place, colour: &str) {
        self.add(format_args!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{colour}\"/>"));
    }

    /// A filled rectangle, from its upper left corner; its tooltip is `title`.
    pub(crate) fn rectangle(
        &mut self,
        (x, y): Place,
        (width, height): (f64, f64),
        colour: &str,
        title: &str,
    ) {
        let title = escape(title);
        self.add(format_args!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\">\
             <title>{title}</title></rect>"
        ));
    }

    /// A text, whose foot is at the place.
    pub(crate) fn text(&mut self, (x, y): Place, anchor: Anchor, colour: &str, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escape(text);
        self.add(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{text}</text>"
        ));
    }

    /// A text that runs upwards, centred at the place.
    pub(crate) fn upward_text(&mut self, (x, y): Place, text: &str) {
        let text = escape(text);
        self.add(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\" transform=\"rotate(-90 {x:.1} {y:.1})\">{text}</text>"
        ));
    }

    fn add(&mut self, element: impl Display) {
        // Writing to a String does not fail.
        let _ = writeln!(self.elements, "{element}");
    }

    /// The file's content.
    pub(crate) fn into_svg(self) -> String {
        let Self { width, height, elements } = self;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{elements}</svg>\n"
        )
    }
}

/// Labels come from files, and may have any character.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use roxmltree::Document;

    use super::*;

    #[test]
    fn any_text_can_be_drawn() {
        let mut drawing = Drawing::new(10.0, 10.0);
        drawing.text((1.0, 2.0), Anchor::End, BLACK, "a < b & \"c\"");
        drawing.polyline("x\"y", &[(0.0, 1.0), (2.0, 3.5)], ORANGE);
        let svg = drawing.into_svg();
        let document = Document::parse(&svg).unwrap();
        let text = document.descendants().find(|node| node.has_tag_name("text")).unwrap();
        assert_eq!(text.text(), Some("a < b & \"c\""));
        let line = document.descendants().find(|node| node.attribute("id") == Some("x\"y")).unwrap();
        assert_eq!(line.attribute("points"), Some("0.0,1.0 2.0,3.5"));
    }
}
