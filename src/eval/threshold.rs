//! What the acceptance threshold α does to security and to correctness: the paper's figure 4 and a table beside it.
//!
//! Every α has a directory of its own, which is a run like any other; the base alone, for which α means nothing, has
//! one too. Everything here is read from these directories, so that it does not matter which command filled them, and
//! when.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::Error;
use super::record::{
    Cost, Difference, FUNCTIONAL_FILE, FunctionalSample, Records, SECURITY_FILE, SecuritySample,
    differences,
};
use super::report::{by_scenario, passes, percent, points};
use super::sample::PromptKind;
use super::statistics::{Estimate, difference, mean, values};
use crate::config::{Decoding, Mode};

/// The setting that the runs of a sweep do not share.
const ALPHA: &str = "alpha";

/// One run of a sweep.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Setting {
    /// The base alone, whatever α is.
    Off,
    /// Hardened with this α.
    Alpha(f32),
}

impl Setting {
    /// Its directory: `off`, or `alpha-0.3`.
    pub fn directory(self) -> String {
        match self {
            Self::Off => "off".to_owned(),
            Self::Alpha(alpha) => format!("alpha-{alpha}"),
        }
    }

    /// Its name in tables.
    fn name(self) -> String {
        match self {
            Self::Off => "base alone".to_owned(),
            Self::Alpha(alpha) => alpha.to_string(),
        }
    }

    fn is_of(self, law: &Decoding) -> bool {
        match self {
            Self::Off => law.mode == Mode::Off,
            Self::Alpha(alpha) => law.mode == Mode::Cosec && law.alpha == alpha,
        }
    }
}

/// The samples of one setting.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// How they were drawn.
    pub setting: Setting,
    /// Completions of scenarios.
    pub security: Vec<SecuritySample>,
    /// Completions of problems.
    pub functional: Vec<FunctionalSample>,
}

/// Runs that differ in α alone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sweep {
    /// The base alone first, then by α.
    pub runs: Vec<Run>,
}

/// What is measured at every α.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// The security ratio over distinct completions.
    Distinct(PromptKind),
    /// The security ratio over all completions.
    All(PromptKind),
    /// pass@1.
    Passes,
}

/// A quantity over α.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// What it is.
    pub quantity: Quantity,
    /// Of the base alone; none where it was not drawn.
    pub base: Option<Estimate>,
    /// By α, as far as there are values.
    pub points: Vec<(f32, Estimate)>,
}

/// A value or several per scenario or problem.
type Groups = BTreeMap<String, Vec<f64>>;

impl Run {
    fn groups(&self, quantity: Quantity) -> Groups {
        let ratios = |prompt, is_distinct| {
            let samples = self.security.iter().filter(|sample| sample.prompt == prompt).collect();
            let counts = by_scenario(samples).into_iter();
            let sides = counts.map(|(name, counts)| match is_distinct {
                true => (name, values(&counts.distinct)),
                false => (name, values(&counts.all)),
            });
            sides.filter(|(_, values)| !values.is_empty()).collect()
        };
        match quantity {
            Quantity::Distinct(prompt) => ratios(prompt, true),
            Quantity::All(prompt) => ratios(prompt, false),
            Quantity::Passes => {
                let mode = match self.setting {
                    Setting::Off => Mode::Off,
                    Setting::Alpha(_) => Mode::Cosec,
                };
                let passes = passes(&self.functional, mode, 1).into_iter();
                passes.map(|(name, pass)| (name.to_owned(), vec![pass])).collect()
            }
        }
    }

    fn estimate(&self, quantity: Quantity) -> Option<Estimate> {
        mean(&self.groups(quantity).into_values().collect::<Vec<_>>())
    }

    /// The difference to `base`, paired by scenario or problem.
    fn change(&self, base: &Self, quantity: Quantity) -> Option<Estimate> {
        let (was, mut is) = (base.groups(quantity), self.groups(quantity));
        let pairs = was.into_iter().filter_map(|(name, was)| Some((was, is.remove(&name)?)));
        difference(&pairs.collect::<Vec<_>>())
    }

    /// The share of accepted proposals among all samples that `quantity` is about; none without a proposal.
    fn acceptance(&self, quantity: Quantity) -> Option<f64> {
        let costs: Vec<&Cost> = match quantity {
            Quantity::Distinct(prompt) | Quantity::All(prompt) => {
                let of_prompt = self.security.iter().filter(|sample| sample.prompt == prompt);
                of_prompt.map(|sample| &sample.cost).collect()
            }
            Quantity::Passes => self.functional.iter().map(|sample| &sample.cost).collect(),
        };
        let n_proposed: usize = costs.iter().map(|cost| cost.n_proposed).sum();
        let n_accepted: usize = costs.iter().map(|cost| cost.n_accepted).sum();
        (n_proposed > 0).then(|| n_accepted as f64 / n_proposed as f64)
    }
}

