//! One head over a grid: out(x) = Σ_k softmax_k(−c |t − k|²) f(v_k), with t the input in units of cells and v_k the
//! centres of cells.
//!
//! A sequence-wise map writes vec(X) into the one row that is a query; K = G^{n d} further rows are the keys, (k, |k|²)
//! with value f(v_k). The softmax of a sum is a product: every input number sees its own G anchors. With m(c) the
//! largest mean square distance to them,
//! out − f(x)| ≤ Σ_k softmax_k L |x − v_k| ≤ L sqrt(m(c) Σ_i Δ_i²) for a function with Lipschitz constant L. m(c) is slightly above 1/4.
//!
//! # References
//! arXiv 2504.19901: attention as a max-affine partition, in the limit of large c.

use headway_plain::{
    Readout,
    network::{Head, InputMap, Matrix},
};
use headway_tasks::{Interval, Order, Probe, Seed};

use super::Seq2seq;

use crate::{
    bound::Bound,
    cells::{moved, value_noise},
    construct::{Construction, Cost, Request, Temperature, choose},
    domain::Domain,
    enclosure::Suprema,
    interpolation::{F32_ROUNDOFF, Mode, Moments},
    network::{Layer, Network},
    prove::{Provable, Variables},
    refusal::Refusal,
    smoothness::{Constant, SPARSE_SAFETY},
    space::Space,
    target::Target,
};

/// Largest number of keys that is tried.
const MOST_KEYS: f64 = 262_144.0;
/// Number of points at which the slope of a function is measured.
const SLOPES: usize = 2000;

struct GridPlan<'a> {
    options: &'a Seq2seq,
    target: &'a Target,
    sharpness: f64,
    lipschitz: Constant,
    /// Bound on the output numbers.
    largest: f64,
    /// Bound on the distance between two of them; infinite if the formula gives none.
    range: f64,
    /// m(c) for each small number of cells, then one for all larger numbers.
    squares: Vec<f64>,
}

pub(super) fn build(options: &Seq2seq, target: &Target, request: Request) -> Result<Construction, Refusal> {
    let numbers = options.flat_in() as f64;
    if 2.0_f64.powf(numbers) > MOST_KEYS {
        let problem =
            format!("grid takes 2^{numbers} keys at least, and tries {MOST_KEYS} at most; method fit goes beyond");
        return Err(Refusal::invalid("method", problem));
    }
    if let Some(cells) = options.cells.filter(|cells| (*cells as f64).powf(numbers) > MOST_KEYS) {
        return Err(Refusal::invalid("cells", format!("make more than {MOST_KEYS} keys, {cells}^{numbers}")));
    }
    let (lipschitz, [largest, range]) = constants(options, target)?;
    let sharpness = Mode::Minimax.sharpness();
    let plan = GridPlan {
        options,
        target,
        sharpness,
        lipschitz,
        largest,
        range,
        squares: (1..=16).map(|cells| mean_square(sharpness, cells)).collect(),
    };
    let candidates: Vec<usize> = match options.cells {
        Some(cells) => vec![cells],
        None => (1..).take_while(|cells| (*cells as f64).powf(numbers) <= MOST_KEYS).take(1 << 12).collect(),
    };
    let cost = |cells: &usize| {
        Cost::of(&plan.bound(*cells), &plan.rounding(*cells), plan.parameters((*cells as f64).powf(numbers)))
    };
    let cells = choose(request, candidates, cost, "; method fit goes beyond a grid")?;
    plan.write(cells)?.in_float32("low", "low")
}

/// L, max |f| and the distance between values over the box: from the formula, from given constants, or measured (see
/// [`steepest`]).
fn constants(options: &Seq2seq, target: &Target) -> Result<(Constant, [f64; 2]), Refusal> {
    let sides: Vec<Interval> =
        options.low.iter().zip(&options.high).map(|(low, high)| Interval::new(*low, *high)).collect();
    let known = target
        .enclosure
        .as_ref()
        .map_or(Suprema::UNKNOWN, |enclosure| Suprema::on_box(enclosure.as_ref(), &sides, Order::First));
    let seen = if known.slope.most.is_infinite() { steepest(options, target) } else { 0.0 };
    let lipschitz = Constant::of("lipschitz", options.lipschitz, known.slope, SPARSE_SAFETY * seen, seen)?;
    let extent = |i: usize| options.high[i] - options.low[i];
    let diagonal = (0..options.flat_in()).map(|i| extent(i).powi(2)).sum::<f64>().sqrt();
    let middle: Vec<f64> = (0..options.flat_in()).map(|i| options.low[i] + extent(i) / 2.0).collect();
    let there = (target.function)(&middle).iter().fold(0.0_f64, |top, y| top.max(y.abs()));
    let largest = known.size.most.min(there + lipschitz.value * diagonal / 2.0);
    Ok((lipschitz, [largest, known.range.min(2.0 * known.size.most)]))
}

