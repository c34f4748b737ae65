//! The first pass: from a program to nodes.
//!
//! - **and, or**: the number of true parts, compared with all or with 1.
//! - **a = b**: [a ≥ b] − [a > b].
//! - **Quotients, minima, conditionals of numbers**: stairs, Σ_k [u ≥ k], a gate for every value that u may have.
//! - **Automata**: the table [state p becomes state q] of every symbol, composed with that of the positions before, by doubling: after k
//!   rounds it tells of 2^k symbols. A composition is Σ_r [(p, r) before and (r, q) after], of which one at most is true.

use std::collections::HashMap;

use headway_tasks::program::{Automaton, Expression, From, Place, Program, Relation, Window};

use super::nodes::{Kind, Node, Nodes, Variable};
use crate::{refusal::Refusal, schedule::Form};

/// Largest number of nodes.
const MOST_NODES: usize = 4096;
/// Largest size of a number: beyond it float32 does not tell integers apart by enough.
const LARGEST: f64 = 65_536.0;

/// The nodes of a program for words of a length.
pub(super) fn lower(program: &Program, seq_len: usize) -> Result<Nodes, Refusal> {
    let symbols = program.alphabet.len();
    let nodes = Nodes { all: Vec::new(), outputs: Vec::new(), variables: Vec::new(), seq_len, symbols };
    let mut lowering = Lowering { program, nodes, known: HashMap::new(), states: Vec::new(), definitions: Vec::new() };
    for symbol in 0..symbols {
        lowering.node(Kind::Symbol(symbol), None, [0.0, 1.0])?;
    }
    lowering.node(Kind::Index, None, [1.0, seq_len as f64])?;
    for automaton in &program.automata {
        let states = lowering.automaton(automaton)?;
        for (name, form) in automaton.states.iter().zip(&states) {
            lowering.call(format!("{}.{name}", automaton.name), form);
        }
        lowering.states.push(states);
    }
    for (name, definition) in &program.definitions {
        let form = lowering.form(definition)?;
        lowering.call(name.clone(), &form);
        lowering.definitions.push(form);
    }
    for (at, value) in program.returns.iter().enumerate() {
        let form = lowering.form(value)?;
        lowering.call(format!("return {}", at + 1), &form);
        lowering.nodes.outputs.push(form);
    }
    Ok(lowering.nodes)
}

struct Lowering<'a> {
    program: &'a Program,
    nodes: Nodes,
    /// Nodes by kind and argument: equal ones are one.
    known: HashMap<String, usize>,
    states: Vec<Vec<Form>>,
    definitions: Vec<Form>,
}

fn ensure_small([low, high]: [f64; 2]) -> Result<(), Refusal> {
    if low >= -LARGEST && high <= LARGEST {
        return Ok(());
    }
    let problem = format!("has numbers from {low} to {high}; {LARGEST} in size is the most");
    Err(Refusal::invalid("program", problem))
}

fn too_many() -> Refusal {
    let problem = format!(
        "has more than {MOST_NODES} parts at this length; give a smaller --length, or fewer stairs (min, max, mod, div, if of numbers)"
    );
    Refusal::invalid("program", problem)
}

