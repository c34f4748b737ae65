//! Experiments: one TOML file each, read, overridden, resolved and checked here and nowhere else.

mod choice;
mod doubt;
mod form;
mod keep;
mod keys;
mod leak;
mod length;
mod load;
mod mode;
mod origin;
mod overrides;
mod reader;
mod single;
mod worst;

use std::path::PathBuf;

use burn::tensor::Device;
use headway_keys::Described;
use headway_model::{Budget, ConfigError, InputDims, IoDims, ModelConfig, Precision, weights};
use headway_tasks::{DataConfig, LARGEST_SEED, Split, TaskConfig, TaskDims, TaskError, TaskInput};
use serde::{Deserialize, Serialize};

use crate::{
    digest::digest, error::Error, loss::Loss, on_device::pays_to_pick, optimizer::OptimizerConfig, schedule::Schedule,
};

pub use crate::problem::{ExperimentError, Problem, ValueSource};
pub use keep::KeepLast;
pub use keys::{key_called, leaves, merge, take};
pub use load::{Loaded, UNSET, from_table, from_text, load, load_to_train, parse, place_data};
pub use mode::{FinetuneConfig, MODES};
pub use origin::Places;
pub use overrides::Override;
pub use reader::{Purpose, of_form, read_as};
pub use single::lost;
pub use worst::{WORST_SHARE, Worst, WorstBoxes};

/// A whole experiment with every default filled in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// Seed of all randomness: weights, data, order; at most 2^63 − 1. Default 0.
    #[serde(default)]
    pub seed: u64,
    /// The task to learn, see `headway list tasks`.
    pub task: TaskConfig,
    /// Where training examples come from, and how many are held out. Default: fresh ones, with 256 for validation and
    /// 256 for test.
    #[serde(default)]
    pub data: DataConfig,
    /// The model that learns it, see `headway list models`.
    pub model: ModelConfig,
    /// Checkpoint or run folder with the initial weights, all of which must fit. Default: random weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_from: Option<PathBuf>,
    /// Update rule, see `headway list optimizers`. Default: Adam with learning rate 1e-3.
    #[serde(default)]
    pub optimizer: OptimizerConfig,
    /// How the learning rate changes. Default: constant.
    #[serde(default)]
    pub schedule: Schedule,
    /// Length and frequencies of training.
    #[serde(default)]
    pub train: TrainConfig,
    /// What fine-tuning trains, see `headway list modes`. Default `full`.
    #[serde(default)]
    pub finetune: FinetuneConfig,
}

/// Length and frequencies of training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Optimiser updates. Default 1000.
    pub steps: u64,
    /// Examples per micro-batch. Default 32.
    pub batch_size: usize,
    /// Micro-batches per update; the loss of an update is the mean over the scored positions of all of them. Default 1.
    pub accumulate: u64,
    /// Objective: `plain`, the squared error; `padded`, as in the paper's code; or `absolute`. Default `plain`.
    pub loss: Loss,
    /// How operands of the products of matrices are rounded: `f32` (not at all), `tf32` or `bf16`. Weights, moments, sums, norms and
    /// losses stay in f32. Default `f32`.
    #[serde(skip_serializing_if = "is_exact")]
    pub precision: Precision,
    /// The same inside attention, for queries, keys, values and attention's output: `f32`, `tf32`, `bf16` or `f16`. Default
    /// `train.precision`, if the model takes another than `f32`.
    pub attention_precision: Precision,
    /// Whether steps are captured once and replayed where the device can, which changes their speed alone: `auto` or `off`. Default
    /// `auto`.
    #[serde(skip_serializing_if = "CaptureConfig::is_auto")]
    pub capture: CaptureConfig,
    /// Largest norm of all gradients together; larger ones are scaled down to it. Default: no clipping.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// Steps between logged training losses. Default 50.
    pub log_every: u64,
    /// Steps between evaluations on the validation set; 0 for none. Default 250.
    pub eval_every: u64,
    /// Steps between checkpoints; 0 to save only the last. Default 500.
    pub checkpoint_every: u64,
    /// Number of newest checkpoints to keep, besides the best one; 0 to keep the best alone once the run has ended, `"all"` to keep
    /// every one. Default 2.
    pub keep_last: KeepLast,
    /// Stop when validation stops improving. Default: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub early_stopping: Option<EarlyStopping>,
    /// Multiples of the task's length at which the trained network is tested too, such as `[2, 4]`. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub test_lengths: Vec<usize>,
    /// Draw some training examples from where the error of a network is bounded worst: the folder that `headway certify` has written about it.
    /// The run keeps the boxes. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worst_boxes: Option<WorstBoxes>,
    /// Share of the training examples that come from these boxes. Default: a quarter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worst_share: Option<f64>,
    /// Whether what is logged is written for TensorBoard too, into event files in the run's folder. Default `false`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tensorboard: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_exact(precision: &Precision) -> bool {
    *precision == Precision::F32
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            steps: 1000,
            batch_size: 32,
            accumulate: 1,
            loss: Loss::default(),
            precision: Precision::default(),
            attention_precision: Precision::default(),
            capture: CaptureConfig::default(),
            clip_norm: None,
            log_every: 50,
            eval_every: 250,
            checkpoint_every: 500,
            keep_last: KeepLast::Newest(2),
            early_stopping: None,
            test_lengths: Vec::new(),
            worst_boxes: None,
            worst_share: None,
            tensorboard: false,
        }
    }
}

