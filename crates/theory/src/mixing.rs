//! Exact linear mixing by attention: out_i = Σ_j C_ij z_j + b_i, for any matrix C, by heads whose scores are logarithms.
//!
//! Softmax undoes a logarithm. Split C = C⁺ − C⁻; let M ≥ 0 be one of the two parts, T_i its row sums and S = max_i
//! T_i. The weights M_ij/S of a row sum to one if the remaining S − T_i goes to a *null* token with value 0. Scores
//! ln(M_ij/S) give exactly these weights, and the output factor ±S gives the product. The bias is one more token, with
//! value 1. There is neither a sharpness nor an anchor: the only errors are rounding, and that weights of zero become
//! e⁻⁸⁰ times the row's largest, since ln 0 would give NaN.
//!
//! Rows of the layer: `keys` rows that hold data, then the bias token, then the null token; all further rows are dead,
//! which means that no query attends to them. The first `queries` rows are the queries. Columns: `query`, one-hot among
//! the queries; `key`, one-hot among the keys and both tokens; `dead`. The query of row i is e_i, and the key of row j
//! is column j of the score matrix.
//!
//! A matrix costs one head per sign; heads without any weight are left out. Channels mixed by *one* matrix share its
//! heads (their values are concatenated, d_value > 1): averaging d channels over positions takes one head, not d.

use headway_plain::network::{Head, Matrix};

use crate::{interpolation::F32_ROUNDOFF, space::Space};

/// Which rows attend to which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mixing {
    /// Number of queries, the first rows of the layer.
    pub queries: usize,
    /// Number of rows that hold data, the first rows of the layer; the bias token and the null token follow.
    pub keys: usize,
}

/// One matrix, and the channels that it mixes.
#[derive(Clone, Debug, PartialEq)]
pub struct Mix {
    /// C. `[queries, keys]`
    pub matrix: Matrix,
    /// b. `[queries]`
    pub bias: Vec<f64>,
    /// The channels that the matrix mixes.
    pub channels: Vec<Channel>,
}

/// out_i\[to\] += Σ_j C_ij z_j\[from\] + bias · b_i.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Channel {
    /// Column of the layer's rows to read; it must be 0 in the two rows after the keys.
    pub from: usize,
    /// Index of the output number to add to.
    pub to: usize,
    /// Factor on b for this channel: 1, or 0 for no bias.
    pub bias: f64,
}

/// Score, relative to the row's largest, of weights that should be zero. e⁻⁸⁰ = 1.8e-35 is a normal float32.
const NOTHING: f64 = -80.0;

/// One sign of a mix as softmax weights.
struct Signed<'a> {
    mix: &'a Mix,
    /// ±S.
    scale: f64,
    /// M/S with columns for the bias and the null token; rows sum to one. `[queries, keys + 2]`
    weights: Matrix,
}

