//! `cosec-ls setup emacs`: a marked block at the end of the init file, for Eglot and for lsp-mode.
//!
//! Eglot runs one server per buffer. So it is told of ours only for languages whose usual servers are not installed, or
//! that are named. lsp-mode runs ours beside others, everywhere.

use std::path::PathBuf;

use anyhow::{Result, bail};

use super::Wish;
use super::languages::{LANGUAGES, Language, for_one_server};
use super::places::Places;
use super::plan::{self, Plan};

/// Emacs's program.
pub const PROGRAMS: [&str; 1] = ["emacs"];

const BEGIN: &str = ";; >>> cosec-ls >>>";
const END: &str = ";; <<< cosec-ls <<<";

/// Where the init file is.
pub fn directory(places: &Places) -> PathBuf {
    file(places).parent().map_or(places.home.clone(), ToOwned::to_owned)
}

/// Emacs's own order, with Doom's file for the user before it, since Doom's init file is Doom's.
fn file(places: &Places) -> PathBuf {
    let xdg = places.config.join("emacs");
    let classic = places.home.join(".emacs.d");
    if [&xdg, &classic].iter().any(|directory| directory.join("bin").join("doom").exists()) {
        let named = std::env::var_os("DOOMDIR").map(PathBuf::from);
        let older = Some(places.home.join(".doom.d")).filter(|directory| directory.exists());
        let doom = named.or(older).unwrap_or_else(|| places.config.join("doom"));
        return doom.join("config.el");
    }
    let single = [".emacs.el", ".emacs"].map(|name| places.home.join(name));
    let candidates = single.into_iter().chain([classic.join("init.el"), xdg.join("init.el")]);
    let mut existing = candidates.filter(|file| file.exists());
    let fresh = if xdg.is_dir() && !classic.is_dir() { xdg } else { classic };
    existing.next().unwrap_or_else(|| fresh.join("init.el"))
}

/// Whether the block is there.
pub fn is_set_up(places: &Places) -> Result<bool> {
    Ok(plan::read(&file(places))?.is_some_and(|text| text.contains("cosec-ls")))
}

/// The change of the init file.
///
/// # Errors
/// If it cannot be read, its block has no end, or a language is unknown.
pub fn plan(wish: &Wish<'_>) -> Result<Plan> {
    let path = file(wish.places);
    let mut plan = Plan {
        next: "Restart Emacs and open a file; `M-x eglot` (or `M-x lsp`) starts the server, `M-x completion-at-point` asks for a suggestion.".to_owned(),
        ..Plan::default()
    };
    if wish.places.home.join(".spacemacs").exists() {
        plan.by_hand = Some(format!(
            "Spacemacs keeps your configuration in functions of ~/.spacemacs; put this into `dotspacemacs/user-config` there:\n\n{}",
            configuration(wish)?
        ));
        return Ok(plan);
    }
    let (languages, left_out) = for_one_server(wish, "Eglot")?;
    plan.notes.extend(left_out);
    let block = block(&wish.server, &languages);
    let shown = wish.places.shown(&path);
    plan.edit(path, |text| with_block(text, &block, &shown))?;
    Ok(plan)
}

/// The block alone.
///
/// # Errors
/// If a language is unknown.
pub fn configuration(wish: &Wish<'_>) -> Result<String> {
    Ok(block(&wish.server, &for_one_server(wish, "Eglot")?.0))
}

fn block(server: &str, eglot: &[&Language]) -> String {
    let command = format!("({} \"serve\")", quoted(server));
    let modes = |languages: &mut dyn Iterator<Item = &Language>| {
        let modes: Vec<&str> =
            languages.flat_map(|language| language.emacs_modes).copied().collect();
        let lines: Vec<String> = modes.chunks(4).map(|line| line.join(" ")).collect();
        lines.join("\n                    ")
    };
    let mut text =
        format!("{BEGIN} written by `cosec-ls setup emacs`, which can take it back (--undo)\n");
    if !eglot.is_empty() {
        text += &format!(
            "(with-eval-after-load 'eglot\n  (add-to-list 'eglot-server-programs\n               '(({})\n                 . {command})))\n",
            modes(&mut eglot.iter().copied())
        );
    }
    text += &format!(
        "(with-eval-after-load 'lsp-mode\n  (lsp-register-client\n   (make-lsp-client :server-id 'cosec-ls\n                    :new-connection (lsp-stdio-connection '{command})\n                    :add-on? t\n                    :major-modes\n                  '({}))))\n",
        modes(&mut LANGUAGES.iter())
    );
    text + END + "\n"
}

/// A string of Emacs Lisp.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The text with this block in place of an older one, or at its end.
fn with_block(text: &str, block: &str, file: &str) -> Result<String> {
    let Some(begin) = text.find(BEGIN) else {
        let gap = match text {
            "" => "",
            text if text.ends_with("\n\n") => "",
            text if text.ends_with('\n') => "\n",
            _ => "\n\n",
        };
        return Ok(format!("{text}{gap}{block}"));
    };
    let Some(length) = text[begin..].find(END) else {
        let line = text[..begin].matches('\n').count() + 1;
        bail!("{file}:{line}: the block of cosec-ls has no end ({END}); nothing was changed");
    };
    let end = begin + length + END.len();
    Ok(format!("{}{}{}", &text[..begin], block.trim_end(), &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::super::languages::language;
    use super::*;

    #[test]
    fn a_block_is_added_once_and_replaced_in_its_place() {
        let old = format!("{BEGIN}\n(old)\n{END}\n");
        let new = format!("{BEGIN}\n(new)\n{END}\n");
        assert_eq!(with_block("", &new, "f").unwrap(), new);
        assert_eq!(with_block("(a)", &new, "f").unwrap(), format!("(a)\n\n{new}"));
        assert_eq!(
            with_block(&format!("(a)\n\n{new}"), &new, "f").unwrap(),
            format!("(a)\n\n{new}")
        );
        assert_eq!(
            with_block(&format!("(a)\n{old}(b)\n"), &new, "f").unwrap(),
            format!("(a)\n{new}(b)\n")
        );
        let error = with_block(&format!("(a)\n{BEGIN}\n"), &new, "f").unwrap_err();
        assert!(error.to_string().starts_with("f:2: "), "{error}");
    }

    #[test]
    fn eglot_is_left_alone_where_it_gets_no_language() {
        assert!(!block("cosec-ls", &[]).contains("eglot-server-programs"));
        let python = block("/a \"b\"", &[language("python").unwrap()]);
        assert!(python.contains("'((python-mode python-ts-mode)"), "{python}");
        assert!(python.contains("(\"/a \\\"b\\\"\" \"serve\")"), "{python}");
    }
}
