//! Ablation: the effect of replacing heads and layers of attention on the loss and on the task's metric.

use burn::{module::Module, tensor::Device};
use headway_model::{LayerTrace, Model, Replacement, last_rows, weights};
use headway_tasks::{Batch, Split};
use serde::Serialize;

use super::opened::{LoadedModel, Measured, Provenance, count, first};
use crate::error::Error;
use headway_trainer::{
    build,
    device::OpenDevice,
    loss::{self, Loss},
    metric::{ExampleScore, by_example, metric_name},
};

/// What replaces a head's output (its weighted mean of values).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AblationKind {
    /// Zero.
    Zero,
    /// The head's mean output over the evaluated sequences and their queries.
    Mean,
}

impl AblationKind {
    /// Every kind, with its name.
    pub const ALL: [(Self, &'static str); 2] = [(Self::Zero, "zero"), (Self::Mean, "mean")];

    /// Name of the kind.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(with, _)| *with == self).map_or("", |(_, name)| name)
    }
}

/// Effects of ablating heads and layers.
#[derive(Clone, Debug, Serialize)]
pub struct Ablation {
    /// The analysed network.
    pub subject: Provenance,
    /// Number of test examples.
    pub examples: usize,
    /// Name of the metric besides the loss: `mse` or `accuracy`.
    #[serde(rename = "quality")]
    pub metric: &'static str,
    /// Scores of the network without ablation.
    pub whole: AblationScores,
    /// Number of heads in each layer.
    pub n_heads: Vec<usize>,
    /// Effects of each head with each kind of ablation, then of each layer that has several heads.
    pub effects: Vec<Effect>,
}

/// Loss and metric.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct AblationScores {
    /// Value of the training objective.
    pub loss: f64,
    /// Mean squared error, or share of correct classes.
    #[serde(rename = "quality")]
    pub metric: f64,
}

/// Effect of ablating one head, or all heads of one layer.
#[derive(Clone, Debug, Serialize)]
pub struct Effect {
    /// Index of the layer, from 0.
    pub layer: usize,
    /// Index of the head, from 0; `None` for all heads of the layer.
    pub head: Option<usize>,
    /// Kind of ablation.
    pub with: AblationKind,
    /// Increase of the loss, paired by example.
    pub loss: Measured,
    /// Increase of the metric, paired by example.
    #[serde(rename = "quality")]
    pub metric: Measured,
}

/// Scores the network on the first `examples` test examples, then with each head and each layer of attention ablated.
///
/// # Errors
/// [`Error::NotFinite`](headway_trainer::Error::NotFinite) when the whole network's loss is not finite.
pub fn ablate(
    opened: &LoadedModel,
    examples: usize,
    withs: &[AblationKind],
    device: &OpenDevice,
) -> Result<Ablation, Error> {
    let LoadedModel { model, experiment, provenance } = opened;
    let model = model.valid();
    let source = build::build_source(experiment)?;
    let batches = first(source.evaluation(Split::Test), examples);
    let setting = Setting { model: &model, loss: experiment.train.loss, batches: &batches, device: &device.device };
    let means = setting.means();
    let whole = setting.scores(&[]);
    let total = |of: fn(&ExampleScore) -> (f64, f64)| {
        Measured::ratio(&whole.iter().map(of).collect::<Vec<_>>())
            .value
            .ok_or_else(|| Error::not_finite("the loss", experiment.train.attention_precision))
    };
    let mut effects = Vec::new();
    for (layer, heads) in means.iter().enumerate() {
        let alone = (0..heads.len()).map(Some);
        // In a layer with one head, ablating the layer is ablating that head.
        let together = (heads.len() > 1).then_some(None);
        for head in alone.chain(together) {
            for &with in withs {
                let replacement = |(head, mean): (usize, &Vec<f32>)| {
                    let mixture = match with {
                        AblationKind::Zero => vec![0.0; mean.len()],
                        AblationKind::Mean => mean.clone(),
                    };
                    Replacement { layer, head, mixture }
                };
                let replaced = heads.iter().enumerate().filter(|(number, _)| head.is_none_or(|head| head == *number));
                let scores = setting.scores(&replaced.map(replacement).collect::<Vec<_>>());
                let (loss, metric) =
                    (change(&scores, &whole, |one| one.loss), change(&scores, &whole, |one| one.metric));
                effects.push(Effect { layer, head, with, loss, metric });
            }
        }
    }
    Ok(Ablation {
        subject: provenance.clone(),
        examples: count(&batches),
        metric: metric_name(matches!(
            batches.first().map(|batch| &batch.targets),
            Some(headway_tasks::Targets::Classes(_))
        )),
        whole: AblationScores { loss: total(|one| one.loss)?, metric: total(|one| one.metric)? },
        n_heads: means.iter().map(Vec::len).collect(),
        effects,
    })
}

/// Mean difference of scores from those of the network without ablation, paired by example.
fn change(scores: &[ExampleScore], whole: &[ExampleScore], of: fn(&ExampleScore) -> (f64, f64)) -> Measured {
    let difference = |(score, whole): (&ExampleScore, &ExampleScore)| (of(score).0 - of(whole).0, of(whole).1);
    Measured::ratio(&scores.iter().zip(whole).map(difference).collect::<Vec<_>>())
}

