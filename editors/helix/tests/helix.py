"""What Helix makes of the menu's entry: a session in a terminal (tmux) for each question, a line for each answer.

What Helix was sent is read from its log, so that the text in the buffer is held against the suggestion itself.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

WORK = Path(sys.argv[1])
HOME = WORK / "home"
LOG = WORK / "helix.log"
TMUX = ["tmux", "-S", str(WORK / "socket"), "-f", "/dev/null"]
CAPTURES = os.environ.get("COSEC_CAPTURES")

# A model may have to be loaded and a prompt evaluated, on a machine that does other things too.
PATIENCE = 180

# Names of files, their text with the cursor at `|`, and what is typed there.
METHOD = """import sqlite3


class Store:
    def __init__(self, path):
        self.db = sqlite3.connect(path)

    def find_user(self, name):
        cursor = self.db.cursor()
        |
"""
TABS = """package main

// sum adds the even numbers.
func sum(numbers []int) int {
\ttotal := 0
\t|
}
"""


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def wait(what, condition, patience=PATIENCE):
    """The condition's value, once it has one."""
    end = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            print(screen())
            print("\n".join(LOG.read_text().splitlines()[-12:]))
            sys.exit(f"gave up waiting for {what}")
        time.sleep(0.05)


def passed(what):
    print(f"ok: {what}", flush=True)


def check(what, found, expected):
    if found != expected:
        sys.exit(f"FAILED: {what}\n-- found:\n{found}\n-- expected:\n{expected}")
    passed(what)


def screen():
    return run(*TMUX, "capture-pane", "-p")


def capture(name):
    if CAPTURES:
        Path(CAPTURES, name).write_text(run(*TMUX, "capture-pane", "-p", "-e"))


def keys(*keys):
    run(*TMUX, "send-keys", *keys)


def letters(text):
    keys("-l", text)


def messages():
    """What went over the wire, as (direction, message)."""
    for line in LOG.read_text().splitlines():
        for arrow in ("->", "<-"):
            _, found, text = line.partition(f" cosec-ls {arrow} ")
            if found:
                yield arrow, json.loads(text)


def answers():
    """Questions for the menu, in order, each with its answer or None."""
    asked, answered = {}, {}
    for arrow, message in messages():
        if arrow == "->" and message.get("method") == "textDocument/completion":
            asked[message["id"]] = message["params"]
        elif arrow == "<-" and "method" not in message:
            answered[message["id"]] = message
    return [(params, answered.get(number)) for number, params in asked.items()]


class Session:
    """Helix with one file, in insert mode at its cursor."""

    def __init__(self, name, text):
        subprocess.run([*TMUX, "kill-server"], capture_output=True)
        LOG.write_text("")
        self.path = WORK / name
        above, _, _ = text.partition("|")
        self.path.write_text(text.replace("|", "", 1))
        self.line = above.count("\n")
        self.n_asked_again = 0
        editor = ["hx", "-v", "--log", str(LOG), str(self.path)]
        run(*TMUX, "new-session", "-d", "-x", "100", "-y", "30", *editor)
        wait("Helix", lambda: "NOR" in screen())
        wait("the server", lambda: any(m.get("method") == "textDocument/didOpen" for _, m in messages()))
        keys(f"{self.line + 1}G", "A")
        wait("insert mode", lambda: " INS " in screen())

    def item(self):
        """The newest answer's entry, if that question is the newest. If it has none, as while the models are loaded, it is
        asked again, by hand."""
        asked = answers()
        if not asked or asked[-1][1] is None:
            return None
        items = asked[-1][1].get("result", {}).get("items")
        if not items and len(asked) > self.n_asked_again:
            self.n_asked_again = len(asked)
            keys("C-x")
        return items[0] if items else None

    def pid(self):
        """The server's process."""
        helix = run(*TMUX, "display-message", "-p", "#{pane_pid}").strip()
        children = Path(f"/proc/{helix}/task/{helix}/children").read_text().split()
        commands = [(int(child), Path(f"/proc/{child}/cmdline").read_text()) for child in children]
        return next(pid for pid, command in commands if "serve" in command)

    def save(self):
        """The buffer's text."""
        if self.path.exists():
            self.path.unlink()
        keys("Escape")
        wait("normal mode", lambda: " NOR " in screen())
        keys(":", "w", "Enter")
        wait("the file", lambda: self.path.exists() and " [+]" not in screen())
        return self.path.read_text()


def suggestion(item):
    """The text of an entry, before it was fitted to the client."""
    code = item["documentation"]["value"]
    return code.split("\n", 1)[1].rsplit("\n", 1)[0]


