//! Which classes are taken for which.

use headway_tasks::Task;
use serde::{Deserialize, Serialize};

/// How often which class was answered for which, on scored positions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confusion {
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Numbers of answers: a row for each right class, a column for each answered one.
    pub counts: Vec<Vec<u64>>,
}

impl Confusion {
    /// That of no answers; `None` for a task whose classes have no names.
    pub fn of(task: &dyn Task) -> Option<Self> {
        let classes = task.class_names();
        let counts = vec![vec![0; classes.len()]; classes.len()];
        (!classes.is_empty()).then_some(Self { classes, counts })
    }

    /// Adds an answer.
    pub fn add(&mut self, right: usize, answered: usize) {
        self.counts[right][answered] += 1;
    }
}
