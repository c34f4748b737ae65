//! Deterministic random networks.

use headway_plain::network::{
    Activation, Affine, FeedForward, Head, InputMap, Layer, LayerNorm, Linear, Matrix, Network, Row,
};

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    /// In (0, 1).
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        ((z >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    /// From N(0, 1), by Box and Muller.
    pub fn normal(&mut self) -> f64 {
        (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Entries from N(0, `deviation`²).
    pub fn matrix(&mut self, rows: usize, columns: usize, deviation: f64) -> Matrix {
        Matrix::from_fn(rows, columns, |_, _| deviation * self.normal())
    }

    pub fn row(&mut self, columns: usize, deviation: f64) -> Row {
        Row::from_fn(columns, |_, _| deviation * self.normal())
    }

    fn affine(&mut self, d_in: usize, d_out: usize, bias: f64) -> Affine {
        let weight = self.matrix(d_in, d_out, 1.0 / (d_in as f64).sqrt());
        Affine { weight, bias: self.row(d_out, bias) }
    }
}

/// Parts of a random network.
#[derive(Clone, Copy, Debug)]
pub struct Parts {
    pub d_model: usize,
    pub n_heads: usize,
    pub n_layers: usize,
    /// Standard deviation of every bias.
    pub bias: f64,
    /// Factor on the scores.
    pub scale: f64,
    pub skip: bool,
    pub norm: bool,
    pub causal: bool,
    pub activation: Option<Activation>,
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            d_model: 7,
            n_heads: 2,
            n_layers: 3,
            bias: 0.3,
            scale: 0.8,
            skip: false,
            norm: false,
            causal: false,
            activation: None,
        }
    }
}

impl Parts {
    pub fn network(self, random: &mut Random) -> Network {
        let Self { d_model, n_heads, bias, scale, skip, causal, .. } = self;
        // All widths differ, so that no two can be swapped unnoticed.
        let (d_head, d_value, d_ffn) = (5, 3, 11);
        let norm = |random: &mut Random| {
            self.norm.then(|| LayerNorm {
                // Both kinds, as the draws come.
                centres: random.normal() > 0.0,
                gain: random.row(d_model, 0.3).add_scalar(1.0),
                bias: random.row(d_model, bias),
                epsilon: 1e-5,
            })
        };
        let layers = (0..self.n_layers).map(|_| Layer {
            map: None,
            norm: norm(random),
            heads: (0..n_heads)
                .map(|_| Head {
                    query: random.affine(d_model, d_head, bias),
                    key: random.affine(d_model, d_head, bias),
                    value: random.affine(d_model, d_value, bias),
                    output: random.matrix(d_value, d_model, 1.0 / ((d_value * n_heads) as f64).sqrt()),
                    scale,
                })
                .collect(),
            bias: random.row(d_model, bias),
            feed_forward: self.activation.map(|activation| FeedForward {
                norm: norm(random),
                expand: random.affine(d_model, d_ffn, bias),
                contract: random.affine(d_ffn, d_model, bias),
                activation,
            }),
            skip,
        });
        Network { layers: layers.collect(), causal }
    }

    /// Every combination of skip, norm, mask and feed-forward network.
    pub fn all() -> Vec<Self> {
        let activations =
            [None, Some(Activation::Relu), Some(Activation::GeluErf), Some(Activation::GeluTanh)].into_iter();
        let switches = (0..8).map(|bits| [bits & 1 > 0, bits & 2 > 0, bits & 4 > 0]);
        activations
            .flat_map(|activation| {
                switches.clone().map(move |[skip, norm, causal]| Self {
                    skip,
                    norm,
                    causal,
                    activation,
                    ..Self::default()
                })
            })
            .collect()
    }
}

/// Attention without biases, each head by its W_QK and W_V with entries from N(0, 1/d).
pub fn pure(random: &mut Random, d: usize, n_heads: usize, n_layers: usize, skip: bool) -> Network {
    let mut matrix = |deviation: f64| Affine::linear(random.matrix(d, d, deviation));
    let identity = Affine::linear(Matrix::identity(d, d));
    let deviation = 1.0 / (d as f64).sqrt();
    let layers = (0..n_layers).map(|_| Layer {
        map: None,
        norm: None,
        heads: (0..n_heads)
            .map(|_| Head {
                query: matrix(deviation),
                key: identity.clone(),
                value: matrix(deviation / (n_heads as f64).sqrt()),
                output: Matrix::identity(d, d),
                scale: 1.0,
            })
            .collect(),
        bias: Row::zeros(d),
        feed_forward: None,
        skip,
    });
    Network { layers: layers.collect(), causal: false }
}

/// Kind of an input map.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reach {
    TokenWise,
    SequenceWise,
}

/// Two layers with maps, for an input of 5 rows of width 3. The first has 7 rows of width 11, of which the first 5
/// attend to the last 6 through two heads, with 13 outputs; the second has 8 rows of width 2, of which the first 3
/// attend to the last 7 through three heads, with 19 outputs.
pub fn stack(random: &mut Random, reaches: [Reach; 2]) -> Network {
    let mut layer = |[rows_in, d_in, rows, width, queries, keys, n_heads, d_out]: [usize; 8], reach: Reach| {
        let mut weight = |d_in: usize, d_out: usize| random.matrix(d_in, d_out, 1.0 / (d_in as f64).sqrt());
        let (d_head, d_value) = (5, 3);
        let linear = match reach {
            Reach::TokenWise => Linear::TokenWise(weight(d_in, width)),
            Reach::SequenceWise => Linear::SequenceWise(weight(rows_in * d_in, rows * width)),
        };
        let heads = (0..n_heads).map(|_| Head {
            query: Affine::linear(weight(width, d_head)),
            key: Affine::linear(weight(width, d_head)),
            value: Affine::linear(weight(width, d_value)),
            output: weight(d_value, d_out),
            scale: 0.8,
        });
        let heads = heads.collect();
        let map = InputMap { linear, constant: random.matrix(rows, width, 0.7), queries, keys };
        Layer { map: Some(map), norm: None, heads, bias: random.row(d_out, 0.3), feed_forward: None, skip: false }
    };
    let layers = vec![layer([5, 3, 7, 11, 5, 6, 2, 13], reaches[0]), layer([5, 13, 8, 2, 3, 7, 3, 19], reaches[1])];
    Network { layers, causal: false }
}

/// Every pair of kinds of maps.
pub const REACHES: [[Reach; 2]; 4] = [
    [Reach::TokenWise, Reach::TokenWise],
    [Reach::TokenWise, Reach::SequenceWise],
    [Reach::SequenceWise, Reach::TokenWise],
    [Reach::SequenceWise, Reach::SequenceWise],
];
