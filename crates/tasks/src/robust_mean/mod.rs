//! A point from what agents report about it, some of whom lie.

pub mod attack;

use headway_keys::Described;
use nalgebra::DVector;
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::{
    baseline::{
        Baseline,
        agents::{Agents, Estimator},
        geometric_median::GeometricMedian,
        l1::L1,
        least_squares::LeastSquares,
        mean::Mean,
        trimmed_mean::TrimmedMean,
        two_timescale::TwoTimescale,
    },
    batch::{Example, TaskDims, TaskInput},
    distribution::Distribution,
    error::TaskError,
    files::Files,
    measure::{Measure, Wanted},
    prompt::rows,
    seed::SampleRng,
    subsets::{self, MOST_SUBSETS},
    task::{Split, Task, TaskSpec},
};

use attack::{Attack, directions, reports};

/// Sizes and distributions of [`RobustMean`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct RobustMeanConfig {
    /// Dimension of μ. Default 3.
    pub d: usize,
    /// Number of agents. Default 16.
    pub n_agents: usize,
    /// How many of them lie. Default up to 3.
    pub liars: Liars,
    /// What liars report. Default the worst case at distance 5.
    pub attack: Attack,
    /// Standard deviation of the noise of every report, in units of y. Default 0.1.
    pub noise: f64,
    /// Distribution of every coordinate of μ. Default N(0, 1).
    pub mean: Distribution,
}

/// How many agents lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Liars {
    /// The same number in every example.
    Exactly(usize),
    /// 0, 1, …, or this number, with the same probability each.
    UpTo(usize),
}

impl Liars {
    /// The largest number of them.
    pub fn most(self) -> usize {
        match self {
            Self::Exactly(m) | Self::UpTo(m) => m,
        }
    }
}

impl Default for RobustMeanConfig {
    fn default() -> Self {
        let (attack, mean) = (Attack::default(), Distribution::STANDARD_NORMAL);
        Self { d: 3, n_agents: 16, liars: Liars::UpTo(3), attack, noise: 0.1, mean }
    }
}

/// Largest lie and largest noise: beyond it, the squares of reports lose the truth in single precision.
const LARGEST: f64 = 1e6;

/// Largest number of agents: the linear program of l1 holds twice the square of it.
const MOST_AGENTS: usize = 1024;

impl RobustMeanConfig {
    /// Whether there are points that d agents agree on, few enough to go through.
    fn has_few_points(&self) -> bool {
        self.n_agents >= self.d && subsets::count(self.n_agents, self.d) <= MOST_SUBSETS
    }

    /// Classical estimates, which do not know who lies.
    pub fn estimators(&self) -> Vec<Box<dyn Estimator>> {
        let mut all: Vec<Box<dyn Estimator>> = vec![Box::new(L1), Box::new(TwoTimescale), Box::new(LeastSquares)];
        if self.has_few_points() {
            all.extend([Box::new(GeometricMedian) as Box<dyn Estimator>, Box::new(TrimmedMean)]);
        }
        all
    }

    fn bad_liars(&self) -> Option<TaskError> {
        let (most, fit) = (self.liars.most(), self.n_agents.saturating_sub(self.d));
        let problem = || {
            let others = self.n_agents.saturating_sub(most);
            format!("{most} of {} agents leave {others} that tell the truth, and {} are needed", self.n_agents, self.d)
                + " for as many dimensions; give "
                + &if fit > 0 { format!("{fit} or fewer") } else { "more agents, or fewer dimensions".to_owned() }
        };
        let key = match self.liars {
            Liars::Exactly(_) => "liars.exactly",
            Liars::UpTo(_) => "liars.up_to",
        };
        // None at all is `exactly = 0`.
        let none = matches!(self.liars, Liars::UpTo(0)).then(|| TaskError::below(key, 0, 1)).flatten();
        (most > fit).then(|| TaskError::Key { key, problem: problem() }).or(none)
    }

    fn too_many_sets(&self) -> Option<TaskError> {
        let is_worst = matches!(self.attack, Attack::WorstCase { .. });
        let sets = subsets::count(self.n_agents, self.d.saturating_sub(1));
        let problem = || {
            format!("among {} agents in {} dimensions it takes more than", self.n_agents, self.d)
                + &format!(" {MOST_SUBSETS} sets of agents to find it; give fewer agents or dimensions")
        };
        (is_worst && sets > MOST_SUBSETS).then(|| TaskError::Key { key: "attack.worst_case", problem: problem() })
    }
}

/// An error if the size is not within 0 and [`LARGEST`], or is 0 and may not be.
fn bad_size(key: &'static str, size: f64, may_be_zero: bool) -> Option<TaskError> {
    let (is_good, least) =
        if may_be_zero { ((0.0..=LARGEST).contains(&size), "0") } else { (size > 0.0 && size <= LARGEST, "above 0") };
    let problem = || match size.abs() {
        beyond if beyond > LARGEST => format!("{size:e} must be {least} up to {LARGEST:e}"),
        _ => format!("{size} must be {least} up to {LARGEST:e}"),
    };
    (!is_good).then(|| TaskError::Key { key, problem: problem() })
}

