//! Whose names weights carry. A convention is one file and one row of the list below: it knows its own names and layouts, and
//! gives tensors ours.

mod authors;
mod effect;
mod elsewhere;
pub mod gpt2;
mod headway;
mod torch_modules;
pub mod transformer_bridge;
pub mod transformer_lens;

pub use effect::effect_of;
pub use elsewhere::Elsewhere;

use std::collections::{BTreeMap, BTreeSet};

use headway_model::weights::Array;

use crate::{Arrays, Error};

/// A family of conventions, as the command line calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Modules of PyTorch, scripts of authors.
    Pytorch,
    /// HookedTransformer, and TransformerBridge since 4.0.
    TransformerLens,
    /// Our own names.
    Headway,
}

/// Every format by its name on the command line.
pub const FORMATS: [(&str, Format); 3] =
    [("pytorch", Format::Pytorch), ("transformer-lens", Format::TransformerLens), ("headway", Format::Headway)];

/// Names and layouts of one program.
pub struct Convention {
    /// Its family.
    pub format: Format,
    /// Its name.
    pub name: &'static str,
    /// One line about it.
    pub summary: &'static str,
    /// Whether names and shapes are of this convention.
    fits: fn(&Arrays) -> bool,
    rename: fn(Arrays) -> Result<Renamed, Error>,
}

/// Every convention; of those that fit, the first is taken.
pub const CONVENTIONS: &[Convention] = &[
    headway::CONVENTION,
    transformer_lens::CONVENTION,
    transformer_bridge::CONVENTION,
    authors::ONE_LAYER,
    authors::TWO_LAYER,
    gpt2::IN_CONTEXT,
    gpt2::GPT2,
    torch_modules::ENCODER,
    torch_modules::ATTENTION,
];

/// Weights under our names, in our layout, and what became of everything else.
#[derive(Clone, Debug, Default)]
pub struct Renamed {
    /// The weights.
    pub arrays: Arrays,
    /// Heads per layer, where shapes show them.
    pub n_heads: Option<usize>,
    /// Tensors of the convention that are no weights.
    pub not_weights: Vec<String>,
    /// Tensors that the convention does not know.
    pub unknown: Vec<String>,
    /// Those of them that stand in a list with tensors that it knows, such as that of the blocks.
    pub inside: Vec<String>,
    /// What was taken for granted, in words.
    pub assumed: Vec<String>,
    /// Whether a position sees only itself and what came before, where masks show it.
    pub causal: Option<bool>,
    /// Whether masks show that attention is not local.
    pub shows_no_window: bool,
    /// Whether the head is a copy of the embedding because the file has no other; false where it has one that differs.
    pub head_is_embedding: Option<bool>,
    /// Whether the program lets norms stand behind attention unless it is told otherwise.
    pub is_post_norm_by_default: bool,
    pub(crate) fills: Fills,
}

/// What a model of ours has and a convention may do without.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fills {
    /// A map without bias is one whose bias is zero.
    pub zero_biases: bool,
    /// A norm without parameters is one whose gain is one and whose offset is zero.
    pub unit_norms: bool,
}

/// What a tensor is to a convention.
pub(crate) enum Place {
    /// Weights under our names.
    Weights(Vec<(String, Array)>),
    /// Known, and no weight.
    NoWeight,
    /// Not known.
    Unknown,
}

impl Place {
    fn weight(name: impl Into<String>, array: Array) -> Self {
        Self::Weights(vec![(name.into(), array)])
    }
}

