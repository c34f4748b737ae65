//! Steps of training captured once and replayed, where a device can: what a launch costs on the host is then paid once.
//!
//! The first steps of a kind are run launch by launch, and are steps like any other: they make the memory and choose the kernels that
//! the capture needs. The next one is captured and replayed at once, and so are all that follow, each after what differs was written
//! where the launches read it: the batch, the learning rate, the corrections of Adam, what adapters drop. Weights and moments stay where they are.

use burn::{
    module::{Module, ModuleVisitor, Param},
    tensor::{Device, Tensor},
};
use headway_kernels::{
    DropSeed,
    capture::{self, Captured, Place},
    counts_launches,
};
use headway_model::weights;

use crate::{
    error::Error,
    experiment::{CaptureConfig, Experiment},
    micro_batch::MicroBatch,
    notice,
    on_device::{Layout, OnDevice},
    optimizer::Optimizer,
    provenance::CapturedSteps,
    step::{Losses, TrainableModel, Update},
};

/// Steps of a kind that are run launch by launch before one is captured.
const WARM_UP: u64 = 2;
/// Kinds of steps, by the layouts of their batches, that are kept captured at most; each keeps the memory of a step.
const MOST: usize = 8;
/// Steps after which a captured one that was not replayed makes room for another kind.
const IDLE: u64 = 64;

/// How the steps of a session are run.
pub(crate) struct Capture {
    device: Device,
    clip_norm: Option<f64>,
    state: State,
    kinds: Vec<Kind>,
    /// Whether the device was told that a capture follows.
    prepared: bool,
    /// Where weights and moments lay when the steps were captured.
    places: Vec<Option<Place>>,
    /// Whether a step was run launch by launch since then, which may have moved them.
    disturbed: bool,
    /// Steps taken, and those of them that were replays.
    steps: u64,
    replayed: u64,
}

/// Whether more steps are going to be captured.
enum State {
    /// On a device where a launch costs nothing, so that nobody asks.
    Pointless,
    /// No, for this reason.
    Refused(String),
    /// Yes.
    Willing,
}

/// Steps whose batches are laid out alike.
struct Kind {
    layouts: Vec<Layout>,
    /// Steps that were run launch by launch.
    warmed: u64,
    /// The last step of the kind.
    last: u64,
    /// What a captured step reads; there from the last warm-up on, so that its memory is not what the capture lacks.
    batches: Vec<OnDevice>,
    /// What each batch drops, likewise.
    seeds: Vec<Option<DropSeed>>,
    /// The launches, and the losses that they leave.
    captured: Option<(Captured, Losses)>,
}

impl Capture {
    /// For the steps of an experiment on a device.
    pub(crate) fn new(experiment: &Experiment, device: &Device) -> Self {
        let refused = |why: &str| State::Refused(why.to_owned());
        let state = match experiment.train.capture {
            _ if !counts_launches(device) => State::Pointless,
            CaptureConfig::Off => refused("train.capture is \"off\""),
            CaptureConfig::Auto => {
                let on_host = experiment.model.works_on_the_host().or(experiment.optimizer.works_on_the_host());
                on_host.map_or(State::Willing, refused)
            }
        };
        Self {
            device: device.clone(),
            clip_norm: experiment.train.clip_norm,
            state,
            kinds: Vec::new(),
            prepared: false,
            places: Vec::new(),
            disturbed: false,
            steps: 0,
            replayed: 0,
        }
    }

    /// How many of the steps so far were replays; `None` where nobody asks.
    pub(crate) fn outcome(&self) -> Option<CapturedSteps> {
        let refused = match &self.state {
            State::Pointless => return None,
            State::Refused(why) => Some(why.clone()),
            State::Willing => None,
        };
        Some(CapturedSteps { replayed: self.replayed, steps: self.steps, refused })
    }

    /// Takes a step by a replay, and returns its losses; `None` if it is to be run launch by launch, with nothing done yet. Each batch
    /// has a seed if inputs of adapters are dropped.
    ///
    /// # Errors
    /// [`Error::Training`] when the device fails.
    pub(crate) fn step(
        &mut self,
        trainable: &mut TrainableModel,
        optimizer: &mut Optimizer,
        batches: &[MicroBatch],
        seeds: &[Option<u64>],
        rate: f64,
    ) -> Result<Option<Losses>, Error> {
        if matches!(self.state, State::Pointless) {
            return Ok(None);
        }
        self.steps += 1;
        if matches!(self.state, State::Refused(_)) && self.kinds.iter().all(|kind| kind.captured.is_none()) {
            return Ok(None);
        }
        if std::mem::take(&mut self.disturbed) && places(trainable, optimizer) != self.places {
            self.kinds.iter_mut().for_each(|kind| kind.captured = None);
        }
        let Some(at) = self.kind(batches.iter().map(MicroBatch::layout).collect()) else {
            self.disturbed = true;
            return Ok(None);
        };
        if matches!(self.state, State::Willing) && self.prepared && self.kinds[at].is_ready() {
            self.capture(at, trainable, optimizer);
        }
        let kind = &mut self.kinds[at];
        let Some((launches, losses)) = &kind.captured else {
            self.warm_up(at, trainable, batches, seeds);
            return Ok(None);
        };
        for (there, batch) in kind.batches.iter_mut().zip(batches) {
            batch.refill(there);
        }
        for (there, seed) in kind.seeds.iter_mut().zip(seeds) {
            if let (Some(there), Some(seed)) = (there, seed) {
                there.set(*seed);
            }
        }
        optimizer.begin(rate, &self.device);
        launches.replay().map_err(Error::Training)?;
        self.replayed += 1;
        Ok(Some(losses.clone()))
    }

