//! Proofs over the whole domain: branch and bound on the float32 weights of a model, and on the formula of the target.
//!
//! A construction of one layer whose outputs are softmax mixtures of at most three variables is proved by boxes. On each box
//! the error is at most its value in the middle plus Σ_j sup |∂h/∂x_j − ∂f/∂x_j| r_j by the mean value theorem, or the distance
//! between the ranges of network h and target f, whichever is less; [`mixture`] encloses h, and a formula encloses its own
//! slopes. Boxes are halved until the bound is close to the largest error that was seen. What is proved holds for the real
//! numbers of the domain and for the weights as they stand in the file; what float32 adds is bounded over the same boxes.
//!
//! The boxes are the proof: `python/check_proof.py` reads the weights and the task, and bounds every box anew. Where no boxes reach, [`chain`]
//! writes the inequalities of a construction as exact rationals instead, and the script derives each anew; [`units`] bounds parts that are all
//! alike by boxes first.

pub mod chain;
mod forms;
pub mod mixture;
pub mod search;
pub mod units;
pub mod weights;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use headway_model::{AttentionStackConfig, StackMap, StackReadout, weights::Array};
use headway_tasks::{Interval, Jet};
use serde::{Deserialize, Serialize};

use crate::{
    bound::Bound,
    domain::Domain,
    network::Network,
    refusal::Refusal,
    target::{Enclosure, Target},
};

use chain::{Chain, Step};
use forms::Forms;
use search::{Found, Limit, Progress, Question, search};
use units::Units;
use weights::{Group, Row, Weight};

/// What makes a construction provable.
#[derive(Clone, Debug)]
pub enum Provable {
    /// A function in few variables, by boxes.
    Boxes {
        /// The function of these variables.
        function: Target,
        /// What the variables are.
        variables: Variables,
    },
    /// A chain of inequalities, by exact rationals.
    Chain(Chain),
    /// Boxes for one of many units, and a chain that follows.
    Units(Units),
}

/// The variables of a proof.
#[derive(Clone, Debug, PartialEq)]
pub enum Variables {
    /// The numbers of one position, which all positions treat alike.
    Token,
    /// All numbers of the sequence.
    Sequence,
    /// One number per position: a linear form of the sequence, less a constant, as the map writes it into the first column of the
    /// position's row.
    Form {
        /// w, one row per position. `[seq_len][d_in]`
        weights: Vec<Vec<f64>>,
        /// The constant. `[seq_len]`
        offsets: Vec<f64>,
        /// Whether the queries of heads read the form off a row that holds the position's numbers.
        by_heads: bool,
    },
}

/// Largest number of variables.
pub const MOST_VARIABLES: usize = 3;

/// Largest number of boxes that a proof may keep: about 500 MB.
const MOST_BOXES: usize = 1 << 21;

/// Seconds that one key of one box takes at least.
const SECONDS_PER_KEY: f64 = 2e-8;

/// A proof, as it is written beside a certificate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proof {
    /// Version of this layout, 1.
    pub format: u32,
    /// sup |network − target| over the domain is at most this in exact arithmetic.
    pub bound: f64,
    /// What float32 adds at most, whatever the order of sums.
    pub rounding: f64,
    /// The largest error at the middle of a box: no bound in exact arithmetic can be lower.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub seen: f64,
    /// Number of boxes.
    #[serde(default, skip_serializing_if = "is_none")]
    pub boxes: usize,
    /// One for each kind of position.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
    /// The inequalities of a chain, in place of boxes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    /// What the proof takes to be true.
    pub rests_on: String,
    /// The bounds that a chain ends in, by their terms.
    #[serde(skip)]
    pub ends: Option<[Bound; 2]>,
}

/// The proof for positions that compute the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// The positions, from 0.
    pub positions: Vec<usize>,
    /// The boxes, as in [`Found::tree`].
    pub tree: String,
}

