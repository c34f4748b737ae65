//! The domain divided evenly: where the error is bounded worst.

use headway_tasks::Interval;
use rayon::prelude::*;

use super::Question;

/// Boxes that the domain is divided into, about: 32² and 10³.
const CELLS: f64 = 1024.0;

/// A box of an even division of the domain.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// Ends of every input number, of fixed ones twice the same. `[seq_len · d_in]`
    pub sides: Vec<[f64; 2]>,
    /// Upper bound on the error there; `f64::MAX` if there is none.
    pub bound: f64,
}

impl Question {
    /// The share `worst` of the boxes of an even division with the largest upper bounds, the worst first, and the number of all.
    pub fn worst(&self, worst: f64) -> (Vec<Cell>, usize) {
        let domain = &self.inputs.sides;
        let per_axis = CELLS.powf(1.0 / domain.len() as f64).round() as usize;
        let all = per_axis.pow(u32::try_from(domain.len()).unwrap_or(u32::MAX));
        let cell = |mut at: usize| {
            let side = |side: &Interval| {
                let step = at % per_axis;
                at /= per_axis;
                let end = |step: usize| side.low + (side.high - side.low) * (step as f64 / per_axis as f64);
                Interval::new(end(step), end(step + 1).min(side.high))
            };
            let sides: Vec<Interval> = domain.iter().map(side).collect();
            let look = self.look(&sides);
            // Where there is no bound, the error in a corner tells more than nothing.
            let worth = self.error(&look.corner);
            (look.bound, worth, sides)
        };
        let mut cells: Vec<(f64, f64, Vec<Interval>)> = (0..all).into_par_iter().map(cell).collect();
        cells.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.total_cmp(&a.1)));
        cells.truncate(((worst * all as f64).ceil() as usize).max(1));
        let whole = |(bound, _, sides): (f64, f64, Vec<Interval>)| {
            let end = |end: fn(&Interval) -> f64| self.inputs.at(&sides.iter().map(end).collect::<Vec<_>>());
            let (low, high) = (end(|side| side.low), end(|side| side.high));
            Cell { sides: low.into_iter().zip(high).map(|(low, high)| [low, high]).collect(), bound }
        };
        (cells.into_iter().map(whole).collect(), all)
    }
}
