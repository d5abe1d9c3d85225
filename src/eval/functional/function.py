"""Runs a completed program and calls its function for another process, which has the tests.

Arguments come on the descriptor that is the first argument of this program, results go to the second one. Nothing here is
worth knowing to the code that is called: whoever sends results cannot send verdicts.
"""


def serve():
    import os
    import types

    requests, results = os.fdopen(int(sys.argv[1]), "rb"), os.fdopen(int(sys.argv[2]), "wb")
    source, name = json.loads(requests.readline())
    sys.argv = ["program.py"]
    module = sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        exec(compile(source, "program.py", "exec"), module.__dict__)
        function = module.__dict__[name]
    except BaseException as error:
        return send(results, {"raised": type(error).__name__, "text": str(error)})
    send(results, {})
    for line in requests:
        args, kwargs = map(read, json.loads(line))
        kwargs = dict(kwargs)
        try:
            answer = {"value": written(function(*args, **kwargs))}
            # What the function did to its arguments is a result, too.
            answer["args"] = written(args)
        except Foreign as error:
            answer = {"foreign": str(error)}
        except BaseException as error:
            kinds = [kind.__name__ for kind in type(error).__mro__]
            answer = {"raised": kinds, "text": str(error)[:1000]}
        send(results, answer)


serve()
