//! How languages write a comment, and what their files are usually called: data, by the language ids of editors.

/// What encloses a comment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Syntax {
    /// From here to the end of the line.
    Line(&'static str),
    /// From the first to the second.
    Block(&'static str, &'static str),
    /// The language has no comments, or none that means nothing.
    None,
}

use Syntax::{Block, Line, None as Without};

const HTML: Syntax = Block("<!--", "-->");
const C: Syntax = Line("//");
const HASH: Syntax = Line("#");

/// Language ids (those of Visual Studio Code's list, and what Vim and Emacs call the same), how they comment, and the
/// usual extension of their files.
const LANGUAGES: &[(&[&str], Syntax, &str)] = &[
    (&["abap"], Line("*"), "abap"),
    (&["ada"], Line("--"), "adb"),
    (&["asm", "nasm", "assembly"], Line(";"), "asm"),
    (&["astro"], HTML, "astro"),
    (&["awk"], HASH, "awk"),
    (&["bat", "batch", "dosbatch"], Line("REM"), "bat"),
    (&["bibtex"], Line("%"), "bib"),
    (&["c"], C, "c"),
    (&["clojure"], Line(";;"), "clj"),
    (&["cmake"], HASH, "cmake"),
    (&["cobol"], Line("*>"), "cob"),
    (&["coffeescript"], HASH, "coffee"),
    (&["cpp", "c++"], C, "cpp"),
    (&["crystal"], HASH, "cr"),
    (&["csharp", "cs"], C, "cs"),
    (&["css"], Block("/*", "*/"), "css"),
    (&["cuda", "cuda-cpp"], C, "cu"),
    (&["d"], C, "d"),
    (&["dart"], C, "dart"),
    (&["dockerfile"], HASH, "dockerfile"),
    (&["elixir"], HASH, "ex"),
    (&["elm"], Line("--"), "elm"),
    (&["emacs-lisp", "elisp"], Line(";;"), "el"),
    (&["erlang"], Line("%"), "erl"),
    (&["fish"], HASH, "fish"),
    (&["fortran", "fortran-modern", "FortranFreeForm"], Line("!"), "f90"),
    (&["fsharp"], C, "fs"),
    (&["gdscript"], HASH, "gd"),
    (&["gitignore", "ignore"], HASH, "gitignore"),
    (&["glsl", "hlsl", "wgsl", "shaderlab"], C, "glsl"),
    (&["go"], C, "go"),
    (&["graphql"], HASH, "graphql"),
    (&["groovy"], C, "groovy"),
    (&["handlebars"], HTML, "hbs"),
    (&["haskell"], Line("--"), "hs"),
    (&["html"], HTML, "html"),
    (&["ini", "properties", "dosini", "jproperties"], HASH, "ini"),
    (&["java"], C, "java"),
    (&["javascript"], C, "js"),
    (&["javascriptreact"], C, "jsx"),
    (&["json", "jsonl"], Without, "json"),
    (&["jsonc", "json5"], C, "jsonc"),
    (&["julia"], HASH, "jl"),
    (&["kotlin"], C, "kt"),
    (&["latex", "tex"], Line("%"), "tex"),
    (&["less"], C, "less"),
    (&["lisp", "commonlisp"], Line(";;"), "lisp"),
    (&["lua"], Line("--"), "lua"),
    (&["makefile", "make"], HASH, "mk"),
    (&["markdown"], HTML, "md"),
    (&["matlab"], Line("%"), "m"),
    (&["mdx"], Without, "mdx"),
    (&["nim"], HASH, "nim"),
    (&["nix"], HASH, "nix"),
    (&["objective-c", "objc"], C, "m"),
    (&["objective-cpp", "objcpp"], C, "mm"),
    (&["ocaml"], Block("(*", "*)"), "ml"),
    (&["pascal", "objectpascal", "delphi"], C, "pas"),
    (&["perl", "perl6", "raku"], HASH, "pl"),
    (&["php"], Without, "php"),
    (&["plaintext", "text"], Without, "txt"),
    (&["powershell", "ps1"], HASH, "ps1"),
    (&["prisma"], C, "prisma"),
    (&["prolog"], Line("%"), "pl"),
    (&["proto", "proto3", "protobuf"], C, "proto"),
    (&["python"], HASH, "py"),
    (&["r"], HASH, "r"),
    (&["razor", "aspnetcorerazor", "cshtml"], Block("@*", "*@"), "cshtml"),
    (&["restructuredtext", "rst"], Line(".."), "rst"),
    (&["ruby"], HASH, "rb"),
    (&["rust"], C, "rs"),
    (&["sass", "scss"], C, "scss"),
    (&["scala"], C, "scala"),
    (&["scheme", "racket"], Line(";;"), "scm"),
    (&["shellscript", "sh", "bash", "zsh"], HASH, "sh"),
    (&["solidity"], C, "sol"),
    (&["sql", "plsql", "mysql", "pgsql"], Line("--"), "sql"),
    (&["starlark", "bazel", "bzl"], HASH, "bzl"),
    (&["svelte"], HTML, "svelte"),
    (&["swift"], C, "swift"),
    (&["tcl"], HASH, "tcl"),
    (&["terraform", "hcl"], HASH, "tf"),
    (&["toml"], HASH, "toml"),
    (&["twig", "jinja", "jinja-html", "django-html"], Block("{#", "#}"), "html"),
    (&["typescript"], C, "ts"),
    (&["typescriptreact"], C, "tsx"),
    (&["vb"], Line("'"), "vb"),
    (&["verilog", "systemverilog"], C, "sv"),
    (&["vhdl"], Line("--"), "vhd"),
    (&["viml", "vim"], Line("\""), "vim"),
    (&["vue", "vue-html"], HTML, "vue"),
    (&["xml", "xsl", "xsd"], HTML, "xml"),
    (&["yaml", "dockercompose", "github-actions-workflow"], HASH, "yaml"),
    (&["zig"], C, "zig"),
];

