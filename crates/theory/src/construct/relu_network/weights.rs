//! A two-layer ReLU network of the whole sequence, as numbers and under the names of PyTorch's files.

use std::collections::BTreeMap;

use crate::{refusal::Refusal, target::Target};
use headway_model::weights::Array;
use headway_tasks::seq2seq::relu_network::{GivenNetwork, ReluNetworkConfig};

/// vec(Y) = W₂ relu(W₁ vec(X) + b₁) + b₂, where vec concatenates the rows of X, one per position.
#[derive(Clone, Debug, PartialEq)]
pub struct ReluWeights {
    /// Number of positions.
    pub seq_len: usize,
    /// Input numbers per position.
    pub d_in: usize,
    /// Output numbers per position.
    pub d_out: usize,
    /// W₁. `[units][seq_len · d_in]`
    pub weights_in: Vec<Vec<f64>>,
    /// b₁. `[units]`
    pub bias_in: Vec<f64>,
    /// W₂. `[seq_len · d_out][units]`
    pub weights_out: Vec<Vec<f64>>,
    /// b₂. `[seq_len · d_out]`
    pub bias_out: Vec<f64>,
}

impl ReluWeights {
    /// Number of hidden units.
    pub fn units(&self) -> usize {
        self.weights_in.len()
    }

    /// # Errors
    /// [`Refusal::Invalid`] if sizes do not match or a number is not finite.
    pub fn check(&self) -> Result<(), Refusal> {
        let refuse = |problem: String| Err(Refusal::invalid("network", problem));
        let (units, flat_in, flat_out) = (self.units(), self.seq_len * self.d_in, self.seq_len * self.d_out);
        if flat_in == 0 || flat_out == 0 || units == 0 {
            return refuse(
                "needs a position, a number per position in and out, and a hidden unit, at least".to_owned(),
            );
        }
        if self.weights_in.iter().any(|row| row.len() != flat_in) || self.bias_in.len() != units {
            return refuse(format!("the first layer needs {units} rows of {flat_in} numbers and {units} biases"));
        }
        if self.weights_out.len() != flat_out
            || self.weights_out.iter().any(|row| row.len() != units)
            || self.bias_out.len() != flat_out
        {
            return refuse(format!("the second layer needs {flat_out} rows of {units} numbers and {flat_out} biases"));
        }
        let matrices = self.weights_in.iter().chain(&self.weights_out).flatten();
        if matrices.chain(&self.bias_in).chain(&self.bias_out).any(|number| !number.is_finite()) {
            return refuse("holds something that is not a finite number".to_owned());
        }
        Ok(())
    }

    /// W₁ vec(X) + b₁. `[units]`
    pub fn before_relu(&self, x: &[f64]) -> Vec<f64> {
        affine(&self.weights_in, &self.bias_in, x)
    }

    /// The network's output. `[seq_len · d_in]` -> `[seq_len · d_out]`
    pub fn forward(&self, x: &[f64]) -> Vec<f64> {
        let hidden: Vec<f64> = self.before_relu(x).into_iter().map(|u| u.max(0.0)).collect();
        affine(&self.weights_out, &self.bias_out, &hidden)
    }

    /// The network without the weights by which an output would see a later input: unit j belongs to position ⌊j n / r⌋,
    /// reads no later one, and serves no earlier one.
    pub(crate) fn causal(mut self) -> Self {
        let units = self.units();
        for j in 0..units {
            let position = j * self.seq_len / units;
            self.weights_in[j].iter_mut().skip((position + 1) * self.d_in).for_each(|weight| *weight = 0.0);
            self.weights_out.iter_mut().take(position * self.d_out).for_each(|row| row[j] = 0.0);
        }
        self
    }

    /// The task whose targets this network computes; all other settings are those of `base`.
    pub(crate) fn task(&self, base: ReluNetworkConfig) -> ReluNetworkConfig {
        ReluNetworkConfig {
            seq_len: self.seq_len,
            d: self.d_in,
            d_out: (self.d_out != self.d_in).then_some(self.d_out),
            d_hidden: self.units(),
            given: Some(GivenNetwork {
                weights_in: self.weights_in.clone(),
                bias_in: self.bias_in.clone(),
                weights_out: self.weights_out.clone(),
                bias_out: self.bias_out.clone(),
            }),
            ..base
        }
    }

    pub(crate) fn target(&self) -> Target {
        let network = self.clone();
        Target::opaque(format!("Y = W2 relu(W1 vec(X) + b1) + b2 with {} hidden units", self.units()), move |x| {
            network.forward(x)
        })
    }

