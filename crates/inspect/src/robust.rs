//! Estimates of a point from agents some of whom lie, without a network: where the stochastic l1 algorithm ends, and how
//! that depends on the worst ratio of the liars.

use headway_tasks::{
    Distribution, Seed, Stream, TaskConfig,
    baseline::{agents::Estimator, l1::L1, two_timescale::Descent},
    robust_mean::{
        Liars, RobustMeanConfig,
        attack::{Attack, Lie, Worst, directions, reports, worst},
    },
};
use nalgebra::{DMatrix, DVector};
use rand::RngExt;
use rand_distr::StandardNormal;
use serde::Serialize;

use super::median;
use crate::error::Error;

/// Which agents, lies and runs.
#[derive(Clone, Debug, Serialize)]
pub struct RobustRequest {
    /// Dimension of μ.
    pub d: usize,
    /// Number of agents.
    pub n_agents: usize,
    /// Numbers of liars, each a row.
    pub liars: Vec<usize>,
    /// Distance from μ to the point that colluding liars report, and the number that constant liars report.
    pub distance: f64,
    /// Standard deviation of every observation.
    pub noise: f64,
    /// Number of runs; each has a μ and observations of its own, and all have the same agents.
    pub runs: u64,
    /// Numbers of steps at which errors are reported.
    pub steps: Vec<u64>,
    /// Seed of agents and observations.
    pub seed: u64,
}

/// What became of the estimates.
#[derive(Clone, Debug, Serialize)]
pub struct Robust {
    /// What was asked.
    pub request: RobustRequest,
    /// One row per number of liars.
    pub rows: Vec<RobustRow>,
}

/// One number of liars.
#[derive(Clone, Debug, Serialize)]
pub struct RobustRow {
    /// Their number.
    pub liars: usize,
    /// The largest sum over liars of |a · x| / sum over the others, over all x and all sets of as many agents; infinite if the
    /// others do not span the space.
    pub ratio: f64,
    /// The agents at which it is reached, who lie.
    pub who: Vec<usize>,
    /// If they report a · p for one point p, along the direction at which the ratio is reached.
    pub colluding: Ending,
    /// The same agents, if all report one number.
    pub constant: Ending,
}

/// Where estimates end under one attack; errors are distances from μ, medians over runs.
#[derive(Clone, Debug, Serialize)]
pub struct Ending {
    /// Error of the stochastic algorithm after some numbers of steps, in ascending order; those asked for are among them.
    pub after: Vec<After>,
    /// Distance of its last estimate from the point that the liars report; `None` if they report none.
    pub from_lie: Option<f64>,
    /// Error of every other estimator, given the mean of each agent's observations over all steps.
    pub estimators: Vec<OneEstimator>,
    /// Largest share of the least sum of deviations by which that of l1 may be above it, proved for every run by a point
    /// of the dual program.
    pub gap: f64,
    /// How it ended.
    pub outcome: Outcome,
}

/// Errors after some steps.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct After {
    /// Number of steps.
    pub steps: u64,
    /// Median over runs.
    pub error: f64,
    /// Smallest of a run.
    pub smallest: f64,
    /// Largest of a run.
    pub largest: f64,
}

/// The error of one estimator.
#[derive(Clone, Debug, Serialize)]
pub struct OneEstimator {
    /// Its name.
    pub name: &'static str,
    /// Median over runs.
    pub error: f64,
}

/// How the stochastic algorithm ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The error falls from the first number of steps asked for to the last; if there is one, from step 10.
    Converges,
    /// It does not.
    Fails,
    /// The honest agents do not span the space, so that nothing tells μ in some direction.
    Undetermined,
    /// The last estimate is nearer to the liars' point than a tenth of its distance from μ.
    Captured,
}

impl Outcome {
    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Converges => "converges",
            Self::Fails => "fails",
            Self::Undetermined => "undetermined",
            Self::Captured => "captured",
        }
    }
}

impl Robust {
    /// Whether each row with a ratio below 1 converges under collusion, and no other.
    pub fn follows_the_ratio(&self) -> bool {
        self.rows.iter().all(|row| (row.ratio < 1.0) == (row.colluding.outcome == Outcome::Converges))
    }
}

/// Share of the distance to the liars' point within which an estimate is captured.
const NEAR: f64 = 0.1;

/// Runs the stochastic algorithm and the other estimators on agents drawn from the seed, of whom those with the worst
/// ratio lie.
///
/// # Errors
/// [`Error::Option`]
pub fn robust(request: &RobustRequest) -> Result<Robust, Error> {
    let config = |m| RobustMeanConfig {
        d: request.d,
        n_agents: request.n_agents,
        liars: Liars::Exactly(m),
        attack: Attack::WorstCase { distance: request.distance },
        noise: request.noise,
        ..RobustMeanConfig::default()
    };
    for &m in &request.liars {
        if let Some(problem) = TaskConfig::RobustMean(config(m)).validate().into_iter().next() {
            let (key, problem) = problem.into_parts();
            return Err(Error::Option { option: option(key), problem });
        }
    }
    let drawn = directions(request.d, request.n_agents, &mut Seed(request.seed).rng(Stream::Task, 0));
    let a = drawn.map(f64::from); // [d, n_agents]
    let row = |&m: &usize| {
        let worst = worst(&a, m);
        let way = &worst.direction * request.distance;
        let estimators = config(m).estimators();
        let ending = |lie: &dyn Fn(&DVector<f64>) -> Lie| ending(request, &a, &worst, lie, &estimators);
        let colluding = ending(&|mu| Lie::Point(mu + &way));
        let constant = ending(&|_| Lie::Value(request.distance));
        RobustRow { liars: m, ratio: worst.ratio, who: worst.liars.clone(), colluding, constant }
    };
    Ok(Robust { request: request.clone(), rows: request.liars.iter().map(row).collect() })
}

