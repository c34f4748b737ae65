//! A comparison: rows side by side on one or several tasks, at equal parameters or equal floating-point operations, with
//! the same seeds, and with a learning rate of its own for each row on request.

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::{
    dir::StudyDir,
    file::{self, Base, Changes, Seeds, StudyFile, Unset, named, settings},
    plan::{self, Plan, RunState},
    sweep::default_metric,
};
use headway_trainer::{
    Error, evaluate,
    experiment::{Experiment, Override, lost},
    log,
    run_dir::RunDir,
};

/// `compare.toml`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompareConfig {
    /// Heading of the report. Default: the name of the file.
    #[serde(default)]
    pub title: String,
    /// What the comparison is to find out, for the report. Default: nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub question: String,
    /// Profile that was merged in; written by Headway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Seeds of every row: a list, or `{ first = 0, count = 5 }`. Default: 0 alone.
    #[serde(default)]
    pub seeds: Seeds,
    /// What rows must have in common: `parameters`, `flops` (of all training steps) or `none`; a list makes one table for
    /// each. Default `none`.
    #[serde(default, rename = "match")]
    pub matched: Matches,
    /// The row that the others are measured against.
    pub reference: String,
    /// Learning rates that each row chooses from by the validation loss. Default: none, every row keeps its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub learning_rates: Vec<f64>,
    /// Seeds, the first of the list, that the choice is made with; the others are run at the chosen rate alone. Default 1.
    #[serde(default = "default_tuning_seeds")]
    pub tuning_seeds: usize,
    /// Values that all rows share on all tasks; they come last. Default: none.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub set: Table,
    /// Classical predictors to show. Default: all that the task has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baselines: Option<Vec<String>>,
    /// What is learned.
    pub tasks: Vec<TaskPart>,
    /// What learns it.
    pub rows: Vec<RowPart>,
}

fn default_tuning_seeds() -> usize {
    1
}

impl CompareConfig {
    /// Learning rates that a row chooses from.
    fn rates<'a>(&'a self, row: &'a RowPart) -> &'a [f64] {
        row.learning_rates.as_ref().unwrap_or(&self.learning_rates)
    }
}

/// A task of a comparison.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskPart {
    /// Name in tables.
    pub name: String,
    /// The experiment: path of its file, seen from this one, or the experiment itself as a table.
    pub experiment: Value,
    /// Values that all rows share on this task. Default: none.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub set: Table,
    /// Score that is compared, of those that a run reports. Default `test/loss`.
    #[serde(default = "default_metric")]
    pub metric: String,
}

/// A row of a comparison.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowPart {
    /// Name in tables.
    pub name: String,
    /// Values that make it what it is. Default: none.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub set: Table,
    /// Key of the size that is solved for so that the row matches the reference, such as `model.d_model`. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free: Option<String>,
    /// Learning rates that this row chooses from. Default: the comparison's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learning_rates: Option<Vec<f64>>,
}

/// What rows have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Match {
    /// Trainable parameters.
    Parameters,
    /// Floating-point operations of all training steps.
    Flops,
    /// Nothing.
    None,
}

/// One or several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "`parameters`, `flops` or `none`, or a list of them")]
pub enum Matches {
    /// One.
    One(Match),
    /// Several.
    Several(Vec<Match>),
}

impl Default for Matches {
    fn default() -> Self {
        Self::One(Match::None)
    }
}

impl Match {
    /// As a heading says it.
    pub fn heading(self) -> &'static str {
        match self {
            Self::Parameters => "equal parameters",
            Self::Flops => "equal training FLOPs",
            Self::None => "sizes as given",
        }
    }

    /// What an experiment spends of it.
    fn spent(self, experiment: &Experiment) -> f64 {
        match self {
            Self::Parameters => parameters(experiment),
            Self::Flops => experiment.training_flops(),
            Self::None => 0.0,
        }
    }
}

fn parameters(experiment: &Experiment) -> f64 {
    experiment.model.budget(&experiment.dims()).parameters as f64
}

/// Largest relative difference of two rows that counts as equal.
pub const TOLERANCE: f64 = 0.05;

/// One table of a comparison: a task at one kind of equality.
#[derive(Clone, Debug)]
pub struct Block {
    /// Name of the task.
    pub task: String,
    /// What the rows have in common.
    pub matched: Match,
    /// Score that is compared.
    pub metric: String,
    /// The rows, as in the file.
    pub rows: Vec<Row>,
}

