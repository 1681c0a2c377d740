"""Measure everything again and write `benchmarks/RESULTS.md`: `python benchmarks/renew.py`, on a machine that is idle.

Runs `benchmarks/test_speed.py` under pytest-benchmark, takes memory and import times from `benchmarks/cost.py`, and
shows ratios within this one run, of processor time on one thread; the absolute times beside them belong to the
processor that is named.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cost
import numpy as np

from refnn.ops import OPS
from refnn.report.header import environment, listed
from refnn.report.markdown import table

HERE = Path(__file__).parent
TORCH = 3.0  # at most so many times as long as PyTorch, in the geometric mean
SLOW, FAST = 200.0, 20.0  # at least so much faster than slow gradcheck, at most so much slower than its fast mode
EXPONENT = 1.15
MEMORY = 20.0  # times the data
TIMER = ("--benchmark-timer=time.process_time",)  # of which other processes take less
MEASURED = ("linear", "conv2d", "softmax", "cross_entropy", "gelu", "tanh")  # whose memory is measured

Groups = dict[str, dict[str, dict[str, Any]]]


def measured(records: Sequence[Path]) -> tuple[Groups, dict[str, Any]]:
    """Group -> candidate -> its record, of these files of pytest-benchmark; and what the last says of the machine."""
    groups: Groups = {}
    for path in records:
        document = json.loads(path.read_text())
        for b in document["benchmarks"]:
            groups.setdefault(b["group"], {})[b["name"]] = b
    return groups, document["machine_info"]


def run(path: Path) -> None:
    """Measure everything, into a file of pytest-benchmark: processor time on one thread."""
    command = [sys.executable, "-m", "pytest", str(HERE), "-q", "-o", "addopts=", *TIMER, f"--benchmark-json={path}"]
    subprocess.run(command, check=True, cwd=HERE.parent, env={**os.environ, **dict.fromkeys(cost.THREADS, "1")})


def of(groups: Groups, kind: str) -> Iterator[tuple[str, dict[str, dict[str, Any]]]]:
    """The groups of one kind, by what is measured in them."""
    for group, candidates in groups.items():
        name, _, what = group.partition(" | ")
        if name == kind:
            yield what, candidates


def seconds(record: dict[str, Any]) -> float:
    """The shortest time of a candidate."""
    return float(record["stats"]["min"])


def mark(value: float, limit: float, *, least: bool = False) -> str:
    return "" if (value >= limit if least else value <= limit) else " **missed**"


def mean(ratios: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


def against(groups: Groups, kind: str, rivals: Sequence[str]) -> Iterator[str]:
    """refnn's time over each rival's; below 1 refnn is the faster one."""
    rows, ratios = [], {rival: [] for rival in rivals}
    for what, found in of(groups, kind):
        row = [what]
        for rival in rivals:
            if rival not in found:
                row.append("")
                continue
            ratio = seconds(found["refnn"]) / seconds(found[rival])
            ratios[rival].append(ratio)
            row.append(f"{ratio:.2f}")
        rows.append(row)
    means = ["geometric mean"]
    for rival in rivals:
        limit = TORCH if rival == "PyTorch" and kind == "forward and vjp" else math.inf
        value = mean(ratios[rival]) if ratios[rival] else math.nan
        means.append(f"{value:.2f}{mark(value, limit)}" if ratios[rival] else "")
    yield "\n" + table(["op", *(f"refnn / {rival}" for rival in rivals)], [*rows, means])


def checks(groups: Groups) -> Iterator[str]:
    for what, found in of(groups, "check"):
        ours = seconds(found["refnn.check"])
        slow, fast = seconds(found["gradcheck slow"]) / ours, ours / seconds(found["gradcheck fast"])
        yield "\n" + table(
            [what, "time", "target"],
            [
                ["gradcheck slow", f"{slow:.3g} times refnn's{mark(slow, SLOW, least=True)}", f"{SLOW:.0f} at least"],
                ["gradcheck fast", f"1/{fast:.3g} of refnn's{mark(fast, FAST)}", f"1/{FAST:.0f} at least"],
            ],
        )


def exponent(found: dict[str, dict[str, Any]]) -> float:
    """The slope of log time over log elements, by least squares."""
    points = [(record["extra_info"]["elements"], seconds(record)) for record in found.values()]
    x, y = np.log(np.array(points, dtype=float)).T
    return float(np.polyfit(x, y, 1)[0])


def growth(groups: Groups) -> Iterator[str]:
    rows = []
    for what, found in of(groups, "growth"):
        by_size = sorted(found.values(), key=lambda record: record["extra_info"]["elements"])
        slope = exponent(found)
        sizes = f"{by_size[0]['extra_info']['elements']:,} to {by_size[-1]['extra_info']['elements']:,}"
        rows.append([what, sizes, f"{slope:.2f}{mark(slope, EXPONENT)}"])
    yield "\n" + table(["check of", "elements", f"exponent (at most {EXPONENT})"], rows)


def arithmetics(groups: Groups) -> Iterator[str]:
    rows = [[what, f"{seconds(f['Arb']) / seconds(f['float64 balls']):.3g}"] for what, f in of(groups, "arithmetic")]
    yield "\n" + table(["op", "Arb / float64 balls"], rows)


def memory(ops: Sequence[str]) -> Iterator[str]:
    rows = []
    for op in ops:
        for dtype in ("float32", "float64"):
            found = cost.in_own_process(op, dtype, 1000, 1)
            ratio = found.extra / found.data
            rows.append([op, dtype, f"{found.data / 2**20:.3g}", f"{ratio:.2g}{mark(ratio, MEMORY)}"])
    yield "\n" + table(["check of", "dtype", "data (MiB)", f"peak memory / data (at most {MEMORY:.0f})"], rows)


def lines(records: Sequence[Path]) -> Iterator[str]:
    """The page."""
    groups, machine = measured(records)
    yield "# Benchmarks"
    yield ""
    yield "Written by `python benchmarks/renew.py`. Ratios of processor time within one run, on one thread; a"
    yield "target that is missed says so."
    yield ""
    yield from listed(environment())
    yield f"- onnx: {version('onnx') if any('onnx.reference' in c for c in groups.values()) else 'not installed'}"
    yield f"- pytest-benchmark {version('pytest-benchmark')}, on {machine['system']} {machine['release'].split('-')[0]}"
    sections = (
        ("Forward", against(groups, "forward", ("PyTorch", "onnx.reference"))),
        ("Forward and vjp", against(groups, "forward and vjp", ("PyTorch",))),
        ("Check", checks(groups)),
        ("Growth of a check", growth(groups)),
        ("Certified arithmetic", arithmetics(groups)),
        ("Memory of a check", memory([op for op in MEASURED if op in OPS])),
    )
    for title, section in sections:
        yield ""
        yield f"## {title}"
        yield from section
    times = cost.import_times()
    ratio = times["import refnn"] / times["import numpy"]
    yield ""
    yield "## Import"
    yield ""
    yield (
        f"`import refnn` takes {ratio:.2f} times as long as `import numpy`{mark(ratio, cost.IMPORT_TARGET)} "
        f"(at most {cost.IMPORT_TARGET:.0f})."
    )


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=HERE / "RESULTS.md", help="the file to write")
    parser.add_argument("records", type=Path, nargs="*", help="what `--benchmark-json` wrote, in place of a run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        records = options.records or [Path(folder) / "benchmarks.json"]
        if not options.records:
            run(records[0])
        options.out.write_text("\n".join(lines(records)) + "\n")
    print(f"written: {options.out}")


if __name__ == "__main__":
    main()
