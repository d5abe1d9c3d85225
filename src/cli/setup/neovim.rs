//! `cosec-ls setup neovim`: the plugin, which this program carries, as a package that Neovim loads by itself.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::Wish;
use super::places::Places;
use super::plan::{self, Edit, Owner, Plan};
use super::record::Record;

/// The plugin's files: names below its directory, and their texts. A test holds the list and `editors/nvim` together.
const PLUGIN: [(&str, &str); 23] = [
    ("doc/cosec.txt", include_str!("../../../editors/nvim/doc/cosec.txt")),
    ("lsp/cosec_ls.lua", include_str!("../../../editors/nvim/lsp/cosec_ls.lua")),
    ("lua/cosec/blink.lua", include_str!("../../../editors/nvim/lua/cosec/blink.lua")),
    ("lua/cosec/builtin.lua", include_str!("../../../editors/nvim/lua/cosec/builtin.lua")),
    ("lua/cosec/client.lua", include_str!("../../../editors/nvim/lua/cosec/client.lua")),
    ("lua/cosec/cmp.lua", include_str!("../../../editors/nvim/lua/cosec/cmp.lua")),
    ("lua/cosec/commands.lua", include_str!("../../../editors/nvim/lua/cosec/commands.lua")),
    ("lua/cosec/config.lua", include_str!("../../../editors/nvim/lua/cosec/config.lua")),
    ("lua/cosec/conflicts.lua", include_str!("../../../editors/nvim/lua/cosec/conflicts.lua")),
    ("lua/cosec/explain.lua", include_str!("../../../editors/nvim/lua/cosec/explain.lua")),
    ("lua/cosec/ghost.lua", include_str!("../../../editors/nvim/lua/cosec/ghost.lua")),
    ("lua/cosec/health.lua", include_str!("../../../editors/nvim/lua/cosec/health.lua")),
    ("lua/cosec/init.lua", include_str!("../../../editors/nvim/lua/cosec/init.lua")),
    ("lua/cosec/item.lua", include_str!("../../../editors/nvim/lua/cosec/item.lua")),
    ("lua/cosec/keys.lua", include_str!("../../../editors/nvim/lua/cosec/keys.lua")),
    ("lua/cosec/menu.lua", include_str!("../../../editors/nvim/lua/cosec/menu.lua")),
    ("lua/cosec/place.lua", include_str!("../../../editors/nvim/lua/cosec/place.lua")),
    ("lua/cosec/rpc.lua", include_str!("../../../editors/nvim/lua/cosec/rpc.lua")),
    ("lua/cosec/server.lua", include_str!("../../../editors/nvim/lua/cosec/server.lua")),
    ("lua/cosec/status.lua", include_str!("../../../editors/nvim/lua/cosec/status.lua")),
    ("lua/cosec/suggestion.lua", include_str!("../../../editors/nvim/lua/cosec/suggestion.lua")),
    ("lua/cosec/window.lua", include_str!("../../../editors/nvim/lua/cosec/window.lua")),
    ("plugin/cosec.lua", include_str!("../../../editors/nvim/plugin/cosec.lua")),
];

/// Starts the plugin; belongs to the user once it is written.
const START: &str = "plugin/cosec_setup.lua";

/// Neovim's index of a plugin's help.
const TAGS: &str = "doc/tags";

/// Where the package goes. `$NVIM_APPNAME` is honoured, as Neovim does.
pub fn directory(places: &Places) -> PathBuf {
    let name = std::env::var("NVIM_APPNAME").ok().filter(|name| !name.is_empty());
    let name = name.unwrap_or_else(|| "nvim".to_owned());
    let data = match cfg!(windows) {
        true => places.data.join(name + "-data"),
        false => places.data.join(name),
    };
    data.join("site").join("pack").join("cosec").join("start").join("cosec")
}

/// Whether the package is there.
pub fn is_set_up(places: &Places) -> bool {
    directory(places).join(START).exists()
}

/// The files of the package; those that somebody has worked on are kept under another name.
///
/// # Errors
/// If a file cannot be read.
pub fn plan(wish: &Wish<'_>, record: &Record) -> Result<Plan> {
    let directory = directory(wish.places);
    let mut plan = Plan {
        next: "Start Neovim (0.10 or later); `:checkhealth cosec` says whether everything is in place.".to_owned(),
        ..Plan::default()
    };
    let index = tags();
    let generated = (!index.is_empty()).then_some((TAGS, index.as_str()));
    for (name, text) in PLUGIN.into_iter().chain(generated) {
        update(&mut plan, wish.places, record, directory.join(name), text)?;
    }
    let is_part = |path: &Path| {
        let name = path.strip_prefix(&directory).ok();
        name.is_none_or(|name| {
            PLUGIN.iter().any(|(part, _)| name == Path::new(part))
                || [START, TAGS].iter().any(|part| name == Path::new(part))
        })
    };
    for path in record.own_files().filter(|path| !is_part(path)) {
        remove(&mut plan, record, path)?;
    }
    start(&mut plan, wish, record, directory.join(START))?;
    Ok(plan)
}

