//! The page about what can be read from the hidden state after each layer.

use headway_draw::{Figure, Series, Style, number};
use serde_json::json;

use super::{Builder, Page, Table, Write, exact};
use headway_inspect::{Distance, Lens, LensLayer, Reading, counted};

/// Name of the table.
pub(super) const NAME: &str = "lens";

/// Losses that differ by less than this share of the larger one count as equal.
const GAP: f64 = 0.05;

/// The page: losses after each layer, read by the network's head and by the best affine map.
pub fn page(lens: &Lens) -> Page {
    let table = self::table(lens, number);
    let findings = findings(lens);
    let mut builder = Builder::default();
    builder.prose("What was found", findings.get(1..).unwrap_or_default());
    let note = format!(
        "The network's own head on the state after so many layers, 0 being before the first, and the best affine map of that state, ridge \
         regression fitted to {} of other data.",
        counted(lens.fitted_to, "example")
    );
    builder.figure(
        "lens-loss",
        "Loss of what is read after each layer",
        note,
        figure(lens, "loss", |one| one.loss).to_svg(),
    );
    let distance = distance(lens.distance);
    let note = format!(
        "{} Behind the last layer the head reads the answer itself, at distance 0, which a logarithmic axis does not show.",
        formula(lens.distance)
    );
    let title = "Distance from the network's own prediction";
    builder.figure("lens-distance", title, note, figure(lens, distance, |one| one.distance).to_svg());
    let note = format!("On {}. {}", counted(lens.examples, "test example"), formula(lens.distance));
    builder.table("Layer by layer", note, table.clone());
    let notes = lens.layers.iter().filter_map(|layer| {
        let note = layer.note.as_ref()?;
        Some(vec![Some(layer.layer.to_string()), Some(note.clone())])
    });
    let header = ["layers", "what is missing, and why"].map(str::to_owned).into();
    builder.table("What does not fit", "", Table { header, rows: notes.collect() });
    let tables = vec![(NAME, self::table(lens, exact))];
    builder.page(
        "What could be read after each layer",
        format!("{}.", lens.subject.sentence()),
        table,
        findings,
        json!(lens),
        tables,
    )
}

fn distance(distance: Distance) -> &'static str {
    match distance {
        Distance::MeanSquared => "distance",
        Distance::KullbackLeibler => "KL",
    }
}

fn formula(distance: Distance) -> &'static str {
    match distance {
        Distance::MeanSquared => {
            "The distance is the mean of (a - b)^2 between what is read and what the network answers in the end; that of the affine map is \
             of a second one, fitted to the network's answer instead of the target."
        }
        Distance::KullbackLeibler => {
            "KL is the mean of sum_c p_c ln(p_c / q_c) in nats, p being the distribution that the network answers in the end and q the one \
             read; the affine map is fitted to the final logits."
        }
    }
}

fn figure(lens: &Lens, y_label: &str, of: fn(&Reading) -> f64) -> Figure {
    let series = |label: &str, style: Style, reading: fn(&LensLayer) -> Option<&Reading>| {
        let point = |layer: &LensLayer| (layer.layer as f64, reading(layer).map_or(f64::NAN, of));
        Series { label: label.to_owned(), points: lens.layers.iter().map(point).collect(), style, ..Series::default() }
    };
    Figure {
        title: format!("{y_label} by the number of layers passed"),
        x_label: "layers passed".to_owned(),
        y_label: y_label.to_owned(),
        y_log: true,
        series: vec![
            series("the network's own head", Style::LinePoints, |layer| layer.own.as_ref()),
            series("best affine map", Style::LinePoints, |layer| layer.affine.as_ref()),
        ],
        ..Figure::default()
    }
}

fn table(lens: &Lens, write: Write) -> Table {
    let distance = distance(lens.distance);
    // If the objective is the squared error itself, one of the two columns is enough.
    let readings = || lens.layers.iter().flat_map(|layer| [layer.own, layer.affine]).flatten();
    let has_metric = readings().any(|one| one.loss.total_cmp(&one.metric).is_ne());
    let metric = |name| has_metric.then_some(name);
    let mut header = vec!["layers".to_owned(), "rows x width".to_owned()];
    for what in ["own", "affine"] {
        let names = [Some("loss"), metric(lens.metric), Some(distance)];
        header.extend(names.into_iter().flatten().map(|name| format!("{what}: {name}")));
    }
    let rows = lens.layers.iter().map(|layer| {
        let [rows, width] = layer.shape;
        let mut row = vec![Some(layer.layer.to_string()), Some(format!("{rows} x {width}"))];
        for reading in [layer.own, layer.affine] {
            let cell = |of: fn(&Reading) -> f64| reading.as_ref().map(of).filter(|value| value.is_finite()).map(write);
            row.push(cell(|one| one.loss));
            row.extend(has_metric.then(|| cell(|one| one.metric)));
            row.push(cell(|one| one.distance));
        }
        row
    });
    Table { header, rows: rows.collect() }
}

fn findings(lens: &Lens) -> Vec<String> {
    let mut findings = Vec::new();
    let end = lens.layers.last().and_then(|layer| layer.own).map_or(f64::NAN, |reading| reading.loss);
    let loss = |reading: Option<Reading>| reading.map(|reading| reading.loss).filter(|loss| loss.is_finite());
    for (whose, of) in [
        ("the network's own head", (|layer| layer.own) as fn(&LensLayer) -> Option<Reading>),
        ("an affine map", |layer| layer.affine),
    ] {
        let known: Vec<(usize, f64)> =
            lens.layers.iter().filter_map(|layer| Some((layer.layer, loss(of(layer))?))).collect();
        let steps = known.windows(2).map(|pair| (pair[0].0, pair[1].0, pair[0].1 - pair[1].1));
        if let Some((from, to, fall)) = steps.max_by(|a, b| a.2.total_cmp(&b.2)).filter(|(.., fall)| *fall > 0.0) {
            findings.push(format!(
                "What {whose} reads improves most from {from} to {}: the loss falls by {}.",
                counted(to, "layer"),
                number(fall)
            ));
        }
    }
    let ahead = lens.layers.iter().filter_map(|layer| {
        let (own, affine) = (loss(layer.own)?, loss(layer.affine)?);
        Some((layer.layer, own, affine, own - affine))
    });
    if let Some((layer, own, affine, _)) =
        ahead.max_by(|a, b| a.3.total_cmp(&b.3)).filter(|(_, own, _, gap)| *gap > GAP * own)
    {
        findings.push(format!(
            "The widest gap between what is there and what the head can read is after {}: an affine map has a loss of {}, the head \
             {}.",
            counted(layer, "layer"),
            number(affine),
            number(own)
        ));
    }
    findings.push(format!("At the end the network's loss is {}.", number(end)));
    let unread = lens.layers.iter().filter(|layer| layer.own.is_none()).count();
    if unread > 0 {
        findings.push(format!(
            "{} of a shape that the network's head does not take; an affine map alone reads there.",
            counted(unread, "state")
        ));
    }
    findings
}