impl Sweep {
    /// Reads what there is of `settings` below `directory`; what is not there is left out.
    ///
    /// # Errors
    /// If a file cannot be read, a line is no sample, or the runs differ in more than α.
    pub fn read(directory: &Path, settings: &[Setting]) -> Result<Self, Error> {
        let (mut of_security, mut of_functional) = (None, None);
        let mut sweep = Self::default();
        for &setting in settings {
            let run = directory.join(setting.directory());
            let mut security: Vec<SecuritySample> =
                read(&run.join(SECURITY_FILE), &mut of_security)?;
            let mut functional: Vec<FunctionalSample> =
                read(&run.join(FUNCTIONAL_FILE), &mut of_functional)?;
            security.retain(|sample| setting.is_of(&sample.law));
            functional.retain(|sample| setting.is_of(&sample.law));
            if !security.is_empty() || !functional.is_empty() {
                sweep.runs.push(Run { setting, security, functional });
            }
        }
        Ok(sweep)
    }

    /// The quantities of the figure that any run has values of: security ratios over distinct completions, and pass@1.
    pub fn series(&self) -> Vec<Series> {
        let quantities = [PromptKind::Ltr, PromptKind::Fim].map(Quantity::Distinct);
        let series = quantities.into_iter().chain([Quantity::Passes]).map(|quantity| Series {
            quantity,
            base: self.base().and_then(|run| run.estimate(quantity)),
            points: self.points(quantity),
        });
        series.filter(|series| series.base.is_some() || !series.points.is_empty()).collect()
    }

    /// Tables in Markdown: per kind of prompts, and of problems, a row per α.
    pub fn table(&self) -> String {
        let mut text = String::new();
        for (prompt, name) in
            [(PromptKind::Ltr, "left-to-right"), (PromptKind::Fim, "fill-in-the-middle")]
        {
            let columns = [
                ("SR (distinct)", Quantity::Distinct(prompt)),
                ("SR (all)", Quantity::All(prompt)),
            ];
            self.write_part(&mut text, &format!("Security, {name} prompts"), &columns);
        }
        self.write_part(&mut text, "Functional correctness", &[("pass@1", Quantity::Passes)]);
        text + "In percent with 95 % intervals (bootstrap over scenarios or problems and their samples); differences are \
                to the base alone, paired by scenario or problem; accepted: the security model's proposals that the base \
                accepted.\n"
    }

    fn write_part(&self, text: &mut String, title: &str, columns: &[(&str, Quantity)]) {
        let has_values = |run: &&Run| !run.groups(columns[0].1).is_empty();
        let runs: Vec<&Run> = self.runs.iter().filter(has_values).collect();
        if runs.is_empty() {
            return;
        }
        let mut head = "| α |".to_owned();
        for (name, _) in columns {
            let _ = write!(head, " {name} | difference |");
        }
        head += " accepted |";
        let rule = "---|".repeat(head.matches('|').count() - 1);
        let _ = writeln!(text, "### {title}\n\n{head}\n|{rule}");
        for run in runs {
            let _ = write!(text, "| {} |", run.setting.name());
            for &(_, quantity) in columns {
                let base = self.base().filter(|base| base.setting != run.setting);
                let change = base.and_then(|base| run.change(base, quantity));
                let _ = write!(text, " {} | {} |", percent(run.estimate(quantity)), points(change));
            }
            let accepted = run.acceptance(columns[0].1);
            let _ = writeln!(
                text,
                " {} |",
                accepted.map_or("–".to_owned(), |share| format!("{:.0}", 100.0 * share))
            );
        }
        text.push('\n');
    }

    fn base(&self) -> Option<&Run> {
        self.runs.iter().find(|run| run.setting == Setting::Off)
    }

    fn points(&self, quantity: Quantity) -> Vec<(f32, Estimate)> {
        let point = |run: &Run| match run.setting {
            Setting::Off => None,
            Setting::Alpha(alpha) => Some((alpha, run.estimate(quantity)?)),
        };
        self.runs.iter().filter_map(point).collect()
    }
}

/// The samples of a file, if there is one. All files of one kind must have the settings of the `first`, but for α.
fn read<T: Serialize + DeserializeOwned>(
    path: &Path,
    first: &mut Option<Map<String, Value>>,
) -> Result<Vec<T>, Error> {
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let (settings, samples) = Records::<T>::read(path)?;
    let first = first.get_or_insert_with(|| settings.clone());
    let other = differences(first, &settings).find(|difference| difference.field != ALPHA);
    match other {
        None => Ok(samples),
        Some(Difference { field, was, is }) => {
            // What was read before is what the others are held to.
            Err(Error::OtherSettings { path: path.to_owned(), field, was: is, is: was })
        }
    }
}