/// The option that gives a key of the task.
fn option(key: &str) -> &'static str {
    match key {
        "d" => "d",
        "liars.exactly" => "liars",
        "noise" => "noise",
        "attack.worst_case.distance" => "distance",
        _ => "agents",
    }
}

/// What one run ends with.
struct Run {
    errors: Vec<f64>,
    from_lie: Option<f64>,
    estimates: Vec<f64>,
    gap: f64,
}

fn ending(
    request: &RobustRequest,
    a: &DMatrix<f64>,
    worst: &Worst,
    lie: &dyn Fn(&DVector<f64>) -> Lie,
    estimators: &[Box<dyn Estimator>],
) -> Ending {
    let marks = marks(&request.steps);
    let run = |run| one(request, a, &worst.liars, lie, estimators, &marks, run);
    let runs: Vec<Run> = (0..request.runs).map(run).collect();
    let over_runs = |of: &dyn Fn(&Run) -> f64| median(runs.iter().map(|run| Some(of(run)))).unwrap_or(f64::NAN);
    let after = marks.iter().enumerate().map(|(mark, &steps)| {
        let errors = || runs.iter().map(|run| run.errors[mark]);
        After {
            steps,
            error: over_runs(&|run| run.errors[mark]),
            smallest: errors().fold(f64::INFINITY, f64::min),
            largest: errors().fold(0.0, f64::max),
        }
    });
    let after: Vec<After> = after.collect();
    let from_lie = runs.iter().all(|run| run.from_lie.is_some()).then(|| over_runs(&|run| run.from_lie.unwrap_or(0.0)));
    // The first of those asked for, or the first of all if only one is asked for.
    let first = after.iter().find(|after| request.steps.contains(&after.steps) && Some(&after.steps) != marks.last());
    let [first, last] = [first.or(after.first()), after.last()].map(|after| after.map(|after| after.error));
    let outcome = match from_lie {
        _ if worst.ratio.is_infinite() => Outcome::Undetermined,
        Some(distance) if distance < NEAR * request.distance => Outcome::Captured,
        _ if last < first => Outcome::Converges,
        _ => Outcome::Fails,
    };
    let estimators = estimators.iter().enumerate().map(|(which, estimator)| OneEstimator {
        name: estimator.name(),
        error: over_runs(&|run| run.estimates[which]),
    });
    Ending {
        estimators: estimators.collect(),
        gap: runs.iter().map(|run| run.gap).fold(0.0, f64::max),
        after,
        from_lie,
        outcome,
    }
}

fn one(
    request: &RobustRequest,
    a: &DMatrix<f64>,
    liars: &[usize],
    lie: &dyn Fn(&DVector<f64>) -> Lie,
    estimators: &[Box<dyn Estimator>],
    marks: &[u64],
    run: u64,
) -> Run {
    let (d, n) = a.shape();
    // The same for all numbers of liars and both attacks, which are compared.
    let mut rng = Seed(request.seed).rng(Stream::Test, run);
    let mu = DVector::from_vec(Distribution::STANDARD_NORMAL.vector(d, &mut rng)).map(f64::from);
    let lie = lie(&mu);
    let reports = reports(a, &mu, liars, &lie);
    let mut descent = Descent::new(d, n);
    let (mut sums, mut counts) = (DVector::<f64>::zeros(n), DVector::<f64>::zeros(n));
    let mut errors = Vec::with_capacity(marks.len());
    for step in 1..=marks.last().copied().unwrap_or(0) {
        let agent = rng.random_range(0..n);
        let observed = reports[agent] + request.noise * rng.sample::<f64, _>(StandardNormal);
        descent.observe(agent, a.column(agent), observed);
        sums[agent] += observed;
        counts[agent] += 1.0;
        if marks[errors.len()] == step {
            errors.push((&descent.x - &mu).norm());
        }
    }
    let means = sums.zip_map(&counts, |sum, count| sum / count.max(1.0));
    let l1 = L1.fit(a, &means);
    Run {
        errors,
        from_lie: match &lie {
            Lie::Point(point) => Some((&descent.x - point).norm()),
            Lie::Value(_) => None,
        },
        estimates: estimators.iter().map(|estimator| (estimator.estimate(a, &means) - &mu).norm()).collect(),
        gap: if l1.deviation > 0.0 { l1.gap / l1.deviation } else { 0.0 },
    }
}

/// Numbers of steps at which errors are kept: those asked for, and four per decade from 10 up.
fn marks(asked: &[u64]) -> Vec<u64> {
    let last = asked.iter().copied().max().unwrap_or(0);
    let between = (4..).map(|quarter: i32| 10.0_f64.powf(f64::from(quarter) / 4.0).round() as u64);
    let mut marks: Vec<u64> = between.take_while(|&steps| steps < last).chain(asked.iter().copied()).collect();
    marks.sort_unstable();
    marks.dedup();
    marks
}