impl Mixing {
    /// Columns that mixing needs, by name and width; the caller adds those of its data.
    pub fn parts(&self) -> [(&'static str, usize); 3] {
        [("query", self.queries), ("key", self.keys + 2), ("dead", 1)]
    }

    /// Least number of rows of the layer.
    pub fn rows(&self) -> usize {
        self.queries.max(self.keys + 2)
    }

    /// Writes the columns of [`Mixing::parts`] into the constant part of the map before the layer. `[rows, width]`
    ///
    /// # Panics
    /// If there are fewer rows than [`Mixing::rows`], or if the space lacks the columns of [`Mixing::parts`].
    pub fn label(&self, space: &Space, constant: &mut Matrix) {
        (0..self.queries).for_each(|i| constant[(i, space.nth("query", i))] = 1.0);
        (0..self.keys + 2).for_each(|j| constant[(j, space.nth("key", j))] = 1.0);
        (self.keys + 2..constant.nrows()).for_each(|row| constant[(row, space.at("dead"))] = 1.0);
    }

    /// The heads: one per mix and sign that has any weight. If there is none at all, one head that gives zero.
    ///
    /// # Panics
    /// If a mix has other sizes, or if the space lacks the columns of [`Mixing::parts`].
    pub fn heads(&self, space: &Space, mixes: &[Mix], d_out: usize) -> Vec<Head> {
        let heads = self.signed(mixes).map(|signed| {
            let Mix { channels, .. } = signed.mix;
            let mut head = Head::zeros(space.width(), self.queries, channels.len(), d_out);
            for (i, row) in signed.weights.row_iter().enumerate() {
                head.query.weight[(space.nth("query", i), i)] = 1.0;
                let top = row.max();
                for (j, weight) in row.iter().enumerate() {
                    head.key.weight[(space.nth("key", j), i)] = score(*weight, top);
                }
                head.key.weight[(space.at("dead"), i)] = NOTHING;
            }
            for (at, channel) in channels.iter().enumerate() {
                head.value.weight[(channel.from, at)] = 1.0;
                head.value.weight[(space.nth("key", self.keys), at)] = channel.bias;
                head.output[(at, channel.to)] += signed.scale;
            }
            head
        });
        let heads: Vec<Head> = heads.collect();
        if heads.is_empty() { vec![Head::zeros(space.width(), self.queries, 1, d_out)] } else { heads }
    }

    /// Number of heads that [`Mixing::heads`] writes, and of value columns in all of them.
    pub fn count(&self, mixes: &[Mix]) -> (usize, usize) {
        let (heads, values) =
            self.signed(mixes).fold((0, 0), |(heads, values), signed| (heads + 1, values + signed.mix.channels.len()));
        if heads == 0 { (1, 1) } else { (heads, values) }
    }

    /// Bound on what weights of e⁻⁸⁰ instead of zero add to an output number, over `rows` rows whose values lie within
    /// ± `reach`.
    pub fn leak(&self, mixes: &[Mix], rows: usize, reach: f64) -> f64 {
        // Together the clipped keys hold at most rows · e⁻⁸⁰ of the softmax; moving that much weight moves the mean by
        // at most twice the reach times it.
        self.signed(mixes).map(|signed| 2.0 * rows as f64 * NOTHING.exp() * signed.scale.abs() * reach).sum()
    }

    /// Rounding error of each output number in float32. `interval` gives, for a channel, an interval that contains 0,
    /// all values of the channel, and that of the bias token. `[queries][d_out]`
    ///
    /// Let w be the softmax weights of a row, s = ln w relative to the largest, T the sum of w without the null token,
    /// k the number of keys with weight, and m the number of heads that write the same output. In units of ε, a head of
    /// scale S adds
    ///
    /// - *scores and exponentials*: sqrt(d_key) and its inverse leave 3 |s| on all scores alike; key weight, product
    ///   and factor leave 3 |s| more on
    ///   each; the exponential (3 + 2 |s| units in the last place, which Vulkan allows) leaves 6 + 4 |s|. Relative
    ///   errors δ_j of the weights move
    ///   the output by Σ_j w_j (δ_j − Σ w δ) z_j. Errors shared by all scores contribute at most S · range · ½ · 3 Σ_j
    ///   w_j |s_j − Σ w s|, the
    ///   others at most S · min(range/2, |z| √T) · sqrt(Σ_j w_j e_j²), e_j = 6 + 7 |s_j|, by the Cauchy–Schwarz
    ///   inequality.
    /// - *sums* in any order, of exponentials and of products, each with `in_any_order` its weights, and four roundings more; then the
    ///   output factor, its product, and the sum over heads.
    ///
    /// As independent errors, each with the deviation 1/√3 of a uniform one: S · sqrt(range² max_j w_j e_j² / 4 + (2 k
    /// + 2 + m) T² |z|²), e_j² = (6 + 4 |s_j|)² + 3 s_j², besides the errors shared by all scores.
    pub fn rounding(&self, mixes: &[Mix], d_out: usize, interval: impl Fn(&Channel) -> (f64, f64)) -> Vec<Vec<Noise>> {
        let mut noise = vec![vec![Noise::default(); d_out]; self.queries];
        let mut writers = vec![0.0; d_out];
        for channel in self.signed(mixes).flat_map(|signed| &signed.mix.channels) {
            writers[channel.to] += 1.0;
        }
        // S T |z| for every head that writes an output.
        let mut written = vec![vec![Vec::new(); d_out]; self.queries];
        for Signed { mix, scale, weights } in self.signed(mixes) {
            for ((noise, written), row) in noise.iter_mut().zip(&mut written).zip(weights.row_iter()) {
                let top = row.max();
                let carried = row.iter().filter(|weight| **weight > 0.0).map(|weight| (*weight, score(*weight, top)));
                let carried: Vec<(f64, f64)> = carried.collect();
                let mean: f64 = carried.iter().map(|(w, s)| w * s).sum();
                let shared = carried.iter().map(|(w, s)| w * (s - mean).abs()).sum::<f64>() / 2.0 * 3.0;
                let keys = carried.iter().map(|(w, s)| w * ((6.0 - 4.0 * s).powi(2) + 3.0 * s * s)).fold(0.0, f64::max);
                let each = carried.iter().map(|(w, s)| w * (6.0 - 7.0 * s).powi(2)).sum::<f64>().sqrt();
                let null = row[self.keys + 1];
                let total = 1.0 - null;
                if total <= 0.0 {
                    // A row without weights gives zero, except for the leak.
                    continue;
                }
                let of_keys: Vec<f64> = row.iter().take(self.keys + 1).copied().filter(|w| *w > 0.0).collect();
                let of_all: Vec<f64> = carried.iter().map(|(w, _)| *w).collect();
                // In units of ε and relative to |z|: both sums, the division, the product, the rounding of a value, and
                // the rounding of a bias.
                let sums = in_any_order(of_keys) + total * (in_any_order(of_all) + 4.0);
                for channel in &mix.channels {
                    let (low, high) = interval(channel);
                    let (range, reach) = (high - low, low.abs().max(high.abs()));
                    let unit = scale.abs() * F32_ROUNDOFF;
                    let own = range * shared + each * (range / 2.0).min(reach * total.sqrt());
                    written[channel.to].push(scale.abs() * total * reach);
                    let roundings = 2.0 * carried.len() as f64 + 2.0 + writers[channel.to];
                    let variance = range * range * keys / 4.0 + roundings * (total * reach).powi(2);
                    noise[channel.to] = noise[channel.to].and(Noise {
                        most: unit * (own + reach * sums),
                        shared: unit * range * shared,
                        deviation: unit * (variance / 3.0).sqrt(),
                    });
                }
            }
        }
        for (noise, written) in noise.iter_mut().zip(written) {
            for (noise, sizes) in noise.iter_mut().zip(written) {
                let all: f64 = sizes.iter().sum();
                noise.most += F32_ROUNDOFF * (2.0 * all + in_any_order(sizes));
                // Allows for roundings of numbers that are rounded themselves.
                noise.most *= 1.001;
            }
        }
        noise
    }

    fn signed<'a>(&self, mixes: &'a [Mix]) -> impl Iterator<Item = Signed<'a>> {
        let (queries, keys) = (self.queries, self.keys);
        mixes.iter().flat_map(move |mix| {
            assert_eq!((mix.matrix.shape(), mix.bias.len()), ((queries, keys), queries), "a mix of other sizes");
            [1.0, -1.0].into_iter().filter_map(move |sign: f64| {
                let mut weights = Matrix::from_fn(queries, keys + 2, |i, j| match j {
                    j if j < keys => (sign * mix.matrix[(i, j)]).max(0.0),
                    // If no channel uses the bias, its weight is not needed.
                    j if j == keys && mix.channels.iter().any(|channel| channel.bias != 0.0) => {
                        (sign * mix.bias[i]).max(0.0)
                    }
                    _ => 0.0,
                });
                let totals: Vec<f64> = weights.row_iter().map(|row| row.sum()).collect();
                let scale = totals.iter().copied().fold(0.0, f64::max);
                if scale <= 0.0 {
                    return None;
                }
                for (i, total) in totals.iter().enumerate() {
                    weights[(i, keys + 1)] = scale - total;
                }
                Some(Signed { mix, scale: sign * scale, weights: weights / scale })
            })
        })
    }
}

