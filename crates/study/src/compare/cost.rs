//! What a comparison costs, before its first run.

use std::collections::BTreeSet;

use super::{Comparison, Rates, Row, search::Ladder, with};
use crate::plan::Cost;
use headway_trainer::experiment::lost;

impl Comparison {
    /// The number of runs and of floating-point operations, at least and at most: at least with a search whose own value is
    /// the best and differences that the first seeds decide, at most with searches and seeds that go on as long as they
    /// may. Runs that fail are not tried again.
    pub fn cost(&self) -> Cost {
        let tuning = self.config.tuning();
        let all = self.config.seeds.list().len();
        let first = self.config.seeds.first_of_more().unwrap_or(all);
        let shared = if self.config.tunes_apart() { 0 } else { tuning.len() };
        let mut cost = Cost::default();
        let (mut tried, mut rows) = (BTreeSet::new(), BTreeSet::new());
        for row in self.blocks.iter().flat_map(|block| &block.rows) {
            let rates = rates(row);
            let chooses = row.chooses() && !self.config.follows(row);
            let flops = row.sizes.steps.iter().map(|size| size.experiment.training_flops());
            let (cheapest, dearest) = flops.fold((f64::INFINITY, 0.0_f64), |(a, b), of| (a.min(of), b.max(of)));
            // Rows of several tables, or of several names, that are one experiment are run once.
            let ids: Vec<String> = row.sizes.steps.iter().map(|size| size.experiment.run_id()).collect();
            let is_new = rows.insert((ids, format!("{:?}", row.rates)));
            let shared = if chooses { shared } else { 0 };
            if chooses {
                let (low, high) = row.sizes.first();
                let (slow, fast) =
                    if rates.is_searched { rates.ladder.first() } else { (0, rates.ladder.steps.len() - 1) };
                for size in &row.sizes.steps[low..=high] {
                    for (&rate, &seed) in rates.ladder.steps[slow..=fast]
                        .iter()
                        .flat_map(|rate| tuning.iter().map(move |seed| (rate, seed)))
                    {
                        if tried.insert(with(&size.experiment, rate, seed).run_id()) {
                            cost.add_least(1, size.experiment.training_flops());
                        }
                    }
                }
                if is_new {
                    let of_rates = if rates.is_searched { rates.ladder.points()[1] } else { rates.ladder.steps.len() };
                    cost.add_most(row.sizes.points()[1] * of_rates * tuning.len(), dearest);
                }
            }
            if is_new {
                cost.add_least(first.saturating_sub(shared), cheapest);
                cost.add_most(all.saturating_sub(shared), dearest);
            }
        }
        cost
    }
}

/// The learning rates that a row may be tried with.
struct Candidates {
    ladder: Ladder<f64>,
    is_searched: bool,
}

fn rates(row: &Row) -> Candidates {
    let own = row.own().experiment.optimizer.learning_rate();
    match &row.rates {
        Rates::List(rates) if rates.is_empty() => Candidates { ladder: Ladder::one(own), is_searched: false },
        Rates::List(rates) => Candidates { ladder: Ladder { steps: rates.clone(), own: 0 }, is_searched: false },
        Rates::Search(_) => {
            let ladder = Ladder::around(own, |rate| Ok(lost(rate).is_none().then_some(rate)));
            Candidates { ladder: ladder.unwrap_or_else(|_| Ladder::one(own)), is_searched: true }
        }
    }
}
