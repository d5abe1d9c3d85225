//! The transformer's operations, each with its gradient, so that an adapter can be trained through the very weights and
//! the very forward that complete code.
//!
//! Forwards are candle's. Backwards run on the CPU as one loop each (`kernel`); elsewhere as candle's own operations,
//! which are also what the tests hold the loops against.

use candle_core::{CpuStorage, D, Device, InplaceOp1, Layout, Result, Storage, Tensor};
use candle_nn::ops::{silu, softmax_last_dim};
use candle_nn::rotary_emb;

use super::attach::{Computed, attach};
use super::family::Rope;
use crate::kernel::norm::rms_norm_gradient;
use crate::kernel::softmax::{causal_softmax, causal_softmax_gradient};
use crate::kernel::swiglu;

/// RMS norm of the rows of `x: [T, E]` with `weight: [E]`.
///
/// # Errors
/// If the shapes do not fit.
pub(super) fn rms_norm(x: &Tensor, weight: &Tensor, eps: f32) -> Result<Tensor> {
    let y = candle_nn::ops::rms_norm(&x.detach(), weight, eps)?;
    let (input, weight) = (x.detach(), weight.clone());
    attach([x], y, move |grad| Ok([rms_norm_backward(&input, &weight, eps, grad)?]))
}

fn rms_norm_backward(x: &Tensor, weight: &Tensor, eps: f32, grad: &Tensor) -> Result<Tensor> {
    if x.device().is_cpu() {
        let dx = read([x, weight, grad], |[x, w, grad]| rms_norm_gradient(x, w, eps, grad))?;
        return Tensor::from_vec(dx, x.shape(), x.device());
    }
    rms_norm_by_tensors(x, weight, eps, grad)
}

fn rms_norm_by_tensors(x: &Tensor, weight: &Tensor, eps: f32, grad: &Tensor) -> Result<Tensor> {
    let r = (x.sqr()?.mean_keepdim(D::Minus1)? + f64::from(eps))?.sqrt()?.recip()?;
    let weighted = grad.broadcast_mul(weight)?;
    let back = ((&weighted * x)?.mean_keepdim(D::Minus1)? * r.powf(3.0)?)?;
    weighted.broadcast_mul(&r)? - x.broadcast_mul(&back)?
}

/// Rotary embedding of `x: [1, heads, T, D]` with `cos` and `sin` of its positions, `[T, D/2]` each.
///
/// # Errors
/// If the shapes do not fit.
pub(super) fn rope(x: &Tensor, cos: &Tensor, sin: &Tensor, pairing: Rope) -> Result<Tensor> {
    let rotate = move |x: &Tensor, cos: &Tensor, sin: &Tensor| match pairing {
        Rope::Halves => rotary_emb::rope(x, cos, sin),
        Rope::Interleaved => rotary_emb::rope_i(x, cos, sin),
    };
    let y = rotate(&x.detach(), cos, sin)?;
    let (cos, back) = (cos.clone(), sin.neg()?);
    attach([x], y, move |grad| Ok([rotate(&grad.contiguous()?, &cos, &back)?]))
}

/// `silu(gate) · up`, element by element.
///
/// # Errors
/// If the shapes differ.
pub(super) fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    let (g, u) = (gate.detach(), up.detach());
    let y = match g.device().is_cpu() {
        true => {
            let y = read([&g, &u], |[g, u]| swiglu::swiglu(g, u))?;
            Computed::Numbers(y, g.shape().clone())
        }
        false => (silu(&g)? * &u)?.into(),
    };
    attach([gate, up], y, move |grad| swiglu_backward(&g, &u, grad))
}

fn swiglu_backward(gate: &Tensor, up: &Tensor, grad: &Tensor) -> Result<[Tensor; 2]> {
    if gate.device().is_cpu() {
        let grads = read([gate, up, grad], |[g, u, grad]| swiglu::swiglu_gradient(g, u, grad))?;
        let [to_gate, to_up] = grads.map(|g| Tensor::from_vec(g, gate.shape(), gate.device()));
        return Ok([to_gate?, to_up?]);
    }
    swiglu_by_tensors(gate, up, grad)
}

fn swiglu_by_tensors(gate: &Tensor, up: &Tensor, grad: &Tensor) -> Result<[Tensor; 2]> {
    let s = candle_nn::ops::sigmoid(gate)?;
    let slope = (&s * (((1.0 - &s)? * gate)? + 1.0)?)?;
    Ok([((grad * up)? * slope)?, (grad * (gate * s)?)?])
}

/// Causal attention of a whole sequence with itself, for training: `query: [H, T, D]` over `keys, values: [K, T, D]`, as
/// `[H, T, D]`. The weights are computed again for the backward instead of being kept, `H·T²` numbers per block.
///
/// # Errors
/// If the shapes do not fit.
pub(super) fn self_attention(query: &Tensor, keys: &Tensor, values: &Tensor) -> Result<Tensor> {
    let [q, k, v] = [query, keys, values].map(Tensor::detach);
    let heads = Heads::of(&q, &k)?;
    let mixed = heads.weights(&q, &k)?.matmul(&v)?.reshape(q.shape())?;
    attach([query, keys, values], mixed, move |grad| heads.backward([&q, &k, &v], grad))
}

