//! A function given by formulas or a table, for example the target of a construction.

use std::sync::Arc;

use headway_keys::Described;
use rand::RngExt;
use rand_distr::StandardNormal;
use serde::{Deserialize, Serialize};

use crate::{
    baseline::{Baseline, flattened::Flattened, mean::Mean, per_position::PerPosition},
    batch::{Example, Inputs, Targets, TaskDims, TaskInput},
    distribution::Distribution,
    error::TaskError,
    expression::Expression,
    files::Files,
    interval::{Derivatives, Interval},
    jet::Jet,
    known::Known,
    seed::{SampleRng, Seed, Stream},
    task::{Split, Task, TaskSpec},
};

/// A target function, given by formulas or by a table of values.
///
/// ```toml
/// [task.function]
/// seq_len = 2
/// d_in = 3
/// outputs = ["x1*x2 + x3^2/i", "max(x1_1, x2_3)"]
/// domain = "sphere"
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(from = "Written")]
pub struct FunctionConfig {
    /// Number of positions. Default 8.
    pub seq_len: usize,
    /// Numbers per position. Default 2.
    pub d_in: usize,
    /// One formula per output number, in the notation of [`crate::expression`], evaluated at every position. `x1`,
    /// `x2`, … are the numbers of the position itself, `i` is its index from 1, and `x2_3` is number 3 of position 2.
    /// Default sin(2*PI*x1)*x2, unless there is a table.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<String>,
    /// Instead of formulas: every output number is looked up for the input number at the same place. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<Table>,
    /// Distribution of the inputs. Default: the cube from 0 to 1.
    pub domain: Domain,
}

/// The keys of a [`FunctionConfig`] in a config file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Written {
    seq_len: usize,
    d_in: usize,
    outputs: Option<Vec<String>>,
    table: Option<Table>,
    domain: Domain,
}

impl Default for Written {
    fn default() -> Self {
        Self { seq_len: 8, d_in: 2, outputs: None, table: None, domain: Domain::default() }
    }
}

impl From<Written> for FunctionConfig {
    fn from(Written { seq_len, d_in, outputs, table, domain }: Written) -> Self {
        // A table replaces the default formula.
        let default = || if table.is_none() { vec!["sin(2*PI*x1)*x2".to_owned()] } else { Vec::new() };
        Self { seq_len, d_in, outputs: outputs.unwrap_or_else(default), table, domain }
    }
}

impl Default for FunctionConfig {
    fn default() -> Self {
        Written::default().into()
    }
}

/// A piecewise linear function of one number, given by its values at some points; constant before the first and after
/// the last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// The points, in increasing order.
    pub x: Vec<f64>,
    /// Value at each point.
    pub y: Vec<f64>,
}

impl Table {
    fn problems(&self) -> Vec<TaskError> {
        let Self { x, y } = self;
        let error = |key, problem| Some(TaskError::Key { key, problem });
        let infinite = |numbers: &[f64]| numbers.iter().copied().find(|&value| !(value as f32).is_finite());
        let x_problem = match (infinite(x), x.windows(2).find(|pair| pair[0] >= pair[1])) {
            _ if x.len() < 2 => error("table.x", format!("{} points are too few; give 2 or more", x.len())),
            (Some(value), _) => error("table.x", format!("it holds {value:?}; give finite single-precision numbers")),
            (_, Some(pair)) => {
                error("table.x", format!("{} stands before {}; give points in increasing order", pair[0], pair[1]))
            }
            _ => None,
        };
        let y_problem = match infinite(y) {
            _ if y.len() != x.len() => {
                error("table.y", format!("there are {} values for {} points; give as many", y.len(), x.len()))
            }
            Some(value) => error("table.y", format!("it holds {value:?}; give finite single-precision numbers")),
            None => None,
        };
        x_problem.into_iter().chain(y_problem).collect()
    }

