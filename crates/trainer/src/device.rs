//! Devices: parsing `--device`, listing the available devices, and refusing unavailable ones.

use std::{fmt, path::PathBuf, str::FromStr};

use burn::tensor::Device;
use headway_kernels::backend::{self, Adapter, Backend};
use headway_model::Precision;

use crate::{error::Error, machine};

/// A device as requested on the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceSpec {
    /// A real GPU if this build can reach one, else the CPU. A software adapter is never taken.
    #[default]
    Auto,
    /// burn-flex on the CPU.
    Cpu,
    /// A GPU: the one with this number in `headway devices`; for `None` the best.
    Gpu(Backend, Option<usize>),
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
            _ => {
                let backend = Backend::ALL.into_iter().find(|backend| backend.name() == kind);
                backend.map(|backend| Self::Gpu(backend, index)).ok_or_else(|| {
                    let gpus = Backend::ALL.map(|backend| format!("{0}, {0}:N", backend.name()));
                    format!("no device `{text}`; there are auto, cpu, {} and ndarray", gpus.join(", "))
                })
            }
        }
    }
}

impl fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::NdArray => f.write_str("ndarray"),
            Self::Gpu(backend, None) => f.write_str(backend.name()),
            Self::Gpu(backend, Some(index)) => write!(f, "{}:{index}", backend.name()),
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
    /// The runtime of a GPU and what compiles its kernels, such as `wgpu<spirv>`.
    pub compiler: Option<&'static str>,
    /// Where compiled kernels and choices between them are kept; `None` if they are not.
    pub cache: Option<PathBuf>,
    /// The device.
    pub device: Device,
}

/// What this build can reach on this machine, and why it cannot reach the rest.
#[derive(Clone, Debug)]
pub struct Available {
    /// The CPU first.
    pub devices: Vec<OpenDevice>,
    /// Kinds of devices without one: what the machine lacks, or the build.
    pub missing: Vec<(&'static str, String)>,
}

/// Every device that this build can reach on this machine.
pub fn available() -> Available {
    #[allow(unused_mut, reason = "grows with the features of the build")]
    let mut devices = vec![cpu()];
    let mut missing = Vec::new();
    #[cfg(feature = "ndarray")]
    devices.push(ndarray());
    for backend in Backend::ALL.into_iter().rev() {
        match gpus(backend) {
            Ok(found) => devices.extend(found),
            Err(reason) => missing.push((backend.name(), reason)),
        }
    }
    if !cfg!(feature = "ndarray") {
        missing.push(("ndarray", left_out("ndarray")));
    }
    Available { devices, missing }
}

impl OpenDevice {
    /// What to know of a software adapter.
    fn about_software(&self) -> String {
        let old = match self.spec {
            DeviceSpec::Gpu(Backend::Vulkan, _) => ", and old drivers crash on SPIR-V, where --device wgpu has WGSL",
            _ => "",
        };
        format!("{} is a software adapter: results are right, speed is not{old}", self.name)
    }

    /// Whether its kernels are the fastest of several, found by trying them.
    pub fn is_tuned(&self) -> bool {
        self.spec.is_gpu() && backend::is_tuned()
    }

    /// Its kernels, and the choices between them, are kept with those of GPUs of the same name.
    fn keep_kernels(&self) {
        if self.spec.is_gpu() {
            backend::keep_for(&self.name);
        }
    }

    /// Whether tensors are in memory of its own, which that of the machine does not count.
    pub fn has_own_memory(&self) -> bool {
        self.spec.is_gpu() && !self.software
    }

    /// Refuses a precision that the device does not have, under the name that the user knows it by.
    ///
    /// # Errors
    /// [`Error::Device`] with those that it has.
    pub(crate) fn ensure_precision(&self, key: &str, precision: Precision) -> Result<(), Error> {
        if precision.is_available(&self.device) {
            return Ok(());
        }
        Err(Error::Device(format!(
            "{} ({}) cannot compute with {key} = \"{}\", only with {}; choose one of these or another device",
            self.spec,
            self.name,
            precision.name(),
            self.precisions().join(", ")
        )))
    }

    /// Names of the precisions that products on the device can have.
    pub fn precisions(&self) -> Vec<&'static str> {
        let available = Precision::ALL.into_iter().filter(|precision| precision.is_available(&self.device));
        available.map(Precision::name).collect()
    }
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
        if let Self::Auto = self {
            return Ok(best());
        }
        let found = match self {
            Self::Gpu(backend, index) => gpus(backend).map(|found| found.into_iter().nth(index.unwrap_or(0))),
            #[cfg(feature = "ndarray")]
            Self::NdArray => Ok(Some(ndarray())),
            _ => Err(left_out("ndarray")),
        };
        let missing = match found {
            Ok(Some(found)) => {
                found.keep_kernels();
                let warning = found.software.then(|| found.about_software());
                return Ok((found, warning));
            }
            Ok(None) => format!("no device `{self}` on this machine"),
            Err(reason) => reason,
        };
        let listed: Vec<String> = available().devices.iter().map(|f| format!("  {} ({})", f.spec, f.name)).collect();
        Err(Error::Device(format!("{missing}; there are\n{}", listed.join("\n"))))
    }

    /// Whether it is a GPU, software adapters included.
    pub fn is_gpu(self) -> bool {
        matches!(self, Self::Gpu(..))
    }
}

