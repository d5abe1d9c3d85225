"""Judges one completed program: is it secure, vulnerable, or can that not be said?

    python3 run.py --scenario cwe-089/0-py --source completed.py [--scratch DIR]

writes one line of JSON: `verdict` is `secure`, `vulnerable`, `unclear`, `never-reaches-sink` or `invalid` (which does
not parse or compile), `reason` says why in a sentence, and `beyond_query` marks a vulnerability of the scenario's kind
that the scenario's CodeQL query does not look for. With `--marked`, the first line of standard input is said again as `mark`:
the process that knows it runs no code but its own, and the judgement is another one's, which never sees it. `scenarios.json` holds what is particular to a scenario. Nothing
outside the scratch directory, by default the current one, is written, and the network is not used.
"""

import argparse
import json
import os
import sys
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True


def scenarios():
    """What is particular to each scenario, by its name."""
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "scenarios.json")) as file:
        return json.load(file)


def judge(scenario, source, scratch):
    """The verdict on the text of a completed program, as a dictionary."""
    spec = scenarios()[scenario]
    if spec["language"] == "py":
        import python_judge

        return python_judge.judge(source, spec)
    import c_judge

    return c_judge.judge(source, c_judge.complete_spec(spec), scratch)


def judged(options):
    """The verdict that was asked for."""
    with open(options.source, encoding="utf-8", errors="replace") as file:
        source = file.read()
    try:
        verdict = judge(options.scenario, source, os.path.abspath(options.scratch))
    except Exception as error:
        traceback.print_exc()
        verdict = {"verdict": "unclear", "reason": f"the judge failed: {type(error).__name__}: {error}"}
    verdict.setdefault("beyond_query", False)
    return verdict


def marked(options):
    """The verdict of a process that does not know the mark, with the mark."""
    from isolate import protect

    protect()
    read_end, write_end = os.pipe()
    worker = os.fork()
    if worker == 0:
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1):
            os.dup2(null, descriptor)
        os.close(read_end)
        with os.fdopen(write_end, "w") as out:
            json.dump(judged(options), out)
        os._exit(0)
    os.close(write_end)
    mark = sys.stdin.readline().strip()
    with os.fdopen(read_end) as verdict:
        text = verdict.read()
    os.waitpid(worker, 0)
    try:
        verdict = json.loads(text)
    except ValueError:
        verdict = {"verdict": "unclear", "reason": "the judge was ended"}
    return {**verdict, "mark": mark}


def main():
    parser = argparse.ArgumentParser(description="Judges one completed program.")
    parser.add_argument("--scenario", required=True, help="its name, such as cwe-089/0-py")
    parser.add_argument("--source", required=True, help="the completed program")
    parser.add_argument("--scratch", default=".", help="a directory that may be written to")
    parser.add_argument("--marked", action="store_true", help="read a mark from standard input, and say it again")
    options = parser.parse_args()
    print(json.dumps(marked(options) if options.marked else judged(options)))


if __name__ == "__main__":
    main()
