//! Keys of a table: listing, removing and merging them.

use toml::{Table, Value};

use super::{
    TrainConfig,
    choice::{default_choices, is_choice, replace_variant, variant_left_out},
    join,
};

/// The precision of all products.
pub(super) const PRECISION: &str = "train.precision";
/// That inside attention, which follows it unless it is given.
pub(super) const ATTENTION_PRECISION: &str = "train.attention_precision";

/// Every value of a table with its full key, in the table's order; an empty table counts as a value.
pub fn leaves(prefix: &str, table: &Table) -> Vec<(String, Value)> {
    let entries = table.iter().flat_map(|(key, value)| {
        let key = join(prefix, key);
        match value {
            Value::Table(below) if !below.is_empty() => leaves(&key, below),
            value => vec![(key, value.clone())],
        }
    });
    entries.collect()
}

/// Whether a table contains exactly this key.
pub(super) fn has(table: &Table, key: &str) -> bool {
    match key.split_once('.') {
        None => table.contains_key(key),
        Some((first, rest)) => table.get(first).and_then(Value::as_table).is_some_and(|below| has(below, rest)),
    }
}

pub(super) fn remove(table: &mut Table, path: &str) -> bool {
    match path.split_once('.') {
        None => table.remove(path).is_some(),
        Some((first, rest)) => match table.get_mut(first) {
            Some(Value::Table(below)) => remove(below, rest),
            Some(Value::Array(items)) => {
                let (index, rest) = rest.split_once('.').unwrap_or((rest, ""));
                let item = index.parse().ok().and_then(|index: usize| items.get_mut(index));
                let Some(Value::Table(below)) = item else { return false };
                remove(below, rest)
            }
            // The path leads into something that is no table, so the whole of it is wrong.
            Some(_) => table.remove(first).is_some(),
            None => false,
        },
    }
}

/// Removes a key, which may leave out the name of a variant, from a table and returns the full key; `None` if it is not
/// there.
pub fn take(table: &mut Table, key: &str) -> Option<String> {
    let whole = match key.split_once('.') {
        Some((choice, field)) if is_choice(choice) => {
            let first = field.split('.').next().unwrap_or(field);
            match variant_left_out(table, choice, first, false) {
                Some(variant) => format!("{choice}.{variant}.{field}"),
                None => key.to_owned(),
            }
        }
        _ => key.to_owned(),
    };
    let taken = has(table, &whole) && remove(table, &whole);
    // A choice without a variant is not set.
    table.retain(|key, value| !(is_choice(key) && value.as_table().is_some_and(Table::is_empty)));
    taken.then_some(whole)
}

/// Merges `changes` into a table: tables are merged, all other values replaced. In an `experiment`, another variant of
/// a choice replaces the existing one.
pub fn merge(table: &mut Table, changes: Table, experiment: bool) {
    for (key, value) in changes {
        if let Value::Table(changes) = &value
            && experiment
        {
            changes.keys().for_each(|variant| replace_variant(table, &key, variant));
        }
        match (table.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(changes)) => merge(below, changes, key == "experiment"),
            (_, value) => drop(table.insert(key, value)),
        }
    }
}

/// The key with the last part `name`, among those that every experiment has; `None` if there is none.
pub fn key_called(name: &str) -> Option<String> {
    let mut all = default_choices();
    all.insert("train".to_owned(), Value::try_from(TrainConfig::default()).ok()?);
    let (key, _) = leaves("", &all).into_iter().find(|(key, _)| key.rsplit('.').next() == Some(name))?;
    match key.split('.').collect::<Vec<_>>().as_slice() {
        [choice, _variant, field] if is_choice(choice) => Some(format!("{choice}.{field}")),
        _ => Some(key),
    }
}
