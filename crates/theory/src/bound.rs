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
    /// What it rests on.
    #[serde(default)]
    pub basis: Basis,
}

/// What a term rests on beside mathematics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// Nothing.
    #[default]
    Proved,
    /// A constant of the target that was given, and is taken for true.
    Given,
    /// Something measured, such as slopes on a lattice or the error of a fit: it proves nothing.
    Measured,
}

impl Bound {
    /// With one more term, proved.
    pub fn and(self, name: &str, formula: impl Into<String>, value: f64) -> Self {
        self.with(Term { name: name.to_owned(), formula: formula.into(), value, basis: Basis::Proved })
    }

    /// With one more term that rests on something.
    pub fn and_on(self, basis: Basis, name: &str, formula: impl Into<String>, value: f64) -> Self {
        self.with(Term { name: name.to_owned(), formula: formula.into(), value, basis })
    }

    /// With one more term.
    pub fn with(mut self, term: Term) -> Self {
        self.value += term.value;
        self.terms.push(term);
        self
    }

    /// No more than this, whatever the terms say.
    pub fn at_most(self, most: f64, name: &str, formula: impl Into<String>) -> Self {
        if self.value <= most { self } else { Self::default().and(name, formula, most) }
    }

    /// Whether one of its terms rests on this.
    pub fn rests_on(&self, basis: Basis) -> bool {
        self.terms.iter().any(|term| term.basis == basis)
    }
}
