//! Rows made equal: a free size of each row is chosen so that the row spends as much as the reference, for each value of
//! a size that is searched.

use toml::{Table, Value};

use super::{
    Row, Size,
    config::{Free, Rates, RowPart, TaskPart},
    matched::{Match, layers},
    search::Ladder,
};
use crate::error::Error;
use crate::file::{Base, StudyFile, settings};
use headway_trainer::{
    data,
    experiment::{Experiment, Override, leaves},
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
    /// What `lengths` sets.
    pub(super) test_lengths: Option<Override>,
}

impl Maker<'_> {
    /// The rows of the task for each kind of equality.
    pub(super) fn rows(&self, parts: &[RowPart], reference: &str, matches: &[Match]) -> Result<Vec<Vec<Row>>, Error> {
        let (at, part) = parts
            .iter()
            .enumerate()
            .find(|(_, part)| part.name == reference)
            .unwrap_or_else(|| unreachable!("checked before"));
        let mut all = Vec::new();
        for &matched in matches {
            let measure = self.size(at, &self.settings(part), None, matched)?;
            let measure = &(part.name.as_str(), measure);
            let target = matched.spent(&measure.1.experiment);
            let row = |(index, part)| self.row(index, part, (measure, matched, target));
            let stands = |(_, part): &(usize, &RowPart)| part.stands(&self.task.name, matched);
            all.push(parts.iter().enumerate().filter(stands).map(row).collect::<Result<_, _>>()?);
        }
        Ok(all)
    }

    fn settings(&self, part: &RowPart) -> Vec<Override> {
        let own = [&self.task.set, &part.set, self.set].into_iter().flat_map(settings);
        own.chain(self.test_lengths.clone()).collect()
    }

    /// The row, with its free sizes chosen.
    fn row(
        &self,
        index: usize,
        part: &RowPart,
        (reference, matched, target): (&(&str, Size), Match, f64),
    ) -> Result<Row, Error> {
        let settings = self.settings(part);
        let free = part.free.as_ref().filter(|_| matched.is_cost());
        let equal = |size: Size| -> Result<Size, Error> {
            self.ensure_equal(index, part, (&size, reference), matched)?;
            Ok(size)
        };
        let sizes = match free {
            None => Ladder::one(equal(self.size(index, &settings, None, matched)?)?),
            Some(Free::Solved(key)) => {
                Ladder::one(equal(self.size(index, &settings, Some((key, target)), matched)?)?)
            }
            Some(Free::Searched([first, second])) => {
                let own = self.own(index, &settings, first)?;
                let mut last = 0;
                Ladder::around(own as f64, |value| {
                    // Small sizes are rounded, and each is there once.
                    let (rounded, is_below) = (value.round() as u64, value < own as f64);
                    if rounded <= last || (is_below && rounded >= own) {
                        return Ok(None);
                    }
                    last = rounded;
                    let mut with = settings.clone();
                    with.push(Override::new(first, Value::Integer(i64::try_from(rounded).unwrap_or(i64::MAX))));
                    match self.size(index, &with, Some((second, target)), matched).and_then(&equal) {
                        Ok(size) => Ok(Some(Size { searched: Some((first.clone(), rounded)), ..size })),
                        // A size at which nothing matches, or that the model does not allow, is none to search.
                        Err(Error::Experiment(_)) if rounded != own => Ok(None),
                        Err(error) => Err(error),
                    }
                })?
            }
        };
        Ok(Row { name: part.name.clone(), sizes, rates: Rates::default() })
    }

    fn places(&self, index: usize) -> [String; 3] {
        ["set".to_owned(), format!("tasks.{}.set", self.index), format!("rows.{index}.set")]
    }

    /// The value of a size in the row's own experiment.
    fn own(&self, index: usize, settings: &[Override], key: &str) -> Result<u64, Error> {
        let experiment = self.file.experiment(&self.base, settings, &self.places(index))?;
        let table = experiment.to_table();
        // Setting it in a copy tells its full name.
        let full = Override::new(key, Value::Integer(1)).apply(&mut table.clone())?;
        let value = leaves("", &table).into_iter().find(|(name, _)| *name == full);
        let value = value.and_then(|(_, value)| u64::try_from(value.as_integer()?).ok()).filter(|value| *value > 0);
        value.ok_or_else(|| {
            let problem = format!("{key} is no size of this row's experiment to search around");
            self.file.problem(&format!("rows.{index}.free"), &problem)
        })
    }

    /// The row's experiment with these settings, and with a free size chosen if there is a target.
    fn size(
        &self,
        index: usize,
        settings: &[Override],
        free: Option<(&String, f64)>,
        matched: Match,
    ) -> Result<Size, Error> {
        let mut settings = settings.to_vec();
        let places = self.places(index);
        let mut solved = None;
        if let Some((free, target)) = free {
            if self.base.unchecked(&[settings.clone(), vec![Override::new(free, Value::Integer(1))]].concat()).is_none()
            {
                if !free.contains('.') {
                    let problem =
                        format!("`{free}` is no key of an experiment; name it with its table, as in model.{free}");
                    return Err(self.file.problem(&format!("rows.{index}.free"), &problem));
                }
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
        Ok(Size { experiment: Experiment { seed: 0, ..experiment }, searched: None, solved })
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
        part: &RowPart,
        (size, (reference, measure)): (&Size, &(&str, Size)),
        matched: Match,
    ) -> Result<(), Error> {
        let (mine, theirs) = (matched.spent(&size.experiment), matched.spent(&measure.experiment));
        let tolerance = if matched == Match::Depth { 0.0 } else { TOLERANCE };
        if matched == Match::None || (mine - theirs).abs() <= tolerance * theirs {
            return Ok(());
        }
        let problem = if matched == Match::Depth {
            format!(
                "not as deep as {reference} on {}: {} has {} attention layers, {reference} has {}; set its number of layers",
                self.task.name,
                part.name,
                layers(&size.experiment),
                layers(&measure.experiment)
            )
        } else {
            let budget = |name: &str, size: &Size| {
                let solved =
                    size.solved.as_ref().map(|(key, value)| format!(" with {key} = {value}")).unwrap_or_default();
                let flops = size.experiment.training_flops() / 1e9;
                format!("{name} has {} parameters and trains with {flops:.1} GFLOP{solved}", size.parameters())
            };
            let advice = match &size.solved {
                Some((free, _)) => format!("{free} is too coarse, choose another size to be free"),
                None => "give the row a `free` size to solve for".to_owned(),
            };
            format!(
                "more than 5 % from {reference} ({}) on {}: {}; {}; {advice}",
                matched.heading(),
                self.task.name,
                budget(&part.name, size),
                budget(reference, measure),
            )
        };
        Err(self.file.problem(&format!("rows.{index}.name"), &problem))
    }
}

/// Largest size that is tried.
const LARGEST: u64 = 1 << 20;
/// Number of values on either side of the best one that are searched for a valid one: a width must be a multiple of the
/// number of heads.
const REACH: usize = 64;
