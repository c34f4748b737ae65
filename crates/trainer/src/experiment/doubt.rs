//! Doubts about experiments that can be trained.

use super::Experiment;

impl Experiment {
    /// Warnings about what is possible, and hardly meant. Model and task must be valid.
    pub fn doubts(&self) -> Vec<String> {
        [self.data(), self.hidden_clues(), self.one_answer_for_many()].into_iter().flatten().collect()
    }

    /// Data that may be meant otherwise than it was read.
    fn data(&self) -> Option<String> {
        self.task.doubt().map(|doubt| format!("warning: {doubt}"))
    }

    /// A network that sees earlier positions alone, where later ones tell as much of an answer.
    fn hidden_clues(&self) -> Option<String> {
        let clues = self.task.clues_ahead()?;
        let key = self.model.family().causal_key().filter(|_| self.model.is_causal(&self.dims()))?;
        let (task, model) = (self.task.name(), self.model.name());
        Some(format!(
            "warning: model.{model}.{key} hides later positions, and in {task} {clues}; set it to false to see them all"
        ))
    }

    /// A network with one answer for the whole sequence, where positions ask for answers of their own.
    fn one_answer_for_many(&self) -> Option<String> {
        let key = self.model.family().one_answer_key().filter(|_| !self.task.asks_once())?;
        let (task, model) = (self.task.name(), self.model.name());
        let what = "answers every position alike";
        let asks = format!("{task} asks for an answer at each of several positions");
        Some(match key {
            "" => format!("warning: {model} {what}, and {asks}; use [model.transformer]"),
            key => format!("warning: with model.{model}.{key} a network {what}, and {asks}; leave {key} out"),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

    use headway_model::{CsformerConfig, ModelConfig, PoolKind, TransformerConfig};
    use headway_tasks::TaskConfig;

    use super::*;

    fn doubts(task: &str, model: impl Into<ModelConfig>) -> Vec<String> {
        let task: TaskConfig = toml::from_str(task).unwrap();
        Experiment::of_construction(task, model.into(), 0).unwrap().doubts()
    }

    #[test]
    fn a_causal_network_is_doubted_where_later_positions_tell_of_an_answer() {
        let transformer = |causal| TransformerConfig { causal, ..TransformerConfig::default() };
        let clues = [
            ("[relu_network]", "every target depends on the whole sequence"),
            ("[function]\noutputs = [\"x1 + x2_1\"]", "a target depends on inputs of later positions"),
        ];
        for (task, clue) in clues {
            let said = doubts(task, transformer(true));
            assert!(said[0].contains("model.transformer.causal hides later positions") && said[0].contains(clue));
            assert_eq!((said.len(), doubts(task, transformer(false))), (1, vec![]));
        }
        for task in ["[function]\noutputs = [\"x1 + x1_2\"]", "[copy]", "[in_context_regression]"] {
            assert_eq!(doubts(task, transformer(true)), Vec::<String>::new(), "{task}");
        }
    }

    #[test]
    fn one_answer_is_doubted_where_several_are_asked_for() {
        let pooled = || TransformerConfig { causal: false, pool: PoolKind::Mean, ..TransformerConfig::default() };
        let several = "answers every position alike, and mqar asks for an answer at each of several positions";
        let said = doubts("[mqar]", pooled());
        assert_eq!(said, [format!("warning: with model.transformer.pool a network {several}; leave pool out")]);
        assert_eq!(doubts("[in_context_regression]", pooled()), Vec::<String>::new());
        let said = doubts("[function]\noutputs = [\"x1\", \"x2\"]", CsformerConfig::default());
        assert!(said[0].starts_with("warning: csformer answers every position alike, and function asks"), "{said:?}");
        assert!(said[0].ends_with("use [model.transformer]") && said.len() == 1, "{said:?}");
    }
}
