//! The languages that a setup speaks of, as data: what Helix, Emacs and Kate call them, and which servers serve them.
//!
//! Helix replaces the list of a language's servers by the user's, so its own list has to be repeated there. It is asked for
//! that list (`hx --health`); the table is for where it cannot be. Emacs (Eglot) and Kate run one server per document, so
//! they get cosec-ls only where none of the usual servers is installed.

use anyhow::{Result, anyhow};

use super::Wish;

/// A language, a row of the table.
#[derive(Debug)]
pub struct Language {
    /// Its name in Helix, which is its name on our command line.
    pub name: &'static str,
    /// The servers that Helix 25.07 runs for it.
    pub helix_servers: &'static [&'static str],
    /// Programs that usually serve it.
    pub programs: &'static [&'static str],
    /// Its major modes in Emacs.
    pub emacs_modes: &'static [&'static str],
    /// Its key in Kate's settings, and what highlighting modes it stands for there.
    pub kate: (&'static str, &'static str),
}

/// What a setup without `--languages` is about.
pub const LANGUAGES: [Language; 20] = [
    Language {
        name: "python",
        helix_servers: &["ty", "ruff", "jedi", "pylsp"],
        programs: &[
            "pylsp",
            "pyls",
            "basedpyright-langserver",
            "pyright-langserver",
            "jedi-language-server",
            "ruff",
            "ty",
        ],
        emacs_modes: &["python-mode", "python-ts-mode"],
        kate: ("python", "^Python$"),
    },
    Language {
        name: "rust",
        helix_servers: &["rust-analyzer"],
        programs: &["rust-analyzer"],
        emacs_modes: &["rust-mode", "rust-ts-mode", "rustic-mode"],
        kate: ("rust", "^Rust$"),
    },
    Language {
        name: "javascript",
        helix_servers: &["typescript-language-server"],
        programs: &["typescript-language-server"],
        emacs_modes: &["js-mode", "js-ts-mode", "js2-mode"],
        kate: ("javascript", "^JavaScript.*$"),
    },
    Language {
        name: "jsx",
        helix_servers: &["typescript-language-server"],
        programs: &["typescript-language-server"],
        emacs_modes: &["js-jsx-mode", "rjsx-mode"],
        kate: ("javascript", "^JavaScript.*$"),
    },
    Language {
        name: "typescript",
        helix_servers: &["typescript-language-server"],
        programs: &["typescript-language-server"],
        emacs_modes: &["typescript-mode", "typescript-ts-mode"],
        kate: ("typescript", "^TypeScript.*$"),
    },
    Language {
        name: "tsx",
        helix_servers: &["typescript-language-server"],
        programs: &["typescript-language-server"],
        emacs_modes: &["tsx-ts-mode"],
        kate: ("typescript", "^TypeScript.*$"),
    },
    Language {
        name: "go",
        helix_servers: &["gopls", "golangci-lint-lsp"],
        programs: &["gopls"],
        emacs_modes: &["go-mode", "go-ts-mode"],
        kate: ("go", "^Go$"),
    },
    Language {
        name: "c",
        helix_servers: &["clangd"],
        programs: &["clangd", "ccls"],
        emacs_modes: &["c-mode", "c-ts-mode"],
        kate: ("c", "^(C|ANSI C89|Objective-C)$"),
    },
    Language {
        name: "cpp",
        helix_servers: &["clangd"],
        programs: &["clangd", "ccls"],
        emacs_modes: &["c++-mode", "c++-ts-mode"],
        kate: ("cpp", "^(C\\+\\+|ISO C\\+\\+|Objective-C\\+\\+)$"),
    },
    Language {
        name: "java",
        helix_servers: &["jdtls"],
        programs: &["jdtls"],
        emacs_modes: &["java-mode", "java-ts-mode"],
        kate: ("java", "^Java$"),
    },
    Language {
        name: "c-sharp",
        helix_servers: &["omnisharp"],
        programs: &["OmniSharp", "omnisharp", "csharp-ls"],
        emacs_modes: &["csharp-mode", "csharp-ts-mode"],
        kate: ("csharp", "^C#$"),
    },
    Language {
        name: "ruby",
        helix_servers: &["ruby-lsp", "solargraph"],
        programs: &["solargraph", "ruby-lsp"],
        emacs_modes: &["ruby-mode", "ruby-ts-mode"],
        kate: ("ruby", "^Ruby$"),
    },
    Language {
        name: "php",
        helix_servers: &["intelephense"],
        programs: &["phpactor", "intelephense"],
        emacs_modes: &["php-mode", "php-ts-mode"],
        kate: ("php", "^PHP.*$"),
    },
    Language {
        name: "bash",
        helix_servers: &["bash-language-server"],
        programs: &["bash-language-server"],
        emacs_modes: &["sh-mode", "bash-ts-mode"],
        kate: ("bash", "^Bash$"),
    },
    Language {
        name: "lua",
        helix_servers: &["lua-language-server"],
        programs: &["lua-language-server", "lua-lsp"],
        emacs_modes: &["lua-mode", "lua-ts-mode"],
        kate: ("lua", "^Lua$"),
    },
    Language {
        name: "kotlin",
        helix_servers: &["kotlin-language-server"],
        programs: &["kotlin-language-server"],
        emacs_modes: &["kotlin-mode", "kotlin-ts-mode"],
        kate: ("kotlin", "^Kotlin$"),
    },
    Language {
        name: "swift",
        helix_servers: &["sourcekit-lsp"],
        programs: &["sourcekit-lsp"],
        emacs_modes: &["swift-mode", "swift-ts-mode"],
        kate: ("swift", "^Swift$"),
    },
    Language {
        name: "scala",
        helix_servers: &["metals"],
        programs: &["metals"],
        emacs_modes: &["scala-mode", "scala-ts-mode"],
        kate: ("scala", "^Scala$"),
    },
    Language {
        name: "html",
        helix_servers: &["vscode-html-language-server", "superhtml"],
        programs: &["vscode-html-language-server", "html-languageserver"],
        emacs_modes: &["html-mode", "mhtml-mode", "html-ts-mode"],
        kate: ("html", "^HTML$"),
    },
    Language {
        name: "css",
        helix_servers: &["vscode-css-language-server"],
        programs: &["vscode-css-language-server", "css-languageserver"],
        emacs_modes: &["css-mode", "css-ts-mode"],
        kate: ("css", "^CSS$"),
    },
];

