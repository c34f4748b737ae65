//! The output of attention layers as a sum over paths through their heads.
//!
//! With the patterns P of the forward pass held fixed, a layer is linear: X ← X + Σ_h P_h X `W_h` + 1 bᵀ, with `W_h`
//! the product of a head's value and output maps. The output is then a sum over paths; at each layer a path passes
//! through one head, or through the skip connection if the layer has one (P = I, W = I):
//!
//! X_L = Σ_(h_1 … h_L) P_(h_L) … P_(h_1) X `W_(h_1)` … `W_(h_L)` + contribution of the biases.
//!
//! A layer norm is included with its deviations held fixed as well: norm(X) = diag(1/σ) X C diag(g) + 1 bᵀ, where C
//! subtracts the mean of each row; diag(1/σ) is merged into P, and C diag(g) into W. A map before a layer is affine in
//! all rows: its linear part is applied to every incoming contribution, and its constant counts as a bias. A
//! feed-forward network has no such form, so networks with one are refused.
//!
//! # References
//! Dong, Cordonnier, Loukas 2021, arXiv 2103.03404, section 2.1. The treatment of biases and norms is this crate's own.

use crate::network::{Layer, Matrix, Network, norm_1_inf, normed, plus_row};

/// The sum over paths for one input.
#[derive(Clone, Debug, PartialEq)]
pub struct Decomposition {
    /// Paths grouped by the number of heads on them, shortest first; lengths that no path has are left out.
    pub lengths: Vec<Length>,
    /// ‖·‖_{1,∞} of each path's contribution, in the order of [`path`].
    pub sizes: Vec<f64>,
    /// ‖·‖_{1,∞} of the biases' contribution.
    pub bias: f64,
    /// ‖·‖_{1,∞} of the output.
    pub output: f64,
    /// Largest entry of |Σ paths + biases − output|, divided by the largest entry of |output|.
    pub error: f64,
}

/// All paths with one number of heads on them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Length {
    /// Number of heads on each path; at all other layers the path takes the skip connection.
    pub heads: usize,
    /// Number of paths of this length.
    pub paths: usize,
    /// ‖·‖_{1,∞} of the sum of their contributions.
    pub sum: f64,
    /// Mean over paths of ‖·‖_{1,∞} of the contribution.
    pub mean: f64,
    /// Mean of ‖res(·)‖_{1,∞} / ‖·‖_{1,∞} over the paths whose contribution is not zero: how far a contribution is from
    /// having equal rows. NaN if there is no such path.
    pub residual: f64,
}

/// Number of paths, as f64: exact up to 2^53.
pub fn count(network: &Network) -> f64 {
    choices(network).map(|n| n as f64).product()
}

/// Sums over all paths with one number of heads on them.
#[derive(Clone, Debug, PartialEq)]
pub struct Sums {
    /// The sum of the contributions of paths with k heads, k = 0 … layers; zero where there are none.
    pub lengths: Vec<Matrix>,
    /// Number of these paths, exact up to 2^53.
    pub counts: Vec<f64>,
    /// What the biases contribute.
    pub bias: Matrix,
}

/// The sums over paths by their number of heads. A path with k heads behind a layer had k before it and took the skip connection, or k − 1 and
/// took a head, so that the cost grows with the square of the number of layers and not with the number of paths.
///
/// # Shapes
/// x `[rows, d_model]`
///
/// # Panics
/// If the network has a feed-forward network, or if x has another width.
pub fn sums(network: &Network, x: &Matrix) -> Sums {
    assert!(!network.has_feed_forward(), "a feed-forward network has no paths");
    let states = network.forward(x);
    let layers: Vec<Frozen<'_>> = (0..network.layers.len()).map(|l| freeze(network, l, &states[l])).collect();
    let (mut lengths, mut counts) = (vec![x.clone()], vec![1.0]);
    for frozen in &layers {
        let (skip, heads) = (frozen.layer.skip, frozen.heads.len() as f64);
        let by_heads: Vec<Matrix> = lengths.iter().map(|sum| frozen.by_heads(sum)).collect();
        let past = |k: usize| lengths.get(k).filter(|_| skip).cloned();
        let next = |k: usize| match (past(k), k.checked_sub(1).map(|before| by_heads[before].clone())) {
            (Some(past), Some(through)) => past + through,
            (Some(sum), None) | (None, Some(sum)) => sum,
            (None, None) => &by_heads[0] * 0.0,
        };
        lengths = (0..=by_heads.len()).map(next).collect();
        let count = |k: usize| {
            let past = counts.get(k).filter(|_| skip).copied().unwrap_or_default();
            past + heads * k.checked_sub(1).map_or(0.0, |before| counts[before])
        };
        counts = (0..=by_heads.len()).map(count).collect();
    }
    Sums { lengths, counts, bias: bias(&layers, x) }
}