    /// Values and slopes over an interval; at the points, slopes cover both sides and all numbers between.
    fn over(&self, points: Interval) -> Derivatives {
        let (x, y) = (&self.x, &self.y);
        if points.is_undefined() {
            return [points; 3];
        }
        // The linear pieces that the interval touches: piece 0 is constant before the first point, the last is constant
        // after the last point.
        let first = x.partition_point(|x| *x < points.low);
        let last = x.partition_point(|x| *x <= points.high);
        let slope = |line: usize| {
            if line == 0 || line == x.len() {
                return Interval::ZERO;
            }
            let difference = |of: &[f64]| Interval::point(of[line]) - Interval::point(of[line - 1]);
            difference(y) * difference(x).reciprocal()
        };
        let slopes = (first..=last).map(slope).fold(slope(first), Interval::hull);
        let inside = y[first..last].iter().copied();
        let ends = [self.at(points.low), self.at(points.high)];
        let (low, high) = inside.chain(ends).fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), y| (l.min(y), h.max(y)));
        // Linear interpolation has a few rounding errors.
        let slack = 8.0 * f64::EPSILON * low.abs().max(high.abs());
        let second = if first == last { Interval::ZERO } else { Interval::ENTIRE };
        [Interval::new(low - slack, high + slack), slopes, second]
    }

    /// The value at a number.
    fn at(&self, point: f64) -> f64 {
        let (x, y) = (&self.x, &self.y);
        let above = x.partition_point(|&x| x <= point); // the first point above this one
        if above == 0 {
            y[0]
        } else if above == x.len() {
            y[above - 1]
        } else {
            let below = above - 1;
            y[below] + (y[above] - y[below]) * ((point - x[below]) / (x[above] - x[below]))
        }
    }
}

/// Distribution of the inputs of a function.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Domain {
    /// Every number is U(low, high).
    Cube {
        /// Lower end.
        low: f64,
        /// Upper end.
        high: f64,
    },
    /// Every number is N(mean, std^2).
    Normal {
        /// Mean. Default 0.
        #[serde(default = "default_mean")]
        mean: f64,
        /// Standard deviation. Default 1.
        #[serde(default = "default_std")]
        std: f64,
    },
    /// Every position is uniform on the unit sphere of R^d_in.
    Sphere,
}

fn default_mean() -> f64 {
    0.0
}

fn default_std() -> f64 {
    1.0
}

impl Default for Domain {
    fn default() -> Self {
        Self::Cube { low: 0.0, high: 1.0 }
    }
}

/// Number of points, besides the corners, at which a function is tested before it is accepted; smaller if sequences or
/// formulas are so long that testing would take seconds.
fn n_tried(len: usize, operations: usize) -> u64 {
    ((1 << 20) / len.max(operations / 64).max(1) as u64).clamp(2, 256)
}

/// Largest number of operations of the formulas for one sequence; they take a second.
const MOST_OPERATIONS: usize = 1 << 28;

/// Seed of the tested points, whatever the seed of a run.
const TRY: Seed = Seed(0);

/// Largest number of characters of all formulas together; each takes up to 16 bytes when the formulas are ready to be
/// evaluated.
const MOST_CHARACTERS: usize = 4_000_000;
/// Largest number of a point's coordinates that a message shows.
const SPELLED_OUT: usize = 12;

impl Domain {
    /// The distribution of every number; `None` if numbers are not independent.
    fn distribution(self) -> Option<Distribution> {
        match self {
            Self::Cube { low, high } => Some(Distribution::Uniform { low, high }),
            Self::Normal { mean, std } => Some(Distribution::Normal { mean, std }),
            Self::Sphere => None,
        }
    }

    fn problem(self) -> Option<TaskError> {
        let problem = self.distribution()?.validate()?.replace("uniform", "cube");
        Some(TaskError::Key { key: "domain", problem })
    }

    /// One sequence. `[seq_len * d_in]`
    pub fn sample(self, seq_len: usize, d_in: usize, rng: &mut SampleRng) -> Vec<f32> {
        match self.distribution() {
            Some(law) => law.vector(seq_len * d_in, rng),
            None => (0..seq_len).flat_map(|_| on_sphere(d_in, rng)).collect(),
        }
    }

