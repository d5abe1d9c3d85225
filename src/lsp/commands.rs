//! `workspace/executeCommand`: what an accepted item executes, and the user's switches.

use serde::Deserialize;
use serde_json::{Value, json};

use super::server::Server;
use super::to_proto::Failure;
use super::{from_proto, to_proto};
use crate::config::Mode;

/// An item was accepted: `[{"id": 7}]`.
pub(super) const DID_ACCEPT: &str = "cosec-ls.didAccept";
const TOGGLE: &str = "cosec-ls.toggle";
const STATUS: &str = "cosec-ls.status";
const EXPLAIN: &str = "cosec-ls.explain";
const SET_MODE: &str = "cosec-ls.setMode";

/// Every command. VS Code registers them for all extensions, so the names must be ours alone.
pub(super) const NAMES: [&str; 5] = [DID_ACCEPT, TOGGLE, STATUS, EXPLAIN, SET_MODE];

impl Server {
    /// Runs a command.
    ///
    /// # Errors
    ///
    /// When there is no such command or its argument is wrong.
    pub(super) fn run_command(&self, name: &str, arguments: &[Value]) -> Result<Value, Failure> {
        let argument = arguments.first();
        let suggestion = || {
            from_proto::suggestion_id(argument).ok_or_else(|| {
                Failure::InvalidParams("expected the id of a suggestion: [{\"id\": 7}]".to_owned())
            })
        };
        match name {
            DID_ACCEPT => {
                self.completer.accepted(suggestion()?);
                Ok(Value::Null)
            }
            EXPLAIN => Ok(json!(self.completer.explain(suggestion()?).map(to_proto::explained))),
            STATUS => Ok(json!(self.current_status())),
            TOGGLE => Ok(json!({ "enabled": self.toggle() })),
            SET_MODE => {
                let mode = argument.unwrap_or(&Value::Null);
                let mode = Mode::deserialize(mode).map_err(|error| {
                    Failure::InvalidParams(format!(
                        "expected [\"off\" | \"cosec\" | \"security\"]: {error}"
                    ))
                })?;
                self.session.set_mode(mode);
                Ok(json!({ "mode": mode }))
            }
            _ => Err(Failure::InvalidParams(format!("unknown command `{name}`"))),
        }
    }

    /// Switches suggestions, and what is evaluated for them before they are asked for.
    fn toggle(&self) -> bool {
        let enabled = self.session.toggle();
        self.backend.drop_hints();
        self.last_seen.again();
        enabled
    }
}
