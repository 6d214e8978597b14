//! The system's allocator, with huge pages for what is large.
//!
//! A forwarding table of a million routes, or the names of a million connections, are read at random. In pages of 4 KiB nearly
//! every look at them misses the processor's memory of page addresses (TLB), and reading the page table costs as much as
//! reading the entry. So the kernel is asked to back large allocations with pages of 2 MiB where it has some (`madvise`):
//! none need be reserved, and where there are none everything is as before.
//!
//! A program that wants this says so once:
//!
//! ```
//! #[global_allocator]
//! static ALLOCATOR: af_xdp::Allocator = af_xdp::Allocator;
//! # fn main() {}
//! ```

use core::alloc::{GlobalAlloc, Layout};
use std::alloc::System;

/// Bytes of a huge page.
const HUGE_PAGE: usize = 2 << 20;

/// Bytes from which on an allocation is large: it then has a whole huge page in it wherever it begins.
pub const LARGE: usize = 2 * HUGE_PAGE;

/// See the top of the file.
#[derive(Debug, Clone, Copy, Default)]
pub struct Allocator;

// SAFETY: memory comes from the system's allocator and goes back there, with the layouts that the caller gives; advice
// about how the kernel may back it changes neither its address nor its contents.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: by the caller.
        advised(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: by the caller.
        advised(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: by the caller.
        advised(unsafe { System.realloc(memory, layout, size) }, size)
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: by the caller; it came from the system's allocator.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// Asks for huge pages in an allocation that is large.
#[inline]
fn advised(memory: *mut u8, size: usize) -> *mut u8 {
    if size >= LARGE && !memory.is_null() {
        advise(memory, size);
    }
    memory
}

#[cold]
fn advise(memory: *mut u8, size: usize) {
    let first = memory.addr().next_multiple_of(HUGE_PAGE);
    let end = (memory.addr() + size) / HUGE_PAGE * HUGE_PAGE;
    if first < end {
        // SAFETY: the whole pages between lie within the allocation, and advice does not change what is in them. What a
        // kernel without huge pages says to it is of no interest.
        unsafe { libc::madvise(memory.with_addr(first).cast(), end - first, libc::MADV_HUGEPAGE) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the mapping around an address is one that was asked to have huge pages (`hg` of /proc/PID/smaps).
    fn is_asked(address: usize) -> bool {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut here = false;
        for line in maps.lines() {
            let range = line.split(' ').next().and_then(|range| range.split_once('-'));
            let bounds = range.and_then(|(from, to)| {
                Some((usize::from_str_radix(from, 16).ok()?, usize::from_str_radix(to, 16).ok()?))
            });
            if let Some((from, to)) = bounds {
                here = (from..to).contains(&address);
            } else if here && line.starts_with("VmFlags:") {
                return line.split_whitespace().any(|flag| flag == "hg");
            }
        }
        false
    }

    #[test]
    fn large_allocations_ask_for_huge_pages_and_are_otherwise_as_the_systems() {
        let kernel_has_them = std::path::Path::new("/sys/kernel/mm/transparent_hugepage").exists();
        let layout = Layout::from_size_align(3 * LARGE, 16).unwrap();
        // SAFETY: what was allocated is used within its bounds and given back with its layout.
        unsafe {
            let memory = Allocator.alloc_zeroed(layout);
            let bytes = core::slice::from_raw_parts_mut(memory, layout.size());
            assert!(bytes.iter().all(|byte| *byte == 0));
            bytes[layout.size() - 1] = 7;
            assert_eq!(is_asked(memory.addr() + LARGE), kernel_has_them);
            let larger = Allocator.realloc(memory, layout, 2 * layout.size());
            assert_eq!(larger.add(layout.size() - 1).read(), 7);
            assert_eq!(is_asked(larger.addr() + layout.size()), kernel_has_them);
            Allocator.dealloc(larger, Layout::from_size_align(2 * layout.size(), 16).unwrap());
            let small = Layout::from_size_align(LARGE - 1, 16).unwrap();
            let memory = Allocator.alloc(small);
            assert!(!memory.is_null() && !is_asked(memory.addr() + LARGE / 2));
            Allocator.dealloc(memory, small);
        }
    }
}
