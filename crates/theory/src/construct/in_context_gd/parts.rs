//! What a step of E1 is made of besides its head: slopes of another loss than squares, and the soft threshold.

use super::{InContextGd, slopes::Slopes, threshold::SoftThreshold};

/// What a step is made of besides its head.
#[derive(Clone)]
pub(super) struct Parts {
    /// Slopes of a loss other than squares.
    pub slopes: Option<Slopes>,
    /// S of the Lasso.
    pub threshold: Option<SoftThreshold>,
}

impl Parts {
    pub fn of(gd: &InContextGd) -> Self {
        let reach = 2.0 * (gd.weight_norm() + gd.rate * gd.input_norm() * gd.mean_slope());
        let threshold = (gd.lasso > 0.0).then(|| SoftThreshold::new(gd.rate * gd.lasso, reach));
        Self { slopes: Slopes::of(gd), threshold }
    }

    /// Layers of a step.
    pub fn depth(&self) -> usize {
        1 + 2 * usize::from(self.slopes.is_some()) + usize::from(self.threshold.is_some())
    }

    /// Whether gates take part.
    pub fn has_gates(&self) -> bool {
        self.threshold.is_some() || self.slopes.as_ref().is_some_and(Slopes::has_gates)
    }
}
