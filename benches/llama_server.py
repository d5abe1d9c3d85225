#!/usr/bin/env python3
"""The typing replay of `cosec-ls eval keystrokes`, asked of llama.cpp's server as llama.vim asks it.

    llama-server -m BASE.gguf -t 2 -c 4096 -b 2048 --port 8012
    llama_server.py FILE LINE --text 'what is typed' [--prefix 4600] [--suffix 900] [--port 8012]

Takes the line's text out of the file, types --text in its place one character after the other, and asks /infill for 16
tokens after each, with the text above as `input_prefix` (its last --prefix bytes, from a line's start), the text below as
`input_suffix` (--suffix bytes) and the line as `prompt`. Prints the milliseconds to the first token and to the answer.
"""

import argparse
import http.client
import json
import statistics
import time


def ask(port, prefix, suffix, prompt):
    body = {"input_prefix": prefix, "input_suffix": suffix, "prompt": prompt, "n_predict": 16,
            "cache_prompt": True, "samplers": ["top_k", "top_p", "infill"], "top_k": 40, "top_p": 0.9,
            "stream": True}
    connection = http.client.HTTPConnection("127.0.0.1", port)
    started = time.perf_counter()
    connection.request("POST", "/infill", json.dumps(body), {"Content-Type": "application/json"})
    first, last = None, {}
    for line in connection.getresponse():
        if not line.startswith(b"data: "):
            continue
        last = json.loads(line[6:])
        if last.get("content") and first is None:
            first = time.perf_counter() - started
    whole = time.perf_counter() - started
    return 1e3 * (first or whole), 1e3 * whole, last.get("timings", {})


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("line", type=int)
    parser.add_argument("--text", required=True)
    parser.add_argument("--keys", type=int, default=30)
    parser.add_argument("--prefix", type=int, default=4600)
    parser.add_argument("--suffix", type=int, default=900)
    parser.add_argument("--port", type=int, default=8012)
    args = parser.parse_args()
    lines = open(args.file, encoding="utf-8").read().split("\n")
    target = lines[args.line - 1]
    indent = target[: len(target) - len(target.lstrip())]
    above = "\n".join(lines[: args.line - 1]) + "\n"
    above = above[-args.prefix:].split("\n", 1)[1]
    below = ("\n" + "\n".join(lines[args.line:]))[: args.suffix].rsplit("\n", 1)[0] + "\n"
    first, whole, timings = ask(args.port, above, below, indent)
    print(f"cold: {timings.get('prompt_n')} tokens evaluated, first {first:.0f} ms, 16 tokens {whole:.0f} ms")
    rows = []
    for n in range(1, min(args.keys, len(args.text)) + 1):
        row = ask(args.port, above, below, indent + args.text[:n])
        rows.append(row)
        print(f"{args.text[n - 1]!r} {row[2].get('prompt_n')} tokens evaluated, {row[2].get('predicted_n')} decoded, "
              f"first {row[0]:.0f} ms, answer {row[1]:.0f} ms", flush=True)
    medians = [statistics.median(row[i] for row in rows) for i in (0, 1)]
    evaluated = statistics.median(row[2].get("prompt_n") or 0 for row in rows)
    print(f"median of {len(rows)} keystrokes: {evaluated:.0f} tokens evaluated, first {medians[0]:.0f} ms, "
          f"answer {medians[1]:.0f} ms")


if __name__ == "__main__":
    main()
