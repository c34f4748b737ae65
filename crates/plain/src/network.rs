//! A transformer as plain matrices in f64, for what is computed from its weights: [`rank`](crate::rank) and
//! [`paths`](crate::paths).
//!
//! Symbols: X `[rows, d_model]` holds a token per row; x is one row. Linear maps stand on the right, x W + b.

use nalgebra::{DMatrix, DVector, RowDVector};

/// A matrix, a token per row.
pub type Matrix = DMatrix<f64>;
/// One row of a [`Matrix`].
pub type Row = RowDVector<f64>;

/// y = x W + b.
#[derive(Clone, Debug, PartialEq)]
pub struct Affine {
    /// W. `[d_in, d_out]`
    pub weight: Matrix,
    /// b. `[d_out]`
    pub bias: Row,
}

/// y = (x − mean(x)) / sqrt(var(x) + ε) ⊙ g + b.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerNorm {
    /// g. `[d_model]`
    pub gain: Row,
    /// b. `[d_model]`
    pub bias: Row,
    /// ε.
    pub epsilon: f64,
}

/// The linear part of an [`InputMap`].
#[derive(Clone, Debug, PartialEq)]
pub enum Linear {
    /// x_i W on each row; rows beyond those that come in are zero. `[d_in, width]`
    TokenWise(Matrix),
    /// vec(X) W, every row from all rows; vec goes row by row. `[rows_in · d_in, rows · width]`
    SequenceWise(Matrix),
}

/// Affine map in front of a layer's attention: Z = linear(X) + C. The first rows of Z ask, its last rows answer.
#[derive(Clone, Debug, PartialEq)]
pub struct InputMap {
    /// From `[rows_in, d_in]` to `[rows, width]`.
    pub linear: Linear,
    /// C, a bias per row. `[rows, width]`
    pub constant: Matrix,
    /// So many rows of Z ask, and become the layer's output.
    pub queries: usize,
    /// So many rows of Z answer.
    pub keys: usize,
}

/// One attention head: softmax(c · query(X) key(X)ᵀ) value(X) `W_O`.
///
/// A head given by `W_QK` has it as its query's weight and the identity as its key's.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// `d_model` -> `d_head`
    pub query: Affine,
    /// `d_model` -> `d_head`. Its bias shifts all scores of a row alike, which no pattern shows.
    pub key: Affine,
    /// `d_model` -> `d_value`
    pub value: Affine,
    /// `W_O`, this head's part of the output map. `[d_value, d_model]`
    pub output: Matrix,
    /// c, usually 1/sqrt(`d_head`).
    pub scale: f64,
}

/// Nonlinearity of a feed-forward network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// x Φ(x), Φ being the standard normal distribution function.
    GeluErf,
    /// x/2 (1 + tanh(sqrt(2/π) (x + 0.044715 x³))).
    GeluTanh,
    /// max(x, 0).
    Relu,
}

/// y = g(norm(x) `W_1` + `b_1`) `W_2` + `b_2`.
#[derive(Clone, Debug, PartialEq)]
pub struct FeedForward {
    /// Norm before it.
    pub norm: Option<LayerNorm>,
    /// `d_model` -> `d_ffn`
    pub expand: Affine,
    /// `d_ffn` -> `d_model`
    pub contract: Affine,
    /// g.
    pub activation: Activation,
}

/// Attention, then perhaps a feed-forward network: X ← X + Σ_h head_h(norm(X)) + b, then X ← X + ffn(norm(X)); without skip
/// both replace X instead of adding to it.
///
/// With a map, attention is that of the first rows of Z = map(X) to its last rows, which leaves no room for a skip.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Map before everything else, by which rows and width may change.
    pub map: Option<InputMap>,
    /// Norm before attention.
    pub norm: Option<LayerNorm>,
    /// The heads.
    pub heads: Vec<Head>,
    /// b, the bias of attention's output map. `[d_model]`, with a map `[d_out]`
    pub bias: Row,
    /// What follows attention.
    pub feed_forward: Option<FeedForward>,
    /// Whether X goes past each part.
    pub skip: bool,
}

/// Layers, first to last.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// The layers.
    pub layers: Vec<Layer>,
    /// Whether a row sees only itself and the rows above.
    pub causal: bool,
}

/// sqrt(‖M‖₁ ‖M‖_∞): of the largest column sum and the largest row sum of |M|, the geometric mean. It is no norm, but it is
/// submultiplicative and what rank collapse is stated in.
pub fn norm_1_inf(matrix: &Matrix) -> f64 {
    let largest = |sums: &mut dyn Iterator<Item = f64>| sums.fold(0.0, f64::max);
    let sum = |entries: &mut dyn Iterator<Item = &f64>| entries.map(|entry| entry.abs()).sum::<f64>();
    let columns = largest(&mut matrix.column_iter().map(|column| sum(&mut column.iter())));
    let rows = largest(&mut matrix.row_iter().map(|row| sum(&mut row.iter())));
    // `max` above passes over what is not a number.
    if matrix.iter().any(|entry| entry.is_nan()) { f64::NAN } else { columns.sqrt() * rows.sqrt() }
}

