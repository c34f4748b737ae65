//! Reading and writing parameters as safetensors, in PyTorch's orientation and names.
//!
//! A tensor's name is its path in the model (`blocks.0.attention.query.weight`). Linear weights are stored as `[out,
//! in]`, layer norms as `weight` and `bias`, so `safetensors.torch.load_file` returns what a PyTorch module with the
//! same names expects.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId},
    tensor::{Tensor, TensorData},
};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use thiserror::Error;

use crate::parameter::{Buffer, Matrix};

/// A named array in file orientation: row-major values and their shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Shape in the file; linear weights are `[out, in]`.
    pub shape: Vec<usize>,
    /// Values, row-major.
    pub values: Vec<f32>,
}

impl Array {
    /// The matrix with its axes swapped. `[a, b]` -> `[b, a]`
    ///
    /// # Panics
    /// If it has fewer than two axes.
    pub fn transposed(self) -> Self {
        let [rows, columns] = [self.shape[0], self.shape[1]];
        let values = (0..columns).flat_map(|c| (0..rows).map(move |r| r * columns + c));
        Self { values: values.map(|i| self.values[i]).collect(), shape: vec![columns, rows] }
    }
}

/// A tensor's entries, row-major.
///
/// # Panics
/// If the device fails.
pub fn to_host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as().unwrap_or_else(|error| panic!("the device failed while its memory was read: {error}"))
}

/// Why weights could not be loaded.
#[derive(Debug, Error)]
pub enum WeightsError {
    /// Not a complete safetensors file.
    #[error("not a readable safetensors file: {0}")]
    Format(#[from] safetensors::SafeTensorError),
    /// The header would take far more memory than the file.
    #[error("not a readable safetensors file: its header lists {0} values, more than a file of its size needs")]
    Header(usize),
    /// A tensor has a type that weights cannot have.
    #[error("tensor `{name}` holds {dtype}; weights are F32 or F64")]
    Dtype {
        /// Tensor name.
        name: String,
        /// Its type in the file.
        dtype: String,
    },
    /// The tensors do not fit the model.
    #[error("the weights do not fit the model:\n{}", .0.table())]
    Mismatch(LoadReport),
}

/// A tensor that exists on both sides with different shapes.
#[derive(Clone, Debug, PartialEq)]
pub struct ShapeMismatch {
    /// Tensor name.
    pub name: String,
    /// Shape of the model's parameter.
    pub wanted: Vec<usize>,
    /// Shape in the file.
    pub found: Vec<usize>,
}

/// Result of loading, tensor by tensor.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoadReport {
    /// Names of loaded tensors.
    pub taken: Vec<String>,
    /// Parameters of the model that the file lacks.
    pub missing: Vec<String>,
    /// Tensors of the file that the model does not have.
    pub extra: Vec<String>,
    /// Names on both sides whose shapes differ.
    pub mismatched: Vec<ShapeMismatch>,
}

impl LoadReport {
    /// Whether every parameter was loaded and no tensor was left over.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.extra.is_empty() && self.mismatched.is_empty()
    }

    /// A table of the tensors that did not fit, up to 100 of them: name, expected shape, shape found.
    pub fn table(&self) -> String {
        self.table_with(|_| None)
    }

    /// [`LoadReport::table`] with a last column: the config keys that determine each tensor.
    pub fn table_with(&self, keys: impl Fn(&str) -> Option<String>) -> String {
        let mismatched = self
            .mismatched
            .iter()
            .map(|m| [&m.name, &format!("{:?}", m.wanted), &format!("{:?}", m.found)].map(String::from));
        let missing = self.missing.iter().map(|name| [name, "a parameter", "nothing"].map(String::from));
        let extra = self.extra.iter().map(|name| [name, "nothing", "a tensor"].map(String::from));
        let header = ["parameter", "the model has", "the file has"].map(String::from);
        let tensors = mismatched.chain(missing).chain(extra).take(MOST_LINES);
        let rows: Vec<[String; 3]> = std::iter::once(header).chain(tensors).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
        let widths = [width(0), width(1), width(2)];
        let mut last: Vec<Option<String>> = rows.iter().map(|[name, ..]| keys(name)).collect();
        last[0] = last.iter().any(Option::is_some).then(|| "set by".to_owned());
        let lines = rows.iter().zip(last).map(|([name, wanted, found], set_by)| {
            let [w0, w1, w2] = widths;
            format!("  {name:w0$}  {wanted:w1$}  {found:w2$}  {}", set_by.unwrap_or_default()).trim_end().to_owned()
        });
        let count = self.mismatched.len() + self.missing.len() + self.extra.len();
        let more = count.checked_sub(MOST_LINES).filter(|more| *more > 0).map(|more| format!("  and {more} more"));
        lines.chain(more).collect::<Vec<_>>().join("\n")
    }
}

