//! How many tokens to draft per round, from what rounds were measured to give and to take.
//!
//! With acceptance `a`, a round of `k` drafts gives `1 + a + … + a^(k−1)` tokens on average: its first token in any
//! case, each further one if all drafts before it were accepted. It takes `k` forwards of the security model and one of
//! the base over `k` tokens. The `k` with the most tokens per second is chosen.
//!
//! Pure arithmetic: durations come in as arguments. What is decoded does not depend on it.

use std::time::Duration;

use crate::config::{DraftTokens, MAX_DRAFT_TOKENS};

/// Acceptance before anything was measured: what the default pair shows on code.
const PRIOR_ACCEPTANCE: f64 = 0.8;

/// How much one more proposal changes the acceptance: about the last thirty count.
const ACCEPTANCE_WEIGHT: f64 = 1.0 / 32.0;

/// What is left of a measured time's weight one round later.
const MEMORY: f64 = 0.97;

/// What one more token in a forward of the base costs, as a part of what the forward costs anyway, before that was
/// measured: a forward mostly waits for the weights, which are read once for all of its tokens.
const PRIOR_SLOPE: f64 = 0.1;

/// Weight of that prior: as much as two rounds that differ by one draft.
const PRIOR_SLOPE_WEIGHT: f64 = 1.0;

/// Cost of a forward of the base, in forwards of the security model, before either was measured.
const PRIOR_BASE_COST: f64 = 2.5;

/// No time counts more than this many times what was expected: the machine may have been busy with something else. Where
/// it is slower for good, a few rounds show it.
const OUTLIER: f64 = 3.0;

/// What one round gave and took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Tokens that were drafted, k.
    pub n_drafts: usize,
    /// Of these, how many were accepted.
    pub n_accepted: usize,
    /// 1 if one was rejected, else 0; the drafts behind it were not looked at.
    pub n_rejected: usize,
    /// Absent where they say nothing about other rounds.
    pub times: Option<Times>,
}

/// What the forwards of one round took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// All drafts.
    pub draft: Duration,
    /// The base's forward over as many tokens, and the acceptance.
    pub verify: Duration,
}

/// Chooses how many tokens the next round drafts.
#[derive(Clone, Debug)]
pub struct DraftLength {
    /// What the user wants. By default, `auto`.
    pub setting: DraftTokens,
    acceptance: f64,
    /// Seconds of one draft.
    draft: Trend,
    /// Seconds of verifying so many drafts.
    verify: Trend,
}

impl Default for DraftLength {
    fn default() -> Self {
        Self {
            setting: DraftTokens::default(),
            acceptance: PRIOR_ACCEPTANCE,
            draft: Trend::default(),
            verify: Trend::default(),
        }
    }
}

impl DraftLength {
    /// What a user wants, before anything was measured.
    pub fn new(setting: DraftTokens) -> Self {
        Self { setting, ..Self::default() }
    }

    /// Whether the user wants the plain step, and no rounds.
    pub fn is_plain(&self) -> bool {
        self.setting == DraftTokens::Fixed(1)
    }

    /// How many tokens to draft where there is room for `room`; at least 1.
    pub fn choose(&self, room: usize) -> usize {
        let most = room.clamp(1, MAX_DRAFT_TOKENS);
        match self.setting {
            DraftTokens::Fixed(n_drafts) => n_drafts.clamp(1, most),
            DraftTokens::Auto => self.fastest(most),
        }
    }

    /// The share of proposals that are accepted, as far as is known.
    pub fn acceptance(&self) -> f64 {
        self.acceptance
    }

    /// Tokens per second of rounds of `n_drafts`; before anything was measured, per forward of the security model.
    pub fn tokens_per_second(&self, n_drafts: usize) -> f64 {
        let (draft, verify) = match (self.draft.mean(), self.verify.mean()) {
            (Some(draft), Some(_)) => (draft, self.verify.at(n_drafts)),
            _ => (1.0, PRIOR_BASE_COST * (1.0 + PRIOR_SLOPE * n_drafts as f64)),
        };
        expected_tokens(self.acceptance, n_drafts) / (n_drafts as f64 * draft + verify)
    }

