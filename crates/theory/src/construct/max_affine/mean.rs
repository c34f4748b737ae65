//! The error of a grid in the mean: ‖h − f‖_p = (E |h(x) − f(x)|^p)^{1/p}, with x uniform in the cube. It falls for functions
//! that jump as well, of which no continuous h is nearer than half a jump everywhere.
//!
//! The head is a mean of values V_k = f(v_k) with weights P_k(x), and |Σ_k P_k (V_k − f)|^p ≤ Σ_k P_k |V_k − f|^p by Jensen's inequality. On the cell
//! C_j, |V_k − f| is at most the distance from V_k to the farther end of f's range there, and P_k is a product over the axes, whose means over the cell
//! are known. So
//!
//! E |h − f|^p ≤ mean over j of Σ_k (mean of P_k over C_j) sup_{C_j} |V_k − f|^p + τ (sup f − inf f)^p,
//!
//! where k runs over the cells up to R away along every axis, and τ = 2 d Σ_{m>R} exp(−c ((m − ½)² − ¼)) is the weight of all others. The cells that
//! hold a jump have a share of order h, which makes h^{1/p}; where f is smooth the order is h.
//!
//! # References
//! Liu et al. 2025, arXiv 2504.19901, state that integrable functions are approximated; the bound is specific to this crate.

use headway_tasks::{Interval, Jet, Order};
use rayon::prelude::*;

use super::{Axis, Grid, MOST_CELLS, MaxAffine};
use crate::{
    bound::Bound,
    cells::{self, felt, moved, value_noise},
    construct::{Construction, Cost, Request, choose},
    refusal::Refusal,
    target::Enclosure,
};

/// Cells up to this many away count, or fewer where these are more than `MOST_NEIGHBOURS`.
const FARTHEST: usize = 4;
const MOST_NEIGHBOURS: usize = 6600;
/// Points at which a weight is looked at over a cell.
const LATTICE: usize = 8192;

/// What is known of f over all cells.
struct Known {
    /// Bound on ‖h − f‖_p.
    error: f64,
    /// sup f − inf f, for the widest output number.
    range: f64,
    /// sup |f|.
    largest: f64,
}

/// Values of f over and in a cell, for each output number.
struct Cell {
    low: Vec<f64>,
    high: Vec<f64>,
    value: Vec<f64>,
}

impl Grid {
    /// Chooses the fewest cells with this error in the mean, then writes the weights.
    pub(super) fn build_in_mean(
        &self,
        whole: &MaxAffine,
        power: f64,
        request: Request,
    ) -> Result<Construction, Refusal> {
        if !(1.0..=64.0).contains(&power) {
            return Err(Refusal::invalid("norm", format!("must be from 1 to 64, not {power}")));
        }
        let d_out = self.check(whole)?;
        let Some(enclosure) = &self.function.enclosure else {
            return Err(Refusal::invalid("norm", "needs a formula, whose values over boxes are known"));
        };
        let sizes: Vec<usize> = match self.per_axis {
            Some(per_axis) => vec![per_axis],
            None => {
                let next = |size: &usize| Some(size + (size / 12).max(1));
                let within = |size: &usize| self.cells(*size) <= MOST_CELLS;
                std::iter::successors(Some(1), next).take_while(within).collect()
            }
        };
        let cost = |per_axis: &usize| {
            let (bound, rounding) = self.mean_bounds(whole, enclosure, *per_axis, power);
            let parameters = cells::parameters(whole.seq_len, self.d_in, d_out, self.cells(*per_axis), whole.attention);
            Cost::of(&bound, &rounding, parameters)
        };
        let hint = format!("; a grid of {} axes has {MOST_CELLS} cells at most", self.d_in);
        let per_axis = choose(request, sizes, cost, &hint).map_err(|refusal| {
            refusal.or_blame_function("must be finite and bounded on the cube and the padding around it")
        })?;
        let bounds = self.mean_bounds(whole, enclosure, per_axis, power);
        let built = self.write(whole, per_axis, bounds)?;
        Construction { norm: Some(power), provable: None, ..built }.in_float32("low", "low")
    }