/// Largest number of lines in a table of tensors.
const MOST_LINES: usize = 100;

/// Every parameter by name, in file orientation.
pub fn arrays<M: Module>(model: &M) -> BTreeMap<String, Array> {
    collect(model, &Values)
}

/// Selects what to read from a parameter: its value, its gradient, …
pub trait Pick {
    /// The tensor to read, with the parameter's shape; `None` to skip the parameter.
    fn pick<const D: usize>(&self, param: &Param<Tensor<D>>) -> Option<Tensor<D>>;
}

/// Picks the parameter's value.
struct Values;

impl Pick for Values {
    fn pick<const D: usize>(&self, param: &Param<Tensor<D>>) -> Option<Tensor<D>> {
        Some(param.val())
    }
}

impl Pick for burn::optim::GradientsParams {
    fn pick<const D: usize>(&self, param: &Param<Tensor<D>>) -> Option<Tensor<D>> {
        self.get(param.id)
    }
}

/// One array, in file orientation, for each parameter that `pick` does not skip.
pub fn collect<M: Module>(model: &M, pick: &impl Pick) -> BTreeMap<String, Array> {
    let mut collector = Collector { pick, path: Path::default(), arrays: BTreeMap::new() };
    model.visit(&mut collector);
    collector.arrays
}

/// One parameter in file orientation; the others stay on their device. `None` if there is none with this name.
pub fn one<M: Module>(model: &M, name: &str) -> Option<Array> {
    struct Only(ParamId);
    impl Pick for Only {
        fn pick<const D: usize>(&self, param: &Param<Tensor<D>>) -> Option<Tensor<D>> {
            (param.id == self.0).then(|| param.val())
        }
    }
    let (_, id) = names(model).into_iter().find(|(other, _)| other == name)?;
    collect(model, &Only(id)).remove(name)
}

/// Path and id of each parameter, in the model's order.
pub fn names<M: Module>(model: &M) -> Vec<(String, ParamId)> {
    struct Names(Path, Vec<(String, ParamId)>);
    impl ModuleVisitor for Names {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.0.enter(name, container);
        }
        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.0.exit();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.1.push((self.0.name(), param.id));
        }
    }
    let mut names = Names(Path::default(), Vec::new());
    model.visit(&mut names);
    names.1
}

/// Shape of each parameter by name, in file orientation.
pub fn shapes<M: Module>(model: &M) -> BTreeMap<String, Vec<usize>> {
    struct Shapes(Path, BTreeMap<String, Vec<usize>>);
    impl ModuleVisitor for Shapes {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.0.enter(name, container);
        }
        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.0.exit();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let mut shape = param.lazy_shape().to_vec();
            if self.0.is_transposed() {
                shape.reverse();
            }
            self.1.insert(self.0.name(), shape);
        }
    }
    let mut shapes = Shapes(Path::default(), BTreeMap::new());
    model.visit(&mut shapes);
    shapes.1
}

