//! Naming conventions of programs. A convention is one file and one row of the list below; it knows a program's names
//! and layouts and converts tensors to Headway's.

mod authors;
mod effect;
mod elsewhere;
pub mod gpt2;
mod headway;
pub mod llama;
mod torch_modules;
pub mod transformer_bridge;
pub mod transformer_lens;

pub use effect::effect_of;
pub use elsewhere::Elsewhere;

use std::collections::{BTreeMap, BTreeSet};

use headway_model::weights::Array;

use crate::{Arrays, Error};

/// A family of conventions, by its name on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Modules of PyTorch, and authors' scripts.
    Pytorch,
    /// HookedTransformer, and TransformerBridge from version 4.0 on.
    TransformerLens,
    /// Headway's own names.
    Headway,
}

/// Every format with its name on the command line.
pub const FORMATS: [(&str, Format); 3] =
    [("pytorch", Format::Pytorch), ("transformer-lens", Format::TransformerLens), ("headway", Format::Headway)];

/// Names and layouts of one program.
pub struct Convention {
    /// Its family.
    pub format: Format,
    /// Its name.
    pub name: &'static str,
    /// One-line summary.
    pub summary: &'static str,
    /// Whether names and shapes are those of this convention.
    fits: fn(&Arrays) -> bool,
    rename: fn(Arrays) -> Result<Renamed, Error>,
}

/// Every convention; the first that fits is used.
pub const CONVENTIONS: &[Convention] = &[
    headway::CONVENTION,
    transformer_lens::CONVENTION,
    transformer_bridge::CONVENTION,
    authors::ONE_LAYER,
    authors::TWO_LAYER,
    gpt2::IN_CONTEXT,
    gpt2::GPT2,
    llama::CONVENTION,
    torch_modules::ENCODER,
    torch_modules::ATTENTION,
];

/// Weights under Headway's names and in its layout, and what happened to all other tensors.
#[derive(Clone, Debug, Default)]
pub struct Renamed {
    /// The weights.
    pub arrays: Arrays,
    /// Number of heads per layer; `None` if shapes do not show it.
    pub n_heads: Option<usize>,
    /// Tensors of the convention that are not weights.
    pub not_weights: Vec<String>,
    /// Tensors that the convention does not have.
    pub unknown: Vec<String>,
    /// Those of them that are in a list together with known tensors, for example in that of the blocks.
    pub inside: Vec<String>,
    /// Assumptions, in words.
    pub assumed: Vec<String>,
    /// Whether attention is causal; `None` if no mask shows it.
    pub causal: Option<bool>,
    /// Whether masks show that attention is not local.
    pub shows_no_window: bool,
    /// Whether the head is a copy of the embedding because the file has no head; `Some(false)` if the file has one that
    /// differs.
    pub head_is_embedding: Option<bool>,
    /// Keys of `[model.transformer]` that the names show, with their values as TOML.
    pub shown: Vec<(&'static str, String)>,
    /// Whether the names are of a network whose positions are rotary.
    pub is_rotary: bool,
    /// Whether the program places norms after attention by default.
    pub is_post_norm_by_default: bool,
    pub(crate) fills: Fills,
}

/// Parameters that Headway's models have but files of a convention may omit.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fills {
    /// Whether a map without a bias is one with a zero bias.
    pub zero_biases: bool,
    /// Whether a norm without parameters is one with gain one and offset zero.
    pub unit_norms: bool,
}

/// Role of a tensor in a convention.
pub(crate) enum Place {
    /// Weights, under Headway's names.
    Weights(Vec<(String, Array)>),
    /// Known, but not a weight.
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
    /// The convention of a file, among those of a format or among all. `above` is the prefix that was removed from
    /// every name.
    ///
    /// # Errors
    /// [`Error::Names`] if none fits, with what each looks for.
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

    /// Converts tensors to Headway's names and layout.
    ///
    /// # Errors
    /// [`Error::Shape`] if a tensor has a shape that its name does not allow, [`Error::Names`] if two tensors get the
    /// same name.
    pub fn rename(&self, arrays: Arrays) -> Result<Renamed, Error> {
        (self.rename)(arrays)
    }
}

