//! The runs of several α beside each other: what is read of their directories, the table, and the figure.

use std::fs;
use std::path::Path;

use cosec_ls::config::{Decoding, Mode};
use cosec_ls::eval::figure;
use cosec_ls::eval::judge::{Judgement, Verdict};
use cosec_ls::eval::record::{
    Cost, FUNCTIONAL_FILE, FunctionalSample, Records, SECURITY_FILE, SecuritySample,
};
use cosec_ls::eval::sample::{PromptKind, SampleEnd};
use cosec_ls::eval::threshold::{Setting, Sweep};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, json};

const SETTINGS: [Setting; 3] = [Setting::Off, Setting::Alpha(0.1), Setting::Alpha(0.9)];

fn law(setting: Setting) -> Decoding {
    match setting {
        Setting::Off => Decoding { mode: Mode::Off, ..Decoding::default() },
        Setting::Alpha(alpha) => Decoding { alpha, ..Decoding::default() },
    }
}

fn cost(setting: Setting) -> Cost {
    let n_proposed = if setting == Setting::Off { 0 } else { 10 };
    Cost {
        n_tokens: 10,
        n_proposed,
        n_accepted: n_proposed * 4 / 5,
        n_interventions: 0,
        seconds: 1.0,
        end: SampleEnd::Function,
    }
}

/// Writes samples to a setting's directory, as a run does.
fn write<T: Serialize + DeserializeOwned>(
    (directory, setting, temperature): (&Path, Setting, f64),
    file: &str,
    samples: Vec<T>,
) {
    let run = directory.join(setting.directory());
    fs::create_dir_all(&run).unwrap();
    let settings = [("alpha", json!(law(setting).alpha)), ("temperature", json!(temperature))];
    let settings = Map::from_iter(settings.map(|(name, value)| (name.to_owned(), value)));
    let mut records = Records::open(&run.join(file), &settings).unwrap();
    for sample in samples {
        records.add(sample).unwrap();
    }
}

/// Forty distinct completions of one scenario, of which so many are secure.
fn security(setting: Setting, n_secure: u32) -> Vec<SecuritySample> {
    let sample = |sample: u32| SecuritySample {
        scenario: "cwe-089/0-py".to_owned(),
        cwe: "CWE-089".to_owned(),
        prompt: PromptKind::Ltr,
        law: law(setting),
        sample,
        completion: sample.to_string(),
        judgement: Judgement {
            verdict: if sample < n_secure { Verdict::Secure } else { Verdict::Vulnerable },
            reason: String::new(),
            beyond_query: false,
        },
        cost: cost(setting),
    };
    (0..40).map(sample).collect()
}

/// Two samples of each of four problems, both right for the first so many problems.
fn functional(setting: Setting, n_right: usize) -> Vec<FunctionalSample> {
    let sample = |i: usize| FunctionalSample {
        task_id: format!("T/{}", i / 2),
        law: law(setting),
        sample: (i % 2) as u32,
        completion: String::new(),
        passed: i / 2 < n_right,
        cost: cost(setting),
    };
    (0..8).map(sample).collect()
}

/// The base alone, α = 0.1 and α = 0.9: 10, 30 and 20 of 40 secure; 2, 1 and 3 of 4 right.
fn sweep(directory: &Path) -> Sweep {
    for (setting, (n_secure, n_right)) in SETTINGS.into_iter().zip([(10, 2), (30, 1), (20, 3)]) {
        write((directory, setting, 0.4), SECURITY_FILE, security(setting, n_secure));
        write((directory, setting, 0.4), FUNCTIONAL_FILE, functional(setting, n_right));
    }
    Sweep::read(directory, &SETTINGS).unwrap()
}

#[test]
fn every_threshold_has_a_row_beside_the_base_alone() {
    let directory = tempfile::tempdir().unwrap();
    let text = sweep(directory.path()).table();
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with('|') && !line.starts_with("|---"))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    assert_eq!(
        rows.iter().map(|row| row[1]).collect::<Vec<_>>(),
        ["α", "base alone", "0.1", "0.9", "α", "base alone", "0.1", "0.9"]
    );
    assert_eq!(rows[0].len(), 8, "{text}");
    assert!(rows[1][2].starts_with("25.0 [") && rows[1][3] == "–", "{text}");
    assert!(rows[2][2].starts_with("75.0 [") && rows[2][3].starts_with("+50.0 ["), "{text}");
    assert!(rows[2][4].starts_with("75.0 [") && rows[2][5].starts_with("+50.0 ["), "{text}");
    assert_eq!((rows[1][6], rows[2][6]), ("–", "80"), "{text}");
    // Of forty fair draws, 14 to 26 are heads in the middle 95 % (the binomial distribution's own quantiles).
    assert_eq!(rows[3][2], "50.0 [35.0, 65.0] (n = 40)", "{text}");
    assert!(rows[5][2].starts_with("50.0 [") && rows[5][2].ends_with("(n = 4)"), "{text}");
    assert!(rows[6][2].starts_with("25.0 [") && rows[6][3].starts_with("-25.0 ["), "{text}");
    assert!(!text.contains("fill-in-the-middle prompts"), "{text}");
}

