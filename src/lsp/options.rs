//! A client's JSON → [`Settings`], forgiving: a mistake costs its own field and a word in the log.
//!
//! Each field is tried alone by way of serde, so that field names, types and their error messages
//! are those of [`Settings`] and written nowhere twice.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::complete::file_rules::exclusion_problem;
use crate::complete::path_globs;
use crate::config::Settings;
use crate::config::ranges::{self, NumberRange};
use crate::text::language::editor_id;

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
    /// A glob cannot do what it says. The setting is applied all the same.
    #[error("setting `{field}`: the glob `{glob}` {reason}")]
    Glob {
        /// Name of the field.
        field: &'static str,
        /// The glob.
        glob: String,
        /// What is wrong with it.
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
        let (value, dropped) = match field.as_str() {
            "excludedFiles" => strings(value),
            _ => (value.clone(), None),
        };
        mistakes.extend(dropped);
        match with_field(&settings, field, &value) {
            Ok(changed) => settings = changed,
            Err(mistake) => mistakes.push(mistake),
        }
    }
    mistakes.extend(unusable_globs(&settings));
    settings.languages = spelled(settings.languages);
    settings.alpha_by_language = spelled(settings.alpha_by_language);
    (settings, mistakes)
}

/// The strings in a list of exclusions, and a word about what else there is: one slip must not open every other file of
/// the list. A single string is a list of one.
fn strings(value: &Value) -> (Value, Option<Mistake>) {
    let Value::Array(entries) = value else {
        let one = value.is_string().then(|| Value::Array(vec![value.clone()]));
        return (one.unwrap_or_else(|| value.clone()), None);
    };
    let (strings, others): (Vec<_>, Vec<_>) =
        entries.iter().cloned().partition(|entry| entry.is_string());
    let mistake = others.first().map(|other| Mistake::Glob {
        field: "excludedFiles",
        glob: other.to_string(),
        reason: "is no string and is left out".to_owned(),
    });
    (Value::Array(strings), mistake)
}

/// What is wrong with globs, which costs nothing but a word: an exclusion must not vanish by a typo.
fn unusable_globs(settings: &Settings) -> Vec<Mistake> {
    let excluded = settings.excluded_files.iter();
    let excluded = excluded.map(|glob| ("excludedFiles", glob, exclusion_problem(glob)));
    let alpha = settings.alpha_by_path.iter();
    let alpha = alpha.map(|(glob, _)| ("alphaByPath", glob, path_globs::problem(glob)));
    let problems = excluded.chain(alpha).filter_map(|(field, glob, reason)| {
        Some(Mistake::Glob { field, glob: glob.clone(), reason: reason? })
    });
    problems.collect()
}

/// Language ids as documents have them; an id that is spelled so already wins over other spellings of it.
fn spelled<T>(by_language: BTreeMap<String, T>) -> BTreeMap<String, T> {
    let is_spelled = |id: &String| editor_id(id) == id;
    let (known, others): (Vec<_>, Vec<_>) =
        by_language.into_iter().partition(|(id, _)| is_spelled(id));
    let spelled = others.into_iter().map(|(id, value)| (editor_id(&id).to_owned(), value));
    spelled.chain(known).collect()
}

fn with_field(settings: &Settings, field: &str, value: &Value) -> Result<Settings, Mistake> {
    let mut fields = fields_of(settings);
    let Some(place) = fields.get_mut(field) else {
        return Err(Mistake::Unknown(field.to_owned()));
    };
    let mistake = |reason| Mistake::Value { field: field.to_owned(), reason };
    let value = match ranges::of_setting(field) {
        Some(range) => in_range(range, value).map_err(mistake)?,
        None => Cow::Borrowed(value),
    };
    place.clone_from(&value);
    serde_json::from_value(Value::Object(fields)).map_err(|error| mistake(error.to_string()))
}

fn fields_of(settings: &Settings) -> Map<String, Value> {
    match serde_json::to_value(settings) {
        Ok(Value::Object(fields)) => fields,
        other => unreachable!("settings are an object of plain values: {other:?}"),
    }
}

