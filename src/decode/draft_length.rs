//! When to stop drafting, from what rounds were measured to give and to take.
//!
//! A further draft gives a further token if every draft before it is accepted, and takes a forward of the security
//! model and a row more in the base's. It is worth it while that is more tokens per second than rounds give on average.
//! How likely a draft is accepted depends on how sure the security model was of it, so that is learned for a few classes
//! of `q(t)`: drafting goes on where text is predictable and ends behind the first guess.
//!
//! Pure arithmetic: durations come in as arguments. What is decoded does not depend on it.

use std::time::Duration;

use crate::config::{DraftTokens, MAX_DRAFT_TOKENS};

/// Upper bounds of `q(t)` of all classes but the last.
const BOUNDS: [f64; 3] = [0.5, 0.8, 0.95];

/// Acceptance of each class before anything was measured: about what the default pair shows on code.
const PRIOR_ACCEPTANCE: [f64; BOUNDS.len() + 1] = [0.5, 0.75, 0.9, 0.98];

/// Proposals that this prior counts as: few, since classes differ between texts and temperatures.
const PRIOR_PROPOSALS: f64 = 4.0;

/// What is left of a proposal's weight one proposal of its class later: about the last thirty count.
const PROPOSAL_MEMORY: f64 = 31.0 / 32.0;

/// What is left of a measured time's weight one round later.
const MEMORY: f64 = 0.97;

/// What one more token in a forward of the base costs, as a part of what the forward costs anyway, before that was
/// measured: a forward mostly waits for the weights, which are read once for all of its tokens.
const PRIOR_SLOPE: f64 = 0.1;

/// Weight of that prior: as much as two rounds that differ by one draft.
const PRIOR_SLOPE_WEIGHT: f64 = 1.0;

/// The chance that all drafts so far are accepted, below which no other is drafted before anything was measured: where a
/// forward of the base costs two and a half of the security model, and rounds give 2.4 tokens.
const PRIOR_LEAST_CHANCE: f64 = 0.5;

/// No time counts more than this many times what was expected: the machine may have been busy with something else. Where
/// it is slower for good, a few rounds show it.
const OUTLIER: f64 = 3.0;

/// What one round gave and took.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Tokens that were drafted, k.
    pub n_drafts: usize,
    /// `q(t)` of the drafts that were looked at, and whether they were accepted; the drafts behind a rejected one are not
    /// looked at.
    pub decided: Vec<(f64, bool)>,
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

/// Decides how many tokens a round drafts.
#[derive(Clone, Debug)]
pub struct DraftLength {
    /// What the user wants. By default, `auto`.
    pub setting: DraftTokens,
    /// By class of `q(t)`.
    acceptance: [Acceptance; PRIOR_ACCEPTANCE.len()],
    /// Seconds of one draft.
    draft: Trend,
    /// Seconds of verifying so many drafts.
    verify: Trend,
    /// What recent rounds gave and took.
    speed: Speed,
}

/// Recent proposals, the prior ones among them.
#[derive(Clone, Copy, Debug)]
struct Acceptance {
    proposed: f64,
    accepted: f64,
}

impl Acceptance {
    fn prior(share: f64) -> Self {
        Self { proposed: PRIOR_PROPOSALS, accepted: PRIOR_PROPOSALS * share }
    }

    fn add(&mut self, is_accepted: bool) {
        self.proposed = PROPOSAL_MEMORY * self.proposed + 1.0;
        self.accepted = PROPOSAL_MEMORY * self.accepted + f64::from(u8::from(is_accepted));
    }

    fn share(self) -> f64 {
        self.accepted / self.proposed
    }
}

/// Tokens and seconds of recent rounds.
#[derive(Clone, Copy, Debug, Default)]
struct Speed {
    tokens: f64,
    seconds: f64,
}

