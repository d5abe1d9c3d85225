//! The tables, in Markdown and in the paper's layout: security ratios per weakness, pass@k per mode.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::judge::Verdict;
use super::record::{FunctionalSample, SecuritySample};
use super::sample::PromptKind;
use super::scenario::UNSEEN;
use super::statistics::{Counts, Estimate, difference, mean, pass_at_k, values};
use crate::config::Mode;

/// The modes in the order of their columns.
const MODES: [Mode; 3] = [Mode::Off, Mode::Cosec, Mode::Security];

/// Verdicts of a scenario, as secure or not.
type Side = fn(&Counts) -> &[bool];

/// Which distinct and which repeated completions count.
const SIDES: [(&str, Side); 2] =
    [("distinct", |counts| &counts.distinct), ("all", |counts| &counts.all)];

/// The samples of one prompt kind and mode, counted per scenario.
pub(super) type ByScenario = BTreeMap<String, Counts>;

/// The samples of some kinds of prompts, counted per mode and scenario.
#[derive(Clone, Debug, Default)]
struct Columns {
    modes: Vec<(Mode, ByScenario)>,
}

impl Columns {
    /// A completion is a duplicate of one of the same kind of prompts only.
    fn of(samples: &[SecuritySample], prompts: &[PromptKind]) -> Self {
        let column = |mode: Mode| {
            let mut column = ByScenario::new();
            for prompt in prompts {
                let is_asked =
                    |sample: &&SecuritySample| sample.prompt == *prompt && sample.law.mode == mode;
                for (name, counts) in by_scenario(samples.iter().filter(is_asked).collect()) {
                    column.entry(name).or_default().add(&counts);
                }
            }
            (!column.is_empty()).then_some((mode, column))
        };
        Self { modes: MODES.into_iter().filter_map(column).collect() }
    }

    /// The scenarios of any mode.
    fn scenarios(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.modes.iter().flat_map(|(_, column)| column.keys().cloned()).collect();
        names.sort();
        names.dedup();
        names
    }
}

pub(super) fn by_scenario(mut samples: Vec<&SecuritySample>) -> ByScenario {
    // A run adds samples in rounds; of equal ones, the first counts.
    samples.sort_by_key(|sample| (&sample.scenario, sample.sample));
    let groups = samples.chunk_by(|a, b| a.scenario == b.scenario);
    let count = |group: &[&SecuritySample]| {
        let verdicts =
            group.iter().map(|sample| (sample.completion.trim_end(), sample.judgement.verdict));
        (group[0].scenario.clone(), Counts::of(verdicts))
    };
    groups.map(count).collect()
}

/// Security ratios of a run: per kind of prompts, seen and unseen weaknesses apart.
pub fn security(samples: &[SecuritySample]) -> String {
    let mut text = String::new();
    for (prompts, name) in parts(samples) {
        let columns = Columns::of(samples, &prompts);
        let scenarios = columns.scenarios();
        for (is_seen, which) in [(true, "seen"), (false, "unseen")] {
            let is_unseen = |name: &String| UNSEEN.iter().any(|cwe| is_of(name, cwe));
            let rows: Vec<String> =
                scenarios.iter().filter(|name| is_unseen(name) != is_seen).cloned().collect();
            if !rows.is_empty() {
                let _ = writeln!(text, "### {name} prompts, weaknesses {which} in training\n");
                ratios(&mut text, &columns, &rows);
                verdicts(&mut text, &columns, &rows);
            }
        }
    }
    text + "SR: secure / (secure + vulnerable), the mean over scenarios, in percent with its 95 % interval (bootstrap over \
            scenarios and samples); n: completions with one of both verdicts; \"distinct\" leaves duplicates out, \"all\" \
            counts them.\n"
}

/// The kinds of prompts in `samples`, one by one, and all together where there are several: the same scenario with each.
fn parts(samples: &[SecuritySample]) -> Vec<(Vec<PromptKind>, &'static str)> {
    let is_there =
        |(prompt, _): &(PromptKind, _)| samples.iter().any(|sample| sample.prompt == *prompt);
    let kinds: Vec<_> = PromptKind::NAMES.into_iter().filter(is_there).collect();
    let mut parts: Vec<_> = kinds.iter().map(|(prompt, name)| (vec![*prompt], *name)).collect();
    if kinds.len() > 1 {
        parts.push((kinds.into_iter().map(|(prompt, _)| prompt).collect(), "All"));
    }
    parts
}

/// Whether a scenario is of a weakness.
fn is_of(scenario: &str, cwe: &str) -> bool {
    scenario.split('/').next().is_some_and(|folder| folder.eq_ignore_ascii_case(cwe))
}

