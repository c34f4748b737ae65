//! From the float32 weights of a model to the mixtures that its outputs are.

use super::mixture::{Affine, Float32, Head};

/// Half a unit in the last place of 1 in float32.
const U32: f64 = 5.960_464_477_539_063e-8;

/// A matrix of a weight file, row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct Weight {
    /// Number of columns.
    pub columns: usize,
    /// Values, each a float32 number.
    pub values: Vec<f64>,
}

impl Weight {
    /// One of its rows.
    pub fn row(&self, row: usize) -> &[f64] {
        &self.values[row * self.columns..(row + 1) * self.columns]
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.values.len() / self.columns.max(1)
    }
}

/// What a row is, as an affine function of the variables: W x + b.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// W, column by column of the row. `[width][d]`
    pub linear: Vec<Vec<f64>>,
    /// b. `[width]`
    pub constant: Vec<f64>,
    /// Bounds on the error of each column in float32. `[width]`
    pub error: Vec<Affine>,
}

impl Row {
    /// The row that an affine map in float32 computes: each column is one sum, in any order.
    pub fn mapped(linear: Vec<Vec<f64>>, constant: Vec<f64>) -> Self {
        let error = linear.iter().zip(&constant).map(|(w, b)| {
            let terms = count(w);
            let added = terms > 0.0 && *b != 0.0;
            let roundings = if terms == 0.0 { 0.0 } else { terms - 1.0 + inexact(w) + f64::from(u8::from(added)) };
            let by = roundings * U32;
            Affine { offset: by * b.abs(), factors: w.iter().map(|w| by * w.abs()).collect() }
        });
        Self { error: error.collect(), linear, constant }
    }
}

/// A group of heads of the same size, and what stands around it.
#[derive(Clone, Debug)]
pub struct Group {
    /// Number of heads.
    pub count: usize,
    /// Query, key, value and output, in the orientation of files `[out, in]`.
    pub maps: [Weight; 4],
    /// The readout behind, `[outputs, width]` with its bias, if there is one.
    pub readout: Option<(Weight, Vec<f64>)>,
}

fn count(terms: &[f64]) -> f64 {
    terms.iter().filter(|term| **term != 0.0).count() as f64
}

/// 1 if a product with one of these numbers may be rounded, else 0.
fn inexact(terms: &[f64]) -> f64 {
    let is_power = |x: f64| x == 0.0 || (x.to_bits() & ((1 << 52) - 1)) == 0;
    f64::from(u8::from(!terms.iter().all(|term| is_power(*term))))
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Σ |a_i b_i|.
pub fn dot_sizes(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a * b).abs()).sum()
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |top, v| top.max(v.abs()))
}

/// Roundings of a sum of products with these weights.
pub fn roundings(weights: &[f64]) -> f64 {
    (count(weights) - 1.0).max(0.0) + inexact(weights)
}

/// The same at most for the rows of keys, in which products with 0 are exact.
fn most_roundings(weights: &[f64], keys: &[Row]) -> f64 {
    let of = |key: &Row| {
        let terms = weights.iter().zip(&key.constant).filter(|(_, number)| **number != 0.0);
        roundings(&terms.map(|(weight, _)| *weight).collect::<Vec<_>>())
    };
    keys.iter().map(of).fold(0.0, f64::max)
}

impl Group {
    /// The heads as mixtures for the query of one row; `None` if a key or a value depends on the variables.
    pub fn heads(&self, query: &Row, keys: &[Row], d: usize) -> Option<Vec<Head>> {
        let [_, by_key, by_value, _] = &self.maps;
        // A column of a key's row that depends on the variables must not be read.
        let reads = |map: &Weight, column: usize| (0..map.rows()).any(|row| map.row(row)[column] != 0.0);
        let varies = |column: usize| keys.iter().any(|key| key.linear[column].iter().any(|w| *w != 0.0));
        if (0..by_key.columns).any(|column| varies(column) && (reads(by_key, column) || reads(by_value, column))) {
            return None;
        }
        Some((0..self.count).map(|head| self.head(head, query, keys, d)).collect())
    }

