//! An experiment at another length of its task: what a network that was trained short is tested on.

use burn::tensor::Device;
use headway_model::weights;
use headway_tasks::TaskError;

use super::{Experiment, TrainConfig, join, not_whole};

impl Experiment {
    /// The experiment with a task `times` as long, for testing its network there.
    ///
    /// # Errors
    /// A sentence about why there is none: the task has one length, its other keys do not go with this one, or the network has parameters for
    /// one length.
    pub fn at_length(&self, times: usize) -> Result<Self, String> {
        let name = self.task.name();
        let Some((key, length)) = self.task.length() else {
            return Err(format!("{name} has one length: at another it is another task"));
        };
        let place = format!("task.{name}.{key}");
        let longer = length.checked_mul(times).filter(|longer| *longer > 0);
        let Some((task, longer)) = longer.and_then(|longer| Some((self.task.with_length(longer)?, longer))) else {
            return Err(format!("{times} times {place} = {length} is no length"));
        };
        let train = TrainConfig { test_lengths: Vec::new(), ..self.train.clone() };
        let there = Self { task, train, ..self.clone() };
        let task = there.task.validate().into_iter().map(TaskError::into_parts);
        let mut problems: Vec<(String, String)> =
            task.map(|(key, problem)| (join(&format!("task.{name}"), key), problem)).collect();
        if problems.is_empty() {
            let model = there.model.validate(&there.dims()).into_iter();
            problems.extend(model.map(|p| (join(&format!("model.{}", there.model.name()), p.key), p.problem)));
            problems.extend(not_whole(&there.data, &there.task));
        }
        if let Some((key, problem)) = problems.first() {
            return Err(format!("with {place} = {longer}, {key}: {problem}"));
        }
        let shapes =
            |of: &Self| of.model.uninitialized(&of.dims(), &Device::flex()).map(|model| weights::shapes(&model));
        let (Ok(own), Ok(other)) = (shapes(self), shapes(&there)) else {
            return Err(format!("with {place} = {longer}, the model cannot be built"));
        };
        let of_one_length = own.iter().find(|(name, shape)| other.get(*name) != Some(*shape));
        if let Some((parameter, _)) = of_one_length {
            let way_out = "`headway list positions` says which schemes take any length";
            return Err(format!("{parameter} belongs to {place} = {length} and no other length; {way_out}"));
        }
        Ok(there)
    }
}
