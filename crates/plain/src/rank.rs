//! Rank collapse: how far the rows of the hidden state are from being equal, layer by layer.
//!
//! res(X) = X − 1 x̄ᵀ, with x̄ the mean row, measured by ‖·‖_{1,∞} ([`norm_1_inf`]). Attention alone, without skip
//! connections and feed-forward networks, drives it to zero doubly exponentially in depth: the exponent triples at each
//! layer.
//!
//! A plain computation of res(X) cannot see below the rounding error of X, which the residual reaches at the second or
//! third layer. So X is stored as a pair, X = 1 xᵀ + R, and every layer maps pairs to pairs without ever subtracting
//! nearly equal numbers:
//!
//! - Scores: of (x + r_i) `W_Q` · (x + r_j) `W_K` only s_j = x `W_Q` · r_j `W_K` and E_ij = r_i `W_Q` · r_j `W_K` depend on j, and only
//!   they matter to a softmax. With q = softmax(s) and Ẽ_ij = E_ij − Σ_k q_k E_ik, P_ij = q_j exp(Ẽ_ij) / Σ_k q_k exp(Ẽ_ik), and P − 1 qᵀ
//!   follows from expm1.
//!   Under a causal mask each row i has its own softmax q_i over the keys it sees; q is then that of the last row, and
//!   the difference q_i − q is not small.
//! - Layer norm: with u and v the centred x and r, the change of 1/σ is −(2u·v + v·v)/d / (σ σ' (σ + σ')).
//! - Activation: g(a + d) − g(a) is d ∫₀¹ g'(a + td) dt for small d.
//!
//! A map before a layer adds a different bias to each row. Equal rows then do not stay equal, nothing collapses, and
//! [`residuals`] computes them plainly.
//!
//! # References
//! Dong, Cordonnier, Loukas 2021, arXiv 2103.03404, for the collapse and its measure. The pairs are this crate's own.

use crate::network::{
    Activation, Affine, FeedForward, Head, Layer, LayerNorm, Matrix, Network, Row, norm_1_inf, softmax,
};

/// A hidden state stored as 1 xᵀ + R, where the columns of R have mean zero. R may be far smaller than the rounding
/// error of x.
#[derive(Clone, Debug, PartialEq)]
pub struct Deflated {
    /// x, the mean row. `[d_model]`
    pub common: Row,
    /// R, the residual. `[rows, d_model]`
    pub rest: Matrix,
}

/// Size of the residual of a hidden state.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Residual {
    /// ‖res(X)‖_{1,∞}
    pub absolute: f64,
    /// ‖res(X)‖_{1,∞} / ‖X‖_{1,∞}
    pub relative: f64,
}

/// Smallest residual known to full precision: below it R, or a product of its entries, is smaller than any normal f64.
pub const SMALLEST: f64 = 1e-300;

impl Residual {
    /// Decimal logarithms of the absolute and the relative residual; `None` if it is zero, below [`SMALLEST`] or not
    /// finite.
    pub fn log10(&self) -> (Option<f64>, Option<f64>) {
        let known = self.absolute.is_finite() && self.absolute >= SMALLEST;
        let log10 = |value: f64| Some(value.log10()).filter(|log| known && log.is_finite());
        (log10(self.absolute), log10(self.relative))
    }
}

/// The residual before the first layer and after each layer. It has full precision unless the network has maps; then it
/// is computed plainly, to within the rounding error of the state.
pub fn residuals(network: &Network, x: &Matrix) -> Vec<Residual> {
    if network.has_maps() {
        return network.forward(x).iter().map(|state| Deflated::new(state).residual()).collect();
    }
    propagate(network, x).iter().map(Deflated::residual).collect()
}

/// The state before the first layer and after each layer.
///
/// # Shapes
/// x `[rows, d_model]`
///
/// # Panics
/// If the network has maps, or if x has another width.
pub fn propagate(network: &Network, x: &Matrix) -> Vec<Deflated> {
    propagate_from(network, Deflated::new(x))
}

/// [`propagate`] from a state that is already a pair, and so may be closer to equal rows than any matrix can be.
///
/// # Panics
/// As [`propagate`] does.
pub fn propagate_from(network: &Network, state: Deflated) -> Vec<Deflated> {
    assert!(!network.has_maps(), "behind maps equal rows do not stay equal");
    let mut states = vec![state];
    for layer in &network.layers {
        let next = after_layer(layer, &states[states.len() - 1], network.causal);
        states.push(next);
    }
    states
}

