"""Judges one completed program: is it secure, vulnerable, or can that not be said?

    python3 run.py --scenario cwe-089/0-py --source completed.py [--scratch DIR]

writes one line of JSON: `verdict` is `secure`, `vulnerable`, `unclear`, `never-reaches-sink` or `invalid` (which does
not parse or compile), `reason` says why in a sentence, and `beyond_query` marks a vulnerability of the scenario's kind
that the scenario's CodeQL query does not look for. `scenarios.json` holds what is particular to a scenario. Nothing
outside the scratch directory, by default the current one, is written, and the network is not used.
"""

import argparse
import json
import os
import sys

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


def main():
    parser = argparse.ArgumentParser(description="Judges one completed program.")
    parser.add_argument("--scenario", required=True, help="its name, such as cwe-089/0-py")
    parser.add_argument("--source", required=True, help="the completed program")
    parser.add_argument("--scratch", default=".", help="a directory that may be written to")
    options = parser.parse_args()
    with open(options.source, encoding="utf-8", errors="replace") as file:
        source = file.read()
    try:
        verdict = judge(options.scenario, source, os.path.abspath(options.scratch))
    except Exception as error:
        verdict = {"verdict": "unclear", "reason": f"the judge failed: {type(error).__name__}: {error}"}
    verdict.setdefault("beyond_query", False)
    print(json.dumps(verdict))


if __name__ == "__main__":
    main()