/// Renames tensors before their names are interpreted; `old` is a whole name, or the part of one before a dot.
///
/// # Errors
/// [`Error::Names`] for an old name that no tensor has, and for a new name that another tensor has.
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

/// If names fit below a key but not as they are: what to write instead.
fn below_which_one_fits(arrays: &Arrays, format: Option<Format>, above: &str) -> Option<String> {
    // All parts of names like `a.b.c` that end before a dot.
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
    // The shortest key, which contains all the others.
    let (key, convention) = keys.into_iter().take(1000).find_map(|key| Some((key, fits(key)?)))?;
    Some(format!(
        "below `{above}{key}` they are those of {}: --key {above}{key} takes what lies there",
        convention.name
    ))
}

/// Prefixes that wrappers add to every name: data parallelism, compilation, and the attribute in which a training
/// script stores its network.
const WRAPPERS: [&str; 6] = ["module.", "_orig_mod.", "model.", "net.", "network.", "_forward_module."];
/// Parts that wrappers insert into names.
const BETWEEN: [&str; 3] = ["_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module."];
/// The counter of `torch.optim.swa_utils.AveragedModel`.
const AVERAGED: &str = "n_averaged";

/// Weights without the wrappers' additions to their names.
#[derive(Clone, Debug, Default)]
pub struct Unwrapped {
    /// The weights.
    pub tensors: Arrays,
    /// What was removed, in words.
    pub said: Vec<String>,
    /// Tensors of wrappers that are not weights.
    pub not_weights: Vec<String>,
    /// The prefix that every name had.
    pub before: String,
}

/// Removes the prefixes and parts that wrappers added to names, and says which.
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

/// Kind of attention that a mask shows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// Each position sees itself and all positions before it.
    Causal,
    /// Each position sees all positions.
    Full,
}

/// Reads a mask `[…, n, n]`, whose entries are one either where a position sees another or where it does not.
///
/// # Errors
/// [`Error::Names`] for another kind of mask, such as that of local attention.
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

/// Sorts each tensor by its [`Place`].
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

/// The part of a name before its first number; `None` if it has no number.
fn list_of(name: &str) -> Option<String> {
    let parts: Vec<&str> = name.split('.').collect();
    let at = parts.iter().position(|part| part.parse::<usize>().is_ok())?;
    Some(parts[..at].join("."))
}

/// Whether a name is one of Headway's names outside attention and feed-forward networks, where torch modules have no
/// names of their own.
fn is_ours(name: &str) -> bool {
    let (module, parameter) = name.rsplit_once('.').unwrap_or((name, ""));
    let is_norm = |name: &str| matches!(name, "attention_norm" | "ffn_norm");
    let is_module = match module.strip_prefix("blocks.") {
        Some(rest) => rest.split_once('.').is_some_and(|(layer, norm)| layer.parse::<usize>().is_ok() && is_norm(norm)),
        None => matches!(module, "embed" | "head" | "final_norm" | "position"),
    };
    is_module && matches!(parameter, "weight" | "bias")
}

/// `N` and `rest` of a name `PREFIX N . rest`; `None` for other names.
fn layer_of<'a>(name: &'a str, prefix: &str) -> Option<(usize, &'a str)> {
    let (layer, rest) = name.strip_prefix(prefix)?.split_once('.')?;
    Some((layer.parse().ok()?, rest))
}

/// # Errors
/// [`Error::Shape`] if the number of axes is another.
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

/// Three equal parts of the first axis, for query, key and value. `[3 d, …]` -> three of `[d, …]`
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

/// Query, key and value from the parts of one tensor.
fn attention(layer: usize, parameter: &str, parts: [Array; 3]) -> Place {
    let names = ["query", "key", "value"].map(|part| format!("blocks.{layer}.attention.{part}.{parameter}"));
    Place::Weights(names.into_iter().zip(parts).collect())
}

#[cfg(test)]
pub(crate) mod counted {
    //! Arrays whose values show where they were.

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
