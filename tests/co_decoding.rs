//! The co-decoding step against its law in closed form, and its limits against each model alone.

use cosec_ls::config::{Decoding, Mode, Ratio, Sampling};
use cosec_ls::decode::rng::Draws;
use cosec_ls::decode::{CoDecoder, Sequence};
use cosec_ls::model::Decoder;

use crate::support::toy_decoder::ToyDecoder;

fn softmax(logits: &[f32], temperature: f64) -> Vec<f64> {
    let weights: Vec<f64> = logits.iter().map(|&l| (f64::from(l) / temperature).exp()).collect();
    let total: f64 = weights.iter().sum();
    weights.iter().map(|w| w / total).collect()
}

/// `P(t) = q(t)·A(t) + p(t)·Σᵤ q(u)·(1 − A(u))` with `A(u) = [α < min(1, p(u)/q(u))]`.
fn closed_form(p: &[f64], q: &[f64], alpha: f64) -> Vec<f64> {
    let accepted = |t: usize| alpha < (p[t] / q[t]).min(1.0);
    let rejected_mass: f64 = (0..q.len()).filter(|&t| !accepted(t)).map(|t| q[t]).sum();
    (0..q.len()).map(|t| if accepted(t) { q[t] } else { 0.0 } + p[t] * rejected_mass).collect()
}

fn sampling(temperature: f32) -> Sampling {
    Sampling { temperature, top_p: 1.0, min_prob: 0.0 }
}

fn law(alpha: f32, temperature: f32) -> Decoding {
    Decoding {
        alpha,
        base: sampling(temperature),
        security: sampling(temperature),
        ratio: Ratio::Warped,
        ..Decoding::default()
    }
}

const BASE_ROW: [f32; 8] = [2.0, 1.5, 1.0, 0.5, 0.0, -0.5, -1.0, -3.0];
const SECURITY_ROW: [f32; 8] = [-1.0, 2.5, 0.0, 1.5, -2.0, 1.0, 0.5, 1.2];

/// Counts of `n` single steps, one seed each, on fixed rows.
fn count_steps(law: Decoding, n: u64) -> Vec<f64> {
    let (base, security) = (ToyDecoder::fixed(&BASE_ROW), ToyDecoder::fixed(&SECURITY_ROW));
    let mut counts = vec![0.0; BASE_ROW.len()];
    for seed in 0..n {
        let draws = Draws { seed, sample: 0 };
        let decoder = CoDecoder { base: &base, security: &security, law, draws };
        let mut sequence = Sequence::new(base.new_cache(), security.new_cache());
        sequence.retarget(vec![0]);
        counts[decoder.step(&mut sequence, None).unwrap().token as usize] += 1.0;
    }
    counts
}

/// χ² with 7 degrees of freedom exceeds 29.9 once in ten thousand.
fn assert_law(counts: &[f64], expected: &[f64], what: &str) {
    let n: f64 = counts.iter().sum();
    let mut chi2 = 0.0;
    for (count, probability) in counts.iter().zip(expected) {
        if *probability < 1e-12 {
            assert_eq!(*count, 0.0, "{what}: an impossible token was drawn");
        } else {
            chi2 += (count - n * probability).powi(2) / (n * probability);
        }
    }
    println!("{what}: χ² = {chi2:.2} over {n} steps");
    assert!(chi2 < 29.9, "{what}: χ² = {chi2}, counts {counts:?}, expected {expected:?}");
}

#[test]
fn a_step_follows_the_output_law() {
    for alpha in [0.0, 0.1, 0.3, 0.6, 0.9] {
        for temperature in [0.4, 1.0] {
            let p = softmax(&BASE_ROW, temperature);
            let q = softmax(&SECURITY_ROW, temperature);
            let counts = count_steps(law(alpha, temperature as f32), 20_000);
            let what = format!("α = {alpha}, T = {temperature}");
            assert_law(&counts, &closed_form(&p, &q, f64::from(alpha)), &what);
        }
    }
}

#[test]
fn the_raw_base_ratio_follows_the_same_law_with_the_plain_softmax() {
    let p = softmax(&BASE_ROW, 1.0);
    let q = softmax(&SECURITY_ROW, 0.4);
    let law = Decoding { ratio: Ratio::RawBase, ..law(0.3, 0.4) };
    assert_law(&count_steps(law, 20_000), &closed_form(&p, &q, f64::from(0.3f32)), "raw base");
}

#[test]
fn the_raw_ratio_accepts_by_the_plain_softmax_and_draws_from_the_warped_one() {
    let (raw, p) = (softmax(&BASE_ROW, 1.0), softmax(&BASE_ROW, 0.4));
    let q = softmax(&SECURITY_ROW, 0.4);
    let alpha = f64::from(0.3f32);
    let accepted = |t: usize| alpha < (raw[t] / q[t]).min(1.0);
    let rejected_mass: f64 = (0..q.len()).filter(|&t| !accepted(t)).map(|t| q[t]).sum();
    let chance = |t| if accepted(t) { q[t] } else { 0.0 } + p[t] * rejected_mass;
    let expected: Vec<f64> = (0..q.len()).map(chance).collect();
    let law = Decoding { ratio: Ratio::Raw, ..law(0.3, 0.4) };
    assert_law(&count_steps(law, 20_000), &expected, "raw");
}

