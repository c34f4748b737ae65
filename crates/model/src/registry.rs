//! Lists from which config files choose by name: the built-in entries, and those that a caller registered.

use std::{
    any::Any,
    fmt,
    ops::Deref,
    sync::{Arc, PoisonError, RwLock},
};

use headway_keys::{Form, Variant};
use serde::{
    Serialize, Serializer,
    de::{DeserializeOwned, DeserializeSeed, Deserializer, Error as _, Visitor},
};
use thiserror::Error;

/// A config type that a caller adds to one of the lists, under its own name.
pub trait Listed: Any + fmt::Debug + Default + PartialEq + Serialize + DeserializeOwned + Send + Sync {
    /// Its name in config files: lower-case letters, digits and `_`.
    const NAME: &'static str;
    /// One line about it, for `headway list`.
    const SUMMARY: &'static str;

    /// Its keys, for `headway list` and `headway explain`; `None` if it has none. Those of its default, without what they mean; a type that
    /// derives `headway_keys::Described` gives `Some(<Self as Described>::form())`.
    fn keys() -> Option<Form> {
        Form::of(&Self::default())
    }
}

/// Why a type cannot be added to a list.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RegisterError {
    /// The name is already in the list.
    #[error("`{0}` stands in the list already; give yours another name")]
    Taken(&'static str),
    /// The name is no bare key of a config file.
    #[error("`{0}` is no name for a config file; use small letters, digits and `_`")]
    Name(&'static str),
}

/// A config of a registered type, seen as an entry of its list.
pub struct Registered<S: ?Sized> {
    name: &'static str,
    spec: Arc<S>,
    config: Arc<dyn Config>,
}

/// What a config of any type can do.
trait Config: Any + fmt::Debug + Send + Sync {
    fn equals(&self, other: &dyn Any) -> bool;
    fn as_serialize(&self) -> &dyn erased_serde::Serialize;
}

impl<C: Listed> Config for C {
    fn equals(&self, other: &dyn Any) -> bool {
        other.downcast_ref::<C>() == Some(self)
    }

    fn as_serialize(&self) -> &dyn erased_serde::Serialize {
        self
    }
}

impl<S: ?Sized> Registered<S> {
    pub(crate) fn new<C: Listed>(config: C, view: fn(Arc<C>) -> Arc<S>) -> Self {
        let config = Arc::new(config);
        Self { name: C::NAME, spec: view(Arc::clone(&config)), config }
    }

    /// Name in a config file.
    pub fn name(&self) -> &'static str {
        self.name
    }
}

impl<S: ?Sized> Deref for Registered<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.spec
    }
}

impl<S: ?Sized> Clone for Registered<S> {
    fn clone(&self) -> Self {
        Self { name: self.name, spec: Arc::clone(&self.spec), config: Arc::clone(&self.config) }
    }
}

impl<S: ?Sized> fmt::Debug for Registered<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.config.fmt(f)
    }
}

impl<S: ?Sized> PartialEq for Registered<S> {
    fn eq(&self, other: &Self) -> bool {
        self.config.equals(&*other.config)
    }
}

impl<S: ?Sized> Serialize for Registered<S> {
    fn serialize<W: Serializer>(&self, serializer: W) -> Result<W::Ok, W::Error> {
        erased_serde::serialize(self.config.as_serialize(), serializer)
    }
}

/// One list.
pub(crate) struct Registry<S: ?Sized> {
    built_in: &'static [(&'static str, &'static str)],
    registered: RwLock<Added<S>>,
}

/// What was registered in a list.
struct Added<S: ?Sized> {
    entries: Vec<Entry<S>>,
    /// Names of the whole list, as long as the process lives, as serde's errors ask for them.
    names: &'static [&'static str],
}

/// A registered type.
pub(crate) struct Entry<S: ?Sized> {
    name: &'static str,
    summary: &'static str,
    keys: fn() -> Option<Form>,
    default: Arc<dyn Fn() -> Registered<S> + Send + Sync>,
    read: Arc<Read<S>>,
}

type Read<S> =
    dyn Fn(&mut dyn erased_serde::Deserializer<'_>) -> Result<Registered<S>, erased_serde::Error> + Send + Sync;

impl<S: ?Sized> Clone for Entry<S> {
    fn clone(&self) -> Self {
        let Self { name, summary, keys, default, read } = self;
        Self { name, summary, keys: *keys, default: Arc::clone(default), read: Arc::clone(read) }
    }
}

impl<S: ?Sized + 'static> Entry<S> {
    pub(crate) fn of<C: Listed>(view: fn(Arc<C>) -> Arc<S>) -> Self {
        Self {
            name: C::NAME,
            summary: C::SUMMARY,
            keys: C::keys,
            default: Arc::new(move || Registered::new(C::default(), view)),
            read: Arc::new(move |value| Ok(Registered::new(erased_serde::deserialize::<C>(value)?, view))),
        }
    }
}

