//! `generate`: continues a text with a network of tokens of text.

use std::{ops::ControlFlow, path::Path};

use burn::{module::Module, tensor::Tensor};
use headway_model::{Input, Kept, Model, weights};
use headway_tasks::{Inputs, Lack, Seed, Stream, TaskDims, Vocabulary};
use rand::RngExt;

use crate::{
    checkpoint::Checkpoint, device::OpenDevice, error::Error, evaluate, experiment::Experiment, on_device,
    provenance::NETWORK, room,
};

/// How a token is drawn from logits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Logits are divided by it; 0 takes the likeliest token, the first of several.
    pub temperature: f64,
    /// Only this many likeliest tokens can be drawn; `None` for no limit.
    pub top_k: Option<usize>,
    /// Of the likeliest tokens, only the fewest can be drawn that have this probability together; `None` for no limit. It
    /// applies to what `top_k` leaves.
    pub top_p: Option<f64>,
}

impl Sampling {
    /// The probability of each token: softmax(logits / temperature), with those set to 0 that cannot be drawn.
    ///
    /// # Shapes
    /// logits `[vocab]` -> `[vocab]`
    pub fn probabilities(&self, logits: &[f32]) -> Vec<f64> {
        let mut order: Vec<usize> = (0..logits.len()).collect();
        // A stable sort, so that of equal logits the first comes first.
        order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
        let top = order.first().map_or(0.0, |at| f64::from(logits[*at]));
        let weight = |at: &usize| {
            let below = f64::from(logits[*at]) - top;
            if self.temperature > 0.0 { (below / self.temperature).exp() } else { 0.0 }
        };
        let mut weights: Vec<f64> = order.iter().map(weight).collect();
        if let Some(first) = weights.first_mut() {
            *first = 1.0;
        }
        weights.truncate(self.top_k.unwrap_or(usize::MAX).max(1));
        let wanted = self.top_p.map(|share| share * weights.iter().sum::<f64>());
        let reached = |wanted: f64| {
            let mut sum = 0.0;
            weights.iter().position(|weight| {
                sum += weight;
                sum >= wanted
            })
        };
        if let Some(last) = wanted.and_then(reached) {
            weights.truncate(last + 1);
        }
        let total: f64 = weights.iter().sum();
        let mut probabilities = vec![0.0; logits.len()];
        for (at, weight) in order.into_iter().zip(weights) {
            probabilities[at] = weight / total;
        }
        probabilities
    }

    /// The token in whose share of the probability `uniform`, from 0 to 1, lies.
    fn draw(&self, logits: &[f32], uniform: f64) -> usize {
        let probabilities = self.probabilities(logits);
        let mut left = uniform;
        let found = probabilities.iter().position(|probability| {
            left -= probability;
            *probability > 0.0 && left < 0.0
        });
        // Rounding may leave a little at the end.
        found.or_else(|| probabilities.iter().rposition(|probability| *probability > 0.0)).unwrap_or_default()
    }
}

/// A trained network with what it needs to continue a text. The files of its texts are not needed.
pub struct Generator {
    model: Model,
    device: OpenDevice,
    dims: TaskDims,
    vocabulary: Vocabulary,
    experiment: Experiment,
    checkpoint: Checkpoint,
}

impl Generator {
    /// Loads the network of a checkpoint or a run.
    ///
    /// # Errors
    /// as [`evaluate::load`]; [`Error::NoText`] if its tokens are not those of a text
    pub fn load(path: &Path, device: &OpenDevice) -> Result<Self, Error> {
        let (model, experiment, checkpoint) = evaluate::load(path, &[], device)?;
        // A network that fills gaps continues nothing.
        let Some(vocabulary) = experiment.task.vocabulary().filter(|_| experiment.task.gaps().is_none()) else {
            return Err(Error::NoText { path: path.to_owned(), task: experiment.task.name() });
        };
        let (model, device) = (model.valid(), device.clone());
        Ok(Self { model, device, dims: experiment.task.dims(), vocabulary, experiment, checkpoint })
    }