/// Whether steps are captured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(rename_all = "snake_case")]
pub enum CaptureConfig {
    /// Where the device can.
    #[default]
    Auto,
    /// Never.
    Off,
}

impl CaptureConfig {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    fn is_auto(&self) -> bool {
        *self == Self::Auto
    }
}

impl Experiment {
    /// Lets attention have the precision of all products, as far as the model can.
    fn let_attention_follow(&mut self) {
        if self.model.takes_attention_precision() && self.train.precision != Precision::F16 {
            self.train.attention_precision = self.train.precision;
        }
    }
}

/// When to stop before the last step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields)]
pub struct EarlyStopping {
    /// Number of consecutive evaluations without improvement after which training ends.
    pub patience: u32,
    /// Least improvement of the validation loss that counts for patience; the best checkpoint is always that of the
    /// lowest loss. Default 0.
    #[serde(default)]
    pub min_delta: f32,
}

/// Lower bounds on the bytes that training needs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Memory {
    /// All examples that are kept: those of all sets that are made once.
    pub examples: f64,
    /// The micro-batches of one update.
    pub batch: f64,
    /// The largest array of a micro-batch, inputs or targets.
    pub largest_array: f64,
    /// The weights.
    pub weights: f64,
    /// A gradient for each weight that is trained.
    pub gradients: f64,
    /// What the optimiser keeps of each.
    pub moments: f64,
    /// Activations of one micro-batch that are kept for the backward pass.
    pub activations: f64,
}

impl Memory {
    /// Sum of all parts.
    pub fn total(&self) -> f64 {
        self.examples + self.on_gpu()
    }

    /// What the host needs if a GPU trains: the examples, and the weights, which are drawn on the host.
    pub fn beside_gpu(&self) -> f64 {
        self.examples + self.batch + self.weights
    }

    /// What a GPU needs to train.
    pub fn on_gpu(&self) -> f64 {
        self.parts().iter().map(|(_, bytes)| bytes).sum()
    }

