//! What a comparison found, in sentences.

use headway_draw::number;
use headway_inspect::counted;
use headway_study::{
    compare::{Block, Comparison, Ends, Verdict},
    results::Difference,
};
use headway_tasks::baseline::BLIND;
use headway_trainer::metric;

use super::{Part, heading, lines::Line};
use crate::{
    groups::shown,
    scores,
    verdict::{self, Outcome},
};

/// Who of the rows wins, with the classical predictor that is better still, if there is one. `None` if fewer than two rows have scores.
pub(super) fn verdict(comparison: &Comparison, block: &Block, lines: &[Line]) -> Option<String> {
    let config = &comparison.config;
    let rank = |line: &&Line| {
        let mean = line.estimate.as_ref().map_or(f64::INFINITY, |estimate| estimate.mean);
        if metric::larger_is_better(&block.metric) { -mean } else { mean }
    };
    // The second row of a noise floor is the first one written in another way.
    let is_copy = |line: &Line| config.noise_floor.as_ref().is_some_and(|[_, second]| *second == line.name);
    let scored = |is_row: bool| {
        let of = lines.iter().filter(move |line| line.is_row == is_row && line.estimate.is_some() && !is_copy(line));
        let mut all: Vec<&Line> = of.collect();
        all.sort_by(|a, b| rank(a).total_cmp(&rank(b)));
        all
    };
    let rows = scored(true);
    let [first, second] = *rows.first_chunk()?;
    let outcome = match [first, second].map(|line| (line.name == config.reference, &line.judged)) {
        [(true, _), (_, Some(judged))] | [(_, Some(judged)), (true, _)] => match judged.decision.verdict {
            Verdict::Finding => Outcome::Apart,
            Verdict::Tie => Outcome::Tie,
            Verdict::Undecided => Outcome::Untold,
        },
        // What fewer than three seeds say is no more than a range.
        _ => match Difference::between(&first.by_seed, &second.by_seed) {
            Some(difference) if difference.estimate.seeds >= 3 => Outcome::of(Some(&difference)),
            _ => Outcome::Untold,
        },
    };
    let means = [(first.name.as_str(), first.estimate.as_ref()?), (second.name.as_str(), second.estimate.as_ref()?)];
    let sentence = verdict::sentence(&block.metric, means, outcome);
    let better = scored(false).into_iter().find(|line| rank(line) < rank(&first));
    let better = better.map(|line| format!(" {} is better than every row: {}.", line.name, line.sentence()));
    let blind = scored(false).into_iter().filter(|line| BLIND.contains(&line.name.as_str()));
    let blind = blind.min_by(|a, b| rank(a).total_cmp(&rank(b))).and_then(|line| {
        let is_clear = Outcome::of(Difference::between(&first.by_seed, &line.by_seed).as_ref()) == Outcome::Apart;
        let says = if rank(&line) <= rank(&first) {
            "no row has learned anything"
        } else if is_clear {
            return None;
        } else {
            "it is not clear that the best row has learned anything"
        };
        Some(format!(" {} sees nothing of the input: {says}.", line.name))
    });
    Some(format!("{}: {sentence}{}{}", heading(block), better.unwrap_or_default(), blind.unwrap_or_default()))
}

/// Findings about a block, one sentence each.
pub(super) fn findings(comparison: &Comparison, Part { block, all, lines }: &Part<'_>) -> Vec<String> {
    let Some(reference) = lines.iter().find(|line| line.name == comparison.config.reference) else { return Vec::new() };
    if lines.iter().all(|line| line.shown.is_none()) {
        return Vec::new();
    }
    let verb = if reference.estimate.is_some() { "reaches " } else { "" };
    let first = format!("{} {verb}{} {}", reference.name, block.metric, reference.sentence());
    let rows = lines.iter().filter(|line| line.is_row && line.name != reference.name).map(|line| {
        let Some(difference) = &line.difference else { return format!("{} {}", line.name, line.sentence()) };
        let sure = match difference.estimate.interval {
            Some(_) if difference.estimate.seeds < 3 => "two seeds give no more than a range",
            Some([low, high]) if low > 0.0 || high < 0.0 => "the interval of the difference leaves out zero",
            Some(_) => "the interval of the difference holds zero",
            None => "one seed gives no interval",
        };
        let judged = line.judged.as_ref().map(|judged| format!("; {}", judged.shown())).unwrap_or_default();
        let p = difference.p_value.map(|p| format!(", p = {}", number(p))).unwrap_or_default();
        let (by, seeds) = (shown(&difference.estimate), difference.estimate.seeds);
        format!(
            "{} {} (difference {by} over {}{p}; {sure}{judged})",
            line.name,
            line.sentence(),
            counted(seeds, "seed")
        )
    });
    let classical = lines.iter().filter(|line| !line.is_row);
    let classical: Vec<String> = classical.map(|line| format!("{} {}", line.name, line.sentence())).collect();
    let classical =
        if classical.is_empty() { None } else { Some(format!("classical predictors: {}", classical.join(", "))) };
    let clauses: Vec<String> = std::iter::once(first).chain(rows).chain(classical).collect();
    let [fewest, most] =
        [all.iter().map(|(_, group)| group.asked()).min(), all.iter().map(|(_, group)| group.asked()).max()]
            .map(Option::unwrap_or_default);
    let seeds = if fewest == most { counted(most, "seed") } else { format!("{fewest} to {}", counted(most, "seed")) };
    let finding = format!("{}: {}. {seeds}.", heading(block), clauses.join("; "));
    let at_edge = lines.iter().flat_map(|line| {
        let what = ["size", "learning rate"].into_iter().zip(line.ends);
        what.filter(|(_, ends)| *ends == Some(Ends::Edge)).map(|(what, _)| {
            format!("the best {what} of {} is at the edge of the search, so a better one may lie beyond.", line.name)
        })
    });
    let remarks = at_edge.chain(all.iter().flat_map(|(_, group)| scores::of_group(group)));
    verdict(comparison, block, lines)
        .into_iter()
        .chain([finding])
        .chain(remarks.map(|remark| format!("{}: {remark}", heading(block))))
        .collect()
}