/// What the biases of all layers contribute to the state after the last.
fn bias(layers: &[Frozen<'_>], x: &Matrix) -> Matrix {
    layers.iter().fold(x * 0.0, |bias, frozen| {
        let ways = &frozen.bias + frozen.by_heads(&bias);
        if frozen.layer.skip { ways + bias } else { ways }
    })
}

/// Number of ways through each layer: its heads, plus one if it has a skip connection.
fn choices(network: &Network) -> impl Iterator<Item = usize> {
    network.layers.iter().map(|layer| layer.heads.len() + usize::from(layer.skip))
}

/// The path with this number: for each layer the head, or `None` for the skip connection. The last layer changes
/// fastest.
pub fn path(network: &Network, mut number: usize) -> Vec<Option<usize>> {
    let layers: Vec<(usize, usize)> =
        network.layers.iter().map(|layer| layer.heads.len()).zip(choices(network)).collect();
    let mut path: Vec<Option<usize>> = Vec::with_capacity(layers.len());
    for (heads, choices) in layers.into_iter().rev() {
        let choice = number % choices.max(1);
        number /= choices.max(1);
        path.push((choice < heads).then_some(choice));
    }
    path.reverse();
    path
}

/// A layer with its patterns and deviations held fixed.
struct Frozen<'a> {
    layer: &'a Layer,
    /// For each head the matrix on the left, P diag(1/σ), and the matrix on the right, C diag(g) W.
    heads: Vec<(Matrix, Matrix)>,
    /// Output of the layer for zero input. `[rows, d_model]`
    bias: Matrix,
}

impl Frozen<'_> {
    /// What the heads see of a contribution: the linear part of the map, restricted to the keys.
    fn enter(&self, x: &Matrix) -> Matrix {
        match &self.layer.map {
            Some(map) => self.layer.keys(&map.linear(x)),
            None => x.clone(),
        }
    }

    /// The contribution after all heads of the layer together.
    fn by_heads(&self, x: &Matrix) -> Matrix {
        let entered = self.enter(x);
        self.heads.iter().fold(&self.bias * 0.0, |sum, (left, right)| sum + left * &entered * right)
    }

    /// The contribution after one way through the layer, from the result of [`Self::enter`]. A layer with a map has no
    /// skip connection.
    fn way(&self, entered: &Matrix, choice: Option<usize>) -> Matrix {
        choice.map_or_else(|| entered.clone(), |head| &self.heads[head].0 * entered * &self.heads[head].1)
    }
}

