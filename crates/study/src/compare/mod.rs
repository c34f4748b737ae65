//! A comparison: rows side by side on one or several tasks, with equal numbers of parameters or equal floating-point
//! operations, with the same seeds, and, if wanted, with a learning rate and a size chosen for each row and with as many
//! seeds as it takes to decide.

mod asked;
mod claim;
mod config;
mod cost;
mod equal;
mod matched;
mod search;
mod verdict;

use super::{
    dir::StudyDir,
    file::{self, Changes, StudyFile, Unset, named},
    plan::{Plan, PlannedRun},
    results::paired,
};
use crate::error::Error;
use headway_trainer::{
    evaluate,
    experiment::{Experiment, lost},
};

use asked::Asked;
use config::{check, most_runs};
use equal::Maker;
use matched::parameters;
use search::{Found, Ladder, search};

pub use asked::Tried;
pub use claim::{Agreement, Claim, Judgement, Known, Says};
pub use search::Ends;
pub use verdict::{Decision, Verdict, noise_floor};

pub use config::{CompareConfig, Free, Rates, RowPart, TaskPart};
pub use matched::{Match, Matches};

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
    /// Label of a row's runs: the task, the row, what rows have in common, and a size that is searched.
    fn label(&self, row: &Row, size: &Size) -> String {
        let equal = size.solved.as_ref().map(|_| format!(" ({})", self.matched.heading())).unwrap_or_default();
        let searched = size.searched.as_ref();
        let searched = searched.map(|(key, value)| format!(" {}={value}", key.rsplit('.').next().unwrap_or(key)));
        format!("{}: {}{equal}{}", self.task, row.name, searched.unwrap_or_default())
    }
}

/// A row of a block.
#[derive(Clone, Debug)]
pub struct Row {
    /// Name.
    pub name: String,
    /// The row's experiment as its file has it, and with the other sizes of a search.
    sizes: Ladder<Size>,
    /// Learning rates to choose from.
    rates: Rates,
}

/// A row's experiment with its free sizes chosen.
#[derive(Clone, Debug)]
pub struct Size {
    /// The experiment with seed 0 and the learning rate of the file.
    pub experiment: Experiment,
    /// Key and value of the size that is searched; `None` if there is none.
    pub searched: Option<(String, u64)>,
    /// Key and value of the size that was chosen to match the reference; `None` if there is none.
    pub solved: Option<(String, u64)>,
}

impl Size {
    /// Trainable parameters.
    pub fn parameters(&self) -> f64 {
        parameters(&self.experiment)
    }
}

impl Row {
    /// The experiment as the file has it.
    fn own(&self) -> &Size {
        &self.sizes.steps[self.sizes.own]
    }

    /// The size that was chosen, or that of the file while none is.
    pub fn size(&self, runs: &RowRuns) -> &Size {
        runs.size.map_or(self.own(), |index| &self.sizes.steps[index])
    }

    /// The runs of a row that has no choice of its own but that of the row for which it stands.
    fn as_chosen_for(&self, leader: &RowRuns) -> RowRuns {
        let size = leader.size.filter(|index| *index < self.sizes.steps.len()).or(Some(self.sizes.own));
        RowRuns { learning_rate: leader.learning_rate, size, ..RowRuns::default() }
    }

    /// Whether anything of the row is chosen by its validation loss.
    fn chooses(&self) -> bool {
        self.sizes.steps.len() > 1 || !self.rates.is_own()
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

/// A size and a learning rate that a row was tried with.
#[derive(Clone, Debug, PartialEq)]
pub struct Try {
    /// The value of the size that is searched; `None` if there is none.
    pub searched: Option<u64>,
    /// The rate.
    pub learning_rate: f64,
    /// The mean validation loss of its runs.
    pub loss: Tried,
    /// Indices of its runs in the plan.
    runs: Vec<usize>,
}

/// The runs of one row, and how its size and its learning rate were chosen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowRuns {
    /// What the row was tried with, by size and then by rate; empty if there was no choice.
    pub tried: Vec<Try>,
    /// The chosen rate; `None` if no choice has been made.
    pub learning_rate: Option<f64>,
    /// Index of the chosen size; `None` if no choice has been made.
    size: Option<usize>,
    /// Where the chosen rate lies among those tried; `None` if rates were not searched.
    pub rate_ends: Option<Ends>,
    /// Where the chosen size lies among those tried; `None` if sizes were not searched.
    pub size_ends: Option<Ends>,
    /// Indices of the final runs in the plan, in the order of the seeds; empty until the choice is made.
    pub runs: Vec<usize>,
}

impl RowRuns {
    /// Whether everything to choose from has failed.
    pub fn cannot_choose(&self) -> bool {
        self.runs.is_empty() && !self.tried.is_empty() && self.tried.iter().all(|tried| tried.loss == Tried::Failed)
    }

