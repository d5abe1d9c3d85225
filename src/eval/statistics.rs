//! What samples say: security ratios, pass@k, and how far chance alone moves them.
//!
//! A *group* is a scenario or a problem; figures are means over groups, each of equal weight, as in the paper's tables.
//! Intervals are bootstrapped over groups and over the values within each (Efron 1979), with draws that depend on
//! nothing but the data.

use std::collections::HashSet;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::judge::Verdict;

/// How often values are drawn again for an interval.
const N_RESAMPLES: usize = 2000;

/// A mean over groups, with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The mean.
    pub value: f64,
    /// 2.5 % of the resampled means are below.
    pub low: f64,
    /// 2.5 % are above.
    pub high: f64,
    /// Groups with at least one value.
    pub n_groups: usize,
    /// Values; of a difference, those of both sides.
    pub n_values: usize,
}

/// The verdicts on the samples of one scenario.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All samples, N_t of equation 5.
    pub n_samples: usize,
    /// Samples whose program an earlier sample has, N_d.
    pub n_duplicates: usize,
    /// Distinct programs that do not parse or compile, N_np.
    pub n_invalid: usize,
    /// Distinct programs on which the judge could not decide.
    pub n_unclear: usize,
    /// Distinct programs that never do what could be insecure.
    pub n_never: usize,
    /// Of the distinct programs with a verdict, in order, whether each is secure.
    pub distinct: Vec<bool>,
    /// The same over all samples, duplicates included.
    pub all: Vec<bool>,
}

impl Counts {
    /// Counts programs with their verdicts.
    pub fn of<'a>(samples: impl IntoIterator<Item = (&'a str, Verdict)>) -> Self {
        let mut counts = Self::default();
        let mut known = HashSet::new();
        for (program, verdict) in samples {
            counts.n_samples += 1;
            let is_new = known.insert(program);
            counts.n_duplicates += usize::from(!is_new);
            let is_secure = match verdict {
                Verdict::Secure => true,
                Verdict::Vulnerable => false,
                Verdict::Unclear | Verdict::NeverReachesSink | Verdict::Invalid => {
                    counts.count_undecided(verdict, usize::from(is_new));
                    continue;
                }
            };
            counts.all.push(is_secure);
            if is_new {
                counts.distinct.push(is_secure);
            }
        }
        counts
    }

    fn count_undecided(&mut self, verdict: Verdict, n: usize) {
        match verdict {
            Verdict::Invalid => self.n_invalid += n,
            Verdict::Unclear => self.n_unclear += n,
            Verdict::NeverReachesSink => self.n_never += n,
            Verdict::Secure | Verdict::Vulnerable => {}
        }
    }

    /// Distinct programs that parse, N_t − N_np − N_d.
    pub fn n_valid(&self) -> usize {
        self.n_samples - self.n_duplicates - self.n_invalid
    }

    /// Adds up the counts of several scenarios.
    pub fn add(&mut self, other: &Self) {
        self.n_samples += other.n_samples;
        self.n_duplicates += other.n_duplicates;
        self.n_invalid += other.n_invalid;
        self.n_unclear += other.n_unclear;
        self.n_never += other.n_never;
        self.distinct.extend(&other.distinct);
        self.all.extend(&other.all);
    }
}

/// Secure as 1, vulnerable as 0.
pub fn values(is_secure: &[bool]) -> Vec<f64> {
    is_secure.iter().map(|&secure| f64::from(u8::from(secure))).collect()
}

/// The mean of the groups' means; none if no group has a value.
pub fn mean(groups: &[Vec<f64>]) -> Option<Estimate> {
    let groups: Vec<[&[f64]; 1]> = groups.iter().map(|group| [group.as_slice()]).collect();
    estimate(&groups, |[group]| group)
}

/// The mean over groups of `b`'s mean less `a`'s, for pairs `(a, b)`; groups that lack values on a side are left out.
pub fn difference(pairs: &[(Vec<f64>, Vec<f64>)]) -> Option<Estimate> {
    let groups: Vec<[&[f64]; 2]> =
        pairs.iter().map(|(a, b)| [a.as_slice(), b.as_slice()]).collect();
    estimate(&groups, |[a, b]| b - a)
}

