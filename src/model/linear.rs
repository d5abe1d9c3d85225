//! Linear layers: quantized or dense weights, an optional bias, and an optional low-rank update beside them.
//!
//! Weights are frozen: no gradient is computed for them, and a gradient flows through dense ones to what went in.

use std::sync::Arc;

use candle_core::quantized::{QMatMul, QTensor};
use candle_core::{D, DType, Device, Module, Tensor};
use rayon::prelude::*;

use super::Error;
use super::attach::{Computed, attach};
use super::gradient::read;
use super::lora::{Dropped, Lora};
use crate::kernel::bf16::{self, Bf16Matrix, Orientation};
use crate::kernel::quant::{Activations, InstructionSet, PackedMatrix, Product};

/// `y = x · Wᵀ + b`.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Weight,
    inputs: usize,
    /// Zeros at the end of every row of the weights, and so of what goes in.
    padding: usize,
    /// `[out]`.
    bias: Option<Tensor>,
}

/// How the weights of a linear layer are stored.
#[derive(Clone, Debug)]
enum Weight {
    /// Blocks of few-bit integers; no gradient flows into them.
    Quantized(QMatMul),
    /// `[out, in]`.
    Dense(Tensor),
    /// Rounded to bf16 and packed for the CPU's tiles.
    Tiles(Arc<Tiles>),
    /// Quantized forward, dequantized backward.
    Packed(Arc<Packed>),
}

/// A matrix W as it is stored, and as numbers.
#[derive(Debug)]
struct Packed {
    /// `x · Wᵀ`, `x` rounded to eight bits.
    forward: PackedMatrix,
    /// `y · W`; `[out, in]`.
    backward: Tensor,
}

/// A matrix W packed for both directions.
#[derive(Debug)]
struct Tiles {
    /// `x · Wᵀ`.
    forward: Bf16Matrix,
    /// `y · W`.
    backward: Bf16Matrix,
}

/// In which numbers dense weights are kept and multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// As candle does it on every device.
    F32,
    /// bf16 with f32 sums, in the tiles of the CPU ([`crate::kernel::bf16`]).
    Bf16,
    /// Forward as completions are decoded ([`crate::kernel::quant`]): the stored blocks times activations of eight bits.
    /// Backward in f32, as if nothing had been rounded (straight-through).
    Quantized,
}

impl Precision {
    /// The fastest for training on `device`.
    pub fn fastest(device: &Device) -> Self {
        match device {
            Device::Cpu if bf16::available() => Self::Bf16,
            Device::Cpu => Self::Quantized,
            _ => Self::F32,
        }
    }
}

impl Linear {
    /// A layer over quantized weights `[out, in + padding]`, whose padding is zeros, and a bias `[out]`.
    ///
    /// # Errors
    /// If the weights are no matrix, or the device fails.
    pub fn quantized(weight: QTensor, inputs: usize, bias: Option<Tensor>) -> Result<Self, Error> {
        let padding = weight.shape().dims2()?.1 - inputs;
        let weight = Weight::Quantized(QMatMul::from_qtensor(weight)?);
        Ok(Self { weight, inputs, padding, bias })
    }

    /// A layer over dense weights `[out, in]`, and a bias `[out]`.
    ///
    /// # Errors
    /// If the weights are no matrix.
    pub fn dense(weight: Tensor, bias: Option<Tensor>) -> Result<Self, Error> {
        let inputs = weight.dims2()?.1;
        Ok(Self { weight: Weight::Dense(weight), inputs, padding: 0, bias })
    }

    /// A layer that multiplies `forward` and lets gradients flow through `backward`, which are the same matrix
    /// `[out, in]`, and a bias `[out]`.
    pub fn packed(forward: PackedMatrix, backward: Tensor, bias: Option<Tensor>) -> Self {
        let inputs = forward.n_in();
        let weight = Weight::Packed(Arc::new(Packed { forward, backward }));
        Self { weight, inputs, padding: 0, bias }
    }

    /// A layer over dense weights `[out, in]` in `precision`, and a bias `[out]`; quantized ones come from
    /// [`Linear::packed`], and here stay as they are.
    ///
    /// # Errors
    /// If the weights are no matrix, or are not on the CPU where `precision` needs them there.
    pub fn frozen(
        weight: &Tensor,
        bias: Option<Tensor>,
        precision: Precision,
    ) -> Result<Self, Error> {
        let (out, inputs) = weight.dims2()?;
        if precision != Precision::Bf16 {
            return Self::dense(weight.clone(), bias);
        }
        let tiles = read([weight], |[weight]| {
            let pack = |orientation| Bf16Matrix::pack(weight, [out, inputs], orientation);
            Tiles { forward: pack(Orientation::Transposed), backward: pack(Orientation::AsStored) }
        })?;
        Ok(Self { weight: Weight::Tiles(Arc::new(tiles)), inputs, padding: 0, bias })
    }

    /// Does now what candle does with a layer's first product of so many rows: packing its weights for the CPU's
    /// instructions. Without it the first request would wait for that; and what was just read is still in the cache.
    ///
    /// # Errors
    /// If the device fails.
    pub fn warm_up(&self, rows: usize, device: &Device) -> Result<(), Error> {
        self.forward(&Tensor::zeros((rows, self.inputs), DType::F32, device)?, None).map(drop)
    }