    /// The parts of what a GPU needs to train, by name.
    pub fn parts(&self) -> [(&'static str, f64); 5] {
        [
            ("weights", self.weights),
            ("gradients", self.gradients),
            ("moments", self.moments),
            ("activations", self.activations),
            ("batch", self.batch),
        ]
    }

    /// What answers without training need of it.
    #[must_use]
    pub fn of_answers(self) -> Self {
        Self { gradients: 0.0, moments: 0.0, activations: 0.0, ..self }
    }
}

impl Experiment {
    /// The experiment of a network that was constructed for a task; its training settings are defaults without effect.
    ///
    /// # Errors
    /// [`Error::Constructed`] with everything that model and task get wrong.
    pub fn of_construction(task: TaskConfig, model: ModelConfig, seed: u64) -> Result<Self, Error> {
        let experiment = Self {
            seed,
            task,
            model,
            init_from: None,
            data: DataConfig::default(),
            optimizer: OptimizerConfig::default(),
            schedule: Schedule::default(),
            train: TrainConfig::default(),
            finetune: FinetuneConfig::default(),
        };
        let problems = experiment.problems();
        if problems.is_empty() { Ok(experiment) } else { Err(Error::Constructed(problems)) }
    }

    /// The sizes of inputs and outputs that the task gives to the model.
    pub fn dims(&self) -> IoDims {
        let TaskDims { seq_len, input, d_out } = self.task.dims();
        let input = match input {
            TaskInput::Continuous { d_in } => InputDims::Continuous { d_in },
            TaskInput::Tokens { vocab } => InputDims::Tokens { vocab },
        };
        IoDims { seq_len, input, d_out }
    }

    /// Number of examples in a micro-batch.
    pub fn micro_batch(&self) -> usize {
        self.data.largest_batch(self.train.batch_size)
    }

    /// Where examples come from, with the numbers that the task holds in the place of `whole`.
    pub fn examples(&self) -> DataConfig {
        match &self.data {
            DataConfig::Whole {} => {
                let [validation, test] = self.task.held_evaluation().unwrap_or_default();
                DataConfig::Fresh { validation, test }
            }
            data => data.clone(),
        }
    }

    /// Lower bounds on the memory that training needs. On the CPU all of it is memory of the machine.
    pub fn memory(&self) -> Memory {
        let (dims, budget) = (self.dims(), self.budget());
        // Targets beside tokens are classes, one number each.
        let (width, target) = match dims.input {
            InputDims::Continuous { d_in } => (d_in, dims.d_out),
            InputDims::Tokens { .. } => (1, 1),
        };
        let examples = self.examples();
        let of_part = |split| examples.size(split) as f64;
        let held = of_part(Split::Train) + of_part(Split::Validation) + of_part(Split::Test);
        let micro_batch = self.micro_batch() as f64;
        let numbers = |positions: usize, width: usize| 4.0 * positions as f64 * width as f64;
        let asked = self.task.asked();
        let example = numbers(dims.seq_len, width) + numbers(asked, target);
        let weights = 4.0 * budget.parameters as f64;
        // Which weights are trained is known only with the network; where some are frozen, a lower bound counts none.
        let trained = if matches!(self.finetune, FinetuneConfig::Full) { weights } else { 0.0 };
        Memory {
            examples: held * example,
            batch: micro_batch * self.train.accumulate as f64 * example,
            largest_array: micro_batch * numbers(dims.seq_len, width).max(numbers(asked, target)),
            weights,
            gradients: trained,
            moments: if trained > 0.0 { 4.0 * self.optimizer.moments(&self.model, &dims) } else { 0.0 },
            activations: budget.activation_bytes as f64 * self.micro_batch() as f64,
        }
    }

    /// Learning rate of an update, counted from 1: the optimiser's rate times the factor of the schedule.
    pub fn learning_rate(&self, step: u64) -> f64 {
        self.optimizer.learning_rate() * self.schedule.factor(step, self.train.steps)
    }

    /// Cost of the model, whose predictions are computed where the loss looks alone.
    pub fn budget(&self) -> Budget {
        let (asked, scored) = (self.task.asked() as f64, self.task.scored());
        self.model.budget_at(&self.dims(), if pays_to_pick(scored, asked) { scored } else { asked })
    }

    /// Floating-point operations of one update with full micro-batches, by the model's budget.
    pub fn step_flops(&self) -> f64 {
        let budget = self.budget();
        budget.step_flops(self.micro_batch()) as f64 * self.train.accumulate as f64
    }

