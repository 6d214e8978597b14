//! mlockall(2): the arena is a large file with few pages. A program that locks all its memory would fill every ring there
//! may ever be; pages are locked here when they are used for the first time.

use core::ffi::c_int;

mod real_functions {
    use core::ffi::c_int;

    crate::real! {
        /// Locks all memory.
        fn mlockall(flags: c_int) -> c_int = libc::SYS_mlockall;
    }
}

/// mlockall(2).
///
/// # Safety
/// As libc's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mlockall(flags: c_int) -> c_int {
    // No flag at all is an error that is the kernel's to tell.
    let flags = if flags == 0 { 0 } else { flags | libc::MCL_ONFAULT };
    // SAFETY: by the caller.
    unsafe { real_functions::mlockall(flags) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_nobody_used_is_not_filled() {
        let map = memmap2::MmapOptions::new().len(64 << 20).map_anon().unwrap();
        // SAFETY: locks what is used, and unlocks it.
        let locked = unsafe { mlockall(libc::MCL_CURRENT) == 0 && libc::munlockall() == 0 };
        let mut pages = vec![0u8; (64 << 20) / 4096];
        // SAFETY: a live mapping, and a byte for each of its pages.
        unsafe { libc::mincore(map.as_ptr().cast_mut().cast(), map.len(), pages.as_mut_ptr()) };
        assert!(!locked || pages.iter().all(|page| page & 1 == 0));
        // SAFETY: no flag is an error.
        assert_eq!(crate::testing::of(unsafe { mlockall(0) }), Err(libc::EINVAL));
    }
}
