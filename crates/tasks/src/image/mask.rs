//! Which pixels of a picture are hidden.

use headway_keys::Described;
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::seed::SampleRng;

/// What is hidden of a picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(rename_all = "snake_case")]
pub enum Mask {
    /// A square in the middle, the same of every picture.
    #[default]
    Centre,
    /// Boxes of random sizes at random places, which may overlap.
    Boxes,
    /// The upper, the lower, the left or the right half, with equal probability.
    Halves,
}

/// A mask for pictures of a size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holes {
    pub mask: Mask,
    pub height: usize,
    pub width: usize,
    /// Edge of the square in the middle, or the largest of a box.
    pub edge: usize,
    /// Number of boxes.
    pub boxes: usize,
}

impl Holes {
    /// The hidden pixels of one picture, some of which are visible: a box that would hide the last of them is left out.
    /// `[height, width]`
    pub fn draw(&self, rng: &mut SampleRng) -> Vec<bool> {
        let fixed = self.fixed();
        if !fixed.is_empty() {
            return fixed[rng.random_range(0..fixed.len())].clone();
        }
        let mut hidden = vec![false; self.height * self.width];
        for _ in 0..self.boxes {
            let [high, wide] = [0; 2].map(|_| rng.random_range(self.edge.div_ceil(2)..=self.edge));
            let (top, left) = (rng.random_range(0..=self.height - high), rng.random_range(0..=self.width - wide));
            let before = hidden.clone();
            hide(&mut hidden, self.width, [top, left], [high, wide]);
            if !hidden.contains(&false) {
                hidden = before;
            }
        }
        hidden
    }

    /// Every choice that can be drawn, if they can be listed; else empty.
    pub fn fixed(&self) -> Vec<Vec<bool>> {
        let Self { mask, height, width, edge, .. } = *self;
        let with = |corner: [usize; 2], size: [usize; 2]| {
            let mut hidden = vec![false; height * width];
            hide(&mut hidden, width, corner, size);
            hidden
        };
        match mask {
            Mask::Centre => vec![with([(height - edge) / 2, (width - edge) / 2], [edge, edge])],
            Mask::Boxes => Vec::new(),
            Mask::Halves => vec![
                with([0, 0], [height / 2, width]),
                with([height - height / 2, 0], [height / 2, width]),
                with([0, 0], [height, width / 2]),
                with([0, width - width / 2], [height, width / 2]),
            ],
        }
    }
}

impl Holes {
    /// Mean number of patches with a hidden pixel, by boxes that are drawn one by one; that a box which would hide all is left out is not
    /// counted.
    pub fn touched(&self, patch: usize) -> f64 {
        let [rows, columns] = [self.height, self.width].map(|size| size / patch);
        let fixed = self.fixed();
        if !fixed.is_empty() {
            let is_touched = |hidden: &[bool], at: usize| {
                let (top, left) = (at / columns * patch, at % columns * patch);
                (top..top + patch).any(|row| hidden[row * self.width + left..][..patch].contains(&true))
            };
            let count = |hidden: &Vec<bool>| (0..rows * columns).filter(|at| is_touched(hidden, *at)).count();
            return fixed.iter().map(count).sum::<usize>() as f64 / fixed.len() as f64;
        }
        // Rows and columns of a box are drawn independently of each other.
        let of = |size: usize, count: usize| -> Vec<f64> {
            (0..count).map(|at| self.meets(size, at * patch, patch)).collect()
        };
        let (by_row, by_column) = (of(self.height, rows), of(self.width, columns));
        let none =
            |row: &f64| by_column.iter().map(|column| 1.0 - (1.0 - row * column).powf(self.boxes as f64)).sum::<f64>();
        by_row.iter().map(none).sum()
    }

    /// Probability that the side of a box, drawn along an axis of `size` pixels, meets the `patch` pixels from `first` on.
    fn meets(&self, size: usize, first: usize, patch: usize) -> f64 {
        let lengths = self.edge.div_ceil(2)..=self.edge;
        let count = lengths.clone().count() as f64;
        let meeting = |length: usize| {
            // Begins from which it meets: behind those that end before the patch, up to the patch's last pixel.
            let (from, to) = ((first + 1).saturating_sub(length), (first + patch - 1).min(size - length));
            (to + 1).saturating_sub(from) as f64 / (size - length + 1) as f64
        };
        lengths.map(meeting).sum::<f64>() / count
    }
}

/// Hides a rectangle with this upper left corner.
fn hide(hidden: &mut [bool], width: usize, [top, left]: [usize; 2], [high, wide]: [usize; 2]) {
    for row in hidden.chunks_exact_mut(width).skip(top).take(high) {
        row[left..left + wide].fill(true);
    }
}
