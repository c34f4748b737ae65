//! A comparison: rows side by side on one or several tasks, with equal numbers of parameters or equal floating-point
//! operations, with the same seeds, and, if wanted, with a learning rate chosen for each row.

mod config;
mod equal;

use super::{
    dir::StudyDir,
    file::{self, Changes, StudyFile, Unset, named},
    plan::{self, Plan, RunState},
};
use crate::error::Error;
use headway_trainer::{evaluate, experiment::Experiment, log, run_dir::RunDir};

use config::{check, most_runs, parameters};
use equal::Maker;

pub use config::{CompareConfig, Match, Matches, RowPart, TaskPart};

/// One table of a comparison: one task with one kind of equality.
#[derive(Clone, Debug)]
pub struct Block {
    /// Name of the task.
    pub task: String,
    /// What the rows have in common.
    pub matched: Match,
    /// The score to compare.
    pub metric: String,
    /// The rows, in the order of the file.
    pub rows: Vec<Row>,
}

impl Block {
    /// Label of a row's runs: the task, the row, and what rows have in common.
    fn label(&self, row: &Row) -> String {
        let equal = row.solved.as_ref().map(|_| format!(" ({})", self.matched.heading())).unwrap_or_default();
        format!("{}: {}{equal}", self.task, row.name)
    }
}

/// A row of a block.
#[derive(Clone, Debug)]
pub struct Row {
    /// Name.
    pub name: String,
    /// The experiment with seed 0 and the learning rate of the file.
    pub experiment: Experiment,
    /// Key and value of the size that was chosen to match the reference; `None` if the row has no free size.
    pub solved: Option<(String, u64)>,
    /// Learning rates to choose from; empty if the row keeps its own.
    pub learning_rates: Vec<f64>,
}

impl Row {
    /// Trainable parameters.
    pub fn parameters(&self) -> f64 {
        parameters(&self.experiment)
    }
}

/// A comparison with every free size chosen.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The complete file, which refers to no other.
    pub config: CompareConfig,
    /// One block per task and kind of equality.
    pub blocks: Vec<Block>,
}

/// The runs of one row, and how its learning rate was chosen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowRuns {
    /// The learning rates with the mean validation loss of each, `None` if its runs failed; empty if there was no
    /// choice.
    pub tried: Vec<(f64, Option<f64>)>,
    /// The chosen rate; `None` if no choice has been made.
    pub learning_rate: Option<f64>,
    /// Indices of the final runs in the plan, in the order of the seeds; empty until the choice is made.
    pub runs: Vec<usize>,
}

impl RowRuns {
    /// Whether every learning rate to choose from has failed.
    pub fn cannot_choose(&self) -> bool {
        self.runs.is_empty() && !self.tried.is_empty() && self.tried.iter().all(|(_, loss)| loss.is_none())
    }
}

impl Comparison {
    /// Reads a comparison, chooses the free sizes and checks every row.
    ///
    /// # Errors
    /// [`Error::Experiment`] pointing at what is wrong; [`Error::Trainer`] when a file cannot be read, or rows cannot be made
    /// equal, with both budgets.
    pub fn new(file: &StudyFile, changes: &Changes) -> Result<Self, Error> {
        let mut config: CompareConfig = file.config()?;
        let CompareConfig { title, profile, seeds, .. } = &mut config;
        file.complete(changes, title, profile, seeds);
        check(file, &config)?;
        let mut taken: Vec<String> = config.rows.iter().filter_map(|row| row.free.clone()).collect();
        if config.rows.iter().any(|row| !config.rates(row).is_empty()) {
            taken.push("optimizer.learning_rate".to_owned());
        }
        let mut unset = Unset::of(changes);
        let (rows, tasks) =
            (config.rows.iter_mut().map(|row| &mut row.set), config.tasks.iter_mut().map(|task| &mut task.set));
        rows.chain(tasks).chain([&mut config.set]).for_each(|set| unset.take_from_settings(set));
        file::set(&mut config.set, &changes.set, &taken)?;
        let mut blocks = Vec::new();
        let matches = match &config.matched {
            Matches::One(one) => vec![*one],
            Matches::Several(several) => several.clone(),
        };
        let mut predictors = Vec::new();
        for index in 0..config.tasks.len() {
            let mut base = file.base(&format!("tasks.{index}.experiment"), &config.tasks[index].experiment)?;
            unset.take_from(&mut base);
            config.tasks[index].experiment = base.inline();
            base.ensure_few(file, "tasks", most_runs(&config))?;
            let task = &config.tasks[index];
            let maker = Maker { file, base, task, index, set: &config.set };
            let mut rows = maker.rows(&config.rows, &config.reference, &matches)?;
            for (row, part) in rows.iter_mut().flat_map(|rows| rows.iter_mut().zip(&config.rows)) {
                row.learning_rates = config.rates(part).to_vec();
            }
            for (&matched, rows) in matches.iter().zip(rows) {
                if let Some(row) = rows.first() {
                    let names = evaluate::names(&row.experiment)?;
                    named(file, &format!("tasks.{index}.metric"), &task.metric, &names.scores)?;
                    predictors.extend(names.predictors);
                }
                blocks.push(Block { task: task.name.clone(), matched, metric: task.metric.clone(), rows });
            }
        }
        unset.ensure_found(file)?;
        for (index, name) in config.baselines.iter().flatten().enumerate() {
            named(file, &format!("baselines.{index}"), name, &predictors)?;
        }
        needs_validation(file, &blocks)?;
        Ok(Self { config, blocks })
    }

