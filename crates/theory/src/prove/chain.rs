//! Proofs as chains of inequalities between exact rationals, for networks of several layers, which no boxes reach.
//!
//! Every step claims that a quantity is at most a number: the reciprocal of a temperature that stands in the file, a row sum of its weights,
//! or something that follows from earlier steps by a formula of the construction. Numbers are float64 and are written as the fractions
//! that they are. Each is rounded up by more than its computation in double precision is off by, and later steps are computed from
//! it, so that they hold for the numbers as written. `python/check_proof.py` reads the weights and the task, and derives every right-hand side anew
//! in rational arithmetic.

use serde::{Deserialize, Serialize};

use super::Proof;
use crate::bound::Bound;

/// One inequality.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// What is bounded.
    pub name: String,
    /// Its formula, of earlier steps and of numbers of the file.
    pub says: String,
    /// It is at most this, an exact fraction such as `4503599627370497/2^52`.
    pub at_most: String,
}

/// Steps, and the bounds that they end in.
#[derive(Clone, Debug, PartialEq)]
pub struct Chain {
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// Bound on the error in exact arithmetic, whose terms are steps.
    pub bound: Bound,
    /// What float32 adds at most, likewise.
    pub rounding: Bound,
}

/// What every chain takes to be true.
const RESTS_ON: &str = "the inequalities of the construction's page in docs/theory; IEEE arithmetic rounded to nearest, float32 exponentials within \
                        3 + 2 |s| units in the last place, sums in any order, no TF32; numbers as fractions in proof.json, checked by \
                        python/check_proof.py";

/// More than a formula of a step is off by in double precision.
const COMPUTED: f64 = 1e-10;
/// More than two roundings to float32.
const ROUNDED: f64 = 1.0 / 1_048_576.0;
/// More than numbers of float32 weights and of logarithms of weights are off by from those that were rounded.
const READ: f64 = 1.0 / 4096.0;
/// More than boxes of a fine division add to a supremum.
const STUDIED: f64 = 1.0 / 256.0;

/// A chain as it grows.
#[derive(Clone, Debug, Default)]
pub struct Steps(Vec<Step>);

impl Steps {
    /// Claims that a number that follows from earlier steps is at most `value`, rounded up; what is claimed.
    pub fn follows(&mut self, name: impl Into<String>, says: impl Into<String>, value: f64) -> f64 {
        self.claim(name, says, value * (1.0 + COMPUTED))
    }

    /// Claims that a number that is read off the file is at most `value`, rounded up; what is claimed.
    pub fn read(&mut self, name: impl Into<String>, says: impl Into<String>, value: f64) -> f64 {
        self.claim(name, says, value * (1.0 + READ))
    }

    /// Claims that a number that stands in the file, rounded to float32 once or twice, is at most `value`, rounded up; what is claimed.
    pub fn stands(&mut self, name: impl Into<String>, says: impl Into<String>, value: f64) -> f64 {
        self.claim(name, says, value * (1.0 + ROUNDED))
    }

    /// Claims that a supremum is at most `value`, which is found anew over boxes, rounded up; what is claimed.
    pub fn studied(&mut self, name: impl Into<String>, says: impl Into<String>, value: f64) -> f64 {
        self.claim(name, says, value * (1.0 + STUDIED))
    }

    fn claim(&mut self, name: impl Into<String>, says: impl Into<String>, value: f64) -> f64 {
        self.0.push(Step { name: name.into(), says: says.into(), at_most: fraction(value) });
        value
    }

    /// The whole chain, with the bounds that follow from these terms, which are steps.
    pub fn end(self, bound: Bound, rounding: Bound) -> Chain {
        // A sum in double precision may be rounded down.
        let up = |bound: Bound| Bound { value: (bound.value * (1.0 + 1e-14)).next_up(), ..bound };
        Chain { steps: self.0, bound: up(bound), rounding: up(rounding) }
    }
}

impl Chain {
    /// The proof as it is written beside a certificate.
    pub fn proof(&self) -> Proof {
        Proof {
            format: 1,
            bound: self.bound.value,
            rounding: self.rounding.value,
            seen: 0.0,
            boxes: 0,
            parts: Vec::new(),
            steps: self.steps.clone(),
            rests_on: RESTS_ON.to_owned(),
            ends: Some([self.bound.clone(), self.rounding.clone()]),
        }
    }
}

/// A finite number from 0 on as the fraction that it is.
fn fraction(value: f64) -> String {
    if !value.is_finite() {
        return "infinity".to_owned();
    }
    let bits = value.to_bits();
    let (exponent, part) = ((bits >> 52) & 0x7ff, bits & ((1 << 52) - 1));
    // value = mantissa · 2^(exponent − 1075)
    let (mantissa, exponent) = if exponent == 0 { (part, 1) } else { (part | 1 << 52, exponent) };
    if mantissa == 0 {
        return "0".to_owned();
    }
    let zeros = mantissa.trailing_zeros();
    let (mantissa, power) = (mantissa >> zeros, exponent.cast_signed() + i64::from(zeros) - 1075);
    match power {
        0 => mantissa.to_string(),
        1.. => format!("{mantissa}*2^{power}"),
        _ => format!("{mantissa}/2^{}", -power),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_fractions_that_they_are() {
        for (value, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (0.375, "3/2^3"),
            (6.0, "3*2^1"),
            (0.1, "3602879701896397/2^55"),
            (f64::MIN_POSITIVE, "1/2^1022"),
            (f64::from_bits(1), "1/2^1074"),
            (f64::INFINITY, "infinity"),
        ] {
            assert_eq!(fraction(value), text);
        }
    }

    /// A later step is computed from what an earlier one claims, and ends are not below the sum of their terms.
    #[test]
    fn what_is_claimed_is_above_what_was_computed() {
        let mut steps = Steps::default();
        let read = steps.read("a", "of the file", 3.0);
        let more = steps.follows("b", "a^2", read * read);
        assert!(read > 3.0 * (1.0 + 1e-4) && more > read * read, "{read} {more}");
        let bound = Bound::default().and("a", "", read).and("b", "", more);
        let sum = bound.value;
        let chain = steps.end(bound, Bound::default());
        assert!(chain.bound.value > sum && chain.proof().steps.len() == 2, "{chain:?}");
    }
}
