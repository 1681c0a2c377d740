"""A program as an author in any language would write it, with every misbehaviour that the suite must survive.

    python program.py [--lines] [MISBEHAVIOUR [AT]]

Without a misbehaviour it answers with refnn's own ops. AT is the number of the request (from 1) at which it misbehaves,
counted over all its starts in the file that PROGRAM_COUNT names; at every one where AT is not given.
"""

import json
import os
import sys
import time
from dataclasses import replace

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from refnn.implementations.protocol import answer_line, answer_message, parse_line, parse_run
from refnn.networks.network import subject


def answers(request):
    op = subject(request.op)
    y, pull = op.pullback(*request.inputs.values(), **request.attrs)
    grads = dict(zip((f"d/{n}" for n in op.inputs), pull(request.cotangent), strict=True))
    return {want: np.asarray(y if want == "y" else grads[want]) for want in request.wants}


def count():
    path = os.environ.get("PROGRAM_COUNT")
    if path is None:
        return 0
    with open(path, "a+") as file:
        file.write(".")
        file.seek(0)
        return len(file.read())


def written(name, seq, request, results, lines):
    """The line that answers, or what stands in its place."""
    right = answer_line(request.id, results) if lines else json.dumps(answer_message(seq, results))
    if name == "skip":
        return (
            f"{request.id} SKIP not today"
            if lines
            else json.dumps({"seq": seq, "skipped": True, "message": "not today", "issue_url": "https://example.org/1"})
        )
    if name == "error":
        return (
            f"{request.id} ERR out of memory"
            if lines
            else json.dumps({"seq": seq, "errored": True, "context": {"message": "out of memory"}})
        )
    if name == "order":
        other = replace(request, id=request.id + "x")
        return answer_line(other.id, results) if lines else json.dumps(answer_message(seq + 1, results))
    if name == "truncated":
        return right[: len(right) - (5 if lines else 3)]
    if name == "garbage":
        return "Segmentation fault (core dumped)"
    if name == "hex":
        return (
            f"{request.id} y={'g' * 24} d/x={'0' * 24}"
            if lines
            else json.dumps(
                {"seq": seq, "results": {"y": {"shape": list(results["y"].shape), "bits": "g" * 8 * results["y"].size}}}
            )
        )
    if name == "huge":
        return (
            f"{request.id} y={'0' * 100}"
            if lines
            else json.dumps({"seq": seq, "results": {"y": {"shape": [2500000000], "bits": "00"}}})
        )
    if name == "forward":
        return (
            answer_line(request.id, {"y": results["y"]})
            if lines
            else json.dumps(answer_message(seq, {"y": results["y"]}))
        )
    if name == "more":
        more = {**results, "d/more": results["y"]}
        return answer_line(request.id, more) if lines else json.dumps(answer_message(seq, more))
    if name == "unknown":
        return right + " d/x" if lines else json.dumps({**answer_message(seq, results), "rtol": 1})
    return right


def main(lines, name, at):
    for text in sys.stdin:
        if text.startswith("#"):
            print(text, end="", flush=True)
            continue
        if not lines:
            message = json.loads(text)
            if message["cmd"] == "start":
                start(name)
                continue
            if message["cmd"] == "stop":
                return 0
        seq, request = (0, parse_line(text)) if lines else parse_run(text)
        results = answers(request)
        number = count()
        if at and number != at:
            print(written("", seq, request, results, lines), flush=True)
            continue
        if name == "hang":
            time.sleep(600)
        if name == "crash":
            print("I am about to crash", file=sys.stderr, flush=True)
            os.abort()
        if name == "exit":
            return 7
        if name == "flood":
            while True:
                sys.stdout.write("0" * 65536)
        if name == "twice":
            print(written("", seq, request, results, lines), flush=True)
        print(written(name, seq, request, results, lines), flush=True)
        if name == "close":
            os.close(1)
            time.sleep(600)
    return 0


def start(name):
    known = {"protocol": 1, "impl": {"name": "program", "version": "1", "language": "python"}}
    if name == "capable":
        known["capabilities"] = {
            "dtypes": ["float32"],
            "ops": {"softmax": ["fwd", "vjp"], "relu": ["fwd"]},
            "max_elements": 20,
        }
    if name == "protocol":
        known["protocol"] = 2
    if name == "silent":
        time.sleep(600)
    if name == "nonsense":
        print("hello", flush=True)
    print(json.dumps(known), flush=True)


if __name__ == "__main__":
    words = [w for w in sys.argv[1:] if w != "--lines"]
    sys.exit(main("--lines" in sys.argv, words[0] if words else "", int(words[1]) if len(words) > 1 else 0))
