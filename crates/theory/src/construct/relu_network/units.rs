//! Hidden units on a box of inputs, normalised to at most 1 and without those that are never active; and inputs that
//! put them at kinks.

use headway_plain::network::Matrix;
use headway_tasks::Probe;
use rand_chacha::ChaCha8Rng;

use super::ReluWeights;
use crate::{
    domain::Domain,
    interpolation::F32_ROUNDOFF,
    mixing::{Channel, DEVIATIONS, Mix, Mixing, Noise, Roundings},
    refusal::Refusal,
};

/// relu(u_j) = s_j relu(u'_j), u'_j = u_j / s_j, with s_j the largest value of u_j in the box. Units with s_j ≤ 0 are
/// dropped.
pub(crate) struct Units {
    pub seq_len: usize,
    pub d_in: usize,
    pub d_out: usize,
    /// W₁ / s. `[units, seq_len · d_in]`
    pub weights: Matrix,
    /// b₁ / s. `[units]`
    pub bias: Vec<f64>,
    /// W₂ s. `[seq_len · d_out, units]`
    pub output: Matrix,
    /// b₂. `[seq_len · d_out]`
    pub bias_out: Vec<f64>,
    low: Vec<f64>,
    high: Vec<f64>,
}

/// In which row, and in which column of it, every unit stands between layers.
pub(crate) struct Places {
    /// The unit of each column, if there is one. `[rows][columns]`
    at: Vec<Vec<Option<usize>>>,
}

impl Places {
    /// Unit j in row j.
    pub fn one_a_row(units: &Units) -> Self {
        Self { at: (0..units.count()).map(|j| vec![Some(j)]).collect() }
    }

    /// Every unit in the row of the last position that it reads, in as many columns as the neediest position has units.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] if a position before that one reads the unit: the network is not causal.
    pub fn by_position(units: &Units) -> Result<Self, Refusal> {
        let mut at: Vec<Vec<Option<usize>>> = vec![Vec::new(); units.seq_len];
        for j in 0..units.count() {
            let last = |len: usize, read: &dyn Fn(usize) -> bool| (0..len).rev().find(|number| read(*number));
            let reads = last(units.weights.ncols(), &|number| units.weights[(j, number)] != 0.0);
            let position = reads.map_or(0, |number| number / units.d_in);
            let early = (0..position * units.d_out).find(|number| units.output[(*number, j)] != 0.0);
            if let Some(early) = early {
                let problem = format!(
                    "is not causal: position {} takes a hidden unit that reads position {}; leave out --causal",
                    early / units.d_out + 1,
                    position + 1
                );
                return Err(Refusal::invalid("network", problem));
            }
            at[position].push(Some(j));
        }
        let columns = at.iter().map(Vec::len).max().unwrap_or(0).max(1);
        for row in &mut at {
            row.resize(columns, None);
        }
        Ok(Self { at })
    }

    pub fn rows(&self) -> usize {
        self.at.len()
    }

    pub fn columns(&self) -> usize {
        self.at.first().map_or(0, Vec::len)
    }

    /// All units, row by row.
    pub fn units(&self) -> impl Iterator<Item = usize> {
        self.at.iter().flatten().copied().flatten()
    }

    fn unit(&self, row: usize, column: usize) -> Option<usize> {
        self.at[row][column]
    }
}

impl Units {
    /// Units of a network that are active somewhere in the box and reach some output; if there are none, one unit that
    /// is never active.
    pub fn of(network: &ReluWeights, low: &[f64], high: &[f64]) -> Self {
        let largest = |(w, bias): (&Vec<f64>, &f64)| {
            w.iter().zip(low.iter().zip(high)).map(|(w, (low, high))| (w * low).max(w * high)).sum::<f64>() + bias
        };
        let sizes: Vec<f64> = network.weights_in.iter().zip(&network.bias_in).map(largest).collect();
        let counts = |j: &usize| sizes[*j] > 0.0 && network.weights_out.iter().any(|row| row[*j] != 0.0);
        let live: Vec<usize> = (0..network.units()).filter(counts).collect();
        let (flat_in, flat_out) = (low.len(), network.bias_out.len());
        let (weights, bias, output) = if live.is_empty() {
            (Matrix::zeros(1, flat_in), vec![-1.0], Matrix::zeros(flat_out, 1))
        } else {
            (
                Matrix::from_fn(live.len(), flat_in, |j, at| network.weights_in[live[j]][at] / sizes[live[j]]),
                live.iter().map(|j| network.bias_in[*j] / sizes[*j]).collect(),
                Matrix::from_fn(flat_out, live.len(), |at, j| network.weights_out[at][live[j]] * sizes[live[j]]),
            )
        };
        Self {
            seq_len: network.seq_len,
            d_in: network.d_in,
            d_out: network.d_out,
            weights,
            bias,
            output,
            bias_out: network.bias_out.clone(),
            low: low.to_vec(),
            high: high.to_vec(),
        }
    }

