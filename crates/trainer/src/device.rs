//! Devices: parsing `--device`, listing the available devices, and refusing unavailable ones.

use std::{fmt, str::FromStr};

use burn::tensor::Device;
use headway_model::Precision;

use crate::{error::Error, experiment::Experiment, room};

/// A device as requested on the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceSpec {
    /// A real GPU if this build can reach one, else the CPU. A software adapter is never taken.
    #[default]
    Auto,
    /// burn-flex on the CPU.
    Cpu,
    /// A GPU through wgpu (Vulkan, Metal or DX12): the one with this number in `headway devices`; for `None` the best.
    Wgpu(Option<usize>),
    /// An NVIDIA GPU through CUDA.
    Cuda(Option<usize>),
    /// burn-ndarray on the CPU, for cross-checking.
    NdArray,
}

impl FromStr for DeviceSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, index) = match text.split_once(':') {
            Some((kind, index)) => {
                let index = index.parse().map_err(|_| format!("`{index}` in `{text}` is not a device number"))?;
                (kind, Some(index))
            }
            None => (text, None),
        };
        match (kind, index) {
            ("auto", None) => Ok(Self::Auto),
            ("cpu", None) => Ok(Self::Cpu),
            ("ndarray", None) => Ok(Self::NdArray),
            ("wgpu", index) => Ok(Self::Wgpu(index)),
            ("cuda", index) => Ok(Self::Cuda(index)),
            _ => Err(format!("no device `{text}`; there are auto, cpu, wgpu, wgpu:N, cuda, cuda:N and ndarray")),
        }
    }
}

impl fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let indexed = |f: &mut fmt::Formatter<'_>, name: &str, index: Option<usize>| match index {
            Some(index) => write!(f, "{name}:{index}"),
            None => f.write_str(name),
        };
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::NdArray => f.write_str("ndarray"),
            Self::Wgpu(index) => indexed(f, "wgpu", *index),
            Self::Cuda(index) => indexed(f, "cuda", *index),
        }
    }
}

/// An available device.
#[derive(Clone, Debug)]
pub struct OpenDevice {
    /// Its `--device` name.
    pub spec: DeviceSpec,
    /// Name that the device reports.
    pub name: String,
    /// Whether it is a software adapter, which imitates a GPU on the CPU.
    pub software: bool,
    /// The device.
    pub device: Device,
}

/// Every device that this build can reach on this machine.
pub fn available() -> Vec<OpenDevice> {
    #[allow(unused_mut, reason = "grows with the features of the build")]
    let mut found = vec![cpu()];
    #[cfg(feature = "ndarray")]
    found.push(OpenDevice {
        spec: DeviceSpec::NdArray,
        name: "burn-ndarray, for cross-checking".to_owned(),
        software: false,
        #[allow(
            deprecated,
            reason = "a second CPU implementation to compare flex with, for as long as burn keeps one"
        )]
        device: Device::ndarray(),
    });
    #[cfg(feature = "wgpu")]
    found.extend(wgpu::adapters());
    #[cfg(feature = "cuda")]
    found.extend(cuda_devices());
    found
}

impl OpenDevice {
    /// Refuses an experiment for which the device has too little memory, or whose precision it does not support. This
    /// happens before anything is allocated, since a failed allocation would end the process without a message.
    ///
    /// # Errors
    /// [`Error::Device`]
    pub fn ensure_takes(&self, experiment: &Experiment) -> Result<(), Error> {
        room::ensure_on_host(self, &experiment.memory())?;
        self.ensure_precision(experiment.train.attention_precision)
    }

    /// Whether tensors are in separate memory, whose size is not known in advance.
    pub fn has_own_memory(&self) -> bool {
        self.spec.is_gpu() && !self.software
    }

    /// Refuses a precision that the device does not support.
    ///
    /// # Errors
    /// [`Error::Device`] with the name of the precision.
    fn ensure_precision(&self, precision: Precision) -> Result<(), Error> {
        if precision.is_available(&self.device) {
            return Ok(());
        }
        let available = Precision::ALL.into_iter().filter(|other| other.is_available(&self.device));
        let available: Vec<&str> = available.map(Precision::name).collect();
        Err(Error::Device(format!(
            "{} ({}) cannot compute with train.attention_precision = \"{}\", only with {}; choose one of these or another device",
            self.spec,
            self.name,
            precision.name(),
            available.join(", ")
        )))
    }
}

/// Features for further devices that were disabled in this build.
pub fn features_left_out() -> Vec<&'static str> {
    let features =
        [("wgpu", cfg!(feature = "wgpu")), ("cuda", cfg!(feature = "cuda")), ("ndarray", cfg!(feature = "ndarray"))];
    features.into_iter().filter_map(|(name, built)| (!built).then_some(name)).collect()
}

