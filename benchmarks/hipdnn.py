"""The tolerance of AMD's hipDNN for a convolution beside refnn's bounds.

hipDNN's tests derive their tolerances (ROCm/rocm-libraries, projects/hipdnn/test_sdk, DynamicTolerancesConv.hpp and
DynamicTolerancesCommon.hpp): one number for a whole tensor, without a relative part. With eps the distance of 1 from
the next number of the format that sums are in, n terms in a sum, and M the largest |factor| of one tensor times that of
the other,

    tolerance = gamma n M + eps_out n M, with
    gamma = 2 n eps / (1 - 2 n eps) where 2 n eps < 0.01, and 6 sqrt(2 n) eps from there on;

eps_out counts only where the output has fewer digits than the sums. It is written here in our own words and run on
normal numbers, for the output, for dx and for dw; n is C K_h K_w, K K_h K_w and N H_out W_out.

Beside it: the largest worst case of refnn among the elements of the tensor; the largest line from which on
`refnn.check` says suspect (so many deviations of the expected error that 1e-7 is the chance of a false alarm); how far
PyTorch is from the truth at most; and which share of the elements could be replaced by 0 without being noticed: those
that are no larger than what is allowed.

Run: python benchmarks/hipdnn.py > benchmarks/HIPDNN.md
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch.nn.functional as F

import refnn
from refnn.checking.check import FALSE_ALARM, false_alarm_line
from refnn.formats import FORMATS, Format
from refnn.implementations import torch as adapter
from refnn.report.header import environment, listed
from refnn.report.markdown import table

LINEAR = 0.01  # of 2 n eps, from where on hipDNN counts on cancellation
DEVIATIONS = 6.0
USELESS = 0.5  # a gamma from which on hipDNN refuses to give a tolerance


@dataclass(frozen=True)
class Layer:
    """A convolution without bias: n samples of c channels of h x h, k kernels of r x r."""

    n: int
    c: int
    h: int
    k: int
    r: int
    padding: int = 0

    def __str__(self) -> str:
        shape = f"{self.n}x{self.c}x{self.h}x{self.h}, {self.k} kernels of {self.r}x{self.r}"
        return shape + (f", padding {self.padding}" if self.padding else "")

    @property
    def out(self) -> int:
        """The side of the output."""
        return self.h + 2 * self.padding - self.r + 1

    @property
    def terms(self) -> dict[str, int]:
        """How many terms hipDNN counts in a sum of each tensor."""
        return {
            "output": self.c * self.r**2,
            "dx": self.k * self.r**2,
            "dw": self.n * self.out**2,
        }


LAYERS = (Layer(8, 16, 16, 16, 3), Layer(8, 64, 14, 64, 3, 1))


def eps(fmt: Format) -> float:
    """The distance of 1 from the next number, twice the unit roundoff."""
    return 2 * fmt.unit_roundoff


def gamma(n: int, eps: float) -> float:
    """hipDNN's factor of n times the largest product; OverflowError where it says that no tolerance makes sense."""
    bound = 2 * n * eps
    factor = bound / (1 - bound) if bound < LINEAR else DEVIATIONS * math.sqrt(2 * n) * eps
    if factor >= USELESS:
        raise OverflowError(f"gamma is {factor:.3g} for {n} terms, expected less than {USELESS}")
    return factor


def tolerance(n: int, a: Any, b: Any, output: Format, sums: Format) -> float:
    """What hipDNN allows a tensor of sums of n products of an element of `a` and one of `b`."""
    largest = n * float(np.abs(np.asarray(a, np.float64)).max()) * float(np.abs(np.asarray(b, np.float64)).max())
    stored = eps(output) if eps(output) > eps(sums) else 0.0
    return (gamma(n, eps(sums)) + stored) * largest


def drawn(layer: Layer) -> tuple[Any, Any, Any]:
    """x, the kernels and the cotangent, normal numbers."""
    rng = np.random.default_rng(0)
    shapes = (layer.n, layer.c, layer.h, layer.h), (layer.k, layer.c, layer.r, layer.r)
    shapes += ((layer.n, layer.k, layer.out, layer.out),)
    x, w, g = (rng.standard_normal(s).astype(np.float32) for s in shapes)
    return x, w, g


def rows(layer: Layer) -> Iterator[list[str]]:
    """A row for each tensor, PyTorch's error last: it depends on the machine."""
    x, w, g = drawn(layer)
    given: dict[str, Any] = {"cotangent": g, "padding": layer.padding}
    truth = refnn.truth("conv2d", x, w, None, **given)
    bounds = refnn.allowance("conv2d", x, w, None, model="float32", **given)
    forward, vjp = adapter.functions(refnn.conv2d, F.conv2d)
    params = {**refnn.conv2d.defaults, "padding": layer.padding}
    results = (forward(x, w, None, **params), *vjp(g, x, w, None, **params)[:2])
    line = false_alarm_line(FALSE_ALARM, sum(r.size for r in results))
    values, allowed = (truth.output, *truth.grads[:2]), (bounds.output, *bounds.grads[:2])
    factors = {"output": (x, w), "dx": (g, w), "dw": (x, g)}
    for (what, pair), result, value, bound in zip(factors.items(), results, values, allowed, strict=True):
        theirs = tolerance(layer.terms[what], *pair, FORMATS["float32"], FORMATS["float32"])
        suspect = np.minimum(line * bound.expected + bound.library, bound.worst)
        off = np.abs((result.astype(np.float64) - value.value) - value.low).max()
        largest = float(bound.worst.max())
        yield [
            what,
            str(layer.terms[what]),
            f"{theirs:.3g}",
            f"{largest:.3g}",
            f"{theirs / largest:.3g}",
            f"{theirs / float(np.median(bound.worst)):.3g}",
            f"{float(suspect.max()):.3g}",
            f"{theirs / float(suspect.max()):.2g}",
            *(f"{(np.abs(value.value) <= most).mean():.2%}" for most in (theirs, bound.worst, suspect)),
            f"{off:.2g}",
        ]


HEAD = (
    "tensor",
    "terms",
    "hipDNN",
    "worst case",
    "hipDNN / worst case",
    "hipDNN / its median",
    "suspect from",
    "hipDNN / suspect",
    "0 passes hipDNN",
    "0 inside worst case",
    "0 not suspect",
    "PyTorch is off by",
)


def lines() -> Iterator[str]:
    """The page, line by line."""
    yield "# The tolerance of hipDNN for a convolution, beside refnn's bounds"
    yield ""
    yield from listed(environment())
    yield ""
    yield "Written by `python benchmarks/hipdnn.py > benchmarks/HIPDNN.md`."
    yield ""
    yield from (__doc__ or "").partition("\n\n")[2].partition("\n\nRun:")[0].splitlines()
    for layer in LAYERS:
        yield ""
        yield f"## {layer}, float32"
        yield "\n" + table(HEAD, list(rows(layer)))
    below = math.ceil(LINEAR / (2 * eps(FORMATS["float32"]))) - 1
    fall = gamma(below, eps(FORMATS["float32"])) / gamma(below + 1, eps(FORMATS["float32"]))
    yield ""
    yield (
        f"hipDNN's gamma bounds the error of a sum of {below:,} terms at most, in float32. For one term more it is "
        f"{fall:.0f} times smaller: from there on it is six deviations of independent roundings, and no bound."
    )


def main() -> None:
    for line in lines():
        print(line)


if __name__ == "__main__":
    main()