/// The largest slope |∇ f_i| at random points, by differences.
fn steepest(options: &Seq2seq, target: &Target) -> f64 {
    let mut rng = Seed(options.seed).probe(Probe::Slope);
    let domain = Domain::Box { low: options.low.clone(), high: options.high.clone() };
    let mut top = 0.0_f64;
    for _ in 0..SLOPES {
        let mut x = domain.sample(&mut rng);
        let mut squares = vec![0.0; options.flat_out()];
        for i in 0..x.len() {
            let (here, extent) = (x[i], options.high[i] - options.low[i]);
            let ends = [(here - 1e-4 * extent).max(options.low[i]), (here + 1e-4 * extent).min(options.high[i])];
            let [below, above] = ends.map(|end| {
                x[i] = end;
                (target.function)(&x)
            });
            x[i] = here;
            for (square, (above, below)) in squares.iter_mut().zip(above.iter().zip(&below)) {
                *square += ((above - below) / (ends[1] - ends[0])).powi(2);
            }
        }
        top = squares.into_iter().fold(top, f64::max);
    }
    top.sqrt()
}

/// m(c) = sup_t Σ_k softmax_k (t − k)² over a line of `cells` cells, found on a lattice; its slope times half a step is
/// added.
fn mean_square(sharpness: f64, cells: usize) -> f64 {
    const LATTICE: usize = 1024;
    let values = (0..cells * LATTICE).map(|step| {
        let t = (step as f64 + 0.5) / LATTICE as f64 - 0.5;
        let at = Moments::of(t, cells - 1, sharpness);
        at.variance + (at.mean - t).powi(2)
    });
    values.fold(0.0, f64::max) + (1.0 + 2.0 * sharpness) / LATTICE as f64
}