/// The network and the examples on which it is scored.
struct Setting<'a> {
    model: &'a Model,
    loss: Loss,
    batches: &'a [Batch],
    device: &'a Device,
}

impl Setting<'_> {
    /// Scores of every example, with some heads replaced.
    fn scores(&self, replacements: &[Replacement]) -> Vec<ExampleScore> {
        let of_batch = |batch: &Batch| {
            let input = loss::inputs(batch, self.device);
            let prediction = last_rows(self.model.forward_replacing(input, replacements), batch.asked()); // [batch, asked, width]
            let width = prediction.dims()[2];
            by_example(self.loss, batch, &weights::to_host(prediction), width, width)
        };
        self.batches.iter().flat_map(of_batch).collect()
    }

    /// The mean output of every head of every layer, over sequences and queries.
    fn means(&self) -> Vec<Vec<Vec<f32>>> {
        let mut sums: Vec<Vec<Vec<f64>>> = Vec::new();
        let mut examples = 0;
        for batch in self.batches {
            // A trace holds every pattern, so one sequence is traced at a time.
            for example in 0..batch.size {
                let part = batch.part(example..example + 1);
                let trace = self.model.forward_traced(loss::inputs(&part, self.device));
                let means: Vec<_> = trace.layers.into_iter().map(mean_mixtures).collect();
                if sums.is_empty() {
                    sums = means;
                } else {
                    let entries = |all| <Vec<Vec<Vec<f64>>> as IntoIterator>::into_iter(all).flatten().flatten();
                    let sums = sums.iter_mut().flatten().flatten();
                    sums.zip(entries(means)).for_each(|(sum, mean)| *sum += mean);
                }
                examples += 1;
            }
        }
        let mean = |sum: f64| (sum / f64::from(examples)) as f32;
        let of_head = |sums: Vec<f64>| sums.into_iter().map(mean).collect();
        sums.into_iter().map(|layer| layer.into_iter().map(of_head).collect()).collect()
    }
}

/// The mean output of each head over the queries of one sequence.
fn mean_mixtures(layer: LayerTrace) -> Vec<Vec<f64>> {
    let of_group = |mixture: burn::tensor::Tensor<4>| {
        let [_, n_heads, q_len, d_value] = mixture.dims();
        let values = weights::to_host(mixture); // [1, n_heads, q_len, d_value]
        let head = move |rows: &[f32]| {
            let channel =
                |c: usize| rows.iter().skip(c).step_by(d_value).map(|v| f64::from(*v)).sum::<f64>() / q_len as f64;
            (0..d_value).map(channel).collect()
        };
        values.chunks_exact(q_len * d_value).take(n_heads).map(head).collect::<Vec<_>>()
    };
    layer.mixtures.into_iter().flat_map(of_group).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

    use headway_model::{AttentionStackConfig, Heads, IoDims, ModelConfig, StackLayer, StackReadout};
    use headway_tasks::{Seed, Stream, TaskConfig};
    use headway_testkit::{assert_close, devices};

    use super::*;

    /// Layers with different numbers of heads, and three sequences in batches of two.
    #[test]
    fn means_are_over_all_sequences_and_queries() {
        let heads = vec![Heads { count: 2, d_key: 3, d_value: 5 }, Heads { count: 1, d_key: 2, d_value: 7 }];
        let layer = StackLayer { rows: 4, width: 6, queries: Some(3), heads, d_out: 2, ..StackLayer::default() };
        let config = AttentionStackConfig { layers: vec![layer], readout: StackReadout::Affine, ..Default::default() };
        let task = TaskConfig::with_defaults("truncated_linear")
            .unwrap()
            .open(&headway_trainer::data::files(""), Seed(1))
            .unwrap();
        let dims = task.dims();
        let headway_tasks::TaskInput::Continuous { d_in } = dims.input else { panic!("the task gives vectors") };
        let draw = |index| task.example(Split::Test, index, &mut Seed(1).rng(Stream::Test, index));
        let batches = [Batch::stack(dims, [draw(0), draw(1)]), Batch::stack(dims, [draw(2)])];
        for on in devices() {
            let mut rng = Seed(2).rng(Stream::Init, 0);
            let io = IoDims::continuous(dims.seq_len, d_in, dims.d_out);
            let model = ModelConfig::AttentionStack(config.clone()).init(&io, &mut rng, &on.device).unwrap();
            let setting = Setting { model: &model, loss: Loss::Plain, batches: &batches, device: &on.device };
            let means = setting.means();
            assert_eq!(
                means.iter().map(|layer| layer.iter().map(Vec::len).collect()).collect::<Vec<Vec<_>>>(),
                [[5, 5, 7]]
            );
            let mut sums = [vec![0.0_f32; 5], vec![0.0; 5], vec![0.0; 7]];
            for batch in &batches {
                let trace = model.forward_traced(loss::inputs(batch, &on.device));
                let groups = trace.layers.into_iter().next().unwrap().mixtures;
                let [first, second] = [0, 1].map(|group| groups[group].clone().sum_dim(2).sum_dim(0));
                let (first, second) = (weights::to_host(first), weights::to_host(second));
                for (sum, found) in sums.iter_mut().flatten().zip(first.into_iter().chain(second)) {
                    *sum += found / 9.0;
                }
            }
            for (mean, sum) in means[0].iter().zip(&sums) {
                assert_close(on.name, mean, sum, on.tolerance);
            }
        }
    }
}
