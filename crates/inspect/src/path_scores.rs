//! What a network would answer by its short paths alone: its own head applied to the sum over paths with so many heads on them.

use burn::{
    module::Module,
    tensor::{Device, Tensor, TensorData},
};
use headway_model::{Model, last_rows, weights};
use headway_plain::{
    network::{Matrix, Network},
    paths::{Sums, sums},
};
use headway_tasks::{Batch, Split, Targets};
use headway_trainer::{build, device::OpenDevice, experiment::FinetuneConfig, loss, metric::metric_name};
use serde::Serialize;

use super::{
    lens::{Distance, Judge, Reading},
    name, network,
    opened::{self, LoadedModel, Provenance, count, first},
};
use crate::error::Error;

/// Scores of a network by the lengths of its paths.
#[derive(Clone, Debug, Serialize)]
pub struct PathScores {
    /// The analysed network.
    pub subject: Provenance,
    /// Names of the network's parts, as in `attention + skip`.
    pub name: String,
    /// Number of test examples.
    pub examples: usize,
    /// Name of the metric besides the loss: `mse` or `accuracy`.
    pub metric: &'static str,
    /// Kind of distance.
    pub distance: Distance,
    /// Scores of the network itself.
    pub whole: Reading,
    /// Number of heads on a path, from 0 to the number of layers.
    pub lengths: Vec<LengthScores>,
}

/// What is answered by paths of one length, and by those up to it.
#[derive(Clone, Debug, Serialize)]
pub struct LengthScores {
    /// Number of heads on a path.
    pub heads: usize,
    /// Number of these paths, exact up to 2^53.
    pub paths: f64,
    /// By the biases and the paths of this length; `None` if there are none.
    pub alone: Option<Reading>,
    /// By the biases and all paths up to this length; `None` if there are none.
    pub up_to: Option<Reading>,
}

/// One hidden state on some batches: `[batch, rows, width]` of each.
type State = Vec<Vec<f32>>;

/// Scores the sums over paths by their length on the first `examples` test examples. Patterns and deviations of norms are those of the whole
/// network's forward pass; the final norm is that of the sum.
///
/// # Errors
/// [`Error::FeedForward`], [`Error::NotPlain`], [`Error::Prefix`], [`Error::LearnedRows`]; [`Error::Merge`]; [`Error::NotFinite`](headway_trainer::Error::NotFinite) for a network whose answers are not
/// finite.
pub fn path_scores(opened: &LoadedModel, examples: usize, device: &OpenDevice) -> Result<PathScores, Error> {
    let LoadedModel { model, experiment, provenance } = opened;
    let model = model.valid();
    if matches!(experiment.finetune, FinetuneConfig::Prompt(_)) {
        return Err(Error::LearnedRows("prompt"));
    }
    let plain = network::plain(&experiment.model, &experiment.finetune, &model)?;
    if plain.has_feed_forward() {
        return Err(Error::FeedForward);
    }
    let test = first(build::build_source(experiment)?.evaluation(Split::Test), examples);
    let (mut prediction, mut width) = (Vec::new(), 0);
    let n_lengths = plain.layers.len() + 1;
    let (mut alone, mut up_to) = (vec![State::new(); n_lengths], vec![State::new(); n_lengths]);
    let (mut counts, mut shape) = (Vec::new(), [0; 2]);
    for batch in &test {
        let input = loss::inputs(batch, &device.device);
        let output = model.forward(input.clone());
        opened::ensure_finite(output.clone(), experiment)?;
        width = output.dims()[2];
        prediction.push(weights::to_host(last_rows(output, batch.asked())));
        let entering = model.network().enters_plain(input); // [batch, rows, d_model]
        let all = sums_of(&plain, entering);
        for sums in all {
            counts.clone_from(&sums.counts);
            shape = [sums.bias.nrows(), sums.bias.ncols()];
            let mut so_far = sums.bias.clone();
            for (heads, sum) in sums.lengths.iter().enumerate() {
                so_far += sum;
                for (states, matrix) in [(&mut alone, &sums.bias + sum), (&mut up_to, so_far.clone())] {
                    push(&mut states[heads], &matrix, prediction.len());
                }
            }
        }
    }
    let judge = Judge { loss: experiment.train.loss, batches: &test, width, prediction: &prediction };
    let read = |state: &State| judge.reading(&read_out(&model, state, shape, &test, &device.device), width);
    let mut paths_so_far = 0.0;
    let lengths = counts.iter().enumerate().map(|(heads, paths)| {
        paths_so_far += paths;
        LengthScores {
            heads,
            paths: *paths,
            alone: (*paths > 0.0).then(|| read(&alone[heads])),
            up_to: (paths_so_far > 0.0).then(|| read(&up_to[heads])),
        }
    });
    let lengths = lengths.collect();
    let classes = test.first().is_some_and(|batch| matches!(batch.targets, Targets::Classes(_)));
    Ok(PathScores {
        subject: provenance.clone(),
        name: name(&plain),
        examples: count(&test),
        metric: metric_name(classes),
        distance: if classes { Distance::KullbackLeibler } else { Distance::MeanSquared },
        whole: judge.reading(&prediction, width),
        lengths,
    })
}

/// The sums over paths of each sequence.
fn sums_of(network: &Network, entering: Tensor<3>) -> impl Iterator<Item = Sums> {
    let [_, rows, d_model] = entering.dims();
    let values: Vec<f64> = weights::to_host(entering).into_iter().map(f64::from).collect();
    let inputs: Vec<Matrix> =
        values.chunks_exact(rows * d_model).map(|values| Matrix::from_row_slice(rows, d_model, values)).collect();
    inputs.into_iter().map(|x| sums(network, &x))
}

/// Adds a sequence's state to the batch with this number, counted from 1.
fn push(state: &mut State, matrix: &Matrix, batch: usize) {
    state.resize(batch, Vec::new());
    // Columns of the transpose are rows.
    state[batch - 1].extend(matrix.transpose().iter().map(|value| *value as f32));
}

/// The network's own head applied to a state, one per batch. `[batch, asked, width]`
fn read_out(
    model: &Model,
    state: &State,
    [rows, width]: [usize; 2],
    batches: &[Batch],
    device: &Device,
) -> Vec<Vec<f32>> {
    let read = |(values, batch): (&Vec<f32>, &Batch)| {
        let data = TensorData::new(values.clone(), [batch.size, rows, width]);
        weights::to_host(last_rows(model.read_out(Tensor::<3>::from_data(data, device)), batch.asked()))
    };
    state.iter().zip(batches).map(read).collect()
}
