//! What becomes of memory that is freed.
//!
//! A training step frees gigabytes that the next step allocates again, in blocks of another size each time. Given back to
//! the system in between, every page is faulted in and cleared anew, which takes more than a third of the time on a
//! virtual machine.

/// Lets the C library keep what is freed, for the rest of the process, in one heap for all threads. Does nothing where
/// the allocator is not glibc's.
pub fn keep_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    glibc::keep_freed();
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod glibc {
    /// Memory that is asked of the system at a time.
    const STEP_BYTES: libc::c_int = 64 << 20;

    pub(super) fn keep_freed() {
        let settings = [
            // Only the first heap can hold blocks of any size.
            (libc::M_ARENA_MAX, 1),
            // No block in a mapping of its own, which would be given back when it is freed.
            (libc::M_MMAP_MAX, 0),
            (libc::M_TOP_PAD, STEP_BYTES),
            // Never.
            (libc::M_TRIM_THRESHOLD, -1),
        ];
        for (parameter, value) in settings {
            #[expect(unsafe_code, reason = "a call of the C library")]
            // SAFETY: `mallopt` takes two integers, and a setting that it does not know changes nothing.
            let is_set = unsafe { libc::mallopt(parameter, value) };
            debug_assert_eq!(is_set, 1, "glibc knows parameter {parameter}");
        }
    }
}
