//! An axis: which values it covers, where its ticks stand and what they say.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

/// How values are placed along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    Linear,
    Log,
}

/// Larger values would overflow the width of a range, and smaller ones than its inverse the computation of labels.
const LARGEST: f64 = 1e300;
const SMALLEST: f64 = 1.0 / LARGEST;

impl Scale {
    pub(crate) fn new(log: bool) -> Self {
        if log { Self::Log } else { Self::Linear }
    }

    /// Place of a value on the axis: the value itself, or its decimal logarithm. `None` if the axis cannot show it.
    pub(crate) fn place(self, value: f64) -> Option<f64> {
        match self {
            Self::Linear => (value.abs() <= LARGEST).then_some(value),
            Self::Log => (SMALLEST..=LARGEST).contains(&value).then(|| value.log10()),
        }
    }
}

/// A place with its label.
#[derive(Clone, Debug, PartialEq)]
struct Tick {
    place: f64,
    label: String,
}

/// A range of places with its ticks.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    range: Range<f64>,
    ticks: Vec<Tick>,
}

/// Share of the covered width that stays free at either end.
const PADDING: f64 = 0.04;

/// Linear ticks are spaced so that at most this many gaps fit, padding included.
const MAX_GAPS: f64 = 6.5;

/// A log axis over fewer decades also has ticks at 2 and 5 …
const SPARSE_DECADES: f64 = 3.0;

/// … and over fewer than this, evenly spaced ones: 2 and 5 alone could miss it.
const ONE_DECADE: f64 = 1.0;

/// A log axis over more decades skips some.
const MAX_DECADES: f64 = 8.0;

impl Axis {
    /// The axis that covers all these places.
    pub(crate) fn covering(scale: Scale, places: impl Iterator<Item = f64>) -> Self {
        let range = padded(scale, extent(places));
        let ticks = match scale {
            Scale::Linear => linear_ticks(&range),
            Scale::Log => log_ticks(&range),
        };
        Self { range, ticks }
    }

    /// A vertical axis of labelled rows: the first row is at the top, between the places 0 and 1.
    pub(crate) fn rows(labels: impl Iterator<Item = String>) -> Self {
        let ticks: Vec<Tick> =
            (0..).zip(labels).map(|(row, label)| Tick { place: f64::from(row) + 0.5, label }).collect();
        Self { range: ticks.len().max(1) as f64..0.0, ticks }
    }

    /// Labels of the ticks.
    pub(crate) fn labels(&self) -> impl Iterator<Item = &str> {
        self.ticks.iter().map(|tick| tick.label.as_str())
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, place: &f64, (start, end): (i32, i32)) -> i32 {
        let share = (place - self.range.start) / (self.range.end - self.range.start);
        start + (share * f64::from(end - start)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        // Light points would draw grid lines between the ticks.
        let ticks = if hint.weight().allow_light_points() { &[][..] } else { &self.ticks };
        ticks.iter().map(|tick| tick.place).collect()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, place: &f64) -> String {
        let tick = self.ticks.iter().find(|tick| tick.place.total_cmp(place).is_eq());
        tick.map(|tick| tick.label.clone()).unwrap_or_default()
    }
}

/// Smallest and largest place; `None` if there is none.
fn extent(places: impl Iterator<Item = f64>) -> Option<Range<f64>> {
    places.fold(None, |extent, place| {
        let Range { start, end } = extent.unwrap_or(place..place);
        Some(start.min(place)..end.max(place))
    })
}

fn padded(scale: Scale, extent: Option<Range<f64>>) -> Range<f64> {
    let Range { start, end } = extent.unwrap_or(0.0..1.0);
    let width = end - start;
    let size = start.abs().max(end.abs());
    // In a narrower range, neighbouring ticks would have equal labels.
    let is_one_value = width <= 1e-9 * size || width < SMALLEST;
    let margin = match (is_one_value, scale) {
        (false, _) => PADDING * width,
        (true, Scale::Log) => 0.5,
        (true, Scale::Linear) if size < SMALLEST => 1.0,
        (true, Scale::Linear) => 0.5 * size,
    };
    start - margin..end + margin
}

/// The number `digits` · 10^`exponent`, exact even if no f64 is.
#[derive(Clone, Copy)]
struct Decimal {
    digits: i64,
    exponent: i32,
}

impl Decimal {
    fn value(self) -> f64 {
        // Dividing by an exact power gives the nearest double of 0.3, where 3 * 0.1 does not.
        match self.exponent {
            0.. => self.digits as f64 * 10_f64.powi(self.exponent),
            _ => self.digits as f64 / 10_f64.powi(-self.exponent),
        }
    }

    /// 1.5, 40000, 0.002
    fn plain(self) -> String {
        let decimals = usize::try_from(-self.exponent).unwrap_or(0);
        format!("{:.decimals$}", self.value())
    }

