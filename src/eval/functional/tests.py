"""Runs a problem's tests on a completed function, without running the function: it is called in a process of its own.

On standard input comes one line of JSON: the mark of this run, the problem, the completed program, and the program that
calls its function. The verdict goes to standard output behind the mark. The code under test never runs here, so all that
it can do is to return values: it cannot print a verdict, leave before the tests, change what they compare, or read the mark.
"""

# A result beyond this is no result of any problem.
MOST_BYTES = 16 << 20


class Failed(AssertionError):
    """The function did not do what a function does."""


def protect():
    """Lets no process of the same user look into this one."""
    try:
        import ctypes

        ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE
    except (ImportError, OSError, AttributeError):
        pass


class Function:
    """Stands for the completed function."""

    def __init__(self, program, source, name):
        import os
        import subprocess

        take_request, give_request = os.pipe()
        take_result, give_result = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-B", "-c", program, str(take_request), str(give_result)],
            pass_fds=(take_request, give_result), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        os.close(take_request)
        os.close(give_result)
        self.requests, self.results = os.fdopen(give_request, "wb"), os.fdopen(take_result, "rb")
        self._ask([source, name])

    def __call__(self, *args, **kwargs):
        answer = self._ask([written(args), written(kwargs)])
        if "raised" in answer:
            raise exception(answer)
        if "foreign" in answer:
            raise Failed(f"the function returned something else: {answer['foreign']}")
        for arg, changed in zip(args, read(answer["args"])):
            take_over(arg, changed)
        return read(answer["value"])

    def _ask(self, question):
        try:
            send(self.requests, question)
            line = self.results.readline(MOST_BYTES)
        except OSError as error:
            raise Failed("the program has ended") from error
        if not line.endswith(b"\n"):
            raise Failed("the program has ended, or its result has no end")
        answer = json.loads(line)
        if not isinstance(answer, dict):
            raise Failed("no result")
        if isinstance(question[1], str) and "raised" in answer:
            raise Failed(f"the program cannot be run: {answer['raised']}")
        return answer


def exception(answer):
    """What the function raised, as the nearest class that Python has; whoever leaves the program fails."""
    import builtins

    for name in answer["raised"]:
        kind = getattr(builtins, name, None) if isinstance(name, str) else None
        if isinstance(kind, type) and issubclass(kind, Exception):
            try:
                return kind(answer["text"])
            except TypeError:
                return Failed(name)
    return Failed("the function left the program")


def take_over(arg, changed):
    """Does to an argument what the function did to its copy of it."""
    if type(arg) is list and isinstance(changed, list):
        arg[:] = changed
    elif type(arg) in (dict, set) and type(changed) is type(arg):
        arg.clear()
        arg.update(changed)


def surroundings(problem):
    """What the tests may use besides the function: what its head defines. The right solution stands for the function."""
    namespace = {"__name__": "tests"}
    for body in (problem["canonical_solution"], "    pass\n"):
        try:
            code = compile(problem["prompt"] + body, "prompt.py", "exec")
        except SyntaxError:
            continue
        exec(code, namespace)
        break
    return namespace


def judge(problem, source, program):
    """Whether the tests pass; if not, why."""
    try:
        namespace = surroundings(problem)
        name = problem["entry_point"]
        function = namespace[name] = Function(program, source, name)
        exec(compile(problem["test"], "test.py", "exec"), namespace)
        namespace[name] = function
        namespace["check"](function)
    except BaseException as error:
        return f"{type(error).__name__}: {error}"[:300]
    return None


def main():
    import os

    mark, problem, source, program = json.loads(sys.stdin.buffer.readline())
    os.close(0)
    os.open(os.devnull, os.O_RDONLY)
    protect()
    reason = judge(problem, source, program)
    sys.stdout.write(json.dumps({"mark": mark, "passed": reason is None, "reason": reason}))
    sys.stdout.flush()
    # Whatever the function's process left waiting must not hold the verdict back.
    os._exit(0)


main()
