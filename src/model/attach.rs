//! A backward pass of our own for a result that was computed outside of candle's graph.
//!
//! candle's fast operations (norm, rotary embedding, softmax) have no backward, and its product computes the gradient
//! of frozen weights as well, which costs a third of a training step. [`attach`] lets [`super::gradient`] run any
//! forward it likes, on any device, and hand the graph its result. A result that is a tensor already is copied for that;
//! one that is still a vector ([`Computed::Numbers`]) is not.

use std::sync::{Mutex, PoisonError};

use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, CustomOp2, CustomOp3, Device, Layout, MetalStorage, Result,
    Shape, Storage, Tensor,
};

/// From the gradient of a result to those of the inputs.
type Backward<const N: usize> = Box<dyn Fn(&Tensor) -> Result<[Tensor; N]> + Send + Sync>;

/// A result without a graph.
pub(super) enum Computed {
    /// On any device.
    Tensor(Tensor),
    /// On the CPU, row-major.
    Numbers(Vec<f32>, Shape),
}

impl From<Tensor> for Computed {
    fn from(tensor: Tensor) -> Self {
        Self::Tensor(tensor)
    }
}

impl Computed {
    fn into_tensor(self) -> Result<Tensor> {
        match self {
            Self::Tensor(tensor) => Ok(tensor),
            Self::Numbers(numbers, shape) => Tensor::from_vec(numbers, shape, &Device::Cpu),
        }
    }
}

/// An operation whose result is known.
pub(super) struct Known<const N: usize> {
    value: Value,
    backward: Backward<N>,
}

/// A result that an operation hands out.
enum Value {
    /// As often as it is asked for; contiguous, without a graph.
    Tensor(Tensor),
    /// Once: candle runs an operation's forward when it is applied, and never again.
    Numbers(Mutex<Option<Vec<f32>>>, Shape),
}

/// `value`, as a function of `inputs` whose gradient `backward` computes; `value` itself if no input is on a path to a
/// variable, as in every completion.
///
/// # Errors
/// If the device fails.
pub(super) fn attach<const N: usize>(
    inputs: [&Tensor; N],
    value: impl Into<Computed>,
    backward: impl Fn(&Tensor) -> Result<[Tensor; N]> + Send + Sync + 'static,
) -> Result<Tensor>
where
    Known<N>: Operation<N>,
{
    let value = value.into();
    if !inputs.iter().any(|input| input.track_op()) {
        return value.into_tensor();
    }
    let value = match value {
        Computed::Tensor(tensor) => Value::Tensor(tensor.contiguous()?),
        Computed::Numbers(numbers, shape) => Value::Numbers(Mutex::new(Some(numbers)), shape),
    };
    Known { value, backward: Box::new(backward) }.apply(inputs)
}

/// candle has one trait per number of inputs.
pub(super) trait Operation<const N: usize> {
    /// The result, with this operation in its graph.
    fn apply(self, inputs: [&Tensor; N]) -> Result<Tensor>;
}

impl Operation<1> for Known<1> {
    fn apply(self, [x]: [&Tensor; 1]) -> Result<Tensor> {
        x.apply_op1(self)
    }
}

impl Operation<2> for Known<2> {
    fn apply(self, [x, y]: [&Tensor; 2]) -> Result<Tensor> {
        x.apply_op2(y, self)
    }
}

impl Operation<3> for Known<3> {
    fn apply(self, [x, y, z]: [&Tensor; 3]) -> Result<Tensor> {
        x.apply_op3(y, z, self)
    }
}

impl<const N: usize> Known<N> {
    /// A copy of the value where `pick` finds it on the expected device.
    fn copy<S>(&self, pick: impl FnOnce(Storage) -> Option<S>) -> Result<(S, Shape)> {
        let Value::Tensor(value) = &self.value else {
            candle_core::bail!("inputs and result are on different devices")
        };
        let (storage, layout) = value.storage_and_layout();
        match pick(storage.try_clone(layout)?) {
            Some(storage) => Ok((storage, value.shape().clone())),
            None => candle_core::bail!("inputs and result are on different devices"),
        }
    }

    fn cpu(&self) -> Result<(CpuStorage, Shape)> {
        if let Value::Numbers(numbers, shape) = &self.value {
            let numbers = numbers.lock().unwrap_or_else(PoisonError::into_inner).take();
            let Some(numbers) = numbers else { candle_core::bail!("a result is taken once") };
            return Ok((CpuStorage::F32(numbers), shape.clone()));
        }
        self.copy(|storage| if let Storage::Cpu(storage) = storage { Some(storage) } else { None })
    }

    fn cuda(&self) -> Result<(CudaStorage, Shape)> {
        self.copy(|storage| if let Storage::Cuda(storage) = storage { Some(storage) } else { None })
    }

    fn metal(&self) -> Result<(MetalStorage, Shape)> {
        self.copy(
            |storage| if let Storage::Metal(storage) = storage { Some(storage) } else { None },
        )
    }
}

impl CustomOp1 for Known<1> {
    fn name(&self) -> &'static str {
        "known-of-one"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.cpu()
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        self.cuda()
    }

    fn metal_fwd(&self, _: &MetalStorage, _: &Layout) -> Result<(MetalStorage, Shape)> {
        self.metal()
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let [x] = (self.backward)(grad)?;
        Ok(Some(x))
    }
}

impl CustomOp2 for Known<2> {
    fn name(&self) -> &'static str {
        "known-of-two"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.cpu()
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.cuda()
    }

    fn metal_fwd(
        &self,
        _: &MetalStorage,
        _: &Layout,
        _: &MetalStorage,
        _: &Layout,
    ) -> Result<(MetalStorage, Shape)> {
        self.metal()
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [x, y] = (self.backward)(grad)?;
        Ok((Some(x), Some(y)))
    }
}

impl CustomOp3 for Known<3> {
    fn name(&self) -> &'static str {
        "known-of-three"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.cpu()
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.cuda()
    }

    fn metal_fwd(
        &self,
        _: &MetalStorage,
        _: &Layout,
        _: &MetalStorage,
        _: &Layout,
        _: &MetalStorage,
        _: &Layout,
    ) -> Result<(MetalStorage, Shape)> {
        self.metal()
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [x, y, z] = (self.backward)(grad)?;
        Ok((Some(x), Some(y), Some(z)))
    }
}
