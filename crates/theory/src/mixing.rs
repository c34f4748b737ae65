//! Exact linear mixing by attention: out_i = Σ_j C_ij z_j + b_i, for any matrix C, by heads whose scores are logarithms.
//!
//! Softmax undoes a logarithm. Split C = C⁺ − C⁻ and take one of the two, M ≥ 0, with row sums T_i and S = max_i T_i. The weights M_ij/S of a
//! row, with S − T_i left to a *null* token of value 0, sum to one, so that scores ln(M_ij/S) give exactly them, and the output factor
//! ±S gives the product. The bias is a further token of value 1. No sharpness, no anchors: the only errors are rounding, and weights of
//! zero, which become e⁻⁸⁰ times the row's largest, as ln 0 would give NaN.
//!
//! Rows of the layer: `keys` rows that hold data, then the bias token, then the null token; those beyond are dead, nobody attends to them.
//! The first `queries` rows are the queries. Columns: `query`, one-hot among the queries; `key`, one-hot among the keys and both tokens;
//! `dead`. With query e_i, the key of row j is column j of the scores, whatever they are.
//!
//! A matrix costs a head per sign, and heads with nothing to mix are left out. Channels mixed by *one* matrix share its heads
//! (their values stand side by side, d_value > 1): averaging d channels over positions takes one head, not d.

use headway_plain::network::{Head, Matrix};

use crate::{interpolation::F32_ROUNDOFF, space::Space};

/// Which rows attend to which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mixing {
    /// Queries, the first rows of the layer.
    pub queries: usize,
    /// Rows that hold data, the first of the layer; the bias token and the null token follow.
    pub keys: usize,
}

/// One matrix, and the channels that it mixes.
#[derive(Clone, Debug, PartialEq)]
pub struct Mix {
    /// C. `[queries, keys]`
    pub matrix: Matrix,
    /// b. `[queries]`
    pub bias: Vec<f64>,
    /// What is mixed.
    pub channels: Vec<Channel>,
}

/// out_i\[to\] += Σ_j C_ij z_j\[from\] + bias · b_i.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Channel {
    /// Column of the layer's rows; it must be 0 in the two rows after the keys.
    pub from: usize,
    /// Number of the layer's output.
    pub to: usize,
    /// Factor on b for this channel: 1, or 0 for none.
    pub bias: f64,
}

/// Scores of weights that should be zero, relative to the row's largest. e⁻⁸⁰ = 1.8e-35 is a normal number of float32.
const NOTHING: f64 = -80.0;

/// One sign of a mix as softmax weights.
struct Signed<'a> {
    mix: &'a Mix,
    /// S with its sign.
    scale: f64,
    /// M/S with bias and null token; rows sum to one. `[queries, keys + 2]`
    weights: Matrix,
}

