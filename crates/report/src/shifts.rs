//! The page about one checkpoint under distribution shifts.

use std::path::Path;

use headway_draw::Panels;
use serde_json::json;

use super::{
    Builder, Page, Table,
    groups::VALUES,
    run::{slice_note, slices},
    scores::{remarks, shown},
    sentence,
};
use headway_trainer::{evaluate::Shifted, provenance::Row};

/// The page: a table of shifts by predictors, then the error for each number of examples under each shift.
pub fn page(checkpoint: &Path, shifted: Vec<Shifted>) -> Page {
    let table = table(&shifted);
    let mut builder = Builder::default();
    let note = "Mean squared error over all scored points, or accuracy where answers are classes. On test prompts; classical predictors answer \
                the same ones. Where a shift treats the query apart from its context, \
                one point of each prompt is scored.";
    builder.table("Scores under each shift", note, table.clone());
    let findings = findings(&shifted);
    builder.prose("What to know", &findings);
    let sliced = shifted.iter().filter_map(|shift| Some((shift, slices(&shift.rows)?)));
    let panels: Vec<_> = sliced.map(|(shift, figure)| (shift.name.to_owned(), figure)).collect();
    if let Some((_, first)) = panels.first() {
        let note = slice_note("A panel for each shift, all over the same axes", first);
        let panels = Panels { title: "Score by slice under each shift".to_owned(), panels };
        builder.figure("shifts", "Under each shift", note, panels.to_svg());
    }
    let meaning = |shift: &Shifted| vec![Some(shift.name.to_owned()), Some(sentence(shift.summary))];
    let rows = shifted.iter().map(meaning).collect();
    builder.table(
        "What each shift is",
        "",
        Table { header: ["shift", "what it changes"].map(str::to_owned).into(), rows },
    );
    let tables = vec![(VALUES, every_score(&shifted))];
    let checkpoint = checkpoint.display();
    let summary =
        format!("The network of {checkpoint} beside the classical predictors, in training's prompts and beyond.");
    builder.page("Under distribution shifts", summary, table, findings, json!({ "shifts": shifted }), tables)
}

/// Every score of every predictor under every shift.
fn every_score(shifted: &[Shifted]) -> Table {
    let header = ["shift", "predictor", "metric", "value", "standard error"].map(str::to_owned).into();
    let rows = shifted.iter().flat_map(|shift| {
        shift.rows.iter().flat_map(move |row| {
            row.metrics.iter().map(move |(metric, value)| {
                let error = row.errors.get(metric).map(ToString::to_string);
                let cells = [shift.name.to_owned(), row.name.clone(), metric.clone(), value.to_string()];
                cells.map(Some).into_iter().chain([error]).collect()
            })
        })
    });
    Table { header, rows: rows.collect() }
}

/// Mean squared errors, or accuracies if answers are classes.
fn table(shifted: &[Shifted]) -> Table {
    let score = |row: &Row| {
        let name = if row.metrics.contains_key("test/accuracy") { "test/accuracy" } else { "test/mse" };
        shown(row, name)
    };
    let predictors = shifted.first().map(|shift| shift.rows.iter().map(|row| row.name.clone()).collect());
    let predictors: Vec<String> = predictors.unwrap_or_default();
    let rows = shifted
        .iter()
        .map(|shift| std::iter::once(Some(shift.name.to_owned())).chain(shift.rows.iter().map(score)).collect());
    let header = std::iter::once("shift".to_owned()).chain(predictors).collect();
    Table { header, rows: rows.collect() }
}

/// Remarks about the network's scores under each shift.
fn findings(shifted: &[Shifted]) -> Vec<String> {
    let of = |shift: &Shifted| {
        let remarks = shift.rows.iter().flat_map(remarks);
        remarks.map(|remark| format!("{}: {remark}.", shift.name)).collect::<Vec<_>>()
    };
    shifted.iter().flat_map(of).collect()
}