impl Default for DraftLength {
    fn default() -> Self {
        Self {
            setting: DraftTokens::default(),
            acceptance: PRIOR_ACCEPTANCE.map(Acceptance::prior),
            draft: Trend::default(),
            verify: Trend::default(),
            speed: Speed::default(),
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

    /// Most tokens to draft where there is room for `room`; at least 1.
    pub fn most(&self, room: usize) -> usize {
        let most = room.clamp(1, MAX_DRAFT_TOKENS);
        match self.setting {
            DraftTokens::Fixed(n_drafts) => n_drafts.clamp(1, most),
            DraftTokens::Auto => most,
        }
    }

    /// Whether one more draft is worth its time, after drafts of these `q(t)`.
    pub fn is_worth_another(&self, drafted: &[f64]) -> bool {
        if self.setting != DraftTokens::Auto {
            return true;
        }
        let chance: f64 = drafted.iter().map(|&q| self.acceptance(q)).product();
        chance > self.least_chance(drafted.len())
    }

    /// The share of drafts with this `q(t)` that are accepted, as far as is known.
    pub fn acceptance(&self, q: f64) -> f64 {
        self.acceptance[class_of(q)].share()
    }

    /// The chance of being of use from which on another draft gives more tokens per second than rounds do on average.
    fn least_chance(&self, n_drafts: usize) -> f64 {
        let (Some(draft), Some(_)) = (self.draft.mean(), self.verify.mean()) else {
            return PRIOR_LEAST_CHANCE;
        };
        let row = self.verify.at(n_drafts + 1) - self.verify.at(n_drafts);
        (draft + row) * self.speed.tokens / self.speed.seconds
    }

    /// Takes note of what a round gave and took.
    pub fn learn(&mut self, outcome: &Outcome) {
        for &(q, is_accepted) in &outcome.decided {
            self.acceptance[class_of(q)].add(is_accepted);
        }
        if let Some(Times { draft, verify }) = outcome.times {
            let (draft, verify) = (draft.as_secs_f64(), verify.as_secs_f64());
            let seconds = self.draft.add(1, draft / outcome.n_drafts as f64)
                * outcome.n_drafts as f64
                + self.verify.add(outcome.n_drafts, verify);
            let Speed { tokens, seconds: all } = self.speed;
            self.speed = Speed {
                tokens: MEMORY * tokens + outcome.decided.len() as f64,
                seconds: MEMORY * all + seconds,
            };
        }
    }
}

/// Index of the class of `q(t)`.
fn class_of(q: f64) -> usize {
    BOUNDS.iter().take_while(|bound| q >= **bound).count()
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
    /// Returns the time as it counts.
    fn add(&mut self, n: usize, seconds: f64) -> f64 {
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
        t
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
    }

    /// Text of which a part is predictable.
    #[derive(Clone, Copy, Debug)]
    struct Text {
        /// Share of sure tokens.
        sure: f64,
        /// `q(t)` of sure and other tokens.
        q: [f64; 2],
        /// The chance that they are accepted.
        acceptance: [f64; 2],
    }

    /// Numbers in [0, 1) without a pattern (Knuth's MMIX).
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> f64 {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 11) as f64 / (1u64 << 53) as f64
        }
    }

    /// So many rounds: tokens per second, and how many were drafted in each.
    fn rounds(
        length: &mut DraftLength,
        machine: &Machine,
        text: Text,
        n: usize,
    ) -> (f64, Vec<usize>) {
        let mut random = Random(7);
        let (mut n_tokens, mut seconds, mut lengths) = (0, 0.0, Vec::new());
        for _ in 0..n {
            let mut drafted = Vec::new();
            let mut will_be_accepted = Vec::new();
            while drafted.is_empty()
                || drafted.len() < length.most(usize::MAX) && length.is_worth_another(&drafted)
            {
                let class = usize::from(random.next() >= text.sure);
                drafted.push(text.q[class]);
                will_be_accepted.push(random.next() < text.acceptance[class]);
            }
            let n_accepted = will_be_accepted.iter().take_while(|accepted| **accepted).count();
            let n_decided = drafted.len().min(n_accepted + 1);
            let decided = drafted.iter().copied().zip(will_be_accepted).take(n_decided).collect();
            let times = machine.times(drafted.len());
            length.learn(&Outcome { n_drafts: drafted.len(), decided, times: Some(times) });
            n_tokens += n_decided;
            seconds += (times.draft + times.verify).as_secs_f64();
            lengths.push(drafted.len());
        }
        (n_tokens as f64 / seconds, lengths)
    }

