//! KERPLE: biases whose decay with distance each head learns.

use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor},
};
use rand::{Rng, RngExt};

use super::{Hand, Position, PositionKind, PositionSizes, PositionSpec, Scheme, distance::ByDistance};
use crate::{
    budget::size,
    init::Initializer,
    parameters::{
        Key::{self, Model as Own},
        Rule,
    },
};

/// Adds −r₁ log(1 + r₂ |i − j|) to the score of query i and key j, with r₁, r₂ > 0 learned by each head and shared by all layers.
///
/// Drawn from U(0, 2) and U(0, 1); a number below 0.01 counts as 0.01, and has the gradient that 0.01 has, so that it is not stuck there.
/// The source writes 0.01 into the parameter itself. Sequences may be longer than those the model was built for.
///
/// # References
/// Chi et al. 2022, arXiv 2205.09921, equation 3; initial values and bounds as in the authors' code.
pub struct KerpleLog;

/// Adds −r₁ |i − j|^r₂ to the score of query i and key j, with r₁ > 0 and 0 < r₂ ≤ 2 learned by each head and shared by all layers.
///
/// Drawn from U(0, 1) and U(0, 2), and bounded from below as in [`KerpleLog`]. r₂ = 1 is ALiBi with learned slopes.
///
/// # References
/// as [`KerpleLog`]
pub struct KerplePower;

/// The biases of a model.
#[derive(Module, Debug)]
pub struct KerpleBias {
    /// `[n_heads]`
    pub r1: Param<Tensor<1>>,
    /// `[n_heads]`
    pub r2: Param<Tensor<1>>,
    #[module(skip)]
    form: Form,
    #[module(skip)]
    by_distance: ByDistance,
}

/// How scores fall with the distance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Log,
    Power,
}

/// Least value of r₁ and r₂.
const LEAST: f32 = 0.01;

impl KerpleBias {
    /// The logarithmic form.
    pub(super) fn log(sizes: &PositionSizes, init: &mut Initializer<'_>) -> Self {
        Self::new(Form::Log, [2.0, 1.0], sizes, init)
    }

    fn new(form: Form, [most_r1, most_r2]: [f32; 2], sizes: &PositionSizes, init: &mut Initializer<'_>) -> Self {
        let n_heads = sizes.n_heads;
        let drawn =
            |most: f32| move |rng: &mut dyn Rng| (0..n_heads).map(|_| rng.random_range(0.0..most).max(LEAST)).collect();
        let (r1, r2) = (init.param([n_heads], drawn(most_r1)), init.param([n_heads], drawn(most_r2)));
        Self { r1, r2, form, by_distance: ByDistance::new(sizes.seq_len) }
    }
}

/// A parameter between bounds, with the gradient of the bound where it is outside. `[n_heads]` -> `[n_heads, 1]`
fn bounded(parameter: &Param<Tensor<1>>, most: f32) -> Tensor<2> {
    let x = parameter.val();
    let step_inside = (x.clone().clamp(LEAST, most) - x.clone()).detach();
    (x + step_inside).unsqueeze_dim(1)
}

impl Scheme for KerpleBias {
    fn bias(&self, _n_heads: usize, lengths: [usize; 2], device: &Device) -> Option<Tensor<2>> {
        let fall = match self.form {
            Form::Log => {
                let distance = self.by_distance.rows(lengths, device, 1, |_, offset| offset.unsigned_abs() as f32);
                (bounded(&self.r2, f32::MAX) * distance).log1p()
            }
            Form::Power => {
                // |i − j|^r as exp(r log |i − j|), whose gradient is finite; distance 0 is apart.
                let rows = self.by_distance.rows(lengths, device, 2, |row, offset| match (row, offset) {
                    (0, 0) => 0.0,
                    (0, _) => (offset.unsigned_abs() as f64).ln() as f32,
                    _ => f32::from(offset != 0),
                });
                let distances = rows.dims()[1];
                let (log, is_apart) = (rows.clone().slice([0..1, 0..distances]), rows.slice([1..2, 0..distances]));
                (bounded(&self.r2, 2.0) * log).exp() * is_apart
            }
        };
        Some((bounded(&self.r1, f32::MAX) * fall).neg())
    }
}

const RULES: &[Rule] = &[("position.r*", &[N_HEADS], &[Own("position")])];
const N_HEADS: Key = Own("n_heads");

impl PositionSpec for KerpleLog {
    fn build(&self, sizes: &PositionSizes, init: &mut Initializer<'_>) -> Position {
        Position::KerpleLog(KerpleBias::log(sizes, init))
    }

    fn hands(&self) -> &'static [Hand] {
        &[Hand::Bias]
    }

    fn parameters(&self, sizes: &PositionSizes) -> f64 {
        2.0 * size(sizes.n_heads)
    }

    fn rules(&self) -> &'static [Rule] {
        RULES
    }

    fn examples(&self) -> Vec<PositionKind> {
        vec![PositionKind::KerpleLog]
    }
}

impl PositionSpec for KerplePower {
    fn build(&self, sizes: &PositionSizes, init: &mut Initializer<'_>) -> Position {
        Position::KerplePower(KerpleBias::new(Form::Power, [1.0, 2.0], sizes, init))
    }

    fn hands(&self) -> &'static [Hand] {
        &[Hand::Bias]
    }

    fn parameters(&self, sizes: &PositionSizes) -> f64 {
        2.0 * size(sizes.n_heads)
    }

    fn rules(&self) -> &'static [Rule] {
        RULES
    }

    fn examples(&self) -> Vec<PositionKind> {
        vec![PositionKind::KerplePower]
    }
}
