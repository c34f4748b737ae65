//! The page about a network under other kernels than its own.

use std::collections::BTreeMap;

use headway_draw::{Figure, Series, Style, number};
use headway_inspect::{Back, Drawn, Estimate, Swap, Swapped, counted};
use serde_json::json;

use super::{Builder, Page, Table, groups::VALUES};

/// What pages show of a kernel, with its name.
type Shown = (String, Box<dyn Fn(&Drawn) -> Option<f64>>);

const LOSS: &str = "test/loss";

/// The page: a table of kernels, then their errors and losses against the number of features, then the way back.
pub fn page(swap: &Swap) -> Page {
    let table = table(swap);
    let mut builder = Builder::default();
    let note = format!(
        "Scores are those on the whole test set. Patterns are compared on its first {}, on the queries and keys of the network under softmax attention: \
         total variation is the mean over queries of half the sum over keys of the absolute difference, the relative Frobenius error the root of \
         the sum of all squared differences over the sum of all squared weights of softmax. Means over draws of the random features, with 95 % \
         intervals of Student's distribution.",
        counted(swap.sequences, "example")
    );
    builder.table("Under other kernels", note, table.clone());
    let findings = findings(swap);
    builder.prose("What to know", &findings);
    let softmax = swap.softmax.metrics.get(LOSS).copied();
    for (index, name) in ["total variation", "relative Frobenius"].into_iter().enumerate() {
        let of = |drawn: &Drawn| Some([drawn.patterns.total_variation, drawn.patterns.frobenius][index]);
        let file = format!("error-{}", name.replace(' ', "-").to_lowercase());
        add(&mut builder, &file, &format!("Error of patterns: {name}"), against_features(swap, name, &of, None));
    }
    let loss = |drawn: &Drawn| drawn.scores.metrics.get(LOSS).copied();
    add(&mut builder, "loss", "Test loss", against_features(swap, LOSS, &loss, softmax));
    add(&mut builder, "back", "The way back", way_back(swap));
    let tables = vec![(VALUES, every_value(swap))];
    let summary = format!("{} Its weights under other kernels than softmax.", swap.subject.sentence());
    builder.page("Under other kernels", summary, table, findings, json!({ "swap": swap, "means": means(swap) }), tables)
}

fn add(builder: &mut Builder, name: &str, title: &str, figure: Figure) {
    if figure.series.iter().any(|series| series.points.len() > 1) {
        builder.figure(name, title, "", figure.to_svg());
    }
}

/// Names of the network's scores that are not about a slice.
fn scores(swap: &Swap) -> Vec<Shown> {
    let names = swap.softmax.metrics.keys().filter(|name| !name.contains('[')).cloned();
    let of = |name: String| -> Shown {
        let key = name.clone();
        (name, Box::new(move |drawn| drawn.scores.metrics.get(&key).copied()))
    };
    names.map(of).collect()
}

fn cell(estimate: Option<Estimate>) -> Option<String> {
    estimate.map(|Estimate { mean, interval }| match interval {
        Some([low, high]) => format!("{} [{}, {}]", number(mean), number(low), number(high)),
        None => number(mean),
    })
}

/// Means over draws with their intervals, of each kernel.
fn means(swap: &Swap) -> serde_json::Value {
    let scores = scores(swap);
    let of = |kernel: &Swapped| {
        let scores: BTreeMap<&str, Option<Estimate>> =
            scores.iter().map(|(name, of)| (name.as_str(), kernel.estimate(of))).collect();
        json!({
            "kernel": kernel.label(),
            "flops": kernel.flops,
            "back": kernel.back.as_ref().map(|back| json!({ "steps": back.steps, "reached": back.reached })),
            "scores": scores,
            "total_variation": kernel.estimate(|drawn| Some(drawn.patterns.total_variation)),
            "frobenius": kernel.estimate(|drawn| Some(drawn.patterns.frobenius)),
        })
    };
    swap.kernels.iter().map(of).collect()
}

/// One row for softmax attention and one for each other kernel.
fn table(swap: &Swap) -> Table {
    let scores = scores(swap);
    let has_back = swap.kernels.iter().any(|kernel| kernel.back.is_some());
    let back = has_back.then_some("steps back");
    let of_patterns = ["total variation", "relative Frobenius"];
    let header = ["kernel", "draws", "FLOPs"].into_iter().chain(scores.iter().map(|(name, _)| name.as_str()));
    let header = header.chain(of_patterns).chain(back).map(str::to_owned).collect();
    let own = scores.iter().map(|(name, _)| swap.softmax.metrics.get(name).map(|value| number(*value)));
    let own = [Some("softmax".to_owned()), None, Some(number(1.0))].into_iter().chain(own);
    let own = own.chain([Some(number(0.0)), Some(number(0.0))]).chain(back.map(|_| None)).collect();
    let of = |kernel: &Swapped| -> Vec<Option<String>> {
        let values = scores.iter().map(|(_, of)| cell(kernel.estimate(of)).or(Some("not finite".to_owned())));
        let patterns = [
            cell(kernel.estimate(|drawn| Some(drawn.patterns.total_variation))),
            cell(kernel.estimate(|drawn| Some(drawn.patterns.frobenius))),
        ];
        let start = [kernel.label(), kernel.draws.len().to_string(), number(kernel.flops)].map(Some);
        let steps = back.map(|_| kernel.back.as_ref().map(steps_back));
        start.into_iter().chain(values).chain(patterns).chain(steps).collect()
    };
    Table { header, rows: std::iter::once(own).chain(swap.kernels.iter().map(of)).collect() }
}

