//! The first two passes: from formulas to nodes, with the range of every node by intervals.

use headway_tasks::{
    Interval,
    expression::{Expression, FUNCTIONS, Operation, Step, Unary},
    seq2seq::function::{Function, Variable},
};

use super::nodes::{Argument, Curve, Form, Kind, Node, Nodes, Rule};
use crate::{construct::options::Ends, refusal::Refusal};

/// A part of a formula.
#[derive(Clone, Debug)]
struct Part {
    form: Form,
    range: Interval,
    text: String,
    /// How tightly the text holds together: 0 for a sum, 1 for a product, 2 for all else.
    tight: u8,
}

impl Part {
    fn number(value: f64) -> Self {
        let tight = if value < 0.0 { 0 } else { 2 };
        Self { form: Form::number(value), range: Interval::point(value), text: value.to_string(), tight }
    }

    fn argument(self) -> Argument {
        Argument { form: self.form, range: self.range }
    }

    fn within(&self, tight: u8) -> String {
        if self.tight < tight { format!("({})", self.text) } else { self.text.clone() }
    }
}

/// The nodes of a function whose input numbers lie between two ends.
///
/// # Errors
/// [`Refusal::Invalid`] naming the part that may be undefined, or that jumps.
pub(super) fn read(function: &Function, ends: Ends) -> Result<Nodes, Refusal> {
    let nodes = Nodes { all: Vec::new(), outputs: Vec::new(), seq_len: function.seq_len(), d_in: function.d_in() };
    let mut reader = Reader { nodes, ends: Interval::new(ends.low, ends.high) };
    for formula in function.formulas() {
        let output = reader.whole(formula)?;
        reader.nodes.outputs.push(output.form);
    }
    Ok(reader.nodes)
}

struct Reader {
    nodes: Nodes,
    ends: Interval,
}

impl Reader {
    fn whole(&mut self, formula: &Expression<Variable>) -> Result<Part, Refusal> {
        let mut stack: Vec<Part> = Vec::new();
        for step in formula.steps() {
            let mut pop = || stack.pop().unwrap_or_else(|| Part::number(f64::NAN));
            let part = match step {
                Step::Number(value) => Part::number(value),
                Step::Variable(variable) => self.variable(variable),
                Step::One(function) => {
                    let u = pop();
                    self.one(function, u)?
                }
                Step::Two(operation) => {
                    let (b, a) = (pop(), pop());
                    self.two(operation, a, b)?
                }
            };
            stack.push(part);
        }
        stack.pop().ok_or_else(|| Refusal::invalid("function", "is empty"))
    }

    /// The node with these properties, which may be there already.
    fn node(&mut self, kind: Kind, arguments: Vec<Argument>, range: Interval, text: &str) -> Form {
        let same = |node: &Node| node.kind == kind && node.arguments == arguments;
        let known = self.nodes.all.iter().position(same);
        Form::node(known.unwrap_or_else(|| {
            self.nodes.all.push(Node { kind, arguments, range, text: text.to_owned() });
            self.nodes.all.len() - 1
        }))
    }

    /// A part with this form, whose range is the smaller of a given one and that of the form.
    fn part(&self, form: Form, range: Interval, text: String, tight: u8) -> Part {
        let of_form = form.range(|node| self.nodes.all[node].range);
        let low = if of_form.low > range.low { of_form.low } else { range.low };
        let high = if of_form.high < range.high { of_form.high } else { range.high };
        Part { form, range: Interval::new(low, high.max(low)), text, tight }
    }

    fn variable(&mut self, variable: Variable) -> Part {
        let (seq_len, d_in) = (self.nodes.seq_len, self.nodes.d_in);
        let (kind, range, text) = match variable {
            Variable::Own(number) => (Kind::Own(number), self.ends, format!("x{}", number + 1)),
            Variable::Any(at) if seq_len == 1 => (Kind::Own(at), self.ends, format!("x{}", at + 1)),
            Variable::Any(at) => {
                let (position, number) = (at / d_in, at % d_in);
                (Kind::Other { position, number }, self.ends, format!("x{}_{}", position + 1, number + 1))
            }
            Variable::Position if seq_len == 1 => return Part::number(1.0),
            Variable::Position => (Kind::Index, Interval::new(1.0, seq_len as f64), "i".to_owned()),
        };
        let form = self.node(kind, Vec::new(), range, &text);
        Part { form, range, text, tight: 2 }
    }