    /// A fixed set of sequences: the centre, ends and corners, then some random ones.
    fn tried(self, seq_len: usize, d_in: usize, count: u64) -> impl Iterator<Item = Vec<f32>> {
        let len = seq_len * d_in;
        let ends = match self {
            Self::Cube { low, high } => Some((low, f64::midpoint(low, high), high)),
            // One number in 10^9 lies beyond six deviations.
            Self::Normal { mean, std } => Some((mean - 6.0 * std, mean, mean + 6.0 * std)),
            Self::Sphere => None,
        };
        let constant =
            ends.into_iter().flat_map(move |(low, centre, high)| [centre, low, high].map(|x| vec![x as f32; len]));
        let corners = ends.into_iter().flat_map(move |(low, _, high)| {
            // All corners if there are few, else some of them.
            let count = if len < 8 { 1 << len } else { count };
            (0..count).map(move |corner| {
                let mut rng = TRY.rng(Stream::Task, corner);
                let bit = |i: usize| if len < 8 { corner >> i & 1 == 1 } else { rng.random() };
                (0..len).map(bit).map(|is_high| if is_high { high as f32 } else { low as f32 }).collect()
            })
        });
        // On the sphere: both ends of each axis, at all positions.
        let axes = if ends.is_none() { 0..2 * d_in } else { 0..0 };
        let poles = axes.map(move |pole| {
            let mut token = vec![0.0; d_in];
            token[pole / 2] = if pole % 2 == 0 { 1.0 } else { -1.0 };
            token.repeat(seq_len)
        });
        let random = (0..count).map(move |i| self.sample(seq_len, d_in, &mut TRY.rng(Stream::Fit, i)));
        constant.chain(corners).chain(poles).chain(random)
    }
}

/// A random point of the unit sphere of R^d: a normal vector divided by its length. `[d]`
fn on_sphere(d: usize, rng: &mut SampleRng) -> Vec<f32> {
    loop {
        let point: Vec<f64> = (0..d).map(|_| rng.sample(StandardNormal)).collect();
        let length = point.iter().map(|x| x * x).sum::<f64>().sqrt();
        // The direction of a shorter vector, which practically never occurs, would be inaccurate.
        if length > 1e-9 {
            return point.iter().map(|x| (x / length) as f32).collect();
        }
    }
}

impl TaskSpec for FunctionConfig {
    fn dims(&self) -> TaskDims {
        let d_out = if self.table.is_some() { self.d_in } else { self.outputs.len() };
        TaskDims { seq_len: self.seq_len, input: TaskInput::Continuous { d_in: self.d_in }, d_out }
    }

    fn validate(&self) -> Vec<TaskError> {
        Function::new(self).err().unwrap_or_default()
    }

    fn open(&self, _: &Files, _: &mut SampleRng) -> Result<Box<dyn Task>, TaskError> {
        let function = Function::new(self).expect("the config was validated");
        Ok(Box::new(FunctionTask { config: self.clone(), function }))
    }

    fn answers_ahead(&self) -> Option<&'static str> {
        None
    }

    fn clues_ahead(&self) -> Option<&'static str> {
        let looks_ahead = Function::new(self).is_ok_and(|function| function.looks_ahead());
        looks_ahead.then_some("a target depends on inputs of later positions")
    }
}

/// A variable of a formula.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Variable {
    /// `x1`, `x2`, …: a number of the position itself, with its index from 0.
    Own(usize),
    /// `x1_1`, `x1_2`, …: a number of the whole sequence, with its index from 0.
    Any(usize),
    /// `i`, the index of the position.
    Position,
}

impl Variable {
    /// The variable with this name, for sequences `[seq_len, d_in]`; `None` if there is none.
    fn read(name: &str, seq_len: usize, d_in: usize) -> Option<Self> {
        // A number from 1 to `most`, written without leading zeros, as an index from 0.
        let number = |text: &str, most: usize| {
            let number = text.parse().ok().filter(|number| (1..=most).contains(number))?;
            (number.to_string() == text).then_some(number - 1)
        };
        if name == "i" {
            return Some(Self::Position);
        }
        let numbers = name.strip_prefix('x')?;
        match numbers.split_once('_') {
            None => number(numbers, d_in).map(Self::Own),
            Some((i, j)) => Some(Self::Any(number(i, seq_len)? * d_in + number(j, d_in)?)),
        }
    }

    /// The list of variables for messages.
    fn all(seq_len: usize, d_in: usize) -> String {
        match (seq_len * d_in, d_in) {
            (1, _) => "x1, x1_1, i".to_owned(),
            (_, 1) => format!("x1, x1_1 to x{seq_len}_1, i"),
            _ => format!("x1 to x{d_in}, x1_1 to x{seq_len}_{d_in}, i"),
        }
    }
}

