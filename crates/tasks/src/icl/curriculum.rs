//! Curricula: training prompts that grow.

use headway_keys::Described;
use serde::{Deserialize, Serialize};

use crate::{error::TaskError, prompt::Size};

/// Training starts with few dimensions and few points. Both grow by one step every `every` batches until they are full:
/// d_start + d_step floor(batch / every), at most d, and likewise for points. Coordinates of x that are not yet active
/// are zero; hidden functions are drawn for all d coordinates. Prompts with fewer points are shorter sequences.
///
/// # References
/// Garg et al. 2022, arXiv 2208.01066; the defaults are their settings for linear functions in 20 dimensions with 41
/// points.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct Curriculum {
    /// Number of active dimensions at the start. Default 5.
    pub d_start: usize,
    /// Number of dimensions added per step. Default 1.
    pub d_step: usize,
    /// Number of points at the start. Default 11.
    pub points_start: usize,
    /// Number of points added per step. Default 2.
    pub points_step: usize,
    /// Number of training batches between steps. Default 2000.
    pub every: u64,
}

impl Default for Curriculum {
    fn default() -> Self {
        Self { d_start: 5, d_step: 1, points_start: 11, points_step: 2, every: 2000 }
    }
}

impl Curriculum {
    /// Size of the prompts in training batch number `batch`, counted from 0.
    pub fn size(&self, batch: u64, full: Size) -> Size {
        let steps = usize::try_from(batch / self.every).unwrap_or(usize::MAX);
        let grown = |start: usize, step: usize, full: usize| start.saturating_add(step.saturating_mul(steps)).min(full);
        Size {
            d: grown(self.d_start, self.d_step, full.d),
            n_points: grown(self.points_start, self.points_step, full.n_points),
        }
    }

    /// Index of the first full-size batch. The curriculum must be valid.
    pub fn end(&self, full: Size) -> u64 {
        let steps = |start: usize, step: usize, full: usize| (full - start).div_ceil(step.max(1)) as u64;
        let (d, points) =
            (steps(self.d_start, self.d_step, full.d), steps(self.points_start, self.points_step, full.n_points));
        d.max(points).saturating_mul(self.every)
    }

    /// Problems of the curriculum, each with the key to change.
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
