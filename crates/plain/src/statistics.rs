//! What a few runs say: their mean, how far to trust it, and whether two methods differ.
//!
//! Nothing here draws a random number: resamples and sign flips come from the caller, who knows the seed.

use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

/// An interval from `low` to `high`, in the unit of the quantity it is about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Numbers that differ by less than this share of the largest one count as equal: the order of summation alone can make
/// such a difference.
const ROUNDING: f64 = 1e-14;

/// For more differences than this, with its 2¹⁶ sign flips, flips are drawn instead of enumerated.
const MOST_ENUMERATED: usize = 16;

/// Σ v_i / n; `None` if there are no values.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Σ sums / Σ counts over observations, and its standard error. Both are `None` if the counts sum to zero; the error
/// also if there are fewer than two observations.
///
/// ```text
/// r = Σ s_i / Σ c_i,   error = sqrt(n/(n − 1) Σ (s_i − r c_i)²) / Σ c_i
/// ```
///
/// With equal counts it is the mean of s_i / c_i and its usual error.
///
/// # References
/// Cochran 1977, "Sampling Techniques", 6.3.
pub fn ratio(observations: &[(f64, f64)]) -> (Option<f64>, Option<f64>) {
    let counts: f64 = observations.iter().map(|(_, count)| count).sum();
    if counts <= 0.0 {
        return (None, None);
    }
    let n = observations.len() as f64;
    let ratio = observations.iter().map(|(sum, _)| sum).sum::<f64>() / counts;
    let squares: f64 = observations.iter().map(|(sum, count)| (sum - ratio * count).powi(2)).sum();
    let error = (observations.len() > 1).then(|| (n / (n - 1.0) * squares).sqrt() / counts);
    let known = |value: &f64| value.is_finite();
    (Some(ratio).filter(known), error.filter(known))
}

/// Pearson's correlation of the two members of pairs; `None` if one of them is constant.
pub fn correlation(pairs: &[(f64, f64)]) -> Option<f64> {
    let n = pairs.len() as f64;
    let centred = |values: Vec<f64>| -> Vec<f64> {
        let mean = values.iter().sum::<f64>() / n;
        values.into_iter().map(|value| value - mean).collect()
    };
    let (a, b) = pairs.iter().copied().unzip();
    let (a, b) = (centred(a), centred(b));
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let lengths = (dot(&a, &a) * dot(&b, &b)).sqrt();
    (lengths > 0.0).then(|| dot(&a, &b) / lengths)
}

/// [`bca`] of the mean.
///
/// # Panics
/// As [`bca`] does, `n` being the number of values.
pub fn mean_interval(values: &[f64], resamples: &[Vec<usize>], level: f64) -> Option<Interval> {
    let statistic = |indices: &[usize]| indices.iter().map(|index| values[*index]).sum::<f64>() / indices.len() as f64;
    bca(values.len(), statistic, resamples, level)
}

/// Interval of the mean of a fixed number of Gaussian observations of unknown variance: x̄ ± t s / √n, with t the quantile of Student's
/// distribution of n − 1 degrees of freedom. `None` if there are fewer than two observations, or if one is not finite.
///
/// Whoever looks again after further observations needs [`sequential::mean_interval`](crate::sequential::mean_interval).
///
/// # Panics
/// If the level is not between 0 and 1.
pub fn t_interval(values: &[f64], level: f64) -> Option<Interval> {
    assert!(level > 0.0 && level < 1.0, "a level of {level}");
    let n = values.len() as f64;
    let mean = mean(values).filter(|_| values.len() > 1 && values.iter().all(|value| value.is_finite()))?;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let quantile = StudentsT::new(0.0, 1.0, n - 1.0).ok()?.inverse_cdf(f64::midpoint(1.0, level));
    let half = quantile * (variance / n).sqrt();
    Some(Interval { low: mean - half, high: mean + half })
}

