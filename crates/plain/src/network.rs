//! An attention network as plain matrices in f64. It serves what is computed from weights, such as
//! [`rank`](crate::rank) and [`paths`](crate::paths), and weights that are constructed in double precision before they
//! become a model.
//!
//! Symbols: X `[rows, d_model]` holds one token per row; x is one row. Matrices multiply from the right, x W + b.

use nalgebra::{DMatrix, Dim, RawStorageMut, RowDVector};

/// A matrix with one token per row.
pub type Matrix = DMatrix<f64>;
/// One row of a [`Matrix`].
pub type Row = RowDVector<f64>;

/// An affine map of rows, y = x W + b.
#[derive(Clone, Debug, PartialEq)]
pub struct Affine {
    /// W. `[d_in, d_out]`
    pub weight: Matrix,
    /// b. `[d_out]`
    pub bias: Row,
}

/// Layer normalisation of each row, y = (x − mean(x)) / sqrt(var(x) + ε) ⊙ g + b; without the mean it is the RMS norm, y =
/// x / sqrt(mean(x²) + ε) ⊙ g + b.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerNorm {
    /// Whether the mean is taken away first.
    pub centres: bool,
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
    /// x_i W for each row i; if the map has more output rows than input rows, the others are zero. `[d_in, width]`
    TokenWise(Matrix),
    /// vec(X) W: every output row depends on all input rows; vec concatenates the rows. `[rows_in · d_in, rows ·
    /// width]`
    SequenceWise(Matrix),
}

/// Affine map before a layer's attention: Z = linear(X) + C. The first rows of Z are the queries, its last rows are the
/// keys.
#[derive(Clone, Debug, PartialEq)]
pub struct InputMap {
    /// The linear part, from `[rows_in, d_in]` to `[rows, width]`.
    pub linear: Linear,
    /// C, a bias per row. `[rows, width]`
    pub constant: Matrix,
    /// Number of queries, which is the number of rows of the layer's output.
    pub queries: usize,
    /// Number of keys.
    pub keys: usize,
}

/// One attention head: softmax(c · query(X) key(X)ᵀ) value(X) `W_O`.
///
/// A head given by its product `W_QK` has that matrix as the weight of its query map and the identity as that of its
/// key map.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// Query map, `d_model` -> `d_head`.
    pub query: Affine,
    /// Key map, `d_model` -> `d_head`. Its bias adds the same number to all scores of a row, which softmax ignores.
    pub key: Affine,
    /// Value map, `d_model` -> `d_value`.
    pub value: Affine,
    /// `W_O`, this head's part of the output map. `[d_value, d_model]`
    pub output: Matrix,
    /// Factor c on the scores, usually 1/sqrt(`d_head`).
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

/// A feed-forward network, y = g(norm(x) `W_1` + `b_1`) `W_2` + `b_2`.
#[derive(Clone, Debug, PartialEq)]
pub struct FeedForward {
    /// Norm of its input, if it has one.
    pub norm: Option<LayerNorm>,
    /// `W_1` and `b_1`, `d_model` -> `d_ffn`.
    pub expand: Affine,
    /// `W_2` and `b_2`, `d_ffn` -> `d_model`.
    pub contract: Affine,
    /// The nonlinearity g.
    pub activation: Activation,
}

/// Attention, optionally followed by a feed-forward network: X ← X + Σ_h head_h(norm(X)) + b, then X ← X +
/// ffn(norm(X)). Without skip connections both replace X instead of adding to it.
///
/// In a layer with a map, the first rows of Z = map(X) attend to its last rows; such a layer has no skip connection.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Map before everything else, which may change the number of rows and the width.
    pub map: Option<InputMap>,
    /// Norm before attention, if the layer has one.
    pub norm: Option<LayerNorm>,
    /// The heads.
    pub heads: Vec<Head>,
    /// b, the bias of attention's output map. `[d_model]`, or `[d_out]` in a layer with a map
    pub bias: Row,
    /// Feed-forward network after attention, if the layer has one.
    pub feed_forward: Option<FeedForward>,
    /// Whether X is added to the output of each part.
    pub skip: bool,
}

/// A network: layers applied one after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// The layers.
    pub layers: Vec<Layer>,
    /// Whether each row attends only to itself and the rows above; behind a map also to the rows that belong to no row
    /// before it.
    pub causal: bool,
}