    /// Floating-point operations of all training steps, by the model's budget.
    pub fn training_flops(&self) -> f64 {
        let batches = self.train.steps.saturating_mul(self.train.accumulate);
        self.budget().step_flops(1) as f64 * self.data.examples_of(batches, self.train.batch_size)
    }

    /// Whether a validation set is scored during training.
    pub fn validates(&self) -> bool {
        self.train.eval_every > 0 && self.examples().size(Split::Validation) > 0
    }

    /// The resolved config as TOML.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).unwrap_or_else(|_| unreachable!("every field of an experiment has a TOML form"))
    }

    /// The resolved config as a table.
    pub fn to_table(&self) -> toml::Table {
        toml::Table::try_from(self).unwrap_or_else(|_| unreachable!("every field of an experiment has a TOML form"))
    }

    /// Digest of the resolved config, which resuming compares. Data files enter it by their digests, not by their
    /// paths.
    pub fn digest(&self) -> String {
        let experiment = Self { task: self.task.clone().without_place(), ..self.clone() };
        digest(experiment.to_toml().as_bytes())
    }

    /// Identity of a run: twelve hexadecimal digits of the digest of the resolved config without the seed, then the
    /// seed.
    pub fn run_id(&self) -> String {
        let unseeded = Self { seed: 0, ..self.clone() };
        format!("{}-{}", &unseeded.digest()[..12], self.seed)
    }

    /// Names of the model's parameters, with those of its adapter; none if there is no such model.
    fn parameter_names(&self) -> Vec<String> {
        let device = Device::flex();
        let Ok(model) = self.model.uninitialized(&self.dims(), &device) else { return Vec::new() };
        let model = match self.finetune.adapter() {
            Some(adapter) => model.with_adapter(adapter, None, &device),
            None => model,
        };
        weights::names(&model).into_iter().map(|(name, _)| name).collect()
    }

