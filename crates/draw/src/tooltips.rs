//! What plotters cannot write: titles, which tell a reader who points at a drawing what is there.
//!
//! They belong to unseen shapes on top of it.

use crate::svg::{Element, vertices};

/// Unseen shapes, the last one on top.
pub(crate) fn overlay(shapes: Vec<Element>) -> Element {
    Element::new("g").with("fill", "none").with("pointer-events", "all").holding(shapes)
}

pub(crate) fn circle((x, y): (i32, i32), radius: i32) -> Element {
    Element::new("circle").with("cx", x).with("cy", y).with("r", radius)
}

pub(crate) fn line(points: &[(i32, i32)], width: i32) -> Element {
    // Where everything answers, what a line would enclose does so too.
    let line = Element::new("polyline").with("points", vertices(points)).with("stroke-width", width);
    line.with("pointer-events", "stroke")
}