impl DeviceSpec {
    /// The requested device, if it is available. A software adapter that was requested explicitly comes with a warning.
    ///
    /// # Errors
    /// [`Error::Device`] with the devices that are available instead.
    pub fn open(self) -> Result<(OpenDevice, Option<String>), Error> {
        if self == Self::Cpu {
            // This common case must not wait for a GPU driver to load.
            return Ok((cpu(), None));
        }
        let there = available();
        let pick = |wanted: fn(&DeviceSpec) -> bool, index: Option<usize>| {
            let mut kind = there.iter().filter(|found| wanted(&found.spec));
            match index {
                Some(index) => kind.nth(index),
                None => kind.next(),
            }
        };
        let found = match self {
            Self::Auto => there.iter().rev().find(|f| f.spec.is_gpu() && !f.software).or_else(|| there.first()),
            Self::Cpu => there.first(),
            Self::NdArray => pick(|spec| *spec == Self::NdArray, None),
            Self::Wgpu(index) => pick(|spec| matches!(spec, Self::Wgpu(_)), index),
            Self::Cuda(index) => pick(|spec| matches!(spec, Self::Cuda(_)), index),
        };
        let Some(found) = found else {
            let listed: Vec<String> = there.iter().map(|f| format!("  {} ({})", f.spec, f.name)).collect();
            return Err(Error::Device(format!("{}; there are\n{}", self.missing(), listed.join("\n"))));
        };
        let skipped_software = there.iter().any(|f| f.software);
        let warning = if found.software {
            Some(format!("{} is a software adapter: results are right, speed is not", found.name))
        } else if self == Self::Auto && !found.spec.is_gpu() && skipped_software {
            Some("the only GPU adapter is a software one; using the CPU".to_owned())
        } else {
            None
        };
        Ok((found.clone(), warning))
    }

    /// Whether it is a GPU, software adapters included.
    pub fn is_gpu(self) -> bool {
        matches!(self, Self::Wgpu(_) | Self::Cuda(_))
    }

    fn missing(self) -> String {
        let name = match self {
            Self::Wgpu(_) => "wgpu",
            Self::Cuda(_) => "cuda",
            Self::NdArray => "ndarray",
            Self::Auto | Self::Cpu => "cpu",
        };
        match features_left_out().into_iter().find(|feature| *feature == name) {
            Some(feature) => format!(
                "this build has no {feature} devices: build it with `cargo build --release --features {feature}`"
            ),
            None => format!("no device `{self}` on this machine"),
        }
    }
}

fn cpu() -> OpenDevice {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    OpenDevice {
        spec: DeviceSpec::Cpu,
        name: format!("burn-flex, {threads} threads"),
        software: false,
        device: Device::flex(),
    }
}

#[cfg(feature = "wgpu")]
mod wgpu {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use burn::tensor::{Device, DeviceKind, DeviceType};

    use super::{DeviceSpec, OpenDevice};

    /// Real adapters, then the software adapter.
    pub(super) fn adapters() -> Vec<OpenDevice> {
        // Enumeration panics if no graphics driver is installed.
        let real = quietly(|| Device::enumerate(DeviceType::Wgpu).into_vec()).unwrap_or_default();
        let software = Device::wgpu(DeviceKind::Cpu);
        let named = real.into_iter().chain([software]).filter_map(|device| {
            let identity = quietly(|| device.identity())??;
            Some((identity.name, identity.physical.is_none(), device))
        });
        let mut found: Vec<OpenDevice> = Vec::new();
        for (name, software, device) in named {
            if !found.iter().any(|other| other.device == device) {
                let spec = DeviceSpec::Wgpu(Some(found.len()));
                found.push(OpenDevice { spec, name, software, device });
            }
        }
        found
    }

    /// Calls a function that may panic for lack of a driver, and suppresses the panic's message; `None` if it panicked.
    fn quietly<T>(probe: impl FnOnce() -> T) -> Option<T> {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| ()));
        let result = catch_unwind(AssertUnwindSafe(probe)).ok();
        std::panic::set_hook(hook);
        result
    }
}

#[cfg(feature = "cuda")]
fn cuda_devices() -> Vec<OpenDevice> {
    let devices = Device::enumerate(burn::tensor::DeviceType::Cuda).into_vec();
    let named = devices.into_iter().enumerate().map(|(index, device)| OpenDevice {
        spec: DeviceSpec::Cuda(Some(index)),
        name: device.identity().map_or_else(|| "NVIDIA GPU".to_owned(), |identity| identity.name),
        software: false,
        device,
    });
    named.collect()
}
