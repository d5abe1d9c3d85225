//! LoRA dropout: which numbers an adapter's layers do not see during one training step.

use candle_core::{Result, Tensor};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::attach::attach;
use super::lora::Projection;

/// The dropout of one forward. Masks are a function of the key and of the layer, so that a training run can be
/// continued bit for bit.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    /// Share of the numbers that become 0; the others grow by 1 / (1 − rate). In `0.0..1.0`.
    pub rate: f64,
    /// What distinguishes this forward from every other one, for instance seed and step.
    pub key: [u64; 2],
}

impl Dropout {
    /// `x` as the update of one linear layer sees it.
    ///
    /// # Errors
    /// If the device has no memory.
    pub fn apply(&self, x: &Tensor, layer_idx: usize, projection: Projection) -> Result<Tensor> {
        if self.rate == 0.0 {
            return Ok(x.clone());
        }
        let factors = self.factors(x.elem_count(), layer_idx, projection);
        let factors = Tensor::from_vec(factors, x.shape(), x.device())?;
        let dropped = (x.detach() * &factors)?;
        attach([x], dropped, move |grad| Ok([(grad * &factors)?]))
    }

    fn factors(&self, len: usize, layer_idx: usize, projection: Projection) -> Vec<f32> {
        let mut seed = [0; 32];
        let words = [self.key[0], self.key[1], layer_idx as u64, projection as u64];
        for (place, word) in seed.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        let mut draws = vec![0u8; 2 * len];
        ChaCha8Rng::from_seed(seed).fill_bytes(&mut draws);
        let threshold = (self.rate * 65_536.0).round() as u32;
        let kept = (1.0 / (1.0 - self.rate)) as f32;
        let (draws, _) = draws.as_chunks::<2>();
        let factor = |draw: &[u8; 2]| {
            if u32::from(u16::from_le_bytes(*draw)) < threshold { 0.0 } else { kept }
        };
        draws.iter().map(factor).collect()
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    const DROPOUT: Dropout = Dropout { rate: 0.05, key: [1, 2] };

    #[test]
    fn the_share_of_zeros_is_the_rate_and_the_mean_stays() {
        let factors = DROPOUT.factors(200_000, 3, Projection::Key);
        let zeros = factors.iter().filter(|&&f| f == 0.0).count();
        // Binomial(200,000, 0.05) has a standard deviation of 97.
        assert!(zeros.abs_diff(10_000) < 500, "{zeros}");
        let mean = factors.iter().sum::<f32>() / 200_000.0;
        assert!((mean - 1.0).abs() < 0.003, "{mean}");
    }

    #[test]
    fn masks_repeat_with_their_key_and_with_nothing_else() {
        let mask =
            |dropout: &Dropout, layer_idx, projection| dropout.factors(500, layer_idx, projection);
        let first = mask(&DROPOUT, 0, Projection::Query);
        assert_eq!(first, mask(&DROPOUT, 0, Projection::Query));
        assert_ne!(first, mask(&DROPOUT, 1, Projection::Query));
        assert_ne!(first, mask(&DROPOUT, 0, Projection::Value));
        assert_ne!(first, mask(&Dropout { key: [1, 3], ..DROPOUT }, 0, Projection::Query));
    }

    #[test]
    fn the_gradient_passes_where_the_number_passed() {
        let x = Var::ones((4, 50), candle_core::DType::F32, &Device::Cpu).unwrap();
        let dropout = Dropout { rate: 0.5, ..DROPOUT };
        let y = dropout.apply(&x, 0, Projection::Query).unwrap();
        let grads = y.sum_all().unwrap().backward().unwrap();
        let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(flat(grads.get(&x).unwrap()), flat(&y));
    }
}
