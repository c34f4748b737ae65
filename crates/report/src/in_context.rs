//! The page about which classical predictor a network resembles.

use headway_draw::{Figure, Series, Style, number};
use headway_plain::linear_rule::MOST_STEPS;
use serde_json::json;

use super::{Builder, FLOOR_NOTE, Page, Table, Write, cut_at_floor, exact, sentence};
use headway_inspect::{AfterExamples, InContext, LinearFit, Measured, counted};

/// Name of the table of distances.
pub(super) const NAME: &str = "distances";
/// Name of the table of sensitivities.
pub(super) const LINEAR: &str = "linear";

/// The page: distances from every predictor for every number of examples, and the linear rules in detail.
pub fn page(found: &InContext) -> Page {
    let (table, linear) = (distances(found, number), linear(found, number));
    let findings = findings(found);
    let mut builder = Builder::default();
    builder.prose("What was found", findings.get(1..).unwrap_or_default());
    let note = format!(
        "Mean of (network - predictor)^2 / d over {}, d = {}; bars and bands are two standard errors over prompts. {FLOOR_NOTE}",
        counted(found.prompts, "test prompt"),
        found.d
    );
    builder.figure("distances", "Distance from each predictor", note, figure(found).to_svg());
    let note = "Mean of (network - predictor)^2 / d by the number of examples seen. `prediction` is the mean square of the network's own \
                prediction / d, the distance from a predictor that says 0; `truth` is the network's squared error / d.";
    builder.table("Distances", note, table.clone());
    let fitted = found.predictors.iter().filter_map(|predictor| {
        let cells = [Some(predictor.name.clone()), Some(predictor.rule.clone()?), cell(predictor.distance, number)];
        Some(cells.into())
    });
    let header = ["predictor", "rule", "distance"].map(str::to_owned).into();
    let note = format!(
        "Rules of the family with the least squared distance from the network on {} of other data; the distance is that on test prompts, over \
         all queries with examples before them. Numbers of steps up to {MOST_STEPS} are tried, of several steps at rates with which descent \
         converges on every prompt.",
        counted(found.fitted_to, "prompt")
    );
    builder.table("Fitted rules", note, Table { header, rows: fitted.collect() });
    if !linear.rows.is_empty() {
        let note = format!(
            "On {}. cos is the mean cosine between the gradient of the network's prediction in its query and the w of a rule that predicts w · x; \
             |dw|^2 / d the mean squared distance of that w from the network's own, fitted to its predictions of the queries of other prompts. \
             `linear` is the share of those predictions' mean square that its own w explains: 1 is a linear function of the query.",
            counted(found.probed, "prompt")
        );
        builder.table("Sensitivities and implicit weights", note, linear);
    }
    let tables = vec![(NAME, distances(found, exact)), (LINEAR, self::linear(found, exact))];
    builder.page(
        "Which predictor it behaves like",
        format!("{}.", found.subject.sentence()),
        table,
        findings,
        json!(found),
        tables,
    )
}

fn cell(measured: Measured, write: Write) -> Option<String> {
    measured.value.map(write)
}

fn distances(found: &InContext, write: Write) -> Table {
    let names = found.predictors.iter().map(|predictor| predictor.name.clone());
    let header = ["examples", "nearest", "prediction", "truth"].map(str::to_owned).into_iter().chain(names);
    let rows = found.seen.iter().map(|seen| {
        let nearest = seen.nearest.map(|nearest| found.predictors[nearest.predictor].name.clone());
        [Some(seen.examples.to_string()), nearest, seen.size.map(write), cell(seen.error, write)]
            .into_iter()
            .chain(seen.distances.iter().map(|distance| cell(*distance, write)))
            .collect()
    });
    Table { header: header.collect(), rows: rows.collect() }
}

fn linear(found: &InContext, write: Write) -> Table {
    let Some(first) = found.seen.iter().find(|seen| !seen.linear.is_empty()) else { return Table::default() };
    let columns =
        first.linear.iter().flat_map(|linear| ["cos", "|dw|^2 / d"].map(|of| format!("{}: {of}", linear.rule)));
    let header = ["examples", "linear"].map(str::to_owned).into_iter().chain(columns).collect();
    let of = |linear: &LinearFit| [linear.cosine.map(write), linear.weights.map(write)];
    let rows = found.seen.iter().filter(|seen| !seen.linear.is_empty()).map(|seen| {
        [Some(seen.examples.to_string()), seen.linearity.map(write)]
            .into_iter()
            .chain(seen.linear.iter().flat_map(of))
            .collect()
    });
    Table { header, rows: rows.collect() }
}

