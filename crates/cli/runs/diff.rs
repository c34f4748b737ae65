//! `headway runs diff`

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::ExitCode,
};

use headway_trainer::{
    experiment::leaves,
    provenance::{self, Record},
    run_dir::{read_experiment, read_record},
};
use serde_json::json;

use super::status;
use crate::{error::Error, output, tables};

/// What is known about a run, in words, by its name.
struct Facts {
    settings: BTreeMap<String, String>,
    circumstances: BTreeMap<String, String>,
    scores: BTreeMap<String, f64>,
}

/// Prints in what two runs differ: settings, circumstances, scores of their networks.
pub fn run(runs: &[PathBuf], as_json: bool) -> Result<ExitCode, Error> {
    let both = runs.iter().map(|path| read(path)).collect::<Result<Vec<Facts>, _>>()?;
    let settings = differing(both.iter().map(|run| &run.settings));
    let facts = differing(both.iter().map(|run| &run.circumstances));
    let scores: BTreeSet<&String> = both.iter().flat_map(|run| run.scores.keys()).collect();
    let score = |name: &String| both.iter().map(|run| run.scores.get(name).copied()).collect::<Vec<_>>();
    if as_json {
        let scores: BTreeMap<_, _> = scores.into_iter().map(|name| (name, score(name))).collect();
        output::json(&json!({ "runs": runs, "settings": settings, "circumstances": facts, "scores": scores }));
        return Ok(ExitCode::SUCCESS);
    }
    let names: Vec<String> = runs.iter().map(|path| path.display().to_string()).collect();
    let header = |what: &'static str| std::iter::once(what).chain(names.iter().map(String::as_str)).collect::<Vec<_>>();
    let rows = |found: &BTreeMap<String, Vec<Option<String>>>| {
        let row = |(name, values): (&String, &Vec<Option<String>>)| {
            std::iter::once(name.clone()).chain(values.iter().map(|value| value.clone().unwrap_or_default())).collect()
        };
        found.iter().map(row).collect::<Vec<Vec<String>>>()
    };
    if settings.is_empty() {
        output::line("All settings are equal.");
    } else {
        output::line(tables::prose_table(&header("setting"), rows(&settings)));
    }
    if !facts.is_empty() {
        output::line(tables::prose_table(&header("circumstance"), rows(&facts)));
    }
    if !scores.is_empty() {
        let rows = scores.into_iter().map(|name| {
            let values = score(name).into_iter().map(|value| value.map(output::number).unwrap_or_default());
            std::iter::once(name.clone()).chain(values).collect()
        });
        output::line(tables::table(&header("score"), rows));
    }
    Ok(ExitCode::SUCCESS)
}

fn read(path: &Path) -> Result<Facts, Error> {
    let (record, experiment) = (read_record(path)?, read_experiment(path)?);
    let settings =
        leaves("", &experiment.to_table()).into_iter().map(|(key, value)| (key, value.to_string())).collect();
    let facts = [
        ("status", status(path, &record)?),
        ("step", record.step.to_string()),
        ("version", record.version.clone()),
        ("device", record.device.clone()),
        ("platform", record.platform.clone()),
        ("data sha256", record.data_sha256.clone().unwrap_or_default()),
        ("from", record.lineage.as_ref().map(|lineage| lineage.from.clone()).unwrap_or_default()),
        ("parameters", record.parameters.to_string()),
    ];
    let facts = facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Ok(Facts { settings, circumstances: facts, scores: scores(&record) })
}

/// Scores of the network that are not about a slice.
fn scores(record: &Record) -> BTreeMap<String, f64> {
    let Some(network) = record.results.first() else { return BTreeMap::new() };
    let totals = provenance::totals(std::slice::from_ref(network));
    totals.into_iter().map(|name| (name.clone(), network.metrics[name])).collect()
}

/// What is not equal in all of the maps.
fn differing<'a>(
    maps: impl Iterator<Item = &'a BTreeMap<String, String>> + Clone,
) -> BTreeMap<String, Vec<Option<String>>> {
    let names: BTreeSet<&String> = maps.clone().flat_map(BTreeMap::keys).collect();
    let values = |name: &String| maps.clone().map(|map| map.get(name).cloned()).collect::<Vec<_>>();
    let all = names.into_iter().map(|name| (name.clone(), values(name)));
    all.filter(|(_, values)| values.windows(2).any(|pair| pair[0] != pair[1])).collect()
}