/// Tokens of a run of 60 steps on history-dependent rows.
fn run(law: Decoding, seed: u64) -> Vec<u32> {
    let (base, security) = (ToyDecoder::hashed(24, 1), ToyDecoder::hashed(24, 2));
    let decoder =
        CoDecoder { base: &base, security: &security, law, draws: Draws { seed, sample: 0 } };
    let mut sequence = Sequence::new(base.new_cache(), security.new_cache());
    sequence.retarget(vec![3, 1, 2]);
    for _ in 0..60 {
        decoder.step(&mut sequence, None).unwrap();
    }
    sequence.tokens().to_vec()
}

#[test]
fn alpha_of_one_is_the_base_alone() {
    for seed in 0..20 {
        for temperature in [0.0, 0.4, 1.0] {
            for ratio in [Ratio::Warped, Ratio::Raw] {
                let cosec = Decoding { ratio, ..law(1.0, temperature) };
                assert_eq!(run(cosec, seed), run(Decoding { mode: Mode::Off, ..cosec }, seed));
            }
        }
    }
}

#[test]
fn alpha_below_zero_is_the_security_model_alone() {
    for seed in 0..20 {
        for temperature in [0.0, 0.4, 1.0] {
            let cosec = law(-1.0, temperature);
            assert_eq!(run(cosec, seed), run(Decoding { mode: Mode::Security, ..cosec }, seed));
        }
    }
}

#[test]
fn a_hardened_run_is_neither_model_alone() {
    let cosec = law(0.3, 1.0);
    assert_ne!(run(cosec, 1), run(Decoding { mode: Mode::Off, ..cosec }, 1));
    assert_ne!(run(cosec, 1), run(Decoding { mode: Mode::Security, ..cosec }, 1));
}

#[test]
fn greedy_accepts_the_security_argmax_only_where_the_base_agrees_enough() {
    // Security's favourite is token 1 with q = softmax; the base gives it p = softmax; both unwarped.
    let (p, q) = (softmax(&BASE_ROW, 1.0)[1], softmax(&SECURITY_ROW, 1.0)[1]);
    let below = law((p / q) as f32 - 0.01, 0.0);
    let above = law((p / q) as f32 + 0.01, 0.0);
    assert_eq!(count_steps(below, 10)[1], 10.0);
    assert_eq!(count_steps(above, 10)[0], 10.0, "the base's argmax is token 0");
}

#[test]
fn provenance_says_what_the_base_would_have_chosen() {
    let (base, security) = (ToyDecoder::hashed(24, 1), ToyDecoder::hashed(24, 2));
    let draws = Draws { seed: 5, sample: 0 };
    let law = law(0.3, 1.0);
    let decoder = CoDecoder { base: &base, security: &security, law, draws };
    let mut sequence = Sequence::new(base.new_cache(), security.new_cache());
    sequence.retarget(vec![7]);
    let (mut interventions, mut rejections) = (0, 0);
    for _ in 0..200 {
        let history = sequence.tokens().to_vec();
        let step = decoder.step(&mut sequence, None).unwrap();
        let mut alone = Sequence::new(base.new_cache(), security.new_cache());
        alone.retarget(history);
        let off = CoDecoder { law: Decoding { mode: Mode::Off, ..law }, ..decoder };
        let base_choice = off.step(&mut alone, None).unwrap().token;
        assert_eq!(step.provenance.base_choice, Some(base_choice));
        assert_eq!(step.intervened(), step.token != base_choice);
        interventions += u32::from(step.intervened());
        rejections += u32::from(step.provenance.ratio.unwrap() <= f64::from(law.alpha));
    }
    assert!(interventions > 20 && rejections > 20, "the toy pair disagrees often");
}

#[test]
fn only_allowed_tokens_are_chosen_by_either_role() {
    let (base, security) = (ToyDecoder::hashed(24, 1), ToyDecoder::hashed(24, 2));
    for (alpha, seed) in [(-1.0, 1), (0.3, 2), (0.3, 3), (1.0, 4)] {
        let draws = Draws { seed, sample: 0 };
        let decoder = CoDecoder { base: &base, security: &security, law: law(alpha, 1.0), draws };
        let mut sequence = Sequence::new(base.new_cache(), security.new_cache());
        sequence.retarget(vec![7]);
        for _ in 0..50 {
            let step = decoder.step(&mut sequence, Some(&[4, 9])).unwrap();
            assert!([4, 9].contains(&step.token));
        }
    }
}

#[test]
fn a_padded_vocabulary_never_yields_an_id_that_the_other_model_lacks() {
    let (base, security) = (ToyDecoder::fixed(&BASE_ROW), ToyDecoder::fixed(&SECURITY_ROW[..5]));
    for seed in 0..500 {
        let draws = Draws { seed, sample: 0 };
        let decoder = CoDecoder { base: &base, security: &security, law: law(0.9, 2.0), draws };
        let mut sequence = Sequence::new(base.new_cache(), security.new_cache());
        sequence.retarget(vec![0]);
        assert!(decoder.step(&mut sequence, None).unwrap().token < 5);
    }
}