/// ln(weight / top), at least [`NOTHING`].
fn score(weight: f64, top: f64) -> f64 {
    (weight / top).ln().max(NOTHING)
}

/// Bound, in units of ε, on the rounding error of a sum of numbers of these sizes in the worst order: every addition
/// rounds a partial sum, and partial sums are largest if the largest numbers come first. It is (n − 1) Σ if one number
/// dominates, and about n/2 Σ if all are equal.
fn in_any_order(mut sizes: Vec<f64>) -> f64 {
    sizes.sort_by(|a, b| b.total_cmp(a));
    let mut partial = 0.0;
    let mut roundings = 0.0;
    for (at, size) in sizes.into_iter().enumerate() {
        partial += size;
        // The first number is not added to anything.
        roundings += if at == 0 { 0.0 } else { partial };
    }
    roundings
}

/// γ_n = n ε / (1 − n ε): n successive roundings change a number by at most this share of it, and summing n + 1 numbers
/// in any order has an error of at most this share of the sum of their absolute values.
///
/// # References
/// Higham 2002, "Accuracy and Stability of Numerical Algorithms", sections 3.1 and 4.2.
pub fn any_order(n: f64) -> f64 {
    let small = n * F32_ROUNDOFF;
    if small < 1.0 { small / (1.0 - small) } else { f64::INFINITY }
}

