//! Logits → distribution → token.
//!
//! `warp(logits; T, top_p, min_prob)` is temperature, then nucleus, then softmax over what is left
//! (`docs/CO-DECODING.md`). At temperature 0 a role proposes its most likely token, and its probabilities are those of
//! the plain softmax.

use std::borrow::Cow;

use crate::config::Sampling;
use crate::kernel::logits::{
    SUM_EXP_ERROR, at_least, first_largest, largest, log_sum_exp, sum_exp,
};

use super::Error;

/// What one role thinks of one position.
#[derive(Clone, Debug)]
pub struct Distribution<'a> {
    probabilities: Probabilities<'a>,
    draw: Draw,
}

#[derive(Clone, Debug)]
enum Probabilities<'a> {
    /// The plain softmax: `exp(logits[t] − log_sum)`.
    Plain {
        /// `[V]`.
        logits: Cow<'a, [f32]>,
        log_sum: f64,
    },
    /// Warped: the tokens that are left, most likely first, with probabilities that sum to 1.
    Nucleus(Vec<(u32, f64)>),
}

/// How a token is taken from a distribution.
#[derive(Clone, Debug)]
enum Draw {
    MostLikely,
    Sample,
    /// From another distribution than the one that is asked for probabilities: these tokens, most likely first.
    From(Vec<(u32, f64)>),
}

impl<'a> Distribution<'a> {
    /// `warp(logits; …)`; at temperature 0 the plain softmax, drawn by its maximum. `logits: [V]`, of which −∞ stands
    /// for tokens that cannot come.
    ///
    /// # Errors
    /// If no logit is finite, or one is NaN or +∞.
    pub fn warped(logits: impl Into<Cow<'a, [f32]>>, sampling: &Sampling) -> Result<Self, Error> {
        let logits = logits.into();
        if sampling.temperature <= 0.0 {
            return Ok(Self { draw: Draw::MostLikely, ..Self::plain(logits)? });
        }
        let nucleus = nucleus(&logits, sampling)?;
        Ok(Self { probabilities: Probabilities::Nucleus(nucleus), draw: Draw::Sample })
    }

    /// The plain softmax, drawn by sampling; or by its maximum where `temperature` is 0.
    ///
    /// # Errors
    /// As [`Distribution::warped`].
    pub fn raw(logits: impl Into<Cow<'a, [f32]>>, temperature: f32) -> Result<Self, Error> {
        let draw = if temperature <= 0.0 { Draw::MostLikely } else { Draw::Sample };
        Ok(Self { draw, ..Self::plain(logits.into())? })
    }

    /// Drawn as [`Distribution::warped`] is, but with the probabilities of the plain softmax.
    ///
    /// # Errors
    /// As [`Distribution::warped`].
    pub fn drawn_warped(
        logits: impl Into<Cow<'a, [f32]>>,
        sampling: &Sampling,
    ) -> Result<Self, Error> {
        let logits = logits.into();
        if sampling.temperature <= 0.0 {
            return Self::warped(logits, sampling);
        }
        let draw = Draw::From(nucleus(&logits, sampling)?);
        Ok(Self { draw, ..Self::plain(logits)? })
    }

    fn plain(logits: Cow<'a, [f32]>) -> Result<Self, Error> {
        let max = finite_max(&logits)?;
        let log_sum = log_sum_exp(&logits, max);
        let probabilities = Probabilities::Plain { logits, log_sum };
        Ok(Self { probabilities, draw: Draw::Sample })
    }

    /// The probability of `token`; 0 for ids beyond the row.
    pub fn probability(&self, token: u32) -> f64 {
        match &self.probabilities {
            Probabilities::Plain { logits, log_sum } => {
                logits.get(token as usize).map_or(0.0, |&logit| (f64::from(logit) - log_sum).exp())
            }
            Probabilities::Nucleus(entries) => {
                entries.iter().find(|(id, _)| *id == token).map_or(0.0, |&(_, p)| p)
            }
        }
    }

