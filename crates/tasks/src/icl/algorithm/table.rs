//! A function of one number as rows of a prompt.
//!
//! Row k = −p/2, …, p/2 holds a key g k, an offset −c k² and a value V_k. Softmax attention with the query (u, 1) gives
//!
//! Σ_k softmax_k(g k u − c k²) V_k = Σ_k softmax_k(−c (u/Δ − k)²) V_k,   Δ = 2c/g,
//!
//! which interpolates between anchors k Δ. So the prompt chooses the function, where its anchors stand and how sharply they are attended to. All
//! keys and offsets are exact in float32: g has 16 bits, c two and k eight.

/// A function of one number at anchors in the prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// c, the sharpness of attention.
    pub sharpness: f64,
    /// Δ, the distance between neighbouring anchors.
    pub spacing: f64,
    /// V, from the lowest anchor to the highest; an odd number of them.
    pub values: Vec<f64>,
}

/// c of a clamp, near the one with the smallest error at kinks.
const AT_KINKS: f64 = 2.75;
/// c of a smooth function: so broad a head is all but exactly linear between anchors.
const SMOOTH: f64 = 0.5;
/// Number of times that values of a smooth function are corrected.
const CORRECTIONS: usize = 40;
/// Anchors beyond either end of a table while its values are corrected.
const SPARE: usize = 40;

impl Table {
    /// Anchors of a smooth function beyond either end of its range: those that are missing beyond them weigh 1e-16 at most.
    pub const BEYOND: usize = 9;

    /// The function that is 0 everywhere.
    pub fn nothing(intervals: usize) -> Self {
        Self { sharpness: SMOOTH, spacing: 1.0, values: vec![0.0; intervals + 1] }
    }

    /// factor · clamp(u, −end, end), for all u.
    pub fn clamp(end: f64, factor: f64, intervals: usize) -> Self {
        let spacing = 2.0 * AT_KINKS / short(AT_KINKS * intervals as f64 / end);
        let values = anchors(intervals).map(|k| factor * spacing * k).collect();
        Self { sharpness: AT_KINKS, spacing, values }
    }

    /// f(u) for |u| ≤ `reach`, with f smooth.
    ///
    /// Attention smooths what it interpolates. So values are corrected by how far the table is off at its anchors, again and again: the
    /// iteration of Richardson for the values that make it right there.
    pub fn smooth(f: impl Fn(f64) -> f64, reach: f64, intervals: usize) -> Self {
        let inner = intervals.saturating_sub(2 * Self::BEYOND).max(1);
        let spacing = 2.0 * SMOOTH / short(SMOOTH * inner as f64 / reach);
        // With more anchors at first, since ends of a table spoil values near them.
        let wide = intervals + 2 * SPARE;
        let wanted: Vec<f64> = anchors(wide).map(|k| f(k * spacing)).collect();
        let mut values = wanted.clone();
        for _ in 0..CORRECTIONS {
            let found = at_anchors(&values);
            for (value, (wanted, found)) in values.iter_mut().zip(wanted.iter().zip(found)) {
                *value += wanted - found;
            }
        }
        Self { sharpness: SMOOTH, spacing, values: values[SPARE..=SPARE + intervals].to_vec() }
    }

    /// What softmax attention makes of it for an argument u.
    pub fn at(&self, u: f64) -> f64 {
        let u = u / self.spacing;
        let nearest = u.round().clamp(-self.half(), self.half());
        let weight = |k: f64| (-self.sharpness * ((u - k).powi(2) - (u - nearest).powi(2))).exp();
        let weights = anchors(self.intervals()).map(weight);
        let (sum, total) = weights
            .zip(&self.values)
            .fold((0.0, 0.0), |(sum, total), (weight, value)| (sum + weight * value, total + weight));
        sum / total
    }

    /// p, the number of intervals between anchors.
    pub fn intervals(&self) -> usize {
        self.values.len() - 1
    }

