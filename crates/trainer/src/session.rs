//! A session of training: the only place that builds loader, optimiser, schedule and strategy, and records how they
//! ended.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
    time::{Duration, Instant},
};

use burn::{
    optim::SgdConfig,
    tensor::Device,
    train::{
        Interrupter, Learner, SupervisedTraining, TrainingStrategy, logger::InMemoryMetricLogger, metric::LossMetric,
    },
};
use headway_model::{Model, weights};
use headway_tasks::{Source, Split};

use crate::{
    checkpoint::{Checkpoint, CheckpointConfig, Resumable, TrainState},
    device::OpenDevice,
    error::Error,
    evaluate,
    event::{Event, OnEvent},
    experiment::{Experiment, KeepLast},
    freeze, json, lengths,
    loader::{Evaluation, Training},
    machine,
    prefetch::Waits,
    provenance::{self, Lineage, Record, Status, Summary},
    room,
    run_dir::RunDir,
    step::TrainableModel,
    strategy::{Outcome, StepStrategy},
};

/// Options of a session that are not part of the experiment.
#[derive(Clone)]
pub struct Options {
    /// Device to train on.
    pub device: OpenDevice,
    /// Time after which to save a checkpoint and stop; `None` for no limit.
    pub max_time: Option<Duration>,
    /// Stops training after the current micro-batch; an unfinished update is dropped.
    pub interrupter: Interrupter,
    /// Set to request a checkpoint of the last whole update after the current micro-batch; training continues.
    pub save_now: Arc<AtomicBool>,
    /// Called for every logged step, validation and checkpoint.
    pub on_event: OnEvent,
}

impl Options {
    /// Training that shows nothing and goes to its end, unless these fields are set otherwise.
    pub fn new(device: OpenDevice) -> Self {
        Self {
            device,
            max_time: None,
            interrupter: Interrupter::new(),
            save_now: Arc::default(),
            on_event: Arc::new(|_| ()),
        }
    }
}

/// The state from which a session starts.
pub struct InitialState {
    /// The network.
    pub model: Model,
    /// Its examples.
    pub(crate) source: Source,
    /// Optimiser and step to continue from; `None` to start at step 0.
    pub(crate) resumable: Option<Resumable>,
    pub(crate) run: RunOrigin,
}

