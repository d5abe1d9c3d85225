//! `cosec-ls setup sublime`: one more client in the settings of Sublime Text's package LSP.

use std::path::PathBuf;

use anyhow::Result;
use jsonc_parser::cst::CstInputValue;

use super::Wish;
use super::places::Places;
use super::plan::{self, Plan};
use super::settings_json::{SettingsFile, command, object, string};

/// Sublime Text under the names that it is installed with.
pub const PROGRAMS: [&str; 2] = ["subl", "sublime_text"];

/// Where the user's settings of packages are.
pub fn directory(places: &Places) -> PathBuf {
    let name = if cfg!(target_os = "linux") { "sublime-text" } else { "Sublime Text" };
    let application = places.platform("Application Support/Sublime Text", name);
    application.join("Packages").join("User")
}

fn file(places: &Places) -> PathBuf {
    directory(places).join("LSP.sublime-settings")
}

/// Whether the client is there.
pub fn is_set_up(places: &Places) -> Result<bool> {
    Ok(plan::read(&file(places))?.is_some_and(|text| text.contains("cosec-ls")))
}

/// The change of the settings.
///
/// # Errors
/// If they are no JSON with comments.
pub fn plan(wish: &Wish<'_>) -> Result<Plan> {
    let mut plan = Plan {
        next: "Install the package `LSP` with Package Control and restart Sublime Text; suggestions are entries of its completion menu.".to_owned(),
        ..Plan::default()
    };
    let path = file(wish.places);
    let shown = wish.places.shown(&path);
    plan.edit(path, |text| merged(text, &shown, &wish.server))?;
    Ok(plan)
}

/// What an empty file would hold.
///
/// # Errors
/// Never for an empty file.
pub fn configuration(wish: &Wish<'_>) -> Result<String> {
    merged("", "LSP.sublime-settings", &wish.server)
}

fn merged(text: &str, name: &str, server: &str) -> Result<String> {
    let file = SettingsFile::parse(text, name)?;
    let clients = file.object(&["clients"])?;
    if clients.get("cosec-ls").is_some() {
        return Ok(text.to_owned());
    }
    let client = object([
        ("enabled", CstInputValue::Bool(true)),
        ("command", command(server)),
        ("selector", string("source | text.html")),
    ]);
    clients.append("cosec-ls", client);
    Ok(file.to_string())
}
