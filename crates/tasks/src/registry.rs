//! The list of tasks. A new task is one file and one row below.

use std::{fmt, path::PathBuf};

use headway_keys::{Described, Form, Variant};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{EnumAccess, VariantAccess, Visitor},
};

use crate::{
    activity,
    batch::TaskDims,
    emulation,
    error::TaskError,
    file,
    files::Files,
    forecast, icl, image, language, limits, program, proteins, recall,
    registered::{self, Entry, Listed, RegisterError, RegisteredTask},
    robust_mean,
    seed::{Seed, Stream},
    seq2seq,
    shift::Shift,
    task::{Alike, DataNames, Gaps, Task, TaskSpec},
    vocabulary::Vocabulary,
};

/// Declares the list of tasks once: config names, dispatch and `headway list tasks` all come from it.
macro_rules! tasks {
    ($($name:literal = $variant:ident($config:ty), $summary:literal;)+) => {
        /// A task by its name in a config file (`[task.copy]`).
        #[derive(Clone, Debug, PartialEq)]
        pub enum TaskConfig {
            $(#[doc = $summary] $variant($config),)+
            /// A task that a caller registered.
            Registered(RegisteredTask),
        }

        /// The name of every built-in task with one line about it.
        pub const TASKS: &[(&str, &str)] = &[$(($name, $summary),)+];

        const NAMES: &[&str] = &[$($name),+];

        impl TaskConfig {
            /// The task with this name and all its defaults; `None` if there is none.
            pub fn with_defaults(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant(<$config>::default())),)+
                    _ => registered(name).map(|entry| Self::Registered((entry.default)())),
                }
            }

            /// Name in a config file.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $name,)+
                    Self::Registered(config) => config.name(),
                }
            }

            fn spec(&self) -> &dyn TaskSpec {
                match self {
                    $(Self::$variant(config) => config,)+
                    Self::Registered(config) => config.spec(),
                }
            }

            fn spec_mut(&mut self) -> &mut dyn TaskSpec {
                match self {
                    $(Self::$variant(config) => config,)+
                    Self::Registered(config) => config.spec_mut(),
                }
            }
        }

        impl Described for TaskConfig {
            fn form() -> Form {
                let built_in = [$(Variant::new($name, $summary, Some(<$config>::form()))),+];
                Form::listed("tasks", "", built_in.into_iter().chain(registered::variants()).collect())
            }
        }

        impl Serialize for TaskConfig {
            fn serialize<W: Serializer>(&self, serializer: W) -> Result<W::Ok, W::Error> {
                match self {
                    $(Self::$variant(config) => serializer.serialize_newtype_variant(ENUM, 0, $name, config),)+
                    Self::Registered(config) => serializer.serialize_newtype_variant(ENUM, 0, config.name(), config),
                }
            }
        }

        impl<'de> Deserialize<'de> for TaskConfig {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_enum(ENUM, NAMES, Choice)
            }
        }

        impl<'de> Visitor<'de> for Choice {
            type Value = TaskConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("enum TaskConfig")
            }

            fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<TaskConfig, A::Error> {
                let (Name(name), variant) = data.variant()?;
                match name.as_str() {
                    $($name => variant.newtype_variant().map(TaskConfig::$variant),)+
                    _ => match registered(&name) {
                        Some(entry) => variant.newtype_variant_seed(entry).map(TaskConfig::Registered),
                        None => Err(unknown(&name)),
                    },
                }
            }
        }
    };
}

const ENUM: &str = "TaskConfig";

/// Reads a name with the settings under it.
struct Choice;

/// A name of the list.
struct Name(String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        if TaskConfig::list().iter().any(|(listed, _)| *listed == name) { Ok(Self(name)) } else { Err(unknown(&name)) }
    }
}

fn unknown<E: serde::de::Error>(name: &str) -> E {
    E::unknown_variant(name, registered::names(NAMES))
}

fn registered(name: &str) -> Option<Entry> {
    registered::entries().into_iter().find(|entry| entry.name == name)
}

