//! An allocator that counts bytes, for tests of memory use. A test binary installs it as its global allocator.

#![allow(unsafe_code, reason = "counting bytes takes an allocator of our own")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
};

/// The system's allocator, with a count of the bytes in use.
pub struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
static CEILING: AtomicUsize = AtomicUsize::new(usize::MAX);

// SAFETY: every call is passed to `System` unchanged, or refused; counting does not touch the caller's memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let in_use = IN_USE.fetch_add(layout.size(), SeqCst) + layout.size();
        if in_use > CEILING.load(SeqCst) {
            IN_USE.fetch_sub(layout.size(), SeqCst);
            return std::ptr::null_mut();
        }
        PEAK.fetch_max(in_use, SeqCst);
        // SAFETY: the caller fulfils the contract of `alloc`, which is that of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), SeqCst);
        // SAFETY: the pointer came from `alloc` above, that is from `System`, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Bytes in use now.
pub fn in_use() -> usize {
    IN_USE.load(SeqCst)
}

/// Refuses allocations that would bring the bytes in use above a limit, so that a test that requests too much fails by
/// itself.
pub fn set_ceiling(bytes: usize) {
    CEILING.store(bytes, SeqCst);
}

/// The result of a function, and the most bytes it had in use beyond those in use before.
pub fn peak_of<T>(something: impl FnOnce() -> T) -> (T, usize) {
    let before = in_use();
    PEAK.store(before, SeqCst);
    let result = something();
    (result, PEAK.load(SeqCst).saturating_sub(before))
}