impl GridPlan<'_> {
    fn extent(&self, i: usize) -> f64 {
        self.options.high[i] - self.options.low[i]
    }

    /// L sqrt(m(c) Σ Δ²).
    fn interpolation(&self, cells: usize) -> f64 {
        let squares: f64 = (0..self.options.flat_in()).map(|i| (self.extent(i) / cells as f64).powi(2)).sum();
        self.lipschitz.value * (self.squares[cells.min(self.squares.len()) - 1] * squares).sqrt()
    }

    fn bound(&self, cells: usize) -> Bound {
        let m = self.squares[cells.min(self.squares.len()) - 1];
        let formula = format!("L sqrt(m(c) sum_i Delta_i^2), m(c) = {m:.4}, L = {}", self.lipschitz);
        let bound = Bound::default().and_on(self.lipschitz.basis, "interpolation", formula, self.interpolation(cells));
        bound.at_most(self.range, "range", "sup f - inf f: the head gives a mean of values of f")
    }

    fn rounding(&self, cells: usize) -> Bound {
        let numbers = self.options.flat_in() as f64;
        let size = cells as f64;
        // For each input number at most c G²/2 from query times key and c G²/4 from the square, each rounded three
        // times, and their sum n d times.
        let noise = F32_ROUNDOFF * (0.75 * self.sharpness * size * size * numbers * (3.0 + numbers) + 30.0);
        let reach = |i: usize| 6.0 * F32_ROUNDOFF * self.options.low[i].abs().max(self.options.high[i].abs());
        let inputs = (0..self.options.flat_in()).map(|i| reach(i).powi(2)).sum::<f64>().sqrt();
        let carried = size.powf(numbers).min(7.0_f64.powf(numbers));
        // Whatever the weights, the head gives a weighted mean of values.
        let left = (self.range - self.bound(cells).value).max(0.0);
        Bound::default()
            .and(
                "scores",
                "2 L sqrt(m(c) sum Delta^2) (exp(2 gamma) - 1) / 2, gamma = eps (0.75 c G^2 nd (3 + nd) + 30)",
                moved(2.0 * self.interpolation(cells), noise).min(left),
            )
            .and("input in units of cells", "6 eps L |x|", (self.lipschitz.value * inputs).min(left))
            .and("values", "(2 k + 8) eps max |f|, k keys that carry weight", value_noise(carried, self.largest))
    }

    /// Number of parameters: map, query and key of n d + 1 columns, value, output, readout.
    fn parameters(&self, keys: f64) -> f64 {
        let (flat_in, flat_out) = (self.options.flat_in() as f64, self.options.flat_out() as f64);
        let width = flat_in + 2.0 + flat_out;
        (flat_in + 1.0) * (keys + 1.0) * width
            + 2.0 * width * (flat_in + 1.0)
            + width * flat_out
            + flat_out * (2.0 * flat_out + 1.0)
    }

    fn write(&self, cells: usize) -> Result<Construction, Refusal> {
        let options = self.options;
        let (flat_in, flat_out) = (options.flat_in(), options.flat_out());
        let keys = cells.pow(flat_in as u32);
        let z = Space::new(&[("x", flat_in), ("one", 1), ("square", 1), ("value", flat_out)]);
        let digit = |key: usize, i: usize| key / cells.pow(i as u32) % cells;
        let centred = |digit: usize| digit as f64 - (cells as f64 - 1.0) / 2.0;
        let spacing = |i: usize| self.extent(i) / cells as f64;
        let middle = |i: usize| f64::midpoint(options.low[i], options.high[i]);

        let mut map = InputMap::sequence_wise(flat_in, keys + 1, z.width());
        let (weight, constant) = (map.linear.weight_mut(), &mut map.constant);
        for i in 0..flat_in {
            weight[(i, z.nth("x", i))] = 1.0 / spacing(i);
            constant[(0, z.nth("x", i))] = -middle(i) / spacing(i);
        }
        constant[(0, z.at("one"))] = 1.0;
        for key in 0..keys {
            let place: Vec<f64> = (0..flat_in).map(|i| centred(digit(key, i))).collect();
            let at: Vec<f64> = place.iter().enumerate().map(|(i, k)| middle(i) + k * spacing(i)).collect();
            for (i, k) in place.iter().enumerate() {
                constant[(key + 1, z.nth("x", i))] = *k;
            }
            constant[(key + 1, z.at("square"))] = place.iter().map(|k| k * k).sum();
            for (to, y) in (self.target.function)(&at).into_iter().enumerate() {
                if !y.is_finite() {
                    return Err(Refusal::invalid("function", format!("gives {y} at {at:?}")));
                }
                constant[(key + 1, z.nth("value", to))] = y;
            }
        }

        let mut head = Head::zeros(z.width(), flat_in + 1, flat_out, flat_out);
        for i in 0..flat_in {
            head.query.weight[(z.nth("x", i), i)] = 2.0 * self.sharpness;
            head.key.weight[(z.nth("x", i), i)] = 1.0;
        }
        head.query.weight[(z.at("one"), flat_in)] = self.sharpness;
        head.key.weight[(z.at("square"), flat_in)] = -1.0;
        for to in 0..flat_out {
            head.value.weight[(z.nth("value", to), to)] = 1.0;
            head.output[(to, to)] = 1.0;
        }
        let layer = Layer { space: z, map: InputMap { queries: 1, keys, ..map }, heads: vec![head] };
        let readout =
            Readout::Affine { weight: Matrix::identity(flat_out, flat_out), bias: Matrix::zeros(1, flat_out) };
        Ok(Construction {
            name: Seq2seq::NAME,
            target: self.target.clone(),
            domain: Domain::Box { low: options.low.clone(), high: options.high.clone() },
            network: Network {
                seq_len: options.seq_len,
                d_in: options.d_in,
                d_out: options.d_out,
                layers: vec![layer],
                readout,
                causal: false,
            },
            scored: None,
            sizes: vec![("G".to_owned(), cells as f64), ("keys".to_owned(), keys as f64)],
            temperature: Temperature {
                beta: self.sharpness,
                reason: "c = beta Delta^2 in units of cells, where the spread to neighbours and the steps between cells balance".to_owned(),
            },
            bound: self.bound(cells),
            rounding: self.rounding(cells),
            likely: None,
            provable: Some(Provable::Boxes { function: self.target.clone(), variables: Variables::Sequence }),
            proof: None,
            truth: None,
            norm: None,
            hard: self.hard_points(cells),
        })
    }

    /// Corners of cells, where 2^{n d} keys tie; faces between two cells; and corners of the box.
    fn hard_points(&self, cells: usize) -> Vec<(&'static str, Vec<Vec<f64>>)> {
        let mut rng = Probe::Grid.rng();
        let domain = Domain::Box { low: self.options.low.clone(), high: self.options.high.clone() };
        let snapped = |x: &[f64], snap: &dyn Fn(usize, f64) -> f64| -> Vec<f64> {
            let numbers = x.iter().enumerate().map(|(i, x)| {
                let t = (x - self.options.low[i]) / self.extent(i) * cells as f64;
                self.options.low[i] + snap(i, t) * self.extent(i) / cells as f64
            });
            numbers.collect()
        };
        let (mut ties, mut faces) = (Vec::new(), Vec::new());
        for at in 0..256 {
            let x = domain.sample(&mut rng);
            ties.push(snapped(&x, &|_, t| t.round()));
            faces.push(snapped(&x, &|i, t| {
                if i == at % x.len() { t.round() } else { t.floor().min(cells as f64 - 1.0) + 0.5 }
            }));
        }
        let corners = (0..1_usize << self.options.flat_in().min(8)).map(|bits| {
            let ends = self.options.low.iter().zip(&self.options.high).enumerate();
            ends.map(|(i, (low, high))| if bits >> (i % 8) & 1 == 1 { *high } else { *low }).collect()
        });
        vec![("ties", ties), ("faces", faces), ("corners", corners.collect())]
    }
}
