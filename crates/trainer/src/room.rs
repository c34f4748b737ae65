//! Room in memory: what does not fit is refused before it starts where that can be known, and named where a device runs out later.

use std::{
    any::Any,
    fmt::Display,
    panic::{self, AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Mutex, Once, PoisonError},
};

use headway_kernels::memory::{self, Limits};

use crate::{
    device::OpenDevice,
    error::Error,
    experiment::{Experiment, Memory},
    machine,
};

impl OpenDevice {
    /// Refuses an experiment for which the device has too little memory, or whose precision it does not support. This
    /// happens before anything is allocated, since a failed allocation would end the process without a message.
    ///
    /// # Errors
    /// [`Error::Device`]
    pub fn ensure_takes(&self, experiment: &Experiment) -> Result<(), Error> {
        ensure_on_host(self, &experiment.memory())?;
        ensure_baselines(experiment)?;
        self.ensure_precision("train.precision", experiment.train.precision)?;
        self.ensure_precision("train.attention_precision", experiment.train.attention_precision)
    }
}

/// Refuses what needs more memory than the machine has; for a GPU, only what stays on the host counts.
///
/// # Errors
/// [`Error::Device`]
fn ensure_on_host(device: &OpenDevice, needed: &Memory) -> Result<(), Error> {
    let bytes = if device.has_own_memory() { needed.beside_gpu() } else { needed.total() };
    match machine::memory() {
        Some(there) if bytes > there => Err(Error::Device(format!(
            "{LACK}this experiment needs about {:.3e} GB and the machine has {:.1} GB; lower train.batch_size, the sizes of \
             [model] and [task], or the number of examples in [data]",
            bytes / 1e9,
            there / 1e9
        ))),
        _ => Ok(()),
    }
}

/// Refuses classical predictors that need more memory than the machine has; they are scored when training has ended.
///
/// # Errors
/// [`Error::Device`]
fn ensure_baselines(experiment: &Experiment) -> Result<(), Error> {
    let bytes = experiment.task.baseline_bytes();
    match machine::memory() {
        Some(there) if bytes > there => Err(Error::Device(format!(
            "{LACK}the classical predictors of {} need about {:.3e} GB and the machine has {:.1} GB; lower the sizes of \
             [task], such as its window",
            experiment.task.name(),
            bytes / 1e9,
            there / 1e9
        ))),
        _ => Ok(()),
    }
}

/// Refuses an experiment that a GPU cannot train for lack of memory, as far as the device tells how much it has.
///
/// # Errors
/// [`Error::Device`] with what training needs, part by part.
pub(crate) fn ensure_on_gpu(device: &OpenDevice, experiment: &Experiment) -> Result<(), Error> {
    let limits = if device.spec.is_gpu() { memory::limits(&device.device) } else { None };
    limits.map_or(Ok(()), |limits| ensure_fits(&named(device), &experiment.memory(), limits))
}

fn ensure_fits(name: &str, needed: &Memory, limits: Limits) -> Result<(), Error> {
    let (all, parts) = (size(needed.on_gpu()), parts(needed));
    let problem = match limits {
        Limits { total: Some(there), .. } if needed.on_gpu() > there as f64 => {
            format!("training needs {all} at least ({parts}) and {name} has {}", size(there as f64))
        }
        Limits { array, .. } if needed.largest_array > array as f64 => format!(
            "an array of the batch takes {}, the largest of {name} {}; training needs {all} at least ({parts})",
            size(needed.largest_array),
            size(array as f64)
        ),
        _ => return Ok(()),
    };
    Err(Error::Device(format!("{LACK}{problem}; {REMEDY}")))
}

/// How errors about a lack of memory begin.
const LACK: &str = "out of memory: ";
const REMEDY: &str = "lower train.batch_size (train.accumulate makes up for it) or the sizes of [model] and [task]";