/// Largest number of positions, and of numbers of one, that [`named`] reads.
const MOST_NAMED: usize = 1 << 20;

/// The fewest positions, and the fewest numbers per position, with which formulas have all variables that they name.
///
/// # Errors
/// A formula that cannot be parsed whatever the sizes, with the position.
pub fn named(outputs: &[String]) -> Result<[usize; 2], TaskError> {
    let read = |name: &str| Variable::read(name, MOST_NAMED, MOST_NAMED);
    let mut sizes = [1, 1];
    for output in outputs {
        let formula = Expression::parse(output, &read, "x1, x2, ..., x1_1, x2_1, ..., i")
            .map_err(|problem| TaskError::Key { key: "outputs", problem: format!("`{output}`, {problem}") })?;
        for variable in formula.variables() {
            let [position, number] = match variable {
                Variable::Own(at) => [1, at + 1],
                Variable::Any(at) => [at / MOST_NAMED + 1, at % MOST_NAMED + 1],
                Variable::Position => [1, 1],
            };
            sizes = [sizes[0].max(position), sizes[1].max(number)];
        }
    }
    Ok(sizes)
}

/// A function of sequences, read from a [`FunctionConfig`] once and evaluated in double precision any number of times.
#[derive(Clone, Debug)]
pub struct Function {
    seq_len: usize,
    d_in: usize,
    rule: Rule,
}

#[derive(Clone, Debug)]
enum Rule {
    Outputs(Vec<Expression<Variable>>),
    Table(Table),
}

impl Function {
    /// The function of a config. It is tested at the centre, at corners and at random points of the domain, which are
    /// the same every time.
    ///
    /// # Errors
    /// All problems, each with the key to change; for example a formula that cannot be parsed, with the position, or
    /// one that is not finite at a tested point, with that point.
    pub fn new(config: &FunctionConfig) -> Result<Self, Vec<TaskError>> {
        let FunctionConfig { seq_len, d_in, ref outputs, ref table, domain } = *config;
        let sizes = [TaskError::below("seq_len", seq_len, 1), TaskError::below("d_in", d_in, 1), domain.problem()];
        let mut problems: Vec<TaskError> = sizes.into_iter().flatten().collect();
        if let Some(problem) = config.dims().problem(config.dims().seq_len) {
            // A function of that size is not tested further.
            return Err(vec![TaskError::Key { key: "seq_len", problem: problem.into_parts().1 }]);
        }
        let rule = match (table, outputs.is_empty()) {
            (Some(_), false) => {
                let problem = "there are both outputs and a table; leave one of them out".to_owned();
                Err(vec![TaskError::Key { key: "outputs", problem }])
            }
            (None, true) => {
                let problem = "the list is empty; give one formula per number out, such as [\"sin(x1)\"]".to_owned();
                Err(vec![TaskError::Key { key: "outputs", problem }])
            }
            (Some(table), true) => {
                let problems = table.problems();
                if problems.is_empty() { Ok(Rule::Table(table.clone())) } else { Err(problems) }
            }
            (None, false) if outputs.iter().map(String::len).sum::<usize>() > MOST_CHARACTERS => {
                let problem = format!("the formulas are too long; give {MOST_CHARACTERS} characters at most");
                Err(vec![TaskError::Key { key: "outputs", problem }])
            }
            (None, false) => Self::read(outputs, seq_len, d_in).map(Rule::Outputs),
        };
        match rule {
            Ok(rule) if problems.is_empty() => {
                let function = Self { seq_len, d_in, rule };
                function.not_finite(config).map_or(Ok(function), |problem| Err(vec![problem]))
            }
            Ok(_) => Err(problems),
            Err(more) => {
                problems.extend(more);
                Err(problems)
            }
        }
    }

    fn read(outputs: &[String], seq_len: usize, d_in: usize) -> Result<Vec<Expression<Variable>>, Vec<TaskError>> {
        let (mut expressions, mut problems) = (Vec::new(), Vec::new());
        let variable = |name: &str| Variable::read(name, seq_len, d_in);
        let all = Variable::all(seq_len, d_in);
        for output in outputs {
            match Expression::parse(output, &variable, &all) {
                Ok(expression) => expressions.push(expression),
                Err(problem) => {
                    problems.push(TaskError::Key { key: "outputs", problem: format!("`{output}`, {problem}") });
                }
            }
        }
        if problems.is_empty() { Ok(expressions) } else { Err(problems) }
    }

