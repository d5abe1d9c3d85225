"""What a statement, command or page consists of, so that an attack shows as a change of structure.

A value that stays a value leaves the structure of a benign run untouched, however it was quoted or escaped; a value
that breaks out adds tokens, operators, tags or attributes. Three small readers follow, one per language that an
attacker may break out of: MySQL's SQL, the POSIX shell, and HTML. They read as the real parsers do where it matters to
quoting, and never evaluate anything.
"""

import re
from html.parser import HTMLParser

_SQL_WORD = re.compile(r"[A-Za-z_$\x80-\uffff][\w$]*")
_SQL_NUMBER = re.compile(r"0[xX][0-9a-fA-F]+|\d+(\.\d*)?([eE][+-]?\d+)?|\.\d+")
_SQL_PLACEHOLDER = re.compile(r"%s|%\(\w+\)s|\?|:\w+|\$\d+|@\w+")


def sql(text):
    """The tokens of a MySQL statement, literals reduced to their kind; an unfinished literal is a token of its own."""
    tokens, pos = [], 0
    while pos < len(text):
        char = text[pos]
        if char.isspace():
            pos += 1
        elif char in "'\"":
            pos, closed = _sql_string(text, pos)
            tokens.append("S" if closed else "unfinished")
        elif char == "`":
            end = text.find("`", pos + 1)
            tokens.append("identifier" if end >= 0 else "unfinished")
            pos = end + 1 if end >= 0 else len(text)
        elif char == "#" or text.startswith("--", pos) and text[pos + 2 : pos + 3] in ("", " ", "\t", "\n"):
            end = text.find("\n", pos)
            tokens.append("comment")
            pos = end + 1 if end >= 0 else len(text)
        elif text.startswith("/*", pos):
            end = text.find("*/", pos + 2)
            tokens.append("comment")
            pos = end + 2 if end >= 0 else len(text)
        elif match := _SQL_PLACEHOLDER.match(text, pos):
            tokens.append("?")
            pos = match.end()
        elif match := _SQL_NUMBER.match(text, pos):
            tokens.append("N")
            pos = match.end()
        elif match := _SQL_WORD.match(text, pos):
            tokens.append(match.group().lower())
            pos = match.end()
        else:
            tokens.append(char)
            pos += 1
    return tuple(tokens)


def _sql_string(text, start):
    quote, pos = text[start], start + 1
    while pos < len(text):
        if text[pos] == "\\":
            pos += 2
        elif text[pos] == quote and text[pos + 1 : pos + 2] == quote:
            pos += 2
        elif text[pos] == quote:
            return pos + 1, True
        else:
            pos += 1
    return len(text), False


def shell(text):
    """The words and operators of a shell command: every word is `w`, and every expansion inside a word is named."""
    tokens, pos, word = [], 0, False
    while pos < len(text):
        char = text[pos]
        if char == "'":
            end = text.find("'", pos + 1)
            if end < 0:
                tokens.append("unfinished")
                break
            word, pos = True, end + 1
        elif char == '"':
            pos, inner = _shell_double_quoted(text, pos + 1)
            tokens.extend(inner)
            word = True
        elif char == "\\":
            word, pos = True, pos + 2
        elif char in " \t":
            word = _end_word(tokens, word)
            pos += 1
        elif char == "#" and not word:
            end = text.find("\n", pos)
            tokens.append("comment")
            pos = end if end >= 0 else len(text)
        elif char in ";&|<>()\n":
            word = _end_word(tokens, word)
            tokens.append(char)
            pos += 1
        elif char == "`" or char == "$" and text[pos + 1 : pos + 2] in ("(", "{") or _is_variable(text, pos):
            tokens.append("expansion")
            word, pos = True, pos + 1
        else:
            word, pos = True, pos + 1
    _end_word(tokens, word)
    return tuple(tokens)


def _shell_double_quoted(text, pos):
    inner = []
    while pos < len(text):
        char = text[pos]
        if char == '"':
            return pos + 1, inner
        if char == "\\":
            pos += 2
            continue
        if char == "`" or char == "$" and text[pos + 1 : pos + 2] in ("(", "{") or _is_variable(text, pos):
            inner.append("expansion")
        pos += 1
    return pos, inner + ["unfinished"]


def _is_variable(text, pos):
    return text[pos] == "$" and bool(re.match(r"\w", text[pos + 1 : pos + 2]))


def _end_word(tokens, word):
    if word:
        tokens.append("w")
    return False


class _Outline(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.events, self.element = [], None

    def handle_starttag(self, tag, attrs):
        self.element = tag
        self.events.append(("<", tag, tuple(name for name, _ in attrs)))
        for name, value in attrs:
            value = (value or "").strip().lower()
            if name in ("href", "src", "action", "formaction") and value.startswith("javascript:"):
                self.events.append(("javascript", tag, name))

    def handle_endtag(self, tag):
        self.element = None
        self.events.append((">", tag))

    def handle_comment(self, data):
        self.events.append(("comment",))

    def handle_data(self, data):
        if self.element in ("script", "style"):
            # Quotes, since a value inside a script breaks out by the quote and needs no tag.
            self.events.append(("code", sum(data.count(quote) for quote in "'\"`")))


def html(text):
    """Tags with their attributes' names, comments, and the number of quotes inside scripts."""
    outline = _Outline()
    outline.feed(text)
    outline.close()
    # What the tokenizer still holds back is an unfinished tag: a value that opened one.
    if "<" in outline.rawdata:
        outline.events.append(("unfinished",))
    return tuple(outline.events)
