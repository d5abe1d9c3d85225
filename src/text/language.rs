//! Which language a file is in: its name or first line → an editor's language id, and one spelling for each id.
//!
//! Names, extensions and interpreters are those of GitHub's linguist (the crate `linguist` follows it), so that nobody
//! here keeps a list of languages. What it cannot know is in `language/editor_ids.rs`.

mod editor_ids;

use std::collections::HashMap;
use std::path::Path;
use std::sync::LazyLock;

use linguist::definitions::LANGUAGES;

use editor_ids::{APPENDED, COMMON, EDITOR_IDS, PREFERRED, SPELLINGS};

/// Bytes of a first line that are looked at for an interpreter.
const SHEBANG_BYTES: usize = 256;

/// linguist's table by what is known of a file; each value is an editor's id.
struct Table {
    /// Extensions in lower case, with their dot.
    by_extension: HashMap<String, String>,
    /// Whole names of files.
    by_name: HashMap<String, String>,
    by_interpreter: HashMap<String, String>,
    /// Names, aliases and ids in lower case.
    by_spelling: HashMap<String, String>,
}

/// Read from linguist's data when it is first asked, in a few milliseconds.
static TABLE: LazyLock<Table> = LazyLock::new(Table::new);

/// An editor's language id for a file of this name (`python`); the extension itself where none is known for it, and
/// nothing where there is no extension.
pub fn language_of(path: &Path) -> &str {
    let extension = || path.extension().and_then(|extension| extension.to_str()).unwrap_or("");
    told_by_name(path).unwrap_or_else(extension)
}

/// The same, told by the first line (`#!/bin/sh`) where the name tells nothing.
pub fn language_of_text<'a>(path: &'a Path, text: &str) -> &'a str {
    told_by_name(path).or_else(|| told_by_first_line(text)).unwrap_or_else(|| language_of(path))
}

/// The one spelling of an id that editors spell differently: `sh` and `bash` are `shellscript`, `tsx` is
/// `typescriptreact`, `c++` is `cpp`. An id that nobody knows stays as it is.
pub fn editor_id(spelling: &str) -> &str {
    let lower = spelling.trim().to_lowercase();
    let known = |spelling: &str| TABLE.by_spelling.get(spelling);
    // Vim joins filetypes with dots, the main one first: `yaml.ansible`.
    let main = || lower.split_once('.').and_then(|(main, _)| known(main));
    let extension = || TABLE.by_extension.get(&format!(".{lower}"));
    known(&lower).or_else(main).or_else(extension).map_or(spelling, String::as_str)
}

fn told_by_name(path: &Path) -> Option<&'static str> {
    let mut name = path.file_name()?.to_str()?.trim_end_matches('~');
    loop {
        if let Some(id) = TABLE.of_name(name) {
            return Some(id);
        }
        let (kept, last) = name.rsplit_once('.')?;
        if !APPENDED.contains(&last.to_ascii_lowercase().as_str()) {
            return None;
        }
        name = kept;
    }
}

fn told_by_first_line(text: &str) -> Option<&'static str> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let line = text.strip_prefix("#!")?.split(['\n', '\r']).next()?;
    let mut words = line[..line.floor_char_boundary(SHEBANG_BYTES)].split_whitespace();
    let mut program = words.next()?;
    if file_name(program) == "env" {
        // `/usr/bin/env -S NAME=value python3 -u`
        program = words.find(|word| !word.starts_with('-') && !word.contains('='))?;
    }
    let name = file_name(program);
    let unversioned = name.trim_end_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-'));
    let known = |name: &str| TABLE.by_interpreter.get(name);
    known(name).or_else(|| known(unversioned)).map(String::as_str)
}

fn file_name(program: &str) -> &str {
    program.rsplit(['/', '\\']).next().unwrap_or(program)
}

impl Table {
    fn new() -> Self {
        let mut by_extension = Claims::default();
        let mut by_name = Claims::default();
        let mut by_interpreter = Claims::default();
        let mut by_spelling = HashMap::new();
        for (name, language) in LANGUAGES.iter() {
            let extensions = language.extensions.iter().flatten();
            for (nth, extension) in extensions.enumerate() {
                by_extension.claim(extension.to_lowercase(), name, nth);
            }
            for file in language.filenames.iter().flatten() {
                by_name.claim(file.clone(), name, 0);
            }
            for interpreter in language.interpreters.iter().flatten() {
                by_interpreter.claim(interpreter.clone(), name, 0);
            }
            by_spelling.extend(spellings(name, language.aliases.as_deref().unwrap_or_default()));
        }
        let mut by_extension = by_extension.settle();
        by_extension.extend(PREFERRED.map(owned));
        by_spelling.extend(SPELLINGS.map(owned));
        // An id is its own spelling, whatever else is called so.
        let ids: Vec<_> = by_spelling.values().chain(by_extension.values()).cloned().collect();
        by_spelling.extend(ids.into_iter().map(|id| (id.clone(), id)));
        Self {
            by_extension,
            by_name: by_name.settle(),
            by_interpreter: by_interpreter.settle(),
            by_spelling,
        }
    }