/// The sizes of an attention; the H/K query heads that share a key head are stacked as rows of one product.
#[derive(Clone, Copy)]
struct Heads {
    n_kv_heads: usize,
    rows: usize,
    n_tokens: usize,
    head_dim: usize,
}

impl Heads {
    fn of(query: &Tensor, keys: &Tensor) -> Result<Self> {
        let (n_heads, n_tokens, head_dim) = query.dims3()?;
        let n_kv_heads = keys.dim(0)?;
        Ok(Self { n_kv_heads, rows: n_heads / n_kv_heads * n_tokens, n_tokens, head_dim })
    }

    fn stacked(&self, x: &Tensor) -> Result<Tensor> {
        x.reshape((self.n_kv_heads, self.rows, self.head_dim))
    }

    fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }

    /// `[K, H/K · T, T]`.
    fn weights(&self, query: &Tensor, keys: &Tensor) -> Result<Tensor> {
        let scores = self.stacked(query)?.matmul(&keys.t()?)?;
        if scores.device().is_cpu() {
            let (n_tokens, scale) = (self.n_tokens, self.scale());
            change(&scores, |scores| causal_softmax(scores, n_tokens, scale))?;
            return Ok(scores);
        }
        let scores = (scores * f64::from(self.scale()))?;
        let by_head = (self.n_kv_heads * self.rows / self.n_tokens, self.n_tokens, self.n_tokens);
        let mask = causal_mask(self.n_tokens, 0, scores.device())?;
        let masked = scores.reshape(by_head)?.broadcast_add(&mask)?;
        softmax_last_dim(&masked)?.reshape(scores.shape())
    }

    fn backward(&self, [q, k, v]: [&Tensor; 3], grad: &Tensor) -> Result<[Tensor; 3]> {
        let weights = self.weights(q, k)?;
        let grad = self.stacked(&grad.contiguous()?)?;
        let to_values = weights.t()?.matmul(&grad)?;
        let to_scores = self.softmax_backward(&weights, grad.matmul(&v.t()?)?)?;
        let to_query = to_scores.matmul(k)?.reshape(q.shape())?;
        let to_keys = to_scores.t()?.matmul(&self.stacked(q)?)?;
        Ok([to_query, to_keys, to_values])
    }

    fn softmax_backward(&self, weights: &Tensor, grad: Tensor) -> Result<Tensor> {
        if weights.device().is_cpu() {
            let (n_tokens, scale) = (self.n_tokens, self.scale());
            read([weights], |[weights]| {
                change(&grad, |grad| causal_softmax_gradient(weights, grad, n_tokens, scale))
            })??;
            return Ok(grad);
        }
        let mean = (weights * &grad)?.sum_keepdim(D::Minus1)?;
        (weights * grad.broadcast_sub(&mean)?)? * f64::from(self.scale())
    }
}

/// 0 where token i (at `pos + i`) may see position s, −∞ elsewhere; `[1, T, pos + T]`.
///
/// # Errors
/// If the device has no memory.
pub(super) fn causal_mask(n_tokens: usize, pos: usize, device: &Device) -> Result<Tensor> {
    let total = pos + n_tokens;
    let entry = |s: usize, i: usize| if s > pos + i { f32::NEG_INFINITY } else { 0.0 };
    let mask: Vec<f32> = (0..n_tokens).flat_map(|i| (0..total).map(move |s| entry(s, i))).collect();
    Tensor::from_vec(mask, (1, n_tokens, total), device)
}

/// Lets `work` read tensors on the CPU as slices.
///
/// # Errors
/// If one of them is elsewhere, or does not hold `f32`.
pub fn read<const N: usize, R>(
    tensors: [&Tensor; N],
    work: impl FnOnce([&[f32]; N]) -> R,
) -> Result<R> {
    let mut contiguous = Vec::with_capacity(N);
    for tensor in tensors {
        contiguous.push(tensor.contiguous()?);
    }
    let guards: Vec<_> = contiguous.iter().map(Tensor::storage_and_layout).collect();
    let mut slices = [&[][..]; N];
    for (slice, (storage, layout)) in slices.iter_mut().zip(&guards) {
        let Storage::Cpu(storage) = &**storage else { candle_core::bail!("not on the CPU") };
        *slice = within(storage.as_slice()?, layout);
    }
    Ok(work(slices))
}

fn within<'a>(data: &'a [f32], layout: &Layout) -> &'a [f32] {
    let (start, end) = layout.contiguous_offsets().expect("the tensor was made contiguous");
    &data[start..end]
}

/// Changes a contiguous tensor on the CPU in place; it must have no graph, and no other holder who minds.
///
/// # Errors
/// If it is elsewhere, or does not hold `f32`.
pub fn change(tensor: &Tensor, work: impl Fn(&mut [f32])) -> Result<()> {
    tensor.inplace_op1(&Change(work))
}

struct Change<F>(F);

