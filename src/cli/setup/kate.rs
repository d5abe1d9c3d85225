//! `cosec-ls setup kate`: a server per language in the settings of Kate's LSP client.
//!
//! Kate runs one server per language, so it gets ours only for languages whose usual server is not installed, or that are
//! named, and never in place of one that the user has configured.

use std::path::PathBuf;

use anyhow::Result;

use super::Wish;
use super::languages::{Language, for_one_server};
use super::places::Places;
use super::plan::{self, Plan};
use super::settings_json::{SettingsFile, command, object, string};

/// Kate's program.
pub const PROGRAMS: [&str; 1] = ["kate"];

/// Where the LSP client's settings are.
pub fn directory(places: &Places) -> PathBuf {
    // Qt's places of an application: on Windows the local application data.
    let kate = match cfg!(windows) {
        true => places.data.join("kate"),
        false => places.platform("Preferences/kate", "kate"),
    };
    kate.join("lspclient")
}

fn file(places: &Places) -> PathBuf {
    directory(places).join("settings.json")
}

/// Whether a language has our server.
pub fn is_set_up(places: &Places) -> Result<bool> {
    Ok(plan::read(&file(places))?.is_some_and(|text| text.contains("cosec-ls")))
}

/// The change of the settings.
///
/// # Errors
/// If they are no JSON, or a language is unknown.
pub fn plan(wish: &Wish<'_>) -> Result<Plan> {
    let mut plan = Plan {
        next: "Switch the plugin `LSP Client` on in Kate's settings; Kate asks once whether it may start the server.".to_owned(),
        ..Plan::default()
    };
    let path = file(wish.places);
    let shown = wish.places.shown(&path);
    let (languages, left_out) = for_one_server(wish, "Kate")?;
    plan.notes.extend(left_out);
    let mut notes = Vec::new();
    plan.edit(path, |text| merged(text, &shown, &wish.server, &languages, &mut notes))?;
    plan.notes.extend(notes);
    Ok(plan)
}

/// What an empty file would hold.
///
/// # Errors
/// If a language is unknown.
pub fn configuration(wish: &Wish<'_>) -> Result<String> {
    merged("", "settings.json", &wish.server, &for_one_server(wish, "Kate")?.0, &mut Vec::new())
}

fn merged(
    text: &str,
    name: &str,
    server: &str,
    languages: &[&Language],
    notes: &mut Vec<String>,
) -> Result<String> {
    let file = SettingsFile::parse(text, name)?;
    if languages.is_empty() {
        return Ok(text.to_owned());
    }
    let servers = file.object(&["servers"])?;
    let mut n_added = 0;
    for language in languages {
        let (key, modes) = language.kate;
        match servers.get(key) {
            None => {
                let entry = object([
                    ("command", command(server)),
                    ("highlightingModeRegex", string(modes)),
                ]);
                servers.append(key, entry);
                n_added += 1;
            }
            Some(entry) if entry.to_string().contains("cosec-ls") => {}
            Some(_) => notes.push(format!("the server that you have configured for {key} stays")),
        }
    }
    Ok(if n_added == 0 { text.to_owned() } else { file.to_string() })
}

#[cfg(test)]
mod tests {
    use super::super::languages::language;
    use super::*;

    #[test]
    fn a_server_of_the_users_stays() {
        let text = "{\n    // mine\n    \"servers\": {\n        \"python\": {\"command\": [\"pylsp\"]}\n    }\n}\n";
        let languages = ["python", "go"].map(|name| language(name).unwrap());
        let mut notes = Vec::new();
        let once = merged(text, "f", "cosec-ls", &languages, &mut notes).unwrap();
        assert_eq!(notes, ["the server that you have configured for python stays"]);
        assert!(
            once.contains("// mine") && once.contains("\"python\": {\"command\": [\"pylsp\"]}")
        );
        assert!(once.contains("\"go\": {"), "{once}");
        let twice = merged(&once, "f", "cosec-ls", &languages, &mut notes).unwrap();
        assert_eq!(once, twice);
    }
}
