//! Weights on their way into the first-level cache before they are multiplied.
//!
//! A line is asked for with every line that is read. Without that, eight rows take more than twice the time of one: the
//! processor's own prefetching falls behind where much is computed per line. Asked for in a burst per block, they gain
//! little, for there are only so many places for lines on their way.

use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

/// How far ahead: about two blocks of Q4_K, which is better than one and as good as four.
const AHEAD_BYTES: usize = 4736;

/// Asks for the line that is as far behind the beginning of `bytes` as it takes to fetch one.
#[inline(always)]
pub(super) fn fetch_ahead(bytes: &[u8]) {
    let address = bytes.as_ptr().wrapping_add(AHEAD_BYTES);
    #[expect(unsafe_code, reason = "prefetching takes a pointer")]
    // SAFETY: prefetching has no effect but on the cache, and does not fault wherever the address leads.
    unsafe {
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
}
