//! Answers to numbers that are at hand.

use headway_tasks::{Inputs, TaskConfig};

use super::{Examples, Predictor};
use crate::error::Error;

impl Predictor {
    /// The task that the network is for.
    pub fn task(&self) -> &TaskConfig {
        &self.experiment.task
    }

    /// The answers to examples of full length.
    ///
    /// # Errors
    /// [`Error::Inputs`] with the checkpoint's path for an example whose answer is not finite; [`Error::Checkpoint`] where the weights are not.
    ///
    /// # Shapes
    /// `[n, seq_len, d_in]` -> `[n, positions, d_out]`
    pub fn numbers(&self, examples: &[Vec<f32>]) -> Result<Vec<f32>, Error> {
        let mut answers = Vec::new();
        for (at, some) in examples.chunks(self.experiment.train.batch_size.max(1)).enumerate() {
            let inputs = Inputs::Continuous(some.concat());
            let examples = Examples { n: some.len(), seq_len: self.form.dims.seq_len, inputs, names: Vec::new() };
            let before = at * self.experiment.train.batch_size;
            answers.extend(self.answers(&examples, before, &self.checkpoint.path)?);
        }
        Ok(answers)
    }
}