/// Calls a function with the numbers of kernels compiled for GPUs, and chosen among several, whenever either grows: in a
/// process that runs for the first time on a GPU that takes a while.
pub fn on_compiling(report: impl Fn(usize, usize) + Send + Sync + 'static) {
    backend::on_compiling(report);
}

/// The first GPU of the best backend, else the CPU; with a warning if a GPU may be there that is not used.
fn best() -> (OpenDevice, Option<String>) {
    let mut warnings = Vec::new();
    let mut software = false;
    for backend in Backend::ALL.into_iter().filter(|backend| backend.is_built()) {
        match gpus(backend) {
            Ok(found) => {
                software |= !found.is_empty();
                if let Some(real) = found.into_iter().find(|found| !found.software) {
                    real.keep_kernels();
                    return (real, (!warnings.is_empty()).then(|| warnings.join("; ")));
                }
            }
            Err(reason) => warnings.push(reason),
        }
    }
    if software {
        warnings.push("the only GPU adapter is a software one".to_owned());
    }
    let cpu = cpu();
    (cpu, (!warnings.is_empty()).then(|| format!("{}; using the CPU", warnings.join("; "))))
}

/// The devices of a backend, in the order of their numbers.
///
/// # Errors
/// What the build or the machine lacks.
fn gpus(backend: Backend) -> Result<Vec<OpenDevice>, String> {
    if !backend.is_built() {
        return Err(left_out(backend.name()));
    }
    let numbered = backend.adapters()?.into_iter().enumerate();
    Ok(numbered.map(|(index, adapter)| gpu(DeviceSpec::Gpu(backend, Some(index)), &adapter)).collect())
}

fn gpu(spec: DeviceSpec, adapter: &Adapter) -> OpenDevice {
    OpenDevice {
        spec,
        name: adapter.name.clone(),
        software: adapter.software,
        compiler: Some(adapter.compiler),
        cache: backend::cache(&adapter.name),
        device: adapter.device.clone(),
    }
}

/// That this build lacks a kind of devices, and how to get them.
fn left_out(feature: &str) -> String {
    format!("this build has no {feature} devices: build it with `cargo build --release --features {feature}`")
}

#[cfg(feature = "ndarray")]
fn ndarray() -> OpenDevice {
    OpenDevice {
        spec: DeviceSpec::NdArray,
        name: "burn-ndarray, for cross-checking".to_owned(),
        software: false,
        compiler: None,
        cache: None,
        #[allow(
            deprecated,
            reason = "a second CPU implementation to compare flex with, for as long as burn keeps one"
        )]
        device: Device::ndarray(),
    }
}

fn cpu() -> OpenDevice {
    let threads = machine::threads();
    let plural = if threads == 1 { "" } else { "s" };
    OpenDevice {
        spec: DeviceSpec::Cpu,
        name: format!("burn-flex, {threads} thread{plural}"),
        software: false,
        compiler: None,
        cache: None,
        device: Device::flex(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

    use super::*;

    #[test]
    fn every_kind_is_written_as_it_is_read() {
        let kinds = ["auto", "cpu", "ndarray"].map(str::to_owned).into_iter();
        let gpus =
            Backend::ALL.into_iter().flat_map(|backend| [backend.name().to_owned(), format!("{}:3", backend.name())]);
        for name in kinds.chain(gpus) {
            assert_eq!(name.parse::<DeviceSpec>().map(|spec| spec.to_string()), Ok(name));
        }
        assert_eq!("vulkan:1".parse(), Ok(DeviceSpec::Gpu(Backend::Vulkan, Some(1))));
        for wrong in ["cpu:0", "auto:1", "ndarray:0", "metal", "cuda:", "cuda:-1", ""] {
            assert!(wrong.parse::<DeviceSpec>().is_err(), "{wrong}");
        }
        let refused = "metal".parse::<DeviceSpec>().unwrap_err();
        assert!(Backend::ALL.iter().all(|backend| refused.contains(backend.name())), "{refused}");
    }

    #[test]
    fn kinds_that_the_build_lacks_are_named_with_the_command_that_has_them() {
        for backend in Backend::ALL.into_iter().filter(|backend| !backend.is_built()) {
            let refused = DeviceSpec::Gpu(backend, None).open().unwrap_err().to_string();
            assert!(refused.contains(&format!("cargo build --release --features {}", backend.name())), "{refused}");
            assert!(refused.contains("cpu (burn-flex"), "what there is: {refused}");
        }
    }
}