/// The value of a setting whose numbers are of `range`, as serde will have it: 3.0 is an integer to some clients. Numbers
/// in an object or an array are checked as well; what is no number is left for serde to refuse.
fn in_range(range: NumberRange, value: &Value) -> Result<Cow<'_, Value>, String> {
    match value {
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or(f64::INFINITY);
            range.check(number).map_err(|error| error.to_string())?;
            // The ranges of integers lie within what a double holds exactly.
            let whole = range.is_integer().then(|| Cow::Owned(Value::from(number as u64)));
            Ok(whole.unwrap_or(Cow::Borrowed(value)))
        }
        Value::Array(items) => {
            items.iter().try_for_each(|item| in_range(range, item).map(drop))?;
            Ok(Cow::Borrowed(value))
        }
        Value::Object(fields) => {
            fields.values().try_for_each(|field| in_range(range, field).map(drop))?;
            Ok(Cow::Borrowed(value))
        }
        _ => Ok(Cow::Borrowed(value)),
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
                setting `maxLines` is ignored: found -1, expected an integer from 1 to 1000
                setting `mode` is ignored: unknown variant `safe`, expected one of `off`, `cosec`, `security`"#]],
        );
        assert_eq!(settings, Settings { debounce_ms: 10, ..Settings::default() });
    }

    #[test]
    fn values_must_make_sense() {
        let options = json!({
            "alpha": -0.1, "alphaByPath": [["**/auth/**", -1]],
        });
        let settings = check(
            options,
            expect![[r#"
                setting `alpha` is ignored: found -0.1, expected a number from 0 to 1
                setting `alphaByPath` is ignored: found -1, expected a number from 0 to 1"#]],
        );
        assert_eq!(settings, Settings::default());
    }

    /// The settings with something in every place for a number, as a client writes them.
    fn all_numbers() -> Map<String, Value> {
        let settings = Settings {
            alpha: Some(0.5),
            temperature: Some(0.5),
            alpha_by_language: [("python".to_owned(), 0.5)].into(),
            alpha_by_path: vec![("**/auth/**".to_owned(), 0.5)],
            draft_tokens: DraftTokens::Fixed(2),
            ..Settings::default()
        };
        fields_of(&settings)
    }

    fn has_number(value: &Value) -> bool {
        match value {
            Value::Number(_) => true,
            Value::Array(items) => items.iter().any(has_number),
            Value::Object(fields) => fields.values().any(has_number),
            _ => false,
        }
    }

    /// `value` with every number in it replaced.
    fn with_numbers(value: &Value, number: &Value) -> Value {
        match value {
            Value::Number(_) => number.clone(),
            Value::Array(items) => items.iter().map(|item| with_numbers(item, number)).collect(),
            Value::Object(fields) => {
                let fields = fields.iter();
                fields.map(|(k, item)| (k.clone(), with_numbers(item, number))).collect()
            }
            other => other.clone(),
        }
    }

    #[test]
    fn every_setting_with_a_number_has_a_range_and_none_besides() {
        for (field, value) in all_numbers() {
            assert_eq!(ranges::of_setting(&field).is_some(), has_number(&value), "{field}");
        }
        for (field, _) in ranges::SETTINGS {
            assert!(all_numbers().contains_key(field), "{field} is no setting");
        }
    }

    #[test]
    fn the_ends_of_a_range_are_taken_and_what_lies_beyond_costs_its_own_field() {
        let beyond = [-1.0, 1e9, f64::from(f32::MAX), 1e300, 18_446_744_073_709_551_615.0, -1e300];
        for (field, value) in all_numbers() {
            let Some(range) = ranges::of_setting(&field) else { continue };
            let (mut n_taken, mut n_refused) = (0, 0);
            let small = (0..=8).map(f64::from);
            let ends = [0.5, 1.5, 100.0, 256.0, 8192.0, 131_072.0, 525_600.0, 1_048_576.0, 3.6e6];
            for number in small.chain(ends).chain(beyond) {
                let options = json!({ field.clone(): with_numbers(&value, &json!(number)) });
                let (settings, mistakes) = lay_over(&Settings::default(), &options);
                match range.check(number) {
                    Ok(_) => {
                        assert_eq!(mistakes, [], "{field}: {number}");
                        n_taken += 1;
                    }
                    Err(error) => {
                        let said = mistakes[0].to_string();
                        assert_eq!(said, format!("setting `{field}` is ignored: {error}"));
                        assert_eq!(settings, Settings::default(), "{field}: {number}");
                        n_refused += 1;
                    }
                }
            }
            assert!(n_taken > 1 && n_refused >= beyond.len() - 1, "{field}");
        }
    }

    #[test]
    fn what_is_no_number_costs_its_own_field() {
        for (field, value) in all_numbers() {
            if ranges::of_setting(&field).is_none() {
                continue;
            }
            for wrong in [json!("3"), json!("inf"), json!(true), json!([[]]), json!({ "a": {} })] {
                let options = json!({ field.clone(): with_numbers(&value, &wrong) });
                let (settings, mistakes) = lay_over(&Settings::default(), &options);
                let lenient = field == "draftTokens" && wrong == json!("3");
                assert_eq!(mistakes.len(), usize::from(!lenient), "{field}: {wrong}");
                assert!(lenient || settings == Settings::default(), "{field}: {wrong}");
            }
        }
    }

    #[test]
    fn an_integer_may_come_as_a_float() {
        let settings = check(json!({ "maxLines": 3.0, "threads": 2.0 }), expect![[""]]);
        assert_eq!((settings.max_lines, settings.threads), (3, 2));
    }

    #[test]
    fn the_table_for_people_has_the_ranges() {
        let page = include_str!("../../docs/PROTOCOL.md");
        for (field, range) in ranges::SETTINGS {
            let row = page.lines().find(|line| line.starts_with(&format!("| `{field}` |")));
            let row = row.unwrap_or_else(|| panic!("{field} has no row"));
            let range = range.to_string();
            let range = range.trim_start_matches("an ").trim_start_matches("a ");
            let range = range.replace("\"auto\"", "`\"auto\"`");
            let words = range.split(" or ").collect::<Vec<_>>();
            assert!(words.iter().all(|words| row.contains(words)), "{field}: {row}, {range}");
        }
    }

    #[test]
    fn a_glob_that_can_never_match_is_told_and_kept() {
        let globs = json!(["**/[a", "", "/a/../b", "~x/y", "!", "language:", "!default", "*.ok"]);
        let options = json!({ "excludedFiles": globs, "alphaByPath": [["{a", 0.5]] });
        let settings = check(
            options,
            expect![[r#"
                setting `excludedFiles`: the glob `**/[a` is not valid and is taken by its letters: unclosed character class; missing ']'
                setting `excludedFiles`: the glob `` is empty and matches nothing
                setting `excludedFiles`: the glob `/a/../b` holds `..`, which no path has once it is resolved
                setting `excludedFiles`: the glob `~x/y` begins with `~x`; only `~` alone is known as a home
                setting `excludedFiles`: the glob `!` is empty and matches nothing
                setting `excludedFiles`: the glob `language:` names no language
                setting `alphaByPath`: the glob `{a` is not valid and is taken by its letters: unclosed alternate group; missing '}' (maybe escape '{' with '[{]'?)"#]],
        );
        assert_eq!(json!(settings.excluded_files), globs);
        assert_eq!(settings.alpha_by_path, [("{a".to_owned(), 0.5)]);
    }

    #[test]
    fn a_slip_in_a_list_of_exclusions_costs_nothing_but_itself() {
        let settings = check(
            json!({ "excludedFiles": ["a", 1, "b", null] }),
            expect!["setting `excludedFiles`: the glob `1` is no string and is left out"],
        );
        assert_eq!(settings.excluded_files, ["a", "b"]);
        let settings = check(json!({ "excludedFiles": "a" }), expect![[""]]);
        assert_eq!(settings.excluded_files, ["a"]);
    }

    #[test]
    fn languages_may_be_spelled_in_any_way() {
        let options = json!({
            "languages": { "*": true, "bash": false, "tsx": false, "cpp": true, "c++": false },
            "alphaByLanguage": { "js": 0.1, "py": 0.2 },
        });
        let settings = check(options, expect![[""]]);
        for (language, enabled) in
            [("shellscript", false), ("typescriptreact", false), ("cpp", true), ("rust", true)]
        {
            assert_eq!(settings.language_enabled(language), enabled, "{language}");
        }
        let alpha = settings.alpha_by_language.into_iter().collect::<Vec<_>>();
        assert_eq!(alpha, [("javascript".to_owned(), 0.1), ("python".to_owned(), 0.2)]);
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
                r#"setting `draftTokens` is ignored: found 9, expected an integer from 1 to 8 or "auto""#
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
