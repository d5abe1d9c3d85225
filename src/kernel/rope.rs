//! Rotary position embedding of one token's heads, in both pairings that model families use.

use pulp::Arch;

/// Rotates each head of `heads: [n, D]` by the angles with these cosines and sines, `[D/2]` each; number `i` of a head is
/// paired with number `i + D/2`.
///
/// # Panics
/// If the heads are not whole.
pub fn rotate_halves(heads: &mut [f32], cos: &[f32], sin: &[f32]) {
    let half = cos.len();
    assert!(sin.len() == half && heads.len().is_multiple_of(2 * half), "whole heads");
    Arch::new().dispatch(|| {
        for head in heads.chunks_exact_mut(2 * half) {
            let (first, second) = head.split_at_mut(half);
            for (((a, b), c), s) in first.iter_mut().zip(second).zip(cos).zip(sin) {
                (*a, *b) = (*a * c - *b * s, *a * s + *b * c);
            }
        }
    });
}

/// As [`rotate_halves`], where number `2·i` of a head is paired with number `2·i + 1`.
///
/// # Panics
/// If the heads are not whole.
pub fn rotate_neighbours(heads: &mut [f32], cos: &[f32], sin: &[f32]) {
    let half = cos.len();
    assert!(sin.len() == half && heads.len().is_multiple_of(2 * half), "whole heads");
    for head in heads.chunks_exact_mut(2 * half) {
        let (pairs, _) = head.as_chunks_mut::<2>();
        for (([a, b], c), s) in pairs.iter_mut().zip(cos).zip(sin) {
            (*a, *b) = (*a * c - *b * s, *a * s + *b * c);
        }
    }
}