/// How roundings are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Roundings {
    /// Worst case over all roundings and all orders of sums: proved.
    Any,
    /// As if they were independent: likely.
    Independent,
}

/// Rounding error of a number in float32: a bound, and a likely size. The latter consists of roundings that may be the
/// same everywhere, and of the standard deviation of the others, which are taken as independent and uniform within
/// their largest error.
///
/// # References
/// Higham and Mary 2019, "A new approach to probabilistic rounding error analysis".
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Noise {
    /// Bound, whatever the order of sums.
    pub most: f64,
    /// Bound on the roundings that may be the same everywhere.
    pub shared: f64,
    /// Standard deviation of the other roundings.
    pub deviation: f64,
}

/// Number of standard deviations in a likely bound: one number in two million lies farther out, and the deviation
/// itself is an upper bound.
pub const DEVIATIONS: f64 = 5.0;

impl Noise {
    /// The sum of two sources of noise.
    pub fn and(self, other: Self) -> Self {
        Self {
            most: self.most + other.most,
            shared: self.shared + other.shared,
            deviation: self.deviation.hypot(other.deviation),
        }
    }

    /// Noise of `n` roundings of a number of the given size, of which one is independent of the others.
    pub fn of(size: f64, n: f64) -> Self {
        Self { most: size * any_order(n), shared: 0.0, deviation: size * F32_ROUNDOFF * (n / 3.0).sqrt() }
    }

    /// The noise multiplied by a factor.
    pub fn times(self, factor: f64) -> Self {
        let factor = factor.abs();
        Self { most: factor * self.most, shared: factor * self.shared, deviation: factor * self.deviation }
    }

    /// The bound, or the likely bound shared + 5 deviations.
    pub fn bound(self, roundings: Roundings) -> f64 {
        match roundings {
            Roundings::Any => self.most,
            Roundings::Independent => self.shared + DEVIATIONS * self.deviation,
        }
    }
}

#[cfg(test)]
mod tests {
    use headway_model::{Input, weights::to_host};
    use headway_plain::{Readout, network::InputMap};

    use super::*;
    use crate::network::{Layer, Network};

    /// Two channels mixed by one matrix, one of them by another as well, with biases; one row of each is zero.
    fn network(queries: usize, keys: usize, mixes: impl Fn(&Space) -> Vec<Mix>) -> (Network, Mixing, Vec<Mix>) {
        let mixing = Mixing { queries, keys };
        let [query, key, dead] = mixing.parts();
        let space = Space::new(&[("x", 2), query, key, dead]);
        let mut map = InputMap::token_wise(2, mixing.rows(), space.width());
        let (weight, constant) = (map.linear.weight_mut(), &mut map.constant);
        (0..2).for_each(|f| weight[(f, space.nth("x", f))] = 1.0);
        mixing.label(&space, constant);
        let mixes = mixes(&space);
        let heads = mixing.heads(&space, &mixes, 3);
        let map = InputMap { queries, keys: mixing.rows(), ..map };
        let layer = Layer { space, map, heads };
        let (weight, bias) = (Matrix::identity(queries * 3, queries * 3), Matrix::zeros(1, queries * 3));
        let readout = Readout::Affine { weight, bias };
        // The output has as many numbers as the sequence requires: one per query and channel.
        let network =
            Network { seq_len: keys, d_in: 2, d_out: queries * 3 / keys, layers: vec![layer], readout, causal: false };
        (network, mixing, mixes)
    }

    fn wanted(mixes: &[Mix], space: &Space, queries: usize, x: &[f64]) -> Vec<f64> {
        let mut y = vec![0.0; queries * 3];
        for mix in mixes {
            for channel in &mix.channels {
                for i in 0..queries {
                    let from = channel.from - space.at("x");
                    let sum: f64 = (0..mix.matrix.ncols()).map(|j| mix.matrix[(i, j)] * x[j * 2 + from]).sum();
                    y[i * 3 + channel.to] += sum + channel.bias * mix.bias[i];
                }
            }
        }
        y
    }

