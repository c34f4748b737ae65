//! The logit lens: what the network would answer if it stopped after a layer, read by its own head, and what an affine
//! map could read from the state there.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use headway_model::{Model, last_rows, weights};
use headway_plain::{Ridge, network::Matrix};
use headway_tasks::{Batch, Split, Targets};
use serde::Serialize;

use super::{
    opened::{LoadedModel, Provenance, count, first},
    wording::counted,
};
use crate::error::Error;
use headway_trainer::{
    build,
    device::OpenDevice,
    loss::{self, Loss},
    metric::{ExampleScore, by_example, divergence, metric_name},
};

/// What can be read from the hidden state after every layer.
#[derive(Clone, Debug, Serialize)]
pub struct Lens {
    /// The analysed network.
    pub subject: Provenance,
    /// Number of test examples.
    pub examples: usize,
    /// Number of further examples to which affine maps were fitted.
    pub fitted_to: usize,
    /// Name of the metric besides the loss: `mse` or `accuracy`.
    #[serde(rename = "quality")]
    pub metric: &'static str,
    /// Kind of distance: mean squared difference of predictions, or divergence of distributions.
    pub distance: Distance,
    /// The state before the first layer (layer 0), then the state after each layer.
    pub layers: Vec<LensLayer>,
}

/// How the distance of a read-out from the network's own prediction is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Distance {
    /// Mean of (a − b)² over scored positions and channels.
    MeanSquared,
    /// Mean over scored positions of KL(final ‖ read-out), in nats.
    KullbackLeibler,
}

/// What can be read after one layer.
#[derive(Clone, Debug, Serialize)]
pub struct LensLayer {
    /// Index of the layer, from 1; 0 is the state before the first.
    pub layer: usize,
    /// Shape of the state, `[rows, width]`.
    pub shape: [usize; 2],
    /// Read by the network's own head; `None` if the state does not fit it.
    pub own: Option<Reading>,
    /// Read by the best affine map of the state, fitted to other examples; `None` if the state is too wide for one, or
    /// not finite.
    pub affine: Option<Reading>,
    /// Why a reading is missing; `None` if none is.
    pub note: Option<String>,
}

/// Scores of a read-out on test examples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Reading {
    /// Value of the training objective.
    pub loss: f64,
    /// Mean squared error, or share of correct classes.
    #[serde(rename = "quality")]
    pub metric: f64,
    /// Distance from the network's own prediction. For an affine map and targets that are numbers, it is the distance
    /// of a second map, fitted to that prediction.
    pub distance: f64,
}

/// Widest state for which an affine map is fitted; wider ones would take minutes.
const WIDEST: usize = 2048;

/// Largest number of values that one map is fitted to; if there are more, only the first examples are used.
const MOST_NUMBERS: usize = 1 << 23;
/// Largest number of positions whose states are held in memory for fitting …
const MOST_POSITIONS: usize = 1 << 16;
/// … but at least those of this many examples.
const FEWEST_FITTED: usize = 32;

/// Reads the state after every layer, on the first `examples` test examples.
///
/// # Errors
/// [`Error::NotFinite`](headway_trainer::Error::NotFinite) when the network's own prediction is not finite.
pub fn lens(opened: &LoadedModel, examples: usize, device: &OpenDevice) -> Result<Lens, Error> {
    let LoadedModel { model, experiment, provenance } = opened;
    let model = model.valid();
    let source = build::build_source(experiment)?;
    let test = first(source.evaluation(Split::Test), examples);
    let seq_len = experiment.dims().seq_len;
    let fit_set = source.fit_set().part(0..(MOST_POSITIONS / seq_len).max(FEWEST_FITTED));
    let parts = (0..fit_set.size).step_by(experiment.train.batch_size);
    let fit: Vec<Batch> = parts.map(|start| fit_set.part(start..start + experiment.train.batch_size)).collect();
    let classes = matches!(fit_set.targets, Targets::Classes(_));
    let (seen, fitted) = (States::of(&model, &test, &device.device), States::of(&model, &fit, &device.device));
    if !seen.prediction.iter().flatten().all(|value| value.is_finite()) {
        return Err(Error::not_finite("an answer", experiment.train.attention_precision));
    }
    let judge = Judge { loss: experiment.train.loss, batches: &test, width: seen.width, prediction: &seen.prediction };
    let Some(last) = seen.hidden.last().map(|state| state.shape) else {
        return Err(Error::Fault("the network has no layers"));
    };
    let layers = seen.hidden.iter().zip(&fitted.hidden).enumerate().map(|(layer, (state, other))| {
        let own =
            (state.shape == last).then(|| judge.reading(&state.read_out(&model, &test, &device.device), seen.width));
        let form = Form::of(&model, state.shape, seq_len);
        let affine = (form.width(state.shape) <= WIDEST).then(|| {
            let fitting =
                Fitting { form, batches: &fit, state: other, prediction: &fitted.prediction, width: seen.width };
            fitting.affine(&judge, state)
        });
        let note = note(state.shape, last, form, affine.as_ref().is_some_and(Option::is_some));
        LensLayer { layer, shape: state.shape, own, affine: affine.flatten(), note }
    });
    Ok(Lens {
        subject: provenance.clone(),
        examples: count(&test),
        fitted_to: fit_set.size,
        metric: metric_name(classes),
        distance: if classes { Distance::KullbackLeibler } else { Distance::MeanSquared },
        layers: layers.collect(),
    })
}

