//! Which models would see the answers of a task.

use super::Experiment;

impl Experiment {
    /// What lets the network see an answer where it is asked for, as (key, message). Model and task must be valid.
    ///
    /// A task knows where its answers stand in the input, a model whether its positions see later ones. Adapters change nothing about
    /// it: learned rows and keys depend on no input, and the mask holds behind them.
    pub(super) fn leak(&self) -> Option<(String, String)> {
        let answers = self.task.answers_ahead()?;
        if !self.model.sees_ahead(&self.dims()) {
            return None;
        }
        let (task, name) = (self.task.name(), self.model.name());
        let (key, remedy) = match &self.model {
            headway_model::ModelConfig::Transformer(_) => (format!("model.{name}.causal"), "set it to true"),
            _ => (format!("model.{name}"), "use [model.transformer], which is causal"),
        };
        let message = format!(
            "lets positions see later ones, and in {task} {answers}: the network would copy answers instead of learning; {remedy}"
        );
        Some((key, message))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

    use headway_model::{
        AttentionStackConfig, Heads, LowRankConfig, MODELS, Model, ModelConfig, PaperOneLayerConfig,
        PaperSetKeysConfig, PaperTwoLayerConfig, PrefixConfig, PromptConfig, Readout, StackLayer, StackMap,
        StackReadout, TransformerConfig, weights::to_host,
    };
    use headway_tasks::{Batch, DataConfig, Inputs, Source, Split, TASKS, TaskConfig};

    use super::*;
    use crate::{
        build::{build_model, build_source},
        device::{DeviceSpec, Found},
        experiment::{FinetuneConfig, MODES},
        loss,
    };

    /// Kinds of a model that differ in what its positions see.
    fn kinds(name: &str, seq_len: usize, d_out: usize) -> Vec<ModelConfig> {
        match name {
            "paper_one_layer" => [Readout::Channels, Readout::Softmax]
                .map(|readout| ModelConfig::PaperOneLayer(PaperOneLayerConfig { readout, ..Default::default() }))
                .into(),
            "paper_two_layer" => vec![ModelConfig::PaperTwoLayer(PaperTwoLayerConfig::default())],
            // At its own inverse temperature an attention pattern of random weights is one key alone.
            "paper_set_keys" => {
                vec![ModelConfig::PaperSetKeys(PaperSetKeysConfig { inverse_temperature: 0.1, ..Default::default() })]
            }
            "attention_stack" => {
                let heads = vec![Heads { count: 1, d_key: 3, d_value: 4 }];
                let to_learned = StackLayer {
                    map: StackMap::TokenWise,
                    rows: seq_len + 3,
                    width: 6,
                    queries: None,
                    keys: Some(3),
                    heads,
                    d_out,
                };
                let to_last = StackLayer { keys: Some(4), ..to_learned.clone() };
                let to_all = StackLayer { keys: None, ..to_learned.clone() };
                let first_half = StackLayer { queries: Some(seq_len.div_ceil(2)), ..to_learned.clone() };
                // Rows that left no trace of their position are learned ones to the second layer.
                let fewer = StackLayer { rows: seq_len, keys: Some(seq_len / 2), ..to_learned.clone() };
                let sequence_wise = StackLayer { map: StackMap::SequenceWise, ..to_learned.clone() };
                let stack = |layers: &[&StackLayer], readout| {
                    let layers = layers.iter().map(|layer| (*layer).clone()).collect();
                    ModelConfig::AttentionStack(AttentionStackConfig { layers, readout, ..Default::default() })
                };
                vec![
                    stack(&[&to_learned], StackReadout::Rows),
                    stack(&[&to_learned, &to_learned], StackReadout::Rows),
                    stack(&[&first_half, &fewer], StackReadout::Rows),
                    stack(&[&to_last], StackReadout::Rows),
                    stack(&[&to_all], StackReadout::Rows),
                    stack(&[&sequence_wise, &to_learned], StackReadout::Rows),
                    stack(&[&to_learned], StackReadout::Affine),
                    stack(&[&to_learned], StackReadout::Softmax { width: 3, d_value: 2 }),
                ]
            }
            "transformer" => [true, false]
                .map(|causal| {
                    let sizes = TransformerConfig { d_model: 8, n_heads: 2, ..Default::default() };
                    ModelConfig::Transformer(TransformerConfig { causal, ..sizes })
                })
                .into(),
            other => panic!("kinds of `{other}` belong here, so that it is known what the new model sees"),
        }
    }

    fn mode(name: &str) -> FinetuneConfig {
        match name {
            "full" => FinetuneConfig::Full,
            "head" => FinetuneConfig::Head,
            "freeze" => FinetuneConfig::Freeze(Vec::new()),
            "lora" => FinetuneConfig::Lora(LowRankConfig::default()),
            "prefix" => FinetuneConfig::Prefix(PrefixConfig { length: 3 }),
            "prompt" => FinetuneConfig::Prompt(PromptConfig { length: 3 }),
            other => panic!("`{other}` belongs here, so that it is known what a network sees beside the new mode"),
        }
    }

    /// Every task with every kind of every model in every mode that is sound.
    fn experiments() -> Vec<Experiment> {
        let mut all = Vec::new();
        for task in TASKS.iter().map(|(name, _)| TaskConfig::with_defaults(name).unwrap()) {
            let dims = task.dims();
            let modes = MODES.iter().map(|(name, _)| mode(name));
            // Without an adapter all modes compute the same.
            let modes: Vec<FinetuneConfig> =
                modes.filter(|mode| mode.adapter().is_some() || *mode == FinetuneConfig::Full).collect();
            for model in MODELS.iter().flat_map(|(name, _)| kinds(name, dims.seq_len, dims.d_out)) {
                let Ok(experiment) = Experiment::of_construction(task.clone(), model, 5) else { continue };
                for finetune in modes.clone() {
                    let data = DataConfig::Fresh { validation: 0, test: 1 };
                    let experiment = Experiment { data, finetune, ..experiment.clone() };
                    if experiment.problems().is_empty() {
                        all.push(experiment);
                    }
                }
            }
        }
        all
    }

    /// The batch with other inputs after a position.
    fn changed_after(batch: &Batch, position: usize) -> Batch {
        let mut changed = batch.clone();
        let first = (position + 1) * batch_width(batch);
        match &mut changed.inputs {
            Inputs::Continuous(values) => values[first..].iter_mut().for_each(|value| *value = 1.0 - 2.0 * *value),
            Inputs::Tokens(ids) => ids[first..].iter_mut().for_each(|id| *id = u32::from(*id == 0)),
        }
        changed
    }

    fn batch_width(batch: &Batch) -> usize {
        match &batch.inputs {
            Inputs::Continuous(values) => values.len() / batch.dims.seq_len,
            Inputs::Tokens(_) => 1,
        }
    }

    /// What the network predicts at each position of a batch of one.
    fn predict(model: &Model, batch: &Batch, device: &Found) -> Vec<Vec<f32>> {
        let outputs = to_host(model.forward(loss::inputs(batch, &device.device.clone().autodiff())));
        outputs.chunks(outputs.len() / batch.dims.seq_len).map(<[f32]>::to_vec).collect()
    }

    /// Whether the prediction at some scored position changes with what stands after it.
    fn is_seen(experiment: &Experiment, source: &Source, device: &Found) -> bool {
        let model = build_model(experiment, device).unwrap();
        let batch = source.evaluation(Split::Test).remove(0);
        let before = predict(&model, &batch, device);
        let scored = (0..batch.dims.seq_len).filter(|position| batch.scored[*position]);
        let mut some = scored.step_by(batch.dims.seq_len.div_ceil(4));
        some.any(|position| predict(&model, &changed_after(&batch, position), device)[position] != before[position])
    }

    #[test]
    fn what_a_network_sees_is_what_it_is_said_to_see_and_no_answer_is_seen_in_training() {
        let (device, _) = DeviceSpec::Cpu.open().unwrap();
        let (mut seen, mut hidden) = (0, 0);
        let mut source: Option<(&str, Source)> = None;
        for experiment in &experiments() {
            let name = experiment.task.name();
            let (_, source) = match source.take() {
                Some(there) if there.0 == name => source.insert(there),
                _ => source.insert((name, build_source(experiment))),
            };
            let what = || format!("{name} by {:?}, {}", experiment.model, experiment.finetune.name());
            let is_seen = is_seen(experiment, source, &device);
            // Answers asked for at the last position have nothing after them, whatever the model sees.
            let is_last = name == "in_context_regression";
            assert_eq!(is_seen, experiment.model.sees_ahead(&experiment.dims()) && !is_last, "{}", what());
            if experiment.task.answers_ahead().is_some() {
                assert_eq!(experiment.leak().is_some(), is_seen, "{}", what());
                if is_seen { seen += 1 } else { hidden += 1 }
            } else {
                assert_eq!(experiment.leak(), None, "{}", what());
            }
        }
        assert!(seen > 100 && hidden > 50, "{seen} that see answers, {hidden} that do not");
    }
}
