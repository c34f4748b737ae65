//! Rules that learn a linear function from examples, each a filter of the examples' spectrum, and the rule nearest to
//! given predictions.
//!
//! Of examples X `[d, k]`, an example per column, and y `[k]`: with X Xᵀ = U diag(λ) Uᵀ every rule below predicts w · x for
//!
//! ```text
//! w = U diag(f(λ)) Uᵀ X y
//! ```

use nalgebra::{DMatrix, DVector};

/// A learning rule, given by the filter f that it applies to the spectrum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LinearRule {
    /// f(λ) = 1/λ, and 0 where λ is 0: least squares of least norm.
    LeastSquares,
    /// f(λ) = 1/(λ + `lambda`): minimises Σ (w · x_j − y_j)² + `lambda` |w|².
    Ridge {
        /// Weight of the penalty, in units of x².
        lambda: f64,
    },
    /// f(λ) = 1/k: w = Σ x_j y_j / k.
    Averaging,
    /// f(λ) = (1 − (1 − η λ/k)^steps)/λ: gradient descent on Σ (w · x_j − y_j)² / 2k from w = 0, at one rate η for all prompts.
    Descent {
        /// Number of steps.
        steps: usize,
        /// η.
        rate: f64,
    },
    /// Gradient descent with its rate in units of the prompt's own curvature: η/k = `step_size` / (largest λ).
    ScaledDescent {
        /// Number of steps.
        steps: usize,
        /// Between 0 and 2; descent diverges from 2 on.
        step_size: f64,
    },
}

/// The spectral decomposition of the examples of one prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Spectrum {
    /// k, the number of examples.
    points: usize,
    /// U. `[d, d]`
    basis: DMatrix<f64>,
    /// λ. `[d]`
    values: DVector<f64>,
    /// Uᵀ X y. `[d]`
    products: DVector<f64>,
}

/// Eigenvalues below this share of the largest count as zero.
const RANK_CUTOFF: f64 = 1e-12;

impl Spectrum {
    /// Decomposes examples.
    ///
    /// # Shapes
    /// x `[d, k]`, an example per column; y `[k]`
    pub fn of(x: &DMatrix<f64>, y: &DVector<f64>) -> Self {
        let eigen = (x * x.transpose()).symmetric_eigen();
        let products = eigen.eigenvectors.tr_mul(&(x * y));
        let values = eigen.eigenvalues.map(|value| value.max(0.0));
        Self { points: y.len(), basis: eigen.eigenvectors, values, products }
    }

    /// The w of a rule; 0 if there are no examples. `[d]`
    pub fn weights(&self, rule: LinearRule) -> DVector<f64> {
        &self.basis * self.filtered(rule)
    }

    /// Largest rate at which gradient descent converges on these examples, whatever the number of steps: 2 k / (largest
    /// λ).
    fn largest_rate(&self) -> f64 {
        2.0 * self.points as f64 / self.largest()
    }

    fn largest(&self) -> f64 {
        self.values.iter().copied().fold(0.0, f64::max)
    }

    /// Uᵀ w of a rule: its products filtered by f(λ). `[d]`
    fn filtered(&self, rule: LinearRule) -> DVector<f64> {
        let largest = self.largest();
        self.products.zip_map(&self.values, |product, value| {
            if largest > 0.0 { product * rule.filter(value, largest, self.points) } else { 0.0 }
        })
    }
}

impl LinearRule {
    /// f(λ), given the largest λ and k.
    fn filter(self, value: f64, largest: f64, points: usize) -> f64 {
        match self {
            Self::LeastSquares => {
                if value > RANK_CUTOFF * largest {
                    1.0 / value
                } else {
                    0.0
                }
            }
            Self::Ridge { lambda } => 1.0 / (value + lambda),
            Self::Averaging => 1.0 / points as f64,
            Self::Descent { steps, rate } => descended(value, steps, rate / points as f64),
            Self::ScaledDescent { steps, step_size } => descended(value, steps, step_size / largest),
        }
    }
}

