//! What hardening costs in time, in the layout of the paper's table 8: seconds per 20 tokens, and beyond the paper the
//! time to the first token.
//!
//! Machines drift, so the ways of decoding take turns on every prompt, and each is compared with the base alone of the
//! same round: it is the ratios that say something.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::Error;
use super::statistics::{Estimate, geometric_mean, mean, median};
use super::timing::{Drawing, Stopwatch, Way};
use crate::engine::decoding::new_sequence;

/// The tokens whose time table 8 gives.
pub const TABLE_TOKENS: usize = 20;

/// The file of measurements in a run's directory.
pub const LATENCY_FILE: &str = "latency.jsonl";

/// One round of one way on one prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LatencySample {
    /// Where the prompt is from.
    pub prompt: String,
    /// Its tokens.
    pub n_prompt_tokens: usize,
    /// The round, from 0 on.
    pub round: u32,
    /// The way of decoding.
    pub way: Way,
    /// To the first token of a prompt that neither model has seen.
    pub cold_seconds: f64,
    /// To the first token of a prompt that is evaluated but for its last token.
    pub warm_seconds: f64,
    /// Decoded tokens after the evaluated prompt.
    pub n_tokens: usize,
    /// What they took.
    pub seconds: f64,
    /// Proposals of the security model among them.
    pub n_proposed: usize,
    /// Accepted proposals.
    pub n_accepted: usize,
}

/// A prompt to measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimedPrompt {
    /// Where it is from.
    pub name: String,
    /// Its tokens, at least one.
    pub tokens: Vec<u32>,
}

/// Measures one round of `drawing.way`: the first token cold, the first token warm, and `drawing.n_tokens` tokens.
///
/// # Errors
/// If a model fails.
pub fn measure(
    stopwatch: &mut Stopwatch<'_>,
    prompt: &TimedPrompt,
    round: u32,
    drawing: Drawing,
) -> Result<LatencySample, Error> {
    let first = Drawing { n_tokens: 1, ..drawing };
    let started = Instant::now();
    let mut sequence = new_sequence(stopwatch.pair());
    sequence.retarget(prompt.tokens.clone());
    stopwatch.decode(first, &mut sequence)?;
    let cold_seconds = started.elapsed().as_secs_f64();
    sequence.retarget(prompt.tokens.clone());
    let warm = stopwatch.decode(first, &mut sequence)?;
    sequence.retarget(prompt.tokens.clone());
    let run = stopwatch.decode(drawing, &mut sequence)?;
    Ok(LatencySample {
        prompt: prompt.name.clone(),
        n_prompt_tokens: prompt.tokens.len(),
        round,
        way: drawing.way,
        cold_seconds,
        warm_seconds: warm.seconds,
        n_tokens: run.n_tokens,
        seconds: run.seconds,
        n_proposed: run.n_proposed,
        n_accepted: run.n_accepted,
    })
}

/// Names of the models in the table.
#[derive(Clone, Copy, Debug)]
pub struct Models<'a> {
    /// The base.
    pub base: &'a str,
    /// The security model.
    pub security: &'a str,
}

/// The table in Markdown, a row per way.
pub fn table(models: Models<'_>, samples: &[LatencySample]) -> String {
    let mut text = format!(
        "| Method | Size | Time cost of {TABLE_TOKENS} tokens (s) | median | × base alone | accepted | first token, cold (s) \
         | median | first token, warm (s) | median |\n|{}\n",
        "---|".repeat(10)
    );
    for way in Way::ALL {
        let (method, model) = match way {
            Way::Off => (models.base.to_owned(), models.base),
            Way::Plain => ("+ Harden, plain steps".to_owned(), models.security),
            Way::Speculative => ("+ Harden, speculative".to_owned(), models.security),
        };
        let _ = write!(text, "| {method} | {} |", size_of(model).unwrap_or("–"));
        let _ = write!(text, " {} |", spread(samples, way, table_seconds, 3));
        let _ = write!(text, " {} | {} |", ratio(samples, way), acceptance(samples, way));
        let _ = write!(text, " {} |", spread(samples, way, |sample| sample.cold_seconds, 2));
        let _ = writeln!(text, " {} |", spread(samples, way, |sample| sample.warm_seconds, 3));
    }
    let prompts: BTreeMap<&str, usize> =
        samples.iter().map(|sample| (sample.prompt.as_str(), sample.n_prompt_tokens)).collect();
    let n_rounds = samples.iter().filter(|sample| sample.way == Way::Off).count();
    let _ = writeln!(
        text,
        "\nPrompts: {}, of {} to {} tokens; rounds on all of them: {n_rounds}, the three ways in turn. Means over prompts with \
         95 % intervals (bootstrap over prompts and rounds); ratios are geometric means of each round's own. Plain steps, one \
         proposal per forward of the base, are the paper's method. Cold: neither model has seen the prompt. Warm: both have, \
         but for its last token.",
        prompts.len(),
        prompts.values().min().unwrap_or(&0),
        prompts.values().max().unwrap_or(&0),
    );
    text
}

/// What [`TABLE_TOKENS`] tokens take.
fn table_seconds(sample: &LatencySample) -> f64 {
    sample.seconds * TABLE_TOKENS as f64 / sample.n_tokens.max(1) as f64
}

/// Values of `way`, grouped by prompt.
fn groups(
    samples: &[LatencySample],
    way: Way,
    value: impl Fn(&LatencySample) -> Option<f64>,
) -> Vec<Vec<f64>> {
    let mut groups: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for sample in samples.iter().filter(|sample| sample.way == way) {
        groups.entry(&sample.prompt).or_default().extend(value(sample));
    }
    groups.into_values().collect()
}

