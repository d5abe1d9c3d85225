//! `cosec-ls setup`: puts this server into an editor's configuration, shows the difference first, and can take it back.
//!
//! An editor's module says what it would write, as a [`Plan`]; this one shows it, asks, and carries it out. What was written
//! is remembered in the state directory, which is what `--undo` works from.

use std::io::{IsTerminal, stdin};
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use places::Places;
use plan::{Colours, Plan};
use record::Record;

use super::output::{Unwritable, out, remark};

pub mod emacs;
pub mod helix;
pub mod kate;
pub mod languages;
pub mod neovim;
pub mod places;
pub mod plan;
pub mod record;
pub mod settings_json;
pub mod sublime;
pub mod vscode;
pub mod zed;

/// `cosec-ls setup …`.
#[derive(Args, Debug)]
pub struct SetupArgs {
    /// The editor; without one, the editors on this machine are listed
    #[arg(value_enum)]
    editor: Option<Editor>,
    /// Do it without asking
    #[arg(long, requires = "editor")]
    yes: bool,
    /// Print the configuration, and change nothing
    #[arg(long, requires = "editor", conflicts_with_all = ["yes", "undo"])]
    print: bool,
    /// Take back what was written
    #[arg(long, requires = "editor")]
    undo: bool,
    /// Languages, separated by commas (Helix, Emacs and Kate) [default: those that are set up, or a list of twenty]
    #[arg(long, value_delimiter = ',', value_name = "LANGUAGE")]
    languages: Vec<String>,
    /// The extension to install (VS Code) [default: one that lies with this program]
    #[arg(long, value_name = "FILE")]
    vsix: Option<PathBuf>,
}

/// Editors that can be set up.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Editor {
    /// Helix
    #[value(alias = "hx")]
    Helix,
    /// Neovim
    #[value(alias = "nvim")]
    Neovim,
    /// VS Code, VSCodium or code-server
    #[value(name = "vscode", aliases = ["code", "codium", "code-server"])]
    VsCode,
    /// Emacs, with Eglot or lsp-mode
    Emacs,
    /// Kate
    Kate,
    /// Sublime Text, with the package LSP
    #[value(alias = "subl")]
    Sublime,
    /// Zed
    Zed,
}

/// What the user wants of an editor.
#[derive(Debug)]
pub struct Wish<'a> {
    /// Where things are.
    pub places: &'a Places,
    /// How the editor starts the server.
    pub server: String,
    /// The languages that were named.
    pub languages: &'a [String],
    /// The extension that was named.
    pub vsix: Option<&'a PathBuf>,
}

/// Lists, prints, writes or takes back. The exit code is 1 if what was asked for was not done.
///
/// # Errors
/// If a configuration cannot be read or written; nothing of it is lost.
pub fn run(args: &SetupArgs) -> Result<ExitCode> {
    let places = Places::of_user()?;
    let Some(editor) = args.editor else {
        list(&places)?;
        return Ok(ExitCode::SUCCESS);
    };
    let by_language = matches!(editor, Editor::Helix | Editor::Emacs | Editor::Kate);
    if !args.languages.is_empty() && !by_language {
        bail!("--languages is for helix, emacs and kate");
    }
    if args.vsix.is_some() && editor != Editor::VsCode {
        bail!("--vsix is for vscode");
    }
    let wish = Wish {
        places: &places,
        server: places.server()?,
        languages: &args.languages,
        vsix: args.vsix.as_ref(),
    };
    match args {
        SetupArgs { print: true, .. } => {
            write!(out(), "{}", editor.configuration(&wish)?)?;
            Ok(ExitCode::SUCCESS)
        }
        SetupArgs { undo: true, .. } => undo(editor, &places, args),
        _ => set_up(editor, &wish, args),
    }
}

fn set_up(editor: Editor, wish: &Wish<'_>, args: &SetupArgs) -> Result<ExitCode> {
    let places = wish.places;
    let record = Record::read(places, editor.name())?;
    let plan = editor.plan(wish, &record)?;
    if let Some(what) = &plan.by_hand {
        writeln!(out(), "{what}")?;
        return Ok(ExitCode::FAILURE);
    }
    if plan.is_empty() {
        say_notes(&plan);
        writeln!(out(), "{} is set up; there is nothing to change", editor.name())?;
        return Ok(ExitCode::SUCCESS);
    }
    if !agreed(&plan, places, args)? {
        return Ok(ExitCode::FAILURE);
    }
    let _lock = record::lock(places)?;
    if !plan.edits.is_empty() {
        let mut record = Record::read(places, editor.name())?;
        plan.check(places)?;
        record.add(&plan, places, editor.name())?;
        plan.write(places)?;
    }
    run_commands(&plan)?;
    writeln!(out(), "done. {}", plan.next)?;
    Ok(ExitCode::SUCCESS)
}

fn undo(editor: Editor, places: &Places, args: &SetupArgs) -> Result<ExitCode> {
    let record = Record::read(places, editor.name())?;
    let plan = match editor {
        Editor::VsCode => vscode::undoing(places)?,
        _ => record.undoing(places)?,
    };
    if plan.is_empty() && record.is_empty() {
        let by_hand = match editor.is_set_up(places) {
            Ok(true) if editor != Editor::VsCode => {
                "; its configuration names cosec-ls, but not because of us"
            }
            _ => "",
        };
        writeln!(out(), "nothing was written for {}{by_hand}", editor.name())?;
        return Ok(ExitCode::SUCCESS);
    }
    if !plan.is_empty() && !agreed(&plan, places, args)? {
        return Ok(ExitCode::FAILURE);
    }
    let _lock = record::lock(places)?;
    plan.check(places)?;
    plan.write(places)?;
    run_commands(&plan)?;
    if !record.is_empty() {
        record.forget(places, editor.name())?;
    }
    writeln!(out(), "done: {} is as it was without cosec-ls", editor.name())?;
    Ok(ExitCode::SUCCESS)
}