    /// 1.5e7, 2e-4
    fn scientific(self) -> String {
        let decimals = self.digits.unsigned_abs().checked_ilog10().unwrap_or(0) as usize;
        if self.digits == 0 { "0".to_owned() } else { format!("{:.decimals$e}", self.value()) }
    }
}

/// Labels of an axis, all in one notation: plain digits while they are short.
fn labels(ticks: &[Decimal]) -> Vec<String> {
    let is_short = |tick: &Decimal| tick.exponent >= -4 && tick.value().abs() < 1e6;
    let write = if ticks.iter().all(is_short) { Decimal::plain } else { Decimal::scientific };
    ticks.iter().copied().map(write).collect()
}

fn linear_decimals(range: &Range<f64>) -> Vec<Decimal> {
    let coarsest = (range.end - range.start) / MAX_GAPS;
    let magnitude = coarsest.log10().floor() as i32;
    let fits = |step: &Decimal| step.value() >= coarsest;
    let steps = [1, 2, 5].map(|digits| Decimal { digits, exponent: magnitude });
    let step = steps.into_iter().find(fits).unwrap_or(Decimal { digits: 1, exponent: magnitude + 1 });
    let first = (range.start / step.value()).ceil() as i64;
    let last = (range.end / step.value()).floor() as i64;
    (first..=last).map(|count| Decimal { digits: count * step.digits, exponent: step.exponent }).collect()
}

fn linear_ticks(range: &Range<f64>) -> Vec<Tick> {
    let decimals = linear_decimals(range);
    decimals.iter().zip(labels(&decimals)).map(|(tick, label)| Tick { place: tick.value(), label }).collect()
}

/// Ticks of a range of logarithms.
fn log_ticks(range: &Range<f64>) -> Vec<Tick> {
    let decades = range.end - range.start;
    let decimals = if decades < ONE_DECADE {
        linear_decimals(&(10_f64.powf(range.start)..10_f64.powf(range.end)))
    } else {
        let stride = (decades / MAX_DECADES).ceil() as i32;
        let leading: &[i64] = if decades < SPARSE_DECADES { &[1, 2, 5] } else { &[1] };
        let exponents = (range.start.floor() as i32..=range.end as i32).filter(|exponent| exponent % stride == 0);
        exponents.flat_map(|exponent| leading.iter().map(move |&digits| Decimal { digits, exponent })).collect()
    };
    let placed =
        decimals.iter().zip(labels(&decimals)).map(|(tick, label)| Tick { place: tick.value().log10(), label });
    placed.filter(|tick| range.start <= tick.place && tick.place <= range.end).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tick_labels(scale: Scale, values: &[f64]) -> Vec<String> {
        let axis = Axis::covering(scale, values.iter().filter_map(|value| scale.place(*value)));
        axis.ticks.into_iter().map(|tick| tick.label).collect()
    }

    #[test]
    fn linear_ticks_are_round() {
        for (values, expected) in [
            (vec![0.0, 1.0], vec!["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
            (vec![0.0, 20_000.0], vec!["0", "5000", "10000", "15000", "20000"]),
            (vec![-3.0, 3.0], vec!["-3", "-2", "-1", "0", "1", "2", "3"]),
            (vec![1e7, 3e7], vec!["1.0e7", "1.5e7", "2.0e7", "2.5e7", "3.0e7"]),
            (vec![0.0, 2e-6], vec!["0", "5e-7", "1.0e-6", "1.5e-6", "2.0e-6"]),
            (vec![], vec!["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        ] {
            assert_eq!(tick_labels(Scale::Linear, &values), expected, "{values:?}");
        }
    }

    #[test]
    fn log_ticks_follow_the_number_of_decades() {
        for (values, expected) in [
            (vec![1e-4, 1.0], vec!["1e-4", "1e-3", "1e-2", "1e-1", "1e0"]),
            (vec![1e-2, 1e2], vec!["0.01", "0.1", "1", "10", "100"]),
            (vec![1e-30, 1.0], vec!["1e-30", "1e-25", "1e-20", "1e-15", "1e-10", "1e-5", "1e0"]),
            (vec![0.1, 4.0], vec!["0.1", "0.2", "0.5", "1", "2"]),
            (vec![2.0, 3.0], vec!["2.0", "2.2", "2.4", "2.6", "2.8", "3.0"]),
        ] {
            assert_eq!(tick_labels(Scale::Log, &values), expected, "{values:?}");
        }
    }

    #[test]
    fn every_axis_has_distinct_ticks_inside_its_range() {
        let sizes = [0.0, 5e-324, 1e-300, 1e-5, 0.1, 1.0, 7.0, 1e5, 1e15, 1e299];
        let widths = [0.0, 1e-12, 1e-6, 1.0, 1e9];
        for scale in [Scale::Linear, Scale::Log] {
            for (size, width) in sizes.iter().flat_map(|size| widths.map(|width| (*size, width))) {
                for values in
                    [vec![size], vec![size, size * (1.0 + width)], vec![-size, size], vec![size, size + width]]
                {
                    let places: Vec<f64> = values.iter().filter_map(|value| scale.place(*value)).collect();
                    let Axis { range, ticks } = Axis::covering(scale, places.iter().copied());
                    let is_inside = |place: f64| range.start <= place && place <= range.end;
                    let case = format!("{scale:?} {values:?}: {range:?} {ticks:?}");
                    assert!(range.start < range.end && places.iter().all(|place| is_inside(*place)), "{case}");
                    assert!(ticks.iter().all(|tick| is_inside(tick.place)), "{case}");
                    assert!((2..=10).contains(&ticks.len()), "{case}");
                    assert!(ticks.is_sorted_by(|a, b| a.place < b.place && a.label != b.label), "{case}");
                }
            }
        }
    }
}
