//! A burn-train strategy with steps instead of epochs, and with checkpoints from which training resumes to the bit.
//!
//! burn-train supplies the frame: dashboard, metrics, interrupter and loaders. The optimiser, schedule and
//! checkpointing of its `Learner` are not used, because they store state under random ids and by epoch, and panic if a
//! file is missing.

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    adapter,
    capture::Capture,
    checkpoint::{Checkpoint, CheckpointConfig, Resumable, TrainState},
    error::Error,
    evaluate,
    event::{Event, OnEvent},
    experiment::{Experiment, FinetuneConfig},
    fault,
    log::Line,
    metric::Scores,
    micro_batch::MicroBatch,
    optimizer::Optimizer,
    provenance::{CapturedSteps, Lineage, Status},
    run_dir::RunDir,
    step::{BatchLoss, Losses, TrainableModel, Update},
    tensorboard::Events,
};
use burn::{
    data::{dataloader::Progress, dataset::DatasetError},
    module::Module,
    tensor::{Device, Tensor},
    train::{
        EventProcessorTraining, Interrupter, Learner, LearnerEvent, SupervisedLearningStrategy,
        SupervisedTrainingEventProcessor, TrainLoader, TrainingComponents, TrainingItem, ValidLoader,
    },
};
use headway_kernels::{DropSeed, Reading};
use headway_model::{
    Model, Precision, Redraw,
    weights::{self, Array},
};
use headway_tasks::{Seed, Stream};
use rand::RngExt;

/// The loop over steps of one session.
pub(crate) struct StepStrategy {
    pub(crate) config: CheckpointConfig,
    pub(crate) dir: Arc<RunDir>,
    pub(crate) device: Device,
    pub(crate) scores: Scores,
    pub(crate) max_time: Option<Duration>,
    pub(crate) save_now: Arc<AtomicBool>,
    pub(crate) on_event: OnEvent,
    pub(crate) start: Resumable,
    /// Step of the checkpoint from which training continues; `None` for a new run.
    pub(crate) saved: Option<u64>,
    /// Where the initial weights came from.
    pub(crate) lineage: Option<Lineage>,
    /// Result of the loop, set when it ends.
    pub(crate) outcome: Mutex<Option<Result<Outcome, Error>>>,
}

/// How the loop ended.
pub(crate) struct Outcome {
    pub(crate) model: Model,
    pub(crate) step: u64,
    pub(crate) status: Status,
    /// How many steps were replays, on a device where that makes a difference.
    pub(crate) captured: Option<CapturedSteps>,
}

/// The loss of a logged step, which may still be on its way from the device.
struct Logged {
    step: u64,
    /// What each micro-batch counts.
    shares: Vec<f64>,
    losses: Reading,
    steps_per_second: f64,
}

type Processor = SupervisedTrainingEventProcessor<TrainableModel>;

impl SupervisedLearningStrategy<TrainableModel> for StepStrategy {
    fn fit(
        &self,
        components: TrainingComponents<TrainableModel>,
        learner: Learner<TrainableModel>,
        train: TrainLoader<TrainableModel>,
        validation: ValidLoader<TrainableModel>,
        _starting_epoch: usize,
    ) -> (TrainableModel, Processor) {
        let mut running = TrainLoop {
            plan: self,
            trainable: learner.model(),
            optimizer: Optimizer::restored(
                self.config.experiment.optimizer.clone(),
                self.start.state.step,
                self.start.moments.clone(),
                &self.device,
            ),
            capture: Capture::new(&self.config.experiment, &self.device),
            events: None,
            state: self.start.state.clone(),
            saved: self.saved,
            logged: None,
            processor: components.event_processor,
            interrupter: components.interrupter,
            began: Instant::now(),
        };
        // Runs inside the thread pool, so that no operation has to wake it: its tasks start on this thread.
        let result = rayon::scope(|_| {
            let result = running.run(&train, &validation);
            running.capture.end();
            result
        });
        let outcome = result.map(|status| Outcome {
            model: running.trainable.model.clone(),
            step: running.state.step,
            status,
            captured: running.capture.outcome(),
        });
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        (running.trainable, running.processor)
    }
}

struct TrainLoop<'a> {
    plan: &'a StepStrategy,
    trainable: TrainableModel,
    optimizer: Optimizer,
    capture: Capture,
    /// What TensorBoard reads, if it is asked for.
    events: Option<Events>,
    state: TrainState,
    /// Step of the newest checkpoint.
    saved: Option<u64>,
    /// The newest logged step, until its line is written.
    logged: Option<Logged>,
    processor: Processor,
    interrupter: Interrupter,
    began: Instant,
}

