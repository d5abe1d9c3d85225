//! AdamW with clipping by the global norm. candle-nn's own cannot be saved and continued, so this one's state is public.

use candle_core::{Result, Tensor, Var};

/// What does not change during a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Decay of the first moment. By default, 0.9.
    pub beta1: f64,
    /// Decay of the second moment. By default, 0.999.
    pub beta2: f64,
    /// Added to the root of the second moment. By default, 1e-8 (table 2).
    pub eps: f64,
    /// Decoupled weight decay, per step and unit of learning rate. By default, 0.01.
    pub weight_decay: f64,
    /// Largest global norm of a step's gradient. By default, 1.0.
    pub clip: f64,
}

impl Default for AdamW {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01, clip: 1.0 }
    }
}

/// The moments of one variable, of its shape.
#[derive(Clone, Debug)]
pub struct Moments {
    /// Decaying mean of the gradient.
    pub first: Tensor,
    /// Decaying mean of its square.
    pub second: Tensor,
}

impl Moments {
    /// Those before the first step.
    ///
    /// # Errors
    /// If the device has no memory.
    pub fn zeros(variable: &Var) -> Result<Self> {
        Ok(Self { first: variable.zeros_like()?, second: variable.zeros_like()? })
    }
}

impl AdamW {
    /// One step: `gradients[i]` and `moments[i]` belong to `variables[i]`, and `done` steps came before. Returns the
    /// gradient's norm before clipping; if it is not finite, nothing was changed.
    ///
    /// # Errors
    /// If the device fails.
    pub fn step(
        &self,
        variables: &[Var],
        moments: &mut [Moments],
        gradients: &[Tensor],
        rate: StepRate,
    ) -> Result<f64> {
        let norm = global_norm(gradients)?;
        if !norm.is_finite() {
            return Ok(norm);
        }
        // As in PyTorch's `clip_grad_norm_`.
        let clip = (self.clip / (norm + 1e-6)).min(1.0);
        let step = (rate.done + 1) as i32;
        let bias1 = 1.0 - self.beta1.powi(step);
        let bias2 = 1.0 - self.beta2.powi(step);
        for ((variable, moments), gradient) in variables.iter().zip(moments).zip(gradients) {
            let gradient = (gradient * clip)?;
            moments.first = blend(&moments.first, &gradient, self.beta1)?;
            moments.second = blend(&moments.second, &gradient.sqr()?, self.beta2)?;
            let denominator = ((&moments.second / bias2)?.sqrt()? + self.eps)?;
            let update = ((&moments.first / bias1)? / denominator)?;
            let decayed = (variable.as_tensor() * (1.0 - rate.learning_rate * self.weight_decay))?;
            variable.set(&(decayed - (update * rate.learning_rate)?)?)?;
        }
        Ok(norm)
    }
}

/// Where in the run a step is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepRate {
    /// Steps before this one.
    pub done: usize,
    /// The rate of this one.
    pub learning_rate: f64,
}

/// `beta · old + (1 − beta) · new`.
fn blend(old: &Tensor, new: &Tensor, beta: f64) -> Result<Tensor> {
    (old * beta)? + (new * (1.0 - beta))?
}

/// The Euclidean norm of all numbers of all tensors.
fn global_norm(tensors: &[Tensor]) -> Result<f64> {
    let mut squares = 0.0;
    for tensor in tensors {
        squares += f64::from(tensor.sqr()?.sum_all()?.to_scalar::<f32>()?);
    }
    Ok(squares.sqrt())
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn a_gradient_that_is_not_finite_changes_nothing() {
        let variable = Var::new(&[1f32, 2.0], &Device::Cpu).unwrap();
        let mut moments = [Moments::zeros(&variable).unwrap()];
        let gradient = Tensor::new(&[f32::NAN, 0.0], &Device::Cpu).unwrap();
        let rate = StepRate { done: 0, learning_rate: 0.1 };
        let variables = [variable];
        let norm = AdamW::default().step(&variables, &mut moments, &[gradient], rate).unwrap();
        assert!(norm.is_nan());
        assert_eq!(variables[0].to_vec1::<f32>().unwrap(), [1.0, 2.0]);
        assert_eq!(moments[0].first.to_vec1::<f32>().unwrap(), [0.0, 0.0]);
    }
}
