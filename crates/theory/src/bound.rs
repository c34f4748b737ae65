//! Error bounds as sums of named terms, each with its formula, so that a certificate can show where its number comes
//! from.

use serde::{Deserialize, Serialize};

/// An error bound: the sum of its terms.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bound {
    /// Value of the bound.
    pub value: f64,
    /// The terms, whose values add up to it.
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
    /// What its truth depends on.
    #[serde(default)]
    pub basis: Basis,
}

/// What a term depends on besides mathematics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// On nothing else: it is proved.
    #[default]
    Proved,
    /// On a constant of the target that the user gave and that is taken to be true.
    Given,
    /// On a measurement, such as slopes on a lattice or the error of a fit, which proves nothing.
    Measured,
}

impl Bound {
    /// The bound plus a term that is proved.
    pub fn and(self, name: &str, formula: impl Into<String>, value: f64) -> Self {
        self.with(Term { name: name.to_owned(), formula: formula.into(), value, basis: Basis::Proved })
    }

    /// The bound plus a term with the given basis.
    pub fn and_on(self, basis: Basis, name: &str, formula: impl Into<String>, value: f64) -> Self {
        self.with(Term { name: name.to_owned(), formula: formula.into(), value, basis })
    }

    /// The bound plus a term.
    pub fn with(mut self, term: Term) -> Self {
        self.value += term.value;
        self.terms.push(term);
        self
    }

    /// The bound, reduced to `most` if the terms add up to more.
    pub fn at_most(self, most: f64, name: &str, formula: impl Into<String>) -> Self {
        if self.value <= most { self } else { Self::default().and(name, formula, most) }
    }

    /// The bound without terms that are 0.
    pub fn without_nothing(mut self) -> Self {
        self.terms.retain(|term| term.value != 0.0);
        self
    }

    /// The same terms with other values.
    pub fn with_values(mut self, values: &[f64]) -> Self {
        debug_assert_eq!(self.terms.len(), values.len());
        self.terms.iter_mut().zip(values).for_each(|(term, value)| term.value = *value);
        self.value = self.terms.iter().map(|term| term.value).sum();
        self
    }

    /// Whether some term depends on this basis.
    pub fn rests_on(&self, basis: Basis) -> bool {
        self.terms.iter().any(|term| term.basis == basis)
    }
}
