//! What people do: the class of a window of a recording, on people that were never seen.

mod recordings;

use std::{path::PathBuf, sync::Arc};

use headway_keys::Described;
use rand::{RngExt, seq::SliceRandom};
use serde::{Deserialize, Serialize};

use crate::{
    baseline::{
        Baseline,
        most_frequent::MostFrequent,
        summary::{NearestSummary, SummaryRidge},
    },
    batch::{Example, Inputs, Targets, TaskDims, TaskInput},
    error::TaskError,
    files::Files,
    found::{Found, Held, Read, by_hand},
    scale::{Scale, moments},
    seed::{SampleRng, Seed, Stream},
    task::{Split, Task, TaskSpec},
};
use recordings::{Recording, Recordings};

/// Recordings, and how they are divided among people and into windows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields, default)]
pub struct ActivityConfig {
    /// Samples of all recordings, one after the other: an IDX file of whole numbers `[samples, channels]`, which may be
    /// packed as `.gz`; relative to the file that names it.
    pub samples: PathBuf,
    /// A `.csv` table with a line for each recording: `start` and `length`, counted in samples, and the two columns below.
    pub recordings: PathBuf,
    /// Column with the number of the person. Default `subject`.
    pub person: String,
    /// Column with what is done. Default `exercise`.
    pub class: String,
    /// People to train on.
    pub train: Vec<u32>,
    /// People for validation; may be empty.
    pub validation: Vec<u32>,
    /// People for the test, each with a score of their own.
    pub test: Vec<u32>,
    /// Number of samples of a window. Default 128.
    pub seq_len: usize,
    /// Number of samples by which training windows advance. Default: `seq_len`, windows that do not overlap, as in
    /// validation and test.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train_stride: Option<usize>,
    /// Whether training windows are drawn from the seed, at any place of any recording, instead of being a fixed set.
    /// Default false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub random_places: bool,
    /// What a 1 in the array stands for. Default 0.001.
    pub unit: f64,
    /// Whether numbers are scaled, channel by channel, to mean 0 and deviation 1 over the recordings to train on. Default
    /// true.
    pub scale: bool,
    /// What was found in the files when they were first read; not to be set by hand.
    #[described(found)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<FoundRecordings>,
    /// The recordings, once they have been read.
    #[serde(skip)]
    held: Held<Recordings>,
}

impl Default for ActivityConfig {
    fn default() -> Self {
        Self {
            samples: PathBuf::new(),
            recordings: PathBuf::new(),
            person: "subject".to_owned(),
            class: "exercise".to_owned(),
            train: Vec::new(),
            validation: Vec::new(),
            test: Vec::new(),
            seq_len: 128,
            train_stride: None,
            random_places: false,
            unit: 0.001,
            scale: true,
            found: None,
            held: Held::default(),
        }
    }
}

/// Content of the files: what a model and a record of it need to know. A network can be used without the files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields)]
pub struct FoundRecordings {
    /// Sha256 of the samples as unpacked, and of the table, joined by `+`.
    pub sha256: String,
    /// Numbers of a sample.
    pub channels: usize,
    /// The classes, ascending by name.
    pub classes: Vec<String>,
    /// The people, ascending by number.
    pub people: Vec<FoundPerson>,
}

/// The recordings of one person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Described)]
#[serde(deny_unknown_fields)]
pub struct FoundPerson {
    /// Number of the person.
    pub person: u32,
    /// Number of samples of each recording.
    pub lengths: Vec<usize>,
}

impl FoundRecordings {
    fn of(recordings: &Recordings, sha256: String) -> Self {
        let mut people: Vec<u32> = recordings.all.iter().map(|recording| recording.person).collect();
        people.sort_unstable();
        people.dedup();
        let lengths = |person: u32| {
            let of = recordings.all.iter().filter(move |recording| recording.person == person);
            of.map(|recording| recording.length).collect()
        };
        Self {
            sha256,
            channels: recordings.channels,
            classes: recordings.classes.clone(),
            people: people.into_iter().map(|person| FoundPerson { person, lengths: lengths(person) }).collect(),
        }
    }
}