/// Name and shape of each parameter, in file orientation, without [`Buffer`]s.
pub fn parameters<M: Module>(model: &M) -> Vec<(String, Vec<usize>)> {
    struct Parameters(Path, Vec<(String, Vec<usize>)>);
    impl ModuleVisitor for Parameters {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.0.enter(name, container);
        }
        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.0.exit();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if self.0.is_parameter() {
                let mut shape = param.lazy_shape().to_vec();
                if self.0.is_transposed() {
                    shape.reverse();
                }
                self.1.push((self.0.name(), shape));
            }
        }
    }
    let mut parameters = Parameters(Path::default(), Vec::new());
    model.visit(&mut parameters);
    parameters.1
}

/// Number of scalar parameters, trained or frozen.
pub fn count<M: Module>(model: &M) -> usize {
    parameters(model).iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
}

/// Selects the values of parameters that are trained.
pub struct Trained;

impl Pick for Trained {
    fn pick<const D: usize>(&self, param: &Param<Tensor<D>>) -> Option<Tensor<D>> {
        let value = param.val();
        value.is_require_grad().then_some(value)
    }
}

/// Names of the parameters that are trained.
pub fn trained<M: Module>(model: &M) -> BTreeSet<String> {
    struct Names(Path, BTreeSet<String>);
    impl ModuleVisitor for Names {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.0.enter(name, container);
        }
        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.0.exit();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if Trained.pick(param).is_some() {
                self.1.insert(self.0.name());
            }
        }
    }
    let mut names = Names(Path::default(), BTreeSet::new());
    model.visit(&mut names);
    names.1
}

/// The model's parameters as the bytes of a safetensors file, equal for equal weights.
///
/// # Errors
/// [`WeightsError::Format`] if the tensors cannot be written, which does not happen with valid models.
pub fn to_bytes<M: Module>(model: &M) -> Result<Vec<u8>, WeightsError> {
    arrays_to_bytes(&arrays(model))
}