    /// The complete file as TOML.
    pub fn to_toml(&self) -> String {
        toml::to_string(&self.config).unwrap_or_else(|_| unreachable!("every field of a comparison has a TOML form"))
    }

    /// Every run known so far, and the runs of each row of each block. If learning rates are chosen, the final runs are
    /// added once the runs that decide the choice are done.
    ///
    /// # Errors
    /// [`Error::Trainer`] when how runs stand cannot be told.
    pub fn plan(&self, dir: &StudyDir) -> Result<(Plan, Vec<Vec<RowRuns>>), Error> {
        let seeds = self.config.seeds.list();
        let mut plan = Plan::default();
        let tuning = &self.tuning();
        // All runs that decide a choice come first, so that their indices never change.
        for (block, row) in self.all_rows() {
            for (&rate, &seed) in row.learning_rates.iter().flat_map(|rate| tuning.iter().map(move |seed| (rate, seed)))
            {
                let label = format!("{} learning_rate={rate:e} seed {seed}", block.label(row));
                plan.add(label, with(&row.experiment, rate, seed));
            }
        }
        // The final runs are added all at once, so that no index ever changes.
        let mut tables = Vec::new();
        let is_open = self.is_choosing(dir)?;
        for block in &self.blocks {
            let rows = block.rows.iter().map(|row| {
                let tried = row.learning_rates.iter().map(|&rate| Ok((rate, tuning_score(dir, row, rate, tuning)?)));
                let tried = tried.collect::<Result<Vec<(f64, Tried)>, Error>>()?;
                let mut runs = RowRuns::default();
                let loss = |tried: &Tried| if let Tried::Scored(loss) = tried { Some(*loss) } else { None };
                runs.tried = tried.iter().map(|(rate, tried)| (*rate, loss(tried))).collect();
                if is_open {
                    return Ok(runs);
                }
                let scored = runs.tried.iter().filter_map(|(rate, loss)| Some((*rate, (*loss)?)));
                let best = scored.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(rate, _)| rate);
                if best.is_none() && !row.learning_rates.is_empty() {
                    return Ok(runs);
                }
                let rate = best.unwrap_or(row.experiment.optimizer.learning_rate());
                runs.learning_rate = Some(rate);
                for &seed in &seeds {
                    let label = format!("{} seed {seed}", block.label(row));
                    runs.runs.push(plan.add(label, with(&row.experiment, rate, seed)));
                }
                Ok(runs)
            });
            tables.push(rows.collect::<Result<Vec<RowRuns>, Error>>()?);
        }
        Ok((plan, tables))
    }

    /// Seeds with which learning rates are chosen.
    fn tuning(&self) -> Vec<u64> {
        self.config.seeds.list().into_iter().take(self.config.tuning_seeds).collect()
    }

    /// Whether some runs that decide a learning rate are not done.
    ///
    /// # Errors
    /// as [`Comparison::plan`]
    pub fn is_choosing(&self, dir: &StudyDir) -> Result<bool, Error> {
        let tuning = self.tuning();
        for (_, row) in self.all_rows() {
            for &rate in &row.learning_rates {
                if tuning_score(dir, row, rate, &tuning)? == Tried::Open {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn all_rows(&self) -> impl Iterator<Item = (&Block, &Row)> {
        self.blocks.iter().flat_map(|block| block.rows.iter().map(move |row| (block, row)))
    }
}

fn with(experiment: &Experiment, learning_rate: f64, seed: u64) -> Experiment {
    let mut experiment = Experiment { seed, ..experiment.clone() };
    experiment.optimizer.set_learning_rate(learning_rate);
    experiment
}

/// Result of the runs at one learning rate.
#[derive(PartialEq)]
enum Tried {
    /// Some runs are not done.
    Open,
    /// One run failed, so the rate is excluded.
    Failed,
    /// Mean of their last validation losses.
    Scored(f64),
}

fn tuning_score(dir: &StudyDir, row: &Row, rate: f64, seeds: &[u64]) -> Result<Tried, Error> {
    let mut total = 0.0;
    for &seed in seeds {
        let root = dir.run(&with(&row.experiment, rate, seed).run_id());
        match plan::run_state(&root)?.0 {
            RunState::Complete => match log::newest(&RunDir::metrics_of(&root), "validation/loss")? {
                Some((_, loss)) => total += loss,
                None => return Ok(Tried::Failed),
            },
            RunState::Failed(_) => return Ok(Tried::Failed),
            RunState::Waiting | RunState::Running | RunState::Stopped => return Ok(Tried::Open),
        }
    }
    Ok(Tried::Scored(total / seeds.len() as f64))
}

fn needs_validation(file: &StudyFile, blocks: &[Block]) -> Result<(), Error> {
    let chooses_blindly = |row: &Row| !row.learning_rates.is_empty() && !row.experiment.validates();
    let without = blocks.iter().find(|block| block.rows.iter().any(chooses_blindly));
    match without {
        None => Ok(()),
        Some(block) => {
            let problem = format!(
                "rates are chosen by the validation loss, and {} has no validation: set train.eval_every and data.*.validation above 0",
                block.task
            );
            Err(file.problem("learning_rates", &problem))
        }
    }
}
