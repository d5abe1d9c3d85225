//! A pull as seen on a terminal: one bar per file, or plain lines where there is no terminal.
//!
//! Ctrl-C stops the pull, which then says what stays; a second one ends the program at once.

use std::ffi::c_int;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use signal_hook::consts::SIGINT;
use signal_hook::flag;

use super::output::{remark, remarks_are_seen};
use crate::registry::Progress;

/// Plain lines come at every tenth of a file.
const PLAIN_STEPS: u64 = 10;

/// What a shell expects of a program that Ctrl-C ended.
const INTERRUPTED_EXIT_CODE: i32 = 130;

/// Whether Ctrl-C ends the program at once: true except while somebody is watching. Ctrl-C itself sets it, so that they
/// see it and a second Ctrl-C ends the program.
static CTRL_C: LazyLock<Arc<AtomicBool>> = LazyLock::new(|| {
    let ends_program = Arc::new(AtomicBool::new(true));
    // Without the handlers Ctrl-C ends the program as ever, and what is complete stays all the same.
    let _ = watch(SIGINT, &ends_program);
    ends_program
});

/// Has a signal set `ends_program`, and end the program if that was set before.
pub(super) fn watch(signal: c_int, ends_program: &Arc<AtomicBool>) -> io::Result<()> {
    // In this order: exit if it was set before, then set it.
    flag::register_conditional_shutdown(signal, INTERRUPTED_EXIT_CODE, Arc::clone(ends_program))?;
    flag::register(signal, Arc::clone(ends_program))?;
    Ok(())
}

/// Tells a person on stderr how a pull goes, and cancels it at Ctrl-C. One at a time.
#[derive(Debug)]
pub struct Terminal {
    shown: Mutex<Shown>,
}

/// What is on the screen.
#[derive(Debug)]
struct Shown {
    /// The file that the bar or the lines are about.
    model: String,
    /// Absent where stderr is no terminal.
    bar: Option<ProgressBar>,
    /// Tenths of the file that lines told of.
    told_steps: u64,
}

/// Whether Ctrl-C was pressed from now on, for a program that ends in its own time; a second one ends it at once.
pub(super) fn watch_ctrl_c() -> Arc<AtomicBool> {
    CTRL_C.store(false, Ordering::SeqCst);
    Arc::clone(&CTRL_C)
}

impl Terminal {
    /// Shows nothing before there is something to show.
    pub fn new() -> Self {
        watch_ctrl_c();
        let bar = remarks_are_seen().then(ProgressBar::hidden);
        Self { shown: Mutex::new(Shown { model: String::new(), bar, told_steps: 0 }) }
    }
}

impl Default for Terminal {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        CTRL_C.store(true, Ordering::SeqCst);
        let shown = self.shown.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(bar) = &shown.bar {
            bar.abandon();
        }
    }
}

impl Progress for Terminal {
    fn advance(&self, model: &str, done_bytes: u64, total_bytes: u64) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.turn_to(model, total_bytes);
        match &shown.bar {
            Some(bar) => bar.set_position(done_bytes),
            None => shown.tell(done_bytes, total_bytes),
        }
    }

    fn note(&self, message: &str) {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        match &shown.bar {
            Some(bar) if !bar.is_hidden() => bar.println(message),
            _ => remark(message),
        }
    }

    fn is_cancelled(&self) -> bool {
        CTRL_C.load(Ordering::SeqCst)
    }
}

impl Shown {
    /// Begins anew for another file.
    fn turn_to(&mut self, model: &str, total_bytes: u64) {
        if self.model == model {
            return;
        }
        model.clone_into(&mut self.model);
        self.told_steps = 0;
        if let Some(bar) = &mut self.bar {
            bar.abandon();
            *bar = ProgressBar::new(total_bytes).with_style(style()).with_message(model.to_owned());
        }
    }

    fn tell(&mut self, done_bytes: u64, total_bytes: u64) {
        let steps = done_bytes * PLAIN_STEPS / total_bytes.max(1);
        if steps > self.told_steps {
            self.told_steps = steps;
            remark(format_args!(
                "{}: {} of {}",
                self.model,
                HumanBytes(done_bytes),
                HumanBytes(total_bytes)
            ));
        }
    }
}

fn style() -> ProgressStyle {
    let template = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    ProgressStyle::with_template(template).expect("the template is fixed and right")
}