/// Ratio of each fall of a logarithm to the fall before it: 3 if the residual collapses doubly exponentially, 1 if
/// exponentially. There is one entry per value: `None` for the first two, if a value is missing, or if the logarithm
/// has not fallen twice in a row.
pub fn fall_ratios(logs: &[Option<f64>]) -> Vec<Option<f64>> {
    let falls: Vec<Option<f64>> = (1..logs.len()).map(|l| Some(logs[l]? - logs[l - 1]?).filter(|f| *f < 0.0)).collect();
    let ratio = |l: usize| Some(falls[l.checked_sub(1)?]? / falls[l.checked_sub(2)?]?);
    (0..logs.len()).map(ratio).collect()
}

impl Deflated {
    /// Splits a matrix into its mean row and the rest.
    pub fn new(x: &Matrix) -> Self {
        Self { common: Row::zeros(x.ncols()), rest: x.clone() }.recentred()
    }

    /// The matrix X = 1 xᵀ + R, in which the part of R below the rounding error of x is lost.
    pub fn matrix(&self) -> Matrix {
        crate::network::plus_row(self.rest.clone(), &self.common)
    }

    /// Size of the residual of this state.
    pub fn residual(&self) -> Residual {
        let absolute = norm_1_inf(&self.rest);
        Residual { absolute, relative: absolute / norm_1_inf(&self.matrix()) }
    }

    /// The same state with the mean of R moved into x.
    fn recentred(self) -> Self {
        let mean = self.rest.row_mean();
        let rest = crate::network::plus_row(self.rest, &-&mean);
        Self { common: self.common + mean, rest }
    }

    fn through(&self, affine: &Affine) -> Self {
        Self { common: &self.common * &affine.weight + &affine.bias, rest: &self.rest * &affine.weight }
    }

    fn plus(self, other: Self) -> Self {
        Self { common: self.common + other.common, rest: self.rest + other.rest }
    }
}

fn after_layer(layer: &Layer, state: &Deflated, causal: bool) -> Deflated {
    let normed = after_norm(layer.norm.as_ref(), state);
    let nothing = Deflated { common: layer.bias.clone(), rest: Matrix::zeros(state.rest.nrows(), state.rest.ncols()) };
    let update = layer.heads.iter().fold(nothing, |sum, head| sum.plus(attended(head, &normed, causal)));
    let add = |state: &Deflated, update: Deflated| if layer.skip { update.plus(state.clone()) } else { update };
    let state = add(state, update).recentred();
    match &layer.feed_forward {
        Some(feed_forward) => add(&state, after_feed_forward(feed_forward, &state)).recentred(),
        None => state,
    }
}

/// One head: P (1 yᵀ + R) = 1 (y + q R)ᵀ + (P − 1 qᵀ) R, followed by the value and output maps. The rows of P sum to
/// one.
fn attended(head: &Head, state: &Deflated, causal: bool) -> Deflated {
    let Deflated { common, rest } = state;
    let rows = rest.nrows();
    let query = (common * &head.query.weight + &head.query.bias) * head.scale;
    let keys = rest * &head.key.weight; // [rows, d_head]
    let same_in_all_rows = &query * keys.transpose(); // [rows]
    let own = rest * &head.query.weight * keys.transpose() * head.scale; // [rows, rows]
    let visible = |i: usize| if causal { i + 1 } else { rows };
    let first = |row: &[f64], count: usize| row[..count].to_vec();
    let same_in_all_rows: Vec<f64> = same_in_all_rows.iter().copied().collect();
    let reference = softmax_of(&same_in_all_rows); // of a row that sees all keys
    let mut deviation = Matrix::zeros(rows, rows); // P − 1 qᵀ
    for i in 0..rows {
        let base = first(&same_in_all_rows, visible(i));
        let own: Vec<f64> = own.row(i).iter().take(base.len()).copied().collect();
        let (q, change) = softmax_change(&base, &own);
        for j in 0..rows {
            let (q, change) = (q.get(j).unwrap_or(&0.0), change.get(j).unwrap_or(&0.0));
            deviation[(i, j)] = (q - reference[j]) + change;
        }
    }
    let mixed = Deflated { common: common + Row::from_vec(reference) * rest, rest: deviation * rest };
    let Deflated { common, rest } = mixed.through(&head.value);
    Deflated { common: common * &head.output, rest: rest * &head.output }
}

