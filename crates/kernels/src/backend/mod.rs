//! GPUs by what compiles their kernels: which of them a build has, which a machine has, and where compiled kernels are kept.

#[cfg(feature = "cuda")]
mod cuda;
#[cfg(feature = "gpu")]
mod kept;
#[cfg(feature = "wgpu")]
mod wgpu;

use std::path::PathBuf;
#[cfg(feature = "gpu")]
use std::sync::OnceLock;

use burn::tensor::Device;

/// A way to run kernels on a GPU. The same GPU can be reached by several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// NVIDIA's GPUs by CUDA: kernels in C++, compiled by NVRTC.
    Cuda,
    /// GPUs with a driver for Vulkan: kernels in SPIR-V, tensor cores included.
    Vulkan,
    /// Any GPU through wgpu (Vulkan, Metal or DX12): kernels in WGSL.
    Wgpu,
}

/// A GPU, or a software adapter that imitates one on the CPU, as one backend reaches it.
#[derive(Clone, Debug)]
pub struct Adapter {
    /// The name that the driver gives it.
    pub name: String,
    /// Whether it is a software adapter.
    pub software: bool,
    /// The runtime and what compiles for it: `wgpu<wgsl>`, `wgpu<spirv>` or `cuda<c++>`.
    pub compiler: &'static str,
    /// The device, without autodiff.
    pub device: Device,
}

impl Backend {
    /// All, the best one first.
    pub const ALL: [Self; 3] = [Self::Cuda, Self::Vulkan, Self::Wgpu];

    /// The name of its devices, which is also that of the feature by which a build has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cuda => "cuda",
            Self::Vulkan => "vulkan",
            Self::Wgpu => "wgpu",
        }
    }

    /// Whether this build has it.
    pub fn is_built(self) -> bool {
        match self {
            Self::Cuda => cfg!(feature = "cuda"),
            Self::Vulkan => cfg!(feature = "vulkan"),
            Self::Wgpu => cfg!(feature = "wgpu"),
        }
    }

    /// What it reaches on this machine: GPUs, then the software adapter. The first call opens them, which takes a moment.
    ///
    /// # Errors
    /// What the machine lacks, in one sentence with the package to install.
    pub fn adapters(self) -> Result<Vec<Adapter>, String> {
        #[cfg(feature = "gpu")]
        {
            static FOUND: [OnceLock<Result<Vec<Adapter>, String>>; Backend::ALL.len()] =
                [const { OnceLock::new() }; Backend::ALL.len()];
            let find = || {
                // The cache must be chosen before the first device is opened.
                kept::choose();
                match self {
                    #[cfg(feature = "cuda")]
                    Self::Cuda => cuda::adapters(),
                    #[cfg(feature = "vulkan")]
                    Self::Vulkan => Ok(wgpu::spirv()),
                    #[cfg(feature = "wgpu")]
                    Self::Wgpu => Ok(wgpu::wgsl()),
                    #[allow(unreachable_patterns, reason = "a build may have all of them")]
                    _ => Ok(Vec::new()),
                }
            };
            FOUND[self as usize].get_or_init(find).clone()
        }
        #[cfg(not(feature = "gpu"))]
        Ok(Vec::new())
    }
}

/// Keeps what is compiled and tuned from now on with what was compiled and tuned for GPUs of this name.
pub fn keep_for(name: &str) {
    #[cfg(feature = "gpu")]
    kept::by(name);
    #[cfg(not(feature = "gpu"))]
    let _ = name;
}

/// Whether this build chooses the fastest of several kernels by trying them.
pub fn is_tuned() -> bool {
    cfg!(feature = "autotune")
}

/// The file in which choices and compiled kernels are kept for the GPU of this name; `None` if this build keeps none.
pub fn cache(name: &str) -> Option<PathBuf> {
    #[cfg(all(feature = "gpu", feature = "autotune"))]
    {
        kept::choose();
        Some(kept::file_of(name))
    }
    #[cfg(not(all(feature = "gpu", feature = "autotune")))]
    {
        let _ = name;
        None
    }
}

/// Calls a function whenever a kernel has been compiled or chosen because no earlier process kept it, on the thread that did,
/// with the numbers of both so far: compiled, chosen. One function in a process is called, the first.
pub fn on_compiling(report: impl Fn(usize, usize) + Send + Sync + 'static) {
    #[cfg(feature = "gpu")]
    kept::report_to(report);
    #[cfg(not(feature = "gpu"))]
    let _ = report;
}

/// Calls a function that may panic for lack of a driver, and suppresses the panic's message; `None` if it panicked.
#[cfg(feature = "gpu")]
fn quietly<T>(probe: impl FnOnce() -> T) -> Option<T> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(probe)).ok();
    std::panic::set_hook(hook);
    result
}