/// The row of that name.
pub fn language(name: &str) -> Option<&'static Language> {
    LANGUAGES.iter().find(|language| language.name == name)
}

/// Languages for an editor that runs one server per document: those that are named, or else those that nothing installed
/// serves, with a sentence about the others.
///
/// # Errors
/// If a named one is not in the table.
pub fn for_one_server(
    wish: &Wish<'_>,
    editor: &str,
) -> Result<(Vec<&'static Language>, Option<String>)> {
    if !wish.languages.is_empty() {
        let row = |name: &String| {
            language(name)
                .ok_or_else(|| anyhow!("{name}: no such language here; there are {}", names()))
        };
        return Ok((wish.languages.iter().map(row).collect::<Result<_>>()?, None));
    }
    let (mut free, mut served) = (Vec::new(), Vec::new());
    for language in &LANGUAGES {
        match language.programs.iter().find(|program| wish.places.program(program).is_some()) {
            Some(program) => served.push(format!("{} ({program})", language.name)),
            None => free.push(language),
        }
    }
    let left_out = (!served.is_empty()).then(|| {
        format!(
            "{editor} runs one server per document and keeps the one it has for {}; `--languages` gives a language to cosec-ls instead",
            served.join(", ")
        )
    });
    Ok((free, left_out))
}

/// The names of all rows, for a message.
fn names() -> String {
    let names: Vec<&str> = LANGUAGES.iter().map(|language| language.name).collect();
    names.join(", ")
}