impl Block {
    /// Its task, a row of it, and what the row was made equal in.
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
    /// The experiment, with seed 0 and the learning rate that the file gives it.
    pub experiment: Experiment,
    /// The size that was solved for, its key and value.
    pub solved: Option<(String, u64)>,
    /// Learning rates to choose from; none where it keeps its own.
    pub learning_rates: Vec<f64>,
}

impl Row {
    /// Trainable parameters.
    pub fn parameters(&self) -> f64 {
        parameters(&self.experiment)
    }
}

/// A comparison with every size worked out.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The file, complete: it names no other.
    pub config: CompareConfig,
    /// One for each task and kind of equality.
    pub blocks: Vec<Block>,
}

/// The runs of one row, and how its learning rate was chosen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowRuns {
    /// Learning rates with the mean validation loss of each, where there was a choice; nothing for one whose runs failed.
    pub tried: Vec<(f64, Option<f64>)>,
    /// The rate that was chosen.
    pub learning_rate: Option<f64>,
    /// Indices of the final runs in the plan, in the order of the seeds; empty while the choice is open.
    pub runs: Vec<usize>,
}

impl RowRuns {
    /// Whether every learning rate that there was to choose from failed.
    pub fn cannot_choose(&self) -> bool {
        self.runs.is_empty() && !self.tried.is_empty() && self.tried.iter().all(|(_, loss)| loss.is_none())
    }
}

impl Comparison {
    /// Reads a comparison, solves for the free sizes and checks every row.
    ///
    /// # Errors
    /// [`Error::Experiment`] pointing at what is wrong; [`Error::Usage`] when a file cannot be read, or rows cannot be made
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

    /// The file, complete.
    pub fn to_toml(&self) -> String {
        toml::to_string(&self.config).unwrap_or_else(|_| unreachable!("every field of a comparison has a TOML form"))
    }