impl<S: ?Sized> Registry<S> {
    pub(crate) const fn new(built_in: &'static [(&'static str, &'static str)], names: &'static [&'static str]) -> Self {
        Self { built_in, registered: RwLock::new(Added { entries: Vec::new(), names }) }
    }

    pub(crate) fn register(&self, entry: Entry<S>) -> Result<(), RegisterError> {
        let is_bare = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if entry.name.is_empty() || !entry.name.chars().all(is_bare) {
            return Err(RegisterError::Name(entry.name));
        }
        let mut registered = self.registered.write().unwrap_or_else(PoisonError::into_inner);
        if registered.names.contains(&entry.name) {
            return Err(RegisterError::Taken(entry.name));
        }
        registered.names = [registered.names, &[entry.name]].concat().leak();
        registered.entries.push(entry);
        Ok(())
    }

    fn registered(&self) -> Vec<Entry<S>> {
        self.registered.read().unwrap_or_else(PoisonError::into_inner).entries.clone()
    }

    fn names(&self) -> &'static [&'static str] {
        self.registered.read().unwrap_or_else(PoisonError::into_inner).names
    }

    /// Name and summary of every entry, built-in ones first.
    pub(crate) fn list(&self) -> Vec<(&'static str, &'static str)> {
        let registered = self.registered().into_iter().map(|entry| (entry.name, entry.summary));
        self.built_in.iter().copied().chain(registered).collect()
    }

    /// Every registered type with its keys.
    pub(crate) fn variants(&self) -> impl Iterator<Item = Variant> {
        self.registered().into_iter().map(|entry| Variant::new(entry.name, entry.summary, (entry.keys)()))
    }

    /// Every registered type with all its settings at their defaults.
    pub(crate) fn defaults(&self) -> impl Iterator<Item = Registered<S>> {
        self.registered().into_iter().map(|entry| (entry.default)())
    }
}

/// The entry of a name.
pub(crate) enum Found<S: ?Sized> {
    BuiltIn(&'static str),
    Registered(Entry<S>),
}

/// Reads a name of the list.
impl<'de, S: ?Sized> DeserializeSeed<'de> for &Registry<S> {
    type Value = Found<S>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Found<S>, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl<S: ?Sized> Visitor<'_> for &Registry<S> {
    type Value = Found<S>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name of the list")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Found<S>, E> {
        if let Some((name, _)) = self.built_in.iter().find(|(built_in, _)| *built_in == name) {
            return Ok(Found::BuiltIn(name));
        }
        let registered = self.registered().into_iter().find(|entry| entry.name == name);
        registered.map(Found::Registered).ok_or_else(|| E::unknown_variant(name, self.names()))
    }
}

/// Reads the settings under a registered name.
impl<'de, S: ?Sized> DeserializeSeed<'de> for Entry<S> {
    type Value = Registered<S>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Registered<S>, D::Error> {
        (self.read)(&mut <dyn erased_serde::Deserializer>::erase(deserializer)).map_err(D::Error::custom)
    }
}