    /// The key and the offset of every row.
    pub fn keys(&self) -> Vec<[f64; 2]> {
        let factor = 2.0 * self.sharpness / self.spacing;
        anchors(self.intervals()).map(|k| [factor * k, -self.sharpness * k * k]).collect()
    }

    /// p/2.
    fn half(&self) -> f64 {
        (self.intervals() / 2) as f64
    }
}

/// −p/2, …, p/2.
fn anchors(intervals: usize) -> impl Iterator<Item = f64> {
    let half = (intervals / 2) as f64;
    (0..=intervals).map(move |k| k as f64 - half)
}

/// What softmax attention makes of values at their anchors, for c = 1/2; anchors beyond [`Table::BEYOND`] are left out.
fn at_anchors(values: &[f64]) -> Vec<f64> {
    let near = |k: usize| k.saturating_sub(Table::BEYOND)..(k + Table::BEYOND + 1).min(values.len());
    let weight = |k: usize, j: usize| (-SMOOTH * (k.abs_diff(j) as f64).powi(2)).exp();
    let mean = |k: usize| {
        let sums = near(k).fold((0.0, 0.0), |(sum, total), j| (sum + weight(k, j) * values[j], total + weight(k, j)));
        sums.0 / sums.1
    };
    (0..values.len()).map(mean).collect()
}

/// The number with 16 bits.
fn short(number: f64) -> f64 {
    let unit = (number.log2().floor() - 15.0).exp2();
    (number / unit).round() * unit
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Far beyond the ends as well as between them.
    #[test]
    fn a_clamp_is_off_by_a_share_of_its_spacing() {
        for (end, factor, intervals) in [(0.3, 1.0, 64), (0.004, -2.5, 32), (7.0, 0.1, 128)] {
            let table = Table::clamp(end, factor, intervals);
            let worst = (-40_000..=40_000)
                .map(|step| f64::from(step) * 1e-4 * end)
                .chain([9.0, -1e3])
                .map(|u| (table.at(u) - factor * u.clamp(-end, end)).abs())
                .fold(0.0, f64::max);
            // 0.065 is what a head over anchors is off by at c = 2.75, and 2^-16 what a key of 16 bits is.
            let allowed = factor.abs() * (0.065 * table.spacing + end / 65_536.0);
            assert!(worst <= allowed && worst > allowed / 2.0, "{worst} of {allowed}");
        }
    }

    #[test]
    fn smooth_functions_are_corrected() {
        let logistic = |u: f64| (u / 2.0).tanh() / 2.0;
        let off = |f: &dyn Fn(f64) -> f64, table: &Table| {
            (-1000..=1000).map(|step| f64::from(step) / 100.0).map(|u| (table.at(u) - f(u)).abs()).fold(0.0, f64::max)
        };
        // A line is off by the ripple of c = 1/2, 3e-8 of the spacing; tanh by what lies between its anchors as well.
        assert!(off(&|u| 0.2 * u, &Table::smooth(|u| 0.2 * u, 10.0, 64)) < 2e-8);
        let [few, many] = [64, 128].map(|intervals| off(&logistic, &Table::smooth(logistic, 10.0, intervals)));
        let plain: Vec<f64> = anchors(128).map(|k| logistic(k * 20.0 / 110.0)).collect();
        let uncorrected = off(&logistic, &Table { sharpness: 0.5, spacing: 20.0 / 110.0, values: plain });
        assert!(few < 2e-3 && many < 1e-5 && many < uncorrected / 100.0, "{few}, {many}, {uncorrected}");
    }

    #[test]
    fn keys_and_offsets_are_exact_in_float32() {
        for table in [Table::clamp(0.3, 1.0, 256), Table::clamp(1.7e-5, 1.0, 126), Table::smooth(f64::sin, 9.1, 180)] {
            for number in table.keys().into_iter().flatten() {
                assert_eq!(f64::from(number as f32).to_bits(), number.to_bits(), "{number}");
            }
        }
    }
}