/// What a certificate keeps of a proof.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Number of boxes.
    #[serde(default, skip_serializing_if = "is_none")]
    pub boxes: usize,
    /// The largest error at the middle of a box.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub seen: f64,
    /// Number of inequalities of a chain, in place of boxes.
    #[serde(default, skip_serializing_if = "is_none")]
    pub steps: usize,
    /// What the proof takes to be true.
    pub rests_on: String,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the form that serde asks for")]
fn is_nothing(number: &f64) -> bool {
    *number == 0.0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the form that serde asks for")]
fn is_none(count: &usize) -> bool {
    *count == 0
}

/// What every proof takes to be true.
const RESTS_ON: &str = "IEEE arithmetic rounded to nearest; float32 exponentials within 16 roundings, sums in any order, no TF32; boxes \
                        in proof.json, checked by python/check_proof.py";

impl Proof {
    /// The bound on the error in exact arithmetic, and that on what float32 adds, with what they rest on.
    pub fn bounds(&self) -> [Bound; 2] {
        if let Some(ends) = &self.ends {
            return ends.clone();
        }
        let formula = format!(
            "max over {} boxes of |h(m) - f(m)| + sum_j sup |dh/dx_j - df/dx_j| r_j, h with the weights of the file; {:.4e} seen",
            self.boxes, self.seen
        );
        let rounding = "max over the same boxes of sum_k P_k (exp(gamma_k) - 1) |V_k - h| and of what values and sums add, in any order";
        [
            Bound::default().and("proof by boxes", formula, self.bound),
            Bound::default().and("float32", rounding, self.rounding),
        ]
    }

    /// What a certificate keeps of it.
    pub fn summary(&self) -> Summary {
        Summary { boxes: self.boxes, seen: self.seen, steps: self.steps.len(), rests_on: self.rests_on.clone() }
    }
}

/// Proves the error of a network over a domain; `arrays` are the parameters of its model.
///
/// # Errors
/// [`Refusal::Invalid`] naming the option `prove` if the construction, the number of variables or the size is out of reach; it says
/// what could be proved.
pub fn prove(
    network: &Network,
    (domain, provable): (&Domain, Option<&Provable>),
    arrays: &BTreeMap<String, Array>,
    time: Duration,
    mut progress: impl FnMut(Progress),
) -> Result<Proof, Refusal> {
    match provable {
        Some(Provable::Chain(chain)) => return Ok(chain.proof()),
        Some(Provable::Units(units)) => {
            let file = File { arrays, config: network.config() };
            return units.prove((network, &file), time, progress);
        }
        Some(Provable::Boxes { .. }) | None => {}
    }
    let questions = questions(network, (domain, provable), arrays, time)?;
    let mut proof = Proof {
        format: 1,
        bound: 0.0,
        rounding: 0.0,
        seen: 0.0,
        boxes: 0,
        parts: Vec::new(),
        steps: Vec::new(),
        rests_on: RESTS_ON.to_owned(),
        ends: None,
    };
    let share = time / questions.len().max(1) as u32;
    for (positions, question) in questions {
        // Boxes get many with every variable, so that a wider gap is left.
        let gap = [0.005, 0.03, 0.15][question.sides.len() - 1];
        let limit = Limit { time: share, boxes: MOST_BOXES, gap };
        let Found { bound, seen, rounding, tree, boxes, .. } = search(&question, limit, &mut progress);
        proof.bound = proof.bound.max(bound);
        proof.rounding = proof.rounding.max(rounding);
        proof.seen = proof.seen.max(seen);
        proof.boxes += boxes;
        proof.parts.push(Part { positions, tree });
    }
    Ok(proof)
}

fn refused(problem: impl Into<String>) -> Refusal {
    Refusal::invalid("prove", problem)
}

/// The network of one attention layer, as its file has it.
struct File<'a> {
    arrays: &'a BTreeMap<String, Array>,
    config: AttentionStackConfig,
}

