//! How far the tables of a prompt are from their functions.

use headway_tasks::icl::algorithm::table::Table;

use crate::{
    cells::{felt, moved, value_noise},
    construct::formula::Head,
    interpolation::{Anchors, F32_ROUNDOFF, Moments, profile},
};

/// What softmax attention to a table is off by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lookup {
    /// sup |table − function| for arguments within ± `reach`.
    pub error: f64,
    /// What float32 adds for an exact argument.
    pub noise: f64,
    /// sup |table'|.
    pub slope: f64,
    /// Arguments for which that holds.
    pub reach: f64,
    /// Largest |value|.
    pub largest: f64,
}

impl Lookup {
    /// factor · clamp(u, −end, end), for all u.
    pub fn of_clamp(table: &Table, end: f64, factor: f64) -> Self {
        let (c, intervals) = (table.sharpness, table.intervals());
        let profile = profile(c, intervals, 1);
        // Anchors are of 16 bits, so that the last is not quite at the end; values are rounded to float32.
        let last = table.spacing * intervals as f64 / 2.0;
        let largest = factor * last.max(end);
        let error = factor * (profile.error * table.spacing + (last - end).abs()) + F32_ROUNDOFF * largest;
        // Beyond the ends scores and their noise grow, but what noise can move falls by e^-2c with every spacing.
        let scores = Anchors { low: -last, high: last, intervals }.score_noise(c);
        let noise = moved(factor * profile.spread * table.spacing, scores) + value_noise(felt(c), largest);
        let middle = (intervals / 2) as f64;
        let variance = (0..=64).map(|step| Moments::of(middle + f64::from(step) / 64.0, intervals, c).variance);
        // A hundredth for what lies between points.
        let slope = 1.01 * factor * 2.0 * c * variance.fold(0.0, f64::max);
        Self { error, noise, slope, reach: f64::INFINITY, largest }
    }

    /// A function of the argument, with a bound on its second derivative.
    pub fn of_smooth(values: &[f64], table: &Table, f: impl Fn(f64) -> f64, bend: f64) -> Self {
        let values: Vec<f64> = values.iter().map(|value| f64::from(*value as f32)).collect();
        let largest = values.iter().fold(0.0, |top: f64, value| top.max(value.abs()));
        let (spacing, middle) = (table.spacing, (table.intervals() / 2) as f64);
        let head = Head::of_values(values, Table::BEYOND, |u| f((u - middle) * spacing), bend * spacing * spacing);
        Self {
            error: head.error,
            // The thousandth allows for weights that are off themselves.
            noise: 1.001 * F32_ROUNDOFF * head.noise + value_noise(felt(table.sharpness), head.mass),
            slope: head.slope / spacing,
            reach: (middle - Table::BEYOND as f64) * spacing,
            largest,
        }
    }

    /// A table whose values are all 0.
    pub fn of_nothing() -> Self {
        Self { error: 0.0, noise: 0.0, slope: 0.0, reach: f64::INFINITY, largest: 0.0 }
    }
}