impl TrainLoop<'_> {
    fn run(
        &mut self,
        train: &TrainLoader<TrainableModel>,
        validation: &ValidLoader<TrainableModel>,
    ) -> Result<Status, Error> {
        let plan = &self.plan.config.experiment.train;
        let first = self.state.step;
        match self.saved {
            None => self.checkpoint()?,
            // A crash may have happened between saving a checkpoint and deleting older ones.
            Some(_) => self.forget_old_checkpoints()?,
        }
        if plan.tensorboard {
            self.events = Some(Events::begin(self.plan.dir.root(), first)?);
        }
        self.split(|progress| LearnerEvent::StartSplit { epoch_number: 1, total_items: progress });
        let mut batches = train.iter();
        while self.state.step < plan.steps {
            if self.patience_is_over() {
                self.checkpoint()?;
                return Ok(Status::StoppedEarly);
            }
            let losses = match self.step(&mut batches)? {
                ControlFlow::Continue(losses) => losses,
                ControlFlow::Break(status) => {
                    self.checkpoint()?;
                    return Ok(status);
                }
            };
            self.state.step += 1;
            self.redraw_kernels();
            let (step, last) = (self.state.step, self.state.step == plan.steps);
            let due = |every: u64| every > 0 && (last || step.is_multiple_of(every));
            if due(plan.log_every) {
                self.write_logged()?;
                self.log(losses, first);
            }
            let mut line = BTreeMap::new();
            let (validates, saves) = (due(plan.eval_every), last || due(plan.checkpoint_every));
            // Nothing waits for the device but what must: a GPU goes on with the next step meanwhile.
            if validates || saves || self.logged.as_ref().is_some_and(|logged| logged.losses.is_here()) {
                self.settle(&mut line)?;
            }
            let mut improved = false;
            if validates {
                improved = self.validate(validation, &mut line)?;
            }
            if !line.is_empty() {
                self.append(&Line { step, values: line })?;
            }
            if saves || improved {
                self.checkpoint()?;
            }
            fault::after_step(step);
        }
        Ok(Status::Complete)
    }

    /// Called between two micro-batches: why training should stop here, or `None`. Weights and moments are those of the
    /// last whole update.
    fn pause(&mut self) -> Result<Option<Status>, Error> {
        if self.interrupter.should_stop() {
            return Ok(Some(Status::Interrupted));
        }
        if self.plan.max_time.is_some_and(|limit| self.began.elapsed() >= limit) {
            return Ok(Some(Status::OutOfTime));
        }
        if self.plan.save_now.swap(false, Ordering::SeqCst) {
            self.checkpoint()?;
        }
        Ok(None)
    }

    /// One update from `accumulate` micro-batches, or the reason to stop before it.
    fn step(
        &mut self,
        batches: &mut impl Iterator<Item = Result<MicroBatch, DatasetError>>,
    ) -> Result<ControlFlow<Status, Losses>, Error> {
        let experiment = &self.plan.config.experiment;
        let (accumulate, clip_norm) = (experiment.train.accumulate, experiment.train.clip_norm);
        let rate = experiment.learning_rate(self.state.step + 1);
        let mut drawn = Vec::new();
        while (drawn.len() as u64) < accumulate {
            if let Some(status) = self.pause()? {
                return Ok(ControlFlow::Break(status));
            }
            let Some(batch) = batches.next() else { break };
            drawn.push(batch.map_err(|error| Error::Training(error.to_string()))?);
        }
        let first = self.state.step * accumulate;
        let seeds: Vec<Option<u64>> = (first..).map(|number| drop_seed(experiment, number)).take(drawn.len()).collect();
        if let Some(losses) = self.capture.step(&mut self.trainable, &mut self.optimizer, &drawn, &seeds, rate)? {
            return Ok(ControlFlow::Continue(losses));
        }
        let mut update = Update::of(drawn.iter().map(MicroBatch::layout));
        for (batch, seed) in drawn.iter().zip(seeds) {
            if let Some(status) = self.pause()? {
                self.capture.untaken();
                return Ok(ControlFlow::Break(status));
            }
            let seed = seed.map(|seed| DropSeed::new(seed, &self.plan.device));
            update.add(&self.trainable, &self.trainable.upload(batch), seed.as_ref());
        }
        self.optimizer.begin(rate, &self.plan.device);
        Ok(ControlFlow::Continue(update.apply(&mut self.trainable, &mut self.optimizer, clip_norm)))
    }

    /// Draws the buffers of kernels anew after every so many updates. They are a function of the seed and the number of the update, and
    /// saved with the weights.
    fn redraw_kernels(&mut self) {
        let experiment = &self.plan.config.experiment;
        let Some(Redraw { every, draw }) = experiment.model.redraw() else { return };
        if self.state.step.is_multiple_of(every.get()) {
            let mut rng = Seed(experiment.seed).rng(Stream::Redraw, self.state.step / every.get());
            self.trainable.model = self.trainable.model.clone().with_redrawn_kernels(&*draw, &mut rng);
        }
    }

    /// Asks for the loss of this step, of which [`Self::settle`] makes a line. Nothing is waited for.
    fn log(&mut self, losses: Losses, first: u64) {
        let step = self.state.step;
        let steps_per_second = (step - first) as f64 / self.began.elapsed().as_secs_f64();
        let (shares, losses) = losses.into_iter().unzip();
        self.logged = Some(Logged { step, shares, losses: Reading::begin(losses), steps_per_second });
    }

    /// Puts the loss of the newest logged step into `line`, or if that was an earlier step writes a line of its own. Waits until it
    /// is here.
    fn settle(&mut self, line: &mut BTreeMap<String, f64>) -> Result<(), Error> {
        let Some(Logged { step, shares, losses, steps_per_second }) = self.logged.take() else { return Ok(()) };
        let experiment = &self.plan.config.experiment;
        let steps = experiment.train.steps;
        let all: f64 = shares.iter().sum();
        let sum: f64 = shares.into_iter().zip(losses.end()).map(|(share, loss)| share * f64::from(loss)).sum();
        let mean = if all > 0.0 { sum / all } else { 0.0 };
        if !mean.is_finite() {
            // The loss of the first step is that of the initial weights.
            return Err(self.diverged(step, step == 1));
        }
        let values = [("train/loss".to_owned(), mean), ("learning_rate".to_owned(), experiment.learning_rate(step))];
        if step == self.state.step {
            line.extend(values);
        } else {
            self.append(&Line { step, values: values.into() })?;
        }
        (self.plan.on_event)(&Event::Logged { step, steps, loss: mean, steps_per_second });
        let progress = Progress::new(step as usize, steps as usize, Some("steps".to_owned()));
        // On the host, where whoever shows it needs it.
        let shown = Tensor::from_data([mean as f32], &Device::flex());
        let item = TrainingItem::new(BatchLoss(shown), progress, Some(step as usize), None);
        let shown = self.processor.process_train(LearnerEvent::ProcessedItem(item));
        self.interrupter.fail_on_error(shown);
        Ok(())
    }

    /// Appends to what the run logs.
    fn append(&self, line: &Line) -> Result<(), Error> {
        self.plan.dir.append_metrics(line)?;
        self.events.as_ref().map_or(Ok(()), |events| events.append(line))
    }

    /// Writes the line of the newest logged step if there is one that was not waited for.
    fn write_logged(&mut self) -> Result<(), Error> {
        let mut line = BTreeMap::new();
        self.settle(&mut line)?;
        if line.is_empty() { Ok(()) } else { self.append(&Line { step: self.state.step, values: line }) }
    }

    /// Scores the validation set and returns whether the score is the best so far.
    fn validate(
        &mut self,
        validation: &ValidLoader<TrainableModel>,
        line: &mut BTreeMap<String, f64>,
    ) -> Result<bool, Error> {
        if validation.num_items() == 0 {
            return Ok(false);
        }
        let experiment = &self.plan.config.experiment;
        let batches: Result<Vec<_>, _> = validation.iter().collect();
        let batches = batches.map_err(|error| Error::Training(error.to_string()))?;
        let model = self.trainable.model.valid();
        let scores = evaluate::score(&model, &self.plan.scores, &batches, &self.plan.device);
        self.give_back_memory();
        let scores = scores.values();
        let loss = scores.get("loss").copied().unwrap_or(f64::NAN) as f32;
        if !loss.is_finite() {
            return Err(self.diverged(self.state.step, false));
        }
        (self.plan.on_event)(&Event::Validated { step: self.state.step, scores: scores.clone() });
        line.extend(scores.into_iter().map(|(name, value)| (format!("validation/{name}"), value)));
        let min_delta = experiment.train.early_stopping.as_ref().map_or(0.0, |early| early.min_delta);
        Ok(self.state.evaluated(loss, min_delta))
    }

    fn patience_is_over(&self) -> bool {
        let early = self.plan.config.experiment.train.early_stopping.as_ref();
        early.is_some_and(|early| self.state.evaluations_since_best >= early.patience)
    }

    fn checkpoint(&mut self) -> Result<(), Error> {
        // What the checkpoint records about the file includes the line of every step before it.
        self.write_logged()?;
        let step = self.state.step;
        if self.saved == Some(step) {
            return Ok(());
        }
        let arrays = weights::arrays(&self.trainable.model);
        if self.first_bad_weight(&arrays).is_some() {
            return Err(self.diverged(step, false));
        }
        let resumable = Resumable { state: self.state.clone(), moments: self.optimizer.moments() };
        let (config, model, lineage) = (&self.plan.config, &self.trainable.model, self.plan.lineage.as_ref());
        let adapter = adapter::files(config, model, &arrays, lineage)?;
        let files = Checkpoint::files(config, &arrays, Some(&resumable), lineage, adapter)?;
        let path = self.plan.dir.save_checkpoint(step, files)?;
        self.saved = Some(step);
        self.give_back_memory();
        (self.plan.on_event)(&Event::Saved { step, path });
        self.forget_old_checkpoints()
    }

    /// After work with arrays of other sizes than a step's, which a GPU's pools would keep memory for.
    fn give_back_memory(&self) {
        self.plan.device.memory_cleanup();
    }

    fn forget_old_checkpoints(&self) -> Result<(), Error> {
        let all = self.plan.dir.checkpoints()?;
        let old = self.plan.config.experiment.train.keep_last.forgets(all.len());
        let best = self.state.best.map(|best| best.step);
        let forgotten = all[..old].iter().filter(|checkpoint| checkpoint.step != best);
        // A checkpoint that is being read will be deleted next time.
        forgotten
            .filter(|checkpoint| !checkpoint.is_being_read())
            .try_for_each(|checkpoint| self.plan.dir.delete_checkpoint(checkpoint))
    }

    /// The first parameter, in the model's order, that contains NaN or an infinity; `None` if all are finite.
    fn first_bad_weight(&self, arrays: &BTreeMap<String, Array>) -> Option<String> {
        let is_bad = |array: &Array| array.values.iter().any(|value| !value.is_finite());
        weights::names(&self.trainable.model)
            .into_iter()
            .map(|(name, _)| name)
            .find(|name| arrays.get(name).is_some_and(is_bad))
    }

    /// The error for divergence that a step showed; `at_first` if no update had been made before it.
    fn diverged(&self, step: u64, at_first: bool) -> Error {
        let tensor =
            self.first_bad_weight(&weights::arrays(&self.trainable.model)).unwrap_or_else(|| "the loss".to_owned());
        let kept = match self.plan.dir.checkpoints() {
            Ok(all) => all.last().map_or("nothing was saved before".to_owned(), |checkpoint| {
                format!("the last good state is {}", checkpoint.path.display())
            }),
            Err(error) => format!("what was saved before cannot be told: {error}"),
        };
        Error::Diverged { step, tensor, kept, remedy: self.remedy(at_first) }
    }

    /// What may help against numbers that are not finite.
    fn remedy(&self, at_first: bool) -> &'static str {
        match (self.plan.config.experiment.train.attention_precision, at_first) {
            (Precision::F16, true) => {
                "f16 ends at 65504, and no update was made yet: set train.attention_precision to bf16 or f32"
            }
            (Precision::F16, false) => {
                "f16 ends at 65504: set train.attention_precision to bf16 or f32, or else try a smaller learning rate or train.clip_norm"
            }
            (Precision::F32 | Precision::Tf32 | Precision::Bf16, true) => {
                "No update was made yet: inputs, targets or first weights are too large for single precision; make those of [task] smaller"
            }
            (Precision::F32 | Precision::Tf32 | Precision::Bf16, false) => {
                "Try a smaller learning rate or train.clip_norm"
            }
        }
    }

    fn split(&mut self, event: impl FnOnce(usize) -> LearnerEvent<BatchLoss>) {
        let shown = self.processor.process_train(event(self.plan.config.experiment.train.steps as usize));
        self.interrupter.fail_on_error(shown);
    }
}

/// Seed of what adapters drop in a micro-batch, a function of the experiment's and the index of the batch, as the batch itself is;
/// `None` if they drop nothing.
fn drop_seed(experiment: &Experiment, batch: u64) -> Option<u64> {
    let drops = matches!(&experiment.finetune, FinetuneConfig::Lora(lora) if lora.dropout > 0.0);
    drops.then(|| Seed(experiment.seed).rng(Stream::Dropout, batch).random())
}