    pub fn count(&self) -> usize {
        self.bias.len()
    }

    pub fn domain(&self) -> Domain {
        Domain::Box { low: self.low.clone(), high: self.high.clone() }
    }

    /// S = max_i Σ_j |W₂_ij| s_j: the error of an output number if every unit has an error of 1.
    pub fn weight(&self) -> f64 {
        self.output.row_iter().map(|row| row.iter().map(|w| w.abs()).sum()).fold(0.0, f64::max)
    }

    /// S₁ = max_i max(Σ_j (W₂_ij s_j)⁺, Σ_j (W₂_ij s_j)⁻): the same for errors that all have the same sign.
    pub fn one_signed_weight(&self) -> f64 {
        let sums = |sign: f64| {
            self.output
                .row_iter()
                .map(move |row| row.iter().map(|w| (sign * w).max(0.0)).sum::<f64>())
                .fold(0.0, f64::max)
        };
        sums(1.0).max(sums(-1.0))
    }

    /// max_i |b₂_i|.
    pub fn largest_bias(&self) -> f64 {
        self.bias_out.iter().fold(0.0, |top: f64, bias| top.max(bias.abs()))
    }

    /// The smallest value of any u'; 0 if that is positive.
    pub fn lowest(&self) -> f64 {
        (0..self.count()).map(|j| self.end(j, -1.0).1).fold(0.0, f64::min)
    }

    /// Noise of the worst output number, given that of the units.
    pub fn through_output(&self, units: &[Noise], roundings: Roundings) -> f64 {
        let each = self.output.row_iter().map(|row| {
            let noise = row.iter().zip(units);
            noise.fold(Noise::default(), |sum, (w, unit)| sum.and(unit.times(*w))).bound(roundings)
        });
        each.fold(0.0, f64::max)
    }

    /// Rounding error of each u'_j in float32 if it is computed as one row of a matrix product, in any order: one
    /// rounding per weight, one per product, and as many sums as there are inputs.
    pub fn product_noise(&self) -> Vec<Noise> {
        let reach: Vec<f64> = self.low.iter().zip(&self.high).map(|(low, high)| low.abs().max(high.abs())).collect();
        let noise = |j: usize| {
            let terms = self.weights.row(j).into_owned();
            let terms = terms.iter().zip(&reach).map(|(w, x)| w.abs() * x);
            let squares: f64 = terms.clone().map(|term| term * term).sum();
            let (total, count) = (terms.sum::<f64>() + self.bias[j].abs(), (reach.len() + 2) as f64);
            let deviation = F32_ROUNDOFF / 3.0_f64.sqrt() * (2.0 * squares + count * total * total).sqrt();
            Noise { deviation, ..Noise::of(total, count) }
        };
        (0..self.count()).map(noise).collect()
    }

    /// The mixing of the last layer: y_i = Σ_j W₂_ij s_j h_j + b₂, with every h in its place.
    pub fn scatter(&self, places: &Places) -> (Mixing, Vec<Mix>) {
        let mixing = Mixing { queries: self.seq_len, keys: places.rows() };
        let weight =
            |at: usize, row: usize, column: usize| places.unit(row, column).map_or(0.0, |j| self.output[(at, j)]);
        let mix = |column: usize, c: usize| Mix {
            matrix: Matrix::from_fn(self.seq_len, places.rows(), |i, row| weight(i * self.d_out + c, row, column)),
            // The bias counts once.
            bias: (0..self.seq_len)
                .map(|i| if column == 0 { self.bias_out[i * self.d_out + c] } else { 0.0 })
                .collect(),
            channels: vec![Channel { from: column, to: c, bias: if column == 0 { 1.0 } else { 0.0 } }],
        };
        let mixes = (0..places.columns()).flat_map(|column| (0..self.d_out).map(move |c| (column, c)));
        (mixing, mixes.map(|(column, c)| mix(column, c)).collect())
    }

