//! Training prompts that grow.

use serde::{Deserialize, Serialize};

use crate::{error::TaskError, prompt::Size};

/// Training starts with few dimensions and few points, and gets one step more of both every so many batches, until both
/// are full: d_start + d_step floor(batch / every), at most d, and likewise for points. Coordinates of x that are not
/// yet active are zero; hidden functions are drawn for all d. Prompts of fewer points are shorter sequences.
///
/// # References
/// Garg et al. 2022, arXiv 2208.01066, whose numbers for linear functions in 20 dimensions, of 41 points, are the
/// defaults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Curriculum {
    /// Active dimensions at first. Default 5.
    pub d_start: usize,
    /// Dimensions that a step adds. Default 1.
    pub d_step: usize,
    /// Points at first. Default 11.
    pub points_start: usize,
    /// Points that a step adds. Default 2.
    pub points_step: usize,
    /// Training batches between steps. Default 2000.
    pub every: u64,
}

impl Default for Curriculum {
    fn default() -> Self {
        Self { d_start: 5, d_step: 1, points_start: 11, points_step: 2, every: 2000 }
    }
}

impl Curriculum {
    /// The size of the prompts of training batch number `batch`, counted from 0.
    pub fn size(&self, batch: u64, full: Size) -> Size {
        let steps = usize::try_from(batch / self.every).unwrap_or(usize::MAX);
        let grown = |start: usize, step: usize, full: usize| start.saturating_add(step.saturating_mul(steps)).min(full);
        Size {
            d: grown(self.d_start, self.d_step, full.d),
            n_points: grown(self.points_start, self.points_step, full.n_points),
        }
    }

    /// The number of the first batch of full size. The curriculum must be valid.
    pub fn end(&self, full: Size) -> u64 {
        let steps = |start: usize, step: usize, full: usize| (full - start).div_ceil(step.max(1)) as u64;
        let (d, points) =
            (steps(self.d_start, self.d_step, full.d), steps(self.points_start, self.points_step, full.n_points));
        d.max(points).saturating_mul(self.every)
    }

    /// Everything that makes no sense, each with the key to change.
    pub fn problems(&self, full: Size) -> Vec<TaskError> {
        let stuck = |key, start: usize, step: usize, full: usize| {
            let problem = || format!("0 never leads from {start} to {full}; give 1 or more");
            (step == 0 && start < full).then(|| TaskError::Key { key, problem: problem() })
        };
        let problems = [
            TaskError::below("curriculum.d_start", self.d_start, 1),
            TaskError::above("curriculum.d_start", self.d_start, full.d),
            stuck("curriculum.d_step", self.d_start, self.d_step, full.d),
            TaskError::below("curriculum.points_start", self.points_start, 1),
            TaskError::above("curriculum.points_start", self.points_start, full.n_points),
            stuck("curriculum.points_step", self.points_start, self.points_step, full.n_points),
            TaskError::below("curriculum.every", usize::from(self.every > 0), 1),
        ];
        problems.into_iter().flatten().collect()
    }
}