    /// Width of what goes in.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// `x: [T, in]` → `[T, out]`, with `lora` added where there is one.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn forward(&self, x: &Tensor, lora: Option<&Lora>) -> Result<Tensor, Error> {
        self.forward_dropped(x, lora.map(|lora| Dropped { lora, dropout: None }))
    }

    /// [`Linear::forward`], where the low-rank update sees `x` with dropout.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn forward_dropped(&self, x: &Tensor, lora: Option<Dropped<'_>>) -> Result<Tensor, Error> {
        let y = self.product(&x.detach())?;
        let weight = self.weight.clone();
        let y = attach([x], y, move |grad| Ok([weight.backward(grad)?]))?;
        match lora {
            Some(lora) => Ok((y + lora.forward(x)?)?),
            None => Ok(y),
        }
    }

    /// The gradient of the input, `[T, in]`, given that of the output, `[T, out]`.
    ///
    /// # Errors
    /// If the weights are quantized, or the shapes do not fit.
    pub fn backward(&self, grad: &Tensor) -> Result<Tensor, Error> {
        Ok(self.weight.backward(grad)?)
    }

    /// `x · Wᵀ + b`, outside of any graph.
    fn product(&self, x: &Tensor) -> Result<Computed, Error> {
        let y = match &self.weight {
            Weight::Quantized(weight) if self.padding > 0 => {
                weight.forward(&x.pad_with_zeros(D::Minus1, 0, self.padding)?)?
            }
            Weight::Quantized(weight) => weight.forward(x)?,
            Weight::Dense(weight) => x.matmul(&weight.t()?)?,
            Weight::Tiles(tiles) => return Ok(self.biased(multiply(x, &tiles.forward)?, x)?),
            Weight::Packed(packed) => {
                let y = read([x], |[x]| multiply_packed(x, &packed.forward))?;
                return Ok(self.biased(y, x)?);
            }
        };
        match &self.bias {
            Some(bias) => Ok(y.broadcast_add(bias)?.into()),
            None => Ok(y.into()),
        }
    }

    /// Adds the bias to rows of `y: [T, out]`.
    fn biased(&self, mut y: Vec<f32>, x: &Tensor) -> candle_core::Result<Computed> {
        let rows = x.dims2()?.0;
        if let Some(bias) = &self.bias {
            read([bias], |[bias]| {
                for row in y.chunks_exact_mut(bias.len()) {
                    row.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
                }
            })?;
        }
        let shape = (rows, y.len() / rows.max(1)).into();
        Ok(Computed::Numbers(y, shape))
    }
}

impl Weight {
    /// `grad · W`.
    fn backward(&self, grad: &Tensor) -> candle_core::Result<Tensor> {
        match self {
            Self::Quantized(_) => candle_core::bail!("no gradient flows through quantized weights"),
            Self::Dense(weight) => grad.matmul(weight),
            Self::Packed(packed) => grad.matmul(&packed.backward),
            Self::Tiles(tiles) => {
                let (rows, matrix) = (grad.dims2()?.0, &tiles.backward);
                Tensor::from_vec(multiply(grad, matrix)?, (rows, matrix.columns()), grad.device())
            }
        }
    }
}

/// `x · B` on the CPU, row-major.
fn multiply(x: &Tensor, matrix: &Bf16Matrix) -> candle_core::Result<Vec<f32>> {
    read([x], |[x]| matrix.multiply(x))
}

/// `x · Wᵀ` on the threads of the calling rayon pool, row-major.
fn multiply_packed(x: &[f32], matrix: &PackedMatrix) -> Vec<f32> {
    let mut y = vec![0.0; x.len() / matrix.n_in() * matrix.n_out()];
    let mut rounded = Activations::default();
    let writer = rounded.writer(x, matrix.n_in(), matrix.format().activation_blocks());
    let shares = 0..rayon::current_num_threads();
    shares.clone().into_par_iter().for_each(|_| writer.run());
    let product = Product::new(matrix, &rounded, &mut y, InstructionSet::detect());
    shares.into_par_iter().for_each(|_| product.run());
    y
}

#[cfg(test)]
mod tests {
    use candle_core::Var;
    use candle_core::quantized::GgmlDType;

    use super::*;
    use crate::kernel::quant::BlockFormat;

    #[test]
    fn a_packed_layer_multiplies_blocks_and_lets_gradients_through_numbers() {
        let (out, inputs, rows) = (48, 64, 5);
        let weights = Tensor::randn(0f32, 1f32, (out, inputs), &Device::Cpu).unwrap();
        let blocks = QTensor::quantize(&weights, GgmlDType::Q8_0).unwrap();
        let dense = blocks.dequantize(&Device::Cpu).unwrap();
        let bias = Tensor::randn(0f32, 1f32, out, &Device::Cpu).unwrap();
        let bytes = blocks.data().unwrap();
        let packed = PackedMatrix::pack(BlockFormat::Q8_0, &bytes, [out, inputs]).unwrap();
        let packed = Linear::packed(packed, dense.clone(), Some(bias.clone()));
        let dense = Linear::dense(dense, Some(bias)).unwrap();
        let x = Var::randn(0f32, 1f32, (rows, inputs), &Device::Cpu).unwrap();
        let [packed, dense] = [packed, dense].map(|layer| layer.forward(&x, None).unwrap());
        let largest = |x: &Tensor| {
            let largest = x.abs().unwrap().flatten_all().unwrap().max(0).unwrap();
            largest.to_scalar::<f32>().unwrap()
        };
        // Half a step of the largest activation, 1/254 of some 3, on 64 products of about 1.
        assert!(largest(&(&packed - &dense).unwrap()) < 0.3);
        assert!(largest(&(&packed - &dense).unwrap()) > 0.0, "activations are rounded");
        let upstream = Tensor::randn(0f32, 1f32, packed.shape(), &Device::Cpu).unwrap();
        let [packed, dense] = [packed, dense]
            .map(|y| (y * &upstream).unwrap().sum_all().unwrap().backward().unwrap());
        let difference = (packed.get(&x).unwrap() - dense.get(&x).unwrap()).unwrap();
        assert_eq!(largest(&difference), 0.0, "both go backward through the same numbers");
    }
}