    /// Continues a prompt by `length` tokens, each drawn given at most `seq_len` tokens before it. `on_text` gets the text
    /// piece by piece, without the prompt, and may stop it.
    ///
    /// The same prompt, sampling and seed give the same text: token number i, from 0, is drawn by the generator of
    /// (seed, `Generate`, i).
    ///
    /// # Errors
    /// [`Error::Argument`] for a prompt that is empty or that the network cannot read; as [`Generator::logits`]
    pub fn generate(
        &self,
        prompt: &str,
        length: usize,
        sampling: Sampling,
        seed: Seed,
        on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let refused = |problem: String| Error::argument("--prompt", problem);
        let mut tokens = self.vocabulary.tokens(prompt.as_bytes()).map_err(|place| {
            let way_out = match place.lack {
                Lack::Untrained(_) => "; `headway show` prints the characters as task.*.found.characters",
                Lack::Unlearned(_) => "; leave it out, or train with task.language.unknown = \"replace\"",
                Lack::Unread(_) | Lack::Utf8 => "",
            };
            refused(format!("{place}{way_out}"))
        })?;
        if tokens.is_empty() {
            return Err(refused("is empty; the first token is drawn given at least one".to_owned()));
        }
        let (mut kept, mut writer) = (Kept::default(), self.vocabulary.writer(&tokens));
        for number in 0..length {
            let logits = self.next_logits(&tokens, &mut kept)?;
            let token = sampling.draw(&logits, seed.rng(Stream::Generate, number as u64).random()) as u32;
            tokens.push(token);
            if on_text(&writer.write(token, number + 1 == length)).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// [`Self::logits`], up to rounding, where all `tokens` fit into the network and `kept` holds what it read of the first
    /// of them: it then reads only the others, which `kept` holds afterwards.
    ///
    /// # Errors
    /// as [`Self::logits`]
    pub fn next_logits(&self, tokens: &[u32], kept: &mut Kept) -> Result<Vec<f32>, Error> {
        // Beyond that, the first token that is read changes with each new one, and with it what was made of the others.
        if tokens.len() > self.dims.seq_len || !self.experiment.model.reads_on() {
            return self.logits(tokens);
        }
        let new = tokens.get(kept.positions()..).filter(|new| !new.is_empty());
        let Some(new) = new else { return self.logits(tokens) };
        self.answer(new.to_vec(), new.len().saturating_sub(1), |input| self.model.read_on(input, kept))
    }

    /// Logits of the token after `tokens`, of which the last `seq_len` are read.
    ///
    /// # Errors
    /// [`Error::Device`] if the device has no room; [`Error::Checkpoint`] or [`Error::NotFinite`] if one is not finite
    ///
    /// # Shapes
    /// `[n]`, n at least 1 -> `[vocab]`
    pub fn logits(&self, tokens: &[u32]) -> Result<Vec<f32>, Error> {
        let seq_len = self.dims.seq_len;
        let mut read = tokens[tokens.len().saturating_sub(seq_len)..].to_vec();
        let last = read.len() - 1;
        if !self.experiment.model.takes_shorter_sequences() {
            // Tokens behind those that are read have no influence on them.
            read.resize(seq_len, 0);
        }
        self.answer(read, last, |input| self.model.forward(input))
    }

    /// Logits at one of the positions that a forward pass reads.
    fn answer(
        &self,
        read: Vec<u32>,
        position: usize,
        forward: impl FnOnce(Input) -> Tensor<3>,
    ) -> Result<Vec<f32>, Error> {
        let dims = TaskDims { seq_len: read.len(), ..self.dims };
        let read = Inputs::Tokens(read);
        let answer = || {
            let output = forward(on_device::input(&read, 1, dims, &self.device.device));
            Ok::<_, Error>(weights::to_host(output.narrow(1, position, 1).narrow(2, 0, self.dims.d_out)))
        };
        let logits = room::within(&self.device, &self.experiment.memory().of_answers(), answer)?;
        if logits.iter().all(|logit| logit.is_finite()) {
            return Ok(logits);
        }
        self.checkpoint.ensure_finite(&self.checkpoint.weights()?)?;
        Err(Error::not_finite(&format!("an answer of the {NETWORK}"), self.experiment.train.attention_precision))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(sampling: Sampling, logits: &[f32]) -> Vec<String> {
        sampling.probabilities(logits).iter().map(|probability| format!("{probability:.4}")).collect()
    }

    const PLAIN: Sampling = Sampling { temperature: 1.0, top_k: None, top_p: None };

    #[test]
    fn probabilities_by_hand() {
        // exp of these is 1, 4, 2, 1.
        let logits = [0.0, 4_f32.ln(), 2_f32.ln(), 0.0];
        assert_eq!(shown(PLAIN, &logits), ["0.1250", "0.5000", "0.2500", "0.1250"]);
        // At half the temperature 1, 16, 4, 1.
        assert_eq!(shown(Sampling { temperature: 0.5, ..PLAIN }, &logits), ["0.0455", "0.7273", "0.1818", "0.0455"]);
        assert_eq!(shown(Sampling { temperature: 0.0, ..PLAIN }, &logits), ["0.0000", "1.0000", "0.0000", "0.0000"]);
        assert_eq!(shown(Sampling { top_k: Some(2), ..PLAIN }, &logits), ["0.0000", "0.6667", "0.3333", "0.0000"]);
        // Of equal ones the first stays.
        assert_eq!(shown(Sampling { top_k: Some(3), ..PLAIN }, &logits), ["0.1429", "0.5714", "0.2857", "0.0000"]);
        for (top_p, kept) in [(0.4, 1), (0.51, 2), (0.75, 2), (0.76, 3), (1.0, 4)] {
            let kept_now = shown(Sampling { top_p: Some(top_p), ..PLAIN }, &logits);
            assert_eq!(kept_now.iter().filter(|probability| *probability != "0.0000").count(), kept, "{top_p}");
        }
        // Of the two that top_k leaves, one has two thirds.
        assert_eq!(shown(Sampling { top_k: Some(2), top_p: Some(0.6), ..PLAIN }, &logits)[1], "1.0000");
        assert_eq!(shown(Sampling { temperature: 0.0, ..PLAIN }, &[1.0, 3.0, 3.0]), ["0.0000", "1.0000", "0.0000"]);
    }

    #[test]
    fn each_token_is_drawn_in_its_share() {
        let logits = [0.0, 4_f32.ln(), 2_f32.ln(), 0.0];
        let drawn: Vec<usize> = (0..8).map(|at| PLAIN.draw(&logits, (f64::from(at) + 0.5) / 8.0)).collect();
        assert_eq!(drawn, [0, 1, 1, 1, 1, 2, 2, 3]);
        assert_eq!(Sampling { top_k: Some(2), ..PLAIN }.draw(&logits, 1.0), 2);
    }
}
