//! A search over powers of two around a row's own value, which goes on until the best is inside.

use std::collections::VecDeque;

use serde::Serialize;

use super::asked::Tried;
use crate::error::Error;

/// Largest number of points that a search tries.
pub(super) const MOST_POINTS: usize = 6;
/// Farthest that it gets from a row's own value, as a power of two: three points surround it, and all others may lie on
/// one side, which leaves `MOST_POINTS` − 2.
const REACH: i32 = 4;

/// Where the best of the points tried lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ends {
    /// Between two that are worse.
    Inside,
    /// At the edge of as many points as a search tries: a better one may lie beyond.
    Edge,
    /// Beside the smallest or the largest that there is.
    Bound,
}

/// Values around a row's own, in increasing order.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ladder<T> {
    pub(super) steps: Vec<T>,
    /// Index of the row's own value.
    pub(super) own: usize,
}

impl<T> Ladder<T> {
    /// The values `of(own · 2^k)` that there are, for every k that a search may reach.
    pub(super) fn around(own: f64, mut of: impl FnMut(f64) -> Result<Option<T>, Error>) -> Result<Self, Error> {
        let mut ladder = Self { steps: Vec::new(), own: 0 };
        for power in -REACH..=REACH {
            if power == 0 {
                ladder.own = ladder.steps.len();
            }
            ladder.steps.extend(of(own * 2_f64.powi(power))?);
        }
        Ok(ladder)
    }

    /// A row's own value alone.
    pub(super) fn one(own: T) -> Self {
        Self { steps: vec![own], own: 0 }
    }

    /// Smallest and largest number of points that a search tries.
    pub(super) fn points(&self) -> [usize; 2] {
        let first = self.first();
        [first.1 - first.0 + 1, self.steps.len().min(MOST_POINTS)]
    }

    /// Indices of the first and the last of the values that are tried at once.
    pub(super) fn first(&self) -> (usize, usize) {
        (self.own.saturating_sub(1), (self.own + 1).min(self.steps.len() - 1))
    }
}

/// What a search found.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Found<R> {
    /// The points tried, in increasing order, each with its index in the ladder.
    pub(super) tried: Vec<(usize, R)>,
    /// Index of the best in `tried`, the smallest of several; `None` while one is open, or if all have failed.
    pub(super) best: Option<usize>,
    /// Where it lies; `None` while one is open.
    pub(super) ends: Option<Ends>,
}

/// Searches a ladder. `at` tries the value at an index. A best point at an edge of those tried adds its neighbour, until
/// it is inside or [`MOST_POINTS`] are tried; where all fail, smaller values are tried.
pub(super) fn search<T, R>(
    ladder: &Ladder<T>,
    mut at: impl FnMut(usize) -> Result<(Tried, R), Error>,
) -> Result<Found<R>, Error> {
    let (mut low, mut high) = ladder.first();
    let mut tried: VecDeque<(Tried, R)> = (low..=high).map(&mut at).collect::<Result<_, _>>()?;
    loop {
        let is_open = tried.iter().any(|(tried, _)| *tried == Tried::Open);
        let best = best(tried.iter().map(|(tried, _)| *tried)).filter(|_| !is_open);
        let place = best.unwrap_or(0);
        let is_full = tried.len() >= MOST_POINTS;
        if !is_open && !is_full && place == 0 && low > 0 {
            low -= 1;
            tried.push_front(at(low)?);
        } else if !is_open && !is_full && place + 1 == tried.len() && high + 1 < ladder.steps.len() {
            high += 1;
            tried.push_back(at(high)?);
        } else {
            let ends = if 0 < place && place + 1 < tried.len() {
                Ends::Inside
            } else if is_full {
                Ends::Edge
            } else {
                Ends::Bound
            };
            let tried = (low..).zip(tried.into_iter().map(|(_, result)| result)).collect();
            return Ok(Found { tried, best, ends: (!is_open).then_some(ends) });
        }
    }
}

/// Index of the smallest score, the first of several; `None` if there is none.
pub(super) fn best(tried: impl Iterator<Item = Tried>) -> Option<usize> {
    let scored = tried.enumerate().filter_map(|(index, tried)| match tried {
        Tried::Scored(loss) => Some((index, loss)),
        Tried::Open | Tried::Failed => None,
    });
    scored.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

    use super::*;

    /// The powers of two tried, the best of them and where it lies, for a loss of the power.
    fn found(
        own: f64,
        is_there: impl Fn(f64) -> bool,
        loss: impl Fn(f64) -> Tried,
    ) -> (Vec<f64>, Option<f64>, Option<Ends>) {
        let ladder = Ladder::around(own, |value| Ok(is_there(value).then_some(value))).unwrap();
        let found =
            search(&ladder, |index| Ok((loss(ladder.steps[index].log2()), ladder.steps[index].log2()))).unwrap();
        let tried: Vec<f64> = found.tried.iter().map(|(_, power)| *power).collect();
        (tried.clone(), found.best.map(|best| tried[best]), found.ends)
    }

    fn bowl(centre: f64) -> impl Fn(f64) -> Tried {
        move |power| Tried::Scored((power - centre).powi(2))
    }

    #[test]
    fn an_edge_that_wins_is_followed_until_it_is_inside() {
        let all = |_: f64| true;
        assert_eq!(found(1.0, all, bowl(0.0)), (vec![-1.0, 0.0, 1.0], Some(0.0), Some(Ends::Inside)));
        assert_eq!(found(1.0, all, bowl(2.0)), (vec![-1.0, 0.0, 1.0, 2.0, 3.0], Some(2.0), Some(Ends::Inside)));
        assert_eq!(found(1.0, all, bowl(-1.0)), (vec![-2.0, -1.0, 0.0, 1.0], Some(-1.0), Some(Ends::Inside)));
        let far = (vec![-1.0, 0.0, 1.0, 2.0, 3.0, 4.0], Some(4.0), Some(Ends::Edge));
        assert_eq!(found(1.0, all, bowl(9.0)), far);
        // Of equal losses the smaller value is taken.
        assert_eq!(found(1.0, all, bowl(0.5)).1, Some(0.0));
    }

    #[test]
    fn a_search_ends_at_the_smallest_and_the_largest_that_there_are() {
        let whole = |value: f64| value >= 1.0;
        assert_eq!(found(1.0, whole, bowl(-3.0)), (vec![0.0, 1.0], Some(0.0), Some(Ends::Bound)));
        assert_eq!(found(2.0, whole, bowl(-3.0)), (vec![0.0, 1.0, 2.0], Some(0.0), Some(Ends::Bound)));
        assert_eq!(found(2.0, |value| (value - 2.0).abs() < 0.1, bowl(0.0)), (vec![1.0], Some(1.0), Some(Ends::Bound)));
    }

    #[test]
    fn what_fails_is_no_choice_and_what_is_open_waits() {
        let all = |_: f64| true;
        let above = |limit: f64| move |power| if power > limit { Tried::Failed } else { bowl(9.0)(power) };
        assert_eq!(found(1.0, all, above(0.0)), (vec![-1.0, 0.0, 1.0], Some(0.0), Some(Ends::Inside)));
        assert_eq!(
            found(1.0, all, above(-3.0)),
            (vec![-4.0, -3.0, -2.0, -1.0, 0.0, 1.0], Some(-3.0), Some(Ends::Inside))
        );
        assert_eq!(found(1.0, all, |_| Tried::Failed).1, None);
        let open = |power| if power > 0.0 { Tried::Open } else { bowl(-9.0)(power) };
        assert_eq!(found(1.0, all, open), (vec![-1.0, 0.0, 1.0], None, None));
    }
}