    /// The token that `uniform` in `[0, 1)` falls on.
    pub fn draw(&self, uniform: f64) -> u32 {
        match (&self.probabilities, &self.draw) {
            (_, Draw::From(entries)) => pick(entries.iter().copied(), uniform),
            (Probabilities::Plain { logits, .. }, Draw::MostLikely) => first_largest(logits) as u32,
            (Probabilities::Plain { logits, log_sum }, Draw::Sample) => {
                let weights = logits.iter().enumerate();
                let weights = weights.map(|(id, &l)| (id as u32, (f64::from(l) - log_sum).exp()));
                pick(weights, uniform)
            }
            (Probabilities::Nucleus(entries), _) => pick(entries.iter().copied(), uniform),
        }
    }
}

/// Below `e` to this, 10⁵ weights vanish beside the largest one's 1 in an f64.
const LOG_NOTHING: f64 = -50.0;

/// `exp(x)` for `x ≤ 0`, but 0 below [`LOG_NOTHING`]. It saves most of the exponentials of a row.
fn weight_of(x: f64) -> f64 {
    if x < LOG_NOTHING { 0.0 } else { x.exp() }
}

/// The first token at which the running sum of probabilities exceeds `uniform`; the last possible one if rounding keeps
/// the sum below it.
fn pick(weights: impl Iterator<Item = (u32, f64)>, uniform: f64) -> u32 {
    let mut sum = 0.0;
    let mut last = 0;
    for (id, weight) in weights {
        if weight > 0.0 {
            sum += weight;
            last = id;
            if uniform < sum {
                break;
            }
        }
    }
    last
}

/// The smallest set of most likely tokens whose probabilities at this temperature reach `top_p`, less those below
/// `min_prob` (the most likely one always stays), renormalized. Most likely first, smaller ids first among equals.
fn nucleus(logits: &[f32], sampling: &Sampling) -> Result<Vec<(u32, f64)>, Error> {
    let warp = Warp { logits, max: finite_max(logits)?, sampling };
    let mut kept = warp.kept_by_estimate().unwrap_or_else(|| warp.kept());
    let sum: f64 = kept.iter().map(|(_, w)| w).sum();
    for (_, w) in &mut kept {
        *w /= sum;
    }
    Ok(kept)
}

/// Tokens with weights above the first of these are sorted; where they do not suffice, those above the next. Most rows
/// need a handful.
const FLOORS: [f64; 4] = [1e-3, 1e-6, 1e-9, 0.0];

/// A row of logits on its way to a nucleus. A token's weight is `exp((logit − max) / T)`.
struct Warp<'a> {
    logits: &'a [f32],
    max: f32,
    sampling: &'a Sampling,
}

