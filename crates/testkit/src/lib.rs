#![doc = include_str!("../README.md")]
#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

pub mod laws;
pub mod memory;
pub mod precision;

use std::io::Write as _;

use burn::tensor::Device;
use headway_kernels::backend::Backend;

/// A device that tests run on.
#[derive(Clone, Debug)]
pub struct TestDevice {
    /// Its name in failure messages.
    pub name: &'static str,
    /// The device, without autodiff.
    pub device: Device,
    /// Allowed distance of a result from the truth, relative to the largest entry.
    pub tolerance: f64,
}

/// The variable that names the device to test, as `--device` names it: `cpu`, or the name of a GPU.
const CHOICE: &str = "HEADWAY_TEST_DEVICE";

/// All devices on which tests must pass: the CPU, and the GPU that `HEADWAY_TEST_DEVICE` names. Without it, a build with the
/// feature `wgpu` tests the software adapter. `HEADWAY_TEST_DEVICE=cpu` leaves GPUs out.
///
/// # Panics
/// If that GPU is not there: tests must not pass because a device is missing.
pub fn devices() -> Vec<TestDevice> {
    let cpu = TestDevice { name: "flex", device: Device::flex(), tolerance: 1e-5 };
    let gpu = gpu().map(|(backend, _, device)| TestDevice { name: backend.name(), device, tolerance: 1e-4 });
    [cpu].into_iter().chain(gpu).collect()
}

/// The name, for `--device`, of the GPU under test, for tests that have no other device. `None` when `HEADWAY_TEST_DEVICE` is `cpu`, by
/// which a person leaves GPUs out: whoever asks then ends, and the terminal says so.
///
/// # Panics
/// As [`devices`], and if the build has no GPU.
pub fn gpu_name() -> Option<String> {
    if let Some((backend, number, _)) = gpu() {
        return Some(format!("{}:{number}", backend.name()));
    }
    assert!(chosen().is_some(), "this build has no GPU to test; test with `--features wgpu`");
    let thread = std::thread::current();
    // Around the harness, which shows only what failing tests print.
    let _ = writeln!(std::io::stderr(), "{CHOICE}=cpu leaves out {}", thread.name().unwrap_or("a test of a GPU"));
    None
}

fn chosen() -> Option<String> {
    std::env::var(CHOICE).ok().filter(|choice| !choice.is_empty())
}

/// The GPU under test and its number.
fn gpu() -> Option<(Backend, usize, Device)> {
    let choice = chosen();
    let (backend, wanted) = match choice.as_deref() {
        Some("cpu") => return None,
        Some(name) => named(name).unwrap_or_else(|reason| panic!("{CHOICE}={name}: {reason}")),
        None if cfg!(feature = "wgpu") => (Backend::Wgpu, None),
        None => return None,
    };
    let found = backend.adapters().unwrap_or_else(|reason| panic!("{}: {reason}", backend.name()));
    // Without a name it is the software adapter, so that everyone tests the same.
    let mut numbered = found.into_iter().enumerate().filter(|(number, adapter)| match &choice {
        Some(_) => wanted.is_none_or(|wanted| *number == wanted),
        None => adapter.software,
    });
    let (number, adapter) = numbered.next().unwrap_or_else(|| match choice {
        Some(name) => panic!("{CHOICE}={name}: no such device on this machine; `headway devices` lists them"),
        None => panic!("no software GPU adapter answers; on Debian: apt-get install mesa-vulkan-drivers libvulkan1"),
    });
    let probe = || burn::tensor::Tensor::<1>::ones([1], &adapter.device).try_into_vec_as::<f32>();
    let answer = std::panic::catch_unwind(std::panic::AssertUnwindSafe(probe));
    assert!(matches!(&answer, Ok(Ok(ones)) if *ones == [1.0]), "{} does not compute: {answer:?}", adapter.name);
    Some((backend, number, adapter.device))
}

/// A backend of this build and the number of its device, as `cuda` or `cuda:0`.
fn named(name: &str) -> Result<(Backend, Option<usize>), String> {
    let (kind, number) = name.split_once(':').map_or((name, None), |(kind, number)| (kind, Some(number)));
    let backend = Backend::ALL.into_iter().find(|backend| backend.name() == kind).ok_or_else(|| {
        format!(
            "no such device; there are cpu, {}",
            Backend::ALL.map(|backend| format!("{}:N", backend.name())).join(", ")
        )
    })?;
    let number = number.map(str::parse).transpose().map_err(|_| "that is not a device number".to_owned())?;
    if backend.is_built() { Ok((backend, number)) } else { Err(format!("test with `--features {kind}`")) }
}

/// The entry with the largest deviation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Worst {
    /// Row-major index.
    pub index: usize,
    /// Its value.
    pub got: f32,
    /// The expected value.
    pub want: f32,
    /// got − want| / `scale`; infinite if either is not finite.
    pub deviation: f64,
    /// The largest |want|, or 1 if all expected entries are zero.
    pub scale: f64,
}

