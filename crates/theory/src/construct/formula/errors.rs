//! Bound and rounding of a network: what each node adds, and how much of it reaches the outputs.
//!
//! A node computes f̃(ũ) for f(u), where ũ is off by what the nodes before it are off. With ε = sup |f̃ − f| over the range of u and
//! |f̃'| ≤ G up to half a step of anchors beyond it, |f̃(ũ) − f(u)| ≤ ε + G |ũ − u|: no slope of f is needed. For products, ã b̃ − a b ≤
//! (|b| + e_b) e_a + |a| e_b. So an output is off by Σ_v G_v ε_v, with G_v accumulated backwards. Rounding adds to every ε what the
//! node's own arithmetic is off by in float32, and travels the same way.

use super::{
    anchored::{Head, SHARPNESS},
    budgets::backwards,
    nodes::{Kind, Nodes},
};
use crate::{
    bound::Bound,
    cells::{felt, value_noise},
    interpolation::F32_ROUNDOFF,
    mixing::any_order,
    places::GAP,
    schedule::Schedule,
};

/// sup_t t σ(−t): the largest difference between max(u, 0) and u σ(β u), times β.
const GATE: f64 = 0.278_465;
/// sup of the slope of u σ(β u), and of that of u tanh(β u / 2).
const GATE_SLOPES: [f64; 2] = [1.1, 1.2];
/// Roundings of a number that is handed on: of softmax, of the value, of the output.
const CARRYING: f64 = 4.0;

/// How a node is computed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Means<'a> {
    /// It is copied.
    Copy,
    /// By heads over anchors.
    Anchors(&'a Head),
    /// By gates at this inverse temperature.
    Gate(f64),
}

/// Kinds of rounding, each a term of a certificate.
const ROUNDINGS: [(&str, &str); 5] = [
    (
        "arguments",
        "sum G slope gamma (sum |w| |v| + |t|) over nodes, whose arguments are sums w . v + t of t terms: gamma_(t + 3)",
    ),
    (
        "scores",
        "sum G E[|V_k - head| gamma_k] over heads, gamma_k = eps (c (2 |u k| + |u^2 - (u - k)^2| + 5 (u - k)^2) + 10), u and k from the middle anchor",
    ),
    ("values", "sum G (2 keys felt + 8) eps E|V| over heads"),
    ("gates", "sum G (eps (0.224 (720 n^2 + 16) + 1.8) / beta + 4 eps |u|) over gates"),
    ("carried", "sum G 4 eps |v| over nodes and the layers that hand them on"),
];

/// What one node is off by, and hands on.
#[derive(Clone, Debug, Default)]
struct Account {
    /// ε, in exact arithmetic.
    own: f64,
    /// What float32 adds, by kind.
    noise: [f64; 5],
    /// Factors on errors of its arguments.
    through: [f64; 2],
    /// Bound on its whole error, rounding included.
    off: f64,
    /// Bound on its size, error included.
    size: f64,
}

/// Bound and rounding of the outputs. `means` says how each node is computed, `rows` is the number of rows of the longest layer.
pub(super) fn bounds(nodes: &Nodes, schedule: &Schedule, means: &[Means], rows: usize) -> [Bound; 2] {
    let mut accounts: Vec<Account> = Vec::with_capacity(nodes.all.len());
    for (node, means) in means.iter().enumerate() {
        let account = account(nodes, schedule, &accounts, node, *means);
        accounts.push(account);
    }
    let largest = accounts.iter().map(|account| account.size).fold(1.0, f64::max);
    let largest = means.iter().fold(largest, |top, means| match means {
        Means::Anchors(head) => head.values.iter().fold(top, |top, value| top.max(value.abs())),
        _ => top,
    });
    let depth = schedule.stages.len() as f64;
    let leak = 4.0 * rows as f64 * (-GAP).exp() * largest * depth;
    let (mut most, mut noise) = (Bound::default(), Bound::default());
    for output in 0..nodes.outputs.len() {
        let reached = backwards(nodes, output, |node| accounts[node].through);
        let mut bound = Bound::default();
        for (at, (account, gain)) in accounts.iter().zip(&reached).enumerate() {
            if *gain > 0.0 && account.own > 0.0 {
                bound = bound.and(&nodes.all[at].text, formula(nodes, at, *gain, means[at]), gain * account.own);
            }
        }
        let sum = reached.iter().sum::<f64>() + 1.0;
        let bound = bound.and(
            "rows attended to by mistake",
            "4 rows exp(-60) B layers (1 + sum of G), B the largest number of a row",
            leak * sum,
        );
        if bound.value > most.value || most.terms.is_empty() {
            most = bound;
        }
        let mut rounding = Bound::default();
        for (kind, (name, formula)) in ROUNDINGS.iter().enumerate() {
            let value: f64 =
                accounts.iter().zip(&reached).map(|(account, gain)| with(*gain, account.noise[kind])).sum();
            rounding = rounding.and(name, *formula, value);
        }
        let form = &nodes.outputs[output];
        let size = form.constant.abs() + form.spread(|node| accounts[node].size);
        let rounding = rounding.and(
            "outputs",
            "gamma_(2 t + 8) (sum |w| |v| + |t|) of an output, a sum of t terms",
            any_order(2.0 * form.terms.len() as f64 + 8.0) * size,
        );
        if rounding.value > noise.value || noise.terms.is_empty() {
            noise = rounding;
        }
    }
    [most, noise]
}

