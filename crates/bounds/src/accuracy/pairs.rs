//! The worst mixture of tokens beside the largest, exactly for each head.

use rayon::prelude::*;

use super::{Tables, power, tables::Head};

/// Steps until a ratio is as large as it gets; they converge faster than quadratically, and fewer give a bound as well.
const STEPS: usize = 8;

/// Words with the last token q, the largest token m at some places, and others up to a bound everywhere else.
struct Class<'a> {
    tables: &'a Tables,
    q: usize,
    m: usize,
    /// Places before the last that hold m.
    taken: Vec<usize>,
    /// The other places before the last.
    free: Vec<usize>,
}

/// Number of words that are proved, and of multiplications. With `bounded`, of a class that cannot be proved as a whole the words are
/// whose other tokens are small enough.
pub(super) fn proved(tables: &Tables, bounded: bool) -> (f64, f64) {
    let Tables { vocab, k, .. } = *tables;
    let classes = (0..vocab).into_par_iter().flat_map_iter(move |m| (0..=m).map(move |q| (q, m)));
    let of = |(q, m): (usize, usize)| {
        let (mut words, mut operations) = (0.0, 0.0);
        // Bit j of `places`: position j holds m.
        for places in u32::from(q < m)..1 << (k - 1) {
            let (taken, free): (Vec<usize>, Vec<usize>) = (0..k - 1).partition(|at| places >> at & 1 == 1);
            if m == 0 && !free.is_empty() {
                continue;
            }
            let class = Class { tables, q, m, taken, free };
            words += class.proved(bounded, &mut operations);
        }
        (words, operations)
    };
    classes.map(of).reduce(|| (0.0, 0.0), |a, b| (a.0 + b.0, a.1 + b.1))
}

impl Class<'_> {
    /// Number of words that are proved.
    fn proved(&self, bounded: bool, operations: &mut f64) -> f64 {
        let count = |below: usize| power(below, self.free.len());
        if self.is_right(self.m, operations) {
            return count(self.m);
        }
        if !bounded || self.free.is_empty() {
            return 0.0;
        }
        // Fewer tokens are never harder: the words below `low` are proved, those below `high` cannot be.
        let (mut low, mut high) = (0, self.m);
        while high - low > 1 {
            let middle = usize::midpoint(low, high);
            if self.is_right(middle, operations) { low = middle } else { high = middle }
        }
        if low == 0 { 0.0 } else { count(low) }
    }

    /// Whether all words are answered rightly whose free tokens are below `below`.
    fn is_right(&self, below: usize, operations: &mut f64) -> bool {
        let Self { tables, q, m, .. } = *self;
        let is_behind = |class: usize| {
            let heads = tables.heads.iter().map(|head| self.lead(head, class, below, operations));
            let linear = tables.own(q, class, m) + heads.sum::<f64>();
            tables.is_behind(linear, tables.constant[class] - tables.constant[m])
        };
        (0..tables.vocab).filter(|class| *class != m).all(is_behind)
    }

    /// The largest lead that a head gives a wrong class over m: max Σ w d / Σ w over the free tokens, from above. For any λ, F(λ) = Σ max w (d
    /// − λ) is convex and falls; the largest ratio is its root, and no further from λ than F(λ) / min Σ w.
    fn lead(&self, head: &Head, class: usize, below: usize, operations: &mut f64) -> f64 {
        let Self { tables, q, m, .. } = *self;
        let last = tables.k - 1;
        let lead = |at: usize, token: usize| tables.values(head, at, class)[token] - tables.values(head, at, m)[token];
        let given = self.taken.iter().map(|at| (tables.weights(head, q, *at)[m], lead(*at, m)));
        let (mut mass, mut moment) = (0.0, 0.0);
        for (weight, lead) in given.chain([(tables.weights(head, q, last)[q], lead(last, q))]) {
            mass += weight;
            moment += weight * lead;
        }
        let places: Vec<[&[f64]; 3]> = self
            .free
            .iter()
            .map(|at| {
                let [wrong, right] = [class, m].map(|class| &tables.values(head, *at, class)[..below]);
                [&tables.weights(head, q, *at)[..below], wrong, right]
            })
            .collect();
        let least: f64 = mass
            + places.iter().map(|[weights, ..]| weights.iter().copied().fold(f64::INFINITY, f64::min)).sum::<f64>();
        let mut ratio = moment / mass;
        for step in 1.. {
            let (mut all, mut total) = (mass, moment);
            for [weights, wrong, right] in &places {
                let mut best = (f64::NEG_INFINITY, 0.0, 0.0);
                for ((weight, wrong), right) in weights.iter().zip(*wrong).zip(*right) {
                    let part = weight * (wrong - right);
                    let gain = part - weight * ratio;
                    if gain > best.0 {
                        best = (gain, *weight, part);
                    }
                }
                all += best.1;
                total += best.2;
                *operations += 2.0 * below as f64;
            }
            let excess = total - ratio * all;
            let bound = ratio + excess.max(0.0) / least;
            // A ratio that is not a number bounds nothing.
            if bound.is_nan() {
                return f64::INFINITY;
            }
            // The first guess may be too large, so a ratio counts once it has come from a choice.
            if step >= STEPS || (step > 1 && bound - ratio <= tables.slack) {
                return bound;
            }
            ratio = total / all;
        }
        f64::INFINITY
    }
}