impl File<'_> {
    fn weight(&self, name: &str) -> Result<Weight, Refusal> {
        let array = self.arrays.get(name).ok_or_else(|| refused(format!("finds no {name} among the weights")))?;
        let columns = array.shape.last().copied().unwrap_or(1);
        Ok(Weight { columns, values: array.values.iter().copied().map(f64::from).collect() })
    }

    /// All rows of the layer as functions of the flat sequence, `[seq_len · d_in]`, or of a position's own numbers.
    fn rows(&self, seq_len: usize) -> Result<Vec<Row>, Refusal> {
        let layer = &self.config.layers[0];
        let project = self.weight("layers.0.map.project.weight")?;
        let row = |at: usize| project.values[at * project.columns..(at + 1) * project.columns].to_vec();
        match layer.map {
            StackMap::TokenWise => {
                let position = self.weight("layers.0.map.position")?;
                let of = |at: usize| {
                    let linear = (0..layer.width)
                        .map(|column| if at < seq_len { row(column) } else { vec![0.0; project.columns] });
                    Row::mapped(linear.collect(), position.values[at * layer.width..(at + 1) * layer.width].to_vec())
                };
                Ok((0..layer.rows).map(of).collect())
            }
            StackMap::SequenceWise => {
                let bias = self.weight("layers.0.map.project.bias")?;
                let of = |at: usize| {
                    let columns = at * layer.width..(at + 1) * layer.width;
                    Row::mapped(columns.clone().map(row).collect(), bias.values[columns].to_vec())
                };
                Ok((0..layer.rows).map(of).collect())
            }
        }
    }

    fn groups(&self) -> Result<Vec<Group>, Refusal> {
        let readout = match self.config.readout {
            StackReadout::Rows => None,
            StackReadout::Affine => {
                let bias = self.weight("readout.project.bias")?;
                Some((self.weight("readout.project.weight")?, bias.values))
            }
            StackReadout::Softmax { .. } => return Err(refused("reaches no softmax behind the attention")),
        };
        let groups = self.config.layers[0].heads.iter().enumerate().map(|(at, heads)| {
            let map = |part: &str| self.weight(&format!("layers.0.heads.{at}.{part}.weight"));
            let maps = [map("query")?, map("key")?, map("value")?, map("output")?];
            // The bias counts once.
            let readout = readout.clone().map(|(weight, bias)| {
                let none = vec![0.0; bias.len()];
                (weight, if at == 0 { bias } else { none })
            });
            Ok(Group { count: heads.count, maps, readout })
        });
        groups.collect()
    }
}

/// Refuses what would take longer than `time`: d variables, and so many keys.
fn ensure_in_time(d: usize, n_keys: usize, time: Duration) -> Result<(), Refusal> {
    // Four boxes between two keys, along each axis.
    let boxes = 4.0_f64.powf(d as f64) * n_keys as f64;
    let seconds = boxes * n_keys as f64 * SECONDS_PER_KEY / rayon::current_num_threads() as f64;
    if seconds <= time.as_secs_f64() {
        return Ok(());
    }
    let most = ((time.as_secs_f64() / seconds).sqrt() * n_keys as f64).floor();
    let minutes = (seconds / 60.0).ceil();
    Err(refused(format!(
        "would examine {boxes:.1e} boxes of {n_keys} keys, {minutes:.0} minutes at least; --prove-minutes {minutes:.0} allows it, and about \
         {most} keys can be proved in this time"
    )))
}