/// Which keys a query sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// All of them.
    All,
    /// Those of rows up to its own, and those of rows from `own` on, which hold no row of the sequence but constants.
    Causal {
        /// Number of first rows that belong to the sequence.
        own: usize,
        /// The row of the first key.
        first_key: usize,
    },
}

impl Sight {
    /// A causal mask over rows that all belong to the sequence.
    pub const CAUSAL: Self = Self::Causal { own: usize::MAX, first_key: 0 };

    /// Whether a query sees a key.
    pub fn sees(self, query: usize, key: usize) -> bool {
        match self {
            Self::All => true,
            Self::Causal { own, first_key } => first_key + key <= query || first_key + key >= own,
        }
    }
}

/// sqrt(‖M‖₁ ‖M‖_∞), the geometric mean of the largest column sum and the largest row sum of |M|. It is no norm, but it
/// is submultiplicative, and theorems about rank collapse are stated in it.
pub fn norm_1_inf(matrix: &Matrix) -> f64 {
    let largest = |sums: &mut dyn Iterator<Item = f64>| sums.fold(0.0, f64::max);
    let sum = |entries: &mut dyn Iterator<Item = &f64>| entries.map(|entry| entry.abs()).sum::<f64>();
    let columns = largest(&mut matrix.column_iter().map(|column| sum(&mut column.iter())));
    let rows = largest(&mut matrix.row_iter().map(|row| sum(&mut row.iter())));
    // `max` above ignores NaN.
    if matrix.iter().any(|entry| entry.is_nan()) { f64::NAN } else { columns.sqrt() * rows.sqrt() }
}

/// The matrix with the row added to each of its rows.
pub fn plus_row(mut matrix: Matrix, row: &Row) -> Matrix {
    matrix.column_iter_mut().zip(row.iter()).for_each(|(mut column, number)| column.add_scalar_mut(*number));
    matrix
}

/// vec(X) times a matrix, vec concatenating the rows. `[rows, d]` and `[rows · d, d_out]` -> `d_out` numbers
pub(crate) fn flat_times(x: &Matrix, weight: &Matrix) -> Vec<f64> {
    let flat = flattened(x);
    let column = |column: usize| flat.iter().zip(weight.column(column).iter()).map(|(x, w)| x * w).sum();
    (0..weight.ncols()).map(column).collect()
}

/// vec(M): the rows of a matrix, concatenated.
pub fn flattened(matrix: &Matrix) -> Vec<f64> {
    matrix.transpose().as_slice().to_vec()
}

/// Softmax in place: s_j becomes exp(s_j) / Σ_k exp(s_k).
pub(crate) fn softmax<R: Dim, C: Dim, S: RawStorageMut<f64, R, C>>(scores: &mut nalgebra::Matrix<f64, R, C, S>) {
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    scores.apply(|score| *score = (*score - largest).exp());
    let sum: f64 = scores.iter().sum();
    scores.apply(|exponential| *exponential /= sum);
}

/// Softmax of every row of scores, over the columns that it sees.
pub fn softmax_rows(mut scores: Matrix, sight: Sight) -> Matrix {
    for (i, mut row) in scores.row_iter_mut().enumerate() {
        for (k, score) in row.iter_mut().enumerate() {
            *score = if sight.sees(i, k) { *score } else { f64::NEG_INFINITY };
        }
        softmax(&mut row);
    }
    scores
}

/// Output of several heads: Σ_h head_h(queries, keys).
///
/// # Shapes
/// queries `[q_len, width]`, keys `[k_len, width]` -> `[q_len, d_out]`
pub fn attend(heads: &[Head], queries: &Matrix, keys: &Matrix, sight: Sight, d_out: usize) -> Matrix {
    let nothing = Matrix::zeros(queries.nrows(), d_out);
    heads.iter().fold(nothing, |sum, head| sum + head.forward(queries, keys, sight))
}

impl Affine {
    /// The map without a bias, y = x W.
    pub fn linear(weight: Matrix) -> Self {
        Self { bias: Row::zeros(weight.ncols()), weight }
    }

    /// x W + b for each row.
    pub fn forward(&self, x: &Matrix) -> Matrix {
        plus_row(x * &self.weight, &self.bias)
    }

