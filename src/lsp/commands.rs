//! `workspace/executeCommand`: what an accepted item executes, and the user's switches.

use serde::Deserialize;
use serde_json::{Value, json};
use tower_lsp::lsp_types::Url;

use super::server::Server;
use super::to_proto::Failure;
use super::{from_proto, uri};
use crate::config::Mode;
use crate::text::language::editor_id;

/// An item was accepted: `[{"id": 7}]`.
pub(super) const DID_ACCEPT: &str = "cosec-ls.didAccept";
const TOGGLE: &str = "cosec-ls.toggle";
const STATUS: &str = "cosec-ls.status";
const EXPLAIN: &str = "cosec-ls.explain";
const SET_MODE: &str = "cosec-ls.setMode";
const SET_PROFILE: &str = "cosec-ls.setProfile";
const PULL: &str = "cosec-ls.pull";

/// Every command. VS Code registers them for all extensions, so the names must be ours alone.
pub(super) const NAMES: [&str; 7] =
    [DID_ACCEPT, TOGGLE, STATUS, EXPLAIN, SET_MODE, SET_PROFILE, PULL];

/// What a user switches.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Switched {
    /// Documents of a language.
    Language(String),
    /// One document.
    Uri(String),
}

impl Server {
    /// Runs a command.
    ///
    /// # Errors
    ///
    /// When there is no such command or its argument is wrong.
    pub(super) fn run_command(&self, name: &str, arguments: &[Value]) -> Result<Value, Failure> {
        let argument = arguments.first().filter(|argument| !argument.is_null());
        match name {
            DID_ACCEPT => {
                self.completer.accepted(suggestion(argument)?);
                Ok(Value::Null)
            }
            EXPLAIN => {
                let named = argument.filter(|argument| **argument != json!({}));
                let id = named.map(|id| suggestion(Some(id))).transpose()?;
                Ok(json!(self.explained(id)))
            }
            STATUS => Ok(json!(self.current_status(document(argument).as_ref()))),
            // What names nothing names everything.
            TOGGLE => self.toggle(argument.filter(|what| names_something(what))),
            SET_MODE => self.set_mode(argument),
            SET_PROFILE => self.set_profile(argument),
            PULL => {
                self.pull();
                Ok(Value::Null)
            }
            _ => Err(Failure::InvalidParams(format!("unknown command `{name}`"))),
        }
    }

    /// Switches suggestions, and what is evaluated for them before they are asked for.
    fn toggle(&self, what: Option<&Value>) -> Result<Value, Failure> {
        let switched = match what {
            None => json!({ "enabled": self.session.toggle() }),
            Some(what) => match Switched::deserialize(what) {
                Ok(Switched::Language(language)) => {
                    let enabled = self.session.toggle_language(&language);
                    json!({ "language": editor_id(&language), "enabled": enabled })
                }
                Ok(Switched::Uri(written)) => {
                    let uri = uri::canonical(&written);
                    let language = self.language_of(&uri).ok_or_else(|| {
                        Failure::InvalidParams(format!("the document `{uri}` is not open"))
                    })?;
                    let enabled = self.session.toggle_document(&uri, &language);
                    json!({ "uri": uri, "enabled": enabled })
                }
                Err(error) => {
                    return Err(Failure::InvalidParams(format!(
                        "expected [], [{{\"language\": …}}] or [{{\"uri\": …}}]: {error}"
                    )));
                }
            },
        };
        self.backend.drop_hints();
        self.last_seen.again();
        self.ask_again.wish();
        self.status_changed();
        Ok(switched)
    }

    fn set_mode(&self, mode: Option<&Value>) -> Result<Value, Failure> {
        let mode = Mode::deserialize(mode.unwrap_or(&Value::Null)).map_err(|error| {
            Failure::InvalidParams(format!(
                "expected [\"off\" | \"cosec\" | \"security\"]: {error}"
            ))
        })?;
        self.session.set_mode(mode);
        self.status_changed();
        Ok(json!({ "mode": mode }))
    }

    fn set_profile(&self, name: Option<&Value>) -> Result<Value, Failure> {
        let profiles = self.backend.profiles();
        let name = name.and_then(Value::as_str).unwrap_or_default();
        if !profiles.iter().any(|profile| profile.name == name) {
            let names: Vec<_> = profiles.iter().map(|profile| profile.name.as_str()).collect();
            return Err(Failure::InvalidParams(format!(
                "there is no profile `{name}` in models.toml; there are: {}",
                names.join(", ")
            )));
        }
        self.session.set_profile(name);
        self.settings_changed();
        Ok(json!({ "profile": name }))
    }
}

fn names_something(argument: &Value) -> bool {
    argument.as_object().is_some_and(|fields| !fields.is_empty())
}

fn suggestion(argument: Option<&Value>) -> Result<u64, Failure> {
    from_proto::suggestion_id(argument).ok_or_else(|| {
        Failure::InvalidParams("expected the id of a suggestion: [{\"id\": 7}]".to_owned())
    })
}

/// The document that a status is asked of.
fn document(argument: Option<&Value>) -> Option<Url> {
    argument?.pointer("/textDocument/uri")?.as_str().map(uri::canonical)
}