/// Declares a list once: the config enum with its names in files, the enum of what is built from it, dispatch to both, `headway list`,
/// and the registration of further entries by a caller.
macro_rules! open_list {
    (
        $(#[$meta:meta])* config $config:ident: $spec:ident, $as_spec:ident, $list:ident;
        $(#[$built_meta:meta])* built $built:ident: $part:ident, $as_part:ident, $as_part_mut:ident;
        $($(#[$attribute:meta])* $name:literal = $variant:ident $(($inner:ident))? $(as $unit:ident)? => $module:ident, $summary:literal;)+
    ) => {
        $(#[$meta])*
        pub enum $config {
            $(#[doc = $summary] $(#[$attribute])* $variant $(($inner))?,)+
            /// An entry that a caller registered.
            Registered($crate::registry::Registered<dyn $spec + Send + Sync>),
        }

        /// The name of every built-in entry with one line about it.
        pub const $list: &[(&str, &str)] = &[$(($name, $summary),)+];

        static REGISTRY: $crate::registry::Registry<dyn $spec + Send + Sync> = $crate::registry::Registry::new($list, &[$($name),+]);

        $(#[$built_meta])*
        #[derive(burn::module::Module, Debug)]
        pub enum $built {
            $(#[doc = $summary] $variant($module),)+
            /// An entry that a caller registered.
            Registered($crate::erased::Erased<dyn $part>),
        }

        impl $config {
            /// Name in a config file.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant { .. } => $name,)+
                    Self::Registered(config) => config.name(),
                }
            }

            /// The config itself.
            pub fn $as_spec(&self) -> &dyn $spec {
                match self {
                    $(open_list!(@pattern config $variant $($inner)?) => open_list!(@spec config $($inner)? $(as $unit)?),)+
                    Self::Registered(config) => &**config,
                }
            }

            /// Name and summary of every entry, built-in ones first.
            pub fn list() -> Vec<(&'static str, &'static str)> {
                REGISTRY.list()
            }

            /// Every entry with its settings at their defaults.
            pub fn defaults() -> Vec<Self> {
                let built_in = [$(open_list!(@default $variant $($inner)?)),+];
                built_in.into_iter().chain(REGISTRY.defaults().map(Self::Registered)).collect()
            }

            /// Adds a type of config to the list of this process: its name is then read in config files like a built-in one.
            ///
            /// # Errors
            /// [`RegisterError`](crate::RegisterError) if the name is already in the list, or is no bare key of a config file.
            pub fn register<C: $spec + $crate::registry::Listed>() -> Result<(), $crate::registry::RegisterError> {
                REGISTRY.register($crate::registry::Entry::of::<C>(|config| config))
            }

            /// A config of a type that is registered, or will be.
            pub fn registered<C: $spec + $crate::registry::Listed>(config: C) -> Self {
                Self::Registered($crate::registry::Registered::new(config, |config| config))
            }
        }

        impl headway_keys::Described for $config {
            fn form() -> headway_keys::Form {
                let built_in = [$(headway_keys::Variant::new($name, $summary, open_list!(@keys $($inner)?))),+];
                headway_keys::Form::listed(stringify!($list), "", built_in.into_iter().chain(REGISTRY.variants()).collect())
            }
        }

        impl serde::Serialize for $config {
            fn serialize<W: serde::Serializer>(&self, serializer: W) -> Result<W::Ok, W::Error> {
                const ENUM: &str = stringify!($config);
                match self {
                    $(open_list!(@pattern config $variant $($inner)?) => open_list!(@serialize serializer ENUM $name config $($inner)?),)+
                    Self::Registered(config) => serializer.serialize_newtype_variant(ENUM, 0, config.name(), config),
                }
            }
        }

        impl<'de> serde::Deserialize<'de> for $config {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Choice;

                impl<'de> serde::de::Visitor<'de> for Choice {
                    type Value = $config;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str(concat!("enum ", stringify!($config)))
                    }

                    fn visit_enum<A: serde::de::EnumAccess<'de>>(self, data: A) -> Result<$config, A::Error> {
                        use serde::de::{Error as _, VariantAccess as _};
                        use $crate::registry::Found;
                        let (found, variant) = data.variant_seed(&REGISTRY)?;
                        match found {
                            $(Found::BuiltIn($name) => open_list!(@read variant $config $variant $($inner)?),)+
                            Found::BuiltIn(name) => Err(A::Error::unknown_variant(name, &[])),
                            Found::Registered(entry) => variant.newtype_variant_seed(entry).map($config::Registered),
                        }
                    }
                }

                deserializer.deserialize_enum(stringify!($config), &[$($name),+], Choice)
            }
        }

        $($(impl From<$inner> for $config {
            fn from(config: $inner) -> Self {
                Self::$variant(config)
            }
        })?)+

        impl $built {
            /// What a registered config builds.
            pub fn registered<M: $part + burn::module::Module + Sync + 'static>(module: M) -> Self {
                use $crate::erased::{Erased, of, of_mut};
                Self::Registered(Erased::new(module, |any| of::<M>(any), |any| of_mut::<M>(any)))
            }

            /// The part itself.
            pub fn $as_part(&self) -> &dyn $part {
                match self {
                    $(Self::$variant(part) => part,)+
                    Self::Registered(part) => &**part,
                }
            }

            /// The part itself, to change it.
            pub fn $as_part_mut(&mut self) -> &mut dyn $part {
                match self {
                    $(Self::$variant(part) => part,)+
                    Self::Registered(part) => &mut **part,
                }
            }
        }
    };
    (@pattern $bound:ident $variant:ident) => { Self::$variant };
    (@pattern $bound:ident $variant:ident $inner:ident) => { Self::$variant($bound) };
    (@spec $bound:ident as $unit:ident) => { &$unit };
    (@spec $bound:ident $inner:ident) => { $bound };
    (@keys) => { None };
    (@keys $inner:ident) => { Some(<$inner as headway_keys::Described>::form()) };
    (@default $variant:ident) => { Self::$variant };
    (@default $variant:ident $inner:ident) => { Self::$variant($inner::default()) };
    (@serialize $serializer:ident $enum:ident $name:literal $bound:ident) => { $serializer.serialize_unit_variant($enum, 0, $name) };
    (@serialize $serializer:ident $enum:ident $name:literal $bound:ident $inner:ident) => {
        $serializer.serialize_newtype_variant($enum, 0, $name, $bound)
    };
    (@read $access:ident $config:ident $variant:ident) => { $access.unit_variant().map(|()| $config::$variant) };
    (@read $access:ident $config:ident $variant:ident $inner:ident) => { $access.newtype_variant().map($config::$variant) };
}

pub(crate) use open_list;