    /// The composition: this map, then the next one.
    pub fn then(&self, next: &Self) -> Self {
        Self { weight: &self.weight * &next.weight, bias: &self.bias * &next.weight + &next.bias }
    }
}

impl Linear {
    /// The matrix W.
    pub fn weight(&self) -> &Matrix {
        match self {
            Self::TokenWise(weight) | Self::SequenceWise(weight) => weight,
        }
    }

    /// The matrix W, mutable.
    pub fn weight_mut(&mut self) -> &mut Matrix {
        match self {
            Self::TokenWise(weight) | Self::SequenceWise(weight) => weight,
        }
    }
}

impl InputMap {
    /// A token-wise map with zero weights from `d_in` numbers to rows that all serve as queries and as keys.
    pub fn token_wise(d_in: usize, rows: usize, width: usize) -> Self {
        let linear = Linear::TokenWise(Matrix::zeros(d_in, width));
        Self { linear, constant: Matrix::zeros(rows, width), queries: rows, keys: rows }
    }

    /// A sequence-wise map with zero weights from `flat_in` numbers to rows that all serve as queries and as keys.
    pub fn sequence_wise(flat_in: usize, rows: usize, width: usize) -> Self {
        let linear = Linear::SequenceWise(Matrix::zeros(flat_in, rows * width));
        Self { linear, constant: Matrix::zeros(rows, width), queries: rows, keys: rows }
    }

    /// The rows that are queries. `[rows, _]` -> `[queries, _]`
    pub fn queries(&self, z: &Matrix) -> Matrix {
        z.rows(0, self.queries).into_owned()
    }

    /// The rows that are keys. `[rows, _]` -> `[keys, _]`
    pub fn keys(&self, z: &Matrix) -> Matrix {
        z.rows(z.nrows() - self.keys, self.keys).into_owned()
    }