/// The file that starts the plugin.
pub fn configuration(wish: &Wish<'_>) -> String {
    format!(
        "-- Written by `cosec-ls setup neovim`; `cosec-ls setup neovim --undo` takes it back. Options are in `:help cosec`.\n\
         require(\"cosec\").setup({{ cmd = {{ {}, \"serve\" }} }})\n",
        quoted(&wish.server)
    )
}

/// A string of Lua.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn update(
    plan: &mut Plan,
    places: &Places,
    record: &Record,
    path: PathBuf,
    text: &str,
) -> Result<()> {
    let before = plan::read(&path)?;
    if before.as_deref() == Some(text) {
        return Ok(());
    }
    if let Some(theirs) = before.as_deref().filter(|theirs| record.last_text(&path) != Some(theirs))
    {
        let kept = free_name(&path);
        plan.notes.push(format!(
            "{} is not as we left it; it is kept as {}",
            places.shown(&path),
            places.shown(&kept)
        ));
        plan.edits.push(Edit {
            path: kept,
            before: None,
            after: Some(theirs.to_owned()),
            owner: Owner::User,
        });
    }
    plan.edits.push(Edit { path, before, after: Some(text.to_owned()), owner: Owner::Ours });
    Ok(())
}

/// `PATH.orig`, with a number if there is one.
fn free_name(path: &Path) -> PathBuf {
    let name = |ending: String| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let numbered = (1..).map(|n| name(format!(".orig{n}")));
    let mut names = std::iter::once(name(".orig".to_owned())).chain(numbered);
    names.find(|path| !path.exists()).expect("there is a number for it")
}

/// Removes a file of an older version that this one has no more, unless it was changed.
fn remove(plan: &mut Plan, record: &Record, path: &Path) -> Result<()> {
    let Some(text) = plan::read(path)? else { return Ok(()) };
    if record.last_text(path) == Some(&text) {
        plan.edits.push(Edit {
            path: path.to_owned(),
            before: Some(text),
            after: None,
            owner: Owner::Ours,
        });
    }
    Ok(())
}

/// Writes the start, unless the user has one of their own.
fn start(plan: &mut Plan, wish: &Wish<'_>, record: &Record, path: PathBuf) -> Result<()> {
    let text = configuration(wish);
    let before = plan::read(&path)?;
    if before.as_deref() == Some(&text) {
        return Ok(());
    }
    if before.is_some() && before.as_deref() != record.last_text(&path) {
        let name = wish.places.shown(&path);
        plan.notes.push(format!("{name} has settings of yours and stays as it is"));
        return Ok(());
    }
    plan.edits.push(Edit { path, before, after: Some(text), owner: Owner::User });
    Ok(())
}

/// What `:helptags` would write for the plugin's help.
fn tags() -> String {
    let mut tags = Vec::new();
    for (name, text) in PLUGIN {
        let Some(file) = name.strip_prefix("doc/") else { continue };
        for word in text.split_whitespace() {
            let tag = word.strip_prefix('*').and_then(|word| word.strip_suffix('*'));
            if let Some(tag) = tag.filter(|tag| !tag.is_empty() && !tag.contains(['*', '|'])) {
                tags.push(format!("{tag}\t{file}\t/*{tag}*\n"));
            }
        }
    }
    tags.sort();
    tags.concat()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_program_carries_the_whole_plugin() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("editors/nvim");
        let mut found = Vec::new();
        collect(&root, &root, &mut found);
        found.sort();
        let mut carried: Vec<&str> = PLUGIN.iter().map(|(name, _)| *name).collect();
        carried.sort_unstable();
        let rows: Vec<String> = found
            .iter()
            .map(|name| format!("(\"{name}\", include_str!(\"../../../editors/nvim/{name}\")),"))
            .collect();
        assert_eq!(found, carried, "PLUGIN must be:\n{}\n", rows.join("\n"));
    }

    /// What Neovim loads of a directory: not its tests, and no guide for people.
    fn collect(root: &Path, at: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
            let is_loaded = ["lua", "plugin", "lsp", "doc", "after", "ftplugin", "autoload"]
                .contains(&name.split('/').next().unwrap());
            if path.is_dir() && is_loaded {
                collect(root, &path, found);
            } else if is_loaded && name.contains('/') && name != TAGS {
                found.push(name);
            }
        }
    }

    #[test]
    fn strings_of_lua_are_quoted() {
        assert_eq!(quoted("C:\\a \"b\""), "\"C:\\\\a \\\"b\\\"\"");
    }
}
