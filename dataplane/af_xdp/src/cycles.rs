//! The processor's cycle counter, for telling where a worker's time goes.

/// The counter now. On x86-64 it is the time stamp counter, which runs at a constant rate on every processor
/// that this is for; elsewhere it counts nanoseconds. The difference of two readings on one core means
/// something; a single one does not.
#[inline]
#[must_use]
pub fn now() -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: RDTSC reads a register and has no other effect. Every x86-64 processor has it, and Linux
        // leaves it readable to user space unless a process asked otherwise of itself (prctl PR_SET_TSC).
        unsafe { core::arch::x86_64::_rdtsc() }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        use std::sync::OnceLock;
        use std::time::Instant;
        static ORIGIN: OnceLock<Instant> = OnceLock::new();
        ORIGIN.get_or_init(Instant::now).elapsed().as_nanos() as u64
    }
}