    fn fastest(&self, most: usize) -> usize {
        let speed = |n_drafts: &usize| self.tokens_per_second(*n_drafts);
        let best = (1..=most).max_by(|a, b| speed(a).total_cmp(&speed(b)));
        best.expect("1 is always among the choices")
    }

    /// Takes note of what a round gave and took.
    pub fn learn(&mut self, outcome: Outcome) {
        for _ in 0..outcome.n_accepted {
            self.acceptance += ACCEPTANCE_WEIGHT * (1.0 - self.acceptance);
        }
        for _ in 0..outcome.n_rejected {
            self.acceptance -= ACCEPTANCE_WEIGHT * self.acceptance;
        }
        if let Some(Times { draft, verify }) = outcome.times {
            self.draft.add(1, draft.as_secs_f64() / outcome.n_drafts as f64);
            self.verify.add(outcome.n_drafts, verify.as_secs_f64());
        }
    }
}

/// `Σ aⁱ` for `i < k`: the tokens that `k` drafts give on average.
fn expected_tokens(acceptance: f64, n_drafts: usize) -> f64 {
    (0..n_drafts as i32).map(|i| acceptance.powi(i)).sum()
}

/// A line through measured times by least squares, `fixed + slope · n`, in which older ones count less.
#[derive(Clone, Copy, Debug, Default)]
struct Trend {
    /// Weighted sums of 1, n, n², t and n·t.
    weight: f64,
    n: f64,
    n_n: f64,
    t: f64,
    n_t: f64,
}

impl Trend {
    fn add(&mut self, n: usize, seconds: f64) {
        let t = if self.mean().is_some() { seconds.min(OUTLIER * self.at(n)) } else { seconds };
        let n = n as f64;
        for (sum, new) in [
            (&mut self.weight, 1.0),
            (&mut self.n, n),
            (&mut self.n_n, n * n),
            (&mut self.t, t),
            (&mut self.n_t, n * t),
        ] {
            *sum = MEMORY * *sum + new;
        }
    }

