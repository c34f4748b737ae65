//! The page about the paths through a network's heads.

use headway_draw::{Figure, Series, Style, number};
use serde_json::json;

use super::{Builder, Page, Table, Write, exact};
use headway_inspect::{Paths, counted};

/// Name of the figure and of the table of paths.
pub(super) const NAME: &str = "paths";
/// Name of the table of lengths.
pub(super) const LENGTHS: &str = "lengths";

/// The page: contributions by length, and the largest paths.
pub fn page(paths: &Paths) -> Page {
    let findings = findings(paths);
    let table = lengths(paths, number);
    let mut builder = Builder::default();
    builder.prose("What was found", findings.get(1..).unwrap_or_default());
    let note = "A path passes at each layer through one head or, where there is a skip, past all of them. Sizes are geometric means of the \
                largest column sum and the largest row sum of absolute values; medians over sequences.";
    builder.figure(NAME, "Contributions by the number of heads on a path", note, figure(paths).to_svg());
    let note =
        "The residual is what a contribution has beside equal rows, relative to its size, in the mean over paths.";
    builder.table("By length", note, table.clone());
    let note = "Heads are counted from 0; a dash is the skip.";
    builder.table("Largest paths", note, largest(paths));
    let tables = vec![(LENGTHS, lengths(paths, exact)), (NAME, largest_as(paths, exact))];
    builder.page(
        "Paths through the heads",
        format!("{}\n\n{}.", paths.subject.sentence(), paths.name),
        table,
        findings,
        json!(paths),
        tables,
    )
}

fn findings(paths: &Paths) -> Vec<String> {
    let mut findings = vec![format!(
        "{} and the biases add up to the state behind the last layer, of size {}, to {} of its largest entry.",
        counted(paths.paths, "path"),
        number(paths.output),
        number(paths.error)
    )];
    let sum = |length: &&headway_inspect::Length| length.sum.unwrap_or(0.0);
    if let Some(most) = paths.lengths.iter().max_by(|a, b| sum(a).total_cmp(&sum(b))) {
        let (heads, sum, bias) = (counted(most.heads, "head"), sum(&most), paths.bias);
        findings.push(if bias > sum {
            format!("The biases give the most, {}; paths through {heads} give {} together.", number(bias), number(sum))
        } else {
            format!("Paths through {heads} give the most together, {}; the biases give {}.", number(sum), number(bias))
        });
    }
    if paths.name.contains("maps") {
        let text = "Maps in front of the layers take part: their linear parts carry every path on, their constants count as biases.";
        findings.push(text.to_owned());
    }
    if paths.name.contains("norm") {
        findings.push("Layer norms take part with their deviations held fixed, as the patterns are.".to_owned());
    }
    findings
}

fn figure(paths: &Paths) -> Figure {
    let series = |label: &str, of: fn(&headway_inspect::Length) -> Option<f64>| Series {
        label: label.to_owned(),
        points: paths.lengths.iter().map(|l| (l.heads as f64, of(l).unwrap_or(f64::NAN))).collect(),
        style: Style::LinePoints,
        ..Series::default()
    };
    Figure {
        title: "Contributions by length of path".to_owned(),
        x_label: "heads on the path".to_owned(),
        y_label: "size".to_owned(),
        y_log: true,
        series: vec![
            series("all paths of that length together", |length| length.sum),
            series("one path, in the mean", |length| length.mean),
            series("its residual, relative", |length| length.residual),
        ],
        ..Figure::default()
    }
}

fn lengths(paths: &Paths, write: Write) -> Table {
    let cell = |value: Option<f64>| value.map(write);
    let rows = paths.lengths.iter().map(|length| {
        let share = length.sum.map(|sum| sum / paths.output);
        let counts = [length.heads, length.paths].map(|count| Some(count.to_string()));
        counts.into_iter().chain([length.sum, share, length.mean, length.residual].map(cell)).collect()
    });
    let header = ["heads", "paths", "sum", "sum / output", "mean path", "relative residual"].map(str::to_owned).into();
    Table { header, rows: rows.collect() }
}

/// The largest paths as a table.
pub fn largest(paths: &Paths) -> Table {
    largest_as(paths, number)
}

fn largest_as(paths: &Paths, write: Write) -> Table {
    let rows = paths.largest.iter().map(|one| {
        let way = one.path.iter().map(|head| head.map_or("-".to_owned(), |head| head.to_string()));
        vec![Some(way.collect::<Vec<_>>().join(" ")), one.size.map(write)]
    });
    Table { header: ["head at each layer", "size"].map(str::to_owned).into(), rows: rows.collect() }
}
