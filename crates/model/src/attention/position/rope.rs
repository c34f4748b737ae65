//! Rotary positions.

use std::sync::OnceLock;

use burn::{
    module::Module,
    tensor::{Device, Tensor, TensorData},
};
use headway_keys::Described;
use serde::{Deserialize, Serialize};

use super::{Hand, Position, PositionKind, PositionSizes, PositionSpec, Scheme};
use crate::{config::ConfigError, init::Initializer};

/// Rotates channels c and c + d/2 of the query and the key at position p by the angle p θ^(−2c/d), d = `partial` · `d_head`; the
/// channels from d on stay as they are. The inner product of the rotated ones then depends on the distance between the two positions and
/// not on the positions themselves.
///
/// Channels are paired by halves, as in GPT-NeoX and Llama; the source pairs neighbours, which is the same up to the
/// order of a projection's outputs. Sequences may be longer than those the model was built for.
///
/// # References
/// Su et al. 2021, arXiv 2104.09864, section 3.2.2; a part of the channels: Black et al. 2022 (GPT-NeoX), arXiv 2204.06745, section 2.1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct RopeConfig {
    /// θ, above 1: the slowest pair of channels rotates by about 1/θ radians per position. Default 10000.
    pub theta: f64,
    /// Share of each head's channels that is rotated, the first of them: above 0 and at most 1, a whole number of pairs. Default 1.
    #[serde(skip_serializing_if = "is_whole")]
    pub partial: f64,
}

impl Default for RopeConfig {
    fn default() -> Self {
        Self { theta: 10_000.0, partial: 1.0 }
    }
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    clippy::float_cmp,
    reason = "serde gives a reference; the default is this very number"
)]
fn is_whole(partial: &f64) -> bool {
    *partial == 1.0
}

impl RopeConfig {
    /// Number of channels of a head that are rotated, if the share is a whole number of them.
    fn width(&self, d_head: usize) -> Option<usize> {
        let width = self.partial * d_head as f64;
        // A share such as 0.6 is no number of f64.
        ((width - width.round()).abs() < 1e-6).then_some(width.round() as usize)
    }
}

/// The rotations of a model.
#[derive(Module, Debug)]
pub struct Rope {
    #[module(skip)]
    theta: f64,
    /// Number of channels that are rotated.
    #[module(skip)]
    width: usize,
    #[module(skip)]
    seq_len: usize,
    /// Rotations of `seq_len` positions, computed at first use and kept.
    #[module(skip)]
    turns: OnceLock<Turns>,
}

/// Cosine and sine of each position's angles. `[rows, width / 2]` each
#[derive(Clone, Debug)]
struct Turns {
    cos: Tensor<2>,
    sin: Tensor<2>,
}

impl Turns {
    fn new(rows: usize, width: usize, theta: f64, device: &Device) -> Self {
        let half = width / 2;
        let angle = |p: usize, c: usize| p as f64 * theta.powf(-2.0 * c as f64 / width as f64);
        let angles: Vec<f64> = (0..rows).flat_map(|p| (0..half).map(move |c| angle(p, c))).collect();
        let tensor = |of: fn(f64) -> f64| {
            let values: Vec<f32> = angles.iter().map(|angle| of(*angle) as f32).collect();
            Tensor::from_data(TensorData::new(values, [rows, half]), device)
        };
        Self { cos: tensor(f64::cos), sin: tensor(f64::sin) }
    }
}

impl Rope {
    fn turns(&self, rows: usize, device: &Device) -> Turns {
        let new = |rows| Turns::new(rows, self.width, self.theta, device);
        if rows > self.seq_len { new(rows) } else { self.turns.get_or_init(|| new(self.seq_len)).clone() }
    }
}

impl Scheme for Rope {
    fn rotate(&self, q: Tensor<4>, k: Tensor<4>) -> [Tensor<4>; 2] {
        let [q_len, k_len] = [&q, &k].map(|x| x.dims()[2]);
        let last = q_len.max(k_len);
        let Turns { cos, sin } = self.turns(last, &q.device());
        [q, k].map(|x| {
            let ([_, _, rows, d_head], half) = (x.dims(), self.width / 2);
            let [cos, sin] = [&cos, &sin].map(|of| of.clone().narrow(0, last - rows, rows).unsqueeze::<4>());
            let (first, second) = (x.clone().narrow(3, 0, half), x.clone().narrow(3, half, half));
            let turned = first.clone() * cos.clone() - second.clone() * sin.clone();
            let mut parts = vec![turned, second * cos + first * sin];
            if self.width < d_head {
                parts.push(x.narrow(3, self.width, d_head - self.width));
            }
            Tensor::cat(parts, 3)
        })
    }
}

impl PositionSpec for RopeConfig {
    fn validate(&self, sizes: &PositionSizes) -> Vec<ConfigError> {
        let mut problems = Vec::new();
        if !self.theta.is_finite() || self.theta <= 1.0 {
            problems.push(ConfigError::new("theta", "must be a number above 1"));
        }
        if !(self.partial > 0.0 && self.partial <= 1.0) {
            problems.push(ConfigError::new("partial", "must be a share above 0 and at most 1"));
        } else if self.width(sizes.d_head).is_none_or(|width| width == 0 || !width.is_multiple_of(2)) {
            let problem = if is_whole(&self.partial) {
                format!("turns pairs of channels, and heads are {} wide; set d_head to an even number", sizes.d_head)
            } else {
                let channels = format!("{} of {} channels", self.partial, sizes.d_head);
                format!("turns pairs of channels, and {channels} is no whole number of pairs; change partial or d_head")
            };
            problems.push(ConfigError::new("", problem));
        }
        problems
    }

    fn build(&self, sizes: &PositionSizes, _init: &mut Initializer<'_>) -> Position {
        let width = self.width(sizes.d_head).unwrap_or(sizes.d_head);
        Position::Rope(Rope { theta: self.theta, width, seq_len: sizes.seq_len, turns: OnceLock::new() })
    }

    fn hands(&self) -> &'static [Hand] {
        &[Hand::Rotation]
    }

    fn examples(&self) -> Vec<PositionKind> {
        [(10_000.0, 1.0), (31.0, 0.5)].map(|(theta, partial)| PositionKind::Rope(Self { theta, partial })).into()
    }
}