    fn two(queries: usize, keys: usize) -> impl Fn(&Space) -> Vec<Mix> {
        let numbers: Vec<f64> =
            headway_testkit::numbers(3, 2 * queries * (keys + 1)).into_iter().map(f64::from).collect();
        move |space| {
            let (first, second) = numbers.split_at(queries * (keys + 1));
            let mix = |numbers: &[f64], channels| {
                let mut matrix = Matrix::from_row_slice(queries, keys, &numbers[..queries * keys]) * 3.0;
                matrix.row_mut(1).fill(0.0);
                let mut bias = numbers[queries * keys..].to_vec();
                bias[1] = 0.0;
                Mix { matrix, bias, channels }
            };
            let x = |f| space.nth("x", f);
            let shared = vec![Channel { from: x(0), to: 0, bias: 1.0 }, Channel { from: x(1), to: 1, bias: -0.5 }];
            let alone = vec![Channel { from: x(0), to: 1, bias: 0.0 }];
            vec![mix(first, shared), mix(second, alone)]
        }
    }

    #[test]
    fn mixing_is_exact_up_to_rounding() {
        // More keys than queries; more queries than keys, which leaves dead rows; the output must divide evenly among
        // positions.
        for (queries, keys) in [(3, 9), (21, 7), (2, 1)] {
            let (network, mixing, mixes) = network(queries, keys, two(queries, keys));
            let space = &network.layers[0].space;
            // Both signs of both matrices, unless a single number has only one.
            let heads = network.layers[0].heads.len();
            assert_eq!(mixing.count(&mixes).0, heads);
            assert!(heads == 4 || keys == 1);
            let x: Vec<f64> = headway_testkit::numbers(5, keys * 2).into_iter().map(f64::from).collect();
            let wanted = wanted(&mixes, space, queries, &x);
            let found = network.forward(&x);
            let device = burn::tensor::Device::flex();
            let input = burn::tensor::TensorData::new(x.iter().map(|x| *x as f32).collect::<Vec<_>>(), [1, keys, 2]);
            let input = Input::Continuous(burn::tensor::Tensor::from_data(input, &device));
            let in_float32 = to_host(network.assemble(&device).forward(input));
            let noise = mixing.rounding(&mixes, 3, |_| (-1.0, 1.0));
            let leak = mixing.leak(&mixes, mixing.rows(), 1.0);
            assert_eq!(noise.iter().map(Vec::len).collect::<Vec<_>>(), vec![3; queries]);
            for (at, noise) in noise.iter().flatten().enumerate() {
                assert!((found[at] - wanted[at]).abs() < 1e-13, "{at}: {} for {}", found[at], wanted[at]);
                let error = (f64::from(in_float32[at]) - wanted[at]).abs();
                for roundings in [Roundings::Any, Roundings::Independent] {
                    let allowed = noise.bound(roundings);
                    assert!(error <= allowed + leak, "{at}: off by {error}, allowed {noise:?}");
                    assert!(allowed < 1e-4, "an allowance that allows anything: {noise:?}");
                }
            }
            // Row 1 mixes nothing, and output 2 is never written.
            assert!(found[3..6].iter().all(|y| y.abs() < 1e-30) && found[2].abs() < 1e-30, "{found:?}");
        }
    }

    #[test]
    fn nothing_to_mix_is_one_head_of_zero() {
        let none = |space: &Space| {
            let channels = vec![Channel { from: space.at("x"), to: 0, bias: 1.0 }];
            vec![Mix { matrix: Matrix::zeros(3, 9), bias: vec![0.0; 3], channels }]
        };
        let (network, mixing, mixes) = network(3, 9, none);
        assert_eq!((network.layers[0].heads.len(), mixing.count(&mixes)), (1, (1, 1)));
        assert_eq!(network.forward(&[0.5; 18]), vec![0.0; 9]);
        assert!(mixing.leak(&mixes, 11, 1.0) == 0.0);
    }

    #[test]
    fn the_leak_is_bounded() {
        // With a matrix of ones and zeros, anything that should be zero shows.
        let ones = |space: &Space| {
            let channels = vec![Channel { from: space.at("x"), to: 0, bias: 0.0 }];
            vec![Mix { matrix: Matrix::identity(3, 9), bias: vec![0.0; 3], channels }]
        };
        let (network, mixing, mixes) = network(3, 9, ones);
        let mut x = vec![1.0; 18];
        x[0] = 0.0;
        let (found, bound) = (network.forward(&x)[0], mixing.leak(&mixes, 11, 1.0));
        assert!(found > 0.0 && found < bound && bound < 1e-32, "{found} against {bound}");
    }
}
