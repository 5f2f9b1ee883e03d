//! How much memory a reader may hold for an input.
//!
//! A length that lies must cost an error, not memory. All that is allocated is counted; within
//! [`within`] the process ends as soon as more is held than the input justifies, with the place
//! that asked for it, and libFuzzer keeps the input.

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a reader may hold whatever its input: windows, buffers, threads.
const CONSTANT_BYTES: usize = 12 << 20;
/// What it may hold for each byte of its input: a value in memory is larger than its bytes, and
/// Snappy makes twenty out of one.
const BYTES_PER_BYTE: usize = 512;

static HELD: AtomicUsize = AtomicUsize::new(0);
/// More than this is too much; the maximum outside of [`within`].
static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn add(bytes: usize) {
    let held = HELD.fetch_add(bytes, Ordering::Relaxed) + bytes;
    if held > LIMIT.load(Ordering::Relaxed) {
        // What follows allocates too.
        let limit = LIMIT.swap(usize::MAX, Ordering::Relaxed);
        if limit == usize::MAX {
            return;
        }
        let place = Backtrace::force_capture();
        eprintln!("{held} bytes held, at most {limit} expected; asked for {bytes} here:\n{place}");
        std::process::abort();
    }
}

#[expect(unsafe_code, reason = "an allocator cannot be written otherwise")]
// SAFETY: every call is passed on to the system's allocator as it came; counting touches no memory
// that is handed out.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // Both parts are held while one is copied to the other.
        add(bytes);
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(at, layout, bytes) }
    }
}

/// Runs a reader of `input_bytes` bytes; ends the process if it holds more than they justify.
pub fn within<T>(input_bytes: usize, run: impl FnOnce() -> T) -> T {
    let allowed = CONSTANT_BYTES + input_bytes * BYTES_PER_BYTE;
    let limit = HELD.load(Ordering::Relaxed).saturating_add(allowed);
    LIMIT.store(limit, Ordering::Relaxed);
    let result = run();
    LIMIT.store(usize::MAX, Ordering::Relaxed);
    result
}