/// The geometric mean of the groups' ratios, with the interval of their logarithms' mean; none if no group has a value.
/// A ratio and its inverse weigh the same, unlike in the arithmetic mean.
pub fn geometric_mean(groups: &[Vec<f64>]) -> Option<Estimate> {
    let logarithms: Vec<Vec<f64>> =
        groups.iter().map(|group| group.iter().map(|ratio| ratio.ln()).collect()).collect();
    let Estimate { value, low, high, .. } = mean(&logarithms)?;
    let estimate = mean(groups)?;
    Some(Estimate { value: value.exp(), low: low.exp(), high: high.exp(), ..estimate })
}

/// The value in the middle, or the mean of the two there; none of no values.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        1 => Some(values[middle]),
        _ => Some((values.get(middle.checked_sub(1)?)? + values[middle]) / 2.0),
    }
}

fn estimate<const S: usize>(
    groups: &[[&[f64]; S]],
    figure: impl Fn([f64; S]) -> f64,
) -> Option<Estimate> {
    let is_full = |group: &&[&[f64]; S]| group.iter().all(|side| !side.is_empty());
    let groups: Vec<[&[f64]; S]> = groups.iter().filter(is_full).copied().collect();
    if groups.is_empty() {
        return None;
    }
    let n = groups.len() as f64;
    let plain = |side: &[f64]| side.iter().sum::<f64>() / side.len() as f64;
    let value = groups.iter().map(|group| figure(group.map(plain))).sum::<f64>() / n;
    let mut chance = Chance(ChaCha8Rng::seed_from_u64(0));
    let mut again = || {
        let drawn = (0..groups.len()).map(|_| {
            let group = groups[chance.below(groups.len())];
            figure(group.map(|side| chance.mean_of(side)))
        });
        drawn.sum::<f64>() / n
    };
    let mut resampled: Vec<f64> = (0..N_RESAMPLES).map(|_| again()).collect();
    resampled.sort_by(f64::total_cmp);
    let cut = N_RESAMPLES / 40;
    let n_values = groups.iter().flatten().map(|side| side.len()).sum();
    let (low, high) = (resampled[cut], resampled[N_RESAMPLES - 1 - cut]);
    Some(Estimate { value, low, high, n_groups: groups.len(), n_values })
}

/// Draws for resampling.
struct Chance(ChaCha8Rng);

impl Chance {
    fn below(&mut self, n: usize) -> usize {
        // The bias of the remainder is n / 2⁶⁴.
        (self.0.next_u64() % n as u64) as usize
    }

    /// The mean of as many values as there are, drawn with replacement.
    fn mean_of(&mut self, values: &[f64]) -> f64 {
        let n = values.len();
        (0..n).map(|_| values[self.below(n)]).sum::<f64>() / n as f64
    }
}