impl Warp<'_> {
    fn weight(&self, logit: f32) -> f64 {
        weight_of(f64::from(logit - self.max) / f64::from(self.sampling.temperature))
    }

    /// The nucleus with its weights, heaviest first.
    fn kept(&self) -> Vec<(u32, f64)> {
        let total: f64 = self.logits.iter().map(|&logit| self.weight(logit)).sum();
        self.kept_between([total, total]).expect("an exact sum leaves nothing open")
    }

    /// The same from an estimate of the sum of all weights, which saves their exponentials; none if it leaves open what
    /// is kept, as it does where everything is.
    fn kept_by_estimate(&self) -> Option<Vec<(u32, f64)>> {
        if self.sampling.top_p >= 1.0 {
            return None;
        }
        let total = sum_exp(self.logits, self.max, self.sampling.temperature.recip());
        self.kept_between([total * (1.0 - SUM_EXP_ERROR), total * (1.0 + SUM_EXP_ERROR)])
    }

    /// The nucleus where the sum of all weights is in `total`; none if that leaves open what is in it.
    fn kept_between(&self, total: [f64; 2]) -> Option<Vec<(u32, f64)>> {
        let wanted = total.map(|total| f64::from(self.sampling.top_p.min(1.0)) * total);
        let least = total.map(|total| f64::from(self.sampling.min_prob) * total);
        for floor in FLOORS {
            let mut kept = self.heaviest(floor);
            let mut sum = 0.0;
            let reached = kept.iter().position(|(_, w)| {
                sum += w;
                sum >= wanted[0]
            });
            match reached {
                Some(_) if sum < wanted[1] => return None,
                Some(last) => kept.truncate(last + 1),
                None if floor > 0.0 => continue,
                None => {}
            }
            let likely =
                least.map(|least| kept.iter().skip(1).take_while(|(_, w)| *w >= least).count() + 1);
            kept.truncate(likely[0]);
            return (likely[0] == likely[1]).then_some(kept);
        }
        unreachable!("the last floor keeps everything")
    }

    /// The tokens whose weight exceeds `floor`, heaviest first.
    fn heaviest(&self, floor: f64) -> Vec<(u32, f64)> {
        // Found by their logits, a little below the bound, so that rounding loses none.
        let log_floor = floor.ln().max(LOG_NOTHING);
        let bound = f64::from(self.sampling.temperature) * log_floor * 1.00001;
        let near = at_least(self.logits, self.max, bound as f32).into_iter();
        let weighed = near.map(|id| (id as u32, self.weight(self.logits[id])));
        let mut kept: Vec<(u32, f64)> = weighed.filter(|&(_, w)| w > floor).collect();
        kept.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        kept
    }
}