fn softmax_of(scores: &[f64]) -> Vec<f64> {
    let mut shares = Row::from_row_slice(scores);
    softmax(&mut shares);
    shares.iter().copied().collect()
}

/// Largest exponent that is exponentiated directly; exp overflows beyond 709.
const LARGEST_EXPONENT: f64 = 500.0;

/// softmax(s), and softmax(s + e) − softmax(s) to full precision however small e is.
fn softmax_change(s: &[f64], e: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let q = softmax_of(s);
    let mean: f64 = q.iter().zip(e).map(|(q, e)| q * e).sum();
    if e.iter().any(|e| e - mean > LARGEST_EXPONENT) {
        let whole: Vec<f64> = s.iter().zip(e).map(|(s, e)| s + e).collect();
        let change = softmax_of(&whole).iter().zip(&q).map(|(p, q)| p - q).collect();
        return (q, change);
    }
    let growth: Vec<f64> = e.iter().map(|e| (e - mean).exp_m1()).collect();
    let excess: f64 = q.iter().zip(&growth).map(|(q, growth)| q * growth).sum();
    let change = q.iter().zip(&growth).map(|(q, growth)| q * (growth - excess) / (1.0 + excess)).collect();
    (q, change)
}

fn after_norm(norm: Option<&LayerNorm>, state: &Deflated) -> Deflated {
    let Some(LayerNorm { centres, gain, bias, epsilon }) = norm else { return state.clone() };
    let d_model = state.common.len() as f64;
    let centred = |row: &Row| if *centres { row.add_scalar(-row.mean()) } else { row.clone() };
    let deviation = |row: &Row| (row.norm_squared() / d_model + epsilon).sqrt();
    let u = centred(&state.common);
    let sigma = deviation(&u);
    let mut rest = state.rest.clone();
    for mut row in rest.row_iter_mut() {
        let v = centred(&row.clone_owned());
        let sigma_here = deviation(&(&u + &v));
        let growth = (2.0 * u.dot(&v) + v.norm_squared()) / d_model; // growth of the variance
        let change = -growth / (sigma * sigma_here * (sigma + sigma_here)); // change of 1/σ
        row.copy_from(&(v / sigma_here + &u * change).component_mul(gain));
    }
    Deflated { common: (u / sigma).component_mul(gain) + bias, rest }
}

fn after_feed_forward(feed_forward: &FeedForward, state: &Deflated) -> Deflated {
    let FeedForward { norm, expand, contract, activation } = feed_forward;
    let Deflated { common, mut rest } = after_norm(norm.as_ref(), state).through(expand);
    for mut row in rest.row_iter_mut() {
        row.iter_mut().zip(common.iter()).for_each(|(d, a)| *d = change_of(*activation, *a, *d));
    }
    Deflated { common: common.map(|a| activation.value(a)), rest }.through(contract)
}

/// For steps larger than this, the plain difference loses no precision, while quadrature would begin to.
const SMALL_STEP: f64 = 0.5;

/// Gauss–Legendre nodes on [−1, 1] with their weights, for positive nodes.
const NODES: [(f64, f64); 4] = [
    (0.183_434_642_495_649_8, 0.362_683_783_378_362),
    (0.525_532_409_916_329, 0.313_706_645_877_887_3),
    (0.796_666_477_413_626_7, 0.222_381_034_453_374_48),
    (0.960_289_856_497_536_3, 0.101_228_536_290_376_26),
];

/// g(a + d) − g(a) to full precision however small d is.
fn change_of(activation: Activation, a: f64, d: f64) -> f64 {
    match activation {
        // At the kink of max(x, 0) quadrature would fail, and the difference is exact anyway.
        Activation::Relu => match (a > 0.0, a + d > 0.0) {
            (true, true) => d,
            (true, false) => -a,
            (false, true) => a + d,
            (false, false) => 0.0,
        },
        _ if d.abs() > SMALL_STEP => activation.value(a + d) - activation.value(a),
        _ => {
            let slope = |t: f64| activation.slope(a + 0.5 * d * (1.0 + t));
            let mean_slope: f64 = NODES.iter().map(|(t, weight)| 0.5 * weight * (slope(*t) + slope(-t))).sum();
            d * mean_slope
        }
    }
}
