//! Estimates from agents some of whom lie: beside SciPy's, and by hand.

use headway_tasks::{
    Batch, Files, Inputs, Seed, Split, Stream, Targets, Task, TaskConfig,
    baseline::{
        agents::Estimator, geometric_median::GeometricMedian, l1::L1, least_squares::LeastSquares,
        trimmed_mean::TrimmedMean, two_timescale::TwoTimescale,
    },
    robust_mean::{
        Liars, RobustMean, RobustMeanConfig,
        attack::{Attack, Lie, directions, reports, worst},
    },
};
use nalgebra::{DMatrix, DVector};
use serde::Deserialize;

/// Written by `fixtures/make_robust.py`, which says what each key holds.
#[derive(Deserialize)]
struct Fixtures {
    case: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    a: Vec<Vec<f64>>,
    y: Vec<f64>,
    l1: Vec<f64>,
    deviation: f64,
    geometric: Vec<f64>,
    trimmed: Vec<f64>,
    ratio: Vec<f64>,
}

/// The cases, each with its agents as columns and its reports.
fn cases() -> impl Iterator<Item = (Case, DMatrix<f64>, DVector<f64>)> {
    let fixtures: Fixtures = toml::from_str(include_str!("../fixtures/robust.toml")).expect("as it was written");
    fixtures.case.into_iter().map(|case| {
        let a = DMatrix::from_fn(case.a[0].len(), case.a.len(), |row, agent| case.a[agent][row]);
        let y = DVector::from_vec(case.y.clone());
        (case, a, y)
    })
}

fn vector(values: &[f64]) -> DVector<f64> {
    DVector::from_column_slice(values)
}

fn assert_close(found: &DVector<f64>, expected: &[f64], allowed: f64) {
    let gap = (found - DVector::from_column_slice(expected)).amax();
    assert!(gap <= allowed, "{found} is not {expected:?}: {gap:e}");
}

#[test]
fn l1_is_scipys_linear_program_and_proves_it() {
    for (case, a, y) in cases() {
        let fit = L1.fit(&a, &y);
        // A corner is the solution of d equations, which both programs end at.
        assert_close(&fit.x, &case.l1, 1e-9);
        assert!((fit.deviation - case.deviation).abs() < 1e-9 * case.deviation, "{} {}", fit.deviation, case.deviation);
        assert!(fit.gap <= 1e-12 * fit.deviation, "{:e} of {}", fit.gap, fit.deviation);
        // The descent on two time scales nears that sum; where it is nearly flat, it is slow to near the point.
        let near = (&y - a.tr_mul(&TwoTimescale.estimate(&a, &y))).lp_norm(1);
        assert!(near < 1.02 * fit.deviation, "{near} {}", fit.deviation);
    }
}

/// In the dual, a sum of deviations is proved by weights; without a solution of the program nothing is.
#[test]
fn l1_of_scaled_reports_is_scaled_and_of_zeros_zero() {
    for (_, a, y) in cases() {
        let (plain, scaled) = (L1.fit(&a, &y), L1.fit(&a, &(&y * 1e12)));
        assert_close(&(&scaled.x / 1e12), plain.x.as_slice(), 1e-9);
        assert!(L1.fit(&a, &(y * 0.0)).x.amax() <= 0.0);
    }
}

#[test]
fn points_on_which_agents_agree_have_scipys_median_and_trimmed_mean() {
    for (case, a, y) in cases() {
        // SciPy's search ends where distances no longer tell points apart: at the root of their precision.
        assert_close(&GeometricMedian.estimate(&a, &y), &case.geometric, 1e-6);
        assert_close(&TrimmedMean.estimate(&a, &y), &case.trimmed, 1e-9);
    }
}

#[test]
fn of_agents_that_all_see_the_same_they_are_the_median_and_the_trimmed_mean() {
    let (a, y) = (DMatrix::from_row_slice(1, 5, &[1.0, 1.0, 1.0, 1.0, 1.0]), vector(&[1.0, 2.0, 4.0, 9.0, 100.0]));
    assert_close(&L1.estimate(&a, &y), &[4.0], 1e-12);
    assert_close(&GeometricMedian.estimate(&a, &y), &[4.0], 1e-12);
    assert_close(&TrimmedMean.estimate(&a, &y), &[5.0], 1e-12);
    assert_close(&LeastSquares.estimate(&a, &y), &[23.2], 1e-12);
}