tasks! {
    "truncated_linear" = TruncatedLinear(seq2seq::truncated_linear::TruncatedLinearConfig),
        "y_i = clamp(w_i . x_i + t_i, low, high): a linear form per position, cut off at both ends";
    "relu_network" = ReluNetwork(seq2seq::relu_network::ReluNetworkConfig),
        "y = W2 relu(W1 vec(x) + b1) + b2: a random two-layer ReLU network of the whole sequence";
    "function" = Function(seq2seq::function::FunctionConfig),
        "y = f(x) with f written down, as formulas or as a table: the targets that weights can be constructed for";
    "program" = Program(program::ProgramConfig),
        "what a program in C-RASP returns at every position of a word: counts, comparisons, automata";
    "icl_linear" = IclLinear(icl::linear::LinearConfig),
        "x_1, y_1, x_2, y_2, ... with y = w . x and a new w in every prompt: linear regression in context";
    "icl_sparse" = IclSparse(icl::sparse::SparseConfig),
        "icl_linear with a w of few nonzero coordinates: sparse regression in context";
    "icl_quadratic" = IclQuadratic(icl::quadratic::QuadraticConfig),
        "y = sum_j w_j x_j^2 / sqrt(3), a new w in every prompt: quadratic regression in context";
    "icl_relu" = IclRelu(icl::relu::ReluConfig),
        "y = a random two-layer ReLU network of x, a new one in every prompt";
    "icl_two_layer_net" = IclTwoLayerNet(icl::two_layer_net::TwoLayerNetConfig),
        "y = a random two-layer tanh network of x with biases, a new one in every prompt";
    "icl_sine" = IclSine(icl::sine::SineConfig),
        "y = sin(w . x + b), a new wave in every prompt";
    "icl_tree" = IclTree(icl::tree::TreeConfig),
        "y = a random decision tree of the signs of x, a new one in every prompt";
    "icl_logistic" = IclLogistic(icl::logistic::LogisticConfig),
        "y = sign(w . x), a new w in every prompt: linear classification in context";
    "in_context_regression" = InContextRegression(icl::regression::RegressionConfig),
        "(x_1, y_1), ..., (x_N, y_N), (x_q, 0) with y = w . x + noise: the rows that attention descends a gradient on";
    "in_context_algorithm" = InContextAlgorithm(icl::algorithm::AlgorithmsConfig),
        "in_context_regression whose prompt also holds the algorithm, as tables: what does it predict after its steps?";
    "in_context_kernel" = InContextKernel(icl::kernel::KernelConfig),
        "in_context_regression with y = sum_m c_m k(x, z_m) + noise, k a Gaussian kernel: kernel regression in context";
    "in_context_network" = InContextNetwork(icl::network::NetworkConfig),
        "(w_1, a_1), ..., (x_1, y_1), ..., (x_q, 0): what does sum_j a_j tanh(w_j . x) answer after steps of training on the examples?";
    "emulation" = Emulation(emulation::EmulationConfig),
        "what the experiments on emulating algorithms ask: a function, an attention head or a map of it, statistical models";
    "robust_mean" = RobustMean(robust_mean::RobustMeanConfig),
        "(a_1, y_1), ..., (a_n, y_n), (0, 0) with y = a . mu + noise from honest agents, while others lie: what is mu?";
    "copy" = Copy(seq2seq::copy::CopyConfig),
        "symbols, a separator, then the same symbols again, one by one";
    "mqar" = Mqar(recall::mqar::MqarConfig),
        "k_1 v_1 k_2 v_2 ..., then every key once more to be answered by its value: multi-query associative recall";
    "in_context_recall" = InContextRecall(recall::in_context_recall::InContextRecallConfig),
        "k_1 v_1 k_2 v_2 ... with few keys, each to be answered by its value whenever it comes back";
    "noisy_recall" = NoisyRecall(recall::noisy_recall::NoisyRecallConfig),
        "in-context recall with some pairs replaced by two noise tokens";
    "selective_copying" = SelectiveCopying(recall::selective_copying::SelectiveCopyingConfig),
        "symbols among blanks, COPY, then blanks where the symbols are to be given back in order";
    "parity" = Parity(limits::parity::ParityConfig),
        "the sum of fair bits modulo 2, asked for behind the last: no part of them tells anything";
    "max_of_k" = MaxOfK(limits::max_of_k::MaxOfKConfig),
        "the largest of k tokens, asked for at the last";
    "kth_largest" = KthLargest(limits::kth_largest::KthLargestConfig),
        "the k-th largest of real numbers, asked for at the last";
    "inverse_permutation" = InversePermutation(limits::inverse_permutation::InversePermutationConfig),
        "where each element of a permutation stands, asked for at the permutation or at blanks behind it";
    "d_retrieval" = DRetrieval(limits::d_retrieval::DRetrievalConfig),
        "y = sum_i max_t a_i . x_t: several maxima over a sequence at once";
    "sort" = Sort(limits::sort::SortConfig),
        "tokens in their order: position i asks for the i-th smallest";
    "convex_hull" = ConvexHull(limits::convex_hull::ConvexHullConfig),
        "which points in the plane are corners of their convex hull";
    "file" = File(file::FileConfig),
        "your own data: inputs and targets from a .csv or .npz file, or from .npy files";
    "language" = Language(language::LanguageConfig),
        "the next character, byte or byte pair of a text, at every position";
    "forecast" = Forecast(forecast::ForecastConfig),
        "the next steps of several series of a .csv file, from a window of those before";
    "proteins" = Proteins(proteins::ProteinsConfig),
        "hidden residues of proteins, given the others; or the next residue";
    "image" = Image(image::ImageConfig),
        "hidden pixels of pictures from those that are visible, one position per patch";
    "activity" = Activity(activity::ActivityConfig),
        "what a person does, from a window of a recording: people of the test are in no other part";
}

