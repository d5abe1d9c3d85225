//! `cosec-ls setup helix`: one more server in `languages.toml`, for each of some languages.
//!
//! Helix replaces the list of a language's servers by the user's. So a language without such a list gets Helix's own one,
//! of which Helix is asked, with ours behind it. What else stands in the file keeps its form and its comments.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};
use toml_edit::{
    Array, ArrayOfTables, DocumentMut, InlineTable, Item, RawString, Table, TableLike, Value, value,
};

use super::Wish;
use super::languages::{LANGUAGES, language};
use super::places::{self, Places};
use super::plan::{self, Plan};

/// Helix under the names that distributions give it.
pub const PROGRAMS: [&str; 2] = ["hx", "helix"];

/// Our key in the file.
const SERVER: &str = "cosec-ls";

/// Where the list of a language's servers stands.
const SERVERS: &str = "language-servers";

/// Helix's directory.
pub fn directory(places: &Places) -> PathBuf {
    places.config.join("helix")
}

fn file(places: &Places) -> PathBuf {
    directory(places).join("languages.toml")
}

/// Whether Helix knows the server.
pub fn is_set_up(places: &Places) -> Result<bool> {
    Ok(plan::read(&file(places))?.is_some_and(|text| text.contains(SERVER)))
}

/// The change of `languages.toml`.
///
/// # Errors
/// If that file is not TOML, has something else where servers belong, or a language is unknown.
pub fn plan(wish: &Wish<'_>) -> Result<Plan> {
    let path = file(wish.places);
    let mut plan = Plan {
        next: "Start Helix: suggestions are entries of the completion menu (`C-x` asks for it), and `:lsp-restart` starts the server again.".to_owned(),
        ..Plan::default()
    };
    let shown = wish.places.shown(&path);
    let helix = Helix { program: wish.places.first_program(&PROGRAMS) };
    plan.edit(path, |text| merged(text, &shown, wish, &helix))?;
    Ok(plan)
}

/// What a file would hold that was empty before.
///
/// # Errors
/// If a language is unknown.
pub fn configuration(wish: &Wish<'_>) -> Result<String> {
    let helix = Helix { program: wish.places.first_program(&PROGRAMS) };
    merged("", "languages.toml", wish, &helix)
}

/// Who knows Helix's own servers.
struct Helix {
    program: Option<PathBuf>,
}

impl Helix {
    /// The servers that Helix itself runs for a language.
    fn servers(&self, name: &str) -> Result<Vec<String>> {
        let asked = self.program.as_deref().and_then(|program| health(program, name));
        let known = || {
            let servers = language(name)?.helix_servers.iter();
            Some(servers.map(|server| (*server).to_owned()).collect())
        };
        asked.or_else(known).ok_or_else(|| {
            let how = match self.program {
                Some(_) => "Helix knows no such language",
                None => "it is not in our table, and Helix, which could tell, is not on the PATH",
            };
            anyhow!("{name}: {how}")
        })
    }
}

/// What `hx --health LANGUAGE` lists; none if Helix does not know the language.
fn health(program: &Path, name: &str) -> Option<Vec<String>> {
    let said = places::ask(program, &["--health", name])?;
    servers_in(&said)
}

/// Colours are in there also where nobody sees them. 25.07 has a line for each server, `✓ name: path`.
fn servers_in(said: &str) -> Option<Vec<String>> {
    let mut lines = said.lines().skip_while(|line| !line.contains("onfigured language servers"));
    lines.next()?;
    let listed = lines.map(without_colours).take_while(|line| line.starts_with("  "));
    let names = listed.filter_map(|line| {
        let (_, rest) = line.trim().split_once(' ')?;
        Some(rest.split_once(':')?.0.trim().to_owned())
    });
    Some(names.filter(|name| name != SERVER).collect())
}

fn without_colours(line: &str) -> String {
    let mut parts = line.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once('m').map_or("", |(_, rest)| rest))
}

/// `text` with the server, and with it in the lists of the languages.
fn merged(text: &str, file: &str, wish: &Wish<'_>, helix: &Helix) -> Result<String> {
    let mut document: DocumentMut =
        text.parse().map_err(|error| anyhow!(malformed(file, text, &error)))?;
    let is_there = document.get("language").is_some_and(|_| text.contains(SERVER));
    let mut names: Vec<String> = wish.languages.to_vec();
    if names.is_empty() && is_there {
        names = with_server(&document);
    }
    if names.is_empty() {
        names = LANGUAGES.iter().map(|language| language.name.to_owned()).collect();
    }
    add_server(document.as_table_mut(), file, &wish.server)?;
    for name in &names {
        add_to_language(document.as_table_mut(), file, name, helix)?;
    }
    Ok(document.to_string())
}

