//! An error bound as a sum of named terms, each with its formula, so that a certificate can show where its number comes from.

use serde::{Deserialize, Serialize};

/// A sum of terms.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bound {
    /// The sum.
    pub value: f64,
    /// What it is made of.
    pub terms: Vec<Term>,
}

/// One term of a bound.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Term {
    /// What it stands for.
    pub name: String,
    /// How it is computed.
    pub formula: String,
    /// Its value.
    pub value: f64,
}

impl Bound {
    /// With one more term.
    pub fn and(mut self, name: &str, formula: impl Into<String>, value: f64) -> Self {
        self.value += value;
        self.terms.push(Term { name: name.to_owned(), formula: formula.into(), value });
        self
    }
}
