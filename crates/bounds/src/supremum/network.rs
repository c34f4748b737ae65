//! The pass of a whole network over forms: what [`Function::forward`] computes, over a box.

use headway_plain::{
    Readout,
    function::{Exit, Function},
    network::{Activation, Affine, FeedForward, InputMap, Layer, LayerNorm, Linear, Matrix, Row, Sight},
};
use headway_tasks::{Interval, Jet, Order, enclosures};

use super::{
    attention::mixture,
    form::{Arithmetic, Form, Measured, Sum, dot},
};

/// Roundings of float32 that a GELU costs, relative to its argument: that of Φ by a polynomial of 1.5e-7 included.
pub const GELU_ROUNDINGS: f64 = 32.0;
/// Roundings of float32 that an inverse square root costs.
const ROOT_ROUNDINGS: f64 = 8.0;

/// Rows of forms.
type Rows<const D: usize> = Vec<Vec<Form<D>>>;

/// What a network predicts over a box.
///
/// # Shapes
/// `[seq_len · d_in]` -> `[seq_len · d_out]`
pub fn pass<const D: usize>(function: &Function, x: &[Form<D>], arithmetic: Arithmetic) -> Vec<Form<D>> {
    let pass = Pass { arithmetic };
    let rows: Rows<D> = x.chunks_exact(function.d_in).map(<[Form<D>]>::to_vec).collect();
    let mut h = match &function.enter {
        Some(map) => pass.map(map, &rows),
        None => rows,
    };
    let reads_rows = !matches!(function.exit, Exit::Stack(Readout::Affine { .. } | Readout::Softmax { .. }));
    for (index, layer) in function.network.layers.iter().enumerate() {
        // Rows that nothing reads are left out.
        let is_last = index + 1 == function.network.layers.len();
        let wanted = if is_last && reads_rows { function.seq_len } else { usize::MAX };
        h = pass.layer(layer, h, function.network.causal, wanted);
    }
    let y = pass.exit(&function.exit, h, function.seq_len);
    let width = y.len() / function.seq_len;
    y.chunks_exact(width).flat_map(|row| row[..function.d_out].iter().copied()).collect()
}

struct Pass {
    arithmetic: Arithmetic,
}

impl Pass {
    /// x W + b for one row.
    fn affine<const D: usize>(&self, x: &[Form<D>], weight: &Matrix, bias: &Row) -> Vec<Form<D>> {
        let parts: Vec<f64> = x.iter().map(Form::parts).collect();
        let column = |column: usize| {
            let mut sum = Sum::default();
            let terms = weight.column(column).into_iter().zip(x).zip(&parts);
            terms.for_each(|((w, x), parts)| sum.add_sized(*w, x, *parts));
            sum.finish(bias[column], self.arithmetic)
        };
        (0..weight.ncols()).map(column).collect()
    }

    fn all<const D: usize>(&self, rows: &[Vec<Form<D>>], map: &Affine) -> Rows<D> {
        rows.iter().map(|row| self.affine(row, &map.weight, &map.bias)).collect()
    }

    fn map<const D: usize>(&self, map: &InputMap, rows: &[Vec<Form<D>>]) -> Rows<D> {
        let (count, width) = map.constant.shape();
        let constant = |row: usize| map.constant.row(row).into_owned();
        match &map.linear {
            Linear::TokenWise(weight) => {
                let of = |row: usize| match rows.get(row) {
                    Some(x) => self.affine(x, weight, &constant(row)),
                    None => constant(row).iter().copied().map(Form::point).collect(),
                };
                (0..count).map(of).collect()
            }
            Linear::SequenceWise(weight) => {
                let flat: Vec<Form<D>> = rows.concat();
                let bias = Row::from_vec(headway_plain::network::flattened(&map.constant));
                self.affine(&flat, weight, &bias).chunks_exact(width).map(<[Form<D>]>::to_vec).collect()
            }
        }
    }

    fn layer<const D: usize>(&self, layer: &Layer, x: Rows<D>, causal: bool, wanted: usize) -> Rows<D> {
        let sight = layer.sight(x.len(), causal);
        let x = match &layer.map {
            Some(map) => self.map(map, &x),
            None => x,
        };
        let y = self.norm(layer.norm.as_ref(), &x);
        let (n_queries, n_keys) = layer.map.as_ref().map_or((y.len(), y.len()), |map| (map.queries, map.keys));
        let (queries, keys) = (&y[..n_queries.min(wanted)], &y[y.len() - n_keys..]);
        let update = self.attention(layer, queries, keys, sight);
        let x = self.add(layer.skip, &x, update);
        match &layer.feed_forward {
            Some(feed_forward) => {
                let update = self.feed_forward(feed_forward, &x);
                self.add(layer.skip, &x, update)
            }
            None => x,
        }
    }

