//! The error of a grid in the mean: ‖h − f‖_p = (E |h(x) − f(x)|^p)^{1/p}, with x uniform in the cube. It falls for functions
//! that jump as well, of which no continuous h is nearer than half a jump everywhere.
//!
//! On the cell around v, h is a mean of the values f(v_k): those of cells up to R away along every axis, and others, which have at most
//! the weight τ = 2 d Σ_{m>R} exp(−c ((m − ½)² − ¼)) together. Let N be the cube of the centres of the former, which contains the cell. Then
//!
//! |h(x) − f(x)| ≤ min( sup_N f − inf_N f,  sup_N |∇f| √d ρ h ) + τ (sup f − inf f)   on the cell,
//!
//! by intervals of f and of its slopes. The mean of the p-th powers over all cells is the bound: a jump takes part in the cells beside it, a share of
//! the cube of order h, and so adds h^{1/p}; where f is smooth the order is h.
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

/// Cells up to so many away are tried as those that count.
const REACHES: std::ops::RangeInclusive<usize> = 1..=3;

/// What is known of f over all cells.
struct Known {
    /// E of the p-th powers of what each cell is off by, to the power 1/p.
    error: f64,
    /// sup f − inf f, for the widest output number.
    range: f64,
    /// sup |f|.
    largest: f64,
    /// R.
    reach: usize,
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
        let known = REACHES.map(|reach| self.over_cells(whole, enclosure, [per_axis, reach], power, rho));
        let known = known.min_by(|a, b| a.error.total_cmp(&b.error));
        let Known { error, range, largest, reach } = known.unwrap_or_else(|| unreachable!("there are reaches"));
        let formula = format!(
            "(mean over cells of min(sup f - inf f, sup |f'| sqrt(d) rho h)^p)^(1/p), over the centres {reach} cells around, and those beyond; p = \
             {power}, rho({c}) = {rho:.4}"
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
                "(sup f - inf f) (exp(2 gamma) - 1) / 2, gamma = eps (c (d + 2) d (2 w v + v^2) + 16)",
                moved(range, noise).min(range),
            )
            .and(
                "input",
                "d c rho (sup f - inf f) eps (3 |x| + 2 |m| + 3 |x - m|) / h",
                (d * c * rho * range * shift).min(range),
            )
            .and("values", "(2 keys felt + 8) eps max |f|", value_noise(keys, largest));
        (bound, rounding)
    }

    fn over_cells(
        &self,
        whole: &MaxAffine,
        enclosure: &Enclosure,
        [per_axis, reach]: [usize; 2],
        power: f64,
        rho: f64,
    ) -> Known {
        let (c, d) = (self.mode.sharpness(), self.d_in);
        let h = (whole.high - whole.low) / per_axis as f64;
        let (padding, all) = (self.padding(), per_axis + 2 * self.padding());
        let ends = [whole.low - padding as f64 * h, whole.high + padding as f64 * h];
        // Slightly wider than rounding needs.
        let hair = 1e-12 * (ends[1] - ends[0]);
        let side = |j: usize| {
            let place = |cells: f64| (ends[0] + h * (j as f64 + 0.5 + cells)).clamp(ends[0], ends[1]);
            let wide = reach as f64;
            Interval::new(place(-wide) - hair, place(wide) + hair)
        };
        // Padding has values too, but no inputs.
        let place = |cell: usize, axis: usize| cell / all.pow(axis as u32) % all;
        let inside = |cell: usize| (0..d).all(|axis| (padding..padding + per_axis).contains(&place(cell, axis)));
        let over = |cell: usize| -> Vec<Jet> {
            let sides: Vec<Interval> = (0..d).map(|axis| side(place(cell, axis))).collect();
            enclosure(&Jet::variables(&sides, Order::First))
        };
        let found: Vec<Vec<[f64; 3]>> = (0..all.pow(d as u32))
            .into_par_iter()
            .map(|cell| {
                let each = over(cell).into_iter().map(|jet| {
                    let steep: f64 = jet.gradient.iter().map(|slope| slope.magnitude().powi(2)).sum();
                    [jet.value.low, jet.value.high, steep.sqrt()]
                });
                each.collect()
            })
            .collect();
        let outputs = found.first().map_or(0, Vec::len);
        let (mut range, mut largest) = (0.0_f64, 0.0_f64);
        for o in 0..outputs {
            let low = found.iter().map(|cell| cell[o][0]).fold(f64::INFINITY, f64::min);
            let high = found.iter().map(|cell| cell[o][1]).fold(f64::NEG_INFINITY, f64::max);
            range = range.max(high - low);
            largest = largest.max(low.abs()).max(high.abs());
        }
        let far = |m: usize| 2.0 * (-c * ((m as f64 - 0.5).powi(2) - 0.25)).exp();
        let beyond = (d as f64 * (reach + 1..reach + 60).map(far).sum::<f64>()).min(1.0) * range;
        let off = |cell: &Vec<[f64; 3]>| {
            let each = cell.iter().map(|[low, high, steep]| {
                let by_slope = steep * (d as f64).sqrt() * rho * h;
                // What is not a number is as large as can be.
                if by_slope < high - low { by_slope } else { high - low }
            });
            let off = each.fold(0.0, f64::max) + beyond;
            if off.is_nan() { f64::INFINITY } else { off.min(range) }
        };
        let inner = found.iter().enumerate().filter(|(cell, _)| inside(*cell));
        let sum: f64 = inner.map(|(_, found)| off(found).powf(power)).sum();
        // A hair for the roundings of so many powers and sums.
        let error = (sum / per_axis.pow(d as u32) as f64).powf(1.0 / power) * (1.0 + 1e-9);
        let unbounded = !range.is_finite();
        Known { error: if unbounded { f64::INFINITY } else { error }, range, largest, reach }
    }
}
