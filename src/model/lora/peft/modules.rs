//! Which layers an option of PEFT's configuration speaks of: lists of names and Python patterns, as PEFT matches them.

use std::fmt;
use std::marker::PhantomData;

use fancy_regex::Regex;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::Error;

/// Values for layers whose names match, the first match counting: `rank_pattern` and `alpha_pattern`.
#[derive(Debug)]
pub(super) struct Patterns<T> {
    field: &'static str,
    /// In the file's order.
    entries: Vec<(Regex, T)>,
}

impl<T: Copy> Patterns<T> {
    /// Compiles the keys; `value` says what a value means, if it is one.
    ///
    /// # Errors
    /// If a key is no pattern, or a value none that is meant.
    pub(super) fn new(
        field: &'static str,
        entries: Ordered<Value>,
        value: impl Fn(&Value) -> Option<T>,
    ) -> Result<Self, Error> {
        let entry = |(key, given): (String, Value)| {
            // PEFT's `get_pattern_key`.
            let regex = compile(field, &format!(r"^(.*\.)?({key})$"))?;
            let wrong = || Error::Config(format!("`{field}` of `{key}` is {given}"));
            Ok((regex, value(&given).ok_or_else(wrong)?))
        };
        let entries = entries.0.into_iter().map(entry).collect::<Result<_, Error>>()?;
        Ok(Self { field, entries })
    }

    /// The value for a layer, if a key matches its name.
    ///
    /// # Errors
    /// If a pattern takes too long.
    pub(super) fn get(&self, module: &str) -> Result<Option<T>, Error> {
        for (regex, value) in &self.entries {
            if matches(self.field, regex, module)? {
                return Ok(Some(*value));
            }
        }
        Ok(None)
    }
}

/// Layers by name: `target_modules` and `exclude_modules`.
#[derive(Debug)]
pub(super) enum Modules {
    /// Whole names, or their ends from a dot on.
    Names(Vec<String>),
    /// A pattern for the whole name.
    Pattern(Regex),
}

impl Modules {
    /// Reads a list of names or a pattern; nothing for what says nothing, as `all-linear` does of attention.
    ///
    /// # Errors
    /// If a pattern is none.
    pub(super) fn read(field: &'static str, value: Option<&Value>) -> Result<Option<Self>, Error> {
        match value {
            Some(Value::String(pattern)) if pattern != "all-linear" && !pattern.is_empty() => {
                Ok(Some(Self::Pattern(compile(field, &format!("^(?:{pattern})$"))?)))
            }
            Some(Value::Array(names)) if !names.is_empty() => {
                let names = names.iter().filter_map(Value::as_str).map(str::to_owned);
                Ok(Some(Self::Names(names.collect())))
            }
            _ => Ok(None),
        }
    }

    /// Whether a layer is among them.
    ///
    /// # Errors
    /// If the pattern takes too long.
    pub(super) fn contain(&self, field: &'static str, module: &str) -> Result<bool, Error> {
        match self {
            Self::Names(names) => Ok(names.iter().any(|name| {
                let end = module.strip_suffix(name.as_str());
                end.is_some_and(|before| before.is_empty() || before.ends_with('.'))
            })),
            Self::Pattern(regex) => matches(field, regex, module),
        }
    }
}

/// Compiles a pattern of a field.
fn compile(field: &str, pattern: &str) -> Result<Regex, Error> {
    Regex::new(pattern).map_err(|error| {
        // The library draws where it is, on lines of its own.
        let error: Vec<_> = error.to_string().split_whitespace().map(str::to_owned).collect();
        Error::Config(format!("`{field}`: no pattern `{pattern}`: {}", error.join(" ")))
    })
}

fn matches(field: &str, regex: &Regex, module: &str) -> Result<bool, Error> {
    regex.is_match(module).map_err(|error| Error::Config(format!("`{field}`: {error}")))
}

/// A JSON object in the file's order.
#[derive(Debug)]
pub(super) struct Ordered<T>(Vec<(String, T)>);

impl<T> Default for Ordered<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Ordered<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(OrderedVisitor(PhantomData))
    }
}

struct OrderedVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OrderedVisitor<T> {
    type Value = Ordered<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ordered<T>, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Ordered(entries))
    }
}