/// Decomposes the state after the last layer into the contributions of all paths.
///
/// The cost grows with the number of paths; see [`count`] first.
///
/// # Shapes
/// x `[rows, d_model]`
///
/// # Panics
/// If the network has a feed-forward network, or if x has another width.
pub fn decompose(network: &Network, x: &Matrix) -> Decomposition {
    assert!(!network.has_feed_forward(), "a feed-forward network has no paths");
    let states = network.forward(x);
    let layers: Vec<Frozen<'_>> = (0..network.layers.len()).map(|l| freeze(network, l, &states[l])).collect();
    let output = &states[layers.len()];
    let mut by_heads: Vec<Sum> = (0..=layers.len())
        .map(|_| Sum { matrix: output * 0.0, paths: 0, contributing: 0, sizes: 0.0, residuals: 0.0 })
        .collect();
    let mut sizes = Vec::new();
    walk(network, &layers, x, |way, contribution| {
        let heads = way.iter().flatten().count();
        let size = norm_1_inf(contribution);
        let residual = norm_1_inf(&plus_row(contribution.clone(), &-contribution.row_mean()));
        let sum = &mut by_heads[heads];
        sum.matrix += contribution;
        sum.paths += 1;
        sum.sizes += size;
        if size != 0.0 {
            sum.contributing += 1;
            sum.residuals += residual / size;
        }
        sizes.push(size);
    });
    let bias = bias(&layers, x);
    let total = by_heads.iter().fold(bias.clone(), |total, sum| total + &sum.matrix);
    let lengths = by_heads.iter().enumerate().filter(|(_, sum)| sum.paths > 0).map(|(heads, sum)| Length {
        heads,
        paths: sum.paths,
        sum: norm_1_inf(&sum.matrix),
        mean: sum.sizes / sum.paths as f64,
        residual: sum.residuals / sum.contributing as f64,
    });
    Decomposition {
        lengths: lengths.collect(),
        sizes,
        bias: norm_1_inf(&bias),
        output: norm_1_inf(output),
        error: (total - output).amax() / output.amax(),
    }
}

/// Running sums over the paths of one length.
struct Sum {
    matrix: Matrix,
    paths: usize,
    contributing: usize,
    sizes: f64,
    residuals: f64,
}

fn freeze<'a>(network: &'a Network, index: usize, x: &Matrix) -> Frozen<'a> {
    let layer = &network.layers[index];
    let z = layer.mapped(x);
    let y = normed(layer.norm.as_ref(), &z);
    let (queries, keys) = (layer.queries(&y), layer.keys(&y));
    let mut bias = Matrix::from_fn(queries.nrows(), layer.bias.len(), |_, column| layer.bias[column]);
    let mut heads = Vec::new();
    for head in &layer.heads {
        let mut left = head.pattern(&queries, &keys, layer.sight(x.nrows(), network.causal));
        let through = head.value_output();
        let (mut right, mut constant) = (through.weight, through.bias);
        if let Some(norm) = &layer.norm {
            constant += &norm.bias * &right;
            right.row_iter_mut().zip(norm.gain.iter()).for_each(|(mut row, gain)| row *= *gain);
            if norm.centres {
                let mean = right.row_mean();
                right = plus_row(right, &-mean); // C W = W − 1 (mean row of W)
            }
            let deviations = norm.deviations(&layer.keys(&z));
            left.column_iter_mut().zip(deviations).for_each(|(mut column, sigma)| column /= sigma);
        }
        bias = plus_row(bias, &constant);
        if let Some(map) = &layer.map {
            bias += &left * layer.keys(&map.constant) * &right;
        }
        heads.push((left, right));
    }
    Frozen { layer, heads, bias }
}

/// Visits every path in the order of [`path`], with its contribution.
fn walk(network: &Network, layers: &[Frozen<'_>], x: &Matrix, mut visit: impl FnMut(&[Option<usize>], &Matrix)) {
    let choices: Vec<usize> = choices(network).collect();
    if choices.contains(&0) {
        return;
    }
    let way = |l: usize, digit: usize| (digit < layers[l].heads.len()).then_some(digit);
    let mut digits = vec![0; layers.len()];
    // For each layer of the current path, the contribution as the next layer sees it; still valid where paths share
    // their beginning.
    let enter = |l: usize, x: Matrix| match layers.get(l) {
        Some(next) => next.enter(&x),
        None => x,
    };
    let mut states = vec![enter(0, x.clone())];
    loop {
        for l in states.len() - 1..layers.len() {
            let behind = layers[l].way(&states[l], way(l, digits[l]));
            states.push(enter(l + 1, behind));
        }
        let path: Vec<Option<usize>> = digits.iter().enumerate().map(|(l, digit)| way(l, *digit)).collect();
        visit(&path, &states[layers.len()]);
        // The next path changes the last layer that has another way left, and starts from the first way in all later
        // layers.
        let Some(last) = (0..layers.len()).rev().find(|l| digits[*l] + 1 < choices[*l]) else { return };
        digits[last] += 1;
        digits[last + 1..].fill(0);
        states.truncate(last + 1);
    }
}
