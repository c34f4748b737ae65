//! Names of scores and of slices in the words of people, for axes.

/// A score as an axis calls it: `test/mse` is the mean squared error. A name that has no other words stands as it is.
pub(crate) fn score(metric: &str) -> String {
    let name = metric.split_once('/').map_or(metric, |(_, name)| name);
    let words = match name {
        "loss" => "loss",
        "mse" => "mean squared error",
        "l1" => "mean absolute error",
        "accuracy" => "accuracy",
        "perplexity" => "perplexity",
        "bits_per_character" => "bits per character",
        "psnr" => "PSNR in dB",
        _ => return metric.to_owned(),
    };
    let part = match metric.split_once('/') {
        Some(("train", _)) => "training ",
        Some(("validation", _)) => "validation ",
        _ => "",
    };
    format!("{part}{words}")
}

/// What the number of a slice counts.
pub(crate) fn slices(key: &str) -> String {
    let words = match key {
        "points" => "examples in context",
        "pairs" => "pairs in context",
        "distance" => "distance back to the key",
        "item" => "place in the list",
        "liars" => "liars among the agents",
        "step" => "step of the horizon",
        _ => key,
    };
    words.to_owned()
}