impl Found for FoundRecordings {
    fn sha256(&self) -> &str {
        &self.sha256
    }
}

/// Number of windows of a recording.
fn windows(length: usize, seq_len: usize, stride: usize) -> usize {
    length.checked_sub(seq_len).map_or(0, |rest| (rest / stride.max(1)).saturating_add(1))
}

impl ActivityConfig {
    fn stride(&self, split: Split) -> usize {
        self.train_stride.filter(|_| split == Split::Train).unwrap_or(self.seq_len)
    }

    fn parts(&self) -> [(Split, &'static str, &[u32]); 3] {
        [
            (Split::Train, "train", &self.train),
            (Split::Validation, "validation", &self.validation),
            (Split::Test, "test", &self.test),
        ]
    }

    /// Numbers of windows for training, validation and test; `None` if they are not known yet.
    fn sizes(&self) -> Option<[usize; 3]> {
        let found = self.found.as_ref()?;
        Some(self.parts().map(|(split, _, people)| {
            let of = found.people.iter().filter(|found| people.contains(&found.person));
            let each =
                of.flat_map(|found| &found.lengths).map(|length| windows(*length, self.seq_len, self.stride(split)));
            // A length that was written by hand may be any.
            each.fold(0, usize::saturating_add)
        }))
    }

    fn unread(&self) -> Option<TaskError> {
        let missing = |key, is_missing: bool, problem: &str| {
            is_missing.then(|| TaskError::Key { key, problem: problem.to_owned() })
        };
        let unread = self.found.is_none();
        let is_empty = |path: &PathBuf| unread && path.as_os_str().is_empty();
        missing("samples", is_empty(&self.samples), "names no file; give samples = \"samples-idx2-short.gz\"")
            .or_else(|| {
                let problem = "names no file; give recordings = \"recordings.csv\", which says whose the samples are";
                missing("recordings", is_empty(&self.recordings), problem)
            })
            .or_else(|| missing("samples", unread, "was not read"))
    }

    /// People that are in no recording, in two parts, or leave a part without a window.
    fn bad_people(&self) -> Option<TaskError> {
        let parts = self.parts();
        let all = || parts.iter().flat_map(|(_, key, people)| people.iter().map(|person| (*key, *person)));
        let twice = all().enumerate().find(|(at, (_, person))| all().take(*at).any(|(_, other)| other == *person));
        if let Some((_, (key, person))) = twice {
            let problem = format!(
                "person {person} is listed twice; give everyone one part alone, so that the test has strangers"
            );
            return Some(TaskError::Key { key, problem });
        }
        let found = self.found.as_ref()?;
        if let Some((key, person)) = all().find(|(_, person)| !found.people.iter().any(|found| found.person == *person))
        {
            let there: Vec<String> = found.people.iter().map(|found| found.person.to_string()).collect();
            let problem = format!("person {person} is in no recording; there are: {}", there.join(", "));
            return Some(TaskError::Key { key, problem });
        }
        let sizes = self.sizes()?;
        parts.into_iter().zip(sizes).find_map(|((split, key, people), size)| {
            if size > 0 || (people.is_empty() && split == Split::Validation) {
                return None;
            }
            let problem = match people {
                [] => format!("lists nobody; give numbers of the column `{}`, such as {key} = [1, 2]", self.person),
                _ => format!("no recording of these people has {} samples; give a smaller seq_len", self.seq_len),
            };
            Some(TaskError::Key { key, problem })
        })
    }

    fn bad_windows(&self) -> Option<TaskError> {
        let stride = self.train_stride?;
        let problem = "draws windows at any place, so that there is no stride; leave train_stride out".to_owned();
        let both = self.random_places.then_some(TaskError::Key { key: "random_places", problem });
        TaskError::below("train_stride", stride, 1).or(both)
    }

    fn bad_found(&self) -> Option<TaskError> {
        let found = self.found.as_ref()?;
        let is_sound = found.channels > 0 && found.classes.len() > 1 && found.classes.is_sorted_by(|a, b| a < b);
        (!is_sound).then(|| by_hand("found"))
    }
}

impl TaskSpec for ActivityConfig {
    fn dims(&self) -> TaskDims {
        // Before the files are read nothing is known about them, so the smallest sizes are used.
        let (channels, classes) = self.found.as_ref().map_or((1, 2), |found| (found.channels, found.classes.len()));
        TaskDims { seq_len: self.seq_len, input: TaskInput::Continuous { d_in: channels }, d_out: classes }
    }

