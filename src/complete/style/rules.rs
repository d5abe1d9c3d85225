//! What languages demand of white space: one table.

use crate::prompt::stop::indent;

use super::TAB_WIDTH;

/// What a language demands of white space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// Indentation is free, and follows the block.
    Block,
    /// Indentation follows the block, and means something: tabs and spaces are never mixed.
    Offside,
    /// Tabs, unless the block has spaces.
    Tabs,
    /// Spaces: a tab is an error.
    Spaces,
    /// Recipes begin with a tab; the rest is free.
    Recipes,
    /// Text for people: indentation and two blanks at a line's end mean something.
    Prose,
    /// All white space is content.
    Records,
}

/// The rule of an editor's language id.
pub(super) fn rule_of(language: &str) -> Rule {
    match language {
        "python" | "starlark" | "gdscript" | "coffeescript" | "pug" | "jade" | "haml" | "slim"
        | "sass" | "stylus" => Rule::Offside,
        "go" | "go.mod" | "go.work" | "gomod" => Rule::Tabs,
        "yaml"
        | "dockercompose"
        | "ansible"
        | "helm"
        | "github-actions-workflow"
        | "fsharp"
        | "elm"
        | "nim"
        | "cabal" => Rule::Spaces,
        "makefile" | "make" => Rule::Recipes,
        "markdown" | "mdx" | "rmd" | "quarto" | "plaintext" | "text" | "restructuredtext"
        | "rst" | "asciidoc" | "org" | "typst" | "git-commit" | "gitcommit" => Rule::Prose,
        "diff" | "patch" | "git-rebase" | "csv" | "tsv" | "psv" | "dat" | "log" | "whitespace" => {
            Rule::Records
        }
        _ => Rule::Block,
    }
}

impl Rule {
    /// Whether the white space at the end of `line` means something.
    pub(super) fn keeps_end(self, line: &str) -> bool {
        match self {
            Self::Records => true,
            Self::Prose => line.ends_with("  ") && !line.trim().is_empty(),
            Self::Block | Self::Offside | Self::Tabs | Self::Spaces | Self::Recipes => false,
        }
    }
}

/// White space at the start of a line of a Makefile below `above`: a tab in a recipe, whatever was decoded.
pub(super) fn in_recipe(white: &str, above: &str) -> String {
    let (line, goes_on) = logical_line(above);
    let is_recipe = line.starts_with('\t') || (!goes_on && is_rule(line));
    if white.is_empty() || white.starts_with('\t') || !is_recipe {
        return white.to_owned();
    }
    let columns = indent(white, TAB_WIDTH);
    let n_more = if goes_on { columns.saturating_sub(TAB_WIDTH) } else { 0 };
    "\t".to_owned() + &" ".repeat(n_more)
}

/// The last line that is not blank, from its start if it continues others; and whether it goes on.
fn logical_line(above: &str) -> (&str, bool) {
    let above = above.trim_end();
    let mut start = above.rfind('\n').map_or(0, |line_break| line_break + 1);
    while start > 0 && above[..start - 1].trim_end().ends_with('\\') {
        start = above[..start - 1].rfind('\n').map_or(0, |line_break| line_break + 1);
    }
    (&above[start..], above.ends_with('\\'))
}

/// Whether a line names a target.
fn is_rule(line: &str) -> bool {
    let line = line.split('#').next().unwrap_or_default();
    let is_assignment = |after: &str| after.trim_start_matches(':').starts_with('=');
    let target = line.split_once(':').filter(|(_, after)| !is_assignment(after));
    target.is_some_and(|(target, _)| {
        !target.trim().is_empty()
            && !target.starts_with(char::is_whitespace)
            && !target.contains('=')
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::language::editor_id;

    /// Documents have the one spelling of their language, so a row with another one alone would never be met.
    #[test]
    fn every_spelling_of_a_language_has_its_rule() {
        for spelling in [
            "make",
            "gomod",
            "pug",
            "text",
            "rst",
            "gitcommit",
            "patch",
            "bazel",
            "yml",
            "docker-compose",
            "rmarkdown",
            "sass",
            "gdscript3",
            "csv",
            "tsv",
        ] {
            let id = editor_id(spelling);
            let rule = rule_of(id);
            assert!(
                rule == rule_of(spelling) || rule_of(spelling) == Rule::Block,
                "{spelling} is {id}"
            );
        }
        for id in ["makefile", "go.mod", "jade", "plaintext", "restructuredtext", "diff", "yaml"] {
            assert_ne!(rule_of(editor_id(id)), Rule::Block, "{id}");
        }
    }
}
