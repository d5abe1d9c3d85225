//! Draws keyed by (seed, sample, position, role), not streamed.
//!
//! What a draw gives does not depend on how many draws came before it, so a run can be cut, resumed, or decoded several
//! tokens at a time, and still choose the same tokens.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::Role;

/// The source of all draws of one sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draws {
    /// Chosen by the caller: equal seeds give equal completions.
    pub seed: u64,
    /// Which of several samples of one prompt this is.
    pub sample: u32,
}

impl Draws {
    /// A number in `[0, 1)`, uniform over seeds, for the token at `position` drawn by `role`.
    pub fn uniform(self, position: usize, role: Role) -> f64 {
        // ChaCha is counter-based: key, stream and word position address any output directly.
        let mut generator = ChaCha8Rng::seed_from_u64(self.seed);
        let role = match role {
            Role::Base => 0,
            Role::Security => 1,
        };
        generator.set_stream(u64::from(self.sample) << 1 | role);
        generator.set_word_pos(position as u128 * 2);
        // The top 53 bits are all that an f64 in [0, 1) can hold evenly.
        (generator.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_depend_on_the_key_alone() {
        let draws = Draws { seed: 7, sample: 0 };
        let forwards: Vec<f64> = (0..50).map(|i| draws.uniform(i, Role::Base)).collect();
        let backwards: Vec<f64> = (0..50).rev().map(|i| draws.uniform(i, Role::Base)).collect();
        assert!(forwards.iter().eq(backwards.iter().rev()));
    }

    #[test]
    fn every_part_of_the_key_matters() {
        let reference = Draws { seed: 7, sample: 0 }.uniform(3, Role::Base);
        assert_ne!(reference, Draws { seed: 8, sample: 0 }.uniform(3, Role::Base));
        assert_ne!(reference, Draws { seed: 7, sample: 1 }.uniform(3, Role::Base));
        assert_ne!(reference, Draws { seed: 7, sample: 0 }.uniform(4, Role::Base));
        assert_ne!(reference, Draws { seed: 7, sample: 0 }.uniform(3, Role::Security));
    }

    #[test]
    fn draws_are_uniform() {
        let n = 20_000;
        let mut bins = [0u32; 20];
        for position in 0..n {
            let u = Draws { seed: 1, sample: 2 }.uniform(position, Role::Security);
            bins[(u * 20.0) as usize] += 1;
        }
        let expected = n as f64 / 20.0;
        let chi2: f64 = bins.iter().map(|&c| (f64::from(c) - expected).powi(2) / expected).sum();
        // 19 degrees of freedom: 43.8 is exceeded once in a thousand.
        assert!(chi2 < 43.8, "χ² = {chi2}");
    }
}
