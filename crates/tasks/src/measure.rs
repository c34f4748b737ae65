//! Scores that a task asks for beside the loss and the squared error or accuracy.

use std::{f64::consts::LN_2, fmt, sync::Arc};

/// The target of one scored position.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wanted<'a> {
    /// Numbers. `[d_out]`
    Numbers(&'a [f32]),
    /// A class below d_out.
    Class(u32),
}

/// A further score: what becomes of the mean over scored positions of a function of prediction and target. Networks and
/// classical predictors are measured alike.
#[derive(Clone)]
pub struct Measure {
    name: String,
    of: Of,
    then: Arc<dyn Fn(f64) -> f64 + Send + Sync>,
    /// The slice whose positions alone count; `None` for all positions.
    slice: Option<u32>,
}

/// What is averaged.
#[derive(Clone)]
enum Of {
    /// The loss.
    Loss,
    /// A function of one position.
    Position(Arc<Position>),
}

type Position = dyn Fn(&[f32], Wanted<'_>) -> Option<f64> + Send + Sync;

impl Measure {
    /// The mean of `of` over scored positions, without those where it is `None`. It is given the prediction, the
    /// network's numbers or logits of which the first d_out count, and the target.
    pub fn new(
        name: impl Into<String>,
        of: impl Fn(&[f32], Wanted<'_>) -> Option<f64> + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), of: Of::Position(Arc::new(of)), then: Arc::new(|mean| mean), slice: None }
    }

    /// A function of the mean loss, such as exp for the perplexity.
    pub fn of_loss(name: impl Into<String>, then: impl Fn(f64) -> f64 + Send + Sync + 'static) -> Self {
        Self { name: name.into(), of: Of::Loss, then: Arc::new(then), slice: None }
    }

    /// This measure with a function of its mean, such as −10 log10 for decibels.
    #[must_use]
    pub fn then(self, then: impl Fn(f64) -> f64 + Send + Sync + 'static) -> Self {
        Self { then: Arc::new(then), ..self }
    }

    /// This measure without a function of its mean, for means that are still to be averaged.
    #[must_use]
    pub fn mean(&self) -> Self {
        self.clone().then(|mean| mean)
    }

    /// This measure of the positions of one slice, by its index in [`Task::slices`](crate::Task::slices); not for a
    /// function of the loss.
    #[must_use]
    pub fn within(self, slice: u32) -> Self {
        Self { slice: Some(slice), ..self }
    }

    /// The cross-entropy in bits per character of text, `nats / (ln 2 · characters per token)`.
    pub fn bits_per_character(characters_per_token: f64) -> Self {
        Self::of_loss("bits_per_character", move |nats| nats / (LN_2 * characters_per_token))
    }

    /// Its name among the scores. Scores whose name has `accuracy` or `psnr` in it are better when larger, others when
    /// smaller.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its value at one position of a slice; `None` where it has none, or is a function of the loss.
    pub fn at(&self, prediction: &[f32], wanted: Wanted<'_>, slice: Option<u32>) -> Option<f64> {
        match &self.of {
            Of::Position(of) if self.slice.is_none() || self.slice == slice => of(prediction, wanted),
            Of::Loss | Of::Position(_) => None,
        }
    }

    /// The score from the mean of [`Self::at`] and the mean loss; `None` if its mean is over nothing.
    pub fn score(&self, mean: Option<f64>, loss: Option<f64>) -> Option<f64> {
        let mean = match self.of {
            Of::Loss => loss,
            Of::Position(_) => mean,
        };
        mean.map(|mean| (self.then)(mean))
    }
}

impl fmt::Debug for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Measure").field(&self.name).finish()
    }
}
