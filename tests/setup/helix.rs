//! Helix's `languages.toml`: merged, as whoever wrote it wrote it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Stdio;

use super::desk::{Desk, PROGRAM};

const FILE: &str = ".config/helix/languages.toml";

/// A file with everything that a careless program would lose.
const OWN: &str = r#"# My languages.
use-grammars = { only = ["python"] }   # few

[language-server.pylsp.config]
pylsp.plugins.black.enabled = true

[[language]]
name = "python"   # the snake
language-servers = [
  "pylsp", # types
  { name = "ruff", only-features = ["format"] },
]

[[language]]
name = "rust"
auto-format = false
"#;

/// What becomes of it.
const MERGED: &str = r#"# My languages.
use-grammars = { only = ["python"] }   # few

[language-server.pylsp.config]
pylsp.plugins.black.enabled = true

[language-server.cosec-ls]
command = "cosec-ls"
args = ["serve"]

[[language]]
name = "python"   # the snake
language-servers = [
  "pylsp", # types
  { name = "ruff", only-features = ["format"] },
  "cosec-ls",
]

[[language]]
name = "rust"
auto-format = false
language-servers = ["rust-analyzer", "cosec-ls"]

[[language]]
name = "go"
language-servers = ["gopls", "golangci-lint-lsp", "cosec-ls"]
"#;

fn desk() -> Desk {
    let desk = Desk::new();
    desk.link_program();
    desk
}

#[test]
fn an_empty_home_gets_a_file_and_loses_it_again() {
    let desk = desk();
    let before = desk.files();
    desk.setup("helix --yes --languages python").done();
    assert_eq!(
        desk.read(FILE),
        "[language-server.cosec-ls]\ncommand = \"cosec-ls\"\nargs = [\"serve\"]\n\n\
         [[language]]\nname = \"python\"\nlanguage-servers = [\"ty\", \"ruff\", \"jedi\", \"pylsp\", \"cosec-ls\"]\n"
    );
    desk.setup("helix --undo --yes").done();
    assert_eq!(desk.files(), before);
}

#[test]
fn what_the_user_wrote_stays_as_it_is_written() {
    let desk = desk();
    desk.write(FILE, OWN);
    let shown = desk.setup("helix --yes --languages python,rust,go").done();
    assert_eq!(desk.read(FILE), MERGED);
    assert!(shown.contains("--- ~/.config/helix/languages.toml\n"), "{shown}");
    assert!(shown.contains("+  \"cosec-ls\",\n") && !shown.contains('\u{1b}'), "{shown}");
    assert!(!shown.contains("\n-"), "nothing goes: {shown}");
    desk.setup("helix --undo --yes").done();
    assert_eq!(desk.read(FILE), OWN);
}

#[test]
fn a_second_time_there_is_nothing_to_do() {
    let desk = desk();
    desk.write(FILE, OWN);
    for line in ["helix --yes --languages python", "helix --yes", "helix --languages python"] {
        let said = desk.setup(line).done();
        let text = desk.read(FILE);
        assert!(!text.contains("\"go\""), "the languages that are set up are the default: {text}");
        assert_eq!(said.contains("nothing to change"), !line.starts_with("helix --yes --l"));
    }
    desk.setup("helix --yes --languages go").done();
    assert!(desk.read(FILE).contains("\"golangci-lint-lsp\", \"cosec-ls\"]"));
    desk.setup("helix --undo --yes").done();
    assert_eq!(desk.read(FILE), OWN);
}

#[test]
fn without_a_terminal_and_without_yes_nothing_is_changed() {
    let desk = desk();
    desk.write(FILE, OWN);
    let before = desk.files();
    let ran = desk.setup("helix");
    assert!(ran.out.contains("+[language-server.cosec-ls]"), "{ran:?}");
    ran.refused("nothing was changed");
    assert_eq!(desk.files(), before);
    assert!(!desk.home(".local").exists(), "not even a record");
    let printed = desk.setup("helix --print --languages go").done();
    assert!(printed.starts_with("[language-server.cosec-ls]"), "{printed}");
    assert_eq!(desk.files(), before);
}

