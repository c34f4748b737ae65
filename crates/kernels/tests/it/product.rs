//! Products in every precision of every device, compared with f64: the operands are rounded as the name says, and nothing else is.

#![allow(clippy::many_single_char_names, reason = "the names of the formulas")]

use burn::tensor::{Tensor, TensorData};
use headway_kernels::{Precision, joined, linear, matmul};
use headway_testkit::{
    devices, numbers,
    precision::{of_sum, unit},
};

/// Sizes `[batch, m, k, n]`, of which the last covers tiles of matrix units and leaves a rest.
const SIZES: [[usize; 4]; 3] = [[1, 1, 1, 1], [2, 7, 53, 11], [2, 40, 35, 70]];

fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as().unwrap()
}

/// What products of a precision see of a tensor, which a device may have rounded to either neighbour.
fn seen<const D: usize>(tensor: &Tensor<D>, precision: Precision) -> Vec<f32> {
    host(Precision::F32.cast(precision.cast(tensor.clone())))
}

/// Matrices one after the other.
#[derive(Clone, Copy)]
struct Matrices<'a> {
    entries: &'a [f32],
    rows: usize,
    columns: usize,
    transposed: bool,
}

impl<'a> Matrices<'a> {
    fn of(entries: &'a [f32], [rows, columns]: [usize; 2]) -> Self {
        Self { entries, rows, columns, transposed: false }
    }

    fn transposed(self) -> Self {
        Self { rows: self.columns, columns: self.rows, transposed: !self.transposed, ..self }
    }

    fn at(&self, matrix: usize, row: usize, column: usize) -> f64 {
        let within = if self.transposed { column * self.rows + row } else { row * self.columns + column };
        f64::from(self.entries[matrix * self.rows * self.columns + within])
    }
}

/// Asserts that numbers are the products of matrices that were rounded to a precision, summed in f32.
fn assert_product(name: &str, got: &[f32], (a, b): (Matrices<'_>, Matrices<'_>), precision: Precision) {
    let count = a.entries.len() / a.rows / a.columns;
    assert_eq!(got.len(), count * a.rows * b.columns, "{name}");
    // What the host cannot see of rounding happens to each of two operands.
    let hidden = if precision == Precision::Tf32 { 2.0 * unit(precision) + unit(precision).powi(2) } else { 0.0 };
    for (at, got) in got.iter().enumerate() {
        let (matrix, row, column) = (at / b.columns / a.rows, at / b.columns % a.rows, at % b.columns);
        let products = || (0..a.columns).map(|k| a.at(matrix, row, k) * b.at(matrix, k, column));
        let (want, size) = (products().sum::<f64>(), products().map(f64::abs).sum::<f64>());
        let allowed = (of_sum(a.columns) + hidden) * size;
        assert!(
            (f64::from(*got) - want).abs() <= allowed,
            "{name}, [{row}, {column}]: {got}, not {want} ± {allowed:.1e}"
        );
    }
}

#[test]
fn a_product_and_its_gradients_are_those_of_rounded_operands_summed_in_f32() {
    for on in devices() {
        let device = on.device.clone().autodiff();
        let available = Precision::ALL.into_iter().filter(|precision| precision.is_available(&on.device));
        for (precision, [batch, m, k, n]) in available.flat_map(|precision| SIZES.map(|sizes| (precision, sizes))) {
            let name =
                |what: &str| format!("{what} of {batch} × {m} × {k} × {n} in {} on {}", precision.name(), on.name);
            let leaf = |seed, shape: [usize; 3]| {
                let data = TensorData::new(numbers(seed, shape.iter().product()), shape);
                Tensor::<3>::from_data(data, &device).require_grad()
            };
            // B is a view, as keys are.
            let (a, b) = (leaf(1, [batch, m, k]), leaf(2, [batch, n, k]));
            let d_c = leaf(3, [batch, m, n]).inner();
            let c = matmul(a.clone(), b.clone().swap_dims(1, 2), precision);
            let gradients = (c.clone() * Tensor::from_inner(d_c.clone())).sum().backward();
            let [of_a, of_b, of_d] = [&a.clone().inner(), &b.clone().inner(), &d_c].map(|x| seen(x, precision));
            let of_a = Matrices::of(&of_a, [m, k]);
            let of_b = Matrices::of(&of_b, [n, k]).transposed();
            let of_d = Matrices::of(&of_d, [m, n]);
            assert_product(&name("product"), &host(c.inner()), (of_a, of_b), precision);
            let d_a = host(a.grad(&gradients).unwrap());
            assert_product(&name("dA"), &d_a, (of_d, of_b.transposed()), precision);
            let d_b = host(b.grad(&gradients).unwrap());
            assert_product(&name("dB"), &d_b, (of_d.transposed(), of_a), precision);
        }
    }
}