/// `0.652 [0.601, 0.703] | 0.650`: the mean with its interval, and the median.
fn spread(
    samples: &[LatencySample],
    way: Way,
    value: impl Fn(&LatencySample) -> f64,
    digits: usize,
) -> String {
    let groups = groups(samples, way, |sample| Some(value(sample)));
    match (mean(&groups), median(&groups.concat())) {
        (Some(Estimate { value, low, high, .. }), Some(median)) => {
            format!("{value:.digits$} [{low:.digits$}, {high:.digits$}] | {median:.digits$}")
        }
        _ => "– | –".to_owned(),
    }
}

/// `1.24 [1.20, 1.29]`: how much longer than the base alone in the same round on the same prompt.
fn ratio(samples: &[LatencySample], way: Way) -> String {
    let base: BTreeMap<(&str, u32), f64> = samples
        .iter()
        .filter(|sample| sample.way == Way::Off)
        .map(|sample| ((sample.prompt.as_str(), sample.round), table_seconds(sample)))
        .collect();
    let of_round = |sample: &LatencySample| {
        Some(table_seconds(sample) / base.get(&(sample.prompt.as_str(), sample.round))?)
    };
    match geometric_mean(&groups(samples, way, of_round)) {
        _ if way == Way::Off => "1".to_owned(),
        Some(Estimate { value, low, high, .. }) => format!("{value:.2} [{low:.2}, {high:.2}]"),
        None => "–".to_owned(),
    }
}

/// The share of accepted proposals in percent.
fn acceptance(samples: &[LatencySample], way: Way) -> String {
    let of_way = || samples.iter().filter(|sample| sample.way == way);
    match of_way().map(|sample| sample.n_proposed).sum::<usize>() {
        0 => "–".to_owned(),
        n_proposed => {
            let n_accepted: usize = of_way().map(|sample| sample.n_accepted).sum();
            format!("{:.0} %", 100.0 * n_accepted as f64 / n_proposed as f64)
        }
    }
}

/// `1.5b` of `qwen2.5-coder-1.5b-instruct-q4_k_m`: the part of a model's name that is a number of parameters.
fn size_of(model: &str) -> Option<&str> {
    model.split('-').find(|part| {
        let number = part.strip_suffix(['b', 'B', 'm', 'M']);
        number.is_some_and(|number| number.parse::<f64>().is_ok())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODELS: Models<'_> =
        Models { base: "qwen2.5-coder-1.5b-instruct-q4_k_m", security: "coder-0.5B" };

    fn sample(prompt: &str, round: u32, way: Way, seconds: f64) -> LatencySample {
        let proposed = if way == Way::Off { 0 } else { 40 };
        LatencySample {
            prompt: prompt.to_owned(),
            n_prompt_tokens: 100 * prompt.len(),
            round,
            way,
            cold_seconds: 10.0 * seconds,
            warm_seconds: seconds / 10.0,
            n_tokens: 40,
            seconds,
            n_proposed: proposed,
            n_accepted: proposed * 9 / 10,
        }
    }

    #[test]
    fn the_table_has_a_row_per_way_and_ratios_of_the_same_round() {
        // The machine is three times as slow in the second round; plain steps cost a quarter more in both.
        let rounds = [(0, 1.0), (1, 3.0)];
        let samples: Vec<_> = ["a", "bb"]
            .into_iter()
            .flat_map(|prompt| {
                rounds.into_iter().flat_map(move |(round, seconds)| {
                    [
                        sample(prompt, round, Way::Off, seconds),
                        sample(prompt, round, Way::Plain, 1.25 * seconds),
                    ]
                })
            })
            .collect();
        let text = table(MODELS, &samples);
        let cells = |line: usize| -> Vec<&str> {
            text.lines().nth(line).unwrap().split('|').map(str::trim).collect()
        };
        assert_eq!(cells(2)[1..3], ["qwen2.5-coder-1.5b-instruct-q4_k_m", "1.5b"], "{text}");
        // 40 tokens in 1 and in 3 s are 20 in 0.5 and in 1.5 s.
        assert!(cells(2)[3].starts_with("1.000 [") && cells(2)[4] == "1.000", "{text}");
        assert_eq!(cells(2)[5..7], ["1", "–"], "{text}");
        assert_eq!(cells(3)[1..3], ["+ Harden, plain steps", "0.5B"], "{text}");
        assert_eq!(cells(3)[5..7], ["1.25 [1.25, 1.25]", "90 %"], "{text}");
        assert!(cells(3)[7].starts_with("25.00 [") && cells(3)[8] == "25.00", "{text}");
        assert!(cells(3)[9].starts_with("0.250 [") && cells(3)[10] == "0.250", "{text}");
        assert_eq!(cells(4)[3..7], ["–", "–", "–", "–"], "{text}");
        assert!(
            text.contains("Prompts: 2, of 100 to 200 tokens; rounds on all of them: 4"),
            "{text}"
        );
        let widths: Vec<usize> =
            text.lines().take(5).map(|line| line.matches('|').count()).collect();
        assert!(widths.iter().all(|width| *width == 11), "{text}");
    }

    #[test]
    fn a_round_without_the_base_alone_has_no_ratio() {
        let samples = [sample("a", 0, Way::Off, 1.0), sample("a", 1, Way::Plain, 2.0)];
        assert_eq!(ratio(&samples, Way::Plain), "–");
    }

    #[test]
    fn sizes_are_read_from_names() {
        assert_eq!(size_of("codegen-350M-multi"), Some("350M"));
        assert_eq!(size_of("tiny-b"), None);
    }
}