/// The entry of `got` with the largest deviation from `want`, relative to the largest |want|; `None` for empty slices.
///
/// # Panics
/// If the lengths differ.
pub fn worst(name: &str, got: &[f32], want: &[f32]) -> Option<Worst> {
    let largest = want.iter().fold(0.0, |largest, w| f64::max(largest, f64::from(w.abs())));
    worst_of_scale(name, got, want, if largest > 0.0 { largest } else { 1.0 })
}

/// The entry of `got` with the largest deviation from `want`, in units of `scale`; `None` for empty slices.
///
/// # Panics
/// If the lengths differ.
pub fn worst_of_scale(name: &str, got: &[f32], want: &[f32], scale: f64) -> Option<Worst> {
    assert_eq!(got.len(), want.len(), "{name}: {} entries where {} are wanted", got.len(), want.len());
    let entries = got.iter().zip(want).enumerate().map(|(index, (&got, &want))| {
        let distance = (f64::from(got) - f64::from(want)).abs() / scale;
        // Comparisons with NaN are false, so NaN would otherwise pass.
        Worst { index, got, want, deviation: if distance.is_finite() { distance } else { f64::INFINITY }, scale }
    });
    entries.max_by(|a, b| a.deviation.total_cmp(&b.deviation))
}

/// Asserts that no entry deviates from the expected one by more than `tolerance` times the largest |want|.
///
/// # Panics
/// If one does, with its name and index.
#[track_caller]
pub fn assert_close(name: &str, got: &[f32], want: &[f32], tolerance: f64) {
    check(name, worst(name, got, want), tolerance);
}

/// Asserts that no entry deviates from the expected one by more than `tolerance` times `scale`, for values whose truth
/// is zero.
///
/// # Panics
/// If one does, with its name and index.
#[track_caller]
pub fn assert_close_of_scale(name: &str, got: &[f32], want: &[f32], scale: f64, tolerance: f64) {
    check(name, worst_of_scale(name, got, want, scale), tolerance);
}

#[track_caller]
fn check(name: &str, worst: Option<Worst>, tolerance: f64) {
    if let Some(Worst { index, got, want, deviation, scale }) = worst {
        assert!(
            deviation <= tolerance,
            "{name}: entry {index} is {got:e}, wanted {want:e}: off by {deviation:.1e} of {scale:.3e}, allowed {tolerance:.0e}"
        );
    }
}

/// `count` deterministic numbers in [−1, 1) that look random (SplitMix64).
pub fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0xd134_2543_de82_ef95);
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // 24 bits fit an f32 exactly.
        ((mixed ^ (mixed >> 31)) >> 40) as f32 / (1_u32 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_to_test_are_named_or_refused() {
        for backend in Backend::ALL {
            let read = named(&format!("{}:2", backend.name()));
            if backend.is_built() {
                assert_eq!(read, Ok((backend, Some(2))));
            } else {
                assert_eq!(read, Err(format!("test with `--features {}`", backend.name())));
            }
        }
        assert!(named("metal").unwrap_err().contains("there are cpu, cuda:N, vulkan:N, wgpu:N"));
        assert!(named("wgpu:first").unwrap_err().contains("not a device number"));
    }

    #[test]
    fn equal_and_nearly_equal_pass() {
        assert_close("exact", &[1.0, -2.0], &[1.0, -2.0], 0.0);
        assert_close("of the largest entry", &[1.0 + 1e-3, 1000.0], &[1.0, 1000.0], 1.1e-6);
        assert_close("zeros", &[1e-7], &[0.0], 1e-6);
        assert_close("nothing", &[], &[], 0.0);
    }

    #[test]
    #[should_panic(expected = "entry 1 is 2.5e0, wanted 2e0")]
    fn the_worst_entry_is_named() {
        assert_close("far", &[1.01, 2.5], &[1.0, 2.0], 1e-3);
    }

    #[test]
    #[should_panic(expected = "entry 0 is NaN")]
    fn nan_is_far_from_everything() {
        assert_close("nan", &[f32::NAN, 1.0], &[1.0, 1.0], 1.0);
    }

    #[test]
    #[should_panic(expected = "2 entries where 1 are wanted")]
    fn lengths_must_agree() {
        assert_close("lengths", &[1.0, 1.0], &[1.0], 1.0);
    }

    #[test]
    fn numbers_fill_their_interval() {
        let numbers = numbers(3, 10_000);
        assert!(numbers.iter().all(|x| (-1.0..1.0).contains(x)));
        let mean = numbers.iter().sum::<f32>() / 1e4;
        let square = numbers.iter().map(|x| x * x).sum::<f32>() / 1e4;
        assert!(mean.abs() < 0.03 && (square - 1.0 / 3.0).abs() < 0.02, "mean {mean}, mean square {square}");
        assert_ne!(super::numbers(4, 3), super::numbers(5, 3));
    }
}