impl TaskConfig {
    /// Name and summary of every task, built-in ones first.
    pub fn list() -> Vec<(&'static str, &'static str)> {
        let registered = registered::entries().into_iter().map(|entry| (entry.name, entry.summary));
        TASKS.iter().copied().chain(registered).collect()
    }

    /// Adds a type of config to the list of this process: its name is then read in config files like a built-in one.
    ///
    /// # Errors
    /// [`RegisterError`] if the name is already in the list, or is no bare key of a config file.
    pub fn register<C: Listed>() -> Result<(), RegisterError> {
        registered::register::<C>(NAMES)
    }

    /// A config of a type that is registered, or will be.
    pub fn registered<C: Listed>(config: C) -> Self {
        Self::Registered(RegisteredTask::new(config))
    }

    /// Sizes of inputs and targets, known without drawing anything.
    pub fn dims(&self) -> TaskDims {
        self.spec().dims()
    }

    /// Problems of the config, each with the key to change; empty if the task can be opened.
    pub fn validate(&self) -> Vec<TaskError> {
        let dims = self.spec().dims();
        match dims.problem(self.spec().asked()) {
            // A task of that size is not examined further.
            Some(problem) => vec![problem],
            None => self.spec().validate(),
        }
    }

    /// Opens the task: draws its shared constants and reads its files. The config must be valid.
    ///
    /// # Errors
    /// What is wrong with a file, with the key that names it.
    pub fn open(&self, files: &Files, seed: Seed) -> Result<Box<dyn Task>, TaskError> {
        self.spec().open(files, &mut seed.rng(Stream::Task, 0))
    }

    /// Makes the paths of its files absolute, and examines those whose digest and sizes are not known yet.
    ///
    /// # Errors
    /// What is wrong with a file, with the key that names it.
    pub fn settle(&mut self, files: &Files) -> Result<(), TaskError> {
        self.spec_mut().settle(files)
    }

    /// Numbers of examples for training, validation and test, for tasks with a fixed number; the config must be
    /// settled.
    pub fn held_examples(&self) -> Option<[usize; 3]> {
        self.spec().held_examples()
    }

    /// Numbers of validation and test examples, for tasks whose training examples are drawn without end but whose
    /// evaluation examples are a fixed number; the config must be settled.
    pub fn held_evaluation(&self) -> Option<[usize; 2]> {
        self.spec().held_evaluation()
    }

    /// The tokens that its inputs and targets are, for settled tasks of text; `None` for others.
    pub fn vocabulary(&self) -> Option<Vocabulary> {
        self.spec().vocabulary()
    }

    /// How sequences with gaps are given to a network that fills them; `None` for tasks that hide nothing.
    pub fn gaps(&self) -> Option<Gaps> {
        self.spec().gaps()
    }

