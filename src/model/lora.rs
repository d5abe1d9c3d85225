//! Low-rank adapters, applied beside frozen weights and never merged into them.
//!
//! So one copy of the weights serves the base role (without the adapter) and the security role (with it).

use std::collections::HashMap;

use candle_core::Tensor;

use super::Error;
use super::dropout::Dropout;

/// A projection of an attention block that an adapter may touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Projection {
    /// Query.
    Query,
    /// Key.
    Key,
    /// Value.
    Value,
    /// Output.
    Output,
}

/// The low-rank update of one linear layer: `y += scale · (x · downᵀ) · upᵀ`.
#[derive(Clone, Debug)]
pub struct Lora {
    /// `[r, in]`; PEFT's `lora_A`.
    pub down: Tensor,
    /// `[out, r]`; PEFT's `lora_B`.
    pub up: Tensor,
    /// α / r.
    pub scale: f64,
}

impl Lora {
    /// The update for `x: [T, in]`, as `[T, out]`.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor, Error> {
        Ok((x.matmul(&self.down.t()?)?.matmul(&self.up.t()?)? * self.scale)?)
    }
}

/// The update of one linear layer in one forward.
#[derive(Clone, Copy, Debug)]
pub struct Dropped<'a> {
    /// The update.
    pub lora: &'a Lora,
    /// Which numbers it does not see, and of which layer it is; absent outside of training.
    pub dropout: Option<(Dropout, usize, Projection)>,
}

impl Dropped<'_> {
    /// The update for `x: [T, in]`, as `[T, out]`.
    ///
    /// # Errors
    /// If the shapes do not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor, Error> {
        match self.dropout {
            Some((dropout, layer_idx, projection)) => {
                self.lora.forward(&dropout.apply(x, layer_idx, projection)?)
            }
            None => self.lora.forward(x),
        }
    }
}

/// An adapter: updates by layer and projection.
#[derive(Clone, Debug, Default)]
pub struct Adapter {
    updates: HashMap<(usize, Projection), Lora>,
}

impl Adapter {
    /// Adds the update of one linear layer, replacing an earlier one.
    pub fn insert(&mut self, layer_idx: usize, projection: Projection, lora: Lora) {
        self.updates.insert((layer_idx, projection), lora);
    }

    /// The update of one linear layer, if there is one.
    pub fn get(&self, layer_idx: usize, projection: Projection) -> Option<&Lora> {
        self.updates.get(&(layer_idx, projection))
    }
}
