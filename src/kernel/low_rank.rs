//! What is added to a row: another row, or a low-rank update, `y += scale · (x · downᵀ) · up`.

use pulp::Arch;

use super::sum::sum_pairs;

/// Adds the update of `x: [in]` to `y: [out]`; `down` is `[r, in]`, `up` is `[r, out]`. Every number is summed along the
/// rank in one order.
///
/// # Panics
/// If the lengths do not fit.
pub fn add_low_rank(x: &[f32], down: &[f32], up: &[f32], scale: f32, y: &mut [f32]) {
    assert!(down.len() * y.len() == up.len() * x.len(), "one rank");
    Arch::new().dispatch(|| {
        for (down, up) in down.chunks_exact(x.len()).zip(up.chunks_exact(y.len())) {
            let narrow = scale * sum_pairs(x, down, |x, d| x * d);
            for (y, u) in y.iter_mut().zip(up) {
                *y += narrow * u;
            }
        }
    });
}

/// `y += x`.
///
/// # Panics
/// If the lengths differ.
pub fn add(y: &mut [f32], x: &[f32]) {
    assert_eq!(y.len(), x.len(), "one length");
    for (y, x) in y.iter_mut().zip(x) {
        *y += x;
    }
}