/// The first line of what is wrong, with its place in the file.
fn malformed(file: &str, text: &str, error: &toml_edit::TomlError) -> String {
    let at = error.span().map_or(0, |span| span.start);
    let line = text[..at.min(text.len())].matches('\n').count() + 1;
    let what = error.message().lines().next().unwrap_or("no TOML");
    format!("{file}:{line}: {what}; nothing was changed")
}

/// Languages whose list has the server already.
fn with_server(document: &DocumentMut) -> Vec<String> {
    let mut names = Vec::new();
    let mut look = |entry: &dyn TableLike| {
        let list = entry.get(SERVERS).and_then(Item::as_array);
        let name = entry.get("name").and_then(Item::as_str);
        if let (Some(name), true) = (name, list.is_some_and(has_server)) {
            names.push(name.to_owned());
        }
    };
    match document.get("language") {
        Some(Item::ArrayOfTables(entries)) => entries.iter().for_each(|entry| look(entry)),
        Some(Item::Value(Value::Array(entries))) => {
            entries.iter().filter_map(Value::as_inline_table).for_each(|entry| look(entry));
        }
        _ => {}
    }
    names
}

fn has_server(list: &Array) -> bool {
    list.iter().any(|entry| {
        let name = entry.as_inline_table().and_then(|table| table.get("name"));
        entry.as_str().or(name.and_then(Value::as_str)) == Some(SERVER)
    })
}

/// `[language-server.cosec-ls]`, whose other keys stay.
fn add_server(root: &mut Table, file: &str, command: &str) -> Result<()> {
    let is_new = !root.contains_key("language-server");
    let servers = root.entry("language-server").or_insert_with(|| Item::Table(Table::new()));
    if let (true, Some(table)) = (is_new, servers.as_table_mut()) {
        table.set_implicit(true);
    }
    let is_there = servers.as_table_like().is_some_and(|servers| servers.contains_key(SERVER));
    let inline = servers.as_inline_table_mut().filter(|_| !is_there);
    let behind_last = inline.map(take_last_suffix);
    let Some(servers) = servers.as_table_like_mut() else {
        bail!("{file}: `language-server` is no table; nothing was changed");
    };
    let server = servers.entry(SERVER).or_insert_with(|| match behind_last {
        None => Item::Table(Table::new()),
        Some(blank) => value(Value::from(InlineTable::new()).decorated(" ", blank)),
    });
    let Some(server) = server.as_table_like_mut() else {
        bail!("{file}: `language-server.{SERVER}` is no table; nothing was changed");
    };
    if server.get("command").and_then(Item::as_str) != Some(command) {
        server.insert("command", value(command));
    }
    if !server.contains_key("args") {
        server.insert("args", value(Array::from_iter(["serve"])));
    }
    Ok(())
}

/// The blank between the last value and the bracket, which the next last value needs.
fn take_last_suffix(table: &mut InlineTable) -> String {
    let Some((_, last)) = table.iter_mut().last() else { return String::new() };
    let suffix = text(last.decor().suffix());
    last.decor_mut().set_suffix("");
    suffix
}

/// The server at the end of a language's list, in the entry that the user has or in a new one.
fn add_to_language(root: &mut Table, file: &str, name: &str, helix: &Helix) -> Result<()> {
    let languages =
        root.entry("language").or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
    let is_named = |entry: &dyn TableLike| entry.get("name").and_then(Item::as_str) == Some(name);
    match languages {
        Item::ArrayOfTables(entries) => {
            let at = entries.iter().position(|entry| is_named(entry));
            if let Some(entry) = at.and_then(|at| entries.get_mut(at)) {
                return add_to_entry(entry, file, name, helix);
            }
            let mut entry = Table::new();
            entry.insert("name", value(name));
            add_to_entry(&mut entry, file, name, helix)?;
            entries.push(entry);
            Ok(())
        }
        Item::Value(Value::Array(entries)) => {
            let tables = |entry: &Value| entry.as_inline_table().is_some_and(|it| is_named(it));
            let at = entries.iter().position(tables);
            let found = at.and_then(|at| entries.get_mut(at)?.as_inline_table_mut());
            if let Some(entry) = found {
                return add_to_entry(entry, file, name, helix);
            }
            let mut entry = InlineTable::new();
            entry.insert("name", name.into());
            add_to_entry(&mut entry, file, name, helix)?;
            push(entries, entry.into());
            Ok(())
        }
        _ => bail!("{file}: `language` is no list; nothing was changed"),
    }
}

