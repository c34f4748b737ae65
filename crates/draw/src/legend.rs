//! The legend of a figure: labels beside samples of their series, wrapped into rows.

use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::{
    canvas::{Area, DrawError},
    escape::one_line,
    ink::ink,
    svg::{MARGIN, PIXEL, WIDTH, shortened, text_width},
};

const ROW: i32 = 22 * PIXEL;
const SPACE: i32 = 8 * PIXEL;
/// Width of the sample that represents a series.
const SWATCH: i32 = 24 * PIXEL;
/// Rows are no wider, so that a phone, where a drawing scrolls, shows them whole.
const WIDEST: i32 = 460 * PIXEL;

/// One label and its place.
#[derive(Clone, Debug)]
pub(crate) struct Entry<'a> {
    /// The whole label, which may be too long to be drawn.
    pub label: &'a str,
    row: i32,
    left: i32,
}

/// Entries from left to right, wrapped into as many rows as needed.
pub(crate) fn arranged<'a>(labels: impl Iterator<Item = &'a str>) -> Vec<Entry<'a>> {
    let (mut row, mut left) = (0, 0);
    let place = |label| {
        let width = SWATCH + SPACE + text_width(&visible(label));
        if left > 0 && left + width > WIDEST {
            (row, left) = (row + 1, 0);
        }
        let entry = Entry { label, row, left };
        left += width + 3 * SPACE;
        entry
    };
    labels.map(place).collect()
}

/// Height of the legend with the space below it.
pub(crate) fn height(entries: &[Entry<'_>]) -> i32 {
    entries.last().map_or(0, |entry| (entry.row + 1) * ROW + SPACE)
}

/// Height of notes with the space below them.
pub(crate) fn notes_height(notes: &[String]) -> i32 {
    if notes.is_empty() { 0 } else { notes.iter().map(|_| ROW).sum::<i32>() + SPACE }
}

/// Draws one note per line, cut to the width of the line.
pub(crate) fn draw_notes(notes: &[String], area: &Area<'_>) -> Result<(), DrawError> {
    let left_of_middle = ink().pos(Pos::new(HPos::Left, VPos::Center));
    (0..).zip(notes).try_for_each(|(row, note)| {
        area.draw_text(&shortened(&one_line(note), WIDTH - 2 * MARGIN), &left_of_middle, (0, row * ROW + ROW / 3))
    })
}

fn visible(label: &str) -> String {
    shortened(&one_line(label), WIDEST - SWATCH - SPACE)
}

impl Entry<'_> {
    /// Ends of the line through the sample of the series.
    pub(crate) fn swatch(&self) -> [(i32, i32); 2] {
        let y = self.row * ROW + ROW / 3;
        [(self.left, y), (self.left + SWATCH, y)]
    }

    pub(crate) fn draw_label(&self, area: &Area<'_>) -> Result<(), DrawError> {
        let [_, (right, y)] = self.swatch();
        area.draw_text(&visible(self.label), &ink().pos(Pos::new(HPos::Left, VPos::Center)), (right + SPACE, y))
    }
}
