//! Form t2: three layers with token-wise maps, which gather, gate and scatter.

use headway_plain::{
    Readout,
    network::{Head, InputMap},
};

use super::{
    APART, FormPlan, GATE, GATE_ROUNDING, ReluNetwork, Written, chain, gather_layer, gather_parameters, scatter_layer,
    scatter_parameters,
    units::{Gather, Places, ScatterRounding, Units, rounding_formula},
};
use crate::{
    bound::Bound,
    construct::{Construction, Request, Temperature},
    interpolation::F32_ROUNDOFF,
    mixing::{Noise, Roundings},
    network::Layer,
    prove::Provable,
    refusal::Refusal,
    space::Space,
};

/// The |t| at which that is attained.
const GATE_AT: f64 = 1.2785;
/// Largest β at which float32 still distinguishes β and β + M.
pub(super) const SHARPEST: f64 = 1e8;

/// What bound and rounding are computed from.
struct GatePlan<'a> {
    units: &'a Units,
    places: Places,
    gather: Gather,
    noise: Vec<Noise>,
    leak: f64,
    scatter: ScatterRounding,
}

pub(super) fn build(options: &ReluNetwork, units: &Units, request: Request) -> Result<Construction, Refusal> {
    let places = if options.causal { Places::by_position(units)? } else { Places::one_a_row(units) };
    let gather = Gather::of(units, 0.0, &places);
    let noise = gather.rounding(units, &places);
    let scattering = units.scatter(&places);
    let (mixing, mixes) = &scattering;
    // Outputs of a gate lie between −0.2785/β and 1.
    let (leak, scatter) = (mixing.leak(mixes, mixing.rows(), 1.0), ScatterRounding::of(&scattering, units.d_out));
    let plan = GatePlan { units, places, gather, noise, leak, scatter };
    let candidates = match options.beta {
        Some(beta) => vec![beta],
        None => vec![(100.0 * GATE * units.one_signed_weight() / request.tolerance).clamp(1.0, SHARPEST), SHARPEST],
    };
    plan.build(options, units, request, candidates, "").map_err(Refusal::at_given_size)
}

pub(super) fn parameters(units: &Units, places: &Places) -> f64 {
    gather_parameters(units, &Gather::of(units, 0.0, places), places.columns())
        + gate_parameters(places)
        + scatter_parameters(units, places)
}

/// Number of parameters of the gate layer: a map of u, a key flag and two one-hot blocks, and a head for each column of u.
fn gate_parameters(places: &Places) -> f64 {
    let (rows, columns) = (places.rows() as f64, places.columns() as f64);
    let width = columns + 1.0 + 2.0 * rows;
    (rows + 1.0 + columns) * width + columns * (2.0 * width * (rows + 1.0) + width + columns)
}

impl FormPlan for GatePlan<'_> {
    type Size = f64;

    fn bound(&self, beta: f64) -> Bound {
        let (one_signed, total) = (self.units.one_signed_weight(), self.units.weight());
        let others = self.places.rows() as f64 - 1.0;
        let reach = 2.0 * self.units.lowest().abs().max(1.0);
        Bound::default()
            .and(
                "gates",
                format!("min(0.2785 / beta, 1 / 2) S1, S1 = max_i sum_j (W2_ij s_j)+ or (...)- = {one_signed:.4}"),
                // However small β is, a gate gives a value between 0 and u', and is off by at most half of it on the
                // wrong side.
                (GATE / beta).min(reach / 4.0) * one_signed,
            )
            .and(
                "other keys of a gate",
                "S (r - 1) exp(-64) 2 max(1, -inf u')",
                total * others * (-APART).exp() * reach,
            )
            .and(
                "weights of zero",
                "exp(-80) (S sum over gathering heads + sum over scattering heads), each 2 rows scale reach",
                total * self.gather.leak() + self.leak * (1.0 + GATE / beta),
            )
    }

    fn rounding(&self, beta: f64, roundings: Roundings) -> Bound {
        let total = self.units.weight();
        let gates = F32_ROUNDOFF * GATE_ROUNDING / beta;
        // The sum of both exponentials, its inverse, a product, and the sum of two.
        let own = vec![Noise::of(1.0, 4.0); self.units.count()];
        Bound::default()
            .and(
                "gather",
                rounding_formula("through W2 s, u' gathered by log weights", roundings),
                self.units.through_output(&self.noise, roundings),
            )
            .and(
                "gates",
                rounding_formula(
                    "S eps (0.224 (8 M + 16) + 1.8) / beta, M = 64, and four roundings per unit",
                    roundings,
                ),
                total * gates + self.units.through_output(&own, roundings),
            )
            .and(
                "scatter",
                rounding_formula("h scattered by log weights", roundings),
                self.scatter.bound(roundings) * (1.0 + GATE / beta),
            )
    }

    fn parameters(&self, _: f64) -> f64 {
        parameters(self.units, &self.places)
    }

    fn provable(&self, beta: f64) -> Provable {
        let Self { units, places, gather, noise, leak, scatter } = self;
        let scatter = scatter.bound(Roundings::Any);
        Provable::Chain(chain::Parts { units, places, gather, noise, leak: *leak, scatter, beta }.chain())
    }

    fn write(&self, beta: f64) -> Written {
        let Self { units, places, gather, .. } = self;
        let layers =
            vec![gather_layer(units, gather, places.columns()), gate_layer(places, beta), scatter_layer(units, places)];
        let at = GATE_AT / beta;
        let rows = layers.iter().map(Layer::rows).max().unwrap_or(0);
        let heads = layers.iter().map(|layer| layer.heads.len()).sum::<usize>();
        Written {
            layers,
            readout: Readout::Rows,
            sizes: vec![("rows", rows as f64), ("heads", heads as f64)],
            temperature: Temperature {
                beta,
                reason: "of the gates: their error 0.2785 S1 / beta is a hundredth of the tolerance unless beta was given or that is beyond float32"
                    .to_owned(),
            },
            values: vec![at, -at, 0.0, 4.0 * at, -4.0 * at],
        }
    }
}

/// Rows of units hold their u' and are queries; behind them is the null row. Each column has a head.
fn gate_layer(places: &Places, beta: f64) -> Layer {
    let (rows, columns) = (places.rows(), places.columns());
    let z = Space::new(&[("u", columns), ("unit", 1), ("query", rows), ("key", rows)]);
    let mut map = InputMap::token_wise(columns, rows + 1, z.width());
    let (weight, constant) = (map.linear.weight_mut(), &mut map.constant);
    (0..columns).for_each(|column| weight[(column, z.nth("u", column))] = 1.0);
    for row in 0..rows {
        constant[(row, z.at("unit"))] = 1.0;
        constant[(row, z.nth("query", row))] = 1.0;
        constant[(row, z.nth("key", row))] = 1.0;
        // The null row is a key for every query.
        constant[(rows, z.nth("key", row))] = 1.0;
    }
    let heads = (0..columns).map(|column| {
        let mut head = Head::zeros(z.width(), rows + 1, 1, columns);
        head.query.weight[(z.nth("u", column), 0)] = beta;
        head.key.weight[(z.at("unit"), 0)] = 1.0;
        for row in 0..rows {
            head.query.weight[(z.nth("query", row), row + 1)] = APART;
            head.key.weight[(z.nth("key", row), row + 1)] = 1.0;
        }
        head.value.weight[(z.nth("u", column), 0)] = 1.0;
        head.output[(0, column)] = 1.0;
        head
    });
    let heads = heads.collect();
    Layer { space: z, map: InputMap { queries: rows, keys: rows + 1, ..map }, heads }
}