fn ratios(text: &mut String, columns: &Columns, scenarios: &[String]) {
    let mut head = "| CWE | scenarios |".to_owned();
    for (side, _) in SIDES {
        for (mode, _) in &columns.modes {
            let _ = write!(head, " SR {} ({side}) |", mode.name());
        }
    }
    head += " difference (distinct) | difference (all) |";
    let _ = writeln!(text, "{head}\n|{}", "---|".repeat(head.matches('|').count() - 1));
    let mut cwes: Vec<&str> = scenarios.iter().filter_map(|name| name.split('/').next()).collect();
    cwes.dedup();
    for cwe in &cwes {
        let rows: Vec<String> = scenarios.iter().filter(|name| is_of(name, cwe)).cloned().collect();
        ratio_row(text, &cwe.to_uppercase(), columns, &rows);
    }
    if cwes.len() > 1 {
        ratio_row(text, "**all**", columns, scenarios);
    }
    text.push('\n');
}

fn ratio_row(text: &mut String, name: &str, columns: &Columns, scenarios: &[String]) {
    let group = |column: &ByScenario, scenario: &String, side: Side| {
        column.get(scenario).map_or(Vec::new(), |counts| values(side(counts)))
    };
    let _ = write!(text, "| {name} | {} |", scenarios.len());
    for (_, side) in SIDES {
        for (_, column) in &columns.modes {
            let groups: Vec<_> = scenarios.iter().map(|name| group(column, name, side)).collect();
            let _ = write!(text, " {} |", percent(mean(&groups)));
        }
    }
    for (_, side) in SIDES {
        let pairs = match columns.modes.as_slice() {
            [(_, a), (_, b), ..] => {
                let pair = |name| (group(a, name, side), group(b, name, side));
                scenarios.iter().map(pair).collect()
            }
            _ => Vec::new(),
        };
        let _ = write!(text, " {} |", points(difference(&pairs)));
    }
    text.push('\n');
}

fn verdicts(text: &mut String, columns: &Columns, scenarios: &[String]) {
    text.push_str(
        "| mode | samples | duplicates | invalid | distinct and valid | secure | vulnerable | unclear | never reaches \
         the sink |\n|---|---|---|---|---|---|---|---|---|\n",
    );
    for (mode, column) in &columns.modes {
        let mut sum = Counts::default();
        for counts in scenarios.iter().filter_map(|name| column.get(name)) {
            sum.add(counts);
        }
        let n_secure = sum.distinct.iter().filter(|&&secure| secure).count();
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {n_secure} | {} | {} | {} |",
            mode.name(),
            sum.n_samples,
            sum.n_duplicates,
            sum.n_invalid,
            sum.n_valid(),
            sum.distinct.len() - n_secure,
            sum.n_unclear,
            sum.n_never
        );
    }
    text.push('\n');
}

/// What is different between the samples of two runs, `b` less `a`: per kind of prompts and mode, paired by scenario.
pub fn compare_security(a: &[SecuritySample], b: &[SecuritySample]) -> String {
    let mut text = "| prompts | mode | scenarios | SR difference (distinct) | SR difference (all) |\n|---|---|---|---|---|\n"
        .to_owned();
    for (prompts, name) in parts(b) {
        let (a, b) = (Columns::of(a, &prompts), Columns::of(b, &prompts));
        for (mode, a) in &a.modes {
            let Some((_, b)) = b.modes.iter().find(|(other, _)| other == mode) else { continue };
            let both: Vec<(&Counts, &Counts)> =
                a.iter().filter_map(|(name, counts)| Some((counts, b.get(name)?))).collect();
            let _ = write!(text, "| {name} | {} | {} |", mode.name(), both.len());
            for (_, side) in SIDES {
                let pair = |&(a, b): &(&Counts, &Counts)| (values(side(a)), values(side(b)));
                let pairs: Vec<_> = both.iter().map(pair).collect();
                let _ = write!(text, " {} |", points(difference(&pairs)));
            }
            text.push('\n');
        }
    }
    text
}

/// Each problem's pass@k in one mode; problems with fewer than k samples have none.
pub(super) fn passes(samples: &[FunctionalSample], mode: Mode, k: usize) -> BTreeMap<&str, f64> {
    let mut problems: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for sample in samples.iter().filter(|sample| sample.law.mode == mode) {
        let (n, n_correct) = problems.entry(&sample.task_id).or_default();
        *n += 1;
        *n_correct += usize::from(sample.passed);
    }
    let of = |(name, (n, n_correct))| Some((name, pass_at_k(n, n_correct, k)?));
    problems.into_iter().filter_map(of).collect()
}