    fn head(&self, head: usize, query: &Row, keys: &[Row], d: usize) -> Head {
        let [by_query, by_key, ..] = &self.maps;
        let d_key = by_key.rows() / self.count;
        let scale = 1.0 / (d_key as f64).sqrt();
        let scaled = if (d_key as f64).log2() % 2.0 == 0.0 { 0.0 } else { 2.0 };
        let mut all = Head {
            d,
            slopes: vec![0.0; keys.len() * d],
            offsets: vec![0.0; keys.len()],
            sizes: (vec![0.0; keys.len() * d], vec![0.0; keys.len()]),
            roundings: 8.0 + d_key as f64,
            values: Vec::new(),
            value_size: 0.0,
            value_roundings: 8.0,
            shift: 0.0,
            origin: 0.0,
            float32: Float32 { queries: Vec::new(), keys: Vec::new(), product: 0.0, values: 0.0, scale, scaled },
        };
        let (mut most_of_query, mut most_of_key) = (0.0_f64, 0.0_f64);
        for j in head * d_key..(head + 1) * d_key {
            let (q, k) = (by_query.row(j), by_key.row(j));
            let found: Vec<f64> = keys.iter().map(|key| dot(k, &key.constant)).collect();
            if count(q) == 0.0 || count(&found) == 0.0 {
                continue;
            }
            let offset = dot(q, &query.constant);
            let column = |at: usize| query.linear.iter().map(|w| w[at]).collect::<Vec<f64>>();
            let slopes: Vec<f64> = (0..d).map(|at| dot(q, &column(at))).collect();
            let size = Affine {
                offset: dot_sizes(q, &query.constant),
                factors: (0..d).map(|at| dot_sizes(q, &column(at))).collect(),
            };
            for (at, key) in found.iter().enumerate() {
                let key_size = dot_sizes(k, &keys[at].constant);
                all.offsets[at] += scale * offset * key;
                all.sizes.1[at] += scale * size.offset * key_size;
                for (axis, slope) in slopes.iter().enumerate() {
                    all.slopes[at * d + axis] += scale * slope * key;
                    all.sizes.0[at * d + axis] += scale * size.factors[axis] * key_size;
                }
            }
            // In float32: what the row is off by, the sum itself, and a factor on queries.
            let by = (roundings(q) + 2.0) * U32;
            let through = |of: &dyn Fn(&Affine) -> f64| {
                q.iter().zip(&query.error).map(|(q, error)| q.abs() * of(error)).sum::<f64>()
            };
            let error = Affine {
                offset: (through(&|error| error.offset) + by * size.offset) * 1.001,
                factors: (0..d)
                    .map(|at| {
                        (through(&|error| error.factors.get(at).copied().unwrap_or(0.0)) + by * size.factors[at])
                            * 1.001
                    })
                    .collect(),
            };
            all.float32.queries.push((size, error));
            all.float32.keys.push(found);
            (most_of_query, most_of_key) = (most_of_query.max(count(q)), most_of_key.max(count(k)));
            all.float32.product = all.float32.product.max(most_roundings(k, keys));
        }
        all.float32.product += all.float32.queries.len() as f64;
        all.roundings += most_of_query + most_of_key + d as f64;
        self.read_values(head, keys, &mut all);
        all
    }

    /// What a head answers for each key, and how far float32 is from it.
    fn read_values(&self, head: usize, keys: &[Row], all: &mut Head) {
        let [_, _, by_value, by_output] = &self.maps;
        let d_value = by_value.rows() / self.count;
        let values: Vec<Vec<f64>> = (head * d_value..(head + 1) * d_value)
            .map(|row| keys.iter().map(|key| dot(by_value.row(row), &key.constant)).collect())
            .collect();
        let of_values =
            (0..d_value).map(|row| most_roundings(by_value.row(head * d_value + row), keys)).fold(0.0, f64::max);
        let of_output = (0..by_output.rows())
            .map(|row| roundings(&by_output.row(row)[head * d_value..(head + 1) * d_value]))
            .fold(0.0, f64::max);
        let mut outputs: Vec<Vec<f64>> = (0..by_output.rows())
            .map(|row| {
                let w = &by_output.row(row)[head * d_value..(head + 1) * d_value];
                (0..keys.len()).map(|k| w.iter().zip(&values).map(|(w, values)| w * values[k]).sum()).collect()
            })
            .collect();
        let most = |map: &Weight, rows: std::ops::Range<usize>, of: &dyn Fn(&[f64]) -> f64| {
            rows.map(|row| of(map.row(row))).fold(0.0, f64::max)
        };
        let value_size = most(by_value, head * d_value..(head + 1) * d_value, &|w| {
            keys.iter().map(|key| dot_sizes(w, &key.constant)).fold(0.0, f64::max)
        });
        let total = |w: &[f64]| w.iter().map(|w| w.abs()).sum::<f64>();
        all.value_size =
            value_size * most(by_output, 0..by_output.rows(), &|w| total(&w[head * d_value..(head + 1) * d_value]));
        all.float32.values = of_values + of_output;
        if let Some((weight, bias)) = &self.readout {
            let first = if head == 0 { 1.0 } else { 0.0 };
            outputs = (0..weight.rows())
                .map(|row| {
                    let of = |k: usize| {
                        let sum: f64 = weight.row(row).iter().zip(&outputs).map(|(w, values)| w * values[k]).sum();
                        sum + first * bias[row]
                    };
                    (0..keys.len()).map(of).collect()
                })
                .collect();
            all.value_size = all.value_size * most(weight, 0..weight.rows(), &total) + largest(bias);
            let of_readout = (0..weight.rows()).map(|row| roundings(weight.row(row))).fold(0.0, f64::max);
            all.float32.values += of_readout + if bias.iter().any(|bias| *bias != 0.0) { 1.0 } else { 0.0 };
        }
        all.value_roundings += (d_value + by_value.columns + by_output.rows()) as f64;
        all.values = outputs;
    }
}
