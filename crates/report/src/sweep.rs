//! The page about a sweep.

use std::collections::BTreeMap;

use headway_draw::{Figure, Report, Section, Series, Style, number};
use serde_json::json;

use super::{
    Builder, Page, Table,
    groups::{self, closing, series, shown},
    verdict, words,
};
use crate::error::Error;
use headway_inspect::counted;
use headway_study::{
    dir::StudyDir,
    results::{Difference, Estimate, Group, power_law},
    sweep::{Expect, PowerLaw, Sweep, plain},
};
use headway_trainer::metric;

/// Makes the page of a sweep.
///
/// # Errors
/// as [`super::of_study`]
pub(super) fn page(sweep: &Sweep, dir: &StudyDir, command: &str) -> Result<Page, Error> {
    let config = &sweep.config;
    let mut all = Vec::new();
    for point in &sweep.points {
        let runs: Vec<_> = point.runs.iter().map(|index| &sweep.plan.runs()[*index]).collect();
        let name = if point.label.is_empty() { "as given" } else { &point.label };
        all.push(Group::read(dir, name, point.settings.clone(), &runs)?);
    }
    let curves = curves(sweep, &all);
    // Two points fit any power law, and an accuracy follows none.
    let has_law =
        |curve: &&Curve| curve.is_network && curve.values.len() > 2 && !metric::larger_is_better(&config.metric);
    let laws: Vec<(String, Estimate)> = curves
        .iter()
        .filter(has_law)
        .filter_map(|curve| Some((curve.label.clone(), power_law(&curve.values)?)))
        .collect();
    let checks = checks(sweep, &all);
    let verdict = (!checks.is_empty()).then(|| checks.iter().all(|check| check.agrees));
    let findings = findings(sweep, &all, &laws, &checks);

    let mut builder = Builder::default();
    builder.prose("What was found", findings.get(1..).unwrap_or_default());
    let first = sweep.x_label().to_owned();
    let table = groups::scores(&all, "point", Some(&config.metric));
    let note = "Means over seeds with 95 % bootstrap intervals (BCa), on test examples that training never saw; the baselines \
                are scored on the same examples.";
    builder.table("Results", note, table.clone());
    if let Some(figure) = figure(sweep, &curves, &laws) {
        let title = format!("{} against {first}", config.metric);
        let note = "Bars are 95 % intervals over seeds; classical predictors are dashed.";
        builder.figure("sweep", title, note, figure.to_svg());
    }
    let note = "A mean agrees with another within three standard errors of their difference, each side with its own deviation over \
                seeds: 3 sqrt(s²/n + s²/n). It is better than a classical predictor's where the 95 % interval of the difference, paired \
                by seed, leaves out zero. A tolerance as wide as the expected mean can tell nothing: an error of zero would be within it.";
    builder.table("Verdict", note, verdict_table(&checks, &first));
    if let Some(figure) = groups::by_slice(&all) {
        builder.figure("slices", "Score by slice", groups::slice_note(&figure), figure.to_svg());
    }
    if let Some(figure) = groups::learning(&all) {
        builder.figure("learning", "Learning curves", groups::LEARNING_NOTE, figure.to_svg());
    }
    builder.table(
        format!("{} by seed", config.metric),
        "Of the network.",
        groups::by_seed(&all, &config.metric, "point"),
    );
    closing(&mut builder, &all, config.plot.patterns, "point")?;
    builder.sections.push(Section::Text { title: "What was asked".to_owned(), body: sweep.to_toml() });

    let profile = config.profile.as_ref().map(|profile| format!(", {profile} profile")).unwrap_or_default();
    let finished: usize = all.iter().map(|group| group.finished().count()).sum();
    let counts = format!(
        "{}, {} each; {finished} of {} runs are finished.",
        counted(all.len(), "point"),
        counted(config.seeds.list().len(), "seed"),
        sweep.plan.runs().len()
    );
    let changed = if config.changed.is_empty() {
        String::new()
    } else {
        format!("Changed on the command line: {}.", config.changed.join(", "))
    };
    let tables = groups::tables(&all);
    let (sections, figures) = builder.finish(&tables);
    let report = Report {
        verdict: findings.first().cloned().unwrap_or_default(),
        date: groups::day(&all),
        title: format!("{}{profile}", config.title),
        summary: [config.question.as_str(), &counts, &changed].join("\n\n").trim().to_owned(),
        command: command.to_owned(),
        sections,
    };
    let laws: BTreeMap<_, _> = laws.into_iter().collect();
    let json = json!({
        "title": config.title, "profile": config.profile, "metric": config.metric, "x": sweep.x_label(),
        "points": groups::to_json(&all),
        "exponents": laws,
        "theory": config.plot.theory,
        "checks": checks.iter().map(Check::to_json).collect::<Vec<_>>(),
        "agrees": verdict,
        "findings": findings,
    });
    Ok(Page { report, table, findings, verdict, json, figures, tables })
}

