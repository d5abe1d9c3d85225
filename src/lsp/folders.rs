//! The workspace folders that a client has open, and what a document is called in them.
//!
//! Read leniently from JSON: a client that sends nonsense has no folders, and globs without a root then match anywhere.

use std::path::PathBuf;

use serde_json::Value;
use tower_lsp::lsp_types::{Url, WorkspaceFoldersChangeEvent};

use super::uri;
use crate::complete::shown_path::relative;

/// The folders in the parameters of `initialize`: `workspaceFolders`, else `rootUri`, else `rootPath`.
pub(super) fn of_initialize(params: &Value) -> Vec<PathBuf> {
    let listed = params.get("workspaceFolders").and_then(Value::as_array);
    let listed =
        listed.into_iter().flatten().filter_map(|folder| folder_of_uri(folder.get("uri")?));
    let listed: Vec<_> = listed.collect();
    if !listed.is_empty() {
        return listed;
    }
    let root_uri = || folder_of_uri(params.get("rootUri")?);
    let root_path = || {
        let path = params.get("rootPath")?.as_str().filter(|path| !path.is_empty())?;
        Some(folder(path).unwrap_or_else(|| PathBuf::from(path)))
    };
    root_uri().or_else(root_path).into_iter().collect()
}

/// `folders` after what `workspace/didChangeWorkspaceFolders` tells.
pub(super) fn changed(
    mut folders: Vec<PathBuf>,
    event: &WorkspaceFoldersChangeEvent,
) -> Vec<PathBuf> {
    for removed in event.removed.iter().filter_map(|removed| folder(removed.uri.as_str())) {
        folders.retain(|folder| *folder != removed);
    }
    for added in event.added.iter().filter_map(|added| folder(added.uri.as_str())) {
        if !folders.contains(&added) {
            folders.push(added);
        }
    }
    folders
}

/// What a document is called: its path in the innermost of `folders` that holds it, or its name. `None` for a buffer that
/// was never saved and has no file's name.
pub(super) fn name_of(folders: &[PathBuf], uri: &Url) -> Option<String> {
    let name = relative(&uri::path_in_any_scheme(uri)?, folders)?;
    (uri.scheme() != "untitled" || name.contains('.')).then_some(name)
}

fn folder_of_uri(uri: &Value) -> Option<PathBuf> {
    folder(uri.as_str()?)
}

fn folder(written: &str) -> Option<PathBuf> {
    uri::path(&uri::canonical(written))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn folders_are_read_from_whatever_a_client_sends() {
        for (params, folders) in [
            (json!({ "workspaceFolders": [{ "uri": "file:///w", "name": "w" }] }), &["/w"][..]),
            (
                json!({ "workspaceFolders": [{ "uri": "file:///a%20b/" }, { "uri": "file:///c" }] }),
                &["/a b", "/c"],
            ),
            (json!({ "workspaceFolders": null, "rootUri": "file:///r" }), &["/r"]),
            (json!({ "workspaceFolders": [], "rootUri": null, "rootPath": "/p" }), &["/p"]),
            (json!({ "workspaceFolders": [{}, 1, { "uri": "" }], "rootUri": "" }), &[]),
            (json!({ "rootPath": "", "rootUri": 5 }), &[]),
            (json!({}), &[]),
            (json!(null), &[]),
        ] {
            let expected: Vec<_> = folders.iter().map(PathBuf::from).collect();
            assert_eq!(of_initialize(&params), expected, "{params}");
        }
    }

    #[test]
    fn folders_come_and_go() {
        let event = |added: &[&str], removed: &[&str]| {
            let folders = |uris: &[&str]| {
                uris.iter().map(|uri| json!({ "uri": uri, "name": "" })).collect::<Vec<_>>()
            };
            serde_json::from_value(json!({ "added": folders(added), "removed": folders(removed) }))
                .unwrap()
        };
        let two = changed(vec!["/a".into()], &event(&["file:///b", "file:///a"], &[]));
        assert_eq!(two, [PathBuf::from("/a"), "/b".into()]);
        assert_eq!(changed(two, &event(&[], &["file:///a/", "file:///c"])), [PathBuf::from("/b")]);
    }

    #[test]
    fn documents_are_called_by_their_path_in_their_folder() {
        let folders = of_initialize(&json!({
            "workspaceFolders": [
                { "uri": "file:///home/x/my%20work", "name": "w" },
                { "uri": "file:///c%3A/Code", "name": "c" },
            ],
            "rootUri": "file:///",
        }));
        for (uri, expected) in [
            ("file:///home/x/my%20work/src/a%23b.py", Some("src/a#b.py")),
            ("file:///home/x/other/app.py", Some("app.py")),
            ("file:///C:/Code/src/app.py", Some("src/app.py")),
            ("file:///c:/Code/src/app.py", Some("src/app.py")),
            ("untitled:/home/x/my%20work/src/new.py", Some("src/new.py")),
            ("untitled:Untitled-1", None),
            ("untitled:/Untitled-1", None),
            ("vscode-notebook-cell:/home/x/my%20work/a.ipynb#W0s", Some("a.ipynb")),
        ] {
            assert_eq!(name_of(&folders, &uri::canonical(uri)).as_deref(), expected, "{uri}");
        }
        assert_eq!(name_of(&[], &uri::canonical("file:///w/src/a.py")).as_deref(), Some("a.py"));
    }
}