    fn validate(&self) -> Vec<TaskError> {
        let problems = [
            self.unread(),
            TaskError::below("seq_len", self.seq_len, 1),
            self.bad_windows(),
            TaskError::not_positive("unit", self.unit),
            self.bad_found(),
        ];
        let problems: Vec<TaskError> = problems.into_iter().flatten().collect();
        if problems.is_empty() { self.bad_people().into_iter().collect() } else { problems }
    }

    fn settle(&mut self, files: &Files) -> Result<(), TaskError> {
        if self.found.is_none() && !self.samples.as_os_str().is_empty() && !self.recordings.as_os_str().is_empty() {
            let Read { content, found, .. } = Recordings::read(self, files)?;
            (self.found, self.held) = (Some(found), Held::of(content));
        }
        self.places_mut().into_iter().for_each(|(_, path)| *path = files.path(path));
        Ok(())
    }

    fn open(&self, files: &Files, rng: &mut SampleRng) -> Result<Box<dyn Task>, TaskError> {
        let recordings = self.held.or_read(self.found.as_ref(), || Recordings::read(self, files))?;
        let of = |people: &[u32]| -> Vec<Recording> {
            let is_of = |recording: &&Recording| people.contains(&recording.person);
            recordings.all.iter().filter(is_of).copied().collect()
        };
        let windows = self.parts().map(|(split, _, people)| {
            let each = of(people).into_iter().flat_map(|recording| {
                let (length, stride) = (recording.length, self.stride(split));
                let count = windows(length, self.seq_len, stride);
                (0..count).map(move |at| Window { start: recording.start + at * stride, ..Window::of(recording) })
            });
            let mut each: Vec<Window> = each.collect();
            if split == Split::Train && !self.random_places {
                each.shuffle(rng);
            } else {
                // In the same order for every seed, so that the first of them are of all people and classes.
                each.shuffle(&mut Seed(0).rng(Stream::Task, split as u64));
            }
            each
        });
        let recorded = of(&self.train);
        let inputs = if self.scale {
            let all: Vec<f32> = recorded
                .iter()
                .flat_map(|recording| recordings.samples(recording.start, recording.length))
                .map(|sample| (f64::from(*sample) * self.unit) as f32)
                .collect();
            let samples: Vec<usize> = (0..all.len() / recordings.channels).collect();
            moments(&all, 1, recordings.channels, &samples)
        } else {
            vec![[0.0, 1.0]; recordings.channels]
        };
        let long = recorded.into_iter().filter(|recording| recording.length >= self.seq_len);
        Ok(Box::new(Activity {
            dims: self.dims(),
            unit: self.unit,
            scale: Scale { inputs, targets: Vec::new() },
            windows,
            drawn_from: if self.random_places { long.collect() } else { Vec::new() },
            test: self.test.clone(),
            recordings,
        }))
    }

    fn answers_ahead(&self) -> Option<&'static str> {
        None
    }

    fn asks_once(&self) -> bool {
        true
    }

    fn held_examples(&self) -> Option<[usize; 3]> {
        self.sizes().filter(|_| !self.random_places)
    }

    fn held_evaluation(&self) -> Option<[usize; 2]> {
        self.sizes().filter(|_| self.random_places).map(|[_, validation, test]| [validation, test])
    }

    fn places_mut(&mut self) -> Vec<(&'static str, &mut PathBuf)> {
        vec![("samples", &mut self.samples), ("recordings", &mut self.recordings)]
    }

