//! Rows made equal: a free size of each row is chosen so that the row spends as much as the reference.

use toml::{Table, Value};

use super::{
    Row,
    config::{Match, RowPart, TaskPart},
};
use crate::error::Error;
use crate::file::{Base, StudyFile, settings};
use headway_trainer::{
    data,
    experiment::{Experiment, Override},
};

/// Largest relative difference at which two rows count as equal.
const TOLERANCE: f64 = 0.05;

/// Makes the rows of one task.
pub(super) struct Maker<'a> {
    pub(super) file: &'a StudyFile,
    pub(super) base: Base,
    pub(super) task: &'a TaskPart,
    pub(super) index: usize,
    pub(super) set: &'a Table,
}

impl Maker<'_> {
    /// The rows of the task for each kind of equality.
    pub(super) fn rows(&self, parts: &[RowPart], reference: &str, matches: &[Match]) -> Result<Vec<Vec<Row>>, Error> {
        let of = |(index, part): (usize, &RowPart), matched: Match, target: Option<f64>| {
            self.row(index, part, matched, target)
        };
        let (at, part) = parts
            .iter()
            .enumerate()
            .find(|(_, part)| part.name == reference)
            .unwrap_or_else(|| unreachable!("checked before"));
        let mut all = Vec::new();
        for &matched in matches {
            let measure = of((at, part), matched, None)?;
            let target = matched.spent(&measure.experiment);
            let mut rows = Vec::new();
            for (index, part) in parts.iter().enumerate() {
                let row = if index == at { measure.clone() } else { of((index, part), matched, Some(target))? };
                self.ensure_equal(index, (part, &row), (&measure, matched))?;
                rows.push(row);
            }
            all.push(rows);
        }
        Ok(all)
    }

    fn settings(&self, part: &RowPart) -> Vec<Override> {
        [&self.task.set, &part.set, self.set].into_iter().flat_map(settings).collect()
    }

    /// The row, with its free size chosen if there is a target.
    fn row(&self, index: usize, part: &RowPart, matched: Match, target: Option<f64>) -> Result<Row, Error> {
        let mut settings = self.settings(part);
        let places = ["set".to_owned(), format!("tasks.{}.set", self.index), format!("rows.{index}.set")];
        let mut solved = None;
        if let (Some(free), Some(target)) = (&part.free, target.filter(|_| matched != Match::None)) {
            if self.base.unchecked(&[settings.clone(), vec![Override::new(free, Value::Integer(1))]].concat()).is_none()
            {
                // Building it reports what is wrong with the key.
                let wrong = [settings.clone(), vec![Override::new(free, Value::Integer(1))]].concat();
                self.file.experiment(&self.base, &wrong, &places)?;
            }
            let value = self.solve(&settings, free, matched, target, &places).ok_or_else(|| {
                let key = format!("rows.{index}.free");
                let problem =
                    format!("no value of {free} gives a sound experiment of another cost on {}", self.task.name);
                self.file.problem(&key, &problem)
            })?;
            settings.push(Override::new(free, Value::Integer(i64::try_from(value).unwrap_or(i64::MAX))));
            solved = Some((free.clone(), value));
        }
        let experiment = self.file.experiment(&self.base, &settings, &places)?;
        if matched == Match::Flops && experiment.train.early_stopping.is_some() {
            let problem = "what a run spends cannot be told beforehand with train.early_stopping";
            return Err(self.file.problem("match", problem));
        }
        Ok(Row {
            name: part.name.clone(),
            experiment: Experiment { seed: 0, ..experiment },
            solved,
            learning_rates: Vec::new(),
        })
    }

    /// The size that brings the row closest to the target, among those that give a valid experiment.
    fn solve(&self, settings: &[Override], free: &str, matched: Match, target: f64, places: &[String]) -> Option<u64> {
        let with = |value: u64| {
            let mut settings = settings.to_vec();
            settings.push(Override::new(free, Value::Integer(i64::try_from(value).unwrap_or(i64::MAX))));
            settings
        };
        // Sizes that data files decide are known once they are read, and are the same for every value of another part.
        let mut task = self.base.unchecked(&with(1))?.task;
        let is_known = !free.starts_with("task") && task.settle(&data::files("")).is_ok();
        // The amount spent grows with any size, whether or not the experiment is valid.
        let spent = |value: u64| {
            let experiment = self.base.unchecked(&with(value))?;
            let task = if is_known { task.clone() } else { experiment.task.clone() };
            Some(matched.spent(&Experiment { task, ..experiment }))
        };
        let (mut below, mut above) = (1, 2);
        if spent(above)? <= spent(below)? {
            return None;
        }
        while spent(above)? < target && above < LARGEST {
            (below, above) = (above, above * 2);
        }
        while above - below > 1 {
            let middle = below + (above - below) / 2;
            if spent(middle)? < target { below = middle } else { above = middle }
        }
        let sound = |value: u64| self.file.experiment(&self.base, &with(value), places).is_ok();
        let down = (1..=below).rev().take(REACH).find(|value| sound(*value));
        let up = (above..above + REACH as u64).find(|value| sound(*value));
        let distance = |value: &u64| spent(*value).map_or(f64::INFINITY, |spent| (spent - target).abs());
        down.into_iter().chain(up).min_by(|a, b| distance(a).total_cmp(&distance(b)))
    }

    fn ensure_equal(
        &self,
        index: usize,
        (part, row): (&RowPart, &Row),
        (reference, matched): (&Row, Match),
    ) -> Result<(), Error> {
        let (mine, theirs) = (matched.spent(&row.experiment), matched.spent(&reference.experiment));
        if matched == Match::None || (mine - theirs).abs() <= TOLERANCE * theirs {
            return Ok(());
        }
        let budget = |row: &Row| {
            let solved = row.solved.as_ref().map(|(key, value)| format!(" with {key} = {value}")).unwrap_or_default();
            let flops = row.experiment.training_flops() / 1e9;
            format!("{} has {} parameters and trains with {flops:.1} GFLOP{solved}", row.name, row.parameters())
        };
        let advice = match &part.free {
            Some(free) => format!("{free} is too coarse, choose another size to be free"),
            None => "give the row a `free` size to solve for".to_owned(),
        };
        let problem = format!(
            "more than 5 % from {} ({}) on {}: {}; {}; {advice}",
            reference.name,
            matched.heading(),
            self.task.name,
            budget(row),
            budget(reference),
        );
        Err(self.file.problem(&format!("rows.{index}.name"), &problem))
    }
}

/// Largest size that is tried.
const LARGEST: u64 = 1 << 20;
/// Number of values on either side of the best one that are searched for a valid one: a width must be a multiple of the
/// number of heads.
const REACH: usize = 64;
