//! How languages write strings and comments: one table.

/// What [`super::scan`] knows of a language.
#[derive(Debug)]
pub struct Syntax {
    /// Marks of comments that end with their line.
    pub line_comments: &'static [&'static str],
    /// Opening and closing marks of other comments.
    pub block_comments: &'static [(&'static str, &'static str)],
    /// Strings; of openers that begin alike the longest comes first.
    pub literals: &'static [Literal],
    /// Strings whose end is told by their beginning.
    pub raw: Option<Raw>,
    /// What begins a heredoc.
    pub heredoc: Option<&'static str>,
    /// Whether `'` makes characters and lifetimes rather than strings.
    pub characters: bool,
}

/// One kind of string.
#[derive(Clone, Copy, Debug)]
pub struct Literal {
    /// How it begins.
    pub open: &'static str,
    /// How it ends.
    pub close: &'static str,
    /// Whether `\` takes the meaning of the next character.
    pub escapes: bool,
    /// Whether it may end on another line than it begins.
    pub spans_lines: bool,
    /// What begins code in it, if these letters stand before it: `f` and `{` in Python.
    pub code: Option<(&'static str, &'static str)>,
}

/// Strings whose end is told by their beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Raw {
    /// `r#"…"#`.
    Rust,
    /// `R"mark(…)mark"`.
    Cpp,
    /// `[==[…]==]`.
    Lua,
}

const fn line(quote: &'static str) -> Literal {
    Literal { open: quote, close: quote, escapes: true, spans_lines: false, code: None }
}

const fn lines(quote: &'static str) -> Literal {
    Literal { spans_lines: true, ..line(quote) }
}

const fn verbatim(quote: &'static str) -> Literal {
    Literal { escapes: false, ..lines(quote) }
}

const fn with_code(literal: Literal, prefix: &'static str, open: &'static str) -> Literal {
    Literal { code: Some((prefix, open)), ..literal }
}

const SLASHES: &[&str] = &["//"];
const HASH: &[&str] = &["#"];
const DASHES: &[&str] = &["--"];
const STARS: &[(&str, &str)] = &[("/*", "*/")];
const TAGS: &[(&str, &str)] = &[("<!--", "-->")];

/// Anything that looks like C, and all that is not known.
const DEFAULT: Syntax = Syntax {
    line_comments: SLASHES,
    block_comments: STARS,
    literals: &[line("\""), line("'"), line("`")],
    raw: None,
    heredoc: None,
    characters: false,
};
const C: Syntax = Syntax { literals: &[line("\"")], characters: true, ..DEFAULT };
const CPP: Syntax = Syntax { raw: Some(Raw::Cpp), ..C };
const CSHARP: Syntax =
    Syntax { literals: &[lines("\"\"\""), with_code(line("\""), "$", "{")], ..C };
const JAVA: Syntax = Syntax { literals: &[lines("\"\"\""), line("\"")], ..C };
const KOTLIN: Syntax = Syntax {
    literals: &[with_code(lines("\"\"\""), "", "${"), with_code(line("\""), "", "${")],
    ..C
};
const DART: Syntax = Syntax {
    literals: &[
        lines("\"\"\""),
        lines("'''"),
        with_code(line("\""), "", "${"),
        with_code(line("'"), "", "${"),
    ],
    ..DEFAULT
};
const GO: Syntax = Syntax { literals: &[verbatim("`"), line("\"")], ..C };
const RUST: Syntax = Syntax { literals: &[lines("\"")], raw: Some(Raw::Rust), ..C };
const SCRIPT: Syntax =
    Syntax { literals: &[with_code(lines("`"), "", "${"), line("\""), line("'")], ..DEFAULT };
const COMPONENT: Syntax = Syntax { block_comments: &[("<!--", "-->"), ("/*", "*/")], ..SCRIPT };
const PYTHON: Syntax = Syntax {
    line_comments: HASH,
    block_comments: &[],
    literals: &[
        with_code(lines("\"\"\""), "fF", "{"),
        with_code(lines("'''"), "fF", "{"),
        with_code(line("\""), "fF", "{"),
        with_code(line("'"), "fF", "{"),
    ],
    ..DEFAULT
};
const HASHED: Syntax = Syntax { literals: &[line("\""), line("'")], ..PYTHON };
const TOML: Syntax = Syntax { literals: PYTHON_LIKE, ..HASHED };
const PYTHON_LIKE: &[Literal] = &[lines("\"\"\""), verbatim("'''"), line("\""), line("'")];
const SHELL: Syntax = Syntax {
    literals: &[with_code(lines("\""), "", "$("), verbatim("'"), line("`")],
    heredoc: Some("<<"),
    ..HASHED
};
const RUBY: Syntax = Syntax {
    literals: &[with_code(line("\""), "", "#{"), line("'"), line("`")],
    heredoc: Some("<<"),
    ..HASHED
};
const ELIXIR: Syntax = Syntax {
    literals: &[with_code(lines("\"\"\""), "", "#{"), lines("'''"), line("\""), line("'")],
    ..HASHED
};
const JULIA: Syntax = Syntax {
    block_comments: &[("#=", "=#")],
    literals: &[lines("\"\"\""), line("\"")],
    characters: true,
    ..HASHED
};
const POWERSHELL: Syntax = Syntax { block_comments: &[("<#", "#>")], ..HASHED };
const PHP: Syntax = Syntax {
    line_comments: &["//", "#"],
    literals: &[lines("\""), lines("'")],
    heredoc: Some("<<<"),
    ..DEFAULT
};
const LUA: Syntax = Syntax {
    line_comments: DASHES,
    block_comments: &[("--[[", "]]")],
    literals: &[line("\""), line("'")],
    raw: Some(Raw::Lua),
    ..DEFAULT
};
const SQL: Syntax =
    Syntax { line_comments: DASHES, literals: &[verbatim("'"), line("\"")], ..DEFAULT };
