//! A task: where examples come from, and which classical predictors a network has to beat.

use headway_tasks::{
    Example, Files, Inputs, SampleRng, Split, Targets, Task, TaskDims, TaskError, TaskInput, TaskSpec,
    baseline::{Baseline, mean::Mean},
};
use rand::RngExt;
use serde::{Deserialize, Serialize};

/// Targets are the means of the inputs so far, y_i = (x_1 + … + x_i) / i, of independent inputs from [-1, 1). Every position is scored.
///
/// # Shapes
/// inputs `[seq_len, 1]` -> targets `[seq_len, 1]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunningMean {
    /// Positions. Default 6.
    pub seq_len: usize,
}

impl Default for RunningMean {
    fn default() -> Self {
        Self { seq_len: 6 }
    }
}

impl headway_tasks::Listed for RunningMean {
    const NAME: &'static str = "running_mean";
    const SUMMARY: &'static str = "y_i = (x_1 + ... + x_i) / i";
}

impl TaskSpec for RunningMean {
    fn dims(&self) -> TaskDims {
        TaskDims { seq_len: self.seq_len, input: TaskInput::Continuous { d_in: 1 }, d_out: 1 }
    }

    fn validate(&self) -> Vec<TaskError> {
        TaskError::below("seq_len", self.seq_len, 1).into_iter().collect()
    }

    fn open(&self, _: &Files, _: &mut SampleRng) -> Result<Box<dyn Task>, TaskError> {
        Ok(Box::new(self.clone()))
    }

    fn answers_ahead(&self) -> Option<&'static str> {
        None
    }
}

impl Task for RunningMean {
    fn dims(&self) -> TaskDims {
        TaskSpec::dims(self)
    }

    fn example(&self, _: Split, _: u64, rng: &mut SampleRng) -> Example {
        let x: Vec<f32> = (0..self.seq_len).map(|_| rng.random_range(-1.0..1.0)).collect();
        let y = (1..=x.len()).map(|n| x[..n].iter().sum::<f32>() / n as f32).collect();
        let (loss_mask, slices) = (vec![true; x.len()], vec![None; x.len()]);
        Example { inputs: Inputs::Continuous(x), targets: Targets::Continuous(y), loss_mask, slices }
    }

    fn baselines(&self) -> Vec<Box<dyn Baseline>> {
        vec![Box::new(Mean::default())]
    }
}