/// What work on a device comes to. A GPU is asked for memory as the work goes on, by a thread of its own, and has no way to
/// refuse but to panic there, or later where what it should have made is read. Either way that is [`Error::Device`] here.
///
/// # Errors
/// Those of the work; [`Error::Device`] with what it needs, part by part, if the device runs out of memory.
pub(crate) fn within<T, E: From<Error> + Display>(
    device: &OpenDevice,
    needed: &Memory,
    work: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    if !device.spec.is_gpu() {
        return work();
    }
    overhear();
    drop(heard());
    let done = catch_unwind(AssertUnwindSafe(work));
    let lack = match &done {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => {
            let text = error.to_string();
            // It says so itself, or went wrong because of an array that was never made.
            if text.starts_with(LACK) { None } else { heard().or_else(|| lack_in_text(&text)) }
        }
        Err(panic) => heard().or_else(|| lack_in(panic.as_ref())),
    };
    match (lack, done) {
        (Some(said), _) => Err(E::from(Error::Device(format!(
            "{LACK}{} needs {} at least ({}) and has no room for more: {said}; {REMEDY}",
            named(device),
            size(needed.on_gpu()),
            parts(needed)
        )))),
        (None, Ok(result)) => result,
        (None, Err(panic)) => resume_unwind(panic),
    }
}

/// The newest word of a lack of memory from any thread.
static HEARD: Mutex<Option<String>> = Mutex::new(None);

fn heard() -> Option<String> {
    HEARD.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Keeps what threads of devices panic with for lack of memory, which nobody else is told.
fn overhear() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let further = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if let Some(said) = lack_in(info.payload()) {
                *HEARD.lock().unwrap_or_else(PoisonError::into_inner) = Some(said);
            } else {
                further(info);
            }
        }));
    });
}

/// What a panic says about a lack of memory; `None` if it is about something else.
fn lack_in(panic: &(dyn Any + Send)) -> Option<String> {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    lack_in_text(text?)
}

fn lack_in_text(text: &str) -> Option<String> {
    // As wgpu, Vulkan, CUDA and the pools above them say it.
    const WORDS: [&str; 6] = [
        "out of memory",
        "out-of-memory",
        "out of device memory",
        "outofmemory",
        "not enough memory",
        "can't allocate",
    ];
    let lacks = |line: &&str| {
        let line = line.to_lowercase();
        WORDS.iter().any(|words| line.contains(words))
    };
    Some(text.lines().find(lacks)?.trim().trim_end_matches('.').to_owned())
}

fn named(device: &OpenDevice) -> String {
    format!("{} ({})", device.spec, device.name)
}

/// The parts that take memory, as `weights 26 kB, gradients 26 kB`.
fn parts(needed: &Memory) -> String {
    let there = needed.parts().into_iter().filter(|(_, bytes)| *bytes > 0.0);
    there.map(|(name, bytes)| format!("{name} {}", size(bytes))).collect::<Vec<_>>().join(", ")
}

