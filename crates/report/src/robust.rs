//! The page about estimates from agents some of whom lie.

use headway_draw::{Figure, Series, Style, number};
use headway_inspect::{After, Ending, Robust, RobustRow, counted};
use serde_json::json;

use super::{Builder, Page, Table, Write, exact};

/// Name of the figure and of the table of all errors.
pub(super) const NAME: &str = "robust";

/// The page: the threshold as a table and a figure, the other estimators, and the same agents with other lies.
pub fn page(found: &Robust) -> Page {
    let request = &found.request;
    let table = threshold(found);
    let findings = findings(found);
    let mut builder = Builder::default();
    builder.prose("What was found", findings.get(1..).unwrap_or_default());
    let note = "Error is the distance |x - μ| of the stochastic l1 algorithm, the median over runs. Liars collude: they are the agents with the \
                worst ratio, and report as if μ were a point in the direction of that ratio.";
    builder.figure(NAME, "Error against steps", note, figure(found, "colluding", |row| &row.colluding).to_svg());
    let note = "The worst ratio is the largest sum over liars of |a · x| / sum over the others, over all directions x and all sets of as many agents, exactly. \
                Below 1 no lie moves the least sum of deviations from μ without noise; above 1 the point of colluding liars has a smaller sum than μ.";
    builder.table("The threshold", note, table.clone());
    let note = "Errors of estimators that are given the mean of every agent's observations, medians over runs. The l1 minimum is exact: by a point of the dual \
                linear program its sum of deviations is within the share `gap` of the least.";
    builder.table("Other estimators, colluding liars", note, estimators(found, |row| &row.colluding));
    let note = "The same agents all report one number. The ratio says what the worst lie can do, and not that every lie does it.";
    builder.table("Constant liars", note, estimators(found, |row| &row.constant));
    let svg = figure(found, "constant", |row| &row.constant).to_svg();
    builder.figure(format!("{NAME}-constant"), "Constant liars: error against steps", note, svg);
    let summary = format!(
        "No network: {} in {}, noise {}, {} of each row. The point of colluding liars is {distance} from μ, and constant liars report {distance}. Seed {}.",
        counted(request.n_agents, "agent"),
        counted(request.d, "dimension"),
        number(request.noise),
        counted(request.runs as usize, "run"),
        request.seed,
        distance = number(request.distance),
    );
    let json = json!({ "robust": found, "follows_the_ratio": found.follows_the_ratio() });
    builder.page("Estimates from agents some of whom lie", summary, table, findings, json, vec![(NAME, every(found))])
}

fn findings(found: &Robust) -> Vec<String> {
    let of = |row: &RobustRow| {
        let Ending { after, from_lie, outcome, .. } = &row.colluding;
        let last = after.last().map_or(String::new(), |last| number(last.error));
        let from_lie =
            from_lie.map_or(String::new(), |distance| format!(", {} from the liars' point", number(distance)));
        let ratio = number(row.ratio);
        format!(
            "{}, worst ratio {ratio}: {} at an error of {last}{from_lie}.",
            counted(row.liars, "liar"),
            outcome.word()
        )
    };
    let mut findings: Vec<String> = found.rows.iter().map(of).collect();
    findings.push(
        if found.follows_the_ratio() {
            "Every ratio below 1 converges, and no other does."
        } else {
            "Not every ratio below 1 converged, or some other did: near 1 more steps are needed."
        }
        .to_owned(),
    );
    findings
}

/// The errors after the numbers of steps that were asked for.
fn asked<'a>(found: &'a Robust, ending: &'a Ending) -> impl Iterator<Item = &'a After> {
    ending.after.iter().filter(|after| found.request.steps.contains(&after.steps))
}

fn threshold(found: &Robust) -> Table {
    let steps = found.rows.first().into_iter().flat_map(|row| asked(found, &row.colluding));
    let steps = steps.map(|after| format!("error at {}", after.steps));
    let start = ["liars", "worst ratio"].map(str::to_owned).into_iter();
    let end = ["outcome", "from the lie", "l1", "least squares", "constant liars"].map(str::to_owned);
    let rows = found.rows.iter().map(|row| {
        let Ending { outcome, from_lie, .. } = &row.colluding;
        let errors = asked(found, &row.colluding).map(|after| Some(number(after.error)));
        let constant = asked(found, &row.constant).last().map(|after| number(after.error));
        let one = |name| error_of(&row.colluding, name).map(number);
        [Some(row.liars.to_string()), Some(number(row.ratio))]
            .into_iter()
            .chain(errors)
            .chain([Some(outcome.word().to_owned()), from_lie.map(number), one("l1"), one("least_squares"), constant])
            .collect()
    });
    Table { header: start.chain(steps).chain(end).collect(), rows: rows.collect() }
}

fn error_of(ending: &Ending, name: &str) -> Option<f64> {
    ending.estimators.iter().find(|estimator| estimator.name == name).map(|estimator| estimator.error)
}

fn estimators(found: &Robust, of: fn(&RobustRow) -> &Ending) -> Table {
    let names = found.rows.first().map(|row| of(row).estimators.iter().map(|estimator| estimator.name.to_owned()));
    let header = ["liars", "stochastic l1"].map(str::to_owned).into_iter();
    let rows = found.rows.iter().map(|row| {
        let ending = of(row);
        let last = ending.after.last().map(|last| number(last.error));
        let errors = ending.estimators.iter().map(|estimator| Some(number(estimator.error)));
        let start = [Some(row.liars.to_string()), last].into_iter();
        start.chain(errors).chain([Some(format!("{:.0e}", ending.gap))]).collect()
    });
    Table {
        header: header.chain(names.into_iter().flatten()).chain(["gap".to_owned()]).collect(),
        rows: rows.collect(),
    }
}

fn figure(found: &Robust, lies: &str, of: fn(&RobustRow) -> &Ending) -> Figure {
    let series = found.rows.iter().map(|row| Series {
        label: format!("{}, ratio {:.2}", counted(row.liars, "liar"), row.ratio),
        points: of(row).after.iter().map(|after| (after.steps as f64, after.error)).collect(),
        style: Style::LinePoints,
        intervals: Vec::new(),
    });
    Figure {
        title: format!("Error of the stochastic l1 algorithm, {lies} liars"),
        x_label: "steps".to_owned(),
        y_label: "|x − μ|".to_owned(),
        x_log: true,
        y_log: true,
        series: series.collect(),
        ..Figure::default()
    }
}

/// Every error of the stochastic algorithm.
fn every(found: &Robust) -> Table {
    let write: Write = exact;
    let header = ["liars", "ratio", "lies", "steps", "median", "smallest", "largest"].map(str::to_owned).into();
    let rows = found.rows.iter().flat_map(|row| {
        [("colluding", &row.colluding), ("constant", &row.constant)].into_iter().flat_map(move |(lies, ending)| {
            ending.after.iter().map(move |after| {
                let start = [row.liars.to_string(), write(row.ratio), lies.to_owned(), after.steps.to_string()];
                let errors = [after.error, after.smallest, after.largest].map(write);
                start.into_iter().chain(errors).map(Some).collect()
            })
        })
    });
    Table { header, rows: rows.collect() }
}
