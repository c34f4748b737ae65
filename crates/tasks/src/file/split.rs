//! Splitting the examples of a file.

use headway_keys::Described;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::{error::TaskError, seed::SampleRng};

/// Which examples of a file are for training, validation and test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(
    untagged,
    expecting = "give shares, as in [0.8, 0.1, 0.1], or ranges, as in { train = [0, 800], validation = [800, 900], test = [900, 1000] }"
)]
pub enum FileSplit {
    /// Shares of training, validation and test.
    Shares([f64; 3]),
    /// Ranges of examples, by their index in the file.
    Ranges(Ranges),
}

/// Ranges of examples by their index in the file, from 0; the second index of a pair is exclusive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields)]
pub struct Ranges {
    /// For training.
    pub train: [usize; 2],
    /// For validation; `None` for no validation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<[usize; 2]>,
    /// For the test.
    pub test: [usize; 2],
}

/// Least number of examples or groups: one for training and one for the test.
pub(super) const FEWEST: usize = 2;

impl FileSplit {
    /// What is wrong with the split, for this number of examples if it is known; `None` if nothing is.
    pub(super) fn problem(&self, examples: Option<usize>, has_group: bool) -> Option<TaskError> {
        let problem = match self {
            Self::Shares(shares @ [train, validation, test]) => {
                let good = shares.iter().all(|share| share.is_finite() && *share >= 0.0) && *train > 0.0 && *test > 0.0;
                (!good).then(|| {
                    format!("[{train}, {validation}, {test}] needs shares of 0 or more, some for training and some for the test")
                })
            }
            Self::Ranges(_) if has_group => Some("ranges say it all; give shares beside group, or no group".to_owned()),
            Self::Ranges(ranges) => ranges.problem(examples),
        };
        problem.map(|problem| TaskError::Key { key: "split", problem })
    }

    /// Number of examples in each part, for `n` examples without groups.
    pub(super) fn sizes(&self, n: usize) -> [usize; 3] {
        match self {
            Self::Shares(shares) => {
                let total: f64 = shares.iter().sum();
                let part = |share: f64| (n as f64 * share / total).round() as usize;
                let test = part(shares[2]).clamp(1, n.saturating_sub(1).max(1));
                let validation = part(shares[1]).min(n.saturating_sub(test + 1));
                [n.saturating_sub(test + validation), validation, test]
            }
            Self::Ranges(ranges) => ranges.parts().map(|[begin, end]| end.saturating_sub(begin)),
        }
    }

    /// Indices of the training, the validation and the test examples, in this order; shuffled by `rng` if it is given.
    pub(super) fn order(&self, n: usize, rng: Option<&mut SampleRng>) -> Vec<usize> {
        match self {
            Self::Shares(_) => {
                let mut order: Vec<usize> = (0..n).collect();
                if let Some(rng) = rng {
                    order.shuffle(rng);
                }
                order
            }
            Self::Ranges(ranges) => ranges.parts().into_iter().flat_map(|[begin, end]| begin..end).collect(),
        }
    }

    /// The same for examples in groups, which are not divided, with the number of examples in each part. Groups are
    /// distributed in their order, or in one drawn from `rng`, starting with the last: the test and the validation part
    /// get as many groups as come nearest to their shares, and at least one each, as long as one is left for training.
    pub(super) fn grouped(&self, groups: &[u32], rng: Option<&mut SampleRng>) -> (Vec<usize>, [usize; 3]) {
        let shares = match self {
            Self::Shares(shares) => *shares,
            Self::Ranges(_) => return (self.order(groups.len(), None), self.sizes(groups.len())),
        };
        let total: f64 = shares.iter().sum();
        let mut examples: Vec<usize> = (0..groups.len()).collect();
        examples.sort_by_key(|example| groups[*example]);
        let mut members: Vec<&[usize]> = examples.chunk_by(|a, b| groups[*a] == groups[*b]).collect();
        if let Some(rng) = rng {
            members.shuffle(rng);
        }
        let mut left = members.as_slice();
        let mut deal = |share: f64| {
            let wanted = share / total * groups.len() as f64;
            let (mut first, mut taken) = (left.len(), 0.0);
            while share > 0.0 && first > 1 {
                let next = left[first - 1].len() as f64;
                if taken > 0.0 && (taken + next - wanted).abs() >= (wanted - taken).abs() {
                    break;
                }
                (first, taken) = (first - 1, taken + next);
            }
            let (rest, part) = left.split_at(first);
            left = rest;
            part.concat()
        };
        let (test, validation) = (deal(shares[2]), deal(shares[1]));
        let train = left.concat();
        let sizes = [train.len(), validation.len(), test.len()];
        ([train, validation, test].concat(), sizes)
    }
}

impl Ranges {
    fn parts(&self) -> [[usize; 2]; 3] {
        [self.train, self.validation.unwrap_or_default(), self.test]
    }

    fn problem(&self, examples: Option<usize>) -> Option<String> {
        let named = || ["train", "validation", "test"].into_iter().zip(self.parts());
        for (name, [begin, end]) in named() {
            if begin >= end && (name != "validation" || self.validation.is_some()) {
                return Some(format!(
                    "{name} = [{begin}, {end}] is empty; the second number is that behind the last example"
                ));
            }
            if examples.is_some_and(|examples| end > examples) {
                let examples = examples.unwrap_or_default();
                return Some(format!("{name} = [{begin}, {end}] goes beyond the {examples} examples of the file"));
            }
        }
        let all: Vec<_> = named().collect();
        let lie_over = |[a, b]: [usize; 2], [c, d]: [usize; 2]| a.max(c) < b.min(d);
        let pairs = [(0, 1), (0, 2), (1, 2)].into_iter();
        let over = pairs.map(|(a, b)| (all[a], all[b])).find(|((_, a), (_, b))| lie_over(*a, *b));
        over.map(|((a, _), (b, _))| format!("{a} and {b} share examples, so that a score would be of what was learned"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_stay_whole_and_shares_are_met_as_near_as_they_go() {
        let split = FileSplit::Shares([0.6, 0.2, 0.2]);
        // Groups of 2, 1, 3, 2, 2 examples.
        let groups = [0, 0, 1, 2, 3, 2, 3, 2, 4, 4];
        let (order, sizes) = split.grouped(&groups, None);
        assert_eq!((order, sizes), (vec![0, 1, 2, 3, 5, 7, 4, 6, 8, 9], [6, 2, 2]));
        // With two groups none is left for validation.
        assert_eq!(split.grouped(&[0, 1, 1], None), (vec![0, 1, 2], [1, 0, 2]));
        let mut rng = crate::seed::Seed(7).rng(crate::seed::Stream::Task, 0);
        let (order, [train, validation, _]) = split.grouped(&groups, Some(&mut rng));
        let part = |example: usize| {
            let place = order.iter().position(|other| *other == example).map_or(0, |place| place);
            usize::from(place >= train) + usize::from(place >= train + validation)
        };
        for pair in (0..10).flat_map(|a| (0..10).map(move |b| [a, b])).filter(|[a, b]| groups[*a] == groups[*b]) {
            assert_eq!(part(pair[0]), part(pair[1]), "{pair:?} in {order:?}");
        }
    }
}
