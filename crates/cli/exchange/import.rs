//! `headway import`

use std::{collections::BTreeMap, process::ExitCode};

use crate::error::Error;
use headway_exchange::Choices;
use headway_trainer::{
    experiment,
    import::{Foreign, Imported, Listing, Reading},
    provenance,
    run_dir::NewRun,
};
use serde_json::json;

use super::args::Import;
use crate::{output, values::overrides};

pub fn run(args: &Import) -> Result<ExitCode, Error> {
    let foreign = Foreign::read(Reading {
        file: args.file.clone(),
        format: args.format,
        key: args.key.clone(),
        rename: args.rename.clone(),
        given: args.given.clone(),
    })?;
    match (&args.experiment, &args.out) {
        (Some(path), Some(out)) => {
            let foreign = foreign.named()?;
            let loaded = experiment::load(path, &overrides(&args.unset, &args.set, None))?;
            let choices = Choices { allow_extra: args.allow_extra, cut_positions: args.cut_positions };
            let imported = foreign.checkpoint(&loaded.experiment, choices, &NewRun::At(out.clone()))?;
            let Imported { record, checkpoint, tensors, alike } = &imported;
            if args.json {
                output::json(record);
            } else {
                said(record, *tensors);
                others(alike);
                output::line(format!("checkpoint: {}", checkpoint.path.display()));
            }
        }
        _ => listed(args, &foreign.contents()),
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints what was done with the file.
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

/// Prints which other weights of the file would fit as well.
fn others(alike: &[String]) {
    for key in alike {
        output::line(format!("  `{key}` has tensors of the same names and shapes; --key {key} takes those"));
    }
}

/// The first few of many names.
fn shortened(names: &[String]) -> String {
    let more = if names.len() > 3 { ", …" } else { "" };
    names.iter().take(3).cloned().collect::<Vec<_>>().join(", ") + more
}

/// Prints the content of a file.
fn listed(args: &Import, listing: &Listing) {
    let Listing { contents, shapes, renamed, told, table } = listing;
    if args.json {
        let (unknown, not_weights) = match renamed {
            Ok((_, renamed)) => (renamed.unknown.clone(), renamed.not_weights.clone()),
            Err(_) => Default::default(),
        };
        output::json(&json!({
            "container": contents.container.text(),
            "key": contents.key,
            "beside": contents.beside,
            "alike": contents.alike,
            "tensors": shapes,
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
    others(&contents.alike);
    if !contents.beside.is_empty() {
        output::line(format!("beside it, not taken: {} ({})", contents.beside.len(), shortened(&contents.beside)));
    }
    let width = shapes.keys().map(String::len).max().unwrap_or_default();
    for (name, shape) in shapes {
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