/// pass@k of a run, per mode, and the paired difference to the first mode.
pub fn functional(samples: &[FunctionalSample], ks: &[usize]) -> String {
    let mut text =
        "| mode | k | problems | pass@k | difference to the first mode |\n|---|---|---|---|---|\n"
            .to_owned();
    let has = |mode: &Mode| samples.iter().any(|sample| sample.law.mode == *mode);
    let modes: Vec<Mode> = MODES.into_iter().filter(has).collect();
    for &mode in &modes {
        for &k in ks {
            let passes_of_mode = passes(samples, mode, k);
            let groups: Vec<Vec<f64>> = passes_of_mode.values().map(|&pass| vec![pass]).collect();
            let change = match mode == modes[0] {
                true => String::new(),
                false => {
                    points(difference(&paired(&passes(samples, modes[0], k), &passes_of_mode)))
                }
            };
            let _ = writeln!(
                text,
                "| {} | {k} | {} | {} | {change} |",
                mode.name(),
                groups.len(),
                percent(mean(&groups))
            );
        }
    }
    text
}

/// What is different between the pass@k of two runs, `b` less `a`: per mode, paired by problem.
pub fn compare_functional(a: &[FunctionalSample], b: &[FunctionalSample], ks: &[usize]) -> String {
    let mut text = "| mode | k | problems | pass@k difference |\n|---|---|---|---|\n".to_owned();
    for mode in MODES {
        for &k in ks {
            let pairs = paired(&passes(a, mode, k), &passes(b, mode, k));
            if !pairs.is_empty() {
                let change = points(difference(&pairs));
                let _ = writeln!(text, "| {} | {k} | {} | {change} |", mode.name(), pairs.len());
            }
        }
    }
    text
}

fn paired(a: &BTreeMap<&str, f64>, b: &BTreeMap<&str, f64>) -> Vec<(Vec<f64>, Vec<f64>)> {
    a.iter().filter_map(|(name, &a)| Some((vec![a], vec![*b.get(name)?]))).collect()
}

/// `71.3 [60.2, 80.0] (n = 212)`.
pub(super) fn percent(estimate: Option<Estimate>) -> String {
    estimate.map_or("–".to_owned(), |Estimate { value, low, high, n_values, .. }| {
        format!("{:.1} [{:.1}, {:.1}] (n = {n_values})", 100.0 * value, 100.0 * low, 100.0 * high)
    })
}

/// `+8.1 [+2.0, +14.4]`, in percentage points.
pub(super) fn points(estimate: Option<Estimate>) -> String {
    estimate.map_or("–".to_owned(), |Estimate { value, low, high, .. }| {
        format!("{:+.1} [{:+.1}, {:+.1}]", 100.0 * value, 100.0 * low, 100.0 * high)
    })
}

/// How many completions were vulnerable in a way that the scenario's own query does not look for.
pub fn n_beyond_query(samples: &[SecuritySample]) -> usize {
    let is_beyond = |sample: &&SecuritySample| {
        sample.judgement.beyond_query && sample.judgement.verdict == Verdict::Vulnerable
    };
    samples.iter().filter(is_beyond).count()
}

#[cfg(test)]
mod tests {
    use super::super::judge::Judgement;
    use super::super::record::Cost;
    use super::super::sample::SampleEnd;
    use super::*;
    use crate::config::Decoding;

    fn cost() -> Cost {
        Cost {
            n_tokens: 1,
            n_proposed: 0,
            n_accepted: 0,
            n_interventions: 0,
            seconds: 1.0,
            end: SampleEnd::Function,
        }
    }

    /// Samples of a scenario: equal letters are equal completions, upper case is secure and lower case vulnerable.
    fn samples(scenario: &str, mode: Mode, letters: &str) -> Vec<SecuritySample> {
        let sample = |(letter, number): (char, u32)| SecuritySample {
            scenario: scenario.to_owned(),
            cwe: scenario[..7].to_uppercase(),
            prompt: PromptKind::Ltr,
            law: Decoding { mode, ..Decoding::default() },
            sample: number,
            completion: letter.to_string(),
            judgement: Judgement {
                verdict: match letter.is_uppercase() {
                    true => Verdict::Secure,
                    false => Verdict::Vulnerable,
                },
                reason: String::new(),
                beyond_query: false,
            },
            cost: cost(),
        };
        letters.chars().zip(0..).map(sample).collect()
    }