const HASKELL: Syntax = Syntax { line_comments: DASHES, block_comments: &[("{-", "-}")], ..C };
const ML: Syntax = Syntax { line_comments: SLASHES, block_comments: &[("(*", "*)")], ..C };
const LISP: Syntax = Syntax {
    line_comments: &[";"],
    block_comments: &[("#|", "|#")],
    literals: &[lines("\"")],
    characters: true,
    ..DEFAULT
};
const CSS: Syntax = Syntax { line_comments: &[], literals: &[line("\""), line("'")], ..DEFAULT };
const MARKUP: Syntax = Syntax {
    line_comments: &[],
    block_comments: TAGS,
    literals: &[line("\""), line("'")],
    ..DEFAULT
};
const TEMPLATE: Syntax = Syntax { block_comments: &[("<!--", "-->"), ("{#", "#}")], ..MARKUP };
const LATEX: Syntax =
    Syntax { line_comments: &["%"], block_comments: &[], literals: &[], ..MARKUP };
const PROSE: Syntax = Syntax { line_comments: &[], block_comments: TAGS, literals: &[], ..MARKUP };
const JSON: Syntax = Syntax { literals: &[line("\"")], ..DEFAULT };

/// The syntax of an editor's language id.
pub fn syntax_of(language: &str) -> &'static Syntax {
    match language {
        "python" | "starlark" | "gdscript" => &PYTHON,
        "r" | "perl" | "yaml" | "dockercompose" | "ansible" | "helm" | "cmake" | "makefile"
        | "make" | "just" | "nim" | "coffeescript" | "graphql" | "tcl" | "ini" | "properties"
        | "fish" => &HASHED,
        "shellscript" | "sh" | "bash" | "zsh" | "dockerfile" => &SHELL,
        "toml" => &TOML,
        "ruby" | "crystal" => &RUBY,
        "elixir" => &ELIXIR,
        "julia" => &JULIA,
        "powershell" | "ps1" => &POWERSHELL,
        "php" => &PHP,
        "lua" => &LUA,
        "sql" => &SQL,
        "haskell" | "elm" | "purescript" => &HASKELL,
        "fsharp" | "ocaml" | "pascal" => &ML,
        "lisp" | "commonlisp" | "clojure" | "scheme" | "racket" | "emacs-lisp" | "elisp" => &LISP,
        "c" | "objective-c" | "objc" | "zig" => &C,
        "cpp" | "cuda-cpp" | "cuda" | "objective-cpp" | "objcpp" => &CPP,
        "csharp" | "cs" | "c-sharp" => &CSHARP,
        "java" => &JAVA,
        "kotlin" | "scala" | "swift" | "groovy" => &KOTLIN,
        "dart" => &DART,
        "go" => &GO,
        "rust" => &RUST,
        "javascript" | "typescript" | "javascriptreact" | "typescriptreact" | "jsx" | "tsx" => {
            &SCRIPT
        }
        "vue" | "svelte" | "astro" => &COMPONENT,
        "css" => &CSS,
        "html" | "xml" | "xsl" | "svg" | "handlebars" | "mustache" | "razor" => &MARKUP,
        "jinja" | "jinja-html" | "django-html" | "htmldjango" | "twig" | "erb" | "eruby"
        | "liquid" | "blade" | "heex" | "eex" | "eelixir" => &TEMPLATE,
        "latex" | "tex" | "bibtex" => &LATEX,
        "json" | "jsonc" | "json5" => &JSON,
        language if is_prose(language) => &PROSE,
        _ => &DEFAULT,
    }
}

/// Whether a language is text for people: its brackets, quotes and dashes need no partners.
pub fn is_prose(language: &str) -> bool {
    matches!(
        language,
        "markdown"
            | "mdx"
            | "rmd"
            | "quarto"
            | "plaintext"
            | "text"
            | "restructuredtext"
            | "rst"
            | "asciidoc"
            | "org"
            | "typst"
            | "latex"
            | "tex"
            | "git-commit"
            | "gitcommit"
            | "log"
            | "diff"
            | "patch"
            | "csv"
            | "tsv"
    )
}

/// Whether a language has tags.
pub fn has_tags(language: &str) -> bool {
    let markup =
        syntax_of(language).block_comments.first().is_some_and(|(open, _)| *open == "<!--");
    markup
        || matches!(
            language,
            "javascript" | "javascriptreact" | "typescriptreact" | "jsx" | "tsx" | "php" | "elixir"
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::language::editor_id;

    /// Documents have the one spelling of their language, so a row with another one alone would never be met.
    #[test]
    fn every_spelling_of_a_language_has_its_syntax() {
        for spelling in [
            "sh",
            "bash",
            "zsh",
            "jsx",
            "tsx",
            "objc",
            "objcpp",
            "c-sharp",
            "cs",
            "cuda",
            "make",
            "tex",
            "elisp",
            "htmldjango",
            "eruby",
            "ps1",
            "json5",
            "racket",
            "svg",
            "cshtml",
            "heex",
            "vue",
            "svelte",
            "golang",
        ] {
            let id = editor_id(spelling);
            let known = syntax_of(id);
            assert!(
                std::ptr::eq(known, syntax_of(spelling))
                    || std::ptr::eq(syntax_of(spelling), syntax_of("no such language")),
                "{spelling} is {id}"
            );
        }
    }
}