/// (1 − (1 − size λ)^steps)/λ, which is steps · size at λ = 0.
fn descended(value: f64, steps: usize, size: f64) -> f64 {
    let z = size * value;
    // The quotient loses its digits where z is tiny, and the first two terms of its series are then exact.
    if z * (steps as f64) < 1e-9 {
        return steps as f64 * size * (1.0 - 0.5 * (steps as f64 - 1.0) * z);
    }
    (1.0 - (1.0 - z).powi(i32::try_from(steps).unwrap_or(i32::MAX))) / value
}

impl LinearRule {
    /// The rule in words; `number` writes its numbers.
    pub fn described(self, number: impl Fn(f64) -> String) -> String {
        match self {
            Self::LeastSquares => "least squares".to_owned(),
            Self::Ridge { lambda } => format!("ridge with lambda {}", number(lambda)),
            Self::Averaging => "averaging".to_owned(),
            Self::Descent { steps, rate } => {
                format!("{} of gradient descent at rate {}", counted(steps), number(rate))
            }
            Self::ScaledDescent { steps, step_size } => {
                let (steps, step_size) = (counted(steps), number(step_size));
                format!("{steps} of gradient descent of size {step_size} / (largest eigenvalue of X X^T)")
            }
        }
    }
}

fn counted(steps: usize) -> String {
    if steps == 1 { "1 step".to_owned() } else { format!("{steps} steps") }
}

/// A prediction to be explained: what a network said about a query after some examples.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// The examples.
    pub spectrum: Spectrum,
    /// The query. `[d]`
    pub query: DVector<f64>,
    /// The prediction.
    pub prediction: f64,
}

/// A family of rules, with numbers still to be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// [`LinearRule::Ridge`].
    Ridge,
    /// [`LinearRule::Descent`].
    Descent,
    /// [`LinearRule::ScaledDescent`].
    ScaledDescent,
}

/// Largest number of steps of gradient descent that is tried.
pub const MOST_STEPS: usize = 50;
/// Range of the penalties and rates on the first grid, as the smallest and the largest power of ten.
const PENALTIES: (i32, i32) = (-4, 4);
const RATES: (i32, i32) = (-4, 2);
const PER_DECADE: i32 = 6;
const REFINEMENTS: usize = 40;

impl Family {
    /// Every family.
    pub const ALL: [Self; 3] = [Self::Ridge, Self::Descent, Self::ScaledDescent];

    /// The rule of this family whose predictions have the least mean squared distance from the observed ones. All
    /// numbers of steps up to [`MOST_STEPS`] are tried; penalties and rates are tried on a grid of six per decade and
    /// refined by golden section. `None` if no distance is finite.
    ///
    /// With more than one step, only rates are tried at which descent converges on all examples, those of `others`
    /// included: at larger rates errors grow with every step, as one prompt with a larger curvature than any of the
    /// fitted ones would show.
    pub fn nearest<'a>(
        self,
        observed: &'a [Observed],
        others: impl IntoIterator<Item = &'a Spectrum>,
    ) -> Option<LinearRule> {
        let turned: Vec<(DVector<f64>, &Observed)> =
            observed.iter().map(|one| (one.spectrum.basis.tr_mul(&one.query), one)).collect();
        let distance = |rule: LinearRule| {
            let squares =
                turned.iter().map(|(query, one)| (query.dot(&one.spectrum.filtered(rule)) - one.prediction).powi(2));
            let sum: f64 = squares.sum();
            if sum.is_finite() { sum } else { f64::INFINITY }
        };
        let spectra = observed.iter().map(|one| &one.spectrum).chain(others);
        let largest_rate = spectra.map(Spectrum::largest_rate).fold(f64::INFINITY, f64::min);
        let best = (1..=self.most_steps()).map(|steps| {
            let rule = |exponent: f64| self.rule(steps, 10.0_f64.powf(exponent));
            let largest = match self {
                Self::Descent if steps > 1 => largest_rate.log10(),
                Self::ScaledDescent if steps > 1 => 2.0_f64.log10(),
                Self::Ridge | Self::Descent | Self::ScaledDescent => f64::INFINITY,
            };
            let (exponent, distance) = least(self.decades(), largest, |exponent| distance(rule(exponent)));
            (rule(exponent), distance)
        });
        let best = best.min_by(|a, b| a.1.total_cmp(&b.1))?;
        best.1.is_finite().then_some(best.0)
    }

    fn most_steps(self) -> usize {
        if self == Self::Ridge { 1 } else { MOST_STEPS }
    }

    fn decades(self) -> (i32, i32) {
        if self == Self::Ridge { PENALTIES } else { RATES }
    }

    /// The rule with this number of steps (which ridge regression ignores) and this penalty or rate.
    fn rule(self, steps: usize, value: f64) -> LinearRule {
        match self {
            Self::Ridge => LinearRule::Ridge { lambda: value },
            Self::Descent => LinearRule::Descent { steps, rate: value },
            Self::ScaledDescent => LinearRule::ScaledDescent { steps, step_size: value },
        }
    }
}

