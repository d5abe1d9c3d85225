//! What chance decides about an example: draws keyed by (seed, epoch, sample, what for).

use crate::decode::Role;
use crate::decode::rng::Draws;

/// What a draw decides. Each has its own place among the draws of an epoch, so that none depends on another.
#[derive(Clone, Copy, Debug)]
pub(super) enum Choice {
    /// Where in the epoch the sample stands.
    Order,
    /// Left-to-right or fill-in-the-middle.
    Kind,
    /// Which of the changes becomes the middle.
    Group,
    /// At what kind of place the middle begins.
    StartKind,
    /// How many lines further up it begins.
    LinesAbove,
    /// Where among the places that are left it begins.
    Start,
    /// At what kind of place the middle ends.
    EndKind,
    /// How many lines further down it ends.
    LinesBelow,
}

/// Room for the choices of one epoch.
const CHOICES_PER_EPOCH: usize = 16;

/// All draws about one sample in one epoch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draw {
    draws: Draws,
    epoch: usize,
}

impl Draw {
    /// The draws for one key.
    pub(super) fn new(seed: u64, epoch: usize, sample: usize) -> Self {
        let sample = u32::try_from(sample).expect("a data set in memory has fewer samples");
        Self { draws: Draws { seed, sample }, epoch }
    }

    /// A number in `[0, 1)`.
    pub(super) fn uniform(self, choice: Choice) -> f64 {
        let position = self.epoch * CHOICES_PER_EPOCH + choice as usize;
        self.draws.uniform(position, Role::Security)
    }

    /// One of `0..n`, or 0 where `n` is 0.
    pub(super) fn below(self, choice: Choice, n: usize) -> usize {
        ((self.uniform(choice) * n as f64) as usize).min(n.saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_the_key_matters() {
        let reference = Draw::new(1, 2, 3).uniform(Choice::Order);
        assert_eq!(reference, Draw::new(1, 2, 3).uniform(Choice::Order));
        assert_ne!(reference, Draw::new(0, 2, 3).uniform(Choice::Order));
        assert_ne!(reference, Draw::new(1, 1, 3).uniform(Choice::Order));
        assert_ne!(reference, Draw::new(1, 2, 2).uniform(Choice::Order));
        assert_ne!(reference, Draw::new(1, 2, 3).uniform(Choice::Kind));
    }

    #[test]
    fn every_number_is_drawn_and_no_other() {
        let mut seen = [0; 4];
        for sample in 0..400 {
            seen[Draw::new(7, 0, sample).below(Choice::Start, 4)] += 1;
        }
        assert!(seen.iter().all(|&n| n > 60), "{seen:?}");
        assert_eq!(Draw::new(7, 0, 0).below(Choice::Start, 0), 0);
    }

    #[test]
    fn epochs_do_not_overlap() {
        assert!((Choice::LinesBelow as usize) < CHOICES_PER_EPOCH);
    }
}
