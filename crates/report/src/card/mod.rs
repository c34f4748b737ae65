//! Model cards: what a network is, what it was trained on, how good it is, and where its weights come from. A card
//! states only facts: each is read from the checkpoint or from the record of its run, or is a score computed for the
//! card.

mod score;

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use headway_draw::{number, number_within};
use headway_model::{InputDims, ModelConfig, weights};
use headway_tasks::{Split, TaskConfig};

use crate::error::Error;
use headway_trainer::{
    checkpoint::Checkpoint,
    device::OpenDevice,
    evaluate,
    experiment::Experiment,
    provenance::{Import, Lineage, Record, Status},
    quote, run_dir,
};
use score::{Score, Scores};

/// One checkpoint that the card is about.
struct Subject {
    checkpoint: Checkpoint,
    experiment: Experiment,
    /// Record of the run that the checkpoint belongs to; `None` if it lies outside a run folder.
    record: Option<Record>,
    import: Option<Import>,
    lineage: Option<Lineage>,
    certificate: Option<serde_json::Value>,
    step: Option<u64>,
}

impl Subject {
    fn find(path: &Path) -> Result<Self, Error> {
        let checkpoint = Checkpoint::find(path)?;
        // The checkpoints of a run lie in its folder `checkpoints/`.
        let above = checkpoint.path.parent().filter(|above| above.ends_with("checkpoints"));
        let run = above.and_then(Path::parent).unwrap_or(path);
        let record = run_dir::has_record(run)?.then(|| run_dir::read_record(run)).transpose()?;
        Ok(Self {
            experiment: checkpoint.config()?.experiment,
            import: checkpoint.import()?,
            lineage: checkpoint.lineage()?,
            certificate: checkpoint.certificate()?,
            step: checkpoint.state()?.map(|state| state.step),
            checkpoint,
            record,
        })
    }
}

/// The card of one checkpoint, or of several checkpoints that differ only in the seed of their experiment, in Markdown.
///
/// # Errors
/// [`Error::Trainer`] for what is no whole checkpoint, or whose network has no scores; [`Error::OtherExperiments`],
/// [`Error::SameSeed`]
pub fn card(paths: &[PathBuf], device: &OpenDevice) -> Result<String, Error> {
    let subjects = paths.iter().map(|path| Subject::find(path)).collect::<Result<Vec<_>, _>>()?;
    let Some(first) = subjects.first() else {
        return Err(Error::NoCheckpoint);
    };
    alike(&subjects)?;
    let scores = if let [only] = subjects.as_slice() {
        let (model, experiment, checkpoint) = evaluate::load(&only.checkpoint.path, &[], device)?;
        checkpoint.ensure_finite(&weights::arrays(&model))?;
        evaluate::within(&experiment, device, || Scores::over_examples(&model, &experiment, &device.device))?
    } else {
        let mut runs = Vec::new();
        for subject in &subjects {
            let run = evaluate::evaluate(&subject.checkpoint.path, &[], device)?;
            if run.status == Status::Diverged {
                return Err(evaluate::not_finite(&subject.checkpoint.path, &[]).into());
            }
            runs.push(run.rows());
        }
        Scores::over_seeds(&runs)
    };
    let Experiment { model, task, .. } = &first.experiment;
    let mut text = format!("# {} on {}\n", model.name(), task.name());
    for (heading, body) in [
        ("Task", task_section(&first.experiment)),
        ("Model", model_section(&first.experiment)),
        ("Training", training_section(&subjects)),
        ("Scores", scores_section(&subjects, &scores, device)),
        ("Where the weights are from", origin_section(&subjects)),
        ("Limits", limits_section(&subjects, &scores)),
        ("How to load it", loading_section(&first.checkpoint.path)),
    ] {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n## {heading}\n\n{}\n", body.trim_end());
    }
    Ok(text)
}

/// # Errors
/// [`Error::OtherExperiments`] where more than the seed differs, [`Error::SameSeed`] where not even that.
fn alike(subjects: &[Subject]) -> Result<(), Error> {
    let unseeded = |subject: &Subject| Experiment { seed: 0, init_from: None, ..subject.experiment.clone() };
    for (at, subject) in subjects.iter().enumerate() {
        for earlier in &subjects[..at] {
            let paths = [earlier, subject].map(|subject| subject.checkpoint.path.clone());
            if unseeded(earlier) != unseeded(subject) {
                return Err(Error::OtherExperiments(paths));
            }
            if earlier.experiment.seed == subject.experiment.seed {
                return Err(Error::SameSeed { paths, seed: subject.experiment.seed });
            }
        }
    }
    Ok(())
}

