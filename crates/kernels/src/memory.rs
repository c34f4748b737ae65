//! The allocator of programs that train: freed memory stays with the process.

pub use mimalloc::MiMalloc as Allocator;

/// Keeps freed pages instead of returning them to the system. A training step frees and allocates the same memory again
/// and again, and the system would have to clear each returned page first.
pub fn keep_freed_pages() {
    /// Number of `mi_option_purge_delay` in mimalloc.h; −1 means never.
    const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
    // SAFETY: the call only stores a number, in an option that every version of mimalloc has.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, -1) };
}