    /// The step that was to be run launch by launch was given up.
    pub(crate) fn untaken(&mut self) {
        self.steps = self.steps.saturating_sub(1);
    }

    /// The kind of a step; `None` if there is no room for another.
    fn kind(&mut self, layouts: Vec<Layout>) -> Option<usize> {
        let at = self.kinds.iter().position(|kind| kind.layouts == layouts).or_else(|| {
            if self.kinds.len() >= MOST {
                let oldest = (0..MOST).min_by_key(|&at| self.kinds[at].last)?;
                if self.kinds[oldest].last + IDLE > self.steps {
                    return None;
                }
                self.kinds.swap_remove(oldest);
            }
            self.kinds.push(Kind {
                layouts,
                warmed: 0,
                last: 0,
                batches: Vec::new(),
                seeds: Vec::new(),
                captured: None,
            });
            Some(self.kinds.len() - 1)
        })?;
        self.kinds[at].last = self.steps;
        Some(at)
    }

    /// Gets ready for a step that is run launch by launch.
    fn warm_up(&mut self, at: usize, trainable: &TrainableModel, batches: &[MicroBatch], seeds: &[Option<u64>]) {
        self.disturbed = true;
        let kind = &mut self.kinds[at];
        kind.warmed += 1;
        if !kind.is_ready() || !matches!(self.state, State::Willing) {
            return;
        }
        if !self.prepared {
            match capture::prepare(&self.device) {
                Ok(()) => self.prepared = true,
                Err(why) => return self.refuse(why),
            }
        }
        let kind = &mut self.kinds[at];
        kind.batches = batches.iter().map(|batch| trainable.upload(batch)).collect();
        kind.seeds = seeds.iter().map(|seed| seed.map(|seed| DropSeed::new(seed, &self.device))).collect();
    }

    /// Captures a kind of step. If it cannot be done, weights and moments are put back, and no further one is tried.
    fn capture(&mut self, at: usize, trainable: &mut TrainableModel, optimizer: &mut Optimizer) {
        let places_before = places(trainable, optimizer);
        let (arrays, again) = (weights::arrays(&trainable.model), optimizer.saved(&self.device));
        let Kind { layouts, batches, seeds, .. } = &self.kinds[at];
        self.prepared = false;
        let captured = Captured::new(&self.device, || {
            let mut update = Update::of(layouts.iter().copied());
            for (batch, seed) in batches.iter().zip(seeds) {
                update.add(trainable, batch, seed.as_ref());
            }
            update.apply(trainable, optimizer, self.clip_norm)
        });
        let why = match captured {
            Ok(captured) if places(trainable, optimizer) == places_before => {
                self.kinds[at].captured = Some(captured);
                self.places = places_before;
                return;
            }
            Ok(_) => "its weights would not stay where they are".to_owned(),
            Err(why) => why,
        };
        self.kinds.iter_mut().for_each(|kind| (kind.captured, kind.batches) = (None, Vec::new()));
        (trainable.model, _) = weights::load_partial(trainable.model.clone(), arrays);
        *optimizer = again();
        self.refuse(why);
    }

    /// Gives back what captured steps keep, and takes back what was prepared; on the thread of the steps, whose queue it is.
    pub(crate) fn end(&mut self) {
        self.kinds.clear();
        if std::mem::take(&mut self.prepared) {
            capture::forget(&self.device);
        }
    }

    fn refuse(&mut self, why: String) {
        notice::say(format!("note: steps are launched one by one, since they cannot be captured: {why}"));
        self.state = State::Refused(why);
    }
}

impl Kind {
    /// Whether enough steps were run to capture the next.
    fn is_ready(&self) -> bool {
        self.warmed >= WARM_UP
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.end();
    }
}

/// Where weights and moments lie, in order.
fn places(trainable: &TrainableModel, optimizer: &Optimizer) -> Vec<Option<Place>> {
    struct Places(Vec<Option<Place>>);
    impl ModuleVisitor for Places {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.push(Place::of(&param.val()));
        }
    }
    let mut places = Places(Vec::new());
    trainable.model.visit(&mut places);
    places.0.extend(optimizer.places());
    places.0
}
