//! NVIDIA's GPUs through CUDA. What is missing is said before CubeCL opens a device, where it would panic.

use std::path::Path;

use burn::tensor::{Device, DeviceType};
use cudarc::{driver::result, nvrtc};

use super::{Adapter, quietly};

/// Headers that NVRTC reads when it compiles our kernels and burn's.
const HEADERS: [&str; 4] = ["cuda_fp16.h", "cuda_bf16.h", "mma.h", "crt/mma.h"];

pub(super) fn adapters() -> Result<Vec<Adapter>, String> {
    driver()?;
    let devices = Device::enumerate(DeviceType::Cuda).into_vec();
    if devices.is_empty() {
        return Ok(Vec::new());
    }
    compiler()?;
    let named = devices.into_iter().filter_map(|device| {
        let name = quietly(|| device.identity())??.name;
        Some(Adapter { name, software: false, compiler: "cuda<c++>", device })
    });
    Ok(named.collect())
}

/// The driver answers.
fn driver() -> Result<(), String> {
    // It panics if there is no library to load.
    match quietly(result::init) {
        Some(Ok(())) => Ok(()),
        Some(Err(error)) => Err(format!(
            "NVIDIA's driver refuses to start ({}): see that `nvidia-smi` lists a GPU; a container needs `--gpus all`",
            error.0 as u32
        )),
        None => Err(
            "NVIDIA's driver is not installed (no libcuda.so.1): install it, on Debian the package nvidia-driver; a \
                     container needs `--gpus all`"
                .to_owned(),
        ),
    }
}

/// NVRTC is there, what it reads is, and the driver loads what it writes.
fn compiler() -> Result<(), String> {
    let driver = driver_version();
    let include = cubecl::cuda::install::cuda_path().map(|root| root.join("include"));
    missing_header(include.as_deref(), driver)?;
    let nothing = || nvrtc::compile_ptx(r#"extern "C" __global__ void nothing() {}"#).is_ok();
    match quietly(nothing) {
        Some(true) => too_new(driver, nvrtc_version()),
        Some(false) => Err(format!("NVRTC compiles nothing: install {} anew", toolkit(driver))),
        None => Err(format!("NVRTC is not installed (no libnvrtc.so): install {}", toolkit(driver))),
    }
}

/// A version of CUDA, as major and minor number.
type Version = (i32, i32);

/// The newest CUDA that the driver knows.
fn driver_version() -> Version {
    let mut version = 0;
    // SAFETY: the library is loaded by now, and the function only writes the number.
    let _ = unsafe { cudarc::driver::sys::cuDriverGetVersion(&raw mut version) };
    (version / 1000, version % 1000 / 10)
}

/// The CUDA of NVRTC.
fn nvrtc_version() -> Version {
    let (mut major, mut minor) = (0, 0);
    // SAFETY: the library is loaded by now, and the function only writes the numbers.
    let _ = unsafe { nvrtc::sys::nvrtcVersion(&raw mut major, &raw mut minor) };
    (major, minor)
}

/// The package with everything that the driver can use.
fn toolkit((major, minor): Version) -> String {
    format!("NVIDIA's package cuda-toolkit-{major}-{minor}")
}

/// Refuses an NVRTC that writes what the driver does not know yet.
fn too_new(driver: Version, nvrtc: Version) -> Result<(), String> {
    if nvrtc <= driver {
        return Ok(());
    }
    Err(format!(
        "NVIDIA's driver knows CUDA {}.{} and NVRTC is of CUDA {}.{}: update the driver, or install {}",
        driver.0,
        driver.1,
        nvrtc.0,
        nvrtc.1,
        toolkit(driver)
    ))
}

fn missing_header(include: Option<&Path>, driver: Version) -> Result<(), String> {
    let Some(include) = include else {
        return Err(format!(
            "CUDA's headers are not installed (no CUDA_PATH, no /usr/local/cuda): install {}, or set CUDA_PATH to a folder \
             with `include`",
            toolkit(driver)
        ));
    };
    match HEADERS.iter().find(|header| !include.join(header).is_file()) {
        Some(header) => Err(format!(
            "CUDA's header {header} is not in {}: install {}, or set CUDA_PATH to the folder above an `include` that has it",
            include.display(),
            toolkit(driver)
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

    use super::*;

    #[test]
    fn what_is_missing_is_named_with_its_package() {
        let lab = std::env::temp_dir().join(format!("headway-cuda-{}", std::process::id()));
        std::fs::create_dir_all(lab.join("crt")).unwrap();
        let none = missing_header(None, (12, 8)).unwrap_err();
        assert!(none.contains("CUDA_PATH") && none.contains("cuda-toolkit-12-8"), "{none}");
        for header in HEADERS {
            let one = missing_header(Some(&lab), (12, 8)).unwrap_err();
            assert!(one.contains(header) && one.contains(&lab.display().to_string()), "{one}");
            std::fs::write(lab.join(header), "").unwrap();
        }
        assert_eq!(missing_header(Some(&lab), (12, 8)), Ok(()));
        std::fs::remove_dir_all(lab).unwrap();
    }

    #[test]
    fn a_compiler_newer_than_the_driver_is_refused() {
        assert_eq!(too_new((13, 0), (13, 0)), Ok(()));
        assert_eq!(too_new((13, 0), (12, 9)), Ok(()));
        let newer = too_new((12, 8), (13, 0)).unwrap_err();
        assert!(
            newer.contains("CUDA 12.8 and NVRTC is of CUDA 13.0") && newer.contains("cuda-toolkit-12-8"),
            "{newer}"
        );
        assert!(too_new((13, 0), (13, 2)).is_err());
    }
}