impl Convention {
    /// The convention of a file among those of a format, or among all. `above` is what stood before every name and is taken away.
    ///
    /// # Errors
    /// [`Error::Names`] where none fits, with what each looks for.
    pub fn of(arrays: &Arrays, format: Option<Format>, above: &str) -> Result<&'static Self, Error> {
        let asked = |convention: &&Self| format.is_none_or(|format| convention.format == format);
        let mut all = CONVENTIONS.iter().filter(asked);
        all.clone().find(|convention| (convention.fits)(arrays)).ok_or_else(|| {
            let known = all.by_ref().map(|convention| format!("  {}: {}", convention.name, convention.summary));
            let some: Vec<&str> = arrays.keys().map(String::as_str).take(5).collect();
            let way = below_which_one_fits(arrays, format, above).unwrap_or_else(|| {
                let effects: BTreeMap<&str, &String> =
                    arrays.keys().filter_map(|name| Some((effect_of(name)?, name))).collect();
                let lines = effects.iter().map(|(effect, name)| format!("`{name}`: {effect}\n"));
                lines.collect::<String>() + "--rename OLD=NEW gives a tensor, or all below a name, another name"
            });
            Error::Names(format!(
                "its names, such as {}, are of no convention that is known:\n{}\n{way}",
                some.join(", "),
                known.collect::<Vec<_>>().join("\n")
            ))
        })
    }

    /// Gives tensors our names and our layout.
    ///
    /// # Errors
    /// [`Error::Shape`] for a tensor whose shape its name does not allow, [`Error::Names`] where two become one.
    pub fn rename(&self, arrays: Arrays) -> Result<Renamed, Error> {
        (self.rename)(arrays)
    }
}

/// Gives tensors other names before anything is made of them: `old` is a whole name, or what stands before a dot.
///
/// # Errors
/// [`Error::Names`] for an old name that no tensor has, and for a new one that another has.
pub fn substitute(mut arrays: Arrays, changes: &[(String, String)]) -> Result<Arrays, Error> {
    for (old, new) in changes {
        let changed = |name: &str| match name.strip_prefix(old.as_str()) {
            Some("") => Some(new.clone()),
            Some(rest) if rest.starts_with('.') => Some(format!("{new}{rest}")),
            _ => None,
        };
        if !arrays.keys().any(|name| changed(name).is_some()) {
            let names: Vec<&str> = arrays.keys().map(String::as_str).collect();
            return Err(Error::Names(format!(
                "--rename {old}={new}: no tensor is called that; there are\n  {}",
                names.join("\n  ")
            )));
        }
        let mut renamed = Arrays::new();
        for (name, array) in arrays {
            let name = changed(&name).unwrap_or(name);
            if renamed.contains_key(&name) {
                return Err(Error::Names(format!("--rename {old}={new}: there is a `{name}` already")));
            }
            renamed.insert(name, array);
        }
        arrays = renamed;
    }
    Ok(arrays)
}

/// Where names fit below a key and not as they are: what to write.
fn below_which_one_fits(arrays: &Arrays, format: Option<Format>, above: &str) -> Option<String> {
    // Names like `a.b.c`: every beginning that ends before a dot.
    let keys: BTreeSet<&str> =
        arrays.keys().flat_map(|name| name.match_indices('.').map(|(at, _)| &name[..at])).take(10_000).collect();
    let fits = |key: &str| {
        let inside = arrays.iter().filter_map(|(name, array)| {
            Some((
                name.strip_prefix(key)?.strip_prefix('.')?.to_owned(),
                Array { shape: array.shape.clone(), values: Vec::new() },
            ))
        });
        let inside: Arrays = inside.collect();
        CONVENTIONS
            .iter()
            .find(|convention| format.is_none_or(|format| convention.format == format) && (convention.fits)(&inside))
    };
    // The shortest, which has everything below it.
    let (key, convention) = keys.into_iter().take(1000).find_map(|key| Some((key, fits(key)?)))?;
    Some(format!(
        "below `{above}{key}` they are those of {}: --key {above}{key} takes what lies there",
        convention.name
    ))
}

/// What wrappers put before every name: data parallelism, compilation, and the attribute that a training script keeps its
/// network in.
const WRAPPERS: [&str; 6] = ["module.", "_orig_mod.", "model.", "net.", "network.", "_forward_module."];
/// What they put between the parts of names.
const BETWEEN: [&str; 3] = ["_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module."];
/// What `torch.optim.swa_utils.AveragedModel` counts.
const AVERAGED: &str = "n_averaged";