#[test]
fn worst_ratios_are_those_of_linear_programs() {
    for (case, a, _) in cases() {
        for (m, expected) in (1..).zip(&case.ratio) {
            let worst = worst(&a, m);
            assert!((worst.ratio - expected).abs() < 1e-7 * expected, "{m} liars: {} {expected}", worst.ratio);
            // The direction and the liars that it names have that ratio.
            let weights = a.tr_mul(&worst.direction).abs();
            let inside: f64 = worst.liars.iter().map(|&liar| weights[liar]).sum();
            assert!((inside / (weights.sum() - inside) - worst.ratio).abs() < 1e-9 * worst.ratio);
            assert_eq!(worst.liars.len(), m);
        }
    }
    // By hand: three agents along one axis and one along the other, which alone can say what is there.
    let axes = DMatrix::from_row_slice(2, 4, &[1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
    assert_eq!((worst(&axes, 1).ratio, worst(&axes, 1).liars), (f64::INFINITY, vec![3]));
    assert!(worst(&axes, 0).ratio.abs() <= 0.0);
    // Three honest agents of a plane say nothing of what is orthogonal to it.
    let plane = DMatrix::from_row_slice(3, 3, &[1.0, 0.0, 0.6, 0.0, 1.0, 0.8, 0.0, 0.0, 0.0]);
    let none = worst(&plane, 0);
    assert_eq!((none.ratio, none.direction.abs(), none.liars), (f64::INFINITY, vector(&[0.0, 0.0, 1.0]), vec![]));
    // Four of four along an axis: one has a third of the others' weight.
    assert!((worst(&DMatrix::from_row_slice(1, 4, &[1.0, -1.0, 1.0, 1.0]), 1).ratio - 1.0 / 3.0).abs() < 1e-15);
}

/// Below a ratio of 1 nothing that liars say moves l1; above it the worst lie does, and another need not.
#[test]
fn the_ratio_is_the_threshold_of_l1() {
    let mut beyond = 0;
    for seed in 0..20 {
        let a = directions(3, 16, &mut Seed(seed).rng(Stream::Task, 0)).map(f64::from);
        let mu = vector(&[0.5, -1.0, 2.0]);
        for m in 1..7 {
            let worst = worst(&a, m);
            let point = &mu + &worst.direction * 20.0;
            let ends_at = |lie: &Lie| L1.estimate(&a, &reports(&a, &mu, &worst.liars, lie));
            let (captured, constant) = (ends_at(&Lie::Point(point.clone())), ends_at(&Lie::Value(20.0)));
            if worst.ratio < 1.0 {
                assert_close(&captured, mu.as_slice(), 1e-9);
                assert_close(&constant, mu.as_slice(), 1e-9);
            } else {
                // Nothing says that the liars' point is the minimum, only that it is lower than μ.
                assert!((&captured - &mu).norm() > 1.0, "seed {seed}, {m} liars, ratio {}: {captured}", worst.ratio);
                beyond += usize::from((&constant - &mu).norm() < 1e-9);
            }
        }
    }
    assert!(beyond > 20, "constant liars beyond the threshold were harmless {beyond} times");
}

fn task(text: &str) -> Box<dyn Task> {
    let config: TaskConfig = toml::from_str(&format!("[robust_mean]\n{text}")).expect(text);
    assert_eq!(config.validate(), [], "{text}");
    config
        .open(&Files::new("", |_| Err(std::io::ErrorKind::NotFound.into()), |_, _, _| Err(String::new())), Seed(1))
        .expect("no files are needed")
}

fn batch(task: &dyn Task, size: u64) -> Batch {
    let draw = |index| task.example(Split::Test, index, &mut Seed(1).rng(Stream::Test, index));
    Batch::stack(task.dims(), (0..size).map(draw))
}

#[test]
fn without_noise_all_but_the_liars_tell_the_truth_and_l1_finds_it() {
    for attack in ["worst_case", "collusion"] {
        let task = task(&format!("liars.exactly = 2\nnoise = 0\nattack.{attack}.distance = 7\nn_agents = 19"));
        let batch = batch(&*task, 29);
        let (Inputs::Continuous(inputs), Targets::Continuous(targets)) = (&batch.inputs, &batch.targets) else {
            panic!("numbers in, numbers out")
        };
        for (sequence, targets) in inputs.chunks_exact(20 * 4).zip(targets.chunks_exact(20 * 3)) {
            let mu = &targets[19 * 3..];
            let off =
                |agent: &&[f32]| (agent[3] - agent[..3].iter().zip(mu).map(|(a, mu)| a * mu).sum::<f32>()).abs() > 1e-5;
            assert_eq!(sequence.chunks_exact(4).filter(off).count(), 2);
            assert_eq!(sequence[19 * 4..], [0.0; 4]);
            let norms = sequence.chunks_exact(4).take(19).map(|agent| agent[..3].iter().map(|a| a * a).sum::<f32>());
            assert!(norms.into_iter().all(|norm| (norm - 1.0).abs() < 1e-5));
        }
        let l1 = task
            .baselines()
            .into_iter()
            .find(|baseline| baseline.name() == "l1")
            .expect("of this task")
            .predict(&batch);
        let answers = l1.chunks_exact(20 * 3).zip(targets.chunks_exact(20 * 3));
        let found = |(x, mu): &(&[f32], &[f32])| x.iter().zip(*mu).skip(19 * 3).all(|(x, mu)| (x - mu).abs() < 1e-4);
        // 2 of 19 are below the threshold in nearly every example; inputs are rounded to single precision.
        let exact = answers.filter(found).count();
        assert!(exact >= 28, "{attack}: {exact}");
    }
}

#[test]
fn examples_are_sliced_by_the_number_of_liars() {
    let varied = task("liars.up_to = 2");
    assert_eq!(varied.slices(), ["liars=0", "liars=1", "liars=2"]);
    let config =
        RobustMeanConfig { liars: Liars::Exactly(2), attack: Attack::Constant { value: 50.0 }, ..Default::default() };
    let fixed = RobustMean { config };
    assert_eq!(fixed.slices(), Vec::<String>::new());
    let Inputs::Continuous(inputs) = batch(&fixed, 1).inputs else { panic!("numbers") };
    assert_eq!(inputs.chunks_exact(4).filter(|agent| agent[3] > 40.0).count(), 2);
}

/// Two agents do not determine a point in five dimensions: no points agree with five of them, and the others still answer.
#[test]
fn every_baseline_answers_fewer_agents_than_dimensions() {
    let task = task("d = 5\nn_agents = 2\nliars.exactly = 0");
    let batch = batch(&*task, 3);
    let baselines = task.baselines();
    assert!(!baselines.iter().any(|baseline| baseline.name() == "geometric_median"));
    for mut baseline in baselines {
        baseline.fit(&batch);
        assert_eq!(baseline.predict(&batch).len(), 3 * 3 * 5, "{}", baseline.name());
    }
}
