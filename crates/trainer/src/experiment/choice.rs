//! Parts of an experiment that have variants: how a table names one, and how a bare name is replaced by its table.

use headway_model::ModelConfig;
use headway_tasks::{DataConfig, TaskConfig};
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::{
    FinetuneConfig,
    form::{self, Refusal},
    join,
};
use crate::{optimizer::OptimizerConfig, schedule::Schedule};

/// Tests whether a value is one of the variants of a choice.
type Reads = fn(Value) -> Result<(), Refusal>;

/// Parts of an experiment that have variants, each a table whose only key is the variant's name.
const CHOICES: [(&str, Reads); 6] = [
    ("task", reads::<TaskConfig>),
    ("data", reads::<DataConfig>),
    ("model", reads::<ModelConfig>),
    ("optimizer", reads::<OptimizerConfig>),
    ("schedule", reads::<Schedule>),
    ("finetune", reads::<FinetuneConfig>),
];

fn reads<T: DeserializeOwned>(value: Value) -> Result<(), Refusal> {
    form::read::<T>(value).map(drop)
}

pub(super) fn is_choice(key: &str) -> bool {
    CHOICES.iter().any(|(choice, _)| *choice == key)
}

/// A variant with all its defaults.
pub(super) fn with_defaults(variant: &str) -> Value {
    Value::Table(Table::from_iter([(variant.to_owned(), Value::Table(Table::new()))]))
}

/// Whether a choice has a variant with this name.
pub(super) fn is_variant(choice: &str, name: &str) -> bool {
    let reads = CHOICES.iter().find_map(|(other, reads)| (*other == choice).then_some(reads));
    reads.is_some_and(|reads| !matches!(reads(with_defaults(name)), Err(Refusal::NoSuchChoice(..))))
}

/// The optional choices with their defaults.
pub(super) fn default_choices() -> Table {
    #[derive(Default, serde::Serialize)]
    struct Choices {
        data: DataConfig,
        optimizer: OptimizerConfig,
        schedule: Schedule,
    }
    Table::try_from(Choices::default()).unwrap_or_else(|_| unreachable!("every choice has a TOML form"))
}

/// The name that a key `<choice>.<field>` leaves out: the variant that the table `choice` has, explicitly or by
/// default. `is_field` if the field cannot be a (misspelt) name of a variant.
pub(super) fn variant_left_out(table: &Table, choice: &str, field: &str, is_field: bool) -> Option<String> {
    if !is_choice(choice) || is_variant(choice, field) {
        return None;
    }
    let default = default_choices();
    let variants = table.get(choice).or_else(|| default.get(choice))?.as_table()?;
    let (name, below) = variants.iter().next().filter(|_| variants.len() == 1)?;
    let set_or_possible = is_field || table.contains_key(choice) || below.as_table()?.contains_key(field);
    (below.is_table() && name != field && set_or_possible).then(|| name.clone())
}

/// Removes the other variant of a choice, if it has one, before `variant` is set.
pub(super) fn replace_variant(table: &mut Table, choice: &str, variant: &str) {
    if is_choice(choice)
        && let Some(value) = table.get_mut(choice)
        && !matches!(value, Value::Table(below) if below.contains_key(variant))
    {
        *value = Value::Table(Table::new());
    }
}

/// Replaces a bare name by the variant with its defaults: `schedule = "linear"` becomes `[schedule.linear]`.
pub(super) fn spell_out_choices(table: &mut Table) {
    for (choice, reads) in CHOICES {
        let Some(Value::String(name)) = table.get(choice) else { continue };
        let is_alone = reads(Value::String(name.clone())).is_ok();
        let spelt_out = with_defaults(name);
        // If values are missing, the error should name the variant.
        if !is_alone && matches!(reads(spelt_out.clone()), Ok(()) | Err(Refusal::Missing(_))) {
            table.insert(choice.to_owned(), spelt_out);
        }
    }
}

/// Replaces a bare name at a path by the variant with its defaults and returns the key of the variant; `None` if there
/// is no bare name.
pub(super) fn spell_out(table: &mut Table, path: &str) -> Option<String> {
    let (mut current, mut at) = (table, String::new());
    for part in path.split('.') {
        at = join(&at, part);
        if let Some(name) = current.get(part).and_then(Value::as_str).map(str::to_owned) {
            current.insert(part.to_owned(), with_defaults(&name));
            return Some(join(&at, &name));
        }
        current = current.get_mut(part)?.as_table_mut()?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_a_choice_has_is_told_from_one_that_it_has_not() {
        for (choice, name, misspelt) in [
            ("task", "icl_linear", "icl_liner"),
            ("data", "fixed", "fixd"),
            ("model", "transformer", "transfromer"),
            ("optimizer", "adam", "adma"),
            ("schedule", "cosine", "cosin"),
            ("finetune", "freeze", "freze"),
        ] {
            assert!(is_variant(choice, name) && !is_variant(choice, misspelt), "{choice}");
            let reads = CHOICES.iter().find(|(other, _)| *other == choice).map(|(_, reads)| reads);
            let refusal = reads.and_then(|reads| reads(with_defaults(misspelt)).err());
            assert_eq!(refusal.and_then(|refusal| refusal.nearest()), Some(name), "{choice}");
        }
        assert!(!is_variant("train", "steps"));
    }
}
