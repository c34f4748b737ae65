//! The page about rank collapse.

use headway_draw::{Figure, Series, Style, number};
use serde_json::json;

use super::{Builder, Page, Table};
use headway_inspect::{Curve, Method, Rank};

/// Name of the figure and of the table of every sequence.
pub(super) const NAME: &str = "rank";

/// A decay counts as doubly exponential if each fall of the logarithm is at least this many times as deep as the one
/// before.
const DOUBLY: f64 = 2.5;

/// Why a network with maps has no power law.
const PLAINLY: &str = "A map in front of each layer adds a bias of its own to every row, so that equal rows do not stay equal and nothing need \
                       collapse. Residuals are computed plainly in f64: below 1e-15 of the state they are rounding.";

/// The page: how the residual behaves with each choice of parts, a figure, and the numbers.
pub fn page(rank: &Rank) -> Page {
    let table = table(&rank.curves);
    let mut findings: Vec<String> = rank.curves.iter().map(finding).collect();
    let plain = rank.curves.iter().any(|curve| curve.method == Method::Plain);
    if plain {
        findings.push(PLAINLY.to_owned());
    }
    let mut builder = Builder::default();
    builder.prose("What was found", findings.get(1..).unwrap_or_default());
    let end = if plain { PLAINLY } else { "A curve ends where the residual falls below 1e-300." };
    let note = "res(X) is the hidden state X less its mean row, and the size of a matrix the geometric mean of its largest column sum and its \
                largest row sum of absolute values. Medians over sequences; bars reach from the smallest to the largest.";
    let title = "How far the rows are from being equal";
    builder.figure(NAME, title, format!("{note} {end}"), figure(&rank.curves).to_svg());
    let last = if plain {
        PLAINLY
    } else {
        "The last column says how many times deeper the logarithm fell than at the layer before: 3 is what attention alone tends to, 1 an \
         exponential."
    };
    let note = "log10 of the residual, as it is and relative to the hidden state; medians over sequences.";
    let note = format!("{note} {last}");
    for curve in &rank.curves {
        builder.table(curve.name.clone(), &note, one(curve));
    }
    let tables = vec![(NAME, every_sequence(&rank.curves))];
    builder.page("Rank collapse", rank.subject.sentence(), table, findings, json!(rank), tables)
}

/// How one curve behaves, as a sentence.
fn finding(curve: &Curve) -> String {
    let known: Vec<(usize, f64)> =
        curve.layers.iter().filter_map(|layer| Some((layer.layer, layer.log10_relative?))).collect();
    let [(_, first), .., (last, end)] = known.as_slice() else {
        return format!("{}: no residual to follow.", curve.name);
    };
    let gone = if last + 1 < curve.layers.len() && curve.method == Method::Deflated {
        ", and below 1e-300 behind it"
    } else {
        ""
    };
    let way = format!(
        "{}: the relative residual goes from {} to {} at layer {last}{gone}",
        curve.name,
        power(*first),
        power(*end)
    );
    match curve.layers.iter().rev().find_map(|layer| layer.fall_ratio) {
        Some(ratio) if ratio >= DOUBLY && *end < -6.0 => {
            format!("{way}; its logarithm last fell {} times deeper than before: doubly exponential.", number(ratio))
        }
        _ => format!("{way}."),
    }
}

/// 10 to this power, formatted for people.
fn power(log10: f64) -> String {
    number(10.0_f64.powf(log10))
}

fn figure(curves: &[Curve]) -> Figure {
    let series = curves.iter().map(|curve| {
        let at = |value: Option<f64>| value.map_or(f64::NAN, |log10| 10.0_f64.powf(log10));
        let ends = |logs: &[Option<f64>]| {
            let known = logs.iter().copied().collect::<Option<Vec<f64>>>()?;
            Some((known.iter().copied().reduce(f64::min)?, known.into_iter().reduce(f64::max)?))
        };
        Series {
            label: curve.name.clone(),
            points: curve.layers.iter().map(|layer| (layer.layer as f64, at(layer.log10_relative))).collect(),
            style: Style::LinePoints,
            intervals: curve
                .layers
                .iter()
                .filter_map(|layer| {
                    let (low, high) = ends(&layer.log10_relatives)?;
                    Some((layer.layer as f64, 10.0_f64.powf(low), 10.0_f64.powf(high)))
                })
                .collect(),
        }
    });
    Figure {
        title: "Relative residual after each layer".to_owned(),
        x_label: "layer".to_owned(),
        y_label: "‖res(X)‖ / ‖X‖".to_owned(),
        y_log: true,
        series: series.collect(),
        ..Figure::default()
    }
}

fn cell(value: Option<f64>) -> Option<String> {
    value.map(|value| format!("{value:.2}"))
}

/// The table of one curve.
fn one(curve: &Curve) -> Table {
    // Without a power law there is no ratio.
    let columns = if curve.method == Method::Plain { 3 } else { 4 };
    let rows = curve.layers.iter().map(|layer| {
        let logs = [layer.log10_residual, layer.log10_relative, layer.fall_ratio].map(cell);
        std::iter::once(Some(layer.layer.to_string())).chain(logs).take(columns).collect()
    });
    let header = ["layer", "log10 residual", "log10 relative", "fall ratio"].map(str::to_owned);
    Table { header: header.into_iter().take(columns).collect(), rows: rows.collect() }
}

/// The table for a terminal: for several curves only the relative residuals, side by side.
fn table(curves: &[Curve]) -> Table {
    if let [curve] = curves {
        return one(curve);
    }
    let header = std::iter::once("layer".to_owned()).chain(curves.iter().map(|curve| curve.name.clone())).collect();
    let layers = curves.first().map_or(0, |curve| curve.layers.len());
    let row = |l: usize| {
        let cells = curves.iter().map(|curve| cell(curve.layers[l].log10_relative));
        std::iter::once(Some(l.to_string())).chain(cells).collect()
    };
    Table { header, rows: (0..layers).map(row).collect() }
}

/// The residual of every sequence after every layer.
fn every_sequence(curves: &[Curve]) -> Table {
    let header = ["network", "sequence", "layer", "log10 residual", "log10 relative"].map(str::to_owned).into();
    let rows = curves.iter().flat_map(|curve| {
        curve.layers.iter().flat_map(move |layer| {
            layer.log10_residuals.iter().zip(&layer.log10_relatives).enumerate().map(
                move |(sequence, (residual, relative))| {
                    let cells = [curve.name.clone(), sequence.to_string(), layer.layer.to_string()].map(Some);
                    cells
                        .into_iter()
                        .chain([residual, relative].map(|log10| log10.map(|value| value.to_string())))
                        .collect()
                },
            )
        })
    });
    Table { header, rows: rows.collect() }
}
