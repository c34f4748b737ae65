//! Closed lists of an experiment's choices: callers cannot add entries.

/// Declares a list once: the config enum with its names in files, and its part of `headway list`.
macro_rules! list {
    (
        $(#[$meta:meta])* $config:ident, $list:ident;
        $($(#[$attribute:meta])* $name:literal = $variant:ident $(($inner:ty))?, $summary:literal;)+
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub enum $config {
            $($(#[$attribute])* #[doc = $summary] #[serde(rename = $name)] $variant $(($inner))?,)+
        }

        /// The name of every entry in a config file, with a one-line summary.
        pub const $list: &[(&str, &str)] = &[$(($name, $summary),)+];

        impl headway_keys::Described for $config {
            fn form() -> headway_keys::Form {
                let variants = vec![$(headway_keys::Variant::new($name, $summary, list!(@keys $($inner)?))),+];
                headway_keys::Form::listed(stringify!($list), "", variants)
            }
        }

        impl $config {
            /// Name in a config file.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant { .. } => $name,)+ }
            }
        }
    };
    (@keys) => { None };
    (@keys $inner:ty) => { Some(<$inner as headway_keys::Described>::form()) };
}

pub(crate) use list;
