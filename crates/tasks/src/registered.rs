//! Tasks that a caller registered beside the built-in ones.

use std::{
    any::Any,
    fmt,
    sync::{PoisonError, RwLock},
};

use headway_keys::{Form, Variant};
use serde::{
    Serialize, Serializer,
    de::{DeserializeOwned, DeserializeSeed, Deserializer, Error as _},
};
use thiserror::Error;

use crate::task::TaskSpec;

/// A task's config type that a caller adds to the list, under its own name.
pub trait Listed:
    TaskSpec + Any + Clone + fmt::Debug + Default + PartialEq + Serialize + DeserializeOwned + Send + Sync
{
    /// Its name in config files: lower-case letters, digits and `_`.
    const NAME: &'static str;
    /// One line about it, for `headway list tasks`.
    const SUMMARY: &'static str;

    /// Its keys, for `headway list` and `headway explain`; `None` if it has none. Those of its default, without what they mean; a type that
    /// derives `headway_keys::Described` gives `Some(<Self as Described>::form())`.
    fn keys() -> Option<Form> {
        Form::of(&Self::default())
    }
}

/// Why a task cannot be added to the list.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RegisterError {
    /// The name is already in the list.
    #[error("`{0}` stands in the list already; give yours another name")]
    Taken(&'static str),
    /// The name is no bare key of a config file.
    #[error("`{0}` is no name for a config file; use small letters, digits and `_`")]
    Name(&'static str),
}

/// A config of a registered type.
pub struct RegisteredTask {
    name: &'static str,
    config: Box<dyn Config>,
}

/// What a config of any type can do.
trait Config: TaskSpec + Any + fmt::Debug + Send + Sync {
    fn duplicate(&self) -> Box<dyn Config>;
    fn equals(&self, other: &dyn Any) -> bool;
    fn as_serialize(&self) -> &dyn erased_serde::Serialize;
}

impl<C: Listed> Config for C {
    fn duplicate(&self) -> Box<dyn Config> {
        Box::new(self.clone())
    }

    fn equals(&self, other: &dyn Any) -> bool {
        other.downcast_ref::<C>() == Some(self)
    }

    fn as_serialize(&self) -> &dyn erased_serde::Serialize {
        self
    }
}

impl RegisteredTask {
    pub(crate) fn new<C: Listed>(config: C) -> Self {
        Self { name: C::NAME, config: Box::new(config) }
    }

    /// Name in a config file.
    pub fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn spec(&self) -> &dyn TaskSpec {
        &*self.config
    }

    pub(crate) fn spec_mut(&mut self) -> &mut dyn TaskSpec {
        &mut *self.config
    }
}

impl Clone for RegisteredTask {
    fn clone(&self) -> Self {
        Self { name: self.name, config: self.config.duplicate() }
    }
}

impl fmt::Debug for RegisteredTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.config.fmt(f)
    }
}

impl PartialEq for RegisteredTask {
    fn eq(&self, other: &Self) -> bool {
        self.config.equals(&*other.config)
    }
}

impl Serialize for RegisteredTask {
    fn serialize<W: Serializer>(&self, serializer: W) -> Result<W::Ok, W::Error> {
        erased_serde::serialize(self.config.as_serialize(), serializer)
    }
}

/// A registered type.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) summary: &'static str,
    keys: fn() -> Option<Form>,
    pub(crate) default: fn() -> RegisteredTask,
    read: fn(&mut dyn erased_serde::Deserializer<'_>) -> Result<RegisteredTask, erased_serde::Error>,
}

static ENTRIES: RwLock<Vec<Entry>> = RwLock::new(Vec::new());

/// Names of the whole list, as long as the process lives, as serde's errors ask for them; none before anything is registered.
static NAMES: RwLock<&[&str]> = RwLock::new(&[]);

/// The names of the whole list.
pub(crate) fn names(built_in: &'static [&'static str]) -> &'static [&'static str] {
    match *NAMES.read().unwrap_or_else(PoisonError::into_inner) {
        [] => built_in,
        all => all,
    }
}

/// Every registered type, in the order of registration.
pub(crate) fn entries() -> Vec<Entry> {
    ENTRIES.read().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Every registered type with its keys.
pub(crate) fn variants() -> impl Iterator<Item = Variant> {
    entries().into_iter().map(|entry| Variant::new(entry.name, entry.summary, (entry.keys)()))
}

/// Adds a type; `built_in` are the names that are taken.
pub(crate) fn register<C: Listed>(built_in: &[&'static str]) -> Result<(), RegisterError> {
    let is_bare = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if C::NAME.is_empty() || !C::NAME.chars().all(is_bare) {
        return Err(RegisterError::Name(C::NAME));
    }
    let mut entries = ENTRIES.write().unwrap_or_else(PoisonError::into_inner);
    let is_taken = built_in.contains(&C::NAME) || entries.iter().any(|entry| entry.name == C::NAME);
    if is_taken {
        return Err(RegisterError::Taken(C::NAME));
    }
    entries.push(Entry {
        name: C::NAME,
        summary: C::SUMMARY,
        keys: C::keys,
        default: || RegisteredTask::new(C::default()),
        read: |value| Ok(RegisteredTask::new(erased_serde::deserialize::<C>(value)?)),
    });
    let all = built_in.iter().copied().chain(entries.iter().map(|entry| entry.name));
    *NAMES.write().unwrap_or_else(PoisonError::into_inner) = all.collect::<Vec<_>>().leak();
    Ok(())
}

/// Reads the settings under a registered name.
impl<'de> DeserializeSeed<'de> for Entry {
    type Value = RegisteredTask;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<RegisteredTask, D::Error> {
        (self.read)(&mut <dyn erased_serde::Deserializer>::erase(deserializer)).map_err(D::Error::custom)
    }
}
