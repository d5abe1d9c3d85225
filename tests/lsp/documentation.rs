//! `docs/PROTOCOL.md` is `src/lsp/ext.rs` for people: whoever changes one looks at the other.

use sha2::{Digest, Sha256};

#[test]
fn the_protocol_page_names_the_hash_of_ext_rs() {
    let types = include_str!("../../src/lsp/ext.rs").replace("\r\n", "\n");
    let page = include_str!("../../docs/PROTOCOL.md");
    let hash: String =
        Sha256::digest(types).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let line = format!("`src/lsp/ext.rs` hash: {hash}");
    assert!(page.contains(&line), "look over docs/PROTOCOL.md, then write there: {line}");
}

#[test]
fn the_protocol_page_lists_every_setting() {
    let page = include_str!("../../docs/PROTOCOL.md");
    let settings = serde_json::to_value(cosec_ls::config::Settings::default()).unwrap();
    for name in settings.as_object().unwrap().keys() {
        assert!(page.contains(&format!("| `{name}` |")), "no row for the setting {name}");
    }
}