/// A predictor's score as a function of x.
struct Curve {
    label: String,
    is_network: bool,
    values: Vec<(f64, BTreeMap<u64, f64>)>,
}

/// Curves along x: of the network one per combination of the other swept values, of each classical predictor one.
fn curves(sweep: &Sweep, all: &[Group]) -> Vec<Curve> {
    let metric = &sweep.config.metric;
    let mut curves: Vec<Curve> = Vec::new();
    let mut add = |label: String, is_network: bool, x: f64, values: BTreeMap<u64, f64>| {
        let known = curves.iter_mut().find(|curve| curve.label == label);
        match known {
            Some(curve) if curve.values.iter().any(|(there, _)| there.total_cmp(&x).is_eq()) => {}
            Some(curve) => curve.values.push((x, values)),
            None => curves.push(Curve { label, is_network, values: vec![(x, values)] }),
        }
    };
    for (point, group) in sweep.points.iter().zip(all) {
        let Some(x) = point.x.filter(|_| !group.runs.is_empty()) else { continue };
        let others: Vec<String> = group
            .settings
            .iter()
            .filter(|(key, _)| !is_along_x(sweep, key))
            .map(|(key, value)| format!("{}={}", key.rsplit('.').next().unwrap_or(key), plain(value)))
            .collect();
        let network = if others.is_empty() { "network".to_owned() } else { format!("network, {}", others.join(" ")) };
        add(network, true, x, group.values("network", metric));
    }
    for (point, group) in sweep.points.iter().zip(all) {
        let Some(x) = point.x.filter(|_| !group.runs.is_empty()) else { continue };
        for predictor in group.predictors().into_iter().skip(1) {
            add(predictor.clone(), false, x, group.values(&predictor, metric));
        }
    }
    curves
}

/// Whether a swept key varies along x, alone or in step with others.
fn is_along_x(sweep: &Sweep, key: &str) -> bool {
    match &sweep.config.plot.x {
        Some(headway_study::sweep::XAxis::Key(x)) => x == key,
        Some(headway_study::sweep::XAxis::Numbers(_)) => true,
        None => false,
    }
}

/// Ratio of the largest to the smallest value along x up to which the axis is linear.
const NARROW: f64 = 1.01;

/// The score against x, on log axes if both are positive, with the theoretical lines through the first point.
fn figure(sweep: &Sweep, curves: &[Curve], laws: &[(String, Estimate)]) -> Option<Figure> {
    let estimated = |curve: &Curve| -> Vec<(f64, Estimate)> {
        let estimate = |of: &BTreeMap<u64, f64>| Estimate::of(&of.values().copied().collect::<Vec<_>>());
        curve.values.iter().filter_map(|(x, of)| Some((*x, estimate(of)?))).collect()
    };
    let drawn: Vec<(&Curve, Vec<(f64, Estimate)>)> = curves.iter().map(|curve| (curve, estimated(curve))).collect();
    let points = || drawn.iter().flat_map(|(_, points)| points);
    points().next()?;
    // Over a narrow range far from zero, a logarithmic axis would put all points in one place.
    let ends = points().fold((f64::INFINITY, 0.0_f64), |(least, most), (x, _)| (least.min(*x), most.max(*x)));
    let x_log = ends.0 > 0.0 && ends.1 > NARROW * ends.0;
    let y_log = points().all(|(_, estimate)| estimate.mean > 0.0) && !metric::larger_is_better(&sweep.config.metric);
    let mut all: Vec<Series> = drawn
        .iter()
        .map(|(curve, points)| {
            let law = laws.iter().find(|(label, _)| *label == curve.label).filter(|_| curve.is_network);
            let label = law.map_or(curve.label.clone(), |(_, law)| format!("{}: slope {:.2}", curve.label, law.mean));
            series(&label, if curve.is_network { Style::LinePoints } else { Style::Dashed }, points)
        })
        .collect();
    let network = drawn.iter().find(|(curve, _)| curve.is_network).map(|(_, points)| points);
    if let Some(points) = network.filter(|_| x_log && y_log)
        && let Some((x0, first)) = points.first()
    {
        all.extend(sweep.config.plot.theory.iter().map(|law| {
            let points = points.iter().map(|(x, _)| (*x, first.mean * (x / x0).powf(law.exponent))).collect();
            Series { label: law.label.clone(), points, style: Style::Reference, ..Series::default() }
        }));
    }
    Some(Figure {
        title: format!("{} against {}", sweep.config.metric, sweep.x_label()),
        x_label: sweep.x_label().to_owned(),
        y_label: words::score(&sweep.config.metric),
        x_log,
        y_log,
        series: all,
        colours: Vec::new(),
    })
}

