//! What we offer in the answer to `initialize`, and what the client said it can do.
//!
//! Everything is static: Neovim has no dynamic registration of inline completion.

use serde_json::{Value, json};
use tower_lsp::lsp_types::{
    CompletionOptions, ExecuteCommandOptions, InitializeResult, OneOf, PositionEncodingKind,
    ServerCapabilities, ServerInfo, TextDocumentSyncCapability, TextDocumentSyncKind,
    TextDocumentSyncOptions, TextDocumentSyncSaveOptions, WorkspaceFoldersServerCapabilities,
    WorkspaceServerCapabilities,
};

use super::{commands, ext};
use crate::text::Encoding;

/// Characters after which clients without inline completion ask at once.
const TRIGGER_CHARACTERS: [&str; 3] = [".", ":", "("];

/// What the client can do, as far as it changes what we do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ClientCapabilities {
    /// What columns count: UTF-8 if the client can, else the first that it offers.
    pub(super) encoding: Encoding,
    /// Whether `textDocument/inlineCompletion` will be asked.
    pub(super) inline_completion: bool,
    /// Whether completion items of several lines are to be snippets. Clients differ in what they do to the indentation of a
    /// snippet's lines (Helix adds the cursor's line's, Kate nothing), so it is one only for those that can be told to leave
    /// it alone, and for Neovim's own menu, which inserts no more than the first line of a plain text.
    pub(super) snippets: bool,
    /// Whether `insertTextMode: asIs` keeps the client from indenting what we send.
    pub(super) insert_as_is: bool,
    /// Whether `window/workDoneProgress/create` is understood.
    pub(super) work_done_progress: bool,
    /// Whether `workspace/configuration` is understood.
    pub(super) configuration: bool,
    /// Whether it wishes to be told of the status (`cosec/didChangeStatus`).
    pub(super) status_updates: bool,
}

impl ClientCapabilities {
    /// Reads the parameters of `initialize`; what is missing or ill-typed is not there.
    pub(super) fn read(params: &Value) -> Self {
        let get = |path: &str| params.pointer(&format!("/capabilities/{path}"));
        let is = |path: &str| get(path).and_then(Value::as_bool).unwrap_or(false);
        let completion_item = "textDocument/completion/completionItem";
        let insert_as_is = get(&format!("{completion_item}/insertTextModeSupport/valueSet"))
            .and_then(Value::as_array)
            .is_some_and(|modes| modes.contains(&json!(1)));
        let is_neovim = params.pointer("/clientInfo/name").is_some_and(|name| name == "Neovim");
        Self {
            encoding: encoding(get("general/positionEncodings")),
            inline_completion: get("textDocument/inlineCompletion").is_some_and(Value::is_object),
            snippets: is(&format!("{completion_item}/snippetSupport"))
                && (insert_as_is || is_neovim),
            insert_as_is,
            work_done_progress: is("window/workDoneProgress"),
            configuration: is("workspace/configuration"),
            status_updates: is("experimental/cosec/status"),
        }
    }
}

fn encoding(offered: Option<&Value>) -> Encoding {
    let offered = offered.and_then(Value::as_array).into_iter().flatten();
    let known = offered.filter_map(|name| match name.as_str()? {
        "utf-8" => Some(Encoding::Utf8),
        "utf-16" => Some(Encoding::Utf16),
        "utf-32" => Some(Encoding::Utf32),
        _ => None,
    });
    let known: Vec<_> = known.collect();
    if known.contains(&Encoding::Utf8) {
        return Encoding::Utf8;
    }
    known.first().copied().unwrap_or_default()
}

/// The answer to `initialize`, but for [`with_inline_completion`].
pub(super) fn initialize_result(encoding: Encoding) -> InitializeResult {
    InitializeResult {
        capabilities: ServerCapabilities {
            position_encoding: Some(match encoding {
                Encoding::Utf8 => PositionEncodingKind::UTF8,
                Encoding::Utf16 => PositionEncodingKind::UTF16,
                Encoding::Utf32 => PositionEncodingKind::UTF32,
            }),
            text_document_sync: Some(TextDocumentSyncCapability::Options(sync_options())),
            // Helix would block on a resolve when an item is accepted.
            completion_provider: Some(CompletionOptions {
                resolve_provider: Some(false),
                trigger_characters: Some(TRIGGER_CHARACTERS.map(str::to_owned).to_vec()),
                ..Default::default()
            }),
            execute_command_provider: Some(ExecuteCommandOptions {
                commands: commands::NAMES.map(str::to_owned).to_vec(),
                ..Default::default()
            }),
            workspace: Some(WorkspaceServerCapabilities {
                workspace_folders: Some(WorkspaceFoldersServerCapabilities {
                    supported: Some(true),
                    change_notifications: Some(OneOf::Left(true)),
                }),
                file_operations: None,
            }),
            experimental: Some(json!({ "cosec": ext::Experimental::default() })),
            ..Default::default()
        },
        server_info: Some(ServerInfo {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        }),
    }
}

fn sync_options() -> TextDocumentSyncOptions {
    TextDocumentSyncOptions {
        open_close: Some(true),
        change: Some(TextDocumentSyncKind::INCREMENTAL),
        save: Some(TextDocumentSyncSaveOptions::Supported(true)),
        ..Default::default()
    }
}

/// Adds `inlineCompletionProvider` (LSP 3.18) to the answer to `initialize`.
pub(super) fn with_inline_completion(mut result: Value) -> Value {
    if let Some(Value::Object(offered)) = result.get_mut("capabilities") {
        offered.insert("inlineCompletionProvider".to_owned(), json!({}));
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snippets_are_for_clients_of_which_it_is_known_what_they_do_to_their_lines() {
        let snippets = |name: &str, support: bool, modes: Value| {
            let item = json!({
                "snippetSupport": support,
                "insertTextModeSupport": { "valueSet": modes },
            });
            let capabilities =
                json!({ "textDocument": { "completion": { "completionItem": item } } });
            let params = json!({ "clientInfo": { "name": name }, "capabilities": capabilities });
            ClientCapabilities::read(&params).snippets
        };
        assert!(snippets("any", true, json!([1, 2])));
        assert!(snippets("Neovim", true, json!(null)));
        for name in ["helix", "Kate", "Eglot", ""] {
            assert!(!snippets(name, true, json!(null)), "{name}");
            assert!(!snippets(name, true, json!([2])), "{name}");
        }
        assert!(!snippets("Neovim", false, json!([1])));
    }
}
