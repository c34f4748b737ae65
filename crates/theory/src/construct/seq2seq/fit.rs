//! A ReLU network with random directions, fitted by ridge regression and then compiled.
//!
//! Hidden units are relu(w · (t − p)) with t the input scaled to [−1, 1], w a random direction and p a random point, so
//! that every unit has its kink in the box; one unit per input number is always active, which makes the affine part
//! exact. Output weights minimise least squares with a ridge penalty: of five penalties, the one with the smallest
//! error including the rounding that large weights cause in float32.

use std::fmt::Write;

use headway_plain::network::Matrix;
use headway_tasks::{Probe, Seed};
use rand::{RngExt, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

use super::{Seq2seq, Source, proof};
use crate::{
    bound::{Basis, Bound, Term},
    construct::{
        Construction, Request,
        relu_network::{Form, ReluNetwork, ReluWeights},
    },
    domain::Domain,
    interpolation::F32_ROUNDOFF,
    refusal::Refusal,
    target::Function,
};

/// Numbers of hidden units that are tried if none is given.
const SIZES: [usize; 8] = [8, 16, 32, 64, 128, 256, 512, 1024];
/// Ridge penalties, relative to the mean square of a unit.
const RIDGES: [f64; 5] = [1e-12, 1e-10, 1e-8, 1e-6, 1e-4];
/// Least number of points at which a fit to a function is judged.
const JUDGED: usize = 4000;
/// Factor on the largest error found for a fit to a function, since more points would find a slightly larger one.
const SAFETY: f64 = 1.5;
/// Largest work for the normal equations, points times features squared: about ten seconds per size.
const MOST_WORK: f64 = 4e10;
/// Largest number of samples that a certificate examines.
const LOOKED_AT: usize = 256;

/// Points and the function's values there.
struct Points {
    inputs: Vec<Vec<f64>>,
    outputs: Vec<Vec<f64>>,
}

struct Fitted {
    network: ReluWeights,
    error: f64,
    judged: Judged,
    /// The points with the largest errors.
    worst: Vec<Vec<f64>>,
}

/// What a fit's error means for the bound.
enum Judged {
    /// A term of the bound, since the target is the function.
    Function(Term),
    /// The largest errors at held-out and at fitted samples. The target is the fitted network, so they are not part of
    /// the bound; the tolerance covers both.
    Samples { held_out: f64, fitted: f64 },
}

pub(super) fn build(options: &Seq2seq, request: Request) -> Result<(Construction, Option<ReluWeights>), Refusal> {
    let Request { tolerance: wanted, max_parameters: allowed } = request;
    let sizes: Vec<usize> = options.units.map_or_else(|| SIZES.to_vec(), |units| vec![units]);
    let mut reached = (f64::INFINITY, 0);
    for units in sizes {
        // If the size was not requested, one that takes too long ends the search.
        if let Err(refusal) = check_work(options, units) {
            if reached.0.is_finite() {
                break;
            }
            return Err(refusal);
        }
        let fitted = fit(options, units)?;
        let mut compile = ReluNetwork::new(fitted.network.clone());
        compile.low.clone_from(&options.low);
        compile.high.clone_from(&options.high);
        compile.form = options.form.unwrap_or_default();
        let needed = compile.parameters();
        // The other forms find theirs for a tolerance.
        if compile.form == Form::T2 && needed > allowed as f64 {
            return Err(Refusal::TooLarge { wanted, needed, allowed, reachable: reached.0 });
        }
        // If the fit alone uses up the tolerance, compile anyway to report what would be reached.
        let tolerance = if fitted.error < wanted { wanted - fitted.error } else { f64::MIN_POSITIVE };
        match compile.build(Request { tolerance, max_parameters: allowed }) {
            // A constant network compiles exactly, whatever its fit.
            Ok(compiled) if fitted.error + compiled.bound.value + compiled.rounding.value > wanted * (1.0 + 1e-12) => {
                let total = (fitted.error + compiled.bound.value + compiled.rounding.value) * (1.0 + 1e-9);
                if total < reached.0 {
                    reached = (total, units);
                }
            }
            Ok(compiled) => {
                let network = fitted.network.clone();
                return Ok((certified(options, fitted, compiled, wanted), Some(network)));
            }
            Err(Refusal::Unreachable { reachable, .. }) => {
                // Slightly more, so that rounding does not break the promise.
                let total = (fitted.error + reachable) * (1.0 + 1e-9);
                if total < reached.0 {
                    reached = (total, units);
                }
            }
            Err(Refusal::TooLarge { needed, .. }) => {
                return Err(Refusal::TooLarge { wanted, needed, allowed, reachable: reached.0 });
            }
            // The problem is in a network that the user has not given.
            Err(Refusal::Invalid { problem, .. }) => return Err(Refusal::invalid("low", problem)),
            Err(other) => return Err(other),
        }
    }
    Err(Refusal::Unfit { wanted, reached: reached.0, units: reached.1 })
}

/// Refuses in advance what would take hours.
fn check_work(options: &Seq2seq, units: usize) -> Result<(), Refusal> {
    let features = features(options, units);
    let points = match &options.source {
        Source::Function(_) => points_for(features),
        Source::Samples { inputs, .. } => inputs.len() - held_out_of(inputs.len()),
    };
    if points as f64 * (features as f64).powi(2) <= MOST_WORK {
        return Ok(());
    }
    let key = match &options.source {
        _ if options.units.is_some() => "units",
        Source::Function(_) => "seq-len",
        Source::Samples { .. } => "samples",
    };
    let problem = format!(
        "{} input numbers and {units} units, fitted at {points} points, take too long: points times (numbers + units + 1)^2 must be at most \
         {MOST_WORK:e}",
        options.flat_in()
    );
    Err(Refusal::invalid(key, problem))
}

/// Number of features: one unit per input number that is always active, the random ones, and a constant.
fn features(options: &Seq2seq, units: usize) -> usize {
    options.flat_in() + units + 1
}

/// Number of points of a function to which so many features are fitted.
fn points_for(features: usize) -> usize {
    4 * features + 500
}

fn certified(options: &Seq2seq, fitted: Fitted, compiled: Construction, wanted: f64) -> Construction {
    let left = wanted - compiled.bound.value - compiled.rounding.value;
    let Fitted { judged, worst, network, .. } = fitted;
    let Construction { mut target, mut bound, mut sizes, mut hard, .. } = compiled;
    hard.push(("worst of the fit", worst));
    match (&options.source, judged) {
        (Source::Function(function), Judged::Function(fit)) => {
            target = function.clone();
            // If there is a tolerance, aim for all that is left of it: the larger the aim, the sooner it is proved.
            let aim = if wanted < f64::MAX { left * (1.0 - 1e-9) } else { fit.value };
            let fit = proof::error_within(options, function, &network, aim).unwrap_or(fit);
            bound = bound.terms.into_iter().fold(Bound::default().with(fit), Bound::with);
        }
        (Source::Samples { inputs, .. }, Judged::Samples { held_out, fitted }) => {
            let judging = held_out_of(inputs.len());
            let _ = write!(
                target.text,
                ", off by {held_out:.2e} at {judging} held-out samples and by {fitted:.2e} at the {} fitted ones",
                inputs.len() - judging
            );
            sizes.extend([("off at held-out samples", held_out), ("off at fitted samples", fitted)].map(named));
            let every = inputs.len().div_ceil(LOOKED_AT);
            hard.push(("samples", inputs.iter().step_by(every).cloned().collect()));
        }
        _ => unreachable!("a fit is judged by its own source"),
    }
    Construction { name: Seq2seq::NAME, target, bound, sizes, hard, provable: None, ..compiled }
}

/// Fits `units` random units to the function or to the samples.
fn fit(options: &Seq2seq, units: usize) -> Result<Fitted, Refusal> {
    let mut rng = Seed(options.seed).probe(Probe::Hidden);
    let domain = Domain::Box { low: options.low.clone(), high: options.high.clone() };
    let hidden = Hidden::random(options, units, &mut rng);
    let (training, judging) = match &options.source {
        Source::Function(target) => {
            let mut points = |count: usize| -> Result<Points, Refusal> {
                let inputs: Vec<Vec<f64>> = (0..count).map(|_| domain.sample(&mut rng)).collect();
                let outputs: Vec<Vec<f64>> = inputs.iter().map(|x| (target.function)(x)).collect();
                if let Some(at) = outputs.iter().position(|y| y.iter().any(|y| !y.is_finite())) {
                    return Err(Refusal::invalid("function", format!("gives {:?} at {:?}", outputs[at], inputs[at])));
                }
                Ok(Points { inputs, outputs })
            };
            (points(points_for(features(options, units)))?, points(JUDGED)?)
        }
        Source::Samples { inputs, outputs } => {
            let mut order: Vec<usize> = (0..inputs.len()).collect();
            order.shuffle(&mut rng);
            let points = |order: &[usize]| Points {
                inputs: order.iter().map(|at| inputs[*at].clone()).collect(),
                outputs: order.iter().map(|at| outputs[*at].clone()).collect(),
            };
            let (judging, training) = order.split_at(held_out_of(inputs.len()));
            (points(training), points(judging))
        }
    };
    let is_function = matches!(options.source, Source::Function(_));
    let candidates = hidden.solve(options, &training).into_iter().map(|network| {
        let (held_out, at) = judging.worst(&network);
        // Nothing is known of a target between its samples, so all of them count.
        let fitted = if is_function { (0.0, 0) } else { training.worst(&network) };
        // Float32 leaves about ten roundings of the largest sum.
        let error = held_out.max(fitted.0);
        (error + 10.0 * F32_ROUNDOFF * size(&network, &domain), (held_out, at), fitted, network)
    });
    let Some((_, held_out, fitted, network)) = candidates.min_by(|a, b| a.0.total_cmp(&b.0)) else {
        return Err(Refusal::invalid("units", "leave nothing to solve"));
    };
    Ok(match &options.source {
        Source::Function(target) => {
            let mut worst = judging.worst_of(&network, 12);
            let climbed = worst.iter_mut().map(|x| climb(x, &network, &target.function, &domain, &mut rng));
            let error = SAFETY * climbed.fold(held_out.0, f64::max);
            let formula = format!(
                "measured, not proved: {SAFETY} times the largest error of {units} random units at {JUDGED} points and along the ascent from the worst"
            );
            let judged =
                Judged::Function(Term { name: "fit".to_owned(), formula, value: error, basis: Basis::Measured });
            Fitted { network, error, judged, worst }
        }
        Source::Samples { .. } => Fitted {
            network,
            error: held_out.0.max(fitted.0),
            judged: Judged::Samples { held_out: held_out.0, fitted: fitted.0 },
            worst: vec![judging.inputs[held_out.1].clone(), training.inputs[fitted.1].clone()],
        },
    })
}

/// Number of samples held out to judge a fit.
fn held_out_of(samples: usize) -> usize {
    samples / 5
}

fn named((name, value): (&str, f64)) -> (String, f64) {
    (name.to_owned(), value)
}

/// max_i Σ_j |W₂_ij| s_j, the largest sum that an output number consists of.
fn size(network: &ReluWeights, domain: &Domain) -> f64 {
    let Domain::Box { low, high } = domain else { return 0.0 };
    let largest = network.weights_in.iter().zip(&network.bias_in).map(|(w, bias)| {
        let ends = w.iter().zip(low.iter().zip(high)).map(|(w, (low, high))| (w * low).max(w * high));
        (ends.sum::<f64>() + bias).max(0.0)
    });
    let largest: Vec<f64> = largest.collect();
    let sums = network.weights_out.iter().map(|row| row.iter().zip(&largest).map(|(w, s)| w.abs() * s).sum());
    sums.fold(0.0, f64::max)
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).fold(0.0, |top, (a, b)| f64::max(top, (a - b).abs()))
}

