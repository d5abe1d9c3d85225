//! A client's JSON → [`Settings`], forgiving: a mistake costs its own field and a word in the log.
//!
//! Each field is tried alone by way of serde, so that field names, types and their error messages
//! are those of [`Settings`] and written nowhere twice.

use std::fmt::Display;

use globset::Glob;
use serde_json::{Map, Value};

use crate::config::Settings;

/// The section that our settings have in a client's configuration.
pub(super) const SECTION: &str = "cosec-ls";

/// Initialization options that Copilot-style clients send and that are not settings.
const NOT_SETTINGS: [&str; 2] = ["editorInfo", "editorPluginInfo"];

/// What is wrong with a client's option.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub(super) enum Mistake {
    /// No setting has this name.
    #[error("setting `{0}` is unknown and ignored")]
    Unknown(String),
    /// The value is of another type or out of bounds.
    #[error("setting `{field}` is ignored: {reason}")]
    Value {
        /// Name of the field.
        field: String,
        /// What was found and expected.
        reason: String,
    },
    /// The options are not an object.
    #[error("settings are ignored: expected an object")]
    NotAnObject,
}

/// `base` with the fields of `options` laid over it, and what was wrong with them. A null is the
/// same as an absent field, and [`SECTION`] may be wrapped around.
pub(super) fn lay_over(base: &Settings, options: &Value) -> (Settings, Vec<Mistake>) {
    let options = options.get(SECTION).unwrap_or(options);
    let Value::Object(options) = options else {
        let mistakes = if options.is_null() { vec![] } else { vec![Mistake::NotAnObject] };
        return (base.clone(), mistakes);
    };
    let mut settings = base.clone();
    let mut mistakes = Vec::new();
    for (field, value) in options {
        if value.is_null() || NOT_SETTINGS.contains(&field.as_str()) {
            continue;
        }
        match with_field(&settings, field, value) {
            Ok(changed) => settings = changed,
            Err(mistake) => mistakes.push(mistake),
        }
    }
    (settings, mistakes)
}

fn with_field(settings: &Settings, field: &str, value: &Value) -> Result<Settings, Mistake> {
    let mut fields = fields_of(settings);
    let Some(place) = fields.get_mut(field) else {
        return Err(Mistake::Unknown(field.to_owned()));
    };
    place.clone_from(value);
    let mistake = |reason| Mistake::Value { field: field.to_owned(), reason };
    let changed: Settings = serde_json::from_value(Value::Object(fields))
        .map_err(|error| mistake(error.to_string()))?;
    check(&changed, field).map_err(mistake)?;
    Ok(changed)
}

fn fields_of(settings: &Settings) -> Map<String, Value> {
    match serde_json::to_value(settings) {
        Ok(Value::Object(fields)) => fields,
        other => unreachable!("settings are an object of plain values: {other:?}"),
    }
}

/// What the types do not say about the values of `field`.
fn check(settings: &Settings, field: &str) -> Result<(), String> {
    let globs: Vec<&String> = match field {
        "excludedFiles" => settings.excluded_files.iter().collect(),
        "alphaByPath" => settings.alpha_by_path.iter().map(|(glob, _)| glob).collect(),
        _ => vec![],
    };
    let broken = globs.into_iter().find_map(|glob| Glob::new(glob).err());
    let numbers: Vec<f32> = match field {
        "adapterStrength" => vec![settings.adapter_strength],
        "alpha" => settings.alpha.into_iter().collect(),
        "alphaByLanguage" => settings.alpha_by_language.values().copied().collect(),
        "alphaByPath" => settings.alpha_by_path.iter().map(|&(_, alpha)| alpha).collect(),
        "temperature" => settings.temperature.into_iter().collect(),
        _ => vec![],
    };
    let negative = numbers.into_iter().find(|number| !number.is_finite() || *number < 0.0);
    let expected = |found: &dyn Display| format!("found {found}, expected a number of 0 or more");
    match (broken, negative) {
        (Some(error), _) => Err(error.to_string()),
        (None, Some(number)) => Err(expected(&number)),
        (None, None) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;
    use crate::config::{DraftTokens, Mode};

    fn check(options: Value, expect: Expect) -> Settings {
        let (settings, mistakes) = lay_over(&Settings::default(), &options);
        let mistakes: Vec<_> = mistakes.iter().map(Mistake::to_string).collect();
        expect.assert_eq(&mistakes.join("\n"));
        settings
    }

    #[test]
    fn fields_are_camel_case() {
        let options = json!({ "alpha": 0.5, "mode": "security", "maxLines": 3 });
        let settings = check(options, expect![[""]]);
        assert_eq!(settings.alpha, Some(0.5));
        assert_eq!(settings.mode, Some(Mode::Security));
        assert_eq!(settings.max_lines, 3);
        assert_eq!(settings.max_tokens, Settings::default().max_tokens);
    }

    #[test]
    fn a_mistake_costs_its_own_field() {
        let options = json!({
            "mode": "safe", "alpha": "high", "maxLines": -1, "colour": "red", "debounceMs": 10,
        });
        let settings = check(
            options,
            expect![[r#"
                setting `alpha` is ignored: invalid type: string "high", expected f32
                setting `colour` is unknown and ignored
                setting `maxLines` is ignored: invalid value: integer `-1`, expected usize
                setting `mode` is ignored: unknown variant `safe`, expected one of `off`, `cosec`, `security`"#]],
        );
        assert_eq!(settings, Settings { debounce_ms: 10, ..Settings::default() });
    }

    #[test]
    fn values_must_make_sense() {
        let options = json!({
            "alpha": -0.1, "excludedFiles": ["**/[a"], "alphaByPath": [["**/auth/**", -1]],
        });
        let settings = check(
            options,
            expect![[r#"
                setting `alpha` is ignored: found -0.1, expected a number of 0 or more
                setting `alphaByPath` is ignored: found -1, expected a number of 0 or more
                setting `excludedFiles` is ignored: error parsing glob '**/[a': unclosed character class; missing ']'"#]],
        );
        assert_eq!(settings, Settings::default());
    }

    #[test]
    fn drafts_are_a_number_or_a_word() {
        let settings = check(json!({ "draftTokens": 4 }), expect![[""]]);
        assert_eq!(settings.draft_tokens, DraftTokens::Fixed(4));
        let settings = check(json!({ "draftTokens": "auto" }), expect![[""]]);
        assert_eq!(settings.draft_tokens, DraftTokens::Auto);
        check(
            json!({ "draftTokens": 9 }),
            expect![[
                r#"setting `draftTokens` is ignored: invalid value: integer `9`, expected a number from 1 to 8 or "auto""#
            ]],
        );
        check(
            json!({ "draftTokens": "many" }),
            expect![[
                r#"setting `draftTokens` is ignored: invalid value: string "many", expected a number from 1 to 8 or "auto""#
            ]],
        );
    }

    #[test]
    fn nothing_and_nulls_change_nothing() {
        assert_eq!(check(Value::Null, expect![[""]]), Settings::default());
        let nulls = json!({ "cosec-ls": { "alpha": null, "maxLines": null } });
        assert_eq!(check(nulls, expect![[""]]), Settings::default());
        let copilot = json!({ "editorInfo": { "name": "x" }, "editorPluginInfo": {} });
        assert_eq!(check(copilot, expect![[""]]), Settings::default());
    }

    #[test]
    fn options_that_are_no_object_are_reported() {
        check(json!([1]), expect!["settings are ignored: expected an object"]);
    }
}