    /// The two linear layers of a PyTorch `nn.Sequential(nn.Linear, nn.ReLU, nn.Linear)` on flattened sequences:
    /// `0.weight` and `2.weight`, stored `[out, in]`, and `0.bias` and `2.bias`, which may be missing. All names may
    /// have a common prefix such as `net.`.
    ///
    /// # Errors
    /// [`Refusal::Invalid`], naming the tensors that were found and the shapes that were expected.
    pub fn from_arrays(arrays: &BTreeMap<String, Array>, seq_len: usize) -> Result<Self, Refusal> {
        let listed = || {
            let each = arrays.iter().map(|(name, array)| format!("{name} {:?}", array.shape));
            let each: Vec<String> = each.collect();
            if each.is_empty() { "none".to_owned() } else { each.join(", ") }
        };
        let refuse = |problem: String| Refusal::invalid("network", format!("{problem}; found: {}", listed()));
        let prefix = |name: &String| name.strip_suffix("0.weight").map(str::to_owned);
        let prefixes: Vec<String> =
            arrays.keys().filter_map(prefix).filter(|prefix| prefix.is_empty() || prefix.ends_with('.')).collect();
        let [prefix] = prefixes.as_slice() else {
            let problem = if prefixes.is_empty() {
                "needs tensors 0.weight and 2.weight, with a common prefix or none"
            } else {
                "needs one tensor that ends in 0.weight, not several"
            };
            return Err(refuse(problem.to_owned()));
        };
        let known = ["0.weight", "0.bias", "2.weight", "2.bias"];
        let stranger =
            arrays.keys().find(|name| !name.strip_prefix(prefix.as_str()).is_some_and(|name| known.contains(&name)));
        if let Some(stranger) = stranger {
            return Err(refuse(format!(
                "{stranger} is no part of two linear layers, {prefix}0 and {prefix}2, with a ReLU between"
            )));
        }
        let matrix = |part: &str| -> Result<Vec<Vec<f64>>, Refusal> {
            let name = format!("{prefix}{part}");
            let array = arrays.get(&name).ok_or_else(|| refuse(format!("{name} is missing")))?;
            let [rows, columns] = array.shape[..] else {
                return Err(refuse(format!("{name} must be a matrix [out, in]")));
            };
            if rows * columns == 0 || array.values.len() != rows * columns {
                return Err(refuse(format!("{name} must hold the numbers of its shape, one at least")));
            }
            Ok(array.values.chunks(columns).map(|row| row.iter().copied().map(f64::from).collect()).collect())
        };
        let bias = |part: &str, wanted: usize| -> Result<Vec<f64>, Refusal> {
            let name = format!("{prefix}{part}");
            match arrays.get(&name) {
                None => Ok(vec![0.0; wanted]),
                Some(array) if array.shape == [wanted] && array.values.len() == wanted => {
                    Ok(array.values.iter().copied().map(f64::from).collect())
                }
                Some(_) => Err(refuse(format!("{name} must have shape [{wanted}]"))),
            }
        };
        let (weights_in, weights_out) = (matrix("0.weight")?, matrix("2.weight")?);
        let (units, flat_in, flat_out) = (weights_in.len(), weights_in[0].len(), weights_out.len());
        if weights_out[0].len() != units {
            return Err(refuse(format!("{prefix}2.weight must have shape [{flat_out}, {units}]")));
        }
        for (part, numbers) in [("0.weight", flat_in), ("2.weight", flat_out)] {
            if seq_len == 0 || !numbers.is_multiple_of(seq_len) {
                let side = if part == "0.weight" { "columns" } else { "rows" };
                return Err(refuse(format!(
                    "the {numbers} {side} of {prefix}{part} must divide among {seq_len} positions, which --seq-len sets"
                )));
            }
        }
        let network = Self {
            seq_len,
            d_in: flat_in / seq_len,
            d_out: flat_out / seq_len,
            bias_in: bias("0.bias", units)?,
            bias_out: bias("2.bias", flat_out)?,
            weights_in,
            weights_out,
        };
        network.check()?;
        Ok(network)
    }
}

fn affine(weights: &[Vec<f64>], bias: &[f64], x: &[f64]) -> Vec<f64> {
    let rows = weights.iter().zip(bias);
    rows.map(|(row, bias)| row.iter().zip(x).map(|(w, x)| w * x).sum::<f64>() + bias).collect()
}
