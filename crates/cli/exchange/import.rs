//! `headway import`

use std::{collections::BTreeMap, path::Path, process::ExitCode};

use headway_exchange::{
    Choices, Contents, Fitted, Sizes, fit,
    names::{Convention, substitute, unwrap},
    read,
    told::{self, Compared, Told},
};
use headway_model::weights::shapes;
use headway_trainer::{
    Error,
    device::DeviceSpec,
    experiment,
    import::{self, file_digest, files_digest},
    provenance,
    run_dir::NewRun,
};
use serde_json::json;

use super::args::Import;
use crate::{output, values::overrides};

pub fn run(args: &Import) -> Result<ExitCode, Error> {
    let wrong = |error: headway_exchange::Error| Error::refused(&args.file, error);
    let mut contents = read(&args.file, args.key.as_deref()).map_err(wrong)?;
    let told = told(args, &contents).map_err(wrong)?;
    let count = contents.tensors.len();
    let unwrapped = unwrap(std::mem::take(&mut contents.tensors));
    let tensors = substitute(unwrapped.tensors, &args.rename).map_err(wrong)?;
    let key = contents.key.as_ref().map(|key| format!("{key}."));
    let convention = Convention::of(&tensors, args.format, &(key.unwrap_or_default() + &unwrapped.before));
    match (&args.experiment, &args.out) {
        (Some(path), Some(out)) => {
            let convention = convention.map_err(wrong)?;
            let mut renamed = convention.rename(tensors).map_err(wrong)?;
            renamed.assumed.extend(unwrapped.said);
            renamed.not_weights.extend(unwrapped.not_weights);
            let loaded = experiment::load(path, &overrides(&args.unset, &args.set, None))?;
            let place = NewRun::At(out.clone());
            place.path()?;
            let compared = Compared { model: &loaded.experiment.model, convention, renamed: &renamed };
            compared.check(&told).map_err(wrong)?;
            let assumed = compared.taken_for_granted(&told);
            let (device, _) = DeviceSpec::Cpu.open()?;
            let model = import::fresh(&loaded.experiment, &device)?;
            let choices = Choices { allow_extra: args.allow_extra, cut_positions: args.cut_positions };
            let not_weights = renamed.not_weights.clone();
            let fitted = fit(renamed, &shapes(&model), choices).map_err(wrong)?;
            let strange =
                fitted.arrays.values().flat_map(|array| &array.values).filter(|value| !value.is_finite()).count();
            if strange > 0 {
                output::note(format!("warning: {strange} weights are no finite numbers"));
            }
            let told = told.iter().map(|told| format!("{}: {} = {}", told.source, told.key, told.value)).collect();
            let record =
                provenance::Import { assumed, not_weights, told, ..record(args, &contents, convention, &fitted)? };
            let checkpoint = import::write(&place, &loaded.experiment, model, fitted.arrays, &record)?;
            if args.json {
                output::json(&record);
            } else {
                said(&record, count);
                others(&contents);
                output::line(format!("checkpoint: {}", checkpoint.path.display()));
            }
        }
        _ => inspect(args, &contents, convention, tensors, &told),
    }
    Ok(ExitCode::SUCCESS)
}

/// What is told of the network: by the user, beside the file, in the file, in this order.
fn told(args: &Import, contents: &Contents) -> Result<Vec<Told>, headway_exchange::Error> {
    let file = contents.files.first().unwrap_or(&args.file);
    let folder = file.parent().unwrap_or(Path::new(""));
    let found = told::beside(folder)?.into_iter().chain(contents.told.iter().cloned()).collect();
    Ok(told::before(args.given.clone(), found))
}

fn record(
    args: &Import,
    contents: &Contents,
    convention: &Convention,
    fitted: &Fitted,
) -> Result<provenance::Import, Error> {
    let rounded = contents.rounded.iter().map(|r| (r.name.clone(), (r.from.to_owned(), r.numbers)));
    Ok(provenance::Import {
        file: args.file.display().to_string(),
        sha256: if contents.files.is_empty() { file_digest(&args.file)? } else { files_digest(&contents.files)? },
        container: contents.container.text().to_owned(),
        key: contents.key.clone(),
        convention: convention.name.to_owned(),
        renamed: args.rename.iter().map(|(old, new)| format!("{old}={new}")).collect(),
        assumed: Vec::new(),
        not_weights: Vec::new(),
        told: Vec::new(),
        beside: contents.beside.clone(),
        left_out: fitted.left_out.clone(),
        filled: fitted.filled.iter().map(|filled| (filled.name.clone(), filled.with.to_owned())).collect(),
        rounded: rounded.collect(),
        positions: fitted.positions,
        version: provenance::version(),
    })
}

