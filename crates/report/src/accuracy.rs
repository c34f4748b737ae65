//! The page about an accuracy that is proved: what each strategy proves, and what it costs.

use headway_bounds::accuracy::Proved;
use headway_draw::{Figure, Series, Style, number};
use headway_inspect::Provenance;
use serde_json::json;

use super::{Builder, Page, Table};

/// Name of the figure and of the table.
pub(super) const NAME: &str = "accuracy";

/// The page about a network, with the digest of its weights, that names the largest of `k` tokens below `vocab`; strategies that would
/// take too long are `left_out`, each with its multiplications or words.
pub fn page(
    (network, weights): (&Provenance, &str),
    [vocab, k]: [usize; 2],
    all: &[Proved],
    left_out: &[(&str, f64)],
) -> Page {
    let table = table(all);
    let mut findings = Vec::new();
    let best = all.iter().filter(|proved| proved.strategy.is_some()).max_by(|a, b| a.words.total_cmp(&b.words));
    let tried = all.iter().find(|proved| proved.strategy.is_none());
    if let Some(best) = best {
        let truth = tried.map(|tried| format!("; trying every word finds {:.0} that are not", tried.of - tried.words));
        findings.push(format!(
            "Of all {vocab}^{k} words all but {:.0} are answered rightly ({}), proved by {} without trying one{}.",
            best.of - best.words,
            percent(best.accuracy()),
            name(best),
            truth.unwrap_or_default()
        ));
    } else if let Some(tried) = tried {
        let wrong = tried.of - tried.words;
        findings
            .push(format!("Of all {vocab}^{k} words all but {wrong:.0} are answered rightly, by trying every word."));
    }
    if let Some(tried) = tried.filter(|tried| !tried.wrong.is_empty()) {
        let each = tried.wrong.iter().map(|wrong| {
            let word: Vec<String> = wrong.word.iter().map(ToString::to_string).collect();
            format!("{} -> {}", word.join(" "), wrong.answer)
        });
        let each: Vec<String> = each.collect();
        findings.push(format!("Wrong, the first of them: {}.", each.join("; ")));
    }
    findings.extend(left_out.iter().map(|(name, size)| format!("Left out: {name}, {size:.0e} steps.")));
    findings.push(RESTS_ON.to_owned());
    let mut builder = Builder::default();
    builder.prose("What was found", findings.get(1..).unwrap_or_default());
    let note = "Accuracy over all words, from below. Every strategy goes through classes of words and counts those of which no word can go wrong.";
    builder.table("Accuracy", note, table.clone());
    builder.figure(
        NAME,
        "Accuracy against cost",
        "What is proved, and what the proof costs; the line is trying every word.",
        figure(all).to_svg(),
    );
    let json = json!({
        "network": network,
        "sha256": weights,
        "vocab": vocab,
        "k": k,
        "proved": all.iter().map(|proved| json!({
            "name": name(proved),
            "accuracy": proved.accuracy(),
            "words": proved.words,
            "of": proved.of,
            "operations": proved.operations,
            "seconds": proved.seconds,
            "wrong": proved.wrong,
        })).collect::<Vec<_>>(),
        "left_out": left_out.iter().map(|(name, size)| json!({ "name": name, "steps": size })).collect::<Vec<_>>(),
        "rests_on": RESTS_ON,
    });
    let summary = format!("{}. The largest of {k} tokens below {vocab}, over all words.", network.sentence());
    builder.page("Accuracy that is proved", summary, table.clone(), findings, json, vec![(NAME, table)])
}

/// What the bounds take to be true.
const RESTS_ON: &str = "Bounds are about the function of the weights in real numbers, with room for the rounding of double precision in the \
                        proof itself; trying every word is in float32, by the model. They rest on this program, or on \
                        python/check_bound.py, which tries every word anew.";

fn name(proved: &Proved) -> &'static str {
    proved.strategy.map_or("every word", headway_bounds::accuracy::Strategy::name)
}

/// Four digits, rounded down: 1 is 100 % alone.
fn percent(share: f64) -> String {
    format!("{:.2} %", (1e4 * share).floor() / 100.0)
}

fn table(all: &[Proved]) -> Table {
    let header = ["strategy", "accuracy", "words", "of", "multiplications", "seconds", "what it does"];
    let row = |proved: &Proved| {
        let what = proved.strategy.map_or("runs the model on each", headway_bounds::accuracy::Strategy::summary);
        vec![
            Some(name(proved).to_owned()),
            Some(format!("{}{}", if proved.strategy.is_some() { ">= " } else { "" }, percent(proved.accuracy()))),
            Some(format!("{:.0}", proved.words)),
            Some(format!("{:.0}", proved.of)),
            Some(format!("{:.1e}", proved.operations)),
            Some(number(proved.seconds)),
            Some(what.to_owned()),
        ]
    };
    Table { header: header.map(str::to_owned).into(), rows: all.iter().map(row).collect() }
}

fn figure(all: &[Proved]) -> Figure {
    let proved = all.iter().filter(|proved| proved.strategy.is_some());
    let points = proved.map(|proved| (proved.operations.max(1.0), proved.accuracy())).collect();
    let ends = all.iter().fold([f64::INFINITY, 1.0_f64], |[low, high], proved| {
        [low.min(proved.operations.max(1.0)), high.max(proved.operations)]
    });
    let truth = all.iter().find(|proved| proved.strategy.is_none()).map(|tried| Series {
        label: "every word".to_owned(),
        points: ends.map(|x| (x, tried.accuracy())).into(),
        style: Style::Dashed,
        intervals: Vec::new(),
    });
    let strategies = Series { label: "proved".to_owned(), points, style: Style::LinePoints, intervals: Vec::new() };
    Figure {
        title: "Accuracy that is proved, against cost".to_owned(),
        x_label: "multiplications".to_owned(),
        y_label: "accuracy".to_owned(),
        x_log: true,
        series: std::iter::once(strategies).chain(truth).collect(),
        ..Figure::default()
    }
}