    fn data_sha256(&self) -> Option<&str> {
        self.found.as_ref().map(|found| found.sha256.as_str())
    }
}

/// Some consecutive samples of a recording.
#[derive(Clone, Copy, Debug)]
struct Window {
    start: usize,
    person: u32,
    class: u32,
}

impl Window {
    /// The first of a recording.
    fn of(Recording { person, class, start, .. }: Recording) -> Self {
        Self { start, person, class }
    }
}

/// Windows of recordings, each with one class, asked for at the last position. Windows lie within a recording, and every
/// person is in one part alone.
///
/// # Shapes
/// inputs `[seq_len, channels]` -> targets `[seq_len]`, of which the last is scored
pub struct Activity {
    dims: TaskDims,
    unit: f64,
    scale: Scale,
    recordings: Arc<Recordings>,
    /// Windows for training, validation and test; of training windows at random places those that do not overlap.
    windows: [Vec<Window>; 3],
    /// Recordings from which training windows are drawn; empty if they are a fixed set.
    drawn_from: Vec<Recording>,
    /// People of the test.
    test: Vec<u32>,
}

impl Activity {
    /// A window of the recordings to train on, each of which is equally likely.
    fn drawn(&self, rng: &mut SampleRng) -> Window {
        let places = |recording: &Recording| recording.length - self.dims.seq_len + 1;
        let mut place = rng.random_range(0..self.drawn_from.iter().map(places).sum());
        let holds = |recording: &&Recording| {
            let is_here = place < places(recording);
            place -= if is_here { 0 } else { places(recording) };
            is_here
        };
        let recording = *self.drawn_from.iter().find(holds).unwrap_or(&self.drawn_from[0]);
        Window { start: recording.start + place, ..Window::of(recording) }
    }

    fn window(&self, window: Window) -> Example {
        let seq_len = self.dims.seq_len;
        let samples = self.recordings.samples(window.start, seq_len);
        let values: Vec<f32> = samples.iter().map(|sample| (f64::from(*sample) * self.unit) as f32).collect();
        let last = |position: usize| position + 1 == seq_len;
        let slice = self.test.iter().position(|person| *person == window.person).map(|at| at as u32);
        Example {
            inputs: Inputs::Continuous(self.scale.scaled_inputs(&values)),
            targets: Targets::Classes(
                (0..seq_len).map(|position| if last(position) { window.class } else { 0 }).collect(),
            ),
            loss_mask: (0..seq_len).map(last).collect(),
            slices: (0..seq_len).map(|position| slice.filter(|_| last(position))).collect(),
        }
    }
}

impl Task for Activity {
    fn dims(&self) -> TaskDims {
        self.dims
    }

    fn example(&self, split: Split, index: u64, rng: &mut SampleRng) -> Example {
        if split == Split::Train && !self.drawn_from.is_empty() {
            return self.window(self.drawn(rng));
        }
        let windows = &self.windows[split as usize];
        // An empty part is never requested.
        self.window(windows[(index % windows.len().max(1) as u64) as usize])
    }

    /// With windows at random places, those that do not overlap.
    fn fit_examples(&self) -> Option<Vec<Example>> {
        let all = || self.windows[Split::Train as usize].iter().map(|window| self.window(*window)).collect();
        (!self.drawn_from.is_empty()).then(all)
    }

    fn baselines(&self) -> Vec<Box<dyn Baseline>> {
        vec![Box::<SummaryRidge>::default(), Box::<NearestSummary>::default(), Box::<MostFrequent>::default()]
    }

    fn slices(&self) -> Vec<String> {
        self.test.iter().map(|person| format!("person={person}")).collect()
    }

    fn scale(&self) -> Option<Scale> {
        Some(self.scale.clone())
    }

    fn answer(&self) -> Option<Vec<usize>> {
        Some(vec![self.dims.d_out])
    }

    fn class_names(&self) -> Vec<String> {
        self.recordings.classes.clone()
    }
}
