//! Programs of C-RASP as text, and their trees.
//!
//! ```text
//! alphabet ( )                       the symbols, one of which stands at every position
//! open = #[j <= i] '('               a count: at how many positions j up to i
//! behind = open < #[j <= i] ')'      a comparison of linear combinations of counts
//! return not behind and open = #[j <= i] ')'
//! ```
//!
//! | written | means |
//! |---|---|
//! | `'a'` | whether the position holds a: Q_a of the literature |
//! | `not`, `and`, `or` | of truth values, in this order of binding |
//! | `a < b`, `<=`, `=`, `!=`, `>=`, `>` | comparisons of numbers; a truth value counts as 0 or 1 |
//! | `a + b`, `a - b`, `2 * a` | linear combinations |
//! | `a mod 3`, `a div 3` | remainder and quotient, rounded down |
//! | `min(a, b)`, `max(a, b)` | the smaller and the larger number |
//! | `if p then a else b` | of two numbers or two truth values |
//! | `#[j <= i] p` | at how many positions j up to i p is true; also `<`, `>`, `>=`, `=`, `!=`, and `#[j] p` at how many of all |
//! | `p[3]`, `p[i-1]`, `p[n]` | what p is at another place: the third, the previous, the last; 0 or false where there is none |
//! | `i`, `n` | the position, from 1, and the number of positions |
//! | `s = automaton` and indented rows `q: 'a' -> r, 'b' -> q` | a finite automaton that starts in its first state |
//! | `s.q` | whether it is in state q after the symbol of the position |
//!
//! An indented line goes on with the statement before it. What is after `//` is a comment.
//!
//! # References
//! Yang and Chiang 2024, arXiv 2404.04393: C-RASP, with counts of earlier positions, linear comparisons, Boolean operations and
//! conditionals. Counts over later or all positions, places, remainders and automata are added here.

use std::fmt;

/// A program: what stands at every position, as a function of the whole word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The symbols.
    pub alphabet: Vec<String>,
    /// Its finite automata.
    pub automata: Vec<Automaton>,
    /// Named expressions, each in terms of earlier ones.
    pub definitions: Vec<(String, Expression)>,
    /// Whether each of them is a truth value.
    pub truths: Vec<bool>,
    /// What it returns, one number per position each.
    pub returns: Vec<Expression>,
}

/// A finite automaton, which reads the word from the left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Automaton {
    /// Its name.
    pub name: String,
    /// Its states; it starts in the first.
    pub states: Vec<String>,
    /// The next state, for every state and every symbol. `[states][symbols]`
    pub next: Vec<Vec<usize>>,
}

/// What a position has a number of; a truth value is 0 or 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// The same number everywhere.
    Number(i64),
    /// Whether the position holds this symbol.
    Symbol(usize),
    /// A definition.
    Defined(usize),
    /// The position, from 1.
    Index,
    /// The number of positions.
    Length,
    /// Whether an automaton is in a state after the symbol of the position.
    State {
        /// Index of the automaton.
        automaton: usize,
        /// Index of the state.
        state: usize,
    },
    /// Whether it is false.
    Not(Box<Self>),
    /// Whether all are true.
    And(Vec<Self>),
    /// Whether one is true.
    Or(Vec<Self>),
    /// A comparison of two numbers.
    Compare(Relation, Box<[Self; 2]>),
    /// A linear combination.
    Sum(Vec<(i64, Self)>),
    /// At how many positions of a window it is true.
    Count(Window, Box<Self>),
    /// Its value at the one position of a window; 0 if there is none.
    At(Window, Box<Self>),
    /// The quotient by a positive number, rounded down.
    Quotient(Box<Self>, i64),
    /// What is left of it.
    Remainder(Box<Self>, i64),
    /// The smaller of two numbers.
    Least(Box<[Self; 2]>),
    /// The larger of two numbers.
    Greatest(Box<[Self; 2]>),
    /// The second if the first is true, else the third.
    If(Box<[Self; 3]>),
}

