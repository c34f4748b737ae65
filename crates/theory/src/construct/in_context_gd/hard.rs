//! Prompts that are hard for every form.

use headway_tasks::{Probe, baseline::gradient_descent::ExampleLoss};
use rand::RngExt;

use super::{InContextGd, dot};

impl InContextGd {
    /// Prompts that are hard for every form: labels of a linear function; corners with labels that drive w as far as
    /// possible; identical examples (errors do not average out); one large example among small ones (its residual
    /// grows); all zeros; and, for losses and penalties with kinks, labels that lead there.
    pub(in crate::construct) fn hard(&self) -> Vec<(&'static str, Vec<Vec<f64>>)> {
        let Self { points, d, x_max, y_max, .. } = *self;
        let mut rng = Probe::Prompt.rng();
        let mut signs =
            |count: usize| -> Vec<f64> { (0..count).map(|_| if rng.random::<bool>() { 1.0 } else { -1.0 }).collect() };
        let (mut corners, mut outliers) = (Vec::new(), Vec::new());
        for _ in 0..48 {
            let w = signs(d);
            let xs: Vec<Vec<f64>> = (0..points).map(|_| signs(d).iter().map(|s| s * x_max).collect()).collect();
            let query: Vec<f64> = w.iter().map(|s| s * x_max).collect();
            corners.push(self.prompt(|i| (xs[i].clone(), y_max * dot(&w, &xs[i]).signum()), query.clone()));
            let small = 1.0 / (points as f64).sqrt();
            let labels = signs(points);
            let outlier = |i: usize| {
                let size = if i == 0 { 1.0 } else { small };
                (
                    w.iter().map(|s| s * size * labels[i] * x_max).collect(),
                    if i == 0 { -1.0 } else { 1.0 } * y_max * labels[i],
                )
            };
            outliers.push(self.prompt(outlier, query));
        }
        let mut random =
            |count: usize, size: f64| -> Vec<f64> { (0..count).map(|_| size * rng.random_range(-1.0..=1.0)).collect() };
        let linear = (0..48).map(|_| {
            let w = random(d, y_max / (d as f64 * x_max));
            let xs: Vec<Vec<f64>> = (0..points).map(|_| random(d, x_max)).collect();
            let query = random(d, x_max);
            self.prompt(|i| (xs[i].clone(), dot(&w, &xs[i])), query)
        });
        let linear: Vec<Vec<f64>> = linear.collect();
        let steps = [-1.0, -0.83, -0.5, -0.31, -0.11, 0.07, 0.29, 0.5, 0.71, 0.9, 1.0];
        let alike = steps.iter().flat_map(|y| steps.iter().map(move |x| (x * x_max, y * y_max)));
        let alike = alike.map(|(x, y)| self.prompt(|_| (vec![x; d], y), vec![x_max; d]));
        let mut hard = vec![
            ("linear", linear),
            ("corners", corners),
            ("outlier", outliers),
            ("alike", alike.collect()),
            ("nothing", vec![self.prompt(|_| (vec![0.0; d], 0.0), vec![0.0; d])]),
        ];
        if !self.descent().is_plain() {
            hard.push(("kinks", self.kinks()));
        }
        hard
    }

    /// Labels from one end to the other, and close to those at which the first step meets a kink: of identical examples, and of one-hot
    /// examples with labels of either sign.
    fn kinks(&self) -> Vec<Vec<f64>> {
        let Self { d, x_max, y_max, lasso, .. } = *self;
        let mut labels: Vec<f64> = (-40..=40).map(|step| y_max * f64::from(step) / 40.0).collect();
        // The mean of y x must exceed the factor on |w|₁; of one-hot inputs, one in d is not 0.
        let mut kinks = vec![lasso / x_max, lasso / x_max * d as f64];
        if let ExampleLoss::Huber { threshold } = self.loss {
            kinks.push(threshold);
        }
        if self.loss == ExampleLoss::Logistic {
            for kink in &mut kinks {
                *kink *= 2.0;
            }
        }
        let near = [-1e-2, -1e-3, -1e-4, -1e-6, 0.0, 1e-6, 1e-4, 1e-3, 1e-2];
        labels.extend(kinks.iter().flat_map(|kink| near.map(|part| kink * (1.0 + part))));
        labels.retain(|label| label.abs() <= y_max);
        let query = || vec![x_max; d];
        let alike = |y: &f64| self.prompt(|_| (vec![x_max; d], *y), query());
        let one_hot = |y: &f64| {
            let input = |i: usize| (0..d).map(|j| if j == i % d { x_max } else { 0.0 }).collect::<Vec<f64>>();
            let sign = |i: usize| if (i % d).is_multiple_of(2) { 1.0 } else { -1.0 };
            let query = (0..d).map(|j| sign(j) * x_max).collect();
            self.prompt(|i| (input(i), sign(i) * y), query)
        };
        let prompts = labels.iter().flat_map(|y| [alike(y), one_hot(y)]);
        prompts.collect()
    }
}