/// The run that a session belongs to.
pub enum RunOrigin {
    /// A new run: its verb and where its weights came from.
    New(&'static str, Option<Box<Lineage>>),
    /// A run with a record.
    Known(Box<Record>),
    /// A run whose record was lost: its verb and where its weights came from.
    Unrecorded(&'static str, Option<Box<Lineage>>),
}

/// A run whose training has ended but whose record does not say so yet. Make its page first and then call
/// [`Finished::conclude`], so that a run recorded as complete has its page.
pub struct Finished {
    /// Its folder, locked against other processes.
    pub dir: Arc<RunDir>,
    /// Its experiment.
    pub experiment: Experiment,
    /// Its record, with the results.
    pub record: Record,
    /// The network; `None` unless training is complete and its scores are finite.
    pub model: Option<Model>,
    /// Its examples.
    pub source: Arc<Source>,
    /// The network's device.
    pub device: Device,
    /// The error with which the run ended.
    error: Option<Error>,
}

impl Finished {
    /// Writes the record.
    ///
    /// # Errors
    /// The error with which the run ended: [`Error::Diverged`], or [`Error::NotFinite`] for scores; or [`Error::Io`]
    pub fn conclude(self) -> Result<Summary, Error> {
        save_record(&self.dir, &self.record)?;
        if let Some(error) = self.error {
            return Err(error);
        }
        if self.record.status.is_final() && self.experiment.train.keep_last == KeepLast::Newest(0) {
            keep_the_best(&self.dir)?;
        }
        Ok(summary(&self.dir, self.record, &self.experiment))
    }
}

/// Deletes every checkpoint of a run but the best, or the newest of one that was never validated, and those that are being read.
fn keep_the_best(dir: &RunDir) -> Result<(), Error> {
    let best = Checkpoint::find(dir.root())?;
    let mut others = dir.checkpoints()?.into_iter().filter(|checkpoint| checkpoint.path != best.path);
    others
        .try_for_each(|checkpoint| if checkpoint.is_being_read() { Ok(()) } else { dir.delete_checkpoint(&checkpoint) })
}

/// Trains until the last step or until there is a reason to stop, and evaluates.
///
/// # Errors
/// [`Error::Device`] if the device runs out of memory, with what training needs.
pub(crate) fn run(
    experiment: &Experiment,
    dir: RunDir,
    options: &Options,
    start: InitialState,
) -> Result<Finished, Error> {
    room::ensure_on_gpu(&options.device, experiment)?;
    room::within(&options.device, &experiment.memory(), || run_in_room(experiment, dir, options, start))
}

fn run_in_room(
    experiment: &Experiment,
    dir: RunDir,
    options: &Options,
    start: InitialState,
) -> Result<Finished, Error> {
    let dir = Arc::new(dir);
    let lineage = match &start.run {
        RunOrigin::New(_, lineage) | RunOrigin::Unrecorded(_, lineage) => lineage.as_deref().cloned(),
        RunOrigin::Known(record) => record.lineage.clone(),
    };
    let fresh = lineage.as_ref().map(Lineage::fresh).unwrap_or_default();
    let (model, frozen) = freeze::freeze(start.model, &experiment.finetune, &experiment.model, &fresh)?;
    let is_new = matches!(start.run, RunOrigin::New(..));
    let mut record = match start.run {
        RunOrigin::New(verb, lineage) | RunOrigin::Unrecorded(verb, lineage) => {
            new_record(experiment, options, &model, frozen, verb, lineage.map(|lineage| *lineage))
        }
        RunOrigin::Known(record) => *record,
    };
    record.status = Status::Running;
    record.results.clear();
    record.captured = None;
    save_record(&dir, &record)?;
    if is_new {
        // Written after the record: a run with a config to resume from then always records where its weights came from.
        dir.write(&dir.experiment(), experiment.to_toml().as_bytes())?;
    }

    let saved = start.resumable.as_ref().map(|resumable| resumable.state.step);
    let resumable = start.resumable.unwrap_or_else(|| Resumable {
        state: TrainState { experiment: experiment.digest(), ..TrainState::default() },
        moments: BTreeMap::new(),
    });
    let source = Arc::new(start.source);
    (options.on_event)(&Event::Begun {
        root: dir.root().to_owned(),
        experiment: Arc::new(experiment.clone()),
        source: Arc::clone(&source),
        step: resumable.state.step,
    });
    let began = Instant::now();
    let outcome = train(experiment, &dir, options, model, (resumable, saved, lineage), &source);
    record.seconds += began.elapsed().as_secs_f64();
    let (mut model, mut error) = (None, None);
    match outcome {
        Ok((outcome, waits)) => {
            record.waits = waits.map(|waits| record.waits.unwrap_or_default() + waits);
            (record.status, record.step) = (outcome.status, outcome.step);
            record.captured.clone_from(&outcome.captured);
            if outcome.status.is_final() {
                record.results = evaluate::results(&outcome.model, experiment, &source, &options.device.device);
                if record.is_scored() {
                    lengths::extend(&mut record.results, &outcome.model, experiment, &options.device)?;
                    model = Some(outcome.model);
                } else {
                    record.status = Status::Diverged;
                    error = Some(Error::not_finite(evaluate::SCORES, experiment.train.attention_precision));
                }
            }
        }
        Err(diverged @ Error::Diverged { step, .. }) => {
            (record.status, record.step) = (Status::Diverged, step);
            save_record(&dir, &record)?;
            // Scoring may fail for lack of memory, but what matters is that the run diverged.
            let Ok(results) = evaluate::without_network(experiment, &source, &options.device) else {
                return Err(diverged);
            };
            (record.results, error) = (results, Some(diverged));
        }
        Err(error) => return Err(error),
    }
    let device = options.device.device.clone();
    Ok(Finished { dir, experiment: experiment.clone(), record, model, source, device, error })
}

fn train(
    experiment: &Experiment,
    dir: &Arc<RunDir>,
    options: &Options,
    model: Model,
    (start, saved, lineage): (Resumable, Option<u64>, Option<Lineage>),
    source: &Arc<Source>,
) -> Result<(Outcome, Option<Waits>), Error> {
    let plan = &experiment.train;
    let number = |step: u64| step.saturating_mul(plan.accumulate);
    let batches = number(start.state.step)..number(plan.steps.max(start.state.step));
    let training = Training::new(source.clone(), batches, &options.device, &experiment.memory());
    let trainable = TrainableModel { model, loss: plan.loss };
    let strategy = Arc::new(StepStrategy {
        config: CheckpointConfig {
            format: 1,
            model: experiment.model.clone(),
            dims: experiment.dims(),
            experiment: experiment.clone(),
            scale: source.task().scale(),
            answer: source.task().answer(),
        },
        dir: dir.clone(),
        device: options.device.device.clone(),
        scores: evaluate::empty(experiment.train.loss, source.task()),
        max_time: options.max_time,
        save_now: options.save_now.clone(),
        on_event: options.on_event.clone(),
        start,
        saved,
        lineage,
        outcome: Mutex::new(None),
    });
    // The learner's own optimiser is never used; see the top of `strategy.rs`.
    let learner = Learner::new(trainable, SgdConfig::new().init(), 0.0);
    let result = SupervisedTraining::new(
        dir.root(),
        Arc::new(training.clone()),
        Arc::new(Evaluation::of(source, Split::Validation)),
    )
    .with_training_strategy(TrainingStrategy::Custom(strategy.clone()))
    .with_metric_logger(InMemoryMetricLogger::new())
    .with_application_logger(None)
    .with_interrupter(options.interrupter.clone())
    .metric_train_numeric(LossMetric::new())
    .renderer(Box::new(Quiet))
    .launch(learner);
    let outcome = strategy.outcome.lock().unwrap_or_else(PoisonError::into_inner).take();
    match (result.error, outcome) {
        (_, Some(Err(error))) => Err(error),
        (Some(error), _) => Err(Error::Training(error.to_string())),
        (None, Some(Ok(outcome))) => Ok((outcome, training.waits())),
        (None, None) => Err(Error::Training("the training loop never ran".to_owned())),
    }
}

fn new_record(
    experiment: &Experiment,
    options: &Options,
    model: &Model,
    frozen: usize,
    verb: &str,
    lineage: Option<Lineage>,
) -> Record {
    let parameters = weights::count(model);
    Record {
        run_id: experiment.run_id(),
        verb: verb.to_owned(),
        command: provenance::command_line(),
        version: provenance::version(),
        platform: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        device: format!("{} ({})", options.device.spec, options.device.name),
        precision: experiment.train.precision,
        attention_precision: experiment.train.attention_precision,
        threads: machine::threads(),
        parameters,
        frozen_parameters: frozen,
        captured: None,
        data_sha256: experiment.task.data_sha256().map(str::to_owned),
        lineage,
        started: provenance::now(),
        seconds: 0.0,
        waits: None,
        status: Status::Running,
        step: 0,
        results: Vec::new(),
    }
}

fn save_record(dir: &RunDir, record: &Record) -> Result<(), Error> {
    dir.write(&dir.record(), &json::file(record)?)
}

/// The summary of a run, from its record.
pub(crate) fn summary(dir: &RunDir, record: Record, experiment: &Experiment) -> Summary {
    let padding = evaluate::padding(experiment, &record.results);
    let other = another_is_best(dir, &record);
    Summary::new(dir.root(), record.status, record.step, record.seconds, record.results)
        .remarked(padding)
        .remarked(other)
}

/// That other verbs take another step than the one whose scores are shown, where they do.
fn another_is_best(dir: &RunDir, record: &Record) -> Option<String> {
    let best = Checkpoint::find(dir.root()).ok()?.step?;
    let step = record.step;
    (record.status.is_final() && !record.results.is_empty() && best != step).then(|| {
        format!("These are scores of the last step, {step}; `eval`, `predict` and `analyze` take the best by validation, step {best}.")
    })
}

/// A renderer that draws nothing, since progress is shown by [`Event`]s.
struct Quiet;

mod quiet {
    use burn::train::{
        logger::{EvaluationProgressLogger, TrainingProgressLogger},
        metric::MetricDefinition,
        renderer::{EvaluationName, MetricState, MetricsRenderer, MetricsRendererEvaluation, MetricsRendererTraining},
    };

    use super::Quiet;

    impl MetricsRendererTraining for Quiet {
        fn update_train(&mut self, _state: MetricState) {}
        fn update_valid(&mut self, _state: MetricState) {}
    }

    impl MetricsRendererEvaluation for Quiet {
        fn update_test(&mut self, _name: EvaluationName, _state: MetricState) {}
    }

    impl TrainingProgressLogger for Quiet {
        fn start(&mut self, _epochs: usize, _first: usize, _items: Option<usize>, _label: Option<&str>) {}
        fn update_epoch(&mut self, _epoch: usize) {}
        fn start_split(&mut self, _split: &str, _items: usize) {}
        fn update_split(&mut self, _items: usize) {}
        fn end_split(&mut self) {}
        fn end(&mut self) {}
        fn log_event_training(&mut self, _event: String) {}
    }

    impl EvaluationProgressLogger for Quiet {
        fn start_global_progress(&mut self, _tests: usize) {}
        fn start_test(&mut self, _name: &str, _items: usize) {}
        fn update_test_progress(&mut self, _items: usize) {}
        fn end_test(&mut self) {}
        fn end_global_progress(&mut self) {}
        fn log_event_evaluation(&mut self, _event: String) {}
    }

    impl MetricsRenderer for Quiet {
        fn manual_close(&mut self) {}
        fn register_metric(&mut self, _definition: MetricDefinition) {}
    }
}
