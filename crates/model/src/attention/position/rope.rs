//! Rotary positions.

use std::sync::OnceLock;

use burn::{
    module::Module,
    tensor::{Device, Tensor, TensorData},
};
use serde::{Deserialize, Serialize};

use super::{Hand, Position, PositionKind, PositionSizes, PositionSpec, Scheme};
use crate::{config::ConfigError, init::Initializer};

/// Rotates channels c and c + d/2 of the query and the key at position p, d = `d_head`, by the angle p θ^(−2c/d). Their
/// inner product then depends on the distance between the two positions and not on the positions themselves.
///
/// Channels are paired by halves, as in GPT-NeoX and Llama; the source pairs neighbours, which is the same up to the
/// order of a projection's outputs. Sequences may be longer than those the model was built for.
///
/// # References
/// Su et al. 2021, arXiv 2104.09864, section 3.2.2.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RopeConfig {
    /// θ, above 1: the slowest pair of channels rotates by about 1/θ radians per position. Default 10000.
    pub theta: f64,
}

impl Default for RopeConfig {
    fn default() -> Self {
        Self { theta: 10_000.0 }
    }
}

/// The rotations of a model.
#[derive(Module, Debug)]
pub struct Rope {
    #[module(skip)]
    theta: f64,
    #[module(skip)]
    seq_len: usize,
    /// Rotations of `seq_len` positions, computed at first use and kept.
    #[module(skip)]
    turns: OnceLock<Turns>,
}

/// Cosine and sine of each position's angles. `[rows, d_head / 2]` each
#[derive(Clone, Debug)]
struct Turns {
    cos: Tensor<2>,
    sin: Tensor<2>,
}

impl Turns {
    fn new(rows: usize, d_head: usize, theta: f64, device: &Device) -> Self {
        let half = d_head / 2;
        let angle = |p: usize, c: usize| p as f64 * theta.powf(-2.0 * c as f64 / d_head as f64);
        let angles: Vec<f64> = (0..rows).flat_map(|p| (0..half).map(move |c| angle(p, c))).collect();
        let tensor = |of: fn(f64) -> f64| {
            let values: Vec<f32> = angles.iter().map(|angle| of(*angle) as f32).collect();
            Tensor::from_data(TensorData::new(values, [rows, half]), device)
        };
        Self { cos: tensor(f64::cos), sin: tensor(f64::sin) }
    }
}

impl Rope {
    fn turns(&self, rows: usize, d_head: usize, device: &Device) -> Turns {
        if rows > self.seq_len {
            return Turns::new(rows, d_head, self.theta, device);
        }
        self.turns.get_or_init(|| Turns::new(self.seq_len, d_head, self.theta, device)).clone()
    }
}

impl Scheme for Rope {
    fn rotate(&self, q: Tensor<4>, k: Tensor<4>) -> [Tensor<4>; 2] {
        let (q_len, [_, _, k_len, d_head]) = (q.dims()[2], k.dims());
        let last = q_len.max(k_len);
        let Turns { cos, sin } = self.turns(last, d_head, &q.device());
        [q, k].map(|x| {
            let (rows, half) = (x.dims()[2], d_head / 2);
            let [cos, sin] = [&cos, &sin].map(|of| of.clone().narrow(0, last - rows, rows).unsqueeze::<4>());
            let (first, second) = (x.clone().narrow(3, 0, half), x.narrow(3, half, half));
            let turned = first.clone() * cos.clone() - second.clone() * sin.clone();
            Tensor::cat(vec![turned, second * cos + first * sin], 3)
        })
    }
}

impl PositionSpec for RopeConfig {
    fn validate(&self, sizes: &PositionSizes) -> Vec<ConfigError> {
        let mut problems = Vec::new();
        if !self.theta.is_finite() || self.theta <= 1.0 {
            problems.push(ConfigError::new("theta", "must be a number above 1"));
        }
        if !sizes.d_head.is_multiple_of(2) {
            let problem =
                format!("turns pairs of channels, and heads are {} wide; set d_head to an even number", sizes.d_head);
            problems.push(ConfigError::new("", problem));
        }
        problems
    }

    fn build(&self, sizes: &PositionSizes, _init: &mut Initializer<'_>) -> Position {
        Position::Rope(Rope { theta: self.theta, seq_len: sizes.seq_len, turns: OnceLock::new() })
    }

    fn hands(&self) -> &'static [Hand] {
        &[Hand::Rotation]
    }

    fn examples(&self) -> Vec<PositionKind> {
        [10_000.0, 31.0].map(|theta| PositionKind::Rope(Self { theta })).into()
    }
}
