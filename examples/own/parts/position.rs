//! A position scheme: how a network knows where a token stands.

use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor, TensorData},
};
use headway_model::{
    Hand, Initializer, Position, PositionKind, PositionSizes, PositionSpec, Scheme,
    parameters::{Key, Rule},
};
use serde::{Deserialize, Serialize};

/// −w |i − j| with one learned w.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recency {}

impl headway_model::Listed for Recency {
    const NAME: &'static str = "recency";
    const SUMMARY: &'static str =
        "lowers the scores of keys in proportion to their distance, by one slope that is learned";
}

/// What is built from [`Recency`].
#[derive(Module, Debug)]
pub struct RecencyScheme {
    slope: Param<Tensor<1>>,
}

impl Scheme for RecencyScheme {
    fn bias(&self, n_heads: usize, [q_len, k_len]: [usize; 2], device: &Device) -> Option<Tensor<2>> {
        let distances = q_len + k_len - 1;
        let distance = (0..distances).map(|at| at.abs_diff(k_len - 1) as f32).collect::<Vec<_>>();
        let distance = Tensor::<2>::from_data(TensorData::new(distance, [1, distances]), device);
        Some((distance * self.slope.val().unsqueeze()).neg().expand([n_heads, distances]))
    }
}

impl PositionSpec for Recency {
    fn build(&self, _: &PositionSizes, init: &mut Initializer<'_>) -> Position {
        Position::registered(RecencyScheme { slope: init.param([1], |_| vec![0.1]) })
    }

    fn hands(&self) -> &'static [Hand] {
        &[Hand::Bias]
    }

    fn parameters(&self, _: &PositionSizes) -> f64 {
        1.0
    }

    fn rules(&self) -> &'static [Rule] {
        &[("position.slope", &[], &[Key::Model("position")])]
    }

    fn examples(&self) -> Vec<PositionKind> {
        vec![PositionKind::registered(self.clone())]
    }
}