    fn one(&mut self, function: &'static Unary, u: Part) -> Result<Part, Refusal> {
        if function.name == "-" {
            let text = format!("-{}", u.within(1));
            return Ok(Part { form: u.form.times(-1.0), range: -u.range, text, tight: 0 });
        }
        let text = format!("{}({})", function.name, u.text);
        if let Some(value) = u.form.as_number() {
            return finite((function.value)(value), text);
        }
        match function.name {
            "relu" if u.range.low >= 0.0 => Ok(u),
            "relu" if u.range.high <= 0.0 => Ok(Part::number(0.0)),
            "relu" => {
                let range = Interval::new(0.0, u.range.high);
                let form = self.node(Kind::Relu, vec![u.argument()], range, &text);
                Ok(Part { form, range, text, tight: 2 })
            }
            "abs" => Ok(self.size(u, text)),
            "step" | "signum" | "ceil" | "floor" => {
                let [value, ..] = (function.enclose)(u.range);
                if value.low >= value.high {
                    return Ok(Part::number(value.low));
                }
                let problem = format!(
                    "{text} jumps from {} to {} where its argument passes from {} to {}, and a network of attention, which is \
                     continuous, is off by half of that jump",
                    value.low,
                    value.high,
                    short(u.range.low),
                    short(u.range.high)
                );
                Err(Refusal::invalid("function", problem))
            }
            _ => self.curve(Rule::Named(function), u, text, 2),
        }
    }

    /// |u|
    fn size(&mut self, u: Part, text: String) -> Part {
        if u.range.low >= 0.0 {
            return u;
        }
        if u.range.high <= 0.0 {
            return Part { form: u.form.times(-1.0), range: -u.range, text, tight: 2 };
        }
        let range = u.range.abs();
        let form = self.node(Kind::Abs, vec![u.argument()], range, &text);
        Part { form, range, text, tight: 2 }
    }

    /// g(u): a node that is off by a constant, so that its values lie around 0.
    fn curve(&mut self, rule: Rule, u: Part, text: String, tight: u8) -> Result<Part, Refusal> {
        let [value, ..] = rule.over(u.range);
        if !value.magnitude().is_finite() {
            let problem = format!(
                "{text} may be undefined or infinite: its argument is between {} and {} as far as intervals tell; give a formula or a domain \
                 on which it is finite",
                short(u.range.low),
                short(u.range.high)
            );
            return Err(Refusal::invalid("function", problem));
        }
        let shift = value.middle();
        let reach = value.width() / 2.0;
        let around = Interval::new(-reach, reach);
        let form = self.node(Kind::Curve(Curve { rule, shift }), vec![u.argument()], around, &text);
        Ok(Part { form: form.plus(1.0, &Form::number(shift)), range: value, text, tight })
    }

    fn two(&mut self, operation: Operation, a: Part, b: Part) -> Result<Part, Refusal> {
        match operation {
            Operation::Sum => {
                let text = format!("{} + {}", a.text, b.text);
                Ok(self.part(a.form.plus(1.0, &b.form), a.range + b.range, text, 0))
            }
            Operation::Difference => {
                let text = format!("{} - {}", a.text, b.within(1));
                Ok(self.part(a.form.plus(-1.0, &b.form), a.range - b.range, text, 0))
            }
            Operation::Product => {
                let text = format!("{}*{}", a.within(1), b.within(1));
                self.product(a, &b, text)
            }
            Operation::Quotient => {
                let text = format!("{}/{}", a.within(1), b.within(2));
                let below = self.reciprocal(b)?;
                self.product(a, &below, text)
            }
            Operation::Power => self.power(a, &b),
            Operation::Greatest | Operation::Least => Ok(self.extreme(operation, a, b)),
            Operation::Angle => self.angle(a, b),
        }
    }

    /// a b
    fn product(&mut self, a: Part, b: &Part, text: String) -> Result<Part, Refusal> {
        if let Some(factor) = a.form.as_number() {
            return Ok(self.part(b.form.times(factor), Interval::point(factor) * b.range, text, 1));
        }
        if let Some(factor) = b.form.as_number() {
            return Ok(self.part(a.form.times(factor), Interval::point(factor) * a.range, text, 1));
        }
        if a.form == b.form {
            return self.curve(Rule::Power(2.0), a, text, 1);
        }
        // Around the middles of both, a b = (a − m)(b − k) + m b + k a − m k, where only the first is no affine form.
        let [m, k] = [&a, b].map(|part| middle(part.range));
        let [u, v] = [(&a, m), (b, k)].map(|(part, middle)| {
            let form = part.form.plus(-middle, &Form::number(1.0));
            let reach = (part.range.high - middle).max(middle - part.range.low).next_up();
            Argument { form, range: Interval::new(-reach, reach) }
        });
        let reaches = [u.range.high, v.range.high];
        let around = u.range * v.range;
        let form = self.node(Kind::Product(reaches), vec![u, v], around, &text);
        let form = form.plus(m, &b.form).plus(k, &a.form).plus(-m * k, &Form::number(1.0));
        Ok(self.part(form, a.range * b.range, text, 1))
    }

    fn reciprocal(&mut self, b: Part) -> Result<Part, Refusal> {
        if b.range.contains(0.0) {
            let problem = format!(
                "a division by {}, which may be 0: it is between {} and {} as far as intervals tell; give a formula or a domain on which it \
                 stays away from 0",
                b.text,
                short(b.range.low),
                short(b.range.high)
            );
            return Err(Refusal::invalid("function", problem));
        }
        let text = format!("1/{}", b.within(2));
        match b.form.as_number() {
            Some(value) => finite(1.0 / value, text),
            None => self.curve(Rule::Power(-1.0), b, text, 1),
        }
    }