    fn add<const D: usize>(&self, skip: bool, x: &[Vec<Form<D>>], update: Rows<D>) -> Rows<D> {
        if !skip {
            return update;
        }
        let row = |(x, update): (&Vec<Form<D>>, Vec<Form<D>>)| {
            x.iter().zip(update).map(|(x, update)| x.plus(&update, self.arithmetic)).collect()
        };
        x.iter().zip(update).map(row).collect()
    }

    fn attention<const D: usize>(
        &self,
        layer: &Layer,
        queries: &[Vec<Form<D>>],
        keys: &[Vec<Form<D>>],
        sight: Sight,
    ) -> Rows<D> {
        let mut sums: Vec<Vec<Sum<D>>> = vec![vec![Sum::default(); layer.bias.len()]; queries.len()];
        for head in &layer.heads {
            let [of_queries, of_keys, values] = [(queries, &head.query), (keys, &head.key), (keys, &head.value)]
                .map(|(rows, map)| self.all(rows, map).iter().map(|row| Measured::row(row)).collect::<Vec<_>>());
            for (i, (query, sums)) in of_queries.iter().zip(&mut sums).enumerate() {
                let seen: Vec<usize> = (0..keys.len()).filter(|key| sight.sees(i, *key)).collect();
                let score = |key: &usize| dot(query, &of_keys[*key], head.scale, self.arithmetic);
                let scores: Vec<Form<D>> = seen.iter().map(score).collect();
                let values: Vec<&[Measured<D>]> = seen.iter().map(|key| values[*key].as_slice()).collect();
                let mixed = mixture(&scores, &values, self.arithmetic);
                let parts: Vec<f64> = mixed.iter().map(Form::parts).collect();
                for (column, sum) in sums.iter_mut().enumerate() {
                    let terms = head.output.column(column).into_iter().zip(&mixed).zip(&parts);
                    terms.for_each(|((w, mixed), parts)| sum.add_sized(*w, mixed, *parts));
                }
            }
        }
        let row = |sums: Vec<Sum<D>>| {
            sums.into_iter().zip(layer.bias.iter()).map(|(sum, bias)| sum.finish(*bias, self.arithmetic)).collect()
        };
        sums.into_iter().map(row).collect()
    }

    fn feed_forward<const D: usize>(&self, network: &FeedForward, x: &[Vec<Form<D>>]) -> Rows<D> {
        let mut hidden = self.all(&self.norm(network.norm.as_ref(), x), &network.expand);
        hidden.iter_mut().flatten().for_each(|unit| *unit = self.activation(network.activation, unit));
        self.all(&hidden, &network.contract)
    }

    fn activation<const D: usize>(&self, activation: Activation, x: &Form<D>) -> Form<D> {
        let mut y = match activation {
            Activation::Relu => return x.relu(),
            Activation::GeluErf => x.apply(|x| {
                let by = enclosures::gelu(x.value);
                x.then(by)
            }),
            Activation::GeluTanh => x.apply(gelu_tanh),
        };
        y.error += self.arithmetic.float32() * GELU_ROUNDINGS * x.size();
        y
    }

    fn norm<const D: usize>(&self, norm: Option<&LayerNorm>, x: &[Vec<Form<D>>]) -> Rows<D> {
        let Some(norm) = norm else { return x.to_vec() };
        x.iter().map(|row| self.norm_of(norm, row)).collect()
    }