fn finite_max(logits: &[f32]) -> Result<f32, Error> {
    let max = largest(logits);
    if max.is_finite() { Ok(max) } else { Err(Error::NotFinite) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampling(temperature: f32, top_p: f32, min_prob: f32) -> Sampling {
        Sampling { temperature, top_p, min_prob }
    }

    /// The same warp, the slow and obvious way: sort everything, cut, renormalize.
    fn warp_by_sorting(logits: &[f32], s: &Sampling) -> Vec<f64> {
        let weights: Vec<f64> =
            logits.iter().map(|&l| (f64::from(l) / f64::from(s.temperature)).exp()).collect();
        let total: f64 = weights.iter().sum();
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|&a, &b| weights[b].total_cmp(&weights[a]).then(a.cmp(&b)));
        let mut out = vec![0.0; logits.len()];
        let mut sum = 0.0;
        for (rank, &id) in order.iter().enumerate() {
            let p = weights[id] / total;
            if sum >= f64::from(s.top_p) || (rank > 0 && p < f64::from(s.min_prob)) {
                break;
            }
            sum += p;
            out[id] = p;
        }
        let kept: f64 = out.iter().sum();
        out.iter().map(|p| p / kept).collect()
    }

    #[test]
    fn warped_equals_sorting_everything() {
        let logits: Vec<f32> =
            (0..500).map(|i| ((i * 7919 % 1000) as f32 - 500.0) / 80.0).collect();
        for s in [
            sampling(1.0, 0.95, 0.0),
            sampling(0.4, 0.95, 0.0),
            sampling(2.5, 0.5, 0.002),
            sampling(0.1, 0.99, 0.0),
            sampling(5.0, 1.0, 0.0),
        ] {
            let got = Distribution::warped(&logits, &s).unwrap();
            for (id, expected) in warp_by_sorting(&logits, &s).into_iter().enumerate() {
                let got = got.probability(id as u32);
                assert!((got - expected).abs() < 1e-9, "{s:?} token {id}: {got} is not {expected}");
            }
        }
    }

    /// The same nucleus without estimates, every weight computed and sorted: equal to the last bit.
    fn nucleus_of_all(logits: &[f32], s: &Sampling) -> Vec<(u32, f64)> {
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weight = |l: f32| weight_of(f64::from(l - max) / f64::from(s.temperature));
        let total: f64 = logits.iter().map(|&l| weight(l)).sum();
        let mut kept: Vec<(u32, f64)> =
            logits.iter().enumerate().map(|(id, &l)| (id as u32, weight(l))).collect();
        kept.retain(|&(_, w)| w > 0.0);
        kept.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let mut sum = 0.0;
        let last = kept.iter().position(|(_, w)| {
            sum += w;
            sum >= f64::from(s.top_p.min(1.0)) * total
        });
        kept.truncate(last.map_or(kept.len(), |last| last + 1));
        let least = f64::from(s.min_prob) * total;
        kept.truncate(kept.iter().skip(1).take_while(|(_, w)| *w >= least).count() + 1);
        let sum: f64 = kept.iter().map(|(_, w)| w).sum();
        kept.iter().map(|&(id, w)| (id, w / sum)).collect()
    }

    #[test]
    fn estimates_change_no_bit() {
        let mut n_exact = 0;
        for seed in 0..300u64 {
            // Rows between flat and steep, with ties, holes and, in every third, a clear winner.
            let number = |i: u64| (i + 1).wrapping_mul(6364136223846793005 + 2 * seed) >> 44;
            let steepness = [2.0, 30.0, 300.0][seed as usize / 3 % 3];
            let mut logits: Vec<f32> = (0..3000)
                .map(|i| -(number(i) as f32 / 1e6 * steepness * 40.0).round() / 40.0)
                .collect();
            logits[seed as usize] = f32::NEG_INFINITY;
            if seed % 3 == 0 {
                logits[1500] = 5.0;
            }
            for temperature in [0.1, 0.4, 1.0, 2.5] {
                for (top_p, min_prob) in [(0.95, 0.0), (0.5, 0.003), (0.999, 0.0), (1.0, 1e-4)] {
                    let s = sampling(temperature, top_p, min_prob);
                    let got = nucleus(&logits, &s).unwrap();
                    assert_eq!(got, nucleus_of_all(&logits, &s), "seed {seed}, {s:?}");
                    let warp =
                        Warp { logits: &logits, max: finite_max(&logits).unwrap(), sampling: &s };
                    n_exact += usize::from(top_p < 1.0 && warp.kept_by_estimate().is_none());
                }
            }
        }
        assert!((1..1000).contains(&n_exact), "{n_exact} of 3600 rows needed the exact sum");
    }

    #[test]
    fn temperature_zero_draws_the_maximum_and_keeps_the_plain_softmax() {
        let logits = [0.0, 3.0, 3.0, -1.0];
        let greedy = Distribution::warped(&logits, &sampling(0.0, 0.5, 0.0)).unwrap();
        assert_eq!(greedy.draw(0.999), 1);
        let sum: f64 = logits.iter().map(|&l| f64::from(l).exp()).sum();
        assert!((greedy.probability(3) - (-1f64).exp() / sum).abs() < 1e-12);
        assert_eq!(greedy.probability(99), 0.0);
    }

    #[test]
    fn a_masked_row_draws_only_what_is_left() {
        let logits = [f32::NEG_INFINITY, 0.0, f32::NEG_INFINITY, 0.0];
        for distribution in [
            Distribution::warped(&logits, &sampling(1.0, 1.0, 0.0)).unwrap(),
            Distribution::raw(&logits, 1.0).unwrap(),
        ] {
            assert_eq!(distribution.draw(0.25), 1);
            assert_eq!(distribution.draw(0.75), 3);
            assert_eq!(distribution.draw(1.0), 3);
        }
    }

    #[test]
    fn rows_that_are_not_finite_are_errors() {
        for logits in [[f32::NAN, 0.0], [f32::INFINITY, 0.0], [f32::NEG_INFINITY; 2]] {
            assert!(Distribution::warped(&logits, &sampling(0.4, 0.95, 0.0)).is_err());
            assert!(Distribution::raw(&logits, 1.0).is_err());
        }
    }
}