impl Lowering<'_> {
    fn call(&mut self, name: String, form: &Form) {
        self.nodes.variables.push(Variable { name, form: form.clone() });
    }

    fn node(&mut self, kind: Kind, argument: Option<Form>, range: [f64; 2]) -> Result<Form, Refusal> {
        ensure_small(range)?;
        if self.nodes.all.len() >= MOST_NODES {
            return Err(too_many());
        }
        let at = *self.known.entry(format!("{kind:?} {argument:?}")).or_insert(self.nodes.all.len());
        if at == self.nodes.all.len() {
            self.nodes.all.push(Node { kind, argument, range });
        }
        Ok(Form::node(at))
    }

    /// 1 where u ≥ 1, else 0, for an integer u.
    fn gate(&mut self, u: Form) -> Result<Form, Refusal> {
        let [low, high] = self.nodes.range(&u);
        match () {
            () if low >= 1.0 => Ok(Form::number(1.0)),
            () if high <= 0.0 => Ok(Form::number(0.0)),
            () if low >= 0.0 && high <= 1.0 => Ok(u),
            () => self.node(Kind::Gate, Some(u), [0.0, 1.0]),
        }
    }

    /// 1 where u ≥ least, else 0.
    fn at_least(&mut self, u: &Form, least: f64) -> Result<Form, Refusal> {
        self.gate(u.plus(1.0 - least, &Form::number(1.0)))
    }

    /// The sum of u over a window.
    fn sum_over(&mut self, window: Window, u: &Form) -> Result<Form, Refusal> {
        let widths = self.nodes.widths(window);
        let ends = |of: fn(f64, f64) -> f64, start: f64| widths.iter().map(|width| *width as f64).fold(start, of);
        let [least, most] = [ends(f64::min, f64::INFINITY), ends(f64::max, 0.0)];
        if window == Window::OWN {
            return Ok(u.clone());
        }
        if most == 0.0 {
            return Ok(Form::number(0.0));
        }
        if let Some(number) = u.as_number()
            && (number == 0.0 || least >= most)
        {
            return Ok(Form::number(number * most));
        }
        let [low, high] = self.nodes.range(u);
        let low = if low < 0.0 { low * most } else { low * least };
        let high = if high > 0.0 { high * most } else { high * least };
        self.node(Kind::Count(window), Some(u.clone()), [low, high])
    }

    /// Σ [u ≥ step k] over all k with first ≤ k and step k ≤ the largest value of u.
    fn stairs(&mut self, u: &Form, step: f64, first: f64) -> Result<Form, Refusal> {
        let last = (self.nodes.range(u)[1] / step).floor();
        if last - first >= MOST_NODES as f64 {
            return Err(too_many());
        }
        let mut sum = Form::number(0.0);
        let mut k = first;
        while k <= last {
            let stair = self.at_least(u, step * k)?;
            sum = sum.plus(1.0, &stair);
            k += 1.0;
        }
        Ok(sum)
    }

    /// max(u, 0)
    fn positive(&mut self, u: &Form) -> Result<Form, Refusal> {
        if self.nodes.range(u)[0] >= 0.0 { Ok(u.clone()) } else { self.stairs(u, 1.0, 1.0) }
    }

    /// u div step
    fn quotient(&mut self, u: &Form, step: f64) -> Result<Form, Refusal> {
        let least = (self.nodes.range(u)[0] / step).floor();
        let above = self.stairs(u, step, least + 1.0)?;
        Ok(above.plus(least, &Form::number(1.0)))
    }

    fn compare(&mut self, relation: Relation, a: &Form, b: &Form) -> Result<Form, Refusal> {
        let [rise, fall] = [a.plus(-1.0, b), b.plus(-1.0, a)];
        match relation {
            Relation::Above => self.at_least(&rise, 1.0),
            Relation::AtLeast => self.at_least(&rise, 0.0),
            Relation::Below => self.at_least(&fall, 1.0),
            Relation::AtMost => self.at_least(&fall, 0.0),
            Relation::Equal | Relation::Unequal => {
                let [above, at_least] = [self.at_least(&rise, 1.0)?, self.at_least(&rise, 0.0)?];
                let equal = at_least.plus(-1.0, &above);
                Ok(if relation == Relation::Equal { equal } else { Form::number(1.0).plus(-1.0, &equal) })
            }
        }
    }

    /// The form of an expression, no larger than integers are told apart.
    fn form(&mut self, expression: &Expression) -> Result<Form, Refusal> {
        let form = self.unchecked(expression)?;
        ensure_small(self.nodes.range(&form))?;
        Ok(form)
    }

    fn unchecked(&mut self, expression: &Expression) -> Result<Form, Refusal> {
        let one = Form::number(1.0);
        match expression {
            Expression::Number(number) => Ok(Form::number(*number as f64)),
            Expression::Symbol(symbol) => Ok(Form::node(*symbol)),
            Expression::Defined(at) => Ok(self.definitions[*at].clone()),
            Expression::Index => Ok(Form::node(self.program.alphabet.len())),
            Expression::Length => Ok(Form::number(self.nodes.seq_len as f64)),
            Expression::State { automaton, state } => Ok(self.states[*automaton][*state].clone()),
            Expression::Not(of) => Ok(one.plus(-1.0, &self.form(of)?)),
            Expression::And(all) => {
                let sum = self.sum(all.iter().map(|part| (1.0, part)))?;
                self.at_least(&sum, all.len() as f64)
            }
            Expression::Or(all) => {
                let sum = self.sum(all.iter().map(|part| (1.0, part)))?;
                self.gate(sum)
            }
            Expression::Compare(relation, both) => {
                let [a, b] = [self.form(&both[0])?, self.form(&both[1])?];
                self.compare(*relation, &a, &b)
            }
            Expression::Sum(terms) => self.sum(terms.iter().map(|(factor, part)| (*factor as f64, part))),
            Expression::Count(window, of) | Expression::At(window, of) => {
                let of = self.form(of)?;
                self.sum_over(*window, &of)
            }
            Expression::Quotient(of, by) => {
                let of = self.form(of)?;
                self.quotient(&of, *by as f64)
            }
            Expression::Remainder(of, by) => {
                let of = self.form(of)?;
                let quotient = self.quotient(&of, *by as f64)?;
                Ok(of.plus(-(*by as f64), &quotient))
            }
            Expression::Least(both) | Expression::Greatest(both) => {
                let [a, b] = [self.form(&both[0])?, self.form(&both[1])?];
                let rise = self.positive(&a.plus(-1.0, &b))?;
                Ok(if matches!(expression, Expression::Least(_)) { a.plus(-1.0, &rise) } else { b.plus(1.0, &rise) })
            }
            Expression::If(parts) => {
                let [condition, yes, no] = [self.form(&parts[0])?, self.form(&parts[1])?, self.form(&parts[2])?];
                if self.program.is_truth(&parts[1]) && self.program.is_truth(&parts[2]) {
                    // Of both, one at most is true.
                    let [yes, no] =
                        [self.at_least(&yes.plus(1.0, &condition), 2.0)?, self.gate(no.plus(-1.0, &condition))?];
                    return Ok(yes.plus(1.0, &no));
                }
                let rise = yes.plus(-1.0, &no);
                let [low, high] = self.nodes.range(&rise);
                // A false condition takes away as much as there may be.
                let off = condition.plus(-1.0, &one);
                let up = self.positive(&rise.plus(high.max(0.0), &off))?;
                let down = self.positive(&rise.times(-1.0).plus((-low).max(0.0), &off))?;
                Ok(no.plus(1.0, &up).plus(-1.0, &down))
            }
        }
    }

    fn sum<'e>(&mut self, terms: impl Iterator<Item = (f64, &'e Expression)>) -> Result<Form, Refusal> {
        let mut sum = Form::number(0.0);
        for (factor, part) in terms {
            sum = sum.plus(factor, &self.form(part)?);
        }
        Ok(sum)
    }

    /// Whether the automaton is in each of its states after the symbol of a position.
    fn automaton(&mut self, automaton: &Automaton) -> Result<Vec<Form>, Refusal> {
        let states = automaton.states.len();
        // [p][q]: whether the last `span` symbols lead from p to q.
        let mut table: Vec<Vec<Form>> = (0..states)
            .map(|p| {
                let leads = |q: usize| {
                    let symbols = automaton.next[p].iter().enumerate().filter(|(_, to)| **to == q);
                    symbols.fold(Form::number(0.0), |sum, (symbol, _)| sum.plus(1.0, &Form::node(symbol)))
                };
                (0..states).map(leads).collect()
            })
            .collect();
        let index = Form::node(self.program.alphabet.len());
        let mut span = 1;
        while span < self.nodes.seq_len {
            let back = Place { from: From::Own, offset: -i64::try_from(span).unwrap_or(i64::MAX) };
            let window = Window(Some((Relation::Equal, back)));
            // Where fewer symbols precede, the table tells of all of them already.
            let is_preceded = self.at_least(&index, span as f64 + 1.0)?;
            let is_last = 2 * span >= self.nodes.seq_len;
            let mut composed = Vec::with_capacity(states);
            for (p, row) in table.iter().enumerate().take(if is_last { 1 } else { states }) {
                let before = row.iter().map(|cell| self.sum_over(window, cell)).collect::<Result<Vec<_>, _>>()?;
                let mut cells = Vec::with_capacity(states);
                for (q, alone) in row.iter().enumerate() {
                    // What leads from another state than the first is asked for behind other symbols alone.
                    let mut cell = Form::number(0.0);
                    if p == 0 {
                        cell = self.gate(alone.plus(-1.0, &is_preceded))?;
                    }
                    for (r, before) in before.iter().enumerate() {
                        let through = self.at_least(&before.plus(1.0, &table[r][q]), 2.0)?;
                        cell = cell.plus(1.0, &through);
                    }
                    let [from, to] = [p, q].map(|state| &automaton.states[state]);
                    self.call(format!("{}: {from} to {to} in {}", automaton.name, 2 * span), &cell);
                    cells.push(cell);
                }
                composed.push(cells);
            }
            table = composed;
            span *= 2;
        }
        Ok(table.swap_remove(0))
    }
}