    /// Violations of the rules that serde cannot express, as (key, message).
    pub fn problems(&self) -> Vec<(String, String)> {
        let mut problems: Vec<(String, String)> = Vec::new();
        let mut refuse = |key: &str, message: &str| problems.push((key.to_owned(), message.to_owned()));
        let train = &self.train;
        if self.seed > LARGEST_SEED {
            refuse("seed", &format!("must be at most {LARGEST_SEED}"));
        }
        for (key, value) in [
            ("train.steps", train.steps),
            ("train.batch_size", train.batch_size as u64),
            ("train.accumulate", train.accumulate),
            ("train.log_every", train.log_every),
        ] {
            if value == 0 {
                refuse(key, "must be at least 1");
            }
        }
        let batches = train.steps.checked_mul(train.accumulate);
        if batches.and_then(|batches| batches.checked_mul(train.batch_size as u64)).is_none() {
            refuse("train.steps", "times accumulate and batch_size is more than can be counted");
        }
        if train.precision == Precision::F16 {
            let message = "f16 is for attention alone, see train.attention_precision; choose f32, tf32 or bf16";
            refuse("train.precision", message);
        }
        if train.attention_precision != Precision::F32 && !self.model.takes_attention_precision() {
            let problem = format!("{} computes attention in f32 alone", self.model.name());
            refuse("train.attention_precision", &problem);
        }
        if train.clip_norm.is_some_and(|norm| !(norm > 0.0 && norm.is_finite())) {
            refuse("train.clip_norm", "must be positive; leave it out for no clipping");
        }
        if train.early_stopping.is_some() && !self.validates() {
            refuse("train.early_stopping", "needs validation: set train.eval_every and data.*.validation above 0");
        }
        if train.early_stopping.as_ref().is_some_and(|early| early.patience == 0) {
            refuse("train.early_stopping.patience", "must be at least 1");
        }
        if train.early_stopping.as_ref().is_some_and(|early| !(early.min_delta >= 0.0 && early.min_delta.is_finite())) {
            refuse("train.early_stopping.min_delta", "must be 0 or more");
        }
        for (at, &times) in train.test_lengths.iter().enumerate() {
            if times < 2 || train.test_lengths[..at].contains(&times) {
                refuse(
                    "train.test_lengths",
                    "are different whole numbers, 2 and more; the length itself is tested in any case",
                );
            }
        }
        if train.steps > 0 && self.schedule.warmup_steps() > train.steps {
            refuse("schedule", "warmup_steps is longer than train.steps");
        }
        if let Schedule::Linear { final_fraction, .. } | Schedule::Cosine { final_fraction, .. } = self.schedule
            && !(0.0..=1.0).contains(&final_fraction)
        {
            refuse("schedule", "final_fraction must be between 0 and 1");
        }
        problems.extend(
            self.data.validate().into_iter().map(TaskError::into_parts).map(|(key, p)| (format!("data.{key}"), p)),
        );
        let optimizer = self.optimizer.problems().into_iter();
        problems
            .extend(optimizer.map(|(key, problem)| (format!("optimizer.{}.{key}", self.optimizer.name()), problem)));
        let task = self.task.validate();
        let sound = task.is_empty();
        problems.extend(self.boxes(sound));
        if let Some(end) = self.task.curriculum_end().filter(|_| sound) {
            let key = format!("task.{}.curriculum", self.task.name());
            let batches = train.steps.saturating_mul(train.accumulate);
            if self.task.starts_shorter() && !self.model.takes_shorter_sequences() {
                let problem = format!(
                    "begins with shorter sequences, and {} takes one length alone: set points_start to n_points, or use [model.transformer]",
                    self.model.name()
                );
                problems.push((key.clone(), problem));
            }
            if matches!(self.data, DataConfig::Fixed { .. }) {
                problems.push((key, "needs new examples at every step: use [data.fresh]".to_owned()));
            } else if batches > 0 && end >= batches {
                let problem = format!(
                    "reaches full size at batch {end}, training has {batches}: raise train.steps or the growth"
                );
                problems.push((key, problem));
            }
        }
        if let Some(held) = self.task.held_examples().filter(|_| sound) {
            problems.extend(beyond(&self.data, held));
        }
        if sound {
            problems.extend(not_whole(&self.data, &self.task));
        }
        problems.extend(self.finetune.problems(&self.model));
        let task = task.into_iter().map(TaskError::into_parts);
        problems.extend(task.map(|(key, p)| (join(&format!("task.{}", self.task.name()), key), p)));
        // If the task is invalid, its sizes are unknown; then only problems that occur for any sizes are reported.
        let model = if sound { self.model.validate(&self.dims()) } else { wrong_for_any_task(&self.model) };
        let model = model.into_iter();
        problems.extend(model.map(|p| (join(&format!("model.{}", self.model.name()), p.key), p.problem)));
        let further = self.further(&problems);
        problems.extend(further);
        problems
    }

    /// What is wrong with the boxes that examples come from, of a task that is `sound` or not.
    fn boxes(&self, sound: bool) -> Vec<(String, String)> {
        let TrainConfig { worst_boxes, worst_share, .. } = &self.train;
        let mut problems = Vec::new();
        let mut refuse = |key: &str, problem: &str| problems.push((format!("train.{key}"), problem.to_owned()));
        if worst_share.is_some_and(|share| !(share > 0.0 && share <= 1.0)) {
            refuse("worst_share", "must be above 0 and at most 1");
        }
        if worst_share.is_some() && worst_boxes.is_none() {
            refuse("worst_share", "is the share of train.worst_boxes, which is not given");
        }
        if worst_boxes.is_some() && !matches!(self.data, DataConfig::Fresh { .. }) {
            refuse("worst_boxes", "are for examples that are drawn anew; with a fixed training set, leave them out");
        }
        if let (Some(WorstBoxes::Boxes(boxes)), true) = (worst_boxes, sound) {
            let TaskDims { seq_len, input, .. } = self.task.dims();
            let width = if let TaskInput::Continuous { d_in } = input { seq_len * d_in } else { 0 };
            boxes.problem(width).into_iter().for_each(|problem| refuse("worst_boxes", &problem));
        }
        problems
    }