    fn value(&self, j: usize, x: &[f64]) -> f64 {
        self.weights.row(j).iter().zip(x).map(|(w, x)| w * x).sum::<f64>() + self.bias[j]
    }

    /// The corner of the box where a unit is largest (sign 1) or smallest (sign −1), and its value there.
    fn end(&self, j: usize, sign: f64) -> (Vec<f64>, f64) {
        let row = self.weights.row(j);
        let ends = row.iter().zip(self.low.iter().zip(&self.high));
        let corner: Vec<f64> = ends.map(|(w, (low, high))| if w * sign > 0.0 { *high } else { *low }).collect();
        let value = self.value(j, &corner);
        (corner, value)
    }

    /// A point at which unit j has this value, on the line from `start` to its largest or smallest corner; `None` if
    /// there is none.
    fn with_value(&self, j: usize, value: f64, start: &[f64]) -> Option<Vec<f64>> {
        let here = self.value(j, start);
        let (corner, there) = self.end(j, if value > here { 1.0 } else { -1.0 });
        let t = (value - here) / (there - here);
        let between = || start.iter().zip(&corner).map(|(from, to)| from + t * (to - from)).collect();
        (0.0..=1.0).contains(&t).then(between)
    }

    /// The point near `start` at which all of these units have this value, or the nearest to it that is found:
    /// least-squares steps, each clipped to the box.
    fn together(&self, units: &[usize], value: f64, start: &[f64]) -> Vec<f64> {
        let w = Matrix::from_fn(units.len(), self.low.len(), |row, at| self.weights[(units[row], at)]);
        let mut x = start.to_vec();
        let gram = &w * w.transpose();
        let ridge = 1e-12 * gram.trace();
        let Some(solver) = (gram + Matrix::identity(units.len(), units.len()) * ridge).cholesky() else { return x };
        for _ in 0..200 {
            let misses = Matrix::from_iterator(units.len(), 1, units.iter().map(|j| value - self.value(*j, &x)));
            let step = w.transpose() * solver.solve(&misses);
            x.iter_mut().zip(step.iter()).for_each(|(x, step)| *x += step);
            self.domain().project(&mut x);
        }
        x
    }

    /// Inputs at which units have these values: one unit at a time, all together, and all those that push one output
    /// number in the same direction; and corners. `kinds` names them.
    pub fn hard_points(&self, values: &[f64]) -> Vec<(&'static str, Vec<Vec<f64>>)> {
        let mut rng = Probe::Kink.rng();
        let middle: Vec<f64> = self.low.iter().zip(&self.high).map(|(low, high)| f64::midpoint(*low, *high)).collect();
        let inside = |rng: &mut ChaCha8Rng| -> Vec<f64> {
            let sample = self.domain().sample(rng);
            sample.iter().zip(&middle).map(|(x, middle)| middle + 0.8 * (x - middle)).collect()
        };
        let some = |count: usize, most: usize| (0..count).step_by(count.div_ceil(most).max(1));
        let (mut kinks, mut corners) = (Vec::new(), vec![self.low.clone(), self.high.clone()]);
        // Only some of many units, so that the certificate of a large network does not take longer.
        for j in some(self.count(), if self.count() > 64 { 16 } else { 64 }) {
            for value in values {
                let start = inside(&mut rng);
                kinks.extend(self.with_value(j, *value, &start));
            }
            corners.extend([1.0, -1.0].map(|sign| self.end(j, sign).0));
        }
        let near = &values[..values.len().min(3)];
        let all: Vec<usize> = some(self.count(), 64).collect();
        let mut together = Vec::new();
        let mut one_way = Vec::new();
        for value in near {
            together.push(self.together(&all, *value, &middle));
            together.push(self.together(&all, *value, &inside(&mut rng)));
            // The outputs with the largest one-signed sums.
            for sign in [1.0, -1.0] {
                let sum = |at: usize| self.output.row(at).iter().map(|w| (sign * w).max(0.0)).sum::<f64>();
                let mut outputs: Vec<usize> = (0..self.output.nrows()).collect();
                outputs.sort_by(|a, b| sum(*b).total_cmp(&sum(*a)));
                for at in outputs.into_iter().take(4) {
                    let units: Vec<usize> =
                        all.iter().copied().filter(|j| sign * self.output[(at, *j)] > 0.0).collect();
                    if !units.is_empty() {
                        one_way.push(self.together(&units, *value, &inside(&mut rng)));
                    }
                }
            }
        }
        let kinds = [("kinks", kinks), ("all kinks", together), ("kinks of one sign", one_way), ("corners", corners)];
        kinds.into_iter().filter(|(_, points)| !points.is_empty()).collect()
    }
}

