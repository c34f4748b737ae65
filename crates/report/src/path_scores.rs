//! The page about what a network answers by its short paths alone.

use headway_draw::{Figure, Series, Style, number};
use serde_json::json;

use super::{Builder, Page, Table, Write, exact};
use headway_inspect::{LengthScores, PathScores, Reading, counted};

/// Name of the figure and of the table.
pub(super) const NAME: &str = "path_scores";

/// Share by which a score may differ from the network's own to count as reached.
const REACHED: f64 = 0.01;

/// The page: scores by the number of heads on a path.
pub fn page(scores: &PathScores) -> Page {
    let findings = findings(scores);
    let table = table(scores, number);
    let mut builder = Builder::default();
    builder.prose("What was found", findings.get(1..).unwrap_or_default());
    let note = format!(
        "The network's own head applied to the sum over paths, on {}. Patterns and deviations of norms inside the layers are those of the whole \
         network; biases always take part.",
        counted(scores.examples, "test example")
    );
    builder.figure(NAME, "Score by the number of heads on a path", note, figure(scores).to_svg());
    let note = "`alone`: by paths with so many heads. `up to`: by these and all shorter ones; `distance` is that of the latter from the network's own answers.";
    builder.table("By length", note, table.clone());
    let tables = vec![(NAME, self::table(scores, exact))];
    let about = format!("{}\n\n{}.", scores.subject.sentence(), scores.name);
    builder.page("What short paths answer", about, table, findings, json!(scores), tables)
}

fn is_like(scores: &PathScores, reading: &Reading) -> bool {
    let (own, other) = (scores.whole.metric, reading.metric);
    if scores.metric == "accuracy" { own - other <= REACHED } else { other <= (1.0 + REACHED) * own }
}

fn findings(scores: &PathScores) -> Vec<String> {
    let own = format!("{} {}", scores.metric, number(scores.whole.metric));
    let reached =
        scores.lengths.iter().find(|length| length.up_to.as_ref().is_some_and(|up_to| is_like(scores, up_to)));
    let deepest = scores.lengths.len().saturating_sub(1);
    let first = match reached {
        Some(length) if length.heads == 0 => {
            format!(
                "Without any head answers are as good, to {} %: attention adds nothing to the network's {own}.",
                number(100.0 * REACHED)
            )
        }
        Some(length) if length.heads < deepest => format!(
            "Paths through at most {} are enough for the network's own {own}, to {} %; the longest have {deepest}.",
            counted(length.heads, "head"),
            number(100.0 * REACHED)
        ),
        _ => format!("The network's {own} takes paths of all lengths, up to {}.", counted(deepest, "head")),
    };
    let better = |a: &LengthScores, b: &LengthScores| {
        let of = |length: &LengthScores| length.alone.as_ref().map_or(f64::NAN, |alone| alone.loss);
        of(a).total_cmp(&of(b))
    };
    let several: Vec<&LengthScores> = scores.lengths.iter().filter(|length| length.alone.is_some()).collect();
    let best = several.iter().min_by(|a, b| better(a, b)).filter(|_| several.len() > 1);
    let alone = best.and_then(|length| {
        let alone = length.alone.as_ref()?;
        Some(format!(
            "Of one length alone, paths through {} answer best: {} {}.",
            counted(length.heads, "head"),
            scores.metric,
            number(alone.metric)
        ))
    });
    std::iter::once(first).chain(alone).collect()
}

fn figure(scores: &PathScores) -> Figure {
    let series = |label: &str, style: Style, of: &dyn Fn(&LengthScores) -> Option<f64>| Series {
        label: label.to_owned(),
        points: scores.lengths.iter().map(|l| (l.heads as f64, of(l).unwrap_or(f64::NAN))).collect(),
        style,
        ..Series::default()
    };
    let metric = |reading: &Option<Reading>| reading.as_ref().map(|reading| reading.metric);
    Figure {
        title: "What short paths answer".to_owned(),
        x_label: "heads on a path".to_owned(),
        y_label: scores.metric.to_owned(),
        y_log: scores.metric != "accuracy",
        series: vec![
            series("paths up to that length", Style::LinePoints, &|length| metric(&length.up_to)),
            series("paths of that length alone", Style::LinePoints, &|length| metric(&length.alone)),
            series("the network", Style::Dashed, &|_| Some(scores.whole.metric)),
        ],
        ..Figure::default()
    }
}

fn table(scores: &PathScores, write: Write) -> Table {
    let cell = |reading: &Option<Reading>, of: fn(&Reading) -> f64| reading.as_ref().map(|reading| write(of(reading)));
    // Constructed networks have paths of one length alone.
    let rows = scores.lengths.iter().filter(|length| length.up_to.is_some()).map(|length| {
        let counts = [Some(length.heads.to_string()), Some(write_count(length.paths))];
        let readings = [
            cell(&length.alone, |reading| reading.metric),
            cell(&length.alone, |reading| reading.loss),
            cell(&length.up_to, |reading| reading.metric),
            cell(&length.up_to, |reading| reading.loss),
            cell(&length.up_to, |reading| reading.distance),
        ];
        counts.into_iter().chain(readings).collect()
    });
    let metric = scores.metric;
    let header = [
        "heads".to_owned(),
        "paths".to_owned(),
        format!("alone: {metric}"),
        "alone: loss".to_owned(),
        format!("up to: {metric}"),
        "up to: loss".to_owned(),
        "distance".to_owned(),
    ];
    Table { header: header.into(), rows: rows.collect() }
}

fn write_count(count: f64) -> String {
    if count < 1e15 { format!("{count:.0}") } else { format!("{count:.3e}") }
}