/// An expected value beside the measured one.
struct Check {
    at: String,
    score: String,
    found: Option<Estimate>,
    expected: String,
    source: String,
    agrees: bool,
    /// Whether the tolerance is small enough to detect a mean far better than expected.
    can_tell: bool,
}

impl Check {
    /// Checks that a mean agrees with one measured by others.
    fn agreement(sweep: &Sweep, all: &[Group], expect: &Expect) -> Self {
        let metric = expect.metric.as_ref().unwrap_or(&sweep.config.metric);
        let is_there = |x: Option<f64>| x.is_some_and(|x| expect.is_at(x));
        let group = sweep.points.iter().zip(all).find(|(point, _)| is_there(point.x)).map(|(_, group)| group);
        let values: Vec<f64> = group.map_or_else(Vec::new, |group| {
            let units = expect.relative_to.as_ref().map(|predictor| group.values(predictor, metric));
            let unit = |seed: &u64| units.as_ref().map_or(Some(1.0), |units| units.get(seed).copied());
            let values = group.values(&expect.predictor, metric);
            values.iter().filter_map(|(seed, value)| Some(value / unit(seed)?)).collect()
        });
        let found = Estimate::of(&values);
        let tolerance = expect.tolerance(&values);
        let unit = expect.relative_to.as_ref().map(|unit| format!(" / {unit}")).unwrap_or_default();
        Self {
            at: expect.at.to_string(),
            score: format!("{metric} of {}{unit}", expect.predictor),
            agrees: found.as_ref().is_some_and(|found| (found.mean - expect.mean).abs() <= tolerance),
            can_tell: expect.can_tell(tolerance),
            found,
            expected: format!(
                "{} ± {} (theirs: deviation {} over {} seeds)",
                number(expect.mean),
                number(tolerance),
                number(expect.deviation),
                expect.seeds
            ),
            source: expect.source.clone(),
        }
    }

    /// Checks that the network beats a classical predictor at a point: the interval of the paired difference lies below
    /// zero.
    fn victory(sweep: &Sweep, group: &Group, predictor: &str) -> Self {
        let metric = &sweep.config.metric;
        let [network, rival] = ["network", predictor].map(|name| group.values(name, metric));
        // Smaller is better, except for an accuracy.
        let [better, worse] = if metric::larger_is_better(metric) { [&rival, &network] } else { [&network, &rival] };
        let difference = Difference::between(better, worse).map(|difference| difference.estimate);
        let below = |estimate: &Estimate| estimate.interval.map_or(estimate.mean, |[_, high]| high) < 0.0;
        Self {
            at: group.name.clone(),
            score: format!("{metric} of network"),
            agrees: difference.as_ref().is_some_and(below),
            can_tell: true,
            found: group.estimate("network", metric),
            expected: group
                .estimate(predictor, metric)
                .map_or_else(String::new, |rival| format!("better than {}", shown(&rival))),
            source: format!("{predictor} on the same examples"),
        }
    }

    fn to_json(&self) -> serde_json::Value {
        let Self { at, score, found, expected, source, agrees, can_tell } = self;
        json!({
            "at": at, "score": score, "found": found, "expected": expected, "source": source, "agrees": agrees, "can_tell": can_tell,
        })
    }

    /// The verdict as one word. A value that is outside counts as such however wide the tolerance is.
    fn verdict(&self) -> &'static str {
        match (self.agrees, self.can_tell) {
            (false, _) => "no",
            (true, true) => "yes",
            (true, false) => "cannot tell",
        }
    }
}

fn checks(sweep: &Sweep, all: &[Group]) -> Vec<Check> {
    let means = sweep.config.expect.iter().map(|expect| Check::agreement(sweep, all, expect));
    let rivals = all.iter().flat_map(|group| sweep.config.beats.iter().map(move |rival| (group, rival)));
    means.chain(rivals.map(|(group, rival)| Check::victory(sweep, group, rival))).collect()
}