/// The first layer of two forms: u'_j − shift = Σ_i W₁_ji/s_j x_i + b₁/s_j − shift, gathered by attention from rows
/// that hold x − m, with m the middle of the box, so that an offset of the box costs no digits.
pub(crate) struct Gather {
    pub mixing: Mixing,
    pub mixes: Vec<Mix>,
    /// m, rounded to float32. `[seq_len, d_in]`
    pub middle: Matrix,
    /// Largest |x − m|.
    half: f64,
}

impl Gather {
    pub fn of(units: &Units, shift: f64, places: &Places) -> Self {
        let (n, d) = (units.seq_len, units.d_in);
        let at = |i: usize| f64::from(f64::midpoint(units.low[i], units.high[i]) as f32);
        let middle = Matrix::from_fn(n, d, |i, f| at(i * d + f));
        let reach = |i: usize| (units.high[i] - at(i)).abs().max((units.low[i] - at(i)).abs());
        let half = (0..n * d).map(reach).fold(0.0, f64::max);
        let centred = |j: usize| units.value(j, &(0..n * d).map(at).collect::<Vec<_>>()) - shift;
        let weight =
            |row: usize, column: usize, at: usize| places.unit(row, column).map_or(0.0, |j| units.weights[(j, at)]);
        let bias = |row: usize, column: usize| places.unit(row, column).map_or(0.0, |j| centred(j) / half);
        let mix = |column: usize, f: usize| Mix {
            matrix: Matrix::from_fn(places.rows(), n, |row, i| weight(row, column, i * d + f)),
            bias: (0..places.rows()).map(|row| if f == 0 { bias(row, column) } else { 0.0 }).collect(),
            channels: vec![Channel { from: f, to: column, bias: if f == 0 { half } else { 0.0 } }],
        };
        let mixes = (0..places.columns()).flat_map(|column| (0..d).map(move |f| (column, f)));
        let mixes = mixes.map(|(column, f)| mix(column, f)).collect();
        Self { mixing: Mixing { queries: places.rows(), keys: n }, mixes, middle, half }
    }

    /// Bound on what weights of e⁻⁸⁰ instead of zero add to u'.
    pub fn leak(&self) -> f64 {
        self.mixing.leak(&self.mixes, self.mixing.rows(), self.half)
    }

    /// Rounding error of each u' in float32.
    pub fn rounding(&self, units: &Units, places: &Places) -> Vec<Noise> {
        let mixed = self.mixing.rounding(&self.mixes, places.columns(), |_| (-self.half, self.half));
        let mut noise = vec![Noise::default(); units.count()];
        for (row, mixed) in mixed.iter().enumerate() {
            for (column, mixed) in mixed.iter().enumerate() {
                if let Some(j) = places.unit(row, column) {
                    noise[j] = *mixed;
                }
            }
        }
        // x − m is rounded once.
        let centring = |j: usize| {
            let row = units.weights.row(j);
            let sizes: f64 = row.iter().map(|w| w.abs()).sum();
            Noise {
                deviation: F32_ROUNDOFF / 3.0_f64.sqrt() * self.half * row.norm(),
                ..Noise::of(self.half * sizes, 1.0)
            }
        };
        noise.into_iter().enumerate().map(|(j, noise)| noise.and(centring(j))).collect()
    }
}

/// Rounding error that a scatter adds in float32 to the output, for units in [0, 1].
pub(crate) struct ScatterRounding(Vec<Noise>);

impl ScatterRounding {
    pub fn of((mixing, mixes): &(Mixing, Vec<Mix>), d_out: usize) -> Self {
        Self(mixing.rounding(mixes, d_out, |_| (0.0, 1.0)).into_iter().flatten().collect())
    }

    pub fn bound(&self, roundings: Roundings) -> f64 {
        self.0.iter().map(|noise| noise.bound(roundings)).fold(0.0, f64::max)
    }
}

/// How roundings are combined, as a formula for certificates.
pub(crate) fn rounding_formula(of: &str, roundings: Roundings) -> String {
    match roundings {
        Roundings::Any => format!("{of}: sums in any order"),
        Roundings::Independent => format!("{of}: shared part + {DEVIATIONS} standard deviations"),
    }
}