/// The matrix with a row added to each of its own.
pub fn plus_row(mut matrix: Matrix, row: &Row) -> Matrix {
    matrix.row_iter_mut().for_each(|mut each| each += row);
    matrix
}

/// softmax of one row of scores.
pub(crate) fn softmax(scores: &[f64]) -> Vec<f64> {
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let exponentials: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
    let sum: f64 = exponentials.iter().sum();
    exponentials.into_iter().map(|exponential| exponential / sum).collect()
}

impl Affine {
    /// x W + b of each row.
    pub fn forward(&self, x: &Matrix) -> Matrix {
        plus_row(x * &self.weight, &self.bias)
    }

    /// First this map, then the other.
    pub fn then(&self, next: &Self) -> Self {
        Self { weight: &self.weight * &next.weight, bias: &self.bias * &next.weight + &next.bias }
    }
}

impl InputMap {
    /// linear(X)
    ///
    /// # Shapes
    /// `[rows_in, d_in]` -> `[rows, width]`
    pub fn linear(&self, x: &Matrix) -> Matrix {
        let (rows, width) = self.constant.shape();
        match &self.linear {
            Linear::TokenWise(weight) => (x * weight).resize_vertically(rows, 0.0),
            Linear::SequenceWise(weight) => {
                let flat = DVector::from_column_slice(x.transpose().as_slice()); // [rows_in * d_in]
                Matrix::from_row_slice(rows, width, weight.tr_mul(&flat).as_slice())
            }
        }
    }

    /// linear(X) + C
    ///
    /// # Shapes
    /// `[rows_in, d_in]` -> `[rows, width]`
    pub fn forward(&self, x: &Matrix) -> Matrix {
        self.linear(x) + &self.constant
    }
}

impl LayerNorm {
    /// Of each row.
    pub fn forward(&self, x: &Matrix) -> Matrix {
        let mut y = centred(x);
        for (mut row, deviation) in y.row_iter_mut().zip(self.deviations(x)) {
            row /= deviation;
            row.component_mul_assign(&self.gain);
            row += &self.bias;
        }
        y
    }

    /// sqrt(var(x) + ε) of each row.
    pub(crate) fn deviations(&self, x: &Matrix) -> Vec<f64> {
        let variance = |row: Row| row.norm_squared() / row.len() as f64;
        centred(x).row_iter().map(|row| (variance(row.into_owned()) + self.epsilon).sqrt()).collect()
    }
}

/// Each row less its own mean.
pub(crate) fn centred(x: &Matrix) -> Matrix {
    let mut y = x.clone();
    y.row_iter_mut().for_each(|mut row| row.add_scalar_mut(-row.mean()));
    y
}

impl Activation {
    /// g(x)
    pub fn value(self, x: f64) -> f64 {
        match self {
            Self::GeluErf => x * normal_distribution(x),
            Self::GeluTanh => 0.5 * x * (1.0 + tanh_argument(x).tanh()),
            Self::Relu => x.max(0.0),
        }
    }

    /// g'(x)
    pub(crate) fn slope(self, x: f64) -> f64 {
        match self {
            Self::GeluErf => {
                let density = (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
                normal_distribution(x) + x * density
            }
            Self::GeluTanh => {
                let tanh = tanh_argument(x).tanh();
                0.5 * (1.0 + tanh) + 0.5 * x * (1.0 - tanh * tanh) * TANH_FACTOR * (1.0 + 3.0 * TANH_CUBIC * x * x)
            }
            Self::Relu => f64::from(u8::from(x > 0.0)),
        }
    }
}

/// sqrt(2/π)
const TANH_FACTOR: f64 = std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2;
const TANH_CUBIC: f64 = 0.044_715;

fn tanh_argument(x: f64) -> f64 {
    TANH_FACTOR * (x + TANH_CUBIC * x * x * x)
}

fn normal_distribution(x: f64) -> f64 {
    0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2)
}

impl Head {
    /// Attention pattern of normed rows that ask on normed rows that answer; under a causal mask row i sees the first i + 1.
    /// `[queries, keys]`
    pub fn pattern(&self, asking: &Matrix, answering: &Matrix, causal: bool) -> Matrix {
        let scores = self.query.forward(asking) * self.key.forward(answering).transpose() * self.scale;
        let (queries, keys) = scores.shape();
        let mut pattern = Matrix::zeros(queries, keys);
        for i in 0..queries {
            let visible = if causal { i + 1 } else { keys };
            let scores: Vec<f64> = scores.row(i).iter().take(visible).copied().collect();
            softmax(&scores).into_iter().enumerate().for_each(|(j, share)| pattern[(i, j)] = share);
        }
        pattern
    }

