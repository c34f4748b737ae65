//! The allocator for programs that train: freed memory stays with the process.

pub use mimalloc::MiMalloc as Allocator;

/// Keeps freed pages instead of handing them back to the system: a training step frees and takes the same memory again and
/// again, and each page that comes back has to be cleared first.
pub fn keep_freed_pages() {
    /// Number of `mi_option_purge_delay` in mimalloc.h; −1 means never.
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
    // SAFETY: the call only stores a number, in an option that every mimalloc has.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, -1) };
}