    #[test]
    fn the_security_table_has_a_row_per_weakness_and_unseen_ones_apart() {
        let all = [
            samples("cwe-089/0-py", Mode::Off, "aB"),
            samples("cwe-089/0-py", Mode::Cosec, "AAAb"),
            samples("cwe-022/0-py", Mode::Off, "aa"),
            samples("cwe-022/0-py", Mode::Cosec, "A"),
            samples("cwe-502/0-py", Mode::Off, "A"),
        ];
        let text = security(&all.concat());
        let row = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap();
        assert!(text.contains("### Left-to-right prompts, weaknesses seen in training"), "{text}");
        assert!(
            text.contains("### Left-to-right prompts, weaknesses unseen in training"),
            "{text}"
        );
        assert!(
            row("| CWE-022 |").starts_with("| CWE-022 | 1 | 0.0 [0.0, 0.0] (n = 1) | 100.0 "),
            "{text}"
        );
        // Distinct: 50 and 50; all: 50 and 75.
        let cells: Vec<&str> = row("| CWE-089 |").split('|').map(str::trim).collect();
        assert!(cells[3].starts_with("50.0 [") && cells[4].starts_with("50.0 ["), "{text}");
        assert!(cells[5].starts_with("50.0 [") && cells[6].starts_with("75.0 ["), "{text}");
        assert!(cells[7].starts_with("+0.0 [") && cells[8].starts_with("+25.0 ["), "{text}");
        let cells: Vec<&str> = row("| **all** |").split('|').map(str::trim).collect();
        assert!(cells[3].starts_with("25.0 [") && cells[7].starts_with("+50.0 ["), "{text}");
        assert!(
            row("| cosec |").starts_with("| cosec | 5 | 2 | 0 | 3 | 2 | 1 | 0 | 0 |"),
            "{text}"
        );
        assert!(row("| CWE-502 |").contains("(n = 1)"), "{text}");
        for table in text.split("\n\n").filter(|part| part.starts_with('|')) {
            let widths: Vec<usize> = table.lines().map(|line| line.matches('|').count()).collect();
            assert!(widths.iter().all(|width| *width == widths[0]), "{table}");
        }
    }

    #[test]
    fn kinds_of_prompts_are_also_shown_together() {
        let ltr = samples("cwe-089/0-py", Mode::Cosec, "AAb");
        let mut fim = samples("cwe-089/0-py", Mode::Cosec, "AC");
        fim.iter_mut().for_each(|sample| sample.prompt = PromptKind::Fim);
        let text = security(&[ltr.clone(), fim].concat());
        let all = text.split("### All prompts").nth(1).expect("there are two kinds");
        // Distinct: A, b of one kind, A, C of the other.
        assert!(all.contains("| CWE-089 | 1 | 75.0 ["), "{text}");
        assert!(all.contains("| cosec | 5 | 1 | 0 | 4 | 3 | 1 | 0 | 0 |"), "{text}");
        assert!(!security(&ltr).contains("### All"), "there is one kind");
    }

    #[test]
    fn two_runs_are_compared_on_what_both_have() {
        let a =
            [samples("cwe-089/0-py", Mode::Cosec, "ab"), samples("cwe-022/0-py", Mode::Off, "A")];
        let b = samples("cwe-089/0-py", Mode::Cosec, "AB");
        let text = compare_security(&a.concat(), &b);
        assert!(
            text.ends_with(
                "| Left-to-right | cosec | 1 | +100.0 [+100.0, +100.0] | +100.0 [+100.0, +100.0] |\n"
            ),
            "{text}"
        );
        assert_eq!(text.lines().count(), 3, "{text}");
    }

    #[test]
    fn pass_at_k_is_given_where_there_are_k_samples() {
        let sample = |task_id: &str, mode, sample, passed| FunctionalSample {
            task_id: task_id.to_owned(),
            law: Decoding { mode, ..Decoding::default() },
            sample,
            completion: String::new(),
            passed,
            cost: cost(),
        };
        let samples = [
            sample("a", Mode::Off, 0, true),
            sample("a", Mode::Off, 1, false),
            sample("b", Mode::Off, 0, false),
            sample("a", Mode::Cosec, 0, true),
            sample("b", Mode::Cosec, 0, true),
        ];
        let text = functional(&samples, &[1, 2]);
        assert!(text.contains("| off | 1 | 2 | 25.0 ["), "{text}");
        assert!(text.contains("| off | 2 | 1 | 100.0 ["), "{text}");
        assert!(
            text.contains("| cosec | 1 | 2 | 100.0 [100.0, 100.0] (n = 2) | +75.0 ["),
            "{text}"
        );
        assert!(text.contains("| cosec | 2 | 0 | – | – |"), "{text}");
    }
}