/// Bias-corrected and accelerated bootstrap interval of a statistic θ of `n` observations, such as seeds.
///
/// `statistic` maps indices of observations to θ; each of the `resamples` is `n` indices drawn with replacement;
/// `level` is the share of such intervals that should cover the truth, 0.95 by custom.
///
/// ```text
/// z0 = Φ⁻¹((#{θ_b < θ} + #{θ_b ≤ θ}) / 2B)                   bias, ties split evenly
/// U_i = (n − 1)(mean_j θ_(j) − θ_(i))                        θ_(i) leaves observation i out
/// a = Σ U_i³ / (6 (Σ U_i²)^{3/2})                            acceleration, 0 where no observation matters
/// ends: quantiles Φ(z0 + (z0 ± z) / (1 − a(z0 ± z))) of θ_b, z = Φ⁻¹((1 + level) / 2)
/// ```
///
/// with quantiles linear between order statistics.
///
/// `None` if there are fewer than two observations or no resamples, if θ is not finite, or if all resamples lie on one
/// side of the estimate. Observations that are all equal give an interval of width zero. Three to five seeds carry
/// little information: the interval then covers the truth less often than its level says.
///
/// # Panics
/// If a resample does not hold `n` indices below `n`, or if the level is not between 0 and 1.
///
/// # References
/// Efron and Tibshirani 1993, "An Introduction to the Bootstrap", 14.3; as in SciPy's `bootstrap(method="BCa")`, except
/// that values that differ by rounding errors only count as ties.
pub fn bca(n: usize, statistic: impl Fn(&[usize]) -> f64, resamples: &[Vec<usize>], level: f64) -> Option<Interval> {
    assert!(level > 0.0 && level < 1.0, "a level of {level}");
    assert!(resamples.iter().all(|resample| resample.len() == n), "a resample of {n} observations has {n} indices");
    if n < 2 || resamples.is_empty() {
        return None;
    }
    let all: Vec<usize> = (0..n).collect();
    let estimate = statistic(&all);
    let jackknife: Vec<f64> = all.iter().map(|left_out| statistic(&without(&all, *left_out))).collect();
    let mut bootstrap: Vec<f64> = resamples.iter().map(|resample| statistic(resample)).collect();
    if !bootstrap.iter().chain(&jackknife).chain([&estimate]).all(|value| value.is_finite()) {
        return None;
    }
    bootstrap.sort_by(f64::total_cmp);
    let normal = Normal::standard();
    let bias = normal.inverse_cdf(share_below(&bootstrap, estimate));
    let acceleration = acceleration(&jackknife);
    let end = |tail: f64| {
        let shifted = bias + normal.inverse_cdf(tail);
        quantile(&bootstrap, normal.cdf(bias + shifted / (1.0 - acceleration * shifted)))
    };
    bias.is_finite().then(|| Interval { low: end((1.0 - level) / 2.0), high: end(f64::midpoint(1.0, level)) })
}

/// Two-sided p-value of the hypothesis that paired `differences`, say between two methods over seeds, are as likely positive
/// as negative.
///
/// Under it every sign could be flipped. With s the sum of the differences and s_k that of flip k among K,
///
/// ```text
/// p = min(1, 2 min(#{s_k ≤ s}, #{s_k ≥ s}) / K)
/// ```
///
/// over all 2ⁿ flips for n up to 16, so that no p below 2^(1−n) is possible: five seeds cannot reach 0.05. For larger n
/// the sum runs over the given `flips` (true flips a sign), the observed signs counted too: (# + 1) / (K + 1). `None`
/// if there are fewer than two differences, if one is not finite, or if flips are needed and none are given.
///
/// # Panics
/// If flips are needed and one of them does not have one sign per difference.
///
/// # References
/// Phipson and Smyth 2010, "Permutation p-values should never be zero"; as in SciPy's
/// `permutation_test(permutation_type="samples")` of one sample.
pub fn sign_flip_test(differences: &[f64], flips: &[Vec<bool>]) -> Option<f64> {
    let n = differences.len();
    if n < 2 || !differences.iter().all(|difference| difference.is_finite()) {
        return None;
    }
    let observed: f64 = differences.iter().sum();
    let tolerance = ROUNDING * differences.iter().map(|difference| difference.abs()).sum::<f64>();
    let flipped = |is_flipped: &dyn Fn(usize) -> bool| -> f64 {
        differences.iter().enumerate().map(|(index, value)| if is_flipped(index) { -value } else { *value }).sum()
    };
    let (sums, uncounted): (Vec<f64>, usize) = if n <= MOST_ENUMERATED {
        ((0..1_usize << n).map(|bits| flipped(&|index| bits >> index & 1 == 1)).collect(), 0)
    } else {
        assert!(flips.iter().all(|flip| flip.len() == n), "a flip of {n} differences has {n} signs");
        (flips.iter().map(|flip| flipped(&|index| flip[index])).collect(), 1)
    };
    let count = |is_as_far: &dyn Fn(f64) -> bool| sums.iter().filter(|sum| is_as_far(**sum)).count();
    let tail = count(&|sum| sum <= observed + tolerance).min(count(&|sum| sum >= observed - tolerance));
    let p = 2.0 * (tail + uncounted) as f64 / (sums.len() + uncounted) as f64;
    (!sums.is_empty()).then(|| p.min(1.0))
}

fn without(indices: &[usize], left_out: usize) -> Vec<usize> {
    indices.iter().copied().filter(|index| *index != left_out).collect()
}

/// Share of the values below the estimate; values equal to it count half.
fn share_below(values: &[f64], estimate: f64) -> f64 {
    let largest = values.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
    let tolerance = ROUNDING * largest;
    let below = values.iter().filter(|value| **value < estimate - tolerance).count();
    let up_to = values.iter().filter(|value| **value <= estimate + tolerance).count();
    (below + up_to) as f64 / (2 * values.len()) as f64
}

fn acceleration(jackknife: &[f64]) -> f64 {
    let centre = jackknife.iter().sum::<f64>() / jackknife.len() as f64;
    let power = |exponent| jackknife.iter().map(|value| (centre - value).powi(exponent)).sum::<f64>();
    let size = power(2).powf(1.5);
    if size > 0.0 { power(3) / (6.0 * size) } else { 0.0 }
}

/// The quantile of sorted values at the given share, interpolated linearly between neighbours.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}
