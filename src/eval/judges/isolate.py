"""Runs a function in a forked child under limits, so that nothing which the code under test does reaches the judge.

The child's result comes back over a pipe as JSON; a child that crashes, hangs or writes too much leaves none.
"""

import json
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


def isolated(function, *args):
    """What `function(*args)` returned, as JSON carries it, or `{"lost": why}`."""
    read_end, write_end = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        _run_child(function, args, write_end)
    os.close(write_end)
    chunks, deadline, lost = [], time.monotonic() + _SECONDS, None
    while True:
        ready, _, _ = select.select([read_end], [], [], max(0, deadline - time.monotonic()))
        if not ready:
            lost = "the run did not end"
            break
        chunk = os.read(read_end, 65536)
        if not chunk:
            break
        chunks.append(chunk)
    os.close(read_end)
    try:
        os.killpg(child, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
    if lost:
        try:
            os.kill(child, signal.SIGKILL)
        except ProcessLookupError:
            pass
    _, status = os.waitpid(child, 0)
    if lost is None:
        try:
            return json.loads(b"".join(chunks))
        except ValueError:
            lost = f"the run died with status {status}"
    return {"lost": lost}


def _run_child(function, args, write_end):
    write, leave = os.write, os._exit
    dumps = json.dumps
    try:
        os.setpgid(0, 0)
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_FSIZE, (_OUTPUT_BYTES, _OUTPUT_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        result = dumps(function(*args)).encode()
    except BaseException as error:
        result = dumps({"lost": f"{type(error).__name__}: {error}"[:200]}).encode()
    while result:
        result = result[write(write_end, result):]
    leave(0)
