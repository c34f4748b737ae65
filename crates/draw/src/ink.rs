//! The page's own text colour, which is known only when the page is read, and a grey that is visible on every page.

use plotters::style::{IntoFont, RGBColor, TextStyle};

use crate::svg::FONT_SIZE;

/// Placeholder for the page's own text colour; `currentColor` takes its place when the drawing is done.
pub(crate) const INK: RGBColor = RGBColor(1, 2, 3);
/// A grey that is visible on white and on black alike.
pub(crate) const MID_GREY: RGBColor = RGBColor(128, 128, 128);

const INK_IN_SVG: &str = "\"#010203\"";

/// A drawing in the page's own colour.
pub(crate) fn themed(svg: &str) -> String {
    // Quotes inside texts are escaped, so only attributes match.
    svg.replace(INK_IN_SVG, "\"currentColor\"")
}

/// Text style in the page's own colour.
pub(crate) fn ink() -> TextStyle<'static> {
    // SVG's font-size is what plotters calls the size, divided by 1.24.
    TextStyle::from(("sans-serif", f64::from(FONT_SIZE) * 1.24).into_font()).color(&INK)
}