/// What was made of the file.
fn said(record: &provenance::Import, tensors: usize) {
    let below = record.key.as_ref().map(|key| format!(" below `{key}`")).unwrap_or_default();
    output::line(format!(
        "{}: {}, {tensors} tensors{below}, named as {}",
        record.file, record.container, record.convention
    ));
    for told in &record.told {
        output::line(format!("  told by {told}"));
    }
    for assumed in &record.assumed {
        output::line(format!("  taken for granted: {assumed}"));
    }
    for (what, names) in
        [("beside it, not taken", &record.beside), ("no weights", &record.not_weights), ("left out", &record.left_out)]
    {
        if !names.is_empty() {
            output::line(format!("  {what}: {} ({})", names.len(), shortened(names)));
        }
    }
    let mut filled: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, with) in &record.filled {
        filled.entry(with).or_default().push(name.clone());
    }
    for (with, names) in filled {
        output::line(format!("  filled with {with}: {} ({})", names.len(), shortened(&names)));
    }
    for (name, (from, numbers)) in &record.rounded {
        output::line(format!("  rounded from {from} to float32: {name}, {numbers} numbers changed"));
    }
    if let Some(rows) = record.positions {
        output::line(format!("  positions: the first of {rows} rows, as many as the task has"));
    }
}

/// Which other weights of the file fit as well.
fn others(contents: &Contents) {
    for key in &contents.alike {
        output::line(format!("  `{key}` has tensors of the same names and shapes; --key {key} takes those"));
    }
}

/// The first few of many names.
fn shortened(names: &[String]) -> String {
    let more = if names.len() > 3 { ", …" } else { "" };
    names.iter().take(3).cloned().collect::<Vec<_>>().join(", ") + more
}

/// Shows what is in a file.
fn inspect(
    args: &Import,
    contents: &Contents,
    convention: Result<&Convention, headway_exchange::Error>,
    tensors: headway_exchange::Arrays,
    told: &[Told],
) {
    let shapes: Vec<(String, Vec<usize>)> =
        tensors.iter().map(|(name, array)| (name.clone(), array.shape.clone())).collect();
    let renamed = match convention {
        Ok(convention) => convention.rename(tensors).map(|renamed| (convention, renamed)),
        Err(error) => Err(error),
    };
    let sizes = renamed.as_ref().ok().map(|(_, renamed)| Sizes::of(renamed, told));
    let table = sizes.as_ref().and_then(Sizes::to_toml);
    if args.json {
        let (unknown, not_weights) = match &renamed {
            Ok((_, renamed)) => (renamed.unknown.clone(), renamed.not_weights.clone()),
            Err(_) => Default::default(),
        };
        output::json(&json!({
            "container": contents.container.text(),
            "key": contents.key,
            "beside": contents.beside,
            "alike": contents.alike,
            "tensors": shapes.into_iter().collect::<BTreeMap<_, _>>(),
            "convention": renamed.as_ref().ok().map(|(convention, _)| convention.name),
            "unknown": unknown,
            "told": told.iter().map(|told| format!("{}: {} = {}", told.source, told.key, told.value)).collect::<Vec<_>>(),
            "not_weights": not_weights,
            "table": table,
        }));
        return;
    }
    let below = contents.key.as_ref().map(|key| format!(" below `{key}`")).unwrap_or_default();
    output::line(format!("{}: {}, {} tensors{below}", args.file.display(), contents.container.text(), shapes.len()));
    others(contents);
    if !contents.beside.is_empty() {
        output::line(format!("beside it, not taken: {} ({})", contents.beside.len(), shortened(&contents.beside)));
    }
    let width = shapes.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    for (name, shape) in &shapes {
        output::line(format!("  {name:width$}  {shape:?}"));
    }
    let (convention, renamed) = match renamed {
        Ok(both) => both,
        Err(error) => {
            output::line(error.to_string());
            return;
        }
    };
    output::line(format!("named as {}: {}", convention.name, convention.summary));
    for (what, names) in [("no weights", &renamed.not_weights), ("unknown", &renamed.unknown)] {
        if !names.is_empty() {
            output::line(format!("  {what}: {}", names.join(", ")));
        }
    }
    for assumed in &renamed.assumed {
        output::line(format!("  taken for granted: {assumed}"));
    }
    for told in told {
        output::line(format!("  told by {}: {} = {}", told.source, told.key, told.value));
    }
    if let Some(table) = table {
        output::line(format!("\nwhat the experiment must say:\n\n{table}"));
    }
}
