//! `finetune`: weights from another run, everything else fresh, in a new folder that records where they came from.

use std::path::Path;

use burn::module::Module;
use burn::{
    module::{ModuleMapper, Param},
    tensor::Tensor,
};
use headway_model::{
    Model,
    weights::{self, LoadReport, Path as ParameterPath},
};

use crate::{
    checkpoint::Checkpoint,
    device::Found,
    error::Error,
    experiment::Experiment,
    provenance::Lineage,
    run_dir::{NewRun, RunDir},
    session::{self, Options, Run, Start, Summary},
};

/// Trains an experiment from the weights of a checkpoint.
///
/// Every tensor must find its place; with `allow_partial` the rest keeps fresh values and the record says which.
///
/// # Errors
/// [`Error::Checkpoint`] when the weights do not fit, with one line per tensor; any other [`Error`].
pub fn finetune(
    experiment: &Experiment,
    from: &Path,
    allow_partial: bool,
    place: &NewRun,
    options: &Options,
) -> Result<Summary, Error> {
    let (model, lineage) = prepare(experiment, from, allow_partial, &options.device)?;
    let dir = RunDir::create(place)?;
    let start = Start { model, resumable: None, run: Run::New("finetune", Some(lineage)) };
    session::run(experiment, dir, options, start)
}

/// Everything that can be wrong with a fine-tuning before its folder is made, so that a typo leaves nothing behind:
/// the model with the weights of the checkpoint, and where they came from.
///
/// # Errors
/// as [`finetune`]
pub fn prepare(
    experiment: &Experiment,
    from: &Path,
    allow_partial: bool,
    device: &Found,
) -> Result<(Model, Lineage), Error> {
    if let Some(other) = experiment.init_from.as_deref().filter(|other| *other != from) {
        let problem =
            format!("init_from names {}, fine-tuning starts from {}; leave one out", other.display(), from.display());
        return Err(Error::Usage(problem));
    }
    let checkpoint = Checkpoint::find(from)?;
    let model = session::build_model(experiment, device)?;
    let arrays = checkpoint.weights()?;
    let (model, report) = if allow_partial {
        weights::load_partial(model, arrays)
    } else {
        weights::load(model, arrays).map_err(|error| {
            let hint = "sizes come from [model] and [task]; --allow-partial takes what fits";
            Error::checkpoint(&checkpoint.path, format!("{error}\n{hint}"))
        })?
    };
    if report.taken.is_empty() {
        return Err(Error::checkpoint(
            &checkpoint.path,
            format!("none of its tensors fits the model:\n{}", report.table()),
        ));
    }
    freeze(model.clone(), &experiment.finetune.freeze)?;
    Ok((model, lineage(from, &checkpoint, report)?))
}

fn lineage(from: &Path, checkpoint: &Checkpoint, report: LoadReport) -> Result<Lineage, Error> {
    Ok(Lineage {
        from: from.display().to_string(),
        weights_sha256: checkpoint.weights_digest()?,
        taken: report.taken.len(),
        missing: report.missing,
        extra: report.extra,
        mismatched: report.mismatched.into_iter().map(|mismatch| mismatch.name).collect(),
    })
}

/// Keeps fixed every parameter whose name matches a pattern; returns how many numbers that are.
///
/// # Errors
/// [`Error::Usage`] for a pattern that matches nothing, with the nearest names, and when nothing is left to train.
pub fn freeze(model: Model, patterns: &[String]) -> Result<(Model, usize), Error> {
    let names: Vec<String> = weights::names(&model).into_iter().map(|(name, _)| name).collect();
    for pattern in patterns {
        if !names.iter().any(|name| matches(pattern, name)) {
            let mut nearest = names.clone();
            nearest.sort_by_key(|name| strsim::damerau_levenshtein(pattern, name));
            nearest.truncate(5);
            let nearest = nearest.join("\n  ");
            return Err(Error::Usage(format!(
                "finetune.freeze: `{pattern}` matches no parameter; the nearest names are\n  {nearest}"
            )));
        }
    }
    let frozen = |name: &str| patterns.iter().any(|pattern| matches(pattern, name));
    if !patterns.is_empty() && names.iter().all(|name| frozen(name)) {
        return Err(Error::Usage("finetune.freeze leaves nothing to train".to_owned()));
    }
    let mut freezer = Freezer { frozen, path: ParameterPath::default(), numbers: 0 };
    let model = model.map(&mut freezer);
    Ok((model, freezer.numbers))
}

struct Freezer<F> {
    frozen: F,
    path: ParameterPath,
    numbers: usize,
}

impl<F: Fn(&str) -> bool> ModuleMapper for Freezer<F> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if !(self.frozen)(&self.path.name()) {
            return param;
        }
        self.numbers += param.lazy_shape().num_elements();
        param.set_require_grad(false)
    }
}

/// Whether a name matches a pattern in which `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, tail)) => name.strip_prefix(head).is_some_and(|rest| {
            (0..=rest.len()).filter(|&i| rest.is_char_boundary(i)).any(|i| matches(tail, &rest[i..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, name, expected) in [
            ("embed", "embed", true),
            ("embed", "embed.weight", false),
            ("blocks.0.*", "blocks.0.attention.query.weight", true),
            ("blocks.0.*", "blocks.1.attention.query.weight", false),
            ("*.query.*", "blocks.1.attention.query.bias", true),
            ("*.bias", "head.weight", false),
            ("*", "anything", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
