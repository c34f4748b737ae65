//! Titles, which plotters cannot write: they tell readers who point at a drawing what is there.
//!
//! They belong to invisible shapes on top of the drawing.

use crate::svg::{Element, vertices};

/// Invisible shapes on top of the drawing, the last one topmost.
pub(crate) fn overlay(shapes: Vec<Element>) -> Element {
    Element::new("g").with("fill", "none").with("pointer-events", "all").holding(shapes)
}

pub(crate) fn circle((x, y): (i32, i32), radius: i32) -> Element {
    Element::new("circle").with("cx", x).with("cy", y).with("r", radius)
}

pub(crate) fn line(points: &[(i32, i32)], width: i32) -> Element {
    // With all pointer events on, the area that a line encloses would respond as well.
    let line = Element::new("polyline").with("points", vertices(points)).with("stroke-width", width);
    line.with("pointer-events", "stroke")
}