    /// The mean time; none before the first.
    fn mean(&self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.t / self.weight)
    }

    /// The time expected for `n`. The slope is pulled towards the prior one, so that it is known before different `n`
    /// have been tried.
    fn at(&self, n: usize) -> f64 {
        let (mean_n, mean_t) = (self.n / self.weight, self.t / self.weight);
        let spread = self.n_n - self.n * mean_n;
        let shared = self.n_t - self.n * mean_t;
        let prior = mean_t * PRIOR_SLOPE / (1.0 + PRIOR_SLOPE * mean_n);
        let slope = (shared + PRIOR_SLOPE_WEIGHT * prior) / (spread + PRIOR_SLOPE_WEIGHT);
        // More tokens never take less time, nor does the first one come for nothing.
        let slope = slope.clamp(0.0, mean_t / mean_n);
        mean_t + slope * (n as f64 - mean_n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a machine takes, in ms.
    struct Machine {
        draft: f64,
        fixed: f64,
        per_row: f64,
    }

    impl Machine {
        fn times(&self, k: usize) -> Times {
            let ms = |ms: f64| Duration::from_secs_f64(ms / 1e3);
            let verify = ms(self.fixed + self.per_row * k as f64);
            Times { draft: ms(self.draft * k as f64), verify }
        }

        /// The best k if everything were known.
        fn best(&self, acceptance: f64) -> usize {
            let speed = |&k: &usize| {
                let Times { draft, verify } = self.times(k);
                expected_tokens(acceptance, k) / (draft + verify).as_secs_f64()
            };
            (1..=MAX_DRAFT_TOKENS).max_by(|a, b| speed(a).total_cmp(&speed(b))).unwrap()
        }
    }

    /// Rounds of which every `1 / (1 − acceptance)`-th proposal is rejected, evenly spread.
    fn rounds(
        length: &mut DraftLength,
        machine: &Machine,
        acceptance: f64,
        n: usize,
    ) -> Vec<usize> {
        let mut debt = 0.0;
        let mut chosen = Vec::new();
        for _ in 0..n {
            let k = length.choose(usize::MAX);
            let (mut n_accepted, mut n_rejected) = (0, 0);
            while n_accepted + n_rejected < k && n_rejected == 0 {
                debt += 1.0 - acceptance;
                if debt >= 1.0 {
                    debt -= 1.0;
                    n_rejected = 1;
                } else {
                    n_accepted += 1;
                }
            }
            let times = Some(machine.times(k));
            length.learn(Outcome { n_drafts: k, n_accepted, n_rejected, times });
            chosen.push(k);
        }
        chosen
    }

    #[test]
    fn expected_tokens_are_counted_one_by_one() {
        // Of 0, 1, … accepted drafts, with the rejected position's token and without one when all are accepted.
        for (a, k) in [(0.0, 4), (0.5, 1), (0.7, 3), (0.9, 8), (1.0, 5)] {
            let rejected = |i: usize| f64::powi(a, i as i32) * (1.0 - a) * (i + 1) as f64;
            let counted = (0..k).map(rejected).sum::<f64>() + f64::powi(a, k as i32) * k as f64;
            assert!((expected_tokens(a, k) - counted).abs() < 1e-12, "a = {a}, k = {k}");
        }
    }

    #[test]
    fn the_length_settles_near_the_best_one() {
        for (draft, fixed, per_row) in [(12.0, 28.0, 3.0), (40.0, 45.0, 4.0), (10.0, 30.0, 30.0)] {
            let machine = Machine { draft, fixed, per_row };
            for acceptance in [0.1, 0.5, 0.8, 0.9, 0.98] {
                let mut length = DraftLength::default();
                let chosen = rounds(&mut length, &machine, acceptance, 400);
                let best = machine.best(acceptance);
                let settled = chosen[200..].iter().filter(|k| k.abs_diff(best) <= 1).count();
                assert!(
                    settled > 180,
                    "{draft} {fixed} {per_row}, {acceptance}: {best} {chosen:?}"
                );
                assert!((length.acceptance() - acceptance).abs() < 0.1);
            }
        }
    }

    #[test]
    fn it_follows_when_acceptance_changes() {
        let machine = Machine { draft: 12.0, fixed: 28.0, per_row: 3.0 };
        let mut length = DraftLength::default();
        rounds(&mut length, &machine, 0.98, 100);
        assert!(length.choose(8) >= 6);
        rounds(&mut length, &machine, 0.05, 100);
        assert_eq!(length.choose(8), 1);
        rounds(&mut length, &machine, 0.98, 100);
        assert!(length.choose(8) >= 6, "one draft per round is enough to notice");
    }

    #[test]
    fn a_hiccup_changes_little() {
        let machine = Machine { draft: 12.0, fixed: 28.0, per_row: 3.0 };
        let mut length = DraftLength::default();
        rounds(&mut length, &machine, 0.9, 100);
        let (before, k) = (length.tokens_per_second(4), length.choose(8));
        let second = Duration::from_secs(1);
        let times = Some(Times { draft: second, verify: 30 * second });
        length.learn(Outcome { n_drafts: k, n_accepted: k, n_rejected: 0, times });
        assert!(length.tokens_per_second(4) > 0.85 * before);
        assert!(length.choose(8).abs_diff(k) <= 1);
    }

    #[test]
    fn the_room_and_the_setting_bound_it() {
        let auto = DraftLength::default();
        let fixed = |n| DraftLength::new(DraftTokens::Fixed(n));
        assert!((2..=MAX_DRAFT_TOKENS).contains(&auto.choose(100)), "{}", auto.choose(100));
        assert_eq!(auto.choose(1), 1);
        assert_eq!(fixed(5).choose(100), 5);
        assert_eq!(fixed(5).choose(3), 3);
        assert!(fixed(1).is_plain() && !auto.is_plain());
    }
}