    /// Whether a run that decides the choice is not done.
    fn is_open(&self) -> bool {
        self.tried.iter().any(|tried| tried.loss == Tried::Open)
    }
}

/// Every run known so far, and what they are for.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The runs.
    pub plan: Plan,
    /// The runs of each row of each block.
    pub rows: Vec<Vec<RowRuns>>,
    /// What the results of the last runs will lead to.
    pub next: Next,
}

/// What follows when the runs known so far are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Learning rates and sizes are chosen, and the final runs added.
    Choice,
    /// More seeds are added where a comparison is not decided.
    Decision {
        /// Largest number of seeds that a comparison is expected to need beyond those that are done; `None` if there is
        /// no estimate.
        still_expected: Option<usize>,
    },
    /// Nothing.
    End,
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
        let free = config.rows.iter().filter_map(|row| row.free.as_ref());
        let mut taken: Vec<String> = free.flat_map(Free::keys).cloned().collect();
        if config.rows.iter().any(|row| !config.rates(row).is_own()) {
            taken.push("optimizer.learning_rate".to_owned());
        }
        let mut unset = Unset::of(changes);
        let (rows, tasks) =
            (config.rows.iter_mut().map(|row| &mut row.set), config.tasks.iter_mut().map(|task| &mut task.set));
        rows.chain(tasks).chain([&mut config.set]).for_each(|set| unset.take_from_settings(set));
        file::set(&mut config.set, &changes.set, &taken)?;
        let mut blocks = Vec::new();
        let matches = config.matched.list().to_vec();
        let mut predictors = Vec::new();
        for index in 0..config.tasks.len() {
            let mut base = file.base(&format!("tasks.{index}.experiment"), &config.tasks[index].experiment)?;
            unset.take_from(&mut base);
            config.tasks[index].experiment = base.inline();
            base.ensure_few(file, "tasks", most_runs(&config))?;
            let task = &config.tasks[index];
            let maker = Maker { file, base, task, index, set: &config.set, test_lengths: config.test_lengths() };
            let mut rows = maker.rows(&config.rows, &config.reference, &matches)?;
            let number = |row: &Row| config.rows.iter().position(|part| part.name == row.name).unwrap_or_default();
            for row in rows.iter_mut().flatten() {
                row.rates = config.rates(&config.rows[number(row)]).clone();
            }
            for row in rows.iter().flatten() {
                let number = number(row);
                let own = row.own().experiment.optimizer.learning_rate();
                if matches!(row.rates, Rates::Search(_)) && (own <= 0.0 || lost(own).is_some()) {
                    let problem = format!("{} has a rate of {own}, and a search needs one to begin with", row.name);
                    return Err(file.problem(&format!("rows.{number}.name"), &problem));
                }
            }
            for (&matched, rows) in matches.iter().zip(rows) {
                if let Some(row) = rows.first() {
                    let names = evaluate::names(&row.own().experiment)?;
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
        needs_two_ways(file, &config, &blocks)?;
        Ok(Self { config, blocks })
    }

    /// The complete file as TOML.
    pub fn to_toml(&self) -> String {
        toml::to_string(&self.config).unwrap_or_else(|_| unreachable!("every field of a comparison has a TOML form"))
    }

    /// Every run known so far. What depends on results is added when the runs that it depends on are done: the final runs
    /// after the choice of learning rates, and further seeds while a comparison is not decided.
    ///
    /// # Errors
    /// [`Error::Trainer`] when how runs stand cannot be told.
    pub fn plan(&self, dir: &StudyDir) -> Result<Planned, Error> {
        let mut asked = Asked::new(dir);
        let mut rows = self.choices(&mut asked)?;
        while rows.iter().flatten().any(RowRuns::is_open) {
            if !asked.end_stage()? {
                for tried in rows.iter_mut().flatten().flat_map(|row| &mut row.tried) {
                    tried.loss = asked.loss_so_far(&tried.runs)?;
                }
                return Ok(Planned { plan: asked.plan, rows, next: Next::Choice });
            }
            rows = self.choices(&mut asked)?;
        }
        let all = self.config.seeds.list();
        let first = self.config.seeds.first_of_more();
        let mut counts: Vec<Vec<usize>> =
            self.blocks.iter().map(|block| vec![first.unwrap_or(all.len()); block.rows.len()]).collect();
        let mut still_expected = None;
        loop {
            for ((block, rows), counts) in self.blocks.iter().zip(&mut rows).zip(&counts) {
                for ((row, runs), &count) in block.rows.iter().zip(rows).zip(counts) {
                    let Some(rate) = runs.learning_rate else { continue };
                    let size = row.size(runs);
                    let run = |&seed: &u64| {
                        let label = format!("{} seed {seed}", block.label(row, size));
                        asked.ask(label, with(&size.experiment, rate, seed))
                    };
                    runs.runs = all.iter().take(count).map(run).collect();
                }
            }
            if first.is_none() {
                return Ok(Planned { plan: asked.plan, rows, next: Next::End });
            }
            if !asked.end_stage()? {
                return Ok(Planned { plan: asked.plan, rows, next: Next::Decision { still_expected } });
            }
            let before = counts.clone();
            still_expected = None;
            for ((block, rows), counts) in self.blocks.iter().zip(&rows).zip(&mut counts) {
                let expected = self.add_seeds(&mut asked, block, rows, (counts, all.len()))?;
                still_expected = still_expected.max(expected);
            }
            if counts == before {
                return Ok(Planned { plan: asked.plan, rows, next: Next::End });
            }
        }
    }

    /// Whether a run's row is one that a claim expects behind another, which it is too if it diverges.
    pub(super) fn is_claimed_behind(&self, run: &PlannedRun) -> bool {
        let rate = run.experiment.optimizer.learning_rate();
        let is_of = |row: &Row| {
            row.sizes.steps.iter().any(|size| with(&size.experiment, rate, run.experiment.seed).run_id() == run.run_id)
        };
        let expects = |block: &Block, row: &Row| {
            self.config.claims.iter().any(|claim| claim.is_about(block) && claim.is_behind(&row.name))
        };
        self.blocks.iter().any(|block| block.rows.iter().any(|row| expects(block, row) && is_of(row)))
    }

    /// What each row of each block was tried with, and the best of it.
    fn choices(&self, asked: &mut Asked<'_>) -> Result<Vec<Vec<RowRuns>>, Error> {
        let of = |block: &Block| {
            let choice =
                |row| if self.config.follows(row) { Ok(RowRuns::default()) } else { self.choice(asked, block, row) };
            let mut rows = block.rows.iter().map(choice).collect::<Result<Vec<RowRuns>, Error>>()?;
            for (at, row) in block.rows.iter().enumerate().filter(|(_, row)| self.config.follows(row)) {
                let led = self.config.leader().and_then(|name| block.rows.iter().position(|row| row.name == name));
                rows[at] = led.map(|led| row.as_chosen_for(&rows[led])).unwrap_or_default();
            }
            Ok(rows)
        };
        self.blocks.iter().map(of).collect()
    }

    /// What a row was tried with, and the best of it: each size at the best of its learning rates.
    fn choice(&self, asked: &mut Asked<'_>, block: &Block, row: &Row) -> Result<RowRuns, Error> {
        if !row.chooses() {
            let learning_rate = Some(row.own().experiment.optimizer.learning_rate());
            return Ok(RowRuns { learning_rate, size: Some(row.sizes.own), ..RowRuns::default() });
        }
        let tuning = self.config.tuning();
        let found = search(&row.sizes, |index| {
            let size = &row.sizes.steps[index];
            let mut at = |rate: f64| -> Result<(Tried, Try), Error> {
                let label = |seed| format!("{} learning_rate={rate:e} seed {seed}", block.label(row, size));
                let run = |&seed: &u64| asked.ask(label(seed), with(&size.experiment, rate, seed));
                let runs: Vec<usize> = tuning.iter().map(run).collect();
                let loss = asked.loss(&runs)?;
                let searched = size.searched.as_ref().map(|(_, value)| *value);
                Ok((loss, Try { searched, learning_rate: rate, loss, runs }))
            };
            let own = size.experiment.optimizer.learning_rate();
            let found = match &row.rates {
                Rates::List(rates) if rates.is_empty() => all(&[own], at)?,
                Rates::List(rates) => all(rates, at)?,
                Rates::Search(_) => {
                    let rates = Ladder::around(own, |rate| Ok(lost(rate).is_none().then_some(rate)))?;
                    search(&rates, |index| at(rates.steps[index]))?
                }
            };
            let losses = || found.tried.iter().map(|(_, tried)| tried.loss);
            let loss = match found.best {
                Some(best) => found.tried[best].1.loss,
                None if losses().any(|loss| loss == Tried::Open) => Tried::Open,
                None => Tried::Failed,
            };
            Ok((loss, found))
        })?;
        let mut runs = RowRuns::default();
        if let Some((index, best)) = found.best.map(|best| &found.tried[best]) {
            runs.size = Some(*index);
            runs.learning_rate = best.best.map(|rate| best.tried[rate].1.learning_rate);
            runs.rate_ends = best.ends;
            runs.size_ends = found.ends.filter(|_| row.sizes.steps.len() > 1);
        }
        runs.tried = found.tried.into_iter().flat_map(|(_, at)| at.tried.into_iter().map(|(_, tried)| tried)).collect();
        Ok(runs)
    }

    /// Gives every row of a block that is not decided one more seed, and the reference and the rows of the noise floor as
    /// many as the longest of them. Returns the largest number of seeds still expected.
    fn add_seeds(
        &self,
        asked: &mut Asked<'_>,
        block: &Block,
        rows: &[RowRuns],
        (counts, most): (&mut [usize], usize),
    ) -> Result<Option<usize>, Error> {
        let scores = rows.iter().map(|row| asked.scores(&row.runs, &block.metric));
        let scores = scores.collect::<Result<Vec<_>, _>>()?;
        let of = |name: &str| {
            let place = block.rows.iter().position(|row| row.name == name);
            place.and_then(|place| scores[place].as_ref())
        };
        let Some(reference) = of(&self.config.reference) else { return Ok(None) };
        let floor = self.config.floor(of);
        let (mut longest, mut still_expected) = (0, None);
        for ((row, scores), count) in block.rows.iter().zip(&scores).zip(counts.iter_mut()) {
            // A row with a failed run has no mean, and gets none with further seeds.
            let Some(scores) = scores.as_ref().filter(|_| self.config.is_asked(&row.name)) else { continue };
            let decision = Decision::of(&paired(scores, reference), floor, true);
            if decision.verdict == Verdict::Undecided && floor.is_some() && *count < most {
                *count += 1;
                longest = longest.max(*count);
                still_expected = still_expected.max(decision.still_expected);
            }
        }
        for (row, count) in block.rows.iter().zip(counts) {
            if !self.config.is_asked(&row.name) {
                *count = longest.max(*count);
            }
        }
        Ok(still_expected)
    }
}

fn with(experiment: &Experiment, learning_rate: f64, seed: u64) -> Experiment {
    let mut experiment = Experiment { seed, ..experiment.clone() };
    experiment.optimizer.set_learning_rate(learning_rate);
    experiment
}

/// Tries every one of a list of rates.
fn all(rates: &[f64], mut at: impl FnMut(f64) -> Result<(Tried, Try), Error>) -> Result<Found<Try>, Error> {
    let tried = rates.iter().map(|rate| Ok(at(*rate)?.1)).collect::<Result<Vec<Try>, Error>>()?;
    let is_open = tried.iter().any(|tried| tried.loss == Tried::Open);
    let best = search::best(tried.iter().map(|tried| tried.loss)).filter(|_| !is_open);
    Ok(Found { tried: tried.into_iter().enumerate().collect(), best, ends: None })
}

fn needs_validation(file: &StudyFile, blocks: &[Block]) -> Result<(), Error> {
    let chooses_blindly = |row: &Row| row.chooses() && !row.own().experiment.validates();
    let without = blocks.iter().find(|block| block.rows.iter().any(chooses_blindly));
    match without {
        None => Ok(()),
        Some(block) => {
            let problem = format!(
                "rates and sizes are chosen by the validation loss, and {} has no validation: set train.eval_every and data.*.validation above 0",
                block.task
            );
            Err(file.problem("learning_rates", &problem))
        }
    }
}

/// Refuses a noise floor between a run and itself, which is 0 whatever the noise.
fn needs_two_ways(file: &StudyFile, config: &CompareConfig, blocks: &[Block]) -> Result<(), Error> {
    let Some([first, second]) = &config.noise_floor else { return Ok(()) };
    let run = |block: &Block, name: &String| {
        block.rows.iter().find(|row| row.name == *name).map(|row| row.own().experiment.run_id())
    };
    match blocks.iter().find(|block| run(block, first) == run(block, second)) {
        None => Ok(()),
        Some(block) => {
            let problem =
                format!("{first} and {second} are the same experiment on {}, so they never differ", block.task);
            Err(file.problem("noise_floor", &problem))
        }
    }
}