/// Weights without what wrappers put around their names.
#[derive(Clone, Debug, Default)]
pub struct Unwrapped {
    /// The weights.
    pub tensors: Arrays,
    /// What was taken away, in words.
    pub said: Vec<String>,
    /// Tensors of wrappers that are no weights.
    pub not_weights: Vec<String>,
    /// What stood before every name.
    pub before: String,
}

/// Takes away what a wrapper put before every name, or between the parts of names; says what it was.
pub fn unwrap(mut tensors: Arrays) -> Unwrapped {
    let (mut said, mut not_weights, mut before) = (Vec::new(), Vec::new(), String::new());
    let is_average =
        tensors.contains_key(AVERAGED) && tensors.keys().all(|name| name == AVERAGED || name.starts_with("module."));
    if is_average && tensors.len() > 1 {
        tensors.remove(AVERAGED);
        not_weights.push(AVERAGED.to_owned());
    }
    while let Some(wrapper) =
        WRAPPERS.into_iter().find(|w| tensors.keys().all(|name| name.starts_with(w)) && !tensors.is_empty())
    {
        tensors = tensors.into_iter().map(|(name, array)| (name[wrapper.len()..].to_owned(), array)).collect();
        said.push(format!("`{wrapper}` before every name is a wrapper's"));
        before.push_str(wrapper);
    }
    for wrapper in BETWEEN {
        let without = |name: &str| name.split_inclusive('.').filter(|part| *part != wrapper).collect::<String>();
        let names: BTreeSet<String> = tensors.keys().map(|name| without(name)).collect();
        if names.len() == tensors.len() && tensors.keys().any(|name| !names.contains(name)) {
            tensors = tensors.into_iter().map(|(name, array)| (without(&name), array)).collect();
            said.push(format!("`{wrapper}` in names is a wrapper's"));
        }
    }
    Unwrapped { tensors, said, not_weights, before }
}

/// What a mask of attention shows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// Each position sees itself and all before it.
    Causal,
    /// Each sees all.
    Full,
}

/// Reads a mask `[…, n, n]` whose entries are one where a position sees another, or one where it does not.
///
/// # Errors
/// [`Error::Names`] for a mask of another kind, such as that of local attention.
fn mask(name: &str, array: &Array) -> Result<Shown, Error> {
    let rows = array.shape.last().copied().unwrap_or(0);
    let is_square =
        array.shape.len() >= 2 && array.shape[array.shape.len() - 2] == rows && array.values.len() == rows * rows;
    let visible = |row: usize, column: usize| array.values[row * rows + column] > 0.0;
    let all = |wanted: &dyn Fn(usize, usize) -> bool| {
        (0..rows).all(|row| (0..rows).all(|column| visible(row, column) == wanted(row, column)))
    };
    if is_square && (all(&|row, column| column <= row) || rows > 1 && all(&|row, column| column > row)) {
        Ok(Shown::Causal)
    } else if is_square && all(&|_, _| true) {
        Ok(Shown::Full)
    } else {
        Err(Error::Names(format!(
            "`{name}` is the mask of local attention, or of another kind: our models attend to all that came before, or to all"
        )))
    }
}

/// Puts each tensor where it belongs.
fn rename_each(arrays: Arrays, mut place: impl FnMut(&str, Array) -> Result<Place, Error>) -> Result<Renamed, Error> {
    let mut renamed = Renamed::default();
    let mut from: BTreeMap<String, String> = BTreeMap::new();
    let mut lists: BTreeSet<String> = BTreeSet::new();
    for (name, array) in arrays {
        match place(&name, array)? {
            Place::Weights(weights) => {
                for (ours, array) in weights {
                    if let Some(other) = from.insert(ours.clone(), name.clone()) {
                        return Err(Error::Names(format!("`{other}` and `{name}` are both our `{ours}`")));
                    }
                    renamed.arrays.insert(ours, array);
                }
                lists.extend(list_of(&name));
            }
            Place::NoWeight => renamed.not_weights.push(name),
            Place::Unknown => renamed.unknown.push(name),
        }
    }
    let is_inside = |name: &&String| list_of(name).is_some_and(|list| lists.contains(&list));
    renamed.inside = renamed.unknown.iter().filter(is_inside).cloned().collect();
    Ok(renamed)
}

