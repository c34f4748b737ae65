//! The paths through a subject's heads, and the contribution of each.

use headway_plain::{
    network::Network,
    paths::{Decomposition, count, decompose, path},
};
use serde::Serialize;

use super::{Description, Parts, Subject, median, name, wording::counted};
use crate::error::Error;

/// Largest number of paths over all sequences; a million paths take half a minute or more.
pub const MOST_PATHS: f64 = 1e6;

/// The output as a sum over paths. Sizes are medians over sequences of ‖·‖_{1,∞}.
#[derive(Clone, Debug, Serialize)]
pub struct Paths {
    /// The analysed subject.
    pub subject: Description,
    /// Names of the network's parts, as in `attention + skip`.
    pub name: String,
    /// Number of paths.
    pub paths: usize,
    /// Size of the state after the last layer.
    pub output: f64,
    /// Size of the biases' contribution.
    pub bias: f64,
    /// Largest entry of |Σ paths + biases − output|, divided by the largest entry of |output|, in the worst sequence.
    pub error: f64,
    /// Paths grouped by the number of heads on them.
    pub lengths: Vec<Length>,
    /// The largest paths, largest first.
    pub largest: Vec<Largest>,
}

/// All paths with one number of heads on them.
#[derive(Clone, Debug, Serialize)]
pub struct Length {
    /// Number of heads on each path.
    pub heads: usize,
    /// Number of paths.
    pub paths: usize,
    /// Size of the sum of their contributions.
    pub sum: Option<f64>,
    /// Mean size of a contribution.
    pub mean: Option<f64>,
    /// Mean of ‖res(·)‖ / ‖·‖ over contributions that are not zero.
    pub residual: Option<f64>,
}

/// One path.
#[derive(Clone, Debug, Serialize)]
pub struct Largest {
    /// For each layer the head, counted from 0, or `None` for the skip connection.
    pub path: Vec<Option<usize>>,
    /// Size of its contribution.
    pub size: Option<f64>,
}

/// Walks every path of every sequence and keeps the `largest` ones.
///
/// # Errors
/// [`Error::FeedForward`]; [`Error::TooManyPaths`]; as [`Parts::of`]; [`Error::Trainer`] when
/// the state behind the last layer is not finite.
pub fn paths(subject: &Subject, parts: Parts, largest: usize) -> Result<Paths, Error> {
    let network = parts.of(&subject.network)?;
    if network.has_feed_forward() {
        return Err(Error::FeedForward);
    }
    ensure_walkable(&network, &subject.about)?;
    let all: Vec<Decomposition> = subject.inputs.iter().map(|x| decompose(&network, x)).collect();
    let over =
        |of: &dyn Fn(&Decomposition) -> f64| median(all.iter().map(|one| Some(of(one)).filter(|v| v.is_finite())));
    let Some((first, output)) = all.first().zip(over(&|one| one.output)) else {
        return Err(
            headway_trainer::Error::NotFinite("the state behind the last layer is not finite".to_owned()).into()
        );
    };
    let lengths = first.lengths.iter().enumerate().map(|(i, length)| Length {
        heads: length.heads,
        paths: length.paths,
        sum: over(&|one| one.lengths[i].sum),
        mean: over(&|one| one.lengths[i].mean),
        residual: over(&|one| one.lengths[i].residual),
    });
    let mut sizes: Vec<(usize, Option<f64>)> =
        (0..first.sizes.len()).map(|number| (number, over(&|one| one.sizes[number]))).collect();
    let value = |size: Option<f64>| size.unwrap_or(f64::NEG_INFINITY);
    sizes.sort_by(|a, b| value(b.1).total_cmp(&value(a.1)));
    let kept = sizes.iter().take(largest).map(|(number, size)| Largest { path: path(&network, *number), size: *size });
    Ok(Paths {
        subject: subject.about.clone(),
        name: name(&network),
        paths: first.sizes.len(),
        output,
        bias: over(&|one| one.bias).unwrap_or(f64::NAN),
        error: all.iter().map(|one| one.error).fold(0.0, f64::max),
        lengths: lengths.collect(),
        largest: kept.collect(),
    })
}

fn ensure_walkable(network: &Network, about: &Description) -> Result<(), Error> {
    let paths = count(network);
    let walks = paths * about.sequences as f64;
    if walks <= MOST_PATHS {
        return Ok(());
    }
    let ways: Vec<usize> = about.n_heads.iter().map(|heads| heads + usize::from(network.has_skip())).collect();
    let product = match ways.as_slice() {
        [first, others @ ..] if others.iter().all(|other| other == first) => format!("{first}^{}", ways.len()),
        all => all.iter().map(usize::to_string).collect::<Vec<_>>().join(" x "),
    };
    let skip = if network.has_skip() { " and a skip" } else { "" };
    let mut cures = vec!["--layers N (the first N layers)"];
    if about.sequences > 1 {
        cures.push("--sequences 1");
    }
    if network.has_skip() {
        cures.push("--skip off");
    }
    Err(Error::TooManyPaths {
        of: format!("{} of {}{skip}", counted(about.n_layers, "layer"), about.heads()),
        product,
        paths,
        sequences: about.sequences,
        walks,
        most: MOST_PATHS,
        cures,
    })
}