/// Shows the plan and asks; says why not where the answer is no.
fn agreed(plan: &Plan, places: &Places, args: &SetupArgs) -> Result<bool> {
    let colours = if out().is_terminal() { Colours::Ansi } else { Colours::None };
    write!(out(), "{}", plan.render(places, colours))?;
    say_notes(plan);
    if args.yes {
        return Ok(true);
    }
    if !(out().is_terminal() && stdin().is_terminal()) {
        remark("nothing was changed: there is nobody to ask, and no --yes");
        return Ok(false);
    }
    write!(out(), "Apply? [y/N] ")?;
    out().flush()?;
    let mut answer = String::new();
    stdin().read_line(&mut answer).context("no answer")?;
    let yes = matches!(answer.trim(), "y" | "Y" | "yes");
    if !yes {
        remark("nothing was changed");
    }
    Ok(yes)
}

fn say_notes(plan: &Plan) {
    for note in &plan.notes {
        remark(format_args!("note: {note}"));
    }
}

fn run_commands(plan: &Plan) -> Result<()> {
    for line in &plan.commands {
        let Some((program, args)) = line.split_first() else { continue };
        let ended = Command::new(program).args(args).status();
        let ended = ended.with_context(|| format!("cannot run {program}"))?;
        if !ended.success() {
            bail!("`{}` failed ({ended})", line.join(" "));
        }
    }
    Ok(())
}

/// A line for each editor.
fn list(places: &Places) -> Result<(), Unwritable> {
    for editor in Editor::value_variants() {
        let name = editor.name();
        let Some(program) = places.first_program(editor.programs()) else {
            writeln!(out(), "{name:8} not on the PATH")?;
            continue;
        };
        let version = places::version(&program).unwrap_or_else(|| "?".to_owned());
        let state = match editor.is_set_up(places) {
            Ok(true) => "set up".to_owned(),
            Ok(false) => format!("not set up: `cosec-ls setup {name}`"),
            Err(error) => format!("{error:#}"),
        };
        let (program, directory) = (program.display(), places.shown(&editor.directory(places)));
        writeln!(out(), "{name:8} {version:12} {program}, {directory}: {state}")?;
    }
    Ok(())
}

impl Editor {
    fn name(self) -> &'static str {
        match self {
            Self::Helix => "helix",
            Self::Neovim => "neovim",
            Self::VsCode => "vscode",
            Self::Emacs => "emacs",
            Self::Kate => "kate",
            Self::Sublime => "sublime",
            Self::Zed => "zed",
        }
    }

    fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Helix => &helix::PROGRAMS,
            Self::Neovim => &["nvim"],
            Self::VsCode => &vscode::PROGRAMS,
            Self::Emacs => &emacs::PROGRAMS,
            Self::Kate => &kate::PROGRAMS,
            Self::Sublime => &sublime::PROGRAMS,
            Self::Zed => &zed::PROGRAMS,
        }
    }

    /// Where its configuration is.
    fn directory(self, places: &Places) -> PathBuf {
        match self {
            Self::Helix => helix::directory(places),
            Self::Neovim => neovim::directory(places),
            Self::VsCode => vscode::directory(places),
            Self::Emacs => emacs::directory(places),
            Self::Kate => kate::directory(places),
            Self::Sublime => sublime::directory(places),
            Self::Zed => zed::directory(places),
        }
    }

    fn is_set_up(self, places: &Places) -> Result<bool> {
        match self {
            Self::Helix => helix::is_set_up(places),
            Self::Neovim => Ok(neovim::is_set_up(places)),
            Self::VsCode => Ok(vscode::is_set_up(places)),
            Self::Emacs => emacs::is_set_up(places),
            Self::Kate => kate::is_set_up(places),
            Self::Sublime => sublime::is_set_up(places),
            Self::Zed => Ok(false),
        }
    }

    fn plan(self, wish: &Wish<'_>, record: &Record) -> Result<Plan> {
        match self {
            Self::Helix => helix::plan(wish),
            Self::Neovim => neovim::plan(wish, record),
            Self::VsCode => vscode::plan(wish),
            Self::Emacs => emacs::plan(wish),
            Self::Kate => kate::plan(wish),
            Self::Sublime => sublime::plan(wish),
            Self::Zed => Ok(zed::plan()),
        }
    }

    /// The configuration alone, as text to paste.
    fn configuration(self, wish: &Wish<'_>) -> Result<String> {
        match self {
            Self::Helix => helix::configuration(wish),
            Self::Neovim => Ok(neovim::configuration(wish)),
            Self::VsCode => Ok(vscode::configuration(wish)),
            Self::Emacs => emacs::configuration(wish),
            Self::Kate => kate::configuration(wish),
            Self::Sublime => sublime::configuration(wish),
            Self::Zed => Ok(format!("{}\n", zed::GUIDE)),
        }
    }
}
