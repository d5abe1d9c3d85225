//! The gated activation of the feed-forward part, `silu(gate) · up`, and its gradient.

use pulp::Arch;
use rayon::prelude::*;

use super::exp::exp;

/// Numbers that one thread takes at a time.
const CHUNK: usize = 1 << 16;

/// `silu(gate) · up`, element by element.
///
/// # Panics
/// If the lengths differ.
pub fn swiglu(gate: &[f32], up: &[f32]) -> Vec<f32> {
    assert_eq!(gate.len(), up.len(), "a gate per number");
    let mut out = vec![0.0; gate.len()];
    let inputs = gate.par_chunks(CHUNK).zip(up.par_chunks(CHUNK));
    out.par_chunks_mut(CHUNK).zip(inputs).for_each(|(out, (gate, up))| {
        Arch::new().dispatch(|| {
            for ((out, g), u) in out.iter_mut().zip(gate).zip(up) {
                *out = g * sigmoid(*g) * u;
            }
        });
    });
    out
}

/// [`swiglu`] on this thread, in place of `gate`.
///
/// # Panics
/// If the lengths differ.
pub fn swiglu_in_place(gate: &mut [f32], up: &[f32]) {
    assert_eq!(gate.len(), up.len(), "a gate per number");
    Arch::new().dispatch(|| {
        for (g, u) in gate.iter_mut().zip(up) {
            *g = *g * sigmoid(*g) * u;
        }
    });
}

/// The gradients of `gate` and of `up`, given that of [`swiglu`]'s result.
///
/// # Panics
/// If the lengths differ.
pub fn swiglu_gradient(gate: &[f32], up: &[f32], grad: &[f32]) -> [Vec<f32>; 2] {
    assert!(gate.len() == up.len() && gate.len() == grad.len(), "equal lengths");
    let (mut to_gate, mut to_up) = (vec![0.0; gate.len()], vec![0.0; gate.len()]);
    let inputs = gate.par_chunks(CHUNK).zip(up.par_chunks(CHUNK)).zip(grad.par_chunks(CHUNK));
    let outputs = to_gate.par_chunks_mut(CHUNK).zip(to_up.par_chunks_mut(CHUNK));
    outputs.zip(inputs).for_each(|((to_gate, to_up), ((gate, up), grad))| {
        Arch::new().dispatch(|| {
            let inputs = gate.iter().zip(up).zip(grad);
            for ((to_gate, to_up), ((g, u), d)) in to_gate.iter_mut().zip(to_up).zip(inputs) {
                let s = sigmoid(*g);
                *to_gate = d * u * s * (1.0 + g * (1.0 - s));
                *to_up = d * g * s;
            }
        });
    });
    [to_gate, to_up]
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}
