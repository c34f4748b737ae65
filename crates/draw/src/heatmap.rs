//! A heat map of numbers of either sign: rows run downwards, columns to the right, and a number is written wherever it
//! fits.

use crate::{
    number::number,
    svg::{Anchor, FONT_SIZE, MARGIN, PIXEL, WIDTH, document, rectangle, shortened, text, text_width},
};

/// Numbers in rows and columns. Rows may have different lengths.
///
/// The colour shows the sign and the opacity √(|v| / max |v|) the size, so that small numbers beside a large one remain
/// visible. Missing and non-finite numbers have no colour.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Heatmap {
    /// What is shown, for screen readers; it is not drawn.
    pub title: String,
    /// Name of each row.
    pub rows: Vec<String>,
    /// Name of each column.
    pub columns: Vec<String>,
    /// The numbers, row by row; `None` if missing.
    pub values: Vec<Vec<Option<f64>>>,
    /// Whether the numbers are counts, written whole, instead of with four digits.
    pub counts: bool,
}

const CELL_HEIGHT: i32 = 30 * PIXEL;
const WIDEST_CELL: i32 = 110 * PIXEL;
const LONGEST_NAME: i32 = 160 * PIXEL;
const SPACE: i32 = 6 * PIXEL;
/// Largest number of cells that show their number when pointed at; each takes about 150 bytes.
const MOST_HOVERED: usize = 4000;

/// Colour of positive numbers …
const ABOVE: &str = "#d55e00";
/// … and of negative ones.
const BELOW: &str = "#0072b2";

impl Heatmap {
    /// The map as an SVG document. Pointing at a cell shows its row, its column and its number.
    pub fn to_svg(&self) -> String {
        let beside = self.rows.iter().map(|name| text_width(name)).max().unwrap_or(0).min(LONGEST_NAME);
        let left = MARGIN + beside + SPACE;
        let count = self.values.iter().map(Vec::len).max().unwrap_or(0).max(1);
        let width = ((WIDTH - MARGIN - left) / i32::try_from(count).unwrap_or(i32::MAX)).clamp(1, WIDEST_CELL);
        let top = MARGIN + FONT_SIZE + SPACE;
        let largest = self.values.iter().flatten().flatten().map(|value| value.abs()).filter(|size| size.is_finite());
        let largest = largest.fold(0.0, f64::max);
        let has_hover = self.values.iter().map(Vec::len).sum::<usize>() <= MOST_HOVERED;
        let mut content = Vec::new();
        // If columns are narrow, only some have room for their names.
        let widest = self.columns.iter().map(|name| text_width(name) + SPACE).max().unwrap_or(1);
        let stride = usize::try_from((widest + width - 1) / width).unwrap_or(1).max(1);
        for (column, name) in (0..).zip(&self.columns).step_by(stride) {
            content.push(text(name, (left + column * width + width / 2, MARGIN + FONT_SIZE / 2), Anchor::Middle));
        }
        for ((row, name), values) in (0..).zip(&self.rows).zip(&self.values) {
            let y = top + row * CELL_HEIGHT;
            let name = shortened(name, LONGEST_NAME);
            content.push(text(&name, (left - SPACE, y + CELL_HEIGHT / 2), Anchor::End));
            for (column, value) in (0..).zip(values) {
                let x = left + column * width;
                let opacity = value.filter(|_| largest > 0.0).map_or(0.0, |value| (value.abs() / largest).sqrt());
                let colour = if value.unwrap_or(0.0) < 0.0 { BELOW } else { ABOVE };
                let mut cell =
                    rectangle(x, y, width, CELL_HEIGHT).with("stroke", "gray").with("stroke-width", PIXEL / 2);
                if opacity.is_finite() && opacity > 0.0 {
                    cell = cell.with("style", format!("fill: {colour}; fill-opacity: {opacity:.3}"));
                }
                let written = |value: f64| if self.counts { format!("{value:.0}") } else { number(value) };
                let shown = value.filter(|value| value.is_finite()).map(written).unwrap_or_default();
                if has_hover {
                    let column = self.columns.get(usize::try_from(column).unwrap_or(0)).map_or("", String::as_str);
                    let said = if shown.is_empty() { "no number" } else { &shown };
                    cell = cell.with("pointer-events", "all").titled(&format!("{name}, {column}: {said}"));
                }
                content.push(cell);
                if !shown.is_empty() && text_width(&shown) <= width - SPACE {
                    let place = (x + width / 2, y + CELL_HEIGHT / 2);
                    content.push(text(&shown, place, Anchor::Middle).with("pointer-events", "none"));
                }
            }
        }
        let rows = i32::try_from(self.rows.len().max(1)).unwrap_or(i32::MAX);
        document(&self.title, top + rows.saturating_mul(CELL_HEIGHT) + MARGIN, content)
    }
}