    /// An error if a value at a tested point is not finite in single precision.
    fn not_finite(&self, config: &FunctionConfig) -> Option<TaskError> {
        // The values of a table are finite, and so are those between them.
        let Rule::Outputs(outputs) = &self.rule else { return None };
        let (d_in, d_out) = (self.d_in, self.d_out());
        let operations = outputs.iter().map(Expression::operations).sum::<usize>().saturating_mul(self.seq_len);
        if operations > MOST_OPERATIONS {
            let problem = format!(
                "{operations} operations for {} positions are too many; give {MOST_OPERATIONS} at most",
                self.seq_len
            );
            return Some(TaskError::Key { key: "outputs", problem });
        }
        let count = n_tried(self.seq_len * d_in, operations);
        config.domain.tried(self.seq_len, d_in, count).find_map(|inputs| {
            let inputs: Vec<f64> = inputs.into_iter().map(f64::from).collect();
            let values = self.evaluate(&inputs);
            let (at, value) = values.iter().enumerate().find(|(_, value)| !(**value as f32).is_finite())?;
            let (position, output) = (at / d_out, &config.outputs[at % d_out]);
            let point = if inputs.len() <= SPELLED_OUT {
                format!("{:?}", inputs.chunks_exact(d_in).collect::<Vec<_>>())
            } else {
                let own = &inputs[position * d_in..][..d_in.min(SPELLED_OUT)];
                let more = if d_in > SPELLED_OUT { " and more" } else { "" };
                format!("a sequence with {own:?}{more} there")
            };
            let fix = "give a formula that is finite in single precision on the whole domain, or a smaller domain";
            let problem = format!("`{output}` is {value:?} at position {} of {point}; {fix}", position + 1);
            Some(TaskError::Key { key: "outputs", problem })
        })
    }

    /// Number of positions.
    pub fn seq_len(&self) -> usize {
        self.seq_len
    }

    /// Input numbers per position.
    pub fn d_in(&self) -> usize {
        self.d_in
    }

    /// Output numbers per position.
    pub fn d_out(&self) -> usize {
        match &self.rule {
            Rule::Outputs(outputs) => outputs.len(),
            Rule::Table(_) => self.d_in,
        }
    }

    /// The formulas, one per output number of a position; none for a table.
    pub fn formulas(&self) -> &[Expression<Variable>] {
        match &self.rule {
            Rule::Outputs(outputs) => outputs,
            Rule::Table(_) => &[],
        }
    }

    /// Whether the output at a position depends only on the input at that position and on the position's index.
    pub fn is_per_position(&self) -> bool {
        match &self.rule {
            Rule::Outputs(outputs) => {
                !outputs.iter().flat_map(Expression::variables).any(|variable| matches!(variable, Variable::Any(_)))
            }
            Rule::Table(_) => true,
        }
    }

    /// Whether the output at some position depends on the input at a later one.
    pub fn looks_ahead(&self) -> bool {
        // At the first position, which has only itself.
        let is_later = |variable| matches!(variable, Variable::Any(at) if at >= self.d_in);
        match &self.rule {
            Rule::Outputs(outputs) => outputs.iter().flat_map(Expression::variables).any(is_later),
            Rule::Table(_) => false,
        }
    }

    /// Whether the output at a position depends only on the input at that position, not even on its index.
    pub fn is_alike_everywhere(&self) -> bool {
        match &self.rule {
            Rule::Outputs(outputs) => {
                outputs.iter().flat_map(Expression::variables).all(|variable| matches!(variable, Variable::Own(_)))
            }
            Rule::Table(_) => true,
        }
    }