/// A comment of `language` that says `text`, as a line with its end; `None` for a language without comments, one that is
/// not known, and a text that would end the comment.
pub fn comment(language: &str, text: &str) -> Option<String> {
    match row(language)?.1 {
        Line(start) => Some(format!("{start} {text}\n")),
        Block(_, end) if text.contains(end) => None,
        Block(start, end) => Some(format!("{start} {text} {end}\n")),
        Without => None,
    }
}

/// The usual extension of the language's files, without its dot.
pub fn extension(language: &str) -> Option<&'static str> {
    row(language).map(|row| row.2)
}

fn row(language: &str) -> Option<&'static (&'static [&'static str], Syntax, &'static str)> {
    LANGUAGES
        .iter()
        .find(|(names, ..)| names.iter().any(|name| name.eq_ignore_ascii_case(language)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::language::editor_id;

    /// Documents have the one spelling of their language, so a row with another one alone would never be met.
    #[test]
    fn every_row_is_met_by_a_document_s_language() {
        for (names, ..) in LANGUAGES {
            let met = names.iter().any(|name| names.contains(&editor_id(name)));
            assert!(met, "{names:?} is {}", editor_id(names[0]));
        }
    }

    #[test]
    fn every_language_comments_in_its_own_way() {
        let table = [
            ("python", Some("# path: a\n")),
            ("Dockerfile", Some("# path: a\n")),
            ("rust", Some("// path: a\n")),
            ("html", Some("<!-- path: a -->\n")),
            ("markdown", Some("<!-- path: a -->\n")),
            ("css", Some("/* path: a */\n")),
            ("sql", Some("-- path: a\n")),
            ("lua", Some("-- path: a\n")),
            ("clojure", Some(";; path: a\n")),
            ("latex", Some("% path: a\n")),
            ("ocaml", Some("(* path: a *)\n")),
            ("bat", Some("REM path: a\n")),
            ("json", None),
            ("plaintext", None),
            // Outside of its tags, a comment of PHP is output.
            ("php", None),
            ("", None),
            ("klingon", None),
        ];
        for (language, expected) in table {
            assert_eq!(comment(language, "path: a").as_deref(), expected, "{language}");
        }
    }

    #[test]
    fn a_text_cannot_end_its_comment() {
        assert_eq!(comment("css", "path: a*/b"), None);
        assert_eq!(comment("xml", "path: a-->b"), None);
        assert!(comment("rust", "path: a*/b").is_some());
    }

    #[test]
    fn a_language_id_stands_in_one_row() {
        let mut names: Vec<&str> = LANGUAGES.iter().flat_map(|row| row.0).copied().collect();
        let n_names = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), n_names);
    }
}
