//! Numbers formatted for people.

/// Four significant digits; with powers of ten only if plain digits would be long.
pub fn number(value: f64) -> String {
    if value != 0.0 && !(1e-3..1e6).contains(&value.abs()) {
        return format!("{value:.3e}");
    }
    let digits = if value == 0.0 { 0 } else { value.abs().log10().floor() as i32 };
    format!("{value:.*}", usize::try_from(3 - digits).unwrap_or(0))
}

/// A number with its interval, if it has one: `0.5800 [0.5100, 0.6400]`.
pub fn number_within(value: f64, interval: Option<[f64; 2]>) -> String {
    match interval {
        Some([low, high]) => format!("{} [{}, {}]", number(value), number(low), number(high)),
        None => number(value),
    }
}

/// A duration in seconds as people write it: `42 s`, `12 min`, `3.5 h`.
pub fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 99.5 => format!("{s:.0} s"),
        s if s < 5940.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::{duration, number, number_within};

    #[test]
    fn durations_in_the_unit_that_suits() {
        assert_eq!([0.4, 99.0, 100.0, 5900.0, 12_600.0].map(duration), ["0 s", "99 s", "2 min", "98 min", "3.5 h"]);
    }

    #[test]
    fn four_digits_wherever_the_point_is() {
        let shown = [0.0, 0.018_209_5, 0.58, 2.65, 84.794, 12_345.6, -3.2159, 1e-4, 2.5e7, f64::NAN].map(number);
        let expected =
            ["0.000", "0.01821", "0.5800", "2.650", "84.79", "12346", "-3.216", "1.000e-4", "2.500e7", "NaN"];
        assert_eq!(shown, expected);
        assert_eq!(number_within(0.58, Some([0.51, 0.64])), "0.5800 [0.5100, 0.6400]");
        assert_eq!(number_within(0.58, None), "0.5800");
    }
}
