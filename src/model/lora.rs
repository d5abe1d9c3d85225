//! Low-rank adapters, applied beside frozen weights and never merged into them.
//!
//! So one copy of the weights serves the base role (without the adapter) and the security role (with it). Files are
//! read and written by [`peft`].

pub mod peft;

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::Error;
use super::config::Config;
use super::dropout::Dropout;

/// A projection of an attention block that an adapter may touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
        // Scaled where it is narrow.
        let narrow = (x.matmul(&self.down.t()?)? * self.scale)?;
        Ok(narrow.matmul(&self.up.t()?)?)
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
    updates: BTreeMap<(usize, Projection), Lora>,
}

/// What a new adapter is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraSettings {
    /// Width r of every update.
    pub rank: usize,
    /// α; updates are scaled by α / r.
    pub alpha: f64,
    /// Which projections of every layer get an update.
    pub projections: Vec<Projection>,
}

impl Adapter {
    /// An adapter for all layers that changes nothing yet, as PEFT initialises it: `down` uniform within ±1/√in, which is
    /// Kaiming's bound for a = √5 (PEFT's `reset_lora_parameters`), and `up` zeros. Every number is a function of
    /// (seed, layer, projection, place in the tensor) alone.
    ///
    /// # Errors
    /// If the device fails.
    pub fn initial(
        config: &Config,
        settings: &LoraSettings,
        seed: u64,
        device: &Device,
    ) -> Result<Self, Error> {
        let LoraSettings { rank, alpha, ref projections } = *settings;
        let mut adapter = Self::default();
        for layer_idx in 0..config.n_layers {
            for &projection in projections {
                let [outputs, inputs] = projection.shape(config);
                let key = DrawKey { seed, layer_idx, projection };
                let down = key.uniform(rank * inputs, (inputs as f32).sqrt().recip());
                let lora = Lora {
                    down: Tensor::from_vec(down, (rank, inputs), device)?,
                    up: Tensor::zeros((outputs, rank), DType::F32, device)?,
                    scale: alpha / rank as f64,
                };
                adapter.insert(layer_idx, projection, lora);
            }
        }
        Ok(adapter)
    }

    /// The same updates, each times `strength`: 0 changes nothing, 1 is this adapter.
    pub fn times(mut self, strength: f32) -> Self {
        for lora in self.updates.values_mut() {
            lora.scale *= f64::from(strength);
        }
        self
    }

    /// Adds the update of one linear layer, replacing an earlier one.
    pub fn insert(&mut self, layer_idx: usize, projection: Projection, lora: Lora) {
        self.updates.insert((layer_idx, projection), lora);
    }

    /// The update of one linear layer, if there is one.
    pub fn get(&self, layer_idx: usize, projection: Projection) -> Option<&Lora> {
        self.updates.get(&(layer_idx, projection))
    }

    /// All updates: by layer, and within a layer query, key, value, output.
    pub fn iter(&self) -> impl Iterator<Item = (usize, Projection, &Lora)> {
        self.updates.iter().map(|(&(layer_idx, projection), lora)| (layer_idx, projection, lora))
    }
}

impl Projection {
    /// All of them, in the order of [`Adapter::iter`].
    pub const ALL: [Self; 4] = [Self::Query, Self::Key, Self::Value, Self::Output];

    /// The shape `[out, in]` of this projection's weights.
    pub fn shape(self, config: &Config) -> [usize; 2] {
        let Config { n_heads, n_kv_heads, head_dim, model_dim, .. } = *config;
        match self {
            Self::Query => [n_heads * head_dim, model_dim],
            Self::Key | Self::Value => [n_kv_heads * head_dim, model_dim],
            Self::Output => [model_dim, n_heads * head_dim],
        }
    }
}

/// Names the initial numbers of one update.
struct DrawKey {
    seed: u64,
    layer_idx: usize,
    projection: Projection,
}

impl DrawKey {
    /// `n` numbers, uniform in `[-bound, bound)`.
    fn uniform(&self, n: usize, bound: f32) -> Vec<f32> {
        let mut generator = ChaCha8Rng::seed_from_u64(self.seed);
        let n_projections = Projection::ALL.len();
        generator.set_stream((self.layer_idx * n_projections + self.projection as usize) as u64);
        // The top 24 bits are all that an f32 in [0, 1) can hold evenly.
        let mut unit = || (generator.next_u32() >> 8) as f32 / (1u32 << 24) as f32;
        (0..n).map(|_| (2.0 * unit() - 1.0) * bound).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::family::Family;

    fn config() -> Config {
        Config {
            family: Family::Qwen2,
            n_layers: 3,
            n_heads: 4,
            n_kv_heads: 2,
            head_dim: 8,
            model_dim: 64,
            hidden_dim: 128,
            context: 32,
            norm_eps: 1e-6,
            rope_base: 10_000.0,
            rope_scale: 1.0,
            rope_factors: Vec::new(),
        }
    }

    fn initial(seed: u64, projections: &[Projection]) -> Adapter {
        let settings = LoraSettings { rank: 4, alpha: 8.0, projections: projections.to_vec() };
        Adapter::initial(&config(), &settings, seed, &Device::Cpu).unwrap()
    }

    fn numbers(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn a_new_adapter_changes_nothing_and_fits_every_layer() {
        let adapter = initial(7, &Projection::ALL);
        let places = adapter.iter().map(|(layer, projection, _)| (layer, projection));
        let expected = (0..3).flat_map(|layer| Projection::ALL.map(|p| (layer, p)));
        assert!(places.eq(expected));
        for (_, projection, lora) in adapter.iter() {
            let [outputs, inputs] = projection.shape(&config());
            assert_eq!(lora.down.dims(), [4, inputs]);
            assert_eq!(lora.up.dims(), [outputs, 4]);
            assert_eq!(lora.scale, 2.0);
            let x = Tensor::ones((2, inputs), DType::F32, &Device::Cpu).unwrap();
            assert!(numbers(&lora.forward(&x).unwrap()).iter().all(|&y| y == 0.0));
        }
    }

    #[test]
    fn initial_numbers_are_uniform_within_kaimings_bound() {
        let adapter = initial(7, &Projection::ALL);
        let down = |projection| numbers(&adapter.get(1, projection).unwrap().down);
        let all: Vec<f32> = [Projection::Query, Projection::Key, Projection::Value]
            .into_iter()
            .flat_map(down)
            .collect();
        let bound = 1.0 / 64f32.sqrt();
        assert!(all.iter().all(|x| (-bound..bound).contains(x)));
        let mean = all.iter().sum::<f32>() / all.len() as f32;
        let variance = all.iter().map(|x| x * x).sum::<f32>() / all.len() as f32;
        // 768 numbers: five standard errors of the mean, and of the variance b²/3.
        assert!(mean.abs() < 0.014, "{mean}");
        assert!((variance / (bound * bound / 3.0) - 1.0).abs() < 0.17, "{variance}");
    }

    #[test]
    fn initial_numbers_depend_on_their_own_key_alone() {
        let (all, value) = (initial(7, &Projection::ALL), initial(7, &[Projection::Value]));
        let down = |adapter: &Adapter, layer| {
            numbers(&adapter.get(layer, Projection::Value).unwrap().down)
        };
        assert_eq!(down(&all, 2), down(&value, 2));
        assert_ne!(down(&all, 2), down(&all, 1));
        assert_ne!(down(&all, 2), down(&initial(8, &Projection::ALL), 2));
    }
}
