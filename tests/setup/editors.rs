//! The list of editors, and VS Code, Emacs, Kate, Sublime Text and Zed.

use std::fs;

use super::desk::Desk;

fn desk() -> Desk {
    let desk = Desk::new();
    desk.link_program();
    desk
}

#[test]
fn editors_are_listed_with_what_is_to_do() {
    let desk = desk();
    let helix = desk.program("hx", "[ \"$1\" = --version ] && echo 'helix 25.07.1 (abc)'");
    desk.program("emacs", "echo 'GNU Emacs 30.1'");
    desk.setup("emacs --yes").done();
    let list = desk.setup("").done();
    let line = |name: &str| list.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    let expected = format!(
        "helix    25.07.1      {}, ~/.config/helix: not set up: `cosec-ls setup helix`",
        helix.display()
    );
    assert_eq!(line("helix"), expected);
    assert!(line("emacs").ends_with("~/.emacs.d: set up"), "{list}");
    assert_eq!(line("zed"), "zed      not on the PATH");
    assert_eq!(list.lines().count(), 7);
}

#[test]
fn vscode_installs_and_removes_the_extension() {
    let desk = desk();
    desk.setup("vscode --yes").refused("none of code, codium, code-server, code-insiders");
    let log = desk.home("log");
    let extensions = desk.home("extensions");
    desk.program(
        "codium",
        &format!(
            "echo \"$@\" >> {}; [ \"$1\" != --list-extensions ] || while read -r line; do echo \"$line\"; done < {}",
            log.display(),
            extensions.display()
        ),
    );
    desk.write("extensions", "other.one@1.0.0\n");
    let ran = desk.setup("vscode --yes");
    assert!(ran.out.contains("--vsix FILE"), "{ran:?}");
    assert_eq!(ran.code, Some(1));
    desk.setup("vscode --yes --vsix nowhere.vsix").refused("nowhere.vsix: there is no such file");
    desk.write("x.vsix", "");
    let install = format!("--install-extension {}", desk.home("x.vsix").display());
    let line = format!("vscode --vsix {}", desk.home("x.vsix").display());
    let ran = desk.setup(&line);
    assert!(ran.out.contains(&install), "{ran:?}");
    ran.refused("nothing was changed");
    assert!(!desk.read("log").contains("install"));
    desk.setup(&(line + " --yes")).done();
    assert!(desk.read("log").contains(&install));
    desk.write("extensions", "cosec-ls.cosec-ls@0.0.1\n");
    desk.setup("vscode --undo --yes").done();
    assert!(desk.read("log").contains("--uninstall-extension cosec-ls.cosec-ls"));
    desk.program("codium", "exit 7");
    desk.setup(&format!("vscode --yes --vsix {}", desk.home("x.vsix").display())).refused("failed");
}

#[test]
fn emacs_gets_a_block_that_goes_again() {
    let desk = desk();
    let own = "(setq inhibit-startup-screen t) ; mine";
    desk.write(".emacs.d/init.el", own);
    desk.program("rust-analyzer", "exit 0");
    let ran = desk.setup("emacs --yes");
    assert!(ran.err.contains("Eglot") && ran.err.contains("rust (rust-analyzer)"), "{ran:?}");
    ran.done();
    let text = desk.read(".emacs.d/init.el");
    let eglot = text.split("with-eval-after-load").nth(1).unwrap();
    assert!(text.starts_with(own) && eglot.contains("python-mode"), "{text}");
    assert!(!eglot.contains("rust-mode"), "it keeps its server: {text}");
    assert!(text.contains(":add-on? t"), "{text}");
    assert!(desk.setup("emacs --yes").done().contains("nothing to change"));
    // What was added below it stays.
    desk.write(".emacs.d/init.el", &(text.clone() + "(setq b 2)\n"));
    desk.setup("emacs --undo --yes").done();
    assert_eq!(desk.read(".emacs.d/init.el"), format!("{own}\n(setq b 2)\n"));
    desk.setup("emacs --yes --languages rust").done();
    assert!(desk.read(".emacs.d/init.el").contains("'((rust-mode"));
    desk.setup("emacs --yes --languages klingon").refused("klingon: no such language");
}

#[test]
fn emacs_is_found_where_it_looks_itself() {
    for (there, file) in [
        (".config/emacs/init.el", ".config/emacs/init.el"),
        (".emacs", ".emacs"),
        (".config/emacs/bin/doom", ".config/doom/config.el"),
    ] {
        let desk = desk();
        desk.write(there, "");
        desk.setup("emacs --yes").done();
        assert!(desk.read(file).contains("eglot-server-programs"), "{there}");
        assert!(!desk.home(".emacs.d").exists());
    }
    let desk = desk();
    desk.write(".spacemacs", "");
    let ran = desk.setup("emacs --yes");
    assert!(ran.code == Some(1) && ran.out.contains("dotspacemacs/user-config"), "{ran:?}");
}

#[test]
fn settings_in_json_keep_their_comments() {
    let desk = desk();
    let sublime = ".config/sublime-text/Packages/User/LSP.sublime-settings";
    let kate = ".config/kate/lspclient/settings.json";
    let own = "// mine\n{\n\t\"log_debug\": true, // often\n}\n";
    for (editor, file) in [("sublime", sublime), ("kate", kate)] {
        desk.write(file, own);
        let shown = desk.setup(&format!("{editor} --yes")).done();
        let text = desk.read(file);
        assert!(text.starts_with("// mine\n{\n\t\"log_debug\": true, // often\n"), "{text}");
        assert!(text.contains("[\"cosec-ls\", \"serve\"]"), "{text}");
        assert!(!shown.contains("\n-\t"), "nothing goes: {shown}");
        assert!(desk.setup(&format!("{editor} --yes")).done().contains("nothing to change"));
        desk.setup(&format!("{editor} --undo --yes")).done();
        assert_eq!(desk.read(file), own);
        desk.write(file, "{\n  \"a\": 1,\n  oops\n}\n");
        desk.setup(&format!("{editor} --yes")).refused(":3: ");
        assert_eq!(desk.read(file), "{\n  \"a\": 1,\n  oops\n}\n");
    }
}

#[test]
fn zed_is_told_the_truth() {
    let desk = desk();
    let ran = desk.setup("zed --yes");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.out.contains("extension") && desk.files().is_empty(), "{ran:?}");
}

#[test]
fn options_of_other_editors_are_refused() {
    let desk = desk();
    desk.setup("neovim --languages go").refused("--languages is for helix, emacs and kate");
    desk.setup("helix --vsix a").refused("--vsix is for vscode");
}

#[test]
fn two_setups_at_once_do_not_mix() {
    let desk = desk();
    let state = desk.home(".local/state/cosec-ls/setup");
    fs::create_dir_all(&state).unwrap();
    let lock = fs::File::create(state.join("lock")).unwrap();
    lock.lock().unwrap();
    desk.setup("helix --yes").refused("another `cosec-ls setup` is running");
    drop(lock);
    desk.setup("helix --yes").done();
}