    /// Every run that can be named now, and those of each row of each block. Where learning rates are chosen, the final runs
    /// follow when the runs to choose by are done.
    ///
    /// # Errors
    /// [`Error::Io`] when how runs stand cannot be told.
    pub fn plan(&self, dir: &StudyDir) -> Result<(Plan, Vec<Vec<RowRuns>>), Error> {
        let seeds = self.config.seeds.list();
        let mut plan = Plan::default();
        let tuning = &self.tuning();
        // First every run to choose by: the indices of those never change.
        for (block, row) in self.all_rows() {
            for (&rate, &seed) in row.learning_rates.iter().flat_map(|rate| tuning.iter().map(move |seed| (rate, seed)))
            {
                let label = format!("{} learning_rate={rate:e} seed {seed}", block.label(row));
                plan.add(label, with(&row.experiment, rate, seed));
            }
        }
        // The final runs follow all at once, so that no index ever changes.
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

    /// Seeds that learning rates are chosen with.
    fn tuning(&self) -> Vec<u64> {
        self.config.seeds.list().into_iter().take(self.config.tuning_seeds).collect()
    }

    /// Whether runs that learning rates are chosen by are still open.
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

/// What the runs at one learning rate say.
#[derive(PartialEq)]
enum Tried {
    /// Some are not done.
    Open,
    /// One failed: the rate is out.
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

/// Runs that a file may come to ask for, whether or not they make sense.
fn most_runs(config: &CompareConfig) -> usize {
    let tables = match &config.matched {
        Matches::One(_) => 1,
        Matches::Several(several) => several.len(),
    };
    let of_row = |row| config.seeds.count().saturating_add(config.rates(row).len().saturating_mul(config.tuning_seeds));
    let rows = config.rows.iter().map(of_row).fold(0, usize::saturating_add);
    rows.saturating_mul(tables).saturating_mul(config.tasks.len())
}

/// Rules that serde cannot see.
fn check(file: &StudyFile, config: &CompareConfig) -> Result<(), Error> {
    if config.seeds.count() > MOST_SEEDS {
        return Err(file.problem("seeds", &format!("give {MOST_SEEDS} or fewer")));
    }
    if let Some(problem) = config.seeds.problem() {
        return Err(file.problem("seeds", &problem));
    }
    let names = config.rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>();
    if !names.contains(&config.reference.as_str()) {
        return Err(file.problem("reference", &format!("no such row; there are {}", names.join(", "))));
    }
    for (key, names) in [("rows", names), ("tasks", config.tasks.iter().map(|task| task.name.as_str()).collect())] {
        if let Some(index) = (1..names.len()).find(|index| names[..*index].contains(&names[*index])) {
            return Err(file.problem(&format!("{key}.{index}.name"), "this name is taken"));
        }
    }
    if config.tuning_seeds == 0 || config.tuning_seeds > config.seeds.list().len() {
        return Err(file.problem("tuning_seeds", "must be at least 1 and no more than there are seeds"));
    }
    if matches!(&config.matched, Matches::Several(several) if several.is_empty()) {
        return Err(file.problem("match", "name at least one: `parameters`, `flops` or `none`"));
    }
    let equal = match &config.matched {
        Matches::One(one) => *one != Match::None,
        Matches::Several(several) => several.iter().any(|matched| *matched != Match::None),
    };
    for (index, row) in config.rows.iter().enumerate().filter(|(_, row)| row.free.is_some()) {
        let problem = if row.name == config.reference {
            "the reference is what the others are matched to; it has no free size"
        } else if equal {
            continue;
        } else {
            "nothing is solved for with match = \"none\""
        };
        return Err(file.problem(&format!("rows.{index}.free"), problem));
    }
    let tables = std::iter::once(("set".to_owned(), &config.set))
        .chain(config.rows.iter().enumerate().map(|(index, row)| (format!("rows.{index}.set"), &row.set)))
        .chain(config.tasks.iter().enumerate().map(|(index, task)| (format!("tasks.{index}.set"), &task.set)));
    for (key, table) in tables {
        if table.contains_key("seed") {
            return Err(file.problem(&format!("{key}.seed"), "seeds are the same for all rows; give them in `seeds`"));
        }
    }
    if config.rows.len() < 2 {
        return Err(file.problem("rows", "a comparison needs two rows or more"));
    }
    if config.tasks.is_empty() {
        return Err(file.problem("tasks", "a comparison needs a task"));
    }
    let of_rows = config
        .rows
        .iter()
        .enumerate()
        .filter_map(|(index, row)| Some((format!("rows.{index}.learning_rates"), row.learning_rates.as_ref()?)));
    for (key, rates) in std::iter::once(("learning_rates".to_owned(), &config.learning_rates)).chain(of_rows) {
        if let Some(rate) = rates.iter().find(|rate| !(rate.is_finite() && **rate > 0.0)) {
            return Err(file.problem(&key, &format!("{rate} is no learning rate")));
        }
        if let Some(problem) = rates.iter().find_map(|rate| lost(*rate)) {
            return Err(file.problem(&key, &problem));
        }
    }
    Ok(())
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

/// Makes the rows of one task.
struct Maker<'a> {
    file: &'a StudyFile,
    base: Base,
    task: &'a TaskPart,
    index: usize,
    set: &'a Table,
}

impl Maker<'_> {
    /// The rows for each kind of equality.
    fn rows(&self, parts: &[RowPart], reference: &str, matches: &[Match]) -> Result<Vec<Vec<Row>>, Error> {
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

    /// The row, its free size solved for where there is a target.
    fn row(&self, index: usize, part: &RowPart, matched: Match, target: Option<f64>) -> Result<Row, Error> {
        let mut settings = self.settings(part);
        let places = ["set".to_owned(), format!("tasks.{}.set", self.index), format!("rows.{index}.set")];
        let mut solved = None;
        if let (Some(free), Some(target)) = (&part.free, target.filter(|_| matched != Match::None)) {
            if self.base.unchecked(&[settings.clone(), vec![Override::new(free, Value::Integer(1))]].concat()).is_none()
            {
                // It says what is wrong with the key.
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

    /// The value of a size that brings the row closest to the target, of those that give a sound experiment.
    fn solve(&self, settings: &[Override], free: &str, matched: Match, target: f64, places: &[String]) -> Option<u64> {
        let with = |value: u64| {
            let mut settings = settings.to_vec();
            settings.push(Override::new(free, Value::Integer(i64::try_from(value).unwrap_or(i64::MAX))));
            settings
        };
        // What is spent grows with any size, sound or not.
        let spent = |value: u64| self.base.unchecked(&with(value)).map(|experiment| matched.spent(&experiment));
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

/// Seeds at most.
const MOST_SEEDS: usize = 10_000;
/// No size of a model is beyond this.
const LARGEST: u64 = 1 << 20;
/// Values on either side of the best that are looked at for a sound one: a width must be a multiple of the heads.
const REACH: usize = 64;