/// The summary of a name in a list.
fn summary(list: &[(&'static str, &'static str)], name: &str) -> &'static str {
    list.iter().find(|(entry, _)| *entry == name).map_or("", |(_, summary)| summary)
}

/// One table of the experiment as TOML, in a code fence.
fn fenced(experiment: &Experiment, table: &str) -> String {
    let all = experiment.to_table();
    let only: toml::Table = all.into_iter().filter(|(key, _)| key == table).collect();
    format!("```toml\n{}\n```", toml::to_string(&only).unwrap_or_default().trim_end())
}

fn task_section(experiment: &Experiment) -> String {
    let task = experiment.task.name();
    let examples = experiment.examples();
    let [train, validation, test] = [Split::Train, Split::Validation, Split::Test].map(|split| examples.size(split));
    let data = match train {
        0 => "Training examples are drawn anew at every step".to_owned(),
        train => format!("{train} training examples are drawn once"),
    };
    let data = if experiment.task.held_evaluation().is_some() {
        format!(
            "{data}, as a function of the seed; {validation} validation and {test} test examples cover the files of the task."
        )
    } else {
        format!(
            "{data}; {validation} validation and {test} test examples are drawn apart. All are a pure function of the seed."
        )
    };
    // A card is for others, to whom the folders of this machine say nothing.
    let mut named = experiment.clone();
    for (_, place) in named.task.places_mut() {
        *place = place.file_name().unwrap_or_default().into();
    }
    format!("`{task}`: {}.\n\n{}\n\n{data}", summary(&TaskConfig::list(), task), fenced(&named, "task"))
}

fn model_section(experiment: &Experiment) -> String {
    let name = experiment.model.name();
    let dims = experiment.dims();
    let input = match dims.input {
        InputDims::Continuous { d_in } => format!("vectors `[batch, {}, {d_in}]`", dims.seq_len),
        InputDims::Tokens { vocab } => format!("token ids below {vocab}, `[batch, {}]`", dims.seq_len),
    };
    format!(
        "`{name}`: {}.\n\n{}\n\n{} parameters in float32. Input: {input}; output: `[batch, {}, {}]`.",
        summary(&ModelConfig::list(), name),
        fenced(experiment, "model"),
        experiment.model.budget(&dims).parameters,
        dims.seq_len,
        dims.d_out
    )
}

fn seeds(subjects: &[Subject]) -> String {
    let seeds: Vec<String> = subjects.iter().map(|subject| subject.experiment.seed.to_string()).collect();
    format!("{} {}", if seeds.len() == 1 { "seed" } else { "seeds" }, seeds.join(", "))
}

fn training_section(subjects: &[Subject]) -> String {
    let first = &subjects[0];
    if first.certificate.is_some() {
        return "None: the weights were constructed.".to_owned();
    }
    if first.import.is_some() {
        return "Not by this program: the weights were imported, and the file does not say how they came about."
            .to_owned();
    }
    let train = &first.experiment.train;
    let steps: Vec<String> = subjects.iter().filter_map(|subject| subject.step).map(|step| step.to_string()).collect();
    let taken = if steps.is_empty() { train.steps.to_string() } else { steps.join(", ") };
    let mut lines = vec![format!(
        "{taken} of {} steps of {} examples, {}.",
        train.steps,
        train.batch_size as u64 * train.accumulate,
        seeds(subjects)
    )];
    lines.push(String::new());
    lines.push(fenced(&first.experiment, "optimizer"));
    lines.push(String::new());
    for record in subjects.iter().filter_map(|subject| subject.record.as_ref()) {
        lines.push(format!(
            "- {}: {:.1} s on {}, products in {}, {} threads, {}; Headway {}",
            quote::code(&record.command),
            record.seconds,
            record.device,
            record.precisions(),
            record.threads,
            record.platform,
            record.version
        ));
    }
    lines.join("\n")
}

fn scores_section(subjects: &[Subject], scores: &Scores, device: &OpenDevice) -> String {
    let what = match scores {
        Scores { seeds: Some(seeds), .. } => format!("means over {seeds} seeds, each on its own test set"),
        Scores { examples, .. } => format!("means over {examples} test examples of {}", seeds(subjects)),
    };
    let names: Vec<&String> = scores.rows.first().map(|row| row.values.keys().collect()).unwrap_or_default();
    let mut lines = vec![
        format!(
            "On the test set, computed on {}: {what}, with 95 % bootstrap intervals (BCa) in brackets.",
            device.spec
        ),
        String::new(),
        format!("| | {} |", names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" | ")),
        format!("|---|{}", "---|".repeat(names.len())),
    ];
    for row in &scores.rows {
        let shown = |score: &Score| number_within(score.mean, score.interval);
        let cell = |name: &&String| row.values.get(*name).map(shown).unwrap_or_default();
        lines.push(format!("| {} | {} |", row.name, names.iter().map(cell).collect::<Vec<_>>().join(" | ")));
    }
    lines.push(String::new());
    lines.push("The other rows are classical predictors on the same examples.".to_owned());
    lines.extend(scores.remarks.iter().map(|remark| format!("\n{remark}.")));
    lines.join("\n")
}