/// An order of two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// <
    Below,
    /// <=
    AtMost,
    /// =
    Equal,
    /// !=
    Unequal,
    /// >=
    AtLeast,
    /// >
    Above,
}

impl Relation {
    /// How each is written.
    pub(super) const ALL: [(&str, Self); 6] = [
        ("<", Self::Below),
        ("<=", Self::AtMost),
        ("=", Self::Equal),
        ("!=", Self::Unequal),
        (">=", Self::AtLeast),
        (">", Self::Above),
    ];

    /// Whether it holds.
    pub fn holds(self, a: i64, b: i64) -> bool {
        match self {
            Self::Below => a < b,
            Self::AtMost => a <= b,
            Self::Equal => a == b,
            Self::Unequal => a != b,
            Self::AtLeast => a >= b,
            Self::Above => a > b,
        }
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL.iter().find(|(_, known)| known == self).map_or("", |(text, _)| text))
    }
}

/// Positions j that a position i looks at: those with `j relation place`; all if there is no condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window(pub Option<(Relation, Place)>);

/// A position, as the distance from another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// From where it is counted.
    pub from: From,
    /// How far to the right of it.
    pub offset: i64,
}

/// From where a place is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// The place before the first position.
    Start,
    /// The position i itself.
    Own,
    /// The last position, n.
    End,
}

impl Window {
    /// The position itself.
    pub const OWN: Self = Self(Some((Relation::Equal, Place { from: From::Own, offset: 0 })));

    /// Whether position i looks at position j, of n, all from 1.
    pub fn holds(self, j: usize, i: usize, n: usize) -> bool {
        let number = |at: usize| i64::try_from(at).unwrap_or(i64::MAX);
        self.0.is_none_or(|(relation, Place { from, offset })| {
            let from = match from {
                From::Start => 0,
                From::Own => number(i),
                From::End => number(n),
            };
            relation.holds(number(j), from.saturating_add(offset))
        })
    }
}

impl Window {
    /// Whether a position of n looks at a later one.
    pub fn looks_ahead(self, n: usize) -> bool {
        // What a position looks at are all before, at or behind a place, or all but it: its neighbours, the end and those around the place show
        // whether any is later.
        let around = |i: usize| {
            let place = self.0.map_or(0, |(_, Place { from, offset })| match from {
                From::Start => offset,
                From::Own => i64::try_from(i).unwrap_or(i64::MAX).saturating_add(offset),
                From::End => i64::try_from(n).unwrap_or(i64::MAX).saturating_add(offset),
            });
            [-1, 0, 1].map(|by| usize::try_from(place.saturating_add(by)).unwrap_or(0))
        };
        (1..n).any(|i| {
            let [before, at, behind] = around(i);
            [i + 1, n, before, at, behind].into_iter().any(|j| j > i && j <= n && self.holds(j, i, n))
        })
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("j"),
            Some((relation, place)) => write!(f, "j {relation} {place}"),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = match self.from {
            From::Start => return write!(f, "{}", self.offset),
            From::Own => "i",
            From::End => "n",
        };
        match self.offset {
            0 => f.write_str(from),
            offset if offset > 0 => write!(f, "{from}+{offset}"),
            offset => write!(f, "{from}{offset}"),
        }
    }
}

impl Program {
    /// Whether an expression is a truth value.
    pub fn is_truth(&self, expression: &Expression) -> bool {
        match expression {
            Expression::Symbol(_)
            | Expression::State { .. }
            | Expression::Not(_)
            | Expression::And(_)
            | Expression::Or(_)
            | Expression::Compare(..) => true,
            Expression::Defined(at) => self.truths[*at],
            Expression::At(_, of) => self.is_truth(of),
            Expression::If(parts) => self.is_truth(&parts[1]) && self.is_truth(&parts[2]),
            Expression::Number(_)
            | Expression::Index
            | Expression::Length
            | Expression::Sum(_)
            | Expression::Count(..)
            | Expression::Quotient(..)
            | Expression::Remainder(..)
            | Expression::Least(_)
            | Expression::Greatest(_) => false,
        }
    }
}