/// What stands before the first number of a name.
fn list_of(name: &str) -> Option<String> {
    let parts: Vec<&str> = name.split('.').collect();
    let at = parts.iter().position(|part| part.parse::<usize>().is_ok())?;
    Some(parts[..at].join("."))
}

/// Whether a name is one of ours that stands outside attention and feed-forward networks, where torch modules have no name of
/// their own.
fn is_ours(name: &str) -> bool {
    let (module, parameter) = name.rsplit_once('.').unwrap_or((name, ""));
    let is_norm = |name: &str| matches!(name, "attention_norm" | "ffn_norm");
    let is_module = match module.strip_prefix("blocks.") {
        Some(rest) => rest.split_once('.').is_some_and(|(layer, norm)| layer.parse::<usize>().is_ok() && is_norm(norm)),
        None => matches!(module, "embed" | "head" | "final_norm" | "position"),
    };
    is_module && matches!(parameter, "weight" | "bias")
}

/// `N` and the rest of `PREFIX N . rest`.
fn layer_of<'a>(name: &'a str, prefix: &str) -> Option<(usize, &'a str)> {
    let (layer, rest) = name.strip_prefix(prefix)?.split_once('.')?;
    Some((layer.parse().ok()?, rest))
}

/// # Errors
/// [`Error::Shape`] for another number of axes.
fn axes<const N: usize>(name: &str, array: &Array, wanted: &str) -> Result<[usize; N], Error> {
    <[usize; N]>::try_from(array.shape.as_slice()).map_err(|_| Error::Shape {
        name: name.to_owned(),
        wanted: format!("it must be {wanted}"),
        found: array.shape.clone(),
    })
}

/// `[a, b]` -> `[b, a]`
fn transposed(name: &str, array: &Array, wanted: &str) -> Result<Array, Error> {
    let [rows, columns] = axes(name, array, wanted)?;
    let values = (0..columns).flat_map(|c| (0..rows).map(move |r| r * columns + c));
    Ok(Array { shape: vec![columns, rows], values: values.map(|at| array.values[at]).collect() })
}

/// Three equal parts of the first axis: query, key, value. `[3 d, …]` -> three of `[d, …]`
fn three(name: &str, array: Array) -> Result<[Array; 3], Error> {
    let first = array.shape.first().copied().unwrap_or(0);
    if !first.is_multiple_of(3) || first == 0 {
        let wanted = "its first axis holds query, key and value, so three times d_model".to_owned();
        return Err(Error::Shape { name: name.to_owned(), wanted, found: array.shape });
    }
    let length = array.values.len() / 3;
    let mut shape = array.shape;
    shape[0] = first / 3;
    let part = |at: usize| Array { shape: shape.clone(), values: array.values[at * length..][..length].to_vec() };
    Ok([part(0), part(1), part(2)])
}

/// Query, key and value of one tensor.
fn attention(layer: usize, parameter: &str, parts: [Array; 3]) -> Place {
    let names = ["query", "key", "value"].map(|part| format!("blocks.{layer}.attention.{part}.{parameter}"));
    Place::Weights(names.into_iter().zip(parts).collect())
}

#[cfg(test)]
pub(crate) mod counted {
    //! Arrays whose values say where they stood.

    use super::Array;

    /// 0, 1, 2, … in row-major order.
    pub fn array(shape: &[usize]) -> Array {
        let count = shape.iter().product::<usize>();
        Array { shape: shape.to_vec(), values: (0..count).map(|at| at as f32).collect() }
    }

    pub fn arrays(all: &[(&str, &[usize])]) -> crate::Arrays {
        all.iter().map(|(name, shape)| ((*name).to_owned(), array(shape))).collect()
    }
}
