//! The workspace folders that a client has open.
//!
//! Read leniently from JSON: a client that sends nonsense has no folders, and globs without a root then match anywhere.

use std::path::PathBuf;

use serde_json::Value;
use tower_lsp::lsp_types::WorkspaceFoldersChangeEvent;

use super::uri;

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
        Some(PathBuf::from(path))
    };
    root_uri().or_else(root_path).into_iter().collect()
}

/// `folders` after what `workspace/didChangeWorkspaceFolders` tells.
pub(super) fn changed(
    mut folders: Vec<PathBuf>,
    event: &WorkspaceFoldersChangeEvent,
) -> Vec<PathBuf> {
    for removed in event.removed.iter().filter_map(|folder| uri::path(&folder.uri)) {
        folders.retain(|folder| *folder != removed);
    }
    for added in event.added.iter().filter_map(|folder| uri::path(&folder.uri)) {
        if !folders.contains(&added) {
            folders.push(added);
        }
    }
    folders
}

fn folder_of_uri(uri: &Value) -> Option<PathBuf> {
    uri::path(&uri::canonical(uri.as_str()?))
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
}