fn verdict_table(checks: &[Check], x: &str) -> Table {
    let header = [x, "score", "found", "expected", "agrees", "expected by"].map(str::to_owned).into();
    let rows = checks.iter().map(|check| {
        vec![
            Some(check.at.clone()),
            Some(check.score.clone()),
            check.found.as_ref().map(shown),
            Some(check.expected.clone()),
            Some(check.verdict().to_owned()),
            Some(check.source.clone()),
        ]
    });
    Table { header, rows: rows.collect() }
}

fn findings(sweep: &Sweep, all: &[Group], laws: &[(String, Estimate)], checks: &[Check]) -> Vec<String> {
    let metric = &sweep.config.metric;
    let mut findings = Vec::new();
    findings.extend(match all {
        [one] => verdict::of_group(one, metric),
        all => verdict::of_points(all, metric),
    });
    for (label, law) in laws {
        let interval = law.interval.map_or(String::new(), |[low, high]| format!(" [{low:.2}, {high:.2}]"));
        let measured = format!(
            "A power law through the means puts the {metric} of the {label} at {} to the power {:.2}{interval} ({}).",
            sweep.x_label(),
            law.mean,
            counted(law.seeds, "seed")
        );
        let compared = sweep.config.plot.theory.iter().map(|theory| {
            let PowerLaw { exponent, label } = theory;
            let verdict = match law.interval {
                Some([low, _]) if low > *exponent && *exponent < 0.0 => "training does not reach that rate",
                Some([low, _]) if low > *exponent => "the error grows faster than that",
                Some([_, high]) if high < *exponent && *exponent < 0.0 => "training falls faster than that",
                Some([_, high]) if high < *exponent => "the error grows more slowly than that",
                Some(_) => "the interval holds it",
                None => "one seed cannot tell how sure that is",
            };
            format!(" Against the power {exponent} ({label}): {verdict}.")
        });
        findings.push(measured + &compared.collect::<String>());
    }
    findings.extend(against_baselines(metric, all));
    findings.extend(groups::remarks(all));
    let missing: usize = all.iter().map(|group| group.missing.len()).sum();
    if missing > 0 {
        findings
            .push(format!("{} without a result; the reasons are under \"Unfinished runs\".", counted(missing, "run")));
    }
    if !sweep.config.changed.is_empty() && !checks.is_empty() {
        let changed = sweep.config.changed.join(", ");
        findings.push(format!("What was expected holds for the settings as published; here {changed} was changed."));
    }
    let those = |verdict: &str| -> Vec<&str> {
        checks.iter().filter(|check| check.verdict() == verdict).map(|check| check.at.as_str()).collect()
    };
    let [agreeing, outside, wide] = ["yes", "no", "cannot tell"].map(those);
    let told = agreeing.len() + outside.len();
    if told > 0 {
        let outside = if outside.is_empty() { String::new() } else { format!(" Outside: {}.", outside.join(", ")) };
        findings.push(format!("{} of {told} means are as expected.{outside}", agreeing.len()));
    }
    if !wide.is_empty() {
        let why = "within a tolerance that is as wide as the mean itself";
        findings.push(format!("{} cannot tell, {why}: {}.", counted(wide.len(), "mean"), wide.join(", ")));
    }
    findings
}

/// At how many points the network's mean is below that of each classical predictor, and both values where their ratio
/// is smallest.
fn against_baselines(metric: &str, all: &[Group]) -> Vec<String> {
    if metric::larger_is_better(metric) {
        return Vec::new();
    }
    let predictors = all.iter().find(|group| !group.runs.is_empty()).map(Group::predictors).unwrap_or_default();
    let sentence = |predictor: &String| {
        let pairs: Vec<(Estimate, Estimate, &str)> = all
            .iter()
            .filter_map(|group| {
                let [network, baseline] = ["network", predictor].map(|name| group.estimate(name, metric));
                Some((network?, baseline?, group.name.as_str()))
            })
            .collect();
        let ratio = |pair: &(Estimate, Estimate, &str)| pair.0.mean / pair.1.mean;
        let best = pairs.iter().min_by(|a, b| ratio(a).total_cmp(&ratio(b)))?;
        let better = pairs.iter().filter(|(network, baseline, _)| network.mean < baseline.mean).count();
        Some(format!(
            "The network's mean {metric} is below that of {predictor} at {better} of {} points; where it compares best, {}, it is {} against \
             {} ({}).",
            pairs.len(),
            best.2,
            shown(&best.0),
            shown(&best.1),
            counted(best.0.seeds, "seed")
        ))
    };
    predictors.iter().skip(1).filter_map(sentence).collect()
}
