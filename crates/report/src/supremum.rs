//! The page about the largest error of a network over a box: a bound above it and a point that attains one below.

use headway_bounds::supremum::{Arithmetic, End, Moment, State, rests_on};
use headway_draw::{Figure, Series, Style, number};
use headway_inspect::Provenance;
use serde_json::json;

use super::{Builder, Page, Table, Write, exact};

/// Name of the figure and of the table of moments.
pub(super) const NAME: &str = "gap";

/// A search and what it was about.
pub struct Searched<'a> {
    /// Where the network comes from.
    pub network: &'a Provenance,
    /// The target in words or formulas.
    pub target: &'a str,
    /// The domain in words.
    pub domain: &'a str,
    /// Names of the free numbers. `[free]`
    pub free: &'a [&'a str],
    /// What the upper bound covers.
    pub arithmetic: Arithmetic,
    /// How far the search is.
    pub state: &'a State,
    /// Why it ended.
    pub end: End,
    /// Error of the model itself at the worst point, as its device computes it.
    pub measured: f64,
    /// Bound on what float32 adds at that point.
    pub rounding: f64,
}

impl Searched<'_> {
    /// The upper bound, if there is one.
    pub fn upper(&self) -> Option<f64> {
        Some(self.state.upper()).filter(|upper| *upper < f64::MAX)
    }

    /// By what share of the lower bound the upper one exceeds it.
    fn gap(&self) -> Option<f64> {
        self.upper().map(|upper| upper / self.state.lower - 1.0)
    }

    /// Every finding, a name and a sentence each; the last says what the bound rests on.
    fn findings(&self) -> Vec<(&'static str, String)> {
        let State { lower, at, boxes, seconds, .. } = self.state;
        let point: Vec<String> = self.free.iter().zip(at).map(|(name, x)| format!("{name} = {}", number(*x))).collect();
        let upper = match self.upper() {
            Some(upper) => format!("{}, no error is larger", above(upper)),
            None => "none: the target or the network has no bound that intervals see".to_owned(),
        };
        let end = match self.end {
            End::Gap => "as close as asked",
            End::Time => "the time is over; the same command goes on",
            End::Stopped => "stopped; the same command goes on",
            End::Boxes => "as many boxes as memory is meant for; what is said holds",
            End::Rounding => "boxes cannot be halved any more; what is left is rounding",
        };
        let gap = self.gap().map_or_else(|| "no".to_owned(), |gap| format!("{} %", number(100.0 * gap)));
        let boxes = if *boxes == 1 { "1 box".to_owned() } else { format!("{boxes} boxes") };
        let work = format!("{gap} after {boxes} and {seconds:.1} s: {end}");
        vec![
            ("network", self.network.sentence()),
            ("target", self.target.to_owned()),
            ("domain", self.domain.to_owned()),
            ("upper", upper),
            ("lower", format!("{}, attained at {}", number(*lower), point.join(", "))),
            (
                "float32",
                format!(
                    "{} by the model itself there; float32 adds at most {} there",
                    number(self.measured),
                    number(self.rounding)
                ),
            ),
            ("gap", work),
            ("rests on", rests_on(self.arithmetic).to_owned()),
        ]
    }
}

/// Four digits that are not below the number.
fn above(value: f64) -> String {
    let shown = number(value);
    let is_below = shown.parse().is_ok_and(|shown: f64| shown < value);
    if is_below { number(value * (1.0 + 5.1e-4)) } else { shown }
}

/// The page: the bounds and what they rest on, and the gap against time.
pub fn page(found: &Searched<'_>) -> Page {
    let findings = found.findings();
    let State { lower, at, boxes, seconds, history, .. } = found.state;
    let rows = findings.iter().map(|(name, text)| vec![Some((*name).to_owned()), Some(text.clone())]);
    let table = Table { header: ["", ""].map(str::to_owned).into(), rows: rows.collect() };
    let mut builder = Builder::default();
    builder.table("Certificate", "", table.clone());
    let note = "Every error over the domain lies below the upper curve, and one is at least the lower. The search halves the box with the \
                worst bound, so that the curves meet where the largest error is.";
    builder.figure(NAME, "Bounds against time", note, figure(history).to_svg());
    let lines: Vec<String> = findings.iter().map(|(name, text)| format!("{name:<10}{text}")).collect();
    let json = json!({
        "upper": found.upper(),
        "lower": lower,
        "at": found.free.iter().zip(at).map(|(name, x)| ((*name).to_owned(), json!(x))).collect::<serde_json::Map<_, _>>(),
        "gap": found.gap(),
        "boxes": boxes,
        "open": found.state.open(),
        "seconds": seconds,
        "end": found.end,
        "network": found.network,
        "target": found.target,
        "domain": found.domain,
        "arithmetic": found.arithmetic,
        "measured_float32": found.measured,
        "rounding": found.rounding,
        "history": history,
        "rests_on": rests_on(found.arithmetic),
    });
    let summary =
        format!("The largest |network - target| over {}: proved from above, attained from below.", found.domain);
    let mut page =
        builder.page("Largest error over a domain", summary, table, lines, json, vec![(NAME, moments(history))]);
    page.report.verdict = match found.upper() {
        Some(upper) => format!("No error is larger than {}, and one is {}.", above(upper), number(*lower)),
        None => format!("No bound is proved yet; one error is {}.", number(*lower)),
    };
    page
}

fn figure(history: &[Moment]) -> Figure {
    let curve = |label: &str, style, of: fn(&Moment) -> f64| Series {
        label: label.to_owned(),
        points: history.iter().map(|moment| (moment.seconds, of(moment))).collect(),
        style,
        intervals: Vec::new(),
    };
    Figure {
        title: "Upper and lower bound of the largest error against time".to_owned(),
        x_label: "seconds".to_owned(),
        y_label: "largest |network − target|".to_owned(),
        x_log: true,
        y_log: true,
        series: vec![
            curve(
                "no error is larger",
                Style::Line,
                |moment| if moment.upper < f64::MAX { moment.upper } else { f64::NAN },
            ),
            curve("attained", Style::Dashed, |moment| moment.lower),
        ],
        ..Figure::default()
    }
}

/// Both bounds at every moment; no upper bound is an empty cell.
fn moments(history: &[Moment]) -> Table {
    let write: Write = exact;
    let row = |moment: &Moment| {
        let upper = Some(moment.upper).filter(|upper| *upper < f64::MAX).map(write);
        vec![Some(write(moment.seconds)), Some(moment.boxes.to_string()), upper, Some(write(moment.lower))]
    };
    Table {
        header: ["seconds", "boxes", "upper", "lower"].map(str::to_owned).into(),
        rows: history.iter().map(row).collect(),
    }
}