    fn power(&mut self, a: Part, b: &Part) -> Result<Part, Refusal> {
        let text = format!("{}^{}", a.within(2), b.within(2));
        match (a.form.as_number(), b.form.as_number()) {
            (Some(a), Some(b)) => finite(a.powf(b), text),
            (None, Some(0.0)) => Ok(Part::number(1.0)),
            (None, Some(1.0)) => Ok(a),
            (None, Some(exponent)) => self.curve(Rule::Power(exponent), a, text, 1),
            // a^b = exp(b ln a)
            (Some(base), None) if base > 0.0 => {
                let range = Interval::point(base.ln()) * b.range;
                let exponent = self.part(b.form.times(base.ln()), range, text.clone(), 1);
                self.curve(Rule::Named(named("exp")?), exponent, text, 2)
            }
            _ => {
                let logarithm = self.curve(Rule::Named(named("ln")?), a, format!("ln of the base of {text}"), 2)?;
                let exponent = self.product(logarithm, b, format!("exponent of {text}"))?;
                self.curve(Rule::Named(named("exp")?), exponent, text, 2)
            }
        }
    }

    /// max(a, b) = (a + b)/2 + |a − b|/2, and min likewise.
    fn extreme(&mut self, operation: Operation, a: Part, b: Part) -> Part {
        let is_max = operation == Operation::Greatest;
        let text = format!("{}({}, {})", if is_max { "max" } else { "min" }, a.text, b.text);
        let apart = self.part(a.form.plus(-1.0, &b.form), a.range - b.range, String::new(), 0);
        if apart.range.low >= 0.0 {
            return if is_max { a } else { b };
        }
        if apart.range.high <= 0.0 {
            return if is_max { b } else { a };
        }
        let size = self.size(apart, text.clone());
        let half = if is_max { 0.5 } else { -0.5 };
        let form = a.form.times(0.5).plus(0.5, &b.form).plus(half, &size.form);
        let pick: fn(f64, f64) -> f64 = if is_max { f64::max } else { f64::min };
        let range = Interval::new(pick(a.range.low, b.range.low), pick(a.range.high, b.range.high));
        Part { form, range, text, tight: 2 }
    }

    /// atan2(y, x), where the point (x, y) stays on one side of an axis, away from the negative part of x.
    fn angle(&mut self, y: Part, x: Part) -> Result<Part, Refusal> {
        let text = format!("atan2({}, {})", y.text, x.text);
        if let (Some(y), Some(x)) = (y.form.as_number(), x.form.as_number()) {
            return finite(y.atan2(x), text);
        }
        let atan = Rule::Named(named("atan")?);
        let quarter = std::f64::consts::FRAC_PI_2;
        let (above, over, turn) = if x.range.low > 0.0 {
            (y, x, 0.0)
        } else if y.range.low > 0.0 {
            (x, y, quarter)
        } else if y.range.high < 0.0 {
            (x, y, -quarter)
        } else {
            let problem = format!(
                "{text} jumps or is undefined: the point ({}, {}) may lie on the negative axis or at 0; give a domain that stays away from it",
                x.text, y.text
            );
            return Err(Refusal::invalid("function", problem));
        };
        let below = self.reciprocal(over)?;
        let ratio = self.product(above, &below, format!("tangent of {text}"))?;
        if let Some(ratio) = ratio.form.as_number() {
            return finite(ratio.atan(), text);
        }
        let angle = self.curve(atan, ratio, text.clone(), 2)?;
        // atan(y/x) itself, or a quarter turn less atan(x/y).
        let sign = if turn == 0.0 { 1.0 } else { -1.0 };
        let form = angle.form.times(sign).plus(turn, &Form::number(1.0));
        let range = Interval::point(sign) * angle.range + Interval::point(turn);
        Ok(self.part(form, range, text, 2))
    }
}

fn finite(value: f64, text: String) -> Result<Part, Refusal> {
    if value.is_finite() {
        return Ok(Part { text, tight: 2, ..Part::number(value) });
    }
    Err(Refusal::invalid("function", format!("{text} is {value}, no finite number")))
}

/// The middle of a range, or 0 where only roundings set it apart from that.
fn middle(range: Interval) -> f64 {
    let middle = range.middle();
    if middle.abs() <= 1e-9 * range.magnitude() { 0.0 } else { middle }
}

/// A number with four digits, for messages.
fn short(value: f64) -> String {
    format!("{value:.3e}").parse::<f64>().unwrap_or(value).to_string()
}

fn named(name: &str) -> Result<&'static Unary, Refusal> {
    let found = FUNCTIONS.iter().find(|function| function.name == name);
    found.ok_or_else(|| Refusal::invalid("function", format!("needs {name}, which is not there")))
}