    /// The values for one sequence; not finite where a formula is not.
    ///
    /// # Shapes
    /// inputs `[seq_len, d_in]` -> `[seq_len, d_out]`
    ///
    /// # Panics
    /// If the number of inputs is not `seq_len * d_in`.
    pub fn evaluate(&self, inputs: &[f64]) -> Vec<f64> {
        assert_eq!(inputs.len(), self.seq_len * self.d_in, "a sequence of another size");
        let outputs = match &self.rule {
            Rule::Outputs(outputs) => outputs,
            Rule::Table(table) => return inputs.iter().map(|&x| table.at(x)).collect(),
        };
        let (mut values, mut stack) = (Vec::with_capacity(self.seq_len * outputs.len()), Vec::new());
        for (position, own) in inputs.chunks_exact(self.d_in).enumerate() {
            let variable = |variable| match variable {
                Variable::Own(j) => own[j],
                Variable::Any(at) => inputs[at],
                Variable::Position => (position + 1) as f64,
            };
            values.extend(outputs.iter().map(|output| output.evaluate(variable, &mut stack)));
        }
        values
    }

    /// Values and derivatives over all sequences with these numbers: the [variables](Jet::variables) of a box, or the
    /// points of a path.
    ///
    /// # Shapes
    /// inputs `[seq_len, d_in]` -> `[seq_len, d_out]`, with derivatives by the same numbers as those of the inputs
    ///
    /// # Panics
    /// If the number of inputs is not `seq_len * d_in`.
    pub fn enclose(&self, inputs: &[Jet]) -> Vec<Jet> {
        assert_eq!(inputs.len(), self.seq_len * self.d_in, "a sequence of another size");
        let (n, order) = (inputs[0].gradient.len(), inputs[0].order());
        let outputs = match &self.rule {
            Rule::Outputs(outputs) => outputs,
            Rule::Table(table) => return inputs.iter().map(|x| x.clone().then(table.over(x.value))).collect(),
        };
        let positions = (0..self.seq_len).flat_map(|position| outputs.iter().map(move |output| (position, output)));
        let enclosed = positions.map(|(position, output)| {
            let variable = |variable| match variable {
                Variable::Own(j) => inputs[position * self.d_in + j].clone(),
                Variable::Any(at) => inputs[at].clone(),
                Variable::Position => Jet::constant(Interval::point((position + 1) as f64), n, order),
            };
            output.enclose(variable, n, order)
        });
        enclosed.collect()
    }
}

/// y = f(x) with the same given f for all examples and seeds, and x from its domain. Evaluated in double precision at
/// the numbers that a model sees, then rounded. Inputs at which f is not finite are drawn again. Every position is
/// scored.
///
/// # Shapes
/// inputs `[seq_len, d_in]` -> targets `[seq_len, d_out]`
#[derive(Clone, Debug)]
pub struct FunctionTask {
    config: FunctionConfig,
    function: Function,
}

impl Task for FunctionTask {
    fn dims(&self) -> TaskDims {
        self.config.dims()
    }

    fn example(&self, _: Split, _: u64, rng: &mut SampleRng) -> Example {
        let FunctionConfig { seq_len, d_in, domain, .. } = self.config;
        // This ends, since the function was finite at many points of this distribution.
        loop {
            let inputs = domain.sample(seq_len, d_in, rng);
            let values = self.function.evaluate(&inputs.iter().map(|&x| f64::from(x)).collect::<Vec<_>>());
            let targets: Vec<f32> = values.into_iter().map(|value| value as f32).collect();
            if targets.iter().all(|target| target.is_finite()) {
                let (loss_mask, slices) = (vec![true; seq_len], vec![None; seq_len]);
                let (inputs, targets) = (Inputs::Continuous(inputs), Targets::Continuous(targets));
                return Example { inputs, targets, loss_mask, slices };
            }
        }
    }

    fn known(&self) -> Option<Known> {
        let function = self.function.clone();
        let FunctionConfig { outputs, table, domain, .. } = &self.config;
        let text = if table.is_some() { "the task's table".to_owned() } else { outputs.join(", ") };
        let ends = domain.distribution().and_then(|law| law.ends());
        Some(Known { text, enclosure: Arc::new(move |x| function.enclose(x)), ends })
    }

    fn baselines(&self) -> Vec<Box<dyn Baseline>> {
        let least_squares: Box<dyn Baseline> = if self.function.is_per_position() {
            Box::new(PerPosition::default())
        } else {
            Box::new(Flattened::default())
        };
        vec![least_squares, Box::new(Mean::default())]
    }
}

