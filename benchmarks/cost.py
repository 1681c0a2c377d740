"""What a check costs: time and memory of refnn.check on one large case, and the time of `import refnn`.

`python benchmarks/cost.py [--ops GLOB]` prints a Markdown table. The implementation under test is our own `Floats`, so
that every op has one; its time is taken out. The cost is relative to one forward and one vjp in `Floats`, measured in
the same run, at two sizes a factor of 4 apart: growth is the ratio of the two times. Both are processor time on
one thread, since it is their work that is compared: a BLAS with more threads would divide the products of `Floats`
alone. Memory is the growth of the peak resident set over the check, in a process of its own, relative to the data
(inputs, cotangent, output and gradients).
"""

from __future__ import annotations

import argparse
import fnmatch
import inspect
import math
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import numpy as np

import refnn
from refnn.judging.cases import cases
from refnn.report.header import environment, listed
from refnn.report.markdown import table
from refnn.variants import large

TARGETS = {"float32": 30.0, "float64": 600.0}
IMPORT_TARGET = 2.0
FACTOR = 4  # between the two sizes
IMPORTS = 15  # how often each import is measured
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")  # read by a BLAS when it is loaded


def inputs(op: str, dtype: str, size: int) -> tuple[tuple[np.ndarray | None, ...], Mapping[str, Any]]:
    """Random inputs and parameters of an op, with about `size` thousand elements; linear and cross-entropy are fixed
    by their usual shapes, with a batch of size/2, and ops of several inputs or of windows by their largest variant."""
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(dtype)

    batch = size * 512 // 1000
    if op == "linear":
        return (draw(batch, 256), draw(256, 256), draw(256)), {}
    if op == "cross_entropy":
        return (draw(batch, 1000), rng.integers(0, 1000, batch)), {}
    if op in ("half_squared_error", "mse_loss"):
        return (draw(size, 1000), draw(size, 1000)), {}
    if len(refnn.ops[op].inputs) > 1 or inspect.Parameter.empty in refnn.ops[op].defaults.values():
        case = next(cases(large(refnn.ops[op], size * 1000), dtype, families=["normal"]))
        return case.inputs, case.params
    return (draw(size, 1000),), {}


class Timed:
    """A function that adds up the time spent in it."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.seconds = function, 0.0

    def __call__(self, *args: Any, **params: Any) -> Any:
        started = time.process_time()
        try:
            return self.function(*args, **params)
        finally:
            self.seconds += time.process_time() - started


@dataclass(frozen=True)
class Cost:
    """One measurement: seconds of Floats, seconds of the check alone, bytes of data, bytes of peak memory beyond it."""

    op: str
    dtype: str
    size: int
    elements: int
    floats: float
    check: float
    data: int
    extra: int
    verdict: str

    @property
    def ratio(self) -> float:
        return self.check / self.floats


def measure(op_name: str, dtype: str, size: int, repeats: int) -> Cost:
    """Check one large case; called in a fresh process, so that the peak memory is its own."""
    op = refnn.ops[op_name]
    arrays, params = inputs(op_name, dtype, size)
    y, pull = op.pullback(*arrays, **params)
    rng = np.random.default_rng(1)
    g = np.asarray(rng.normal(size=y.shape)).astype(dtype)
    grads = pull(g)
    data = sum(x.nbytes for x in (*arrays, g, y, *grads) if x is not None)
    elements = y.size + sum(v.size for v in grads if v is not None)
    # Everything is imported, and every cache is warm, before the clock runs.
    refnn.check(op_name, forward=op, vjp=op.vjp, dtype=dtype, families=["normal"])
    floats = math.inf
    for _ in range(5):
        started = time.process_time()
        op.pullback(*arrays, **params)[1](g)
        floats = min(floats, time.process_time() - started)
    before, cost = _peak(), math.inf
    case = {"inputs": arrays, "params": params, "cotangent": g}
    for _ in range(repeats):
        forward, vjp = Timed(op), Timed(op.vjp)
        started = time.process_time()
        report = refnn.check(op_name, forward=forward, vjp=vjp, dtype=dtype, inputs=case)
        cost = min(cost, time.process_time() - started - forward.seconds - vjp.seconds)
    return Cost(op_name, dtype, size, elements, floats, cost, data, _peak() - before, report.verdict)


def _peak() -> int:
    """The peak resident set of this process, in bytes (Linux counts it in KiB, macOS in bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def in_own_process(*args: Any) -> Cost:
    """`measure` in a process that ends with it, on one thread."""
    os.environ.update(dict.fromkeys(THREADS, "1"))
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure, *args).result()


def _children() -> float:
    """The processor time of the processes that this one has waited for, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def import_times() -> dict[str, float]:
    """The shortest of several processor times of a fresh Python that imports one module, less that of an empty one;
    with the bytecode that Python keeps from the first time on, whatever this machine forbids."""
    times = {"pass": math.inf, "import numpy": math.inf, "import refnn": math.inf}
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for _ in range(IMPORTS):
        for line in times:
            started = _children()
            subprocess.run([sys.executable, "-c", line], check=True, env=kept)
            times[line] = min(times[line], _children() - started)
    return {line: seconds - times["pass"] for line, seconds in times.items() if line != "pass"}


def rows(chosen: list[str]) -> Iterator[tuple[str, ...]]:
    """What a check of each op costs in each dtype."""
    for dtype, target in TARGETS.items():
        for op in chosen:
            small = in_own_process(op, dtype, 1000 // FACTOR, 3 if dtype == "float32" else 1)
            big = in_own_process(op, dtype, 1000, 3 if dtype == "float32" else 1)
            mark = "" if big.ratio <= target else " **missed**"
            numbers = (f"{big.floats * 1e3:.3g}", f"{big.check * 1e3:.4g}", f"{big.ratio:.3g}{mark}", f"{target:.0f}")
            growth = (f"{big.check / small.check:.2g}", f"{big.extra / big.data:.2g}")
            yield op, dtype, str(big.elements), *numbers, *growth, big.verdict


def lines(chosen: list[str]) -> Iterator[str]:
    """The page, part by part as it is measured."""
    yield "# Cost of a check"
    yield ""
    yield from listed(environment())
    yield ""
    head = ("op", "dtype", "elements", "Floats (ms)", "check (ms)", "ratio", "target", "growth")
    yield table([*head, "memory / data", "verdict"], rows(chosen))
    times = import_times()
    ratio = times["import refnn"] / times["import numpy"]
    mark = "" if ratio <= IMPORT_TARGET else " **missed**"
    yield ""
    yield (
        f"`import refnn`: {times['import refnn'] * 1e3:.0f} ms, `import numpy`: {times['import numpy'] * 1e3:.0f} ms, "
        f"ratio {ratio:.2f}{mark} (target {IMPORT_TARGET:.0f})"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--ops", default="*", help="a glob of op names")
    chosen = fnmatch.filter(refnn.ops, parser.parse_args().ops)
    if not chosen:
        parser.error("no op of that name")
    for line in lines(chosen):
        print(line, flush=True)


if __name__ == "__main__":
    main()
