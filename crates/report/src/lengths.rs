//! The page about one checkpoint at multiples of the length that it was trained at.

use std::path::Path;

use headway_draw::{Figure, Series, Style};
use serde_json::json;

use super::{
    Builder, Page, Table,
    groups::{self, VALUES, file_name},
    scores::{remarks, shown},
};
use headway_study::results::Group;
use headway_trainer::{
    evaluate,
    lengths::AtLength,
    provenance::{NETWORK, Row},
};

/// The page: a table of lengths by scores, then a figure for each score.
pub fn page(checkpoint: &Path, all: Vec<AtLength>) -> Page {
    let (table, key) = (table(&all), all.first().map_or("", |at| at.key));
    let mut builder = Builder::default();
    let note = "On test examples of each length; classical predictors answer the same ones. The network is the one that was trained at the first of \
                its task's lengths, with the same weights.";
    builder.table("Scores at each length", note, table.clone());
    let findings = findings(&all);
    builder.prose("What to know", &findings);
    for score in scores(&all) {
        let svg = figure(&all, &score, key).to_svg();
        let note = format!("Against {key}, on a logarithmic axis.");
        builder.figure(format!("lengths-{}", file_name(&score)), &score, note, svg);
    }
    let tables = vec![(VALUES, every_score(&all))];
    let checkpoint = checkpoint.display();
    let summary = format!(
        "The network of {checkpoint} beside the classical predictors, at and beyond the length of its training."
    );
    builder.page("At other lengths", summary, table, findings, json!({ "lengths": all }), tables)
}

/// Names of all scores that are not about a slice.
fn scores(all: &[AtLength]) -> Vec<String> {
    let names = all.iter().flat_map(|at| &at.rows).flat_map(|row| row.metrics.keys());
    let mut names: Vec<String> = names.filter(|name| !name.contains('[')).cloned().collect();
    names.sort();
    names.dedup();
    names
}

/// Names of the predictors, the network first.
fn predictors(all: &[AtLength]) -> Vec<String> {
    all.first().into_iter().flat_map(|at| &at.rows).map(|row| row.name.clone()).collect()
}

fn row<'a>(at: &'a AtLength, predictor: &str) -> Option<&'a Row> {
    at.rows.iter().find(|row| row.name == predictor)
}

/// One row for each score and length, one column for each predictor.
fn table(all: &[AtLength]) -> Table {
    let predictors = predictors(all);
    let key = all.first().map_or("length", |at| at.key).to_owned();
    let header = ["score".to_owned(), key, "times".to_owned()].into_iter().chain(predictors.iter().cloned()).collect();
    let rows = scores(all).into_iter().flat_map(|score| {
        let of = |at: &AtLength| {
            let cells = predictors.iter().map(|name| row(at, name).and_then(|row| shown(row, &score)));
            let start = [score.clone(), at.length.to_string(), at.times.to_string()];
            start.map(Some).into_iter().chain(cells).collect::<Vec<_>>()
        };
        all.iter().map(of).collect::<Vec<_>>()
    });
    Table { header, rows: rows.collect() }
}

/// Every score of every predictor at every length.
fn every_score(all: &[AtLength]) -> Table {
    let header = ["length", "times", "predictor", "metric", "value", "standard error"].map(str::to_owned).into();
    let rows = all.iter().flat_map(|at| {
        at.rows.iter().flat_map(move |row| {
            row.metrics.iter().map(move |(metric, value)| {
                let error = row.errors.get(metric).map(ToString::to_string);
                let numbers = [at.length, at.times].map(|n| n.to_string());
                let cells = [row.name.clone(), metric.clone(), value.to_string()];
                numbers.into_iter().chain(cells).map(Some).chain([error]).collect()
            })
        })
    });
    Table { header, rows: rows.collect() }
}

fn figure(all: &[AtLength], score: &str, key: &str) -> Figure {
    let series = predictors(all).into_iter().enumerate().map(|(index, name)| {
        let point = |at: &AtLength| Some((at.length as f64, *row(at, &name)?.metrics.get(score)?));
        let style = if index == 0 { Style::LinePoints } else { Style::Dashed };
        Series { points: all.iter().filter_map(point).collect(), label: name, intervals: Vec::new(), style }
    });
    Figure {
        title: format!("{score} at each length"),
        x_label: key.to_owned(),
        y_label: score.to_owned(),
        x_log: true,
        y_log: false,
        series: series.filter(|series| !series.points.is_empty()).collect(),
        ..Figure::default()
    }
}

/// Remarks about the network's scores at each length.
fn findings(all: &[AtLength]) -> Vec<String> {
    let of = |at: &AtLength| {
        let remarks = at.rows.iter().flat_map(remarks);
        remarks.map(|remark| format!("{} = {}: {remark}.", at.key, at.length)).collect::<Vec<_>>()
    };
    all.iter().flat_map(of).collect()
}

/// Adds a table and a figure of the networks' scores at every length at which groups were tested, if there are several.
pub(super) fn of_groups(builder: &mut Builder, title: &str, metric: &str, groups: &[Group]) {
    let Some(experiment) = groups.first().map(|group| &group.experiment) else { return };
    let Some((key, length)) = experiment.task.length() else { return };
    let beyond = &experiment.train.test_lengths;
    if beyond.is_empty() || metric.contains('[') {
        return;
    }
    let times: Vec<usize> = std::iter::once(1).chain(beyond.iter().copied()).collect();
    let score = |times: usize| if times == 1 { metric.to_owned() } else { evaluate::name_at(times, metric) };
    let header = times.iter().map(|times| format!("{key} = {}", length * times));
    let header = std::iter::once("row".to_owned()).chain(header).collect();
    let rows = groups.iter().map(|group| {
        let cells = times.iter().map(|times| groups::cell(group, NETWORK, &score(*times)));
        std::iter::once(Some(group.name.clone())).chain(cells).collect()
    });
    let table = Table { header, rows: rows.collect() };
    let note = format!("{metric} of the same networks on longer tasks, mean and 95 % interval over seeds.");
    builder.table(format!("{title}: at other lengths"), note, table);
    let series = groups.iter().map(|group| {
        let at = times.iter().filter_map(|times| Some((length * times, group.estimate(NETWORK, &score(*times))?)));
        let at: Vec<_> = at.map(|(length, estimate)| (length as f64, estimate)).collect();
        Series {
            label: group.label(),
            points: at.iter().map(|(length, estimate)| (*length, estimate.mean)).collect(),
            intervals: at.iter().filter_map(|(x, of)| of.interval.map(|[low, high]| (*x, low, high))).collect(),
            style: Style::LinePoints,
        }
    });
    let figure = Figure {
        title: format!("{title}: {metric} at other lengths"),
        x_label: key.to_owned(),
        y_label: metric.to_owned(),
        x_log: true,
        y_log: false,
        series: series.filter(|series| !series.points.is_empty()).collect(),
        ..Figure::default()
    };
    let name = format!("{}-lengths", file_name(title));
    builder.figure(
        name,
        format!("{title}: {metric} at other lengths"),
        "Bars are 95 % intervals over seeds.",
        figure.to_svg(),
    );
}