    fn of_name(&'static self, name: &str) -> Option<&'static str> {
        let whole = || self.by_name.get(name);
        // `.html.erb` before `.erb`; a name may begin with a dot that parts nothing.
        let extensions = || name.match_indices('.').map(|(at, _)| &name[at..]);
        let as_spelled = || extensions().find_map(|extension| self.by_extension.get(extension));
        let lower = || extensions().find_map(|e| self.by_extension.get(&e.to_lowercase()));
        // `Dockerfile.prod`
        let end = || name.char_indices().skip(1).find(|&(_, c)| c == '.').map(|(at, _)| at);
        let stem = || self.by_name.get(&name[..end()?]);
        let found = whole().or_else(as_spelled).or_else(lower).or_else(stem);
        found.or_else(|| self.in_other_case(name)).map(String::as_str)
    }

    /// `dockerfile` is a `Dockerfile`, but `build` is no `BUILD`.
    fn in_other_case(&self, name: &str) -> Option<&String> {
        let is_word = |known: &str| known.contains(|c: char| c.is_lowercase());
        let mut same = self.by_name.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        same.find(|(known, _)| is_word(known)).map(|(_, id)| id)
    }
}

/// Languages that claim the same extension, name or interpreter, by how good their claims are; the smallest wins.
#[derive(Default)]
struct Claims(HashMap<String, (Rank, &'static str)>);

/// Whether the language is rare, whether the extension is not its first, and its name for ties.
type Rank = (bool, bool, &'static str);

impl Claims {
    fn claim(&mut self, what: String, name: &'static str, nth: usize) {
        let rank = (!COMMON.contains(&id_of(name).as_str()), nth > 0, name);
        let best = self.0.entry(what).or_insert((rank, name));
        if rank < best.0 {
            *best = (rank, name);
        }
    }

    fn settle(self) -> HashMap<String, String> {
        self.0.into_iter().map(|(what, (_, name))| (what, id_of(name))).collect()
    }
}

/// An editor's id for a language of linguist.
fn id_of(name: &str) -> String {
    let listed = EDITOR_IDS.iter().find(|(listed, _)| *listed == name);
    listed.map_or_else(|| hyphenated(name), |(_, id)| (*id).to_owned())
}

fn spellings(name: &str, aliases: &[String]) -> Vec<(String, String)> {
    let names = [name.to_lowercase(), hyphenated(name)].into_iter();
    let all = names.chain(aliases.iter().map(|alias| alias.to_lowercase()));
    all.map(|spelling| (spelling, id_of(name))).collect()
}

fn hyphenated(name: &str) -> String {
    name.to_lowercase().replace(' ', "-")
}

fn owned((key, id): (&str, &str)) -> (String, String) {
    (key.to_owned(), id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names of files, and their languages.
    const NAMES: [(&str, &str); 68] = [
        ("a/b.py", "python"),
        ("b.C", "cpp"),
        ("b.c", "c"),
        ("b.h", "c"),
        ("x.y.cpp", "cpp"),
        ("a.zig", "zig"),
        ("A.PY", "python"),
        ("b.tsx", "typescriptreact"),
        ("b.jsx", "javascriptreact"),
        ("b.ts", "typescript"),
        ("b.d.ts", "typescript"),
        ("b.mjs", "javascript"),
        ("Makefile", "makefile"),
        ("GNUmakefile", "makefile"),
        ("rules.mk", "makefile"),
        ("a.yml", "yaml"),
        ("a.yaml", "yaml"),
        ("a.md", "markdown"),
        ("README.markdown", "markdown"),
        ("Dockerfile", "dockerfile"),
        ("dockerfile", "dockerfile"),
        ("Dockerfile.prod", "dockerfile"),
        ("CMakeLists.txt", "cmake"),
        (".bashrc", "shellscript"),
        (".zshrc", "shellscript"),
        ("a.sh", "shellscript"),
        ("Rakefile", "ruby"),
        ("Gemfile", "ruby"),
        ("a.rs", "rust"),
        ("a.cs", "csharp"),
        ("a.fs", "fsharp"),
        ("a.m", "objective-c"),
        ("a.mm", "objective-cpp"),
        ("a.php", "php"),
        ("a.html", "html"),
        ("a.vue", "vue"),
        ("a.json", "json"),
        ("tsconfig.json", "jsonc"),
        ("Cargo.lock", "toml"),
        ("a.tex", "latex"),
        ("a.sql", "sql"),
        ("a.pl", "perl"),
        ("a.r", "r"),
        ("a.kt", "kotlin"),
        ("a.swift", "swift"),
        ("a.go", "go"),
        ("go.mod", "go.mod"),
        ("a.tf", "terraform"),
        ("a.ps1", "powershell"),
        ("a.bat", "bat"),
        ("a.vim", "viml"),
        ("a.proto", "proto"),
        ("a.lua", "lua"),
        ("a.ex", "elixir"),
        ("a.d", "d"),
        ("a.txt", "plaintext"),
        ("a.html.erb", "erb"),
        ("a.v", "verilog"),
        (".env", "dotenv"),
        (".env.local", "dotenv"),
        ("prod.env", "dotenv"),
        ("config.py.orig", "python"),
        ("a.yml.example", "yaml"),
        ("a.rb~", "ruby"),
        ("a.unheard-of", "unheard-of"),
        ("no-extension", ""),
        (".hidden", ""),
        ("", ""),
    ];

    #[test]
    fn a_file_s_name_tells_its_language() {
        for (name, language) in NAMES {
            assert_eq!(language_of(Path::new(name)), language, "{name}");
        }
    }

    #[test]
    fn a_first_line_tells_it_where_the_name_does_not() {
        for (name, text, language) in [
            ("run", "#!/bin/sh\necho", "shellscript"),
            ("run", "#! /usr/bin/env python3\r\n", "python"),
            ("run", "#!/usr/bin/env -S A=b node --no-warnings\n", "javascript"),
            ("run", "#!/opt/bin/python3.12", "python"),
            ("run", "\u{feff}#!/usr/bin/ruby\r", "ruby"),
            ("run", "#!/usr/bin/perl -w\n", "perl"),
            ("run.rs", "#!/bin/sh\n", "rust"),
            ("run", "# /bin/sh", ""),
            ("run", "#!", ""),
            ("run", "#!/usr/bin/env", ""),
            ("run.x9", "#!/bin/unheard-of", "x9"),
        ] {
            assert_eq!(language_of_text(Path::new(name), text), language, "{name} {text:?}");
        }
    }

    #[test]
    fn each_id_has_one_spelling() {
        for (spelling, id) in [
            ("tsx", "typescriptreact"),
            ("typescript.tsx", "typescriptreact"),
            ("typescriptreact", "typescriptreact"),
            ("jsx", "javascriptreact"),
            ("js", "javascript"),
            ("ts", "typescript"),
            ("sh", "shellscript"),
            ("bash", "shellscript"),
            ("zsh", "shellscript"),
            ("shellscript", "shellscript"),
            ("c++", "cpp"),
            ("cpp", "cpp"),
            ("C", "c"),
            ("c#", "csharp"),
            ("cs", "csharp"),
            ("py", "python"),
            ("Python", "python"),
            ("golang", "go"),
            ("rs", "rust"),
            ("rb", "ruby"),
            ("objc", "objective-c"),
            ("make", "makefile"),
            ("yml", "yaml"),
            ("yaml.ansible", "yaml"),
            ("md", "markdown"),
            ("tex", "latex"),
            ("text", "plaintext"),
            ("ps1", "powershell"),
            ("dosbatch", "bat"),
            ("gitcommit", "git-commit"),
            ("vim", "viml"),
            ("jsonc", "jsonc"),
            ("dotenv", "dotenv"),
            ("env", "dotenv"),
            ("pug", "jade"),
            ("go.mod", "go.mod"),
            ("unheard-of", "unheard-of"),
            ("", ""),
        ] {
            assert_eq!(editor_id(spelling), id, "{spelling}");
        }
    }

    #[test]
    fn a_spelling_is_not_spelled_again() {
        let tables = [&TABLE.by_extension, &TABLE.by_name, &TABLE.by_interpreter];
        let ids = tables.iter().flat_map(|table| table.values()).chain(TABLE.by_spelling.values());
        for id in ids {
            assert_eq!(editor_id(id), id);
        }
        for id in COMMON {
            assert_eq!(editor_id(id), id);
        }
    }

    #[test]
    fn linguist_has_every_language_that_is_called_otherwise() {
        for (name, _) in EDITOR_IDS {
            assert!(LANGUAGES.contains_key(name), "{name}");
        }
    }
}