impl Mixing {
    /// The columns that mixing needs; the caller adds those of its data.
    pub fn parts(&self) -> [(&'static str, usize); 3] {
        [("query", self.queries), ("key", self.keys + 2), ("dead", 1)]
    }

    /// Rows at least.
    pub fn rows(&self) -> usize {
        self.queries.max(self.keys + 2)
    }

    /// Writes the columns of [`Mixing::parts`] into the constant part of the map before the layer. `[rows, width]`
    ///
    /// # Panics
    /// When there are fewer rows than [`Mixing::rows`], or none of its columns.
    pub fn label(&self, space: &Space, constant: &mut Matrix) {
        (0..self.queries).for_each(|i| constant[(i, space.nth("query", i))] = 1.0);
        (0..self.keys + 2).for_each(|j| constant[(j, space.nth("key", j))] = 1.0);
        (self.keys + 2..constant.nrows()).for_each(|row| constant[(row, space.at("dead"))] = 1.0);
    }

    /// The heads: one per mix and sign that has any weight, and one that gives zero where there would be none.
    ///
    /// # Panics
    /// When a mix has other sizes, or the space none of the columns of [`Mixing::parts`].
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

    /// Heads that [`Mixing::heads`] would write, and value columns of all of them.
    pub fn count(&self, mixes: &[Mix]) -> (usize, usize) {
        let (heads, values) =
            self.signed(mixes).fold((0, 0), |(heads, values), signed| (heads + 1, values + signed.mix.channels.len()));
        if heads == 0 { (1, 1) } else { (heads, values) }
    }

    /// What weights of e⁻⁸⁰ instead of zero add to an output number at most, over `rows` rows whose values lie within ± `reach`.
    pub fn leak(&self, mixes: &[Mix], rows: usize, reach: f64) -> f64 {
        // The clipped keys hold at most rows e⁻⁸⁰ of the softmax together; moving that much moves the mean by twice the reach.
        self.signed(mixes).map(|signed| 2.0 * rows as f64 * NOTHING.exp() * signed.scale.abs() * reach).sum()
    }

    /// What float32 adds to each output number, where `interval` holds 0 and all values of a channel, those of the bias token too.
    /// `[queries][d_out]`
    ///
    /// With w the softmax weights of a row, s = ln w relative to the largest, T its sum without the null token, k the keys that carry
    /// weight and m the heads that write the same output, a head of scale S adds, in units of ε,
    ///
    /// - *scores and exponentials*: sqrt(d_key) and its inverse leave 3 |s| on all scores alike, key weight, product and factor 3 |s|
    ///   more on each, the exponential (3 + 2 |s| units in the last place, what Vulkan allows) 6 + 4 |s|. Relative errors δ_j of the
    ///   weights move the output by Σ_j w_j (δ_j − Σ w δ) z_j. Those that all scores share make it S · range · ½ · 3 Σ_j w_j |s_j − Σ w s|,
    ///   others S · min(range/2, |z| √T) · sqrt(Σ_j w_j e_j²) at most, e_j = 6 + 7 |s_j|, by the inequality of Cauchy and Schwarz.
    /// - *sums* in any order, of exponentials and of products, each with `in_any_order` its weights, and four roundings more; then the
    ///   output factor, its product, and the sum over heads.
    ///
    /// As independent errors, each with the deviation 1/√3 of one that is uniform: S · sqrt(range² max_j w_j e_j² / 4 + (2 k + 2 + m) T² |z|²),
    /// e_j² = (6 + 4 |s_j|)² + 3 s_j², beside what scores share.
    pub fn rounding(&self, mixes: &[Mix], d_out: usize, interval: impl Fn(&Channel) -> (f64, f64)) -> Vec<Vec<Noise>> {
        let mut noise = vec![vec![Noise::default(); d_out]; self.queries];
        let mut writers = vec![0.0; d_out];
        for channel in self.signed(mixes).flat_map(|signed| &signed.mix.channels) {
            writers[channel.to] += 1.0;
        }
        // S T |z| of every head that writes an output.
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
                    // A row with no weight of its own gives zero, but for the leak.
                    continue;
                }
                let of_keys: Vec<f64> = row.iter().take(self.keys + 1).copied().filter(|w| *w > 0.0).collect();
                let of_all: Vec<f64> = carried.iter().map(|(w, _)| *w).collect();
                // In units of ε, relative to |z|: both sums, division, product and rounding of a value, and a bias that is rounded.
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
                // Roundings of what is rounded already.
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
                    // Where no channel takes the bias there is no need for its weight.
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

/// ln(weight / top), cut off.
fn score(weight: f64, top: f64) -> f64 {
    (weight / top).ln().max(NOTHING)
}

/// What rounding makes of a sum of these sizes in the worst of all orders, in units of ε: every addition rounds a partial sum, and
/// partial sums are largest together where the largest numbers come first. (n − 1) Σ where one is all, about n/2 Σ where all are alike.
fn in_any_order(mut sizes: Vec<f64>) -> f64 {
    sizes.sort_by(|a, b| b.total_cmp(a));
    let mut partial = 0.0;
    let mut roundings = 0.0;
    for (at, size) in sizes.into_iter().enumerate() {
        partial += size;
        // The first is added to nothing.
        roundings += if at == 0 { 0.0 } else { partial };
    }
    roundings
}

/// γ_n = n ε / (1 − n ε): n roundings one after the other are off by this much of what is rounded at most, and so is a sum of n + 1
/// numbers, in any order, by this much of the sum of their absolute values.
///
/// # References
/// Higham 2002, "Accuracy and Stability of Numerical Algorithms", sections 3.1 and 4.2.
pub fn any_order(n: f64) -> f64 {
    let small = n * F32_ROUNDOFF;
    if small < 1.0 { small / (1.0 - small) } else { f64::INFINITY }
}

/// How roundings are added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Roundings {
    /// Whatever they are, whatever the order of sums: proved.
    Any,
    /// As if they were independent of each other: likely.
    Independent,
}

/// What float32 adds to a number: at most; and what it likely adds, by roundings that may be the same everywhere and the standard
/// deviation of those taken as independent, each uniform within its own largest error.
///
/// # References
/// Higham and Mary 2019, "A new approach to probabilistic rounding error analysis".
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Noise {
    /// At most, in whatever order sums are taken.
    pub most: f64,
    /// Of roundings that may be the same everywhere, at most.
    pub shared: f64,
    /// Standard deviation of the others.
    pub deviation: f64,
}

/// Standard deviations in a likely bound: one number in two million lies farther out, and the deviation itself is an upper bound.
pub const DEVIATIONS: f64 = 5.0;

impl Noise {
    /// With another source.
    pub fn and(self, other: Self) -> Self {
        Self {
            most: self.most + other.most,
            shared: self.shared + other.shared,
            deviation: self.deviation.hypot(other.deviation),
        }
    }

    /// Of `n` roundings of a number of this size, one of which is independent of the others.
    pub fn of(size: f64, n: f64) -> Self {
        Self { most: size * any_order(n), shared: 0.0, deviation: size * F32_ROUNDOFF * (n / 3.0).sqrt() }
    }

    /// Times a factor.
    pub fn times(self, factor: f64) -> Self {
        let factor = factor.abs();
        Self { most: factor * self.most, shared: factor * self.shared, deviation: factor * self.deviation }
    }

    /// The largest value, or shared + 5 deviations.
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
        // The output is as long as the sequence wants: one number per query and channel.
        let network = Network { seq_len: keys, d_in: 2, d_out: queries * 3 / keys, layers: vec![layer], readout };
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
        // More keys than queries, and more queries than keys, which leaves dead rows; the output must divide among positions.
        for (queries, keys) in [(3, 9), (21, 7), (2, 1)] {
            let (network, mixing, mixes) = network(queries, keys, two(queries, keys));
            let space = &network.layers[0].space;
            // Both signs of both matrices, unless a single number has but one.
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
            // Row 1 mixes nothing, output 2 is never written.
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
        // A matrix of ones and zeros: everything that should be zero shows.
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
