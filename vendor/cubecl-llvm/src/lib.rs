//! What `cubecl-cuda` names of cubecl's LLVM compiler, without LLVM.
//!
//! `cubecl-cuda` links two compilers: one that writes CUDA C++ for NVRTC, which is part of every CUDA toolkit, and one through
//! LLVM, whose build downloads a few hundred megabytes. Headway uses the first alone (the feature `cuda-cpp` of cubecl makes it the
//! default, and gives it asynchronous copies, which the second lacks). This crate stands in for the second: the types that
//! `cubecl-cuda` names, and a compiler that refuses.

#![cfg(feature = "nvptx")]

use cubecl_core::{
    CompilationError,
    environment::backtrace::BackTrace,
    ir::{attributes::BufferIOAttr, nvidia::SmArch},
    prelude::KernelDefinition,
};

use nvptx::ptx_version::PtxVersion;

/// The compiler that this build has not.
#[derive(Clone, Debug)]
pub struct PlironCompiler {
    /// What it would compile for.
    pub target: LlvmTarget,
}

impl PlironCompiler {
    /// Refuses.
    pub fn compile(
        &mut self,
        _kernel: KernelDefinition,
        _options: &PlironOptions,
    ) -> Result<PlironArtifact, CompilationError> {
        let reason = format!("this build has no LLVM to compile for {:?}: NVRTC compiles its kernels", self.target);
        Err(CompilationError::Generic { reason, backtrace: BackTrace::capture() })
    }

    /// The name of its language.
    pub fn lang_tag(&self) -> &'static str {
        "llvm"
    }
}

/// Targets of the compiler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LlvmTarget {
    /// NVIDIA's virtual instruction set.
    Nvptx,
}

/// Options of the compiler.
#[derive(Clone, Debug, Default)]
pub struct PlironOptions {
    /// An architecture of another vendor: never one.
    pub arch: Option<core::convert::Infallible>,
    /// The architecture of the card.
    pub sm_arch: Option<SmArch>,
    /// The version of PTX.
    pub ptx_version: Option<PtxVersion>,
    /// Whether scalars are in the block of parameters.
    pub grid_constants: bool,
}

/// What the compiler would return.
pub enum PlironArtifact {
    /// For NVIDIA's cards.
    NvptxCode(NvptxModule),
    /// For others, so that whoever expects the first must say so.
    Other,
}

/// Compiled PTX.
#[derive(Clone, Debug)]
pub struct NvptxModule {
    /// With a zero at the end.
    pub ptx: Vec<core::ffi::c_char>,
    /// The entry point.
    pub entrypoint: String,
    /// For logs and keys of caches.
    pub ir: String,
    /// Bytes per launch.
    pub shared_memory_size: usize,
    /// Which buffers are read and written.
    pub io: Vec<BufferIOAttr>,
}

/// NVIDIA's virtual instruction set.
pub mod nvptx {
    /// Its versions.
    pub mod ptx_version {
        use std::fmt;

        /// A version, which the compiler would be asked for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub struct PtxVersion(core::convert::Infallible);

        impl PtxVersion {
            /// None, since nothing is compiled for it.
            pub fn for_driver(_driver: i32) -> Option<Self> {
                None
            }
        }

        impl fmt::Display for PtxVersion {
            fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.0 {}
            }
        }
    }
}

/// What targets have in common.
pub mod shared {
    /// Features of a device that the compiler lowers.
    pub mod lowered_features {
        use cubecl_core::ir::DeviceProperties;

        /// Targets of the compiler.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum GpuTarget {
            /// NVIDIA's virtual instruction set.
            Nvptx,
        }

        /// Nothing, since nothing is compiled.
        pub fn restrict_features(_properties: &mut DeviceProperties, _target: GpuTarget) {}
    }
}
