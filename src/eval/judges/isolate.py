"""Runs a function in a forked child under limits, so that nothing which the code under test does reaches the judge.

The child reports message by message, as it goes: what it has reported, code that leaves early cannot take back. Every
message carries a mark that was drawn for this child. Whatever comes without it was written by the code under test.
"""

import ctypes
import json
import json.encoder
import os
import resource
import select
import signal
import sys
import time

# A view function that only meets stand-ins needs milliseconds; the whole judgement has ten seconds.
_SECONDS = 2
_MEMORY_BYTES = 1 << 30
_OUTPUT_BYTES = 1 << 20

# More than any run reports.
_REPORT_BYTES = 64 << 20

_PR_SET_DUMPABLE = 4


class Forged(Exception):
    """Something without the mark came from the child."""


def protect():
    """Lets no other process of the same user look into this one, or into those that it forks."""
    try:
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    except (OSError, AttributeError):
        pass


def isolated(function, *args):
    """The messages that `function(report, *args)` reported, and why it did not end, or none."""
    mark = os.urandom(16).hex()
    read_end, write_end = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        _run_child(function, args, write_end, mark)
    os.close(write_end)
    text, lost = _read_all(read_end)
    os.close(read_end)
    for kill in (os.killpg, os.kill):
        try:
            kill(child, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
    _, status = os.waitpid(child, 0)
    messages = _messages(text, mark)
    if messages[-1:] == [["done"]]:
        return messages[:-1], None
    if messages and messages[-1][0] == "raised":
        lost = messages.pop()[1]
    return messages, lost or f"the run died with status {status}"


def _read_all(read_end):
    chunks, size, deadline = [], 0, time.monotonic() + _SECONDS
    while True:
        ready, _, _ = select.select([read_end], [], [], max(0, deadline - time.monotonic()))
        if not ready:
            return b"".join(chunks), "the run did not end"
        chunk = os.read(read_end, 65536)
        if not chunk:
            return b"".join(chunks), None
        chunks.append(chunk)
        size += len(chunk)
        if size > _REPORT_BYTES:
            return b"".join(chunks), "the run reported too much"


def _messages(text, mark):
    messages, start = [], mark.encode() + b" "
    # What follows the last line end was being written when the child ended.
    for line in text.split(b"\n")[:-1]:
        if not line.startswith(start):
            raise Forged()
        try:
            messages.append(json.loads(line[len(start):]))
        except ValueError as error:
            raise Forged() from error
    return messages


def _encoder():
    """What writes JSON without a line of Python, which the code under test could change."""
    make = json.encoder.c_make_encoder
    if make is None:
        return json.dumps
    encode = make(None, repr, json.encoder.c_encode_basestring_ascii, None, ": ", ", ", False, False, True)
    join = "".join
    return lambda message: join(encode(message, 0))


def _run_child(function, args, write_end, mark):
    write, leave, encode = os.write, os._exit, _encoder()

    def report(*message):
        line = f"{mark} {encode(list(message))}\n".encode()
        while line:
            line = line[write(write_end, line):]

    try:
        os.setpgid(0, 0)
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        os.closerange(3, write_end)
        os.closerange(write_end + 1, 1 << 16)
        resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_FSIZE, (_OUTPUT_BYTES, _OUTPUT_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        function(report, *args)
        report("done")
    except BaseException as error:
        report("raised", f"{type(error).__name__}: {error}"[:200])
    leave(0)
