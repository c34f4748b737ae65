//! Numbers as a person reads them.

/// Four significant digits; powers of ten only where plain digits would be long.
pub fn number(value: f64) -> String {
    if value != 0.0 && !(1e-3..1e6).contains(&value.abs()) {
        return format!("{value:.3e}");
    }
    let digits = if value == 0.0 { 0 } else { value.abs().log10().floor() as i32 };
    format!("{value:.*}", usize::try_from(3 - digits).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn four_digits_wherever_the_point_is() {
        let shown = [0.0, 0.018_209_5, 0.58, 2.65, 84.794, 12_345.6, -3.2159, 1e-4, 2.5e7, f64::NAN].map(number);
        let expected =
            ["0.000", "0.01821", "0.5800", "2.650", "84.79", "12346", "-3.216", "1.000e-4", "2.500e7", "NaN"];
        assert_eq!(shown, expected);
    }
}