fn origin_section(subjects: &[Subject]) -> String {
    let mut lines = Vec::new();
    for subject in subjects {
        let path = quote::code(&subject.checkpoint.path);
        if let Some(import) = &subject.import {
            lines.push(format!(
                "- {path}: imported from {} ({}, sha256 `{}`), named as {}.",
                quote::code(&import.file),
                import.container,
                import.sha256,
                import.convention
            ));
            lines.extend(import.told.iter().map(|told| format!("  - told by {told}")));
            lines.extend(import.assumed.iter().map(|assumed| format!("  - taken for granted: {assumed}")));
            lines.extend(import.filled.iter().map(|(name, with)| format!("  - {} is {with}", quote::code(name))));
            lines.extend(
                import.left_out.iter().map(|name| format!("  - {} of the file was left out", quote::code(name))),
            );
        } else if let Some(certificate) = &subject.certificate {
            let number_at = |path: &str| certificate.pointer(path).and_then(serde_json::Value::as_f64).map(number);
            let text_at =
                |path: &str| certificate.pointer(path).and_then(serde_json::Value::as_str).unwrap_or_default();
            lines.push(format!(
                "- {path}: constructed as `{}` of {} on {}.",
                text_at("/construction"),
                text_at("/target"),
                text_at("/domain")
            ));
            let holds = certificate["holds"] == true;
            if !holds {
                lines.push("  - NOT CERTIFIED: nothing is proved about the error".to_owned());
            }
            let condition = if text_at("/verdict") == "given" { ", if slopes are as they were given," } else { "" };
            let claims = [
                (format!("error{condition} at most"), "/bound/value"),
                ("rounding to float32 adds at most".to_owned(), "/rounding/value"),
            ];
            let found = ("largest error measured".to_owned(), "/float32/error");
            for (name, at) in claims.into_iter().filter(|_| holds).chain([found]) {
                lines.extend(number_at(at).map(|value| format!("  - {name} {value}")));
            }
        } else if let Some(Lineage { from, weights_sha256, folded: Some(folded), .. }) = &subject.lineage {
            lines.push(format!(
                "- {path}: the weights of `{from}` (sha256 `{weights_sha256}`) with the adapter of `{}` (sha256 `{}`) folded in.",
                folded.from, folded.sha256
            ));
        } else if let Some(lineage) = &subject.lineage {
            lines.push(format!(
                "- {path}: trained from the weights of {} (sha256 `{}`), {} tensors taken, {} fresh.",
                quote::code(&lineage.from),
                lineage.weights_sha256,
                lineage.taken,
                lineage.fresh().len()
            ));
            lines.extend(lineage.changed.iter().map(|key| format!("  - they made another function before: `{key}`")));
        } else if subject.record.is_some() {
            lines.push(format!("- {path}: trained from random weights."));
        } else {
            lines.push(format!("- {path}: trained; the record of its run is not beside it."));
        }
    }
    lines.join("\n")
}

fn limits_section(subjects: &[Subject], scores: &Scores) -> String {
    let experiment = &subjects[0].experiment;
    let dims = experiment.dims();
    let length = if experiment.model.takes_shorter_sequences() {
        format!("- Sequences of up to {} positions; trained and scored at the lengths of the task.", dims.seq_len)
    } else {
        format!("- Sequences of exactly {} positions.", dims.seq_len)
    };
    let mut lines = vec![
        "- The scores hold for inputs drawn as the task draws them; nothing is known of others.".to_owned(),
        length,
    ];
    match scores.seeds {
        Some(seeds) if seeds < 10 => {
            lines.push(format!("- {seeds} seeds: an interval over so few covers the truth less often than it says."));
        }
        Some(_) => {}
        None => lines.push("- One seed: the numbers describe this file, not the method.".to_owned()),
    }
    lines.join("\n")
}

fn loading_section(path: &Path) -> String {
    let (word, weights) = (quote::shell_path(path), quote::python(path.join("model.safetensors")));
    let path = quote::python(path);
    format!(
        "```sh\nheadway eval {word}\nheadway finetune EXPERIMENT.toml --from {word}\n```\n\n```python\n\
         from safetensors.torch import load_file\nweights = load_file({weights})  # linear weights [out, in]\n\n\
         import headway_reference  # python/headway_reference.py, numpy alone\nmodel = headway_reference.load({path})\n\
         output = model(inputs)\n```"
    )
}