fn add_to_entry(entry: &mut dyn TableLike, file: &str, name: &str, helix: &Helix) -> Result<()> {
    if !entry.contains_key(SERVERS) {
        let mut list = Array::from_iter(helix.servers(name)?);
        list.push(SERVER);
        entry.insert(SERVERS, value(list));
        return Ok(());
    }
    let list = entry.get_mut(SERVERS).and_then(Item::as_array_mut);
    let Some(list) = list else {
        bail!("{file}: `{SERVERS}` of {name} is no list; nothing was changed");
    };
    if !has_server(list) {
        push(list, SERVER.into());
    }
    Ok(())
}

/// Adds to a list as it is written: on a line of its own if the others have one, and behind their comments.
fn push(list: &mut Array, mut entry: Value) {
    let Some(last) = list.len().checked_sub(1).and_then(|at| list.get_mut(at)) else {
        return list.push(entry);
    };
    let (before_last, behind_last) = (text(last.decor().prefix()), text(last.decor().suffix()));
    last.decor_mut().set_suffix("");
    let tail = behind_last + &text(Some(list.trailing()));
    let (before, end) = match tail.rsplit_once('\n') {
        Some((above, end)) => {
            let indent = before_last.rsplit('\n').next().unwrap_or_default();
            (format!("{}\n{indent}", above.trim_end()), format!("\n{end}"))
        }
        None => (" ".to_owned(), tail),
    };
    entry.decor_mut().set_prefix(before);
    entry.decor_mut().set_suffix("");
    list.push_formatted(entry);
    list.set_trailing(end);
}

fn text(raw: Option<&RawString>) -> String {
    raw.and_then(RawString::as_str).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `language-servers` of python before and after.
    #[track_caller]
    fn check(before: &str, after: &str) {
        let entry =
            |list: &str| format!("[[language]]\nname = \"python\"\nlanguage-servers = {list}\n");
        let mut document: DocumentMut = entry(before).parse().unwrap();
        add_to_language(document.as_table_mut(), "f", "python", &Helix { program: None }).unwrap();
        assert_eq!(document.to_string(), entry(after));
    }

    #[test]
    fn a_list_grows_in_its_own_form() {
        check("[]", "[\"cosec-ls\"]");
        check("[\"a\"]", "[\"a\", \"cosec-ls\"]");
        check("[ \"a\", \"b\" ] # why", "[ \"a\", \"b\", \"cosec-ls\" ] # why");
        check("[\n  \"a\",\n  \"b\",\n]", "[\n  \"a\",\n  \"b\",\n  \"cosec-ls\",\n]");
        check("[\n  \"a\"\n]", "[\n  \"a\",\n  \"cosec-ls\"\n]");
        check("[\n  \"a\", # first\n]", "[\n  \"a\", # first\n  \"cosec-ls\",\n]");
        check("[\n\t\"a\" # only\n  ]", "[\n\t\"a\", # only\n\t\"cosec-ls\"\n  ]");
        check(
            "[{ name = \"a\", except-features = [\"format\"] }]",
            "[{ name = \"a\", except-features = [\"format\"] }, \"cosec-ls\"]",
        );
        for there in ["[\"cosec-ls\", \"a\"]", "[{ name = \"cosec-ls\" }]"] {
            check(there, there);
        }
    }

    #[test]
    fn helix_is_understood_in_colour() {
        let said = "Configured language servers:\n  \u{1b}[0;31m✘\u{1b}[m ty: \u{1b}[0;31m'ty' not found in $PATH\u{1b}[m\n  ✓ pylsp: /usr/bin/pylsp\n  ✓ cosec-ls: /usr/bin/cosec-ls\nConfigured debug adapter: None\n";
        assert_eq!(servers_in(said).unwrap(), ["ty", "pylsp"]);
        assert_eq!(servers_in("Configured language servers: None\nConfigured x").unwrap(), [""; 0]);
        assert_eq!(servers_in("error: language 'x' not found"), None);
    }
}