#[test]
fn an_affine_map_and_its_gradients_are_those_of_rounded_operands_and_the_bias_is_not_rounded() {
    for on in devices() {
        let device = on.device.clone().autodiff();
        let available = Precision::ALL.into_iter().filter(|precision| precision.is_available(&on.device));
        for (precision, [batch, m, k, n]) in available.flat_map(|precision| SIZES.map(|sizes| (precision, sizes))) {
            let name =
                |what: &str| format!("{what} of {batch} × {m} × {k} -> {n} in {} on {}", precision.name(), on.name);
            let data = |seed, shape: Vec<usize>| TensorData::new(numbers(seed, shape.iter().product()), shape);
            let x = Tensor::<3>::from_data(data(4, vec![batch, m, k]), &device).require_grad();
            let w = Tensor::<2>::from_data(data(5, vec![k, n]), &device).require_grad();
            let b = Tensor::<1>::from_data(data(6, vec![n]), &device).require_grad();
            let d_y = Tensor::<3>::from_data(data(7, vec![batch, m, n]), &on.device);
            let y = linear(x.clone(), w.clone(), Some(b.clone()), precision);
            let alone = host(linear(x.clone(), w.clone(), None, precision).inner());
            let gradients = (y.clone() * Tensor::from_inner(d_y.clone())).sum().backward();
            let (of_x, of_w) = (seen(&x.clone().inner(), precision), seen(&w.clone().inner(), precision));
            let of_d = seen(&d_y, precision);
            let rows = batch * m;
            let (of_x, of_w) = (Matrices::of(&of_x, [rows, k]), Matrices::of(&of_w, [k, n]));
            let of_d = Matrices::of(&of_d, [rows, n]);
            assert_product(&name("product"), &alone, (of_x, of_w), precision);
            let d_x = host(x.grad(&gradients).unwrap());
            assert_product(&name("dX"), &d_x, (of_d, of_w.transposed()), precision);
            let d_w = host(w.grad(&gradients).unwrap());
            assert_product(&name("dW"), &d_w, (of_x.transposed(), of_d), precision);

            let bias = host(b.clone().inner());
            for ((y, alone), bias) in host(y.inner()).into_iter().zip(&alone).zip(bias.iter().cycle()) {
                let allowed = 2.0 * unit(Precision::F32) * f64::from(alone.abs().max(bias.abs()));
                assert!(f64::from((y - (alone + bias)).abs()) <= allowed, "{}", name("bias"));
            }
            let (ones, d_y) = (vec![1.0; rows], host(d_y));
            let sums = (Matrices::of(&ones, [1, rows]), Matrices::of(&d_y, [rows, n]));
            assert_product(&name("db"), &host(b.grad(&gradients).unwrap()), sums, Precision::F32);
        }
    }
}

#[test]
fn joined_maps_and_products_with_one_matrix_are_affine_maps() {
    let [batch, m, k] = [3, 17, 29];
    for on in devices() {
        let device = on.device.clone().autodiff();
        for precision in Precision::ALL.into_iter().filter(|precision| precision.is_available(&on.device)) {
            let data = |seed, shape: Vec<usize>| TensorData::new(numbers(seed, shape.iter().product()), shape);
            let x = Tensor::<3>::from_data(data(8, vec![batch, m, k]), &device).require_grad();
            let widths = [5, 7, 11];
            let w =
                [9, 10, 11].map(|seed| Tensor::<2>::from_data(data(seed, vec![k, widths[seed as usize - 9]]), &device));
            let w = w.map(Tensor::require_grad);
            let b = widths.map(|width| Tensor::<1>::zeros([width], &device).require_grad());
            let d_y = Tensor::<3>::from_data(data(12, vec![batch, m, 23]), &device);
            let gradients_of = |y: Tensor<3>| {
                let gradients = (y.clone() * d_y.clone()).sum().backward();
                let all = w.iter().map(|w| host(w.grad(&gradients).unwrap()));
                (host(y.inner()), host(x.grad(&gradients).unwrap()), all.collect::<Vec<_>>().concat())
            };
            let (y, d_x, d_w) = gradients_of(joined(x.clone(), w.clone(), b, precision));
            let apart = w.iter().map(|w| matmul(x.clone(), w.clone().unsqueeze(), precision)).collect();
            let (want_y, want_d_x, want_d_w) = gradients_of(Tensor::cat(apart, 2));
            let name = |what: &str| format!("{what} in {} on {}", precision.name(), on.name);
            // Sums of at most 51 terms below one, in another order, of operands that matrix units may see differently.
            let allowed = 51.0 * (of_sum(51) + if precision == Precision::Tf32 { unit(precision) } else { 0.0 });
            for (what, got, want) in [("y", y, want_y), ("dX", d_x, want_d_x), ("dW", d_w, want_d_w)] {
                headway_testkit::assert_close_of_scale(&name(what), &got, &want, 1.0, allowed);
            }
        }
    }
}