/// A named function.
#[derive(Clone, Copy, Debug)]
pub struct BuiltIn {
    /// Its name.
    pub name: &'static str,
    /// Number of positions that it needs; `None` if it treats all positions alike, so that any number is possible.
    pub seq_len: Option<usize>,
    /// Numbers per position that it needs.
    pub d_in: usize,
    /// Its formulas, as in [`FunctionConfig`].
    pub outputs: &'static [&'static str],
    /// Domain that it is meant for.
    pub domain: Domain,
    /// Where the slope of a function of one number jumps; empty for others.
    pub kinks: &'static [f64],
    /// One-line summary.
    pub summary: &'static str,
}

impl BuiltIn {
    /// The function with this name; `None` if there is none.
    pub fn find(name: &str) -> Option<&'static Self> {
        BUILT_INS.iter().find(|function| function.name == name)
    }

    /// The function as a config, with one position if any number is possible.
    pub fn config(&self) -> FunctionConfig {
        let outputs = self.outputs.iter().map(|&output| output.to_owned()).collect();
        let (seq_len, domain) = (self.seq_len.unwrap_or(1), self.domain);
        FunctionConfig { seq_len, d_in: self.d_in, outputs, table: None, domain }
    }
}

/// Domain of scalar functions: it contains both sides of every kink, and the places where sigmoids saturate.
const AROUND_ZERO: Domain = Domain::Cube { low: -3.0, high: 3.0 };

/// Domain of functions of several numbers.
const UNIT: Domain = Domain::Cube { low: 0.0, high: 1.0 };

/// All named functions.
pub const BUILT_INS: &[BuiltIn] = &[
    scalar("relu", &["relu(x1)"], &[0.0], "max(x, 0)"),
    scalar("gelu", &["gelu(x1)"], &[], "x Phi(x), with the law of N(0, 1)"),
    scalar("tanh", &["tanh(x1)"], &[], "the hyperbolic tangent"),
    scalar("sine", &["sin(3*x1)"], &[], "sin(3 x): three periods, nearly"),
    scalar("sigmoid", &["sigmoid(x1)"], &[], "1 / (1 + exp(-x))"),
    scalar("abs", &["abs(x1)"], &[0.0], "|x|"),
    BuiltIn {
        name: "waves",
        seq_len: None,
        d_in: 2,
        outputs: &["sin(2*PI*x1)*x2"],
        domain: UNIT,
        kinks: &[],
        summary: "a sine along x1 whose height is x2",
    },
    BuiltIn {
        name: "kink",
        seq_len: None,
        d_in: 2,
        outputs: &["max(abs(x1 - 0.413), abs(x2 - 0.577))"],
        domain: UNIT,
        kinks: &[],
        summary: "1-Lipschitz in the maximum norm, with kinks off every grid",
    },
    BuiltIn {
        name: "mixing",
        seq_len: Some(2),
        d_in: 2,
        outputs: &["sin(2*x1_1 + x2_2) + x1/2", "x1_2*x2_1 + cos(i*x2)"],
        domain: UNIT,
        kinks: &[],
        summary: "smooth, of all four numbers of two positions, and another one at each position",
    },
    sphere("sphere_lipschitz", 3, &["abs(x1)", "max(x2, x3)", "abs(x1 - x2)/2"], "three 1-Lipschitz functions"),
    sphere("sphere_smooth", 3, &["x1*x2", "sin(2*x3)", "x1^2 - x3"], "three smooth functions"),
    sphere("circle_lipschitz", 2, &["abs(x1)", "max(x1, x2)"], "two 1-Lipschitz functions on the circle"),
    sphere("circle_smooth", 2, &["x1*x2", "sin(2*x2)"], "two smooth functions on the circle"),
];

/// A function of one number.
const fn scalar(
    name: &'static str,
    outputs: &'static [&'static str],
    kinks: &'static [f64],
    summary: &'static str,
) -> BuiltIn {
    BuiltIn { name, seq_len: None, d_in: 1, outputs, domain: AROUND_ZERO, kinks, summary }
}

/// A function on the unit sphere of R^d_in.
const fn sphere(name: &'static str, d_in: usize, outputs: &'static [&'static str], summary: &'static str) -> BuiltIn {
    BuiltIn { name, seq_len: None, d_in, outputs, domain: Domain::Sphere, kinks: &[], summary }
}
