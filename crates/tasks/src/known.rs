//! Targets that are known functions of the inputs.

use std::{fmt, sync::Arc};

use crate::{
    distribution::Distribution,
    interval::{Interval, functions},
    jet::Jet,
};

/// A function of sequences over boxes: from `[seq_len · d_in]` numbers with their derivatives to `[seq_len · d_out]`.
pub type OverBoxes = Arc<dyn Fn(&[Jet]) -> Vec<Jet> + Send + Sync>;

/// The function that a task's targets are of its inputs, in exact arithmetic with the task's constants.
#[derive(Clone)]
pub struct Known {
    /// The function in words or formulas.
    pub text: String,
    /// The function over boxes.
    pub enclosure: OverBoxes,
    /// The two ends between which every input number is drawn; `None` if there are no such ends.
    pub ends: Option<[f64; 2]>,
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Known").field("text", &self.text).field("ends", &self.ends).finish_non_exhaustive()
    }
}

impl Distribution {
    /// The ends between which it draws, if there are any.
    pub fn ends(&self) -> Option<[f64; 2]> {
        match *self {
            Self::Uniform { low, high } => Some([low, high]),
            Self::Normal { .. } => None,
        }
    }
}

/// Σ_j w_j x_j + b.
pub(crate) fn affine(weights: impl Iterator<Item = f32>, x: &[Jet], bias: f32) -> Jet {
    let number =
        |value: f32, like: &Jet| Jet::constant(Interval::point(f64::from(value)), like.gradient.len(), like.order());
    let bias = number(bias, &x[0]);
    weights.zip(x).fold(bias, |sum, (w, x)| sum.plus(&number(w, x).times(x)))
}

/// max(x, 0)
pub(crate) fn relu(x: Jet) -> Jet {
    let by = functions::relu(x.value);
    x.then(by)
}

/// clamp(x, low, high)
pub(crate) fn clamp(x: Jet, [low, high]: [f32; 2]) -> Jet {
    let number = |value: f32| Jet::constant(Interval::point(f64::from(value)), x.gradient.len(), x.order());
    let (low, high) = (number(low), number(high));
    x.greatest(low).least(high)
}