    /// How alike its tokens are known to be; `None` where nothing is known.
    pub fn alike(&self) -> Option<Alike> {
        self.spec().alike()
    }

    /// The task without the path of its data: the same data at another path gives the same run.
    pub fn without_place(mut self) -> Self {
        self.places_mut().into_iter().for_each(|(_, path)| path.clear());
        self
    }

    /// The paths of its files, each with the key that names it.
    pub fn places_mut(&mut self) -> Vec<(&'static str, &mut PathBuf)> {
        self.spec_mut().places_mut()
    }

    /// The path of its tokenizer, one of [`Self::places_mut`]; `None` for tasks without one.
    pub fn tokenizer_mut(&mut self) -> Option<&mut PathBuf> {
        self.spec_mut().tokenizer_mut()
    }

    /// Sha256 of the data, for settled tasks that read it from files; `None` for others.
    pub fn data_sha256(&self) -> Option<&str> {
        self.spec().data_sha256()
    }

    /// What in its files may be meant otherwise than it was read, and how to say so; `None` where there is no doubt, or where they are
    /// not read yet.
    pub fn doubt(&self) -> Option<String> {
        self.spec().doubt()
    }

    /// Names of the data in its files; `None` for tasks without files.
    pub fn data_names(&self) -> Option<DataNames<'_>> {
        self.spec().data_names()
    }

    /// Where in the input answers appear after the position that must predict them, in words; `None` if every position
    /// may see all others. The config must be valid.
    pub fn answers_ahead(&self) -> Option<&'static str> {
        self.spec().answers_ahead()
    }

    /// Where in the input what tells of an answer appears after its position, in words; `None` if nothing there does. The
    /// config must be valid.
    pub fn clues_ahead(&self) -> Option<&'static str> {
        self.spec().clues_ahead()
    }

    /// Whether the last position alone is scored.
    pub fn asks_once(&self) -> bool {
        self.spec().asks_once()
    }

    /// Number of positions of an example, from the last, that have a target.
    pub fn asked(&self) -> usize {
        self.spec().asked()
    }

    /// Mean number of positions of a training example that are scored.
    pub fn scored(&self) -> f64 {
        self.spec().scored()
    }

    /// Bytes that its classical predictors need at once beside the examples, where they are many; 0 where they are few.
    pub fn baseline_bytes(&self) -> f64 {
        self.spec().baseline_bytes()
    }

    /// The newest window of a table with the columns of a task that forecasts, row-major, in the units of the data; `None` for
    /// others. The config must be settled.
    ///
    /// # Errors
    /// A sentence about what is wrong with the table.
    pub fn newest(&self, table: &[u8]) -> Option<Result<Vec<f32>, String>> {
        self.spec().newest(table)
    }

    /// Whether an answer to a whole sequence counts from the last numbers of its input.
    pub fn answers_count_from_last(&self) -> bool {
        self.spec().answers_count_from_last()
    }

    /// Index of the first training batch with full-size examples, if training starts with smaller ones. Such a task
    /// needs fresh data, since a fixed training set is drawn at full size.
    pub fn curriculum_end(&self) -> Option<u64> {
        self.spec().curriculum_end()
    }

    /// Whether training starts with shorter sequences, which not every model supports. The config must be valid.
    pub fn starts_shorter(&self) -> bool {
        self.spec().starts_shorter()
    }

    /// The same task, evaluated under a shift; `None` for tasks without the key `shift`. Not every shift is possible
    /// for every size, so validate the result.
    pub fn with_shift(&self, shift: Shift) -> Option<Self> {
        let mut shifted = self.clone();
        *shifted.spec_mut().shift_mut()? = Some(shift);
        Some(shifted)
    }

    /// The key of its length with its value, for tasks that can be longer; `None` for others.
    pub fn length(&self) -> Option<(&'static str, usize)> {
        self.clone().spec_mut().length_mut().map(|(key, length)| (key, *length))
    }

    /// The same task at another length; `None` for tasks without one. Not every length is possible, so validate the result.
    pub fn with_length(&self, length: usize) -> Option<Self> {
        let mut other = self.clone();
        *other.spec_mut().length_mut()?.1 = length;
        Some(other)
    }
}