impl Points {
    fn errors(&self, network: &ReluWeights) -> Vec<f64> {
        self.inputs.iter().zip(&self.outputs).map(|(x, y)| distance(&network.forward(x), y)).collect()
    }

    fn worst(&self, network: &ReluWeights) -> (f64, usize) {
        let errors = self.errors(network).into_iter().enumerate();
        errors.fold((0.0, 0), |top, (at, error)| if error > top.0 { (error, at) } else { top })
    }

    fn worst_of(&self, network: &ReluWeights, count: usize) -> Vec<Vec<f64>> {
        let errors = self.errors(network);
        let mut order: Vec<usize> = (0..errors.len()).collect();
        order.sort_by(|a, b| errors[*b].total_cmp(&errors[*a]));
        order.into_iter().take(count).map(|at| self.inputs[at].clone()).collect()
    }
}

/// Moves a point towards larger errors, with steps that shrink when they do not help; returns the error reached.
fn climb(x: &mut Vec<f64>, network: &ReluWeights, function: &Function, domain: &Domain, rng: &mut ChaCha8Rng) -> f64 {
    let error = |x: &[f64]| distance(&network.forward(x), &function(x));
    let (mut best, mut length) = (error(x), 0.1 * domain.scale());
    for _ in 0..300 {
        let single = (rng.random::<f64>() < 0.5).then(|| rng.random_range(0..x.len()));
        let moved = x.iter().enumerate().map(|(i, x)| {
            let moves = single.is_none_or(|single| single == i);
            if moves { x + length * rng.random_range(-1.0..1.0) } else { *x }
        });
        let mut moved: Vec<f64> = moved.collect();
        domain.project(&mut moved);
        let here = error(&moved);
        if here > best {
            (*x, best, length) = (moved, here, length * 1.3);
        } else {
            length *= 0.95;
        }
    }
    best
}