    /// Problems that are told beside others: where there are none, what does not fit; and lost numbers, of keys that are not wrong for another reason.
    fn further(&self, problems: &[(String, String)]) -> Vec<(String, String)> {
        let unfit = if problems.is_empty() { self.unfit() } else { Vec::new() };
        let is_told = |key: &str| problems.iter().chain(&unfit).any(|(other, _)| key.starts_with(other.as_str()));
        let lost: Vec<_> = self.lost_numbers().filter(|(key, _)| !is_told(key)).collect();
        unfit.into_iter().chain(lost).collect()
    }

    /// What does not fit a sound model and task: patterns of the optimiser that match nothing, and lengths that they do not have.
    fn unfit(&self) -> Vec<(String, String)> {
        let stray = self.optimizer.strays(|| self.parameter_names()).into_iter();
        let stray = stray.map(|(key, problem)| (format!("optimizer.{}.{key}", self.optimizer.name()), problem));
        let beyond = self.train.test_lengths.iter().find_map(|times| self.at_length(*times).err());
        stray.chain(beyond.map(|problem| ("train.test_lengths".to_owned(), problem))).collect()
    }
}

/// What is wrong if the data section requests more examples than a file has.
fn beyond(data: &DataConfig, held: [usize; 3]) -> Vec<(String, String)> {
    let DataConfig::Fixed { train, validation, test } = *data else {
        let problem = "asks for new examples at every step, and a file has no more than it has: leave [data] out, or use [data.fixed]";
        let key = if matches!(data, DataConfig::Whole {}) { "data.whole" } else { "data.fresh" };
        return vec![(key.to_owned(), problem.to_owned())];
    };
    let asked = [("train", train), ("validation", validation), ("test", test)];
    let too_many = asked.into_iter().zip(held).filter(|((_, asked), held)| asked > held);
    let problem = |((part, asked), held)| {
        (
            format!("data.fixed.{part}"),
            format!("{asked} examples, and the split of the file has {held}; leave [data] out for all"),
        )
    };
    too_many.map(problem).collect()
}

/// What is wrong with the data section if it asks for what the task holds, and the task holds nothing, or for more than it
/// holds.
fn not_whole(data: &DataConfig, task: &TaskConfig) -> Vec<(String, String)> {
    let (asked, held) = match (data, task.held_evaluation()) {
        (DataConfig::Whole {}, None) if task.held_examples().is_none() => {
            let problem = format!("{} holds no fixed validation and test examples: use [data.fresh]", task.name());
            return vec![("data.whole".to_owned(), problem)];
        }
        (DataConfig::Fresh { validation, test }, Some(held)) => {
            ([("fresh.validation", *validation), ("fresh.test", *test)], held)
        }
        (DataConfig::Fixed { validation, test, .. }, Some(held)) => {
            ([("fixed.validation", *validation), ("fixed.test", *test)], held)
        }
        (_, _) => return Vec::new(),
    };
    let too_many = asked.into_iter().zip(held).filter(|((_, asked), held)| asked > held);
    let problem = |((key, asked), held)| {
        (format!("data.{key}"), format!("{asked} examples, and {} holds {held}; leave [data] out for all", task.name()))
    };
    too_many.map(problem).collect()
}

/// Problems of a model alone: those that occur with two very different choices of sizes.
fn wrong_for_any_task(model: &ModelConfig) -> Vec<ConfigError> {
    let wrong =
        |seq_len, d_in, d_out| model.validate(&IoDims { seq_len, input: InputDims::Continuous { d_in }, d_out });
    let with_others = wrong(1, 1, 1);
    wrong(64, 48, 32).into_iter().filter(|problem| with_others.contains(problem)).collect()
}

/// A key below a table; either part may be empty.
fn join(parent: &str, key: &str) -> String {
    let dot = if parent.is_empty() || key.is_empty() { "" } else { "." };
    format!("{parent}{dot}{key}")
}
