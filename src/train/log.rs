//! What a run reports, kept beside its checkpoint: a line of JSON per step and per validation, and the curve as SVG.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use plotters::prelude::*;
use serde::{Deserialize, Serialize};

use super::Error;
use super::checkpoint::write_whole;
use super::examples::Kind;
use super::trainer::{StepReport, Validation};

/// The log in the run's directory.
pub const FILE: &str = "log.jsonl";

/// The curve in the run's directory.
pub const CURVE: &str = "loss.svg";

/// Steps whose losses are averaged in the curve: single examples differ by an order of magnitude.
const SMOOTHING: usize = 20;

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// An optimizer step.
    Step(StepReport),
    /// Losses on the validation set after a step.
    Validation(ValidationReport),
}

/// [`Validation`] in the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ValidationReport {
    /// Steps done.
    pub step: usize,
    /// The loss that chooses the best checkpoint.
    pub loss: f64,
    /// By kind and weakness; the weakness `all` sums them up.
    pub parts: Vec<PartReport>,
}

/// One row of a validation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartReport {
    /// `left-to-right` or `fill-in-the-middle`.
    pub kind: String,
    /// The weakness, or `all`.
    pub cwe: String,
    /// Examples.
    pub n: usize,
    /// Mean over examples of the cross-entropy on the fix, in nats.
    pub cross_entropy: f64,
    /// Mean over examples of the divergence elsewhere, in nats.
    pub divergence: f64,
    /// Mean over all tokens of all fixes, in nats.
    pub cross_entropy_per_token: f64,
}

impl ValidationReport {
    /// The rows of `validation`, made after `step` steps.
    pub fn new(step: usize, validation: &Validation, fim_share: f64) -> Self {
        let mut parts = Vec::new();
        for kind in [Kind::LeftToRight, Kind::FillInMiddle] {
            let all = validation.of_kind(kind);
            if all.n_examples == 0 {
                continue;
            }
            let rows = validation.parts.iter().filter(|((k, _), _)| *k == kind);
            let rows = rows.map(|((_, cwe), part)| (cwe.as_str(), *part));
            for (cwe, part) in rows.chain([("all", all)]) {
                parts.push(PartReport {
                    kind: kind.name().to_owned(),
                    cwe: cwe.to_owned(),
                    n: part.n_examples,
                    cross_entropy: part.mean_cross_entropy(),
                    divergence: part.mean_divergence(),
                    cross_entropy_per_token: part.losses.mean_cross_entropy(),
                });
            }
        }
        Self { step, loss: validation.loss(fim_share), parts }
    }

    /// The row of all weaknesses of a kind.
    pub fn all(&self, kind: Kind) -> Option<&PartReport> {
        self.parts.iter().find(|part| part.kind == kind.name() && part.cwe == "all")
    }
}

/// The log of a run.
#[derive(Debug)]
pub struct Log {
    directory: PathBuf,
    file: File,
    events: Vec<Event>,
}

impl Log {
    /// Opens the log in `directory`, and forgets what was logged after `steps` steps: a continued run logs it again.
    ///
    /// # Errors
    /// If it cannot be read or written.
    pub fn open(directory: &Path, steps: usize) -> Result<Self, Error> {
        let path = directory.join(FILE);
        let mut events = read(&path)?;
        events.retain(|event| event.step() <= steps);
        let mut text = Vec::new();
        for event in &events {
            text.extend(line(event));
        }
        write_whole(&path, &text)?;
        let io = |source| Error::Io { path: path.clone(), source };
        let file = OpenOptions::new().append(true).open(&path).map_err(io)?;
        Ok(Self { directory: directory.to_owned(), file, events })
    }

    /// Appends an event.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn add(&mut self, event: Event) -> Result<(), Error> {
        let path = self.directory.join(FILE);
        self.file.write_all(&line(&event)).map_err(|source| Error::Io { path, source })?;
        self.events.push(event);
        Ok(())
    }

    /// What was logged.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Draws the curve: the smoothed training losses, and the validation losses as points.
    ///
    /// # Errors
    /// If it cannot be drawn or written.
    pub fn draw(&self) -> Result<(), Error> {
        let mut svg = String::new();
        curve(&self.events, &mut svg).map_err(|e| Error::Curve(e.to_string()))?;
        write_whole(&self.directory.join(CURVE), svg.as_bytes())
    }
}

impl Event {
    fn step(&self) -> usize {
        match self {
            Self::Step(report) => report.step,
            Self::Validation(report) => report.step,
        }
    }
}

fn line(event: &Event) -> Vec<u8> {
    let mut line = serde_json::to_vec(event).expect("numbers and strings have a JSON form");
    line.push(b'\n');
    line
}

/// The events of a log; a last line that was cut off by a crash is left out.
fn read(path: &Path) -> Result<Vec<Event>, Error> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(Error::Io { path: path.to_owned(), source }),
    };
    let lines = BufReader::new(file).lines().map_while(Result::ok);
    Ok(lines.map_while(|line| serde_json::from_str(&line).ok()).collect())
}

type DrawingError = Box<dyn std::error::Error>;

fn curve(events: &[Event], svg: &mut String) -> Result<(), DrawingError> {
    let steps: Vec<&StepReport> =
        events.iter().filter_map(|e| if let Event::Step(s) = e { Some(s) } else { None }).collect();
    let last = events.iter().map(Event::step).max().unwrap_or(1).max(1);
    let series = [
        ("cross-entropy on the fix", smooth(&steps, |s| s.cross_entropy), BLUE),
        ("divergence elsewhere", smooth(&steps, |s| s.divergence), RED),
    ];
    let highest = series.iter().flat_map(|(_, points, _)| points).map(|p| p.1).fold(0.1, f64::max);
    let area = SVGBackend::with_string(svg, (800, 480)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption("Training of the security model", ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(48)
        .build_cartesian_2d(0..last, 0.0..highest * 1.1)?;
    chart.configure_mesh().x_desc("optimizer steps").y_desc("nats per token").draw()?;
    for (name, points, color) in series {
        let line = chart.draw_series(LineSeries::new(points, color))?;
        line.label(name).legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color));
    }
    for (kind, color) in [(Kind::LeftToRight, GREEN), (Kind::FillInMiddle, MAGENTA)] {
        let points: Vec<(usize, f64)> = validations(events)
            .filter_map(|report| Some((report.step, report.all(kind)?.cross_entropy)))
            .collect();
        let line = chart.draw_series(LineSeries::new(points, color).point_size(3))?;
        line.label(format!("validation, {}", kind.name()))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color));
    }
    chart.configure_series_labels().border_style(BLACK).background_style(WHITE).draw()?;
    area.present()?;
    Ok(())
}

fn validations(events: &[Event]) -> impl Iterator<Item = &ValidationReport> {
    events.iter().filter_map(|event| match event {
        Event::Validation(report) => Some(report),
        Event::Step(_) => None,
    })
}

/// Means over the last [`SMOOTHING`] steps.
fn smooth(steps: &[&StepReport], value: impl Fn(&StepReport) -> f64) -> Vec<(usize, f64)> {
    let mean = |(i, step): (usize, &&StepReport)| {
        let window = &steps[(i + 1).saturating_sub(SMOOTHING)..=i];
        (step.step, window.iter().map(|s| value(s)).sum::<f64>() / window.len() as f64)
    };
    steps.iter().enumerate().map(mean).collect()
}