    /// From a token to what the head would write had it attended to that token alone.
    pub fn value_output(&self) -> Affine {
        Affine { weight: &self.value.weight * &self.output, bias: &self.value.bias * &self.output }
    }
}

impl FeedForward {
    /// Of each row.
    pub fn forward(&self, x: &Matrix) -> Matrix {
        let hidden = self.expand.forward(&normed(self.norm.as_ref(), x));
        self.contract.forward(&hidden.map(|entry| self.activation.value(entry)))
    }
}

/// The norm of each row, or the rows themselves.
pub(crate) fn normed(norm: Option<&LayerNorm>, x: &Matrix) -> Matrix {
    norm.map_or_else(|| x.clone(), |norm| norm.forward(x))
}

impl Layer {
    /// X after this layer.
    pub fn forward(&self, x: &Matrix, causal: bool) -> Matrix {
        let y = normed(self.norm.as_ref(), &self.mapped(x));
        let (asking, answering) = (self.asking(&y), self.answering(&y));
        let mut update = Matrix::zeros(asking.nrows(), self.bias.len());
        for head in &self.heads {
            update += head.pattern(&asking, &answering, causal) * head.value.forward(&answering) * &head.output;
        }
        let x = self.add(x, plus_row(update, &self.bias));
        match &self.feed_forward {
            Some(feed_forward) => self.add(&x, feed_forward.forward(&x)),
            None => x,
        }
    }

    /// Z = map(X), or X where there is no map.
    pub(crate) fn mapped(&self, x: &Matrix) -> Matrix {
        self.map.as_ref().map_or_else(|| x.clone(), |map| map.forward(x))
    }

    /// The rows that ask. `[rows, _]` -> `[queries, _]`
    pub(crate) fn asking(&self, z: &Matrix) -> Matrix {
        self.map.as_ref().map_or_else(|| z.clone(), |map| z.rows(0, map.queries).into_owned())
    }

    /// The rows that answer. `[rows, _]` -> `[keys, _]`
    pub(crate) fn answering(&self, z: &Matrix) -> Matrix {
        self.map.as_ref().map_or_else(|| z.clone(), |map| z.rows(z.nrows() - map.keys, map.keys).into_owned())
    }

    fn add(&self, x: &Matrix, update: Matrix) -> Matrix {
        if self.skip { x + update } else { update }
    }
}

impl Network {
    /// X as it enters the first layer, and after each layer, computed plainly.
    pub fn forward(&self, x: &Matrix) -> Vec<Matrix> {
        let mut states = vec![x.clone()];
        for layer in &self.layers {
            let next = layer.forward(&states[states.len() - 1], self.causal);
            states.push(next);
        }
        states
    }

    /// Rows and width after each layer, from those of what enters the first.
    pub fn shapes(&self, entering: [usize; 2]) -> Vec<[usize; 2]> {
        let after = |[rows, _]: &mut [usize; 2], layer: &Layer| {
            *rows = layer.map.as_ref().map_or(*rows, |map| map.queries);
            Some([*rows, layer.bias.len()])
        };
        self.layers.iter().scan(entering, after).collect()
    }

    /// With every skip on or off. Layers with maps have no skip that could be on.
    pub fn with_skip(mut self, skip: bool) -> Self {
        self.layers.iter_mut().for_each(|layer| layer.skip = skip && layer.map.is_none());
        self
    }

    /// Without feed-forward networks.
    pub fn without_feed_forward(mut self) -> Self {
        self.layers.iter_mut().for_each(|layer| layer.feed_forward = None);
        self
    }

    /// Without layer norms.
    pub fn without_norm(mut self) -> Self {
        for layer in &mut self.layers {
            layer.norm = None;
            layer.feed_forward.iter_mut().for_each(|feed_forward| feed_forward.norm = None);
        }
        self
    }

    /// Whether some layer has a map.
    pub fn has_maps(&self) -> bool {
        self.layers.iter().any(|layer| layer.map.is_some())
    }

    /// Whether some layer has a feed-forward network.
    pub fn has_feed_forward(&self) -> bool {
        self.layers.iter().any(|layer| layer.feed_forward.is_some())
    }

    /// Whether some layer has a norm.
    pub fn has_norm(&self) -> bool {
        self.layers.iter().any(|layer| layer.norm.is_some())
    }

    /// Whether some layer has a skip.
    pub fn has_skip(&self) -> bool {
        self.layers.iter().any(|layer| layer.skip)
    }
}