/// Their product, 0 if the gain is.
fn with(gain: f64, value: f64) -> f64 {
    if gain > 0.0 { gain * value } else { 0.0 }
}

fn formula(nodes: &Nodes, node: usize, gain: f64, means: Means) -> String {
    match (nodes.all[node].kind, means) {
        (Kind::Curve(_), Means::Anchors(head)) => {
            format!("G sup |head - curve|, G = {gain:.4}, {} intervals on its range", head.intervals)
        }
        (Kind::Product([a, b]), Means::Anchors(head)) => format!(
            "G A B 2 (2 U Delta mu + Delta^2 nu), G = {gain:.4}, A B = {:.4}, {} intervals on squares",
            a * b,
            head.intervals
        ),
        (Kind::Abs, _) => format!("G 2 x 0.2785 / beta, G = {gain:.4}"),
        _ => format!("G 0.2785 / beta, G = {gain:.4}"),
    }
}

fn account(nodes: &Nodes, schedule: &Schedule, before: &[Account], at: usize, means: Means) -> Account {
    let node = &nodes.all[at];
    let off: Vec<f64> = node.arguments.iter().map(|u| u.form.spread(|node| before[node].off)).collect();
    // Roundings of an argument, whose numbers have these sizes, relative to a middle.
    let argument = |of: usize, middle: f64| {
        let form = &node.arguments[of].form;
        let size = form.spread(|node| before[node].size) + (form.constant - middle).abs();
        any_order(form.terms.len() as f64 + 3.0) * size
    };
    let mut account = Account::default();
    match (node.kind, means) {
        (Kind::Curve(_), Means::Anchors(head)) => {
            let range = node.arguments[0].range;
            let unit = head.intervals as f64 / (range.high - range.low);
            let slope = head.slope * unit;
            account.own = if off[0] * unit <= 0.5 { head.error } else { f64::INFINITY };
            account.through[0] = slope;
            account.noise[0] = slope * argument(0, range.middle());
            [account.noise[1], account.noise[2]] = of_head(head);
        }
        (Kind::Product([a, b]), Means::Anchors(head)) => {
            let half = head.intervals as f64 / 2.0;
            let scale = a * b / (half * half);
            let apart = f64::midpoint(off[0] / a, off[1] / b) * half;
            account.own = if apart <= 0.5 { a * b * head.error } else { f64::INFINITY };
            account.through = [b + off[1], a];
            let arguments = f64::midpoint(argument(0, 0.0) / a, argument(1, 0.0) / b) * half;
            account.noise[0] = 2.0 * scale * head.slope * arguments;
            [account.noise[1], account.noise[2]] = of_head(head).map(|noise| 2.0 * scale * noise);
        }
        (Kind::Relu | Kind::Abs, Means::Gate(beta)) => {
            let gates = if node.kind == Kind::Abs { 2.0 } else { 1.0 };
            let slope = GATE_SLOPES[usize::from(node.kind == Kind::Abs)];
            account.own = gates * GATE / beta;
            account.through[0] = slope;
            account.noise[0] = slope * argument(0, 0.0);
            let n = nodes.seq_len as f64;
            let score = F32_ROUNDOFF * (0.224 * (720.0 * n * n + 16.0) + 4.0 * 0.44) / beta;
            let size = node.arguments[0].range.magnitude() + off[0];
            account.noise[3] = gates * (score + 4.0 * F32_ROUNDOFF * size);
        }
        _ => {}
    }
    let passed: f64 = off.iter().zip(account.through).map(|(off, factor)| with(factor, *off)).sum();
    let computed: f64 = account.noise.iter().sum();
    let size = node.range.magnitude() + account.own + passed + computed;
    // A number of another position is handed on by the head that picks it; the index of the position is no number of a row.
    let picked = usize::from(matches!(node.kind, Kind::Other { .. }));
    let layers = schedule.last_use[at].saturating_sub(schedule.levels[at] + 1) + picked;
    let layers = if node.kind == Kind::Index { 0 } else { layers };
    account.noise[4] = layers as f64 * CARRYING * F32_ROUNDOFF * size;
    account.off = account.own + passed + computed + account.noise[4];
    account.size = size + account.noise[4];
    account
}

/// What noise of scores and roundings of values do to a head.
fn of_head(head: &Head) -> [f64; 2] {
    // The thousandth allows for weights that are off themselves, and for their products with noise.
    [1.001 * F32_ROUNDOFF * head.noise, value_noise(felt(SHARPNESS), head.mass)]
}