/// What is to be proved, for each kind of position.
fn questions(
    network: &Network,
    (domain, provable): (&Domain, Option<&Provable>),
    arrays: &BTreeMap<String, Array>,
    time: Duration,
) -> Result<Vec<(Vec<usize>, Question)>, Refusal> {
    let Some(Provable::Boxes { function, variables }) = provable else {
        let problem = "goes by boxes over one layer of attention: truncated-linear, truncated-linear-heads, activation, max-affine on a \
                       grid, and seq2seq with --method grid can be proved; by inequalities relu-network and in-context-gd; \
                       the bound from formulas needs no --prove";
        return Err(refused(problem));
    };
    let Some(target) = &function.enclosure else {
        return Err(refused("needs a formula or a table, from which slopes over boxes follow"));
    };
    let Domain::Box { low, high } = domain else {
        return Err(refused("needs a box of inputs"));
    };
    let d = match variables {
        Variables::Token => network.d_in,
        Variables::Sequence => network.seq_len * network.d_in,
        Variables::Form { .. } => 1,
    };
    if d > MOST_VARIABLES {
        let problem = format!(
            "goes by boxes of at most {MOST_VARIABLES} input numbers, and here are {d}; functions of up to {MOST_VARIABLES} can be proved"
        );
        return Err(refused(problem));
    }
    let file = File { arrays, config: network.config() };
    let layer = &file.config.layers[0];
    let n_keys = layer.keys.unwrap_or(layer.rows);
    // A form passes through the keys of one head after those of another.
    let n_seen = match variables {
        Variables::Form { .. } => n_keys * layer.heads.iter().map(|heads| heads.count).sum::<usize>(),
        _ => n_keys,
    };
    ensure_in_time(d, n_seen, time)?;
    let rows = file.rows(network.seq_len)?;
    let groups = file.groups()?;
    let keys = &rows[rows.len() - n_keys..];
    let side = |at: usize| Interval::new(low[at], high[at]);
    let heads = |query: &Row, keys: &[Row]| {
        let mut all = Vec::new();
        for group in &groups {
            let heads = group.heads(query, keys, d);
            all.extend(heads.ok_or_else(|| refused("needs keys and values that do not depend on the input"))?);
        }
        Ok::<_, Refusal>(all)
    };
    match variables {
        Variables::Sequence => {
            let sides = (0..d).map(side).collect();
            let question = Question { heads: heads(&rows[0], keys)?, target: target.clone(), sides, shift: 0.0 };
            Ok(vec![((0..network.seq_len).collect(), question)])
        }
        Variables::Token => {
            let mut kinds: Vec<(Vec<usize>, Question)> = Vec::new();
            for (position, row) in rows[..network.seq_len].iter().enumerate() {
                let sides: Vec<Interval> = (position * d..(position + 1) * d).map(side).collect();
                let heads = heads(row, keys)?;
                match kinds.iter_mut().find(|(_, known)| known.heads == heads && known.sides == sides) {
                    Some((positions, _)) => positions.push(position),
                    None => {
                        let question = Question { heads, target: target.clone(), sides, shift: 0.0 };
                        kinds.push((vec![position], question));
                    }
                }
            }
            Ok(kinds)
        }
        Variables::Form { weights, offsets, by_heads } => {
            let (n, forms) = (network.seq_len, Forms { weights, offsets });
            let reach: Vec<f64> = low.iter().zip(high).map(|(low, high)| low.abs().max(high.abs())).collect();
            let question = if *by_heads {
                let (heads, side) = forms.of_heads(&rows[..n], keys, &groups, &reach)?;
                Question { heads, target: target.clone(), sides: vec![side], shift: 0.0 }
            } else {
                let (query, keys, side, shift) = forms.of_rows(&rows[..n], keys, &reach)?;
                Question { heads: heads(&query, &keys)?, target: target.clone(), sides: vec![side], shift }
            };
            Ok(vec![((0..n).collect(), question)])
        }
    }
}

/// clamp(u + centre, low, high) of one variable u.
pub fn clamp(low: f64, high: f64, centre: f64) -> Target {
    let number = |value: f64, like: &Jet| Jet::constant(Interval::point(value), like.gradient.len(), like.order());
    let enclosure: Enclosure = Arc::new(move |u: &[Jet]| {
        let sum = u[0].clone().plus(&number(centre, &u[0]));
        vec![sum.greatest(number(low, &u[0])).least(number(high, &u[0]))]
    });
    let function = Arc::new(move |u: &[f64]| vec![(u[0] + centre).clamp(low, high)]);
    Target { text: format!("clamp(u, {low}, {high})"), function, enclosure: Some(enclosure) }
}

#[cfg(test)]
mod tests;