    fn mean_bounds(&self, whole: &MaxAffine, enclosure: &Enclosure, per_axis: usize, power: f64) -> (Bound, Bound) {
        let (c, d) = (self.mode.sharpness(), self.d_in as f64);
        let rho = Axis::of(c, per_axis, self.padding()).square.sqrt();
        let Known { error, range, largest } = self.over_cells(whole, enclosure, per_axis, power);
        let formula = format!(
            "(mean over cells of sum_k (mean of P_k) sup |V_k - f|^p + tau (sup f - inf f)^p)^(1/p), p = {power}, by intervals of f over cells"
        );
        let bound = Bound::default().and("in the mean", formula, error).at_most(
            range,
            "range",
            "sup f - inf f: the head gives a mean of values of f",
        );
        let (noise, shift) = self.noise(whole, per_axis);
        let keys = (self.cells(per_axis) as f64).min(felt(c).powf(d));
        let rounding = Bound::default()
            .and(
                "scores",
                "2 (in the mean) (exp(2 gamma) - 1) / 2, gamma = eps (c (d + 2) d (2 w v + v^2) + 16)",
                moved(2.0 * error, noise).min(range),
            )
            .and(
                "input",
                "d c rho (sup f - inf f) eps (3 |x| + 2 |m| + 3 |x - m|) / h",
                (d * c * rho * range * shift).min(range),
            )
            .and("values", "(2 keys felt + 8) eps max |f|", value_noise(keys, largest));
        (bound, rounding)
    }

    fn over_cells(&self, whole: &MaxAffine, enclosure: &Enclosure, per_axis: usize, power: f64) -> Known {
        let d = self.d_in;
        let (padding, side) = (self.padding(), per_axis + 2 * self.padding());
        let h = (whole.high - whole.low) / per_axis as f64;
        let start = whole.low - padding as f64 * h;
        let end = whole.high + padding as f64 * h;
        // Wider than rounding needs, but no wider than where inputs are and values are taken.
        let hair = 1e-12 * h * side as f64;
        let within = |low: f64| Interval::new((low - hair).max(start), (low + h + hair).min(end));
        let place = |cell: usize, axis: usize| cell / side.pow(axis as u32) % side;
        let look = |cell: usize| {
            let low_ends: Vec<f64> = (0..d).map(|axis| start + h * place(cell, axis) as f64).collect();
            let sides: Vec<Interval> = low_ends.iter().map(|low| within(*low)).collect();
            let over = enclosure(&Jet::variables(&sides, Order::First));
            let (low, high) = over.iter().map(|jet| (jet.value.low, jet.value.high)).unzip();
            // To the last bit where weights have it: f may jump there.
            let centre: Vec<f64> = (0..d).map(|axis| self.centre(whole, per_axis, place(cell, axis))).collect();
            Cell { low, high, value: (self.function.function)(&centre) }
        };
        let cells: Vec<Cell> = (0..side.pow(d as u32)).into_par_iter().map(look).collect();
        let known = |cell: &Cell| cell.low.iter().chain(&cell.high).all(|end| end.is_finite());
        if !cells.iter().all(known) {
            return Known { error: f64::INFINITY, range: f64::INFINITY, largest: f64::INFINITY };
        }
        let (mut range, mut largest) = (0.0_f64, 0.0_f64);
        for o in 0..cells.first().map_or(0, |cell| cell.low.len()) {
            let low = cells.iter().map(|cell| cell.low[o]).fold(f64::INFINITY, f64::min);
            let high = cells.iter().map(|cell| cell.high[o]).fold(f64::NEG_INFINITY, f64::max);
            range = range.max(high - low);
            largest = largest.max(low.abs()).max(high.abs());
        }
        let reach = self.reach();
        // Away from the ends of an axis all cells are alike.
        let alike = |at: usize| at.min(side - 1 - at) >= reach + 3;
        let middle = self.shares(side / 2, side, reach);
        let shares =
            |at: usize| if alike(at) && alike(side / 2) { middle.clone() } else { self.shares(at, side, reach) };
        let shares: Vec<Vec<f64>> = (0..per_axis).map(|at| shares(at + padding)).collect();
        let off = |cell: &Cell, value: &[f64]| {
            let each = value.iter().zip(cell.low.iter().zip(&cell.high));
            let far = each.map(|(value, (low, high))| (value - low).abs().max((high - value).abs()));
            // What is not a number is as far as can be.
            far.fold(0.0, |top: f64, far| if far <= top { top } else { far.min(range) })
        };
        // Over the axes from the last to the first, the cells around one, each with the product of its shares.
        let inside = |cell: &usize| (0..d).all(|axis| (padding..padding + per_axis).contains(&place(*cell, axis)));
        let one = |cell: usize| {
            let mut around = vec![(0, 1.0)];
            for axis in (0..d).rev() {
                let (at, shares) = (place(cell, axis), &shares[place(cell, axis) - padding]);
                let near = at.saturating_sub(reach)..(at + reach + 1).min(side);
                let further = |(index, share): &(usize, f64)| {
                    let (index, share) = (*index, *share);
                    near.clone().map(move |k| (index * side + k, share * shares[k + reach - at])).collect::<Vec<_>>()
                };
                around = around.iter().flat_map(further).collect();
            }
            let terms = around.into_iter().map(|(k, share)| share * off(&cells[cell], &cells[k].value).powf(power));
            terms.sum::<f64>()
        };
        let sum: f64 = (0..cells.len()).into_par_iter().filter(inside).map(one).collect::<Vec<f64>>().iter().sum();
        let mean = sum / per_axis.pow(d as u32) as f64 + self.beyond(reach) * range.powf(power);
        // A hair for the roundings of so many powers and sums.
        Known { error: mean.powf(1.0 / power) * (1.0 + 1e-9), range, largest }
    }