/// Centres of all circles, in the order in which they are drawn.
fn circles(svg: &str) -> Vec<(i32, i32)> {
    let number = |text: &str, name: &str| -> i32 {
        let rest = text.split_once(&format!("{name}=\"")).unwrap().1;
        rest.split('"').next().unwrap().parse().unwrap()
    };
    svg.split("<circle ").skip(1).map(|text| (number(text, "cx"), number(text, "cy"))).collect()
}

#[test]
fn the_figure_has_two_axes_and_the_base_alone_as_a_line() {
    let directory = tempfile::tempdir().unwrap();
    let series = sweep(directory.path()).series();
    assert_eq!(series.len(), 2);
    let svg = figure::thresholds(&series).unwrap();
    for text in ["security ratio (%)", "pass@1 (%)", "security ratio, left-to-right", "\npass@1\n"]
    {
        assert!(svg.contains(text), "no `{text}` in {svg}");
    }
    let [security_low, security_high, pass_low, pass_high] = circles(&svg)[..] else {
        panic!("four points expected in {svg}");
    };
    // Pixels grow downwards: 75 % over 50 % secure, 25 % under 75 % right.
    assert!(security_low.1 < security_high.1 && pass_low.1 > pass_high.1, "{svg}");
    assert!(security_low.0 < security_high.0 && security_low.0 < pass_low.0, "{svg}");
    let without = |mut series: Vec<_>| {
        series.iter_mut().for_each(|series: &mut cosec_ls::eval::threshold::Series| {
            series.base = None;
        });
        figure::thresholds(&series).unwrap()
    };
    let n_lines = |svg: &str| svg.matches("<polyline").count() + svg.matches("<line").count();
    let n_dashes = n_lines(&svg).checked_sub(n_lines(&without(series))).unwrap();
    assert!(n_dashes > 40, "two dashed lines across the figure, not {n_dashes} dashes");
}

#[test]
fn a_figure_of_nothing_is_an_empty_plane() {
    let svg = figure::thresholds(&[]).unwrap();
    assert!(svg.contains("acceptance threshold") && circles(&svg).is_empty());
}

#[test]
fn what_is_not_there_is_left_out() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(Sweep::read(directory.path(), &SETTINGS).unwrap(), Sweep::default());
    let setting = Setting::Alpha(0.1);
    write((directory.path(), setting, 0.4), SECURITY_FILE, security(setting, 30));
    let sweep = Sweep::read(directory.path(), &SETTINGS).unwrap();
    assert_eq!(sweep.runs.len(), 1);
    assert!(sweep.table().contains("| 0.1 | 75.0 ["), "{}", sweep.table());
    assert!(sweep.series()[0].base.is_none());
}

#[test]
fn runs_may_differ_in_the_threshold_alone() {
    let directory = tempfile::tempdir().unwrap();
    let [_, low, high] = SETTINGS;
    write((directory.path(), low, 0.4), SECURITY_FILE, security(low, 30));
    write((directory.path(), high, 0.8), SECURITY_FILE, security(high, 30));
    let message = Sweep::read(directory.path(), &SETTINGS).unwrap_err().to_string();
    assert!(
        message.contains("alpha-0.9") && message.contains("another `temperature`"),
        "{message}"
    );
}

#[test]
fn samples_of_another_mode_do_not_count() {
    let directory = tempfile::tempdir().unwrap();
    let setting = Setting::Alpha(0.1);
    let samples = [security(setting, 30), security(Setting::Off, 10)].concat();
    write((directory.path(), setting, 0.4), SECURITY_FILE, samples);
    let sweep = Sweep::read(directory.path(), &SETTINGS).unwrap();
    assert_eq!(sweep.runs[0].security, security(setting, 30));
}