    fn alike(acceptance: f64) -> Text {
        Text { sure: 1.0, q: [acceptance; 2], acceptance: [acceptance; 2] }
    }

    fn machines() -> [Machine; 3] {
        [(12.0, 28.0, 3.0), (40.0, 45.0, 4.0), (10.0, 30.0, 30.0)]
            .map(|(draft, fixed, per_row)| Machine { draft, fixed, per_row })
    }

    /// The speed of the best fixed length.
    fn best_fixed(machine: &Machine, text: Text) -> f64 {
        let speed = |k| rounds(&mut DraftLength::new(DraftTokens::Fixed(k)), machine, text, 4000).0;
        (1..=MAX_DRAFT_TOKENS).map(speed).fold(0.0, f64::max)
    }

    #[test]
    fn where_all_tokens_are_alike_it_is_about_as_fast_as_the_best_fixed_length() {
        for machine in machines() {
            for acceptance in [0.1, 0.4, 0.7, 0.85, 0.9, 0.98] {
                let (speed, _) =
                    rounds(&mut DraftLength::default(), &machine, alike(acceptance), 4000);
                let best = best_fixed(&machine, alike(acceptance));
                assert!(speed > 0.93 * best, "a = {acceptance}: {speed} of {best}");
            }
        }
    }

    #[test]
    fn where_guesses_are_known_it_is_faster_than_any_fixed_length() {
        let text = Text { sure: 0.85, q: [0.98, 0.4], acceptance: [0.97, 0.4] };
        let machine = Machine { draft: 22.0, fixed: 55.0, per_row: 5.0 };
        let (speed, _) = rounds(&mut DraftLength::default(), &machine, text, 4000);
        let best = best_fixed(&machine, text);
        assert!(speed > 1.08 * best, "{speed} of {best}");
    }

    #[test]
    fn it_follows_when_acceptance_changes() {
        let machine = Machine { draft: 12.0, fixed: 28.0, per_row: 3.0 };
        let mut length = DraftLength::default();
        // The model is as sure as ever, but is no longer right.
        let text = |acceptance| Text { acceptance: [acceptance; 2], ..alike(0.97) };
        let mean = |lengths: &[usize]| lengths.iter().sum::<usize>() as f64 / lengths.len() as f64;
        let mut last = |text| mean(&rounds(&mut length, &machine, text, 200).1[150..]);
        assert!(last(text(0.98)) > 5.0);
        assert!(last(text(0.05)) < 1.5);
        assert!(last(text(0.98)) > 5.0, "one draft per round is enough to notice");
    }

    #[test]
    fn a_hiccup_changes_little() {
        let machine = Machine { draft: 12.0, fixed: 28.0, per_row: 3.0 };
        let mut length = DraftLength::default();
        rounds(&mut length, &machine, alike(0.9), 100);
        let before = length.least_chance(3);
        let second = Duration::from_secs(1);
        let times = Some(Times { draft: second, verify: 30 * second });
        length.learn(&Outcome { n_drafts: 4, decided: vec![(0.9, true); 4], times });
        let after = length.least_chance(3);
        assert!((after / before - 1.0).abs() < 0.2, "{before} {after}");
    }

    #[test]
    fn the_room_and_the_setting_bound_it() {
        let auto = DraftLength::default();
        let fixed = |n| DraftLength::new(DraftTokens::Fixed(n));
        assert_eq!((auto.most(100), auto.most(1)), (MAX_DRAFT_TOKENS, 1));
        assert_eq!((fixed(5).most(100), fixed(5).most(3)), (5, 3));
        assert!(fixed(1).is_plain() && !auto.is_plain());
        assert!(auto.is_worth_another(&[0.99]) && !auto.is_worth_another(&[0.2; 3]));
        assert!(fixed(5).is_worth_another(&[0.01; 4]), "a fixed length is kept");
    }

    #[test]
    fn classes_are_told_by_their_bounds() {
        let classes = [0.0, 0.49, 0.5, 0.79, 0.8, 0.95, 1.0].map(class_of);
        assert_eq!(classes, [0, 0, 1, 1, 2, 3, 3]);
    }
}