    /// R, how many cells away values count one by one.
    fn reach(&self) -> usize {
        let fits = |reach: &usize| (2 * reach + 1).pow(self.d_in as u32) <= MOST_NEIGHBOURS;
        (1..=FARTHEST).rev().find(fits).unwrap_or(1)
    }

    /// τ, a bound on the weight of all cells beyond: those at a distance of m cells along an axis have e^{−c ((m − ½)² − ¼)} of the nearest one's at
    /// most.
    fn beyond(&self, reach: usize) -> f64 {
        let c = self.mode.sharpness();
        let weight = |m: usize| 2.0 * (-c * ((m as f64 - 0.5).powi(2) - 0.25)).exp();
        (self.d_in as f64 * (reach + 1..reach + 60).map(weight).sum::<f64>()).min(1.0)
    }

    /// Means over the cell at `at`, of `side` along an axis, of the weights of cells from `reach` before it to `reach` behind it, from above: cells
    /// farther away are left out of the sum that weights are divided by, and between two points of a lattice a weight grows by the factor e^{2 c (R +
    /// 4) step/2} at most.
    fn shares(&self, at: usize, side: usize, reach: usize) -> Vec<f64> {
        let c = self.mode.sharpness();
        let (first, last) = (at.saturating_sub(reach + 3), (at + reach + 3).min(side - 1));
        let mut shares = vec![0.0; 2 * reach + 1];
        for step in 0..LATTICE {
            let w = (step as f64 + 0.5) / LATTICE as f64 - 0.5;
            let weight = |k: usize| (-c * (w - (k as f64 - at as f64)).powi(2)).exp();
            let total: f64 = (first..=last).map(weight).sum();
            for k in first.max(at.saturating_sub(reach))..=last.min(at + reach) {
                shares[k + reach - at] += weight(k) / total / LATTICE as f64;
            }
        }
        let growth = (c * (reach as f64 + 4.0) / LATTICE as f64).exp();
        shares.into_iter().map(|share| (share * growth).min(1.0)).collect()
    }
}