fn note(shape: [usize; 2], last: [usize; 2], form: Form, has_affine: bool) -> Option<String> {
    let size = |[rows, width]: [usize; 2]| format!("{} of width {width}", counted(rows, "row"));
    let own = (shape != last).then(|| format!("{} do not fit the head, which takes {}", size(shape), size(last)));
    let width = form.width(shape);
    let affine = (!has_affine).then(|| {
        if width > WIDEST {
            format!("{width} numbers are too many for an affine map; {WIDEST} can be")
        } else {
            "no affine map can be fitted".to_owned()
        }
    });
    let notes: Vec<String> = own.into_iter().chain(affine).collect();
    (!notes.is_empty()).then(|| notes.join("; "))
}

/// Predictions and hidden states on some batches.
struct States {
    /// Number of channels of a prediction.
    width: usize,
    /// One per batch. `[batch, asked, width]`
    prediction: Vec<Vec<f32>>,
    /// The state before the first layer, then the state after each layer.
    hidden: Vec<State>,
}

/// One hidden state on some batches.
struct State {
    /// Shape of the state, `[rows, width]`.
    shape: [usize; 2],
    /// One per batch. `[batch, rows, width]`
    values: Vec<Vec<f32>>,
}

impl States {
    fn of(model: &Model, batches: &[Batch], device: &Device) -> Self {
        let mut seen = Self { width: 0, prediction: Vec::new(), hidden: Vec::new() };
        for batch in batches {
            let trace = model.forward_traced_without_prompt(loss::inputs(batch, device));
            seen.width = trace.output.dims()[2];
            seen.prediction.push(weights::to_host(last_rows(trace.output, batch.asked())));
            let states = std::iter::once(trace.embedded).chain(trace.layers.into_iter().map(|layer| layer.hidden));
            for (index, state) in states.enumerate() {
                let [_, rows, width] = state.dims();
                if index == seen.hidden.len() {
                    seen.hidden.push(State { shape: [rows, width], values: Vec::new() });
                }
                seen.hidden[index].values.push(weights::to_host(state));
            }
        }
        seen
    }
}

impl State {
    /// The network's own head applied to this state, one per batch. `[batch, asked, width]`
    fn read_out(&self, model: &Model, batches: &[Batch], device: &Device) -> Vec<Vec<f32>> {
        let [rows, width] = self.shape;
        let read = |(values, batch): (&Vec<f32>, &Batch)| {
            let shape = [values.len() / (rows * width), rows, width];
            let state = Tensor::<3>::from_data(burn::tensor::TensorData::new(values.clone(), shape), device);
            weights::to_host(last_rows(model.read_out(state), batch.asked()))
        };
        self.values.iter().zip(batches).map(read).collect()
    }

    fn row(&self, batch: usize, example: usize, row: usize) -> &[f32] {
        let [rows, width] = self.shape;
        &self.values[batch][(example * rows + row) * width..][..width]
    }

    fn all_rows(&self, batch: usize, example: usize) -> &[f32] {
        let size = self.shape[0] * self.shape[1];
        &self.values[batch][example * size..][..size]
    }
}

/// From which part of the state an affine map reads the prediction at a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// From the row of that position, with one map for all positions.
    Row,
    /// From all rows concatenated, with one map per position.
    AllRows,
}

impl Form {
    /// The form of the network's own head, if the state has a row for every position.
    fn of(model: &Model, [rows, _]: [usize; 2], seq_len: usize) -> Self {
        if model.reads_row_by_row() && rows >= seq_len { Self::Row } else { Self::AllRows }
    }

    fn width(self, [rows, width]: [usize; 2]) -> usize {
        match self {
            Self::Row => width,
            Self::AllRows => rows * width,
        }
    }
}

/// A scored position: indices of the batch, the example and the position among those that have a target.
type Place = (usize, usize, usize);

/// Scored positions, grouped by the map that reads them.
fn groups(batches: &[Batch], form: Form) -> Vec<Vec<Place>> {
    let asked = batches.first().map_or(0, Batch::asked);
    let mut groups = vec![Vec::new(); if form == Form::Row { 1 } else { asked }];
    for (number, batch) in batches.iter().enumerate() {
        for (row, _) in batch.loss_mask.iter().enumerate().filter(|(_, scored)| **scored) {
            let (example, position) = (row / asked, row % asked);
            groups[if form == Form::Row { 0 } else { position }].push((number, example, position));
        }
    }
    groups
}

/// Data that affine maps are fitted to.
struct Fitting<'a> {
    form: Form,
    batches: &'a [Batch],
    state: &'a State,
    prediction: &'a [Vec<f32>],
    width: usize,
}

