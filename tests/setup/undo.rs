//! Taking back what was written, also from files that somebody went on working on.

use std::fs;

use super::desk::Desk;

const FILE: &str = ".config/helix/languages.toml";
const OWN: &str = "[[language]]\nname = \"python\"\nlanguage-servers = [\"pylsp\"]\n";

/// A home with a file of the user's, set up.
fn set_up() -> Desk {
    let desk = Desk::new();
    desk.link_program();
    desk.write(FILE, OWN);
    desk.setup("helix --yes --languages python,go").done();
    desk
}

#[test]
fn later_edits_stay() {
    let desk = set_up();
    let text = desk.read(FILE);
    let edited = text.replacen("[[language]]", "# mine\n[[language]]", 1)
        + "\n[[language]]\nname = \"lua\"\n";
    desk.write(FILE, &edited);
    let shown = desk.setup("helix --undo --yes").done();
    assert!(shown.contains("-name = \"go\""), "the difference is shown: {shown}");
    assert_eq!(desk.read(FILE), format!("# mine\n{OWN}\n[[language]]\nname = \"lua\"\n"));
}

#[test]
fn an_edit_of_our_own_lines_is_a_conflict_that_names_them() {
    let desk = set_up();
    let edited = desk.read(FILE).replace("[\"pylsp\", \"cosec-ls\"]", "[\"ruff\", \"cosec-ls\"]");
    desk.write(FILE, &edited);
    let ran = desk.setup("helix --undo --yes");
    assert!(
        ran.err.contains("[language-server.cosec-ls]") && ran.err.contains("name = \"go\""),
        "{ran:?}"
    );
    ran.refused("nothing was changed");
    assert_eq!(desk.read(FILE), edited);
    // Whoever removes the lines by hand may undo the rest.
    desk.write(FILE, OWN);
    desk.setup("helix --undo --yes").done();
    assert_eq!(desk.read(FILE), OWN);
}

#[test]
fn a_file_that_is_gone_is_taken_back_already() {
    let desk = set_up();
    fs::remove_file(desk.home(FILE)).unwrap();
    desk.setup("helix --undo --yes").done();
    assert!(!desk.home(FILE).exists());
}

#[test]
fn an_undo_is_asked_about_and_done_once() {
    let desk = set_up();
    let text = desk.read(FILE);
    desk.setup("helix --undo").refused("nothing was changed");
    assert_eq!(desk.read(FILE), text);
    desk.setup("helix --undo --yes").done();
    let said = desk.setup("helix --undo --yes").done();
    assert_eq!(said, "nothing was written for helix\n");
    desk.write(FILE, &text);
    let said = desk.setup("helix --undo --yes").done();
    assert!(said.contains("but not because of us"), "{said}");
    assert_eq!(desk.read(FILE), text);
}

#[test]
fn what_happened_between_two_setups_stays() {
    let desk = set_up();
    desk.write(FILE, &(desk.read(FILE) + "\n# between\n"));
    desk.setup("helix --yes --languages rust").done();
    desk.setup("helix --undo --yes").done();
    assert_eq!(desk.read(FILE), format!("{OWN}\n# between\n"));
}
