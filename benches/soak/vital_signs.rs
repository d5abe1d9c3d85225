//! Memory, threads and open files of a process, as the kernel counts them, and whether they grow.

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

/// The part of a run in which it may still grow: models are loaded, caches filled, pools started.
const WARM_UP: f64 = 0.25;

/// Growth that is no growth: what allocators keep, in KiB and as a part of the whole.
const ALLOWED_KIB: f64 = 24.0 * 1024.0;
const ALLOWED_PART: f64 = 0.05;

/// Threads and files that come and go.
const ALLOWED_COUNT: f64 = 4.0;

/// One process under observation.
pub(crate) struct VitalSigns {
    process_id: u32,
    started: Instant,
    looks: Vec<Look>,
}

/// What was seen at one moment.
struct Look {
    minutes: f64,
    resident_kib: f64,
    peak_kib: f64,
    n_threads: f64,
    n_files: f64,
}

impl VitalSigns {
    pub(crate) fn of(process_id: u32) -> Self {
        Self { process_id, started: Instant::now(), looks: Vec::new() }
    }

    /// Takes down what there is now.
    pub(crate) fn look(&mut self) -> Result<()> {
        let directory = format!("/proc/{}", self.process_id);
        let status = fs::read_to_string(format!("{directory}/status"))
            .context("the server is gone, or this is no Linux")?;
        let number = |field: &str| -> Result<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
            let value = line.and_then(|line| line.split_whitespace().next());
            Ok(value.with_context(|| format!("no {field}"))?.parse()?)
        };
        self.looks.push(Look {
            minutes: self.started.elapsed().as_secs_f64() / 60.0,
            resident_kib: number("VmRSS")?,
            peak_kib: number("VmHWM")?,
            n_threads: number("Threads")?,
            n_files: fs::read_dir(format!("{directory}/fd"))?.count() as f64,
        });
        Ok(())
    }

    /// Prints the figures after the warm-up.
    ///
    /// # Errors
    /// If one of them grows.
    pub(crate) fn report(&self) -> Result<()> {
        let all = self.looks.last().context("the server was never looked at")?.minutes;
        let looks: Vec<&Look> =
            self.looks.iter().filter(|look| look.minutes >= all * WARM_UP).collect();
        let resident = |look: &Look| look.resident_kib;
        let mean = mean(&looks, resident);
        let memory = growth(&looks, resident);
        let peak = looks.last().map_or(0.0, |look| look.peak_kib);
        println!(
            "memory: mean {:.1} MiB, peak {:.1} MiB, growth {:+.2} MiB in {:.1} minutes ({} looks)",
            mean / 1024.0,
            peak / 1024.0,
            memory / 1024.0,
            all * (1.0 - WARM_UP),
            looks.len()
        );
        let (threads, files) =
            (growth(&looks, |look| look.n_threads), growth(&looks, |look| look.n_files));
        let most = |of: fn(&Look) -> f64| looks.iter().map(|look| of(look)).fold(0.0, f64::max);
        println!("threads: most {}, growth {threads:+.1}", most(|look| look.n_threads));
        println!("open files: most {}, growth {files:+.1}", most(|look| look.n_files));
        ensure!(memory <= ALLOWED_KIB.max(mean * ALLOWED_PART), "memory grows");
        ensure!(threads <= ALLOWED_COUNT, "threads are left behind");
        ensure!(files <= ALLOWED_COUNT, "files are left open");
        println!("flat");
        Ok(())
    }
}

fn mean(looks: &[&Look], of: impl Fn(&Look) -> f64) -> f64 {
    looks.iter().map(|look| of(look)).sum::<f64>() / looks.len() as f64
}

/// By how much the straight line that fits best rises from the first look to the last.
fn growth(looks: &[&Look], of: impl Fn(&Look) -> f64) -> f64 {
    let (time, value) = (mean(looks, |look| look.minutes), mean(looks, &of));
    let product = |look: &&&Look| (look.minutes - time) * (of(look) - value);
    let square = |look: &&&Look| (look.minutes - time).powi(2);
    let covariance: f64 = looks.iter().map(|look| product(&look)).sum();
    let variance: f64 = looks.iter().map(|look| square(&look)).sum();
    let minutes = looks.last().map_or(0.0, |last| last.minutes - looks[0].minutes);
    if variance > 0.0 { covariance / variance * minutes } else { 0.0 }
}