    fn norm_of<const D: usize>(&self, norm: &LayerNorm, x: &[Form<D>]) -> Vec<Form<D>> {
        let n = x.len() as f64;
        let mut sum = Sum::default();
        for x in x {
            sum.add(-1.0 / n, x);
        }
        let mean = sum.finish(0.0, self.arithmetic);
        let centred: Vec<Form<D>> =
            if norm.centres { x.iter().map(|x| x.plus(&mean, self.arithmetic)).collect() } else { x.to_vec() };
        let measured = Measured::row(&centred);
        let square = dot(&measured, &measured, 1.0 / n, self.arithmetic);
        let variance = square.plus(&Form::point(norm.epsilon), self.arithmetic);
        // It is never below ε.
        let least = norm.epsilon * (1.0 - 8.0 * self.arithmetic.unit());
        let mut rate = variance.apply(|x| inverse_root(x, least));
        rate.error += self.arithmetic.float32() * ROOT_ROUNDINGS * rate.size();
        // Σ y² = n for the normalised row, up to ε.
        let most = n.sqrt() * (1.0 + 1e-9 + (n + 32.0) * self.arithmetic.unit());
        let one = |(at, y): (usize, &Form<D>)| {
            let y = y.times(&rate, self.arithmetic).within(Interval::new(-most, most));
            let mut sum = Sum::default();
            sum.add(norm.gain[at], &y);
            sum.finish(norm.bias[at], self.arithmetic)
        };
        centred.iter().enumerate().map(one).collect()
    }

    fn exit<const D: usize>(&self, exit: &Exit, h: Rows<D>, seq_len: usize) -> Vec<Form<D>> {
        match exit {
            Exit::Stack(Readout::Rows) => h[..seq_len].concat(),
            Exit::Stack(Readout::Affine { weight, bias }) => self.flat(&h, weight, bias),
            Exit::Stack(Readout::Softmax { scores, scores_bias, values, weight, bias }) => {
                let points = |row: Vec<f64>| row.into_iter().map(|value| Form::point(value).into()).collect();
                let values: Vec<Vec<Measured<D>>> =
                    values.row_iter().map(|row| points(row.iter().copied().collect())).collect();
                let values: Vec<&[Measured<D>]> = values.iter().map(Vec::as_slice).collect();
                let bias_of_scores = Row::from_iterator(scores_bias.ncols(), scores_bias.iter().copied());
                let channels = h.iter().map(|row| {
                    let scores = self.affine(row, scores, &bias_of_scores);
                    mixture(&scores, &values, self.arithmetic)
                });
                self.flat(&channels.collect::<Rows<D>>(), weight, bias)
            }
            Exit::Rows { norm, pooled, map } => {
                let mut h = self.norm(norm.as_ref(), &h[..seq_len]);
                if *pooled {
                    let mean = |column: usize| {
                        let mut sum = Sum::default();
                        for row in &h {
                            sum.add(1.0 / seq_len as f64, &row[column]);
                        }
                        sum.finish(0.0, self.arithmetic)
                    };
                    let mean: Vec<Form<D>> = (0..map.weight.nrows()).map(mean).collect();
                    h = vec![mean; seq_len];
                }
                self.all(&h, map).concat()
            }
            Exit::SoftmaxOfChannels => {
                let of = |row: &Vec<Form<D>>| {
                    let measured = Measured::row(row);
                    let values: Vec<&[Measured<D>]> = measured.iter().map(std::slice::from_ref).collect();
                    mixture(row, &values, self.arithmetic)
                };
                h[..seq_len].iter().flat_map(of).collect()
            }
        }
    }

    /// vec(H) W + b.
    fn flat<const D: usize>(&self, h: &[Vec<Form<D>>], weight: &Matrix, bias: &Matrix) -> Vec<Form<D>> {
        let bias = Row::from_iterator(bias.len(), bias.iter().copied());
        self.affine(&h.concat(), weight, &bias)
    }
}

/// x/2 (1 + tanh(sqrt(2/π) (x + 0.044715 x³)))
fn gelu_tanh(x: Jet) -> Jet {
    let number = |value: Interval| Jet::constant(value, 1, Order::Second);
    let factor = Interval::new(0.797_884_560_802_865_3, 0.797_884_560_802_865_5);
    let cube = x.clone().power(number(Interval::point(3.0)));
    let argument = x.clone().plus(&cube.times(&number(Interval::point(0.044_715)))).times(&number(factor));
    let by = enclosures::tanh(argument.value);
    let half = argument.then(by).plus(&number(Interval::ONE)).times(&number(Interval::point(0.5)));
    x.times(&half)
}

/// x^(−1/2) for numbers of which none is below `least`. A form may have its middle there, and then no tangent.
fn inverse_root(x: Jet, least: f64) -> Jet {
    let Interval { low, high } = x.value;
    let by = if high < least {
        [Interval::ENTIRE; 3]
    } else {
        enclosures::real_power(Interval::new(low.max(least), high), -0.5)
    };
    x.then(by)
}