impl<F: Fn(&mut [f32])> InplaceOp1 for Change<F> {
    fn name(&self) -> &'static str {
        "change"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let CpuStorage::F32(data) = storage else { candle_core::bail!("not f32") };
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("not contiguous")
        };
        (self.0)(&mut data[start..end]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;

    fn random(shape: &[usize]) -> Var {
        Var::randn(0f32, 1f32, shape, &Device::Cpu).unwrap()
    }

    fn largest_difference(a: &Tensor, b: &Tensor) -> f32 {
        let difference = (a - b).unwrap().abs().unwrap().flatten_all().unwrap();
        difference.max(0).unwrap().to_scalar::<f32>().unwrap()
    }

    /// Compares value and gradients of `ours` with those of the same function in candle's differentiable operations.
    fn check<const N: usize>(
        shapes: [&[usize]; N],
        ours: impl Fn([&Tensor; N]) -> Result<Tensor>,
        oracle: impl Fn([&Tensor; N]) -> Result<Tensor>,
    ) {
        let inputs = shapes.map(random);
        let tensors = inputs.each_ref().map(|var| var.as_tensor());
        let (ours, oracle) = (ours(tensors).unwrap(), oracle(tensors).unwrap());
        assert!(largest_difference(&ours, &oracle) < 1e-5);
        let upstream = Tensor::randn(0f32, 1f32, ours.shape(), &Device::Cpu).unwrap();
        let [ours, oracle] =
            [ours, oracle].map(|y| (y * &upstream).unwrap().sum_all().unwrap().backward().unwrap());
        for input in &inputs {
            let [ours, oracle] = [&ours, &oracle].map(|grads| grads.get(input).unwrap());
            assert!(largest_difference(ours, oracle) < 1e-4, "{ours} {oracle}");
        }
    }

    #[test]
    fn rms_norm_has_the_gradient_of_its_formula() {
        let weight = Tensor::randn(0f32, 1f32, 24, &Device::Cpu).unwrap();
        let formula = |[x]: [&Tensor; 1]| {
            let r = (x.sqr()?.mean_keepdim(D::Minus1)? + 1e-5)?.sqrt()?;
            x.broadcast_div(&r)?.broadcast_mul(&weight)
        };
        check([&[5, 24]], |[x]| rms_norm(x, &weight, 1e-5), formula);
        let (x, grad) = (random(&[5, 24]), random(&[5, 24]));
        let by_tensors = rms_norm_by_tensors(&x, &weight, 1e-5, &grad).unwrap();
        let by_loop = rms_norm_backward(&x, &weight, 1e-5, &grad).unwrap();
        assert!(largest_difference(&by_tensors, &by_loop) < 1e-5);
    }

    #[test]
    fn swiglu_has_the_gradient_of_its_formula() {
        check([&[3, 40], &[3, 40]], |[g, u]| swiglu(g, u), |[g, u]| g.silu()? * u);
        let [gate, up, grad] = [0, 1, 2].map(|_| random(&[3, 40]));
        let by_tensors = swiglu_by_tensors(&gate, &up, &grad).unwrap();
        let by_loop = swiglu_backward(&gate, &up, &grad).unwrap();
        for (a, b) in by_tensors.iter().zip(&by_loop) {
            assert!(largest_difference(a, b) < 1e-5);
        }
    }

    #[test]
    fn both_rotary_embeddings_have_the_gradient_of_their_formulas() {
        let angles = Tensor::randn(0f32, 1f32, (7, 4), &Device::Cpu).unwrap();
        let (cos, sin) = (angles.cos().unwrap(), angles.sin().unwrap());
        let shape: &[usize] = &[1, 3, 7, 8];
        let slow = |[x]: [&Tensor; 1]| rotary_emb::rope_slow(x, &cos, &sin);
        check([shape], |[x]| rope(x, &cos, &sin, Rope::Halves), slow);
        let slow = |[x]: [&Tensor; 1]| rotary_emb::rope_i_slow(x, &cos, &sin);
        check([shape], |[x]| rope(x, &cos, &sin, Rope::Interleaved), slow);
    }

    #[test]
    fn self_attention_has_the_gradient_of_its_formula() {
        let formula = |[q, k, v]: [&Tensor; 3]| {
            let both = |x: &Tensor| -> Result<Tensor> {
                let halves = [0, 1].map(|i| {
                    let head = x.narrow(0, i, 1)?;
                    Tensor::cat(&[&head, &head], 0)
                });
                let [a, b] = halves;
                Tensor::cat(&[&a?, &b?], 0)
            };
            let scores = (q.matmul(&both(k)?.t()?)? / 8f64.sqrt())?;
            let scores = scores.broadcast_add(&causal_mask(6, 0, q.device())?)?;
            let max = scores.max_keepdim(D::Minus1)?.detach();
            let exps = scores.broadcast_sub(&max)?.exp()?;
            exps.broadcast_div(&exps.sum_keepdim(D::Minus1)?)?.matmul(&both(v)?)
        };
        let ours = |[q, k, v]: [&Tensor; 3]| self_attention(q, k, v);
        check([&[4, 6, 8], &[2, 6, 8], &[2, 6, 8]], ours, formula);
    }
}