impl Fitting<'_> {
    /// Fits maps and scores them on the test examples; `None` if none can be fitted.
    fn affine(&self, judge: &Judge<'_>, state: &State) -> Option<Reading> {
        let d_out = self.batches.first()?.dims.d_out;
        let is_classes = matches!(self.batches.first()?.targets, Targets::Classes(_));
        let asked = self.batches.first()?.asked();
        // For numbers one map is fitted to the targets and one to the prediction; for classes one map to the logits.
        let mut read = judge.batches.iter().map(|batch| vec![0.0; batch.size * asked * d_out]).collect::<Vec<_>>();
        let mut like_final = read.clone();
        let (here, there) = (groups(self.batches, self.form), groups(judge.batches, self.form));
        for (here, there) in here.iter().zip(&there).filter(|(_, there)| !there.is_empty()) {
            let columns = if is_classes { d_out } else { 2 * d_out };
            let most = (MOST_NUMBERS / self.form.width(self.state.shape)).max(FEWEST_FITTED);
            // A row of which some numbers have no target is no example of all of them.
            let is_complete =
                |(batch, example, position): &&Place| self.batches[*batch].missing(example * asked + position) == 0;
            let here: Vec<Place> = here.iter().filter(is_complete).take(most).copied().collect();
            let here = here.as_slice();
            let y = Matrix::from_fn(here.len(), columns, |sample, column| {
                let (batch, example, position) = here[sample];
                let row = example * asked + position;
                let own = &self.prediction[batch][row * self.width..][..self.width];
                match &self.batches[batch].targets {
                    Targets::Continuous(targets) if column >= d_out => f64::from(targets[row * d_out + column - d_out]),
                    Targets::Continuous(_) => f64::from(own[column]),
                    // A constant added to all logits has no effect, so it is removed.
                    Targets::Classes(_) => f64::from(own[column] - own.iter().sum::<f32>() / own.len() as f32),
                }
            });
            let ridge = Ridge::fit(&self.features(self.state, here), &y)?;
            let predicted = ridge.apply(&self.features(state, there));
            for (sample, &(batch, example, position)) in there.iter().enumerate() {
                let place = (example * asked + position) * d_out;
                for column in 0..d_out {
                    like_final[batch][place + column] = predicted[(sample, column)] as f32;
                    let answer = if is_classes { column } else { d_out + column };
                    read[batch][place + column] = predicted[(sample, answer)] as f32;
                }
            }
        }
        let reading = judge.reading(&read, d_out);
        Some(Reading { distance: judge.distance(&like_final, d_out), ..reading })
    }

    fn features(&self, state: &State, places: &[Place]) -> Matrix {
        // The first of the rows with a target.
        let first = self.batches.first().map_or(0, |batch| batch.dims.seq_len - batch.asked());
        let values = places.iter().flat_map(|&(batch, example, position)| match self.form {
            Form::Row => state.row(batch, example, first + position),
            Form::AllRows => state.all_rows(batch, example),
        });
        Matrix::from_row_iterator(places.len(), self.form.width(state.shape), values.map(|value| f64::from(*value)))
    }
}

/// The test examples on which read-outs are scored.
pub(super) struct Judge<'a> {
    pub loss: Loss,
    pub batches: &'a [Batch],
    /// Number of channels of the network's output.
    pub width: usize,
    /// The network's own prediction, one per batch. `[batch, asked, width]`
    pub prediction: &'a [Vec<f32>],
}

impl Judge<'_> {
    /// Scores of a read-out with this number of channels.
    pub fn reading(&self, read: &[Vec<f32>], width: usize) -> Reading {
        let batches = self.batches.iter().zip(read);
        let examples: Vec<ExampleScore> =
            batches.flat_map(|(batch, read)| by_example(self.loss, batch, read, width, self.width)).collect();
        let mean = |of: fn(&ExampleScore) -> (f64, f64)| {
            let (sum, count) = examples.iter().map(of).fold((0.0, 0.0), |a, b| (a.0 + b.0, a.1 + b.1));
            sum / count
        };
        Reading { loss: mean(|one| one.loss), metric: mean(|one| one.metric), distance: self.distance(read, width) }
    }

    fn distance(&self, read: &[Vec<f32>], width: usize) -> f64 {
        let (mut sum, mut count) = (0.0, 0_usize);
        for ((batch, read), own) in self.batches.iter().zip(read).zip(self.prediction) {
            let d_out = batch.dims.d_out;
            let rows = read.chunks_exact(width).zip(own.chunks_exact(self.width)).zip(&batch.loss_mask);
            for ((read, own), _) in rows.filter(|(_, scored)| **scored) {
                (sum, count) = match batch.targets {
                    Targets::Continuous(_) => {
                        let squares = own.iter().zip(read).take(d_out).map(|(a, b)| f64::from(a - b).powi(2));
                        (sum + squares.sum::<f64>(), count + d_out)
                    }
                    Targets::Classes(_) => (sum + divergence(own, read), count + 1),
                };
            }
        }
        sum / count.max(1) as f64
    }
}
