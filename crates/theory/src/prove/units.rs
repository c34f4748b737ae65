//! Units of a network that are all alike: each is a function of one number, which heads or a softmax behind the attention compute. Boxes
//! over that number bound one unit for all of them, on the float32 weights of the file, and a chain of inequalities carries its bounds to
//! the outputs.

use std::{fmt, sync::Arc, time::Duration};

use headway_model::StackReadout;
use headway_tasks::Interval;
use rayon::prelude::*;

use super::{
    File, MOST_BOXES, Proof,
    chain::Chain,
    ensure_in_time,
    mixture::{Head, enclose},
    refused,
    search::{Limit, Progress, Question, search},
    weights::{Group, Row, Weight},
};
use crate::{network::Network, refusal::Refusal, target::Target};

/// The chain that follows from bounds on the error of a unit: in exact arithmetic, and what float32 adds.
pub type Rest = Arc<dyn Fn([f64; 2]) -> Chain + Send + Sync>;

/// What is known of the units.
#[derive(Clone)]
pub struct Units {
    /// What a unit is, of its number.
    pub function: Target,
    /// Where the number lies, float32 included.
    pub side: Interval,
    /// Where the function is not constant, within `side`.
    pub bent: Interval,
    /// What follows.
    pub rest: Rest,
}

impl fmt::Debug for Units {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Units").field("function", &self.function).field("side", &self.side).finish_non_exhaustive()
    }
}

/// The search for the largest error ends at this share above one that was seen.
const GAP: f64 = 0.002;
/// Boxes per key over which float32 is bounded: boxes of half the size would lower its bound by three per cent.
const PER_KEY: usize = 32;

impl Units {
    /// Bounds one unit by boxes, then the network by the chain.
    pub(super) fn prove(
        &self,
        (network, file): (&Network, &File),
        time: Duration,
        progress: impl FnMut(Progress),
    ) -> Result<Proof, Refusal> {
        let Some(target) = &self.function.enclosure else {
            return Err(refused("needs a formula of the units, from which slopes over boxes follow"));
        };
        let heads = heads(network, file)?;
        let n_keys: usize = heads.iter().map(|head| head.offsets.len()).sum();
        ensure_in_time(1, n_keys, time)?;
        // What is no number is no bound.
        let some = |rounding: f64| if rounding.is_nan() { f64::INFINITY } else { rounding };
        let float32 =
            |side: &Interval| enclose(&heads, &[*side]).iter().map(|found| some(found.rounding)).fold(0.0, f64::max);
        let rounding = self.parts(PER_KEY * n_keys).par_iter().map(float32).reduce(|| 0.0, f64::max);
        let question = Question { heads, target: target.clone(), sides: vec![self.side], shift: 0.0 };
        let found = search(&question, Limit { time, boxes: MOST_BOXES, gap: GAP }, progress);
        let mut proof = (self.rest)([found.bound, rounding]).proof();
        proof.boxes = found.boxes;
        proof.rests_on = format!("{}; exponentials of units within 16 roundings", proof.rests_on);
        Ok(proof)
    }

    /// Even parts of where the function bends, and parts of doubling size on both sides of it.
    fn parts(&self, count: usize) -> Vec<Interval> {
        let Interval { low, high } = self.bent;
        let width = (high - low) / count as f64;
        let mut cuts: Vec<f64> = (0..=count).map(|at| low + width * at as f64).collect();
        let mut step = width;
        while cuts[0] > self.side.low {
            cuts.insert(0, (cuts[0] - step).max(self.side.low));
            step *= 2.0;
        }
        step = width;
        while cuts[cuts.len() - 1] < self.side.high {
            cuts.push((cuts[cuts.len() - 1] + step).min(self.side.high));
            step *= 2.0;
        }
        cuts.windows(2).map(|ends| Interval::new(ends[0], ends[1])).collect()
    }
}

/// The mixtures of one unit, in its number: of the first layer's heads, whose rows hold it in their first column, or of the readout's
/// softmax.
fn heads(network: &Network, file: &File) -> Result<Vec<Head>, Refusal> {
    if matches!(file.config.readout, StackReadout::Softmax { .. }) {
        return Ok(vec![readout(file)?]);
    }
    let keys = file.rows(network.seq_len)?;
    let width = keys[0].constant.len();
    let own = |column: usize| vec![if column == 0 { 1.0 } else { 0.0 }];
    let mut constant = keys[0].constant.clone();
    constant[0] = 0.0;
    let query = Row::mapped((0..width).map(own).collect(), constant);
    let mut all = Vec::new();
    for group in file.groups()? {
        let heads = group.heads(&query, &keys, 1);
        all.extend(heads.ok_or_else(|| refused("needs keys and values that do not depend on the input"))?);
    }
    Ok(all)
}

/// The softmax of a readout as a head: its query is (u, 1), and a key holds the score's factor, its bias, and the value.
fn readout(file: &File) -> Result<Head, Refusal> {
    let part = |name: &str| file.weight(&format!("readout.softmax.{name}"));
    let (factors, biases, values) = (part("scores.weight")?, part("scores.bias")?, part("values.weight")?);
    let key = |k: usize| {
        let constant = vec![factors.values[k], biases.values[k], values.values[k]];
        Row::mapped(vec![vec![0.0]; 3], constant)
    };
    let keys: Vec<Row> = (0..factors.values.len()).map(key).collect();
    let query = Row::mapped(vec![vec![1.0], vec![0.0], vec![0.0]], vec![0.0, 1.0, 0.0]);
    let matrix = |rows: &[[f64; 3]]| Weight { columns: 3, values: rows.concat() };
    // With four components, of which two are used, the factor on scores is a half, and exact.
    let (none, first, second) = ([0.0; 3], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]);
    let asks = matrix(&[first.map(|one| 2.0 * one), second.map(|one| 2.0 * one), none, none]);
    let maps = [
        asks,
        matrix(&[first, second, none, none]),
        matrix(&[[0.0, 0.0, 1.0]]),
        Weight { columns: 1, values: vec![1.0] },
    ];
    let group = Group { count: 1, maps, readout: None };
    let heads = group.heads(&query, &keys, 1);
    let head = heads.and_then(|heads| heads.into_iter().next());
    head.ok_or_else(|| refused("finds no softmax behind the attention"))
}