fn steps_back(back: &Back) -> String {
    back.reached.map_or_else(|| format!("more than {}", back.steps), |step| step.to_string())
}

/// Every value of every draw.
fn every_value(swap: &Swap) -> Table {
    let header = ["kernel", "seed", "quantity", "value"].map(str::to_owned).into();
    let of = |kernel: &Swapped, drawn: &Drawn| {
        let layers = drawn.layers.iter().enumerate().flat_map(|(layer, error)| {
            let name = |what: &str| format!("layer {layer}: {what}");
            [(name("total variation"), error.total_variation), (name("relative Frobenius"), error.frobenius)]
        });
        let all = [
            ("total variation".to_owned(), drawn.patterns.total_variation),
            ("relative Frobenius".to_owned(), drawn.patterns.frobenius),
        ];
        let scores = drawn.scores.metrics.iter().map(|(name, value)| (name.clone(), *value));
        let validation = drawn.validation_loss.map(|loss| ("validation/loss".to_owned(), loss));
        let values = scores.chain(validation).chain(all).chain(layers);
        let row = |(name, value): (String, f64)| {
            [kernel.label(), drawn.seed.to_string(), name, value.to_string()].map(Some).into()
        };
        values.map(row).collect::<Vec<_>>()
    };
    let rows = swap.kernels.iter().flat_map(|kernel| kernel.draws.iter().flat_map(move |drawn| of(kernel, drawn)));
    Table { header, rows: rows.collect() }
}

/// A number against the number of random features, one series for each kernel that has some; of the others a line across.
fn against_features(swap: &Swap, name: &str, of: &dyn Fn(&Drawn) -> Option<f64>, softmax: Option<f64>) -> Figure {
    let sizes: Vec<f64> = swap.kernels.iter().filter_map(|kernel| kernel.features.map(|m| m as f64)).collect();
    let ends = [sizes.iter().copied().fold(f64::MAX, f64::min), sizes.iter().copied().fold(0.0, f64::max)];
    let across = |label: String, value: f64| Series {
        label,
        points: if sizes.is_empty() { Vec::new() } else { ends.map(|m| (m, value)).into() },
        intervals: Vec::new(),
        style: Style::Dashed,
    };
    let mut series: Vec<Series> = Vec::new();
    for kernel in &swap.kernels {
        let Some(estimate) = kernel.estimate(of) else { continue };
        let Some(m) = kernel.features.map(|m| m as f64) else {
            series.push(across(kernel.label(), estimate.mean));
            continue;
        };
        let label = kernel.kernel.name().to_owned();
        let at = series.iter().position(|series| series.label == label).unwrap_or_else(|| {
            series.push(Series { label, points: Vec::new(), intervals: Vec::new(), style: Style::LinePoints });
            series.len() - 1
        });
        series[at].points.push((m, estimate.mean));
        series[at].intervals.extend(estimate.interval.map(|[low, high]| (m, low, high)));
    }
    series.extend(softmax.map(|loss| across("softmax".to_owned(), loss)));
    Figure {
        title: format!("{name} against the number of random features"),
        x_label: "random features".to_owned(),
        y_label: name.to_owned(),
        x_log: true,
        y_log: true,
        series,
        ..Figure::default()
    }
}

/// Validation losses while fine-tuning.
fn way_back(swap: &Swap) -> Figure {
    let tuned = swap.kernels.iter().filter_map(|kernel| Some((kernel, kernel.back.as_ref()?)));
    let mut series: Vec<Series> = tuned
        .map(|(kernel, back)| Series {
            label: kernel.label(),
            points: back.curve.iter().map(|(step, loss)| (*step as f64, *loss)).collect(),
            intervals: Vec::new(),
            style: Style::LinePoints,
        })
        .collect();
    let last = series.iter().flat_map(|series| &series.points).map(|(step, _)| *step).fold(0.0, f64::max);
    let across = |label: &str, loss: f64| Series {
        label: label.to_owned(),
        points: vec![(0.0, loss), (last, loss)],
        intervals: Vec::new(),
        style: Style::Dashed,
    };
    let within = swap.kernels.iter().find_map(|kernel| kernel.back.as_ref()).map(|back| back.within);
    if let (Some(loss), Some(within)) = (swap.validation_loss, within) {
        series.push(across("softmax", loss));
        series.push(across("back", (1.0 + within) * loss));
    }
    Figure {
        title: "Fine-tuning under other kernels".to_owned(),
        x_label: "steps".to_owned(),
        y_label: "validation loss".to_owned(),
        x_log: false,
        y_log: true,
        series,
        ..Figure::default()
    }
}

/// What numbers alone do not say.
fn findings(swap: &Swap) -> Vec<String> {
    let tuned = swap.kernels.iter().filter_map(|kernel| Some((kernel, kernel.back.as_ref()?)));
    let of = |(kernel, back): (&Swapped, &Back)| {
        let goal = format!("within {} % of the validation loss under softmax attention", number(100.0 * back.within));
        let loss = back.scores.metrics.get(LOSS).map(|loss| format!(", test loss {} afterwards", number(*loss)));
        let loss = loss.unwrap_or_default();
        match back.reached {
            Some(0) => format!("{}: {goal} without fine-tuning{loss}.", kernel.label()),
            Some(step) => format!("{}: {goal} at step {step} of {}{loss}.", kernel.label(), back.steps),
            None => format!("{}: not {goal} in {} steps{loss}.", kernel.label(), back.steps),
        }
    };
    tuned.map(of).collect()
}