/// The first layer of a fit.
struct Hidden {
    weights: Vec<Vec<f64>>,
    bias: Vec<f64>,
}

impl Hidden {
    fn random(options: &Seq2seq, units: usize, rng: &mut ChaCha8Rng) -> Self {
        let flat = options.flat_in();
        let half = |i: usize| (options.high[i] - options.low[i]) / 2.0;
        let (mut weights, mut bias) = (Vec::new(), Vec::new());
        for i in 0..flat {
            let mut w = vec![0.0; flat];
            w[i] = 1.0 / half(i);
            weights.push(w);
            bias.push(-options.low[i] / half(i));
        }
        for _ in 0..units {
            let direction: Vec<f64> = (0..flat).map(|_| rng.sample(StandardNormal)).collect();
            let norm = direction.iter().map(|w: &f64| w * w).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
            let point: Vec<f64> = (0..flat).map(|i| rng.random_range(options.low[i]..options.high[i])).collect();
            let w: Vec<f64> = direction.iter().enumerate().map(|(i, w)| w / norm / half(i)).collect();
            bias.push(-w.iter().zip(&point).map(|(w, x)| w * x).sum::<f64>());
            weights.push(w);
        }
        Self { weights, bias }
    }

    /// One network per ridge penalty.
    fn solve(&self, options: &Seq2seq, points: &Points) -> Vec<ReluWeights> {
        let (units, count) = (self.weights.len(), points.inputs.len());
        let unit = |x: &[f64], j: usize| {
            (self.weights[j].iter().zip(x).map(|(w, x)| w * x).sum::<f64>() + self.bias[j]).max(0.0)
        };
        let features =
            Matrix::from_fn(count, units + 1, |at, j| if j < units { unit(&points.inputs[at], j) } else { 1.0 });
        let wanted = Matrix::from_fn(count, options.flat_out(), |at, to| points.outputs[at][to]);
        let gram = features.tr_mul(&features);
        let right = features.tr_mul(&wanted);
        let scale = gram.trace() / (units + 1) as f64;
        let solved = RIDGES.iter().filter_map(|ridge| {
            let solver = (&gram + Matrix::identity(units + 1, units + 1) * (ridge * scale)).cholesky()?;
            let mut weights = solver.solve(&right);
            // Solve once more for the remainder that the normal equations have rounded away.
            let left = &right - &gram * &weights - &weights * (ridge * scale);
            weights += solver.solve(&left);
            Some(ReluWeights {
                seq_len: options.seq_len,
                d_in: options.d_in,
                d_out: options.d_out,
                weights_in: self.weights.clone(),
                bias_in: self.bias.clone(),
                weights_out: (0..options.flat_out()).map(|to| (0..units).map(|j| weights[(j, to)]).collect()).collect(),
                bias_out: (0..options.flat_out()).map(|to| weights[(units, to)]).collect(),
            })
        });
        solved.filter(|network| network.check().is_ok()).collect()
    }
}
