//! Neovim's package: installed, updated, taken away, and never over somebody's work.

use std::fs;

use super::desk::Desk;

const PACKAGE: &str = ".local/share/nvim/site/pack/cosec/start/cosec";

fn at(name: &str) -> String {
    format!("{PACKAGE}/{name}")
}

fn set_up() -> Desk {
    let desk = Desk::new();
    desk.link_program();
    desk.setup("neovim --yes").done();
    desk
}

#[test]
fn the_plugin_is_installed_and_removed_without_a_trace() {
    let desk = set_up();
    let start = desk.read(&at("plugin/cosec_setup.lua"));
    assert!(
        start.contains("require(\"cosec\").setup({ cmd = { \"cosec-ls\", \"serve\" } })"),
        "{start}"
    );
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/editors/nvim/");
    let plugin = fs::read_to_string(format!("{root}lsp/cosec_ls.lua")).unwrap();
    assert_eq!(desk.read(&at("lsp/cosec_ls.lua")), plugin);
    assert!(!desk.home(&at("tests")).exists());
    let said = desk.setup("neovim --yes").done();
    assert!(said.contains("nothing to change"), "{said}");
    desk.setup("neovim --undo --yes").done();
    assert_eq!(desk.files(), Desk::new().files());
}

#[test]
fn work_on_the_plugin_is_kept_beside_an_update() {
    let desk = set_up();
    desk.write(&at("lsp/cosec_ls.lua"), "-- mine\n");
    let ran = desk.setup("neovim --yes");
    assert!(ran.err.contains("cosec_ls.lua is not as we left it"), "{ran:?}");
    let shown = ran.done();
    assert!(shown.contains("--- ~/.local/share") && shown.contains("\n--- mine\n"), "{shown}");
    assert_eq!(desk.read(&at("lsp/cosec_ls.lua.orig")), "-- mine\n");
    assert!(desk.read(&at("lsp/cosec_ls.lua")).contains("cosec-ls"));
    desk.setup("neovim --undo --yes").done();
    assert_eq!(desk.read(&at("lsp/cosec_ls.lua")), "-- mine\n", "as before the update");
}

#[test]
fn settings_of_the_user_stay_in_the_start() {
    let desk = set_up();
    let own = "require(\"cosec\").setup({ keymaps = false })\n";
    desk.write(&at("plugin/cosec_setup.lua"), own);
    let ran = desk.setup("neovim --yes");
    assert!(ran.err.contains("stays as it is"), "{ran:?}");
    ran.done();
    assert_eq!(desk.read(&at("plugin/cosec_setup.lua")), own);
}

#[test]
fn another_name_of_the_application_is_honoured() {
    let desk = Desk::new();
    let mut command = desk.command(super::desk::PROGRAM);
    command.args(["setup", "neovim", "--yes"]).env("NVIM_APPNAME", "trial");
    desk.ran(&mut command).done();
    assert!(desk.home(".local/share/trial/site/pack/cosec/start/cosec/plugin").is_dir());
}
