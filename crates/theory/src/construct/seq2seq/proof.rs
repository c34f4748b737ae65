//! Bound on the distance between a fitted ReLU network and a formula anywhere in a box, by branch and bound.
//!
//! Over a part of the box with centre c and half sides r, the mean value theorem bounds the error E = f − Σ_j W₂_j
//! relu(u_j) − b₂ by
//!
//! |E(x)| ≤ |E(c)| + Σ_i sup |∂_i E| r_i,
//!
//! with ∂_i f from intervals, and the slope of relu(u_j) being 0 or 1 if the sign of u_j is constant over the part,
//! else between both. Parts where that is not enough are halved, all along the axis that contributes most.

use headway_tasks::{Interval, Jet, Order};
use rayon::prelude::*;

use super::Seq2seq;
use crate::{
    bound::{Basis, Term},
    construct::relu_network::ReluWeights,
    target::{Enclosure, Target},
};

/// Largest number of operations spent, about ten seconds.
const MOST_WORK: f64 = 1.2e10;
/// Cost of evaluating a formula over a part, in addition to the network.
const FORMULA_WORK: f64 = 2000.0;

/// A part whose bound is still too large, with what each axis adds to it.
struct Open {
    centre: Vec<f64>,
    by_axis: Vec<f64>,
}

/// A term that states that the error of the fit is at most `aim`; `None` if that cannot be proved.
pub(super) fn error_within(options: &Seq2seq, target: &Target, network: &ReluWeights, aim: f64) -> Option<Term> {
    let enclosure = target.enclosure.as_ref()?;
    let ends = options.low.iter().zip(&options.high);
    let (centre, mut radius): (Vec<f64>, Vec<f64>) =
        ends.map(|(low, high)| (f64::midpoint(*low, *high), (high - low) / 2.0)).unzip();
    let outputs = network.bias_out.len();
    let each = (network.units() * centre.len() * (1 + outputs)) as f64 + FORMULA_WORK * outputs as f64;
    let (mut parts, mut looked) = (vec![centre], 0);
    while !parts.is_empty() {
        looked += parts.len();
        if looked as f64 * each > MOST_WORK {
            return None;
        }
        let look = |centre: &Vec<f64>| look(enclosure, target, network, centre, &radius, aim);
        // A part with an error beyond the aim at its centre ends the search.
        let open: Option<Vec<Option<Open>>> = parts.par_iter().map(look).collect();
        let open: Vec<Open> = open?.into_iter().flatten().collect();
        let weight = |axis: usize| open.iter().map(|open| open.by_axis[axis]).sum::<f64>();
        let axis = (0..radius.len()).max_by(|a, b| weight(*a).total_cmp(&weight(*b)))?;
        radius[axis] /= 2.0;
        let half = radius[axis];
        let both = open.into_iter().flat_map(|open| {
            [-half, half].map(|step| {
                let mut centre = open.centre.clone();
                centre[axis] += step;
                centre
            })
        });
        parts = both.collect();
    }
    let formula = format!("from the formula: |f - network| over {looked} parts of the box, by slopes over each");
    Some(Term { name: "fit".to_owned(), formula, value: aim, basis: Basis::Proved })
}

/// `None` if the error at the centre is beyond the aim; `Some(None)` if the part is good enough.
#[allow(clippy::option_option, reason = "found wrong, found right, or neither")]
fn look(
    enclosure: &Enclosure,
    target: &Target,
    network: &ReluWeights,
    centre: &[f64],
    radius: &[f64],
    aim: f64,
) -> Option<Option<Open>> {
    let wanted = (target.function)(centre);
    let before = network.before_relu(centre);
    // Slightly more than halving and rounding need.
    let hair = 1e-12;
    let reach: Vec<f64> = radius.iter().map(|r| r * (1.0 + hair)).collect();
    let sides: Vec<Interval> =
        centre.iter().zip(&reach).map(|(c, r)| Interval::new((c - r).next_down(), (c + r).next_up())).collect();
    let jets = enclosure(&Jet::variables(&sides, Order::First));
    // The slope of each unit, and how far it may differ from that.
    let slopes: Vec<(f64, f64)> = before
        .iter()
        .zip(&network.weights_in)
        .map(|(u, w)| {
            let far: f64 = w.iter().zip(&reach).map(|(w, r)| w.abs() * r).sum::<f64>() + hair * (1.0 + u.abs());
            match u {
                u if *u >= far => (1.0, 0.0),
                u if *u <= -far => (0.0, 0.0),
                _ => (0.5, 0.5),
            }
        })
        .collect();
    let mut by_axis = vec![0.0; centre.len()];
    let mut good = true;
    for (o, (row, jet)) in network.weights_out.iter().zip(&jets).enumerate() {
        let found: f64 = row.iter().zip(&before).map(|(w, u)| w * u.max(0.0)).sum::<f64>() + network.bias_out[o];
        let size: f64 =
            row.iter().zip(&before).map(|(w, u)| (w * u).abs()).sum::<f64>() + found.abs() + wanted[o].abs();
        let here = (wanted[o] - found).abs();
        // NaN is beyond every aim.
        if here.is_nan() || here > aim {
            return None;
        }
        let mut most = here + hair * size;
        for (i, r) in reach.iter().enumerate() {
            let (mut middle, mut spread) = (0.0, 0.0);
            for ((w, (slope, off)), weights) in row.iter().zip(&slopes).zip(&network.weights_in) {
                let through = w * weights[i];
                middle += through * slope;
                spread += through.abs() * off;
            }
            let own = jet.gradient[i];
            let steep = (own.high - middle).abs().max((own.low - middle).abs()) + spread;
            let part = steep * r * (1.0 + hair);
            by_axis[i] += part;
            most += part;
        }
        // Infinite slopes are never good enough.
        good &= most <= aim;
    }
    Some((!good).then(|| Open { centre: centre.to_vec(), by_axis }))
}
