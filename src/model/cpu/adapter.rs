//! A low-rank adapter as slices, in the order in which [`crate::kernel::low_rank`] reads it.

use std::collections::BTreeMap;

use crate::kernel::low_rank::add_low_rank;
use crate::model::Error;
use crate::model::lora::{Adapter, Lora, Projection};

/// An adapter on the CPU: updates by layer and projection.
#[derive(Debug)]
pub(super) struct CpuAdapter {
    updates: BTreeMap<(usize, Projection), Update>,
}

/// The update of one linear layer.
#[derive(Debug)]
pub(super) struct Update {
    /// `[r, in]`.
    down: Vec<f32>,
    /// `[r, out]`.
    up: Vec<f32>,
    scale: f32,
}

impl CpuAdapter {
    /// Copies an adapter's numbers.
    ///
    /// # Errors
    /// If they cannot be read from their device.
    pub(super) fn new(adapter: &Adapter) -> Result<Self, Error> {
        let updates = adapter
            .iter()
            .map(|(layer_idx, projection, lora)| Ok(((layer_idx, projection), Update::new(lora)?)));
        Ok(Self { updates: updates.collect::<Result<_, Error>>()? })
    }

    /// The update of one linear layer, if there is one.
    pub(super) fn get(&self, layer_idx: usize, projection: Projection) -> Option<&Update> {
        self.updates.get(&(layer_idx, projection))
    }
}

impl Update {
    fn new(lora: &Lora) -> Result<Self, Error> {
        let numbers = |tensor: &candle_core::Tensor| -> Result<Vec<f32>, Error> {
            Ok(tensor.contiguous()?.flatten_all()?.to_vec1()?)
        };
        Ok(Self {
            down: numbers(&lora.down)?,
            up: numbers(&lora.up.t()?)?,
            scale: lora.scale as f32,
        })
    }

    /// Adds the update for a row `x: [in]` to `y: [out]`.
    pub(super) fn add(&self, x: &[f32], y: &mut [f32]) {
        add_low_rank(x, &self.down, &self.up, self.scale, y);
    }
}