#[cfg(target_os = "linux")]
#[test]
fn a_person_is_asked() {
    let desk = desk();
    for (answer, done) in [("n", false), ("", false), ("y", true)] {
        // A terminal, from util-linux.
        let mut command = desk.command("/usr/bin/script");
        let line = format!("{PROGRAM} setup helix --languages go");
        command.args(["-qec", &line, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.env("SHELL", "/bin/sh");
        let mut child = command.spawn().unwrap();
        std::io::Write::write_all(
            &mut child.stdin.take().unwrap(),
            format!("{answer}\n").as_bytes(),
        )
        .unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("Apply? [y/N]") && said.contains("\u{1b}[32m+args"), "{said}");
        assert_eq!(desk.home(FILE).exists(), done, "{answer}: {said}");
        assert_eq!(output.status.success(), done, "{answer}: {said}");
    }
}

#[test]
fn helix_itself_is_asked_for_its_servers() {
    let desk = desk();
    desk.program(
        "hx",
        r#"[ "$2" = nix ] && printf 'Configured language servers:\n  ✘ nil: x\n  ✓ nixd: /y\nConfigured debug adapter: None\n' || echo "Language '$2' not found""#,
    );
    desk.setup("helix --yes --languages nix").done();
    assert!(desk.read(FILE).contains("language-servers = [\"nil\", \"nixd\", \"cosec-ls\"]"));
    desk.setup("helix --yes --languages klingon").refused("klingon: Helix knows no such language");
}

#[test]
fn other_ways_to_write_the_same_are_understood() {
    let desk = desk();
    let text = "language-server = { pylsp = { command = \"pylsp\" } }\nlanguage = [{ name = \"python\", language-servers = [\"pylsp\"] }]\n";
    desk.write(FILE, text);
    desk.setup("helix --yes --languages python,go").done();
    assert_eq!(
        desk.read(FILE),
        "language-server = { pylsp = { command = \"pylsp\" }, cosec-ls = { command = \"cosec-ls\", args = [\"serve\"] } }\n\
         language = [{ name = \"python\", language-servers = [\"pylsp\", \"cosec-ls\"] }, { name = \"go\", language-servers = [\"gopls\", \"golangci-lint-lsp\", \"cosec-ls\"] }]\n"
    );
    desk.setup("helix --undo --yes").done();
    assert_eq!(desk.read(FILE), text);
}

#[test]
fn a_file_that_cannot_be_merged_is_an_error_and_stays() {
    let desk = desk();
    for (text, why) in [
        (
            "[language-server.a]\ncommand = \"a\"\n[[language]\n",
            "~/.config/helix/languages.toml:3: ",
        ),
        ("language-server = 1\n", "`language-server` is no table"),
        ("[language]\nname = \"python\"\n", "`language` is no list"),
        ("[[language]]\nname = \"python\"\nlanguage-servers = \"a\"\n", "of python is no list"),
    ] {
        desk.write(FILE, text);
        desk.setup("helix --yes --languages python").refused(why);
        assert_eq!(desk.read(FILE), text);
    }
    fs::write(desk.home(FILE), b"# \xff\n").unwrap();
    desk.setup("helix --yes").refused("is not UTF-8");
}

#[test]
fn the_program_is_named_so_that_the_editor_finds_it() {
    let desk = Desk::new();
    let command = |desk: &Desk| {
        let printed = desk.setup("helix --print --languages go").done();
        printed.lines().find(|line| line.starts_with("command")).unwrap().to_owned()
    };
    assert_eq!(command(&desk), format!("command = {PROGRAM:?}"));
    desk.program("cosec-ls", "exit 1");
    assert_eq!(command(&desk), format!("command = {PROGRAM:?}"), "another program of that name");
    let desk = self::desk();
    assert_eq!(command(&desk), "command = \"cosec-ls\"");
    // In a virtual environment, which editors may know nothing of.
    let link = desk.link_program_at("venv/bin/cosec-ls");
    desk.write("venv/pyvenv.cfg", "");
    let mut setup = desk.command(PROGRAM);
    setup.args(["setup", "helix", "--print"]).env("PATH", link.parent().unwrap());
    assert!(desk.ran(&mut setup).done().contains(&format!("command = {link:?}\n")));
}

#[test]
fn links_permissions_and_line_ends_stay() {
    let desk = desk();
    let text = "# mine\r\n[editor]\r\n";
    desk.write("dotfiles/languages.toml", text);
    fs::set_permissions(desk.home("dotfiles/languages.toml"), fs::Permissions::from_mode(0o640))
        .unwrap();
    fs::create_dir_all(desk.home(".config/helix")).unwrap();
    symlink("../../dotfiles/languages.toml", desk.home(FILE)).unwrap();
    desk.setup("helix --yes --languages go").done();
    let target = desk.home("dotfiles/languages.toml");
    assert!(fs::symlink_metadata(desk.home(FILE)).unwrap().is_symlink());
    assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o640);
    let merged = fs::read_to_string(&target).unwrap();
    assert!(merged.starts_with(text) && merged.contains("name = \"go\"\r\n"), "{merged:?}");
    assert_eq!(merged.matches('\n').count(), merged.matches("\r\n").count());
    desk.setup("helix --undo --yes").done();
    assert_eq!(fs::read_to_string(&target).unwrap(), text);
    assert!(fs::symlink_metadata(desk.home(FILE)).unwrap().is_symlink());
}

#[test]
fn a_link_that_leads_nowhere_yet_gets_its_file() {
    let desk = desk();
    fs::create_dir_all(desk.home(".config/helix")).unwrap();
    symlink(desk.home("dotfiles/l.toml"), desk.home(FILE)).unwrap();
    desk.setup("helix --yes --languages go").done();
    assert!(desk.read("dotfiles/l.toml").contains("cosec-ls"));
    desk.setup("helix --undo --yes").done();
    assert!(!desk.home("dotfiles").exists());
    assert!(fs::symlink_metadata(desk.home(FILE)).unwrap().is_symlink());
}

#[test]
fn a_read_only_file_is_left_to_whoever_writes_it() {
    let desk = desk();
    desk.write("store/languages.toml", OWN);
    fs::set_permissions(desk.home("store/languages.toml"), fs::Permissions::from_mode(0o444))
        .unwrap();
    fs::create_dir_all(desk.home(".config/helix")).unwrap();
    symlink(desk.home("store/languages.toml"), desk.home(FILE)).unwrap();
    desk.setup("helix --yes").refused("store/languages.toml; nothing was written");
    assert_eq!(desk.read(FILE), OWN);
    desk.setup("helix --undo --yes").done();
}

#[test]
fn xdg_directories_are_used() {
    let desk = desk();
    let mut command = desk.command(PROGRAM);
    command.args(["setup", "helix", "--yes", "--languages", "go"]);
    command.env("XDG_CONFIG_HOME", desk.home("c")).env("XDG_STATE_HOME", desk.home("s"));
    desk.ran(&mut command).done();
    assert!(desk.read("c/helix/languages.toml").contains("cosec-ls"));
    let record = desk.home("s/cosec-ls/setup/helix.json");
    assert!(record.exists());
    let mode = fs::metadata(record.parent().unwrap()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "records hold the user's text");
}
