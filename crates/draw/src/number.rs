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

#[cfg(test)]
mod tests {
    use super::{number, number_within};

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