/// Named arrays as the bytes of a safetensors file, with the metadata `format = pt`.
///
/// # Errors
/// [`WeightsError::Format`] if the tensors cannot be written.
pub fn arrays_to_bytes(arrays: &BTreeMap<String, Array>) -> Result<Vec<u8>, WeightsError> {
    let bytes: Vec<(&String, &Array, Vec<u8>)> = arrays
        .iter()
        .map(|(name, array)| (name, array, array.values.iter().flat_map(|v| v.to_le_bytes()).collect()))
        .collect();
    let views = bytes
        .iter()
        .map(|(name, array, bytes)| Ok((name.as_str(), TensorView::new(Dtype::F32, array.shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()?;
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    Ok(safetensors::serialize(views, Some(metadata))?)
}

/// Reads every tensor of a safetensors file as f32.
///
/// # Errors
/// [`WeightsError::Format`] if it is not a complete safetensors file, [`WeightsError::Dtype`] for types other than F32
/// and F64.
pub fn arrays_from_bytes(bytes: &[u8]) -> Result<BTreeMap<String, Array>, WeightsError> {
    ensure_lean_header(bytes)?;
    let file = SafeTensors::deserialize(bytes)?;
    file.iter().map(|(name, view)| Ok((name.to_owned(), array(name, &view)?))).collect()
}

/// Refuses a header that would take too much memory: while it is read, each of its values takes a hundred bytes, even
/// the two characters `0,`.
fn ensure_lean_header(bytes: &[u8]) -> Result<(), WeightsError> {
    let Some((len, rest)) = bytes.split_first_chunk::<8>() else { return Ok(()) };
    let len = usize::try_from(u64::from_le_bytes(*len)).unwrap_or(usize::MAX);
    // A length beyond the file is refused later.
    let header = rest.get(..len).unwrap_or_default();
    let values = header.iter().filter(|byte| b",:[{".contains(byte)).count();
    let allowed = MOST_VALUES + bytes.len() / BYTES_PER_VALUE;
    if values > allowed { Err(WeightsError::Header(values)) } else { Ok(()) }
}

/// Number of header values that any file may have, enough for tens of thousands of tensors …
const MOST_VALUES: usize = 300_000;
/// … and the number of bytes that a file needs for each further value.
const BYTES_PER_VALUE: usize = 24;

fn array(name: &str, view: &TensorView<'_>) -> Result<Array, WeightsError> {
    let values = match view.dtype() {
        Dtype::F32 => view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        Dtype::F64 => view.data().as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect(),
        other => return Err(WeightsError::Dtype { name: name.to_owned(), dtype: format!("{other:?}") }),
    };
    Ok(Array { shape: view.shape().to_vec(), values })
}

/// Loads named arrays into the model if name and shape match; all other parameters keep their values. The report lists
/// them.
pub fn load_partial<M: Module>(model: M, arrays: BTreeMap<String, Array>) -> (M, LoadReport) {
    let mut loader = Loader { arrays, path: Path::default(), report: LoadReport::default() };
    let model = model.map(&mut loader);
    let mut report = loader.report;
    report.extra = loader.arrays.into_keys().collect();
    (model, report)
}

/// Loads named arrays into the model; every name and shape must match.
///
/// # Errors
/// [`WeightsError::Mismatch`] listing each tensor that does not fit.
pub fn load<M: Module>(model: M, arrays: BTreeMap<String, Array>) -> Result<(M, LoadReport), WeightsError> {
    let (model, report) = load_partial(model, arrays);
    if report.is_complete() { Ok((model, report)) } else { Err(WeightsError::Mismatch(report)) }
}

/// Position of a traversal of a model, and the name of the parameter there.
#[derive(Default)]
pub struct Path {
    parts: Vec<(String, String)>,
}

impl Path {
    /// To be called by [`ModuleVisitor::enter_module`].
    pub fn enter(&mut self, name: &str, container: &str) {
        self.parts.push((name.to_owned(), container.to_owned()));
    }

    /// To be called by [`ModuleVisitor::exit_module`].
    pub fn exit(&mut self) {
        self.parts.pop();
    }

    /// Name of the current parameter.
    pub fn name(&self) -> String {
        // Names of enum variants are left out of paths: `embed.weight`, whichever kind of embedding it is.
        let is_named = |container: &str| {
            !container.starts_with("Enum:") && ![Matrix::CONTAINER, Buffer::CONTAINER].contains(&container)
        };
        let parts = self.parts.iter().filter(|(_, container)| is_named(container));
        parts.map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(".")
    }

    /// Whether it is a parameter of the network and not a [`Buffer`].
    fn is_parameter(&self) -> bool {
        self.parts.last().is_none_or(|(_, container)| container != Buffer::CONTAINER)
    }

    /// Whether the parameter is a [`Matrix`], stored `[in, out]` in memory and `[out, in]` in files.
    pub fn is_transposed(&self) -> bool {
        self.parts.last().is_some_and(|(_, container)| container == Matrix::CONTAINER)
    }
}

struct Collector<'a, P> {
    pick: &'a P,
    path: Path,
    arrays: BTreeMap<String, Array>,
}

impl<P: Pick> ModuleVisitor for Collector<'_, P> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(tensor) = self.pick.pick(param) else { return };
        let shape = tensor.dims().to_vec();
        let array = Array { shape, values: to_host(tensor) };
        let array = if self.path.is_transposed() { array.transposed() } else { array };
        self.arrays.insert(self.path.name(), array);
    }
}

struct Loader {
    arrays: BTreeMap<String, Array>,
    path: Path,
    report: LoadReport,
}

impl ModuleMapper for Loader {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = self.path.name();
        let transposed = self.path.is_transposed();
        let mut wanted = param.lazy_shape().to_vec();
        if transposed {
            wanted.reverse();
        }
        let Some(array) = self.arrays.remove(&name) else {
            self.report.missing.push(name);
            return param;
        };
        if array.shape != wanted {
            self.report.mismatched.push(ShapeMismatch { name, wanted, found: array.shape });
            return param;
        }
        self.report.taken.push(name);
        // Transposed on the host: a strided weight would be multiplied differently, and resuming would not give the
        // same bits.
        let array = if transposed { array.transposed() } else { array };
        param.map(|old| {
            let data = TensorData::new(array.values, array.shape);
            Tensor::from_data(data, &old.device()).set_require_grad(old.is_require_grad())
        })
    }
}
