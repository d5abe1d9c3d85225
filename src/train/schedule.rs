//! The learning rate over the steps of a run.

/// Linear warm-up, then linear decay to zero, as in the paper's published training code (transformers'
/// `get_linear_schedule_with_warmup`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// The highest rate, reached after the warm-up.
    pub peak: f64,
    /// Steps of the warm-up.
    pub warmup: usize,
    /// Steps of the whole run.
    pub total: usize,
}

impl Schedule {
    /// The rate of the step that follows `done` steps.
    pub fn rate(&self, done: usize) -> f64 {
        if done < self.warmup {
            return self.peak * done as f64 / self.warmup as f64;
        }
        let left = self.total.saturating_sub(done) as f64;
        self.peak * left / self.total.saturating_sub(self.warmup).max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_to_the_peak_and_falls_to_zero() {
        let schedule = Schedule { peak: 2.0, warmup: 4, total: 12 };
        let rates: Vec<f64> = [0, 1, 4, 8, 12, 99].iter().map(|&n| schedule.rate(n)).collect();
        assert_eq!(rates, [0.0, 0.5, 2.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn a_run_shorter_than_its_warmup_never_divides_by_zero() {
        let schedule = Schedule { peak: 1.0, warmup: 50, total: 10 };
        assert!((0..60).all(|n| schedule.rate(n).is_finite()));
    }
}