impl TaskSpec for RobustMeanConfig {
    fn dims(&self) -> TaskDims {
        let seq_len = self.n_agents.saturating_add(1);
        TaskDims { seq_len, input: TaskInput::Continuous { d_in: self.d.saturating_add(1) }, d_out: self.d }
    }

    fn validate(&self) -> Vec<TaskError> {
        let (key, size) = self.attack.size();
        let problems = [
            TaskError::below("d", self.d, 1),
            TaskError::below("n_agents", self.n_agents, 1),
            TaskError::above("n_agents", self.n_agents, MOST_AGENTS),
            self.bad_liars(),
            bad_size(key, size, false),
            bad_size("noise", self.noise, true),
            TaskError::bad_distribution("mean", &self.mean),
            self.too_many_sets(),
        ];
        let mut problems: Vec<TaskError> = problems.into_iter().flatten().collect();
        if problems.is_empty() {
            problems.extend(TaskError::squares_overflow("mean", self.d as f64 * self.mean.moment(2)));
        }
        problems
    }

    fn open(&self, _: &Files, _: &mut SampleRng) -> Result<Box<dyn Task>, TaskError> {
        Ok(Box::new(RobustMean { config: self.clone() }))
    }

    fn answers_ahead(&self) -> Option<&'static str> {
        None
    }

    fn asks_once(&self) -> bool {
        true
    }
}

/// Agent i measures a_i · μ and reports y_i, a_i · μ + noise from honest agents and a lie from the others. The sequence
/// (a_1, y_1), …, (a_n, y_n), (0, 0) is asked for μ at its last position, which is the only scored one. μ, the a_i
/// (uniform on the sphere) and the liars are new in every example.
///
/// It is asked once, after all agents: what liars can do is limited by their share among all, and among the first few
/// they may be the majority. The question is a position of its own so that no agent is nearer to the answer than others.
///
/// # Shapes
/// inputs `[n_agents + 1, d + 1]` -> targets `[n_agents + 1, d]`
#[derive(Clone, Debug)]
pub struct RobustMean {
    /// Sizes and distributions.
    pub config: RobustMeanConfig,
}

impl Task for RobustMean {
    fn dims(&self) -> TaskDims {
        self.config.dims()
    }

    /// Draws μ, the a_i, the number of liars, who they are and what they report, then the noise.
    fn example(&self, _: Split, _: u64, rng: &mut SampleRng) -> Example {
        let RobustMeanConfig { d, n_agents, liars, ref attack, noise, ref mean } = self.config;
        let mu = mean.vector(d, rng);
        let a = directions(d, n_agents, rng); // [d, n_agents]
        let m = match liars {
            Liars::Exactly(m) => m,
            Liars::UpTo(most) => rng.random_range(0..=most),
        };
        let (exact, centre) = (a.map(f64::from), DVector::from_vec(mu.clone()).map(f64::from));
        let (who, lie) = attack.draw(&exact, &centre, m, rng);
        let errors = DVector::from_vec(Distribution::STANDARD_NORMAL.vector(n_agents, rng)).map(f64::from);
        let y = (reports(&exact, &centre, &who, &lie) + errors * noise).map(|y| y as f32);
        let agents = a.insert_column(n_agents, 0.0); // [d, n_agents + 1], the question last
        let mut slices = vec![None; n_agents + 1];
        slices[n_agents] = matches!(liars, Liars::UpTo(_)).then_some(m as u32);
        Example { slices, ..rows::write(&agents, &y, &mu) }
    }

    fn baselines(&self) -> Vec<Box<dyn Baseline>> {
        let estimators = self.config.estimators().into_iter().map(|rule| Box::new(Agents(rule)) as Box<dyn Baseline>);
        estimators.chain([Box::new(Mean::default()) as Box<dyn Baseline>]).collect()
    }

    /// By the number of liars, if it varies.
    fn slices(&self) -> Vec<String> {
        match self.config.liars {
            Liars::Exactly(_) => Vec::new(),
            Liars::UpTo(most) => (0..=most).map(|m| format!("liars={m}")).collect(),
        }
    }

    /// The distance of the estimate from μ, whose mean a few captured examples move less than that of its square.
    fn measures(&self) -> Vec<Measure> {
        let distance = |prediction: &[f32], wanted: Wanted<'_>| match wanted {
            Wanted::Numbers(mu) => {
                Some(mu.iter().zip(prediction).map(|(mu, x)| f64::from(mu - x).powi(2)).sum::<f64>().sqrt())
            }
            Wanted::Class(_) => None,
        };
        vec![Measure::new("distance", distance)]
    }

    /// An estimate of μ for each sequence.
    fn answer(&self) -> Option<Vec<usize>> {
        Some(vec![self.config.d])
    }
}