/// The exponent of ten, at most `largest`, at which `value` is least, and that least value.
fn least((first, last): (i32, i32), largest: f64, value: impl Fn(f64) -> f64) -> (f64, f64) {
    let step = 1.0 / f64::from(PER_DECADE);
    let grid = (first * PER_DECADE..=last * PER_DECADE).map(|place| f64::from(place) * step);
    let end = largest.is_finite().then_some(largest);
    let rated = grid.filter(|exponent| *exponent < largest).chain(end).map(|exponent| (exponent, value(exponent)));
    let best = rated.min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((0.0, f64::INFINITY));
    // Golden section between the neighbours of the best.
    let share = (5.0_f64.sqrt() - 1.0) / 2.0;
    let (mut low, mut high) = (best.0 - step, (best.0 + step).min(largest));
    let (mut left, mut right) = (high - share * (high - low), low + share * (high - low));
    let (mut at_left, mut at_right) = (value(left), value(right));
    for _ in 0..REFINEMENTS {
        if at_left <= at_right {
            (high, right, at_right) = (right, left, at_left);
            left = high - share * (high - low);
            at_left = value(left);
        } else {
            (low, left, at_left) = (left, right, at_right);
            right = low + share * (high - low);
            at_right = value(right);
        }
    }
    [best, (left, at_left), (right, at_right)].into_iter().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or(best)
}

/// The w for which w · x comes nearest to the predictions of queries x in least squares, and the share of the
/// predictions' mean square that it explains. `None` if there are fewer queries than dimensions, or if a number is not
/// finite.
///
/// # Shapes
/// queries `[count, d]`, row after row; predictions `[count]` -> `[d]`
///
/// # References
/// Akyürek et al. 2022, arXiv 2211.15661, section 4.2.
pub fn implicit_weights(queries: &[f64], predictions: &[f64], d: usize) -> Option<(Vec<f64>, f64)> {
    if predictions.len() < d || !queries.iter().chain(predictions).all(|value| value.is_finite()) {
        return None;
    }
    let queries = DMatrix::from_row_slice(predictions.len(), d, queries);
    let predictions = DVector::from_column_slice(predictions);
    let svd = queries.clone().svd(true, true);
    let w = svd.solve(&predictions, RANK_CUTOFF * svd.singular_values.max()).ok()?;
    let (rest, all) = ((queries * &w - &predictions).norm_squared(), predictions.norm_squared());
    Some((w.as_slice().to_vec(), if all > 0.0 { 1.0 - rest / all } else { 1.0 }))
}

/// Cosine of the angle between two vectors, a · b / (|a| |b|); `None` if one of them is zero.
pub fn cosine(a: &[f64], b: &[f64]) -> Option<f64> {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let cosine = dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
    cosine.is_finite().then_some(cosine)
}
