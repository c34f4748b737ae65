//! The keys that all in-context tasks have.

use super::curriculum::Curriculum;
use crate::{distribution::Distribution, error::TaskError, prompt::Size, shift::Shift};

/// Values of the shared keys, which each config documents.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompts {
    /// Dimension of x.
    pub d: usize,
    /// Number of points of a prompt.
    pub n_points: usize,
    /// Distribution of every coordinate of x.
    pub input: Distribution,
    /// How training prompts grow.
    pub curriculum: Option<Curriculum>,
    /// How evaluation prompts differ from training prompts; `None` if they do not.
    pub shift: Option<Shift>,
}

impl Prompts {
    /// The size of evaluation prompts.
    pub fn full_size(&self) -> Size {
        Size { d: self.d, n_points: self.n_points }
    }

    /// The size of the prompts in training batch number `batch`.
    pub fn training_size(&self, batch: u64) -> Size {
        self.curriculum.as_ref().map_or(self.full_size(), |curriculum| curriculum.size(batch, self.full_size()))
    }

    /// Problems of the shared keys, each with the key to change.
    pub fn problems(&self) -> Vec<TaskError> {
        let sizes = [TaskError::below("d", self.d, 1), TaskError::below("n_points", self.n_points, 1)];
        let input = TaskError::bad_distribution("input", &self.input);
        let curriculum = self.curriculum.iter().flat_map(|curriculum| curriculum.problems(self.full_size()));
        let shift = self.shift.iter().filter_map(|shift| shift.problem(self.full_size()));
        sizes.into_iter().flatten().chain(input).chain(curriculum).chain(shift).collect()
    }
}

/// A config with the shared keys.
pub trait PromptConfig {
    /// Their values.
    fn prompts(&self) -> Prompts;

    /// The key `shift`.
    fn prompts_shift(&mut self) -> &mut Option<Shift>;

    /// The key `n_points`.
    fn prompts_points(&mut self) -> &mut usize;
}

/// Declares the config of an in-context task: the shared keys, and its own keys with their defaults.
macro_rules! prompt_config {
    ($(#[$doc:meta])* $config:ident { $($(#[$own_doc:meta])* $own:ident: $type:ty = $default:expr,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize, headway_keys::Described)]
        #[serde(deny_unknown_fields, default)]
        pub struct $config {
            /// Dimension of x. Default 5.
            pub d: usize,
            /// Number of points k of a prompt; the last is predicted from k-1 examples. Default 11.
            pub n_points: usize,
            $($(#[$own_doc])* pub $own: $type,)*
            /// Distribution of every coordinate of x. Default N(0, 1).
            pub input: $crate::distribution::Distribution,
            /// How training prompts grow; evaluation prompts never do. Default: none, all prompts have full size.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub curriculum: Option<$crate::icl::curriculum::Curriculum>,
            /// How evaluation prompts differ from training prompts. Default: not at all.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub shift: Option<$crate::shift::Shift>,
        }

        impl Default for $config {
            fn default() -> Self {
                Self {
                    d: 5,
                    n_points: 11,
                    $($own: $default,)*
                    input: $crate::distribution::Distribution::STANDARD_NORMAL,
                    curriculum: None,
                    shift: None,
                }
            }
        }

        impl $crate::icl::config::PromptConfig for $config {
            fn prompts(&self) -> $crate::icl::config::Prompts {
                let Self { d, n_points, input, curriculum, shift, .. } = self.clone();
                $crate::icl::config::Prompts { d, n_points, input, curriculum, shift }
            }

            fn prompts_shift(&mut self) -> &mut Option<$crate::shift::Shift> {
                &mut self.shift
            }

            fn prompts_points(&mut self) -> &mut usize {
                &mut self.n_points
            }
        }
    };
}

pub(super) use prompt_config;