def with_suggestion(text, item):
    """What the buffer must be once the entry is accepted."""
    lines = text.split("\n")
    at = item["textEdit"]["range"]
    line = lines[at["start"]["line"]]
    line = line[: at["start"]["character"]] + suggestion(item) + line[at["end"]["character"] :]
    lines[at["start"]["line"]] = line
    return "\n".join(lines)


def shown(item):
    return item["label"][:40] in screen()


def accept_all_lines(name, text, typed):
    """Types until the entry has several lines, accepts it, and compares the buffer with the suggestion."""
    session = Session(name, text)
    letters(typed)
    buffer = text.replace("|", typed, 1)
    item = wait("an entry", session.item)
    wait("the menu", lambda: shown(item))
    capture(f"{name}-menu")
    passed(f"{name}: the menu shows `{item['label']}`")
    at = item["textEdit"]["range"]
    letter = suggestion(item)[at["end"]["character"] - at["start"]["character"]]
    if answers()[-1][1]["result"]["isIncomplete"] and letter.isalnum():
        # More of it is being decoded, and typing a word on asks for it.
        n_asked = len(answers())
        letters(letter)
        typed += letter
        buffer = text.replace("|", typed, 1)
        wait("another question", lambda: len(answers()) > n_asked)
        check(f"{name}: the menu asks again as `{typed}` is typed", answers()[-1][0]["context"]["triggerKind"], 3)
        item = wait("its entry", session.item)
    while "\n" not in suggestion(item):
        keys("Escape")
        wait("normal mode", lambda: " NOR " in screen())
        keys("A")
        wait("insert mode", lambda: " INS " in screen())
        n_asked = len(answers())
        keys("C-x")
        wait("another question", lambda: len(answers()) > n_asked)
        item = wait("its entry", session.item)
        if "\n" not in suggestion(item) and not answers()[-1][1]["result"]["isIncomplete"]:
            sys.exit(f"FAILED: {name}: only one line was ever suggested")
    wait("the menu", lambda: shown(item))
    keys("Tab")
    wait("the documentation", lambda: suggestion(item).split("\n")[1].strip()[:30] in screen())
    capture(f"{name}-documentation")
    keys("Enter")
    found = session.save()
    n_lines = suggestion(item).count("\n") + 1
    check(f"{name}: accepting inserts all {n_lines} lines as suggested", found, with_suggestion(buffer, item))
    return session


def survive_a_kill():
    """The server dies in the middle of a decode; Helix says so, and restarts it when told to."""
    session = Session("killed.py", METHOD)
    letters("curs")
    wait("a question that is not answered", lambda: answers() and answers()[-1][1] is None)
    pid = session.pid()
    os.kill(pid, signal.SIGKILL)
    check("killed in the middle of a decode", answers()[-1][1], None)
    keys("Escape")
    wait("normal mode", lambda: " NOR " in screen())
    wait("Helix's word for it", lambda: "Language server exited: cosec-ls" in screen())
    passed("Helix says `Language server exited: cosec-ls`")
    keys("-l", ":lsp-restart")
    keys("Enter")
    started = lambda: sum(m.get("method") == "initialized" for _, m in messages()) == 2
    wait("a new server", started)
    wait("the file in it", lambda: sum(m.get("method") == "textDocument/didOpen" for _, m in messages()) == 2)
    keys("A")
    wait("insert mode", lambda: " INS " in screen())
    letters("o")
    item = wait("an entry", session.item)
    wait("the menu", lambda: shown(item))
    check("after `:lsp-restart` another process completes", session.pid() != pid, True)


def main():
    HOME.mkdir()
    os.environ["HOME"] = str(HOME)
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        os.environ.pop(name, None)
    print(run("hx", "--version").strip())
    before = run("hx", "--health", "python")
    run("cosec-ls", "setup", "helix", "--yes", "--languages", "python,go")
    known = run("hx", "--health", "python")
    check("Helix knows the server after `cosec-ls setup helix`", "cosec-ls: " in known, True)
    kept = [line for line in before.splitlines() if "not found" in line or "/" in line]
    check("and the servers that it had", [line for line in kept if line in known], kept)
    # The smaller profile, to take less of a machine's time.
    own = '\n[language-server.cosec-ls.config]\nprofile = "small"\n'
    languages = HOME / ".config/helix/languages.toml"
    languages.write_text(languages.read_text() + own)
    accept_all_lines("method.py", METHOD, "cursor.ex")
    accept_all_lines("tabs.go", TABS, "for")
    survive_a_kill()
    run("cosec-ls", "setup", "helix", "--undo", "--yes")
    check("`--undo` leaves what the user added", languages.read_text(), own)


try:
    main()
finally:
    subprocess.run([*TMUX, "kill-server"], capture_output=True)