fn size(bytes: f64) -> String {
    match bytes {
        ..1e6 => format!("{:.0} kB", bytes / 1e3),
        ..1e9 => format!("{:.0} MB", bytes / 1e6),
        ..1e15 => format!("{:.1} GB", bytes / 1e9),
        _ => format!("{:.1e} GB", bytes / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use headway_kernels::backend::Backend;

    use super::*;
    use crate::device::DeviceSpec;

    const NEEDED: Memory = Memory {
        examples: 9e12,
        batch: 3e6,
        largest_array: 2e6,
        weights: 2e9,
        gradients: 2e9,
        moments: 4e9,
        activations: 5.5e9,
    };

    #[test]
    fn what_a_gpu_has_no_room_for_is_refused_part_by_part() {
        let refused = |needed: &Memory, total, array| {
            ensure_fits("cuda:0 (a card)", needed, Limits { total, array }).err().map(|error| error.to_string())
        };
        assert_eq!(refused(&NEEDED, Some(14_000_000_000), 1 << 30), None);
        assert_eq!(refused(&NEEDED, None, 1 << 30), None, "nobody told what it has");
        assert_eq!(
            refused(&NEEDED, Some(8_000_000_000), 1 << 30).as_deref(),
            Some(
                "out of memory: training needs 13.5 GB at least (weights 2.0 GB, gradients 2.0 GB, moments 4.0 GB, activations 5.5 GB, \
                 batch 3 MB) and cuda:0 (a card) has 8.0 GB; lower train.batch_size (train.accumulate makes up for it) or the sizes of \
                 [model] and [task]"
            )
        );
        let answers = refused(&NEEDED.of_answers(), None, 1_000_000).unwrap_or_default();
        assert!(
            answers.starts_with("out of memory: an array of the batch takes 2 MB, the largest of cuda:0 (a card) 1 MB")
        );
        assert!(answers.contains("2.0 GB at least (weights 2.0 GB, batch 3 MB)"), "{answers}");
    }

    type Work<'a> = &'a dyn Fn() -> Result<(), Error>;

    /// What a device's own thread says, and what is said where its work is read, are the same error; any other panic stays one.
    #[test]
    fn a_device_without_room_is_an_error_and_no_panic() {
        let gpu = OpenDevice {
            spec: DeviceSpec::Gpu(Backend::Wgpu, Some(0)),
            name: "a card".to_owned(),
            software: false,
            compiler: Some("wgpu<wgsl>"),
            cache: None,
            device: Device::flex(),
        };
        let elsewhere = || -> Result<(), Error> {
            let thread = std::thread::spawn(|| panic!("wgpu error: Out of Memory\n  more about it"));
            assert!(thread.join().is_err());
            panic!("the device failed while its memory was read: no such handle");
        };
        let read = || -> Result<(), Error> {
            panic!("the device failed while its memory was read: Io(\nout of device memory allocating 80 bytes)")
        };
        let followed = || -> Result<(), Error> {
            drop(std::thread::spawn(|| panic!("can't allocate buffer of size: 8")).join());
            Err(Error::NotFinite("nonsense was read".to_owned()))
        };
        let told = || -> Result<(), Error> { Err(Error::Training("a replay failed: out of memory at 9".to_owned())) };
        let cases: [(Work, &str); 4] = [
            (&elsewhere, "Out of Memory"),
            (&read, "allocating 80 bytes"),
            (&followed, "buffer of size: 8"),
            (&told, "out of memory at 9"),
        ];
        for (work, said) in cases {
            let error = within(&gpu, &NEEDED, work).err().map(|error| (error.kind().exit_code(), error.to_string()));
            let (code, text) = error.unwrap_or_default();
            assert_eq!(code, 4, "{text}");
            assert!(
                text.starts_with("out of memory: wgpu:0 (a card) needs 13.5 GB at least (weights 2.0 GB,"),
                "{text}"
            );
            assert!(text.contains(said) && !text.contains('\n'), "{text}");
        }
        let fault = || -> Result<(), Error> { panic!("index out of bounds") };
        assert!(catch_unwind(|| within(&gpu, &NEEDED, fault)).is_err());
        assert!(matches!(within(&gpu, &NEEDED, || Ok::<_, Error>(3)), Ok(3)));
    }

    /// What the driver really says; nothing is allocated.
    #[cfg(any(feature = "wgpu", feature = "cuda"))]
    #[test]
    fn an_array_that_no_device_holds_is_an_error() -> Result<(), Error> {
        let Some(name) = headway_testkit::gpu_name() else { return Ok(()) };
        let (gpu, _) = name.parse::<DeviceSpec>().map_err(Error::Device)?.open()?;
        let work = || {
            Ok::<_, Error>(
                headway_model::weights::to_host(burn::tensor::Tensor::<1>::zeros([1_usize << 40], &gpu.device)).len(),
            )
        };
        let error = within(&gpu, &NEEDED, work).err().map(|error| (error.kind().exit_code(), error.to_string()));
        let (code, text) = error.unwrap_or_default();
        assert!(code == 4 && text.contains(&format!("out of memory: {name}")), "{text}");
        // The device is as it was.
        let ones =
            || Ok::<_, Error>(headway_model::weights::to_host(burn::tensor::Tensor::<1>::ones([3], &gpu.device)));
        assert_eq!(within(&gpu, &NEEDED, ones)?, [1.0; 3]);
        Ok(())
    }
}
