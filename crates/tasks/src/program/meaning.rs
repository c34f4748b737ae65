//! What a program makes of a word, by its definition: no network, no compilation.

use super::syntax::{Expression, Program, Window};

impl Program {
    /// The numbers that it returns at every position of a word, whose symbols are counted from 0.
    ///
    /// # Shapes
    /// `[n]` -> `[n · returns]`, row by row
    pub fn run(&self, word: &[usize]) -> Vec<i64> {
        let states = self.automata.iter().map(|automaton| {
            let mut state = 0;
            let mut visited = Vec::with_capacity(word.len());
            for symbol in word {
                state = automaton.next[state][*symbol];
                visited.push(state);
            }
            visited
        });
        let mut run = Run { word, states: states.collect(), known: Vec::with_capacity(self.definitions.len()) };
        for (_, definition) in &self.definitions {
            let column = run.column(definition);
            run.known.push(column);
        }
        let columns: Vec<Vec<i64>> = self.returns.iter().map(|value| run.column(value)).collect();
        (0..word.len()).flat_map(|at| columns.iter().map(move |column| column[at])).collect()
    }

    /// Whether it looks at positions on the right of the one that it answers, in words of n positions.
    pub fn looks_ahead(&self, n: usize) -> bool {
        let all = self.definitions.iter().map(|(_, value)| value).chain(&self.returns);
        all.into_iter().any(|value| {
            value.any(&|part| match part {
                Expression::Count(window, _) | Expression::At(window, _) => window.looks_ahead(n),
                _ => false,
            })
        })
    }
}

impl Expression {
    /// Whether it, or a part of it, is one of these.
    fn any(&self, is: &impl Fn(&Self) -> bool) -> bool {
        is(self)
            || match self {
                Self::Number(_)
                | Self::Symbol(_)
                | Self::Defined(_)
                | Self::Index
                | Self::Length
                | Self::State { .. } => false,
                Self::Not(of)
                | Self::Count(_, of)
                | Self::At(_, of)
                | Self::Quotient(of, _)
                | Self::Remainder(of, _) => of.any(is),
                Self::And(all) | Self::Or(all) => all.iter().any(|part| part.any(is)),
                Self::Sum(terms) => terms.iter().any(|(_, part)| part.any(is)),
                Self::Compare(_, both) | Self::Least(both) | Self::Greatest(both) => {
                    both.iter().any(|part| part.any(is))
                }
                Self::If(parts) => parts.iter().any(|part| part.any(is)),
            }
    }
}

/// What is known about one word.
struct Run<'a> {
    word: &'a [usize],
    /// The state of every automaton after every symbol.
    states: Vec<Vec<usize>>,
    /// The definitions so far, a number per position each.
    known: Vec<Vec<i64>>,
}

impl Run<'_> {
    /// The value of an expression at every position.
    fn column(&self, expression: &Expression) -> Vec<i64> {
        let n = self.word.len();
        let each = |of: &dyn Fn(usize) -> i64| (0..n).map(of).collect::<Vec<i64>>();
        let truth = |of: &dyn Fn(usize) -> bool| (0..n).map(|at| i64::from(of(at))).collect::<Vec<i64>>();
        let columns = |all: &[Expression]| all.iter().map(|part| self.column(part)).collect::<Vec<_>>();
        let pairs = |both: &[Expression; 2], of: fn(i64, i64) -> i64| {
            let [a, b] = [0, 1].map(|at| self.column(&both[at]));
            each(&|at| of(a[at], b[at]))
        };
        match expression {
            Expression::Number(number) => vec![*number; n],
            Expression::Symbol(symbol) => truth(&|at| self.word[at] == *symbol),
            Expression::Defined(definition) => self.known[*definition].clone(),
            Expression::Index => each(&|at| number(at + 1)),
            Expression::Length => vec![number(n); n],
            Expression::State { automaton, state } => truth(&|at| self.states[*automaton][at] == *state),
            Expression::Not(of) => {
                let of = self.column(of);
                truth(&|at| of[at] == 0)
            }
            Expression::And(all) => {
                let all = columns(all);
                truth(&|at| all.iter().all(|part| part[at] == 1))
            }
            Expression::Or(all) => {
                let all = columns(all);
                truth(&|at| all.iter().any(|part| part[at] == 1))
            }
            Expression::Compare(relation, both) => {
                let [a, b] = [0, 1].map(|at| self.column(&both[at]));
                truth(&|at| relation.holds(a[at], b[at]))
            }
            Expression::Sum(terms) => {
                let terms: Vec<_> = terms.iter().map(|(factor, part)| (*factor, self.column(part))).collect();
                each(&|at| {
                    terms.iter().fold(0_i64, |sum, (factor, part)| sum.saturating_add(factor.saturating_mul(part[at])))
                })
            }
            Expression::Count(window, of) | Expression::At(window, of) => self.over(*window, &self.column(of)),
            Expression::Quotient(of, by) => self.column(of).into_iter().map(|value| value.div_euclid(*by)).collect(),
            Expression::Remainder(of, by) => self.column(of).into_iter().map(|value| value.rem_euclid(*by)).collect(),
            Expression::Least(both) => pairs(both, i64::min),
            Expression::Greatest(both) => pairs(both, i64::max),
            Expression::If(parts) => {
                let [condition, yes, no] = [0, 1, 2].map(|at| self.column(&parts[at]));
                each(&|at| if condition[at] == 1 { yes[at] } else { no[at] })
            }
        }
    }

    /// The sum over the positions of a window.
    fn over(&self, window: Window, of: &[i64]) -> Vec<i64> {
        let n = self.word.len();
        let sum = |i: usize| {
            let seen = (1..=n).filter(|j| window.holds(*j, i, n));
            seen.fold(0_i64, |sum, j| sum.saturating_add(of[j - 1]))
        };
        (1..=n).map(sum).collect()
    }
}

/// A count as a number of a program.
fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