    /// linear(X)
    ///
    /// # Shapes
    /// `[rows_in, d_in]` -> `[rows, width]`
    pub fn linear(&self, x: &Matrix) -> Matrix {
        let (rows, width) = self.constant.shape();
        match &self.linear {
            Linear::TokenWise(weight) => (x * weight).resize_vertically(rows, 0.0),
            Linear::SequenceWise(weight) => Matrix::from_row_slice(rows, width, &flat_times(x, weight)),
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
    /// Normalises each row.
    pub fn forward(&self, x: &Matrix) -> Matrix {
        let mut y = self.centred(x);
        for (mut row, deviation) in y.row_iter_mut().zip(self.deviations(x)) {
            row /= deviation;
            row.component_mul_assign(&self.gain);
            row += &self.bias;
        }
        y
    }

    /// What is divided by its length: each row minus its own mean, or the row itself.
    pub(crate) fn centred(&self, x: &Matrix) -> Matrix {
        let mut y = x.clone();
        if self.centres {
            y.row_iter_mut().for_each(|mut row| row.add_scalar_mut(-row.mean()));
        }
        y
    }

    /// sqrt(var(x) + ε) of each row.
    pub(crate) fn deviations(&self, x: &Matrix) -> Vec<f64> {
        let variance = |row: Row| row.norm_squared() / row.len() as f64;
        self.centred(x).row_iter().map(|row| (variance(row.into_owned()) + self.epsilon).sqrt()).collect()
    }
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
    /// A head with zero weights, whose scores have the factor 1.
    pub fn zeros(width: usize, d_key: usize, d_value: usize, d_out: usize) -> Self {
        let [query, key, value] = [d_key, d_key, d_value].map(|to| Affine::linear(Matrix::zeros(width, to)));
        Self { query, key, value, output: Matrix::zeros(d_value, d_out), scale: 1.0 }
    }

    /// Attention pattern of normalised queries on normalised keys, each query on those that it sees. `[q_len, k_len]`
    pub fn pattern(&self, queries: &Matrix, keys: &Matrix, sight: Sight) -> Matrix {
        let scores = self.query.forward(queries) * self.key.forward(keys).transpose() * self.scale;
        softmax_rows(scores, sight)
    }

    /// Output of the head.
    ///
    /// # Shapes
    /// queries `[q_len, width]`, keys `[k_len, width]` -> `[q_len, d_out]`
    pub fn forward(&self, queries: &Matrix, keys: &Matrix, sight: Sight) -> Matrix {
        self.pattern(queries, keys, sight) * self.value.forward(keys) * &self.output
    }

    /// The affine map from a token to the head's output if it attended to that token alone.
    pub fn value_output(&self) -> Affine {
        Affine { weight: &self.value.weight * &self.output, bias: &self.value.bias * &self.output }
    }
}

impl FeedForward {
    /// Applies the network to each row.
    pub fn forward(&self, x: &Matrix) -> Matrix {
        let hidden = self.expand.forward(&normed(self.norm.as_ref(), x));
        self.contract.forward(&hidden.map(|entry| self.activation.value(entry)))
    }
}

/// The normalised rows, or the rows themselves if there is no norm.
pub(crate) fn normed(norm: Option<&LayerNorm>, x: &Matrix) -> Matrix {
    norm.map_or_else(|| x.clone(), |norm| norm.forward(x))
}

impl Layer {
    /// State X after this layer.
    pub fn forward(&self, x: &Matrix, causal: bool) -> Matrix {
        let y = normed(self.norm.as_ref(), &self.mapped(x));
        let update =
            attend(&self.heads, &self.queries(&y), &self.keys(&y), self.sight(x.nrows(), causal), self.bias.len());
        let x = self.add(x, plus_row(update, &self.bias));
        match &self.feed_forward {
            Some(feed_forward) => self.add(&x, feed_forward.forward(&x)),
            None => x,
        }
    }

    /// What queries see of the keys, under a causal mask or without one, if `rows` rows come in.
    pub fn sight(&self, rows: usize, causal: bool) -> Sight {
        match &self.map {
            _ if !causal => Sight::All,
            Some(map) => Sight::Causal { own: rows, first_key: map.constant.nrows() - map.keys },
            None => Sight::CAUSAL,
        }
    }

    /// Z = map(X), or X if the layer has no map.
    pub(crate) fn mapped(&self, x: &Matrix) -> Matrix {
        self.map.as_ref().map_or_else(|| x.clone(), |map| map.forward(x))
    }

    /// The rows of Z that are queries. `[rows, _]` -> `[q_len, _]`
    pub(crate) fn queries(&self, z: &Matrix) -> Matrix {
        self.map.as_ref().map_or_else(|| z.clone(), |map| map.queries(z))
    }

    /// The rows of Z that are keys. `[rows, _]` -> `[k_len, _]`
    pub(crate) fn keys(&self, z: &Matrix) -> Matrix {
        self.map.as_ref().map_or_else(|| z.clone(), |map| map.keys(z))
    }

    fn add(&self, x: &Matrix, update: Matrix) -> Matrix {
        if self.skip { x + update } else { update }
    }
}

impl Network {
    /// The state before the first layer and after each layer, by the plain formulas.
    pub fn forward(&self, x: &Matrix) -> Vec<Matrix> {
        let mut states = vec![x.clone()];
        for layer in &self.layers {
            let next = layer.forward(&states[states.len() - 1], self.causal);
            states.push(next);
        }
        states
    }

    /// Shape `[rows, width]` of the state after each layer, given the shape of the input.
    pub fn shapes(&self, entering: [usize; 2]) -> Vec<[usize; 2]> {
        let after = |[rows, _]: &mut [usize; 2], layer: &Layer| {
            *rows = layer.map.as_ref().map_or(*rows, |map| map.queries);
            Some([*rows, layer.bias.len()])
        };
        self.layers.iter().scan(entering, after).collect()
    }

    /// The network with every skip connection on or off. Layers with maps cannot have one and stay without.
    pub fn with_skip(mut self, skip: bool) -> Self {
        self.layers.iter_mut().for_each(|layer| layer.skip = skip && layer.map.is_none());
        self
    }

    /// The network without its feed-forward networks.
    pub fn without_feed_forward(mut self) -> Self {
        self.layers.iter_mut().for_each(|layer| layer.feed_forward = None);
        self
    }

    /// The network without its layer norms.
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

    /// Whether some layer has a skip connection.
    pub fn has_skip(&self) -> bool {
        self.layers.iter().any(|layer| layer.skip)
    }
}
