//! Nodes: what heads compute, each from affine forms of earlier nodes.
//!
//! Sums, differences and products with numbers are no nodes: they are affine forms, which the maps before attention compute. A
//! node is an input number, or something that is not affine: a curve g(u), a product, max(u, 0) or |u|.

use headway_tasks::{Derivatives, Interval, Jet, Order, expression::Unary};

pub(super) use crate::schedule::Form;
use crate::schedule::Graph;

/// A form, and the interval in which its values lie.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Argument {
    pub form: Form,
    pub range: Interval,
}

/// A function of one number, less a constant that puts the middle of its values at 0.
#[derive(Clone, Copy, Debug)]
pub(in crate::construct) struct Curve {
    pub rule: Rule,
    pub shift: f64,
}

#[derive(Clone, Copy, Debug)]
pub(in crate::construct) enum Rule {
    Named(&'static Unary),
    /// u^b, 1/u among them.
    Power(f64),
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Named(a), Self::Named(b)) => a.name == b.name,
            (Self::Power(a), Self::Power(b)) => a.to_bits() == b.to_bits(),
            _ => false,
        }
    }
}

impl PartialEq for Curve {
    fn eq(&self, other: &Self) -> bool {
        self.rule == other.rule && self.shift.to_bits() == other.shift.to_bits()
    }
}

impl Rule {
    pub fn value(self, u: f64) -> f64 {
        match self {
            Self::Named(function) => (function.value)(u),
            Self::Power(exponent) => u.powf(exponent),
        }
    }

    /// Values, slopes and second derivatives over an interval.
    pub fn over(self, u: Interval) -> Derivatives {
        let jet = Jet::variable(u, 0, 1, Order::Second);
        let jet = match self {
            Self::Named(function) => {
                let by = (function.enclose)(u);
                jet.then(by)
            }
            Self::Power(exponent) => jet.power(Jet::constant(Interval::point(exponent), 1, Order::Second)),
        };
        [jet.value, jet.gradient[0], jet.second[0]]
    }
}

impl Curve {
    pub fn value(self, u: f64) -> f64 {
        self.rule.value(u) - self.shift
    }
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    /// Number `.0` of the position itself.
    Own(usize),
    /// The index of the position, from 1.
    Index,
    /// A number of another position, both from 0.
    Other { position: usize, number: usize },
    /// g(u) of one argument.
    Curve(Curve),
    /// a b of two arguments, which lie within ± their reach.
    Product([f64; 2]),
    /// max(u, 0)
    Relu,
    /// |u|
    Abs,
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub kind: Kind,
    pub arguments: Vec<Argument>,
    pub range: Interval,
    /// As it stands in the formula.
    pub text: String,
}

/// The nodes of a function, each after those that it needs, and its outputs as forms of them.
#[derive(Clone, Debug)]
pub(super) struct Nodes {
    pub all: Vec<Node>,
    /// One per output number of a position.
    pub outputs: Vec<Form>,
    pub seq_len: usize,
    pub d_in: usize,
}

impl Nodes {
    /// Width of the widest output's range, as intervals have it.
    pub fn extent(&self) -> f64 {
        let range = |output: &Form| output.range(|node| self.all[node].range).width();
        self.outputs.iter().map(range).fold(f64::MIN_POSITIVE, f64::max)
    }

    /// Values of all nodes at a position of an input `[seq_len · d_in]`.
    pub fn values(&self, x: &[f64], position: usize) -> Vec<f64> {
        let mut values: Vec<f64> = Vec::with_capacity(self.all.len());
        for node in &self.all {
            let argument = |at: usize| node.arguments[at].form.value(|node| values[node]);
            values.push(match node.kind {
                Kind::Own(number) => x[position * self.d_in + number],
                Kind::Index => (position + 1) as f64,
                Kind::Other { position, number } => x[position * self.d_in + number],
                Kind::Curve(curve) => curve.value(argument(0)),
                Kind::Product(_) => argument(0) * argument(1),
                Kind::Relu => argument(0).max(0.0),
                Kind::Abs => argument(0).abs(),
            });
        }
        values
    }
}

impl Graph for Nodes {
    fn len(&self) -> usize {
        self.all.len()
    }

    fn given(&self, node: usize) -> Option<usize> {
        match self.all[node].kind {
            Kind::Own(_) | Kind::Index => Some(0),
            Kind::Other { .. } => Some(1),
            Kind::Curve(_) | Kind::Product(_) | Kind::Relu | Kind::Abs => None,
        }
    }

    fn is_constant(&self, node: usize) -> bool {
        self.all[node].kind == Kind::Index
    }

    fn arguments(&self, node: usize) -> impl Iterator<Item = &Form> {
        self.all[node].arguments.iter().map(|argument| &argument.form)
    }

    fn outputs(&self) -> &[Form] {
        &self.outputs
    }
}
