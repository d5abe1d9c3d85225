//! `docs/PROTOCOL.md` names every setting.

#[test]
fn the_protocol_page_lists_every_setting() {
    let page = include_str!("../../docs/PROTOCOL.md");
    let settings = serde_json::to_value(cosec_ls::config::Settings::default()).unwrap();
    for name in settings.as_object().unwrap().keys() {
        assert!(page.contains(&format!("| `{name}` |")), "no row for the setting {name}");
    }
}