fn figure(found: &InContext) -> Figure {
    // Without examples all predictors say 0, and the network nearly so, which would be a point far below all others.
    let seen = || found.seen.iter().filter(|seen| seen.examples > 0);
    let curve = |label: &str, style: Style, of: &dyn Fn(&AfterExamples) -> Measured| {
        let points = seen().map(|seen| (seen.examples as f64, of(seen).value.unwrap_or(f64::NAN)));
        let interval = |seen: &AfterExamples| {
            let Measured { value, error } = of(seen);
            let (value, error) = (value?, error?);
            Some((seen.examples as f64, value - 2.0 * error, value + 2.0 * error))
        };
        let intervals = seen().filter_map(interval).collect();
        Series { label: label.to_owned(), points: points.collect(), style, intervals }
    };
    let mut series: Vec<Series> = found
        .predictors
        .iter()
        .enumerate()
        .map(|(index, predictor)| curve(&predictor.name, Style::LinePoints, &|seen| seen.distances[index]))
        .collect();
    series.push(curve("truth", Style::Dashed, &|seen| seen.error));
    cut_at_floor(&mut series);
    Figure {
        title: "Distance from each predictor".to_owned(),
        x_label: "examples seen".to_owned(),
        y_label: "(network - predictor)^2 / d".to_owned(),
        y_log: true,
        series,
        ..Figure::default()
    }
}

/// Share of a network's mean square up to which it is the same as a predictor for most purposes.
const SAME: f64 = 0.01;
/// Share from which on it is like none.
const UNLIKE: f64 = 0.1;

/// What a distance over all queries with examples before them means.
fn likeness(found: &InContext, distance: f64) -> Option<String> {
    let sizes: Vec<f64> = found.seen.iter().filter(|seen| seen.examples > 0).filter_map(|seen| seen.size).collect();
    let share = distance / (sizes.iter().sum::<f64>() / sizes.len() as f64);
    let means = match share {
        share if share <= SAME => "nearly the same function",
        share if share < UNLIKE => "alike, and not the same",
        share if share.is_finite() => "it behaves like none of these predictors",
        _ => return None,
    };
    let percent = number(100.0 * share);
    Some(format!(", {percent} % of the mean square of its own predictions: {means}"))
}

fn findings(found: &InContext) -> Vec<String> {
    let mut findings = Vec::new();
    let share = |seen: &AfterExamples| Some(seen.distances[seen.nearest?.predictor].value? / seen.size?);
    // The nearest predictor, if the network is like it at all.
    let like = |seen: &AfterExamples| {
        seen.nearest.filter(|_| share(seen).is_none_or(|share| share < UNLIKE)).map(|nearest| nearest.predictor)
    };
    // Consecutive numbers of examples with the same nearest predictor, or like none, are merged into one sentence.
    let with_examples: Vec<&AfterExamples> =
        found.seen.iter().filter(|seen| seen.examples > 0 && seen.nearest.is_some()).collect();
    for run in with_examples.chunk_by(|a, b| like(a) == like(b)) {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
        let Some(nearest) = first.nearest else { continue };
        let name = &found.predictors[nearest.predictor].name;
        let range = if first.examples == last.examples {
            counted(first.examples, "example")
        } else {
            format!("{} to {} examples", first.examples, last.examples)
        };
        let shares: Vec<f64> = run.iter().filter_map(|seen| share(seen)).collect();
        if like(first).is_none() {
            let least = shares.iter().copied().fold(f64::INFINITY, f64::min);
            let least = number(100.0 * least);
            findings.push(format!(
                "After {range} the network is like none of them: the nearest is {least} % or more of its prediction's mean square away."
            ));
            continue;
        }
        let (least, most) =
            (shares.iter().copied().fold(f64::INFINITY, f64::min), shares.iter().copied().fold(0.0, f64::max));
        let shares = if shares.len() > 1 { format!("{} to {}", number(least), number(most)) } else { number(most) };
        let clear = run.iter().filter(|seen| seen.nearest.is_some_and(|nearest| nearest.is_clear)).count();
        let mut seconds: Vec<&str> = Vec::new();
        for second in run.iter().filter_map(|seen| seen.nearest?.second) {
            let name = found.predictors[second].name.as_str();
            if !seconds.contains(&name) {
                seconds.push(name);
            }
        }
        let seconds = seconds.join(" or ");
        let clear = match (clear, run.len()) {
            (0, _) => format!("not clearly ahead of {seconds}"),
            (clear, all) if clear == all => format!("clearly ahead of {seconds}"),
            (clear, all) => format!("ahead of {seconds}, at {clear} of {all} clearly"),
        };
        findings.push(format!(
            "After {range} the network is nearest to {name}, at {shares} of its prediction's mean square; {clear}."
        ));
    }
    let known = found.predictors.iter().filter_map(|predictor| Some((predictor, predictor.distance.value?)));
    if let Some((nearest, distance)) = known.min_by(|a, b| a.1.total_cmp(&b.1)) {
        let rule = nearest.rule.as_ref().map(|rule| format!(" ({rule})")).unwrap_or_default();
        // What it is like as a whole comes first.
        let whole = format!(
            "Over all queries with examples before them the network is nearest to {}{rule}: {}{}.",
            nearest.name,
            number(distance),
            likeness(found, distance).unwrap_or_default()
        );
        findings.insert(0, whole);
    }
    for predictor in &found.predictors {
        if let (Some(rule), Some(distance)) = (&predictor.rule, predictor.distance.value) {
            findings.push(format!(
                "{} that fits best on other prompts: {rule}, at distance {}.",
                sentence(&predictor.name),
                number(distance)
            ));
        }
    }
    findings
}
