//! A compiler of formulas: every operation of an expression tree becomes heads of softmax attention, layer after layer.
//!
//! ```text
//! formulas -> nodes, with their ranges -> layers -> error budgets -> sizes -> weights
//!             reading.rs                  schedule  budgets          plan     weights
//! ```
//!
//! - **Sums** and products with numbers are affine forms, which the map before a layer computes; no head is spent on them.
//! - **Curves**, functions of one number, are interpolated between anchors (`anchored.rs`); so are squares, and 1/u on a range away from 0.
//! - **Products** are differences of squares, a b = A B (((a/A + b/B)/2)² − ((a/A − b/B)/2)²); smoothing adds the same to both squares, and
//!   cancels.
//! - **max(u, 0)** is a gate: a position's own row, whose value is u, beside an empty row, with scores β u and 0. |u| is two of them, and
//!   min and max are (a + b)/2 ± |a − b|/2.
//! - **Numbers of other positions** are picked by a head that asks for their place, and everything that a later layer needs is carried
//!   by a head with which every position asks for its own (`places.rs`). There is no skip connection.
//!
//! Every map is token-wise: all positions compute the same formulas, in their own rows. How errors add up: `errors.rs`.
//!
//! # References
//! Hu et al. 2025, arXiv 2504.15956, approximate by anchors; arXiv 2604.24878 states, by way of ReLU networks, sizes for products,
//! reciprocals and minima. The temperature, the values of the anchors, the gates and the bounds are specific to this crate.

mod anchored;
mod budgets;
mod errors;
mod hard;
mod layout;
mod nodes;
mod plan;
mod reading;
mod weights;

use headway_tasks::{
    TaskConfig,
    seq2seq::function::{BuiltIn, Function, named},
};
use serde::{Deserialize, Serialize};

use super::{
    Construction, Request, Temperature, choose,
    options::{Ends, Given, Options, Planned, ensure_size},
    written::{Sizes, WrittenDown},
};
use crate::{domain::Domain, refusal::Refusal, schedule::Schedule, target::Target};

pub(in crate::construct) use anchored::{BEYOND_OF_SQUARES, Head, SHARPNESS};
pub(in crate::construct) use layout::{KEY, NOBODY};
pub(in crate::construct) use nodes::{Curve, Rule};
use plan::{Heads, Plan};

/// Options of [`Formula`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// One formula per output number of a position, or the name of a built-in.
    pub function: Vec<String>,
    /// n, number of positions; if `None`, that of a built-in, else as many as are named.
    pub seq_len: Option<usize>,
    /// Numbers per position; if `None`, those of a built-in, else as many as are named.
    pub d_in: Option<usize>,
    /// Range of every input number. Default 0 to 1.
    pub ends: Ends,
}

impl Options for Config {
    fn sizes(&self) -> Vec<(&'static str, bool)> {
        Vec::new()
    }

    fn plan(&self, _: Option<Given>, max_parameters: usize) -> Result<Planned, Refusal> {
        let domain = self.ends.cube()?;
        let is_built_in = matches!(self.function.as_slice(), [name] if BuiltIn::find(name).is_some());
        let [seq_len, d_in] = if is_built_in {
            [1, 1]
        } else {
            named(&self.function).map_err(|error| Refusal::Formula { problem: error.into_parts().1 })?
        };
        let asked = [self.seq_len.unwrap_or(seq_len), self.d_in.unwrap_or(d_in)];
        ensure_size("seq-len x --d-in", &asked, max_parameters)?;
        let sizes = Sizes { seq_len: (self.seq_len, seq_len), d_in: (self.d_in, d_in) };
        let written = WrittenDown::new(&self.function, &sizes, domain).map_err(Refusal::of_formula)?;
        let construction = Formula { text: written.text, function: written.function, ends: self.ends };
        Ok(Planned::new(TaskConfig::Function(written.config), 0, move |request| construction.build(request)))
    }
}

/// The construction of a formula.
#[derive(Clone, Debug)]
pub struct Formula {
    /// The formulas as text.
    pub text: String,
    /// The formulas, read.
    pub function: Function,
    /// Range of every input number.
    pub ends: Ends,
}

/// Largest number of positions: places are told apart by their squares, and gates see sums of them.
const MOST_POSITIONS: usize = 256;
/// Largest number of nodes.
const MOST_NODES: usize = 2000;
/// Number of aims for the error at the outputs: the widest output's range, and halves of it, whatever the tolerance. Errors mostly
/// stay far below an aim.
const AIMS: i32 = 40;

impl Formula {
    /// Name on the command line.
    pub const NAME: &str = "formula";

    /// Chooses sizes, then writes the weights.
    ///
    /// # Errors
    /// [`Refusal::Formula`] if the formulas have a part that may be undefined or that jumps, or too many parts;
    /// [`Refusal::Invalid`] for too many positions; and whatever [`choose`] refuses.
    pub fn build(&self, request: Request) -> Result<Construction, Refusal> {
        self.compile(request).map_err(Refusal::of_formula)
    }

    fn compile(&self, request: Request) -> Result<Construction, Refusal> {
        let Self { function, ends, .. } = self;
        if function.seq_len() > MOST_POSITIONS {
            let problem =
                format!("must be at most {MOST_POSITIONS}, given or read by a formula, not {}", function.seq_len());
            return Err(Refusal::invalid("seq-len", problem));
        }
        let nodes = reading::read(function, *ends)?;
        if nodes.all.len() > MOST_NODES {
            let problem = format!("has {} different parts; give {MOST_NODES} at most", nodes.all.len());
            return Err(Refusal::invalid("function", problem));
        }
        let schedule = Schedule::of(&nodes);
        let mut made = Heads::default();
        let plans =
            (0..AIMS).map(|halvings| Plan::of(&nodes, &schedule, nodes.extent() / 2.0_f64.powi(halvings), &mut made));
        let hint = "; a smaller domain, or a formula with smaller numbers on the way, reaches further";
        let plan = choose(request, plans, Plan::cost, hint).map_err(|refusal| {
            refusal.or_blame_function(
                "has a part whose slope is not bounded, or whose values are too large, somewhere on the domain",
            )
        })?;
        let network = weights::network(&nodes, &plan);
        let sizes = [
            ("layers", plan.layouts.len()),
            ("heads", plan.layouts.iter().map(layout::Layout::n_heads).sum()),
            ("rows", plan.rows()),
            ("anchors", plan.anchors.iter().sum()),
            ("nodes", nodes.all.len()),
        ];
        let sharpest = plan.betas.iter().flatten().copied().fold(0.0, f64::max);
        let gates = if sharpest > 0.0 { format!("; gates have up to {sharpest:.1e}") } else { String::new() };
        Construction {
            name: Self::NAME,
            target: Target::written(&self.text, function.clone()),
            domain: Domain::cube(function.seq_len() * function.d_in(), ends.low, ends.high),
            network,
            scored: None,
            sizes: sizes.into_iter().map(|(name, size)| (name.to_owned(), size as f64)).collect(),
            temperature: Temperature {
                beta: SHARPNESS,
                reason: format!(
                    "per squared distance of anchors, c = beta Delta^2 = {SHARPNESS}: the ripple between anchors is 3e-8 of their distance, and \
                     values undo the smoothing{gates}"
                ),
            },
            hard: hard::points(&nodes, &plan, *ends),
            bound: plan.bound,
            rounding: plan.rounding,
            likely: None,
            provable: None,
            proof: None,
            truth: None,
            norm: None,
        }
        .in_float32("function", "low")
    }
}
