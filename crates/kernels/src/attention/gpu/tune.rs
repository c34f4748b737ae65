//! The tiling that was fastest when it was tried.
//!
//! The first time that a pass meets a class of sizes, every [candidate](candidates) computes it, and the clock decides. What it decided is
//! kept with the other choices of the tuner, in the user's cache. All candidates compute the same function and differ in the order of
//! their sums; they write over the same tensors, and the one that is taken does so last.

use std::fmt;
#[cfg(feature = "autotune")]
use std::sync::Arc;

#[cfg(feature = "autotune")]
use burn_cubecl::CubeTuneId;
#[cfg(feature = "autotune")]
use cubecl::tune::{AutotuneKey, LocalTuner, Tunable, TunableSet, TuneGroup, local_tuner};
use serde::{Deserialize, Serialize};

use super::plan::{Limits, Pass, Problem, Tiling, candidates};
#[cfg(feature = "autotune")]
use super::{Call, plan::Choice};
#[cfg(feature = "autotune")]
use crate::capture;

/// A class of problems that share their choice: lengths, and heads of all batches, count to the next power of two.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(clippy::struct_field_names, reason = "keys of attention beside those of a cache")]
struct Key {
    pass: Pass,
    d_key: usize,
    d_value: usize,
    /// Bytes of a number, and numbers of one access to a tensor.
    bytes: usize,
    lanes: usize,
    causal: bool,
    hidden: bool,
    biased: bool,
    q_len: usize,
    k_len: usize,
    heads: usize,
}

impl Key {
    fn of(problem: &Problem, bytes: usize, biased: bool) -> Self {
        let Problem { pass, base, sizes, .. } = *problem;
        let class = usize::next_power_of_two;
        Self {
            pass,
            d_key: base.d_key,
            d_value: base.d_value,
            bytes,
            lanes: base.lanes,
            causal: base.causal,
            hidden: base.hidden,
            biased,
            q_len: class(sizes.q_len),
            k_len: class(sizes.k_len),
            heads: class(sizes.batch * sizes.heads),
        }
    }

    fn candidates(&self, limits: Limits) -> Vec<Tiling> {
        candidates(self.pass, [self.d_key, self.d_value], limits)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{self:?}")
    }
}

/// The name of a candidate, by which its choice is kept.
impl fmt::Display for Tiling {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { across, down, rows } = self;
        write!(to, "{across} across, {down} down, {rows} rows; ")
    }
}

#[cfg(feature = "autotune")]
impl AutotuneKey for Key {}

/// Launches in the tiling that is fastest for problems of this class on this device; finds out first which that is, unless it is known.
#[cfg(feature = "autotune")]
pub(super) fn fastest(problem: Problem, call: &Call, launch: impl Fn(Choice) + Send + Sync + 'static) {
    type Launch = Arc<dyn Fn(Tiling) + Send + Sync>;
    static TUNER: LocalTuner<Key, CubeTuneId> = local_tuner!();

    let (q, limits) = (&call.inputs.q, problem.limits);
    let key = Key::of(&problem, q.dtype.size(), call.inputs.bias.is_some());
    if key.candidates(limits).len() < 2 {
        return launch(problem.by_rule());
    }
    let device = CubeTuneId::new(&q.client, &q.device);
    let tilings = TUNER.init(&device, move || {
        let fit = TuneGroup::<Key>::new("fit", |_| 0);
        let set =
            TunableSet::<Key, (Key, Launch), (), Tiling>::new_cloning_inputs(|(key, _): &(Key, Launch)| key.clone());
        Tiling::all().fold(set, |set, tiling| {
            let run = move |(_, launch): (Key, Launch)| -> Result<(), String> {
                launch(tiling);
                Ok(())
            };
            let priority = move |key: &Key| if key.candidates(limits).contains(&tiling) { 0 } else { -1 };
            set.with(Tunable::identified(tiling, run).group(&fit, priority))
        })
    });
    // Nothing runs while launches are captured, so that nothing could be timed. Whoever captures has done the same work before; if not,
    // the rule will do.
    if capture::is_open() && TUNER.fastest_identity(&device, &tilings, &key).is_none() {
        return launch(problem.by_rule());
    }
    let launch: Launch = Arc::new(move |tiling| launch(problem.in_tiles(tiling)));
    TUNER.execute(&device, &q.client, tilings, (key, launch));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attention::{Sizes, gpu::parts::Plan};

    const LIMITS: Limits = Limits { shared: 48 * 1024, units: 1024, cubes: 128 };

    fn key(pass: Pass, causal: bool, sizes: Sizes) -> Key {
        let base = Plan { d_key: sizes.d_key, d_value: sizes.d_value, causal, ..Plan::default() };
        Key::of(&Problem { pass, base, sizes, limits: LIMITS }, 4, false)
    }

    #[test]
    fn a_class_has_lengths_and_heads_up_to_a_power_of_two() {
        let sizes = Sizes { batch: 3, heads: 5, q_len: 60, k_len: 65, d_key: 24, d_value: 24 };
        let one = key(Pass::Forward, true, sizes);
        assert_eq!((one.q_len, one.k_len, one.heads), (64, 128, 16));
        for same in [
            Sizes { q_len: 33, ..sizes },
            Sizes { q_len: 64, k_len: 128, ..sizes },
            Sizes { batch: 1, heads: 16, ..sizes },
        ] {
            assert_eq!(key(Pass::Forward, true, same), one);
        }
        for other in [
            Sizes { q_len: 32, ..sizes },
            Sizes { k_len: 129, ..sizes },
            Sizes { batch: 4, ..sizes },
            Sizes { d_key: 23, ..sizes },
            Sizes { d_value: 25, ..sizes },
        ] {
            assert_ne!(key(Pass::Forward, true, other), one);
        }
        assert_ne!(key(Pass::Queries, true, sizes), one);
        assert_ne!(key(Pass::Forward, false, sizes), one);
        let problem = Problem { pass: Pass::Forward, base: Plan::default(), sizes, limits: LIMITS };
        assert_ne!(Key::of(&problem, 4, true), Key::of(&problem, 4, false));
    }

    /// A choice is kept as a place in the list of all tilings, which their names stand for.
    #[test]
    fn tilings_have_names_of_their_own() {
        let names: Vec<String> = Tiling::all().map(|tiling| tiling.to_string()).collect();
        for (at, name) in names.iter().enumerate() {
            assert!(!names[..at].contains(name), "{name}");
        }
    }

    #[test]
    fn a_class_knows_its_candidates() {
        for width in [2, 24, 64, 200] {
            let sizes = Sizes { batch: 1, heads: 1, q_len: 7, k_len: 7, d_key: width, d_value: width };
            let all = key(Pass::Keys, false, sizes).candidates(LIMITS);
            assert!(!all.is_empty() && all.iter().all(|tiling| Tiling::all().any(|other| other == *tiling)));
        }
    }
}
