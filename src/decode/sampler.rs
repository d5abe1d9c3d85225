//! Logits → distribution → token.
//!
//! `warp(logits; T, top_p, min_prob)` is temperature, then nucleus, then softmax over what is left
//! (`docs/CO-DECODING.md`). At temperature 0 a role proposes its most likely token, and its probabilities are those of
//! the plain softmax.

use crate::config::Sampling;

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
        logits: &'a [f32],
        log_sum: f64,
    },
    /// Warped: the tokens that are left, most likely first, with probabilities that sum to 1.
    Nucleus(Vec<(u32, f64)>),
}

/// How a token is taken from a distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Draw {
    MostLikely,
    Sample,
}

impl<'a> Distribution<'a> {
    /// `warp(logits; …)`; at temperature 0 the plain softmax, drawn by its maximum. `logits: [V]`, of which −∞ stands
    /// for tokens that cannot come.
    ///
    /// # Errors
    /// If no logit is finite, or one is NaN or +∞.
    pub fn warped(logits: &'a [f32], sampling: &Sampling) -> Result<Self, Error> {
        if sampling.temperature <= 0.0 {
            return Ok(Self { draw: Draw::MostLikely, ..Self::plain(logits)? });
        }
        let nucleus = nucleus(logits, sampling)?;
        Ok(Self { probabilities: Probabilities::Nucleus(nucleus), draw: Draw::Sample })
    }

    /// The plain softmax, drawn by sampling; or by its maximum where `temperature` is 0.
    ///
    /// # Errors
    /// As [`Distribution::warped`].
    pub fn raw(logits: &'a [f32], temperature: f32) -> Result<Self, Error> {
        let draw = if temperature <= 0.0 { Draw::MostLikely } else { Draw::Sample };
        Ok(Self { draw, ..Self::plain(logits)? })
    }

    fn plain(logits: &'a [f32]) -> Result<Self, Error> {
        let max = finite_max(logits)?;
        let sum: f64 = logits.iter().map(|&l| weight_of(f64::from(l - max))).sum();
        let probabilities = Probabilities::Plain { logits, log_sum: f64::from(max) + sum.ln() };
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
        match (&self.probabilities, self.draw) {
            (Probabilities::Plain { logits, .. }, Draw::MostLikely) => most_likely(logits),
            (Probabilities::Plain { logits, log_sum }, Draw::Sample) => {
                let weights = logits.iter().enumerate();
                let weights = weights.map(|(id, &l)| (id as u32, (f64::from(l) - log_sum).exp()));
                pick(weights, uniform)
            }
            (Probabilities::Nucleus(entries), _) => pick(entries.iter().copied(), uniform),
        }
    }
}

/// `exp(x)` for `x ≤ 0`, but 0 below −50, where 10⁵ such weights vanish beside the largest one's 1 in an f64. It saves
/// most of the exponentials of a row.
fn weight_of(x: f64) -> f64 {
    if x < -50.0 { 0.0 } else { x.exp() }
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

/// The id of the largest logit; the smallest id among equals.
fn most_likely(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (id, &logit) in logits.iter().enumerate() {
        if logit > logits[best] {
            best = id;
        }
    }
    best as u32
}

/// The smallest set of most likely tokens whose probabilities at this temperature reach `top_p`, less those below
/// `min_prob` (the most likely one always stays), renormalized. Most likely first, smaller ids first among equals.
fn nucleus(logits: &[f32], sampling: &Sampling) -> Result<Vec<(u32, f64)>, Error> {
    let max = finite_max(logits)?;
    let temperature = f64::from(sampling.temperature);
    let weight = |logit: f32| weight_of(f64::from(logit - max) / temperature);
    let total: f64 = logits.iter().map(|&logit| weight(logit)).sum();
    let wanted = f64::from(sampling.top_p.min(1.0)) * total;
    // Candidates above a floor that is lowered until they reach the wanted mass: sorting a handful instead of V.
    let mut floor = 1e-3;
    let mut kept = loop {
        let kept = heaviest(logits, &weight, floor, wanted);
        let reached: f64 = kept.iter().map(|(_, w)| w).sum();
        if reached >= wanted || floor == 0.0 {
            break kept;
        }
        floor = if floor > 1e-9 { floor * 1e-3 } else { 0.0 };
    };
    let least = f64::from(sampling.min_prob) * total;
    let enough = kept.iter().skip(1).take_while(|(_, w)| *w >= least).count() + 1;
    kept.truncate(enough);
    let sum: f64 = kept.iter().map(|(_, w)| w).sum();
    for (_, w) in &mut kept {
        *w /= sum;
    }
    Ok(kept)
}

/// The tokens whose weight exceeds `floor`, heaviest first, as many as it takes to reach the mass `wanted`.
fn heaviest(
    logits: &[f32],
    weight: &dyn Fn(f32) -> f64,
    floor: f64,
    wanted: f64,
) -> Vec<(u32, f64)> {
    let all = logits.iter().enumerate().map(|(id, &logit)| (id as u32, weight(logit)));
    let mut kept: Vec<(u32, f64)> = all.filter(|&(_, w)| w > floor).collect();
    kept.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let mut sum = 0.0;
    let enough = kept.iter().position(|(_, w)| {
        sum += w;
        sum >= wanted
    });
    kept.truncate(enough.map_or(kept.len(), |at| at + 1));
    kept
}

fn finite_max(logits: &[f32]) -> Result<f32, Error> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    // `f32::max` skips NaN, so they are looked for as well.
    match max.is_finite() && !logits.iter().any(|l| l.is_nan()) {
        true => Ok(max),
        false => Err(Error::NotFinite),
    }
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
