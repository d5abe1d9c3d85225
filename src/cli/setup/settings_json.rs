//! Settings in JSON with comments: a member more, and every other byte as it was.

use anyhow::{Result, anyhow, bail};
use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstInputValue, CstObject, CstRootNode};

/// A settings file that is being changed.
pub struct SettingsFile<'a> {
    root: CstRootNode,
    name: &'a str,
}

impl<'a> SettingsFile<'a> {
    /// Reads a text; an empty one is an empty object.
    ///
    /// # Errors
    /// If it is not JSON with comments, or no object.
    pub fn parse(text: &str, name: &'a str) -> Result<Self> {
        let text = if text.trim().is_empty() { "{\n}\n" } else { text };
        let root = CstRootNode::parse(text, &dialect()).map_err(|error| {
            let line = text[..error.range().start.min(text.len())].matches('\n').count() + 1;
            anyhow!("{name}:{line}: {}; nothing was changed", error.kind())
        })?;
        Ok(Self { root, name })
    }

    /// The object under these keys, made where there is none.
    ///
    /// # Errors
    /// If something else stands there.
    pub fn object(&self, keys: &[&str]) -> Result<CstObject> {
        let Some(mut object) = self.root.object_value() else {
            bail!("{}: this is no object; nothing was changed", self.name);
        };
        for key in keys {
            let Some(inner) = object.object_value_or_create(key) else {
                bail!("{}: `{key}` is no object; nothing was changed", self.name);
            };
            object = inner;
        }
        Ok(object)
    }
}

impl std::fmt::Display for SettingsFile<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.root.fmt(f)
    }
}

/// What the editors read: comments and commas too many, and nothing else that JSON does not have.
fn dialect() -> ParseOptions {
    ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    }
}

/// A string.
pub fn string(text: &str) -> CstInputValue {
    CstInputValue::String(text.to_owned())
}

/// The command line of the server.
pub fn command(server: &str) -> CstInputValue {
    CstInputValue::Array(vec![string(server), string("serve")])
}

/// An object of these members.
pub fn object<const N: usize>(members: [(&str, CstInputValue); N]) -> CstInputValue {
    CstInputValue::Object(members.map(|(key, value)| (key.to_owned(), value)).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_member(text: &str) -> Result<String> {
        let file = SettingsFile::parse(text, "f")?;
        file.object(&["a"])?.append("b", string("c"));
        Ok(file.to_string())
    }

    #[test]
    fn comments_and_commas_stay() {
        for (before, after) in [
            ("", "{\n  \"a\": {\n    \"b\": \"c\"\n  }\n}\n"),
            (
                "// mine\n{\n\t\"x\": 1, // one\n\t\"a\": {\n\t\t\"y\": [2], /* two */\n\t},\n}\n",
                "// mine\n{\n\t\"x\": 1, // one\n\t\"a\": {\n\t\t\"y\": [2], /* two */\n\t\t\"b\": \"c\",\n\t},\n}\n",
            ),
        ] {
            assert_eq!(with_member(before).unwrap(), after);
        }
    }

    #[test]
    fn what_is_no_settings_file_is_an_error_with_its_line() {
        for (text, message) in [
            ("{\n  \"a\": ,\n}", "f:2: "),
            ("{\"a\": 1}", "f: `a` is no object"),
            ("[1]", "f: this is no object"),
        ] {
            let error = with_member(text).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }
}
