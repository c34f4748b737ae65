//! Refusing models that would see the answers of a task.

use super::Experiment;

impl Experiment {
    /// What lets the network see an answer before it has to predict it, as (key, message); `None` if nothing does.
    /// Model and task must be valid.
    ///
    /// A task knows where its answers are in the input, and a model whether its positions see later ones. Adapters do
    /// not change this: learned rows and keys depend on no input, and the mask applies after them too.
    pub(super) fn leak(&self) -> Option<(String, String)> {
        let answers = self.task.answers_ahead()?;
        if !self.model.sees_ahead(&self.dims()) {
            return None;
        }
        let (task, name) = (self.task.name(), self.model.name());
        let (key, remedy) = match self.model.family().causal_key() {
            Some(key) => (format!("model.{name}.{key}"), "set it to true"),
            None => (format!("model.{name}"), "use [model.transformer], which is causal"),
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
        Model, ModelConfig, TransformerConfig,
        adapter::{LowRankConfig, PrefixConfig, PromptConfig},
        weights::to_host,
    };
    use headway_tasks::{Batch, DataConfig, Inputs, Source, Split, TASKS, TaskConfig};

    use super::*;
    use crate::{
        build::{build_model, build_source},
        device::{DeviceSpec, OpenDevice},
        experiment::{FinetuneConfig, MODES},
        loss,
    };

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

    /// Every valid combination of a task, a kind of model and a mode.
    fn experiments() -> Vec<Experiment> {
        let mut all = Vec::new();
        for task in TASKS.iter().map(|(name, _)| TaskConfig::with_defaults(name).unwrap()) {
            let modes = MODES.iter().map(|(name, _)| mode(name));
            // Modes without an adapter all compute the same.
            let modes: Vec<FinetuneConfig> =
                modes.filter(|mode| mode.adapter().is_some() || *mode == FinetuneConfig::Full).collect();
            let sizes = Experiment::of_construction(task.clone(), TransformerConfig::default().into(), 5);
            let Ok(sizes) = sizes.map(|experiment| experiment.dims()) else { continue };
            for model in ModelConfig::examples(&sizes, 1) {
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

    /// The network's prediction at each position of a batch of one.
    fn predict(model: &Model, batch: &Batch, device: &OpenDevice) -> Vec<Vec<f32>> {
        let outputs = to_host(model.forward(loss::inputs(batch, &device.device.clone().autodiff())));
        outputs.chunks(outputs.len() / batch.dims.seq_len).map(<[f32]>::to_vec).collect()
    }

    /// Whether the prediction at some scored position depends on inputs after it.
    fn is_seen(experiment: &Experiment, source: &Source, device: &OpenDevice) -> bool {
        let model = build_model(experiment, device).unwrap();
        let batch = source.evaluation(Split::Test).remove(0);
        let before = predict(&model, &batch, device);
        // The last positions have targets.
        let first = batch.dims.seq_len - batch.asked();
        let scored = (first..batch.dims.seq_len).filter(|position| batch.loss_mask[position - first]);
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
                _ => source.insert((name, build_source(experiment).unwrap())),
            };
            let what = || format!("{name} by {:?}, {}", experiment.model, experiment.finetune.name());
            let is_seen = is_seen(experiment, source, &device);
            // Nothing follows answers that are predicted at the last position, whatever the model sees.
            let is_last = experiment.task.asks_once();
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
