//! Linear layers: quantized or dense weights, an optional bias, and an optional low-rank update beside them.

use candle_core::quantized::{QMatMul, QTensor};
use candle_core::{D, Module, Tensor};

use super::Error;
use super::lora::Lora;

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

    /// Width of what goes in.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// `x: [T, in]` → `[T, out]`, with `lora` added where there is one.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn forward(&self, x: &Tensor, lora: Option<&Lora>) -> Result<Tensor, Error> {
        let mut y = match &self.weight {
            Weight::Quantized(weight) if self.padding > 0 => {
                weight.forward(&x.pad_with_zeros(D::Minus1, 0, self.padding)?)?
            }
            Weight::Quantized(weight) => weight.forward(x)?,
            Weight::Dense(weight) => x.matmul(&weight.t()?)?,
        };
        if let Some(bias) = &self.bias {
            y = y.broadcast_add(bias)?;
        }
        match lora {
            Some(lora) => Ok((y + lora.forward(x)?)?),
            None => Ok(y),
        }
    }
}
