//! The allocator of programs that train: freed memory stays with the process. And what a GPU has.

#[cfg(feature = "gpu")]
use burn::backend::DispatchDevice;
use burn::tensor::Device;

pub use mimalloc::MiMalloc as Allocator;

/// Keeps freed pages instead of returning them to the system. A training step frees and allocates the same memory again
/// and again, and the system would have to clear each returned page first.
pub fn keep_freed_pages() {
    /// Number of `mi_option_purge_delay` in mimalloc.h; −1 means never.
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
    // SAFETY: the call only stores a number, in an option that every version of mimalloc has.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, -1) };
}

/// What a GPU tells of its memory before anything is put there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that may be there at once; `None` where nobody tells, as WebGPU does not.
    pub total: Option<u64>,
    /// Bytes of the largest array.
    pub array: u64,
}

/// The limits of a GPU; `None` for other devices.
#[cfg(feature = "gpu")]
pub fn limits(device: &Device) -> Option<Limits> {
    let device = device.clone().inner();
    let DispatchDevice::Cube(device) = device.as_dispatch() else { return None };
    let client = device.client();
    let memory = &client.properties().memory;
    Some(Limits { total: memory.max_memory(), array: memory.max_page_size })
}

/// The limits of a GPU, which this build cannot reach.
#[cfg(not(feature = "gpu"))]
pub fn limits(_device: &Device) -> Option<Limits> {
    None
}
