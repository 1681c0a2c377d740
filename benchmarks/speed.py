"""How fast the reference is: `python benchmarks/speed.py [--rounds N]` prints two Markdown tables.

The first compares forward and vjp of `Floats` in float64 with PyTorch's forward and autograd, op by op, and gives the
geometric mean of the ratios. The second compares `refnn.check` of one convolution with `torch.autograd.gradcheck` of
the same. In every round each candidate runs once, so that both see the same machine; the shortest times count.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

import refnn
from refnn.adapters.torch import arguments
from refnn.report.header import environment
from refnn.witnesses.torch import FUNCTIONS

TARGET, CHECK_TARGETS = 3.0, {"slow": 200.0, "fast": 0.05}  # times as slow as PyTorch; times as fast as gradcheck
THREADS = 2

# Op, shapes of the inputs, parameters.
CASES: Sequence[tuple[str, tuple[tuple[int, ...], ...], dict[str, Any]]] = (
    ("linear", ((256, 1024), (1024, 1024), (1024,)), {}),
    ("conv2d", ((8, 64, 32, 32), (64, 64, 3, 3), (64,)), {"padding": 1}),
    ("conv2d", ((16, 3, 64, 64), (32, 3, 3, 3), (32,)), {"padding": 1}),
    ("max_pool2d", ((8, 64, 64, 64),), {"kernel_size": 2}),
    ("softmax", ((512, 4096),), {"axis": -1}),
    ("cross_entropy", ((512, 4096), (512,)), {}),
    ("gelu", ((1 << 20,),), {}),
    ("tanh", ((1 << 20,),), {}),
    ("sigmoid", ((1 << 20,),), {}),
)


def shortest(candidates: Sequence[Callable[[], Any]], rounds: int) -> list[float]:
    """The shortest time of each candidate, in seconds; in every round each runs once, after one that does not count."""
    best = [math.inf] * len(candidates)
    for number in range(rounds + 1):
        for i, run in enumerate(candidates):
            started = time.perf_counter()
            run()
            if number:
                best[i] = min(best[i], time.perf_counter() - started)
    return best


def drawn(op: str, shapes: tuple[tuple[int, ...], ...]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    arrays: list[np.ndarray] = [rng.normal(size=shape) for shape in shapes]
    if op == "cross_entropy":
        arrays[1] = rng.integers(0, shapes[0][1], shapes[1])
    return arrays


def passes(op: str, shapes: tuple[tuple[int, ...], ...], params: dict[str, Any]) -> list[Callable[[], Any]]:
    """Forward and vjp in refnn and in PyTorch."""
    arrays = drawn(op, shapes)
    g = np.asarray(np.random.default_rng(1).normal(size=np.shape(refnn.ops[op](*arrays, **params))))
    tensors, cotangent = [torch.from_numpy(a) for a in arrays], torch.from_numpy(g)
    floats = [t.requires_grad_() for t in tensors if t.is_floating_point()]
    settings = arguments({**refnn.ops[op].defaults, **params})

    def ours() -> Any:
        y, pull = refnn.vjp(op, *arrays, **params)
        return y, pull(g)

    def theirs() -> Any:
        y = FUNCTIONS[op](*tensors, **settings)
        return y, torch.autograd.grad(y, floats, cotangent)

    return [ours, theirs]


def checks() -> list[Callable[[], Any]]:
    """refnn.check, and gradcheck in both its modes, of 4x6x12x12 with 16 kernels of 5x5."""
    arrays = drawn("conv2d", ((4, 6, 12, 12), (16, 6, 5, 5), (16,)))
    tensors = [torch.from_numpy(a).requires_grad_() for a in arrays]

    def check() -> None:
        report = refnn.check("conv2d", F.conv2d, framework="torch", dtype="float64", inputs=tuple(arrays))
        assert report.ok, str(report)

    return [check, *(lambda fast=fast: torch.autograd.gradcheck(F.conv2d, tensors, fast_mode=fast) for fast in (0, 1))]


def lines(rounds: int) -> Iterator[str]:
    """The page, line by line as it is measured."""
    yield "# Speed"
    yield ""
    for key, value in environment().items():
        if key != "cpu_features":
            yield f"- {key.replace('_', ' ')}: {value}"
    yield f"- threads: {THREADS}"
    yield ""
    yield "| op | shapes | refnn (ms) | PyTorch (ms) | ratio |"
    yield "|---|---|---|---|---|"
    ratios = []
    for op, shapes, params in CASES:
        if op not in refnn.ops:
            continue
        ours, theirs = shortest(passes(op, shapes, params), rounds)
        ratios.append(ours / theirs)
        sizes = ", ".join("x".join(map(str, s)) for s in shapes)
        yield f"| {op} | {sizes} | {ours * 1e3:.3g} | {theirs * 1e3:.3g} | {ratios[-1]:.2f} |"
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    yield f"| geometric mean | | | | {mean:.2f}{'' if mean <= TARGET else ' **missed**'} (target {TARGET:.0f}) |"
    yield ""
    check, slow, fast = checks()
    (ours,), (patient,) = shortest([check], rounds), shortest([slow], 1)
    ours, quick = (min(a, b) for a, b in zip(shortest([check, fast], rounds), (ours, math.inf), strict=True))
    yield "| conv2d 4x6x12x12, 16x6x5x5, float64 | ms | gradcheck / refnn | target |"
    yield "|---|---|---|---|"
    yield f"| refnn.check | {ours * 1e3:.3g} | | |"
    for mode, seconds in (("slow", patient), ("fast", quick)):
        ratio, target = seconds / ours, CHECK_TARGETS[mode]
        mark = "" if ratio >= target else " **missed**"
        yield f"| gradcheck {mode} | {seconds * 1e3:.4g} | {ratio:.3g}{mark} | {target} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=15, help="how often each candidate runs")
    rounds = parser.parse_args().rounds
    if rounds < 1:
        parser.error(f"--rounds is {rounds}, expected at least 1")
    torch.set_num_threads(THREADS)
    for line in lines(rounds):
        print(line, flush=True)


if __name__ == "__main__":
    main()