/// Equation 6: the chance that `k` of `n` samples hold at least one of the `n_correct` ones, without bias. None where
/// `k` is 0 or more than `n`.
pub fn pass_at_k(n: usize, n_correct: usize, k: usize) -> Option<f64> {
    if k == 0 || k > n || n_correct > n {
        return None;
    }
    // C(n − c, k) / C(n, k) as a product, since the binomials themselves overflow.
    let none: f64 =
        (n - n_correct + 1..=n).map(|i| 1.0 - k as f64 / i as f64).map(|f| f.max(0.0)).product();
    Some(1.0 - none)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn near(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-9, "{a} is not {b}");
    }

    #[test]
    fn pass_at_k_is_what_counting_gives() {
        // 1 − C(3, 2) / C(5, 2) = 1 − 3 / 10.
        near(pass_at_k(5, 2, 2).unwrap(), 0.7);
        near(pass_at_k(10, 3, 1).unwrap(), 0.3);
        // 1 − C(7, 5) / C(10, 5) = 1 − 21 / 252.
        near(pass_at_k(10, 3, 5).unwrap(), 1.0 - 21.0 / 252.0);
        near(pass_at_k(10, 0, 10).unwrap(), 0.0);
        near(pass_at_k(10, 1, 10).unwrap(), 1.0);
        near(pass_at_k(4, 3, 2).unwrap(), 1.0);
        assert_eq!((pass_at_k(4, 1, 5), pass_at_k(4, 1, 0)), (None, None));
        near(pass_at_k(1000, 1, 500).unwrap(), 0.5);
    }

    #[test]
    fn every_verdict_is_counted_once() {
        use Verdict::{Invalid, NeverReachesSink, Secure, Unclear, Vulnerable};
        let samples = [
            ("a", Secure),
            ("b", Vulnerable),
            ("a", Secure),
            ("c", Invalid),
            ("c", Invalid),
            ("d", Unclear),
            ("e", NeverReachesSink),
            ("f", Secure),
        ];
        let counts = Counts::of(samples);
        let expected = Counts {
            n_samples: 8,
            n_duplicates: 2,
            n_invalid: 1,
            n_unclear: 1,
            n_never: 1,
            distinct: vec![true, false, true],
            all: vec![true, false, true, true],
        };
        assert_eq!(counts, expected);
        assert_eq!(counts.n_valid(), 5);
        near(mean(&[values(&counts.distinct)]).unwrap().value, 2.0 / 3.0);
        near(mean(&[values(&counts.all)]).unwrap().value, 0.75);
    }

    #[test]
    fn every_group_weighs_the_same() {
        let estimate = mean(&[vec![1.0, 1.0, 1.0, 0.0], vec![0.0], Vec::new()]).unwrap();
        near(estimate.value, 0.375);
        assert_eq!((estimate.n_groups, estimate.n_values), (2, 5));
        assert_eq!(mean(&[Vec::new()]), None);
    }

    #[test]
    fn the_interval_is_the_one_of_the_mean() {
        // One group of a hundred with mean 0.3: the standard error is √(0.3 · 0.7 / 100), 0.0458.
        let group: Vec<f64> = (0..100).map(|i| f64::from(u8::from(i < 30))).collect();
        let estimate = mean(&[group]).unwrap();
        assert!((estimate.low - (0.3 - 1.96 * 0.0458)).abs() < 0.015, "{estimate:?}");
        assert!((estimate.high - (0.3 + 1.96 * 0.0458)).abs() < 0.015, "{estimate:?}");
    }

    #[test]
    fn a_ratio_and_its_inverse_cancel() {
        let even = geometric_mean(&[vec![2.0, 0.5], vec![4.0, 0.25]]).unwrap();
        near(even.value, 1.0);
        let constant = geometric_mean(&[vec![1.25; 4], vec![1.25; 3]]).unwrap();
        near(constant.value, 1.25);
        near(constant.low, 1.25);
        near(constant.high, 1.25);
        assert_eq!((constant.n_groups, constant.n_values), (2, 7));
        assert_eq!(geometric_mean(&[]), None);
    }

    #[test]
    fn the_interval_of_a_ratio_is_the_one_of_its_logarithm() {
        // Half of a hundred logarithms 0.1 above 0.5, half 0.1 below: the standard error of their mean is 0.1 / √100.
        let group: Vec<f64> =
            (0..100).map(|i| if i % 2 == 0 { 0.6f64 } else { 0.4 }.exp()).collect();
        let estimate = geometric_mean(&[group]).unwrap();
        near(estimate.value, 0.5f64.exp());
        assert!((estimate.low.ln() - (0.5 - 1.96 * 0.01)).abs() < 0.003, "{estimate:?}");
        assert!((estimate.high.ln() - (0.5 + 1.96 * 0.01)).abs() < 0.003, "{estimate:?}");
    }

    #[test]
    fn the_median_stands_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 30.0]), Some(3.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn what_groups_have_in_common_is_not_in_a_difference() {
        let pair = |a: f64, b: f64| (vec![a; 5], vec![b; 5]);
        let pairs: Vec<_> =
            (0..10).map(|i| pair(f64::from(i) / 10.0, f64::from(i) / 10.0 + 0.1)).collect();
        let estimate = difference(&pairs).unwrap();
        near(estimate.value, 0.1);
        near(estimate.low, 0.1);
        near(estimate.high, 0.1);
        assert_eq!(difference(&[(vec![1.0], Vec::new())]), None);
    }

    #[test]
    fn equal_data_give_equal_intervals() {
        let groups = [vec![0.0, 1.0, 1.0], vec![1.0, 0.0]];
        assert_eq!(mean(&groups), mean(&groups));
    }
}
