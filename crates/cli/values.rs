//! Values of options that several verbs share: seeds, times, changes to an experiment.

use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use headway_tasks::{LARGEST_SEED, icl::algorithm::Algorithm};
use headway_trainer::experiment;

/// Changes to an experiment in the order in which they apply.
pub fn overrides(unset: &[String], set: &[String], seed: Option<u64>) -> Vec<String> {
    let unset = unset.iter().map(|key| format!("{}{key}", experiment::UNSET));
    unset.chain(set.iter().cloned()).chain(seed.map(|seed| format!("seed={seed}"))).collect()
}

/// Parses a seed.
pub fn parse_seed(text: &str) -> Result<u64, String> {
    let seed = text.parse().ok().filter(|seed| *seed <= LARGEST_SEED);
    seed.ok_or_else(|| format!("a seed is a whole number from 0 to {LARGEST_SEED}"))
}

/// Parses the name of an algorithm that a prompt may hold.
pub fn algorithms() -> impl TypedValueParser<Value = Algorithm> {
    PossibleValuesParser::new(Algorithm::ALL.map(Algorithm::name)).try_map(|name| {
        Algorithm::ALL.into_iter().find(|algorithm| algorithm.name() == name).ok_or("there is no such algorithm")
    })
}

/// Parses a temperature of sampling.
pub fn parse_temperature(text: &str) -> Result<f64, String> {
    let temperature = text.parse().ok().filter(|value: &f64| value.is_finite() && *value >= 0.0);
    temperature.ok_or_else(|| format!("`{text}` is no temperature; give a number from 0 up"))
}

/// Parses a share of a probability.
pub fn parse_share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|value: &f64| *value > 0.0 && *value <= 1.0);
    share.ok_or_else(|| format!("`{text}` is no probability; give a number above 0 and at most 1"))
}

/// Parses a share by which something may be exceeded.
pub fn parse_tolerance(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|value: &f64| value.is_finite() && *value >= 0.0);
    share.ok_or_else(|| format!("`{text}` is no share; give a number from 0 up, as 0.05 for 5 %"))
}

/// Parses a number of minutes.
pub fn parse_minutes(text: &str) -> Result<f64, String> {
    let minutes = text.parse().ok().filter(|value: &f64| value.is_finite() && (0.0..=1e9).contains(value));
    minutes.ok_or_else(|| format!("`{text}` is no number of minutes; give one from 0 up, as 0.5 for 30 seconds"))
}

/// Parses a duration: `90s`, `30m`, `2h`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a time; write 90s, 30m or 2h");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let (number, seconds) = match unit {
        's' => (&text[..text.len() - 1], 1.0),
        'm' => (&text[..text.len() - 1], 60.0),
        'h' => (&text[..text.len() - 1], 3600.0),
        _ => (text, 1.0),
    };
    let number: f64 = number.parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(parse_duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("2h"), Ok(Duration::from_hours(2)));
        assert_eq!(parse_duration("7"), Ok(Duration::from_secs(7)));
        assert!(parse_duration("soon").is_err());
        assert!(parse_duration("-1s").is_err());
        assert!(parse_duration("").is_err());
    }
}
